"""Worlds with a known truth, for ``calibration.py``: problems, their answers, two policies, and samples of both.

A problem's probability of a right sample under base is drawn from a Beta law. It has 1, 4 or 20 right answers and 30
wrong ones, whose shares fall like 1 / rank; "NA" counts as one of the wrong ones. The trained policy is the same
policy, or what RLVR may make of it: higher odds of a right sample, right and wrong answers sharper, some problems never
solved any more, and some solved that base never solves.

The truth is the expectation over problems and samples at the same k: a mean over the nodes of Gauss-Jacobi quadrature,
exact for polynomials of a degree up to twice their number, such as (1-p)^k. No code of leash_ray computes it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from leash_ray.measure.pair import Answers, Pair, PolicyData

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RIGHT = (1, 4, 20)
"""Numbers of right answers that a problem may have, each as often."""
N_RIGHT, N_WRONG = max(RIGHT), 30
KEPT, LOST, GAINED = range(3)
"""What training does to a problem: nothing but tilting it, base's support lost, or support that base never had."""
NODES = 400
"""Of the quadrature: exact up to (1-p)^799, which holds both policies' misses at n = 256."""

PAPER_TABLE_1 = {"P": 3942, "E": 122, "S": 271, "O": 1920}
"""arXiv 2507.14843, Table 1, summed over its three bases (ProRL-1.5B-v1, OLMo, OVR): two thirds are found by base."""


@dataclass(frozen=True)
class Change:
    """What training does."""

    name: str
    lost: float = 0.0
    """Share of the problems never solved any more."""
    gained: float = 0.0
    """Share of the problems that base never solves, and trained as often as it would have been."""
    tilt: float = 0.0
    """Log of what the odds of a right sample are multiplied by."""
    sharper: float = 1.0
    """Shares of the right answers, and of the wrong ones, are raised to this power."""

    @property
    def fates(self) -> dict[int, float]:
        """Fate of a problem -> how often."""
        return {KEPT: 1 - self.lost - self.gained, LOST: self.lost, GAINED: self.gained}


SAME = Change("same")
PLANTED = Change("planted", lost=0.15, gained=0.03, tilt=1.0, sharper=1.5)


@dataclass(frozen=True)
class World:
    """Where problems come from, and what training changed."""

    shape: str
    a: float
    b: float
    change: Change

    @property
    def name(self) -> str:
        return f"{self.shape}, {self.change.name}"


@dataclass(frozen=True)
class Drawn:
    """Problems with their truth, and samples of them."""

    pair: Pair
    base_NA: Floats
    """Probability of each answer; the first ``N_RIGHT`` columns are the right ones."""
    trained_NA: Floats


def fitted(counts: dict[str, int], n: int) -> tuple[float, float]:
    """Beta law of a policy that finds as large a share of the problems in n samples as base in ``counts``, and of which
    two sets of n samples differ in as many problems as base and trained do there."""
    total = sum(counts.values())
    missed, either = 1 - (counts["P"] + counts["S"]) / total, (counts["E"] + counts["S"]) / 2 / total

    def off(logs: Floats) -> Floats:
        a, b = np.exp(logs)
        once, twice = (np.exp(special.betaln(a, b + m) - special.betaln(a, b)) for m in (n, 2 * n))
        return np.array([once - missed, (once - twice) - either])

    a, b = np.exp(optimize.root(off, np.log([0.15, 0.4]), tol=1e-12).x)
    return float(a), float(b)


def shapes() -> dict[str, tuple[float, float]]:
    return {
        "Beta(.3, .7)": (0.3, 0.7),
        "Beta(.1, .5)": (0.1, 0.5),
        "Beta(2, 5)": (2.0, 5.0),
        "paper": fitted(PAPER_TABLE_1, 256),
    }


def worlds() -> list[World]:
    return [World(name, a, b, change) for change in (SAME, PLANTED) for name, (a, b) in shapes().items()]


def _shares(n: int, width: int, power: float) -> Floats:
    """[width]: the first n are positive and fall like 1 / rank, to the power given."""
    weights = np.where(np.arange(width) < n, (1.0 + np.arange(width)) ** -power, 0.0)
    return np.asarray(weights / weights.sum())


def probabilities(world: World, p_N: Floats, right_N: Ints, fate_N: Ints) -> tuple[Floats, Floats]:
    """Probability of each answer under base and under trained, [N, A] each.

    Args:
        p_N: probability of a right sample under base, before fate.
        right_N: which of ``RIGHT``.
    """

    def spread(p: Floats, power: float) -> Floats:
        right = np.stack([_shares(n, N_RIGHT, power) for n in RIGHT])[right_N]
        wrong = _shares(N_WRONG, N_WRONG, power)
        return np.concatenate([p[:, None] * right, (1 - p)[:, None] * wrong], axis=1)

    odds, power = np.exp(world.change.tilt), world.change.sharper
    tilted_N = p_N * odds / (1 + p_N * (odds - 1))
    base_N, trained_N = np.where(fate_N == GAINED, 0.0, p_N), np.where(fate_N == LOST, 0.0, tilted_N)
    return spread(base_N, 1.0), spread(trained_N, power)


def draw_problems(world: World, n_problems: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Problems of the world: :func:`probabilities` of them."""
    p_N = rng.beta(world.a, world.b, n_problems)
    right_N = rng.integers(0, len(RIGHT), n_problems)
    fates = world.change.fates
    fate_N = rng.choice(list(fates), n_problems, p=list(fates.values()))
    return probabilities(world, p_N, right_N, fate_N)


def draw(world: World, n_problems: int, n: tuple[int, int], rng: np.random.Generator) -> Drawn:
    """Problems and samples of them: n[0] a problem by base, n[1] by trained."""
    base_NA, trained_NA = draw_problems(world, n_problems, rng)
    k = min(n)
    early, late = (
        [rng.multinomial(m, p_NA) for m, p_NA in zip(sizes, (base_NA, trained_NA), strict=True)]
        for sizes in ((k, k), (n[0] - k, n[1] - k))
    )
    counts = [a + b for a, b in zip(early, late, strict=True)]
    # Only whether a find is among the first k matters here, not where.
    before = [np.where(a > 0, 0, np.where(b > 0, k, -1)) for a, b in zip(early, late, strict=True)]
    is_right = np.arange(N_RIGHT + N_WRONG) < N_RIGHT
    pair = Pair(
        base=_side(n[0], counts[0], before[0]),
        trained=_side(n[1], counts[1], before[1]),
        answers=_answers(counts, before, is_right, np.ones_like(is_right)),
        correct=_answers(counts, before, is_right, is_right),
        k=k,
    )
    return Drawn(pair, base_NA, trained_NA)


def _side(n: int, counts_NA: Ints, before_NA: Ints) -> PolicyData:
    right = slice(0, N_RIGHT)
    size, unknown = np.full(len(counts_NA), n), np.full(len(counts_NA), np.nan)
    found = counts_NA[:, right] > 0
    first = np.where(found.any(axis=1), np.where(found, before_NA[:, right], n).min(axis=1), -1)
    return PolicyData(
        n=size, c=counts_NA[:, right].sum(axis=1), n_errors=0 * size, first=first, first_index=first, observed=size,
        nats=unknown, tokens=unknown, token_entropy=unknown,
    )  # fmt: skip


def _answers(counts: list[Ints], before: list[Ints], is_right: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> Answers:
    problem, answer = np.nonzero((counts[0] + counts[1] > 0) & wanted)
    right = is_right[answer]

    def each(arrays: list[Ints], otherwise: int, among: NDArray[np.bool_]) -> tuple[Ints, Ints]:
        base, trained = (np.where(among, a[problem, answer], otherwise) for a in arrays)
        return base, trained

    return Answers(problem, each(counts, 0, np.ones_like(right)), each(counts, 0, right), each(before, -1, right))


@lru_cache
def _nodes(a: float, b: float) -> tuple[Floats, Floats]:
    with np.errstate(invalid="ignore"):  # SciPy has 0/0 in a place that it does not use
        x, w = special.roots_jacobi(NODES, b - 1, a - 1)
    return (1 + x) / 2, w / w.sum()


def _strata(world: World) -> Iterator[tuple[float, Floats, Floats, Floats]]:
    """(share of the problems, weights of the nodes, probabilities of answers under base, under trained)."""
    p_Q, w_Q = _nodes(world.a, world.b)
    for right in range(len(RIGHT)):
        for fate, share in world.change.fates.items():
            if share:
                every = np.full(len(p_Q), 0)
                yield share / len(RIGHT), w_Q, *probabilities(world, p_Q, every + right, every + fate)


def _hit(p: Floats, k: int) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(k * np.log1p(-p)))


def _plug_in(p_QA: Floats, n: int) -> Floats:
    """Expected plug-in entropy of n samples, [Q]: the sum over answers of E[-X/n ln(X/n)], X binomial."""
    x = np.arange(1, n)  # the terms of 0 and n are 0
    log_choose = special.gammaln(n + 1) - special.gammaln(x + 1) - special.gammaln(n - x + 1)
    value = -(x / n) * np.log(x / n)
    out = np.zeros(len(p_QA))
    for p_Q in p_QA.T:
        seen = (p_Q > 1e-300) & (p_Q < 1)
        log_p, log_rest = np.log(p_Q[seen]), np.log1p(-p_Q[seen])
        out[seen] += np.exp(log_choose + x * log_p[:, None] + (n - x) * log_rest[:, None]) @ value
    return out


def truth(world: World, n: tuple[int, int]) -> dict[str, float]:
    """Expected value of everything that :func:`calibration_checks.intervals` estimates, by the same names."""
    k = min(n)
    ks = ks_of(k)
    counts = {unit: np.zeros(3) for unit in ("problem", "answer")}
    means = dict.fromkeys([f"{what}/{side}" for side in ("base", "trained") for what in names_of_means(ks)], 0.0)
    for share, w_Q, base_QA, trained_QA in _strata(world):
        sides = {"base": base_QA, "trained": trained_QA}
        right = [p_QA[:, :N_RIGHT] for p_QA in sides.values()]
        for unit, (b, t) in {
            "problem": [_hit(p.sum(axis=1, keepdims=True), k) for p in right],
            "answer": [_hit(p, k) for p in right],
        }.items():
            cells = [(b * t).sum(axis=1), ((1 - b) * t).sum(axis=1), (b * (1 - t)).sum(axis=1)]
            counts[unit] += share * np.array([w_Q @ cell for cell in cells])
        for (side, p_QA), size in zip(sides.items(), n, strict=True):
            for one in ks:
                means[f"pass@{one}/{side}"] += share * float(w_Q @ _hit(p_QA[:, :N_RIGHT].sum(axis=1), one))
            means[f"answer entropy/{side}"] += share * float(w_Q @ _plug_in(p_QA, size))
    found = {f"{metric}/{unit}": value for unit, c in counts.items() for metric, value in _metrics(*c).items()}
    differences = {f"{w}/difference": means[f"{w}/trained"] - means[f"{w}/base"] for w in names_of_means(ks)}
    return {**found, **means, **differences}


def ks_of(n: int) -> list[int]:
    """Where pass@k is looked at: the ends, a few samples, and half of them, where a mean may hang on few problems."""
    return sorted({1, 8, n // 2, n})


def names_of_means(ks: list[int]) -> list[str]:
    return [*(f"pass@{k}" for k in ks), "answer entropy"]


def _metrics(P: float, E: float, S: float) -> dict[str, float]:
    """DESIGN's formulas, once more."""
    return {
        "SRR": P / (P + S),
        "NDR": E / (P + E),
        "SDS": 2 * P * E / (P * (P + E) + E * (P + S)),
        "NSCR": (E - S) / (P + E + S),
    }

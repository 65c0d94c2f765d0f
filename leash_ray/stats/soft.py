"""Soft support: expected P, E, S, O by the posterior probability that a policy's p exceeds ε.

Hard support asks whether k samples held a correct one, and jumps when one lucky sample falls. Soft support asks of each
problem and policy how probable it is that its probability p of a correct sample is above ε, given c of n::

    P(p > ε | n, c),    E = sum over problems of P(p_base <= ε and p_trained > ε | data)        and so on

It estimates on which side of ε the problems truly lie. Hard counts don't: k samples find a problem with p = ε / 3 two
times of three (at ζ = 0.05). What is taken for granted about p before seeing a problem's samples is the prior:

- "jeffreys": p ~ Beta(1/2, 1/2), policies independent: the posterior is Beta(c + 1/2, n - c + 1/2). Needs no other
  problem. Biased where many p are near or far below ε; and since a problem's two policies are in truth alike, it takes
  the noise of problems near ε for difference: E and S come out too large.
- "beta": a Beta prior for each policy, fitted to all problems by maximum likelihood of the beta-binomial (Skellam,
  J. R. Stat. Soc. B 10, 1948), policies independent. Right where the policies are unrelated, else as "jeffreys".
- "joint": a prior over pairs (p_base, p_trained), fitted to all problems: a grid of cells on logit p, of which ε is an
  edge, with weights by expectation maximisation (Kiefer and Wolfowitz, Ann. Math. Stat. 27, 1956; Laird, JASA 73,
  1978). It starts from a flat prior with a little weight on "nothing changed" and stops early, which keeps it smooth.
  It learns how alike the policies are.

Mean error of expected P, E, S, O in percent of problems, the worst of 16 simulated worlds (500 problems, p_base from
Beta(.3,.7), Beta(.1,.5), Beta(2,5) or Beta(.05,5), p_trained the same, unrelated, noisy, or lost on a fifth), k = n,
ζ = 0.05::

    n      joint    beta    jeffreys    hard counts
    256      0.9     3.2         5.2             13
    64       1.1     4.7         5.7             18
    16       3.0      15          19             41

Assumptions: samples are independent given p. "beta" and "joint": the problems are one population, and enough of them;
with fewer than :data:`FEW` the Jeffreys prior is used in their place.

Degenerate cases: ε >= 1 (k < 3 at ζ = 0.05): no p exceeds it, every problem is in O. n = 0: the prior speaks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from leash_ray.stats.distinct import distinct
from leash_ray.stats.support import support_metrics

FEW = 20
"""Problems below which no prior is fitted."""
JEFFREYS = (0.5, 0.5)
PRIORS = ("jeffreys", "beta", "joint")

_CELLS = 24
"""Of the joint prior's grid, on each side of ε, for each policy."""
_ROUNDS = 100
"""Of expectation maximisation. More fit the noise: over simulated problems the error grows from about here on."""
_ALIKE = 0.8
"""Weight that it starts from on pairs of equal p; data that say otherwise move it away."""
_WIDTH = 0.25
"""Of the cells beside ε, in units of logit p, or less where the samples tell p more closely."""


@dataclass(frozen=True, slots=True, eq=False)
class SoftSupport:
    """Probabilities of the four groups, problem by problem; any sum of them is an expected count."""

    P: NDArray[np.float64]
    """[problems]; P + E + S + O = 1."""
    E: NDArray[np.float64]
    S: NDArray[np.float64]
    O: NDArray[np.float64]  # noqa: E741 - the paper's letter
    prior: str
    """The one that was used: "jeffreys" where there were too few problems to fit another."""

    @property
    def above_base(self) -> NDArray[np.float64]:
        """P(p_base > ε | data), [problems]."""
        return self.P + self.S

    @property
    def above_trained(self) -> NDArray[np.float64]:
        """P(p_trained > ε | data), [problems]."""
        return self.P + self.E

    def expected(self) -> dict[str, float]:
        """Expected counts P, E, S, O, and SRR, NDR, SDS and NSCR of them; NaN where undefined."""
        counts = {name: float(getattr(self, name).sum()) for name in "PESO"}
        metrics = support_metrics(counts["P"], counts["E"], counts["S"])
        return {**counts, **{name: float(value) for name, value in metrics.items()}}


def posterior_above(
    n: ArrayLike, c: ArrayLike, epsilon: ArrayLike, prior: tuple[float, float] = JEFFREYS
) -> NDArray[np.float64]:
    """P(p > ε | c of n correct) under a Beta prior, [problems]; 0 where ε >= 1.

    Args:
        n: scored samples, [problems].
        c: correct ones among them, [problems].
        epsilon: thresholds > 0, [problems] or one for all.
        prior: the two parameters of the Beta prior; the default is Jeffreys'.

    Raises:
        ValueError: not 0 <= c <= n, or a threshold that is not positive.
    """
    n_N, c_N, epsilon_N = _checked(n, c, epsilon)
    return np.asarray(special.betaincc(c_N + prior[0], n_N - c_N + prior[1], np.minimum(epsilon_N, 1.0)))


def fit_beta(n: ArrayLike, c: ArrayLike) -> tuple[float, float]:
    """The Beta prior that makes the counts of one policy most likely (beta-binomial).

    Jeffreys' where it cannot be fitted: fewer than :data:`FEW` problems, or all of them solved always, or never.

    Args:
        n: scored samples, [problems].
        c: correct ones among them, [problems].

    Raises:
        ValueError: not 0 <= c <= n.
    """
    n_N, c_N, _ = _checked(n, c, 1.0)
    if len(n_N) < FEW or not np.any(c_N) or np.all(c_N == n_N):
        return JEFFREYS
    (n_D, c_D), back = distinct(n_N, c_N)
    share_D = np.bincount(back) / len(n_N)

    def loss(logs: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        a, b = np.exp(logs)
        value = share_D @ (special.betaln(c_D + a, n_D - c_D + b) - special.betaln(a, b))
        both = special.digamma(a + b) - special.digamma(n_D + a + b)
        slope_a = share_D @ (special.digamma(c_D + a) - special.digamma(a) + both)
        slope_b = share_D @ (special.digamma(n_D - c_D + b) - special.digamma(b) + both)
        return -float(value), -np.array([a * slope_a, b * slope_b])

    # Within e^-9 .. e^9: a spike of equal problems would otherwise run away.
    found = optimize.minimize(loss, np.log(JEFFREYS), jac=True, method="L-BFGS-B", bounds=[(-9, 9)] * 2)
    a, b = np.exp(found.x)
    return float(a), float(b)


def soft_support(
    n_base: ArrayLike,
    c_base: ArrayLike,
    n_trained: ArrayLike,
    c_trained: ArrayLike,
    epsilon: ArrayLike,
    *,
    prior: str = "joint",
) -> SoftSupport:
    """Soft support of problems.

    Args:
        n_base, n_trained: scored samples, [problems].
        c_base, c_trained: correct ones among them, [problems].
        epsilon: threshold of each problem (its own k may differ), [problems], or one for all; > 0, may be infinite.
        prior: "joint", "beta" or "jeffreys".

    Raises:
        ValueError: not 0 <= c <= n, shapes differ, a threshold that is not positive, or an unknown prior.
    """
    if prior not in PRIORS:
        raise ValueError(f"unknown prior {prior!r}: give one of {', '.join(PRIORS)}")
    n_b, c_b, epsilon_N = _checked(n_base, c_base, epsilon)
    n_t, c_t, _ = _checked(n_trained, c_trained, epsilon)
    if n_b.shape != n_t.shape:
        raise ValueError("give counts of both policies for the same problems, in the same order")
    if len(n_b) < FEW:
        prior = "jeffreys"
    if prior == "joint" and np.any(epsilon_N < 1):
        p, e, s, o = _joint(n_b, c_b, n_t, c_t, epsilon_N)
        return SoftSupport(p, e, s, o, prior)
    fits = [fit_beta(n, c) if prior == "beta" else JEFFREYS for n, c in ((n_b, c_b), (n_t, c_t))]
    base, trained = posterior_above(n_b, c_b, epsilon_N, fits[0]), posterior_above(n_t, c_t, epsilon_N, fits[1])
    return SoftSupport(base * trained, (1 - base) * trained, base * (1 - trained), (1 - base) * (1 - trained), prior)


def _joint(
    n_b: NDArray[np.int64],
    c_b: NDArray[np.int64],
    n_t: NDArray[np.int64],
    c_t: NDArray[np.int64],
    epsilon_N: NDArray[np.float64],
) -> tuple[NDArray[np.float64], ...]:
    """P, E, S, O, each [problems]."""
    thresholds, which = np.unique(epsilon_N, return_inverse=True)
    (n_b, c_b, n_t, c_t, which), back = distinct(n_b, c_b, n_t, c_t, which)
    times_D = np.bincount(back).astype(np.float64)
    with np.errstate(divide="ignore"):
        logit_D = special.logit(np.minimum(thresholds, 1.0))[which]
    most = max(int(n_b.max()), int(n_t.max()), 1)
    finite = logit_D[np.isfinite(logit_D)]
    edges = _edges(float(np.median(finite)), most)
    base_DG, trained_DG = _likelihood(n_b, c_b, edges), _likelihood(n_t, c_t, edges)
    cells = len(edges) - 1
    weight_GG = np.full((cells, cells), (1 - _ALIKE) / cells**2) + _ALIKE * np.eye(cells) / cells
    for _ in range(_ROUNDS):
        evidence_D = np.einsum("dg,dg->d", base_DG @ weight_GG, trained_DG)
        weight_GG *= base_DG.T @ (trained_DG * (times_D / evidence_D)[:, None]) / times_D.sum()
    # The part of each cell above ε: 0 or 1, but for cells that another problem's ε cuts.
    above_DG = np.clip((edges[1:] - logit_D[:, None]) / np.diff(edges), 0, 1)
    parts = [(base_DG * x, trained_DG * y) for y in (above_DG, 1 - above_DG) for x in (above_DG, 1 - above_DG)]
    both, only_trained, only_base, neither = (np.einsum("dg,dg->d", b @ weight_GG, t) for b, t in parts)
    total = both + only_trained + only_base + neither
    return tuple((group / total)[back] for group in (both, only_trained, only_base, neither))


def _edges(threshold: float, most: int) -> NDArray[np.float64]:
    """Edges of cells on logit p, [G + 1]: ε is one, cells are finest there, the ends are beyond what n can tell."""
    p = special.expit(threshold)
    # Near ε logit p is known to about 1 / sqrt(n ε (1-ε)): cells there are finer than that.
    width = _WIDTH * min(1.0, 2 / float(np.sqrt(most * p * (1 - p))))
    reach = max(float(special.logit(1 - 0.05 / max(most, 2))), abs(threshold) + 1)
    return np.concatenate(
        [threshold - _steps(width, threshold + reach)[::-1], [threshold], threshold + _steps(width, reach - threshold)]
    )


def _steps(width: float, reach: float) -> NDArray[np.float64]:
    """Distances from ε of the edges on one side, growing geometrically from the first width up to ``reach``."""
    if width * _CELLS >= reach:
        return np.linspace(0, reach, _CELLS + 1)[1:]
    growth = optimize.brentq(lambda r: width * np.power(r, np.arange(_CELLS)).sum() - reach, 1, 1e3)
    return np.cumsum(width * np.power(growth, np.arange(_CELLS)))


def _likelihood(n: NDArray[np.int64], c: NDArray[np.int64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each problem's counts in the middle of each cell, [distinct, G], largest in its row = 1."""
    middle = (edges[1:] + edges[:-1]) / 2
    log = c[:, None] * special.log_expit(middle) + (n - c)[:, None] * special.log_expit(-middle)
    return np.asarray(np.exp(log - log.max(axis=1, keepdims=True)))


def _checked(
    n: ArrayLike, c: ArrayLike, epsilon: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    n_N, c_N = (np.atleast_1d(np.asarray(x, dtype=np.int64)) for x in (n, c))
    if n_N.shape != c_N.shape or np.any((c_N < 0) | (c_N > n_N)):
        raise ValueError("n and c must be counts of the same problems with 0 <= c <= n")
    epsilon_N = np.broadcast_to(np.asarray(epsilon, dtype=np.float64), n_N.shape)
    if not np.all(epsilon_N > 0):
        raise ValueError("epsilon must be positive: -ln(zeta) / k of each problem")
    return n_N, c_N, epsilon_N

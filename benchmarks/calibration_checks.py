"""What ``calibration.py`` asks of the replications of a world: arrays with one row a replication, and their summaries.

Everything in ``leash_ray`` is called as ``leash reduce`` calls it: from a :class:`~leash_ray.measure.pair.Pair` to the
numbers of ``support.json``.
"""

import zlib

import numpy as np
from calibration_worlds import N_RIGHT, Drawn, Floats, World, draw, ks_of, names_of_means
from numpy.typing import NDArray
from scipy import stats

from leash_ray.measure.columns import Columns
from leash_ray.measure.curves import add_curves, curves_json, curves_of
from leash_ray.measure.means import add_means, means_json, means_of
from leash_ray.measure.pair import SIDES, Pair, within
from leash_ray.measure.support import add_support, support_json, units_of
from leash_ray.stats.bootstrap import Resampling
from leash_ray.stats.entropy import answer_entropies_nats, chao_shen_entropies_nats, miller_madow_entropies_nats
from leash_ray.stats.null import label_null
from leash_ray.stats.richness import richness
from leash_ray.stats.soft import PRIORS, soft_support
from leash_ray.stats.support import METRICS, epsilon

N_PROBLEMS = 500
ZETA = 0.05
LEVEL = 0.95
BAND = (0.93, 0.97)
"""Of the coverage of 95% intervals."""
ALPHA = 0.05

Samples = tuple[int, int]
"""Samples a problem, of base and of trained."""
Rows = dict[str, Floats]
"""By name, [replications, ...]."""


def replication(world: World, n: Samples, number: int, n_problems: int = N_PROBLEMS) -> tuple[Drawn, int]:
    """The data of one replication, and a seed for what else is drawn in it."""
    rng = np.random.default_rng([zlib.crc32(world.name.encode()), *n, number])
    return draw(world, n_problems, n, rng), int(rng.integers(2**31))


def coverage_rows(world: World, n: Samples, numbers: range, n_boot: int, n_problems: int = N_PROBLEMS) -> Rows:
    """(value, low, high) of every statistic, [replications, 3]; NaN where undefined."""
    rows = []
    for number in numbers:
        drawn, seed = replication(world, n, number, n_problems)
        rows.append(intervals(drawn.pair, n_boot, seed))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def intervals(pair: Pair, n_boot: int, seed: int) -> dict[str, tuple[float, float, float]]:
    """(value, low, high) as in ``support.json``, under the names of :func:`calibration_worlds.truth`."""
    units, columns = units_of(pair), Columns()
    curves = [curve for curve in curves_of(pair) if curve.name == "pass_at_k"]
    means = [mean for mean in means_of(pair) if mean.name == "answer_entropy"]
    for unit in units:
        add_support(columns, unit, pair)
    add_curves(columns, curves)
    add_means(columns, means)
    found = columns.intervals(Resampling(n_boot, LEVEL, seed))
    out: dict[str, tuple[float, float, float]] = {}
    for unit in units:
        ci = support_json(unit, pair, found, zeta=ZETA, level=LEVEL, labels_may_move=False)["ci"]
        for metric, value in zip(METRICS, found[f"support/{unit.name}"].value, strict=True):
            out[f"{metric}/{unit.name}"] = (float(value), *(ci[metric] or (np.nan, np.nan)))
    curve_values, curve_limits, curve_changes = curves_json(curves, found, pair.clusters, LEVEL)
    mean_values, mean_limits, mean_changes = means_json(means, found)
    for name in names_of_means(ks_of(pair.k)):
        what, _, k = name.partition("@")
        for i, side in enumerate(SIDES):
            if k:
                value, ci = curve_values[i]["pass_at_k"][k], curve_limits[i]["pass_at_k"][k]
            else:
                value, ci = mean_values[i]["answer_entropy"], mean_limits[i]["answer_entropy"]
            out[f"{what}{'@' * bool(k)}{k}/{side}"] = (value, *ci)
        change = curve_changes["pass_at_k"][k] if k else mean_changes["answer_entropy"]
        out[f"{name}/difference"] = (change["value"], *change["ci"])
    return out


def coverage(rows: Rows, truth: dict[str, float], width: float = 1.0) -> dict[str, dict[str, float]]:
    """How often intervals hold the truth, of those that are defined.

    Args:
        rows: of :func:`coverage_rows`.
        truth: by the same names.
        width: intervals are made so many times as wide around their estimate first; 1 but for seeing that a wrong
            interval is found out.
    """
    out = {}
    for name, rows_R3 in rows.items():
        rows_R3 = rows_R3[~np.isnan(rows_R3).any(axis=1)]
        value, low, high = rows_R3.T
        low, high = value - (value - low) * width, value + (high - value) * width
        slack = 1e-7  # of the quadrature
        out[name] = {
            "coverage": float(np.mean((low <= truth[name] + slack) & (truth[name] - slack <= high))),
            "too_high": float(np.mean(low > truth[name] + slack)),
            "too_low": float(np.mean(high < truth[name] - slack)),
            "undefined": 1 - len(rows_R3) / len(rows[name]),
            "truth": float(truth[name]),
            "bias": float(np.mean(value) - truth[name]),
            "mean_width": float(np.mean(high - low)),
        }
    return out


def null_rows(world: World, n: Samples, numbers: range, answers: bool, n_problems: int = N_PROBLEMS) -> Rows:
    """p-values by name, [replications]: ``exact p_E/problem``, ``randomised p_net/problem``, ...; and E, S, expected.

    Args:
        answers: unit answer too (tens of times as many units).
    """
    rows = []
    for number in numbers:
        drawn, seed = replication(world, n, number, n_problems)
        rng, pair = np.random.default_rng(seed), drawn.pair
        row: dict[str, float] = {}
        for unit in units_of(pair)[: 1 + answers]:
            base, trained = (within(first, pair.k) for first in unit.first)
            E, S = int(np.sum(~base & trained)), int(np.sum(base & ~trained))
            null = label_null(unit.n[0], unit.c[0], unit.n[1], unit.c[1], pair.k)
            exact = null.p_values(E, S)
            row |= {f"E/{unit.name}": E, f"S/{unit.name}": S, f"expected/{unit.name}": null.expected}
            for name in ("p_E", "p_S", "p_net"):
                randomised = null.randomised_p_values(E, S, float(rng.uniform()))
                row[f"exact {name}/{unit.name}"] = getattr(exact, name)
                row[f"randomised {name}/{unit.name}"] = getattr(randomised, name)
        rows.append(row)
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in rows[0]}


def null_summary(rows: Rows) -> dict[str, dict[str, float]]:
    """By p-value: KS p-value of the randomised ones against uniform, and how often each kind is at most ``ALPHA``."""
    out = {}
    for name in (name.removeprefix("exact ") for name in rows if name.startswith("exact ")):
        exact, randomised = rows[f"exact {name}"], rows[f"randomised {name}"]
        out[name] = {
            "ks_p": float(stats.kstest(randomised, "uniform").pvalue),
            "rejected": float(np.mean(exact <= ALPHA)),
            "rejected_randomised": float(np.mean(randomised <= ALPHA)),
            # Of a size that is ALPHA or less: how probable so many rejections are.
            "size_p": float(stats.binom.sf(np.sum(exact <= ALPHA) - 1, len(exact), ALPHA)),
            "replications": len(exact),
        }
    return out


def soft_rows(world: World, n: Samples, numbers: range, n_problems: int = N_PROBLEMS) -> Rows:
    """Expected P, E, S, O by each prior, less the true ones, in percent of problems, [replications, 4]; and the same of
    the counts as drawn (``hard``)."""
    rows = []
    for number in numbers:
        drawn, _ = replication(world, n, number, n_problems)
        pair = drawn.pair
        limit = epsilon(ZETA, pair.k)
        above = [p_NA[:, :N_RIGHT].sum(axis=1) > limit for p_NA in (drawn.base_NA, drawn.trained_NA)]
        true = _groups(above[0], above[1])
        row = {"hard": _groups(within(pair.base.first, pair.k), within(pair.trained.first, pair.k)) - true}
        for prior in PRIORS:
            args = (pair.base.n, pair.base.c, pair.trained.n, pair.trained.c, limit)
            expected = soft_support(*args, prior=prior).expected()
            row[prior] = np.array([expected[group] for group in "PESO"]) - true
        rows.append(row)
    return {name: np.array([row[name] for row in rows]) * (100 / n_problems) for name in rows[0]}


def _groups(base: NDArray[np.bool_], trained: NDArray[np.bool_]) -> Floats:
    cells = (base & trained, ~base & trained, base & ~trained, ~base & ~trained)
    return np.array([cell.sum() for cell in cells], dtype=np.float64)


def soft_summary(rows: Rows) -> dict[str, dict[str, dict[str, float]]]:
    """By prior and group: bias and its standard error, in percent of problems."""
    return {
        prior: {
            group: {"bias": float(column.mean()), "se": float(column.std(ddof=1) / np.sqrt(len(column)))}
            for group, column in zip("PESO", values.T, strict=True)
        }
        for prior, values in rows.items()
    }


def diversity_rows(world: World, n: int, numbers: range, n_problems: int = N_PROBLEMS) -> Rows:
    """Estimates of entropy and richness of base's answers, less the truth of the same problems (mean over problems),
    [replications]; and the truth."""
    rows = []
    for number in numbers:
        drawn, _ = replication(world, (n, n), number, n_problems)
        answers, correct = drawn.pair.answers, drawn.pair.correct
        assert answers is not None and correct is not None
        p_NA = drawn.base_NA
        entropy = float(np.sum(-p_NA * np.log(np.where(p_NA > 0, p_NA, 1.0)), axis=1).mean())
        counts = answers.count[0], answers.problem, n_problems
        # A right answer of probability 0 by underflow is none.
        n_right = float((p_NA[:, :N_RIGHT] > 0).sum(axis=1).mean())
        rich = richness(correct.correct[0], correct.problem, drawn.pair.base.n)
        rows.append(
            {
                "entropy": entropy,
                "plug-in": answer_entropies_nats(*counts).mean() - entropy,
                "Miller-Madow": miller_madow_entropies_nats(*counts).mean() - entropy,
                "Chao-Shen": chao_shen_entropies_nats(*counts).mean() - entropy,
                "richness": n_right,
                "observed": rich.observed.mean() - n_right,
                "Chao1": rich.chao1.mean() - n_right,
            }
        )
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def diversity_summary(rows: Rows) -> dict[str, dict[str, float]]:
    """By estimator: bias, and bias in percent of the truth."""
    truths = {name: float(rows[name].mean()) for name in ("entropy", "richness")}
    out: dict[str, dict[str, float]] = {}
    for truth, names in (("entropy", ("plug-in", "Miller-Madow", "Chao-Shen")), ("richness", ("observed", "Chao1"))):
        for name in names:
            bias = float(rows[name].mean())
            out[name] = {"truth": truths[truth], "bias": bias, "bias_percent": 100 * bias / truths[truth]}
    return out

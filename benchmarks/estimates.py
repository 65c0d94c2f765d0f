"""All estimates of a large study on one core; and our bootstrap against SciPy's on the same numbers.

Same machine, data and core, one side after the other::

    python benchmarks/estimates.py [--quick] [--json] [--problems 10000]

``all_estimates_s``: everything that ``leash reduce`` prints of 10,000 problems x 2 policies x 256 samples with ten
right and ten wrong answers a problem and 2,000 replicates, from the merged state's arrays. ``ours_s`` and ``theirs_s``:
BCa intervals of SRR, NDR, SDS, NSCR and both pass@k curves alone, by ``leash_ray.stats.bootstrap`` and by
``scipy.stats.bootstrap``, with as many replicates. ``ratio`` is ours over theirs, of speeds. ``largest_difference`` is
between the ends of both sides' intervals, in widths of the interval.
"""

import os

# Before NumPy is imported: one core.
os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
from _machine import machine, versions
from numpy.typing import NDArray
from scipy import stats

from leash_ray.measure.group import measure
from leash_ray.measure.measuring import Measuring
from leash_ray.measure.pair import Answers, Pair, PolicyData
from leash_ray.measure.settings import MeasureConfig
from leash_ray.stats.bootstrap import Resampling, bootstrap
from leash_ray.stats.passk import pass_at_k, powers_of_two_up_to
from leash_ray.stats.support import support_metrics

N_SAMPLES, N_ANSWERS, REPLICATES = 256, 10, 2000


def study(n_problems: int, seed: int = 0) -> Pair:
    """Two policies of one ability: p ~ Beta(0.3, 0.7), ten right and ten wrong answers a problem."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.3, 0.7, n_problems)
    shares = rng.dirichlet(np.full(N_ANSWERS, 0.3), n_problems)
    sides, counts, correct = [], [], []
    for _ in range(2):
        c = rng.binomial(N_SAMPLES, p)
        right, wrong = rng.multinomial(c, shares), rng.multinomial(N_SAMPLES - c, shares)
        # The first of c hits among 256 places in random order.
        first = np.where(c > 0, rng.permuted(np.arange(N_SAMPLES) < c[:, None], axis=1).argmax(axis=1), -1)
        n = np.full(n_problems, N_SAMPLES)
        nats, tokens = rng.gamma(10, 10, n_problems), n * 10.0
        sides.append(PolicyData(n, c, 0 * n, first, first, n, nats, tokens, nats / tokens))
        counts.append(np.concatenate([right, wrong], axis=1).ravel())
        correct.append(np.concatenate([right, 0 * wrong], axis=1).ravel())
    problem = np.repeat(np.arange(n_problems), 2 * N_ANSWERS)
    before = tuple(np.where(c > 0, 0, -1) for c in correct)
    every = Answers(problem, (counts[0], counts[1]), (correct[0], correct[1]), (before[0], before[1]))
    seen = correct[0] + correct[1] > 0
    right_only = Answers(
        problem[seen],
        (counts[0][seen], counts[1][seen]),
        (correct[0][seen], correct[1][seen]),
        (before[0][seen], before[1][seen]),
    )
    return Pair(sides[0], sides[1], every, right_only, N_SAMPLES)


def all_estimates_s(pair: Pair) -> float:
    started = time.perf_counter()
    measure(pair, pair, Measuring(config=MeasureConfig(bootstrap=REPLICATES)))
    return time.perf_counter() - started


def columns_of(pair: Pair) -> NDArray[np.float64]:
    """P, E and S of each problem, then both policies' pass@k, [N, 3 + 2 K]."""
    ks = powers_of_two_up_to(pair.k)
    base, trained = (side.first >= 0 for side in pair.sides)
    groups = np.stack([base & trained, ~base & trained, base & ~trained], axis=1)
    return np.concatenate([groups, *(pass_at_k(side.n, side.c, ks) for side in pair.sides)], axis=1)


def ours(columns_ND: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Seconds, and the ends of the intervals, [M, 2]."""

    def statistic(means: NDArray[np.float64]) -> NDArray[np.float64]:
        metrics = support_metrics(*np.moveaxis(means[..., :3], -1, 0))
        return np.concatenate([np.stack(list(metrics.values()), axis=-1), means[..., 3:]], axis=-1)

    started = time.perf_counter()
    found = bootstrap(columns_ND, statistic, Resampling(n_boot=REPLICATES))
    return time.perf_counter() - started, np.stack([found.low, found.high], axis=1)


def theirs(columns_ND: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """The same, by SciPy."""

    def statistic(*samples: Any, axis: int = -1) -> Any:
        means = [np.mean(x, axis=axis) for x in samples]
        return np.stack([*support_metrics(*means[:3]).values(), *means[3:]])

    started = time.perf_counter()
    found = stats.bootstrap(
        list(columns_ND.T), statistic, n_resamples=REPLICATES, batch=50, paired=True, vectorized=True, rng=0
    ).confidence_interval
    return time.perf_counter() - started, np.stack([found.low, found.high], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 problems")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--problems", type=int, default=10_000)
    args = parser.parse_args()
    n_problems = 1000 if args.quick else args.problems
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    def say(line: str) -> None:
        if not args.json:
            print(line, file=sys.stderr, flush=True)

    say(f"{n_problems} problems x 2 policies x {N_SAMPLES} samples, {REPLICATES} replicates, one core")
    pair = study(n_problems)
    all_s = all_estimates_s(pair)
    say(f"all estimates: {all_s:.2f} s")
    columns_ND = columns_of(pair)
    (ours_s, ours_M2), (theirs_s, theirs_M2) = ours(columns_ND), theirs(columns_ND)
    say(f"{len(ours_M2)} of them, ours {ours_s:.2f} s, scipy.stats.bootstrap {theirs_s:.2f} s")
    width_M = np.maximum(np.diff(theirs_M2, axis=1), 1e-12)
    result = {
        "problems": n_problems,
        "replicates": REPLICATES,
        "all_estimates_s": round(all_s, 3),
        "ours_s": round(ours_s, 3),
        "theirs_s": round(theirs_s, 3),
        "ratio": round(theirs_s / ours_s, 2),
        "largest_difference": round(float(np.max(np.abs(ours_M2 - theirs_M2) / width_M)), 3),
        "machine": {**machine(), "cpus_used": 1},
        "versions": versions("numpy", "scipy"),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

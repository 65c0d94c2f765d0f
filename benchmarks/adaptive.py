"""Adaptive sampling against the fixed design, on simulated problems: the same support for how many of the completions?

    python benchmarks/adaptive.py [--quick] [--json] [--k 8192] [--problems 400] [--studies 3]

Each problem's chances of a right answer under base and trained are two Beta variables, tied by a Gaussian copula. Their
shapes are fitted to a table of arXiv 2507.14843: both policies' shares of problems solved at k, and the share that
both solve. The tables have no pass@1; PASS_AT_1 is assumed, and the shares drawn hardly depend on it. Every sample is
right or wrong by its problem's chance alone. The rounds are the project's own (``leash_ray.sampling.rounds``), and so
are the estimates, of the same samples: the fixed design's table, and the part of it that the adaptive design draws.

``floor`` is what no design that knows P, E, S and O at k for certain can go below: all k samples of each pair of a
policy and a problem in which there is no right answer. ``on_solved`` is the share drawn of the others. ``ratio`` is
completions of the fixed design over those of the adaptive one.
"""

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from _machine import machine
from numpy.typing import NDArray
from scipy import optimize, special, stats

from leash_ray.estimates import Estimates, estimate
from leash_ray.measure.measuring import Measuring
from leash_ray.measure.settings import MeasureConfig
from leash_ray.reducers import CompletionsState
from leash_ray.sampling.budget import Design, design_of
from leash_ray.sampling.held import Held
from leash_ray.sampling.rounds import Rounds
from leash_ray.sampling.settings import BudgetConfig, SamplingConfig
from leash_ray.sampling.shard import Shard

PASS_AT_1 = (0.15, 0.30)
"""Assumed, of base and trained."""
TABLES = {
    "all of table 1": (11118, 254, 784, 4311),
    "ProRL-1.5B-v2, not mathematics": (1039, 39, 113, 666),
}
"""(P, E, S, O) in the paper."""
BUDGETS: dict[str, dict[str, Any]] = {
    "first 32, grow 4": {"first": 32, "grow": 4},
    "first 32, grow 2": {"first": 32, "grow": 2},
    "first 8, grow 4": {"first": 8, "grow": 4},
    "stop after 3": {"first": 32, "grow": 4, "stop_after_correct": 3},
    "all reach 256": {"first": 32, "grow": 4, "all_reach": 256},
}
POLICIES = ("base", "trained")
Hits = dict[tuple[str, str], NDArray[np.int64]]
"""(policy, problem) -> indices of its right samples among k, ascending."""


@dataclass(frozen=True)
class World:
    """Problems as one table has them."""

    shapes: tuple[tuple[float, float], tuple[float, float]]
    rho: float

    @staticmethod
    def fitted(counts: tuple[int, int, int, int], k: int) -> "World":
        P, E, S, _ = (count / sum(counts) for count in counts)
        shapes = tuple(beta_shape(mean, share, k) for mean, share in zip(PASS_AT_1, (P + S, P + E), strict=True))
        normal = np.random.default_rng(0).standard_normal((3, 200_000))

        def both(rho: float) -> float:
            """Share that both solve, less P."""
            solved = [1 - (1 - p) ** k for p in chances(shapes, rho, normal)]
            return float((solved[0] * solved[1]).mean()) - P

        most = 0.999  # where the table ties them even more, this is as near as these shapes come
        return World(shapes, optimize.brentq(both, 0.0, most, xtol=1e-3) if both(most) > 0 else most)  # type: ignore[arg-type]

    def draw(self, n_problems: int, k: int, rng: np.random.Generator) -> Hits:
        """Right samples of every pair."""
        p = chances(self.shapes, self.rho, rng.standard_normal((3, n_problems)))
        return {
            (policy, f"{i:05}"): np.sort(rng.choice(k, rng.binomial(k, p[side][i]), replace=False))
            for side, policy in enumerate(POLICIES)
            for i in range(n_problems)
        }


def beta_shape(mean: float, solved: float, k: int) -> tuple[float, float]:
    """(a, b) of a Beta variable p with this mean and this mean of 1 - (1 - p)**k."""

    def excess(log_a: float) -> float:
        a = np.exp(log_a)
        b = a * (1 - mean) / mean
        return float(1 - np.exp(special.betaln(a, b + k) - special.betaln(a, b))) - solved

    a = float(np.exp(optimize.brentq(excess, -8, 3)))
    return a, a * (1 - mean) / mean


def chances(
    shapes: Sequence[tuple[float, float]], rho: float, normal: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Of base and trained, from three rows of standard normal numbers, the first of which they share."""
    shared, *own = normal
    return [
        stats.beta.ppf(stats.norm.cdf(np.sqrt(rho) * shared + np.sqrt(1 - rho) * x), a, b)
        for x, (a, b) in zip(own, shapes, strict=True)
    ]


def drawn(design: Design, hits: Hits) -> dict[tuple[str, str], int]:
    """Samples that the project's rounds draw of each pair."""

    def make(shards: Sequence[Shard]) -> Iterator[dict[str, Any]]:
        for shard in shards:
            correct = {
                p: [int(h) for h in hits[shard.policy, p] if shard.first_sample <= h < shard.end_sample][:64]
                for p in shard.problems
            }
            yield {"shard": shard.to_json(), "correct": correct, "dead": []}

    with tempfile.TemporaryDirectory() as folder:
        rounds = Rounds(Held(), list(hits), design, 4096, Path(folder) / "dead_letters.jsonl")
        for _ in rounds.run(make):
            pass
    return {pair: rounds.held.n(pair) for pair in hits}


def estimates(hits: Hits, n: dict[tuple[str, str], int]) -> Estimates:
    """The project's estimates of the first n samples of every pair."""
    state = CompletionsState.empty()
    for policy in POLICIES:
        pairs = [pair for pair in hits if pair[0] == policy]
        sizes = np.array([n[pair] for pair in pairs])
        correct = np.zeros(sizes.sum(), bool)
        starts = np.cumsum(sizes) - sizes
        for pair, start in zip(pairs, starts, strict=True):
            own = hits[pair]
            correct[start + own[own < n[pair]]] = True
        words = pa.array(["INCORRECT", "CORRECT"])
        names = pa.array([problem for _, problem in pairs])
        which = np.repeat(np.arange(len(pairs), dtype=np.int32), sizes)
        table = pa.table(
            {
                "policy": pa.DictionaryArray.from_arrays(np.zeros(len(which), np.int32), pa.array([policy])),
                "problem_id": pa.DictionaryArray.from_arrays(which, names),
                "sample_index": np.arange(len(which)) - starts[which],
                "verdict": pa.DictionaryArray.from_arrays(correct.astype(np.int32), words),
            }
        )
        state = state.update(table)
    how = Measuring(0.05, MeasureConfig(bootstrap=100))
    return estimate(state.finalize(), base="base", trained="trained", measuring=how)


def counts(found: Estimates) -> list[int | None]:
    problem = found.overall.problem
    return [problem.P, problem.E, problem.S, problem.O]


def pass_at_1(found: Estimates) -> list[float]:
    return [found.overall.policies[policy].pass_at_k[1] for policy in POLICIES]


def study(world: World, k: int, n_problems: int, seed: int, budgets: Sequence[str]) -> dict[str, dict[str, Any]]:
    """One sample of problems, by every design."""
    hits = world.draw(n_problems, k, np.random.default_rng(seed))
    fixed = estimates(hits, dict.fromkeys(hits, k))
    unsolved = [pair for pair, own in hits.items() if not len(own)]
    found: dict[str, dict[str, Any]] = {
        "fixed": {
            "support": counts(fixed),
            "floor": len(unsolved) / len(hits),
            "pass_at_1": pass_at_1(fixed),
        }
    }
    for name in budgets:
        n = drawn(design_of(SamplingConfig(budget=BudgetConfig(max=k, **BUDGETS[name]))), hits)
        adaptive = estimates(hits, n)
        out, theirs = adaptive.to_json(), fixed.to_json()
        solved = [pair for pair in hits if len(hits[pair])]
        found[name] = {
            "support": counts(adaptive),
            "same": counts(adaptive) == counts(fixed) and out["k"] == k,
            "same_coverage": all(
                out["policies"][policy]["coverage_at_k"] == theirs["policies"][policy]["coverage_at_k"]
                for policy in POLICIES
            ),
            "share": sum(n.values()) / (k * len(hits)),
            "on_solved": sum(n[pair] for pair in solved) / (k * len(solved)),
            "median_n": float(np.median(list(n.values()))),
            "pass_at_1": pass_at_1(adaptive),
        }
    return found


def summary(studies: Sequence[dict[str, dict[str, Any]]], name: str) -> dict[str, Any]:
    """Over studies: means, and whether the support was the same in every one."""
    own = [one[name] for one in studies]
    truth = [one["fixed"]["pass_at_1"] for one in studies]
    shift = np.mean([one["pass_at_1"] for one in own], axis=0) - np.mean(truth, axis=0)
    return {
        "same_support": all(one["same"] for one in own),
        "same_coverage": all(one["same_coverage"] for one in own),
        "share": round(float(np.mean([one["share"] for one in own])), 4),
        "floor": round(float(np.mean([one["fixed"]["floor"] for one in studies])), 4),
        "on_solved": round(float(np.mean([one["on_solved"] for one in own])), 4),
        "median_n": float(np.median([one["median_n"] for one in own])),
        "pass_at_1_too_large_by": [round(float(x), 4) for x in shift],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one table, one small study, two budgets")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--k", type=int, default=8192)
    parser.add_argument("--problems", type=int, default=400)
    parser.add_argument("--studies", type=int, default=3)
    args = parser.parse_args()
    n_problems, n_studies = (60, 1) if args.quick else (args.problems, args.studies)
    budgets = list(BUDGETS)[:1] if args.quick else list(BUDGETS)
    tables = dict(itertools.islice(TABLES.items(), 1 if args.quick else None))
    started_s = time.perf_counter()
    worlds: dict[str, Any] = {}
    for table, of_paper in tables.items():
        world = World.fitted(of_paper, args.k)
        studies = [study(world, args.k, n_problems, seed, budgets) for seed in range(n_studies)]
        worlds[table] = {
            "paper": of_paper,
            "shapes": [[round(x, 4) for x in shape] for shape in world.shapes],
            "rho": round(world.rho, 3),
            "support_fixed": studies[0]["fixed"]["support"],
            "budgets": {name: summary(studies, name) for name in budgets},
        }
    first = worlds[next(iter(worlds))]["budgets"][budgets[0]]
    fixed = 2 * n_problems * args.k
    result = {
        "benchmark": "adaptive",
        "k": args.k,
        "problems": n_problems,
        "studies": n_studies,
        "worlds": worlds,
        "fixed": {"completions": fixed},
        "adaptive": {"completions": round(fixed * first["share"]), "budget": budgets[0]},
        "ratio": round(1 / first["share"], 2),
        "same_support": all(one["same_support"] for of in worlds.values() for one in of["budgets"].values()),
        "wall_s": round(time.perf_counter() - started_s, 1),
        "machine": machine(),
    }
    if not args.json:
        for table, of in worlds.items():
            print(f"{table}: Beta{tuple(of['shapes'][0])} and Beta{tuple(of['shapes'][1])}, rho {of['rho']}")
            for name, one in of["budgets"].items():
                print(
                    f"  {name:18} {one['share']:6.1%} of the completions (floor {one['floor']:.1%}; "
                    f"{one['on_solved']:.1%} on solved pairs), median {one['median_n']:,.0f} samples, "
                    f"support {'the same' if one['same_support'] else 'DIFFERS'}, "
                    f"pass@1 too large by {one['pass_at_1_too_large_by']}"
                )
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""Are a comparison's intervals and p-values to be believed? Against simulated recipes whose truth is known.

Problems of all difficulties, k = 64 samples each, and seeds of training that move all problems (by a normal shift of
log odds with standard deviation ``seed_sd``) and each problem by itself (0.5). Counted are

- coverage: how often 95% intervals of SRR, NDR and NSCR hold the truth, by three methods: ours
  (:mod:`leash_ray.compare.seeds`); the bootstrap that draws seeds and problems again; and problems alone;
- false: how often two recipes that are the same are told apart at p <= 0.05: by p (seeds and problems) of the lost
  problems and of NSCR, and by the exact test, which is of these models alone.

    python benchmarks/comparing.py [--quick] [--json]
"""

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from _machine import machine, versions

from leash_ray.compare.blocks import Block, support_block
from leash_ray.compare.seeds import Replicates, between, over_seeds, replicates
from leash_ray.measure.pair import Floats
from leash_ray.stats.bootstrap import Resampling
from leash_ray.stats.mcnemar import clustered_p

K, SHIFT, OWN_SD, N_BOOT = 64, -0.3, 0.5, 400
SEED_SDS = (0.0, 0.3, 1.0)
SEEDS = (2, 3, 5)
METRICS = ("SRR", "NDR", "NSCR")
METHODS = ("ours", "resampled", "problems")


def counts_of(rng: np.random.Generator, n_problems: int, n_seeds: int, seed_sd: float) -> list[Floats]:
    """P, E, S of each problem, [N, 3], of each seed; all against one draw of the base."""
    log_odds = rng.normal(-4, 2.5, n_problems)
    base = _found(rng, log_odds)
    made = []
    for _ in range(n_seeds):
        found = _found(rng, log_odds + SHIFT + rng.normal(0, seed_sd) + rng.normal(0, OWN_SD, n_problems))
        made.append(np.stack([base & found, ~base & found, base & ~found], axis=1).astype(float))
    return made


def _found(rng: np.random.Generator, log_odds: Floats) -> Any:
    p = 1 / (1 + np.exp(-log_odds))
    return rng.random(len(p)) < 1 - (1 - p) ** K


def block_of(counts: Floats) -> Block:
    return support_block("problem", counts)


def places(block: Block) -> list[int]:
    """Of METRICS among its measures."""
    return [block.measures.index(metric) for metric in METRICS]


def truth(seed_sd: float) -> list[float]:
    """Mean over seeds of very many problems' metrics."""
    rng = np.random.default_rng(1)
    blocks = [block_of(counts_of(rng, 20_000, 1, seed_sd)[0]) for _ in range(300)]
    values = np.mean([block.statistic(block.values.mean(axis=0)) for block in blocks], axis=0)
    return [float(values[i]) for i in places(blocks[0])]


def covered(seed: int, *, n_problems: int, n_seeds: int, seed_sd: float, true: list[float]) -> list[list[bool]]:
    """By METHODS, then METRICS: whether the interval holds the truth."""
    rng = np.random.default_rng(seed)
    blocks = [block_of(counts) for counts in counts_of(rng, n_problems, n_seeds, seed_sd)]
    runs = replicates([[block] for block in blocks], Resampling(N_BOOT, 0.95, seed))
    ours = over_seeds(runs, n_problems, 0.95)
    drawn_JRM = np.stack([run.drawn_RM for run in runs])
    seeds_JR = rng.integers(0, n_seeds, (n_seeds, N_BOOT))
    resampled_RM = np.take_along_axis(drawn_JRM, seeds_JR[:, :, None], axis=0).mean(axis=0)
    limits = [(ours.low_M, ours.high_M)]
    limits += [tuple(np.quantile(x, [0.025, 0.975], axis=0)) for x in (resampled_RM, drawn_JRM.mean(axis=0))]
    at = places(blocks[0])
    return [[bool(low[i] <= t <= high[i]) for i, t in zip(at, true, strict=True)] for low, high in limits]


def told_apart(seed: int, *, n_problems: int, n_seeds: int, seed_sd: float) -> list[bool]:
    """Two times one recipe: p of the lost problems, p of NSCR, exact test of the lost problems, each <= 0.05."""
    counts = counts_of(np.random.default_rng(seed), n_problems, 2 * n_seeds, seed_sd)
    blocks = [block_of(c) for c in counts]
    runs: list[Replicates] = replicates([[block] for block in blocks], Resampling(N_BOOT, 0.95, seed))
    found = between(runs[:n_seeds], runs[n_seeds:], n_problems, 0.95, seeds_vary=True)
    lost = [c[:, 2] for c in counts]
    exact = clustered_p(np.sum(lost[:n_seeds], axis=0) - np.sum(lost[n_seeds:], axis=0))
    measures = blocks[0].measures
    p = [found.p_M[measures.index("S")], found.p_M[measures.index("NSCR")], exact]
    return [bool(x <= 0.05) for x in p]


def collect(n_problems: int, replications: int, workers: int) -> list[dict[str, Any]]:
    rows = []
    with ProcessPoolExecutor(workers) as pool:
        for seed_sd in SEED_SDS:
            true = truth(seed_sd)
            for n_seeds in SEEDS:
                how: dict[str, Any] = {"n_problems": n_problems, "n_seeds": n_seeds, "seed_sd": seed_sd}
                seeds = range(replications)
                hits = np.mean(list(pool.map(partial(covered, **how, true=true), seeds, chunksize=25)), axis=0)
                false = np.mean(list(pool.map(partial(told_apart, **how), seeds, chunksize=25)), axis=0)
                rows.append(
                    {
                        "seed_sd": seed_sd,
                        "seeds": n_seeds,
                        "truth": dict(zip(METRICS, np.round(true, 4).tolist(), strict=True)),
                        "coverage": {
                            method: dict(zip(METRICS, hits[i].round(4).tolist(), strict=True))
                            for i, method in enumerate(METHODS)
                        },
                        "false": dict(zip(("lost", "NSCR", "lost_exact"), false.round(4).tolist(), strict=True)),
                    }
                )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    print("seed sd  seeds  coverage of NSCR (SRR): ours, resampled, problems    told apart: lost, NSCR, exact")
    for row in rows:
        of = [f"{row['coverage'][m]['NSCR']:.3f} ({row['coverage'][m]['SRR']:.3f})" for m in METHODS]
        print(f"{row['seed_sd']:7}  {row['seeds']:5}  {'   '.join(of)}    {list(row['false'].values())}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the replications")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--problems", type=int, default=150)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    started_s = time.perf_counter()
    replications = 100 if args.quick else 1000
    rows = collect(args.problems, replications, args.workers)
    if not args.json:
        show(rows)
    result = {
        "benchmark": "comparing",
        "n_problems": args.problems,
        "replications": replications,
        "rows": rows,
        "wall_s": round(time.perf_counter() - started_s, 1),
        "machine": machine(),
        "versions": versions("numpy", "scipy"),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

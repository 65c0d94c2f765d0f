"""Are the numbers to be believed? Intervals, chance, soft support, entropy and richness against a known truth.

Simulates runs of 500 problems from worlds whose truth is known (``calibration_worlds.py``), measures each as ``leash
reduce`` would, and counts how often it is right::

    python benchmarks/calibration.py [--quick] [--json] [--figure docs/figures/calibration.svg]

- coverage: how often 95% intervals hold the truth; 93% to 97% is aimed at.
- null: whether randomised p-values of the label-permutation null are uniform where training changed nothing (KS test),
  and how often the exact ones reject there (at most 5%).
- soft: bias of expected P, E, S, O against the true counts of problems with p above epsilon, in percent of problems.
- power: how often the null rejects where a share of the problems is lost, and nothing else changed.
- diversity: bias of entropy and richness estimators against the number of samples.

``summary`` says what falls short. A share of replications is uncertain by itself: ``beyond_noise`` are the coverages
whose own 99.9% interval lies outside of 93% to 97%.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import calibration_checks as checks
import numpy as np
from _machine import machine, versions
from calibration_checks import Rows, Samples
from calibration_worlds import Change, World, shapes, truth, worlds
from scipy import stats

SAMPLES = ((64, 64), (256, 256), (256, 64))
DIVERSITY_N = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
DIVERSITY_SHAPES = ("paper", "Beta(2, 5)")
LOST = (0.0, 0.005, 0.01, 0.02, 0.04, 0.08)
"""Shares of the problems that are lost, and nothing else changed: how large a loss the null sees."""
CHUNK = 25
"""Replications that a process makes at once."""
GRID = 50
"""Steps of an ECDF."""


@dataclass(frozen=True)
class Size:
    """Replications of each check, and of the bootstrap in each of them."""

    coverage: int
    bootstrap: int
    null: int
    null_answers: int
    power: int
    soft: int
    diversity: int


FULL = Size(coverage=500, bootstrap=1000, null=1000, null_answers=200, power=400, soft=200, diversity=100)
QUICK = Size(coverage=24, bootstrap=500, null=50, null_answers=10, power=25, soft=10, diversity=5)


@dataclass(frozen=True)
class Job:
    """Replications ``numbers`` of one check."""

    check: str
    world: World
    n: Samples
    numbers: range
    n_boot: int = 0

    @property
    def key(self) -> tuple[str, str, Samples]:
        return self.check, self.world.name, self.n


def jobs(size: Size) -> Iterator[Job]:
    for world in worlds():
        for n in SAMPLES:
            equal = n[0] == n[1]
            if equal or world.shape == "paper":
                yield from _chunks("coverage", world, n, size.coverage, size.bootstrap)
            if world.change.name == "same":
                yield from _chunks("null", world, n, size.null)
                if world.shape == "paper":
                    yield from _chunks("null, answers", world, n, size.null_answers)
            if equal:
                yield from _chunks("soft", world, n, size.soft)
        if world.shape in DIVERSITY_SHAPES and world.change.name == "same":
            for one in DIVERSITY_N:
                yield from _chunks("diversity", world, (one, one), size.diversity)
    for world in _losing():
        yield from _chunks("power", world, (256, 256), size.power)


def _losing() -> list[World]:
    a, b = shapes()["paper"]
    return [World("paper", a, b, Change(f"{lost:.1%} lost", lost=lost)) for lost in LOST]


def _chunks(check: str, world: World, n: Samples, replications: int, n_boot: int = 0) -> Iterator[Job]:
    for start in range(0, replications, CHUNK):
        yield Job(check, world, n, range(start, min(start + CHUNK, replications)), n_boot)


def run(job: Job) -> Rows:
    if job.check == "coverage":
        return checks.coverage_rows(job.world, job.n, job.numbers, job.n_boot)
    if job.check == "soft":
        return checks.soft_rows(job.world, job.n, job.numbers)
    if job.check == "diversity":
        return checks.diversity_rows(job.world, job.n[0], job.numbers)
    return checks.null_rows(job.world, job.n, job.numbers, answers=job.check == "null, answers")


def collect(size: Size, workers: int) -> dict[tuple[str, str, Samples], Rows]:
    """All replications, by check, world and samples; by one worker, in this process."""
    todo = list(jobs(size))
    parts: dict[tuple[str, str, Samples], list[Rows]] = {}
    if workers == 1:
        found = [run(job) for job in todo]
    else:
        # One thread a process: the matrices are small. Set before the workers import NumPy.
        os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(run, todo))
    for job, rows in zip(todo, found, strict=True):
        parts.setdefault(job.key, []).append(rows)
    return {key: {name: np.concatenate([p[name] for p in some]) for name in some[0]} for key, some in parts.items()}


def summarise(found: dict[tuple[str, str, Samples], Rows]) -> dict[str, Any]:
    """The result's parts: rows of numbers, each with its world and n."""
    by_name = {world.name: world for world in worlds() + _losing()}
    out: dict[str, list[dict[str, Any]]] = {"coverage": [], "null": [], "power": [], "soft": [], "diversity": []}
    for (check, name, n), rows in found.items():
        world = by_name[name]
        where = {"shape": world.shape, "change": world.change.name, "n": list(n)}
        if check == "coverage":
            for metric, row in checks.coverage(rows, truth(world, n)).items():
                out[check].append({**where, "metric": _general(metric, n), **row})
        elif check == "soft":
            for prior, groups in checks.soft_summary(rows).items():
                out[check] += [{**where, "prior": prior, "group": group, **row} for group, row in groups.items()]
        elif check == "diversity":
            for estimator, row in checks.diversity_summary(rows).items():
                out[check].append({**where, "estimator": estimator, **row})
        elif check == "power":
            for p, row in checks.null_summary(rows).items():
                out[check].append({**where, "lost": world.change.lost, "p": p, "rejected": row["rejected"]})
        else:
            for p, row in checks.null_summary(rows).items():
                if p.endswith("/answer") == (check == "null, answers"):
                    out["null"].append({**where, "p": p, **row})
    return {**out, "null_ecdf": list(_ecdfs(found, by_name))}


def _general(metric: str, n: Samples) -> str:
    """pass@64/base as pass@n/base, to stand beside pass@256/base."""
    k = min(n)
    return metric.replace(f"pass@{k}/", "pass@n/").replace(f"pass@{k // 2}/", "pass@n÷2/")


def _ecdfs(found: dict[tuple[str, str, Samples], Rows], by_name: dict[str, World]) -> Iterator[dict[str, Any]]:
    """ECDF of randomised p-values of unit problem where nothing changed, all n of a shape together."""
    at = np.linspace(0, 1, GRID + 1)
    for shape in shapes():
        for p in ("p_E", "p_S", "p_net"):
            values = np.concatenate(
                [
                    rows[f"randomised {p}/problem"]
                    for (check, name, _), rows in found.items()
                    if check == "null" and by_name[name].shape == shape
                ]
            )
            share = np.searchsorted(np.sort(values), at, side="right") / len(values)
            yield {"shape": shape, "p": p, "replications": len(values), "ecdf": share.round(5).tolist()}


def judge(result: dict[str, Any], size: Size) -> dict[str, Any]:
    """What falls short."""
    sizes = result["null"]
    uniform = [row for row in sizes if row["p"].endswith("/problem")]
    outside = [row for row in result["coverage"] if not checks.BAND[0] <= row["coverage"] <= checks.BAND[1]]
    soft = [row for row in result["soft"] if row["prior"] != "hard"]

    def worst(rows: list[dict[str, Any]], of: Callable[[dict[str, Any]], float]) -> dict[str, Any]:
        return max(rows, key=of)

    return {
        "coverages": len(result["coverage"]),
        "mean_coverage": float(np.mean([row["coverage"] for row in result["coverage"]])),
        "outside_93_97": len(outside),
        "expected_outside_by_noise": _by_noise(size.coverage) * len(result["coverage"]),
        "beyond_noise": [row for row in outside if _beyond_noise(row["coverage"], size.coverage)],
        "ks_tests": len(uniform),
        "ks_smallest_p": min(row["ks_p"] for row in uniform),
        "ks_pass_mark": checks.ALPHA / len(uniform),
        "ks_passed": min(row["ks_p"] for row in uniform) > checks.ALPHA / len(uniform),
        "largest_size": worst(sizes, lambda row: row["rejected"]),
        "size_smallest_p": min(row["size_p"] for row in sizes),
        "size_pass_mark": checks.ALPHA / len(sizes),
        "size_passed": min(row["size_p"] for row in sizes) > checks.ALPHA / len(sizes),
        "soft_largest_bias": {
            prior: worst([row for row in soft if row["prior"] == prior], lambda row: abs(row["bias"]))
            for prior in dict.fromkeys(row["prior"] for row in soft)
        },
    }


def _by_noise(replications: int) -> float:
    """Chance that a true coverage of 95% is seen outside of the band."""
    low, high = (share * replications for share in checks.BAND)
    law = stats.binom(replications, checks.LEVEL)
    return float(law.cdf(np.ceil(low - 1e-9) - 1) + law.sf(np.floor(high + 1e-9)))


def _beyond_noise(share: float, replications: int) -> bool:
    low, high = stats.binomtest(round(share * replications), replications).proportion_ci(0.999)
    return bool(high < checks.BAND[0] or low > checks.BAND[1])


def show(result: dict[str, Any]) -> None:
    """Tables for people."""
    print("coverage of 95% intervals, %; * outside of 93 to 97")
    columns = list(dict.fromkeys(map(_world, result["coverage"])))
    cells = {(row["metric"], _world(row)): row["coverage"] for row in result["coverage"]}
    for i, name in enumerate(columns):
        print(f"  {chr(97 + i)} {name}")
    print(" " * 26 + "".join(f"{chr(97 + i):>7}" for i in range(len(columns))))
    for metric in dict.fromkeys(row["metric"] for row in result["coverage"]):
        shares = [cells[metric, column] for column in columns]
        marked = (f"{100 * s:.1f}{' ' if checks.BAND[0] <= s <= checks.BAND[1] else '*'}" for s in shares)
        print(f"{metric:26}" + "".join(f"{text:>7}" for text in marked))
    told = result["summary"]
    print(
        f"{told['outside_93_97']} of {told['coverages']} outside of 93 to 97, {told['expected_outside_by_noise']:.0f} "
        "of them expected of true 95% intervals; beyond noise:"
    )
    for row in told["beyond_noise"]:
        print(f"  {row['metric']:26} {100 * row['coverage']:5.1f}  {_world(row)}")
    print("\nlabel-permutation null where nothing changed: KS p-value, and exact rejections at 5%")
    for row in result["null"]:
        print(f"{_world(row):36} {row['p']:14} {row['ks_p']:8.4f} {100 * row['rejected']:6.1f}%")
    print("\npower: rejections at 5% where problems were lost")
    for row in result["power"]:
        print(f"{_world(row):36} {row['p']:14} {100 * row['rejected']:6.1f}%")
    print("\nsoft support: bias in percent of problems (P, E, S, O)")
    soft = {(_world(row), row["prior"], row["group"]): row["bias"] for row in result["soft"]}
    for name, prior in dict.fromkeys(key[:2] for key in soft):
        print(f"{name:36} {prior:10}" + "".join(f"{soft[name, prior, group]:8.2f}" for group in "PESO"))
    print("\nentropy and richness: bias in percent of the truth, by n")
    for shape in DIVERSITY_SHAPES:
        print(f"{shape:36} {'':10}" + "".join(f"{n:8}" for n in DIVERSITY_N))
        rows = [row for row in result["diversity"] if row["shape"] == shape]
        for estimator in dict.fromkeys(row["estimator"] for row in rows):
            biases = [row["bias_percent"] for row in rows if row["estimator"] == estimator]
            print(f"{'':30} {estimator:16}" + "".join(f"{bias:8.2f}" for bias in biases))
    print()


def _world(row: dict[str, Any]) -> str:
    return f"{row['shape']}, {row['change']}, n = {' and '.join(map(str, dict.fromkeys(row['n'])))}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few dozen replications")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--figure", type=Path, help="write the figure there, as SVG")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()

    started_s = time.perf_counter()
    size = QUICK if args.quick else FULL
    result: dict[str, Any] = {
        "benchmark": "calibration",
        "n_problems": checks.N_PROBLEMS,
        "replications": vars(size),
        **summarise(collect(size, args.workers)),
    }
    result |= {
        "summary": judge(result, size),
        "wall_s": round(time.perf_counter() - started_s, 1),
        "machine": machine(),
        "versions": versions("numpy", "scipy"),
    }
    result = _rounded(result)
    if args.figure:
        from calibration_figure import figure

        args.figure.parent.mkdir(parents=True, exist_ok=True)
        args.figure.write_text(figure(result))
    if not args.json:
        show(result)
    print(json.dumps(result))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()

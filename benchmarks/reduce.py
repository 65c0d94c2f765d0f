"""Completions -> numbers of every (policy, problem): this project against DuckDB, Polars and Ray Data's own groupby.

Same machine, files and cores; each side in a process of its own, one after another::

    pip install 'leash-ray[bench]'
    python benchmarks/reduce.py [--quick] [--json] [--rows 1000000 ...] [--problems 2000 ...] [--answers 20 ...]
                                [--layouts shards ...] [--sides threads ray ...] [--keep-data]

``seconds`` is the work alone, ``process_s`` the whole process with its imports, ``start_s`` Ray's start, ``peak_mb``
the largest sum of the proportional set sizes of all its processes. ``ratio`` is ours over DuckDB's, of speeds, from
rows in one process at the largest table, without looking for samples that occur twice, which DuckDB does not do by
itself; ``ratio_same`` counts that on both sides. ``exponent`` is fitted to time against rows.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from _machine import versions
from reduce_data import Table, folder_of
from reduce_sides import SIDES

SHOWN = ("threads", "ray", "states", "duckdb", "polars", "stock")
STOCK_ROWS = 10_000_000
PACKAGES = ("duckdb", "polars", "pyarrow", "ray", "numpy")
"""More takes Ray Data's own groupby too long."""


class Memory(threading.Thread):
    """The largest memory of a process and its descendants."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self.peak_bytes = 0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.2):
            total = 0
            try:
                for process in [self._process, *self._process.children(recursive=True)]:
                    try:
                        total += process.memory_full_info().pss
                    except psutil.Error:
                        continue
            except psutil.Error:
                return
            self.peak_bytes = max(self.peak_bytes, total)


def run_side(side: str, folder: Path, timeout_s: float) -> dict[str, Any]:
    """What a side says, in a process of its own."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:  # a pipe would wait for Ray's own
        process = subprocess.Popen(
            [sys.executable, __file__, "--one", side, str(folder)], stdout=out, stderr=err, start_new_session=True
        )
        memory = Memory(process.pid)
        memory.start()
        try:
            status: int | None = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            status = None
        memory.ended.set()
        seconds = time.perf_counter() - started
        for stream in (out, err):
            stream.seek(0)
        if status is None:
            return {"failed": f"not done in {timeout_s:.0f} s"}
        if status:
            return {"failed": (err.read().strip().splitlines() or ["no word"])[-1][:200]}
        found: dict[str, Any] = json.loads(out.read().strip().splitlines()[-1])
    return {**found, "process_s": seconds, "peak_mb": memory.peak_bytes / 1e6}


def same(a: dict[str, float], b: dict[str, float]) -> bool:
    return all(math.isclose(a[name], b[name], rel_tol=1e-9) for name in a.keys() & b.keys())


def exponent(rows: list[int], seconds: list[float]) -> float | None:
    if len(set(rows)) < 2:
        return None
    return round(float(np.polyfit(np.log(rows), np.log(seconds), 1)[0]), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a million rows, one table")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000, 100_000_000])
    parser.add_argument("--problems", type=int, nargs="+", default=[2000])
    parser.add_argument("--answers", type=int, nargs="+", default=[20])
    parser.add_argument("--layouts", nargs="+", default=["shards", "shuffled"], choices=["shards", "shuffled"])
    parser.add_argument("--sides", nargs="+", default=list(SHOWN), choices=SHOWN)
    parser.add_argument("--skip", nargs="+", default=[], choices=SHOWN, help="sides to leave out")
    parser.add_argument("--repeats", type=int, default=1, help="the fastest of so many")
    parser.add_argument("--timeout", type=float, default=280.0, help="seconds, of one side")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "leash-bench")
    parser.add_argument("--keep-data", action="store_true")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(SIDES[args.one[0]](Path(args.one[1]))))
        return
    args.sides = [side for side in args.sides if side not in args.skip]
    if args.quick:
        args.rows, args.problems, args.answers, args.layouts = [1_000_000], [2000], [20], ["shards"]

    def say(line: str) -> None:
        if not args.json:
            print(line, file=sys.stderr, flush=True)

    tables = [Table(*t) for t in product(sorted(args.rows), args.problems, args.answers, args.layouts)]
    results: list[dict[str, Any]] = []
    for table in tables:
        folder = folder_of(table, args.cache)
        size = sum(f.stat().st_size for f in folder.glob("*.parquet"))
        kind = f"{table.problems:,} problems x {table.answers} answers, {table.layout}"
        say(f"{table.rows:,} rows, {kind}: {size / 1e6:.0f} MB")
        row: dict[str, Any] = {"table": table.name, "rows": table.rows, "file_mb": round(size / 1e6)}
        if "states" in args.sides:
            run_side("keep", folder, args.timeout)
        for side in args.sides:
            if side == "stock" and table.rows > STOCK_ROWS:
                continue
            found = [run_side(side, folder, args.timeout) for _ in range(args.repeats)]
            best = min(found, key=lambda one: one.get("seconds", math.inf))
            row[side] = {k: round(v, 3) if isinstance(v, float) else v for k, v in best.items()}
            say(f"  {side:8} {json.dumps({k: v for k, v in row[side].items() if k != 'digest'})}")
        digests = {
            side: row[side]["digest"] for side in args.sides if "digest" in row.get(side, {}) and side != "stock"
        }
        row["same_results"] = len(digests) > 0 and all(same(d, next(iter(digests.values()))) for d in digests.values())
        if not row["same_results"]:
            row["digests"] = digests
        for side in digests:
            row[side].pop("digest")
        results.append(row)
        if not args.keep_data:
            shutil.rmtree(folder)
    print(
        json.dumps(
            {
                **_summary(results),
                "tables": results,
                "cores": len(os.sched_getaffinity(0)),
                "versions": versions(*PACKAGES),
            }
        )
    )


def _summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    last = results[-1]

    def seconds(side: str, key: str = "seconds") -> float:
        return float(last.get(side, {}).get(key, math.nan))

    theirs, checks = seconds("duckdb"), seconds("duckdb", "checks_s")
    found = {
        "ours_s": seconds("threads"),
        "theirs_s": theirs,
        "ratio": theirs / seconds("threads"),
        "ratio_same": (theirs + checks) / seconds("threads"),
        "ratio_ray": theirs / seconds("ray"),
        "ratio_states": theirs / seconds("states"),
        "ratio_states_same": (theirs + checks) / seconds("states"),
        "ratio_stock": seconds("stock") / seconds("threads"),
    }
    timed = [row for row in results if "seconds" in row.get("threads", {})]
    kinds = {row["table"].partition("-")[2] for row in timed}
    fits = {
        kind: exponent(
            *map(list, zip(*((r["rows"], r["threads"]["seconds"]) for r in timed if r["table"].endswith(kind))))
        )
        for kind in sorted(kinds)
    }
    return {**{k: None if math.isnan(v) else round(v, 3) for k, v in found.items()}, "exponent": fits}


if __name__ == "__main__":
    main()

"""What a fault costs: ``leash sample`` broken in mid-run, for real, and what its table is afterwards.

    python benchmarks/faults.py [--quick] [--json] [--only NAME ...]

Each fault strikes when some shards are written and others are under way. After it the run has to end with the samples
of an undisturbed run: the same keys, n of every (policy, problem), and the same texts, since sample i has its own
random stream. The faults:

    verifier   SIGKILL of the verifiers' actor                                        } these three, one after another,
    worker     SIGKILL of a Ray Data task's process                                   } in one run, each when the one
    engine     SIGKILL of a vLLM engine process                                       } before it is overcome
    replica    SIGKILL of a Serve replica
    node       SIGKILL of the raylet of a second node, which holds the second replica of a policy
    driver     SIGKILL of ``leash sample``; then the same with ``--resume``
    disk       the run's file system is full, and the run ends; then there is space again, and ``--resume``

``lost_s`` is the time from the fault to the next one, or to the run's end, less the time that the undisturbed run took
for the same number of shards; starting again is part of it. ``orphans_s`` is how long processes below the one that was
killed outlived it, Ray's own agents apart. ``ratio`` is how fast a run with a fault was, of the
undisturbed run's speed, in the median.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from _machine import machine, versions
from fault_runs import POLICIES, SampleRun, TwoNodes, full, gone_s, small_disk, table_of, victims, wait_for

SIZE = {"task.size": 24, "sampling.n": 512, "sampling.samples_per_shard": 256}
N_SHARDS = len(POLICIES) * SIZE["task.size"] * SIZE["sampling.n"] // SIZE["sampling.samples_per_shard"]
ON_TWO_NODES = {
    "policies.base.replicas": 2,
    "policies.base.cpus": 1.1,
    "policies.trained.cpus": 0.2,
    "verify.cpus": 0.05,
    "sampling.in_flight": 3,
}
"""Of two logical CPUs each: no node holds two replicas of base, and the one that is left holds all but the second."""
FIRST = 10
"""Shards that are written when the first fault strikes; the next ones follow after as many more."""


class Faults:
    """The undisturbed run, and what a run with faults is held against it."""

    def __init__(self, root: Path, quiet: bool):
        self.root, self._quiet = root, quiet
        self._runs: list[SampleRun] = []
        run = self._run("undisturbed")
        run.finish()
        self.table, self.written_s = table_of(run.path), run.written_s
        self.wall_s = run.ended_s - run.started_s
        assert len(self.table) == len(POLICIES) * SIZE["task.size"] * SIZE["sampling.n"]
        self.tell(
            f"undisturbed: {self.wall_s:.0f} s, first shard after {self.written_s[0] - run.started_s:.0f} s, "
            f"then {N_SHARDS} in {self.written_s[-1] - self.written_s[0]:.0f} s"
        )

    def _run(self, name: str, folder: Path | None = None, more: Mapping[str, Any] | None = None) -> SampleRun:
        self._runs.append(SampleRun((folder or self.root) / name, {**SIZE, **(more or {})}))
        return self._runs[-1]

    def forget(self) -> None:
        """Remove the runs, so that the next ones have their places."""
        for run in self._runs[1:]:
            shutil.rmtree(run.path, ignore_errors=True)

    def close(self) -> None:
        """End what still runs."""
        for run in self._runs:
            run.stop()

    def tell(self, line: str) -> None:
        if not self._quiet:
            print(line, flush=True)

    def undisturbed_s(self, first: int, last: int) -> float:
        """Time that the undisturbed run took from its ``first`` shard to its ``last``."""
        return self.written_s[last - 1] - self.written_s[first - 1]

    def lost_s(self, run: SampleRun, struck: list[tuple[float, int]]) -> list[float]:
        """Of each fault: (when it struck, shards written by then)."""
        ends = [*struck[1:], (run.ended_s, N_SHARDS)]
        return [
            round(end - at - self.undisturbed_s(n, n_end), 1)
            for (at, n), (end, n_end) in zip(struck, ends, strict=True)
        ]

    def outcome(self, run: SampleRun, **more: Any) -> dict[str, Any]:
        """How the table compares with the undisturbed one."""
        table = table_of(run.path)
        letters = run.path / "dead_letters.jsonl"
        return {
            "wall_s": round(run.ended_s - run.started_s, 1),
            "keys_equal": table.keys() == self.table.keys(),
            "texts_equal": table == self.table,
            "texts_that_differ": sum(table[key] != self.table[key] for key in table.keys() & self.table.keys()),
            "dead_letters": len(letters.read_text().splitlines()) if letters.is_file() else 0,
            **more,
        }

    # What strikes.

    def killed(self, name: str, *kinds: str) -> dict[str, dict[str, Any]]:
        """One run, in which a process of each kind is killed in turn."""
        run = self._run(name)
        struck: list[tuple[float, int]] = []
        replaced_s: list[float] = []
        below_s: list[float] = []
        for kind in kinds:
            at_least = FIRST if not struck else struck[-1][1] + FIRST
            run.wait_until_written(at_least)
            victim = victims(kind)[0]
            before = {process.pid for process in victims(kind)}
            below = victim.children(recursive=True)
            victim.kill()
            struck.append((time.monotonic(), run.n_written))
            assert run.n_written < N_SHARDS, "killed in mid-run"
            replaced_s.append(round(wait_for(partial(_is_replaced, kind, before), 180, f"another {kind}"), 1))
            below_s.append(gone_s(below))
        run.finish()
        lost = self.lost_s(run, struck)
        return {
            kind: self.outcome(
                run, lost_s=lost[i], replaced_s=replaced_s[i], orphans_s=below_s[i], struck_at_shard=struck[i][1]
            )
            for i, kind in enumerate(kinds)
        }

    def node(self) -> dict[str, dict[str, Any]]:
        with TwoNodes() as nodes:
            run = self._run("node", more={"ray.address": nodes.address, **ON_TWO_NODES})
            run.wait_until_written(FIRST)
            on_second = nodes.on_second("ServeReplica")
            assert on_second, "a replica runs on the second node"
            left = nodes.kill_second()
            struck = (time.monotonic(), run.n_written)
            assert run.n_written < N_SHARDS, "killed in mid-run"
            orphans_s = gone_s(left)
            run.finish()
        (lost_s,) = self.lost_s(run, [struck])
        return {"node": self.outcome(run, lost_s=lost_s, struck_at_shard=struck[1], orphans_s=orphans_s)}

    def driver(self) -> dict[str, dict[str, Any]]:
        run = self._run("driver")
        run.wait_until_written(FIRST)
        left = run.processes()
        run.kill()
        struck = (time.monotonic(), run.n_written)
        run.resume()
        orphans_s = gone_s(left)
        run.finish()
        (lost_s,) = self.lost_s(run, [struck])
        return {"driver": self.outcome(run, lost_s=lost_s, struck_at_shard=struck[1], orphans_s=orphans_s)}

    def disk(self) -> dict[str, dict[str, Any]]:
        with small_disk(self.root / "disk", megabytes=64) as disk:
            run = self._run("run", disk)
            run.wait_until_written(FIRST)
            ballast = full(disk)
            struck = (time.monotonic(), run.n_written)
            status, said = run.wait()
            assert status == 1 and "space" in said, f"it ended with {status}: {said}"
            ballast.unlink()
            run.resume()
            run.finish()
            (lost_s,) = self.lost_s(run, [struck])
            return {"disk": self.outcome(run, lost_s=lost_s, struck_at_shard=struck[1], said=said)}

    def cases(self, only: list[str]) -> dict[str, Callable[[], dict[str, dict[str, Any]]]]:
        """What is run for the faults in ``only``."""
        in_turn = [kind for kind in ("verifier", "worker", "engine") if kind in only]
        cases: dict[str, Callable[[], dict[str, dict[str, Any]]]] = {
            "+".join(in_turn): lambda: self.killed("in-turn", *in_turn),
            "replica": lambda: self.killed("replica", "replica"),
            "node": self.node,
            "driver": self.driver,
            "disk": self.disk,
        }
        return {name: run for name, run in cases.items() if name and (name in only or "+" in name or name in in_turn)}


def _is_replaced(kind: str, before: set[int]) -> bool:
    return any(process.pid not in before for process in victims(kind))


NAMES = ("verifier", "worker", "engine", "replica", "node", "driver", "disk")


def measure(only: list[str], times: int, quiet: bool) -> dict[str, Any]:
    """Run each fault ``times`` times; the JSON object."""
    started_s = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="leash-faults-"))
    found: dict[str, list[dict[str, Any]]] = {}
    faults = Faults(root, quiet)
    try:
        for _ in range(times):
            for run in faults.cases(only).values():
                for name, outcome in run().items():
                    found.setdefault(name, []).append(outcome)
                    faults.tell(f"{name:9} {json.dumps(outcome)}")
                faults.forget()
    finally:
        faults.close()
        shutil.rmtree(root, ignore_errors=True)
    walls_s = [one["wall_s"] for of in found.values() for one in of]
    return {
        "benchmark": "faults",
        "completions": len(faults.table),
        "shards": N_SHARDS,
        "undisturbed": {"wall_s": round(faults.wall_s, 1), "shards_s": round(faults.undisturbed_s(1, N_SHARDS), 1)},
        "faults": {name: summary(of) for name, of in found.items()},
        "ratio": round(faults.wall_s / statistics.median(walls_s), 3),
        "all_equal": all(one["keys_equal"] and one["texts_equal"] for of in found.values() for one in of),
        "wall_s": round(time.monotonic() - started_s, 1),
        "machine": machine(),
        "versions": versions(),
    }


def summary(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """One fault's outcomes together."""
    return {
        "times": len(outcomes),
        "lost_s": [one["lost_s"] for one in outcomes],
        "keys_equal": all(one["keys_equal"] for one in outcomes),
        "texts_equal": all(one["texts_equal"] for one in outcomes),
        "texts_that_differ": [one["texts_that_differ"] for one in outcomes],
        "dead_letters": sum(one["dead_letters"] for one in outcomes),
        **{key: [one[key] for one in outcomes] for key in ("replaced_s", "orphans_s") if key in outcomes[0]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="each fault once, not three times")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES), metavar="NAME", help=", ".join(NAMES))
    args = parser.parse_args()
    result = measure(args.only, 1 if args.quick else 3, quiet=args.json)
    if not args.json:
        for name, one in result["faults"].items():
            same = "the same table" if one["keys_equal"] and one["texts_equal"] else "ANOTHER TABLE"
            print(f"{name:9} {same}, lost {', '.join(f'{s:.0f}' for s in one['lost_s'])} s")
    print(json.dumps(result))
    sys.exit(0 if result["all_equal"] else 1)


if __name__ == "__main__":
    main()

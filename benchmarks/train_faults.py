"""What a fault costs in training: ``leash train`` broken in mid-step, for real, and what it has learnt afterwards.

    python benchmarks/train_faults.py [--quick] [--json] [--only NAME ...]

Each fault strikes three times, in one run, each time in the middle of a step that is not a checkpoint's. The run has to
end with every step once, in ``metrics.jsonl`` and in W&B's files, with an undisturbed run's rewards and lengths at
every step, and with its weights. The faults:

    worker      SIGKILL of a training worker
    checkpoint  the same, while a checkpoint is being written
    engine      SIGKILL of the vLLM engine process that samples
    replica     SIGKILL of the Serve replica that holds it
    driver      SIGKILL of ``leash train``; then the same with ``--resume``
    term        SIGTERM to ``leash train``; then the same with ``--resume``

and these, which have to end a run with a message and a dump that repeats the step:

    nan         a learning rate at which the loss becomes NaN
    verifier    a verifier that fails at everything

``again`` is a second undisturbed run: how far two runs of one seed agree. ``lost_s`` is the time from the fault until
the run has got to where it is struck next, or to its end, less what the undisturbed run took for the same steps.
``orphans_s`` is how long processes outlived the command. ``ratio`` is how fast a run with faults was, of the
undisturbed run's speed, in the median.
"""

import argparse
import json
import math
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _machine import machine, versions
from fault_runs import gone_s, victims
from train_runs import CONFIG, FAILING, TrainRun, largest_difference, rows_of, steps_of, wandb_rows

TIMES = 3
EVERY = 4
"""Steps between checkpoints."""
FIRST, APART = 6, 8
"""Steps that are done when the first fault strikes, and between two faults: always in the middle of a checkpoint's."""
SAME = ("reward_mean", "response_length", "group_signal_share")
FLOAT32 = 1e-3
"""Weights that differ by less are taken for the same: sums in another order, over a few dozen steps at lr 3e-4."""


class Faults:
    """The undisturbed run, and what a run with faults is held against it."""

    def __init__(self, root: Path, times: int, quiet: bool):
        self.root, self.times, self._quiet = root, times, quiet
        self.steps = FIRST + APART * (times - 1) + 5
        self._runs: list[TrainRun] = []
        run = self._run("undisturbed")
        run.finish()
        self.rows, self.reached_s, self.path = rows_of(run.path), run.reached_s, run.path
        self.wall_s = run.ended_s - run.started_s
        steps_s = self.reached_s[-1] - self.reached_s[0]
        self.tell(f"undisturbed: {self.wall_s:.0f} s, of them {steps_s:.1f} s for {self.steps - 1} steps")

    def _run(self, name: str, text: str = CONFIG, **more: Any) -> TrainRun:
        settings = {"train.steps": self.steps, "train.checkpoint_every": EVERY}
        self._runs.append(TrainRun(self.root / name, {**settings, **more}, text))
        return self._runs[-1]

    def close(self) -> None:
        """End what still runs."""
        for run in self._runs:
            run.stop()

    def tell(self, line: str) -> None:
        if not self._quiet:
            print(line, flush=True)

    def outcome(self, run: TrainRun, struck: list[tuple[float, int]], **more: Any) -> dict[str, Any]:
        """How a run that has ended compares with the undisturbed one.

        Args:
            struck: of each fault, when it struck and how many steps were done.
        """
        rows, wandb = rows_of(run.path), wandb_rows(run.path)
        ends = [*struck[1:], (run.ended_s, self.steps)][: len(struck)]
        lost_s = [
            end - at - (self.reached_s[n_end - 1] - self.reached_s[n - 1])
            for (at, n), (end, n_end) in zip(struck, ends, strict=True)
        ]
        every_step = list(range(1, self.steps + 1))
        same = {name: [row[name] for row in rows] == [row[name] for row in self.rows] for name in SAME}
        final = f"checkpoints/step-{self.steps:06d}/model"
        difference = largest_difference(run.path / final, self.path / final)
        return {
            "wall_s": round(run.ended_s - run.started_s, 1),
            "lost_s": [round(s, 1) for s in lost_s],
            "every_step_once": steps_of(run.path) == every_step,
            "every_step_once_in_wandb": [row["train/step"] for row in wandb] == every_step,
            "wandb_equal": [row.get("train/reward_mean") for row in wandb] == [row["reward_mean"] for row in rows],
            "metrics_equal": all(same.values()),
            "steps_that_differ": sum(
                any(a[name] != b[name] for name in SAME) for a, b in zip(rows, self.rows, strict=False)
            ),
            "weights_difference": float(f"{difference:.2g}"),
            "weights_equal": difference < FLOAT32,
            "checkpoints": sorted(path.name for path in (run.path / "checkpoints").iterdir() if path.is_dir()),
            **more,
        }

    # What strikes.

    def again(self) -> dict[str, Any]:
        run = self._run("again")
        run.finish()
        return self.outcome(run, [])

    def killed(self, name: str, strike: Callable[[TrainRun], None]) -> dict[str, Any]:
        """One run, in which something is struck ``times`` times."""
        run = self._run(name)
        struck = []
        for i in range(self.times):
            run.wait_until_step(FIRST + i * APART)
            strike(run)
            struck.append((time.monotonic(), len(run.reached_s)))
        run.finish()
        return self.outcome(run, struck)

    def ended(self, name: str, end: Callable[[TrainRun], str | None]) -> dict[str, Any]:
        """One run, which is ended ``times`` times, and resumed."""
        run = self._run(name)
        struck, orphans_s, said = [], [], []
        for i in range(self.times):
            run.wait_until_step(FIRST + i * APART)
            processes = run.processes()
            struck.append((time.monotonic(), len(run.reached_s)))
            said.append(end(run))
            orphans_s.append(gone_s(processes))
            run.resume()
        run.finish()
        return self.outcome(run, struck, orphans_s=orphans_s, **({"said": said[-1]} if said[-1] else {}))

    def stopped(self, name: str, text: str, **settings: Any) -> dict[str, Any]:
        """A run that has to stop by itself, and its dump."""
        run = self._run(name, text, **settings)
        processes = []
        try:
            run.wait_until(lambda: bool(run.trainers()), "training workers")
            processes = run.processes()
        except RuntimeError:  # it has stopped already
            pass
        status, said = run.wait()
        (dump,) = (run.path / "dumps").iterdir()
        again = subprocess.run(
            [sys.executable, "-m", "leash_ray.rlvr.dump", str(dump)], capture_output=True, text=True, check=True
        )
        record = json.loads((dump / "dump.json").read_text())
        (loss,) = (line.split() for line in again.stdout.splitlines() if line.startswith("loss "))
        then, now = float(loss[1]), float(loss[3])
        return {
            "wall_s": round(run.ended_s - run.started_s, 1),
            "orphans_s": gone_s(processes),
            "status": status,
            "said": said,
            "dump": sorted(path.name for path in dump.iterdir()),
            "steps_logged": len(steps_of(run.path)),
            "stopped_at_step": record["step"] + 1,
            "loss_then": str(then),
            "loss_again": str(now),
            "repeated": (math.isnan(then) and math.isnan(now)) or math.isclose(then, now, rel_tol=1e-4, abs_tol=1e-6),
        }


def _kill_worker(run: TrainRun) -> None:
    run.trainers()[0].kill()


def _kill_in_checkpoint(run: TrainRun) -> None:
    half = run.path / "checkpoints"
    limit_s = time.monotonic() + 60
    workers = run.trainers()
    while not list(half.glob(".half-*")):
        assert time.monotonic() < limit_s, "no checkpoint is written"
        time.sleep(0.0005)
    workers[0].kill()


def _kill_victim(kind: str) -> Callable[[TrainRun], None]:
    return lambda run: victims(kind)[0].kill()


def _kill_driver(run: TrainRun) -> None:
    run.kill()


def _terminate(run: TrainRun) -> str:
    run.interrupt(signal.SIGTERM)
    status, said = run.wait()
    assert status == 1, f"it ended with {status}: {run.tail()}"
    return said


NAMES = ("again", "worker", "checkpoint", "engine", "replica", "driver", "term", "nan", "verifier")


def measure(only: list[str], times: int, quiet: bool) -> dict[str, Any]:
    """Run each fault; the JSON object."""
    started_s = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="leash-train-faults-"))
    faults = Faults(root, times, quiet)
    runs: dict[str, Callable[[], dict[str, Any]]] = {
        "again": faults.again,
        "worker": lambda: faults.killed("worker", _kill_worker),
        "checkpoint": lambda: faults.killed("checkpoint", _kill_in_checkpoint),
        "engine": lambda: faults.killed("engine", _kill_victim("engine")),
        "replica": lambda: faults.killed("replica", _kill_victim("replica")),
        "driver": lambda: faults.ended("driver", _kill_driver),
        "term": lambda: faults.ended("term", _terminate),
        "nan": lambda: faults.stopped("nan", CONFIG, **{"train.lr": 1e15, "train.minibatches": 2}),
        "verifier": lambda: faults.stopped("verifier", FAILING),
    }
    found: dict[str, dict[str, Any]] = {}
    try:
        for name in only:
            found[name] = runs[name]()
            faults.tell(f"{name:10} {json.dumps(found[name])}")
    finally:
        faults.close()
        shutil.rmtree(root, ignore_errors=True)
    struck = [one for name, one in found.items() if "lost_s" in one and name != "again"]
    return {
        "benchmark": "train_faults",
        "steps": faults.steps,
        "times": times,
        "undisturbed": {"wall_s": round(faults.wall_s, 1)},
        "faults": found,
        "ratio": round(faults.wall_s / statistics.median(one["wall_s"] for one in struck), 3) if struck else None,
        "all_equal": all(is_good(one) for one in found.values()),
        "wall_s": round(time.monotonic() - started_s, 1),
        "machine": machine(),
        "versions": versions(),
    }


def is_good(one: dict[str, Any]) -> bool:
    """Whether a run with faults ended as it has to."""
    if "repeated" in one:
        return one["status"] == 1 and one["repeated"]
    return all(one[key] for key in ("every_step_once", "every_step_once_in_wandb", "metrics_equal", "weights_equal"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="each fault strikes once, not three times")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES), metavar="NAME", help=", ".join(NAMES))
    args = parser.parse_args()
    result = measure(args.only, 1 if args.quick else TIMES, quiet=args.json)
    if not args.json:
        for name, one in result["faults"].items():
            if "repeated" in one:
                print(f"{name:10} stopped, dump {'repeats it' if one['repeated'] else 'DOES NOT REPEAT IT'}")
                continue
            once = one["every_step_once"] and one["every_step_once_in_wandb"]
            print(
                f"{name:10} {'every step once' if once else 'STEPS LOST OR DOUBLED'}, "
                f"{'the same metrics' if one['metrics_equal'] else 'OTHER METRICS'}, weights within "
                f"{one['weights_difference']:g}" + "".join(f", lost {s:.0f} s" for s in one["lost_s"])
            )
    print(json.dumps(result))
    sys.exit(0 if result["all_equal"] else 1)


if __name__ == "__main__":
    main()

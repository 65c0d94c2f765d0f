"""``leash train`` in a process of its own, and what it leaves behind: for benchmarks/train_faults.py."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
from fault_runs import descendants, wait_for, workers_below

CONFIG = """
name: faults
device: cpu
task:
  kind: reasoning_gym
  dataset: countdown
  config: &numbers {min_numbers: 3, max_numbers: 3, min_value: 1, max_value: 15, min_target: 10, max_target: 60}
  prompt: compact
  seed: 3
  size: 8
  split: [90, 100]
policies:
  base: {model: "embedded:countdown", dtype: float32, max_model_len: 64, cpus: 0.4}
  trained: {dtype: float32, max_model_len: 64, cpus: 0.4}
train:
  task: {kind: reasoning_gym, dataset: countdown, config: *numbers, prompt: compact, seed: 2, size: 64, split: [70, 90]}
  prompts_per_step: 8
  group_size: 8
  max_tokens: 12
  checkpoint_every: 4
  cpus_per_worker: 0.4
sampling: {max_tokens: 12, n: 8}
monitor: {wandb: offline}
"""
_TASK = next(line for line in CONFIG.splitlines() if line.startswith("  task: {"))
FAILING = CONFIG.replace(
    _TASK,
    "  task: {kind: python, function: 'train_runs:problems', verifier: 'python:train_runs:always_fails', "
    "prompt: '{question}'}",
)
"""With a verifier that fails at every answer."""
MODULES = str(Path(__file__).parent)
LIMIT_S = 300.0
"""Of one wait."""
TRAINER = "RayTrainWorker"
"""What the command line of a training worker has in it."""


def problems() -> list[dict[str, str]]:
    """Countdown problems for ``FAILING``."""
    return [{"problem": f"{a} {a + 1} {b}={2 * a + 1 + b}:", "answer": "-"} for a in range(2, 6) for b in range(2, 6)]


def always_fails(answer: str, reference: str) -> bool:
    """A verifier."""
    raise RuntimeError("this verifier always fails")


class TrainRun:
    """``leash train``, started at once; it notes when each step was there first.

    Args:
        settings: config keys.
        text: the config.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], text: str = CONFIG):
        self.path = path
        config = path.parent / f"{path.name}.yaml"
        config.write_text(text)
        sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        leash = [sys.executable, "-c", "from leash_ray.cli import main; main()"]
        self._command = [*leash, "train", str(config), "--run", str(path), *sets]
        self._said = path.parent / f"{path.name}.log"
        self.reached_s: list[float] = []
        """When (monotonic clock) each step was logged first."""
        self.started_s = self.ended_s = time.monotonic()
        self._start()
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _start(self, *more: str) -> None:
        with open(self._said, "ab") as log:
            # A session of its own, as a terminal would give it.
            self.process = subprocess.Popen(
                [*self._command, *more],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), MODULES])),
                },
            )

    def _watch(self) -> None:
        while not self._over.is_set():
            steps = steps_of(self.path)
            n = steps[-1] if steps else 0
            self.reached_s += [time.monotonic()] * (n - len(self.reached_s))
            self._over.wait(0.02)

    def wait_until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for something while the command runs."""

        def there() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(f"the run ended early:\n{self.tail()}")
            return holds()

        try:
            wait_for(there, LIMIT_S, what)
        except TimeoutError as e:
            raise TimeoutError(f"{e}:\n{self.tail()}") from None

    def wait_until_step(self, n: int) -> None:
        """Wait until ``n`` steps are done, and a part of the next one."""
        self.wait_until(lambda: len(self.reached_s) >= n, f"step {n}")
        last = self.reached_s[n - 1] - self.reached_s[n - 2] if n > 1 else 0.2
        time.sleep(min(1.0, max(0.0, last / 2)))

    def processes(self) -> list[psutil.Process]:
        """Of the command, with all that it started."""
        own = psutil.Process(self.process.pid)
        return [own, *workers_below(own)]

    def trainers(self) -> list[psutil.Process]:
        """Training workers."""
        return descendants(psutil.Process(self.process.pid), TRAINER)

    def kill(self) -> None:
        """SIGKILL of the command itself."""
        self.process.kill()
        self.process.wait()

    def resume(self) -> None:
        """The same again, with ``--resume``."""
        self._start("--resume")

    def wait(self) -> tuple[int, str]:
        """Exit status, and the last line that it printed."""
        status = self.process.wait(LIMIT_S)
        self.ended_s = time.monotonic()
        time.sleep(0.1)  # the last look at the steps
        return status, self.tail().splitlines()[-1]

    def finish(self) -> None:
        """Wait for its end, which has to be a good one."""
        status, _ = self.wait()
        self._over.set()
        if status:
            raise RuntimeError(f"the run ended with {status}:\n{self.tail()}")

    def stop(self) -> None:
        """End it, if it still runs."""
        self._over.set()
        if self.process.poll() is None:
            self.kill()

    def interrupt(self, number: signal.Signals) -> None:
        """Send a signal to the command alone, as a scheduler does."""
        os.kill(self.process.pid, number)

    def tail(self) -> str:
        """The end of what it printed."""
        return self._said.read_text(errors="replace")[-4000:]


def rows_of(run: Path) -> list[dict[str, Any]]:
    """The rows of training in ``metrics.jsonl``."""
    rows = []
    with contextlib.suppress(OSError):
        for line in (run / "metrics.jsonl").read_text().splitlines():
            with contextlib.suppress(ValueError):  # cut off
                row = json.loads(line)
                if row.get("stage") == "train":
                    rows.append(row)
    return rows


def steps_of(run: Path) -> list[int]:
    return [row["step"] for row in rows_of(run)]


def wandb_rows(run: Path) -> list[dict[str, Any]]:
    """The rows of training in the offline files of the run that W&B is left with, in the order of its files."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from wandb_records import records  # type: ignore[import-not-found]

    run_id = (run / "wandb" / "run_id").read_text().strip()
    rows = []
    for path in sorted(run.glob(f"wandb/offline-run-*-{run_id}/*.wandb")):
        for record in records(path):
            if record.HasField("history"):
                items = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
                if "train/step" in items:
                    rows.append(items)
    return rows


def largest_difference(a: Path, b: Path) -> float:
    """Between the weights of two models."""
    from safetensors.torch import load_file

    left, right = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    return max(float((left[name] - right[name]).abs().max()) for name in left)

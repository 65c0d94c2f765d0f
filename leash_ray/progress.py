"""Progress of long work as plain lines, a few seconds apart: good in a terminal, in a log and in a job's output."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

EVERY_S = 5.0


class Progress:
    """Completions of each policy.

    Args:
        total: completions wanted, by policy.
        done: completions that are there already.
        say: takes a line.
    """

    def __init__(self, total: Mapping[str, int], done: Mapping[str, int], say: Callable[[str], None]):
        self._total, self._done, self._say = dict(total), Counter(done), say
        self._new: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._correct: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._started_s = self._said_s = time.monotonic()

    def add(self, policy: str, completions: int, tokens: int, correct: int, errors: int) -> None:
        """Count one shard; now and then, say a line."""
        self._done[policy] += completions
        self._new[policy] += completions
        self._tokens[policy] += tokens
        self._correct[policy] += correct
        self._errors[policy] += errors
        if time.monotonic() - self._said_s >= EVERY_S:
            self._said_s = time.monotonic()
            self._say(self._line())

    @property
    def _elapsed_s(self) -> float:
        return max(1e-9, time.monotonic() - self._started_s)

    def _line(self) -> str:
        parts = [
            f"{name} {self._done[name]:,}/{self._total[name]:,} ({self._correct[name] / self._new[name]:.0%} correct)"
            for name in self._total
            if self._new[name]
        ]
        left = sum(self._total.values()) - sum(self._done.values())
        left_s = left * self._elapsed_s / max(1, sum(self._new.values()))
        return (
            f"  {', '.join(parts)}; {sum(self._tokens.values()) / self._elapsed_s:,.0f} tokens/s, {left_s:.0f} s left"
        )

    def metrics(self) -> dict[str, float]:
        """Counts and rates so far, for the monitor."""
        found: dict[str, float] = {"tokens_per_s": sum(self._tokens.values()) / self._elapsed_s}
        for name in self._total:
            found[f"{name}/completions"] = self._done[name]
            if self._new[name]:
                found[f"{name}/correct_share"] = self._correct[name] / self._new[name]
                found[f"{name}/verifier_errors"] = self._errors[name]
        return found

    def summary(self) -> str:
        """One line for the end."""
        errors = sum(self._errors.values())
        return (
            f"sampled {sum(self._new.values()):,} completions, {sum(self._tokens.values()):,} tokens in "
            f"{self._elapsed_s:.0f} s ({sum(self._tokens.values()) / self._elapsed_s:,.0f} tokens/s); "
            f"{errors:,} could not be verified"
        )


@contextmanager
def follow_training(metrics: Path, steps: int, say: Callable[[str], None]) -> Iterator[None]:
    """Say a line about the newest training step now and then, read from ``metrics.jsonl`` as workers write it."""
    over = threading.Event()
    started = time.time()

    def follow() -> None:
        said = None
        while not over.wait(EVERY_S):
            row = _last_training_row(metrics)
            if row and row["step"] != said and row["time"] >= started:  # not what an earlier try left there
                said = row["step"]
                say(
                    f"  step {row['step']}/{steps}: reward {_number(row.get('reward_mean'))}, "
                    f"entropy {_number(row.get('entropy'))} nats, KL {_number(row.get('kl'))}, "
                    f"{_number(row.get('step_s'), 2)} s a step"
                )

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _last_training_row(path: Path) -> dict[str, Any] | None:
    """The last whole training row of the file's tail."""
    try:
        with open(path, "rb") as f:
            f.seek(0, 2)
            f.seek(max(0, f.tell() - 8192))
            lines = f.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except ValueError:  # cut off at either end
            continue
        if isinstance(row, dict) and row.get("stage") == "train":
            return row
    return None

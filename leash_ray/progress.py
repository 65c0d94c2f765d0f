"""Progress of long work as plain lines, a few seconds apart: good in a terminal, in a log and in a job's output."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from leash_ray.types import Verdict

EVERY_S = 5.0


class Counts(Protocol):
    """What is known of sampling's state, by policy; :class:`~leash_ray.sampling.rounds.Rounds` has it."""

    pairs: Sequence[tuple[str, str]]
    decided: set[tuple[str, str]]
    n_held: Counter[str]
    n_left: Counter[str]
    end: int


class Progress:
    """Completions of each policy, as a line for each now and then.

    Args:
        counts: is looked at, never changed.
        say: takes a line.
    """

    def __init__(self, counts: Counts, say: Callable[[str], None]):
        self._counts, self._say = counts, say
        self._problems = Counter(policy for policy, _ in counts.pairs)
        self._new: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._correct: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._started_s = self._said_s = time.monotonic()

    @property
    def n_completions(self) -> int:
        """That are there, of all policies."""
        return self._counts.n_held.total()

    def add(self, made: Mapping[str, Any]) -> None:
        """Take note of one shard that ``counts`` has counted; now and then, say a line for each policy."""
        policy = made["policy"]
        self._new[policy] += made["completions"]
        self._tokens[policy] += made["tokens"]
        self._correct[policy] += made[Verdict.CORRECT]
        self._errors[policy] += made[Verdict.ERROR]
        if time.monotonic() - self._said_s >= EVERY_S:
            self._said_s = time.monotonic()
            for policy in self._problems:
                self._say(self.line(policy))

    @property
    def _elapsed_s(self) -> float:
        return max(1e-9, time.monotonic() - self._started_s)

    def _decided_share(self, policy: str) -> float:
        return sum(name == policy for name, _ in self._counts.decided) / max(1, self._problems[policy])

    def line(self, policy: str) -> str:
        """Of one policy. The time left is that of the current round: how many problems need another is not known."""
        held, left, new = self._counts.n_held[policy], self._counts.n_left[policy], self._new[policy]
        correct = f" ({self._correct[policy] / new:.0%} of the new ones correct)" if new else ""
        left_s = f"{left * self._elapsed_s / new:.0f} s left" if new else f"{left:,} left"
        return (
            f"  {policy}: {held:,} samples{correct}, {self._tokens[policy] / self._elapsed_s:,.0f} tokens/s, "
            f"{self._decided_share(policy):.0%} of {self._problems[policy]} problems done; up to "
            f"{self._counts.end:,} samples a problem: {left_s}"
        )

    def metrics(self) -> dict[str, float]:
        """Counts and rates so far, for the monitor."""
        found: dict[str, float] = {"tokens_per_s": self._tokens.total() / self._elapsed_s}
        for name in self._problems:
            found[f"{name}/completions"] = self._counts.n_held[name]
            found[f"{name}/decided_share"] = self._decided_share(name)
            found[f"{name}/tokens_per_s"] = self._tokens[name] / self._elapsed_s
            if self._new[name]:
                found[f"{name}/correct_share"] = self._correct[name] / self._new[name]
                found[f"{name}/verifier_errors"] = self._errors[name]
        return found

    def summary(self) -> str:
        """One line for the end."""
        return (
            f"sampled {self._new.total():,} completions, {self._tokens.total():,} tokens in "
            f"{self._elapsed_s:.0f} s ({self._tokens.total() / self._elapsed_s:,.0f} tokens/s); "
            f"{self._errors.total():,} could not be verified"
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

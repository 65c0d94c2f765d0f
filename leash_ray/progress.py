"""Progress of long work as plain lines, a few seconds apart: good in a terminal, in a log and in a job's output."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from leash_ray.rates import RecentRate
from leash_ray.types import Verdict

EVERY_S = 5.0
LOG_EVERY_S = 2.0
_TAIL_BYTES = 1 << 18
"""Of the metrics that are looked at: more than is written between two looks."""


class Counts(Protocol):
    """What is known of sampling's state, by policy; :class:`~leash_ray.sampling.rounds.Rounds` has it."""

    pairs: Sequence[tuple[str, str]]
    decided: set[tuple[str, str]]
    n_held: Counter[str]
    n_left: Counter[str]
    dead: Counter[str]
    end: int


Numbers = dict[str, float | None]


class Progress:
    """Completions of each policy, as a line for each now and then, and as numbers for whoever keeps them.

    Rates, and the time left that follows from them, are of about the last minute (:mod:`leash_ray.rates`).

    Args:
        counts: is looked at, never changed.
        policies: which are told of.
        say: takes a line.
        log: takes the numbers of each policy, at most every ``LOG_EVERY_S`` seconds.
    """

    def __init__(
        self,
        counts: Counts,
        policies: Sequence[str],
        say: Callable[[str], None],
        log: Callable[[Mapping[str, Numbers]], None] = lambda numbers: None,
    ):
        self._counts, self._policies, self._say, self._log = counts, tuple(policies), say, log
        self._problems = Counter(policy for policy, _ in counts.pairs)
        now_s = time.monotonic()
        self._new = {policy: RecentRate(now_s) for policy in policies}
        self._tokens = {policy: RecentRate(now_s) for policy in policies}
        self._correct: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._started_s = self._said_s = now_s
        self._logged_s = -LOG_EVERY_S
        self._logged: Mapping[str, Numbers] = {}

    def add(self, made: Mapping[str, Any]) -> None:
        """Take note of one shard that ``counts`` has counted; now and then, say a line for each policy."""
        policy, now_s = made["policy"], time.monotonic()
        self._new[policy].add(now_s, made["completions"])
        self._tokens[policy].add(now_s, made["tokens"])
        self._correct[policy] += made[Verdict.CORRECT]
        self._errors[policy] += made[Verdict.ERROR]
        if now_s - self._said_s >= EVERY_S:
            self._said_s = now_s
            for policy in self._policies:
                self._say(self.line(policy))
        if now_s - self._logged_s >= LOG_EVERY_S:
            self.log()

    def log(self) -> None:
        """Hand over the numbers as they are now, unless the last ones still hold."""
        self._logged_s = time.monotonic()
        numbers = {policy: self.numbers(policy) for policy in self._policies}
        counted = ("completions", "dead_letters")
        if any(numbers[p][key] != self._logged.get(p, {}).get(key) for p in numbers for key in counted):
            self._logged = numbers
            self._log(numbers)

    def _decided_share(self, policy: str) -> float:
        return sum(name == policy for name, _ in self._counts.decided) / max(1, self._problems[policy])

    def _left_s(self, policy: str, now_s: float) -> float | None:
        """Seconds until the current round is drawn; None: not known yet."""
        left, rate = self._counts.n_left[policy], self._new[policy].per_s(now_s)
        return 0.0 if not left else left / rate if rate else None

    def line(self, policy: str) -> str:
        """Of one policy. The time left is that of the current round: how many problems need another is not known."""
        now_s = time.monotonic()
        new, left_s, dead = self._new[policy].total, self._left_s(policy, now_s), self._counts.dead[policy]
        correct = f" ({self._correct[policy] / new:.0%} of the new ones correct)" if new else ""
        return (
            f"  {policy}: {self._counts.n_held[policy]:,} samples{correct}, "
            f"{self._tokens[policy].per_s(now_s):,.0f} tokens/s, "
            f"{self._decided_share(policy):.0%} of {self._problems[policy]} problems done; up to "
            f"{self._counts.end:,} samples a problem: "
            + (f"{self._counts.n_left[policy]:,} left" if left_s is None else f"{left_s:.0f} s left")
            + (f"; {dead:,} could not be had" if dead else "")
        )

    def numbers(self, policy: str) -> Numbers:
        """Of one policy: ``completions`` that are there; ``tokens`` drawn since the start of this command and
        ``tokens_per_s`` of late; ``decided_share`` of the problems, ``seconds_left`` of the current round (None: not
        known), ``round_end`` (samples a problem that it goes up to); ``dead_letters`` (completions); of the new
        completions ``correct_share`` (None: there are none) and ``verifier_errors``."""
        now_s = time.monotonic()
        new = self._new[policy].total
        return {
            "completions": self._counts.n_held[policy],
            "tokens": self._tokens[policy].total,
            "tokens_per_s": self._tokens[policy].per_s(now_s),
            "decided_share": self._decided_share(policy),
            "seconds_left": self._left_s(policy, now_s),
            "round_end": self._counts.end,
            "dead_letters": self._counts.dead[policy],
            "correct_share": self._correct[policy] / new if new else None,
            "verifier_errors": self._errors[policy],
        }

    def summary(self) -> str:
        """One line for the end; its rate is that of the whole time."""
        elapsed_s = max(1e-9, time.monotonic() - self._started_s)
        new, tokens = (sum(rate.total for rate in rates.values()) for rates in (self._new, self._tokens))
        return (
            f"sampled {new:,} completions of {' and '.join(self._policies)}, {tokens:,} tokens in {elapsed_s:.0f} s "
            f"({tokens / elapsed_s:,.0f} tokens/s); {self._errors.total():,} could not be verified"
        )


@contextmanager
def follow_training(metrics: Path, steps: int, say: Callable[[str], None]) -> Iterator[None]:
    """Say a line about the newest training step now and then, and one about each audit, read from ``metrics.jsonl`` as
    workers write it."""
    over = threading.Event()
    said_until = time.time()  # not what an earlier try left there

    def follow() -> None:
        nonlocal said_until
        is_last = False
        while not is_last:
            is_last = over.wait(EVERY_S)  # what came while it ended is said, too
            rows = [row for row in _newest_rows(metrics) if row["time"] > said_until]
            newest = next((row for row in reversed(rows) if row["stage"] == "train"), None)
            for row in rows:
                said_until = row["time"]
                if row is newest:
                    say(training_line(row, steps))
                elif row["stage"] == "audit":
                    say(audit_line(row))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def training_line(row: Mapping[str, Any], steps: int) -> str:
    """Of one training step."""
    return (
        f"  step {row['step']}/{steps}: reward {_number(row.get('reward_mean'))}, "
        f"entropy {_number(row.get('entropy'))} nats, KL {_number(row.get('kl'))}, "
        f"{_number(row.get('step_s'), 2)} s a step"
    )


def audit_line(row: Mapping[str, Any]) -> str:
    """Of one audit while training (:mod:`leash_ray.rlvr.support_audit`)."""
    start = f"  step {row['step']}: audit"
    if row.get("error"):
        return f"{start} failed, {row['failures']} so far ({row['error']}); training goes on"
    if "problem/NSCR" not in row:
        return (
            f"{start}: {row['completions']:,} completions of the base on {row['n_problems']} problems "
            f"in {row['seconds']:.0f} s"
        )
    counts = " ".join(f"{group} {row[f'problem/{group}']}" for group in "PESO")
    acted = {
        "stop": "; the leash guard stops training",
        "kl": f"; the leash guard raises the KL weight to {row.get('kl_coef') or 0:.3g}",
    }
    return (
        f"{start}: pass@1 {_number(row.get('trained/pass_at_k/1'), 2)} "
        f"(base {_number(row.get('base/pass_at_k/1'), 2)}), "
        f"{counts} at k = {row['k']}, NSCR {_number(row['problem/NSCR'], 2)} "
        f"[{_number(row.get('problem/NSCR/low'), 2)}, {_number(row.get('problem/NSCR/high'), 2)}]; "
        f"lost {row['lost']}, regained {row['regained']}" + acted.get(row.get("guard") or "", "")
    )


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _newest_rows(path: Path) -> list[dict[str, Any]]:
    """The whole rows of the file's tail."""
    try:
        with open(path, "rb") as f:
            f.seek(0, 2)
            f.seek(max(0, f.tell() - _TAIL_BYTES))
            lines = f.read().split(b"\n")
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:  # cut off at either end
            continue
        if isinstance(row, dict):
            found.append(row)
    return found

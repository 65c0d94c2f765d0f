"""What people are told while completions are drawn."""

import signal
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from leash_ray import progress
from leash_ray.interrupts import sigterm_interrupts
from leash_ray.progress import Progress


@dataclass
class Made:
    """Counts as rounds keep them."""

    pairs: Any = field(default_factory=lambda: [(policy, str(i)) for i in range(4) for policy in ("base", "trained")])
    decided: set[tuple[str, str]] = field(default_factory=set)
    n_held: Counter[str] = field(default_factory=lambda: Counter(base=100, trained=40))
    n_left: Counter[str] = field(default_factory=lambda: Counter(base=300, trained=0))
    dead: Counter[str] = field(default_factory=Counter)
    end: int = 128


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def shard(policy: str, n: int, correct: int, errors: int = 0) -> dict[str, Any]:
    return {"policy": policy, "completions": n, "tokens": 8 * n, "CORRECT": correct, "ERROR": errors}


BOTH = ("base", "trained")


def test_a_line_for_each_policy_every_few_seconds(clock: list[float]) -> None:
    said: list[str] = []
    made = Made()
    shown = Progress(made, BOTH, said.append)
    clock[0] = 4.0
    shown.add(shard("base", 50, 10))
    assert said == []
    clock[0] = 10.0
    made.n_held["base"], made.n_left["base"] = 200, 200
    made.decided = {("base", "0"), ("base", "1"), ("trained", "3")}
    made.dead["trained"] = 8
    shown.add(shard("base", 50, 15, errors=2))
    assert said == [
        "  base: 200 samples (25% of the new ones correct), 80 tokens/s, 50% of 4 problems done; up to 128 samples a "
        "problem: 20 s left",
        "  trained: 40 samples, 0 tokens/s, 25% of 4 problems done; up to 128 samples a problem: 0 s left; "
        "8 could not be had",
    ]
    assert shown.numbers("base") == {
        "completions": 200,
        "tokens": 800,
        "tokens_per_s": 80.0,
        "decided_share": 0.5,
        "seconds_left": 20.0,
        "round_end": 128,
        "dead_letters": 0,
        "correct_share": 0.25,
        "verifier_errors": 2,
    }
    trained = shown.numbers("trained")
    assert (trained["correct_share"], trained["seconds_left"], trained["dead_letters"]) == (None, 0.0, 8)
    assert shown.summary() == (
        "sampled 100 completions of base and trained, 800 tokens in 10 s (80 tokens/s); 2 could not be verified"
    )


def test_the_rate_and_the_time_left_are_of_late_and_the_summary_is_of_all(clock: list[float]) -> None:
    """An hour of 10 completions a second, then of 2."""
    made = Made()
    shown = Progress(made, ["base"], lambda line: None)
    for second in range(10, 3601, 10):
        clock[0] = float(second)
        shown.add(shard("base", 100, 0))
    for second in range(3610, 3721, 10):
        clock[0] = float(second)
        shown.add(shard("base", 20, 0))
    numbers = shown.numbers("base")
    assert (numbers["tokens_per_s"], numbers["seconds_left"]) == (8 * 2, 300 / 2)
    assert "(78 tokens/s)" in shown.summary()  # 8 * (36,000 + 240) / 3,720


def test_what_is_left_is_said_where_its_time_is_not_known(clock: list[float]) -> None:
    shown = Progress(Made(), BOTH, print)
    assert shown.line("base").endswith("0 tokens/s, 0% of 4 problems done; up to 128 samples a problem: 300 left")
    assert shown.numbers("base")["seconds_left"] is None
    assert shown.summary().startswith("sampled 0 completions of base and trained, 0 tokens in 0 s (0 tokens/s)")


def test_numbers_are_logged_now_and_then_and_the_last_ones_always(clock: list[float]) -> None:
    logged: list[tuple[float, float | None]] = []
    made = Made()
    shown = Progress(made, BOTH, print, lambda numbers: logged.append((clock[0], numbers["base"]["completions"])))
    for i in range(1, 36):  # ten small shards a second
        clock[0] = i / 10
        made.n_held["base"] += 1
        shown.add(shard("base", 1, 0))
    assert logged == [(0.1, 101), (2.1, 121)]
    shown.log()
    assert logged[2:] == [(3.5, 135)]
    shown.log()  # nothing new
    made.dead["base"] = 1
    shown.log()
    assert logged[3:] == [(3.5, 135)]


def test_sigterm_ends_sampling_as_ctrl_c_does() -> None:
    """Also where somebody (Ray) has taken the signal for itself; afterwards it is as it was."""

    def taken(number: int, frame: object) -> None:
        raise SystemExit(134)

    before = signal.signal(signal.SIGTERM, taken)
    try:
        with pytest.raises(KeyboardInterrupt), sigterm_interrupts():
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is taken
    finally:
        signal.signal(signal.SIGTERM, before)

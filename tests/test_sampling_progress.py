"""What people are told while completions are drawn."""

import signal
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from leash_ray import progress
from leash_ray.progress import Progress
from leash_ray.sampling.stage import sigterm_interrupts


@dataclass
class Made:
    """Counts as rounds keep them."""

    pairs: Any = field(default_factory=lambda: [(policy, str(i)) for i in range(4) for policy in ("base", "trained")])
    decided: set[tuple[str, str]] = field(default_factory=set)
    n_held: Counter[str] = field(default_factory=lambda: Counter(base=100, trained=40))
    n_left: Counter[str] = field(default_factory=lambda: Counter(base=300, trained=0))
    end: int = 128


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def shard(policy: str, n: int, correct: int, errors: int = 0) -> dict[str, Any]:
    return {"policy": policy, "completions": n, "tokens": 8 * n, "CORRECT": correct, "ERROR": errors}


def test_a_line_for_each_policy_every_few_seconds(clock: list[float]) -> None:
    said: list[str] = []
    made = Made()
    shown = Progress(made, said.append)
    clock[0] = 4.0
    shown.add(shard("base", 50, 10))
    assert said == []
    clock[0] = 10.0
    made.n_held["base"], made.n_left["base"] = 200, 200
    made.decided = {("base", "0"), ("base", "1"), ("trained", "3")}
    shown.add(shard("base", 50, 15, errors=2))
    assert said == [
        "  base: 200 samples (25% of the new ones correct), 80 tokens/s, 50% of 4 problems done; up to 128 samples a "
        "problem: 20 s left",
        "  trained: 40 samples, 0 tokens/s, 25% of 4 problems done; up to 128 samples a problem: 0 left",
    ]
    assert shown.n_completions == 240
    assert shown.metrics() == {
        "tokens_per_s": 80.0,
        "base/completions": 200,
        "base/decided_share": 0.5,
        "base/tokens_per_s": 80.0,
        "base/correct_share": 0.25,
        "base/verifier_errors": 2,
        "trained/completions": 40,
        "trained/decided_share": 0.25,
        "trained/tokens_per_s": 0.0,
    }
    assert shown.summary() == "sampled 100 completions, 800 tokens in 10 s (80 tokens/s); 2 could not be verified"


def test_nothing_drawn_is_no_division_by_zero(clock: list[float]) -> None:
    assert Progress(Made(), print).summary().startswith("sampled 0 completions, 0 tokens in 0 s (0 tokens/s)")


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

"""One step ahead: what is drawn when, by which version, what a break does to it, and how its failures surface."""

import threading
from pathlib import Path
from typing import Any

import pytest
from scripted_rollouts import Run, background_threads, problems_of

from leash_ray.errors import RunFailed
from leash_ray.rlvr.ahead import Ahead

PROBLEMS = problems_of(*[0.5] * 10)
TIMEOUT_S = 20.0


pytestmark = pytest.mark.usefixtures("alone")


def run(**settings: Any) -> Run:
    return Run(PROBLEMS, **{"staleness": 1, "steps": 5, **settings})


def test_every_step_but_the_first_is_of_a_policy_one_step_old() -> None:
    ahead, in_turn = run(), run(staleness=0)
    rows = ahead.steps(0, 5)
    assert [version for version, *_ in ahead.policy.calls] == [0, 0, 1, 2, 3]
    assert [row["staleness"] for row in rows] == [row["staleness_max"] for row in rows] == [0, 1, 1, 1, 1]
    in_turn.steps(0, 5)
    assert [version for version, *_ in in_turn.policy.calls] == [0, 1, 2, 3, 4]
    # A stream is named by the step that it is for: this policy never changes, so both learn from the same completions.
    assert [b.tolist() for b in ahead.samples] == [b.tolist() for b in in_turn.samples]


def test_it_is_drawn_while_the_learner_learns_and_waited_for() -> None:
    """The draw starts in the update, and ends only after the update has: the step waits for it."""
    made = run()
    may_sample, asked = threading.Event(), threading.Event()

    def before(version: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            asked.set()
            assert may_sample.wait(TIMEOUT_S)

    def during(step: int) -> None:
        assert asked.wait(TIMEOUT_S)  # or nothing is drawn while it learns
        threading.Timer(0.3, may_sample.set).start()

    made.policy.before, made.learner.during = before, during
    (row,) = made.steps(0, 1)
    assert row["wait_s"] > 0.2
    assert not background_threads()  # weights may change now
    assert len(made.policy.calls) == 2


def test_the_last_step_draws_nothing_ahead() -> None:
    made = run(steps=2)
    made.steps(0, 2)
    assert len(made.policy.calls) == 2


@pytest.mark.parametrize("settings", [{}, {"dynamic": {}}, {"temperature_by_problem": {"high": 1.5}}])
def test_a_resumed_run_is_the_unbroken_one(settings: dict[str, Any], tmp_path: Path) -> None:
    unbroken, broken = run(**settings), run(**settings)
    rows = unbroken.steps(0, 5)
    broken.steps(0, 3)
    broken.objective.save(tmp_path)
    state = broken.objective.state()
    resumed = run(**settings)
    resumed.objective.restore(state)
    resumed.objective.load(tmp_path)
    again = resumed.steps(3, 5)
    assert resumed.policy.calls[0][0] == 3  # step 3 has been drawn before the break
    assert [b.tolist() for b in resumed.samples] == [b.tolist() for b in unbroken.samples[3:]]
    for name in ("reward_mean", "staleness", "temperature", "rollout_tokens"):
        assert [row[name] for row in again] == [row[name] for row in rows[3:]], name


def test_of_another_number_of_workers_or_another_step_nothing_is_taken(tmp_path: Path) -> None:
    broken = run()
    broken.steps(0, 1)
    broken.objective.save(tmp_path)
    two = Ahead(rank=0, workers=2)
    two.load(tmp_path)
    assert two.take(1) is None
    other = Ahead(rank=0, workers=1)
    other.load(tmp_path)
    assert other.take(2) is None
    right = Ahead(rank=0, workers=1)
    right.load(tmp_path)
    assert right.take(1) is not None and right.take(1) is None
    Ahead(rank=1, workers=1).load(tmp_path)  # without a file


def test_a_failure_in_the_background_is_that_of_the_foreground() -> None:
    def failing(version: int) -> None:
        raise RunFailed("policy 'trained' could not be sampled")

    in_front = run()
    in_front.policy.before = failing
    with pytest.raises(RunFailed, match="policy 'trained' could not be sampled"):
        in_front.steps(0, 1)
    behind = run()
    behind.steps(0, 1)
    behind.policy.before = failing
    with pytest.raises(RunFailed, match="policy 'trained' could not be sampled"):
        behind.steps(1, 2)
    assert len(behind.learner.batches) == 2  # the update was done; its step was not
    assert not background_threads()

"""Each problem's own temperature: by hand, in sampling and in the loss, and over a break."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scripted_rollouts import Run, config_of, problems_of

from leash_ray.rlvr.sections import TemperatureByProblem
from leash_ray.rlvr.temperature import Temperatures, heated, next_heat

HOT = TemperatureByProblem(high=1.25, rate=0.1)


pytestmark = pytest.mark.usefixtures("alone")


def test_by_hand() -> None:
    temperatures = Temperatures(HOT)
    turns = [(4, 0), (4, 4), (4, 0), (4, 0), (4, 1), (4, 3), (0, 0), (1, 1), (4, 2), (4, 2)]
    found = []
    for seen in turns:
        temperatures.add({"a": seen}, base=1.0)
        found.append(temperatures.of("a", 1.0))
    # Hotter by 0.1 a turn up to 1.25, which the third turn reaches; then less hot. Errors and lone ones say nothing.
    assert found == [1.1, 1.2, 1.25, 1.25, 1.2, 1.1, 1.1, 1.1, 1.0, 1.0]
    assert temperatures.of("unseen", 1.0) == 1.0


def test_it_is_above_what_the_schedule_says() -> None:
    assert heated(0.8, 2, HOT) == 1.0
    assert heated(1.2, 2, HOT) == 1.25
    assert heated(1.5, 2, HOT) == 1.5  # never cooler


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda nc: (max(nc), min(nc))), max_size=30))
@settings(max_examples=60, deadline=None)
def test_it_stays_in_bounds_and_forgets_in_as_many_turns_as_it_took(turns: list[tuple[int, int]]) -> None:
    temperatures = Temperatures(HOT)
    for seen in turns:
        temperatures.add({"a": seen}, base=1.0)
        assert 1.0 <= temperatures.of("a", 1.0) <= 1.25
    for _ in range(3):  # ceil(0.25 / 0.1)
        temperatures.add({"a": (4, 2)}, base=1.0)
    assert temperatures.of("a", 1.0) == 1.0 and temperatures.state() == {}


def test_without_the_setting_every_problem_has_the_step_s() -> None:
    temperatures = Temperatures(None)
    temperatures.add({"a": (4, 0)}, base=0.6)
    assert temperatures.of("a", 0.6) == 0.6


def test_one_unit_of_heat_a_turn() -> None:
    assert [next_heat(h, n, c, 2) for h, n, c in [(0, 4, 0), (2, 4, 4), (2, 4, 1), (0, 4, 1), (1, 1, 0)]] == [
        1, 2, 1, 0, 1
    ]  # fmt: skip


def test_a_bound_that_is_below_the_temperature_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"temperature_by_problem.high \(1\) must be above temperature"):
        config_of(temperature_by_problem={"high": 1.0})


def test_sampler_and_loss_have_it_and_a_resumed_run_too() -> None:
    """Two problems that never succeed, and two that do at times: both turns in every step."""
    problems = problems_of(0.0, 0.0, 0.5, 0.5)
    settings = {"group_size": 16, "temperature_by_problem": {"high": 1.25, "rate": 0.1}}
    run = Run(problems, **settings)
    rows = run.steps(0, 4)
    at: dict[float, list[set[str]]] = {}
    for _, temperature, _, prompts in run.policy.calls:
        at.setdefault(temperature, []).append(set(prompts))
    assert at == {1.0: [{"0:", "1:", "2:", "3:"}, *[{"2:", "3:"}] * 3], **{t: [{"0:", "1:"}] for t in (1.1, 1.2, 1.25)}}
    assert [row["temperature"] for row in rows] == pytest.approx([1.0, 1.05, 1.1, 1.125])
    for batch, hot in zip(run.learner.batches, (1.0, 1.1, 1.2, 1.25)):
        rights_G = (batch.ids_BT[:, 2] == 11).view(4, 16).any(1)  # which groups are of the problems that succeed
        want = torch.where(rights_G, 1.0, hot).repeat_interleave(16)
        torch.testing.assert_close(batch.temperature_B, want)
    resumed = Run(problems, **settings)
    resumed.steps(0, 2)
    state = resumed.objective.state()
    resumed = Run(problems, **settings)
    resumed.objective.restore(state)
    assert [row["temperature"] for row in resumed.steps(2, 4)] == [row["temperature"] for row in rows[2:]]
    assert [b.tolist() for b in resumed.samples] == [b.tolist() for b in run.samples[2:]]


def test_schedules_of_temperature_and_length_rule_the_draws() -> None:
    run = Run(
        problems_of(0.5, 0.5, 0.5, 0.5),
        temperature=[{"from_step": 0, "value": 1.2}, {"from_step": 2, "value": 0.9}],
        max_tokens=[{"from_step": 0, "value": 4}, {"from_step": 3, "value": 8}],
    )
    rows = run.steps(0, 4)
    assert [(temperature, longest) for _, temperature, longest, _ in run.policy.calls] == [
        (1.2, 4), (1.2, 4), (0.9, 4), (0.9, 8)
    ]  # fmt: skip
    assert [row["temperature"] for row in rows] == [1.2, 1.2, 0.9, 0.9]
    assert [float(b.temperature_B.unique()) for b in run.learner.batches] == pytest.approx([1.2, 1.2, 0.9, 0.9])
    assert math.isclose(rows[0]["staleness"], 0.0)

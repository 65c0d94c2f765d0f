"""Dynamic sampling, with policies that never, always or sometimes answer right."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_rollouts import Policy, Run, config_of, drawn, problems_of

from leash_ray.rlvr.dynamic import Sampled, replaced, spares
from leash_ray.rlvr.rollouts import Draw, prompts_of_step
from leash_ray.rlvr.sections import DynamicConfig

NEVER, ALWAYS, OFTEN = 0.0, 1.0, 0.5
N = 16
"""Completions a group: at a chance of one half, one without signal comes once in 32,768."""


pytestmark = pytest.mark.usefixtures("alone")


def sample(first: list[float], *rounds: list[float], **dynamic: Any) -> tuple[Sampled, list[list[int]], Policy]:
    """(what is learnt from, numbers of the problems that were drawn in each round, the policy)."""
    problems = problems_of(*first, *(chance for chances in rounds for chance in chances))
    policy = Policy(problems)
    at = len(first)
    offered = []
    for i, chances in enumerate(rounds):
        offered.append([Draw(p, 0, i + 1) for p in problems[at : at + len(chances)]])
        at += len(chances)
    got = replaced(
        drawn(policy, [Draw(p, 0) for p in problems[: len(first)]], N),
        lambda draws: drawn(policy, draws, N),
        lambda round_: offered[round_ - 1] if round_ <= len(offered) else [],
        DynamicConfig(**dynamic),
    )
    number = {p.id: i for i, p in enumerate(problems)}
    return got, [[number[d.problem.id] for d in r.draws] for r in got.rounds], policy


def used(got: Sampled, n_problems: int, first: list[float]) -> list[int]:
    number = {p.id: i for i, p in enumerate(problems_of(*first))}
    return [number[d.problem.id] for d in got.rollouts.draws]


def test_groups_without_signal_are_replaced_in_their_places() -> None:
    first, second, third = [OFTEN, NEVER, ALWAYS, OFTEN], [NEVER, OFTEN], [OFTEN, OFTEN]
    got, rounds, _ = sample(first, second, third)
    # Two are missing; the second round brings one, so one more is drawn.
    assert rounds == [[0, 1, 2, 3], [4, 5], [6]]
    assert used(got, 8, first + second + third) == [0, 5, 6, 3]
    assert all(part.has_signal for part in got.rollouts.parts())
    sums = got.sums()
    assert (sums["replaced"], sums["rounds"], sums["groups"]) == (2, 2, 4)
    assert (sums["groups_with_signal"], sums["used_with_signal"]) == (2, 4)
    # Every completion has two tokens: seven groups were drawn, four are learnt from.
    assert (sums["all_tokens"], sums["thrown_tokens"]) == (7 * N * 2, 3 * N * 2)
    assert {name: sums[name] for name in ("completions", "correct", "tokens")} == {
        name: got.in_turn.sums[name] for name in ("completions", "correct", "tokens")
    }
    seen = got.seen()
    assert len(seen) == 7 and {n for n, _ in seen.values()} == {N}
    assert sum(c for _, c in seen.values()) == sum(
        sum(v.verdict == "CORRECT" for v in r.verifications) for r in got.rounds
    )


def test_what_has_no_signal_after_the_last_round_stays() -> None:
    got, rounds, _ = sample([NEVER, ALWAYS, OFTEN], [NEVER, NEVER], [OFTEN, OFTEN], max_rounds=1)
    assert rounds == [[0, 1, 2], [3, 4]]
    assert used(got, 7, [NEVER, ALWAYS, OFTEN, NEVER, NEVER, OFTEN, OFTEN]) == [0, 1, 2]
    assert (got.sums()["replaced"], got.sums()["used_with_signal"]) == (0, 1)


def test_nothing_is_drawn_where_nothing_is_missing_or_nothing_is_left() -> None:
    assert sample([OFTEN, OFTEN], [OFTEN])[1] == [[0, 1]]
    assert sample([NEVER, OFTEN], [NEVER], [])[1] == [[0, 1], [2]]


def test_more_are_drawn_than_are_missing_to_save_rounds() -> None:
    first, second = [NEVER, NEVER, OFTEN], [NEVER, OFTEN, OFTEN, OFTEN]
    got, rounds, _ = sample(first, second, oversample=1.5)
    assert rounds == [[0, 1, 2], [3, 4, 5]]  # ceil(1.5 · 2)
    assert used(got, 7, first + second) == [4, 5, 2]


@given(
    n_problems=st.integers(4, 40), workers=st.integers(1, 3), each=st.integers(1, 4), step=st.integers(0, 9),
    oversample=st.sampled_from([1.0, 1.5, 2.0]), seed=st.integers(0, 3),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_no_spare_is_there_twice(
    n_problems: int, workers: int, each: int, step: int, oversample: float, seed: int
) -> None:
    problems = problems_of(*[OFTEN] * n_problems)
    config = config_of(workers=workers, prompts_per_step=workers * each, dynamic={"oversample": oversample})
    in_turn = {d.problem.id for d in prompts_of_step(problems, step, workers * each, seed)}
    of = [spares(problems, config, step, round_, rank, seed) for round_ in (1, 2, 3) for rank in range(workers)]
    ids = [draw.problem.id for draws in of for draw in draws]
    assert len(set(ids)) == len(ids) and not set(ids) & in_turn
    size = -(-each * oversample // 1)  # of a worker and round
    assert len(ids) == min(n_problems - len(in_turn), 3 * workers * size)
    assert all(draw.round == 1 + i // workers for i, draws in enumerate(of) for draw in draws)
    assert of[0] == spares(problems, config, step, 1, 0, seed)
    if n_problems - len(in_turn) > 8:
        assert of[0] != spares(problems, config, step, 1, 0, seed + 1) or len(of[0]) == 1


def test_a_step_learns_from_groups_with_signal_and_says_what_that_cost() -> None:
    problems = problems_of(*[NEVER, ALWAYS, OFTEN, OFTEN] * 5)
    run = Run(problems, dynamic={"max_rounds": 4, "oversample": 2.0}, group_size=N)
    rows = run.steps(0, 5)
    assert [row["group_signal_share_used"] for row in rows] == [1.0] * 5
    # In five steps of four, each of the twenty problems has had its turn: half of them have signal.
    assert sum(row["group_signal_share"] for row in rows) / 5 == 0.5
    assert sum(row["group_replaced_share"] for row in rows) / 5 == 0.5
    assert all(row["rollout_tokens"] == row["thrown_tokens"] + 4 * N * 2 for row in rows)
    assert sum(row["thrown_tokens"] for row in rows) >= 10 * N * 2
    assert all((row["dynamic_rounds"] > 0) == (row["group_signal_share"] < 1) for row in rows)
    for batch in run.learner.batches:
        assert bool((batch.advantages_B.view(4, N) != 0).all())  # a group with signal moves with every completion


def test_a_resumed_run_draws_the_same_replacements() -> None:
    problems = problems_of(*[NEVER, ALWAYS, OFTEN, OFTEN] * 5)
    unbroken, resumed = Run(problems, dynamic={}), Run(problems, dynamic={})
    unbroken.steps(0, 4)
    resumed.steps(0, 2)
    state = resumed.objective.state()
    resumed = Run(problems, dynamic={})
    resumed.objective.restore(state)
    resumed.steps(2, 4)
    assert [b.tolist() for b in resumed.samples] == [b.tolist() for b in unbroken.samples[2:]]
    assert resumed.objective.state() == unbroken.objective.state()


def test_turns_keep_every_problem_in_its_turn_and_no_replacement() -> None:
    kept: list[tuple[int, int]] = []

    class Kept:
        def keep(self, draws: list[Draw], groups: list[Any], verified: list[Any]) -> None:
            assert len(draws) == len(groups) and len(verified) == sum(map(len, groups))
            kept.extend((int(d.problem.prompt[:-1]), d.epoch) for d in draws)

    run = Run(problems_of(*[NEVER, OFTEN] * 4), turns=Kept(), dynamic={}, group_size=N)
    run.steps(0, 4)
    assert sorted(kept) == sorted((i, turn) for i in range(8) for turn in (0, 1))

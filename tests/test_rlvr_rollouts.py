"""Rollouts from a scripted policy of known distribution; which problem comes when, on which worker, with which seed."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.rlvr.rollouts import Draw, Rollouts, collect, has_signal, prompts_of_step, share_of_worker, summarise
from leash_ray.seeds import stream_seed
from leash_ray.types import CompletionBatch, Problem, SampleRequest, SamplingParams, Verdict
from leash_ray.verify import Verification

PROBLEMS = [Problem.make("t", f"{i}:", "scripted", str(i % 3)) for i in range(10)]
C, W, E = Verdict.CORRECT, Verdict.INCORRECT, Verdict.ERROR


class ScriptedPolicy:
    """Answers 0, 1 or 2 with probabilities 1/2, 1/4, 1/4, then stops; answer 2 is cut off before its stop token."""

    PROBABILITIES = np.array([0.5, 0.25, 0.25])

    def __init__(self) -> None:
        self.requests: list[SampleRequest] = []

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> list[CompletionBatch]:
        self.requests += requests
        return [self._batch(request) for request in requests]

    def _batch(self, request: SampleRequest) -> CompletionBatch:
        assert request.seed is not None
        answers = [
            int(np.random.default_rng(request.seed + i).choice(3, p=self.PROBABILITIES)) for i in range(request.n)
        ]
        ids = [[10 + a] if a == 2 else [10 + a, 1] for a in answers]
        return CompletionBatch(
            prompt_ids=np.array([5, 6], np.int32),
            token_ids_T=np.array([t for row in ids for t in row], np.int32),
            logprobs_T=np.array(
                [0.0 if t == 1 else math.log(self.PROBABILITIES[t - 10]) for row in ids for t in row], np.float32
            ),
            offsets=np.cumsum([0] + [len(row) for row in ids]),
            texts=[str(a) for a in answers],
            finish_reasons=["length" if a == 2 else "stop" for a in answers],
            version=3,
        )


def verify(items: Sequence[tuple[Problem, str, str]]) -> list[Verification]:
    """Right is the answer that the problem's reference names; 2 breaks the verifier."""
    return [
        Verification(E if text == "2" else C if text == problem.reference else W, text, None)
        for problem, text, _ in items
    ]


def key(draw: Draw) -> tuple[str, int]:
    return draw.problem.id, draw.epoch


def rollouts(draws: Sequence[Draw], n: int, policy: ScriptedPolicy | None = None, step: int = 0) -> Rollouts:
    return collect(
        policy or ScriptedPolicy(), verify, draws,
        group_size=n, temperatures=[1.0] * len(draws), max_tokens=32, step=step, seed=1,
    )  # fmt: skip


def test_collect_agrees_with_the_policy_s_distribution() -> None:
    n = 2000
    got = rollouts([Draw(PROBLEMS[0], 0), Draw(PROBLEMS[1], 0), Draw(PROBLEMS[2], 0)], n)
    # References 0, 1, 2, drawn with 1/2, 1/4 and 1/4; answer 2 is always an error, so nothing that is right for
    # problem 2 can be scored. 5 standard errors are 0.08.
    assert got.sums["correct"] / n == pytest.approx(1 / 2 + 1 / 4, abs=0.08)
    assert got.sums["scored"] == 3 * n - got.sums["errors"]
    assert (got.sums["completions"], got.sums["groups"], got.sums["groups_with_signal"]) == (3 * n, 3, 2)
    assert got.sums["errors"] == got.sums["truncated"] == pytest.approx(3 * n / 4, rel=0.15)
    assert got.sums["tokens"] == 2 * 3 * n - got.sums["truncated"]
    # The entropy of (1/2, 1/4, 1/4) is 1.5 ln 2 a completion; the stop token is certain.
    assert got.sums["surprisal_nats"] / (3 * n) == pytest.approx(1.5 * math.log(2), rel=0.05)
    assert [g.version for g in got.groups] == [3, 3, 3]


def test_what_was_seen_of_each_problem() -> None:
    got = rollouts([Draw(PROBLEMS[0], 0), Draw(PROBLEMS[1], 0), Draw(PROBLEMS[0], 1)], 50)
    answers = [list(group.texts) for group in got.groups]
    assert got.seen() == {
        PROBLEMS[0].id: (
            100 - answers[0].count("2") - answers[2].count("2"), answers[0].count("0") + answers[2].count("0")
        ),
        PROBLEMS[1].id: (50 - answers[1].count("2"), answers[1].count("1")),
    }  # fmt: skip


def test_signal_is_what_was_scored() -> None:
    def signal(*verdicts: Verdict) -> bool:
        return has_signal([Verification(v, None, None) for v in verdicts])

    assert signal(C, W) and signal(C, E, Verdict.TRUNCATED)
    assert not any(signal(*verdicts) for verdicts in ((C, C), (W, Verdict.NO_ANSWER), (C, E), (W, E), (E, E)))


def test_each_group_has_its_own_temperature() -> None:
    class Hot(ScriptedPolicy):
        temperatures: list[tuple[float, int, list[str]]] = []

        def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> list[CompletionBatch]:
            self.temperatures.append((params.temperature, params.max_tokens, [r.prompt for r in requests]))
            return super().sample(requests, params)

    policy = Hot()
    draws = [Draw(p, 0) for p in PROBLEMS[:3]]
    got = collect(
        policy, verify, draws, group_size=4, temperatures=[0.7, 1.2, 0.7], max_tokens=9, step=0, seed=1
    )  # fmt: skip
    assert sorted(policy.temperatures) == [(0.7, 9, ["0:", "2:"]), (1.2, 9, ["1:"])]
    assert [g.texts for g in got.groups] == [g.texts for g in rollouts(draws, 4).groups]  # each at its own place
    assert got.temperatures == [0.7, 1.2, 0.7]


@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_every_problem_comes_once_before_any_comes_twice(n: int, per_step: int, seed: int) -> None:
    problems = PROBLEMS[:n]
    n = len(problems)
    stream = [draw for step in range(5) for draw in prompts_of_step(problems, step, per_step, seed)]
    assert len(stream) == 5 * per_step
    for start in range(0, len(stream), n):
        turn = stream[start : start + n]
        assert len({draw.problem.id for draw in turn}) == len(turn)
        assert {draw.epoch for draw in turn} == {start // n}


def test_prompts_are_a_pure_function_of_seed_and_step() -> None:
    there = [prompts_of_step(PROBLEMS, step, 4, seed=1) for step in range(8)]
    assert [prompts_of_step(PROBLEMS, step, 4, seed=1) for step in reversed(range(8))] == there[::-1]
    assert [prompts_of_step(PROBLEMS, step, 4, seed=2) for step in range(8)] != there
    orders = {tuple(d.problem.id for step in there for d in step if d.epoch == epoch) for epoch in range(3)}
    assert len(orders) == 3  # each turn in another order


@given(st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_shares_are_whole_groups_that_make_up_the_step(workers: int, each: int) -> None:
    draws = prompts_of_step(PROBLEMS, 3, workers * each, seed=1)
    shares = [share_of_worker(draws, rank, workers) for rank in range(workers)]
    assert [len(share) for share in shares] == [each] * workers
    assert Counter(map(key, itertools.chain(*shares))) == Counter(map(key, draws))


def test_what_is_drawn_does_not_depend_on_the_number_of_workers() -> None:
    draws = prompts_of_step(PROBLEMS, 2, 4, seed=1)

    def texts(workers: int) -> dict[tuple[str, int], list[str]]:
        found = {}
        for rank in range(workers):
            share = share_of_worker(draws, rank, workers)
            found |= dict(zip(map(key, share), [g.texts for g in rollouts(share, 8, step=2).groups], strict=True))
        return found

    assert texts(1) == texts(2) == texts(4)


def test_a_problem_that_comes_twice_in_a_step_is_drawn_twice() -> None:
    # One problem, three groups: three streams, or the step would train on the same completions three times.
    policy = ScriptedPolicy()
    rollouts(prompts_of_step(PROBLEMS[:1], 0, 3, seed=1), 4, policy)
    rollouts(prompts_of_step(PROBLEMS[:1], 1, 3, seed=1), 4, policy, step=1)
    assert len({request.seed for request in policy.requests}) == 6
    assert {request.n for request in policy.requests} == {4}


def test_summary_by_hand() -> None:
    # Two workers' sums: 10 completions in 2 groups, 8 of them scored, 2 correct, 25 tokens.
    # Mean 2/8; the variance of ones and zeros is 1/4 · 3/4.
    summary = summarise(
        {
            "completions": 10.0, "scored": 8.0, "correct": 2.0, "groups": 2.0, "groups_with_signal": 1.0,
            "tokens": 25.0, "surprisal_nats": 37.5, "truncated": 2.0, "errors": 2.0, "rollout_s": 3.0, "verify_s": 1.0,
        },
        workers=2,
    )  # fmt: skip
    assert summary == {
        "reward_mean": 0.25, "reward_std": pytest.approx(math.sqrt(3) / 4), "group_signal_share": 0.5,
        "response_length": 2.5, "surprisal": 1.5, "truncation_share": 0.2, "verifier_errors": 2.0,
        "rollout_s": 1.5, "verify_s": 0.5,
    }  # fmt: skip


def test_summary_of_rollouts_matches_their_verdicts() -> None:
    """Against the whole batch of both workers at once."""
    draws = prompts_of_step(PROBLEMS, 0, 4, seed=1)
    parts = [rollouts(share_of_worker(draws, rank, 2), 8) for rank in range(2)]
    whole = rollouts(draws, 8)
    totals = {key: sum(part.sums[key] for part in parts) for key in whole.sums}
    for key, value in summarise(whole.sums, 1).items():
        if not key.endswith("_s"):
            assert summarise(totals, 2)[key] == pytest.approx(value)
    rights = [
        [text == d.problem.reference for text in g.texts if text != "2"] for d, g in zip(whole.draws, whole.groups)
    ]
    assert totals["groups_with_signal"] == sum(0 < sum(right) < len(right) for right in rights) > 0
    assert summarise(totals, 2)["reward_mean"] == pytest.approx(sum(map(sum, rights)) / sum(map(len, rights)))


def test_stream_seeds_are_distinct_and_leave_room_for_samples() -> None:
    parts = list(itertools.product(range(3), ("train", "base", "trained"), range(10), (p.id for p in PROBLEMS)))
    seeds = [stream_seed(*p) for p in parts]
    assert len(set(seeds)) == len(parts)
    assert all(0 <= seed < 2**62 for seed in seeds)
    assert max(seeds) > 2**61  # all 62 bits are used
    # Each sample of a request has the stream seed + i: no two requests' ranges of 2^20 may meet.
    assert min(b - a for a, b in itertools.pairwise(sorted(seeds))) > 2**20


@given(st.lists(st.integers(0, 99), min_size=1, max_size=4), st.lists(st.integers(0, 99), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_stream_seeds_tell_names_apart(a: list[int], b: list[int]) -> None:
    assert (stream_seed(*a) == stream_seed(*b)) == (a == b)  # ("1", "23") is not ("12", "3")

"""Supervised objectives: which targets a step learns, what rejection keeps, and what a resumed run goes on with.

The learner is a stand-in that keeps the batches it is given; the policy is a scripted one of known distribution.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from leash_ray.config import TrainConfig
from leash_ray.errors import RunFailed
from leash_ray.reduce import reduce_state
from leash_ray.rlvr.batch import TrainBatch
from leash_ray.rlvr.rejection import FOLDER, Rejection, in_order, read_targets
from leash_ray.rlvr.supervised import Supervised, targets_batch, targets_of
from leash_ray.tasks import ReasoningGymSpec
from leash_ray.types import CompletionBatch, Problem, SampleRequest, SamplingParams, Verdict
from leash_ray.verify import Verification

PROBLEMS = [Problem.make("t", f"{i}:", "scripted", str(i)) for i in range(6)]
EOS, PAD = 1, 0


pytestmark = pytest.mark.usefixtures("alone")


def flat(lists: Sequence[list[str]]) -> list[str]:
    return list(itertools.chain.from_iterable(lists))


class Characters:
    """Each character is a token."""

    eos_token_id = EOS

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [ord(c) for c in text]}


@dataclass
class KeepingLearner:
    """Keeps what it is to learn."""

    tokenizer: Any = field(default_factory=Characters)
    pad_id: int = PAD
    batches: list[TrainBatch] = field(default_factory=list)

    def update(self, batch: TrainBatch, step: int) -> dict[str, float]:
        self.batches.append(batch)
        names = ("loss", "entropy", "grad_norm", "lr", "padding_share", "optimizer_steps", "entropy_coef")
        return {**dict.fromkeys(names, 0.5), "n_tokens": float(batch.n_tokens), "kl": float("nan"), "ratio_mean": 3.0}

    def kl_at(self, batch: TrainBatch) -> float:
        return 0.25

    def learnt(self) -> list[list[str]]:
        """Of each step, prompt and target."""
        return [
            ["".join(chr(i) if i > EOS else "$" for i in row if i != PAD) for row in b.ids_BT.tolist()]
            for b in self.batches
        ]


class Policy:
    """Of 4 samples, the problem's number twice, then something else, then a number that is cut off."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str]] = []
        self.version = 0

    def at(self, version: int, weights: str) -> "Policy":
        self.version = version
        return self

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> list[CompletionBatch]:
        self.asked += [(self.version, r.prompt) for r in requests]
        return [self._batch(r.prompt[:-1], r.n) for r in requests]

    def _batch(self, number: str, n: int) -> CompletionBatch:
        texts = [number, number, f"0{number}@{self.version}", number][:n]
        ids = [[*map(ord, t), EOS] for t in texts]
        return CompletionBatch(
            prompt_ids=np.array([*map(ord, number), ord(":")], np.int32),
            token_ids_T=np.array([i for row in ids for i in row], np.int32),
            logprobs_T=np.full(sum(map(len, ids)), -0.5, np.float32),
            offsets=np.cumsum([0, *map(len, ids)]),
            texts=texts,
            finish_reasons=["stop", "stop", "stop", "length"][:n],
            version=self.version,
        )


def verify(items: Sequence[tuple[Problem, str, str]]) -> list[Verification]:
    """Right is the problem's number, also with a zero and a version around it; problem 3 has no right answer."""
    return [
        Verification(Verdict.CORRECT if p.reference in text and p.reference != "3" else Verdict.INCORRECT, text)
        for p, text, _ in items
    ]


def job_of(path: Path, traces: dict[str, tuple[str, ...]] | None = None, **settings: Any) -> Any:
    config = TrainConfig(
        task=ReasoningGymSpec(dataset="countdown"),
        **{"prompts_per_step": 2, "group_size": 4, "max_tokens": 5, **settings},
    )
    return SimpleNamespace(
        config=config, problems=PROBLEMS, traces=traces or {}, seed=3, run_path=path, policy=Policy(),
        verifier=SimpleNamespace(verify=verify),
    )  # fmt: skip


SYNC = SimpleNamespace(folder=lambda step: Path(f"v{step}"))
TRACES = {PROBLEMS[0].id: ("10", "20"), PROBLEMS[2].id: ("30",), PROBLEMS[5].id: ("123456", "40")}


def test_targets_are_in_the_problems_order_and_what_is_too_long_is_counted() -> None:
    found, n_too_long = targets_of(TRACES, PROBLEMS, Characters(), max_tokens=5)
    assert [t.text for t in found] == ["10", "20", "30", "40"]
    assert n_too_long == 1  # 6 characters and the end
    batch = targets_batch(found, PAD)
    assert batch.ids_BT[2].tolist() == [ord("2"), ord(":"), ord("3"), ord("0"), EOS]
    assert batch.mask_BT[2].tolist() == [0.0, 1.0, 1.0, 1.0]  # the prediction of 3, of 0, and of the end
    assert batch.advantages_B.tolist() == batch.temperature_B.tolist() == [1.0] * 4
    assert not batch.foreign_B.any()


def test_every_target_comes_once_an_epoch_whatever_the_workers(tmp_path: Path) -> None:
    def learnt(workers: int) -> list[list[str]]:
        learners = [KeepingLearner() for _ in range(workers)]
        job = job_of(tmp_path, TRACES, objective="sft", workers=workers)
        for learner, rank in zip(learners, range(workers), strict=True):
            objective = Supervised(job, learner, rank)  # type: ignore[arg-type]
            for step in range(6):
                row = objective.step(step)
        assert (row["targets"], row["targets_too_long"], row["epoch"], row["kl"]) == (4.0, 1.0, 3.0, 0.25)
        assert "ratio_mean" not in row
        return [sorted(flat(of_step)) for of_step in zip(*(one.learnt() for one in learners), strict=True)]

    one = learnt(1)
    assert one == learnt(2)
    for epoch in range(3):
        assert sorted(one[2 * epoch] + one[2 * epoch + 1]) == ["0:10$", "0:20$", "2:30$", "5:40$"]
    assert len({tuple(one[2 * epoch]) for epoch in range(3)}) > 1  # in an order of its own each time


def test_a_step_depends_on_nothing_before_it(tmp_path: Path) -> None:
    job = job_of(tmp_path, TRACES, objective="sft")
    through, again = KeepingLearner(), KeepingLearner()
    objective = Supervised(job, through, 0)  # type: ignore[arg-type]
    assert not any(objective.draws_at(step) for step in range(3))
    for step in range(4):
        objective.step(step)
    resumed = Supervised(job, again, 0)  # type: ignore[arg-type]
    resumed.restore(objective.state())
    for step in (2, 3):
        resumed.step(step)
    assert again.learnt() == through.learnt()[2:]


def test_solutions_that_are_all_too_long_are_refused(tmp_path: Path) -> None:
    job = job_of(tmp_path, {PROBLEMS[0].id: ("123456",)}, objective="sft")
    with pytest.raises(RunFailed, match=r"all 1 solutions are longer than train.max_tokens"):
        Supervised(job, KeepingLearner(), 0)  # type: ignore[arg-type]


def rejection(path: Path, **settings: Any) -> tuple[Rejection, KeepingLearner, Policy]:
    job, learner = job_of(path, objective="rft", **settings), KeepingLearner()
    return Rejection(job, learner, SYNC, 0), learner, job.policy  # type: ignore[arg-type]


def test_the_base_s_own_distinct_correct_completions_are_learnt(tmp_path: Path) -> None:
    objective, learner, policy = rejection(tmp_path)
    rows = [objective.step(step) for step in range(5)]
    assert [objective.draws_at(step) for step in range(5)] == [True, False, False, False, False]
    assert policy.asked == [(0, p.prompt) for p in PROBLEMS]
    # Of each of five problems two texts: the number, and the one with a zero. Not the one that was cut off.
    solved = [p for p in PROBLEMS if p.reference != "3"]
    expected = sorted(p.prompt + text for p in solved for text in (f"{p.reference}$", f"0{p.reference}@0$"))
    assert sorted(flat(learner.learnt())) == expected
    assert [row["targets"] for row in rows] == [10.0] * 5
    assert rows[0]["reward_mean"] == pytest.approx(5 / 6) and "reward_mean" not in rows[1]
    assert rows[0]["rollout_tokens"] == 6 * (3 * 2 + 5)
    # The targets are a completions table.
    kept = reduce_state([tmp_path / FOLDER], parallel=False).finalize()
    assert kept.policies == {"rft@0": 10}


def test_with_repeats_where_they_are_asked_for(tmp_path: Path) -> None:
    objective, _, _ = rejection(tmp_path, supervised={"distinct": False})
    assert objective.step(0)["targets"] == 15.0


def test_a_refresh_samples_the_policy_of_its_step_and_a_resumed_run_goes_on_from_the_file(tmp_path: Path) -> None:
    objective, learner, policy = rejection(tmp_path, supervised={"refresh_every": 2})
    states = []
    for step in range(5):
        objective.step(step)
        states.append(dict(objective.state()))
    assert sorted({version for version, _ in policy.asked}) == [0, 2, 4]
    assert states == [{"drawn_at": at} for at in (0, 0, 2, 2, 4)]
    assert sorted(p.name for p in (tmp_path / FOLDER).iterdir()) == [f"step-00000{s}.parquet" for s in (0, 2, 4)]
    drawn_by = [{text.partition("@")[2] for text in flat(learner.learnt()[at : at + 2])} for at in (0, 2)]
    assert drawn_by == [{"", "0$"}, {"", "2$"}]  # what has no version in it, and the version

    again, relearner, repolicy = rejection(tmp_path, supervised={"refresh_every": 2})
    again.restore(states[2])
    again.step(3)
    again.step(4)
    assert relearner.learnt() == learner.learnt()[3:]
    assert {version for version, _ in repolicy.asked} == {4}

    (tmp_path / FOLDER / "step-000002.parquet").unlink()
    with pytest.raises(RunFailed, match="restore it, or start a new run"):
        again.restore(states[2])


def test_what_was_kept_does_not_depend_on_which_worker_drew_it(tmp_path: Path) -> None:
    objective, _, _ = rejection(tmp_path)
    objective.step(0)
    found = read_targets(tmp_path / FOLDER / "step-000000.parquet")
    assert in_order(found[1::2] + found[::2], PROBLEMS) == found
    assert torch.tensor(found[0].token_ids).tolist() == [ord("0"), EOS]
    assert found[0].logprob_sum == pytest.approx(-1.0)


def test_nothing_correct_is_said(tmp_path: Path) -> None:
    objective, _, _ = rejection(tmp_path)
    objective._job.problems = [PROBLEMS[3]]
    with pytest.raises(RunFailed, match="none of 4 completions of each of 1 problems is correct"):
        objective.step(0)

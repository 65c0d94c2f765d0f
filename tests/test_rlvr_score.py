"""From verified rollouts to advantages, in a process group of one."""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.config import TrainConfig
from leash_ray.rlvr.batch import TrainBatch, collate
from leash_ray.rlvr.book import Book
from leash_ray.rlvr.rollouts import Draw, verified
from leash_ray.rlvr.score import score
from leash_ray.tasks import ReasoningGymSpec
from leash_ray.types import CompletionBatch, Problem, Verdict
from leash_ray.verify import Verification

C, W, E = Verdict.CORRECT, Verdict.INCORRECT, Verdict.ERROR


@pytest.fixture(scope="module", autouse=True)
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One worker."""
    store = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def scored(*groups: Sequence[Verdict], book: Book | None = None, **config: object) -> TrainBatch:
    """One completion of 2 tokens for each verdict, of one problem a group."""
    problems = [Problem.make("t", f"{i}:", "scripted", "") for i in range(len(groups))]
    n = len(groups[0])
    drawn = [
        CompletionBatch(
            prompt_ids=np.array([5], np.int32),
            token_ids_T=np.arange(2 * n, dtype=np.int32),
            logprobs_T=-np.arange(2.0 * n).astype(np.float32),
            offsets=np.arange(0, 2 * n + 1, 2),
            texts=[""] * n,
            finish_reasons=["length" if v == Verdict.TRUNCATED else "stop" for v in verdicts],
            version=0,
        )
        for verdicts in groups
    ]
    verifications = [Verification(v, None, None) for verdicts in groups for v in verdicts]
    rollouts = verified([Draw(p, 0) for p in problems], drawn, [1.0] * len(groups), lambda _: verifications, 0.0)
    settings = TrainConfig(
        task=ReasoningGymSpec(dataset="countdown"), prompts_per_step=len(groups), group_size=n, **config
    )
    return score(rollouts, collate(drawn, 0, rollouts.temperatures), book or Book(), settings, step=0)


def advantages(*verdicts: Verdict) -> list[float]:
    return scored(verdicts).advantages_B.tolist()


def test_errors_teach_nothing() -> None:
    # Of the three that are scored the mean is 1/3, the variance (4/9 + 1/9 + 1/9)/3 = 2/9.
    root = math.sqrt(2)
    assert advantages(C, W, E, W) == pytest.approx([root, -root / 2, 0.0, -root / 2])
    assert advantages(E, E, E) == [0.0, 0.0, 0.0]
    assert advantages(C, E, C) == [0.0, 0.0, 0.0]  # not "better than the ERROR"
    assert advantages(W, E, W) == [0.0, 0.0, 0.0]
    # No answer and a cut-off one are wrong, not unscored.
    assert advantages(C, Verdict.NO_ANSWER, C, Verdict.TRUNCATED) == [1.0, -1.0, 1.0, -1.0]


@given(st.lists(st.sampled_from(list(Verdict)), min_size=8, max_size=8))
@settings(max_examples=60, deadline=None)
def test_every_row_has_the_advantage_of_its_own_verdict(verdicts: list[Verdict]) -> None:
    groups = verdicts[:4], verdicts[4:]
    got = scored(*groups).advantages_B.tolist()
    says = [len({v == C for v in group if v != E}) == 2 for group in groups]
    for verdict, advantage, says_it in zip(verdicts, got, itertools.chain([says[0]] * 4, [says[1]] * 4), strict=True):
        if verdict == E or not says_it:
            assert advantage == 0.0
        else:
            assert (advantage > 0) == (verdict == C) and advantage != 0

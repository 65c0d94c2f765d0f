"""Padding and cutting rollouts: every sampled token meets its own log-probability, advantage and mask."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.rlvr.batch import TrainBatch, collate
from leash_ray.types import CompletionBatch

PAD = 99


def group(prompt: list[int], completions: list[list[int]], logprobs: list[list[float]]) -> CompletionBatch:
    return CompletionBatch(
        prompt_ids=np.array(prompt, np.int32),
        token_ids_T=np.array([t for ids in completions for t in ids], np.int32),
        logprobs_T=np.array([x for row in logprobs for x in row], np.float32),
        offsets=np.cumsum([0] + [len(ids) for ids in completions]),
        texts=[""] * len(completions),
        finish_reasons=["stop"] * len(completions),
        version=0,
    )


def test_by_hand() -> None:
    # Two groups of two; prompts of 2 and 1 tokens. Column t of mask and old_logp speaks of ids[:, t + 1].
    batch = collate(
        [
            group([5, 6], [[10, 1], [11]], [[-0.5, -0.25], [-1.0]]),
            group([7], [[12, 13, 1], []], [[-2.0, -3.0, -4.0], []]),
        ],
        torch.tensor([[1.0, -1.0], [0.5, -0.5]]),
        PAD,
    )
    assert batch.ids_BT.tolist() == [[5, 6, 10, 1], [5, 6, 11, PAD], [7, 12, 13, 1], [7, PAD, PAD, PAD]]
    assert batch.mask_BT.tolist() == [[0, 1, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0]]
    assert batch.old_logp_BT.tolist() == [[0, -0.5, -0.25], [0, -1.0, 0], [-2.0, -3.0, -4.0], [0, 0, 0]]
    assert batch.advantages_B.tolist() == [1.0, -1.0, 0.5, -0.5]
    assert batch.n_tokens == 6
    assert (batch.ids_BT.dtype, batch.mask_BT.dtype, batch.old_logp_BT.dtype) == (
        torch.int64,
        torch.float32,
        torch.float32,
    )


def test_micro_batches_by_hand() -> None:
    batch = collate(
        [group([5], [[10], [11, 1], [12, 13, 14]], [[-1.0], [-2.0, -3.0], [-4.0, -5.0, -6.0]])],
        torch.tensor([[0.0, 1.0, 2.0]]),
        PAD,
    )
    first, last = batch.micro_batches(2)
    assert first.ids_BT.tolist() == [[5, 10, PAD], [5, 11, 1]]  # as narrow as its longest row
    assert first.old_logp_BT.tolist() == [[-1.0, 0.0], [-2.0, -3.0]]
    assert (last.ids_BT.tolist(), last.mask_BT.tolist()) == ([[5, 12, 13, 14]], [[1.0, 1.0, 1.0]])
    assert (first.advantages_B.tolist(), last.advantages_B.tolist()) == ([0.0, 1.0], [2.0])
    assert len(list(batch.micro_batches(3))) == len(list(batch.micro_batches(100))) == 1


def test_a_micro_batch_without_tokens_is_still_one() -> None:
    # The optimizer counts micro-batches: none may be skipped.
    batch = collate([group([5, 6, 7], [[], [], [1]], [[], [], [-1.0]])], torch.zeros(1, 3), PAD)
    empty, full = batch.micro_batches(2)
    assert (empty.ids_BT.shape, empty.n_tokens, full.n_tokens) == ((2, 2), 0, 1)


def test_read_only_arrays_are_taken_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    g = group([5], [[10]], [[-1.0]])
    for array in (g.prompt_ids, g.token_ids_T, g.logprobs_T):
        array.setflags(write=False)  # as arrays from Ray's object store are
    collate([g], torch.zeros(1, 1), PAD)
    assert not recwarn.list


GROUPS = st.lists(
    st.tuples(st.integers(1, 4), st.lists(st.integers(0, 5), min_size=2, max_size=2)), min_size=1, max_size=4
)


@given(GROUPS, st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_every_position_of_every_micro_batch(lengths: list[tuple[int, list[int]]], size: int) -> None:
    """Token t has log-probability −t/64: wherever a sampled token ends up, its own number must be beside it."""
    next_id, groups, expected = 100, [], []
    for n_prompt, n_completions in lengths:
        completions = []
        for n in n_completions:
            completions.append(list(range(next_id, next_id + n)))
            next_id += n
        groups.append(group([7] * n_prompt, completions, [[-t / 64 for t in ids] for ids in completions]))
        expected += [(n_prompt, ids) for ids in completions]
    advantages_GN = torch.arange(2.0 * len(groups)).view(-1, 2)
    if all(n_prompt == 1 and not ids for n_prompt, ids in expected):
        return  # nothing at all was sampled: no policy does that
    batch = collate(groups, advantages_GN, PAD)
    micros = list(batch.micro_batches(size))
    assert sum(micro.n_tokens for micro in micros) == batch.n_tokens == sum(len(ids) for _, ids in expected)
    seen = []
    for micro in micros:
        for b in range(len(micro.ids_BT)):
            sampled = micro.mask_BT[b].nonzero().flatten().tolist()
            ids = [int(micro.ids_BT[b, t + 1]) for t in sampled]
            assert [float(micro.old_logp_BT[b, t]) for t in sampled] == [-t / 64 for t in ids]
            assert float(micro.old_logp_BT[b].abs().sum()) == sum(t / 64 for t in ids)  # and 0 elsewhere
            assert not sampled or sampled[0] == expected[len(seen)][0] - 1  # right behind the prompt
            assert float(micro.advantages_B[b]) == float(len(seen))
            seen.append(ids)
    assert seen == [ids for _, ids in expected]
    assert isinstance(micros[0], TrainBatch)

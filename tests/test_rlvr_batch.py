"""Padding and cutting rollouts: every sampled token meets its own log-probability, advantage and mask."""

from dataclasses import replace

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
    # Two groups of two; prompts of 2 and 1 tokens. Column t of mask and sampler_logp speaks of ids[:, t + 1].
    batch = collate(
        [
            group([5, 6], [[10, 1], [11]], [[-0.5, -0.25], [-1.0]]),
            group([7], [[12, 13, 1], []], [[-2.0, -3.0, -4.0], []]),
        ],
        PAD,
        [1.0, 0.7],
    )
    assert batch.ids_BT.tolist() == [[5, 6, 10, 1], [5, 6, 11, PAD], [7, 12, 13, 1], [7, PAD, PAD, PAD]]
    assert batch.mask_BT.tolist() == [[0, 1, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0]]
    assert batch.sampler_logp_BT.tolist() == [[0, -0.5, -0.25], [0, -1.0, 0], [-2.0, -3.0, -4.0], [0, 0, 0]]
    assert batch.advantages_B.tolist() == [0.0] * 4  # nobody has scored them
    assert batch.temperature_B.tolist() == pytest.approx([1.0, 1.0, 0.7, 0.7])
    assert batch.foreign_B.tolist() == [False] * 4
    assert (batch.n_tokens, len(batch)) == (6, 4)
    assert (batch.ids_BT.dtype, batch.mask_BT.dtype, batch.sampler_logp_BT.dtype) == (
        torch.int64,
        torch.float32,
        torch.float32,
    )


def test_micro_batches_by_hand() -> None:
    # Widths of 2, 3 and 4 tokens. The longest comes first: with it, 7 tokens have room for one row (4), 8 for two.
    batch = collate([group([5], [[10], [11, 1], [12, 13, 14]], [[-1.0], [-2.0, -3.0], [-4.0, -5.0, -6.0]])], PAD, [1.0])
    batch = replace(batch, advantages_B=torch.tensor([0.0, 1.0, 2.0]), temperature_B=torch.tensor([0.5, 0.6, 0.7]))
    (first_index, first), (last_index, last) = batch.micro_batches(7)
    assert (first_index.tolist(), last_index.tolist()) == ([2], [1, 0])
    assert (first.ids_BT.tolist(), first.mask_BT.tolist()) == ([[5, 12, 13, 14]], [[1.0, 1.0, 1.0]])
    assert last.ids_BT.tolist() == [[5, 11, 1], [5, 10, PAD]]  # as narrow as its longest row
    assert last.sampler_logp_BT.tolist() == [[-2.0, -3.0], [-1.0, 0.0]]
    assert (first.advantages_B.tolist(), last.advantages_B.tolist()) == ([2.0], [1.0, 0.0])
    assert last.temperature_B.tolist() == pytest.approx([0.6, 0.5])
    assert [index.tolist() for index, _ in batch.micro_batches(8)] == [[2, 1], [0]]
    assert [len(micro) for _, micro in batch.micro_batches(1)] == [1, 1, 1]  # too long: alone
    assert len(list(batch.micro_batches(12))) == len(list(batch.micro_batches(1000))) == 1


def test_minibatches_by_hand() -> None:
    batch = collate(
        [group([5], [[10]] * 2, [[-1.0]] * 2), group([5], [[11, 1], []], [[-2.0, -3.0], []])], PAD, [1.0, 1.0]
    )
    first, last = batch.minibatches(2)
    assert (first.ids_BT.tolist(), last.ids_BT.tolist()) == ([[5, 10], [5, 10]], [[5, 11, 1], [5, PAD, PAD]])


def test_a_micro_batch_without_tokens_is_still_one() -> None:
    # Its rows count as completions: none may be skipped.
    batch = collate([group([5, 6, 7], [[], [], [1]], [[], [], [-1.0]])], PAD, [1.0])
    (of_full, full), (of_empty, empty) = batch.micro_batches(5)
    assert (of_full.tolist(), of_empty.tolist()) == ([2], [0, 1])
    assert (empty.ids_BT.shape, empty.n_tokens, full.n_tokens) == ((2, 2), 0, 1)


def test_read_only_arrays_are_taken_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    g = group([5], [[10]], [[-1.0]])
    for array in (g.prompt_ids, g.token_ids_T, g.logprobs_T):
        array.setflags(write=False)  # as arrays from Ray's object store are
    collate([g], PAD, [1.0])
    assert not recwarn.list


GROUPS = st.lists(
    st.tuples(st.integers(1, 4), st.lists(st.integers(0, 5), min_size=2, max_size=2)), min_size=1, max_size=4
)


@given(GROUPS, st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_every_position_of_every_micro_batch(lengths: list[tuple[int, list[int]]], tokens: int) -> None:
    """Token t has log-probability −t/64: wherever a sampled token ends up, its own number must be beside it."""
    next_id, groups, expected = 100, [], []
    for n_prompt, n_completions in lengths:
        completions = []
        for n in n_completions:
            completions.append(list(range(next_id, next_id + n)))
            next_id += n
        groups.append(group([7] * n_prompt, completions, [[-t / 64 for t in ids] for ids in completions]))
        expected += [(n_prompt, ids) for ids in completions]
    if all(n_prompt == 1 and not ids for n_prompt, ids in expected):
        return  # nothing at all was sampled: no policy does that
    batch = collate(groups, PAD, [1.0] * len(groups))
    batch = replace(batch, advantages_B=torch.arange(float(len(expected))))
    micros = list(batch.micro_batches(tokens))
    assert sum(micro.n_tokens for _, micro in micros) == batch.n_tokens == sum(len(ids) for _, ids in expected)
    seen = {}
    for index, micro in micros:
        for b, row in enumerate(index.tolist()):
            sampled = micro.mask_BT[b].nonzero().flatten().tolist()
            ids = [int(micro.ids_BT[b, t + 1]) for t in sampled]
            assert [float(micro.sampler_logp_BT[b, t]) for t in sampled] == [-t / 64 for t in ids]
            assert float(micro.sampler_logp_BT[b].abs().sum()) == sum(t / 64 for t in ids)  # and 0 elsewhere
            assert not sampled or sampled[0] == expected[row][0] - 1  # right behind the prompt
            assert float(micro.advantages_B[b]) == float(row)
            assert row not in seen
            seen[row] = ids
        assert len(micro) == 1 or micro.ids_BT.numel() <= tokens
    assert [seen[row] for row in range(len(expected))] == [ids for _, ids in expected]
    widths = [micro.ids_BT.shape[1] for _, micro in micros]
    assert widths == sorted(widths, reverse=True)
    assert isinstance(micros[0][1], TrainBatch)

"""Prompts and completions computed once are the same loss and the same gradients as whole rows."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.deploy import resolve_model
from leash_ray.rlvr.batch import TrainBatch, collate
from leash_ray.rlvr.losses import token_logprobs_and_entropy
from leash_ray.rlvr.shared_prompts import Split, is_shareable, logits_of, split, spread
from leash_ray.types import CompletionBatch

PAD = 0
TOLERANCE = 1e-6
"""In float64, but for the model's norms, which are float32 always. In float32 it takes ten times as much."""


def group(prompt: list[int], completions: list[list[int]]) -> CompletionBatch:
    return CompletionBatch(
        prompt_ids=np.array(prompt, np.int32),
        token_ids_T=np.array([t for ids in completions for t in ids], np.int32),
        logprobs_T=np.zeros(sum(map(len, completions)), np.float32),
        offsets=np.cumsum([0] + [len(ids) for ids in completions]),
        texts=[""] * len(completions),
        finish_reasons=["stop"] * len(completions),
        version=0,
    )


def batch_of(*groups: CompletionBatch) -> TrainBatch:
    return collate(list(groups), PAD, [1.0] * len(groups))


@pytest.fixture(scope="module")
def network() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(resolve_model("embedded:countdown"), dtype=torch.float64)


def rows_of(cut: Split, values_RS: torch.Tensor) -> list[list[int]]:
    """Of each row of the micro-batch, without padding."""
    return [values_RS[r][cut.used_RS[r]].tolist() for r in cut.row_of_B.tolist()]


def test_split_by_hand() -> None:
    # Prompts (5 6 7) and (8): what is computed once is (5 6) and nothing.
    cut = split(batch_of(group([5, 6, 7], [[10, 1], [11], [10, 1]]), group([8], [[12, 13, 1], []])))
    assert [cut.prompts_QP[cut.prompt_of_R[r]].tolist()[: cut.n_before_R[r]] for r in cut.row_of_B.tolist()] == [
        [5, 6], [5, 6], [5, 6], [], [],
    ]  # fmt: skip
    assert len(cut.prompts_QP) == 2
    # A row without tokens is computed at one place all the same.
    assert rows_of(cut, cut.inputs_RS) == [[7, 10], [7], [7, 10], [8, 12, 13], [8]]
    assert rows_of(cut, cut.targets_RS)[:4] == [[10, 1], [11], [10, 1], [12, 13, 1]]
    assert cut.row_of_B[0] == cut.row_of_B[2] and len(cut.inputs_RS) == 4  # what was sampled twice is there once
    assert (cut.n_cells, cut.n_used) == (2 * 2 + 4 * 3, 2 + 7)


def test_alike_are_rows_of_one_prompt_and_one_temperature() -> None:
    # (5 6) then (7 1), and (5) then (6 7 1), are the same ids.
    batch = batch_of(group([5, 6], [[7, 1], [7, 1]]), group([5], [[6, 7, 1]]), group([5, 6], [[7, 1]]))
    assert len(split(batch).inputs_RS) == 2
    temperature_B = torch.tensor([1.0, 1.0, 1.0, 0.5])
    cut = split(replace(batch, temperature_B=temperature_B))
    assert len(cut.inputs_RS) == 3
    assert cut.temperature_R[cut.row_of_B].tolist() == temperature_B.tolist()


def test_what_comes_after_the_last_token_to_learn_from_makes_no_row_another() -> None:
    batch = batch_of(group([5, 6], [[7, 8, 1], [7, 8, 2], [7, 9, 1]]))
    mask_BT = batch.mask_BT.clone()
    mask_BT[:, -1] = 0.0
    assert len(split(replace(batch, mask_BT=mask_BT)).inputs_RS) == 2


def test_values_go_back_to_their_columns() -> None:
    batch = batch_of(group([5, 6, 7], [[10, 1], [11], [10, 1]]), group([8], [[12, 13, 1], [14]]))
    cut = split(batch)
    values_RS = torch.arange(1.0, 13.0).view(4, 3).requires_grad_()
    spread_BT = spread(values_RS, cut, 4)
    assert [row[m > 0].tolist() for row, m in zip(spread_BT, batch.mask_BT, strict=True)] == rows_of(cut, values_RS)
    assert ((spread_BT != 0) == (batch.mask_BT > 0)).all()
    spread_BT.sum().backward()
    n_of_R = torch.bincount(cut.row_of_B)  # gradients of rows that are alike add up
    assert values_RS.grad is not None and (values_RS.grad == cut.used_RS * n_of_R[:, None]).all()


def log_probabilities(network: Any, batch: TrainBatch, shared: bool) -> tuple[torch.Tensor, torch.Tensor]:
    if shared:
        cut = split(batch)
        logits_RSV = logits_of(network, cut, torch.device("cpu"))
        found = token_logprobs_and_entropy(logits_RSV, cut.targets_RS, cut.temperature_R, entropy_gradient=True)
        return tuple(spread(x, cut, batch.mask_BT.shape[1]) for x in found)  # type: ignore[return-value]
    logits_BTV = network(input_ids=batch.ids_BT, use_cache=False).logits[:, :-1]
    found = token_logprobs_and_entropy(logits_BTV, batch.ids_BT[:, 1:], batch.temperature_B, entropy_gradient=True)
    return found[0] * batch.mask_BT, found[1] * batch.mask_BT


TOKENS = st.integers(2, 20)
GROUPS = st.lists(
    st.tuples(st.lists(TOKENS, min_size=1, max_size=6), st.lists(st.lists(TOKENS, max_size=5), min_size=2, max_size=3)),
    min_size=1,
    max_size=3,
)


@given(GROUPS, st.integers(0, 2**16))
@settings(max_examples=12, deadline=None)
def test_the_loss_and_gradients_are_those_of_whole_rows(
    network: Any, groups: list[tuple[list[int], list[list[int]]]], seed: int
) -> None:
    """Prompts of unequal lengths, completions of none to five tokens, some twice, any weight on each token and its
    entropy."""
    batch = batch_of(*(group(prompt, [*completions, completions[0]]) for prompt, completions in groups))
    if not batch.n_tokens:
        return
    weights_2BT = torch.randn(2, *batch.mask_BT.shape, generator=torch.Generator().manual_seed(seed)) / batch.n_tokens
    losses, gradients, values = [], [], []
    for shared in (False, True):
        network.zero_grad()
        logp_BT, entropy_BT = log_probabilities(network, batch, shared)
        loss = (logp_BT * weights_2BT[0] + entropy_BT * weights_2BT[1])[batch.mask_BT > 0].sum()
        loss.backward()
        losses.append(loss.item())
        values.append(logp_BT.detach()[batch.mask_BT > 0])
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    whole, once = gradients
    assert losses[1] == pytest.approx(losses[0], abs=TOLERANCE)
    torch.testing.assert_close(values[1], values[0], rtol=TOLERANCE, atol=TOLERANCE)
    assert (once - whole).norm() <= TOLERANCE * whole.norm()


def test_a_group_of_a_step_takes_a_fraction_of_the_tokens() -> None:
    batch = batch_of(group(list(range(2, 22)), [[30 + i, 31, 32, 1] for i in range(16)]))
    cut = split(batch)
    assert (cut.n_cells, batch.ids_BT.numel()) == (19 + 16 * 4, 16 * 24)
    assert cut.n_used == cut.n_cells
    assert split(batch_of(group(list(range(2, 22)), [[30, 31, 32, 1]] * 16))).n_cells == 19 + 4


@pytest.mark.parametrize(
    ("config", "stateful", "shareable"),
    [
        ({}, False, True),
        ({"layer_types": ["full_attention"] * 2}, False, True),
        ({"layer_types": ["full_attention", "sliding_attention"]}, False, False),
        ({"layer_types": ["full_attention", "linear_attention"]}, False, False),
        ({"sliding_window": 128}, False, False),
        ({"sliding_window": 128, "use_sliding_window": False}, False, True),
        ({}, True, False),
    ],
)
def test_models_whose_cache_is_more_than_keys_and_values_take_whole_rows(
    config: dict[str, Any], stateful: bool, shareable: bool
) -> None:
    text = SimpleNamespace(**config)
    network = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: text), _is_stateful=stateful)
    assert is_shareable(network) == shareable

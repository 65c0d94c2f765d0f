"""A prompt computed once is the same loss and the same gradients as whole rows."""

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
from leash_ray.rlvr.shared_prompts import is_shareable, logits_of, split, spread
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


def test_split_by_hand() -> None:
    # Prompts (5 6 7) and (8): what is computed once is (5 6) and nothing.
    cut = split(batch_of(group([5, 6, 7], [[10, 1], [11]]), group([8], [[12, 13, 1], []])))
    assert [cut.prompts_QP[q].tolist()[:n] for q, n in zip(cut.prompt_of_B, cut.n_before_B, strict=True)] == [
        [5, 6], [5, 6], [], [],
    ]  # fmt: skip
    assert len(cut.prompts_QP) == 2
    used = [[i for i, u in zip(*row, strict=True) if u] for row in zip(cut.inputs_BS.tolist(), cut.used_BS.tolist())]
    assert used == [[7, 10], [7], [8, 12, 13], [8]]  # a row without tokens is computed at one place all the same
    targets = [
        [i for i, u in zip(*row, strict=True) if u] for row in zip(cut.targets_BS.tolist(), cut.used_BS.tolist())
    ]
    assert targets[:3] == [[10, 1], [11], [12, 13, 1]]
    assert (cut.n_cells, cut.n_used) == (2 * 2 + 4 * 3, 2 + 7)


def test_values_go_back_to_their_columns() -> None:
    batch = batch_of(group([5, 6, 7], [[10, 1], [11]]), group([8], [[12, 13, 1], [14]]))
    cut = split(batch)
    values_BS = torch.arange(1.0, 13.0).view(4, 3).requires_grad_()
    spread_BT = spread(values_BS, cut, 4)
    assert spread_BT.tolist() == [[0, 0, 1, 2], [0, 0, 4, 0], [7, 8, 9, 0], [10, 0, 0, 0]]
    assert ((spread_BT != 0) == (batch.mask_BT > 0)).all()
    spread_BT.sum().backward()
    assert values_BS.grad is not None and (values_BS.grad == cut.used_BS).all()


def log_probabilities(network: Any, batch: TrainBatch, shared: bool) -> tuple[torch.Tensor, torch.Tensor]:
    if shared:
        cut = split(batch)
        logits_BSV = logits_of(network, cut, torch.device("cpu"))
        found = token_logprobs_and_entropy(logits_BSV, cut.targets_BS, batch.temperature_B, entropy_gradient=True)
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
    """Prompts of unequal lengths, completions of none to five tokens, any weight on each token and its entropy."""
    batch = batch_of(*(group(*one) for one in groups))
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
    batch = batch_of(group(list(range(2, 22)), [[30, 31, 32, 1]] * 16))
    cut = split(batch)
    assert (cut.n_cells, batch.ids_BT.numel()) == (19 + 16 * 4, 16 * 24)
    assert cut.n_used == cut.n_cells


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

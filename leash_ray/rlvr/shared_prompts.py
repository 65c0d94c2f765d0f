"""One forward pass a distinct prompt, however many completions it has.

All completions of a group begin with the same prompt. Under causal attention its keys and values are the same for each
of them, so they are computed once, and every completion goes on from them; gradients add up where it is shared. The
output head, too, only sees positions that predict a token to learn from. What is computed is the same function as of
whole rows, so the same loss and gradients, up to rounding.

It takes a model whose cache is nothing but keys and values of all tokens before (:func:`is_shareable`).

Shapes: B completions, T their tokens with the prompt; Q distinct prompts, P tokens of them; S tokens predicted.
"""

from dataclasses import dataclass
from typing import Any

import torch

from leash_ray.rlvr.batch import TrainBatch


@dataclass(frozen=True, slots=True)
class Split:
    """A micro-batch cut in two: what comes before the last token of each prompt, and the rest.

    Row b's inputs are ``ids_BT[b, start_b:end_b]``: the prompt's last token predicts the first one to learn from.
    """

    prompts_QP: torch.Tensor
    """int64, right-padded; P is at least 1."""
    prompt_of_B: torch.Tensor
    n_before_B: torch.Tensor
    """Tokens of each row's prompt in ``prompts_QP``: ``start_b``."""
    inputs_BS: torch.Tensor
    targets_BS: torch.Tensor
    columns_BS: torch.Tensor
    """Where in ``mask_BT`` each prediction belongs; padding has any valid column."""
    used_BS: torch.Tensor
    """bool: no padding."""

    @property
    def n_cells(self) -> int:
        """Tokens that are computed, padding included."""
        return self.prompts_QP.numel() + self.inputs_BS.numel()

    @property
    def n_used(self) -> int:
        """Of these, tokens that are no padding."""
        n_of_Q = torch.zeros(len(self.prompts_QP), dtype=torch.int64).index_put((self.prompt_of_B,), self.n_before_B)
        return int(n_of_Q.sum()) + int(self.used_BS.sum())


def split(batch: TrainBatch) -> Split:
    """Find the distinct prompts of a micro-batch: what comes before the first token to learn from."""
    ids_BT, sampled_BT = batch.ids_BT, batch.mask_BT > 0
    width = sampled_BT.shape[1]
    start_B = sampled_BT.int().argmax(1)
    end_B = torch.maximum((sampled_BT * torch.arange(1, width + 1)).amax(1), start_B + 1)
    at_P = torch.arange(max(1, int(start_B.max())))
    # -1 is no token: prompts that differ in length differ.
    before_BP = torch.where(at_P < start_B[:, None], ids_BT[:, : len(at_P)], -1)
    prompts_QP, prompt_of_B = torch.unique(before_BP, dim=0, return_inverse=True)
    steps_S = torch.arange(int((end_B - start_B).max()))
    columns_BS = (start_B[:, None] + steps_S).clamp(max=width - 1)
    return Split(
        prompts_QP=prompts_QP.clamp(min=0),
        prompt_of_B=prompt_of_B,
        n_before_B=start_B,
        inputs_BS=ids_BT.gather(1, columns_BS),
        targets_BS=ids_BT.gather(1, columns_BS + 1),
        columns_BS=columns_BS,
        used_BS=steps_S < (end_B - start_B)[:, None],
    )


def logits_of(network: Any, cut: Split, device: torch.device) -> torch.Tensor:
    """Logits of the predictions of ``cut.targets_BS`` [B, S, V], with gradient where it is enabled."""
    from transformers import DynamicCache

    # Padding is on the right, so causal attention never sees it here; the head's output is not used.
    done = network(input_ids=cut.prompts_QP.to(device), use_cache=True, logits_to_keep=1)
    row_B = cut.prompt_of_B.to(device)
    layers = done.past_key_values.layers
    cache = DynamicCache([(of.keys.index_select(0, row_B), of.values.index_select(0, row_B)) for of in layers])
    inputs_BS, n_before_B1 = cut.inputs_BS.to(device), cut.n_before_B.to(device)[:, None]
    at_S = torch.arange(inputs_BS.shape[1], device=device)
    at_P = torch.arange(cut.prompts_QP.shape[1], device=device)
    seen_BK = torch.cat([at_P < n_before_B1, torch.ones_like(inputs_BS, dtype=torch.bool)], dim=1)
    return network(
        input_ids=inputs_BS,
        attention_mask=None if bool(seen_BK.all()) else seen_BK.long(),
        position_ids=n_before_B1 + at_S,
        past_key_values=cache,
        use_cache=True,
    ).logits


def spread(values_BS: torch.Tensor, cut: Split, width: int) -> torch.Tensor:
    """Values of predictions at their columns [B, T-1], 0 elsewhere; differentiable."""
    used_BS, columns_BS = cut.used_BS.to(values_BS.device), cut.columns_BS.to(values_BS.device)
    # Padding adds 0 to a column that may be another's.
    empty_BT = values_BS.new_zeros(len(values_BS), width)
    return empty_BT.scatter_add(1, columns_BS, torch.where(used_BS, values_BS, 0.0))


def is_shareable(network: Any) -> bool:
    """Whether the model's cache is keys and values of all tokens before, and so can be continued by many rows."""
    config = network.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    slides = bool(getattr(config, "sliding_window", None)) and getattr(config, "use_sliding_window", True)
    return kinds == {"full_attention"} and not slides and not getattr(network, "_is_stateful", False)

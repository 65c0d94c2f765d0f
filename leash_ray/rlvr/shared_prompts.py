"""One forward pass a distinct prompt, and a distinct completion, however often it was sampled.

All completions of a group begin with the same prompt. Under causal attention its keys and values are the same for each
of them, so they are computed once, and every completion goes on from them; gradients add up where it is shared. A
completion that was sampled more than once, as short ones are from a policy of low entropy, is computed once, too. The
output head only sees positions that predict a token to learn from. What is computed is the same function as of whole
rows, so the same loss and gradients, up to rounding.

It takes a model whose cache is nothing but keys and values of all tokens before (:func:`is_shareable`).

Shapes: B completions, T their tokens with the prompt; R distinct completions of a prompt; Q distinct prompts, P tokens
of them; S tokens predicted.
"""

from dataclasses import dataclass
from typing import Any

import torch

from leash_ray.rlvr.batch import TrainBatch


@dataclass(frozen=True, slots=True)
class Split:
    """A micro-batch cut in two: what comes before the last token of each prompt, and the rest of each distinct row.

    Row r's inputs are ``ids_BT[b, start_r:end_r]``, b any row like it: the prompt's last token predicts the first one
    to learn from.
    """

    prompts_QP: torch.Tensor
    """int64, right-padded; P is at least 1."""
    prompt_of_R: torch.Tensor
    n_before_R: torch.Tensor
    """Tokens of each row's prompt in ``prompts_QP``: ``start_r``."""
    inputs_RS: torch.Tensor
    targets_RS: torch.Tensor
    columns_RS: torch.Tensor
    """Where in ``mask_BT`` each prediction belongs; padding has any valid column."""
    used_RS: torch.Tensor
    """bool: no padding."""
    temperature_R: torch.Tensor
    row_of_B: torch.Tensor
    """The distinct row that each of the micro-batch's is like."""

    @property
    def n_cells(self) -> int:
        """Tokens that are computed, padding included."""
        return self.prompts_QP.numel() + self.inputs_RS.numel()

    @property
    def n_used(self) -> int:
        """Of these, tokens that are no padding."""
        n_of_Q = torch.zeros(len(self.prompts_QP), dtype=torch.int64).index_put((self.prompt_of_R,), self.n_before_R)
        return int(n_of_Q.sum()) + int(self.used_RS.sum())


def split(batch: TrainBatch) -> Split:
    """Find the distinct rows of a micro-batch, and their distinct prompts: what comes before the first token to learn
    from."""
    sampled_BT = batch.mask_BT > 0
    width = sampled_BT.shape[1]
    start_B = sampled_BT.int().argmax(1)
    end_B = torch.maximum((sampled_BT * torch.arange(1, width + 1)).amax(1), start_B + 1)
    # Rows are alike if all that is computed of them is: ids up to the last target, where learning starts, temperature.
    # -1 is no token: rows that differ in length differ.
    ids_BT = torch.where(torch.arange(width + 1) <= end_B[:, None], batch.ids_BT, -1)
    temperatures, temperature_of_B = batch.temperature_B.unique(return_inverse=True)
    keys, row_of_B = torch.cat([ids_BT, start_B[:, None], temperature_of_B[:, None]], 1).unique(
        dim=0, return_inverse=True
    )
    ids_RT, start_R, temperature_R = keys[:, : width + 1], keys[:, -2], temperatures[keys[:, -1]]
    end_R = (ids_RT >= 0).sum(1) - 1
    at_P = torch.arange(max(1, int(start_R.max())))
    before_RP = torch.where(at_P < start_R[:, None], ids_RT[:, : len(at_P)], -1)
    prompts_QP, prompt_of_R = before_RP.unique(dim=0, return_inverse=True)
    steps_S = torch.arange(int((end_R - start_R).max()))
    columns_RS = (start_R[:, None] + steps_S).clamp(max=width - 1)
    return Split(
        prompts_QP=prompts_QP.clamp(min=0),
        prompt_of_R=prompt_of_R,
        n_before_R=start_R,
        inputs_RS=ids_RT.gather(1, columns_RS).clamp(min=0),
        targets_RS=ids_RT.gather(1, columns_RS + 1).clamp(min=0),
        columns_RS=columns_RS,
        used_RS=steps_S < (end_R - start_R)[:, None],
        temperature_R=temperature_R,
        row_of_B=row_of_B,
    )


def logits_of(network: Any, cut: Split, device: torch.device) -> torch.Tensor:
    """Logits of the predictions of ``cut.targets_RS`` [R, S, V], with gradient where it is enabled."""
    from transformers import DynamicCache

    # Padding is on the right, so causal attention never sees it here; the head's output is not used.
    done = network(input_ids=cut.prompts_QP.to(device), use_cache=True, logits_to_keep=1)
    prompt_R = cut.prompt_of_R.to(device)
    layers = done.past_key_values.layers
    cache = DynamicCache([(of.keys.index_select(0, prompt_R), of.values.index_select(0, prompt_R)) for of in layers])
    inputs_RS, n_before_R1 = cut.inputs_RS.to(device), cut.n_before_R.to(device)[:, None]
    at_S = torch.arange(inputs_RS.shape[1], device=device)
    at_P = torch.arange(cut.prompts_QP.shape[1], device=device)
    seen_RK = torch.cat([at_P < n_before_R1, torch.ones_like(inputs_RS, dtype=torch.bool)], dim=1)
    return network(
        input_ids=inputs_RS,
        attention_mask=None if bool(seen_RK.all()) else seen_RK.long(),
        position_ids=n_before_R1 + at_S,
        past_key_values=cache,
        use_cache=True,
    ).logits


def spread(values_RS: torch.Tensor, cut: Split, width: int) -> torch.Tensor:
    """Values of predictions at the columns of all rows like theirs [B, T-1], 0 elsewhere; differentiable."""
    used_RS, columns_RS, row_of_B = (x.to(values_RS.device) for x in (cut.used_RS, cut.columns_RS, cut.row_of_B))
    # Padding adds 0 to a column that may be another's.
    empty_RT = values_RS.new_zeros(len(values_RS), width)
    return empty_RT.scatter_add(1, columns_RS, torch.where(used_RS, values_RS, 0.0)).index_select(0, row_of_B)


def is_shareable(network: Any) -> bool:
    """Whether the model's cache is keys and values of all tokens before, and so can be continued by many rows."""
    config = network.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    slides = bool(getattr(config, "sliding_window", None)) and getattr(config, "use_sliding_window", True)
    return kinds == {"full_attention"} and not slides and not getattr(network, "_is_stateful", False)

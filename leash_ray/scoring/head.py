"""A causal language model in two parts: the body, which gives hidden states, and the head, which gives logits of any
positions. What some families do to their logits after the head is done here as well; a model that does anything else is
found out when it is loaded, since its own logits would not be these.
"""

from typing import Any

import torch
from torch.nn import functional

_PROBE_TOKENS = 4
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
_TOLERANCE_16_BIT = 0.25
"""Nats. The model's own head rounds its logits to 16 bits; scaling or capping that was missed is off by far more."""


class Head:
    """The head of ``network``, in float32 at least, and its body.

    Raises:
        ValueError: the model has no plain head, or its logits are not those of its head.
    """

    def __init__(self, network: Any):
        head = network.get_output_embeddings()
        self.body = network.base_model
        if head is None or self.body is network or not hasattr(head, "weight"):
            raise ValueError(f"{type(network).__name__} is not a model with a body and a head that can be scored")
        wide = torch.promote_types(head.weight.dtype, torch.float32)
        self._weight_VH = head.weight.detach().to(wide)  # no copy where it is wide already
        bias = getattr(head, "bias", None)
        self._bias_V = None if bias is None else bias.detach().to(wide)
        config = network.config.get_text_config()
        self._scale = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
        self._cap = getattr(config, "final_logit_softcapping", None)
        self._probe(network)

    @property
    def vocabulary(self) -> int:
        return int(self._weight_VH.shape[0])

    def logits(self, hidden_NH: torch.Tensor) -> torch.Tensor:
        """[N, V], in float32 at least."""
        logits_NV = functional.linear(hidden_NH.to(self._weight_VH.dtype), self._weight_VH, self._bias_V)
        if self._scale != 1.0:
            logits_NV = logits_NV * self._scale
        return torch.tanh(logits_NV / self._cap) * self._cap if self._cap else logits_NV

    @torch.inference_mode()
    def _probe(self, network: Any) -> None:
        ids_1L = torch.arange(_PROBE_TOKENS, device=network.device)[None] % self.vocabulary
        own = network(input_ids=ids_1L, use_cache=False).logits[0]
        ours = self.logits(self.body(input_ids=ids_1L, use_cache=False)[0][0])
        own_lp, our_lp = (torch.log_softmax(logits.to(ours.dtype), dim=-1) for logits in (own, ours))
        likely = own_lp > own_lp.amax(-1, keepdim=True) - 10  # what rounds to nothing may round otherwise
        gap = float((own_lp - our_lp)[likely].abs().max())
        if not gap <= _TOLERANCE.get(own.dtype, _TOLERANCE_16_BIT):
            raise ValueError(
                f"the logits of {type(network).__name__} are not those of its head (ln p differs by {gap:.2g}): this "
                "kind of model cannot be scored"
            )

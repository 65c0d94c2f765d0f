"""Low-rank adapters (LoRA, arXiv 2106.09685), by peft: only they are trained, and samplers get them merged in.

Weights are merged into copies: adding adapters to the trained model's own weights and taking them away again would
leave rounding behind at every step.
"""

from typing import Any

import torch
import torch.distributed as dist

from leash_ray.errors import UsageError
from leash_ray.rlvr.sections import LoraConfig


def adapted(network: Any, lora: LoraConfig) -> Any:
    """``network`` with adapters, everything else frozen.

    Raises:
        UsageError: none of its layers is named in ``targets``.
    """
    import peft

    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets,
        task_type="CAUSAL_LM",
    )
    try:
        return peft.get_peft_model(network, config)
    except ValueError as e:
        linear = {n.rpartition(".")[2] for n, m in network.named_modules() if isinstance(m, torch.nn.Linear)}
        raise UsageError(
            f"train.lora.targets {lora.targets}: {e}; the model's linear layers are {', '.join(sorted(linear))}"
        ) from e


def is_adapted(network: Any) -> bool:
    return hasattr(network, "disable_adapter")


def plain_model(network: Any) -> Any:
    """The Hugging Face model around whose layers adapters are; to write it, give it :func:`merged_state`."""
    return network.get_base_model()


class WithoutAdapters:
    """The model as it was before training: a reference policy that takes no memory of its own."""

    def __init__(self, network: Any) -> None:
        self._network = network

    def __call__(self, **inputs: Any) -> Any:
        was_training = self._network.training
        self._network.eval()
        try:
            with self._network.disable_adapter():
                return self._network(**inputs)
        finally:
            self._network.train(was_training)


def merged_state(network: Any, sharded: bool) -> dict[str, torch.Tensor]:
    """Weights by the plain model's names, with adapters merged, on worker 0; empty on the others, which must call this
    too where ZeRO 3 has sharded them."""
    import deepspeed
    from peft.tuners.lora import LoraLayer

    plain = plain_model(network)
    layers = {name: module for name, module in plain.named_modules() if isinstance(module, LoraLayer)}
    state: dict[str, torch.Tensor] = {}
    copies: dict[int, torch.Tensor] = {}  # tied weights have to stay one tensor, or they are written twice
    for name, parameter in plain.state_dict(keep_vars=True).items():
        of_layer, base, rest = name.partition(".base_layer.")
        if ".lora_" in name:
            continue
        layer = layers[of_layer] if base and rest == "weight" else None
        needed = [parameter, *(p for n, p in layer.named_parameters() if "lora_" in n)] if layer else [parameter]
        with deepspeed.zero.GatheredParameters(needed, enabled=sharded):
            if dist.get_rank() == 0:
                weight = parameter.detach()
                if layer is not None:
                    weight = weight + layer.get_delta_weight("default").detach().to(weight.dtype)
                copy = copies.setdefault(id(parameter), weight.cpu().clone())
                state[name.replace(".base_layer.", ".")] = copy
    return state

"""The model that is trained, whole or by low-rank adapters, and the reference policy: loading, exporting."""

import json
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from leash_ray.errors import UsageError
from leash_ray.rlvr.lora import WithoutAdapters, adapted, is_adapted, merged_state, plain_model
from leash_ray.rlvr.settings import TrainConfig


def load_network(model: str | Path, config: TrainConfig) -> Any:
    """The Hugging Face model at ``model``, ready to be trained."""
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(model, dtype=dtype_of(config))
    if config.gradient_checkpointing:
        network.gradient_checkpointing_enable()
        if config.lora:
            network.enable_input_require_grads()  # else no checkpointed block has an input with a gradient
    return adapted(network, config.lora) if config.lora else network


def load_reference(model: str | Path, config: TrainConfig, device: torch.device, trained: Any) -> Any:
    """The policy that KL is measured to: never trained.

    Args:
        trained: the model that is trained; where adapters are, it is the reference itself with them off.
    """
    from transformers import AutoModelForCausalLM

    if config.lora and config.kl.reset_every is None:
        return WithoutAdapters(trained)
    reference = AutoModelForCausalLM.from_pretrained(model, dtype=dtype_of(config)).to(device).eval()
    reference.requires_grad_(False)
    return reference


def dtype_of(config: TrainConfig) -> torch.dtype:
    return torch.bfloat16 if config.bf16 else torch.float32


def deepspeed_config(config: TrainConfig) -> dict[str, Any]:
    """DeepSpeed's own config for one ``train`` section.

    The learning rate is set at every step, and the learner says itself which micro-batch is an optimizer step's last:
    how many there are depends on the lengths of completions.
    """
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.grad_clip,
        "zero_optimization": {"stage": config.zero_stage, **_offloaded(config)},
        "zero_force_ds_cpu_optimizer": False,  # DeepSpeed's own for the CPU needs a compiler where it runs
        "bf16": {"enabled": config.bf16},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
        "optimizer": {
            "type": "AdamW",
            "params": {"lr": config.lr, "weight_decay": config.weight_decay, "torch_adam": True},
        },
    }


def _offloaded(config: TrainConfig) -> dict[str, Any]:
    place = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        **({"offload_optimizer": place} if config.offload != "none" else {}),
        **({"offload_param": place} if config.offload == "all" else {}),
    }


def export(network: Any, tokenizer: Any, folder: Path, sharded: bool) -> None:
    """Write the weights as a Hugging Face folder, adapters merged (every worker must call this; worker 0 writes)."""
    state = whole_state(network, sharded)
    _write(plain_model(network) if is_adapted(network) else network, tokenizer, folder, state)
    dist.barrier()


def _write(network: Any, tokenizer: Any, folder: Path, state: dict[str, torch.Tensor]) -> None:
    if dist.get_rank() == 0:
        network.save_pretrained(folder, state_dict=state)
        tokenizer.save_pretrained(folder)


def whole_state(network: Any, sharded: bool) -> dict[str, torch.Tensor]:
    """Weights by the plain model's names, adapters merged, on worker 0 (every worker must call this): the network's own
    memory where it can be. Under ZeRO 3 they are collected from all workers, one at a time."""
    import deepspeed

    if is_adapted(network):
        return merged_state(network, sharded)
    state = {}
    for name, parameter in network.state_dict(keep_vars=True).items():
        with deepspeed.zero.GatheredParameters([parameter], enabled=sharded):
            if dist.get_rank() == 0:
                state[name] = parameter.detach().cpu().clone() if sharded else parameter.detach().cpu()
    return state


def read_state(folder: Path, config: TrainConfig) -> dict[str, Any]:
    """``state.json`` of a checkpoint.

    Raises:
        UsageError: the checkpoint is of another number of workers, whose optimizer shards do not fit, or of another
            ZeRO stage, from which DeepSpeed would take the weights without the optimizer's state.
    """
    state = json.loads((folder / "state.json").read_text())
    if state["zero_stage"] != config.zero_stage:
        raise UsageError(
            f"the checkpoint in {folder} is of ZeRO stage {state['zero_stage']}; "
            f"set train.zero_stage: {state['zero_stage']} to resume"
        )
    if state["workers"] != dist.get_world_size() and config.zero_stage > 0:
        raise UsageError(
            f"the checkpoint in {folder} has the ZeRO shards of {state['workers']} workers; "
            f"set train.workers: {state['workers']} to resume"
        )
    return state

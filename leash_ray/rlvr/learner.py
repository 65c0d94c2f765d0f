"""The learner: one model under a DeepSpeed engine, updated by GRPO. Needs torch.distributed; knows no Ray."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from leash_ray.config import TrainConfig
from leash_ray.rlvr.batch import TrainBatch
from leash_ray.rlvr.losses import LossSums, clipped_token_loss, token_logprobs_and_entropy
from leash_ray.rlvr.schedule import learning_rate

ENGINE_TAG = "engine"


class Learner:
    """One worker's share of the training state.

    Args:
        model: Hugging Face folder or hub name to start from; it is also the reference policy, also when the
            weights come from a checkpoint afterwards.
        config: the ``train`` section.
        cpu: train on CPU (gloo) rather than CUDA (NCCL).
        seed: for everything that torch draws (dropout, if a model has any).
    """

    def __init__(self, model: str, config: TrainConfig, cpu: bool, seed: int):
        os.environ["DS_ACCELERATOR"] = "cpu" if cpu else "cuda"
        import deepspeed
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.manual_seed(seed)
        self.config = config
        self.device = torch.device("cpu" if cpu else f"cuda:{torch.cuda.current_device()}")
        dtype = torch.bfloat16 if config.bf16 else torch.float32
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.pad_id = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0
        network = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        if config.gradient_checkpointing:
            network.gradient_checkpointing_enable()
        self.reference = None
        if config.kl_coef or config.track_kl:
            self.reference = AutoModelForCausalLM.from_pretrained(model, dtype=dtype).to(self.device).eval()
            self.reference.requires_grad_(False)
        if cpu:
            # Only speeds up inference all-reduces, and takes a compiler and most of a minute to build.
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        completions = config.prompts_per_step // config.workers * config.group_size
        self._micro_batches = math.ceil(completions / config.micro_batch)
        self.engine, *_ = deepspeed.initialize(
            model=network,
            model_parameters=[p for p in network.parameters() if p.requires_grad],
            config=deepspeed_config(config, self._micro_batches, cpu),
        )

    def update(self, batch: TrainBatch, step: int) -> dict[str, float]:
        """``config.epochs`` optimizer steps on this worker's rows; the loss is averaged over all workers' tokens.

        Returns metrics that are already summed over workers (loss, entropy_nats, kl_nats, clip fractions,
        gradient norm, and the sampler–trainer gap of the first pass).
        """
        config = self.config
        lr = learning_rate(
            step, lr=config.lr, steps=config.steps, warmup_steps=config.warmup_steps, schedule=config.lr_schedule
        )
        for group in self.engine.optimizer.param_groups:
            group["lr"] = lr
        completions = config.prompts_per_step // config.workers * config.group_size
        # DeepSpeed counts micro-batches to know when to step: with other rows than planned it would wait for more.
        assert len(batch.ids_BT) == completions, f"{len(batch.ids_BT)} completions, not {completions}"
        n_tokens = all_sum([batch.n_tokens])[0]
        metrics: dict[str, float] = {}
        for epoch in range(config.epochs):
            sums = [0.0] * 5
            gap = grad_norm = 0.0
            for micro in batch.micro_batches(config.micro_batch):
                loss, entropy_nats, max_gap = self._loss(micro)
                # DeepSpeed divides by the micro-batch count and averages over workers; undo both, so that
                # what remains is the mean over every token of the step.
                scale = self._micro_batches * dist.get_world_size() / max(1.0, n_tokens)
                self.engine.backward(loss.loss * scale)
                if self.engine.is_gradient_accumulation_boundary():
                    grad_norm = self._plain_grad_norm()
                self.engine.step()
                values = (loss.loss.item(), entropy_nats, loss.kl_nats, loss.n_clipped_low, loss.n_clipped_high)
                sums = [a + b for a, b in zip(sums, values, strict=True)]
                gap = max(gap, max_gap)
            totals = [s / max(1.0, n_tokens) for s in all_sum(sums)]
            metrics |= {
                "loss": totals[0],
                "kl": totals[2],
                "clip_fraction_low": totals[3],
                "clip_fraction_high": totals[4],
                "clip_fraction": totals[3] + totals[4],
                "grad_norm": float(self.engine.get_global_grad_norm() or grad_norm),
            }
            if epoch == 0:
                metrics |= {"entropy": totals[1], "logprob_gap_max": _all_max(gap)}
        return {**metrics, "lr": lr, "n_tokens": n_tokens}

    def _plain_grad_norm(self) -> float:
        """The gradient's norm before clipping where DeepSpeed clips without keeping it (stage 0 in float32), else 0."""
        if self.config.zero_stage > 0 or self.config.bf16:
            return 0.0
        return float(
            torch.nn.utils.get_total_norm(p.grad for p in self.engine.module.parameters() if p.grad is not None)
        )

    def _loss(self, micro: TrainBatch) -> tuple[LossSums, float, float]:
        ids_BT = micro.ids_BT.to(self.device)
        mask_BT, old_logp_BT = micro.mask_BT.to(self.device), micro.old_logp_BT.to(self.device)
        logp_BT, entropy_BT = self._forward(self.engine, ids_BT)
        ref_logp_BT = None
        if self.reference is not None:
            with torch.no_grad():
                ref_logp_BT, _ = self._forward(self.reference, ids_BT)
        sums = clipped_token_loss(
            logp_BT,
            old_logp_BT,
            micro.advantages_B.to(self.device),
            mask_BT,
            self.config.clip_low,
            self.config.clip_high,
            ref_logp_BT,
            self.config.kl_coef,
        )
        gap = float(((logp_BT.detach() - old_logp_BT).abs() * mask_BT).max())
        return sums, float((entropy_BT * mask_BT).sum()), gap

    def _forward(self, network: Any, ids_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits_BTV = network(input_ids=ids_BT, use_cache=False).logits[:, :-1]
        return token_logprobs_and_entropy(logits_BTV, ids_BT[:, 1:], self.config.temperature)

    @torch.no_grad()
    def logprobs(self, batch: TrainBatch) -> torch.Tensor:
        """ln p of the batch's tokens under the current weights [B, T-1], 0 where not sampled."""
        logp_BT, _ = self._forward(self.engine, batch.ids_BT.to(self.device))
        return (logp_BT * batch.mask_BT.to(self.device)).cpu()

    def export(self, folder: Path) -> None:
        """Write the weights as a Hugging Face folder (every worker must call this; worker 0 writes)."""
        network = self.engine.module
        with self._gathered() as state:
            if dist.get_rank() == 0:
                network.save_pretrained(folder, state_dict=state)
                self.tokenizer.save_pretrained(folder)
        dist.barrier()

    @contextmanager
    def _gathered(self) -> Iterator[dict[str, torch.Tensor]]:
        """Full parameters on worker 0; under ZeRO 3 they are collected from all workers, one at a time."""
        import deepspeed

        state = {}
        sharded = self.config.zero_stage == 3
        for name, parameter in self.engine.module.state_dict(keep_vars=True).items():
            with deepspeed.zero.GatheredParameters([parameter], enabled=sharded):
                if dist.get_rank() == 0:
                    state[name] = parameter.detach().cpu().clone() if sharded else parameter.detach().cpu()
        yield state

    def save(self, folder: Path, step: int) -> None:
        """Write optimizer and engine state (each worker its own files) after ``step`` steps."""
        self.engine.save_checkpoint(str(folder), tag=ENGINE_TAG, client_state={"step": step})
        if dist.get_rank() == 0:
            state = {"step": step, "workers": dist.get_world_size(), "zero_stage": self.config.zero_stage}
            (folder / "state.json").write_text(json.dumps(state))

    def load(self, folder: Path) -> int:
        """Go on from :meth:`save`; returns the number of steps done.

        Raises:
            ValueError: the checkpoint is of another number of workers, whose optimizer shards do not fit, or of
                another ZeRO stage, from which DeepSpeed would take the weights without the optimizer's state.
        """
        state = json.loads((folder / "state.json").read_text())
        if state["zero_stage"] != self.config.zero_stage:
            raise ValueError(
                f"the checkpoint in {folder} is of ZeRO stage {state['zero_stage']}; "
                f"set train.zero_stage: {state['zero_stage']} to resume"
            )
        if state["workers"] != dist.get_world_size() and self.config.zero_stage > 0:
            raise ValueError(
                f"the checkpoint in {folder} has the ZeRO shards of {state['workers']} workers; "
                f"set train.workers: {state['workers']} to resume"
            )
        loaded, _ = self.engine.load_checkpoint(str(folder), tag=ENGINE_TAG)
        assert loaded, f"no engine state in {folder}"  # DeepSpeed would go on without
        return int(state["step"])


def deepspeed_config(config: TrainConfig, micro_batches: int, cpu: bool) -> dict[str, Any]:
    """DeepSpeed's own config for one ``train`` section. The learning rate is set at every step."""
    return {
        "train_micro_batch_size_per_gpu": config.micro_batch,
        "gradient_accumulation_steps": micro_batches,
        "gradient_clipping": config.grad_clip,
        "zero_optimization": {"stage": config.zero_stage},
        "bf16": {"enabled": config.bf16},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
        "optimizer": {
            "type": "AdamW",
            "params": {"lr": config.lr, "weight_decay": config.weight_decay, "torch_adam": True},
        },
    }


def all_sum(values: list[float]) -> list[float]:
    total = torch.tensor(values, dtype=torch.float64, device=_collective_device())
    dist.all_reduce(total)
    return total.tolist()


def _all_max(value: float) -> float:
    total = torch.tensor(value, dtype=torch.float64, device=_collective_device())
    dist.all_reduce(total, op=dist.ReduceOp.MAX)
    return float(total)


def _collective_device() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"

"""The learner: one model under a DeepSpeed engine. Needs torch.distributed; knows no Ray, no rewards, no groups."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from leash_ray.rlvr import network, reference
from leash_ray.rlvr.batch import TrainBatch
from leash_ray.rlvr.collectives import all_max, all_sum
from leash_ray.rlvr.entropy_bonus import EntropyBonus
from leash_ray.rlvr.kl import exact_kl, kl_estimate
from leash_ray.rlvr.losses import row_scales, shaped_token_loss, token_logprobs_and_entropy, token_loss
from leash_ray.rlvr.mismatch import importance_weights
from leash_ray.rlvr.schedule import learning_rate
from leash_ray.rlvr.settings import TrainConfig
from leash_ray.rlvr.shared_prompts import Split, is_shareable, logits_of, split, spread

ENGINE_TAG = "engine"


class Learner:
    """One worker's share of the training state.

    Args:
        model: Hugging Face folder or hub name to start from; it is also the reference policy, also when the
            weights come from a checkpoint afterwards (unless the checkpoint has a reference of its own).
        config: the ``train`` section.
        cpu: train on CPU (gloo) rather than CUDA (NCCL).
        seed: for everything that torch draws (dropout, if a model has any).
    """

    def __init__(self, model: str, config: TrainConfig, cpu: bool, seed: int):
        os.environ["DS_ACCELERATOR"] = "cpu" if cpu else "cuda"
        import deepspeed
        from transformers import AutoTokenizer

        torch.manual_seed(seed)
        self.config = config
        self.device = torch.device("cpu" if cpu else f"cuda:{torch.cuda.current_device()}")
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.pad_id = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0
        self._model = model
        self._reference: Any = None
        self.kl_coef = config.kl.coef
        """Weight of the KL term of the next step; who watches training may raise it."""
        self.entropy_bonus = EntropyBonus(config.loss)
        self._reference_step = 0
        self.last_batch: TrainBatch | None = None
        """Of the latest update, for a dump of it."""
        if cpu:
            # Only speeds up inference all-reduces, and takes a compiler and most of a minute to build.
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self._start_engine(model)
        # The same on every worker: under ZeRO 3 each forward pass is a collective.
        self._shares_prompts = (
            config.share_prompts
            and config.objective == "rlvr"
            and not config.gradient_checkpointing  # which has no cache
            and is_shareable(self.engine.module)
        )

    @property
    def reference(self) -> Any:
        """The policy that KL is measured to; None: there is none. Loaded when it is first asked for, since a checkpoint
        may have another."""
        if self._reference is None and self.config.kl.needed:
            self._reference = network.load_reference(self._model, self.config, self.device, self.engine.module)
        return self._reference

    def _start_engine(self, model: str | Path) -> None:
        import deepspeed

        trained = network.load_network(model, self.config)
        self.engine, *_ = deepspeed.initialize(
            model=trained,
            model_parameters=[p for p in trained.parameters() if p.requires_grad],
            config=network.deepspeed_config(self.config),
        )

    def update(self, batch: TrainBatch, step: int) -> dict[str, float]:
        """``config.epochs`` passes of ``config.minibatches`` optimizer steps each over this worker's rows.

        The loss of an optimizer step is averaged over all workers' tokens. Every worker must call this at the same
        time. Returns metrics over all workers, in the field's names: means over tokens, of the first pass where that
        says more (entropy, the sampler–trainer gap) and else of the last optimizer step.
        """
        config = self.config
        self.last_batch = batch
        lr = learning_rate(
            step, lr=config.lr, steps=config.steps, warmup_steps=config.warmup_steps, schedule=config.lr_schedule
        )
        for group in self.engine.optimizer.param_groups:
            group["lr"] = lr
        old_logp_BT = self._proximal(batch)
        max_tokens = config.max_tokens_at(step)
        metrics: dict[str, float] = {}
        first: dict[str, float] = {}
        for epoch in range(config.epochs):
            for index in torch.arange(len(batch)).tensor_split(config.minibatches):
                old = None if old_logp_BT is None else old_logp_BT[index]
                metrics = self._optimizer_step(batch.rows(index), old, max_tokens)
                if not epoch:
                    first = _weighted(first, metrics)
        metrics |= {name: first[name] for name in ("entropy", "logprob_gap_max", "logprob_gap", "sampler_kl")}
        metrics |= {"lr": lr, "n_tokens": first["tokens"], "optimizer_steps": config.epochs * config.minibatches}
        metrics["entropy_coef"], metrics["kl_coef"] = self.entropy_bonus.coef, self.kl_coef
        metrics["reference_step"] = self._reference_step
        del metrics["tokens"]
        self.entropy_bonus.observe(metrics["entropy"])
        if config.kl.reset_every and (step + 1) % config.kl.reset_every == 0:
            self._reset_reference(step + 1)
        return metrics

    def _reset_reference(self, step: int) -> None:
        reference.become(self.reference, self.engine.module, sharded=self.config.zero_stage == 3)
        reference.start_anew(self.engine.basic_optimizer)
        self._reference_step = step

    def _proximal(self, batch: TrainBatch) -> torch.Tensor | None:
        """What the ratio is taken against [B, T-1], where that is neither the sampler's own nor, with one optimizer
        step only, that of the same forward pass: ln p before the first optimizer step."""
        config = self.config
        if config.mismatch.correction == "none" or config.epochs * config.minibatches == 1:
            return None
        return self.logprobs(batch)

    def _optimizer_step(self, batch: TrainBatch, old_logp_BT: torch.Tensor | None, max_tokens: int) -> dict[str, float]:
        counts = all_sum({"tokens": batch.n_tokens, "rows": float((batch.mask_BT.sum(1) > 0).sum())})
        scale_B = row_scales(batch.mask_BT, self.config.loss.mean, counts["tokens"], counts["rows"], max_tokens)
        micros = list(batch.micro_batches(self.config.micro_tokens))
        # ZeRO's collectives are one a backward pass: every worker makes as many, the last ones of nothing if need be.
        n_micros = int(all_max({"n": len(micros)})["n"])
        sums: dict[str, float] = dict.fromkeys(_SUMS, 0.0)
        largest: dict[str, float] = {"logprob_gap_max": 0.0, "ratio_max": 0.0}
        grad_norm, n_cells, n_used = 0.0, 0, 0
        for i in range(n_micros):
            index, micro = micros[i] if i < len(micros) else (torch.arange(1), _without_tokens(batch.rows(slice(0, 1))))
            old = None if old_logp_BT is None else old_logp_BT[index, : micro.mask_BT.shape[1]]
            is_last = i == n_micros - 1
            self.engine.set_gradient_accumulation_boundary(is_last)
            cut = self._cut(micro)
            loss, of_micro, largest_of_micro = self._loss(micro, cut, old, scale_B[index])
            # DeepSpeed averages gradients over workers; what is wanted is their sum.
            self.engine.backward(loss * dist.get_world_size())
            if is_last:
                grad_norm = self._plain_grad_norm()
            self.engine.step()
            sums = {name: value + of_micro[name] for name, value in sums.items()}
            largest = {name: max(value, largest_of_micro[name]) for name, value in largest.items()}
            n_cells += cut.n_cells if cut else micro.ids_BT.numel()
            n_used += cut.n_used if cut else micro.n_used
        sums["cells"], sums["used_cells"] = n_cells, n_used
        total = all_sum(sums)
        n = max(1.0, total["own_tokens"])
        return {
            **{name: total[name] / n for name in _MEANS},
            "entropy": total["entropy"] / max(1.0, counts["tokens"]),
            "loss": total["loss"],
            "clip_fraction": (total["clip_fraction_low"] + total["clip_fraction_high"]) / n,
            "padding_share": 1.0 - total["used_cells"] / max(1.0, total["cells"]),
            "tokens": counts["tokens"],
            "grad_norm": float(self.engine.get_global_grad_norm() or grad_norm),
            **all_max(largest),
        }

    def _plain_grad_norm(self) -> float:
        """The gradient's norm before clipping where DeepSpeed clips without keeping it (stage 0 in float32), else 0."""
        if self.config.zero_stage > 0 or self.config.bf16:
            return 0.0
        return float(
            torch.nn.utils.get_total_norm(p.grad for p in self.engine.module.parameters() if p.grad is not None)
        )

    def _loss(
        self, micro: TrainBatch, cut: Split | None, old_logp_BT: torch.Tensor | None, scale_B: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float], dict[str, float]]:
        """(loss with gradient, sums over tokens, largest values) of one micro-batch."""
        config, to = self.config, self.device
        mask_BT, sampler_BT, advantages_B = (
            x.to(to) for x in (micro.mask_BT, micro.sampler_logp_BT, micro.advantages_B)
        )
        scale_B1, foreign_B = scale_B.to(to)[:, None], micro.foreign_B.to(to)
        logp_BT, entropy_BT = self._forward(self.engine, micro, cut, self.entropy_bonus.in_use)
        own_BT = mask_BT * ~foreign_B[:, None]
        if old_logp_BT is not None:
            old_BT = old_logp_BT.to(to)
        else:
            old_BT = sampler_BT if config.mismatch.correction == "none" else logp_BT.detach()
        weights_BT = None
        if config.mismatch.correction != "none":
            weights_BT = importance_weights(old_BT, sampler_BT, own_BT, config.mismatch)
        tokens = token_loss(logp_BT, old_BT, advantages_B, own_BT, config.loss, weights_BT)
        loss_BT = tokens.loss_BT
        if foreign_B.any():
            assert config.seeding is not None
            loss_BT = loss_BT + shaped_token_loss(
                logp_BT, advantages_B, mask_BT * foreign_B[:, None], config.seeding.shaping
            )
        kl_nats = float("nan")
        if self.reference is not None and config.objective == "rlvr":
            with torch.no_grad():
                ref_BT, _ = self._forward(self.reference, micro, cut)
            in_loss = config.kl.place == "loss" and self.kl_coef > 0
            kl_BT = kl_estimate(logp_BT, ref_BT, own_BT, config.kl.estimator if in_loss else "k3")
            kl_nats = float((kl_BT.detach() * own_BT).sum())
            if in_loss:
                loss_BT = loss_BT + self.kl_coef * kl_BT * own_BT
        if self.entropy_bonus.coef:
            loss_BT = loss_BT - self.entropy_bonus.coef * entropy_BT * mask_BT
        loss = (loss_BT * scale_B1).sum()
        with torch.no_grad():
            gap_BT = (logp_BT - sampler_BT) * own_BT
            sums = {
                "loss": float(loss),
                "own_tokens": float(own_BT.sum()),
                "entropy": float((entropy_BT * mask_BT).sum()),
                "kl": kl_nats,
                "ratio_mean": float(tokens.ratio_BT.sum()),
                "clip_fraction_low": float(tokens.low_BT.sum()),
                "clip_fraction_high": float(tokens.high_BT.sum()),
                "logprob_gap": float(gap_BT.abs().sum()),
                # KL(sampler ‖ trainer), k3: the samples are the sampler's.
                "sampler_kl": float(((gap_BT.exp() - 1.0 - gap_BT) * own_BT).sum()),
                "importance_weight": float(own_BT.sum() if weights_BT is None else weights_BT.sum()),
            }
            largest = {"logprob_gap_max": float(gap_BT.abs().max()), "ratio_max": float(tokens.ratio_BT.max())}
        return loss, sums, largest

    def _cut(self, micro: TrainBatch) -> Split | None:
        return split(micro) if self._shares_prompts else None

    def _forward(
        self, of: Any, micro: TrainBatch, cut: Split | None, entropy_gradient: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(ln p, entropy) of the micro-batch's tokens [B, T-1]."""
        if cut is not None:
            logits_RSV = logits_of(of, cut, self.device)
            targets_RS, temperature_R = cut.targets_RS.to(self.device), cut.temperature_R.to(self.device)
            found = token_logprobs_and_entropy(logits_RSV, targets_RS, temperature_R, entropy_gradient)
            width = micro.mask_BT.shape[1]
            return spread(found[0], cut, width), spread(found[1], cut, width)
        ids_BT, temperature_B = micro.ids_BT.to(self.device), micro.temperature_B.to(self.device)
        return token_logprobs_and_entropy(self._logits(of, micro), ids_BT[:, 1:], temperature_B, entropy_gradient)

    def _logits(self, of: Any, micro: TrainBatch) -> torch.Tensor:
        return of(input_ids=micro.ids_BT.to(self.device), use_cache=False).logits[:, :-1]

    @torch.no_grad()
    def logprobs(self, batch: TrainBatch) -> torch.Tensor:
        """ln p of the batch's tokens under the current weights [B, T-1], 0 where not sampled."""
        return self._logprobs(self.engine, batch)

    @torch.no_grad()
    def kl_of_completions(self, batch: TrainBatch) -> torch.Tensor:
        """KL(policy ‖ reference) of each completion, by ``config.kl.estimator``, summed over its tokens (nats) [B];
        0 of what another policy wrote, from which it cannot be estimated."""
        assert self.reference is not None
        logp_BT, ref_BT = self._logprobs(self.engine, batch), self._logprobs(self.reference, batch)
        kl_BT = kl_estimate(logp_BT, ref_BT, batch.mask_BT, self.config.kl.estimator)
        return (kl_BT * batch.mask_BT).sum(1) * ~batch.foreign_B

    @torch.no_grad()
    def kl_at(self, batch: TrainBatch) -> float:
        """Mean over all workers' tokens of the exact KL(policy ‖ reference) where they stand (nats), for tokens that
        are not the policy's own. NaN: there is no reference."""
        if self.reference is None:
            return float("nan")
        micros = [micro for _, micro in batch.micro_batches(self.config.micro_tokens)]
        total_nats = 0.0
        for i in range(int(all_max({"n": len(micros)})["n"])):  # as in _logprobs
            micro = micros[min(i, len(micros) - 1)]
            temperature_B = micro.temperature_B.to(self.device)
            kl_BT = exact_kl(self._logits(self.engine, micro), self._logits(self.reference, micro), temperature_B)
            total_nats += float((kl_BT.cpu() * micro.mask_BT).sum()) if i < len(micros) else 0.0
        total = all_sum({"kl": total_nats, "n": float(batch.n_tokens)})
        return total["kl"] / max(1.0, total["n"])

    def _logprobs(self, of: Any, batch: TrainBatch) -> torch.Tensor:
        logp_BT = torch.zeros_like(batch.mask_BT)
        micros = list(batch.micro_batches(self.config.micro_tokens))
        for i in range(int(all_max({"n": len(micros)})["n"])):  # ZeRO 3 gathers parameters in every forward pass
            index, micro = micros[min(i, len(micros) - 1)]
            got_BT, _ = self._forward(of, micro, self._cut(micro))
            logp_BT[index, : got_BT.shape[1]] = got_BT.cpu() * micro.mask_BT
        return logp_BT

    def export(self, folder: Path) -> None:
        """Write the weights as a Hugging Face folder (every worker must call this; worker 0 writes)."""
        network.export(self.engine.module, self.tokenizer, folder, sharded=self.config.zero_stage == 3)

    def save(self, folder: Path, step: int, more: Mapping[str, Any] | None = None) -> None:
        """Write optimizer and engine state (each worker its own files) after ``step`` steps.

        Args:
            more: JSON that :meth:`load` gives back.
        """
        # What is frozen comes from the model that training started from.
        self.engine.save_checkpoint(
            str(folder),
            tag=ENGINE_TAG,
            client_state={"step": step},
            exclude_frozen_parameters=self.config.lora is not None,
        )
        if dist.get_rank() == 0:
            state = {
                "step": step,
                "workers": dist.get_world_size(),
                "zero_stage": self.config.zero_stage,
                "kl_coef": self.kl_coef,
                "entropy_bonus": self.entropy_bonus.state(),
                "reference_step": self._reference_step,
                "more": dict(more or {}),
            }
            (folder / "state.json").write_text(json.dumps(state))
            if self._reference_step:
                reference.save(self.reference, folder)

    def load(self, folder: Path) -> tuple[int, dict[str, Any]]:
        """Go on from :meth:`save`; returns the number of steps done, and what was saved beside.

        Raises:
            ValueError: the checkpoint is of another number of workers or ZeRO stage.
        """
        state = network.read_state(folder, self.config)
        loaded, _ = self.engine.load_checkpoint(
            str(folder), tag=ENGINE_TAG, load_module_strict=self.config.lora is None
        )
        assert loaded, f"no engine state in {folder}"  # DeepSpeed would go on without
        self.kl_coef, self._reference_step = state["kl_coef"], state["reference_step"]
        if self._reference_step:
            kept = folder / reference.REFERENCE
            self._reference = network.load_reference(kept, self.config, self.device, self.engine.module)
        self.entropy_bonus.restore(state["entropy_bonus"])
        return int(state["step"]), state["more"]


_MEANS = (
    *("entropy", "kl", "ratio_mean", "clip_fraction_low", "clip_fraction_high"),
    *("logprob_gap", "sampler_kl", "importance_weight"),
)
"""Sums that are shown as means over the step's tokens that are the policy's own; the entropy, over all."""
_SUMS = ("loss", "own_tokens", *_MEANS)


def _weighted(so_far: dict[str, float], new: dict[str, float]) -> dict[str, float]:
    """Means over the tokens of both; of names that end in _max, the larger."""
    if not so_far:
        return dict(new)
    a, b = so_far["tokens"], new["tokens"]
    both = {
        name: max(so_far[name], value) if name.endswith("_max") else (a * so_far[name] + b * value) / max(1.0, a + b)
        for name, value in new.items()
    }
    return {**both, "tokens": a + b}


def _without_tokens(batch: TrainBatch) -> TrainBatch:
    """Nothing to learn from, at the cost of one row."""
    return replace(batch, mask_BT=torch.zeros_like(batch.mask_BT), advantages_B=torch.zeros_like(batch.advantages_B))

"""When training stops by itself: what no longer is a number, a gradient that explodes, a verifier that only fails.

A step is looked at after its update and before its weights go anywhere: neither samplers nor checkpoints get them.
All workers decide as one, from what any of them has seen, so that all stop at the same place.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from leash_ray.errors import RunFailed
from leash_ray.rlvr.collectives import all_max
from leash_ray.rlvr.sections import LimitsConfig


class LimitReached(RunFailed):
    """Training must not go on. The message says what to try."""


class Limits:
    """Looks at every step."""

    def __init__(self, config: LimitsConfig) -> None:
        self._config = config
        self._error_steps = 0

    def check(self, metrics: Mapping[str, float], weights: Iterable[torch.Tensor], example: str | None = None) -> None:
        """Look at one step. Every worker calls this at the same time.

        Args:
            metrics: of the step, over all workers.
            weights: this worker's, after the update.
            example: what a verifier that failed has said.

        Raises:
            LimitReached: on every worker.
        """
        failed = metrics.get("verifier_errors", 0) > 0 and math.isnan(metrics.get("reward_mean", 0.0))
        self._error_steps = self._error_steps + 1 if failed else 0
        norm = metrics["grad_norm"]
        own = {
            "loss": float(not math.isfinite(metrics["loss"])),
            "norm": float(not math.isfinite(norm)),
            "weights": float(not all_finite(weights)),
            "exploded": float(self._config.grad_norm is not None and norm > self._config.grad_norm),
            "errors": float(self._error_steps >= self._config.error_steps),
        }
        seen = all_max(own)
        if why := self._why(seen, metrics, example):
            raise LimitReached(why)

    def _why(self, seen: Mapping[str, float], metrics: Mapping[str, float], example: str | None) -> str | None:
        lr = metrics.get("lr", math.nan)
        lower = f"in a new run, try a lower train.lr (it is {lr:g}) or train.grad_clip, or more train.warmup_steps"
        if seen["loss"] or seen["norm"]:
            what = "the loss" if seen["loss"] else "the gradient"
            return f"{what} is no number any more: {lower}; with train.bf16, try without"
        if seen["weights"]:
            return f"the weights are no numbers any more after the update: {lower}"
        if seen["exploded"]:
            return (
                f"the gradient's norm is {metrics['grad_norm']:g}, above train.limits.grad_norm "
                f"({self._config.grad_norm:g}): {lower}; or raise the limit and go on with --resume"
            )
        if seen["errors"]:
            said = f" (the last one: {example})" if example else ""
            return (
                f"the verifier has failed at every completion of {self._config.error_steps} steps in a row{said}, so "
                "there is nothing to learn from: try it with `leash check`, mend it, and go on with --resume; raise "
                "train.limits.error_steps if it is only away for a while"
            )
        return None


def all_finite(weights: Iterable[torch.Tensor]) -> bool:
    """Whether all are numbers. Of parameters that ZeRO 3 has dealt out, this worker's part is looked at."""
    with torch.no_grad():
        return all(bool(torch.isfinite(_held(w)).all()) for w in weights)


def _held(weight: Any) -> torch.Tensor:
    part: torch.Tensor = getattr(weight, "ds_tensor", weight)
    return part

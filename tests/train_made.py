"""Short training runs on the embedded model, and what is asked of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from leash_ray.config import MonitorConfig, TrainConfig
from leash_ray.deploy import resolve_model
from leash_ray.monitor import read_metrics
from leash_ray.policy import ServedPolicy
from leash_ray.rlvr.traces import traces_for
from leash_ray.rlvr.trainer import TrainJob, fit
from leash_ray.tasks import ReasoningGymSpec
from leash_ray.types import Problem
from leash_ray.verify.remote import RemoteVerifier

MODEL = resolve_model("embedded:countdown")
Train = Callable[..., tuple[Path, list[dict[str, Any]]]]
"""(name, changes of the ``train`` section) -> the model's folder, and a row a step."""


def trains(
    served: ServedPolicy, verifier: RemoteVerifier, problems: Sequence[Problem], task: ReasoningGymSpec, root: Path
) -> Train:
    """Trains the served policy in a run directory below ``root``."""

    def run(name: str, **changes: Any) -> tuple[Path, list[dict[str, Any]]]:
        settings = {"steps": 2, "prompts_per_step": 4, "group_size": 8, "max_tokens": 12, "checkpoint_every": 2}
        config = TrainConfig(task=task, **{**settings, **changes})
        path = root / name
        path.mkdir(exist_ok=True)
        job = TrainJob(
            run_path=path,
            config=config,
            monitor=MonitorConfig(wandb="off"),
            run_config={},
            run_name=name,
            model=MODEL,
            policy=served,
            problems=problems,
            seed=0,
            cpu=True,
            verifier=verifier,
            traces=traces_for(config, problems),
        )
        return fit(job)[0], read_metrics(path, "train")

    return run


def weights(folder: Path | str) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def column(rows: Sequence[dict[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows]

"""What a step that stopped training was made of, and the same update again.

    python -m leash_ray.rlvr.dump RUN/dumps/step-000057

prints the loss that the step had, and the one that its update has now. ``RUN/dumps/step-N/`` holds, of step N:

    dump.json                metrics, why it stopped, the train section, the seed, the newest checkpoint
    batch-R.safetensors      worker R's ids, masks, the sampler's ln p, advantages, temperatures
    completions-R.parquet    worker R's prompts, texts and verdicts, in the batch's order
    model/                   the weights that the update began from, where samplers had them

The optimizer's state is only in checkpoints. Where the newest one is of step N - 1 the update is repeated from it; else
from ``model/`` with an optimizer without memory: the loss and the gradient of the first optimizer step are the same,
those of later ones (``epochs``, ``minibatches``) need not be. Supervised training hands its weights to no sampler: then
it is repeated from the newest checkpoint, or from the start, and is only near.
"""

import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from leash_ray.errors import UsageError
from leash_ray.files import write_json
from leash_ray.rlvr.batch import TrainBatch
from leash_ray.rlvr.checkpoints import MODEL_FOLDER, checkpoint_name
from leash_ray.rlvr.settings import TrainConfig

if TYPE_CHECKING:
    from leash_ray.rlvr.rollouts import Rollouts
    from leash_ray.rlvr.trainer import TrainJob

DUMPS = "dumps"
_RECORD = "dump.json"


def write_dump(
    job: "TrainJob",
    step: int,
    *,
    why: str,
    metrics: Mapping[str, float],
    batch: TrainBatch,
    rollouts: "Rollouts | None",
    weights: Path,
    checkpoint: Path | None,
) -> Path:
    """Write one worker's part of the dump of a 0-based step; worker 0 also the rest. Every worker calls this.

    Args:
        weights: Hugging Face folder with the weights before the update; it is moved into the dump.
        checkpoint: the newest one.

    Returns:
        The dump's folder. It is whole when this returns on every worker.

    Raises:
        OSError: no space, or none to write to.
    """
    from safetensors.torch import save_file

    rank = dist.get_rank()
    whole = job.run_path / DUMPS / checkpoint_name(step + 1)
    half = whole.with_name(f".{whole.name}.half")
    if rank == 0:
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
    dist.barrier()
    save_file({f.name: getattr(batch, f.name).contiguous() for f in fields(batch)}, half / f"batch-{rank}.safetensors")
    if rollouts is not None:
        _write_texts(rollouts, half / f"completions-{rank}.parquet")
    dist.barrier()
    if rank == 0:
        if weights.is_dir():
            shutil.move(weights, half / MODEL_FOLDER)
        write_json(
            half / _RECORD,
            {
                "step": step,
                "why": why,
                "metrics": {k: v if math.isfinite(v) else str(v) for k, v in metrics.items()},
                "train": job.config.model_dump(mode="json"),
                "model": job.model,
                "seed": job.seed,
                "workers": dist.get_world_size(),
                "checkpoint": str(checkpoint.relative_to(job.run_path)) if checkpoint else None,
            },
        )
        shutil.rmtree(whole, ignore_errors=True)  # of the same step, before a resume
        half.rename(whole)
    dist.barrier()
    return whole


def _write_texts(rollouts: "Rollouts", path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    problems = [draw.problem for draw, group in zip(rollouts.draws, rollouts.groups, strict=True) for _ in group.texts]
    pq.write_table(
        pa.table(
            {
                "problem_id": [p.id for p in problems],
                "prompt": [p.prompt for p in problems],
                "text": [text for group in rollouts.groups for text in group.texts],
                "finish_reason": [reason for group in rollouts.groups for reason in group.finish_reasons],
                "verdict": pa.array([str(v.verdict) for v in rollouts.verifications], pa.string()),
                "answer": pa.array([v.answer for v in rollouts.verifications], pa.string()),
                "reason": pa.array([v.reason for v in rollouts.verifications], pa.string()),
            }
        ),
        path,
    )


def read_batch(folder: Path, workers: int, minibatches: int) -> TrainBatch:
    """All workers' rows as one worker's, in the order in which one worker cuts them into the same mini-batches."""
    from safetensors.torch import load_file

    shares = [load_file(folder / f"batch-{rank}.safetensors") for rank in range(workers)]
    width = max(share["ids_BT"].shape[1] for share in shares)
    columns: dict[str, list[torch.Tensor]] = {f.name: [] for f in fields(TrainBatch)}
    cuts = [torch.arange(len(share["ids_BT"])).tensor_split(minibatches) for share in shares]
    for i in range(minibatches):
        for share, cut in zip(shares, cuts, strict=True):
            for name, parts in columns.items():
                rows = share[name][cut[i]]
                wide = (width if name == "ids_BT" else width - 1) if rows.ndim == 2 else 0
                parts.append(torch.nn.functional.pad(rows, (0, wide - rows.shape[1])) if wide else rows)
    return TrainBatch(**{name: torch.cat(parts) for name, parts in columns.items()})


def replay(folder: Path) -> dict[str, float]:
    """Repeat the update of a dump in this process, as one worker; its metrics.

    ``weights_finite`` is 1 where the weights are numbers after it, else 0.

    Raises:
        UsageError: ``folder`` is no dump.
    """
    from leash_ray.rlvr.learner import Learner
    from leash_ray.rlvr.limits import all_finite

    record = read_record(folder)
    train, step, metrics = record["train"], record["step"], record["metrics"]
    config = TrainConfig.model_validate({**train, "workers": 1})
    cpu = not torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as tmp:
        if not dist.is_initialized():
            os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
            store = dist.FileStore(str(Path(tmp) / "store"), 1)
            dist.init_process_group("gloo" if cpu else "nccl", store=store, rank=0, world_size=1)
        learner = Learner(record["model"], config, cpu, record["seed"])
        checkpoint = folder.resolve().parents[1] / (record["checkpoint"] or "-")
        if checkpoint.name == checkpoint_name(step) and checkpoint.is_dir() and record["workers"] == 1:
            learner.load(checkpoint)
        elif (
            model := next((m for m in (folder / MODEL_FOLDER, checkpoint / MODEL_FOLDER) if m.is_dir()), None)
        ) is not None:
            learner._start_engine(model)  # the reference stays
        learner.kl_coef = metrics["kl_coef"]
        learner.entropy_bonus.restore({"coef": metrics["entropy_coef"], "is_below": 1.0})
        found = learner.update(read_batch(folder, record["workers"], config.minibatches), step)
        return {**found, "weights_finite": float(all_finite(learner.engine.module.parameters()))}


def read_record(folder: Path) -> dict[str, Any]:
    """``dump.json``.

    Raises:
        UsageError: there is none.
    """
    path = Path(folder) / _RECORD
    if not path.is_file():
        raise UsageError(f"{folder} is not a dump (it has no {_RECORD}); dumps are in RUN/{DUMPS}/step-N")
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def main(arguments: list[str]) -> int:
    """``python -m leash_ray.rlvr.dump FOLDER``."""
    if len(arguments) != 1:
        print("usage: python -m leash_ray.rlvr.dump RUN/dumps/step-N", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    try:
        record = read_record(folder)
    except UsageError as e:
        print(e, file=sys.stderr)
        return 2
    print(f"step {record['step'] + 1}, newest checkpoint {record['checkpoint'] or 'none'}: {record['why']}")
    found = replay(folder)
    for name in ("loss", "grad_norm", "entropy", "kl", "ratio_max"):
        then = float(record["metrics"].get(name, math.nan))
        print(f"{name:10} {then:.6g} then, {found[name]:.6g} now")
    print(f"weights after the update: {'numbers' if found['weights_finite'] else 'NO NUMBERS'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

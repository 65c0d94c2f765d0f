"""A run directory as sampling leaves it, of completions written by hand."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from leash_ray.config import parse_config
from leash_ray.files import atomic_path
from leash_ray.problems_file import write_problems
from leash_ray.run_dir import RunDir
from leash_ray.sampling.shard import Shard
from leash_ray.sampling.table import tabulate
from leash_ray.types import CompletionBatch, Problem
from leash_ray.verify import Verification

Texts = Mapping[str, Sequence[Sequence[str]]]
"""policy -> for each problem, its completions."""


def make_run(
    path: Path,
    problems: Sequence[Problem],
    texts: Texts,
    verify: Callable[[Sequence[tuple[Problem, str, str]]], list[Verification]],
    samples_per_shard: int = 4,
) -> RunDir:
    """Verify ``texts`` and write them as a run's shards, ``samples_per_shard`` samples of all problems each."""
    config = parse_config(
        {
            "task": {"kind": "jsonl", "path": "unused.jsonl"},
            "policies": {name: {"model": "unused"} for name in texts},
            "monitor": {"wandb": "off"},
        },
        "made",
    )
    run = RunDir.create(path, config.model_dump(mode="json"), 0)
    write_problems(run.problems_parquet, problems)
    for policy, by_problem in texts.items():
        n = len(by_problem[0])
        for first in range(0, n, samples_per_shard):
            shard = Shard(policy, tuple(p.id for p in problems), first, min(first + samples_per_shard, n))
            batches = [_batch(of_one[first : shard.end_sample]) for of_one in by_problem]
            items = [(p, t, "stop") for p, b in zip(problems, batches, strict=True) for t in b.texts]
            with atomic_path(run.completions / shard.path) as tmp:
                pq.write_table(tabulate(shard, problems, batches, verify(items)), tmp)
    run.mark_done("sample", {})
    return run


def _batch(texts: Sequence[str]) -> CompletionBatch:
    n = len(texts)
    return CompletionBatch(
        prompt_ids=np.zeros(1, np.int32),
        token_ids_T=np.zeros(n, np.int32),
        logprobs_T=np.full(n, -0.5, np.float32),
        offsets=np.arange(n + 1),
        texts=list(texts),
        finish_reasons=["stop"] * n,
        version=0,
    )

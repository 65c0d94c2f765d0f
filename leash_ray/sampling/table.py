"""Completions and their verifications as rows of the completions table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from leash_ray.sampling.shard import Shard
from leash_ray.types import COMPLETIONS_SCHEMA, CompletionBatch, Problem
from leash_ray.verify import Verification


def tabulate(
    shard: Shard, problems: Sequence[Problem], batches: Sequence[CompletionBatch], verified: Sequence[Verification]
) -> pa.Table:
    """Completions and their verifications as rows of the completions table."""
    count = shard.n_samples
    token_ids_T = np.concatenate([b.token_ids_T for b in batches])
    lengths = np.concatenate([np.diff(b.offsets) for b in batches])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    running = np.concatenate([[0.0], np.cumsum(np.concatenate([b.logprobs_T for b in batches]), dtype=np.float64)])
    columns: dict[str, Any] = {
        "policy": [shard.policy] * shard.n_rows,
        "task": [p.task for p in problems for _ in range(count)],
        "problem_id": [p.id for p in problems for _ in range(count)],
        "sample_index": list(range(shard.first_sample, shard.end_sample)) * len(problems),
        "n_tokens": lengths,
        "logprob_sum": running[offsets[1:]] - running[offsets[:-1]],
        "entropy_sum": pa.nulls(shard.n_rows, pa.float32()),
        "text": [text for b in batches for text in b.texts],
        "token_ids": pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(token_ids_T, pa.int32())),
        "finish_reason": [r for b in batches for r in b.finish_reasons],
        "policy_version": np.repeat([b.version for b in batches], count),
        **verdict_columns(verified),
    }
    arrays = [_column(columns[field.name], field.type) for field in COMPLETIONS_SCHEMA]
    return pa.Table.from_arrays(arrays, schema=COMPLETIONS_SCHEMA)


def verdict_columns(verified: Sequence[Verification]) -> dict[str, pa.Array]:
    """The columns that verifying decides (``VERDICT_COLUMNS``), in the order of the completions."""
    columns = {
        "verdict": [v.verdict.value for v in verified],
        "answer": [v.answer for v in verified],
        "reason": [v.reason for v in verified],
        "stage": [v.stage for v in verified],
        "leniency": [v.leniency for v in verified],
    }
    return {name: _column(values, COMPLETIONS_SCHEMA.field(name).type) for name, values in columns.items()}


def _column(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode().cast(kind)
    return pa.array(values).cast(kind) if isinstance(values, np.ndarray) else pa.array(values, kind)

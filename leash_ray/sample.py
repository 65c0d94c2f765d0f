"""Sampling: Ray Data streams shards of (policy, problems, samples) through the policy and the verifiers to Parquet.

A shard is one file that is written whole or not at all, and its name says what it holds. What exists is not drawn
again, so a run that was stopped goes on where it was; sample i of a problem has its own random stream, so the
completions do not depend on how they were cut into shards.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from leash_ray.config import SamplingConfig
from leash_ray.errors import RunFailed
from leash_ray.files import atomic_path
from leash_ray.policy import Policy, ServedPolicy
from leash_ray.seeds import stream_seed
from leash_ray.types import COMPLETIONS_SCHEMA, CompletionBatch, Problem, SampleRequest, SamplingParams, Verdict
from leash_ray.verify import Verification
from leash_ray.verify.remote import RemoteVerifier

SAMPLING_CPUS = 0.1
"""Logical CPUs of one task that waits for a policy: the work is in the engine and the verifiers."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Samples ``first_sample..end_sample`` of problems ``first_problem..end_problem`` of one policy."""

    policy: str
    first_problem: int
    end_problem: int
    first_sample: int
    end_sample: int

    @property
    def path(self) -> Path:
        """Relative to the completions directory."""
        return Path(self.policy) / (
            f"p{self.first_problem:06d}-{self.end_problem:06d}_s{self.first_sample:06d}-{self.end_sample:06d}.parquet"
        )

    @property
    def n_rows(self) -> int:
        return (self.end_problem - self.first_problem) * (self.end_sample - self.first_sample)


def plan_shards(policies: Sequence[str], n_problems: int, n: int, samples_per_shard: int) -> list[Shard]:
    """Cut policies × problems × samples into shards of about ``samples_per_shard``, policies in turn.

    Turns keep every policy's engine at work from the first shard to the last.
    """
    samples = min(n, samples_per_shard)
    problems = max(1, samples_per_shard // samples)
    return [
        Shard(policy, p, min(p + problems, n_problems), s, min(s + samples, n))
        for p in range(0, n_problems, problems)
        for s in range(0, n, samples)
        for policy in policies
    ]


def draw(policy: Policy, shard: Shard, problems: Sequence[Problem], params: SamplingParams, seed: int):
    """The shard's completions, one batch a problem. The stream is named by what it is for: not by the shard."""
    requests = [
        SampleRequest(
            problem.prompt,
            shard.end_sample - shard.first_sample,
            stream_seed(seed, "sample", shard.policy, problem.id) + shard.first_sample,
        )
        for problem in problems
    ]
    return policy.sample(requests, params)


def tabulate(
    shard: Shard, problems: Sequence[Problem], batches: Sequence[CompletionBatch], verified: Sequence[Verification]
) -> pa.Table:
    """Completions and their verifications as rows of the completions table."""
    count = shard.end_sample - shard.first_sample
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


@dataclass(frozen=True, slots=True)
class ShardMaker:
    """What a Ray Data task does with a shard: draw, verify, write. Sent to the tasks as it is."""

    folder: Path
    problems: Sequence[Problem]
    params: SamplingParams
    seed: int
    policies: Mapping[str, ServedPolicy]
    verifier: RemoteVerifier
    prompts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Policy -> what it is asked in place of each problem's own prompt."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        return pa.Table.from_pylist([self.make(Shard(**row)) for row in batch.to_pylist()])

    def make(self, shard: Shard) -> dict[str, Any]:
        """Write the shard's file; returns its counts for progress."""
        problems = self._asked(shard, self.problems[shard.first_problem : shard.end_problem])
        batches = draw(self.policies[shard.policy], shard, problems, self.params, self.seed)
        verified = self.verifier.verify(
            [
                (problem, text, reason)
                for problem, b in zip(problems, batches, strict=True)
                for text, reason in zip(b.texts, b.finish_reasons, strict=True)
            ]
        )
        table = tabulate(shard, problems, batches, verified)
        with atomic_path(self.folder / shard.path) as tmp:
            pq.write_table(table, tmp, compression="zstd")
        verdicts = Counter(v.verdict.value for v in verified)
        n_tokens = int(sum(len(b.token_ids_T) for b in batches))
        return {
            "policy": shard.policy,
            "completions": shard.n_rows,
            "tokens": n_tokens,
            **{v.value: verdicts[v.value] for v in Verdict},
        }

    def _asked(self, shard: Shard, problems: Sequence[Problem]) -> Sequence[Problem]:
        if shard.policy not in self.prompts:
            return problems
        prompts = self.prompts[shard.policy][shard.first_problem : shard.end_problem]
        return [replace(problem, prompt=prompt) for problem, prompt in zip(problems, prompts, strict=True)]


def missing_shards(folder: Path, shards: Sequence[Shard]) -> list[Shard]:
    """Shards whose file is not there yet. A file that is there is whole: it was renamed when complete."""
    return [shard for shard in shards if not (folder / shard.path).is_file()]


def sample_shards(
    shards: Sequence[Shard],
    folder: Path,
    problems: Sequence[Problem],
    config: SamplingConfig,
    seed: int,
    policies: Mapping[str, ServedPolicy],
    verifier: RemoteVerifier,
    prompts: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[dict[str, Any]]:
    """Make every shard, some at a time, in one Ray Data stream; yields each shard's counts when it is written.

    Args:
        prompts: policy -> what it is asked in place of each problem's own prompt; None: every problem's own.

    Raises:
        RunFailed: a shard could not be made; the finished ones stay.
    """
    import ray.data

    maker = ShardMaker(folder, problems, config.params, seed, policies, verifier, prompts or {})
    rows = [{name: getattr(shard, name) for name in Shard.__slots__} for shard in shards]
    stream = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        maker,
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=SAMPLING_CPUS,
        compute=ray.data.TaskPoolStrategy(size=min(len(rows), config.in_flight * len(policies))),
    )
    try:
        yield from stream.iter_rows()
    except (ray.exceptions.RayError, OSError) as e:
        raise RunFailed(
            f"sampling stopped: {root_cause(e)}; finished shards are in {folder}: run the same command with --resume"
        ) from e


def root_cause(error: BaseException) -> str:
    """The innermost error's own line."""
    while True:
        inner = getattr(error, "cause", None) or error.__cause__
        if not isinstance(inner, BaseException):
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return lines[-1] if lines else type(error).__name__
        error = inner

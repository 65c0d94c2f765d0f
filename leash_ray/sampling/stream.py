"""Shards through Ray Data: some at a time, as many as keep every policy's engine busy."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from leash_ray.errors import RunFailed, UsageError
from leash_ray.policy import ServedPolicy
from leash_ray.sampling.causes import root_cause
from leash_ray.sampling.draw import ShardMaker
from leash_ray.sampling.settings import SamplingConfig
from leash_ray.sampling.shard import Shard
from leash_ray.types import Problem
from leash_ray.verify.remote import RemoteVerifier

SAMPLING_CPUS = 0.1
"""Logical CPUs of one shard in the making, which mostly waits: the work is in the engine and the verifiers."""
_LEAST_IN_A_STREAM = 2048
_ROUNDS_IN_A_STREAM = 64
"""Between two streams the engines wait for some seconds, so each is long, also where many shards are under way."""


def sample_shards(
    shards: Sequence[Shard],
    folder: Path,
    problems: Sequence[Problem],
    config: SamplingConfig,
    seed: int,
    policies: Mapping[str, ServedPolicy],
    verifier: RemoteVerifier,
    prompts: Mapping[str, Sequence[str]] | None = None,
    origins: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[dict[str, Any]]:
    """Make every shard, by Ray Data; yields what :meth:`ShardMaker.make` says of each when it is written.

    One stream after another, of a few thousand shards each: Ray keeps some kilobytes for every shard of a stream, and
    takes its time to begin a long one.

    Args:
        prompts: policy -> what it is asked in place of each problem's own prompt; None: every problem's own.
        origins: policy -> what its completions are made with, for the manifest.

    Raises:
        RunFailed: a shard could not be made; the finished ones stay.
        UsageError: the verifiers cannot work as they are configured.
    """
    maker = ShardMaker(
        folder, problems, config.params, seed, policies, verifier, prompts or {}, origins or {}, config.max_tries
    )
    in_flight = config.in_flight * sum(policy.replicas for policy in policies.values())
    length = max(_LEAST_IN_A_STREAM, _ROUNDS_IN_A_STREAM * in_flight)
    for start in range(0, len(shards), length):
        yield from _stream(shards[start : start + length], maker, in_flight, folder)


def _stream(shards: Sequence[Shard], maker: ShardMaker, in_flight: int, folder: Path) -> Iterator[dict[str, Any]]:
    import ray.data

    rows = [{"shard": shard.to_json()} for shard in shards]
    # Tasks, not actors: their processes serve the next round, too, and each costs a second of imports.
    stream = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        maker,
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=SAMPLING_CPUS,
        compute=ray.data.TaskPoolStrategy(size=min(len(rows), in_flight)),
    )
    try:
        # Without prefetching, which would hold each shard back until the next is there.
        for batch in stream.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for row in batch.to_pylist():
                if row["refused"]:
                    raise UsageError(row["refused"])
                yield json.loads(row["made"])
    except (ray.exceptions.RayError, OSError) as e:
        raise RunFailed(
            f"sampling stopped: {root_cause(e)}; finished shards are in {folder}: run the same command with --resume"
        ) from e

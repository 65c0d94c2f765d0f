"""One worker's share of an audit's completions: rounds of shards, some shards at a time, in this process."""

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leash_ray.files import atomic_path
from leash_ray.sampling.draw import ShardMaker
from leash_ray.sampling.manifest import read_record, record_path
from leash_ray.sampling.rounds import Rounds
from leash_ray.sampling.shard import Shard


@dataclass(frozen=True, slots=True)
class Drawn:
    """How much was drawn."""

    completions: int = 0
    tokens: int = 0
    dead: int = 0
    """Completions that could not be had."""

    def __add__(self, other: "Drawn") -> "Drawn":
        return Drawn(self.completions + other.completions, self.tokens + other.tokens, self.dead + other.dead)


def draw(rounds: Rounds, maker: ShardMaker, in_flight: int) -> Drawn:
    """Draw all that ``rounds`` wants.

    Args:
        in_flight: shards under way: one in its batch, and one that waits for it or is verified and written.

    Raises:
        RunFailed, UsageError: as of :class:`ShardMaker`. Nothing is under way any more then.
    """

    def make(shards: Sequence[Shard]) -> Iterator[dict[str, Any]]:
        with ThreadPoolExecutor(in_flight) as pool:
            under_way = [pool.submit(maker.make, shard) for shard in shards]
            try:
                for done in as_completed(under_way):
                    yield done.result()
            finally:
                for one in under_way:
                    one.cancel()

    found = Drawn()
    for made in rounds.run(make):
        found += Drawn(made["completions"], made["tokens"])
    return found + Drawn(dead=rounds.n_dead)


def share(shards: Sequence[Path], folder: Path, samples: int) -> int:
    """Copy shards with their records into another completions folder, those within the first ``samples`` of each
    problem; how many were copied. What is there already stays."""
    copied = 0
    for path in shards:
        record, target = read_record(path), folder / path.parent.name / path.name
        if record is None or record.end_sample > samples or target.exists():
            continue
        for source, to in ((record_path(path), record_path(target)), (path, target)):  # the record first, as ever
            with atomic_path(to) as tmp:
                shutil.copyfile(source, tmp)
        copied += 1
    return copied


def clear(folder: Path) -> None:
    """Remove a policy's completions, whatever was under way when they were left."""
    if folder.is_dir():
        old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
        folder.rename(old)  # first: whoever reads the table sees all of them or none
        shutil.rmtree(old, ignore_errors=True)

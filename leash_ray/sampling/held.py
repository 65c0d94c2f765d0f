"""What a run holds: which samples of which problems are in whole shards, and which of them are CORRECT.

Checking reads every file once (its checksum), then its verdicts: about a second a gigabyte. What is not as it should be
is put aside, never deleted, and is drawn again:

- a file whose checksum is not its record's, or that has lost its record and cannot be read, goes to ``_damaged``;
- one that holds samples which another holds too goes to ``_double``: a task whose driver was killed may finish its file
  after the next run began;
- a record without its file is forgotten.

A file of another origin (model, sampling parameters, seed, prompts) is refused: nothing says which one is wanted.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from leash_ray.errors import UsageError
from leash_ray.files import parquet_files
from leash_ray.sampling.budget import Design
from leash_ray.sampling.manifest import MANIFEST, Record, read_record, record_path, recovered
from leash_ray.sampling.origin import origin_differences
from leash_ray.sampling.shard import Gap, Shard
from leash_ray.types import Verdict

Pair = tuple[str, str]
"""(policy, problem id)."""
_MANY = 64
"""CORRECT indices kept of one pair: no design needs more than its ``stop_after_correct``, if that is larger."""


@dataclass
class Held:
    """Samples by (policy, problem id)."""

    ranges: dict[Pair, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """[first, end), sorted, apart from one another."""
    correct: dict[Pair, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Indices of CORRECT samples, ascending: the first of them, as many as a design may ask for."""
    keep_correct: int = _MANY

    def overlaps(self, shard: Shard) -> bool:
        """Whether some sample of the shard is held already."""
        return any(
            first < shard.end_sample and end > shard.first_sample
            for problem in shard.problems
            for first, end in self.ranges.get((shard.policy, problem), ())
        )

    def add(self, shard: Shard, correct: Mapping[str, Iterable[int]]) -> None:
        """Count a whole shard. ``correct``: problem id -> indices of its CORRECT samples."""
        for problem in shard.problems:
            pair = (shard.policy, problem)
            self.ranges[pair] = _joined([*self.ranges[pair], (shard.first_sample, shard.end_sample)])
            if found := correct.get(problem):
                self.correct[pair] = sorted([*self.correct[pair], *found])[: self.keep_correct]

    def n(self, pair: Pair, end: int | None = None) -> int:
        """Samples held of a pair, of those below ``end`` if given."""
        limit = (1 << 62) if end is None else end
        return sum(max(0, min(e, limit) - f) for f, e in self.ranges.get(pair, ()))

    def from_zero(self, pair: Pair) -> int:
        """Samples 0 .. this-1 are all held."""
        ranges = self.ranges.get(pair)
        return ranges[0][1] if ranges and ranges[0][0] == 0 else 0

    def gaps(self, pair: Pair, design: Design) -> list[Gap]:
        """What is to be drawn next of a pair; nothing: it has all its samples.

        Of what lies beyond a gap nothing is known to be wanted, so only up to the end of the current round.
        """
        end = design.next_end(self.from_zero(pair), self.correct.get(pair, ()))
        if end is None:
            return []
        found, at = [], 0
        for first, stop in [*self.ranges.get(pair, ()), (end, end)]:
            if at < min(first, end):
                found.append(Gap(*pair, at, min(first, end)))
            at = max(at, stop)
        return found

    def decided(self, pair: Pair, design: Design) -> bool:
        """Whether a pair has all its samples."""
        return design.next_end(self.from_zero(pair), self.correct.get(pair, ())) is None


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, end in sorted(ranges):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return joined


def correct_of(table: pa.Table) -> dict[str, list[int]]:
    """Problem id -> indices of its CORRECT samples."""
    correct = table.filter(pc.equal(table["verdict"].cast(pa.string()), Verdict.CORRECT.value))
    found: dict[str, list[int]] = defaultdict(list)
    for problem, index in zip(correct["problem_id"].to_pylist(), correct["sample_index"].to_pylist(), strict=True):
        found[problem].append(index)
    return dict(found)


OriginOf = Callable[[str, tuple[str, ...]], Mapping[str, Any] | None]
"""(policy, problem ids) -> the origin that their completions should have; None: they are none of this run's affair."""


def check(folder: Path, origin_of: OriginOf, say: Callable[[str], None], keep_correct: int = _MANY) -> Held:
    """What a completions directory holds, after putting aside what cannot be used; ``say`` is told of that.

    Raises:
        UsageError: a shard is of another origin, or a table without a record is no shard of leash's.
    """
    held = Held(keep_correct=max(_MANY, keep_correct))
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:  # hashing lets other threads run
        checked = list(pool.map(_checked, parquet_files(folder)))
    for path, record in checked:
        if record is None:
            say(f"{put_aside(path, '_damaged')} is damaged: its completions are drawn again")
    whole = [(path, record) for path, record in checked if record is not None]
    _refuse_other_origin(folder, whole, origin_of)
    for path, record in sorted(whole, key=lambda entry: (-entry[1].n_rows, entry[0])):
        if held.overlaps(record.shard):
            say(f"{put_aside(path, '_double')} holds completions that another shard has: it is not counted")
            continue
        table = pq.read_table(path, columns=["problem_id", "sample_index", "verdict"], partitioning=None)
        held.add(record.shard, correct_of(table))
    for path in _records_without_file(folder):
        say(f"{path} is missing: what it held is drawn again where it is wanted")
        record_path(path).unlink()
    return held


def _checked(path: Path) -> tuple[Path, Record | None]:
    """The record of a whole file; None: it is damaged.

    Raises:
        UsageError: a table that does not say what it is.
    """
    record = read_record(path)
    if record is not None:
        return path, record if record.is_whole(path) else None
    try:
        record = recovered(path)
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError):
        return path, None
    if record is None:
        raise UsageError(
            f"{path} does not say what it was made with, so nothing can be drawn beside it: move it out of "
            f"{path.parent} (its completions are then drawn again), or start a new run with another `--run NAME`"
        )
    return path, record


def _refuse_other_origin(folder: Path, shards: Iterable[tuple[Path, Record]], origin_of: OriginOf) -> None:
    for path, record in shards:
        wanted = origin_of(record.policy, record.problems)
        if wanted is None:
            continue
        if differing := origin_differences(record.origin, wanted):
            raise UsageError(
                f"{path} was made with another configuration ({'; '.join(differing)}): put the old values back, move "
                f"that file out of {folder}, or start a new run with another `--run NAME`"
            )


def put_aside(path: Path, name: str) -> Path:
    """Move a shard's file into the folder ``name`` beside it, which is never read, and forget its record."""
    target = path.parent / name / path.name
    target.parent.mkdir(exist_ok=True)
    os.replace(path, target)
    record_path(path).unlink(missing_ok=True)
    return target


def _records_without_file(folder: Path) -> Iterator[Path]:
    for record in sorted(folder.glob(f"*/{MANIFEST}/*.json")):
        shard = record.parent.parent / f"{record.stem}.parquet"
        if not shard.is_file():
            yield shard

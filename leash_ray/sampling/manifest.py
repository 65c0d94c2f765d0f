"""The manifest: beside each shard of a folder, ``_manifest/NAME.json`` with its rows, size, checksum and origin.

One small file a shard, since shards are written by many tasks on many nodes, and appending to one file is not atomic on
the storage that nodes share. The record is written before the shard's own name: whoever is killed between the two
leaves a record of a file that is missing, which is drawn again. Where a shard is replaced (new verdicts), the record
holds the old checksum beside the new one until the next time, so that either file is whole.

A shard names what it is in its own metadata as well, so that a record that got lost can be written again.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from leash_ray.files import atomic_path, write_text
from leash_ray.sampling.shard import Shard

MANIFEST = "_manifest"
ABOUT = b"leash_shard"
"""Metadata of a shard's file: the shard and its origin, as JSON."""
_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a shard's file."""

    policy: str
    problems: tuple[str, ...]
    first_sample: int
    end_sample: int
    origin: Mapping[str, Any]
    """:func:`~leash_ray.sampling.origin.origin_of`, with ``prompts``."""
    size_bytes: int
    blake2b: str
    before: tuple[int, str] | None = None
    """Size and checksum of the file that this one replaces, which may still be there."""

    @property
    def shard(self) -> Shard:
        return Shard(self.policy, self.problems, self.first_sample, self.end_sample)

    @property
    def n_rows(self) -> int:
        return self.shard.n_rows

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "n_rows": self.n_rows}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Record":
        """What :meth:`to_json` gave.

        Raises:
            ValueError, TypeError, KeyError: it is no such value.
        """
        fields = {name: value[name] for name in Record.__slots__}
        fields["problems"] = tuple(fields["problems"])
        fields["before"] = tuple(fields["before"]) if fields["before"] else None
        record = Record(**fields)
        if value["n_rows"] != record.n_rows:
            raise ValueError("the number of rows is not that of the shard")
        return record

    def is_whole(self, path: Path) -> bool:
        """Whether the file is the one that was written, by its size and then its checksum."""
        size = path.stat().st_size
        wanted = [(self.size_bytes, self.blake2b), *([self.before] if self.before else [])]
        return any(size == of for of, _ in wanted) and (size, checksum(path)) in wanted


def record_path(shard: Path) -> Path:
    """Where a shard's record is."""
    return shard.parent / MANIFEST / f"{shard.stem}.json"


def checksum(path: Path) -> str:
    """BLAKE2b of the file's bytes."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as f:
        while chunk := f.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def read_record(shard: Path) -> Record | None:
    """A shard's record; None where there is none that can be read."""
    try:
        return Record.from_json(json.loads(record_path(shard).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_new(folder: Path, shard: Shard, table: pa.Table, origin: Mapping[str, Any]) -> None:
    """Write a shard's file and its record.

    Args:
        folder: the completions directory.
        origin: with ``prompts``.

    Raises:
        RunFailed: the disk is full; there is no file then.
    """
    table = table.replace_schema_metadata({ABOUT: json.dumps({**asdict(shard), "origin": dict(origin)})})
    record = Record(shard.policy, shard.problems, shard.first_sample, shard.end_sample, origin, 0, "")
    _write(folder / shard.path, table, record)


def write_again(path: Path, table: pa.Table) -> None:
    """Replace a shard's file; its record, if it has one, comes to hold for the new file.

    Raises:
        RunFailed: the disk is full; the file is what it was.
    """
    record = read_record(path)
    if record is not None and path.is_file():
        record = replace(record, before=(path.stat().st_size, checksum(path)))
    _write(path, table, record)


def _write(path: Path, table: pa.Table, record: Record | None) -> None:
    from leash_ray.reducers.kept import keep_table

    with atomic_path(path) as tmp:
        pq.write_table(table, tmp, compression="zstd")
        digest = checksum(tmp)
        if record is not None:
            _record(path, replace(record, size_bytes=tmp.stat().st_size, blake2b=digest))
    sync_folder(path.parent)
    keep_table(path, table, digest)


def _record(path: Path, record: Record) -> None:
    target = record_path(path)
    write_text(target, json.dumps(record.to_json()) + "\n")
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlast a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def recovered(path: Path) -> Record | None:
    """The record of a shard that has lost it, from the file alone, and written again; None: it does not say what it is.

    Raises:
        pa.ArrowException, OSError, ValueError: the file is damaged.
    """
    size, digest = path.stat().st_size, checksum(path)
    table = pq.read_table(path, partitioning=None)
    about = (table.schema.metadata or {}).get(ABOUT)
    if about is None:
        return None
    said = {**json.loads(about), "size_bytes": size, "blake2b": digest, "before": None, "n_rows": len(table)}
    record = Record.from_json(said)
    shard = record.shard
    keys = list(zip(table["problem_id"].to_pylist(), table["sample_index"].to_pylist(), strict=True))
    wanted = [(p, s) for p in shard.problems for s in range(shard.first_sample, shard.end_sample)]
    if keys != wanted or set(table["policy"].to_pylist()) != {shard.policy}:
        raise ValueError("its rows are not those that it should have")
    _record(path, record)
    return record

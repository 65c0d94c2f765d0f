"""States on disk: beside each shard ``_state/NAME.state``, the state of its rows, so that reducing need not read them.

A state holds for the file that it was made of, known by size and time of change, or else by checksum, and for the
reducers' version. Where it does not hold, or is not there, the rows are read: a state is never the only copy of
anything. ``_state/all.merged`` is the state of many shards of a folder together, with the list of those that it covers;
it holds while all of them do. Both may be deleted at any time.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from leash_ray.files import PARQUET
from leash_ray.reducers.accumulator import Accumulator
from leash_ray.reducers.choose import of_reducers
from leash_ray.reducers.parts import about_of_file, from_bytes, to_bytes
from leash_ray.reducers.registry import ESTIMATED, KEPT, VERSION
from leash_ray.reducers.state import CompletionsState, state_of_block

FOLDER = "_state"
_MERGED = "all.merged"
_FEWEST = 8
"""Shards of a folder, from which on they have a merged state."""
_LARGEST_BYTES = 512 << 20
"""Of a merged state."""
File = Path | str
Stamp = tuple[int, int, str]
"""Size in bytes, time of change in nanoseconds, BLAKE2b."""


def state_path(shard: Path) -> Path:
    """Where a shard's state is."""
    return shard.parent / FOLDER / f"{shard.name}.state"


def keep_table(shard: Path, table: pa.Table, blake2b: str) -> None:
    """Keep the state of a shard that has just been written.

    Args:
        blake2b: checksum of the file.
    """
    keep(shard, state_of_block(table, reducers=KEPT), blake2b)


def keep(shard: Path, state: CompletionsState, blake2b: str) -> None:
    """Keep a shard's state, of ``KEPT`` reducers. A state that cannot be written is made again when it is needed."""
    with contextlib.suppress(OSError):
        stat = shard.stat()
        _write(state_path(shard), state, {"of": [stat.st_size, stat.st_mtime_ns, blake2b]})


def _write(path: Path, state: CompletionsState, about: Mapping[str, object]) -> None:
    """Whole or not at all; not synced, since it can be made again."""
    path.parent.mkdir(exist_ok=True)
    tmp = path.with_name(f".{path.name}.tmp")
    # What is read often is quick to read, and what there is much of is small.
    compression = "lz4" if path.name == _MERGED else "zstd"
    tmp.write_bytes(to_bytes(state, {"version": VERSION, **about}, compression))
    tmp.replace(path)


def kept(files: Sequence[File]) -> tuple[list[Path], list[File]]:
    """The states that hold of some files, and the files that have none."""
    found: list[Path] = []
    missing: list[File] = []
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        if isinstance(file, Path) and file.name.endswith(PARQUET) and (file.parent / FOLDER).is_dir():
            by_folder[file.parent].append(file)
        else:
            missing.append(file)
    for folder, shards in by_folder.items():
        covered = _covered(folder, {shard.name: shard for shard in shards})
        if covered:
            found.append(folder / FOLDER / _MERGED)
        for shard in shards:
            if shard.name not in covered:
                if _has_state(shard):
                    found.append(state_path(shard))
                else:
                    missing.append(shard)
    return found, missing


def load(path: Path, reducers: Sequence[str] = ESTIMATED) -> CompletionsState:
    """A state that :func:`kept` has found, of some reducers."""
    with pa.memory_map(str(path)) as file:
        return of_reducers(from_bytes(file.read_buffer()), reducers)


def _has_state(shard: Path) -> bool:
    try:
        about = about_of_file(state_path(shard))
        return about["version"] == VERSION and _holds(shard, tuple(about["of"]))  # type: ignore[arg-type]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _holds(shard: Path, stamp: Stamp) -> bool:
    """Whether a shard is still the file of that stamp. A copy of it has another time: then its bytes decide."""
    size, changed_ns, blake2b = stamp
    stat = shard.stat()
    if stat.st_size != size:
        return False
    return stat.st_mtime_ns == changed_ns or checksum_of(shard) == blake2b


def checksum_of(path: Path) -> str:
    """BLAKE2b of the file's bytes, as the manifest has it."""
    from leash_ray.sampling.manifest import checksum

    return checksum(path)


def recorded_checksum(path: Path) -> str:
    """The same, from the manifest where it has the file."""
    from leash_ray.sampling.manifest import read_record

    record = read_record(path)
    if record is not None and record.size_bytes == path.stat().st_size:
        return record.blake2b
    return checksum_of(path)


def _covered(folder: Path, shards: Mapping[str, Path]) -> set[str]:
    """The shards that a folder's merged state covers, if it holds; nothing: it does not."""
    try:
        about = about_of_file(folder / FOLDER / _MERGED)
        covers: dict[str, list[object]] = about["covers"]  # type: ignore[assignment]
        is_current = about["version"] == VERSION and covers.keys() <= shards.keys()
        if is_current and all(_holds(shards[name], tuple(of)) for name, of in covers.items()):  # type: ignore[arg-type]
            return set(covers)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return set()


def merge_folders(files: Iterable[File]) -> None:
    """Write the merged state of every folder whose shards all have a state, where it does not cover them yet."""
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        if isinstance(file, Path):
            by_folder[file.parent].append(file)
    for folder, shards in by_folder.items():
        if len(shards) >= _FEWEST and (folder / FOLDER).is_dir():
            _merge_folder(folder, shards)


def _merge_folder(folder: Path, shards: Sequence[Path]) -> None:
    covered = _covered(folder, {shard.name: shard for shard in shards})
    if len(covered) == len(shards):
        return
    covers = {shard.name: _stamp(shard) for shard in shards}
    paths, missing = kept(shards)
    if missing or None in covers.values():
        return
    with Accumulator(2 * _LARGEST_BYTES) as states:
        for path in paths:
            states.add(load(path, KEPT))
            if states.is_cut:  # too large to be of use
                return
        (merged,) = states.parts()
    if merged.nbytes <= _LARGEST_BYTES:
        with contextlib.suppress(OSError):
            _write(folder / FOLDER / _MERGED, merged, {"covers": covers})


def _stamp(shard: Path) -> object:
    """The stamp that a shard's own state has."""
    try:
        return about_of_file(state_path(shard))["of"]
    except (OSError, ValueError, KeyError):
        return None

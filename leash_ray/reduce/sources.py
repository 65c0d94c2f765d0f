"""Which files paths, folders, globs and addresses name, and opening them, wherever they are."""

import contextlib
import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.fs as pafs

from leash_ray.errors import UsageError
from leash_ray.files import PARQUET, is_visible, parquet_files

JSONL = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
CSV = (".csv", ".csv.gz")
KINDS = PARQUET + JSONL + CSV
File = Path | str
"""A local path, or an address such as ``s3://bucket/completions/part-0.parquet``."""


def is_address(path: str | Path) -> bool:
    """Whether it names a file of another file system."""
    return "://" in str(path)


def find_files(paths: Sequence[str | Path]) -> list[File]:
    """The data files that paths, folders, globs and addresses name, each once, sorted.

    Raises:
        UsageError: a path does not exist, has nothing to read, or is no table.
    """
    found: dict[File, File] = {}  # by where links lead, so that a file named twice is read once
    for given in paths:
        files = _remote_files(str(given)) if is_address(given) else _local_files(given)
        for file in files:
            if not str(file).endswith(KINDS):
                raise UsageError(f"cannot read {file}: expected one of {', '.join(KINDS)}")
            found[file.resolve() if isinstance(file, Path) else file] = file
    if not found:
        raise UsageError("no paths to reduce: name completions tables, or the folder that holds them")
    return sorted(found.values(), key=lambda file: (isinstance(file, str), file))


def _local_files(given: str | Path) -> list[File]:
    path = Path(given).expanduser()
    matches = [path]
    if not path.exists():
        globbed = map(Path, glob.glob(str(path), recursive=True))
        # A wildcard finds no hidden or temporary names; a pattern that spells one out does.
        matches = [m for m in globbed if all(is_visible(part) or part in path.parts for part in m.parts)]
        if not matches:
            raise UsageError(f"no such file or folder: {given}")
    files: list[File] = [file for m in matches for file in (parquet_files(m) if m.is_dir() else [m])]
    if not files:
        raise UsageError(f"no Parquet files in {given} (JSONL files are read when named: {given}/*.jsonl)")
    return files


def file_system(address: str) -> tuple[pafs.FileSystem, str]:
    """The file system of an address, by pyarrow or else by fsspec, and the path in it.

    Raises:
        UsageError: neither knows it.
    """
    try:
        return pafs.FileSystem.from_uri(address)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
        pass
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(address)
    except (ValueError, ImportError) as e:
        raise UsageError(f"cannot open {address}: {e}") from e
    return pafs.PyFileSystem(pafs.FSSpecHandler(system)), path


def _remote_files(given: str) -> list[File]:
    system, path = file_system(given)
    root = given[: len(given) - len(path)] if given.endswith(path) else given.split("://")[0] + "://"
    pattern = path if any(c in path for c in "*?[") else None
    folder = path
    while pattern and any(c in folder for c in "*?["):
        folder = folder.rpartition("/")[0]
    try:
        info = system.get_file_info(folder)
        if info.type == pafs.FileType.File:
            return [given]
        if info.type == pafs.FileType.NotFound:
            raise UsageError(f"no such file or folder: {given}")
        inside = system.get_file_info(pafs.FileSelector(folder, recursive=True))
    except OSError as e:
        raise UsageError(f"cannot read {given} ({str(e).splitlines()[0]})") from e
    files = [f.path for f in inside if f.is_file and all(map(is_visible, f.path[len(folder) :].split("/")))]
    files = [f for f in files if (fnmatch(f, pattern) if pattern else f.endswith(PARQUET))]
    if not files:
        raise UsageError(f"no Parquet files in {given}" if not pattern else f"no such file or folder: {given}")
    return [root + f for f in files]


def size_bytes(file: File) -> int:
    """Its size."""
    if isinstance(file, Path):
        return file.stat().st_size
    system, path = file_system(file)
    return int(system.get_file_info(path).size)


@contextmanager
def opened(file: File) -> Iterator[Any]:
    """A local path, or an open file of another file system: what Arrow's and Polars' readers take."""
    if isinstance(file, Path):
        yield file
        return
    system, path = file_system(file)
    with system.open_input_file(path) as stream:
        yield stream


@contextmanager
def stream_of(file: File) -> Iterator[IO[bytes]]:
    """Its bytes, decompressed."""
    import gzip
    import io

    with contextlib.ExitStack() as stack:
        raw: Any
        if isinstance(file, Path):
            raw = stack.enter_context(open(file, "rb"))
        else:
            system, path = file_system(file)
            raw = io.BufferedReader(stack.enter_context(system.open_input_stream(path, compression=None)))
        if str(file).endswith(".gz"):
            raw = gzip.GzipFile(fileobj=raw)
        yield raw


def absolute(file: File) -> File:
    """As workers with other working directories find it."""
    return Path(os.path.abspath(file)) if isinstance(file, Path) else file

"""Whole files or none: every file of a run is written under a temporary name, then renamed; temporary and hidden names
are never read."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leash_ray.errors import RunFailed

PARQUET = (".parquet", ".pq")
"""How the names of Parquet files end."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; on a clean exit sync it and rename it to ``path``.

    Raises:
        RunFailed: the disk is full; what was complete before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield tmp
        with open(tmp, "rb") as f:
            os.fsync(f.fileno())
        os.replace(tmp, path)
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunFailed(
                f"no space left while writing {path}: free some space first; files that are finished are kept"
            ) from e
        raise
    finally:
        tmp.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as a whole or not at all."""
    with atomic_path(path) as tmp:
        tmp.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON (undefined numbers must already be None)."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files below ``folder``, sorted, without those that are hidden or temporary or in such a folder."""
    files = (f for suffix in PARQUET for f in folder.rglob(f"*{suffix}"))
    return sorted(f for f in files if f.is_file() and all(map(is_visible, f.relative_to(folder).parts)))


def is_visible(name: str) -> bool:
    """Whether a name is neither hidden nor temporary."""
    return not name.startswith((".", "_"))

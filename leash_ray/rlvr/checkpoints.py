"""Checkpoints on disk: whole or not there, and no more than the newest few.

One is written under a hidden name, synced, and renamed: whatever is killed, and whenever, a folder with a checkpoint's
name is a whole checkpoint. Ray Train's own way copies into the final folder, and keeps the list of what is whole in a
file that it overwrites in place, which a full disk leaves empty; so its snapshot is not used.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leash_ray.errors import RunFailed

MODEL_FOLDER = "model"
_PREFIX = "step-"
_HALF = ".half-"
_FULL_DISK = ("No space left", "Disk quota exceeded")
"""What libraries pass on in errors of their own (safetensors does; torch speaks of an iostream, or of positions)."""
_FULL_BYTES = 1 << 16
"""What is left of a full disk: less than any file that failed."""


def checkpoint_name(step: int) -> str:
    return f"{_PREFIX}{step:06d}"


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: on storage that every worker sees.
        keep: how many of the newest are kept.
    """

    def __init__(self, folder: Path, keep: int = 1) -> None:
        self.folder, self._keep = folder, keep

    def steps(self) -> list[int]:
        """After how many steps those that are there were written, in order."""
        found = [path.name.removeprefix(_PREFIX) for path in self.folder.glob(f"{_PREFIX}*") if path.is_dir()]
        return sorted(int(name) for name in found if name.isdecimal())

    def newest(self) -> Path | None:
        steps = self.steps()
        return self.folder / checkpoint_name(steps[-1]) if steps else None

    def clean(self) -> None:
        """Remove what was half written or half removed, and more than is kept. Only one process may call this, while
        none writes."""
        for path in self.folder.glob(f"{_HALF}*"):
            shutil.rmtree(path, ignore_errors=True)
        for step in self.steps()[: -self._keep]:
            gone = self.folder / f"{_HALF}{checkpoint_name(step)}"
            (self.folder / checkpoint_name(step)).rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def half(self, step: int) -> Path:
        """Where the checkpoint of ``step`` is written until :meth:`commit`."""
        return self.folder / f"{_HALF}{checkpoint_name(step)}"

    def commit(self, step: int) -> None:
        """Make a whole checkpoint of what is in :meth:`half`, then remove what is older than the newest ``keep``."""
        half, whole = self.half(step), self.folder / checkpoint_name(step)
        for path in [*half.rglob("*"), half]:
            _sync(path)
        if whole.exists():  # of a step that is done again
            shutil.rmtree(whole)
        half.rename(whole)
        _sync(self.folder)
        self.clean()

    @contextmanager
    def a_full_disk_said(self) -> Iterator[None]:
        """Around training: errors of a full disk become one that says how to go on.

        Raises:
            RunFailed: the disk is full; whole checkpoints are kept, a half one is removed.
        """
        try:
            yield
        except Exception as e:  # torch and safetensors have their own classes for what the system says
            if not _is_full_disk(e, self.folder):
                raise
            for half in self.folder.glob(f"{_HALF}*"):
                shutil.rmtree(half, ignore_errors=True)
            kept = ", ".join(checkpoint_name(s) for s in self.steps()) or "none yet"
            raise RunFailed(
                f"no space left for checkpoints and weights in {self.folder.parent} (checkpoints that are kept: "
                f"{kept}): free some space, or set a lower train.keep_checkpoints"
            ) from e


def _is_full_disk(e: BaseException, place: Path) -> bool:
    """Whether ``e`` comes of it: the system says so, or a library says something else while there is no space."""
    if isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(text in str(e) for text in _FULL_DISK) or shutil.disk_usage(place).free < _FULL_BYTES


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

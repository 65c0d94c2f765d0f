"""Room on the disk for what a command is about to write."""

import shutil
from pathlib import Path

from leash_ray.errors import RunFailed


def require_free_space(path: Path | str, n_bytes: float, what: str = "this") -> None:
    """Refuse to start what cannot be finished.

    Raises:
        RunFailed: fewer than ``n_bytes`` are free where ``path`` is or will be.
    """
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < n_bytes:
        raise RunFailed(
            f"{what} needs about {_human(n_bytes)} and {place} has {_human(free)} free: free some space, or put the "
            "run on another disk with `--run`, then run the same command again"
        )


def _human(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"

"""Which runs may have been meant by a path that is none."""

import difflib
from pathlib import Path


def runs_near(path: Path) -> list[str]:
    """Runs that may have been meant: those inside ``path``, else siblings of like name, else the latest siblings."""
    inside = _runs_in(path)
    if inside:
        return [str(p) for p in inside[:3]]
    siblings = _runs_in(path.parent) or _runs_in(Path("runs"))
    by_name = {p.name: p for p in siblings}
    close = difflib.get_close_matches(path.name, list(by_name), n=3, cutoff=0.5)
    return [str(by_name[name]) for name in close] or [str(p) for p in siblings[:3]]


def _runs_in(folder: Path) -> list[Path]:
    """Runs directly in ``folder``, latest first."""
    try:
        found = [p.parent for p in folder.glob("*/run.json") if not p.parent.name.startswith(".")]
        return sorted(found, key=lambda p: (p / "run.json").stat().st_mtime, reverse=True)
    except OSError:
        return []

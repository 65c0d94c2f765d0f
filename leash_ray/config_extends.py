"""A YAML config, and what it extends: ``extends: other.yaml`` takes another file's settings, and changes some.

The path is relative to the file that names it. Sections are merged key by key, at every depth; a list or a single value
replaces what was there, and so does a section of another ``kind``, whose settings would mean nothing to it. ``null``
takes a setting back. What is extended may extend another file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from leash_ray.errors import UsageError

EXTENDS = "extends"


def read_extended(path: Path, extending: Sequence[Path] = ()) -> dict[str, Any]:
    """The file's settings on top of those that it extends, without the key ``extends``.

    Args:
        extending: the files that led here.

    Raises:
        UsageError: a file is missing, is no YAML mapping, or extends itself.
    """
    if path.resolve() in [p.resolve() for p in extending]:
        raise UsageError(f"{' extends '.join(map(str, [*extending, path]))}: it can only extend another file")
    raw = _read(path, extending[-1] if extending else None)
    other = raw.pop(EXTENDS, None)
    if other is None:
        return raw
    if not isinstance(other, str):
        raise UsageError(f"{path}: extends must be the path of a YAML file, relative to this one, not {other!r}")
    return on_top(read_extended(path.parent / other, [*extending, path]), raw)


def on_top(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``below`` with the settings of ``above``; neither is changed."""
    found = dict(below)
    for key, value in above.items():
        old = found.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and not _of_another_kind(old, value):
            value = on_top(old, value)
        found[key] = value
    return found


def _of_another_kind(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    return "kind" in below and "kind" in above and below["kind"] != above["kind"]


def _read(path: Path, named_by: Path | None) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        if named_by is not None:
            raise UsageError(f"{named_by} extends {path}, which cannot be read: {e.strerror}") from e
        raise UsageError(f"cannot read the config {path}: {e.strerror}; give the path of a YAML file") from e
    except UnicodeDecodeError as e:
        raise UsageError(f"{path} is not a YAML file: it is not text") from e
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise UsageError(f"{path} is not valid YAML: {' '.join(str(e).split())}") from e
    if not isinstance(raw, dict):
        raise UsageError(f"{path} must be a YAML mapping such as 'name: my-run'")
    return raw

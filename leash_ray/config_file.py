"""A run's configuration as its directory keeps it: plain values, compared key by key."""

import dataclasses
import enum
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from leash_ray.errors import UsageError

_MISSING = "(absent)"


def plain(value: Any) -> Any:
    """``value`` as YAML and JSON hold it, so that what is compared is what was written."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Sequence):
        return [plain(v) for v in value]
    raise TypeError(f"a configuration holds plain values, not {type(value).__name__}")


def _flatten(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, leaf) pairs; an empty mapping is a leaf, and so is a list."""
    if isinstance(value, Mapping) and (value or not key):
        for k, v in value.items():
            yield from _flatten(v, f"{key}.{k}" if key else str(k))
    else:
        yield key, json.dumps(value, sort_keys=True, ensure_ascii=False)


def differences(old: Any, new: Any, may_change: Sequence[str]) -> list[tuple[str, str, str]]:
    """(dotted key, old, new) of every leaf that differs."""
    a, b = dict(_flatten(old)), dict(_flatten(new))
    free = tuple(may_change)
    return [
        (key, a.get(key, _MISSING), b.get(key, _MISSING))
        for key in {**a, **b}
        if a.get(key) != b.get(key) and not any(key == f or key.startswith(f + ".") for f in free)
    ]


def config_hash(config: Mapping[str, Any]) -> str:
    """A short hash of the configuration's content; the order of keys does not matter."""
    return hashlib.blake2b(json.dumps(plain(config), sort_keys=True).encode(), digest_size=8).hexdigest()


def config_text(config: dict[str, Any]) -> str:
    """The configuration as YAML that reads back as it was."""
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    if yaml.safe_load(text) != config:  # some line separators do not survive unescaped
        text = yaml.safe_dump(config, sort_keys=False)
    return text


def read_config(path: Path) -> dict[str, Any]:
    """What :func:`config_text` wrote.

    Raises:
        UsageError: the file is missing or damaged.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as e:
        raise UsageError(f"{path} cannot be read ({e}): restore it, or start a new run") from e
    return value or {}

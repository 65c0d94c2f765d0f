"""A reasoning-gym entry as a problem's reference: JSON text that its scorer still understands when read back.

JSON has neither tuples, sets nor keys that are not strings, and some scorers compare with those (arc_agi compares
its grid with a tuple of tuples). Such values are written as an object with one marked key, and restored on reading.
"""

import json
from typing import Any

_TUPLE, _SET, _PAIRS = "__tuple__", "__set__", "__pairs__"
_UNSCORED = ("source_index", "difficulty")
"""Metadata that says where an entry came from, not what is right; left out so that equal entries read equal."""


def dump_entry(entry: dict[str, Any], config: dict[str, Any] | None = None) -> str:
    """JSON of what the scorer needs: question, answer, metadata, and the data set's ``config`` when there is one."""
    metadata = {k: v for k, v in entry["metadata"].items() if k not in _UNSCORED}
    minimal: dict[str, Any] = {"question": entry["question"], "answer": entry["answer"], "metadata": metadata}
    if config:
        minimal["config"] = config  # some scorers read their tolerance from it
    return json.dumps(_plain(minimal), ensure_ascii=False, sort_keys=True)


def load_entry(reference: str) -> dict[str, Any]:
    """The entry that :func:`dump_entry` wrote.

    Raises:
        ValueError: not JSON, or not an object.
    """
    entry = _rich(json.loads(reference))
    if not isinstance(entry, dict):
        raise ValueError("a reasoning-gym reference must be a JSON object")
    return entry


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return int(value)  # enums too
    if isinstance(value, float):
        return float(value)
    if isinstance(value, dict):
        if all(isinstance(k, str) for k in value):
            return {k: _plain(v) for k, v in value.items()}
        return {_PAIRS: [[_plain(k), _plain(v)] for k, v in value.items()]}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, tuple):
        return {_TUPLE: [_plain(v) for v in value]}
    if isinstance(value, set | frozenset):
        return {_SET: sorted((_plain(v) for v in value), key=repr)}
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return _plain(value.tolist())
    return str(value)


def _rich(value: Any) -> Any:
    if isinstance(value, list):
        return [_rich(v) for v in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (key, inner), *_ = value.items()
        if key == _TUPLE:
            return tuple(_rich(v) for v in inner)
        if key == _SET:
            return {_rich(v) for v in inner}
        if key == _PAIRS:
            return {_rich(k): _rich(v) for k, v in inner}
    return {k: _rich(v) for k, v in value.items()}

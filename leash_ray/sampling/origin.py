"""What decides completions: two shards with the same origin belong to one table, others do not.

Weights are known by the configuration of their folder and by the size and both ends of each file, since reading a large
model whole would take minutes; a hub name stands for itself.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from leash_ray.config import PolicyConfig
from leash_ray.types import Problem, SamplingParams

_END_BYTES = 1 << 20
_WEIGHTS = (".safetensors", ".bin", ".pt", ".gguf")


def origin_of(
    params: SamplingParams, seed: int, policy: PolicyConfig | None = None, model: str | None = None, version: int = 0
) -> dict[str, Any]:
    """The origin of a policy's completions, without their prompts, as JSON-able values.

    Args:
        policy: the served policy's config; None: unknown.
        model: what was resolved for it: a folder or a hub name.
        version: weight syncs that it has taken.
    """
    found: dict[str, Any] = {"seed": seed, **asdict(params)}
    if policy is not None and model is not None:
        found |= {"model": model_identity(model), "version": version, "dtype": policy.dtype}
        found |= {f"engine.{key}": value for key, value in policy.engine.items()}
    return json.loads(json.dumps(found, default=str))  # as it will be read


def prompts_hash(asked: Iterable[Problem]) -> str:
    """Of the ids and prompts of problems as a policy is asked them, in order."""
    digest = hashlib.blake2b(digest_size=8)
    for problem in asked:
        digest.update(json.dumps([problem.id, problem.prompt]).encode())
    return digest.hexdigest()


def origin_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """``key: old -> new`` of every key that differs."""
    return [
        f"{key}: {json.dumps(old.get(key))} -> {json.dumps(new.get(key))}"
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]


def model_identity(model: str) -> str:
    """A hub name as it is; of a folder, a hash that does not depend on where it lies."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    digest = hashlib.blake2b(digest_size=8)
    config = folder / "config.json"
    if config.is_file():
        digest.update(config.read_bytes())
    for path in _weight_files(folder):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with open(path, "rb") as f:
            digest.update(f.read(_END_BYTES))
            f.seek(max(0, size - _END_BYTES))
            digest.update(f.read(_END_BYTES))
    return f"weights {digest.hexdigest()}"


def _weight_files(folder: Path) -> Sequence[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in _WEIGHTS and path.is_file())

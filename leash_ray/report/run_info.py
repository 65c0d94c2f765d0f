"""What a run says of itself (run.json, config.yaml), brought into the few fields that the page shows.

run.json may hold the fields itself (``sampling``, ``models``, ``config``, ...), as a run that was sampled
elsewhere would; a run made by leash keeps them in its configuration.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leash_ray.report.read import branch

SAMPLING = ("n", "budget", "temperature", "top_p", "top_k", "min_p", "max_tokens")


def run_info(
    info: Mapping[str, Any],
    config: Mapping[str, Any],
    prompts: Mapping[str, Any] | None = None,
    steps: int | None = None,
) -> dict[str, Any]:
    """``info`` (run.json) with what it lacks taken from ``config``; nothing is made up.

    Args:
        prompts: what prompts.json holds; None in a run without it.
        steps: of training that were done; None: as many as the config asks for.
    """
    config = branch(info, "config") or config
    settings = branch(config, "sampling")
    found = {
        "name": config.get("name"),
        "seed": config.get("seed"),
        "config": dict(config),
        "versions": branch(info, "packages"),
        "started": info.get("created"),
        "sampling": {key: settings[key] for key in SAMPLING if settings.get(key) is not None},
        "models": _models(config, steps),
        "task": _task(config.get("task")),
        "prompts": prompts,
    }
    return {**found, **{key: value for key, value in info.items() if value not in (None, "", {}, [])}}


def read_config(path: Path) -> dict[str, Any]:
    """The mapping in config.yaml; empty when there is none, or when it cannot be read: it is only shown."""
    import yaml

    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return value if isinstance(value, dict) else {}


def _models(config: Mapping[str, Any], steps: int | None) -> dict[str, str]:
    models = {}
    steps = steps or branch(config, "train").get("steps")
    for name, policy in branch(config, "policies").items():
        model = branch({"p": policy}, "p").get("model")
        if model is None and steps is not None:
            model = f"{config.get('base', 'base')} after {steps} training steps"
        if model is not None:
            models[str(name)] = str(model)
    return models


def _task(task: Any) -> str | None:
    """A task's name, data set or file; its other settings, if it has any, are in the configuration."""
    if not isinstance(task, Mapping):
        return task
    return next((str(task[key]) for key in ("name", "shape", "dataset", "path", "function") if task.get(key)), None)

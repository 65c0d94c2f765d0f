"""A run's verdicts replaced, and the run reduced again: verified anew, taken back, or overruled by a person's marks."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from leash_ray import cluster, overrule
from leash_ray.changes import Changes
from leash_ray.config import parse_config
from leash_ray.errors import RunFailed, UsageError
from leash_ray.reverify import reverify
from leash_ray.run_dir import RunDir
from leash_ray.session import Say, verify_settings
from leash_ray.stages import reduce_run
from leash_ray.undo import Undone, undo
from leash_ray.verifications import Asked, shards_of


class Replaced(NamedTuple):
    """Verdicts that were replaced, and the estimates before and after; None where there are none."""

    changes: Changes
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def verify_again(run: RunDir, asked: Asked, overrides: Mapping[str, Any], say: Say) -> Replaced:
    """Verify a run's stored completions again and reduce them; the run must be held by the caller.

    Args:
        overrides: keys of the config's ``verify`` section for this time, dotted.

    Raises:
        UsageError, RunFailed: as of :func:`~leash_ray.reverify.reverify`; or the new verdicts cannot be reduced.
    """
    from leash_ray.reduce import worth_ray

    config = parse_config(run.config, str(run.config_yaml), {f"verify.{k}": v for k, v in overrides.items()})
    on_ray = worth_ray(shards_of(run))
    if on_ray:
        cluster.connect(config.ray.address, config.ray.num_cpus)
    back = f"; leash verify {run.path} --undo puts the old ones back"
    return _replace(run, lambda: reverify(run, asked, verify_settings(config, run), say, on_ray), back)


def undo_verification(run: RunDir) -> tuple[Replaced, Undone]:
    """Take a run's last verification back and reduce again; the run must be held by the caller.

    Raises:
        UsageError: there is none; or as of :func:`~leash_ray.undo.undo`.
    """
    undone: list[Undone] = []

    def take_back() -> Changes:
        undone.append(undo(run))
        return undone[0].changes

    return _replace(run, take_back), undone[0]


def put_marks(run: RunDir) -> Replaced:
    """Let a person's marks hold in a run's completions and reduce them; the run must be held by the caller."""
    return _replace(run, lambda: overrule.put_marks(run))


def _replace(run: RunDir, replace: Callable[[], Changes], back: str = "") -> Replaced:
    """Replace verdicts, then reduce if the run has been reduced or has all its completions; ``back`` ends a failure."""
    before = json.loads(run.support_json.read_text(encoding="utf-8")) if run.support_json.is_file() else None
    changes = replace()
    if before is None and not run.stage_done("sample"):
        return Replaced(changes, before, None)
    config = parse_config(run.config, str(run.config_yaml))
    try:
        after = reduce_run(run, config, config.base, config.trained, config.zeta)
    except UsageError as e:
        raise RunFailed(f"{changes.changed} verdicts were replaced, but cannot be reduced: {e}{back}") from e
    return Replaced(changes, before, after)

"""What may grow in a run that is there: a later command in its directory then draws only what is missing.

More samples (``n``, ``budget``), more problems (``size`` or ``limit`` of the task), another policy. Anything else that
decides completions may not change: those that are there would be of another table.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from leash_ray.config_file import config_hash, config_text
from leash_ray.errors import UsageError
from leash_ray.files import write_json, write_text
from leash_ray.problems_file import read_problems, write_problems
from leash_ray.prompting.record import PROMPTS_JSON
from leash_ray.run_dir import RunDir
from leash_ray.sampling.budget import Design, design_of
from leash_ray.sampling.settings import SamplingConfig
from leash_ray.types import Problem
from leash_ray.verifications import last_verification

_HOW_MANY = ("size", "limit")
"""Keys of a task that say how many of its problems there are."""


def grown_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Dotted keys that may differ, since all that ``old`` drew is part of what ``new`` asks for.

    Args:
        old, new: whole configs, as plain values; ``new`` is valid.
    """
    return [*_more_samples(old, new), *_more_problems(old, new), *_other_policies(old, new)]


def _more_samples(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    before, after = ({key: config["sampling"].get(key) for key in ("n", "budget")} for config in (old, new))
    old_design, new_design = (design_of(SamplingConfig.model_validate(asked)) for asked in (before, after))
    return ["sampling.n", "sampling.budget"] if is_part(old_design, new_design) else []


def is_part(old: Design, new: Design) -> bool:
    """Whether every sample that ``old`` draws is one that ``new`` draws, whatever the verdicts.

    ``new`` may stop at an end before ``old.most`` only where ``old`` has stopped by then for sure: at one of its own
    ends, and with no fewer CORRECT samples.
    """
    if new.most < old.most:
        return False
    early = [end for end in new.ends if end < old.most] if new.stop_after_correct is not None else []
    return not early or (
        set(early) <= set(old.ends)
        and old.stop_after_correct is not None
        and (new.stop_after_correct or 0) >= old.stop_after_correct
    )


def _more_problems(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [
        f"task.{key}"
        for key in _HOW_MANY
        if key in old["task"] and key in new["task"] and _is_more(old["task"][key], new["task"][key])
    ]


def _is_more(old: int | None, new: int | None) -> bool:
    return new is None or (old is not None and new > old)  # None: all there are


def _other_policies(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    one_sided = old["policies"].keys() ^ new["policies"].keys()
    return (
        [*("base", "trained"), *(f"policies.{name}" for name in one_sided)] if one_sided or _swapped(old, new) else []
    )


def _swapped(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether other policies of the same ones are compared."""
    return any(old[role] != new[role] for role in ("base", "trained"))


def take_in_problems(run: RunDir, problems: Sequence[Problem]) -> None:
    """Let a run measure ``problems``, which are more than it has.

    Raises:
        UsageError: they do not hold all that it has, or a verification has judged those.
    """
    before = {problem.id: problem for problem in read_problems(run.problems_parquet)}
    lost = before.keys() - {problem.id for problem in problems}
    if lost:
        raise UsageError(
            f"{len(lost)} of the {len(before)} problems of {run.path} are not among the {len(problems)} that the "
            f"config now asks for (such as {min(lost)}), so they cannot be added to: put the old task back, or start a "
            "new run with another `--run NAME`"
        )
    if last_verification(run) is not None:
        raise UsageError(
            f"the completions of {run.path} were verified again, which later problems would have no part in: take that "
            f"back first (leash verify {run.path} --undo), and verify again when the new problems are sampled"
        )
    write_problems(run.problems_parquet, [before.get(problem.id, problem) for problem in problems])


def take_in(run: RunDir, config: Mapping[str, Any], changed: Sequence[tuple[str, str, str]]) -> None:
    """Make the grown ``config`` (plain values) the run's; what it was is kept in ``run.json``.

    What both policies were asked is written anew: each shard remembers its own prompts.
    """
    (run.path / PROMPTS_JSON).unlink(missing_ok=True)
    stages = {name: stage for name, stage in run.stages.items() if name not in ("sample", "reduce")}
    write_json(run.stages_json, stages)
    info = run.info
    info["config_hash"] = config_hash(config)
    info["resumed"][-1]["grown"] = {key: [before, now] for key, before, now in changed}
    write_json(run.run_json, info)
    write_text(run.config_yaml, config_text(dict(config)))  # last: until then the next command does all this again

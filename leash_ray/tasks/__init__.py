"""Where problems come from: ``load_problems(spec)`` gives a task's distinct problems, in a fixed order.

>>> from leash_ray.tasks import ReasoningGymSpec, load_problems
>>> load_problems(ReasoningGymSpec(dataset="countdown", prompt="compact", size=2))     # doctest: +SKIP
"""

from leash_ray.tasks.spec import BUCKETS, JsonlSpec, ReasoningGymSpec, TaskSpec, bucket
from leash_ray.types import Problem

__all__ = ["BUCKETS", "JsonlSpec", "Problem", "ReasoningGymSpec", "TaskSpec", "bucket", "load_problems"]


def load_problems(spec: ReasoningGymSpec | JsonlSpec) -> list[Problem]:
    """The problems of a task: distinct ids, the same list in every process for the same spec.

    Raises:
        UsageError: an unknown data set or setting, too few distinct problems, an unreadable or empty file;
            the message names the fix.
    """
    if isinstance(spec, ReasoningGymSpec):
        from leash_ray.tasks.gym import load_gym  # reasoning-gym takes seconds to import

        return load_gym(spec)
    from leash_ray.tasks.jsonl import load_jsonl

    return load_jsonl(spec)

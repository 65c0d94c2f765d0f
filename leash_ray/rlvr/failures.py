"""Why a group of training workers ended, from what Ray Train tells of it."""

from typing import NamedTuple

_LIMIT = "leash_ray.rlvr.limits.LimitReached: "
_FINAL = (_LIMIT, "leash_ray.errors.RunFailed: ", "leash_ray.errors.UsageError: ")
_DIED = "died unexpectedly"


class Failure(NamedTuple):
    """Of the first worker that says something of its own."""

    message: str
    is_final: bool
    """Whether new workers would only fail again: the message is one that we wrote ourselves, and says what to do."""
    is_limit: bool = False
    """Whether training has stopped itself: the same run would stop at the same place again."""


def failure_of(text: str) -> Failure:
    """Read the text of Ray Train's error: workers' stack traces, one after another.

    When one worker fails its peers fail of it, with connections that were closed: a message of our own counts first.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    for line in lines:
        for start in _FINAL:
            if line.startswith(start):
                return Failure(line.removeprefix(start), True, start == _LIMIT)
    if _DIED in text:
        return Failure("a training worker died", False)
    return Failure(next((line for line in reversed(lines) if line), "for no reason that was told"), False)

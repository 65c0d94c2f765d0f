"""Why something failed, in one line."""

import re

_RETRY_ADVICE = re.compile(r"\n?Failed to [^\n]* after \d+/\d+ attempts \(total backoff.*", re.DOTALL)
"""What Ray Data adds to the message of every error in a task."""


def innermost(error: BaseException) -> BaseException:
    """What was raised first. Ray hands it over within an error of its own whose text is a remote stack trace."""
    while isinstance(inner := getattr(error, "cause", None) or error.__cause__, BaseException):
        error = inner
    return error


def root_cause(error: BaseException) -> str:
    """The innermost error's own line."""
    error = innermost(error)
    lines = [line.strip() for line in _RETRY_ADVICE.sub("", str(error)).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__

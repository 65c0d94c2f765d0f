"""Why something failed, in one line."""

import re

from leash_ray.errors import RunFailed, UsageError

_OF_A_TASK = "UDF failed to process a data block"
"""All that Ray Data's own error says of what a task raised, but for its text, which is a chain of remote traces."""
_NEXT_OF_CHAIN = "The above exception was the direct cause of the following exception:"
_OUR_CLASS = re.compile(r"^leash_ray\.errors\.\w+: ")


def innermost(error: BaseException) -> BaseException:
    """What was raised first, or the first that says more: one of ours. Ray hands errors over within one of its own
    whose text is a remote stack trace."""
    while True:
        inner = getattr(error, "cause", None)
        if not isinstance(inner, BaseException):
            inner = None if isinstance(error, UsageError | RunFailed) else error.__cause__
        if inner is None:
            return error
        error = inner


def root_cause(error: BaseException) -> str:
    """The innermost error's own line."""
    first = innermost(error)
    text = str(first)
    if text.startswith(_OF_A_TASK):
        *chain, _ = str(error).split(_NEXT_OF_CHAIN)
        text = chain[-1] if chain else text
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _OUR_CLASS.sub("", lines[-1]) if lines else type(first).__name__

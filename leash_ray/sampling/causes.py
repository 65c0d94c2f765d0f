"""Why something failed, in one line."""


def root_cause(error: BaseException) -> str:
    """The innermost error's own line."""
    while True:
        inner = getattr(error, "cause", None) or error.__cause__
        if not isinstance(inner, BaseException):
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return lines[-1] if lines else type(error).__name__
        error = inner

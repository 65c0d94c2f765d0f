"""The two ways in which a command ends badly (exit status: see :mod:`leash_ray.cli`)."""


class UsageError(ValueError):
    """Unusable arguments, config or data. The message names the fix. Exit status 2."""


class RunFailed(RuntimeError):
    """The work itself failed. The message says what failed and how to go on. Exit status 1."""

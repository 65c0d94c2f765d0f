"""What runs inside a verifier process: limits first, then chunks of judgements."""

import contextlib
import ctypes
import signal
import sys
import time
from collections.abc import Sequence

from leash_ray.verify.guard import fence
from leash_ray.verify.verifiers import Judgement, judge, warm

Item = tuple[str, str, str]
"""(verifier, reference, canonical answer)."""


def start(verifiers: list[str], memory_bytes: int) -> None:
    """Prepare this process: it dies with its parent, and at once when told to, and cannot take all memory."""
    # The default action ends a process even inside one long C call, where a Python handler would wait.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    warm(verifiers)
    with contextlib.suppress(ImportError, ValueError, OSError):  # not every system has such limits
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    if not any(verifier.startswith("python:") for verifier in verifiers):
        fence()  # a function of the user's own may write files and start processes


def judge_chunk(items: Sequence[Item]) -> tuple[list[Judgement], float]:
    """The judgements of ``items``, in order, and the seconds they took."""
    started = time.perf_counter()
    judgements = [judge(*item) for item in items]
    return judgements, time.perf_counter() - started

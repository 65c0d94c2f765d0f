"""vLLM's engine process as a fork of the replica, which has imported vLLM already. Without CUDA only.

vLLM spawns a fresh interpreter inside a Ray actor, which imports it all again: 10 s of CPU time, and half a gigabyte. A
fork is sound here, since the child starts from scratch all that threads and sockets belong to: it makes its own ZeroMQ
context, never talks to Ray, and leaves by ``os._exit``.
"""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from unittest.mock import patch

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_registered = False


@contextlib.contextmanager
def forked() -> Iterator[None]:
    """Within this, vLLM forks the processes that it starts."""
    global _registered
    if not _registered:
        _registered = True
        os.register_at_fork(after_in_child=_be_an_engine)
    context = multiprocessing.get_context("fork")
    with patch("vllm.v1.engine.utils.get_mp_context", lambda: context):
        yield


def _be_an_engine() -> None:
    from ray._raylet import setproctitle  # type: ignore[attr-defined]  # Ray has named this process: only it can again

    setproctitle("VLLM::EngineCore")
    close_sockets()
    die_with_parent()


def close_sockets() -> None:
    """Close what the parent talks through: Ray takes a replica for alive while its sockets are open anywhere."""
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                os.close(int(fd))


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that forked it dies, however it dies (Linux). Otherwise that is
    the raylet's work, which may be dead itself."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # it was faster
        os._exit(1)

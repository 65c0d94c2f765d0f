"""A clean process that others are forked from. It has loaded what verifiers need, so a new one starts in milliseconds.

multiprocessing's forkserver would do, but there is only one for all of a program's uses, it cannot load anything after
its start, and each of its processes imports the program's main module again (in a Ray actor: Ray). Nothing of the
owner's threads, locks or open files comes along, and verifier processes die with this one, which dies with its owner.
"""

import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from leash_ray.errors import RunFailed
from leash_ray.verify.worker import Limits, detach, load, work

_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[2]); from leash_ray.verify.zygote import main; main()"
# sympy imports matplotlib, which makes a folder for itself if it has none, and behind the fence it cannot.
_MATPLOTLIB = {"MPLCONFIGDIR": tempfile.gettempdir()}
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class ZygoteGone(Exception):
    """It died, or does not answer; its processes die with it."""


class Zygote:
    """The owner's side. Calls take milliseconds, or seconds when something has to be loaded first."""

    def __init__(self, start_s: float) -> None:
        """``start_s``: how long it may take to start, or to load what a process needs."""
        self._pipe, theirs = socket.socketpair()
        self._pipe.settimeout(start_s)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, str(theirs.fileno()), json.dumps(sys.path)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**dict.fromkeys(_ONE_THREAD, "1"), **_MATPLOTLIB, **os.environ},
            )

    def fork(self, pipe: socket.socket, verifiers: Sequence[str], limits: Limits, fenced: bool) -> int:
        """The id of a new process that works for ``pipe``'s other end.

        Raises:
            ZygoteGone: it died, or took longer than its limit.
            OSError: no process can be had now.
        """
        said = self._ask({"fork": verifiers, "limits": limits, "fenced": fenced, "path": sys.path}, pipe)
        if "error" in said:
            raise OSError(said["error"])
        return int(said["pid"])

    def end(self, pid: int) -> int:
        """Kill a process, if it lives; how it ended: its exit status, or minus the signal.

        Raises:
            ZygoteGone: it died.
        """
        return int(self._ask({"end": pid})["status"])

    def _ask(self, question: dict[str, Any], pipe: socket.socket | None = None) -> dict[str, Any]:
        data = json.dumps(question).encode() + b"\n"
        try:
            sent = socket.send_fds(self._pipe, [data], [pipe.fileno()]) if pipe else 0
            self._pipe.sendall(data[sent:])
            reply = b""
            while not reply.endswith(b"\n"):
                part = self._pipe.recv(65536)
                if not part:
                    raise ZygoteGone(f"the process that starts verifiers ended ({self._process.wait()})")
                reply += part
        except TimeoutError as e:
            raise RunFailed(
                f"no verifier process within {self._pipe.gettimeout():g} s: is the machine too busy?"
            ) from e
        except OSError as e:
            raise ZygoteGone(f"the process that starts verifiers ended ({e})") from e
        return json.loads(reply)  # type: ignore[no-any-return]

    def close(self) -> None:
        """End it, and all processes that came from it."""
        self._pipe.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:  # in the middle of loading something
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Inside: serve one owner until it goes."""
    os.dup2(2, 1)  # a library that prints when imported must not print into the owner's output
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    owner = socket.socket(fileno=int(sys.argv[1]))
    owner.set_inheritable(False)
    processes: set[int] = set()
    try:
        for question, pipe in _questions(owner):
            reply = _end(question["end"], processes) if "end" in question else _fork(question, pipe, owner, processes)
            owner.sendall(json.dumps(reply).encode() + b"\n")
    except OSError:  # the owner went before it heard the answer
        pass
    finally:
        for pid in processes:
            _kill(pid)
    os._exit(0)  # nothing to tidy up that would be worth the time


def _questions(owner: socket.socket) -> Iterator[tuple[dict[str, Any], socket.socket | None]]:
    data, pipe = b"", None
    while True:
        part, fds, _, _ = socket.recv_fds(owner, 65536, 1)
        if not part:
            return
        data += part
        for fd in fds:
            pipe = socket.socket(fileno=fd)
            pipe.set_inheritable(False)
        if data.endswith(b"\n"):
            yield json.loads(data), pipe
            data, pipe = b"", None


def _fork(
    question: dict[str, Any], pipe: socket.socket | None, owner: socket.socket, processes: set[int]
) -> dict[str, Any]:
    assert pipe is not None
    sys.path[:] = question["path"]
    # A function of the user's own is imported where it can do less harm.
    if question["fenced"] and load(question["fork"]):
        gc.collect()
        gc.freeze()  # a process that collects garbage would copy all that was loaded
    with pipe:
        try:
            pid = os.fork()
        except OSError as e:
            return {"error": str(e)}
        if pid == 0:
            try:
                detach()
                owner.close()
                work(pipe, question["fork"], Limits(*question["limits"]), question["fenced"])
            finally:
                os._exit(1)
    processes.add(pid)
    return {"pid": pid}


def _end(pid: int, processes: set[int]) -> dict[str, Any]:
    _kill(pid)
    _, status = os.waitpid(pid, 0)
    processes.discard(pid)
    return {"status": os.waitstatus_to_exitcode(status)}


def _kill(pid: int) -> None:
    """Kill a process not yet waited for, so that the number is still its own, and its group: what it has started."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)

"""The real command in a process of its own, the processes below it, and places to run it: for benchmarks/faults.py."""

import contextlib
import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import pyarrow.parquet as pq
from _countdown import CONFIG

from leash_ray.files import parquet_files

POLICIES = ("base", "trained")
TITLES = {"replica": "ServeReplica", "worker": "MapBatches", "verifier": "VerifierActor"}
"""What the command line of each kind of process has in it."""
LIMIT_S = 400.0
"""Of one run of the command, start included."""


def wait_for(holds: Callable[[], bool], limit_s: float, what: str) -> float:
    """Wait until ``holds``; returns how long that took, in seconds."""
    started_s = time.monotonic()
    while not holds():
        if time.monotonic() - started_s > limit_s:
            raise TimeoutError(f"waited {limit_s:.0f} s for {what}")
        time.sleep(0.05)
    return time.monotonic() - started_s


def descendants(of: psutil.Process, title: str = "") -> list[psutil.Process]:
    """Processes below ``of`` that have ``title`` in their command line."""
    found = []
    for process in of.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if title in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def workers_below(of: psutil.Process) -> list[psutil.Process]:
    """Processes below ``of`` but for Ray's own agents, which do nothing, and wait for a minute whether Ray's head comes
    back."""
    agents = {process.pid for process in descendants(of, "Agent")}
    return [process for process in of.children(recursive=True) if process.pid not in agents]


def gone_s(processes: list[psutil.Process]) -> float:
    """Wait until all have ended; returns how long that took, in seconds."""
    return round(wait_for(lambda: not any(map(_runs, processes)), 90, f"{processes} to end"), 1)


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def victims(kind: str) -> list[psutil.Process]:
    """Processes below this one: ``engine``, or a kind in ``TITLES``."""
    if kind == "engine":  # vLLM's own process, whether it is spawned or forked from its replica
        return [*descendants(psutil.Process(), "EngineCore"), *(p for p in _replicas() if _is_replica(p.parent()))]
    return [p for p in descendants(psutil.Process(), TITLES[kind]) if kind != "replica" or not _is_replica(p.parent())]


def _replicas() -> list[psutil.Process]:
    return descendants(psutil.Process(), TITLES["replica"])


def _is_replica(process: psutil.Process | None) -> bool:
    return process is not None and TITLES["replica"] in " ".join(process.cmdline())


class SampleRun:
    """``leash sample`` in a process of its own, started at once; it notes when each shard is written."""

    def __init__(self, path: Path, settings: Mapping[str, Any]):
        self.path = path
        self._config = path.parent / "faults.yaml"
        self._config.write_text(CONFIG)
        self._settings = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        self._said = path.parent / f"{path.name}.log"
        self.written_s: list[float] = []
        """When (monotonic clock) each shard was there."""
        self.started_s = time.monotonic()
        self.ended_s = self.started_s
        self._start()
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _start(self, *more: str) -> None:
        leash = [sys.executable, "-c", "from leash_ray.cli import main; main()"]
        command = [*leash, "sample", str(self._config), "--run", str(self.path), *self._settings, *more]
        with open(self._said, "ab") as log:
            # A session of its own, as a terminal would give it.
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def _watch(self) -> None:
        while not self._over.is_set():
            n = len(list(self.path.glob("completions/*/p*.parquet")))
            self.written_s += [time.monotonic()] * (n - len(self.written_s))
            self._over.wait(0.05)

    @property
    def n_written(self) -> int:
        return len(self.written_s)

    def wait_until_written(self, n: int) -> None:
        """Wait for ``n`` shards."""

        def there() -> bool:
            if self._process.poll() is not None:
                raise RuntimeError(f"the run ended early:\n{self._tail()}")
            return self.n_written >= n

        try:
            wait_for(there, LIMIT_S, f"{n} shards")
        except TimeoutError as e:
            raise TimeoutError(f"{e}:\n{self._tail()}") from None

    def processes(self) -> list[psutil.Process]:
        """Of the command, with all that it started."""
        own = psutil.Process(self._process.pid)
        return [own, *workers_below(own)]

    def kill(self) -> None:
        """SIGKILL of the command itself."""
        self._process.kill()
        self._process.wait()

    def resume(self) -> None:
        """The same again, with ``--resume``."""
        self._start("--resume")

    def wait(self) -> tuple[int, str]:
        """Exit status, and the last line that it printed."""
        status = self._process.wait(LIMIT_S)
        self.ended_s = time.monotonic()
        return status, self._tail().splitlines()[-1]

    def stop(self) -> None:
        """End it, if it still runs."""
        self._over.set()
        if self._process.poll() is None:
            self.kill()

    def finish(self) -> None:
        """Wait for its end, which has to be a good one."""
        status, _ = self.wait()
        time.sleep(0.2)  # the last look at what is written
        self._over.set()
        if status:
            raise RuntimeError(f"the run ended with {status}:\n{self._tail()}")

    def _tail(self) -> str:
        return self._said.read_text(errors="replace")[-3000:]


def table_of(run: Path) -> dict[tuple[str, str, int], tuple[str, str, str]]:
    """(policy, problem, sample) -> (text, verdict, answer) of every row of a run's table; each key once."""
    columns = ("policy", "problem_id", "sample_index", "text", "verdict", "answer")
    found: dict[Any, Any] = {}
    for path in parquet_files(run / "completions"):
        table = pq.read_table(path, columns=list(columns), partitioning=None)
        rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
        for policy, problem, sample, *rest in rows:
            assert (policy, problem, sample) not in found, f"{(policy, problem, sample)} is there twice"
            found[policy, problem, sample] = tuple(rest)
    return found


class TwoNodes:
    """A Ray cluster of two nodes on this machine, of two logical CPUs each."""

    def __enter__(self) -> "TwoNodes":
        from ray.cluster_utils import Cluster

        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        head = {"num_cpus": 2, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._second = self._cluster.add_node(num_cpus=2)
        return self

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    @property
    def _raylet(self) -> "subprocess.Popen[bytes]":
        return self._second.all_processes["raylet"][0].process  # type: ignore[no-any-return]

    def on_second(self, title: str) -> list[psutil.Process]:
        """Processes of the second node that have ``title`` in their command line."""
        return descendants(psutil.Process(self._raylet.pid), title)

    def kill_second(self) -> list[psutil.Process]:
        """SIGKILL of the second node's raylet; returns the processes that it had below it."""
        below = workers_below(psutil.Process(self._raylet.pid))
        self._raylet.kill()
        self._raylet.wait()  # a zombie would be alive to Ray's workers
        return below

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._cluster.shutdown()


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Path]:
    """A file system of that size.

    Raises:
        RuntimeError: this process may not mount one.
    """
    path.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)], capture_output=True, text=True
    )
    if mounted.returncode:
        raise RuntimeError(f"no file system could be mounted ({mounted.stderr.strip()}); as root, it can")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def full(disk: Path) -> Path:
    """Fill a file system to its last byte with one file; returns the file."""
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as f:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while f.write(b"\0" * size):
                    pass
            except OSError as e:
                if e.errno != errno.ENOSPC:
                    raise
    return ballast

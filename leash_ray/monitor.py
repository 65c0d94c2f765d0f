"""What a run tells while it runs: one JSON line a row in ``metrics.jsonl``, always, and W&B beside it when asked.

This is the only file that imports wandb, and it does so only when W&B is asked for. Starting may fail a run, since a
run that was to be watched and is not is a surprise; logging never does, since a lost row costs less than a lost run.

A run has several stages (train, sample, estimates), often in several processes. They share one W&B run: its id is kept
in ``RUN/wandb/run_id``. Each stage has its own step axis, ``STAGE/step``, so that no stage must continue another's
count. Offline, every process leaves one ``offline-run-*`` folder with that same id, and ``wandb sync`` joins them.

What W&B has been given cannot be taken back or overwritten (its rewind is a private preview, needs a server, and none
of the stages' own step axes: https://docs.wandb.ai/models/runs/rewind), and what a process that is killed has logged
last may never get there. So W&B is a copy of ``metrics.jsonl``: where the two may differ, since rows were dropped or
the last process did not end well, a new W&B run is begun in the same group, and given every row of the file first.
"""

import json
import math
import netrc
import os
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from leash_ray.errors import RunFailed, UsageError
from leash_ray.files import atomic_path

METRICS_FILE = "metrics.jsonl"
WANDB_MODES = ("auto", "online", "offline", "off")
_RESERVED = ("time", "stage", "step")


@dataclass(frozen=True, slots=True)
class Table:
    """A value that is a table: a list of objects in ``metrics.jsonl``, a table in W&B."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Monitor:
    """Where every number of a run goes.

    Use as a context manager; leaving it on an exception marks the W&B run as failed::

        with Monitor(run.path, wandb_mode="auto", config=config) as monitor:
            monitor.log("train", {"reward": 0.4}, step=1)
            monitor.summary({"pass@1": 0.17})

    Args:
        run_dir: the run's directory; ``metrics.jsonl`` and ``wandb/`` are made in it.
        wandb_mode: ``off``; ``offline`` (files only, ``wandb sync`` uploads them); ``online``; or ``auto``: what the
            environment variable WANDB_MODE says, else online where a W&B login is found, else offline.
        project, name, config: as in ``wandb.init``; the name is the run directory's by default.
        run_id: the W&B run to log to; by default the one that earlier stages of this run used.

    Raises:
        UsageError: ``wandb_mode`` is none of WANDB_MODES.
        RunFailed: W&B was asked for and did not start.
    """

    def __init__(
        self,
        run_dir: Path,
        wandb_mode: str = "auto",
        project: str = "leash-ray",
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        run_id: str | None = None,
    ) -> None:
        self.run_dir = Path(run_dir)
        self.path = self.run_dir / METRICS_FILE
        self.mode = resolve_mode(wandb_mode)
        self.n_failures = 0
        self.run_dir.mkdir(parents=True, exist_ok=True)
        _repair(self.path)
        self._fd: int | None = _open_append(self.path)
        self._stages: set[str] = set()
        self._wandb: Any = None
        self._is_behind = False
        """Whether W&B has yet to be given the rows that are in the file."""
        self._start = partial(_start_wandb, self.run_dir, self.mode, project, name, config)
        if self.mode != "off":
            self._is_behind = _is_open(self.run_dir)
            try:
                self._wandb = self._start(secrets.token_hex(4) if self._is_behind else run_id)
            except BaseException:
                self.finish()
                raise

    @property
    def url(self) -> str | None:
        """Where to watch the run, when it is online."""
        return self._wandb.url if self._wandb is not None and self.mode == "online" else None

    def log(self, stage: str, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Append one row for ``stage``, at ``step`` of that stage. Never raises.

        NaN and infinities become null: JSON has none, and a plot of them is no plot.
        """
        self._catch_up()
        try:
            row: dict[str, Any] = {"time": round(time.time(), 3), "stage": stage, "step": _plain(step)}
            row |= {f"{k}_" if k in _RESERVED else str(k): _plain(v) for k, v in metrics.items()}
            line = json.dumps(row, allow_nan=False) + "\n"
            assert self._fd is not None, "log after finish"
            # One write a line on an appending descriptor: rows of other processes fall between rows, not into them.
            _write_all(self._fd, line.encode())
        except Exception as e:  # a full disk or an odd value must not end a run
            self._failed(f"writing {self.path}", e)
        if self._wandb is not None:
            try:
                self._log_to_wandb(stage, metrics, step)
            except Exception as e:  # whatever W&B raises, the run goes on
                self._failed("logging to W&B", e)

    def summary(self, values: Mapping[str, Any]) -> None:
        """The run's final numbers: a row of stage ``summary``, and W&B's summary. Never raises."""
        self.log("summary", values)

    def rewind(self, stage: str, step: int) -> int:
        """Drop the rows of ``stage`` after ``step``, before that stage resumes from there; how many were dropped.

        The rows between the last checkpoint and a crash would otherwise be in the file twice. W&B keeps its copy of
        them in the run that it has, and goes on in a new one of the same group, which has what is left in the file.
        Call it before other processes of the run log: what they write while the file is replaced is lost.

        Raises:
            RunFailed: W&B was asked for and did not start again.
        """
        dropped = 0
        kept: list[str] = []
        for line in _lines(self.path):
            row = _parse(line)
            if row is None:
                continue
            if row.get("stage") == stage and isinstance(row.get("step"), int) and row["step"] > step:
                dropped += 1
            else:
                kept.append(line)
        if dropped:
            with atomic_path(self.path) as tmp:
                tmp.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
            if self._fd is not None:  # it still points at the file that was replaced
                os.close(self._fd)
                self._fd = _open_append(self.path)
            if self._wandb is not None and not self._is_behind:
                self._wandb.finish()
                self._stages, self._is_behind = set(), True
                self._wandb = self._start(secrets.token_hex(4))
        return dropped

    def _catch_up(self) -> None:
        """Give W&B the rows that are in the file, where it has none of them."""
        if not self._is_behind or self._wandb is None:
            return
        self._is_behind = False
        try:
            for row in read_metrics(self.run_dir):
                metrics = {key: value for key, value in row.items() if key not in _RESERVED}
                self._log_to_wandb(row["stage"], metrics, row["step"])
        except Exception as e:  # whatever W&B raises, and whatever the file holds, the run goes on
            self._failed("giving W&B the earlier rows", e)

    def finish(self, failed: bool = False) -> None:
        """Close the file and end the W&B run (uploading what is left). Never raises; a second call does nothing."""
        self._catch_up()
        run, self._wandb = self._wandb, None
        if run is not None:
            try:
                run.finish(exit_code=1 if failed else 0)
                _open_mark(self.run_dir).unlink(missing_ok=True)
            except Exception as e:  # the run itself is done: its work must not be lost to this
                self._failed("finishing the W&B run", e)
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.finish(failed=kind is not None)

    def _log_to_wandb(self, stage: str, metrics: Mapping[str, Any], step: int | None) -> None:
        if stage == "summary":
            for key, value in metrics.items():
                self._wandb.summary[str(key)] = _plain(value)
            return
        if stage not in self._stages:
            self._wandb.define_metric(f"{stage}/step", hidden=True)
            self._wandb.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
            self._stages.add(stage)
        row = {f"{stage}/{key}": value for key, raw in metrics.items() if (value := _for_wandb(raw)) is not None}
        if step is not None:
            row[f"{stage}/step"] = _plain(step)
        self._wandb.log(row)

    def _failed(self, what: str, e: Exception) -> None:
        self.n_failures += 1
        if self.n_failures == 1:
            print(
                f"warning: {what} failed ({type(e).__name__}: {e}); the run goes on, further failures are only counted",
                file=sys.stderr,
            )


def resolve_mode(mode: str) -> str:
    """``auto`` becomes online, offline or off; anything unknown is a UsageError."""
    if mode not in WANDB_MODES:
        raise UsageError(f"wandb mode {mode!r} is not one of {', '.join(WANDB_MODES)}")
    if mode != "auto":
        return mode
    asked = os.environ.get("WANDB_MODE", "").lower()
    if asked:
        return {"online": "online", "offline": "offline", "dryrun": "offline"}.get(asked, "off")
    return "online" if _has_login() else "offline"


def read_metrics(run_dir: Path, stage: str | None = None) -> list[dict[str, Any]]:
    """The rows of a run's ``metrics.jsonl`` (of one stage), in order. A line that a crash cut short is left out."""
    rows = (_parse(line) for line in _lines(Path(run_dir) / METRICS_FILE))
    return [row for row in rows if row is not None and (stage is None or row.get("stage") == stage)]


def _start_wandb(
    run_dir: Path, mode: str, project: str, name: str | None, config: Mapping[str, Any] | None, run_id: str | None
) -> Any:
    folder = run_dir / "wandb"
    folder.mkdir(exist_ok=True)
    id_path = folder / "run_id"
    if run_id is None and id_path.exists():
        run_id = id_path.read_text(encoding="utf-8").strip() or None
    run_id = run_id or secrets.token_hex(4)
    # wandb names a process's folder by second and id: two stages within one second would share, and spoil, a folder.
    while any(folder.glob(f"*run-{time.strftime('%Y%m%d_%H%M%S')}-{run_id}")):
        time.sleep(0.1)
    os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")  # else it advertises itself on the terminal
    try:
        import wandb

        run = wandb.init(
            dir=str(run_dir),  # wandb adds "/wandb" itself
            mode="online" if mode == "online" else "offline",
            project=project,
            name=name or run_dir.resolve().name,
            group=name or run_dir.resolve().name,
            id=run_id,
            # Offline there is nothing to ask about; `wandb sync` joins runs of one id.
            resume="allow" if mode == "online" else None,
            config=_plain(config) if config is not None else None,
            # Silent, and hands off standard output: `--json` prints one object there and nothing else.
            settings=wandb.Settings(silent=True, console="off"),
        )
    except Exception as e:  # wandb raises its own errors, but also those of its service, of gRPC and of the system
        raise RunFailed(
            f"W&B did not start in {mode} mode ({type(e).__name__}: {e}). Log in with `wandb login`, or run again with "
            "wandb mode offline (upload later with `wandb sync`), or off"
        ) from e
    id_path.write_text(run_id + "\n", encoding="utf-8")
    _open_mark(run_dir).touch()
    return run


def _open_mark(run_dir: Path) -> Path:
    """Is there from W&B's start to its end."""
    return run_dir / "wandb" / "open"


def _is_open(run_dir: Path) -> bool:
    """Whether the last process that logged to W&B did not end well. (While it still runs, one that joins it has a W&B
    run of its own.)"""
    return _open_mark(run_dir).exists()


def _has_login() -> bool:
    """A key in the environment, or in the netrc file that ``wandb login`` writes. Asks no server, imports no wandb."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    for file in [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]:
        try:
            login = netrc.netrc(os.path.expanduser(file)).authenticators(host)
        except (OSError, netrc.NetrcParseError):
            continue
        if login and login[2]:
            return True
    return False


def _for_wandb(value: Any) -> Any:
    if not isinstance(value, Table):
        return _plain(value)
    import wandb

    rows = [[None if cell is None else str(cell) for cell in row] for row in value.rows]
    return wandb.Table(columns=list(value.columns), data=rows) if rows else None


def _plain(value: Any) -> Any:
    """``value`` as JSON can hold it: scalars of NumPy and torch unwrapped, NaN and infinities as None."""
    if value is None or isinstance(value, bool | str):
        return value if not isinstance(value, str) else str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Table):
        return [_plain(dict(zip(value.columns, row, strict=True))) for row in value.rows]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    if callable(getattr(value, "tolist", None)):  # arrays, tensors and their scalars
        return _plain(value.tolist())
    return str(value)


def _open_append(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _repair(path: Path) -> None:
    """End a line that a crash cut short, so that the next row does not continue it."""
    if path.exists() and path.stat().st_size:
        with open(path, "rb+") as f:
            f.seek(-1, os.SEEK_END)
            if f.read(1) != b"\n":
                f.write(b"\n")


def _lines(path: Path) -> list[str]:
    # Not splitlines(): it would also split at U+2028 and others, which JSON strings may hold.
    return path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []


def _parse(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None

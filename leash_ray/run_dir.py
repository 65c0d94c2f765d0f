"""One run, one directory: what was asked, with which versions, what is done, and every result.

A directory is made whole or not at all, and nothing in it is ever overwritten by another run: an existing one is
either gone on with (``--resume``, and then only with the configuration it was made with) or refused.
"""

import contextlib
import errno
import fcntl
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import leash_ray
from leash_ray import provenance
from leash_ray.config_file import config_hash, config_text, differences, plain, read_config
from leash_ray.errors import UsageError
from leash_ray.files import write_json, write_text
from leash_ray.near_runs import runs_near


class RunDir:
    """The directory of one run. Make one with :meth:`create`, read one with :meth:`open`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"RunDir({str(self.path)!r})"

    # What is where.

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def config_yaml(self) -> Path:
        return self.path / "config.yaml"

    @property
    def run_json(self) -> Path:
        return self.path / "run.json"

    @property
    def versions_txt(self) -> Path:
        return self.path / "versions.txt"

    @property
    def stages_json(self) -> Path:
        return self.path / "stages.json"

    @property
    def completions(self) -> Path:
        return self.path / "completions"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def problems_parquet(self) -> Path:
        return self.path / "problems.parquet"

    @property
    def per_problem_parquet(self) -> Path:
        return self.path / "per_problem.parquet"

    @property
    def metrics_jsonl(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def support_json(self) -> Path:
        return self.path / "support.json"

    @property
    def report_html(self) -> Path:
        return self.path / "report.html"

    @property
    def wandb(self) -> Path:
        return self.path / "wandb"

    # What was asked.

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration that the run was made with."""
        return read_config(self.config_yaml)

    @property
    def info(self) -> dict[str, Any]:
        """``run.json``: versions, seed, command line, times."""
        return _read_json(self.run_json)

    @property
    def seed(self) -> int:
        return int(self.info["seed"])

    @classmethod
    def create(
        cls,
        path: Path | str,
        config: Mapping[str, Any],
        seed: int,
        resume: bool = False,
        may_change: Sequence[str] = (),
    ) -> "RunDir":
        """Make the run directory ``path``, or go on with it.

        Args:
            path: a new name, or an empty directory; with ``resume`` also an existing run.
            config: the resolved configuration: plain values, lists, mappings, dataclasses.
            seed: the run's seed.
            resume: go on with the run if it exists.
            may_change: dotted keys (``monitor``, ``train.workers``) that may differ from the existing run's, since they
                change how it runs and not what it computes; everything under such a key may too.

        Raises:
            UsageError: ``path`` holds a run and ``resume`` is false; or one with another configuration or seed; or
                something that is no run.
        """
        path = Path(path)
        new = plain(config)
        assert isinstance(new, dict)
        if not _occupied(path):
            try:
                _make(path, new, seed)
                return cls(path)
            except OSError as e:
                # Somebody may have been faster: then what is there now is treated as any existing run.
                if not (isinstance(e, FileExistsError) and _occupied(path)):
                    if e.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
                        raise
                    raise UsageError(f"cannot make {path} ({e.strerror}): choose another place with `--run`") from e
        run = cls(path)
        if not path.is_dir() or not run.run_json.is_file():
            raise UsageError(
                f"{path} exists and is not a run: choose another name with `--run`, or move it out of the way by hand "
                "(nothing is overwritten)"
            )
        changed = differences({**run.config, "seed": run.info["seed"]}, {**new, "seed": seed}, may_change)
        if changed:
            shown = "".join(f"\n  {key}: {old} -> {now}" for key, old, now in changed[:20])
            more = f"\n  and {len(changed) - 20} more" if len(changed) > 20 else ""
            raise UsageError(
                f"{path} was made with another configuration:{shown}{more}\n"
                "Start a new run with another `--run NAME`, or repeat the old values to go on with this one "
                "(`--resume`), or delete the directory by hand"
            )
        if not resume:
            done = ", ".join(run.stages) or "none"
            raise UsageError(
                f"{path} holds this run already (stages done: {done}). Go on with it with `--resume`, start a new one "
                "with another `--run NAME`, or delete it by hand"
            )
        run._record_resume()
        return run

    @classmethod
    def open(cls, path: Path | str) -> "RunDir":
        """The existing run at ``path``, to read.

        Raises:
            UsageError: there is none; the message names runs that are near.
        """
        path = Path(path)
        run = cls(path)
        if run.run_json.is_file():
            return run
        what = "is not a run (it has no run.json)" if path.exists() else "does not exist"
        near = runs_near(path)
        fix = f"did you mean {' or '.join(near)}?" if near else "`leash demo` makes one"
        raise UsageError(f"{path} {what}: {fix}")

    # What is done.

    def stage_done(self, name: str) -> bool:
        """Whether stage ``name`` ran to its end, so that a resumed run leaves it out."""
        return name in self.stages

    def stage_info(self, name: str) -> dict[str, Any] | None:
        """What :meth:`mark_done` was told of stage ``name``; None when it is not done."""
        stage = self.stages.get(name)
        return None if stage is None else stage["info"]

    def mark_done(self, name: str, info: Mapping[str, Any] | None = None) -> None:
        """Record that stage ``name`` is complete. Call it after its last file is in place."""
        stages = self.stages
        stages[name] = {"done": provenance.now(), "info": plain(info or {})}
        write_json(self.stages_json, stages)

    @property
    def stages(self) -> dict[str, Any]:
        """Name -> when each finished stage was done, and its info."""
        return _read_json(self.stages_json) if self.stages_json.exists() else {}

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other processes of this machine from writing to the run at the same time.

        The lock goes with the process, however it ends. Where the file system has no locks there is none.
        """
        with open(self.path / ".lock", "a+", encoding="utf-8") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                f.seek(0)
                holder = f.read().strip() or "unknown"
                raise UsageError(
                    f"another process (pid {holder}) is working on {self.path}: wait for it, or end it first"
                ) from None
            except OSError:
                pass
            f.truncate(0)
            f.write(str(os.getpid()))
            f.flush()
            yield

    @property
    def one_code(self) -> bool:
        """Whether the run was made, and each time gone on with, by the same packages and the same commit of this one.
        Of a tree with changes that cannot be known."""
        info = self.info
        changed = any(resumed["changed_packages"] for resumed in info.get("resumed", []))
        return not changed and not (info["git_commit"] or "").endswith("-dirty")

    def _record_resume(self) -> None:
        info = self.info
        now = {**provenance.versions(), "leash_ray": _code(leash_ray.__version__, provenance.git_commit())}
        old = {**info["packages"], "leash_ray": _code(info["leash_ray"], info["git_commit"])}
        changed = {name: [old.get(name), now.get(name)] for name in old | now if old.get(name) != now.get(name)}
        info.setdefault("resumed", []).append(
            {"time": provenance.now(), "command": provenance.command(), "changed_packages": changed}
        )
        write_json(self.run_json, info)


def _make(path: Path, config: dict[str, Any], seed: int) -> None:
    """Write the new run beside ``path`` and rename it: it is there as a whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(tmp, ignore_errors=True)
    try:
        run = RunDir(tmp)
        run.completions.mkdir(parents=True)
        run.checkpoints.mkdir()
        write_text(run.config_yaml, config_text(config))
        write_text(
            run.versions_txt,
            "".join(f"{name}=={version}\n" for name, version in sorted(provenance.installed().items())),
        )
        info = {
            "name": path.resolve().name,
            "created": provenance.now(),
            "command": provenance.command(),
            "seed": seed,
            "config_hash": config_hash(config),
            "leash_ray": leash_ray.__version__,
            "git_commit": provenance.git_commit(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": provenance.versions(),
        }
        write_json(run.run_json, info)
        try:
            tmp.rename(path)  # also onto an empty directory, but onto nothing else
        except OSError as e:
            if path.exists():
                raise FileExistsError(path) from e
            raise
    finally:
        shutil.rmtree(tmp, ignore_errors=True)


def _code(version: str, commit: str | None) -> str:
    return f"{version} ({commit})" if commit else version


def _occupied(path: Path) -> bool:
    return path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir())))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise UsageError(f"{path} is damaged ({e}): restore it, or start a new run") from e
    if not isinstance(value, dict):
        raise UsageError(f"{path} is damaged (no JSON object): restore it, or start a new run")
    return value

"""The runs that are compared: what each left in its directory, or is measured again of fewer samples or problems."""

import glob
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leash_ray.config import RunConfig, parse_config
from leash_ray.errors import UsageError
from leash_ray.files import parquet_files
from leash_ray.problems_file import read_problems
from leash_ray.run_dir import RunDir
from leash_ray.types import Problem

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class ComparedRun:
    """One run that was reduced."""

    run: RunDir
    config: RunConfig
    support: Mapping[str, Any]
    """As of ``support.json``."""
    table: "pl.DataFrame" = field(repr=False)
    """As of ``per_problem.parquet``: a row a problem that both policies have scored samples of, sorted by id."""

    @property
    def path(self) -> Path:
        return self.run.path

    @property
    def k(self) -> int:
        return int(self.support["k"])

    @property
    def k_answers(self) -> int:
        return int(self.support["k_answers"])

    @cached_property
    def problems(self) -> dict[str, Problem]:
        """By id."""
        return {p.id: p for p in read_problems(self.run.problems_parquet)}

    def policy(self, role: str) -> Mapping[str, Any]:
        """The estimates of ``base`` or ``trained``."""
        found: Mapping[str, Any] = self.support["policies"][self.support[role]]
        return found


def find_runs(paths: Sequence[str | Path]) -> list[RunDir]:
    """The runs that ``paths`` name, each once, in their order: run directories, folders of them, globs.

    Raises:
        UsageError: a path names no run, or all of them fewer than two.
    """
    found: dict[Path, RunDir] = {}
    for path in paths:
        for run in _runs_at(Path(path)):
            found.setdefault(run.path.resolve(), run)
    if len(found) < 2:
        raise UsageError(
            f"{len(found)} run{'s' if len(found) != 1 else ''} to compare: give two or more, such as "
            "`leash compare runs/grpo-seed* runs/dapo-seed*`"
        )
    return list(found.values())


def _runs_at(path: Path) -> list[RunDir]:
    if path.exists():
        inside = [] if (path / "run.json").is_file() else _only_runs(path.glob("*"))
    else:
        inside = _only_runs(map(Path, glob.glob(str(path.expanduser()))))
    return inside or [RunDir.open(path)]


def _only_runs(paths: Iterable[Path]) -> list[RunDir]:
    return [RunDir(p) for p in sorted(paths) if (p / "run.json").is_file() and not p.name.startswith(".")]


def read_runs(runs: Sequence[RunDir]) -> list[ComparedRun]:
    """What the runs left.

    Raises:
        UsageError: some are not reduced; the message has a command for each.
    """
    undone = [run for run in runs if not (run.support_json.is_file() and run.per_problem_parquet.is_file())]
    if undone:
        raise UsageError(
            f"{len(undone)} of {len(runs)} runs {'are' if len(undone) > 1 else 'is'} not reduced yet:"
            + "".join(f"\n  {_how_to_reduce(run)}" for run in undone)
        )
    return [_read(run) for run in runs]


def _how_to_reduce(run: RunDir) -> str:
    if parquet_files(run.completions):
        return f"leash reduce {run.path}"
    return f"{run.path} has no completions: go on with it by the command that made it and --resume, or leave it out"


def _read(run: RunDir) -> ComparedRun:
    import polars as pl

    support = json.loads(run.support_json.read_text(encoding="utf-8"))
    table = pl.read_parquet(run.per_problem_parquet).sort("problem_id")
    counts = {letter: int((table["group"] == letter).sum()) for letter in "PESO"}
    if any(counts[letter] != support["support"]["problem"][letter] for letter in counts):
        why = " (it was measured above guessing, which is not compared)" if support.get("above_guessing") else ""
        raise UsageError(
            f"{run.path}: support.json and per_problem.parquet do not agree{why}; measure it again with "
            f"`leash reduce {run.path}`"
        )
    if "answers_P" not in table.columns and support["support"]["answer"]:
        raise UsageError(
            f"{run.path} was reduced by an older version, whose per_problem.parquet does not have what is compared; "
            f"measure it again with `leash reduce {run.path}`"
        )
    return ComparedRun(run, parse_config(run.config, str(run.config_yaml)), support, table)


def measured_again(found: ComparedRun, k: int | None, only: Collection[str] | None) -> ComparedRun:
    """The run as if only the first ``k`` samples of each problem had been drawn, and of the problems ``only``; None:
    all. The run's own files stay as they are.

    Raises:
        UsageError: its completions are not there any more.
    """
    if (k is None or k >= found.k) and (only is None or set(found.table["problem_id"]) <= set(only)):
        return found
    from leash_ray.measure.measuring import measuring_of
    from leash_ray.reduce import Reading, reduce_paths, worth_ray

    if not parquet_files(found.run.completions):
        raise UsageError(
            f"{found.path} has no completions any more, so it cannot be measured at another k or on fewer problems: "
            "restore them, or leave the run out"
        )
    names = ", ".join(f"'{i}'" for i in sorted(only or ()))
    config = found.config
    estimates = reduce_paths(
        [found.run.completions],
        base=str(found.support["base"]),
        trained=str(found.support["trained"]),
        measuring=measuring_of(config.measure, config.zeta, found.problems.values()),
        parallel=worth_ray([found.run.completions]),
        reading=Reading(first_k=k, where=f"problem_id IN ({names})" if only is not None else None),
    )
    import polars as pl

    frame = pl.from_arrow(estimates.per_problem)
    assert isinstance(frame, pl.DataFrame)
    return replace(found, support=estimates.to_json(), table=frame.sort("problem_id"))

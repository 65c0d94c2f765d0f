"""Verifications of a run, one folder each: ``verifications/001`` and so on.

``verification.json`` says what was asked, which verifier judged in place of which, and what changed;
``problems.parquet`` is the run's before it; ``old/`` holds the verdict columns that it replaced, in files named as the
shards are. A shard that has its new verdicts says so in its metadata.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from leash_ray.changes import Changes
from leash_ray.errors import UsageError
from leash_ray.files import atomic_path, parquet_files, write_json
from leash_ray.problems_file import read_problems, write_problems
from leash_ray.run_dir import RunDir
from leash_ray.types import Problem
from leash_ray.verify import check_verifier, kind_of
from leash_ray.verify.spec import VerifierSpec

NUMBER = b"leash_verification"
"""Metadata of a shard: the verification that its verdicts are of."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a verification was asked for."""

    verifier: str | None = None
    """In place of every problem's own."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Options on top of each problem's verifier, such as ``{"strict": True}``; None takes one away."""
    only: tuple[str, ...] = ()
    """Only completions to which the verifier gave these verdicts; none named: all. The problems then keep their own
    verifiers, since not all of their completions were judged by another."""

    def of(self, problem_verifier: str) -> str:
        """The verifier that judges, of a problem whose own is ``problem_verifier``."""
        return str(VerifierSpec.parse(self.verifier or problem_verifier).with_options(self.options))

    def to_json(self) -> dict[str, Any]:
        return {"verifier": self.verifier, "options": dict(self.options), "only": list(self.only)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Asked":
        """What :meth:`to_json` gave."""
        return Asked(value["verifier"], value["options"], tuple(value["only"]))


@dataclass(frozen=True, slots=True)
class Reverification:
    """One verification of a run; made or gone on with by :func:`begin`."""

    run: RunDir
    number: str
    asked: Asked

    @property
    def folder(self) -> Path:
        return self.run.path / "verifications" / self.number

    @property
    def record_json(self) -> Path:
        return self.folder / "verification.json"

    @property
    def problems_before(self) -> Path:
        return self.folder / "problems.parquet"

    def record(self) -> dict[str, Any]:
        """``verification.json``."""
        record: dict[str, Any] = json.loads(self.record_json.read_text(encoding="utf-8"))
        return record

    def old_path(self, shard: Path) -> Path:
        return self.folder / "old" / shard.relative_to(self.run.completions)

    def is_done(self, shard: Path) -> bool:
        return (pq.read_schema(shard).metadata or {}).get(NUMBER) == self.number.encode()

    @property
    def replaced_any(self) -> bool:
        """Whether it has touched a shard."""
        return (self.folder / "old").is_dir()


def last_verification(run: RunDir) -> Reverification | None:
    """The latest verification, finished or not; None: there is none."""
    found = sorted((run.path / "verifications").glob("*/verification.json"))
    if not found:
        return None
    asked = json.loads(found[-1].read_text(encoding="utf-8"))["asked"]
    return Reverification(run, found[-1].parent.name, Asked.from_json(asked))


def begin(run: RunDir, asked: Asked) -> tuple[Reverification, list[Problem]]:
    """Start a verification, or go on with the one that was stopped. Also gives the problems with the verifiers that
    judge them, which later sampling and verifying of this run use too unless only some completions were asked for.

    Raises:
        UsageError: another verification, or taking one back, was stopped in the middle; there are no problems; or what
            was asked for is no verifier of them. Nothing has been changed then.
    """
    last = last_verification(run)
    unfinished = last if last is not None and not last.record()["done"] else None
    if unfinished is not None:
        _refuse_in_the_middle(unfinished, asked)
        current, source = replace(unfinished, asked=asked), unfinished.problems_before
    else:
        current = Reverification(run, f"{int(last.number) + 1 if last else 1:03d}", asked)
        source = run.problems_parquet
    problems = read_problems(source)
    if not problems:
        raise UsageError(f"{run.path} has no problems.parquet, which says what completions are verified against")
    judged = [replace(p, verifier=asked.of(p.verifier)) for p in problems]
    _refuse_unusable(problems, judged)
    if unfinished is None:
        shutil.rmtree(current.folder, ignore_errors=True)  # of one that was taken back, or stopped before it began
        with atomic_path(current.problems_before) as tmp:
            tmp.write_bytes(source.read_bytes())
    verifiers = {old.verifier: new.verifier for old, new in zip(problems, judged, strict=True)}
    write_json(current.record_json, {"asked": asked.to_json(), "verifiers": verifiers, "done": None})
    write_problems(run.problems_parquet, problems if asked.only else judged)
    return current, judged


def _refuse_in_the_middle(last: Reverification, asked: Asked) -> None:
    """Refuse to go on with a verification that is being taken back, or that was asked for otherwise and has begun."""
    path = last.run.path
    if "undoing" in last.record():
        raise UsageError(
            f"taking back verification {last.number} of {path} was stopped in the middle: finish that first, with "
            f"leash verify {path} --undo"
        )
    if last.asked.to_json() != asked.to_json() and last.replaced_any:
        raise UsageError(
            f"verification {last.number} of {path} was stopped in the middle, and was asked for otherwise "
            f"({json.dumps(last.asked.to_json())}): finish that one first, with the same options, or take it back with "
            f"leash verify {path} --undo"
        )


def finish(current: Reverification, changes: Changes) -> None:
    """Record that every shard has its new verdicts."""
    write_json(current.record_json, {**current.record(), "done": changes.to_json()})


def _refuse_unusable(problems: Sequence[Problem], judged: Sequence[Problem]) -> None:
    """Refuse verifiers that do not exist, and those that cannot use the references of the problems that they are new
    to. A reference that was good enough for the problem's own verifier is none of this call's doing."""
    for verifier in {p.verifier for p in judged}:
        check_verifier(verifier)
    wrong: list[tuple[Problem, Problem, UsageError]] = []
    for old, new in zip(problems, judged, strict=True):
        if new.verifier != old.verifier:
            try:
                kind_of(new.verifier).check_reference(new.reference)
            except UsageError as e:
                wrong.append((old, new, e))
    if wrong:
        old, new, error = wrong[0]
        raise UsageError(
            f"{new.verifier} cannot verify problem {old.id}, whose own verifier is {old.verifier}: {error} (so it is "
            f"with {len(wrong)} of {len(problems)} problems). Nothing was changed: give a --verifier or --option that "
            "fits the problems' references, or none for their own"
        )


def shards_of(run: RunDir) -> list[Path]:
    """The completions' files.

    Raises:
        UsageError: there are none.
    """
    found = parquet_files(run.completions)
    if not found:
        raise UsageError(f"{run.completions} has no completions to verify: run leash sample first")
    return found


def verifiers_of(problems: Iterable[Problem]) -> str:
    """The problems' verifiers, for people."""
    return ", ".join(sorted({p.verifier for p in problems}))

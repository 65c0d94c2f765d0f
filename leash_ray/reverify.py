"""``leash verify``: new verdicts for stored completions, without sampling; the old ones are kept.

One verification is a folder, ``verifications/001``: ``verification.json`` says what was asked, ``problems.parquet`` is
the run's before it, ``old/`` holds the verdict columns that it replaced, in files named as the shards are. A shard that
has its new verdicts says so in its metadata, so a verification that was stopped goes on where it was, and each shard is
replaced whole or not at all.
"""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from leash_ray.errors import RunFailed, UsageError
from leash_ray.files import atomic_path, parquet_files, write_json
from leash_ray.marks import Marks, marks_path, read_marks
from leash_ray.problems_file import read_problems, write_problems
from leash_ray.run_dir import RunDir
from leash_ray.sample import verdict_columns
from leash_ray.types import COMPLETIONS_SCHEMA, VERDICT_COLUMNS, Problem, Verdict
from leash_ray.verify import Verification, VerifierPool, check_verifier
from leash_ray.verify.settings import VerifyConfig
from leash_ray.verify.spec import VerifierSpec

KEY = ("policy", "problem_id", "sample_index")
_NUMBER = b"leash_verification"
_EXAMPLES = 3
"""Of each kind of change."""
_SAY_EVERY_S = 5.0


class Verifier(Protocol):
    """A pool in this process, or actors on the cluster."""

    def verify(self, items: Sequence[tuple[Problem, str, str]]) -> list[Verification]: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What a verification was asked for."""

    verifier: str | None = None
    """In place of every problem's own."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Options on top of each problem's verifier, such as ``{"strict": True}``; None takes one away."""
    only: tuple[str, ...] = ()
    """Only completions with these verdicts; none named: all."""
    marks_only: bool = False
    """Only put a person's marks in place."""

    def of(self, problem_verifier: str) -> str:
        """The verifier of a problem whose own is ``problem_verifier``."""
        return str(VerifierSpec.parse(self.verifier or problem_verifier).with_options(self.options))

    def to_json(self) -> dict[str, Any]:
        return {
            "verifier": self.verifier,
            "options": dict(self.options),
            "only": list(self.only),
            "marks_only": self.marks_only,
        }


@dataclass(slots=True)
class Changes:
    """What became of the completions."""

    verdicts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(policy, old verdict, new verdict) -> completions; those that stayed, too."""
    answers: Counter[str] = field(default_factory=Counter)
    """policy -> completions with the old verdict and another canonical answer."""
    unverifiable: Counter[str] = field(default_factory=Counter)
    """policy -> completions that keep their verdict because they have no text, or a problem that is not known."""
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """Completions with another verdict."""
        return sum(n for (_, old, new), n in self.verdicts.items() if old != new)

    def add(self, other: "Changes") -> None:
        self.verdicts += other.verdicts
        self.answers += other.answers
        self.unverifiable += other.unverifiable
        seen = Counter((e["policy"], e["old"], e["new"]) for e in self.examples)
        for example in other.examples:
            kind = (example["policy"], example["old"], example["new"])
            if seen[kind] < _EXAMPLES:
                seen[kind] += 1
                self.examples.append(example)

    def to_json(self) -> dict[str, Any]:
        return {
            "changed": self.changed,
            "verdicts": [
                {"policy": policy, "old": old, "new": new, "completions": n}
                for (policy, old, new), n in sorted(self.verdicts.items())
            ],
            "answers_changed": dict(self.answers),
            "unverifiable": dict(self.unverifiable),
            "examples": self.examples,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Changes":
        """What :meth:`to_json` gave."""
        rows = value["verdicts"]
        return Changes(
            Counter({(row["policy"], row["old"], row["new"]): row["completions"] for row in rows}),
            Counter(value["answers_changed"]),
            Counter(value["unverifiable"]),
            value["examples"],
        )


@dataclass(frozen=True, slots=True)
class Reverification:
    """One verification of a run; made or gone on with by :func:`begin`."""

    run: RunDir
    number: str
    asked: Asked

    @property
    def folder(self) -> Path:
        return self.run.path / "verifications" / self.number

    def old_path(self, shard: Path) -> Path:
        return self.folder / "old" / shard.relative_to(self.run.completions)

    def is_done(self, shard: Path) -> bool:
        return (pq.read_schema(shard).metadata or {}).get(_NUMBER) == self.number.encode()


def begin(run: RunDir, asked: Asked) -> tuple[Reverification, list[Problem]]:
    """Start a verification, or go on with the one that was stopped. Also gives the problems with their new verifiers,
    which later sampling and verifying of this run use too.

    Raises:
        UsageError: another verification was stopped in the middle; or a verifier or an option that does not exist.
    """
    root = run.path / "verifications"
    numbers = sorted(p.parent.name for p in root.glob("*/verification.json"))
    current = Reverification(run, f"{len(numbers) + 1:03d}", asked)
    if numbers:
        last = Reverification(run, numbers[-1], asked)
        record = json.loads((last.folder / "verification.json").read_text(encoding="utf-8"))
        if not record["done"]:
            if record["asked"] != asked.to_json() and (last.folder / "old").is_dir():
                raise UsageError(
                    f"verification {last.number} of {run.path} was stopped in the middle, and was asked for otherwise "
                    f"({json.dumps(record['asked'])}): finish that one first, with the same options"
                )
            current = last
    before = current.folder / "problems.parquet"
    problems = read_problems(before if before.is_file() else run.problems_parquet)
    verified = [replace(p, verifier=asked.of(p.verifier)) for p in problems]
    for verifier in {p.verifier for p in verified}:
        check_verifier(verifier)
    if not before.is_file():
        with atomic_path(before) as tmp:
            tmp.write_bytes(run.problems_parquet.read_bytes())
    _record(current, None)
    write_problems(run.problems_parquet, verified)
    return current, verified


def finish(current: Reverification, changes: Changes) -> None:
    """Record that every shard has its new verdicts."""
    _record(current, changes.to_json())


def _record(current: Reverification, done: dict[str, Any] | None) -> None:
    write_json(current.folder / "verification.json", {"asked": current.asked.to_json(), "done": done})


def shards_of(run: RunDir) -> list[Path]:
    """The completions' files.

    Raises:
        UsageError: there are none.
    """
    found = parquet_files(run.completions)
    if not found:
        raise UsageError(f"{run.completions} has no completions to verify: run leash sample first")
    return found


@dataclass(frozen=True)
class ShardVerifier:
    """Gives one shard its new verdicts. Sent to Ray Data's tasks as it is."""

    current: Reverification
    problems: Mapping[str, Problem]
    verifier: Verifier
    marks: Marks

    def __call__(self, batch: pa.Table) -> dict[str, list[str]]:
        found = [json.dumps(self.make(Path(path)).to_json()) for path in batch["path"].to_pylist()]
        return {"changes": found}

    def make(self, shard: Path) -> Changes:
        """Replace the shard's verdicts, and keep the old ones. A shard that has them already is only compared."""
        if self.current.is_done(shard):
            old = pq.read_table(self.current.old_path(shard), partitioning=None)
            return _compare(old, pq.read_table(shard, columns=list(old.column_names), partitioning=None))
        table = pq.read_table(shard, partitioning=None)
        table = _with_columns(table)
        old = table.select([*KEY, *VERDICT_COLUMNS])
        rows, items = self._items(table)
        verified = self.verifier.verify(items)
        new = self._replaced(table, rows, verified)
        changes = _compare(old, new.select(old.column_names))
        skipped = len(table) - len(rows)
        if skipped and not (self.current.asked.only or self.current.asked.marks_only):
            changes.unverifiable[str(table["policy"][0])] += skipped
        with atomic_path(self.current.old_path(shard)) as tmp:
            pq.write_table(old, tmp, compression="zstd")
        metadata = {**(table.schema.metadata or {}), _NUMBER: self.current.number.encode()}
        with atomic_path(shard) as tmp:
            pq.write_table(new.replace_schema_metadata(metadata), tmp, compression="zstd")
        return changes

    def _items(self, table: pa.Table) -> tuple[list[int], list[tuple[Problem, str, str]]]:
        """The rows that can be verified and were asked for, and what to verify of them."""
        only, rows = self.current.asked.only, list[int]()
        if self.current.asked.marks_only:
            return rows, []
        items: list[tuple[Problem, str, str]] = []
        columns = (table[c].to_pylist() for c in ("problem_id", "verdict", "text", "finish_reason"))
        for i, (problem_id, verdict, text, finish_reason) in enumerate(zip(*columns, strict=True)):
            problem = self.problems.get(problem_id)
            if problem is None or text is None or (only and verdict not in only):
                continue
            rows.append(i)
            items.append((problem, text, finish_reason or "stop"))
        return rows, items

    def _replaced(self, table: pa.Table, rows: Sequence[int], verified: Sequence[Verification]) -> pa.Table:
        every: list[Verification] = [
            Verification(Verdict(verdict), *rest)
            for verdict, *rest in zip(*(table[c].to_pylist() for c in VERDICT_COLUMNS), strict=True)
        ]
        for row, verification in zip(rows, verified, strict=True):
            every[row] = verification
        keys = zip(*(table[c].to_pylist() for c in KEY), strict=True)
        every = [self.marks.apply(key, verification) for key, verification in zip(keys, every, strict=True)]
        for name, column in verdict_columns(every).items():
            table = table.set_column(table.schema.get_field_index(name), COMPLETIONS_SCHEMA.field(name), column)
        return table


def _with_columns(table: pa.Table) -> pa.Table:
    """The table with every column of the schema: a table from elsewhere, or from before, may lack some."""
    for column in COMPLETIONS_SCHEMA:
        if column.name not in table.schema.names:
            table = table.append_column(column, pa.nulls(len(table), column.type))
    return table


def _compare(old: pa.Table, new: pa.Table) -> Changes:
    changes = Changes()
    text = pa.string()
    policies = [str(p) for p in old["policy"].to_pylist()]
    before, after = (table["verdict"].cast(text).to_pylist() for table in (old, new))
    changes.verdicts.update(zip(policies, before, after, strict=True))
    answers = pc.fill_null(
        pc.not_equal(pc.fill_null(old["answer"].cast(text), ""), pc.fill_null(new["answer"], "")), False
    )
    shown: Counter[tuple[str, str, str]] = Counter()
    for i in range(len(policies)):
        if before[i] != after[i]:
            kind = (policies[i], before[i], after[i])
            shown[kind] += 1
            if shown[kind] <= _EXAMPLES:
                example = {"policy": policies[i], "old": before[i], "new": after[i]}
                example |= {
                    key: new[key][i].as_py() for key in ("problem_id", "sample_index", "answer", "reason", "stage")
                }
                changes.examples.append(example)
        elif answers[i].as_py():
            changes.answers[policies[i]] += 1
    return changes


def verify_shards(maker: ShardVerifier, shards: Sequence[Path], on_ray: bool) -> Iterator[Changes]:
    """Give every shard its new verdicts; yields each one's changes.

    Raises:
        RunFailed: a shard could not be verified; the finished ones stay, and the same command goes on.
    """
    if not on_ray:
        yield from map(maker.make, shards)
        return
    import ray.data

    from leash_ray.sample import SAMPLING_CPUS, root_cause

    rows = [{"path": str(shard)} for shard in shards]
    stream = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        maker, batch_size=1, batch_format="pyarrow", num_cpus=SAMPLING_CPUS
    )
    try:
        for row in stream.iter_rows():
            yield Changes.from_json(json.loads(row["changes"]))
    except (ray.exceptions.RayError, OSError) as e:
        raise RunFailed(f"verifying stopped: {root_cause(e)}; run the same command again to go on") from e


def reverify(run: RunDir, asked: Asked, settings: VerifyConfig, say: Callable[[str], None], on_ray: bool) -> Changes:
    """Verify a run's stored completions again, as ``asked``; the run must be held by the caller.

    Args:
        on_ray: verify on the Ray cluster that this process has joined, or else in processes of this one.

    Raises:
        UsageError, RunFailed: as of :func:`begin`, :func:`shards_of` and :func:`verify_shards`.
    """
    shards = shards_of(run)
    current, problems = begin(run, asked)
    marks = read_marks(marks_path(run.path))
    total = Changes()
    with contextlib.ExitStack() as stack:
        verifier: Verifier
        if on_ray:
            from leash_ray.verify.remote import RemoteVerifier

            verifier = RemoteVerifier.start(settings)
            stack.callback(verifier.stop)
        else:
            verifier = stack.enter_context(VerifierPool(settings))
        maker = ShardVerifier(current, {p.id: p for p in problems}, verifier, marks)
        said_s = time.monotonic()
        for i, changes in enumerate(verify_shards(maker, shards, on_ray), 1):
            total.add(changes)
            if time.monotonic() - said_s > _SAY_EVERY_S:
                said_s = time.monotonic()
                say(f"{i} of {len(shards)} shards verified, {total.changed} verdicts changed")
    finish(current, total)
    return total

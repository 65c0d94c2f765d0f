"""``leash verify``: new verdicts for stored completions, without sampling; the old ones are kept.

What is kept of a verification is :mod:`leash_ray.verifications`' affair. Each shard is replaced whole or not at all,
and one that has its new verdicts says so, so a verification that was stopped goes on where it was.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from leash_ray.changes import Changes, compare
from leash_ray.errors import RunFailed, UsageError
from leash_ray.files import atomic_path
from leash_ray.marks import Marks, marks_path, read_marks
from leash_ray.prompting.asked import as_asked
from leash_ray.run_dir import RunDir
from leash_ray.shard_verdicts import VERDICT_OF_KEY, own_verifications, with_verifications, write_shard
from leash_ray.types import Problem
from leash_ray.undo import take_back
from leash_ray.verifications import NUMBER, Asked, Reverification, begin, finish, shards_of
from leash_ray.verify import Verification, VerifierPool
from leash_ray.verify.settings import VerifyConfig

_SAY_EVERY_S = 5.0


class Verifier(Protocol):
    """A pool in this process, or actors on the cluster."""

    def verify(self, items: Sequence[tuple[Problem, str, str]]) -> list[Verification]: ...


@dataclass(frozen=True)
class ShardVerifier:
    """Gives one shard its new verdicts. Sent to Ray Data's tasks as it is."""

    current: Reverification
    problems: Mapping[str, Mapping[str, Problem]]
    """Policy -> problem id -> the problem as the policy was asked it; "": as the task has it, for other policies."""
    verifier: Verifier
    marks: Marks

    def __call__(self, batch: pa.Table) -> dict[str, list[str]]:
        """One row a shard: its changes, or why the verifier refused it. Ray Data would hand an error over as text."""
        rows: dict[str, list[str]] = {"changes": [], "refused": []}
        for path in batch["path"].to_pylist():
            changes, refused = Changes(), ""
            try:
                changes = self.make(Path(path))
            except UsageError as e:
                refused = str(getattr(e, "cause", e))  # an actor's error has a stack trace for its own text
            rows["changes"].append(json.dumps(changes.to_json()))
            rows["refused"].append(refused)
        return rows

    def make(self, shard: Path) -> Changes:
        """Replace the shard's verdicts, and keep the old ones. A shard that has them already is only compared."""
        if self.current.is_done(shard):
            old = pq.read_table(self.current.old_path(shard), partitioning=None)
            return compare(old, pq.read_table(shard, columns=old.column_names, partitioning=None))
        table = pq.read_table(shard, partitioning=None)
        old = table.select([name for name in VERDICT_OF_KEY if name in table.column_names])
        own = own_verifications(table)
        rows, items = self._items(table, own)
        for row, verification in zip(rows, self.verifier.verify(items), strict=True):
            own[row] = verification
        new = with_verifications(table, own, self.marks)
        changes = compare(old, new)
        skipped = len(table) - len(rows)
        if skipped and not self.current.asked.only:
            changes.unverifiable[str(table["policy"][0])] += skipped
        with atomic_path(self.current.old_path(shard)) as tmp:
            pq.write_table(old, tmp, compression="zstd")
        write_shard(shard, new, {NUMBER: self.current.number.encode()})
        return changes

    def _items(self, table: pa.Table, own: Sequence[Verification]) -> tuple[list[int], list[tuple[Problem, str, str]]]:
        """The rows that can be verified and were asked for, and what to verify of them."""
        only, rows = self.current.asked.only, list[int]()
        items: list[tuple[Problem, str, str]] = []
        columns = (
            table[name].to_pylist() if name in table.column_names else [None] * len(table)
            for name in ("policy", "problem_id", "text", "finish_reason")
        )
        for i, (policy, problem_id, text, finish_reason) in enumerate(zip(*columns, strict=True)):
            problem = self.problems.get(policy, self.problems[""]).get(problem_id)
            if problem is None or text is None or (only and own[i].verdict.value not in only):
                continue
            rows.append(i)
            items.append((problem, text, finish_reason or "stop"))
        return rows, items


def verify_shards(maker: ShardVerifier, shards: Sequence[Path], on_ray: bool) -> Iterator[Changes]:
    """Give every shard its new verdicts; yields each one's changes.

    Raises:
        RunFailed: a shard could not be verified; the finished ones stay, and the same command goes on.
        UsageError: a verifier cannot work with these settings or on these machines.
    """
    if not on_ray:
        yield from map(maker.make, shards)
        return
    import ray.data

    from leash_ray.sampling.causes import root_cause
    from leash_ray.sampling.stream import SAMPLING_CPUS

    rows = [{"path": str(shard)} for shard in shards]
    stream = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        maker, batch_size=1, batch_format="pyarrow", num_cpus=SAMPLING_CPUS
    )
    try:
        for row in stream.iter_rows():
            if row["refused"]:
                raise UsageError(row["refused"])
            yield Changes.from_json(json.loads(row["changes"]))
    except (ray.exceptions.RayError, OSError) as e:
        raise RunFailed(f"verifying stopped: {root_cause(e)}; run the same command again to go on") from e


def reverify(run: RunDir, asked: Asked, settings: VerifyConfig, say: Callable[[str], None], on_ray: bool) -> Changes:
    """Verify a run's stored completions again, as ``asked``; the run must be held by the caller.

    Args:
        on_ray: verify on the Ray cluster that this process has joined, or else in processes of this one.

    Raises:
        UsageError: as of :func:`begin`, :func:`shards_of` and :func:`verify_shards`; a verification that was begun by
            this call is taken back then.
        RunFailed: as of :func:`verify_shards`.
    """
    shards = shards_of(run)
    current, problems = begin(run, asked)
    begun_here = not current.replaced_any
    marks = read_marks(marks_path(run.path))
    total = Changes()
    try:
        with contextlib.ExitStack() as stack:
            verifier: Verifier
            if on_ray:
                from leash_ray.verify.remote import RemoteVerifier

                verifier = RemoteVerifier.start(settings)
                stack.callback(verifier.stop)
            else:
                verifier = stack.enter_context(VerifierPool(settings))
            maker = ShardVerifier(current, as_asked(run.path, problems), verifier, marks)
            said_s = time.monotonic()
            for i, changes in enumerate(verify_shards(maker, shards, on_ray), 1):
                total.add(changes)
                if time.monotonic() - said_s > _SAY_EVERY_S:
                    said_s = time.monotonic()
                    say(f"{i} of {len(shards)} shards verified, {total.changed} verdicts changed")
    except UsageError as e:
        if begun_here:
            take_back(current, keep_record=False)
            raise UsageError(f"{e}. Nothing was changed") from e
        raise
    finish(current, total)
    return total

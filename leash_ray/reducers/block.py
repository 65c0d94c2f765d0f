"""A block of completions as reducers see it: every text a number, and rows that are alike counted together.

Rows are alike that agree in policy, problem, task, verdict, answer and whether a leniency made them right. One pass
over the rows makes these cells; reducers roll up cells, of which there are far fewer. Only what needs each single
sample looks at the rows again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leash_ray.errors import UsageError
from leash_ray.reducers.arrays import arrow, arrow_table, numpy
from leash_ray.reducers.columns import Coded, coded, coded_without_null, numbers, used
from leash_ray.types import Verdict

if TYPE_CHECKING:
    from leash_ray.reducers.labels import Labels

VERDICTS: Final = tuple(v.value for v in Verdict)
CODE: Final = {v: i for i, v in enumerate(VERDICTS)}
NO_ANSWER_CODE: Final = -1
"""Of a completion without an answer ("NA"), and of a task that is not named."""
MAX_INDEX: Final = 2**31 - 1
_VERDICT_BITS: Final = 3
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cells:
    """Rows that are alike, [cells] each."""

    pair: NDArray[np.int32]
    """Which (policy, problem_id)."""
    verdict: NDArray[np.int8]
    """Place in ``VERDICTS``."""
    answer: NDArray[np.int32]
    """-1: none, or unknown."""
    task: NDArray[np.int32]
    """-1: none."""
    lenient: NDArray[np.bool_]
    count: Ints
    first: Ints
    """Smallest sample index."""
    sums: Mapping[str, Ints]
    """Of the reducers' measures."""


@dataclass(frozen=True)
class Block:
    """One block. Codes are its own: the words that they stand for are in ``words``."""

    words: Mapping[str, pa.Array]
    """policy, problem_id, task, answer."""
    pairs: pa.Table
    """(policy, problem_id) as codes; a pair's number is its row."""
    cells: Cells
    has_answers: bool
    has_leniency: bool
    group: NDArray[np.int32] | Ints
    """Of each row, [rows]; pairs in ascending order of ``groups``."""
    groups: Ints
    """[pairs]."""
    index: NDArray[Any]
    """Sample index of each row, int32 or int64, [rows]."""
    verdict: NDArray[np.int8]
    """Of each row, [rows]."""
    policies: Mapping[str, int]
    """Rows of every policy, also of those that were not asked for."""
    table: pa.Table
    """The rows themselves."""
    texts: Mapping[str, Coded]
    """policy and, where there is one, task of each row: words of their own."""

    @cached_property
    def labels(self) -> "Labels":
        """The groups of policy and task, which several reducers need."""
        from leash_ray.reducers.labels import labels_of

        return labels_of(self)

    @property
    def n_pairs(self) -> int:
        return len(self.groups)


def block_of(table: pa.Table, measures: Sequence[Any] = (), policies: Sequence[str] | None = None) -> Block:
    """A completions table with its required columns, as a block.

    Args:
        measures: reducers, whose :meth:`measures` are summed.
        policies: keep only these, and with ``name@*`` the checkpoints of one.
    """
    table, policy, present = chosen(table, policies)
    if not table.num_rows:
        return _nothing(present, table)
    index = sample_indices(table)
    problem = coded_without_null(table, "problem_id")
    group, groups = _groups(policy.codes, problem)
    verdict = verdicts(table)
    answer = _answers(table, verdict)
    task = coded(table, "task") if "task" in table.schema.names else None
    lenient = None
    if "leniency" in table.schema.names and table.column("leniency").null_count < table.num_rows:
        lenient = (coded(table, "leniency").codes >= 0) & (verdict == CODE["CORRECT"])

    place = _places(groups, int(group.max()) + 1)
    measured = {name: values for one in measures for name, values in one.measures(table).items()}
    cells = _cells(group, place, verdict, answer, task, lenient, index, measured)
    answers = used(cells.answer, answer.words) if answer else Coded(cells.answer, _no_words())
    tasks = used(cells.task, task.words) if task else Coded(cells.task, _no_words())
    policy_of, problem_of = np.divmod(groups, max(1, len(problem.words)))
    problem_codes, problem_words = used(problem_of.astype(np.int32), problem.words)
    policy_codes, policy_words = used(policy_of.astype(np.int32), policy.words)
    return Block(
        words={"policy": policy_words, "problem_id": problem_words, "task": tasks.words, "answer": answers.words},
        pairs=arrow_table({"policy": policy_codes, "problem": problem_codes}),
        cells=Cells(
            cells.pair,
            cells.verdict,
            answers.codes,
            tasks.codes,
            cells.lenient,
            cells.count,
            cells.first,
            cells.sums,
        ),
        has_answers=answer is not None,
        has_leniency="leniency" in table.schema.names,
        group=group,
        groups=groups,
        index=index,
        verdict=verdict,
        policies=present,
        table=table,
        texts={"policy": policy} | ({"task": task} if task else {}),
    )


def chosen(table: pa.Table, policies: Sequence[str] | None) -> tuple[pa.Table, Coded, dict[str, int]]:
    """The rows of some policies, the policy of each, and how many rows every policy has."""
    policy = coded_without_null(table, "policy")
    counts = np.bincount(policy.codes, minlength=len(policy.words))
    names = policy.words.to_pylist()
    present: dict[str, int] = {}
    for name, n in zip(names, counts.tolist(), strict=True):
        if n:
            present[name] = present.get(name, 0) + n
    if policies is not None:
        keep = np.array([wanted(name, policies) for name in names], dtype=bool)
        if not keep[counts > 0].all():
            table = table.filter(arrow(keep[policy.codes]))
            policy = coded_without_null(table, "policy")
    return table, policy, present


def wanted(policy: str, policies: Sequence[str]) -> bool:
    """Whether a policy is one of ``policies``, or a checkpoint of one that is given as ``name@*``."""
    name, at, _ = policy.partition("@")
    return policy in policies or (bool(at) and f"{name}@*" in policies)


def _nothing(present: Mapping[str, int], table: pa.Table) -> Block:
    none, words = np.zeros(0, dtype=np.int64), dict.fromkeys(("policy", "problem_id", "task", "answer"), _no_words())
    narrow, tiny = none.astype(np.int32), none.astype(np.int8)
    cells = Cells(narrow, tiny, narrow, narrow, none.astype(bool), none, none, {})
    pairs = arrow_table({"policy": narrow, "problem": narrow})
    return Block(words, pairs, cells, True, True, none, none, none, tiny, present, table, {})


def _no_words() -> pa.Array:
    return pa.array([], pa.large_string())


def _groups(policy: NDArray[np.int32], problem: Coded) -> tuple[NDArray[np.int32] | Ints, Ints]:
    """policy x problem of each row, and which there are, ascending."""
    n_problems, n = len(problem.words), (int(policy.max()) + 1) * len(problem.words)
    kind = np.int32 if n < MAX_INDEX else np.int64
    group = problem.codes if not policy.any() else policy * kind(n_problems) + problem.codes
    if n > 4 * len(group) + 1000:
        return group, np.unique(group).astype(np.int64)
    seen = np.zeros(n, dtype=bool)
    seen[group] = True
    return group, np.flatnonzero(seen)


def _places(groups: Ints, n: int) -> NDArray[np.int32] | None:
    """Group -> its place among ``groups``; None: too many to list."""
    if n > 8 * len(groups) + 1_000_000:
        return None
    place = np.zeros(n, dtype=np.int32)
    place[groups] = np.arange(len(groups), dtype=np.int32)
    return place


def verdicts(table: pa.Table) -> NDArray[np.int8]:
    """Of each row: its place in ``VERDICTS``, [rows]."""
    codes, words = coded_without_null(table, "verdict")
    code_of = np.array([CODE.get(v, -1) for v in words.to_pylist()], dtype=np.int8)
    verdict = code_of[codes]
    if code_of.min() < 0 and verdict.min() < 0:
        unknown = sorted({words[int(i)].as_py() for i in np.unique(codes) if code_of[i] < 0})
        raise UsageError(f"unknown verdict {', '.join(map(repr, unknown))}: a verdict is one of {', '.join(VERDICTS)}")
    return verdict


def _answers(table: pa.Table, verdict: NDArray[np.int8]) -> Coded | None:
    """Answers of CORRECT and INCORRECT completions: an answer cut off by the length limit is none. None: no column."""
    if "answer" not in table.schema.names:
        return None
    codes, words = coded(table, "answer")
    has_text = verdict <= max(CODE["CORRECT"], CODE["INCORRECT"])  # they come first
    return Coded(np.where(has_text, codes, np.int32(NO_ANSWER_CODE)), words)


def sample_indices(table: pa.Table) -> NDArray[Any]:
    """int32 or int64, [rows]."""
    n_null = table.column("sample_index").null_count
    if n_null:
        raise UsageError(f"column sample_index is missing or null in {n_null} rows: number the samples 0 .. n-1")
    kind = table.schema.field("sample_index").type
    column = numbers(table, "sample_index", kind if kind == pa.int32() else pa.int64())
    assert column is not None
    index = numpy(column)
    if index.min() < 0 or index.max() >= MAX_INDEX:
        raise UsageError(f"sample_index {index.min()} .. {index.max()} found: number the samples 0 .. n-1")
    return np.asarray(index)


def _cells(
    group: NDArray[np.int32] | Ints,
    place: NDArray[np.int32] | None,
    verdict: NDArray[np.int8],
    answer: Coded | None,
    task: Coded | None,
    lenient: NDArray[np.bool_] | None,
    index: Ints,
    measured: Mapping[str, Ints],
) -> Cells:
    # All that makes rows alike, packed into one 64-bit key.
    if place is None:
        group = np.unique(group, return_inverse=True)[1]
    key = group.astype(np.int64)
    parts: dict[str, tuple[int, int]] = {}
    used_bits = int(key.max()).bit_length()

    def pack(name: str, codes: NDArray[Any], bits: int) -> None:
        nonlocal key, used_bits
        np.left_shift(key, bits, out=key)
        np.bitwise_or(key, codes, out=key, casting="unsafe")
        for other, (shift, width) in parts.items():
            parts[other] = (shift + bits, width)
        parts[name], used_bits = (0, bits), used_bits + bits

    if answer is not None:
        pack("answer", answer.codes + np.int32(1), len(answer.words).bit_length())
    pack("verdict", verdict, _VERDICT_BITS)
    if task is not None:
        pack("task", task.codes + np.int32(1), len(task.words).bit_length())
    if lenient is not None:
        pack("lenient", lenient, 1)
    assert used_bits < 64, "a block has at most 2**31 rows"

    keys, count, first, sums = _alike(key, index, measured)

    def unpack(name: str, kind: Any, missing: int) -> NDArray[Any]:
        if name not in parts:
            return np.full(len(keys), missing, dtype=kind)
        shift, width = parts[name]
        return ((keys >> shift) & ((1 << width) - 1)).astype(kind)

    of_pair = keys >> sum(width for _, width in parts.values())
    return Cells(
        pair=of_pair.astype(np.int32) if place is None else place[of_pair],
        verdict=unpack("verdict", np.int8, 0),
        answer=unpack("answer", np.int32, 0) - np.int32(1),
        task=unpack("task", np.int32, 0) - np.int32(1),
        lenient=unpack("lenient", np.bool_, 0),
        count=count,
        first=first,
        sums=sums,
    )


_SAMPLED: Final = 32_768


def _alike(key: Ints, index: Ints, measured: Mapping[str, Ints]) -> tuple[Ints, Ints, Ints, dict[str, Ints]]:
    """The distinct keys: their rows, smallest index, and sums. By hashing, or by sorting where most keys are distinct:
    then each way is the quicker one."""
    some = key[:_SAMPLED]
    if len(np.unique(some)) > 0.9 * len(some):
        order = np.argsort(key, kind="stable")
        key = key[order]
        at = np.flatnonzero(np.diff(key, prepend=-1))
        sums = {name: np.add.reduceat(values[order].astype(np.int64), at) for name, values in measured.items()}
        return key[at], np.diff(at, append=len(key)), np.minimum.reduceat(index[order], at).astype(np.int64), sums
    table = arrow_table({"key": key, "index": index, **measured})
    found = table.group_by("key", use_threads=False).aggregate(
        [([], "count_all"), ("index", "min"), *((name, "sum") for name in measured)]
    )
    sums = {name: numpy(found.column(f"{name}_sum")).astype(np.int64, copy=False) for name in measured}
    keys, count, first = (numpy(found.column(c)) for c in ("key", "count_all", "index_min"))
    return keys, count, first.astype(np.int64, copy=False), sums

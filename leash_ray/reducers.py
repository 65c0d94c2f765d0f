"""Completions -> one mergeable state -> one row per (policy, problem). No Ray.

``CompletionsState`` is a commutative monoid: ``empty``, ``update`` with a block of completions, ``merge``; ``finalize``
once at the end. Any split of the rows into blocks, in any order, finalizes to identical numbers, because everything in
it is an integer count, sum, minimum or maximum:

- log-probabilities and entropies are summed in fixed point, in units of 2**-24 nats: exact for float32 values from 0.5
  nats upwards, within 3e-8 nats a completion below; a float sum would depend on the order of the blocks;
- which sample indices were seen, ERRORs apart from the scored, is kept as runs [start, stop) with a multiplicity. Runs
  merge by adding multiplicities, so duplicate keys are found exactly, wherever the copies were, and a complete problem
  costs one row. They also say how many scored samples come before a sample, whatever gaps and ERRORs there are.

A value that is null, or whose column is missing, makes the statistics that need it missing (NaN); the other statistics
are unaffected, and how many rows lacked it is kept.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from leash_ray.errors import UsageError
from leash_ray.stats.columns import codes, codes_without_null, numbers
from leash_ray.stats.entropy import answer_entropies_nats
from leash_ray.stats.runs import MAX_VALUE, Runs, add_runs, runs_of_values
from leash_ray.types import REQUIRED_COLUMNS, Verdict

READ_COLUMNS: Final = (*REQUIRED_COLUMNS, "task", "answer", "n_tokens", "logprob_sum", "entropy_sum", "leniency")
"""The columns of a completions table that reducing looks at."""

NATS_UNIT: Final = 2.0**-24
_MAX_NATS: Final = 2.0**24  # beyond this a log-probability is no log-probability, and sums could overflow
_VERDICTS: Final = tuple(v.value for v in Verdict)
_CODE: Final = {v: i for i, v in enumerate(_VERDICTS)}

_KEY: Final = ["policy", "problem_id"]
_SUMS: Final = (
    *_VERDICTS,
    "n_tokens",  # over rows that have it
    "n_tokens_rows",
    "logprob_units",  # over rows with both a log-probability and a token count, in NATS_UNIT
    "logprob_tokens",
    "logprob_rows",
    "entropy_units",  # of the mean entropy of a completion's tokens, over rows that have both, in NATS_UNIT
    "entropy_rows",
    "answer_unknown",  # rows whose answer should be there and is not
    "correct_answer_unknown",  # the CORRECT ones among them
    "correct_lenient",  # CORRECT rows that are right by leniency only
    "leniency_unknown",  # CORRECT rows of tables without that column
)
_S, _I = pa.large_string(), pa.int64()
_PROBLEMS = pa.schema(
    [(c, _S) for c in (*_KEY, "task_min", "task_max")]
    + [(c, _I) for c in ("first_correct", "first_error")]
    + [(c, _I) for c in _SUMS]
)
_ANSWERS = pa.schema([(c, _S) for c in (*_KEY, "answer", "verdict")] + [("count", _I), ("first", _I)])
_RUNS = pa.schema(
    [("policy", _S), ("problem_id", _S), ("scored", pa.bool_())] + [(c, _I) for c in ("start", "stop", "multiplicity")]
)
_POLICIES = pa.schema([("policy", _S), ("count", _I)])


@dataclass(frozen=True)
class CompletionsState:
    """What is known about the completions seen so far. Four Arrow tables, each with unique keys."""

    problems: pa.Table
    """One row per (policy, problem_id): counts per verdict, sums, first CORRECT and ERROR sample index."""
    answers: pa.Table
    """(policy, problem_id, answer, verdict) -> count, first sample index. A null answer is "NA". No ERROR rows."""
    runs: pa.Table
    """(policy, problem_id, scored): sample indices [start, stop) seen ``multiplicity`` times; maximal, disjoint runs.
    The ERROR rows are the ones that are not scored."""
    policies: pa.Table
    """policy -> rows, also of the policies that were not asked for."""

    @staticmethod
    def empty() -> "CompletionsState":
        """The state of no completions: merging it changes nothing."""
        return CompletionsState(*(s.empty_table() for s in (_PROBLEMS, _ANSWERS, _RUNS, _POLICIES)))

    def update(self, block: pa.Table | pa.RecordBatch, policies: Collection[str] | None = None) -> "CompletionsState":
        """This state and a block of completions. See :func:`state_of_block`."""
        return self.merge(state_of_block(block, policies))

    def merge(self, *others: "CompletionsState") -> "CompletionsState":
        """This state and others: associative and commutative up to the order of rows."""
        states = [self, *others]
        problems = (
            _concat([s.problems for s in states])
            .group_by(_KEY)
            .agg(
                pl.col("task_min").min(),
                pl.col("task_max").max(),
                pl.col("first_correct", "first_error").min(),
                pl.col(*_SUMS).sum(),
            )
        )
        answers = _concat([s.answers for s in states])
        answers = answers.group_by(*_KEY, "answer", "verdict").agg(pl.col("count").sum(), pl.col("first").min())
        keys = problems.select(_KEY).with_row_index("row")
        runs = _concat([s.runs for s in states]).join(keys, on=_KEY, how="left", maintain_order="left")
        group = 2 * runs["row"].to_numpy().astype(np.int64) + runs["scored"].to_numpy()
        policies = _concat([s.policies for s in states]).group_by("policy").agg(pl.col("count").sum())
        return CompletionsState(
            _arrow(problems, _PROBLEMS),
            _arrow(answers, _ANSWERS),
            _runs_table(keys, add_runs(Runs(group, *(runs[c].to_numpy() for c in ("start", "stop", "multiplicity"))))),
            _arrow(policies, _POLICIES),
        )

    def finalize(self) -> "Reduced":
        """Per-problem numbers, sorted by key.

        Raises:
            UsageError: some (policy, problem_id, sample_index) occurs more than once, or one problem has two tasks.
        """
        problems = _frame(self.problems).sort(_KEY)
        _refuse_two_tasks(problems)
        keys = problems.select(_KEY).with_row_index("row")
        runs = _frame(self.runs).join(keys, on=_KEY, how="left")
        drawn = _refuse_duplicates(keys, runs)
        scored = runs.filter("scored").sort("row", "start")
        answers = _frame(self.answers).join(keys, on=_KEY, how="left")
        is_correct = pl.col("verdict") == "CORRECT"
        correct = answers.filter(is_correct, pl.col("answer").is_not_null())
        # One count per (problem, answer), whatever its verdict; a null answer is "NA". Entropy is a float sum, so its
        # terms come in a fixed order; counts are quicker to sort than texts, and equal counts are equal terms.
        pooled = (
            answers.group_by("row", "answer")
            .agg(
                *(pl.col(c).first() for c in _KEY),
                pl.col("count").sum(),
                correct=pl.col("count").filter(is_correct).sum(),
            )
            .sort("row", "count")
        )
        unknown = problems["answer_unknown"].to_numpy() > 0
        correct_unknown = problems["correct_answer_unknown"].to_numpy() > 0
        entropy = answer_entropies_nats(pooled["count"].to_numpy(), pooled["row"].to_numpy(), len(problems))
        distinct = np.bincount(pooled.filter(pl.col("answer").is_not_null())["row"], minlength=len(problems))
        n_correct = np.bincount(correct["row"], minlength=len(problems))
        correct = correct.with_columns(scored_before=_before(scored, correct["row"], correct["first"]))
        correct = correct.select(*_KEY, "answer", "scored_before").sort(*_KEY, "answer")

        from_zero = scored.filter(pl.col("start") == 0).select(*_KEY, observed="stop")
        problems = (
            problems.join(from_zero, on=_KEY, how="left", maintain_order="left")
            .with_columns(
                n=pl.sum_horizontal(*(v for v in _VERDICTS if v != "ERROR")),
                scored_before_correct=_before(scored, keys["row"], problems["first_correct"]),
                drawn_before_correct=_before(drawn, keys["row"], problems["first_correct"]),
                drawn_before_possible=_before(
                    drawn, keys["row"], problems.select(pl.min_horizontal("first_correct", "first_error")).to_series()
                ),
                observed=pl.col("observed").fill_null(0),
                answer_entropy=pl.Series(np.where(unknown, np.nan, entropy)),
                distinct_answers=_null_where(unknown, distinct),
                distinct_correct_answers=_null_where(correct_unknown, n_correct),
            )
            .rename({"task_min": "task"})
            .drop("task_max")
        )
        pooled = pooled.select(*_KEY, "answer", "count", "correct").sort(*_KEY, "answer")
        return Reduced(problems, correct, pooled, dict(_frame(self.policies).sort("policy").iter_rows()))


@dataclass(frozen=True)
class Reduced:
    """A finalized state."""

    problems: pl.DataFrame
    """One row per (policy, problem_id), sorted: task; counts CORRECT .. ERROR; n (scored: all but ERROR);
    first_correct (null: none); scored_before_correct (how many scored samples have a lower index than that one, null:
    none); drawn_before_correct and drawn_before_possible (how many samples, ERRORs among them, have a lower index than
    the first CORRECT one, or the first that is CORRECT or an ERROR; null: there is none); observed (indices 0 ..
    observed-1 are all there and scored); sums and the numbers of rows behind them; answer_entropy (nats, NaN: missing);
    distinct_answers and distinct_correct_answers (null: missing; "NA" is not among them)."""
    correct_answers: pl.DataFrame
    """Distinct (policy, problem_id, answer) with a CORRECT verdict, sorted; scored_before: how many scored samples of
    the problem have a lower index than the first such sample."""
    answers: pl.DataFrame
    """Distinct (policy, problem_id, answer), sorted; answer null: "NA", the pooled completions without an answer.
    count: scored completions that give it; correct: the CORRECT ones among them."""
    policies: dict[str, int]
    """Rows per policy, of every policy in the data."""


def state_of_block(block: pa.Table | pa.RecordBatch, policies: Collection[str] | None = None) -> CompletionsState:
    """The state of one block of completions.

    Args:
        block: a completions table. Strings may be string, large_string, or dictionaries of them; integers of any width;
            any optional column may be missing.
        policies: keep only these policies, and with ``name@*`` the checkpoints of one (all are still counted in
            ``policies``). None: keep all.

    Raises:
        UsageError: a required column is missing or has nulls, a value has the wrong type, a sample index is negative
            or above 2**31 - 1, or a verdict is none of the five.
    """
    if block.num_rows == 0:
        return CompletionsState.empty()
    missing = [c for c in REQUIRED_COLUMNS if c not in block.schema.names]
    if missing:
        raise UsageError(
            f"not a completions table: missing column {', '.join(missing)} (it has: {', '.join(block.schema.names)}); "
            f"needed are {', '.join(REQUIRED_COLUMNS)}"
        )
    table = pa.table({c: block.column(c) for c in READ_COLUMNS if c in block.schema.names})
    policy_codes, policy_names = codes_without_null(table, "policy")
    counts = np.bincount(policy_codes, minlength=len(policy_names))
    present = pl.DataFrame({"policy": policy_names, "count": counts}).filter(pl.col("count") > 0)
    if policies is not None and not all(_wanted(name, policies) for name in present["policy"]):
        keep = np.array([_wanted(name, policies) for name in policy_names])[policy_codes]
        table = table.filter(pa.array(keep))
        if table.num_rows == 0:
            return replace(CompletionsState.empty(), policies=_arrow(present, _POLICIES))
        policy_codes = policy_codes[keep]

    problem_codes, problem_ids = codes_without_null(table, "problem_id")
    group = policy_codes.astype(np.int64) * len(problem_ids) + problem_codes
    index = _sample_indices(table)
    rows, answer_texts, task_names = _rows(table, group, index)

    def names(group_codes: pl.Series) -> dict[str, pl.Series]:
        policy, problem = np.divmod(group_codes.to_numpy(), len(problem_ids))
        return {"policy": policy_names.gather(policy), "problem_id": problem_ids.gather(problem)}

    problems = rows.group_by("group").agg(
        pl.col("task_min").min(),
        pl.col("task_max").max(),
        pl.col("first_correct", "first_error").min(),
        *((pl.col("verdict") == i).sum().alias(v) for i, v in enumerate(_VERDICTS)),
        pl.col(*_SUMS[len(_VERDICTS) :]).sum(),
    )
    problems = problems.with_columns(
        **names(problems["group"]),
        task_min=task_names.gather(problems["task_min"]),
        task_max=task_names.gather(problems["task_max"]),
    )
    # One integer key: groups x answers x verdicts of one block stay far below 2**63.
    answers = (
        rows.filter(pl.col("verdict") != _CODE["ERROR"])
        .select(
            "index",
            key=(pl.col("group") * (len(answer_texts) + 1) + pl.col("answer")) * len(_VERDICTS) + pl.col("verdict"),
        )
        .group_by("key")
        .agg(pl.len().alias("count"), pl.col("index").min().alias("first"))
        .with_columns(cell=pl.col("key") // len(_VERDICTS), verdict=pl.col("key") % len(_VERDICTS))
    )
    answer_codes = (answers["cell"] % (len(answer_texts) + 1)).to_numpy()
    answers = answers.with_columns(
        **names(answers["cell"] // (len(answer_texts) + 1)),
        answer=pl.concat([pl.Series([None], dtype=pl.String), answer_texts]).gather(answer_codes),
        verdict=pl.Series(_VERDICTS).gather(answers["verdict"]),
    )
    dense = np.full(len(policy_names) * len(problem_ids), -1)
    dense[problems["group"].to_numpy()] = np.arange(len(problems))
    scored = rows["verdict"].to_numpy() != _CODE["ERROR"]
    runs = _runs_table(problems.select(_KEY), runs_of_values(2 * dense[group] + scored, index))
    return CompletionsState(_arrow(problems, _PROBLEMS), _arrow(answers, _ANSWERS), runs, _arrow(present, _POLICIES))


def _wanted(policy: str, policies: Collection[str]) -> bool:
    name, at, _ = policy.partition("@")
    return policy in policies or (bool(at) and f"{name}@*" in policies)


def _rows(
    table: pa.Table, group: NDArray[np.int64], index: NDArray[np.int64]
) -> tuple[pl.DataFrame, pl.Series, pl.Series]:
    """Per-row numbers, and what the answer codes (1 + position; 0: null) and task codes in them stand for."""
    raw_verdicts, verdict_names = codes_without_null(table, "verdict")
    unknown = sorted(set(verdict_names.gather(np.unique(raw_verdicts))) - set(_VERDICTS))
    if unknown:
        raise UsageError(f"unknown verdict {', '.join(map(repr, unknown))}: a verdict is one of {', '.join(_VERDICTS)}")
    verdict = np.array([_CODE.get(v, -1) for v in verdict_names], dtype=np.int64)[raw_verdicts]
    has_text = (verdict == _CODE["CORRECT"]) | (verdict == _CODE["INCORRECT"])

    if "answer" in table.schema.names:
        answer, answer_texts = codes(table, "answer")
        answer_unknown = has_text & (answer < 0)
        answer = np.where(has_text, answer + 1, 0)  # an answer cut off by the length limit is none
    else:
        answer, answer_texts = np.zeros(len(group), dtype=np.int64), pl.Series([], dtype=pl.String)
        answer_unknown = np.ones(len(group), dtype=bool)  # also where nothing was extracted: missing, not 0

    task_names = pl.Series([], dtype=pl.String)
    task = pl.Series([None], dtype=pl.Int64).new_from_index(0, len(group))
    if "task" in table.schema.names:
        task_codes, unsorted = codes(table, "task")
        task_names = unsorted.sort()
        rank = pl.Series([*(unsorted.rank("ordinal") - 1).to_list(), None], dtype=pl.Int64)
        task = rank.gather(np.where(task_codes < 0, len(unsorted), task_codes))

    correct = verdict == _CODE["CORRECT"]
    lenient = np.zeros(len(group), dtype=bool)
    if "leniency" in table.schema.names:
        lenient = correct & (codes(table, "leniency")[0] >= 0)
    n_tokens = numbers(table, "n_tokens", pa.int64())
    nats = numbers(table, "logprob_sum", pa.float64())
    entropy = numbers(table, "entropy_sum", pa.float64())
    rows = pl.DataFrame({"group": group, "index": index, "verdict": verdict, "answer": answer, "task_min": task})
    rows = rows.with_columns(n_tokens=n_tokens, nats=nats, entropy=entropy / n_tokens).with_columns(
        scored=pl.col("nats").is_finite() & (pl.col("nats").abs() <= _MAX_NATS) & pl.col("n_tokens").is_not_null(),
        has_entropy=pl.col("entropy").is_finite() & pl.col("entropy").is_between(0, _MAX_NATS),
    )
    when_scored = pl.when("scored")
    rows = rows.with_columns(
        task_max="task_min",
        first_correct=pl.when(pl.col("verdict") == _CODE["CORRECT"]).then("index"),
        first_error=pl.when(pl.col("verdict") == _CODE["ERROR"]).then("index"),
        correct_lenient=pl.Series(lenient).cast(pl.Int64),
        leniency_unknown=pl.Series(correct & ("leniency" not in table.schema.names)).cast(pl.Int64),
        n_tokens_rows=pl.col("n_tokens").is_not_null().cast(pl.Int64),
        logprob_units=when_scored.then((pl.col("nats") / NATS_UNIT).round()).cast(pl.Int64),
        logprob_tokens=when_scored.then("n_tokens"),
        logprob_rows=pl.col("scored").fill_null(False).cast(pl.Int64),
        entropy_units=pl.when("has_entropy").then((pl.col("entropy") / NATS_UNIT).round()).cast(pl.Int64),
        entropy_rows=pl.col("has_entropy").fill_null(False).cast(pl.Int64),
        answer_unknown=pl.Series(answer_unknown).cast(pl.Int64),
        correct_answer_unknown=pl.Series(
            answer_unknown & correct if "answer" in table.schema.names else answer_unknown
        ).cast(pl.Int64),
    )
    return rows, answer_texts, task_names


def _sample_indices(table: pa.Table) -> NDArray[np.int64]:
    column = numbers(table, "sample_index", pa.int64())
    n_null = column.null_count()
    if n_null:
        raise UsageError(f"column sample_index is missing or null in {n_null} rows: number the samples 0 .. n-1")
    index = column.to_numpy()
    if index.min() < 0 or index.max() >= MAX_VALUE:
        raise UsageError(f"sample_index {index.min()} .. {index.max()} found: number the samples 0 .. n-1")
    return index


def _runs_table(keys: pl.DataFrame, runs: Runs) -> pa.Table:
    """Runs whose group numbers are 2 * row of ``keys`` (policy, problem_id) + whether they are scored."""
    frame = keys[runs.group // 2] if len(runs.group) else keys.clear()
    frame = frame.with_columns(scored=runs.group % 2 == 1)
    return _arrow(frame.with_columns(start=runs.start, stop=runs.stop, multiplicity=runs.multiplicity), _RUNS)


def _before(runs: pl.DataFrame, row: pl.Series, index: pl.Series) -> pl.Series:
    """How many samples of ``runs`` come before one of them, within their problem; null where ``index`` is.

    Args:
        runs: disjoint runs of multiplicity 1 of the samples that count, sorted by row, then start.
        row: the problem's row, of each sample asked about.
        index: the sample's index, in one of the runs of its row.
    """
    rows, start, stop = (runs[c].to_numpy().astype(np.int64) for c in ("row", "start", "stop"))
    total = np.cumsum(stop - start) - (stop - start)  # before each run, over all rows
    asked = index.is_not_null().to_numpy()
    row_asked, index_asked = (s.filter(pl.Series(asked)).to_numpy().astype(np.int64) for s in (row, index))
    run = np.searchsorted((rows << 32) | start, (row_asked << 32) | index_asked, side="right") - 1
    before = total[run] + index_asked - start[run] - total[np.searchsorted(rows, row_asked)]
    found = np.zeros(len(asked), dtype=np.int64)
    found[asked] = before
    return _null_where(~asked, found)


def _refuse_two_tasks(problems: pl.DataFrame) -> None:
    by_id = problems.group_by("problem_id").agg(pl.col("task_min").min(), pl.col("task_max").max())
    clash = by_id.filter(pl.col("task_min") != pl.col("task_max")).sort("problem_id")
    if len(clash):
        shown = "; ".join(f"{i!r} in {a!r} and {b!r}" for i, a, b in clash.head(10).iter_rows())
        raise UsageError(
            f"{len(clash)} problem ids occur in more than one task: {shown}. A problem id names one problem "
            "everywhere: prefix the ids with the task's name"
        )


def _refuse_duplicates(keys: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """Every sample once, scored or not: disjoint runs (row, start, stop), sorted; or UsageError."""
    # One copy of a sample may be an ERROR and another not.
    columns = (runs[c].to_numpy().astype(np.int64) for c in ("row", "start", "stop", "multiplicity"))
    both = add_runs(Runs(*columns))
    twice = both.multiplicity > 1
    if not twice.any():
        every = pl.DataFrame({"row": both.group, "start": both.start, "stop": both.stop})
        return every.sort("row", "start")
    again = keys[both.group[twice]].drop("row")
    again = again.with_columns(start=both.start[twice], stop=both.stop[twice], times=both.multiplicity[twice])
    n_keys = int((again["stop"] - again["start"]).sum())
    shown: list[str] = []
    for policy, problem, start, stop, times in again.head(10).iter_rows():
        shown += [f"({policy}, {problem}, {i}) x{times}" for i in range(start, min(stop, start + 10 - len(shown)))]
    raise UsageError(
        f"{n_keys} keys (policy, problem_id, sample_index) occur more than once"
        f"{', the first ten' if n_keys > 10 else ''}: {', '.join(shown)}. Give each completion once: "
        "leave out the copied file, or number the samples of a problem 0 .. n-1 across files"
    )


def _null_where(mask: NDArray[np.bool_], values: NDArray[np.int64]) -> pl.Series:
    return pl.select(pl.when(pl.Series(~mask)).then(pl.Series(values, dtype=pl.Int64))).to_series()


def _concat(tables: Sequence[pa.Table]) -> pl.DataFrame:
    return _frame(pa.concat_tables(tables))


def _frame(table: pa.Table) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(table))


def _arrow(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """As Arrow, with exactly this schema."""
    return frame.select(schema.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)

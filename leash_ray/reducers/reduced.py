"""A finalized state: one row per (policy, problem), and one per distinct answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from leash_ray.errors import UsageError
from leash_ray.reducers.approximate import approximate
from leash_ray.reducers.block import VERDICTS, Ints
from leash_ray.reducers.halves import key_of
from leash_ray.reducers.registry import REDUCERS, bounded
from leash_ray.reducers.samples import Drawn
from leash_ray.reducers.spreads import Spreads
from leash_ray.stats.entropy import answer_entropies_nats

_KEY = ["policy", "problem_id"]
_NO_HALVES = pl.DataFrame(schema={"pair": pl.Int32, "answer": pl.Int32, "odd": pl.Int64})


@dataclass(frozen=True)
class Reduced:
    """A finalized state."""

    problems: pl.DataFrame
    """One row per (policy, problem_id), sorted: task; counts CORRECT .. ERROR; n (scored: all but ERROR);
    first_correct (null: none); scored_before_correct (how many scored samples have a lower index than that one, null:
    none); drawn_before_correct and drawn_before_possible (how many samples, ERRORs among them, have a lower index than
    the first CORRECT one, or the first that is CORRECT or an ERROR; null: there is none); observed (indices 0 ..
    observed-1 are all there and scored); sums and the numbers of rows behind them; answer_entropy (nats, NaN: missing);
    distinct_answers and distinct_correct_answers (null: missing; "NA" is not among them); scored_odd and correct_odd
    (scored and CORRECT samples with an odd index)."""
    answers: pl.DataFrame
    """Distinct (policy, problem_id, answer), in no order: row (in ``problems``), answer (number in ``answer_texts``;
    null: "NA", the pooled completions without an answer), count (scored completions that give it), correct (the CORRECT
    ones among them), correct_odd (those of them with an odd index), scored_before (how many scored samples of the
    problem come before the first CORRECT one; null: there is none)."""
    answer_texts: pl.Series
    policies: dict[str, int]
    """Rows per policy, of every policy in the data."""
    spreads: Spreads | None = None
    """None: they were not reduced."""
    n_kept: int | None = None
    """Distinct answers that were kept of a (policy, problem); None: all. Where they are fewer than there are,
    ``answer_unknown`` is set, and the columns ``approximate_*`` (:class:`~leash_ray.stats.bottom_k.Sampled`, and
    whether they are estimates) are in ``problems``; null: the answers are unknown for other reasons."""

    @property
    def correct_answers(self) -> pl.DataFrame:
        """Distinct (policy, problem_id, answer) with a CORRECT verdict, sorted, and scored_before."""
        correct = self.answers.filter(pl.col("answer").is_not_null(), pl.col("correct") > 0)
        keys = self.problems[correct["row"]].select(_KEY)
        texts = self.answer_texts.gather(correct["answer"]).alias("answer")
        return keys.with_columns(texts, correct["scored_before"]).sort(*_KEY, "answer")


def reduced(state: Any) -> Reduced:
    """Finalize a canonical state with what estimates need. Errors of ``CompletionsState.finalize``."""
    n_pairs = len(state.pairs)
    parts = {name: REDUCERS[name].finalize(table, n_pairs) for name, table in state.tables.items()}
    keys = pl.DataFrame(pl.from_arrow(state.keys)).with_columns(pl.col(_KEY).cast(pl.String))
    drawn = Drawn.of(parts["samples"], parts["errors"])
    _refuse_repeated(keys, drawn)
    problems = keys.with_columns(task=_tasks(keys, parts["tasks"], state.words["task"]))
    problems = pl.concat([problems, parts["verdicts"], parts["first_hits"], parts["tokens"]], how="horizontal")

    kept = bounded(parts)
    if kept is None:
        answers: pl.DataFrame = parts["answers"]
    else:
        approximated = approximate(kept, parts[kept.name], n_pairs)
        answers = approximated.answers
        problems = problems.with_columns(
            pl.col("answer_unknown") + pl.Series(approximated.is_cut, dtype=pl.Int64),
            pl.col("correct_answer_unknown") + pl.Series(approximated.is_correct_cut, dtype=pl.Int64),
            **_known(approximated.estimates, problems["answer_unknown"]),
        )
    pair, code, count = (answers[c].to_numpy() for c in ("pair", "answer", "count"))
    is_correct = (answers["correct"].to_numpy() > 0) & (code >= 0)
    halves: pl.DataFrame = parts.get("halves", _NO_HALVES)
    correct_odd = np.zeros(n_pairs, dtype=np.int64)
    np.add.at(correct_odd, halves["pair"].to_numpy(), halves["odd"].to_numpy())
    unknown = problems["answer_unknown"].to_numpy() > 0
    correct_unknown = problems["correct_answer_unknown"].to_numpy() > 0
    first, first_error = problems["first_correct"], problems["first_error"]
    possible = pl.select(pl.min_horizontal(first, first_error)).to_series()
    places = np.arange(n_pairs)
    problems = problems.with_columns(
        n=pl.sum_horizontal(*(v for v in VERDICTS if v != "ERROR")),
        scored_before_correct=_before(drawn.scored, places, first),
        drawn_before_correct=_before(drawn.drawn, places, first),
        drawn_before_possible=_before(drawn.drawn, places, possible),
        observed=pl.Series(drawn.scored.from_zero(n_pairs)),
        answer_entropy=pl.Series(np.where(unknown, np.nan, answer_entropies_nats(count, pair, n_pairs))),
        distinct_answers=_null_where(unknown, np.bincount(pair[code >= 0], minlength=n_pairs)),
        distinct_correct_answers=_null_where(correct_unknown, np.bincount(pair[is_correct], minlength=n_pairs)),
        scored_odd=pl.Series(drawn.scored.odd(n_pairs)),
        correct_odd=_null_where(np.full(n_pairs, "halves" not in parts), correct_odd),
    )
    order = problems.select(pl.arg_sort_by(_KEY)).to_series().to_numpy()
    row_of = np.empty(n_pairs, dtype=np.int64)
    row_of[order] = places
    first_of_answer = answers["first"].set(pl.Series(~is_correct), None)
    answers = pl.DataFrame(
        {
            "row": row_of[pair],
            "answer": answers["answer"].cast(pl.Int64).set(answers["answer"] < 0, None),
            "count": count,
            "correct": answers["correct"],
            "correct_odd": _odd(halves, pair, code, is_correct),
            "scored_before": _before(drawn.scored, pair, first_of_answer),
        }
    )
    texts = pl.Series(pl.from_arrow(state.words["answer"]), dtype=pl.String)
    spreads = None
    if "lengths" in parts and "token_quantiles" in parts:
        spreads = Spreads.of(parts["lengths"], parts["token_quantiles"], state.words["policy"], state.words["task"])
    return Reduced(
        problems[order], answers, texts, dict(sorted(state.policies.items())), spreads, kept.size if kept else None
    )


def _odd(halves: pl.DataFrame, pair: Ints, code: Ints, is_correct: NDArray[np.bool_]) -> Ints:
    """Of each correct (pair, answer) its count in sorted ``halves``; 0 where it has none."""
    found = np.zeros(len(pair), dtype=np.int64)
    if len(halves):
        key, places = key_of(halves["pair"].to_numpy(), halves["answer"].to_numpy()), np.flatnonzero(is_correct)
        asked = key_of(pair[places], code[places])
        at = np.minimum(np.searchsorted(key, asked), len(key) - 1)
        found[places] = np.where(key[at] == asked, halves["odd"].to_numpy()[at], 0)
    return found


def _known(estimates: pl.DataFrame, answer_unknown: pl.Series) -> dict[str, pl.Series]:
    """The estimates of pairs whose answers were all told."""
    names = {f"approximate_{name}": estimates[name].cast(pl.Float64) for name in estimates.columns}
    return {name: values.set(answer_unknown > 0, None) for name, values in names.items()}


def joined(parts: Sequence[Reduced]) -> Reduced:
    """Parts of disjoint problems as one."""
    if len(parts) == 1:
        return parts[0]
    problems = pl.concat([part.problems for part in parts])
    order = problems.select(pl.arg_sort_by(_KEY)).to_series()
    row_of = np.empty(len(problems), dtype=np.int64)
    row_of[order.to_numpy()] = np.arange(len(problems))
    n_rows = n_texts = 0
    answers, policies = [], dict[str, int]()
    for part in parts:
        answers.append(
            part.answers.with_columns(
                row=pl.Series(row_of[n_rows:])[: len(part.problems)].gather(part.answers["row"]),
                answer=pl.col("answer") + n_texts,
            )
        )
        n_rows, n_texts = n_rows + len(part.problems), n_texts + len(part.answer_texts)
        for name, n in part.policies.items():
            policies[name] = policies.get(name, 0) + n
    texts = pl.concat([part.answer_texts for part in parts])
    some = [part for part in parts if len(part.problems)] or parts
    spreads = [part.spreads for part in some if part.spreads is not None]
    return Reduced(
        problems[order],
        pl.concat(answers),
        texts,
        dict(sorted(policies.items())),
        Spreads.joined(spreads) if len(spreads) == len(some) else None,
        some[0].n_kept,
    )


def differences(ours: Reduced, theirs: Reduced) -> list[str]:
    """Where two finalized states differ, in words."""
    found = []
    if ours.policies != theirs.policies:
        found.append(f"completions by policy: {ours.policies} and {theirs.policies}")
    columns = [c for c in ours.problems.columns if c not in _KEY]
    both = ours.problems.join(theirs.problems, on=_KEY, how="full", suffix=" ", coalesce=False)
    for column in [*_KEY, *columns]:
        n = int(both.select(pl.col(column).ne_missing(pl.col(f"{column} ")).sum()).item())
        if n:
            found.append(f"{column} of {n} of {len(both)} (policy, problem)")
    tables = [
        one.answers.select(
            *(one.problems[c].gather(one.answers["row"]).alias(c) for c in _KEY),
            one.answer_texts.gather(one.answers["answer"]).alias("answer"),
            "count",
            "correct",
            "correct_odd",
            "scored_before",
        ).sort(*_KEY, "answer")
        for one in (ours, theirs)
    ]
    if not tables[0].equals(tables[1]):
        found.append(f"answers ({len(tables[0])} and {len(tables[1])} distinct ones)")
    if ours.spreads is not None and theirs.spreads is not None:
        found += ours.spreads.differences(theirs.spreads)
    return found


def _tasks(keys: pl.DataFrame, tasks: pl.DataFrame, words: pa.Array) -> pl.Series:
    """The task of each pair, [pairs]; null: none is named."""
    named = tasks.with_columns(
        problem_id=keys["problem_id"].gather(tasks["pair"]),
        task=pl.Series(words.to_pylist(), dtype=pl.String).gather(tasks["task"]),
    )
    by_id = named.group_by("problem_id").agg(least=pl.col("task").min(), most=pl.col("task").max())
    clash = by_id.filter(pl.col("least") != pl.col("most")).sort("problem_id")
    if len(clash):
        shown = "; ".join(f"{i!r} in {a!r} and {b!r}" for i, a, b in clash.head(10).iter_rows())
        raise UsageError(
            f"{len(clash)} problem ids occur in more than one task: {shown}. A problem id names one problem "
            "everywhere: prefix the ids with the task's name"
        )
    number = np.full(len(keys), len(words), dtype=np.int64)
    number[tasks["pair"].to_numpy()] = tasks["task"].to_numpy()
    return pl.Series([*words.to_pylist(), None], dtype=pl.String).gather(number)


def _before(ranks: Any, pair: NDArray[Any], index: pl.Series) -> pl.Series:
    """How many samples come before one of them; null where ``index`` is."""
    asked = index.is_not_null().to_numpy()
    found = np.zeros(len(asked), dtype=np.int64)
    found[asked] = ranks.before(pair[asked].astype(np.int64), index.drop_nulls().to_numpy())
    return _null_where(~asked, found)


def _refuse_repeated(keys: pl.DataFrame, drawn: Drawn) -> None:
    """Refuse samples that occur more than once, the first ten of them shown."""
    pair, index, times = drawn.repeated()
    if not len(pair):
        return
    again = keys[pair].with_columns(index=pl.Series(index), times=pl.Series(times)).sort(*_KEY, "index")
    shown = [f"({policy}, {problem}, {i}) x{n}" for policy, problem, i, n in again.head(10).iter_rows()]
    raise UsageError(
        f"{len(again)} keys (policy, problem_id, sample_index) occur more than once"
        f"{', the first ten' if len(again) > 10 else ''}: {', '.join(shown)}. Give each completion once: "
        "leave out the copied file, or number the samples of a problem 0 .. n-1 across files"
    )


def _null_where(mask: NDArray[np.bool_], values: Ints) -> pl.Series:
    return pl.select(pl.when(pl.Series(~mask)).then(pl.Series(values, dtype=pl.Int64))).to_series()

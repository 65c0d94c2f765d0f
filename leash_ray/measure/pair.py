"""A base and a trained policy on the same problems, as arrays: what the statistics take.

Shapes: N problems; A distinct (problem, answer). Row i of every [N] array is the same problem.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from leash_ray.reducers import NATS_UNIT, Reduced
from leash_ray.stats.bootstrap import cluster_codes
from leash_ray.stats.cover import above_guessing

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
SIDES = ("base", "trained")


@dataclass(frozen=True, slots=True)
class PolicyData:
    """One policy's samples of N problems."""

    n: Ints
    """Scored samples (all but ERRORs), [N]."""
    c: Ints
    """CORRECT ones among them, [N]."""
    n_errors: Ints
    """Samples that are ERRORs, [N]; they are no part of n."""
    first: Ints
    """Scored samples before the first CORRECT one, [N]; -1: there is none."""
    first_index: Ints
    """Sample index of the first CORRECT one, [N]; -1: there is none."""
    observed: Ints
    """Indices 0 .. observed-1 were all sampled and scored, [N]."""
    nats: Floats
    """Sum of -ln p of the sampled tokens, [N]; NaN: not recorded for all of them."""
    tokens: Floats
    """Sampled tokens, [N]; NaN: not recorded for all completions."""
    token_entropy: Floats
    """Entropy of the next token, mean over completions of the mean over steps, [N], nats; NaN: not scored for all."""
    odd: tuple[Ints, Ints] | None = None
    """Scored samples with an odd index, and the CORRECT ones among them, [N] each; None: unknown."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The distinct answers to each problem, by either policy; completions without an answer are one answer, "NA"."""

    problem: Ints
    """[A], sorted."""
    count: tuple[Ints, Ints]
    """Scored samples of base and of trained that give it, [A] each."""
    correct: tuple[Ints, Ints]
    """The CORRECT ones among them, [A] each."""
    before: tuple[Ints, Ints]
    """Scored samples before the first CORRECT one that gives it, [A] each; -1: there is none."""
    correct_odd: tuple[Ints, Ints] | None = None
    """CORRECT samples with an odd index that give it, [A] each; None: unknown."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Both policies on N problems."""

    base: PolicyData
    trained: PolicyData
    answers: Answers | None
    """None: the answers are not all known."""
    correct: Answers | None
    """The correct answers alone; None: they are not all known."""
    k: int
    """Smallest number of scored samples over policies and problems."""
    clusters: Ints | None = field(default=None)
    """Cluster of each problem, [N], numbered from 0 without gaps; None: each is its own."""
    guess: Floats | None = field(default=None)
    """Chance that a guess is right, [N]; NaN: unknown. None: unknown for all."""

    def __len__(self) -> int:
        return len(self.base.n)

    @property
    def sides(self) -> tuple[PolicyData, PolicyData]:
        return self.base, self.trained

    @property
    def k_known(self) -> int:
        """The largest k at which it is known of every problem and policy whether it was found: a correct sample is
        among the first k, or k samples were drawn. Above ``k`` only where sampling stopped at problems that were
        decided, so that a policy drew more samples of some problems than of others."""
        drawn = [side.n + side.n_errors for side in self.sides]
        if not len(self) or all(n.min() == n.max() for n in drawn):
            return self.k
        unsolved = np.concatenate([side.n[side.first < 0] for side in self.sides])
        most = max(int(side.n.max()) for side in self.sides)
        return max(self.k, min(int(unsolved.min()), most) if len(unsolved) else most)

    @property
    def stopped_early(self) -> bool:
        """Whether how many samples a problem got depended on them."""
        return self.k_known > self.k


@dataclass(frozen=True, slots=True)
class AnswersOfTwo:
    """The distinct answers to the problems of two policies."""

    rows: pl.DataFrame
    """Of each (problem, answer), in no order: problem (place in ``problem_ids``), answer (place in ``texts``; null:
    "NA"), and count, correct, correct_odd and scored_before (null: none) of both policies, by suffix."""
    problem_ids: pl.Series
    texts: pl.Series
    n_kept: int | None = None
    """As of :class:`Reduced`."""


def answers_of(reduced: Reduced, base: str, trained: str) -> AnswersOfTwo:
    """Distinct (problem, answer) of either policy."""
    problem_ids = reduced.problems["problem_id"].unique().sort()
    problem = reduced.problems["problem_id"].replace_strict(
        problem_ids, pl.int_range(len(problem_ids), eager=True), return_dtype=pl.Int64
    )
    found = None
    for side, name in zip(SIDES, (base, trained), strict=True):
        own = (reduced.problems["policy"] == name).gather(reduced.answers["row"])
        rows = reduced.answers.filter(own)
        rows = rows.with_columns(problem=problem.gather(rows["row"])).drop("row")
        rows = rows.rename({c: f"{c}_{side}" for c in ("count", "correct", "correct_odd", "scored_before")})
        on = ["problem", "answer"]
        found = rows if found is None else found.join(rows, on=on, how="full", coalesce=True, nulls_equal=True)
    assert found is not None
    return AnswersOfTwo(found, problem_ids, reduced.answer_texts, reduced.n_kept)


def pair_of(rows: pl.DataFrame, answers: AnswersOfTwo, k: int) -> Pair:
    """The arrays of some problems.

    Args:
        rows: one row per problem that both policies have scored samples of: problem_id, :class:`Reduced`'s columns of
            problems with the suffixes _base and _trained, and if known cluster and guess.
        answers: :func:`answers_of` them, of at least these problems.
        k: smallest number of scored samples.
    """
    place = pl.DataFrame({"problem_id": answers.problem_ids}).join(
        rows.select("problem_id").with_row_index("place"), on="problem_id", how="left", maintain_order="left"
    )["place"]
    every = (
        answers.rows.with_columns(problem=place.gather(answers.rows["problem"])).drop_nulls("problem").sort("problem")
    )
    known = not sum(int(rows[f"answer_unknown_{side}"].sum()) for side in SIDES)
    correct_known = not sum(int(rows[f"correct_answer_unknown_{side}"].sum()) for side in SIDES)
    either = pl.sum_horizontal(*(pl.col(f"correct_{side}").fill_null(0) for side in SIDES)) > 0
    correct = every.filter(either, pl.col("answer").is_not_null())
    # One order, whatever the numbers of the answers: sums of floats depend on it.
    correct = correct.with_columns(answers.texts.gather(correct["answer"]).alias("answer")).sort("problem", "answer")
    clusters = guess = None
    if "cluster" in rows.columns:
        clusters = cluster_codes(rows["cluster"].to_numpy())
    if "guess" in rows.columns:
        guess = rows["guess"].fill_null(np.nan).to_numpy()
    return Pair(
        base=_side(rows, "base"),
        trained=_side(rows, "trained"),
        answers=_answers(every) if known else None,
        correct=_answers(correct) if correct_known else None,
        k=k,
        clusters=clusters,
        guess=guess,
    )


def _side(rows: pl.DataFrame, side: str) -> PolicyData:
    def ints(name: str, missing: int = 0) -> Any:
        return rows[f"{name}_{side}"].fill_null(missing).to_numpy().astype(np.int64)

    n, n_errors = ints("n"), ints("ERROR")
    n_rows = n + n_errors
    with np.errstate(invalid="ignore", divide="ignore"):
        entropy = ints("entropy_units") * NATS_UNIT / ints("entropy_rows")
    return PolicyData(
        n=n,
        c=ints("CORRECT"),
        n_errors=n_errors,
        first=ints("scored_before_correct", -1),
        first_index=ints("first_correct", -1),
        observed=ints("observed"),
        nats=np.where(ints("logprob_rows") == n_rows, (0.0 - ints("logprob_units")) * NATS_UNIT, np.nan),
        tokens=np.where(ints("n_tokens_rows") == n_rows, ints("n_tokens"), np.nan),
        token_entropy=np.where((ints("entropy_rows") == n_rows) & (n_rows > 0), entropy, np.nan),
        odd=None if rows[f"correct_odd_{side}"].null_count() else (ints("scored_odd"), ints("correct_odd")),
    )


def _answers(frame: pl.DataFrame) -> Answers:
    def both(name: str, missing: int) -> tuple[Ints, Ints]:
        base, trained = (frame[f"{name}_{s}"].fill_null(missing).to_numpy().astype(np.int64) for s in SIDES)
        return base, trained

    return Answers(
        problem=frame["problem"].to_numpy().astype(np.int64),
        count=both("count", 0),
        correct=both("correct", 0),
        correct_odd=both("correct_odd", 0),
        before=both("scored_before", -1),
    )


def within(before: Ints, k: int) -> NDArray[np.bool_]:
    """What is found among the first k scored samples; ``before``: how many came before it, -1: never found."""
    return (before >= 0) & (before < k)


def only_above_guessing(pair: Pair, zeta: float) -> Pair:
    """The pair without what a policy finds no more often than guessing would, at level ``zeta``, as if it had never
    been right there. Problems of unknown guess rate stay as they are."""
    if pair.guess is None:
        return pair
    rate = np.nan_to_num(pair.guess, nan=0.0)
    real = [above_guessing(side.n, side.c, rate, zeta) for side in pair.sides]
    base, trained = (
        replace(
            side,
            c=np.where(keep, side.c, 0),
            first=np.where(keep, side.first, -1),
            first_index=np.where(keep, side.first_index, -1),
        )
        for side, keep in zip(pair.sides, real, strict=True)
    )
    correct = pair.correct
    if correct is not None:
        by_base, by_trained = (keep[correct.problem] for keep in real)
        correct = replace(
            correct,
            correct=(np.where(by_base, correct.correct[0], 0), np.where(by_trained, correct.correct[1], 0)),
            before=(np.where(by_base, correct.before[0], -1), np.where(by_trained, correct.before[1], -1)),
        )
    return replace(pair, base=base, trained=trained, correct=correct)

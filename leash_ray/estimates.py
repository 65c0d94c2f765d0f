"""Finalized states of a base and a trained policy -> the estimates that reports and ``support.json`` show.

Which problems count: support and every mean are over the problems for which *both* policies have at least one scored
completion (a problem where a policy has nothing but ERRORs says nothing about that policy). The others are counted in
``n_problems_unpaired``.

Support compares equal sample sizes: k is the smallest number of scored completions over (policy, problem), and a
problem or an answer is found by a policy if it is among that policy's first k scored completions of the problem, in
order of sample index. More samples find more, so whoever drew more would otherwise seem to expand. Where sampling
stopped at problems that were decided, what the later samples of a solved problem would have been does not matter: k of
the unit ``problem`` is then the largest at which every (policy, problem) is known, found within the first k or drawn k
times; the unit ``answer``, pass@k and what chance gives cannot be had there beyond the smallest number.

Two assumptions: the samples of a problem are exchangeable (their index says nothing of them), and so are the gaps and
ERRORs among them, which are passed over: the first k scored ones may reach beyond index k. pass@k uses every scored
completion: it is unbiased for any n, unless n depends on the samples (docs/sampling.md says by how much it is then too
large; coverage at k is not). Answer entropy and token means are over every completion too; a plug-in entropy grows with
n.

What ERRORs may hide: beside each estimate stand its bounds if every ERROR were wrong, or right. They take every
completion as scored, so their k is the smallest number of completions drawn, and they are over the problems of which
both policies drew some.

Degenerate case: a mean over problems, one of which is undefined, is undefined.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from leash_ray.errors import UsageError
from leash_ray.measure.approximate import approximate_json
from leash_ray.measure.group import Measured, measure
from leash_ray.measure.measuring import Measuring
from leash_ray.measure.pair import SIDES, AnswersOfTwo, answers_of, only_above_guessing, pair_of, within
from leash_ray.measure.series import checkpoints_of, series_json
from leash_ray.measure.soft import above_epsilon, epsilons
from leash_ray.measure.spread import quantiles_json
from leash_ray.reducers import NATS_UNIT, Reduced
from leash_ray.stats.passk import mean_over_problems, pass_at_k, powers_of_two_up_to
from leash_ray.stats.richness import richness
from leash_ray.stats.support import Support, epsilon, problem_support
from leash_ray.types import Verdict

NO_TASK = "(no task)"
"""The name in ``by_task`` of problems without one, when others have one."""


@dataclass(frozen=True, slots=True)
class PolicyEstimates:
    """One policy. NaN: undefined, or a column that it needs is missing (wholly or for some completions)."""

    n_completions: int
    """Of all its problems, ERRORs and unpaired problems included."""
    verdicts: dict[str, int]
    """Of the same completions; all five verdicts."""
    pass_at_k: dict[int, float]
    answer_entropy: float
    """Nats; mean over problems."""
    distinct_correct_answers: float
    """Among the first k scored completions of a problem, k as of the group; mean over problems."""
    mean_surprisal: float
    """Nats per token: -sum of logprob_sum / sum of n_tokens, so every sampled token weighs the same."""
    mean_n_tokens: float
    """Tokens per completion."""
    correct_by_leniency: float
    """CORRECT completions that are right by leniency only: the answer was not in the format that was asked for, or
    needed processing. Of the same completions as ``verdicts``; NaN: not recorded."""
    pass_at_k_bounds: dict[int, tuple[float, float]]
    """pass@k if all ERRORs were wrong, and if all were right."""
    quantiles: dict[str, Any] | None = None
    """Of all its completions (:mod:`leash_ray.measure.spread`); None: they were not asked for."""
    approximate_answers: dict[str, Any] | None = None
    """:mod:`leash_ray.measure.approximate`; None: all answers were counted."""

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values; undefined is None."""
        return {
            "n_completions": self.n_completions,
            "verdicts": self.verdicts,
            "pass_at_k": {str(k): _number(v) for k, v in self.pass_at_k.items()},
            "answer_entropy": _number(self.answer_entropy),
            "distinct_correct_answers": _number(self.distinct_correct_answers),
            "mean_surprisal": _number(self.mean_surprisal),
            "mean_n_tokens": _number(self.mean_n_tokens),
            "correct_by_leniency": _number(self.correct_by_leniency),
            "pass_at_k_bounds": {str(k): [_number(v) for v in pair] for k, pair in self.pass_at_k_bounds.items()},
            "quantiles": self.quantiles,
            "approximate_answers": self.approximate_answers,
        }


@dataclass(frozen=True, slots=True)
class SupportBounds:
    """Smallest and largest counts of problems over every way to score the ERRORs.

    A problem counts as found from its first right completion on, so each count is smallest and largest where all ERRORs
    of one policy are scored alike: four cases to look at.
    """

    k: int
    """Smallest number of completions drawn, ERRORs among them; where sampling stopped early, as of the group."""
    counts: dict[str, tuple[int, int]]
    """P, E, S, O -> (smallest, largest)."""

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {"k": self.k, **{name: list(pair) for name, pair in self.counts.items()}}


@dataclass(frozen=True, slots=True)
class GroupEstimates:
    """All numbers of one group of problems: of one task, or of all."""

    n_problems: int
    n_samples: dict[str, dict[str, float]]
    """Scored completions of a problem, by policy: fewest, mean and most."""
    k_answers: int
    """k of the unit ``answer`` and of pass@k: the smallest number of scored completions."""
    unpaired: dict[str, int]
    """Problems left out. base_only: only base has scored completions; trained_only; neither: only ERRORs."""
    k: int
    epsilon: float
    problem: Support
    bounds: SupportBounds
    """Of ``problem``, for what its ERRORs may hide."""
    answer: Support | None
    """Over distinct correct answers; None where the answers of correct completions are not all known."""
    policies: dict[str, PolicyEstimates]
    """By policy id: base, then trained."""
    measured: Measured
    """Intervals, what chance gives, and further statistics."""

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values; undefined is None."""
        more = self.measured
        units = {"problem": self.problem, "answer": self.answer}
        return {
            "n_problems": self.n_problems,
            "n_problems_unpaired": self.unpaired,
            "k": self.k,
            "k_answers": self.k_answers,
            "n_samples": self.n_samples,
            "epsilon": _number(self.epsilon),
            "support": {
                unit: support and {**_support_json(support), **more.support.get(unit, {})}
                for unit, support in units.items()
            },
            "support_bounds": {"problem": self.bounds.to_json()},
            "policies": {
                name: {**added, **p.to_json()}
                for (name, p), added in zip(self.policies.items(), more.policies, strict=True)
            },
            **more.group,
        }


@dataclass(frozen=True)
class Estimates:
    """What the completions of a base and a trained policy say about the leash."""

    base: str
    trained: str
    zeta: float
    overall: GroupEstimates
    by_task: dict[str, GroupEstimates] | None
    """None: the completions name no task."""
    by: dict[str, dict[str, GroupEstimates]]
    """Key of the problems' metadata -> value -> its problems' estimates, of the keys that were asked for."""
    perplexity: dict[str, Any] | None
    """Of given texts, by source; None: none were scored."""
    series: dict[str, Any] | None
    """Support along the checkpoints ``trained@step``, and all numbers of each; None: there are not several."""
    per_problem: pa.Table
    """One row per measured problem, sorted by id: problem_id, task, group (P, E, S or O, by the first k scored
    completions, k as of ``overall``), and for both policies (suffix _base and _trained), over all n of them: n, c,
    first_correct (null: none), distinct_answers, distinct_correct_answers (null: unknown), answer_entropy (nats; null:
    unknown), above_epsilon (probability that p > epsilon, the problem's own), n_tokens (sampled in all; null: unknown),
    token_entropy and surprisal (nats a token; null: unknown), and where correct answers are known chao1 with its
    interval (chao1_low, chao1_high). Beside them, where correct answers are known, answers_P, answers_E and answers_S:
    how many of the problem's distinct correct answers are preserved, expanded and shrunk, by the first k_answers."""

    def to_json(self) -> dict[str, Any]:
        """The object that ``leash reduce --json`` prints; undefined is None."""
        overall = self.overall.to_json()
        by_task = self.by_task
        return {
            "base": self.base,
            "trained": self.trained,
            "n_problems": overall.pop("n_problems"),
            "n_problems_unpaired": overall.pop("n_problems_unpaired"),
            "k": overall.pop("k"),
            "zeta": self.zeta,
            **overall,
            "by_task": None if by_task is None else {task: group.to_json() for task, group in by_task.items()},
            **({"by": {k: {v: g.to_json() for v, g in of.items()} for k, of in self.by.items()}} if self.by else {}),
            "series": self.series,
            "perplexity": self.perplexity,
        }


def estimate(
    reduced: Reduced, *, base: str, trained: str, zeta: float = 0.05, measuring: Measuring | None = None
) -> Estimates:
    """Estimates of a finalized state.

    Args:
        trained: policy id of the trained policy; where there are only checkpoints of it, the last one is taken.
        zeta: 1 - confidence of epsilon; ``measuring`` has its own.
        measuring: how to measure, and what is known of the problems.

    Raises:
        UsageError: base and trained are the same, one of them is not in the data, no problem has scored completions of
            both, or zeta is not inside (0, 1).
    """
    how = measuring or Measuring(zeta)
    checkpoints = checkpoints_of([*reduced.policies], trained)
    if trained not in reduced.policies and checkpoints:
        trained = checkpoints[-1]
    both = paired_rows(reduced, base, trained, how)
    answers = answers_of(reduced, base, trained)
    overall = _with_quantiles(_group(both, answers, base, trained, how), reduced)
    by_task = None
    if both["task"].null_count() < len(both):
        named = both.with_columns(pl.col("task").fill_null(NO_TASK))
        by_task = {
            # The only task is all there is: it is measured already.
            str(task): overall
            if len(rows) == len(both)
            else _with_quantiles(
                _group(rows.drop("task"), answers, base, trained, how), reduced, "" if task == NO_TASK else str(task)
            )
            for (task,), rows in sorted(named.group_by("task", maintain_order=True))
        }
    by = {
        key: by_task if key == "task" and by_task else _by(key, of, both, answers, base, trained, how)
        for key, of in how.by.items()
    }
    series = series_json(reduced, base, checkpoints)
    if series is not None:
        series["estimates"] = {
            policy: (overall if policy == trained else _checkpoint(reduced, base, policy, how)).to_json()
            for policy in series["policies"]
        }
    per_problem = _per_problem(both.filter("paired"), answers, overall, how.zeta)
    return Estimates(base, trained, how.zeta, overall, by_task, by, None, series, per_problem)


def _by(
    key: str,
    value_of: Mapping[str, str],
    both: pl.DataFrame,
    answers: AnswersOfTwo,
    base: str,
    trained: str,
    how: Measuring,
) -> dict[str, GroupEstimates]:
    """Estimates by value; problems without one are a group of their own."""
    values = pl.Series([value_of.get(i, f"(no {key})") for i in both["problem_id"]])
    groups = both.with_columns(values.alias("by")).group_by("by", maintain_order=True)
    return {str(value): _group(rows.drop("by"), answers, base, trained, how) for (value,), rows in sorted(groups)}


def _checkpoint(reduced: Reduced, base: str, policy: str, how: Measuring) -> GroupEstimates:
    found = _group(paired_rows(reduced, base, policy, how), answers_of(reduced, base, policy), base, policy, how)
    return _with_quantiles(found, reduced)


def _with_quantiles(group: GroupEstimates, reduced: Reduced, task: str | None = None) -> GroupEstimates:
    """With the quantiles of its policies, where they were reduced; ``task``: as of ``quantiles_json``."""
    if reduced.spreads is None:
        return group
    policies = {
        name: replace(policy, quantiles=quantiles_json(reduced.spreads, name, task))
        for name, policy in group.policies.items()
    }
    return replace(group, policies=policies)


def paired_rows(reduced: Reduced, base: str, trained: str, how: Measuring) -> pl.DataFrame:
    """One row per problem of either policy, sorted by id: :class:`Reduced`'s columns with the suffixes _base and
    _trained, task, paired (whether both have scored completions), and if known cluster and guess."""
    if base == trained:
        raise UsageError(f"base and trained are both {base!r}: name two policies")
    for policy in (base, trained):
        if policy not in reduced.policies:
            present = ", ".join(reduced.policies) or "none"
            raise UsageError(f"no completions of policy {policy!r}; policies in the data: {present}")
    sides = [reduced.problems.filter(policy=p).drop("policy") for p in (base, trained)]
    both = sides[0].rename(lambda c: c if c == "problem_id" else f"{c}_base")
    other = sides[1].rename(lambda c: c if c == "problem_id" else f"{c}_trained")
    both = both.join(other, on="problem_id", how="full", coalesce=True).sort("problem_id")
    both = both.with_columns(
        task=pl.coalesce("task_base", "task_trained"),
        paired=(pl.col("n_base").fill_null(0) > 0) & (pl.col("n_trained").fill_null(0) > 0),
    )
    if not both["paired"].any():
        raise UsageError(
            f"no problem has scored completions of both {base!r} ({len(sides[0])} problems) and {trained!r} "
            f"({len(sides[1])}): the same problem needs the same problem_id under both policies"
        )
    ids = both["problem_id"].to_list()
    if how.clusters is not None:
        both = both.with_columns(cluster=pl.Series([how.clusters.get(i, f"problem {i}") for i in ids]))
    if how.guess is not None:
        both = both.with_columns(guess=pl.Series([how.guess.get(i) for i in ids], dtype=pl.Float64))
    return both


def _group(rows: pl.DataFrame, answers: AnswersOfTwo, base: str, trained: str, how: Measuring) -> GroupEstimates:
    paired = rows.filter("paired")
    k = int(min(paired["n_base"].min(), paired["n_trained"].min())) if len(paired) else 0  # type: ignore[type-var, arg-type]
    apart = rows.filter(~pl.col("paired"))
    has_base, has_trained = (int((apart[f"n_{side}"].fill_null(0) > 0).sum()) for side in SIDES)
    pair = pair_of(paired, answers, k)
    found = only_above_guessing(pair, how.zeta) if how.config.above_guessing else pair
    answer = None
    n_found = [math.nan, math.nan]
    if pair.correct is not None and found.correct is not None:
        counted = problem_support(*(within(before, k) for before in found.correct.before))
        answer = replace(counted, O=None)  # nobody lists the answers that nobody found
        n_found = [int(within(before, k).sum()) for before in pair.correct.before]
    return GroupEstimates(
        n_problems=len(paired),
        n_samples={name: _spread(side.n) for name, side in zip((base, trained), pair.sides, strict=True)},
        k_answers=k,
        unpaired={
            "base_only": has_base,
            "trained_only": has_trained,
            "neither": len(apart) - has_base - has_trained,
        },
        k=found.k_known,
        epsilon=epsilon(how.zeta, found.k_known),
        problem=problem_support(*(within(side.first, found.k_known) for side in found.sides)),
        bounds=_bounds(rows),
        answer=answer,
        policies={
            name: _policy(rows, paired, side, powers_of_two_up_to(k), n, answers.n_kept)
            for name, side, n in zip((base, trained), SIDES, n_found, strict=True)
        },
        measured=measure(pair, found, how),
    )


def _spread(n: NDArray[np.int64]) -> dict[str, float]:
    return {"fewest": int(n.min()), "mean": float(n.mean()), "most": int(n.max())} if len(n) else {}


def _found(column: str, k: int) -> pl.Expr:
    """Whether something is among the first k scored completions; ``column``: how many came before it, null: never."""
    return (pl.col(column) < k).fill_null(False)


def _bounds(rows: pl.DataFrame) -> SupportBounds:
    drawn = rows.with_columns(
        (pl.col(f"n_{side}").fill_null(0) + pl.col(f"ERROR_{side}").fill_null(0)).alias(f"drawn_{side}")
        for side in ("base", "trained")
    ).filter(pl.col("drawn_base") > 0, pl.col("drawn_trained") > 0)
    k = int(drawn.select(pl.min_horizontal("drawn_base", "drawn_trained").min()).item() or 0)
    n = drawn.select("drawn_base", "drawn_trained")
    if k and any(n[c].n_unique() > 1 for c in n.columns):  # as Pair.k_known has it, with ERRORs that are all wrong
        unsolved = [drawn.filter(pl.col(f"CORRECT_{s}") == 0)[f"drawn_{s}"] for s in SIDES]
        limits = [int(s.min()) for s in unsolved if len(s)]  # type: ignore[arg-type]
        k = max(k, min([*limits, max(int(n[c].max()) for c in n.columns)]))  # type: ignore[arg-type]
    cases = [
        problem_support(*(drawn.select(_found(f"drawn_before_{found}_{side}", k)).to_series() for side, found in case))
        for case in itertools.product(*([(side, f) for f in ("correct", "possible")] for side in ("base", "trained")))
    ]
    counts = {name: [getattr(case, name) for case in cases] for name in ("P", "E", "S", "O")}
    return SupportBounds(k, {name: (min(values), max(values)) for name, values in counts.items()})


def _policy(
    rows: pl.DataFrame, paired: pl.DataFrame, side: str, ks: Sequence[int], n_answers_found: float, n_kept: int | None
) -> PolicyEstimates:
    verdicts = {v.value: int(rows[f"{v}_{side}"].sum()) for v in Verdict}
    n, c = paired[f"n_{side}"].to_numpy(), paired[f"CORRECT_{side}"].to_numpy()
    n_errors = paired[f"ERROR_{side}"].to_numpy()
    n_rows = int(n.sum()) + int(n_errors.sum())
    low, high = (mean_over_problems(pass_at_k(n + n_errors, right, ks)).tolist() for right in (c, c + n_errors))
    # Python integers: sums over a whole study may pass 2**63 units.
    n_tokens, n_tokens_rows, units, tokens, units_rows = (
        sum(paired[f"{name}_{side}"].to_list())
        for name in ("n_tokens", "n_tokens_rows", "logprob_units", "logprob_tokens", "logprob_rows")
    )
    return PolicyEstimates(
        n_completions=sum(verdicts.values()),
        verdicts=verdicts,
        pass_at_k=dict(zip(ks, mean_over_problems(pass_at_k(n, c, ks)).tolist(), strict=True)),
        answer_entropy=_mean(paired[f"answer_entropy_{side}"]),
        distinct_correct_answers=n_answers_found / len(paired) if len(paired) else math.nan,
        mean_surprisal=(0.0 - units) * NATS_UNIT / tokens if tokens and units_rows == n_rows else math.nan,
        mean_n_tokens=n_tokens / n_rows if n_rows and n_tokens_rows == n_rows else math.nan,
        correct_by_leniency=(
            math.nan if rows[f"leniency_unknown_{side}"].sum() else int(rows[f"correct_lenient_{side}"].sum())
        ),
        pass_at_k_bounds=dict(zip(ks, zip(low, high, strict=True), strict=True)),
        approximate_answers=approximate_json(paired, side, n_kept) if n_kept else None,
    )


def _per_problem(paired: pl.DataFrame, answers: AnswersOfTwo, overall: GroupEstimates, zeta: float) -> pa.Table:
    solved_base, solved_trained = (_found(f"scored_before_correct_{side}", overall.k) for side in ("base", "trained"))
    group = (
        pl.when(solved_base & solved_trained)
        .then(pl.lit("P"))
        .when(solved_trained)
        .then(pl.lit("E"))
        .when(solved_base)
        .then(pl.lit("S"))
        .otherwise(pl.lit("O"))
    )
    columns: list[pl.Expr] = [pl.col("problem_id"), pl.col("task"), group.alias("group")]
    for name in ("n", "c", "first_correct", "distinct_answers", "distinct_correct_answers", "answer_entropy"):
        source = "CORRECT" if name == "c" else name
        columns += [pl.col(f"{source}_{side}").alias(f"{name}_{side}") for side in ("base", "trained")]
    pair = pair_of(paired, answers, overall.k_answers)
    added: dict[str, Any] = {"epsilon": epsilons(pair, zeta)}
    for name, of, above in zip(SIDES, pair.sides, above_epsilon(pair, zeta), strict=True):
        added[f"above_epsilon_{name}"] = above
        added[f"n_tokens_{name}"] = of.tokens
        added[f"token_entropy_{name}"] = of.token_entropy
        added[f"surprisal_{name}"] = of.nats / np.where(of.tokens > 0, of.tokens, np.nan)
    if pair.correct is not None:
        for name, of, count in zip(SIDES, pair.sides, pair.correct.correct, strict=True):
            rich = richness(count, pair.correct.problem, of.n)
            added |= {f"chao1_{name}": rich.chao1, f"chao1_low_{name}": rich.low, f"chao1_high_{name}": rich.high}
        base, trained = (within(before, overall.k_answers) for before in pair.correct.before)
        for letter, those in (("P", base & trained), ("E", ~base & trained), ("S", base & ~trained)):
            added[f"answers_{letter}"] = np.bincount(pair.correct.problem[those], minlength=len(pair))
    frame = paired.select(columns).with_columns(**added)
    may_be_nan = pl.col("^(answer_entropy|n_tokens|token_entropy|surprisal|chao1).*$")
    return frame.with_columns(may_be_nan.fill_nan(None)).to_arrow(compat_level=pl.CompatLevel.oldest())


def _mean(values: pl.Series) -> float:
    """Over problems; one undefined value (NaN or null) makes it undefined."""
    return float(mean_over_problems(values.cast(pl.Float64).fill_null(math.nan).to_numpy()))


def _support_json(support: Support) -> dict[str, Any]:
    counts = {"P": support.P, "E": support.E, "S": support.S, "O": support.O}
    return {**counts, **{name: _number(value) for name, value in support.metrics().items()}}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None

"""Numbers that are means over problems, such as entropies: of both policies, and their difference, with intervals.

A mean is over all problems, and undefined if one of them is undefined. Entropies of correct answers alone are over the
problems of which both policies gave at least two correct samples; how many those are is told.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from leash_ray.measure.columns import Columns
from leash_ray.measure.json import interval, number, with_ci
from leash_ray.measure.pair import SIDES, Answers, Floats, Pair, PolicyData
from leash_ray.stats.bootstrap import Intervals
from leash_ray.stats.entropy import answer_entropies_nats, chao_shen_entropies_nats, miller_madow_entropies_nats
from leash_ray.stats.quadrants import entropy_quadrants
from leash_ray.stats.richness import richness

_ESTIMATORS = {
    "": answer_entropies_nats,
    "_miller_madow": miller_madow_entropies_nats,
    "_chao_shen": chao_shen_entropies_nats,
}
"""Suffix of the name -> estimator."""

_MIN_CORRECT = 2
"""Of each policy, for a problem to count in entropies of correct answers; Chao-Shen is undefined for one sample."""

CORRECT_ENTROPY = "correct_answer_entropy"


@dataclass(frozen=True, slots=True)
class Mean:
    """The sum of one number over problems, divided by the sum of another."""

    name: str
    values: tuple[Floats, Floats]
    """Of base and of trained, [N] each."""
    per: tuple[Floats, Floats]
    """[N] each; ones for a mean over problems."""


def means_of(pair: Pair) -> list[Mean]:
    """All of ``pair``; what its data lack is undefined."""
    every, missing = np.ones(len(pair)), np.full(len(pair), np.nan)
    base, trained = pair.sides

    found = [
        Mean("token_entropy", (base.token_entropy, trained.token_entropy), (every, every)),
        Mean("mean_surprisal", (base.nats, trained.nats), (base.tokens, trained.tokens)),
        Mean("mean_n_tokens", (base.tokens, trained.tokens), (_completions(base), _completions(trained))),
    ]
    answers = pair.answers
    for suffix, entropy in _ESTIMATORS.items():
        values = (missing, missing)
        if answers is not None:
            values = tuple(entropy(count, answers.problem, len(pair)) for count in answers.count)  # type: ignore[assignment]
        found.append(Mean(f"answer_entropy{suffix}", values, (every, every)))
    return [*found, *_of_correct_answers(pair, pair.correct, every)]


def _completions(side: PolicyData) -> Floats:
    return (side.n + side.n_errors).astype(np.float64)


def _of_correct_answers(pair: Pair, correct: Answers | None, every: Floats) -> Iterator[Mean]:
    missing = np.full(len(pair), np.nan)
    names = [f"{CORRECT_ENTROPY}{suffix}" for suffix in _ESTIMATORS] + ["chao1_correct_answers", "unseen_correct_mass"]
    if correct is None:
        yield from (Mean(name, (missing, missing), (every, every)) for name in names)
        return
    enough = (np.minimum(pair.base.c, pair.trained.c) >= _MIN_CORRECT).astype(np.float64)
    for name, entropy in zip(names, _ESTIMATORS.values(), strict=False):
        base, trained = (
            np.where(enough > 0, entropy(count, correct.problem, len(pair)), 0.0) for count in correct.correct
        )
        yield Mean(name, (base, trained), (enough, enough))
    rich = [richness(count, correct.problem, side.n) for count, side in zip(correct.correct, pair.sides, strict=True)]
    yield Mean("chao1_correct_answers", (rich[0].chao1, rich[1].chao1), (every, every))
    yield Mean("unseen_correct_mass", (rich[0].unseen_mass, rich[1].unseen_mass), (every, every))


def add_means(columns: Columns, means: list[Mean]) -> None:
    """Their columns, for the bootstrap of :func:`means_json`."""

    def statistic(m: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            base, trained = m[..., 0] / m[..., 2], m[..., 1] / m[..., 3]
        return np.stack([base, trained, trained - base], axis=-1)

    for mean in means:
        columns.add(f"mean/{mean.name}", np.stack([*mean.values, *mean.per], axis=1), statistic)


def means_json(
    means: list[Mean], found: Mapping[str, Intervals]
) -> tuple[tuple[dict[str, Any], dict[str, Any]], tuple[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    """(values of base, of trained), (their intervals), differences (trained minus base) with intervals; by name."""
    values: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    intervals: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    difference: dict[str, Any] = {}
    for mean in means:
        of = found[f"mean/{mean.name}"]
        for i in range(len(SIDES)):
            values[i][mean.name] = number(of.value[i])
            intervals[i][mean.name] = interval(of.low[i], of.high[i])
        difference[mean.name] = with_ci(of.value[2], of.low[2], of.high[2])
        if mean.name.startswith(CORRECT_ENTROPY):
            difference[mean.name]["n_problems"] = int(mean.per[0].sum())
    return values, intervals, difference


def quadrants_json(pair: Pair, means: list[Mean]) -> dict[str, Any]:
    """How many problems' token entropy and answer entropy rose or fell; by surprisal where entropy was not scored."""
    answers = _change(means, "answer_entropy")
    tokens = _change(means, by := "token_entropy")
    if np.isnan(tokens).all():
        tokens = _change(means, by := "mean_surprisal")
    found = entropy_quadrants(tokens, answers, ["all"] * len(pair))["all"]
    return {"tokens_by": by, "answers_by": "answer_entropy", **found.to_json()}


def _change(means: list[Mean], name: str) -> Floats:
    """Trained minus base, problem by problem, [N]; NaN where either is undefined or unknown."""
    mean = next(m for m in means if m.name == name)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(mean.values[1] / mean.per[1] - mean.values[0] / mean.per[0])

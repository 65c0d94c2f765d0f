"""What the ideal, tilted base predicts of the trained policy, beside what was measured; and what is unexplained."""

from typing import Any

import numpy as np

from leash_ray.measure.columns import Columns
from leash_ray.measure.json import number, with_ci
from leash_ray.measure.pair import Answers, Floats, Pair
from leash_ray.stats.bootstrap import Intervals
from leash_ray.stats.concentration import Concentration, Turnover, concentration
from leash_ray.stats.entropy import answer_entropies_nats
from leash_ray.stats.passk import mean_over_problems, pass_at_k, powers_of_two_up_to
from leash_ray.stats.tilt import common_tilt, tilted_entropies_nats, tilted_pass_at_k, tilts


def add_concentration(columns: Columns, found: Concentration | None) -> None:
    """Columns of the excess, over the problems that both policies solved."""
    if found is None:
        return
    defined = ~np.isnan(found.excess_nats)
    values = np.stack([np.where(defined, found.kl_nats, 0), np.where(defined, found.excess_nats, 0), defined], axis=1)

    def statistic(m: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return m[..., :2] / m[..., 2:]

    columns.add("concentration", values, statistic)


def concentration_of(pair: Pair, seed: int) -> Concentration | None:
    """None: the correct answers are not known."""
    if pair.correct is None:
        return None
    return concentration(*pair.correct.correct, pair.correct.problem, len(pair), seed=seed)


def tilting_json(pair: Pair, found: dict[str, Intervals], concentrated: Concentration | None) -> dict[str, Any]:
    """Predictions of tilting beside measurements."""
    base, trained = pair.sides
    ks = powers_of_two_up_to(pair.k)
    measured = mean_over_problems(pass_at_k(trained.n, trained.c, ks))
    beta = common_tilt(base.n, base.c, float(np.mean(trained.c / trained.n)))
    predicted = mean_over_problems(tilted_pass_at_k(base.n, base.c, ks, beta))
    betas, errors = tilts(base.n, base.c, trained.n, trained.c)
    return {
        "beta": number(beta),
        "beta_is_infinite": bool(np.isinf(beta)),
        "beta_per_problem": {
            "median": number(np.median(betas)),
            "quartiles": [number(q) for q in np.quantile(betas, [0.25, 0.75])],
            "median_standard_error": number(np.median(errors)),
        },
        "pass_at_k": {
            str(k): {"predicted": number(p), "measured": number(m)}
            for k, p, m in zip(ks, predicted, measured, strict=True)
        },
        "answer_entropy": _entropy(pair, pair.answers) if pair.answers else None,
        "concentration": _concentration(found["concentration"], concentrated) if concentrated else None,
    }


def _entropy(pair: Pair, answers: Answers) -> dict[str, Any]:
    """Mean over the problems where both are defined."""
    trained = pair.trained
    right = answers.correct[0] > 0
    predicted = tilted_entropies_nats(
        answers.count[0], answers.problem, right | (answers.correct[1] > 0), trained.c / trained.n
    )
    measured = answer_entropies_nats(answers.count[1], answers.problem, len(pair))
    both = ~np.isnan(predicted) & ~np.isnan(measured)
    return {
        "n_problems": int(both.sum()),
        "predicted": number(predicted[both].mean()) if both.any() else None,
        "measured": number(measured[both].mean()) if both.any() else None,
    }


def _concentration(found: Intervals, of: Concentration) -> dict[str, Any]:
    return {
        "n_problems": int(np.sum(~np.isnan(of.kl_nats))),
        "kl": with_ci(found.value[0], found.low[0], found.high[0]),
        "excess": with_ci(found.value[1], found.low[1], found.high[1]),
        "p": number(of.p_value),
        "lost": _turnover(of.lost),
        "gained": _turnover(of.gained),
    }


def _turnover(of: Turnover) -> dict[str, Any]:
    return {
        "observed": int(of.observed.sum()),
        "in_problems_of_one_policy": int(of.one_sided.sum()),
        "expected_by_tilting": number(of.expected.sum()),
        "unexplained": number(of.unexplained),
        "unexplained_share": number(of.unexplained_share),
        "p": number(of.p_value),
    }

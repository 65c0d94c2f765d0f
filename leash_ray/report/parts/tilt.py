"""What the ideal, tilted base predicts, beside what was measured; and which losses it cannot explain."""

from collections.abc import Mapping
from typing import Any

from leash_ray.report import text as fmt
from leash_ray.report.numbers import FIXED, NATS, Estimate, Information, p_value, shown
from leash_ray.report.parts.part import Part, Row
from leash_ray.report.read import Support, branch, entries, interval, number


def tilt_part(support: Support, info: Information = NATS) -> Part:
    """pass@k and answer entropy, predicted and measured; then beta, excess concentration and unexplained losses."""
    found = branch(support, "tilt")
    rows: list[Row] = []
    for k, key in entries(found, "pass_at_k").items():
        pair = [Estimate(number(found, "pass_at_k", key, side)) for side in ("predicted", "measured")]
        rows.append((f"pass@{fmt.count(k)}", [shown(one, FIXED) for one in (*pair, _gap(pair))]))
    entropy = branch(found, "answer_entropy")
    pair = [Estimate(number(entropy, side)) for side in ("predicted", "measured")]
    if pair[0].value is not None:
        n = fmt.count(number(entropy, "n_problems"))
        cells = [shown(one, info.kind) for one in (*pair, _gap(pair))]
        rows.append((f"answer entropy, {info.name} ({n} problems)", cells))
    said = [beta_line(found), excess_line(found, info), *turnover_lines(found)]
    caption = "the base with correct answers made likelier by one factor exp(β), against the trained policy"
    columns = ("predicted", "measured", "measured - predicted")
    lines = tuple(("", text) for text in said if text)
    return Part("tilt", "What sharpening alone would do", caption, "", columns, tuple(rows), lines)


def _gap(pair: list[Estimate]) -> Estimate:
    predicted, measured = (one.value for one in pair)
    return Estimate(measured - predicted if predicted is not None and measured is not None else None)


def beta_line(tilt: Mapping[str, Any]) -> str:
    """One beta for all problems, and how much problems differ."""
    beta = number(tilt, "beta")
    if beta is not None:
        text = f"β = {beta:.2f} for all problems"
    elif tilt.get("beta_is_infinite"):
        text = "no finite β reaches the trained policy's pass@1"
    else:
        return ""
    each = branch(tilt, "beta_per_problem")
    median, quartiles = number(each, "median"), interval(each, "quartiles")
    if median is not None:
        text += f"; problem by problem: median {median:.2f}"
        text += f", quartiles {quartiles[0]:.2f} and {quartiles[1]:.2f}" if quartiles else ""
    return text


def excess_line(tilt: Mapping[str, Any], info: Information = NATS) -> str:
    """Concentration on some correct answers beyond chance, which tilting would not cause."""
    found = branch(tilt, "concentration")
    excess = Estimate(number(found, "excess", "value"), interval(found, "excess", "ci"))
    if excess.value is None:
        return ""
    return (
        f"excess concentration on some correct answers: {shown(excess, info.kind)} {info.name}, "
        f"p {p_value(number(found, 'p'))}, over {fmt.count(number(found, 'n_problems'))} problems that both solved"
    )


def turnover_lines(tilt: Mapping[str, Any]) -> list[str]:
    """Lost and gained distinct correct answers, and how many of them tilting and chance leave unexplained."""
    lines = []
    for name in ("lost", "gained"):
        found = branch(tilt, "concentration", name)
        observed, expected = number(found, "observed"), number(found, "expected_by_tilting")
        if observed is None or expected is None:
            continue
        one_sided = number(found, "in_problems_of_one_policy")
        who = "the trained policy" if name == "lost" else "the base"
        text = f"{fmt.count(observed)} correct answers {name}: "
        if one_sided is not None:
            text += f"{fmt.count(one_sided)} in problems that {who} never solved, "
        text += f"{expected:,.1f} expected by tilting and chance"
        unexplained, share = number(found, "unexplained"), number(found, "unexplained_share")
        if unexplained is not None and unexplained > 0 and share is not None:
            text += f", {unexplained:,.1f} ({100 * share:.0f}%) unexplained"
        elif unexplained is not None:
            text += ", none unexplained"
        lines.append(f"{text} (p {p_value(number(found, 'p'))})")
    return lines

"""Where completions lie, by quantiles; and numbers of answers, where they are approximate."""

from leash_ray.report import text as fmt
from leash_ray.report.numbers import NATS, Estimate, Information, shown
from leash_ray.report.parts.part import Part, Row
from leash_ray.report.read import ROLES, Support, branch, name_of, number, policy

SHARES = ("0.05", "0.5", "0.95")
_NUMBERS = {
    "n_tokens": "tokens",
    "CORRECT": "tokens, CORRECT",
    "INCORRECT": "tokens, INCORRECT",
    "surprisal": "surprisal",
    "token_entropy": "token entropy",
}


def spread_part(support: Support, info: Information = NATS) -> Part:
    """Quantiles of length, surprisal and token entropy of both policies' completions."""
    rows: list[Row] = []
    for name, label in _NUMBERS.items():
        path = ("n_tokens_by_verdict", name) if name.isupper() else (name,)
        cells = []
        for role in ROLES:
            values = [number(policy(support, role), "quantiles", *path, "q", share) for share in SHARES]
            lengths = "n_tokens" in path[0]
            cells.append(" / ".join(fmt.count(v) if lengths else shown(Estimate(v), info.kind) for v in values))
        if any(set(cell) - set(f"{fmt.DASH}/ ") for cell in cells):
            rows.append((label, cells))
    errors = [number(policy(support, role), "quantiles", "surprisal", "rank_error") or 0.0 for role in ROLES]
    caption = f"5%, 50% and 95% of the completions are no larger; {info.name}"
    if max(errors) > 0:
        caption += f"; shares within {100 * max(errors):.1f}% but for tokens"
    names = tuple(fmt.visible(name_of(support, role)) for role in ROLES)
    return Part("spread", "Where completions lie", caption, "", names if rows else (), tuple(rows))


def approximate_part(support: Support, info: Information = NATS) -> Part:
    """What is estimated of answers, with standard errors, and how many problems it is estimated of."""
    found = [branch(policy(support, role), "approximate_answers") for role in ROLES]
    if not all(found):
        return Part("approximate", "Answers, approximately")
    rows: list[Row] = []
    for label, name, scale in (
        ("distinct answers", "distinct_answers", 1.0),
        ("  that came once", "once", 1.0),
        ("  that came twice", "twice", 1.0),
        ("answer entropy", "answer_entropy", info.kind.scale),
    ):
        cells = []
        for one in found:
            value, se = (number(one, name, key) for key in ("value", "se"))
            cells.append(fmt.DASH if value is None else f"{value * scale:,.3g} ± {(se or 0.0) * scale:,.2g}")
        rows.append((label, cells))
    sampled = ", ".join(
        f"{fmt.visible(name_of(support, role))} {fmt.count(number(one, 'n_problems_sampled'))}"
        for role, one in zip(ROLES, found, strict=True)
    )
    kept = fmt.count(number(found[0], "kept"))
    lines = (("approximate", f"in problems with more than {kept} distinct answers: {sampled}; exact elsewhere"),)
    caption = f"approximate: mean over problems ± standard error; {info.name}"
    names = tuple(fmt.visible(name_of(support, role)) for role in ROLES)
    return Part("approximate", "Answers, approximately", caption, "", names, tuple(rows), lines)

"""Both policies side by side, with intervals, and what changed between them."""

from collections.abc import Mapping, Sequence

from leash_ray.report import text as fmt
from leash_ray.report.numbers import COUNT, MEAN, NATS, RATE, Estimate, Information, Kind, shown
from leash_ray.report.parts.part import Part, Row
from leash_ray.report.read import ROLES, Support, both, branch, confidence, curve, k_grid, name_of, number, policy

FEW_K = 5
"""As many k are shown where not all are asked for."""


def policies_part(support: Support, info: Information = NATS, *, every: bool = True) -> Part:
    """``every``: all k, the coverage and a row a verdict; otherwise what decides."""
    rows = [*pass_rows(support, every=every), *other_rows(support, info)]
    counted = count_rows(support)
    lines: list[tuple[str, str]] = []
    if every:
        rows += [*coverage_rows(support), *counted]
    else:
        rows += counted[:1]
        lines = _verdict_lines(support)
    caption = f"entropies and surprisal in {info.name}"
    if has_changes(support):
        caption += f"; brackets: {confidence(support)} intervals"
    return Part("policies", "Policies", caption, "", columns(support), tuple(rows), tuple(lines))


def has_changes(support: Support) -> bool:
    """Whether the difference of the policies was measured."""
    return bool(branch(support, "difference"))


def columns(support: Support) -> tuple[str, ...]:
    """Both policies' names, and the difference where it was measured."""
    names = tuple(fmt.visible(name_of(support, role)) for role in ROLES)
    return (*names, "difference") if has_changes(support) else names


def cells(support: Support, kind: Kind, *path: str) -> list[str]:
    """Of one number of policies, a cell for each of :func:`columns`."""
    return _shown(support, both(support, *path), kind)


def _shown(support: Support, found: Sequence[Estimate], kind: Kind) -> list[str]:
    made = [shown(one, kind) for one in found[:2]]
    return [*made, shown(found[2], kind, signed=True)] if has_changes(support) else made


def pass_rows(support: Support, *, every: bool = True) -> list[Row]:
    """pass@k; without ``every`` at a few k, evenly spread, the first and the last among them."""
    grid = k_grid(support)
    shown_k = grid if every or len(grid) <= FEW_K else [grid[round(i * (len(grid) - 1) / 4)] for i in range(FEW_K)]
    return [(f"pass@{k}", cells(support, RATE, "pass_at_k", str(k))) for k in shown_k]


def coverage_rows(support: Support) -> list[Row]:
    """The share of problems first solved within k samples."""
    ks = sorted({k for role in ROLES for k in curve(support, role, "coverage_at_k")})
    return [(f"solved within {k}", cells(support, RATE, "coverage_at_k", str(k))) for k in ks]


def other_rows(support: Support, info: Information = NATS) -> list[Row]:
    """What is a mean, besides pass@k. A row of dashes is left out, but for what everyone looks for."""
    rows = [
        ("answer entropy", cells(support, info.kind, "answer_entropy")),
        ("token entropy", cells(support, info.kind, "token_entropy")),
        ("surprisal", cells(support, info.kind, "mean_surprisal")),
        ("tokens", cells(support, COUNT, "mean_n_tokens")),
        ("distinct correct", _shown(support, distinct_correct(support), MEAN)),
    ]
    return [row for row in rows if row[0].startswith(("answer", "surprisal")) or set(row[1]) != {fmt.DASH}]


def distinct_correct(support: Support) -> list[Estimate]:
    """Distinct correct answers a problem: of each policy, and the difference.

    The interval is that of the accumulation curve's end, where that is the same number: where all problems have as many
    samples.
    """
    k = str(number(support, "k"))
    found = both(support, "distinct_correct_at_k", k)
    plain = [number(policy(support, role), "distinct_correct_answers") for role in ROLES]
    same = [e.value is not None and v is not None and abs(e.value - v) < 1e-9 for e, v in zip(found[:2], plain)]
    sides = [e if ok else Estimate(v) for e, ok, v in zip(found[:2], same, plain, strict=True)]
    return [*sides, found[2] if all(same) else Estimate()]


def count_rows(support: Support) -> list[Row]:
    """Completions, and how many have each verdict: counts, of which no difference is told."""
    from leash_ray.types import Verdict  # not above: it would load Arrow with this module

    blank = [""] if has_changes(support) else []

    def row(label: str, *path: str) -> Row:
        return label, [fmt.count(number(policy(support, role), *path)) for role in ROLES] + blank

    rows = [row("completions", "n_completions")]
    seen = {v for role in ROLES for v in branch(policy(support, role), "verdicts")}
    for verdict in [str(v) for v in Verdict if v in seen] + sorted(seen - set(Verdict)):
        rows.append(row(f"  {fmt.visible(verdict)}", "verdicts", verdict))
        if verdict == Verdict.CORRECT:
            rows.append(row("    by leniency only", "correct_by_leniency"))
    return [r for r in rows if r[0] == "completions" or set(r[1]) - {""} != {fmt.DASH}]


def _verdict_lines(support: Support) -> list[tuple[str, str]]:
    """The same counts, a line a policy."""
    found: Mapping[str, list[str]] = dict(count_rows(support)[1:])
    lines = []
    for i, role in enumerate(ROLES):
        said = [f"{label.strip()} {row[i]}" for label, row in found.items() if row[i] not in ("0", fmt.DASH)]
        if said:
            lines.append((fmt.visible(name_of(support, role)), ", ".join(said)))
    return lines

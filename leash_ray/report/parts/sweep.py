"""The answer depends on k: support at k = 1, 2, 4, ..., and Cover@tau, which asks for more than one lucky sample."""

from typing import Any

from leash_ray.report import text as fmt
from leash_ray.report.numbers import COUNT, FIXED, RATE, Estimate, shown
from leash_ray.report.parts import policies
from leash_ray.report.parts.part import Part, Row
from leash_ray.report.parts.support import NAMES
from leash_ray.report.read import ROLES, Support, branch, entries, number, policy

COLUMNS = ("ε", "P", "E", "S", "O", "SRR", "NDR", "SDS", "NSCR")
FEW_TAUS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


def sweep_part(support: Support, unit: str) -> Part:
    """Expected counts among k of the n samples: those among the first k vary with the order of samples."""
    found = branch(support, "support", unit, "sweep")
    values = branch(found, "expected") or branch(found, "observed")
    names = [name for name in COLUMNS if name == "ε" or any(fmt.is_number(v) for v in values.get(name) or ())]
    rows: list[Row] = []
    for i, k in enumerate(found.get("k") or ()):
        cells = [_cell(found.get("epsilon") if name == "ε" else values.get(name), i, name) for name in names]
        rows.append((fmt.count(k), cells))
    caption = "expected among k of each problem's samples" if "expected" in found else "among the first k samples"
    return Part(f"sweep_{unit}", f"{NAMES[unit].capitalize()} at every k", caption, "k", tuple(names), tuple(rows))


def _cell(column: Any, i: int, name: str) -> str:
    value = column[i] if isinstance(column, list) and i < len(column) else None
    return shown(Estimate(value), COUNT if name in "PESO" else RATE if name == "ε" else FIXED)


def cover_part(support: Support) -> Part:
    """Cover@tau at a few tau."""
    taus = {tau: key for role in ROLES for tau, key in entries(policy(support, role), "cover_at_tau").items()}
    rows = [
        (f"Cover@{taus[tau]}", policies.cells(support, RATE, "cover_at_tau", taus[tau]))
        for tau in sorted(taus)
        if tau in FEW_TAUS
    ]
    caption = "share of problems that a policy answers rightly in at least τ of its samples"
    return Part("cover", "Reliably solved", caption, "", policies.columns(support), tuple(rows))


def guessing_part(support: Support) -> Part:
    """pass@k of a blind guesser beside both policies', where guess rates are known."""
    found = branch(support, "guessing")
    ks = entries(found, "pass_at_k")
    rows = []
    for k, key in ks.items():
        both = [shown(Estimate(number(policy(support, role), "pass_at_k", key))) for role in ROLES]
        rows.append((f"pass@{fmt.count(k)}", [shown(Estimate(number(found, "pass_at_k", key))), *both]))
    n, rate = number(found, "n_problems"), number(found, "mean_rate")
    caption = f"a blind guess is right with probability {fmt.rate(rate)}; known for {fmt.count(n)} problems"
    return Part("guessing", "Guessing", caption, "", ("guesser", *policies.columns(support)[:2]), tuple(rows))

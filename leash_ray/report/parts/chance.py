"""How sure is it? What chance alone gives, each policy against itself, the behaviour, where the curves cross."""

from collections.abc import Mapping
from typing import Any

from leash_ray.report import text as fmt
from leash_ray.report.numbers import Estimate, Kind, around, p_value, shown
from leash_ray.report.parts.part import Part
from leash_ray.report.parts.support import NAMES
from leash_ray.report.read import ROLES, UNITS, Support, branch, interval, name_of, number

Unit = Mapping[str, Any]


def chance_part(support: Support) -> Part:
    """For each unit what chance gives, the noise floor and the behaviour; then where pass@k crosses."""
    lines: list[tuple[str, str]] = []
    for unit in UNITS:
        measured = branch(support, "support", unit)
        said = [s for s in (null_line(measured), floor_line(support, measured), behaviour_line(measured)) if s]
        lines += [(NAMES[unit] if i == 0 else "", text) for i, text in enumerate(said)]
    if said_of_crossing := crossing_line(support):
        lines.append(("curves", said_of_crossing))
    caption = "chance alone: E and S if both were one policy; p: how often that gives as much"
    return Part("chance", "How sure is it", caption, lines=tuple(lines))


def null_line(unit: Unit) -> str:
    """Expected E and S by chance alone, and the p-values."""
    said = []
    null = branch(unit, "null")
    if number(null, "E") is not None:
        sd = number(null, "sd")
        said.append(f"chance alone: E {around(number(null, 'E'), sd)}, S {around(number(null, 'S'), sd)}")
        said.append(", ".join(f"{name} {p_value(number(null, name))}" for name in ("p_E", "p_S", "p_net")))
    if (mcnemar := number(unit, "mcnemar_p")) is not None:
        said.append(f"McNemar {p_value(mcnemar)}")
    return "; ".join(said)


def floor_line(support: Support, unit: Unit) -> str:
    """Each policy's samples split into halves: the E, and as much S, that nothing but sampling makes.

    Beside it, what base and trained show at that k, where the sweep has it.
    """
    floor = branch(unit, "noise_floor")
    k = number(floor, "k")
    each = [
        f"{fmt.visible(name_of(support, role))} {around(number(floor, role, 'E'), number(floor, role, 'sd'))}"
        for role in ROLES
        if number(floor, role, "E") is not None
    ]
    if k is None or not each:
        return ""
    text = f"against itself at k = {fmt.count(k)}: {', '.join(each)}"
    here = at_k(unit, int(k))
    text += f"; measured E {fmt.decimal(here.get('E'))}, S {fmt.decimal(here.get('S'))}" if here else ""
    halves = [
        f"{fmt.visible(name_of(support, role))} E {fmt.decimal(of.get('E'))}, S {fmt.decimal(of.get('S'))}"
        for role in ROLES
        if (of := branch(floor, "halves", role))
    ]
    return text + (f"; odd samples against even ones: {'; '.join(halves)}" if halves else "")


def at_k(unit: Unit, k: int) -> dict[str, float | None]:
    """What the sweep expects at ``k``; empty where it does not have it."""
    sweep = branch(unit, "sweep")
    ks, expected = sweep.get("k"), branch(sweep, "expected")
    if not isinstance(ks, list) or k not in ks:
        return {}
    place = ks.index(k)
    return {
        name: column[place] for name, column in expected.items() if isinstance(column, list) and len(column) > place
    }


def behaviour_line(unit: Unit) -> str:
    """The paper's label where the intervals support it, what they leave open where not."""
    label, suggested, net = (branch(unit, "behaviour").get(key) for key in ("label", "suggested", "net"))
    if not isinstance(label, str):
        return ""
    text = label
    possible = branch(unit, "behaviour").get("possible")
    if label == "undecided" and isinstance(possible, list) and possible:
        text += f" between {_listed([str(p) for p in possible])}"
        text += f"; point estimates say {suggested}" if isinstance(suggested, str) else ""
    if isinstance(net, str):
        text += f"; net change {net}" if net in ("undecided", "undefined") else f"; {net}"
    return f"behaviour: {text}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def crossing_line(support: Support) -> str:
    """Where pass@k of the two policies crosses, with its interval; or that it does not."""
    found = branch(support, "crossing")
    share = number(found, "share_of_replicates")
    often = f"{_percent(share)} of replicates cross" if share is not None else ""
    if number(found, "k") is None:
        return f"pass@k does not cross ({often})" if found else ""
    at = shown(Estimate(number(found, "k"), interval(found, "ci")), Kind(1))
    who = {"base overtakes": "the base overtakes", "trained overtakes": "the trained policy overtakes"}
    said = who.get(str(found.get("direction")), "")
    return ", ".join(s for s in (f"pass@k crosses at k = {at}", said, often) if s)


def _percent(share: float) -> str:
    """Not 100% where one replicate differs."""
    return f"{min(100 * share, 99.9):.3g}%" if share < 1 else "100%"

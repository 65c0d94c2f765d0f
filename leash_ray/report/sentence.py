"""The answer in plain words: does RLVR on this base expand or shrink what it can reach, and is that decided?

It says only what the numbers of one comparison say, with their intervals and with what chance alone would give. What
the data do not decide is called undecided. A run that contradicts the usual finding (pass@1 up, reach down) is reported
as such.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from leash_ray.report.cautions import cautions
from leash_ray.report.decide import Reach, disagree, headline, pass_direction, reach, sharpened
from leash_ray.report.numbers import NATS, Estimate, Information, p_value, shown
from leash_ray.report.parts.support import SOFT
from leash_ray.report.read import (
    ROLES,
    Support,
    both,
    branch,
    confidence,
    curve,
    estimate,
    has_intervals,
    interval,
    number,
    policy,
)
from leash_ray.report.text import count, decimal, nats, rate


@dataclass(frozen=True, slots=True)
class Answer:
    """What one comparison says."""

    headline: str
    facts: tuple[str, ...]
    """The numbers behind the headline, a sentence or two each."""
    cautions: tuple[str, ...]
    """What a reader should hold against it."""

    def __str__(self) -> str:
        return "\n".join([" ".join([self.headline, *self.facts]), *(f"Caution: {c}" for c in self.cautions)])


def answer_sentence(support: Support, sampling: Mapping[str, Any] | None = None) -> str:
    """The answer as text: one paragraph, then a line for each caution."""
    return str(answer(support, sampling))


def answer(support: Support, sampling: Mapping[str, Any] | None = None, info: Information = NATS) -> Answer:
    """The answer in parts. ``sampling``: the run's settings, for the caution on what they cut."""
    by_problem, by_answer = reach(support, "problem"), reach(support, "answer")
    sharp = sharpened(support)
    facts = [
        _curve_fact(support),
        _problem_fact(support),
        _reach_fact(support, by_problem),
        _answer_fact(support, by_answer),
        _entropy_fact(support, info),
        _contradiction(support, sharp, by_problem or by_answer),
    ]
    said = headline(sharp, by_problem, by_answer)
    return Answer(said, tuple(f for f in facts if f), tuple(cautions(support, sampling)))


def _curve_fact(support: Support) -> str:
    base, trained = (curve(support, role) for role in ROLES)
    shared = sorted(base.keys() & trained.keys())
    if not shared:
        return "No pass@k is defined for both policies."
    said = []
    for k in dict.fromkeys([shared[0], shared[-1]]):
        way = pass_direction(support, k)
        change = both(support, "pass_at_k", str(k))[2]
        notes = [] if change.ci is None else [shown(change, signed=True)]
        if way == "open":
            notes.append("not decided")
        elif k == shared[0] and way == "rose" and base[k] > 0:
            notes.append(f"×{trained[k] / base[k]:.1f}")
        note = f" ({', '.join(notes)})" if notes else ""
        verb = "went" if way == "open" else way
        arrow = f"pass@{k} {verb} {rate(base[k])} → {rate(trained[k])}{note}"
        said.append((way, f"pass@{k} stayed at {rate(base[k])}" if way == "same" else arrow))
    link = " and " if len({way for way, _ in said}) == 1 else ", while "
    text = link.join(part for _, part in said) + _crossing(support, base, trained, shared)
    brackets = f" (Brackets: {confidence(support)} intervals.)" if has_intervals(support) else ""
    return f"{text}.{brackets}"


def _crossing(support: Support, base: dict[int, float], trained: dict[int, float], ks: list[int]) -> str:
    measured = branch(support, "crossing")
    at = [round(k) for k in [number(measured, "k")] if k is not None] if measured else _crossings(base, trained, ks)
    if not at:
        return ""
    ci = interval(measured, "ci")
    near = f"near k = {at[0]}" + (f" [{round(ci[0])}, {round(ci[1])}]" if ci else "")
    times = "cross" if len(at) == 1 else f"cross {len(at)} times, first"
    return f"; the curves {times} {near}"


def _crossings(base: dict[int, float], trained: dict[int, float], ks: list[int]) -> list[int]:
    """The k (rounded) where one curve passes the other, interpolated on the log axis; ties are skipped."""
    found = []
    ahead = [(k, trained[k] - base[k]) for k in ks if not math.isclose(trained[k], base[k], abs_tol=1e-9)]
    for (k0, d0), (k1, d1) in pairwise(ahead):
        if d0 * d1 < 0:
            share = d0 / (d0 - d1)
            found.append(round(2 ** (math.log2(k0) + share * (math.log2(k1) - math.log2(k0)))))
    return found


def _problem_fact(support: Support) -> str:
    cells = {g: number(support, "support", "problem", g) for g in "PESO"}
    if cells["E"] is None or cells["S"] is None:
        return "The support counts by problem are not defined."
    k = number(support, "k")
    within = f"Within {count(k)} sample{'s' if k != 1 else ''} a problem" if k else "Within the samples taken"
    total = number(support, "n_problems")
    of = f" of {count(total)}" if total is not None else ""
    return (
        f"{within}, {count(cells['P'])}{of} problems were reached by both policies (P), {count(cells['S'])} only by "
        f"the base (lost, S), {count(cells['E'])} only by the trained policy (gained, E) and {count(cells['O'])} "
        "by neither (O)."
    )


def _reach_fact(support: Support, found: Reach | None) -> str:
    """Whether the net change is decided, and whether what was lost and gained is more than chance gives."""
    unit = branch(support, "support", "problem")
    if found is None or found.decided is None or found.way == "kept":
        return ""
    nscr, null = estimate(unit, "NSCR"), branch(unit, "null")
    p_net, mcnemar = number(null, "p_net"), number(unit, "mcnemar_p")
    if found.decided:
        text = f"Net {'expansion' if found.way == 'expanded' else 'shrinkage'}: NSCR is {shown(nscr)}"
        text += f", p = {p_value(p_net)} against chance" if p_net is not None else ""
    else:
        text = f"{found} {'do' if found.gained != 1 else 'does'} not decide the direction: NSCR is {shown(nscr)}"
        if nscr.sure_sign and p_net is not None:
            text += f", but chance alone is as uneven with p = {p_value(p_net)}"
        elif mcnemar is not None:
            text += f", McNemar's p = {p_value(mcnemar)}"
        soft = estimate(branch(support, "soft_support", SOFT), "NSCR")
        if soft.sure_sign:
            text += f"; of problems expected above ε (soft), it is {shown(soft)}"
    return f"{text}.{_beyond_chance(null, found, 1 - (number(support, 'confidence') or 0.95))}"


def _beyond_chance(null: Mapping[str, Any], found: Reach, level: float) -> str:
    """Whether losses, and gains, are more than chance alone gives: that reach moved, whichever way on balance."""
    expected = number(null, "E")
    sides = [
        (number(null, p), n, word) for p, n, word in (("p_S", found.lost, "lost"), ("p_E", found.gained, "gained"))
    ]
    if expected is None or any(p is None for p, _, _ in sides):
        return ""
    said = []
    sides = [side for side in sides if side[1]]
    for more in (True, False):
        of = [(n, f"{count(n)} {word} (p = {p_value(p)})") for p, n, word in sides if ((p or 0) <= level) is more]
        if of:
            verb = "is" if len(of) == 1 and of[0][0] == 1 else "are"
            said.append(f"{' and '.join(text for _, text in of)} {verb} {'more' if more else 'not more'}")
    return f" Chance alone would give about {decimal(expected)} each way: {', '.join(said)}."


def _answer_fact(support: Support, found: Reach | None) -> str:
    if found is None:
        return ""
    kept = number(support, "support", "answer", "P")
    text = (
        f"Of the distinct correct answers, {count(kept)} were kept, {count(found.lost)} lost and "
        f"{count(found.gained)} gained"
    )
    before, after = (number(policy(support, role), "distinct_correct_answers") for role in ROLES)
    notes = [f"mean a problem: {nats(before)} → {nats(after)}"] if before is not None and after is not None else []
    expected = number(support, "support", "answer", "null", "E")
    if expected is not None:
        notes.append(f"by chance alone about {decimal(expected)} each way")
    if found.open:
        notes.append("the direction is not decided")
    return f"{text} ({'; '.join(notes)})." if notes else f"{text}."


def _entropy_fact(support: Support, info: Information) -> str:
    before, after, change = both(support, "answer_entropy")
    if before.value is None or after.value is None:
        return ""
    plain = [shown(Estimate(e.value), info.kind) for e in (before, after)]
    if plain[0] == plain[1]:
        return f"Answer entropy stayed at {plain[0]} {info.name}."
    open_ = change.sure_sign == 0
    verb = "went" if open_ else "rose" if after.value > before.value else "fell"
    note = "" if change.ci is None else f" ({shown(change, info.kind, signed=True)}{', not decided' if open_ else ''})"
    return f"Answer entropy {verb} {plain[0]} → {plain[1]} {info.name}{note}."


def _contradiction(support: Support, sharp: str | None, main: Reach | None) -> str:
    said = []
    if sharp in ("fell", "same"):
        said.append("pass@1 did not rise, so training did not do what RLVR is for")
    if main is not None and main.way == "expanded" and not main.open:
        said.append("reach grew, where the usual finding is that it shrinks")
    text = f"This run contradicts the usual picture: {'; and '.join(said)}." if said else ""
    if disagree(support):
        text += " The two units of support disagree: count problems and count distinct answers before concluding."
    return text.strip()

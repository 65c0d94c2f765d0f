"""The answer in plain words: does RLVR on this base expand or shrink what it can reach?

It says only what the numbers of one comparison say. It makes no claim of significance; where few
problems changed sides, or sampling or verifying may have decided the matter, a caution says so. A run
that contradicts the usual finding (pass@1 up, reach down) is reported as such.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from leash_ray.report.read import (
    ROLES,
    Support,
    branch,
    curve,
    cuts,
    errors,
    k_grid,
    name_of,
    number,
    policy,
)
from leash_ray.report.text import count, nats, rate

FEW_CHANGES = 10
"""Below this many gained and lost problems together, a caution is added."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one comparison says."""

    headline: str
    facts: tuple[str, ...]
    """The numbers behind the headline, a sentence each."""
    cautions: tuple[str, ...]
    """What a reader should hold against it."""

    def __str__(self) -> str:
        return "\n".join([" ".join([self.headline, *self.facts]), *(f"Caution: {c}" for c in self.cautions)])


def answer_sentence(support: Support, sampling: Mapping[str, Any] | None = None) -> str:
    """The answer as text: one paragraph, then a line for each caution."""
    return str(answer(support, sampling))


def answer(support: Support, sampling: Mapping[str, Any] | None = None) -> Answer:
    """The answer in parts. ``sampling``: the run's settings, for the caution on what they cut."""
    by_problem, by_answer = _reach(support, "problem"), _reach(support, "answer")
    sharp = _direction(*(curve(support, role).get(1) for role in ROLES))
    facts = [
        _curve_fact(support),
        _problem_fact(support),
        _answer_fact(support),
        _entropy_fact(support),
        _contradiction(sharp, by_problem, by_answer),
    ]
    headline = _headline(sharp, by_problem, by_answer)
    return Answer(headline, tuple(f for f in facts if f), tuple(_cautions(support, sampling)))


def _direction(before: float | None, after: float | None) -> str | None:
    """rose, fell or same, as printed: a change too small to print is no change."""
    if before is None or after is None:
        return None
    if rate(before) == rate(after):
        return "same"
    return "rose" if after > before else "fell"


def _reach(support: Support, unit: str) -> str | None:
    gained, lost = number(support, "support", unit, "E"), number(support, "support", unit, "S")
    if gained is None or lost is None:
        return None
    if gained == lost:
        return "exchanged" if gained else "kept"
    word = "expanded" if gained > lost else "shrank"
    return word if min(gained, lost) == 0 else f"{word} on balance"


def _headline(sharp: str | None, by_problem: str | None, by_answer: str | None) -> str:
    reach = by_problem if by_problem is not None else by_answer
    verb, _, balance = (reach or "").partition(" ")
    said = {
        "": "it is not known whether RLVR expanded or shrank what this base can reach",
        "kept": "neither expanded nor shrank what it can reach",
        "exchanged": "gained as much reach as it lost",
    }.get(verb, f"{verb} what it can reach{', ' + balance if balance else ''}")
    if by_problem is None and by_answer is not None:
        said += " (counted by distinct correct answers)"
    if sharp == "rose":
        link = {"": ", but ", "shrank": " but "}.get(verb, " and ")
        said = f"RLVR sharpened this base{link}{said}"
    else:
        said = said[0].upper() + said[1:] if not verb else "RLVR " + said.replace("what it can", "what this base can")
        said += {
            "fell": ", and did not sharpen it: pass@1 fell",
            "same": ", and did not sharpen it: pass@1 did not change",
        }.get(sharp or "", "")
    if by_problem == "kept" and by_answer is not None and by_answer != "kept":
        answers = {"exchanged": "as many distinct correct answers were gained as lost"}.get(
            by_answer, f"the set of distinct correct answers {by_answer}"
        )
        said += f"; but {answers}"
    return said + "."


def _curve_fact(support: Support) -> str:
    base, trained = (curve(support, role) for role in ROLES)
    shared = sorted(base.keys() & trained.keys())
    if not shared:
        return "No pass@k is defined for both policies."
    said = []
    for k in dict.fromkeys([shared[0], shared[-1]]):
        way = _direction(base[k], trained[k])
        times = f" (×{trained[k] / base[k]:.1f})" if k == shared[0] and way == "rose" and base[k] > 0 else ""
        said.append(
            (way, f"pass@{k} stayed at {rate(base[k])}")
            if way == "same"
            else (way, f"pass@{k} {way} {rate(base[k])} → {rate(trained[k])}{times}")
        )
    link = " and " if len({way for way, _ in said}) == 1 else ", while "
    text = link.join(part for _, part in said)
    crossings = _crossings(base, trained, shared)
    if len(crossings) == 1:
        text += f"; the curves cross near k = {crossings[0]}"
    elif crossings:
        text += f"; the curves cross {len(crossings)} times, first near k = {crossings[0]}"
    return text + "."


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
    within = f"Within {count(k)} samples a problem" if k else "Within the samples taken"
    total = number(support, "n_problems")
    of = f" of {count(total)}" if total is not None else ""
    return (
        f"{within}, {count(cells['P'])}{of} problems were reached by both policies (P), {count(cells['S'])} only by "
        f"the base (lost, S), {count(cells['E'])} only by the trained policy (gained, E) and {count(cells['O'])} "
        "by neither (O)."
    )


def _answer_fact(support: Support) -> str:
    cells = {g: number(support, "support", "answer", g) for g in "PES"}
    if cells["E"] is None or cells["S"] is None:
        return ""
    text = (
        f"Of the distinct correct answers, {count(cells['P'])} were kept, {count(cells['S'])} lost and "
        f"{count(cells['E'])} gained"
    )
    before, after = (number(policy(support, role), "distinct_correct_answers") for role in ROLES)
    if before is not None and after is not None:
        text += f" (mean a problem: {nats(before)} → {nats(after)})"
    return text + "."


def _entropy_fact(support: Support) -> str:
    before, after = (number(policy(support, role), "answer_entropy") for role in ROLES)
    if before is None or after is None:
        return ""
    if nats(before) == nats(after):
        return f"Answer entropy stayed at {nats(before)} nats."
    return f"Answer entropy {'rose' if after > before else 'fell'} {nats(before)} → {nats(after)} nats."


def _contradiction(sharp: str | None, by_problem: str | None, by_answer: str | None) -> str:
    said = []
    if sharp in ("fell", "same"):
        said.append("pass@1 did not rise, so training did not do what RLVR is for")
    if (by_problem or by_answer or "").startswith("expanded"):
        said.append("reach grew, where the usual finding is that it shrinks")
    text = f"This run contradicts the usual picture: {'; and '.join(said)}." if said else ""
    ways = {(reach or "").split(" ")[0] for reach in (by_problem, by_answer)}
    if ways == {"expanded", "shrank"}:
        text += " The two units of support disagree: count problems and count distinct answers before concluding."
    return text.strip()


def _cautions(support: Support, sampling: Mapping[str, Any] | None) -> list[str]:
    said = []
    if number(support, "n_problems") == 0:
        said.append("no problem was sampled by both policies.")
    gained, lost = number(support, "support", "problem", "E"), number(support, "support", "problem", "S")
    if gained is not None and lost is not None and gained + lost < FEW_CHANGES:
        said.append(
            f"only {count(gained + lost)} problems changed sides (E + S < {FEW_CHANGES}): "
            "chance alone could move as many."
        )
    if cut := cuts(sampling):
        said.append(
            f"sampling itself cut the support ({', '.join(cut)}): "
            "a lost answer may be one that was not allowed to appear."
        )
    failed = {name_of(support, role): errors(support, role) for role in ROLES}
    if any(failed.values()):
        parts = ", ".join(f"{count(n)} of {name}" for name, n in failed.items() if n)
        said.append(f"the verifier failed on some completions ({parts}); they count neither as right nor as wrong.")
    unpaired = branch(support, "n_problems_unpaired")
    alone = {key: number(unpaired, key) or 0 for key in ("base_only", "trained_only", "neither")}
    if any(alone.values()):
        said.append(
            "problems that lack judged completions of a policy were left out "
            f"({count(alone['base_only'])} have the base's only, {count(alone['trained_only'])} the trained policy's "
            f"only, {count(alone['neither'])} neither)."
        )
    undefined = [k for k in k_grid(support) if any(k not in curve(support, role) for role in ROLES)]
    if undefined:
        said.append(f"pass@k is undefined at k = {', '.join(map(str, undefined))}: some problems have fewer samples.")
    return said

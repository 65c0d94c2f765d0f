"""What a comparison says, in plain sentences: which recipes lose least, and which expand."""

from collections.abc import Mapping, Sequence
from typing import Any

from leash_ray.report import text as fmt
from leash_ray.report.compare.parts import UNIT_WORDS, estimate, has_answers
from leash_ray.report.numbers import RATE, p_value, shown
from leash_ray.report.read import branch, number

Comparison = Mapping[str, Any]


def sentences(found: Comparison) -> list[str]:
    """Of problems: who loses least, who expands; of answers the same; of pass@1."""
    units = ["problem", *(["answer"] if has_answers(found) else [])]
    said = [s for unit in units for s in (lost_sentence(found, unit), expands_sentence(found, unit)) if s]
    return [*said, best_sentence(found)]


def lost_sentence(found: Comparison, unit: str) -> str:
    """Which recipe loses least, and from which others the data tell it apart."""
    ranked = _ranked(found, ("support", unit, "S"), least=True)
    if len(ranked) < 2:
        return ""
    least = _first(ranked)
    value = shown_count(ranked[0][1])
    of = f" of {fmt.count(found['n_problems'])}" if unit == "problem" else ""
    words = UNIT_WORDS[unit]
    if len(least) == len(ranked):
        return f"All recipes lose as many {words}: {value}{of}."
    text = f"{_and(least)} {_verb('lose', least)} the fewest {words} ({value}{of}{_mean_of(found)})"
    return f"{text}{_against(found, least, [n for n, _ in ranked if n not in least], unit, 'S')}."


def expands_sentence(found: Comparison, unit: str) -> str:
    """Which recipes gain more than they lose, by the interval of NSCR; and whether gains are more than chance."""
    names: dict[int, list[str]] = {1: [], 0: [], -1: []}
    for recipe in found["recipes"]:
        sign = estimate(recipe, "support", unit, "NSCR").sure_sign
        if sign is not None:
            names[sign].append(_told(recipe, unit))
    if not any(names.values()):
        return ""
    by = "" if unit == "problem" else f" by {UNIT_WORDS[unit]}"
    said = []
    if names[1]:
        said.append(f"{_and(names[1])} {_verb('expand', names[1])}")
    if names[-1]:
        said.append(f"{_and(names[-1])} {_verb('shrink', names[-1])}")
    if names[0]:
        said.append(f"for {_and(names[0])} it is not decided")
    start = f"On balance{by}, " if names[1] else f"No recipe expands on balance{by}: "
    text = start + "; ".join(said)
    return f"{text}.{_beyond_chance(found, unit)}"


def best_sentence(found: Comparison) -> str:
    """Who is right most often with one sample, and with k."""
    last = str(found["k_answers"])
    said = []
    for k in dict.fromkeys(("1", last)):
        ranked = _ranked(found, ("pass_at_k", k), least=False)
        if not ranked:
            continue
        best = _first(ranked)
        others = [n for n, _ in ranked if n not in best]
        base = number(found["base"], "pass_at_k", k, "value")
        of_base = f", base {fmt.rate(base)}" if base is not None else ""
        said.append(
            f"pass@{k} is highest for {_and(best)} ({fmt.rate(ranked[0][1])}{of_base})"
            + (_against(found, best, others, "pass_at_k", k) if others else "")
        )
    return f"{'; '.join(said)}." if said else ""


def _told(recipe: Mapping[str, Any], unit: str) -> str:
    return f"{fmt.visible(recipe['name'])} (NSCR {shown(estimate(recipe, 'support', unit, 'NSCR'), RATE)})"


def _mean_of(found: Comparison) -> str:
    seeds = sorted({len(recipe["seeds"]) for recipe in found["recipes"]})
    if seeds == [1]:
        return ""
    return f", mean of {seeds[0]} seeds" if len(seeds) == 1 else ", mean of seeds"


def _ranked(found: Comparison, path: Sequence[str], *, least: bool) -> list[tuple[str, float]]:
    values = [(fmt.visible(r["name"]), number(r, *path, "value")) for r in found["recipes"]]
    known = [(name, float(v)) for name, v in values if v is not None]
    return sorted(known, key=lambda pair: pair[1] if least else -pair[1])


def _first(ranked: list[tuple[str, float]]) -> list[str]:
    return [name for name, value in ranked if abs(value - ranked[0][1]) < 1e-9]


def _against(found: Comparison, best: list[str], others: list[str], block: str, measure: str) -> str:
    """Of the others, those from which the first is told apart, and those from which it is not."""
    alpha = 1 - found["confidence"]
    p = {name: _p(found, best[0], name, block, measure) for name in others}
    apart = [f"{name} (p = {p_value(p[name])})" for name in others if p[name] is not None and p[name] <= alpha]
    open_ = [f"{name} (p = {p_value(p[name])})" for name in others if p[name] is None or p[name] > alpha]
    if not apart:
        return f", but is not told apart from {_and(open_, 'or')}"
    text = f", told apart from {_and(apart)}"
    return f"{text}, but not from {_and(open_, 'or')}" if open_ else text


def _p(found: Comparison, a: str, b: str, block: str, measure: str) -> float | None:
    for pair in found["pairs"]:
        if {fmt.visible(pair["a"]), fmt.visible(pair["b"])} == {a, b}:
            return number(pair, "numbers", block, measure, "p_adjusted")
    return None


def _beyond_chance(found: Comparison, unit: str) -> str:
    """In how many seeds the gains are more than a second draw of one policy would give."""
    told = []
    for recipe in found["recipes"]:
        beyond = branch(recipe, "support", unit, "beyond_chance")
        if (n := number(beyond, "E")) is not None and n:
            told.append(f"{fmt.visible(recipe['name'])} in {n} of {len(recipe['seeds'])}")
        elif not beyond:
            return ""
    if not told:
        return " In no run is what was gained more than chance alone gives."
    return f" What was gained is more than chance alone gives by {_and(told)} runs."


def shown_count(value: float) -> str:
    """A mean of counts: without a decimal where it is whole."""
    return f"{value:,.1f}".removesuffix(".0")


def _and(names: Sequence[str], word: str = "and") -> str:
    return f" {word} ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _verb(verb: str, names: Sequence[str]) -> str:
    return f"{verb}s" if len(names) == 1 else verb

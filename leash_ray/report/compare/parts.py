"""The tables of a comparison: the same in the terminal and on the page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from leash_ray.report import text as fmt
from leash_ray.report.numbers import COUNT, MEAN, RATE, Estimate, Kind, p_value, shown
from leash_ray.report.parts.part import Part, Row
from leash_ray.report.read import UNITS, branch, interval, number

Comparison = Mapping[str, Any]
UNIT_WORDS = {"problem": "problems", "answer": "distinct correct answers"}
SHOWN_METRICS = ("SRR", "NSCR", "NDR", "SDS")
"""What decides comes first."""
CHANGES = {"S": "lost", "E": "gained", "net": "net"}
"""Counts that recipes are compared by."""


def parts_of(found: Comparison, *, seeds: bool = True) -> list[Part]:
    """``seeds``: with a row for each seed in every table; else in the first alone."""
    made = [support_part(found, "problem", seeds=True)]
    if has_answers(found):
        made.append(support_part(found, "answer", seeds=seeds))
    made += [right_part(found, seeds=seeds), spread_part(found, seeds=seeds)]
    units = [unit for unit in UNITS if unit == "problem" or has_answers(found)]
    made += [pairs_part(found, unit) for unit in units]
    return [*made, other_pairs_part(found), exact_part(found, units)]


def has_answers(found: Comparison) -> bool:
    """Whether distinct correct answers are known of all recipes."""
    return all(branch(recipe, "support", "answer") for recipe in found["recipes"])


def setting(found: Comparison) -> str:
    """What was compared, in a line."""
    n_runs = sum(len(recipe["runs"]) for recipe in found["recipes"])
    level = f"{100 * found['confidence']:g}%"
    return (
        f"{len(found['recipes'])} recipes, {n_runs} runs, {fmt.count(found['n_problems'])} problems, "
        f"k = {fmt.count(found['k'])}; brackets: {level} intervals {basis(found)}"
    )


def basis(found: Comparison) -> str:
    """What intervals are over."""
    return "over problems and seeds" if has_seeds(found) else "over problems"


def has_seeds(found: Comparison) -> bool:
    """Whether any recipe has several seeds."""
    return any(len(recipe["seeds"]) > 1 for recipe in found["recipes"])


def estimate(tree: Any, *path: str) -> Estimate:
    """The number at ``path``."""
    return Estimate(number(tree, *path, "value"), interval(tree, *path, "ci"))


def support_part(found: Comparison, unit: str, *, seeds: bool) -> Part:
    """P, E, S and their metrics."""
    columns = ("kept", "gained", "lost", *SHOWN_METRICS)
    kinds = (COUNT, COUNT, COUNT, *[RATE] * len(SHOWN_METRICS))
    keys = ("P", "E", "S", *SHOWN_METRICS)
    rows = _rows(found, [("support", unit, key) for key in keys], kinds, seeds=seeds, plain=3)
    title = "Problems" if unit == "problem" else "Distinct correct answers"
    caption = f"kept (P), gained (E) and lost (S) against the base{', mean of seeds' if has_seeds(found) else ''}"
    return Part(f"support_{unit}", title, caption, "recipe", columns, tuple(rows))


def right_part(found: Comparison, *, seeds: bool) -> Part:
    """pass@1 and pass@k."""
    last = str(found["k_answers"])
    ks = list(dict.fromkeys(("1", last)))
    rows = _rows(found, [("pass_at_k", k) for k in ks], [RATE] * len(ks), seeds=seeds, base=True)
    columns = tuple(f"pass@{k}" for k in ks)
    return Part("right", "Right answers", "mean over problems", "recipe", columns, tuple(rows))


def spread_part(found: Comparison, *, seeds: bool) -> Part:
    """Entropies, lengths, tokens."""
    measures = {
        "answer entropy": (("answer_entropy",), MEAN),
        "token entropy": (("token_entropy",), MEAN),
        "surprisal": (("mean_surprisal",), MEAN),
        "distinct correct": (("distinct_correct_answers",), MEAN),
        "length": (("mean_n_tokens",), COUNT),
    }
    known = {
        name: of
        for name, of in measures.items()
        if any(number(recipe, *of[0], "value") is not None for recipe in found["recipes"])
    }
    rows = _rows(found, [of[0] for of in known.values()], [of[1] for of in known.values()], seeds=seeds, base=True)
    of_name = {str(recipe["name"]): recipe for recipe in found["recipes"]}
    rows = [(label, [*cells, *_tokens(of_name.get(label))]) for label, cells in rows]
    caption = "entropies in nats; tokens of a run: sampled in training, learnt from, and of the completions measured"
    columns = (*known, "sampled", "learnt from", "measured")
    return Part("spread", "Diversity and cost", caption, "recipe", columns, tuple(rows))


def _tokens(recipe: Mapping[str, Any] | None) -> list[str]:
    if recipe is None:
        return ["", "", ""]
    measured = [number(recipe, "tokens", role, "value") for role in ("base", "trained")]
    total = None if None in measured else sum(n for n in measured if n is not None)
    return [*(short(number(recipe, "tokens", name, "value")) for name in ("rollouts", "training")), short(total)]


def short(n: Any) -> str:
    """347 k, 1.2 M, 3.4 G."""
    if not fmt.is_number(n):
        return fmt.DASH
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if n >= size:
            return f"{n / size:.3g} {letter}"
    return fmt.count(n)


def _rows(
    found: Comparison,
    paths: Sequence[tuple[str, ...]],
    kinds: Sequence[Kind],
    *,
    seeds: bool,
    base: bool = False,
    plain: int = 0,
) -> list[Row]:
    """A row for the base where it has these, for each recipe, and for its seeds. ``plain``: so many cells without
    their interval."""
    rows: list[Row] = []
    if base:
        rows.append(("base", [shown(estimate(found["base"], *path), kind) for path, kind in zip(paths, kinds)]))
    for recipe in found["recipes"]:
        of = [estimate(recipe, *path) for path in paths]
        cells = [shown(Estimate(one.value) if i < plain else one, kinds[i]) for i, one in enumerate(of)]
        rows.append((fmt.visible(recipe["name"]), cells))
        if seeds and len(recipe["seeds"]) > 1:
            rows += _seed_rows(recipe, paths, kinds, plain)
    return rows


def _seed_rows(
    recipe: Mapping[str, Any], paths: Sequence[tuple[str, ...]], kinds: Sequence[Kind], whole: int
) -> Iterator[Row]:
    for i, seed in enumerate(recipe["seeds"]):
        values = [branch(recipe, *path).get("seeds") for path in paths]
        cells = [
            fmt.DASH if of is None else shown(Estimate(of[i]), kind._replace(digits=0))
            for of, kind in zip(values, kinds, strict=True)
        ]
        cells[:whole] = [cell.removesuffix(".0") for cell in cells[:whole]]
        yield f"  {seed_label(seed)}", cells


def seed_label(seed: str) -> str:
    """A number is called a seed, a name is a name."""
    return f"seed {seed}" if seed.isdigit() else fmt.visible(seed)


def pairs_part(found: Comparison, unit: str) -> Part:
    """How many more one recipe loses, and gains, than another."""
    columns = [title for word in CHANGES.values() for title in (word, "p")]
    rows: list[Row] = []
    for pair in found["pairs"]:
        cells: list[str] = []
        for measure in CHANGES:
            one = branch(pair, "numbers", unit, measure)
            cells += [_difference(one, COUNT), p_value(one.get("p_adjusted"))]
        rows.append((pair_label(pair), cells))
    caption = f"{UNIT_WORDS[unit]} of the first recipe less those of the second; p: adjusted over the pairs (Holm)"
    title = "Pair by pair" if unit == "problem" else "Pair by pair: distinct correct answers"
    return Part(f"pairs_{unit}", title, caption, "pair", tuple(columns), tuple(rows))


def exact_part(found: Comparison, units: Sequence[str]) -> Part:
    """Whether these very models differ: exact p-values, which know nothing of other seeds."""
    columns = [f"{word}{', answers' if unit == 'answer' else ''}" for unit in units for word in CHANGES.values()]
    rows = [
        (
            pair_label(pair),
            [
                p_value(branch(pair, "numbers", unit, measure).get("p_problems_adjusted"))
                for unit in units
                for measure in CHANGES
            ],
        )
        for pair in found["pairs"]
    ]
    caption = (
        "exact p-values (McNemar's test, over all seeds) of these models, adjusted over the pairs; no word of others"
    )
    return Part("pairs_exact", "Do these models differ?", caption, "pair", tuple(columns), tuple(rows))


def other_pairs_part(found: Comparison) -> Part:
    """Differences of the other numbers."""
    last = str(found["k_answers"])
    measures = {
        "NSCR": (("problem", "NSCR"), RATE),
        "pass@1": (("pass_at_k", "1"), RATE),
        f"pass@{last}": (("pass_at_k", last), RATE),
        "answer entropy": (("answer_entropy",), MEAN),
    }
    columns = [title for name in measures for title in (name, "p")]
    rows = []
    for pair in found["pairs"]:
        cells = []
        for path, kind in measures.values():
            one = branch(pair, "numbers", *path)
            cells += [_difference(one, kind), p_value(one.get("p_adjusted"))]
        rows.append((pair_label(pair), cells))
    caption = "the first recipe less the second; p: adjusted over the pairs (Holm)"
    return Part("pairs_other", "Pair by pair: other numbers", caption, "pair", tuple(columns), tuple(rows))


def pair_label(pair: Mapping[str, Any]) -> str:
    """Of two recipes."""
    return f"{fmt.visible(pair['a'])} − {fmt.visible(pair['b'])}"


def _difference(one: Mapping[str, Any], kind: Kind) -> str:
    return shown(Estimate(number(one, "difference"), interval(one, "ci")), kind, signed=True)

"""How many answers there are, and how evenly they are given."""

from leash_ray.report import text as fmt
from leash_ray.report.numbers import MEAN, NATS, RATE, Information, shown
from leash_ray.report.parts import policies
from leash_ray.report.parts.part import Part, Row
from leash_ray.report.read import Support, both, branch, number

ESTIMATORS = {"": "plug-in", "_miller_madow": "Miller-Madow", "_chao_shen": "Chao-Shen"}
KINDS = {"answer_entropy": "all answers", "correct_answer_entropy": "correct only"}
QUADRANTS = ("up_up", "up_down", "down_up", "down_down")


def richness_part(support: Support) -> Part:
    """Distinct correct answers a problem: seen, at least there (Chao1), and what the unseen weigh."""
    seen = policies.distinct_correct(support)
    cells = [shown(one, MEAN, signed=i == 2) for i, one in enumerate(seen)][: len(policies.columns(support))]
    rows: list[Row] = [("seen", cells)] if set(cells) != {fmt.DASH} else []
    for label, name, kind in (
        ("at least (Chao1)", "chao1_correct_answers", MEAN),
        ("unseen mass", "unseen_correct_mass", RATE),
    ):
        found = policies.cells(support, kind, name)
        rows += [(label, found)] if set(found) != {fmt.DASH} else []
    if len(rows) < 2:  # what is seen alone is among the policies' numbers
        rows = []
    caption = "distinct correct answers, mean a problem; unseen mass: the chance that the next sample is a new one"
    return Part("richness", "How many correct answers", caption, "", policies.columns(support), tuple(rows))


def entropies_part(support: Support, info: Information = NATS) -> Part:
    """Answer entropy by three estimators, over all answers and over the correct ones."""
    rows = []
    for name, what in KINDS.items():
        for suffix, estimator in ESTIMATORS.items():
            if any(one.value is not None for one in both(support, name + suffix)):
                rows.append((f"{what}, {estimator}", policies.cells(support, info.kind, name + suffix)))
    lines = []
    n = number(support, "difference", "correct_answer_entropy", "n_problems")
    if n is not None:
        lines.append(
            ("", f"correct only: over the {fmt.count(n)} problems of which each policy gave 2 or more right answers")
        )
    if len(rows) < 2:  # the plug-in alone is among the policies' numbers
        rows, lines = [], []
    return Part(
        "entropies",
        "Answer entropy by estimator",
        f"mean over problems, {info.name}",
        "",
        policies.columns(support),
        tuple(rows),
        tuple(lines),
    )


def quadrants_part(support: Support) -> Part:
    """The paper's pair per task: how many problems' token entropy and answer entropy rose or fell."""
    groups = {fmt.visible(task): part for task, part in branch(support, "by_task").items()}
    groups = {"all": support, **(groups if len(groups) > 1 else {})}
    rows = []
    for name, group in groups.items():
        found = branch(group, "entropy_quadrants")
        if any(number(found, key) for key in (*QUADRANTS, "ties")):
            rows.append((name, [fmt.count(number(found, key)) for key in (*QUADRANTS, "ties", "undefined")]))
    by = branch(support, "entropy_quadrants").get("tokens_by")
    tokens = "surprisal" if by == "mean_surprisal" else "token entropy"
    caption = f"problems by {tokens} and answer entropy, each up (↑) or down (↓)"
    arrows = ("token ↑ answer ↑", "token ↑ answer ↓", "token ↓ answer ↑", "token ↓ answer ↓")
    return Part("quadrants", "Two entropies", caption, "task", (*arrows, "ties", "undefined"), tuple(rows))

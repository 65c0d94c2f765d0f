"""How surprised each policy is by given texts, by who solved their problem."""

from leash_ray.report import text as fmt
from leash_ray.report.numbers import MEAN, Estimate, shown
from leash_ray.report.parts.part import Part
from leash_ray.report.read import ROLES, Support, branch, number

PATTERNS = {"P": "P both right", "S": "S only base", "E": "E only trained", "O": "O both wrong"}
NUMBERS = {"mean": "mean", "median": "median", "token_weighted": "token-weighted"}


def perplexity_parts(support: Support) -> list[Part]:
    """A part for each source of texts."""
    parts = []
    columns = ("texts", *NUMBERS.values())
    for i, (source, groups) in enumerate(branch(support, "perplexity").items()):
        rows = []
        for group, label in PATTERNS.items():
            found = branch(groups, group)
            if not found:
                continue
            texts = next((n for role in ROLES if (n := number(found, role, "n_texts")) is not None), None)
            cells = [" → ".join(shown(Estimate(number(found, role, name)), MEAN) for role in ROLES) for name in NUMBERS]
            rows.append((label, [fmt.count(texts), *cells]))
        caption = "base → trained, by who solved the text's problem; lower: less surprised"
        title = f"Perplexity of {fmt.visible(source)}"
        parts.append(Part(f"perplexity_{i}", title, caption, "", columns, tuple(rows)))
    return [part for part in parts if part]

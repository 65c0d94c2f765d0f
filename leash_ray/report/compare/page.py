"""A comparison as one HTML page that needs nothing beside itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leash_ray.report import text as fmt
from leash_ray.report.compare.parts import parts_of, setting
from leash_ray.report.compare.words import sentences
from leash_ray.report.svg import Figure, inline


def render(found: Mapping[str, Any], figures: Sequence[Figure]) -> str:
    """The page. Names of runs and recipes are escaped; no script runs, and nothing is loaded."""
    import jinja2
    from markupsafe import Markup

    here = Path(__file__).parent
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader([here, here.parent]),
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    env.filters["svg"] = lambda figure: Markup(inline(figure.svg))  # drawn by us; Vega escapes its text
    headline, *facts = sentences(found)
    runs = [
        (fmt.visible(recipe["name"]), fmt.visible(seed), fmt.visible(path), fmt.visible(policy))
        for recipe in found["recipes"]
        for seed, path, policy in zip(recipe["seeds"], recipe["runs"], recipe["policies"], strict=True)
    ]
    page = env.get_template("compare.html.j2").render(
        headline=headline,
        facts=facts,
        setting=setting(found),
        cautions=[fmt.visible(c) for c in found["cautions"]],
        figures=figures,
        parts={part.name: part for part in parts_of(found, seeds=True) if part},
        runs=runs,
        base=fmt.visible(found["base"]["model"] or fmt.DASH),
        draws=found["base"]["draws"],
        grouped=fmt.visible(found["group_by"]),
    )
    return str(page)

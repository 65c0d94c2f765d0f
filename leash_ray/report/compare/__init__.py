"""A comparison of recipes to readers: tables in the terminal, SVG figures, one HTML page, and a few plain sentences.

>>> print_comparison(compare_runs([...]))
>>> write_comparison(compare_runs([...]), Path("compare"))     # compare.json, compare.html, figures/*.svg
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leash_ray.files import write_json, write_text
from leash_ray.report.compare.terminal import print_comparison
from leash_ray.report.compare.words import sentences

__all__ = ["print_comparison", "sentences", "write_comparison", "write_figure", "write_page"]

Comparison = Mapping[str, Any]
"""As of :func:`leash_ray.compare.compare_runs`."""


def write_comparison(found: Comparison, folder: Path) -> Path:
    """Write ``compare.json``, ``compare.html`` and ``figures/*.svg`` into ``folder``; returns the page."""
    from leash_ray.report.compare.figures import all_figures
    from leash_ray.report.compare.page import render

    figures = all_figures(found)
    write_json(folder / "compare.json", found)
    for figure in figures:
        path = folder / "figures" / f"{figure.name}.svg"
        if figure.svg is not None:
            write_text(path, figure.svg)
        else:
            path.unlink(missing_ok=True)  # of an earlier comparison
    write_text(folder / "compare.html", render(found, figures))
    return folder / "compare.html"


def write_page(found: Comparison, path: Path) -> None:
    """The page alone, which needs nothing beside itself."""
    from leash_ray.report.compare.figures import all_figures
    from leash_ray.report.compare.page import render

    write_text(path, render(found, all_figures(found)))


def write_figure(found: Comparison, path: Path) -> None:
    """The main figure alone, as SVG."""
    from leash_ray.report.compare.figures import recipes_figure

    svg = recipes_figure(found).svg
    assert svg is not None
    write_text(path, svg)

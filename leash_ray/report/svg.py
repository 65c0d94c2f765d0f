"""Charts to SVG, offline: one look for all figures, and ids that cannot clash inside one page."""

import re
from dataclasses import dataclass
from typing import Any

from leash_ray.report.text import visible

BASE, TRAINED = "#0072B2", "#D55E00"
"""Okabe and Ito's blue and vermilion: told apart by colour-blind readers and in grey."""
ROLE_COLORS = {"base": BASE, "trained": TRAINED}
GROUP_COLORS = {"P": "#5B6B7B", "E": TRAINED, "S": BASE, "O": "#B8C0C8"}
"""E is only the trained policy's and S only the base's, so they take those colours."""
OTHERS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F")
"""Bluish green, purple, orange and sky blue of the same set, and a brown: for what belongs to neither policy."""

FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
INK, QUIET, GRID = "#1F2933", "#52606D", "#E4E7EB"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the report, or the reason why it is left out."""

    name: str
    """File name without its ending."""
    title: str
    svg: str | None
    alt: str
    """What the figure shows, in words, for those who do not see it."""
    note: str = ""
    """A line under the figure; when ``svg`` is None, why there is none."""


def figure(name: str, title: str, chart: Any, alt: str, note: str = "") -> Figure:
    """Render ``chart`` as a figure."""
    return Figure(name, title, render(chart, name, alt), alt, note)


def missing(name: str, title: str, why: str) -> Figure:
    """A figure that is left out."""
    return Figure(name, title, None, "", why)


def render(chart: Any, name: str, alt: str) -> str:
    """``chart`` (Altair) as an SVG document. Nothing is fetched: every URL is refused."""
    import vl_convert

    styled = chart.configure(
        font=FONT,
        background="white",
        padding=8,
        aria=False,  # the figure has one label of its own; one a mark would read as noise and double the size
    ).configure_axis(
        labelColor=QUIET, titleColor=INK, labelFontSize=12, titleFontSize=13, titleFontWeight="normal",
        gridColor=GRID, domainColor="#9AA5B1", tickColor="#9AA5B1", titlePadding=8,
    ).configure_legend(
        labelFontSize=13, titleFontSize=12, labelColor=INK, titleColor=QUIET, titleFontWeight="normal",
        orient="top", title=None, symbolStrokeWidth=2.5, offset=6,
    ).configure_title(
        fontSize=13, fontWeight="normal", color=INK, anchor="start", offset=8, frame="group"
    ).configure_view(stroke=None)  # fmt: skip
    text: str = vl_convert.vegalite_to_svg(styled.to_dict(), allowed_base_urls=[])
    # Clip paths are numbered by a counter of the process: two inline figures would share ids otherwise,
    # and the same figure would differ from one call to the next.
    ids = dict.fromkeys(re.findall(r'\bid="([^"]+)"', text))
    for i, old in enumerate(ids):
        new = f"{name}-{i}"
        text = text.replace(f'id="{old}"', f'id="{new}"').replace(f"url(#{old})", f"url(#{new})")
    label = visible(alt).replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def inline(svg: str) -> str:
    """``svg`` for the inside of an HTML page, where namespaces are implied."""
    return re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg, count=2)

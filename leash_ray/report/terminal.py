"""The report in the terminal: first what decides, then the answer in words; with details, all that was measured."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from leash_ray.report import prompts as asked
from leash_ray.report import text as fmt
from leash_ray.report.numbers import BITS, NATS
from leash_ray.report.parts import Part, deciding, detailed, history_line
from leash_ray.report.parts.part import Row
from leash_ray.report.read import Support, number
from leash_ray.report.sentence import answer
from leash_ray.report.verdicts import bounds_rows

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

STYLES = {"base": "bright_blue", "trained": "dark_orange"}
WIDE = 96
"""Columns from which on intervals are printed in full."""


def print_report(
    support: Support,
    console: "Console | None" = None,
    sampling: Mapping[str, Any] | None = None,
    prompts: Mapping[str, Any] | None = None,
    details: bool = False,
    bits: bool = False,
) -> None:
    """Print the comparison for people.

    Args:
        sampling: the run's settings, for the caution on what they cut.
        prompts: what the run's prompts.json holds, for the caution on policies that were asked differently.
        details: print all that was measured, not only what decides.
        bits: entropies and surprisals in bits, not in nats.
    """
    from rich.console import Console

    out = console or Console()
    info = BITS if bits else NATS
    more = detailed(support, info)
    tasks = more.pop("tasks", None)
    for part in deciding(support, info, every=details):
        print_part(out, part, _setting(support) if part.name == "policies" else "")
    if bounds := bounds_rows(support):
        print_part(out, _bounds(bounds))
    if tasks:
        print_part(out, tasks)
    if details:
        for part in more.values():
            print_part(out, part)
    elif line := history_line(support):
        print_part(out, Part("series", "Along training", lines=(("", line),)))
    _print_answer(out, asked.with_caution(answer(support, sampling, info), support, prompts))
    if more and not details:
        titles = ", ".join(_lower(part.title) for part in more.values())
        out.print()
        out.print(f"--details prints also: {titles}", style="dim", markup=False, highlight=False)


def _lower(title: str) -> str:
    return title[0].lower() + title[1:]


def _setting(support: Support) -> str:
    problems, k = fmt.count(number(support, "n_problems")), fmt.count(number(support, "k"))
    zeta = number(support, "zeta")
    sure = f" at {100 * (1 - zeta):g}% confidence" if zeta is not None else ""
    epsilon = fmt.rate(number(support, "epsilon"))
    return (
        f"{problems} problem{'s' if problems != '1' else ''}, k = {k}; a miss in k still allows p ≤ {epsilon} (ε){sure}"
    )


def _bounds(rows: list[Row]) -> Part:
    caption = "each number if the verifier had found every ERROR wrong, or right; problems: the range"
    return Part("bounds", "If ERRORs were scored", caption, "", ("least", "most"), tuple(rows))


def print_part(out: "Console", part: Part, setting: str = "") -> None:
    """Its heading, its table and its lines. ``setting``: said before its caption."""
    from rich.table import Table
    from rich.text import Text

    out.print()
    caption = "; ".join(s for s in (setting, part.caption) if s)
    out.print(Text.assemble((part.title, "bold"), ("  " + caption if caption else "", "dim")))
    if part.rows:
        table = _table()
        table.add_column(Text(part.head))
        for i, name in enumerate(part.columns):
            style = [*STYLES.values(), ""][min(i, 2)] if part.name == "policies" else ""
            table.add_column(Text(name), justify="right", style=style)
        for label, cells in part.rows:
            table.add_row(Text(label), *(Text(cell if out.width >= WIDE else tight(cell)) for cell in cells))
        out.print(table)
    if part.lines:
        lines = Table.grid(padding=(0, 1))  # a grid, so that a long line is indented under itself
        labelled = any(label for label, _ in part.lines)
        for label, text in part.lines:
            lines.add_row(*([Text(label, style="bold" if label else "")] if labelled else [" ·"]), Text(text))
        out.print(lines)


def tight(cell: str) -> str:
    """Intervals without leading zeros: "0.194 [.167 .226]", so that three of them fit on 80 columns."""

    def inside(match: re.Match[str]) -> str:
        return re.sub(r"(?<![\d.])0\.", ".", match.group().replace(", ", " "))

    return re.sub(r"\[[^]]*\]", inside, cell)


def _print_answer(out: "Console", said: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    out.print()
    out.print(Text(said.headline, style="bold"))
    points = Table.grid(padding=(0, 1))
    for fact in said.facts:
        points.add_row(" •", Text(fact))
    for caution in said.cautions:
        points.add_row(Text(" !", style="yellow"), Text(f"Caution: {caution}", style="yellow"))
    out.print(points)


def _table() -> "Table":
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=False)

"""A comparison in the terminal."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from leash_ray.report import text as fmt
from leash_ray.report.compare.parts import parts_of, setting
from leash_ray.report.compare.words import sentences
from leash_ray.report.parts.part import Part
from leash_ray.report.terminal import print_part, tight

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 120
"""Columns from which on intervals are printed in full."""


def print_comparison(found: Mapping[str, Any], console: "Console | None" = None, details: bool = False) -> None:
    """Print the tables, then what they say.

    Args:
        found: as of :func:`leash_ray.compare.compare_runs`.
        details: with the values of each seed in all tables.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = console or Console()
    parts = [part for part in parts_of(found, seeds=details) if part]
    if not details:
        parts = [part for part in parts if part.name not in ("pairs_answer", "pairs_other", "pairs_exact")]
    out.print()
    out.print(Text(setting(found), style="dim"))
    for part in parts:
        for piece in fitting(part, out.width):
            print_part(out, piece)
    out.print()
    lines = Table.grid(padding=(0, 1))
    for i, said in enumerate(sentences(found)):
        lines.add_row(" •", Text(said, style="" if i else "bold"))
    for caution in found["cautions"]:
        lines.add_row(Text(" !", style="yellow"), Text(f"Caution: {fmt.visible(caution)}", style="yellow"))
    out.print(lines)
    if not details:
        out.print()
        out.print(
            "--details prints also: each seed's numbers in all tables; pairs by distinct answers, NSCR, pass@k and "
            "answer entropy; whether these very models differ",
            style="dim", markup=False, highlight=False,
        )  # fmt: skip


def fitting(part: Part, width: int) -> list[Part]:
    """``part`` in pieces that are no wider than ``width``: columns go on in a second table rather than break."""
    rows = part.rows if width >= _WIDE else tuple((label, [tight(c) for c in cells]) for label, cells in part.rows)
    label = max([len(part.head), *(len(name) for name, _ in rows)]) + 2
    sizes = [2 + max([len(title), *(len(cells[i]) for _, cells in rows)]) for i, title in enumerate(part.columns)]
    pieces: list[list[int]] = [[]]
    used = label
    step = 2 if "p" in part.columns else 1  # a difference and its p stay together
    for i in range(0, len(sizes), step):
        need = sum(sizes[i : i + step])
        if pieces[-1] and used + need > width:
            pieces.append([])
            used = label
        pieces[-1] += range(i, min(i + step, len(sizes)))
        used += need
    made = []
    for n, columns in enumerate(pieces):
        made.append(
            replace(
                part,
                title=part.title if not n else f"{part.title}, continued",
                caption=part.caption if not n else "",
                columns=tuple(part.columns[i] for i in columns),
                rows=tuple((name, [cells[i] for i in columns]) for name, cells in rows),
                lines=part.lines if n == len(pieces) - 1 else (),
            )
        )
    return made

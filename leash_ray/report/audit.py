"""The rare correct verdicts for a person: as text, as a file to fill in, or asked one by one."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leash_ray.files import write_text
from leash_ray.marks import mark_row
from leash_ray.report.text import clip, visible
from leash_ray.types import Verdict

if TYPE_CHECKING:
    from leash_ray.audit import RareVerdict

_TEXT_CHARS = 1500
_MARKS = {"y": Verdict.CORRECT, "n": Verdict.INCORRECT, "w": None}


def write_rare(path: Path, found: Sequence["RareVerdict"]) -> Path:
    """Write them all, one JSON object a line, with ``mark`` and ``note`` to fill in."""
    lines = (json.dumps(verdict.to_json(), ensure_ascii=True) + "\n" for verdict in found)
    write_text(path, "".join(lines))
    return path


def print_rare(found: Sequence["RareVerdict"], limit: int) -> None:
    """Show the first ``limit``."""
    for i, verdict in enumerate(found[:limit], 1):
        click.echo(_shown(verdict, f"{i} of {len(found)}"))
    if len(found) > limit:
        click.echo(f"... and {len(found) - limit} more (--limit shows more)")


def ask_marks(found: Sequence["RareVerdict"]) -> Iterator[dict[str, Any]]:
    """Ask for each: right (y), wrong (n), withdraw its mark (w), back to the one before (b), skip (s) or quit (q).

    Yields each mark when it is given, so that the caller can keep it before the next is asked for.

    Raises:
        click.Abort: Ctrl-C, or the end of input.
    """
    given = {verdict.key: verdict.mark for verdict in found}
    i = 0
    while i < len(found):
        verdict = found[i]
        mark = given[verdict.key]
        click.echo(
            _shown(
                replace(verdict, mark=mark, note=verdict.note if mark == verdict.mark else ""),
                f"{i + 1} of {len(found)}",
            )
        )
        choices = {"y": "right", "n": "wrong", "w": "withdraw the mark", "b": "back", "s": "skip", "q": "quit"}
        if not mark:
            del choices["w"]
        if not i:
            del choices["b"]
        legend = ", ".join(f"{key} {meaning}" for key, meaning in choices.items())
        said = click.prompt("is it right?", type=click.Choice(list(choices)), prompt_suffix=f" ({legend}) ")
        if said == "q":
            return
        if said in _MARKS:
            note = "" if said == "w" else click.prompt("why (may be empty)", default="", show_default=False)
            new = _MARKS[said]
            given[verdict.key] = str(new or "")
            yield mark_row(verdict.key, new, note)
        i += -1 if said == "b" else 1


def _shown(verdict: "RareVerdict", place: str) -> str:
    group = {"E": "expanded", "S": "shrunk", "P": "preserved", "O": "out of support"}.get(
        verdict.group, "not reduced yet"
    )
    head = (
        f"{place}: {verdict.policy}, problem {verdict.problem_id} ({group}), sample {verdict.sample_index}; "
        f"{verdict.c} of {verdict.n} samples correct"
    )
    lines = [click.style(head, bold=True), f"  prompt     {_line(verdict.prompt, 400)}"]
    lines += [f"  reference  {_line(verdict.reference, 400)}", f"  answer     {_line(verdict.answer, 400)}"]
    read = f"by {verdict.stage}" if verdict.stage else "unknown"
    lines += [f"  read       {read}{f', right by leniency: {verdict.leniency}' if verdict.leniency else ''}"]
    if verdict.reason:
        lines += [f"  reason     {_line(verdict.reason, 400)}"]
    if verdict.mark:
        lines += [f"  marked     {verdict.mark}{f': {visible(verdict.note)}' if verdict.note else ''}"]
    text = visible(verdict.text or "(no text stored)")
    # The end decides, so that is what is kept of a long one.
    text = text if len(text) <= _TEXT_CHARS else "… " + text[-_TEXT_CHARS:]
    return "\n".join([*lines, *("  | " + line for line in text.splitlines()), ""])


def _line(text: str | None, limit: int) -> str:
    return visible(clip(" ".join((text or "–").split()), limit))

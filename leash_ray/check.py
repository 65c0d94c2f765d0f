"""``leash check``: why did this text get that verdict?"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from leash_ray.errors import UsageError
from leash_ray.types import Problem
from leash_ray.verify import VerifierPool, check_verifier, kind_of
from leash_ray.verify.settings import VerifyConfig

FINISH_REASONS = ("stop", "length")


@dataclass(frozen=True, slots=True)
class Text:
    """A completion to check, and what it is checked against."""

    reference: str
    text: str
    prompt: str = ""
    """What the text continues: an opened ``<think>`` at its end counts."""
    finish_reason: str = "stop"


def check_text(task: str, text: Text, settings: VerifyConfig | None = None) -> dict[str, Any]:
    """Verdict, canonical answer, stage that found it, leniency and reason of one text.

    Raises:
        UsageError: no such verifier, or a reference that no answer could match.
    """
    check_verifier(task)
    with VerifierPool(settings) as pool:
        return _check(pool, task, text)


def check_lines(
    task: str, lines: Iterable[str], settings: VerifyConfig | None = None, common: Text | None = None
) -> Iterator[dict[str, Any]]:
    """The same for JSONL objects ``{"reference", "text"}``, each with ``prompt`` and ``finish_reason`` if wanted.

    Args:
        common: its prompt and finish_reason are those of lines without.

    Raises:
        UsageError: a line is no such object, or its reference is refused; names its number.
    """
    check_verifier(task)
    common = common or Text("", "")
    with VerifierPool(settings) as pool:
        for number, line in enumerate(_decoded(lines), 1):
            if not line.strip():
                continue
            text = _read(line, number, common)
            try:
                yield _check(pool, task, text)
            except UsageError as e:
                raise UsageError(f"line {number}: {e}") from e


def _read(line: str, number: int, common: Text) -> Text:
    try:
        row = json.loads(line)
        reference, text = row["reference"], row["text"]
        prompt, finish_reason = row.get("prompt", common.prompt), row.get("finish_reason", common.finish_reason)
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise _unusable(number, line) from e
    if not isinstance(text, str) or not isinstance(prompt, str) or finish_reason not in FINISH_REASONS:
        raise _unusable(number, line)
    return Text(reference if isinstance(reference, str) else json.dumps(reference), text, prompt, finish_reason)


def _unusable(number: int, line: str) -> UsageError:
    shown = line.strip()
    shown = shown if len(shown) <= 80 else shown[:79] + "…"
    return UsageError(
        f'line {number}: expected {{"reference": ..., "text": "..."}}, with "prompt": "..." and "finish_reason": '
        f'"stop" or "length" if wanted, got {shown!r}'
    )


def _decoded(lines: Iterable[str]) -> Iterator[str]:
    try:
        yield from lines
    except UnicodeDecodeError as e:
        raise UsageError(f"standard input is not UTF-8 text ({e})") from e


def _check(pool: VerifierPool, task: str, text: Text) -> dict[str, Any]:
    kind_of(task).check_reference(text.reference)
    problem = Problem.make(task=task, prompt=text.prompt, verifier=task, reference=text.reference)
    found = pool.verify([(problem, text.text, text.finish_reason)])[0]
    return {**found._asdict(), "verdict": found.verdict.value}

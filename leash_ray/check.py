"""``leash check``: why did this text get that verdict?"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from leash_ray.errors import UsageError
from leash_ray.types import Problem
from leash_ray.verify import VerifierPool, check_verifier


def check_text(task: str, reference: str, text: str) -> dict[str, Any]:
    """Verdict, canonical answer and reason of one finished text.

    Raises:
        UsageError: no such verifier.
    """
    check_verifier(task)
    with VerifierPool() as pool:
        return _check(pool, task, reference, text)


def check_lines(task: str, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The same for JSONL objects ``{"reference", "text"}``.

    Raises:
        UsageError: a line is no such object; names its number.
    """
    check_verifier(task)
    with VerifierPool() as pool:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                reference, text = row["reference"], row["text"]
            except (ValueError, TypeError, KeyError) as e:
                raise UsageError(f'line {number}: expected {{"reference": ..., "text": ...}}, got {line[:80]!r}') from e
            yield _check(pool, task, reference, text)


def _check(pool: VerifierPool, task: str, reference: Any, text: str) -> dict[str, Any]:
    content = reference if isinstance(reference, str) else json.dumps(reference)
    problem = Problem.make(task=task, prompt="", verifier=task, reference=content)
    found = pool.verify([(problem, text, "stop")])[0]
    return {"verdict": found.verdict.value, "answer": found.answer, "reason": found.reason}

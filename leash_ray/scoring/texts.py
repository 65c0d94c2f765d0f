"""Given texts: JSONL with one object a line.

``problem`` is the id of a problem of the run, or its prompt; or ``prompt`` is the exact text that comes before, whether
it is a problem of the run or not. ``text`` is what is scored, ``source`` (whose texts: ``reference``, ...) is a label,
and ``text_id`` tells several texts of one problem apart; without it a text is known by its content.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leash_ray.errors import UsageError
from leash_ray.types import Problem

SOURCE = "given texts"


@dataclass(frozen=True, slots=True)
class Text:
    """One text of one problem."""

    problem_id: str
    prompt: str | None
    """Exactly what comes before; None: the problem, as each policy is asked it."""
    source: str
    text_id: str
    text: str

    def digest(self, prompt: str) -> str:
        """Of what is scored: another prompt or text under the same name is another one."""
        return short_hash(prompt, self.text)


def short_hash(*parts: str) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()


def read_texts(path: Path, problems: Sequence[Problem]) -> list[Text]:
    """The texts of a file.

    Args:
        problems: of the run.

    Raises:
        UsageError: the file is missing or no JSONL, a line lacks a key or has an unknown one, names a problem that the
            run does not have, or has the same text_id as another of its problem and source.
    """
    ids = {problem.id for problem in problems}
    by_prompt = {problem.prompt: problem.id for problem in problems}
    texts: list[Text] = []
    seen: Counter[tuple[str, str, str]] = Counter()
    for where, row in _rows(path):
        text = _text(where, row, ids, by_prompt)
        key = (text.source, text.problem_id, text.text_id)
        seen[key] += 1
        if seen[key] > 1:
            if row.get("text_id") is not None:
                raise UsageError(f"{where}: a second text {text.text_id!r} of this problem and source; number them")
            text = Text(text.problem_id, text.prompt, text.source, f"{text.text_id}-{seen[key]}", text.text)
        texts.append(text)
    if not texts:
        raise UsageError(f"{path} has no texts: give one JSON object a line, with problem and text")
    return texts


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as e:
        raise UsageError(f"cannot read the texts {path}: {e.strerror}; give a JSONL file") from e
    except UnicodeDecodeError as e:
        raise UsageError(f"{path} is not text in UTF-8: give a JSONL file") from e
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as e:
            raise UsageError(f"{where} is no JSON ({e})") from e
        if not isinstance(row, dict):
            raise UsageError(f"{where} is no JSON object")
        yield where, row


_KEYS = ("problem", "prompt", "text", "source", "text_id")


def _text(where: str, row: Mapping[str, object], ids: set[str], by_prompt: Mapping[str, str]) -> Text:
    if unknown := sorted(set(row) - set(_KEYS)):
        raise UsageError(f"{where}: unknown key {', '.join(map(repr, unknown))}; the keys are {', '.join(_KEYS)}")
    if row.get("text") is None:
        raise UsageError(f"{where} lacks the key 'text': what is to be scored")
    if (row.get("problem") is None) == (row.get("prompt") is None):
        raise UsageError(
            f"{where} needs one of the keys 'problem' (the id of a problem of the run, or its prompt) and 'prompt' "
            "(the exact text that comes before)"
        )
    for key in ("problem", "prompt", "text", "source"):
        if not isinstance(row.get(key, ""), str | None):
            raise UsageError(f"{where}: {key} must be a text, not {row[key]!r}")
    text, source = str(row["text"]), str(row.get("source") or SOURCE)
    text_id = short_hash(text) if row.get("text_id") is None else str(row["text_id"])
    if row.get("prompt") is not None:
        prompt = str(row["prompt"])
        return Text(by_prompt.get(prompt) or short_hash(prompt), prompt, source, text_id, text)
    problem = str(row["problem"])
    problem_id = problem if problem in ids else by_prompt.get(problem)
    if problem_id is None:
        shown = problem if len(problem) <= 60 else problem[:57] + "..."
        raise UsageError(
            f"{where}: the run has no problem with the id or prompt {shown!r}; problems.parquet has them. A prompt "
            "that is none of the run's goes under the key 'prompt'"
        )
    return Text(problem_id, None, source, text_id, text)

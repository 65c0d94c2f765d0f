r"""Where in a completion its answer is.

math: the last ``\boxed{...}`` with balanced braces; else the last ``<answer>...</answer>``; else, after any
``</think>``, what follows "answer is" or ``####``, or else the last line. All others: the last ``<answer>``, else the
whole text after any ``</think>``, which is right for tasks that are answered with a bare expression.

Only ``\boxed`` and ``<answer>`` are delimiters: text that hit the length limit without one was cut before its answer
was known to be whole, so it is TRUNCATED rather than wrong.
"""

import re
from typing import NamedTuple


class Extracted(NamedTuple):
    """What was found in one completion."""

    answer: str | None
    """Stripped, not yet canonical; None when there is nothing."""
    delimited: bool
    """Whether the text itself said where its answer ends."""


_ANSWER_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_PHRASE = re.compile(r"(?:####|answer\s*(?:is|:|=)|answer\*\*\s*:?)[ \t:]*([^\n]+)", re.IGNORECASE)
_SPAN = re.compile(r"\$\$?([^$]+)\$\$?|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_NUMBER = re.compile(r"[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)?\.?\d+(?:\s*/\s*\d+)?\s*\\?%?|[-−]?\d+\.(?!\d)")
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}\s+[A-Za-z]{2,}")
_SENTENCE_END = re.compile(r"\.\s+(?=[A-Z])")


def extract(text: str, verifier: str) -> Extracted:
    """The answer in ``text``, by the rules of ``verifier``'s kind."""
    if verifier == "math":
        boxed = last_boxed(text)
        if boxed is not None:
            return Extracted(boxed.strip() or None, True)
    if "answer>" in text or "ANSWER>" in text:
        tags = _ANSWER_TAG.findall(text)
        if tags:
            return Extracted(tags[-1].strip() or None, True)
    if "</think>" in text:
        text = text.rpartition("</think>")[2]
    elif text.lstrip().startswith("<think>"):
        return Extracted(None, False)  # never stopped thinking
    if verifier == "math":
        return Extracted(_undelimited_math(text), False)
    return Extracted(text.strip() or None, False)


def last_boxed(text: str) -> str | None:
    r"""The content of the last ``\boxed{...}`` whose braces balance; None if there is none."""
    for match in reversed(list(_BOXED.finditer(text))):
        depth, start = 1, match.end()
        for i in range(start, len(text)):
            char = text[i]
            if char in "{}" and text[i - 1] != "\\":
                depth += 1 if char == "{" else -1
                if depth == 0:
                    return text[start:i]
    return None


def _undelimited_math(text: str) -> str | None:
    lines = text.strip().splitlines()
    if not lines:
        return None
    phrases = _PHRASE.findall(text)
    line = phrases[-1] if phrases else lines[-1]
    line = _SENTENCE_END.split(line.replace("**", ""), maxsplit=1)[0].strip()
    if not _PROSE.search(line):
        return line.rstrip(".,;:") or None
    # In prose the answer is the last formula, or else the last number.
    spans = _SPAN.findall(line)
    if spans:
        return "".join(spans[-1]).strip() or None
    numbers = _NUMBER.findall(line)
    return numbers[-1].strip().rstrip(".") if numbers else None

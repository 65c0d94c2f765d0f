r"""Plain text out of what models wrap an answer in: markdown, quotes, dollar signs, ``\text{}``.

The rules take nothing away that could tell two answers apart: they map characters one to one (so that x² stays no x2),
take wrappings off in pairs, and drop a full stop but neither the mark of ``5!`` and ``n!`` nor ``f'``'s, nor
``0.333...``'s dots.
"""

import re
import unicodedata

_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}  # full-width forms of ASCII
_SAME = {
    **dict.fromkeys("‘’‚‛′", "'"),
    **dict.fromkeys("“”„‟«»", '"'),
    **dict.fromkeys("‐‑‒–—―−", "-"),
    **dict.fromkeys("\u00a0\u2002\u2003\u2007\u2009\u200a\u202f\u3000", " "),
    # Marks without a width: joiners, byte order, directions of writing.
    **dict.fromkeys(
        "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
    ),
}
_CHARS = str.maketrans({**{chr(k): chr(v) for k, v in _WIDE.items()}, **_SAME})

_MAX_WRAPPINGS = 16
_PAIRS = (
    ("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("***", "***"), ("**", "**"), ("__", "__"), ("*", "*"),
    ("`", "`"), ('"', '"'), ("'", "'"),
)  # fmt: skip
_COMMAND = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|up|normal)?|math(?:rm|bf|it|sf|tt)|mbox|boxed|fbox|emph)\s*\{([^{}]*)\}\Z"
)
_ESCAPED = re.compile(r"\\([%$&#_])")
_THIN = re.compile(r"\\[,;:! ]|\\(?:quad|displaystyle|left|right)(?![A-Za-z])")


def simple(text: str) -> str:
    """One form of each character, and single spaces. Idempotent."""
    text = unicodedata.normalize("NFC", text.translate(_CHARS))
    return " ".join(text.split())


def unwrapped(text: str) -> str:
    """:func:`simple` text without what is wrapped around all of it. Idempotent: a text in more than 16 wrappings, which
    nobody writes in earnest, stays as it is."""
    start = text = simple(text)
    for _ in range(_MAX_WRAPPINGS):
        once = _unwrapped_once(text)
        if once == text:
            return text
        text = once
    return start


def _unwrapped_once(text: str) -> str:
    text = _THIN.sub(" ", _ESCAPED.sub(r"\1", text)) if "\\" in text else text
    text = text.strip()
    for left, right in _PAIRS:
        if text.startswith(left) and text.endswith(right) and len(text) > len(left) + len(right):
            inner = text[len(left) : -len(right)]
            if left not in inner and right not in inner:
                return simple(inner)
            break
    if command := _COMMAND.match(text):
        return simple(command[1])
    return simple(_without_stop(text))


def _without_stop(text: str) -> str:
    if text.endswith((",", ";", ":")) or (text.endswith(".") and not text.endswith("..")):
        return text[:-1] if len(text) > 1 else text
    return text[:-1] if _EXCLAIMED.search(text) else text


_EXCLAIMED = re.compile(r"(?:[^\W\d_]{3}|(?<![^\W\d_])(?:no|ok|so|up|go))!\Z", re.IGNORECASE)  # n! is a factorial

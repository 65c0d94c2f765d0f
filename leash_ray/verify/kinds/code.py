"""Programs, judged by running a problem's tests in a sandbox (:mod:`leash_ray.verify.sandbox`).

Reference: JSON of the tests, in one of the shapes of :mod:`leash_ray.verify.sandbox.cases`.

The answer is the last fenced block that says it is Python, or else the last that says no language. Without one:
``<answer>`` tags, then a text that is code from its first line on, which counts as leniency. A text or block that
begins indented continues the prompt's function: it ends before the first line that is not indented (HumanEval's stop
words say about the same); with ``body=true`` that is the format asked for. Canonical: a digest of the program, with
line ends as ``\\n`` and without what is blank at its end.
"""

import hashlib
import re
from typing import ClassVar

from pydantic import Field

from leash_ray.verify.extract import last_answer_tag
from leash_ray.verify.kinds.base import Judge, Kind, Lane, Options, Reading
from leash_ray.verify.sandbox.cases import read_cases
from leash_ray.verify.settings import VerifyConfig


class CodeOptions(Options):
    rtol: float = Field(0.0, ge=0.0, lt=1.0, allow_inf_nan=False)
    """How far numbers in a result may be off, as a share of max(1, what is expected); 0: not at all."""
    body: bool = False
    """Completions are to continue the prompt's function, without a fenced block."""


class Code(Kind):
    """Model-written programs."""

    lane: ClassVar[Lane] = "thread"
    runs_on: ClassVar[bool] = False
    Options: ClassVar[type[Options]] = CodeOptions

    def check_reference(self, reference: str) -> None:
        read_cases(reference)

    def judge_in_thread(self, settings: VerifyConfig) -> Judge:
        from leash_ray.verify.sandbox.trial import Trial

        return Trial(settings.sandbox, self.options.rtol)

    def find(self, text: str, thought: bool) -> Reading | None:
        whole = "after_think" if thought else "whole"
        if self.options.body and _begins_indented(text):
            code, cut = _function_body(text)
            return self.reading(code, whole, cut)
        block = last_block(text)
        if block is not None:
            code, closed = block
            return None if self.options.strict and not closed else self.reading(code, "code_block", closed, not closed)
        if (tag := last_answer_tag(text)) is not None:
            return self.reading(tag, "answer_tag")
        if self.options.strict or not _looks_like_code(text):
            return None
        code, cut = _function_body(text) if _begins_indented(text) else (text, False)
        return self.reading(code, whole, cut, fallback=True)

    def canonical(self, text: str) -> str:
        return _BLANK_START.sub("", text.replace("\r\n", "\n").replace("\r", "\n").rstrip())

    def reading(self, found: str, stage: str, delimited: bool = True, fallback: bool = False) -> Reading | None:
        program = self.canonical(found)
        if not program:
            return None
        digest = hashlib.blake2b(program.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return Reading(f"py:{digest}", program, stage, delimited, fallback)


_BLANK_START = re.compile(r"\A(?:[ \t]*\n)+")
_FENCE = re.compile(r"^([ \t]{0,40})(`{3,}|~{3,})[ \t]*([^\s`]{0,40})[^\n`]*$", re.MULTILINE)
_PYTHON = {"python", "python3", "py", "py3", "{python}", "{.python}"}


def last_block(text: str) -> tuple[str, bool] | None:
    """The last fenced block of Python (or else the last of no language), and whether it is closed."""
    if "```" not in text and "~~~" not in text:
        return None
    found: dict[str, tuple[str, bool]] = {}
    opened: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened = fence
        elif fence[2].startswith(opened[2]) and not fence[3]:
            found[_language(opened)] = _inside(text, opened, fence.start()), True
            opened = None
    if opened is not None:
        found[_language(opened)] = _inside(text, opened, len(text)), False
    return found.get("python") or found.get("none")


def _language(fence: "re.Match[str]") -> str:
    name = fence[3].lower()
    return "python" if name in _PYTHON else "other" if name else "none"


def _inside(text: str, opened: "re.Match[str]", end: int) -> str:
    code = text[opened.end() + 1 : end]
    indent = opened[1]  # a block in a list is indented with it
    if not indent:
        return code
    return "\n".join(line.removeprefix(indent) for line in code.split("\n"))


_STATEMENT = re.compile(
    r"(?:def|class|import|from|return|for|while|if|try|with|async|print|global|assert|raise)\b[^\n]*|@\w[^\n]*"
    r"|[A-Za-z_][\w, .\[\]]{0,80}[-+*/|&]?=[^=\n][^\n]*"
)
_COMMENT = re.compile(r"#[^\n]*|\"\"\"[^\n]*|'''[^\n]*")


def _looks_like_code(text: str) -> bool:
    """Whether a text is code from its first line on, at a glance."""
    lines = [stripped for line in text.split("\n") if (stripped := line.strip())]
    first = next((line for line in lines if not _COMMENT.fullmatch(line)), "")
    return _STATEMENT.fullmatch(first) is not None


def _begins_indented(text: str) -> bool:
    first = next((line for line in text.split("\n") if line.strip()), "")
    return first[:1] in (" ", "\t")


def _function_body(text: str) -> tuple[str, bool]:
    """The indented lines that a text begins with, and whether anything follows them."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if line.strip() and line[0] not in " \t":
            return "\n".join(lines[:number]), True
    return text, False

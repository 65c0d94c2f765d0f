"""Verifiers: is this canonical answer right? Pure functions of (verifier, reference, answer); no processes here.

Kinds: ``math`` (math-verify), ``reasoning_gym:<dataset>`` (reasoning-gym's own scorer; right means a score of 1), and
``python:<module>:<function>``, called as ``function(answer, reference) -> bool``.

They may hang, eat memory or kill their process (``9**9**9**9``): run them through :class:`leash_ray.verify.pool`.
"""

import importlib
import json
import logging
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from leash_ray.errors import UsageError
from leash_ray.tasks.entry import load_entry
from leash_ray.types import Verdict
from leash_ray.verify.canonical import canonical
from leash_ray.verify.extract import last_boxed

KINDS = "math, reasoning_gym:<dataset>, python:<module>:<function>"


class Judgement(NamedTuple):
    """What a verifier said."""

    verdict: Verdict
    """CORRECT, INCORRECT or ERROR."""
    reason: str | None = None
    """Why it is ERROR."""


def judge(verifier: str, reference: str, answer: str) -> Judgement:
    """Judge one canonical answer. A verifier that raises gives ERROR with the reason, never INCORRECT."""
    kind, _, rest = verifier.partition(":")
    try:
        if kind == "math":
            right = _math(reference, answer)
        elif kind == "reasoning_gym":
            right = _gym(rest, reference, answer)
        elif kind == "python":
            right = bool(_function(rest)(answer, reference))
        else:
            raise UsageError(f"unknown verifier {verifier!r}; there are: {KINDS}")
    except (Exception, SystemExit) as e:  # whatever other people's code raises is a verdict, not a crash
        return Judgement(Verdict.ERROR, f"{type(e).__name__}: {e}"[:500])
    return Judgement(Verdict.CORRECT if right else Verdict.INCORRECT)


def check_verifier(verifier: str) -> None:
    """Refuse a verifier that does not exist, before anything is sampled.

    Raises:
        UsageError: unknown kind or data set, or a function that cannot be imported.
    """
    kind, _, rest = verifier.partition(":")
    if kind == "python":
        _function(rest)
    elif kind == "reasoning_gym":
        from leash_ray.tasks.gym import dataset_names

        if rest not in dataset_names():
            from leash_ray.tasks.gym import create

            create(rest, {})  # its message names the nearest
    elif verifier != "math":
        raise UsageError(f"unknown verifier {verifier!r}; there are: {KINDS}")


def warm(verifiers: list[str]) -> None:
    """Import what these verifiers need (seconds), so that no answer's time limit pays for it."""
    for verifier in verifiers:
        try:
            check_verifier(verifier)
            if verifier == "math":
                _math("1", "2")
            elif verifier.startswith("reasoning_gym:"):
                _scorer(verifier.partition(":")[2], "{}")
        except Exception as e:  # the same fault comes back as this verifier's ERROR, with its reason
            logging.getLogger(__name__).debug("warming %s: %s", verifier, e)


def _gym(dataset: str, reference: str, answer: str) -> bool:
    entry = load_entry(reference)
    config = json.dumps(entry.pop("config", {}), sort_keys=True)
    if "metadata" not in entry:
        entry = {"metadata": entry}  # a bare reference, such as countdown's numbers and target
    entry = {"question": "", "answer": "", **entry}
    if dataset == "countdown" and not _uses(answer, entry["metadata"]["numbers"]):
        return False
    return float(_scorer(dataset, config)(answer, entry)) >= 1.0


def _uses(answer: str, numbers: list[int]) -> bool:
    """Whether an expression has exactly these numbers.

    The scorer asks this too, but only after sympy has evaluated the expression, which may take for ever: 8**9**9.
    """
    try:
        return sorted(map(int, re.findall(r"\b\d+\b", answer))) == sorted(numbers)
    except ValueError:  # a literal of thousands of digits
        return False


@lru_cache(maxsize=64)
def _scorer(dataset: str, config: str) -> Callable[[str, dict[str, Any]], float]:
    import warnings

    from leash_ray.tasks.gym import create

    # sympy's parser warns on stderr at every odd answer
    warnings.filterwarnings("ignore", category=SyntaxWarning)
    settings = load_entry(config)
    if dataset == "composite":
        return _score_composite
    return create(dataset, settings).score_answer  # type: ignore[no-any-return]


def _score_composite(answer: str, entry: dict[str, Any]) -> float:
    return _scorer(entry["metadata"]["source_dataset"], "{}")(answer, entry)


@lru_cache(maxsize=64)
def _function(path: str) -> Callable[[str, str], bool]:
    module, _, name = path.partition(":")
    if not module or not name:
        raise UsageError(f"verifier python:{path} is not of the form python:<module>:<function>")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as e:
        raise UsageError(f"verifier python:{path} cannot be imported ({e}): is its module on PYTHONPATH?") from e
    if not callable(function):
        raise UsageError(f"verifier python:{path} is not a function")
    return function  # type: ignore[no-any-return]


def _math(reference: str, answer: str) -> bool:
    gold = _gold(reference)
    if gold.text == answer:
        return True
    from math_verify import verify

    # Its own time limits use SIGALRM; the pool's kill the process instead.
    return bool(verify(list(gold.parsed), _parse(answer), timeout_seconds=None))


class _Gold(NamedTuple):
    text: str
    parsed: tuple[Any, ...]


@lru_cache(maxsize=10_000)
def _gold(reference: str) -> _Gold:
    boxed = last_boxed(reference)
    # A whole solution may stand in the column: MATH ends it with \boxed{}, GSM8K with ####.
    text = canonical("math", boxed if boxed is not None else reference.rpartition("####")[2])
    parsed = tuple(_parse(text))
    if not parsed:
        raise ValueError(f"math-verify cannot parse the reference {reference[:80]!r}")
    return _Gold(text, parsed)


def _parse(text: str) -> list[Any]:
    from math_verify import parse

    for name in ("math_verify.parser", "math_verify.grader"):  # they warn that time limits are ours now: they are
        logging.getLogger(name).setLevel(logging.ERROR)
    return parse(f"\\boxed{{{text}}}" if _balanced(text) else text, parsing_timeout=None)  # type: ignore[no-any-return]


def _balanced(text: str) -> bool:
    depth = 0
    for char in text.replace("\\{", "").replace("\\}", ""):
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return depth == 0

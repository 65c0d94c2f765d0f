"""reasoning-gym's own scorers: ``reasoning_gym:<dataset>``. Right means a score of 1, within our guards.

Reference: JSON of the entry (see :mod:`leash_ray.tasks.entry`), or of its metadata alone.

Stages: the task's own pattern, the last ``<answer>`` tag (what reasoning-gym's system prompts ask for), the last
``\\boxed{}`` and what the last lines say that the answer is (fallbacks), or the whole text after thinking (models
that were trained to say nothing else).
"""

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from leash_ray.errors import UsageError
from leash_ray.tasks.entry import load_entry
from leash_ray.types import Verdict
from leash_ray.verify.gym.canonical import EMPTY, MAY_BE_EMPTY, NORMAL, canonical
from leash_ray.verify.gym.guards import may_be_right
from leash_ray.verify.gym.lenient import second_chances
from leash_ray.verify.kinds.base import Judgement, Kind, Reading
from leash_ray.verify.marked import last_marked
from leash_ray.verify.statements import last_statement

MANY_ANSWERS = frozenset((
    "boxnet", "countdown", "cryptarithm", "graph_color", "jugs", "kakurasu", "knight_swap", "n_queens",
    "palindrome_generation", "propositional_logic", "puzzle24", "quantum_lock", "rubiks_cube", "rush_hour",
    "shortest_path", "sokoban", "tower_of_hanoi", "word_ladder",
))  # fmt: skip
"""Data sets where distinct right answers are distinct solutions. In all others the problem has one answer, and a right
one that is written otherwise (156.0, +156) becomes the oracle's text."""


class Gym(Kind):
    """One data set's scorer."""

    def check(self) -> None:
        from leash_ray.tasks.gym import create, dataset_names

        if self.spec.argument not in dataset_names():
            create(self.spec.argument, {})  # its message names the nearest

    def check_reference(self, reference: str) -> None:
        try:
            load_entry(reference)
        except ValueError as e:
            raise UsageError(
                f"verifier {self.spec}: the reference {reference[:80]!r} is no reasoning-gym entry ({e}); give "
                "JSON with its question, answer and metadata"
            ) from e

    def warm(self) -> None:
        _scorer(self.spec.argument, "{}")

    def canonical(self, text: str) -> str:
        return canonical(self.spec.argument, text)

    def find(self, text: str, thought: bool) -> Reading | None:
        if (tag := last_marked(text, ("answer_tag",))) is not None:
            if self.spec.argument in MAY_BE_EMPTY and not tag.text.strip():
                tag = tag._replace(text=EMPTY)
            return self.marked(tag, text)
        if not self.options.strict and (boxed := last_marked(text, ("boxed",))) is not None:
            return self.marked(boxed, text, fallback=True)
        whole = self.reading(text, "after_think" if thought else "whole", delimited=False)
        return whole if self.options.strict else self._stated_at_the_end(text) or whole

    def _stated_at_the_end(self, text: str) -> Reading | None:
        """What the last of several lines without marks says that the answer is; None where it does not."""
        if "\n" not in text.strip() or (statement := last_statement(text)) is None:
            return None
        if statement.retracted or statement.unusual or not statement.start or text[statement.end :].strip():
            return None  # a line behind it may be another row of the answer
        return self.stated(statement) if statement.said else None

    def judge(self, reference: str, content: str) -> Judgement:
        dataset, config, entry = _problem(self.spec.argument, reference)
        if _right(dataset, config, entry, content):
            return Judgement(Verdict.CORRECT, answer=self._better(reference, content))
        if not self.options.strict:
            for names, processed in second_chances(dataset, content, entry):
                if _right(dataset, config, entry, processed):
                    better = self._better(reference, processed) or processed
                    return Judgement(Verdict.CORRECT, answer=better, leniency=names)
        return Judgement(Verdict.INCORRECT)

    def _better(self, reference: str, right: str) -> str | None:
        """The one text of all answers that equal a right one; None where it is that already."""
        dataset, config, entry = _problem(self.spec.argument, reference)
        better = _only_answer(self.spec.argument, reference)
        if better is None and dataset in NORMAL:
            normal = NORMAL[dataset](right)
            better = normal if _right(dataset, config, entry, normal) else None
        return None if better == right else better


def _problem(dataset: str, reference: str) -> tuple[str, str, dict[str, Any]]:
    """The data set whose scorer judges, its config as JSON text, and the entry."""
    entry = load_entry(reference)
    config = entry.pop("config", {})
    if "metadata" not in entry:
        entry = {"metadata": entry}  # a bare reference, such as countdown's numbers and target
    entry = {"question": "", "answer": "", **entry}
    if dataset == "composite":
        dataset = entry["metadata"]["source_dataset"]
        parts = [part for part in config.get("datasets", []) if part["name"] == dataset]
        config = parts[0].get("config", {}) if parts else {}
    return dataset, json.dumps(config, sort_keys=True), entry


def _right(dataset: str, config: str, entry: dict[str, Any], answer: str) -> bool:
    if not may_be_right(dataset, answer, entry):
        return False
    if answer == EMPTY and dataset in MAY_BE_EMPTY:
        answer = ""
    # A NaN is no score of 1 either.
    return float(_scorer(dataset, config)(answer, entry)) >= 1.0


@lru_cache(maxsize=1000)
def _only_answer(argument: str, reference: str) -> str | None:
    dataset, config, entry = _problem(argument, reference)
    if dataset in MANY_ANSWERS or not entry["answer"]:
        return None
    oracle = canonical(dataset, str(entry["answer"]))
    return (
        oracle if _right(dataset, config, entry, oracle) else None
    )  # or right answers would be merged with wrong ones


@lru_cache(maxsize=64)
def _scorer(dataset: str, config: str) -> Callable[[str, dict[str, Any]], float]:
    import warnings

    from leash_ray.tasks.gym import create

    # sympy's parser warns on stderr at every odd answer
    warnings.filterwarnings("ignore", category=SyntaxWarning)
    if dataset == "composite":  # only warmed: its entries are judged by the data sets that they come from
        return _no_scorer
    return create(dataset, load_entry(config)).score_answer  # type: ignore[no-any-return]


def _no_scorer(answer: str, entry: dict[str, Any]) -> float:
    raise ValueError("the entry does not say which data set of the composite it comes from")

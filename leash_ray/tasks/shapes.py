"""Popular files: which columns they have, what judges them, and which of their rows a text can ask.

Copies of a file name their columns differently, so a role may have several places; the first that a row has counts.
``()`` as the last one: a row may lack the role.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from leash_ray.tasks.cells import Place, text_of
from leash_ray.tasks.spec import ShapeName

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Shape:
    """What a config need not say of a file of this shape."""

    verifier: str
    columns: Mapping[str, tuple[Place, ...]]
    prompt: str | None = None
    """None: what the verifier's kind is asked with."""
    metadata: tuple[str, ...] = ()
    """Kept where a row has them."""
    shuffle: bool = False
    keep: Callable[[Row], bool] = lambda row: True
    """Whether a row can be asked in text and judged."""
    verifier_of: Callable[[Row], str] | None = None
    """The verifier of a row, where the file mixes kinds."""
    guess_rate: float | None = None
    """Chance that a blind guess is right, where the answers' form gives it; kept as metadata of that name."""
    source: str = field(default="", compare=False)
    """Where the file is."""


def _olympiad_keep(row: Row) -> bool:
    """Text only and open-ended; an answer that a program can compare; not several numbers with several tolerances."""
    return (
        row.get("modality", "Text-only") == "Text-only"
        and row.get("question_type", "Open-ended") == "Open-ended"
        and row.get("answer_type") != "Need_human_evaluate"
        and bool(row.get("final_answer"))
        and not (row.get("is_multiple_answer") and row.get("error"))
    )


def _olympiad_verifier(row: Row) -> str:
    """A number with a tolerance (``error``) is compared as a number, everything else as mathematics."""
    return "numeric?rtol=0&units=stated" if row.get("error") else "math"


def _livebench_keep(row: Row) -> bool:
    """Tasks with one right answer. The others' partial scores (connections, typos, plot_unscrambling, tablejoin) and
    programs (coding, instruction_following) are not verdicts; a table is one where it is asked for as JSON."""
    task = _livebench_task(row)
    return task in _LIVEBENCH and (task != "tablereformat" or _is_json(text_of(row.get("ground_truth"))))


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except ValueError:
        return False


def _livebench_task(row: Row) -> str:
    return str(row.get("task", "")).lower()


def _livebench_verifier(row: Row) -> str:
    """Questions name the format that they want: ``<solution>`` tags in newer releases, bold words in older ones."""
    verifier = _LIVEBENCH[_livebench_task(row)]
    if verifier == "math":
        truth = text_of(row.get("ground_truth")).strip()
        return "choice" if len(set(truth)) == 1 and truth.isalpha() else "math"
    if "format=" in verifier or "type=json" in verifier:
        return verifier
    asked = text_of(row.get("turns"))
    form = "solution" if "<solution>" in asked else "bold" if "bold" in asked or "**" in asked else None
    mark = "&" if "?" in verifier else "?"
    return f"{verifier}{mark}format={form}" if form else verifier


_LIVEBENCH = {
    "math_comp": "math",  # AMC's letters and AIME's numbers
    "amps_hard": "math",
    "olympiad": "exact?type=list&format=phrase",  # "Answer: 3,1,2"
    "web_of_lies_v2": "exact?type=list",
    "web_of_lies_v3": "exact?type=list",
    "zebra_puzzle": "exact",
    "spatial": "exact",
    "house_traversal": "exact?type=list",
    "cta": "exact?format=whole",
    "tablereformat": "exact?type=json",
}
"""Task -> verifier."""

SHAPES: dict[ShapeName, Shape] = {
    "math500": Shape(
        verifier="math",
        columns={"question": ("problem", "question"), "answer": ("answer", "solution")},
        metadata=("level", "subject", "unique_id"),
        source="HuggingFaceH4/MATH-500, split test",
    ),
    "minerva": Shape(
        verifier="math",
        columns={"question": ("problem", "question"), "answer": ("answer", "solution")},
        metadata=("type", "idx"),
        source="math-ai/minervamath, split test; or data/minerva_math/test.jsonl of QwenLM/Qwen2.5-Math",
    ),
    "olympiadbench": Shape(
        verifier="math",
        columns={
            "question": ("{context}\n\n{question}", "question"),
            "answer": ("final_answer", "answer"),
            "unit": ("unit", ()),
            "tolerance": ("error", ()),
        },
        prompt=(
            "{question}{unit_note}\n\nPlease reason step by step, and put your final answer within \\boxed{}. Several "
            "answers stand in one box, with commas between them.\n"
        ),
        metadata=("id", "subject", "subfield", "difficulty", "answer_type"),
        keep=_olympiad_keep,
        verifier_of=_olympiad_verifier,
        source="Hothan/OlympiadBench, subset OE_TO_maths_en_COMP, split train",
    ),
    "aime": Shape(
        verifier="math",
        columns={"question": ("problem", "question", "Problem"), "answer": ("answer", "Answer")},
        metadata=("id", "ID", "year"),
        guess_rate=1 / 1000,  # 000 to 999
        source="math-ai/aime24 or math-ai/aime25, split test",
    ),
    "amc": Shape(
        verifier="math",
        columns={"question": ("problem", "question"), "answer": ("answer",)},
        metadata=("id", "url"),
        source="math-ai/amc23, split test; or AI-MO/aimo-validation-amc, split train",
    ),
    "gpqa": Shape(
        verifier="choice",
        columns={
            "question": ("Question",),
            "answer": ("Correct Answer",),
            "choices": (("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"),),
        },
        metadata=("High-level domain", "Subdomain", "Record ID"),
        shuffle=True,
        source="Idavidrein/gpqa (behind a form), subset gpqa_diamond, split train",
    ),
    "livebench": Shape(
        verifier="exact",
        columns={"question": ("turns",), "answer": ("ground_truth",)},
        prompt="{question}\n",  # the questions say how to answer
        metadata=("question_id", "category", "task", "subtask"),
        keep=_livebench_keep,
        verifier_of=_livebench_verifier,
        source="livebench/math and livebench/reasoning, split test",
    ),
    "scibench": Shape(
        verifier="numeric?rtol=0.05&units=stated",
        columns={"question": ("problem_text",), "answer": ("answer_number",), "unit": ("unit", ())},
        metadata=("problemid", "source"),
        source="xw27/scibench, split train; or dataset/original/*.json of mandyyyyii/scibench",
    ),
    "livecodebench": Shape(
        verifier="code",
        columns={
            "question": ("question_content",),
            "starter_code": ("starter_code", ()),
            "tests": (("public_test_cases", "private_test_cases"), "public_test_cases"),
            "function": ("metadata", ()),
        },
        metadata=("question_id", "platform", "difficulty", "contest_date"),
        source="livecodebench/code_generation_lite: test.jsonl to test6.jsonl",
    ),
    "humaneval": Shape(
        verifier="code",
        columns={"question": ("prompt",), "entry_point": ("entry_point",), "test": ("test",)},
        prompt="```python\n{question}\n```\n\n{code_note}\n",
        metadata=("task_id",),
        source="openai/openai_humaneval, split test; or HumanEval.jsonl.gz of openai/human-eval",
    ),
    "simpleqa": Shape(
        verifier="judge",
        columns={"question": ("problem",), "answer": ("answer",)},
        metadata=("metadata",),
        source="basicv8vc/SimpleQA, split test",
    ),
}

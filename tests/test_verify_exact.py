"""Short exact answers: what is the same text, and that the rules settle."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.errors import UsageError
from leash_ray.types import Verdict
from leash_ray.verify.kinds import kind_of
from leash_ray.verify.kinds.exact import Exact, canonical_json

SPECS = (
    "exact",
    "exact?case=keep",
    "exact?articles=ignore",
    "exact?type=list",
    "exact?type=unordered",
    "exact?type=json",
)


def exact(spec: str = "exact") -> Exact:
    kind = kind_of(spec)
    assert isinstance(kind, Exact)
    return kind


FORMS_OF_ONE_TEXT_ARE_EQ = (
    ("Paris", "paris."), ("“Paris”", "paris"), ("1,234", "1234"), ("1{,}234", "1234"), ("a,b", "a, b"),
    ("don’t", "don't"), ("ｙｅｓ", "yes"), ("e\u0301", "é"), ("**\\text{No}**", "no"), ("50\\%", "50%"),
    ("a\u00a0 b", "a b"), ("Yes!", "yes"), ("3–5", "3-5"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other"),
    FORMS_OF_ONE_TEXT_ARE_EQ,
)
def test_forms_of_one_text_are_equal(one: str, other: str) -> None:
    assert exact().canonical(one) == exact().canonical(other)


DIFFERENT_TEXTS_STAY_DIF = (
    ("x²", "x2"), ("5!", "5"), ("f'", "f"), ("0.3...", "0.3"), ("1, 234", "1234"), ("1,2", "12"), ("-5", "5"),
    (".5", "5"), ("a b", "ab"), ("½", "12"), ("Pаris", "Paris"), ("the cat", "cat"), ("5?", "5"), ("C++", "C"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other"),
    DIFFERENT_TEXTS_STAY_DIF,
)
def test_different_texts_stay_different(one: str, other: str) -> None:
    assert exact().canonical(one) != exact().canonical(other)


def test_json_is_compared_by_value() -> None:
    assert canonical_json(' {"b": 1.0, "a": [true, null]} ') == '{"a":[true,null],"b":1}'
    assert canonical_json("1e2") == "100"
    assert canonical_json('{"a": {"d": 1, "c": 2}}') == canonical_json('{"a": {"c": 2, "d": 1}}')
    assert canonical_json("true") != canonical_json("1")
    assert canonical_json('"\\ud800"') == '"\\ud800"'  # written so that a table can store it


WHAT_IS_NO_JSON_OF_REASO = (
    "", "{", "NaN", "[Infinity]", "1e999", '{"a": 1, "a": 1}', "9" * 5000, "[" * 10_000 + "]" * 10_000,
    '[{"a":' * 9000, "1" + "0" * 10_000, "\ud800", "{'a': 1}",
)  # fmt: skip


@pytest.mark.parametrize("text", WHAT_IS_NO_JSON_OF_REASO)
def test_what_is_no_json_of_reasonable_size_stays_text(text: str) -> None:
    assert canonical_json(text) is None
    exact("exact?type=json").read(f"<answer>{text}</answer>")


def test_an_answer_equal_to_any_reference_is_written_as_the_first() -> None:
    judgement = exact().judge('["USA", "United States"]', "united states")
    assert (judgement.verdict, judgement.answer) == (Verdict.CORRECT, "usa")
    assert exact().judge("[a]", "[a]").verdict is Verdict.CORRECT  # no JSON list: a text


A_REFERENCE_THAT_NOTHING = (
    ("exact", " "), ("exact", '["", "a"]'), ("exact?type=json", "NaN"), ("exact?type=json", ""),
)  # fmt: skip


@pytest.mark.parametrize(("spec", "reference"), A_REFERENCE_THAT_NOTHING)
def test_a_reference_that_nothing_can_equal_is_refused(spec: str, reference: str) -> None:
    with pytest.raises(UsageError, match="exact: "):
        exact(spec).check_reference(reference)


def test_only_the_format_that_is_asked_for_needs_no_leniency() -> None:
    bold = exact("exact?format=bold")
    assert (reading := bold.read("so **x**")) and not reading.fallback
    assert (reading := bold.read("so \\boxed{x}")) and reading.fallback
    assert exact("exact?format=bold&strict=true").read("so \\boxed{x}") is None


PIECES = st.sampled_from((
    "a", "1", ",", "234", " ", "**", "$", "\\text{", "}", "{", "[", "]", '"', "'", ".", "!", "and ", "the ",
    "\\boxed{", "<answer>", "</answer>", "\n", "İ", "ß", "\u0301", "\u200b", "\ud800", "\\", ":", "~", "```",
    "answer is ",
))  # fmt: skip
TEXTS = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=14).map("".join))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SPECS), TEXTS)
def test_canonical_texts_are_idempotent_and_reading_never_raises(spec: str, text: str) -> None:
    kind = exact(spec)
    assert kind.canonical(kind.canonical(text)) == kind.canonical(text)
    kind.read(text)
    kind.read(f"<answer>{text}</answer>")


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_any_layout_of_a_json_value_has_one_canonical_text(value: object) -> None:
    once = canonical_json(json.dumps(value))
    assert once is not None and once == canonical_json(json.dumps(value, indent=2, ensure_ascii=False))
    assert json.loads(once) == value and canonical_json(once) == once


REPEATED = (
    "**", "*", "a, ", "[", "the ", "and ", "```\n", "$", "\\text{", "answer is ", "\u0301", "1,000",
)  # fmt: skip


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("piece", REPEATED)
def test_reading_is_linear(spec: str, piece: str) -> None:
    text = piece * (30_000 // len(piece))
    start = time.perf_counter()
    exact(spec).read(text)
    exact(spec).read(f"<answer>{text}</answer>")
    exact(spec.replace("?", "?format=bold&") if "?" in spec else "exact?format=bold").read(text)
    assert time.perf_counter() - start < 3.0


NOT_MEANT = (
    ("exact", "5", "-\\boxed{5}"), ("exact", "5", "\\boxed{5}\\times 10^3"),
    ("exact", "no", "\\boxed{yes} or \\boxed{no}"),
    ("exact", "no", "\\boxed{yes}; \\boxed{no}"),
    ("exact", "yes", "\\boxed{yes}. Wait, that is wrong, it should be no."),
    ("exact", "yes", "\\boxed{yes}. The answer is no."), ("exact", "yes", "\\boxed{yes}?"),
    ("exact", "n", "\\boxed{n!}"),
    ("exact", "paris", "<answer>Paris</answer> Actually, Rome."), ("exact", "paris", "\\boxed{Paris}, Rome"),
    ("exact", "paris", "It cannot be \\boxed{Paris}"), ("exact", "5", "\\boxed{5}. The answer is 5 or 6."),
    ("exact", "5", "\\boxed{5}. The answer is 5.3"), ("exact", "yes", "The answer is no.\nyes"),
    ("exact?format=tag", "paris", "<answer>Paris</answer> No, \\boxed{Rome}"),
    ("exact?format=bold", "paris", "The answer is not **Paris**"), ("exact?format=bold", "paris", "**Paris** is wrong"),
    ("exact?format=bold", "no", "either **yes** or **no**"), ("exact?format=bold", "paris", "**Rome** vs **Paris**"),
    ("exact?format=bold", "paris", "**Paris**\n\nThe answer is Rome."), ("exact?format=bold", "yes", "**yes**?"),
    ("exact?type=json", '{"a":1}', '```json\n{"a":1}\n```\nWait, that is wrong.'),
    ("exact?type=json", '{"a":1}', 'As in:\n```json\n{"a":1}\n```\nBut I do not know.'),
)  # fmt: skip


@pytest.mark.parametrize(("spec", "reference", "text"), NOT_MEANT)
def test_what_the_words_around_deny_or_overrule_is_not_right(spec: str, reference: str, text: str) -> None:
    reading = exact(spec).read(text)
    assert reading is None or exact(spec).judge(reference, reading.content).verdict is Verdict.INCORRECT


STILL_MEANT = (
    ("exact", "-5", "-\\boxed{5}"), ("exact", "n!", "\\boxed{n!}"), ("exact", "yes", "\\boxed{Yes!}"),
    ("exact", "paris", "\\boxed{Paris}. This is because it is the capital."),
    ("exact", "paris", "\\boxed{Paris}. I hope it is correct."), ("exact", "paris", "The answer is \\boxed{Paris}!"),
    ("exact", "paris", "\\boxed{Paris}. The answer is Paris, the capital of France."),
    ("exact", "paris", "<answer>Paris</answer>\nThe answer is based on geography."),
    ("exact", "paris", "<answer>Rome</answer>\nNo, it is <answer>Paris</answer>"),
    ("exact?type=list", "a, b", "\\boxed{a}, \\boxed{b}"), ("exact?format=bold", "yes, no", "So **yes, no**."),
    ("exact?type=json", '{"a":1}', '```json\n{"a":1}\n```\nThis is all.'), ("exact", "no", "The answer is no."),
)  # fmt: skip


@pytest.mark.parametrize(("spec", "reference", "text"), STILL_MEANT)
def test_harmless_words_around_an_answer_change_nothing(spec: str, reference: str, text: str) -> None:
    reading = exact(spec).read(text)
    assert reading is not None and exact(spec).judge(reference, reading.content).verdict is Verdict.CORRECT

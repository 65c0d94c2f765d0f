"""Multiple choice: what is a letter, what is a hedge, and that the rules settle."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.errors import UsageError
from leash_ray.types import Verdict
from leash_ray.verify.kinds import kind_of
from leash_ray.verify.kinds.choice import Choice, canonical_choice

REFERENCE = json.dumps({"answer": "C", "choices": ["Rome", "Oslo", "Paris", "Bonn"]})


def choice(spec: str = "choice") -> Choice:
    kind = kind_of(spec)
    assert isinstance(kind, Choice)
    return kind


ONE_LETTER_IN_MANY_SPELL = (
    "C", "c", "(C)", "[c]", "C.", "c)", "**C**", "$C$", r"\text{(C)}", r"(\text{C})", "CCCCC", "option C",
)  # fmt: skip


@pytest.mark.parametrize("text", ONE_LETTER_IN_MANY_SPELL)
def test_one_letter_in_many_spellings(text: str) -> None:
    assert canonical_choice(text) == "C"


A_LETTER_WITH_THE_CHOICE_S_TEXT = (
    "(C) Paris", r"\textbf{(C) }Paris", "C: Paris", "C. **Paris**", "(C) Paris, of course", "C) Paris.",
    r"\text{(C) Paris}",
)  # fmt: skip


@pytest.mark.parametrize("text", A_LETTER_WITH_THE_CHOICE_S_TEXT)
def test_a_letter_with_its_own_text_is_that_letter(text: str) -> None:
    content = canonical_choice(text)
    for reference in (REFERENCE, "C"):
        judgement = choice().judge(reference, content)
        assert (judgement.verdict, judgement.answer, judgement.leniency) == (Verdict.CORRECT, "C", None)
    assert choice().judge("B", content)[:3] == (Verdict.INCORRECT, None, "C")


A_LETTER_THAT_IS_NOT_MEANT = (
    "C: Rome", "(C) Oslo", "C. Bonn", "(C) Rome and more", "C: wrong", "C: incorrect", "C: false", "(C) no",
    "C: 30%, D: 70%", "C (10%), D (90%)", "C: ruled out", "C: unlikely", "C? Perhaps", "C: no, D: yes",
)  # fmt: skip


@pytest.mark.parametrize("text", A_LETTER_THAT_IS_NOT_MEANT)
def test_a_letter_with_another_s_text_or_called_wrong_is_wrong(text: str) -> None:
    for said in (f"\\boxed{{{text}}}", f"<answer>{text}</answer>", f"The answer is {text}"):
        reading = choice().read(said)
        assert reading is None or choice().judge(REFERENCE, reading.content).verdict is Verdict.INCORRECT


def test_the_text_behind_a_letter_tells_answers_apart() -> None:
    choices = json.dumps({"answer": "A", "choices": ["5", "-5", "5 km", "50"]})
    for text, right in (
        ("A: 5", True),
        ("(A) 5 km", False),
        ("A. 50", False),
        (r"(A) $5$", True),
        ("A) 5, since", True),
    ):
        assert (choice().judge(choices, canonical_choice(text)).verdict is Verdict.CORRECT) is right


OTHER_WORDS_COUNT = (
    ("\\boxed{C}. Wait, that's wrong.", None), ("\\boxed{C} Hold on. The answer is (A).", "A"),
    ("\\boxed{C} The answer is (A). Wait, no.", None), ("<answer>C</answer> Actually, it should be B.", None),
    ("\\boxed{C}\n\nCorrect option: B", "B"), ("\\boxed{C}. So it's B.", None), ("\\boxed{C} or D", None),
    ("\\boxed{C}, D", None), ("\\boxed{C} then <answer>B</answer>", "B"), ("The answer is (B).\nI prefer (C).", None),
    ("The answer is (C)\n\nBut B is also possible.", None), ("The answer is C\n\nFinal: B", None),
    ("The answer is not \\boxed{C}", None), ("\\boxed{C} is wrong", None), ("\\boxed{C}?", None),
    ("I rule out \\boxed{C}", None), ("It is not <answer>C</answer>", None), ("One might say the answer is (C).", None),
    ("<answer>B</answer> or <answer>C</answer>", None), ("CCCCC\nWait, no, that is wrong.", None),
    ("CCCCC\nThe answer is B.", "B"), ("If it is C, write CCCCC. I do not know.", None),
    ("I was asked for a letter such as CCCCC.\nI cannot say.", None), ("The letters CCCCC are in the text.", None),
    ("The answer is (C).\nC) Paris: I see that this is incorrect.", None),
    ("The answer is (C).\n- A) Rome: this is wrong here.\n- C) Paris: this is wrong here.", None),
)  # fmt: skip


@pytest.mark.parametrize(("text", "answer"), OTHER_WORDS_COUNT)
def test_words_around_and_after_a_letter_count(text: str, answer: str | None) -> None:
    reading = choice().read(text)
    assert (reading and reading.answer) == answer


HARMLESS = (
    "\\boxed{C}. This is because A and B are too small.", "\\boxed{C}. I hope it is correct.",
    "\\boxed{C}. Let me double-check: 2+3=5, yes, correct.", "\\boxed{C}\n\nThe answer is C.",
    "$\\boxed{\\text{C}}$ is the correct choice.", "\\boxed{C}. This answer is correct.",
    "\\boxed{C}. Let me re-check it. Yes, it is right.", "<answer>C</answer>\n\nUser: And now?\nThe answer is B",
    "The answer is (C). Rome is too far south.", "My best guess is **CCCCC**.", "\\boxed{C}, as shown above.",
    "The answer is (C).\nThis is so since it should be noted that A is small.",
    "The answer is (C).\n\n- A) Rome: this is incorrect, since it is in Italy.\n- B) Oslo is far away, so it is wrong.",
    "**C**\n\nThe answer is C.\nD: It lies in Germany, which means that this is wrong.",
)  # fmt: skip


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_words_after_a_letter_do_not_void_it(text: str) -> None:
    reading = choice().read(text)
    assert reading is not None and reading.answer == "C"


WHAT_IS_NO_SINGLE_LETTER = (
    "A or C", "(A) and (C)", "not C", "(C) or none", "(C), (D)", "C/D", "AC", "A C", "(C)?", "C is wrong",
    "(C) is wrong", "(C) may be", "A. C", "С", "", "ſ", "Paris", "CC", "ACCCC",
)  # fmt: skip


@pytest.mark.parametrize("text", WHAT_IS_NO_SINGLE_LETTER)
def test_what_is_no_single_letter_stays_text(text: str) -> None:
    found = canonical_choice(text)
    assert not (len(found) == 1 and found.isascii())
    assert choice().judge("C", found).verdict is Verdict.INCORRECT


def test_the_text_of_a_choice_counts_as_its_letter_by_leniency() -> None:
    right = choice().judge(REFERENCE, "paris")
    assert (right.verdict, right.answer, right.leniency) == (Verdict.CORRECT, "C", "choice_text")
    wrong = choice().judge(REFERENCE, "rome")
    assert (wrong.verdict, wrong.answer) == (Verdict.INCORRECT, "A")
    assert choice("choice?strict=true").judge(REFERENCE, "paris").verdict is Verdict.INCORRECT
    twice = json.dumps({"answer": "A", "choices": ["Paris", "Paris"]})
    assert choice().judge(twice, "paris").verdict is Verdict.INCORRECT  # which of them?


def test_guessing_gets_one_of_the_choices() -> None:
    assert choice().guess_rate(REFERENCE) == 0.25
    assert choice().guess_rate("C") is None


A_REFERENCE_WITHOUT_A_LE = (
    "", "none", "CD", '{"answer": "E", "choices": ["a", "b"]}', '{"choices": []}', "{", '{"answer": 3}',
)  # fmt: skip


@pytest.mark.parametrize("reference", A_REFERENCE_WITHOUT_A_LE)
def test_a_reference_without_a_letter_is_refused(reference: str) -> None:
    with pytest.raises(UsageError, match="choice: "):
        choice().check_reference(reference)


A_CUT_TEXT_IS_AN_ANSWER = (
    ("The answer is (C)", True), ("Answer: C", False), ("Answer: C.", True), ("Answer: C\n", True),
    ("**Answer: C**", True),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "delimited"),
    A_CUT_TEXT_IS_AN_ANSWER,
)
def test_a_cut_text_is_an_answer_only_if_its_letter_has_ended(text: str, delimited: bool) -> None:
    reading = choice().read(text)
    assert reading is not None and (reading.answer, reading.delimited) == ("C", delimited)


PIECES = st.sampled_from((
    "A", "C", "(C)", "answer is ", "Answer: ", "or", "not", "\\boxed{", "}", "**", "$", "\n", " ", ".", "\\text{",
    "<answer>", "</answer>", "CCCCC", "<think>", "\ud800", "İ", "wait",
))  # fmt: skip
TEXTS = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=14).map("".join))


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_canonical_letters_are_idempotent(text: str) -> None:
    assert canonical_choice(canonical_choice(text)) == canonical_choice(text)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_reading_never_raises_and_a_letter_reads_as_itself(text: str) -> None:
    reading = choice().read(text)
    if reading is not None and len(reading.answer) == 1 and reading.answer.isascii() and reading.answer.isalpha():
        again = choice().read(reading.answer)
        assert again is not None and again.answer == reading.answer


REPEATED = (
    "answer is ", "(", "**", "answer: (A) or ", "A", "\\boxed{", "$", "if the answer is ", "\\text{", "AAAA ", "\n",
    "a\n", "wait ",
)  # fmt: skip


@pytest.mark.parametrize("piece", REPEATED)
def test_reading_is_linear(piece: str) -> None:
    assert seconds(piece, 50_000) < 3.0


def seconds(piece: str, n: int) -> float:
    text = piece * (n // len(piece))
    start = time.perf_counter()
    choice().read(text)
    choice().read(f"\\boxed{{{text}}}")
    return time.perf_counter() - start

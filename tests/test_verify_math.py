"""Mathematics: what is read from a text, what is one canonical answer, what is judged right.

Pairs checked by hand; more of them are in data/verdicts/math.jsonl.
"""

import json
import random
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.errors import UsageError
from leash_ray.types import Problem, Verdict
from leash_ray.verify import Verification, judge, kind_of, read_answer
from leash_ray.verify.math.canonical import canonical_math
from leash_ray.verify.math.compare import read_formula
from leash_ray.verify.math.formula import Unreadable
from leash_ray.verify.math.shape import parse_shape
from leash_ray.verify.math.units import split_unit
from leash_ray.verify.math.values import TooLarge, equal

ITEMS = Path(__file__).parent / "data" / "items"
R, W = Verdict.CORRECT, Verdict.INCORRECT


def verdict_of(reference: str, text: str, verifier: str = "math") -> Verdict:
    reading = read_answer(Problem.make("t", "p", verifier, reference), text, "stop")
    return reading.verdict if isinstance(reading, Verification) else judge(verifier, reference, reading.content).verdict


PAIRS = [
    ("\\frac{1}{2}", "so \\boxed{0.5}", R),
    ("0.5", "\\boxed{½}", R),
    ("\\frac12", "\\boxed{\\dfrac{2}{4}}", R),
    ("\\frac{1}{2}", "\\boxed{0.51}", W),
    ("\\frac{1}{3}", "\\boxed{0.333333}", R),
    ("\\frac{1}{3}", "\\boxed{0.333}", W),
    ("7/2", "\\boxed{3½}", R),
    ("42", "\\boxed{41} wait, \\boxed{42}", R),
    ("41", "\\boxed{41} wait, \\boxed{42}", W),
    ("\\frac{\\sqrt{3}}{2}", "\\boxed{\\frac{\\sqrt{3}}{2}}", R),
    ("\\{1,2\\}", "\\boxed{\\{2, 1\\}}", R),
    ("(1,2)", "\\boxed{(1, 2)}", R),
    ("(1,2)", "\\boxed{(2, 1)}", W),
    ("x^2-1", "\\boxed{(x-1)(x+1)}", R),
    ("x^2-1", "\\boxed{(x-1)^2}", W),
    ("2\\sqrt{2}", "\\boxed{\\sqrt8}", R),
    ("1000", "\\boxed{1,000}", R),
    ("1,234", "\\boxed{(1, 234)}", W),
    ("-3", "\\boxed{−3}", R),
    ("5", "\\boxed{x = 5}", R),
    ("10", "\\boxed{10\\text{ cm}}", R),
    ("\\text{even}", "\\boxed{even}", R),
    ("\\text{even}", "\\boxed{odd}", W),
    ("2\\pi", "\\boxed{2π}", R),
    ("\\infty", "\\boxed{∞}", R),
    ("18", "\\boxed{\\$18}", R),
    ("42", "<answer> 42 </answer>", R),
    ("42", "<think>perhaps 7</think>The answer is 42.", R),
    ("42", "42", R),
    ("42", "$42$", R),
    ("42", "So she has 7 pens, which makes 42 in all.", R),
    ("5", "#### 5", R),
    ("The sum is \\boxed{5}", "\\boxed{5}", R),  # a whole solution as reference
    ("3 + 4 = 7\n#### 7", "\\boxed{7}", R),
    ("7", "\\boxed{}", Verdict.NO_ANSWER),
    ("7", "", Verdict.NO_ANSWER),
    ("7", "I do not know", Verdict.NO_ANSWER),
    ("7", "<think> 7, I think", Verdict.NO_ANSWER),
]


@pytest.mark.parametrize(("reference", "text", "verdict"), PAIRS)
def test_verdict(reference: str, text: str, verdict: Verdict) -> None:
    assert verdict_of(reference, text) is verdict


@pytest.mark.parametrize(
    ("reference", "said", "verdict"),
    [
        ("(1,100)", "1100", W),
        ("1100", "(1,100)", W),
        ("[1200]", "[1,200]", W),
        ("2200", "2(1,100)", W),
        ("(1,100)", "(1, 100)", R),
        ("(1, 100)", "(1,100)", R),
        ("\\{1,100\\}", "\\{100, 1\\}", R),
        ("[1,200]", "1 \\leq x \\leq 200", R),
        ("1,234", "1234", R),
        ("1,234 and 5", "5, 1234", R),
        ("\\frac{1234}{7}", "\\frac{1,234}{7}", R),
        ("(1000, 2000)", "(1,000, 2,000)", W),  # a false negative: no comma in brackets belongs to a number
    ],
)
def test_a_comma_in_brackets_parts_two_numbers_and_one_before_three_digits_is_in_a_number(
    reference: str, said: str, verdict: Verdict
) -> None:
    assert verdict_of(reference, f"\\boxed{{{said}}}") is verdict


# What math-verify 0.9.0 calls equal, or what one might.
NOT_EQUAL = [
    ("2", "2c"), ("5", "5 t"), ("5", "6=5"), ("x^2+1=0", "x^2+2=0"), ("0.0000012", "0.0000013"), ("1", "1\\%"),
    ("(1,2)", "1,2"), ("(1,2)", "\\{1,2\\}"), ("1,2", "(2,1)"), ("5", "5\\text{ million}"), ("5", "5 less"),
    ("5", "5\\text{ cubed}"), ("3", "3\\text{ quarters}"), ("5", "5\\text{ square}"),
    ("1010_2", "1010_3"), ("5", "5\\text{ or more}"), ("5", "5\\text{ dozen}"), ("10\\text{ cm}", "10\\text{ m}"),
    ("3", "\\sqrt{9}\\ldots"), ("5", "\\approx 5"), ("5", "5'"), ("5", "5 \\mod 7"), ("7", "x+y=7"), ("AB", "BA"),
    ("(3,4)", "x=3, y=4"), ("x", "X"), ("e", "E"), ("ab", "aB"), ("0", "1e-9"), ("204", "203.9999999"),
    ("5", "\\{5,6\\}"), ("5", "5,6"), ("5", "5 \\text{ or } 6"), ("5", "5, \\text{not } 6"), ("5", "5 \\vee 6"),
    ("5", "5|6"), ("5", "5/6"), ("5", "5;6"), ("5", "5\\\\6"), ("5", "5 \\quad 6"), ("5", "5\n6"), ("5", "{5}{6}"),
    ("5", "4\\text{ or }5"), ("5", "[5,6]"), ("5", "5 \\pm 1"), ("5", "\\text{5 or 6}"), ("5", "5 \\lor 6"),
    ("x+1", "x+1, x+2"), ("[1,2]", "(1,2)"), ("5", "x>5"), ("5", "٥"), ("2", "²"), ("5", "5\u202e"),
]  # fmt: skip


@pytest.mark.parametrize(("reference", "said"), NOT_EQUAL)
def test_what_is_not_one_answer_and_equal_is_wrong(reference: str, said: str) -> None:
    assert verdict_of(reference, f"\\boxed{{{said}}}") is W


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{5}, \\boxed{6}", "\\boxed{5} or \\boxed{6}", "$\\boxed{5}$ and $\\boxed{6}$",
        "\\boxed{5} \\text{ or } \\boxed{6}", "\\boxed{5},\\boxed{7}, and \\boxed{6}", "\\boxed{5 or \\boxed{6}}",
    ],
)  # fmt: skip
def test_candidates_in_several_boxes_are_not_the_last_of_them(text: str) -> None:
    assert verdict_of("6", text) is W


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("(1,2)", "(y,x)=(1,2)"), ("\\{1,2\\}", "\\{1\\},\\{2\\}"), ("\\{1,2\\}", "\\{\\{1,2\\}\\}"),
        ("(-\\infty,1)\\cup(2,\\infty)", "x<1\\text{ or }y>2"), ("x=1,y=2", "x=1\\text{ or }y=2"),
        ("5", "\\text{wrong answer} = 5"),
    ],
)  # fmt: skip
def test_names_and_brackets_are_part_of_what_is_said(reference: str, said: str) -> None:
    assert verdict_of(reference, f"\\boxed{{{said}}}") is W


def test_boxes_that_are_listed_together_are_one_answer() -> None:
    assert verdict_of("5, 6", "\\boxed{5} and \\boxed{6}") is R
    assert verdict_of("5, 6, 7", "$\\boxed{5}$, $\\boxed{6}$, and $\\boxed{7}$") is R
    assert verdict_of("6", "\\boxed{5}. No: \\boxed{6}") is R


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("-\\boxed{5}", "-5"),
        ("$x = -\\boxed{5}$", "-5"),
        ("-$\\boxed{5}$", "-5"),
        ("The result - $\\boxed{5}$", "5"),
        ("- $\\boxed{5}$", "5"),  # a bullet
        ("\\$\\boxed{18}", "\\$18"),
        ("\\boxed{5} \\times 10^3", "5000"),
        ("$\\boxed{5}$ × 10^3", "5000"),
        ("\\boxed{50}\\%", "50\\%"),
        ("\\boxed{50} percent", "50\\%"),
        ("\\boxed{30}^{\\circ}", "30^\\circ"),
        ("\\boxed{101}_2", "101_{2}"),
        ("\\boxed{5} \\text{ cm}^2", "5\\text{cm}^{2}"),
        ("\\boxed{5} km is the answer", "5\\text{km}"),
        ("\\boxed{5} in all", "5"),
        ("\\boxed{12} = 3 \\cdot 4", "12=3\\cdot4"),
        ("$2^{10} \\equiv \\boxed{2} \\pmod{7}$", "2"),
        ("{\\Large \\boxed{5}}", "5"),
        ("(\\boxed{5}, \\boxed{6})", "(5,6)"),
        ("\\boxed{5}; \\boxed{6}", "5,6"),
        ("\\boxed{5}\n\\boxed{6}", "5,6"),
        ("\\boxed{5}\n\n\\boxed{5}", "5"),
        ("x = \\boxed{5} or x = \\boxed{6}", "x=5 or x=6"),
    ],
)
def test_a_box_is_read_with_what_touches_it(text: str, answer: str) -> None:
    reading = kind_of("math").read(text)
    assert reading is not None
    assert (reading.stage, reading.answer) == ("boxed", answer)


# Beside a box 5: each makes the box no answer, and what it makes of it is no answer either.
BESIDE = [
    "2\\boxed{5}", "\\sqrt{\\boxed{5}}", "√\\boxed{5}", "\\frac{\\boxed{5}}{2}", "\\frac{1}{\\boxed{5}}",
    "3^{\\boxed{5}}", "\\boxed{5}^2", "\\boxed{5}²", "\\boxed{5}!", "\\boxed{5}x", "\\boxed{5}\\pi", "\\boxed{5} + 1",
    "3 - \\boxed{5}", "\\pm \\boxed{5}", "x > \\boxed{5}", "x \\neq \\boxed{5}", "at least \\boxed{5}",
    "not \\boxed{5}", "twice \\boxed{5}", "\\boxed{5} or 6", "6 or \\boxed{5}", "6, \\boxed{5}", "\\boxed{5}, 6",
    "\\boxed{5} million",
    "\\boxed{5} is wrong", "\\boxed{5},000", "0.\\boxed{5}", "\\boxed{5}/6", "\\boxed{5}?", "\\boxed{5}/\\boxed{6}",
    "\\boxed{5} feet 6 inches", "x = 6 or x = \\boxed{5}", "[\\boxed{5}, \\infty)", "\\boxed{5} \\mod 7",
]  # fmt: skip


@pytest.mark.parametrize("text", BESIDE)
@pytest.mark.parametrize("reference", ["5", "-5", "25", "10", "120", "\\sqrt{5}", "5, 6", "6", "5/6"])
def test_a_box_that_something_touches_is_no_answer_by_itself(text: str, reference: str) -> None:
    assert verdict_of(reference, text) is not R


@pytest.mark.parametrize(
    "after",
    [
        ".", ". This is because 2+3=5.", "\n\nLet me verify: 2+3=5, so it is right.", ". I hope it is correct.",
        "\n\nThe answer is 5.", "\n\nThe answer is correct.", "\n\nSo the answer is 5, because 2+3=5.",
        "\n\nTherefore, Janet has 5 apples.", "\n\n#### 5", "<|im_end|>", ", which is prime.", " apples left.",
        " (since 2+3 = 5)", "\n\nQuestion: what is 2+4?\nAnswer: 6",
    ],
)  # fmt: skip
def test_what_follows_a_box_and_only_goes_on_leaves_it(after: str) -> None:
    assert verdict_of("5", f"\\boxed{{5}}{after}") is R


@pytest.mark.parametrize(
    "after",
    [
        ". Wait, that is wrong, it should be 6.", "\n\nActually, no.", "\n\nOops, I made a mistake.",
        ". That is incorrect.",
        "\n\nx = 6", "\n\n**6**", "\n\nTherefore, $x=6$.", "\n\nThus the sum is 2+4=6.",
        "\n\nNote: the correct value is 6.",
        "\n\nSo maybe 6.", " but should be 6", " (incorrect)",
    ],
)  # fmt: skip
def test_a_box_that_is_taken_back_is_no_answer(after: str) -> None:
    for text in (f"\\boxed{{5}}{after}", f"<answer>5</answer>{after}"):
        assert kind_of("math").read(text) is None
        assert verdict_of("5", text) is Verdict.NO_ANSWER


@pytest.mark.parametrize(
    "after", [". The answer is 6.", "\n\nWait. The answer is 6.", "\n#### 6", "\n\nFinal answer: $6$"]
)
def test_a_later_answer_overrules_a_box_by_leniency(after: str) -> None:
    reading = kind_of("math").read(f"\\boxed{{5}}{after}")
    assert reading is not None
    assert (reading.answer, reading.stage, reading.fallback) == ("6", "phrase", True)
    assert kind_of("math?strict=true").read(f"\\boxed{{5}}{after}") is None


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 5. Actually no, 6.", "I doubt the answer is 5.", "If the answer is 5, x is odd.",
        "The answer is 5. That is wrong.", "The answer is 5. Therefore, the total is 6.", "The answer is 5\n6",
        "The answer is 5!", "The values are\n3\n5", "The values are\n- 3\n- 5", "So we have 6 = 5.",
        "Therefore we know that x^2 = 5.", "Thus the value of x + 1 is 5.", "So the min is 3 and the max is 5.",
    ],
)  # fmt: skip
def test_prose_that_takes_back_or_says_it_of_something_else_is_no_answer(text: str) -> None:
    for reference in ("5", "-5", "120"):
        assert verdict_of(reference, text) is not R


@pytest.mark.parametrize(
    ("text", "stage", "answer", "delimited"),
    [
        ("\\boxed{\\frac{a}{b}} \\boxed{c", "boxed", "\\frac{a}{b}", True),  # the last one never closes
        ("\\boxed{\\{1\\}}", "boxed", "\\{1\\}", True),
        ("\\boxed {7}", "boxed", "7", True),
        ("\\boxed{1}<answer>2</answer>", "answer_tag", "2", True),
        ("<answer>2</answer>\\boxed{1}", "boxed", "1", True),
        ("<answer>\\boxed{1}</answer>", "boxed", "1", True),
        ("The answer is $x+1$. Thank you.", "phrase", "x+1", False),
        ("Answer: 3/4", "phrase", "3/4", False),
        ("The answer is 5. No, the answer is 6.", "phrase", "6", False),
        ("This gives us a total of -1,234.5 units", "last_line", "-1,234.5\\text{units}", False),
        ("The answer is 12 cm.", "phrase", "12\\text{cm}", False),
    ],
)
def test_reading(text: str, stage: str, answer: str, delimited: bool) -> None:
    reading = kind_of("math").read(text)
    assert reading is not None
    assert (reading.stage, reading.answer, reading.delimited) == (stage, answer, delimited)
    assert reading.fallback is not delimited


def test_a_value_in_prose_is_judged_with_its_unit() -> None:
    assert verdict_of("-1234.5", "This gives us a total of -1,234.5 units") is R
    assert verdict_of("12\\text{ m}", "The answer is 12 cm.") is W


def test_strict_reads_marked_answers_only() -> None:
    strict = kind_of("math?strict=true")
    assert strict.read("The answer is 5.") is None
    assert strict.read("5") is None
    assert strict.read("\\boxed{5}") is not None
    assert kind_of("math?strict=true&pattern=total:(.*)").read("total: 5").answer == "5"  # type: ignore[union-attr]


EQUAL = [
    ["1/2", "0.5", ".50", "½", "\\frac12", "\\dfrac{1}{2}", "\\frac{2}{4}", "$\\tfrac{1}{2}$.", "0.5."],
    ["1234", "1,234", "1234.0", "1{,}234", "1\\,234", "1.234 \\times 10^3", "$1234$"],
    ["(1,2)", "(1, 2)", "\\left( 1, 2 \\right)", "\\[(1,2)\\]"],
    ["A", "\\text{A}", " $\\mathrm{A}$"],
    ["16E-20", "1.6e-19", "1.6 \\times 10^{-19}", "1.6\\cdot10^{-19}"],
    ["7/2", "3\\frac{1}{2}", "3 1/2", "3.5"],
    ["x\\leq5", "x \\le 5", "x ≤ 5", "x\\leqslant 5"],
    ["10\\text{cm}", "10\\text{ cm}", "10\\mathrm{cm}"],
    ["73", "073", "73.0", "+73"],
]


@pytest.mark.parametrize("equal_texts", EQUAL)
def test_equal_answers_are_one(equal_texts: list[str]) -> None:
    assert {canonical_math(text) for text in equal_texts} == {equal_texts[0]}


@pytest.mark.parametrize(
    "unequal",
    [
        ["1,234", "1, 234", "(1, 234)", "1.234"],
        ["0.333333", "1/3", "0.33333"],
        ["\\pi x", "\\pix", "-x", "x"],
        ["12", "1 2"],
        ["2e-1", "0.2"],  # Euler's number perhaps
        ["1–2", "-1", "1-2 x"],
        ["x^{23}", "x^{2}3"],
        ["2\\frac{3}{2}", "7/2", "3"],
    ],
)
def test_unequal_answers_stay_apart(unequal: list[str]) -> None:
    assert len({canonical_math(text) for text in unequal}) == len(unequal)


ODD = [
    "", " ", "$", "$$", "$$$$", "\\(\\)", "..", "...", "1..", "\\frac{1}{0}", "1/0", "\\text{\\text{a}}", "$a$ and $b$",
    "\\text{ $x$ }", "$\\text{0.50}$.", "1 , 234", "1,234,56", "- - 1", "+-1", "\\left\\{1\\right\\}", "½½", "3½",
    "\\\\ x", "}{", "\\boxed{1}", "0.", ".", "-.5", "00.10", "2 ** 3", "2* *3", "\t1\n2 ", "∞", "\\ x", "a\\, b",
    "x =  5", "1 / 2", "5 %", "\\dfrac 1 2", "$.5.$", "−½", "\ud800", "\x00", "٣", "²", "1e9999", "1.5E-9999", "‮5",
    "\\boxed{" * 20 + "5" + "}" * 20, "\\text{" * 20 + "5" + "}" * 20,
]  # fmt: skip


@pytest.mark.parametrize("text", ODD + [text for _, text, _ in PAIRS])
def test_canonical_is_idempotent(text: str) -> None:
    once = canonical_math(text)
    assert canonical_math(once) == once


PIECES = [
    *"0123456789.,+-*/ ${}()[]½ax^_|%\t\n\\e!'", "\\frac", "\\text{", "\\left(", "\\!", "$$", "\\(", "\\)", " , ",
    "100", "\\boxed{", "\\sqrt", "\\pm", "\\cup", "\\{", "\\}", "=", "<", "\\le ", " or ", "\\text{ and }", "\\infty",
    "cm", "^\\circ", "\\%", "\\begin{pmatrix}", "\\end{pmatrix}", "&", "\\\\", "\\sin", "\\log_", "10^{", "\\in ",
]  # fmt: skip


def test_random_texts_have_idempotent_answers_and_one_verdict() -> None:
    rng = random.Random(0)
    kind = kind_of("math")
    for _ in range(6000):
        text = "".join(rng.choices(PIECES, k=rng.randint(1, 12)))
        once = canonical_math(text)
        assert canonical_math(once) == once, text
        reading = kind.read(f"\\boxed{{{text}}}")
        if reading is not None:
            assert judge("math", "no such answer 17", reading.content).verdict is not R, text


def test_nothing_around_a_box_makes_reading_fail_or_another_number_right() -> None:
    rng = random.Random(0)
    around = [
        *PIECES,
        "\\boxed{5}",
        "$",
        "-",
        "\n",
        " or ",
        "The answer is ",
        "Wait",
        "not ",
        "**",
        "…",
        "→",
        "≡",
        "#### ",
    ]
    kind = kind_of("math")
    for _ in range(6000):
        before, after = ("".join(rng.choices(around, k=rng.randint(0, 6))) for _ in range(2))
        reading = kind.read(f"{before}\\boxed{{5}}{after}")
        if reading is not None:
            assert canonical_math(reading.answer) == reading.answer
            assert judge("math", "173", reading.content).verdict is not R, (before, after)


@given(st.text(max_size=40))
def test_any_text_has_an_idempotent_answer(text: str) -> None:
    once = canonical_math(text)
    assert canonical_math(once) == once
    kind_of("math").read(text)


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**4), st.integers(1, 9), st.data())
def test_spellings_of_a_rational_are_one_answer(p: int, q: int, k: int, data: st.DataObject) -> None:
    sign, n = ("-" if p < 0 else ""), abs(p)
    spellings = [f"{p}/{q}", f"{sign}\\frac{{{n * k}}}{{{q * k}}}", f"${sign}\\dfrac{{{n}}}{{{q}}}$.", f"{p} / {q}"]
    if n > q > 1 and n % q:
        spellings += [f"{sign}{n // q}\\frac{{{n % q}}}{{{q}}}", f"{sign}{n // q} {n % q}/{q}"]
    if q == 1:
        spellings += [f"{p:,}", f"{p}.0", f"{p}.", f"\\boxed{{{p}}}", f"{p:,}".replace(",", "{,}")]
    said = data.draw(st.sampled_from(spellings))
    assert canonical_math(said) == str(Fraction(p, q))


@given(st.decimals(-1000, 1000, places=4, allow_nan=False))
def test_decimals_are_the_fractions_they_are(value: object) -> None:
    assert canonical_math(str(value)) == str(Fraction(str(value)))


_TREES = st.recursive(
    st.sampled_from(["1", "2", "3", "x", "y", "\\pi"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-"), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
        st.tuples(inner, inner).map(lambda t: f"({t[0]})({t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"\\frac{{{t[0]}}}{{{t[1]}}}"),
        inner.map(lambda t: f"\\sqrt{{{t}}}"),
    ),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(_TREES)
def test_a_formula_is_itself_and_not_itself_and_one(text: str) -> None:
    assert verdict_of(text, f"\\boxed{{ {text} }}") in (R, Verdict.NO_ANSWER)
    assert verdict_of(text, f"\\boxed{{{text}+1}}") is not R
    assert verdict_of(text, f"\\boxed{{{text}, 1}}") is W
    assert verdict_of(text, f"\\boxed{{2,{text}}}") is W


def test_right_answers_have_the_canonical_text_of_the_reference() -> None:
    for said in ("\\frac{x^2-1}{x+1}", "x-1", "-1+x", "f(x) = x-1"):
        found = judge("math", "x - 1", kind_of("math").read(f"\\boxed{{{said}}}").content)  # type: ignore[union-attr]
        assert (found.verdict, found.answer) == (R, "x-1")


def test_equal_canonical_texts_have_equal_verdicts() -> None:
    for reference, text, verdict in PAIRS:
        reading = kind_of("math").read(text)
        if reading is not None:
            again = kind_of("math").read(f"\\boxed{{{reading.answer}}}")
            assert again is not None
            assert again.answer == reading.answer
            assert judge("math", reference, again.content).verdict is verdict


def test_references_of_several_answers() -> None:
    either = json.dumps(["1/2", "2"])
    assert verdict_of(either, "\\boxed{2}") is R
    assert verdict_of(either, "\\boxed{0.5}") is R
    assert verdict_of(either, "\\boxed{0.5, 2}") is W
    assert verdict_of(either, "\\boxed{2, 0.5}", "math?all_of=true") is R
    assert verdict_of(either, "\\boxed{2}", "math?all_of=true") is W
    assert verdict_of("[1,2]", "\\boxed{1}") is W  # an interval


def test_options_of_how_near_and_in_which_order() -> None:
    assert verdict_of("1.6", "\\boxed{1.57}") is W
    assert verdict_of("1.6", "\\boxed{1.57}", "math?rtol=0.02") is R
    assert verdict_of("1.6", "\\boxed{1.57}", "math?atol=0.02") is W
    assert verdict_of("1.6", "\\boxed{\\frac{\\pi}{2}}", "math?atol=0.03") is R
    assert verdict_of('{"answer": "18.8", "tolerance": 0.1, "unit": "m"}', "\\boxed{18.85\\text{ m}}") is R
    assert verdict_of('{"answer": "18.8", "tolerance": 0.1, "unit": "m"}', "\\boxed{18.85\\text{ km}}") is W
    assert verdict_of("3, 5", "\\boxed{5, 3}") is R
    assert verdict_of("3, 5", "\\boxed{5, 3}", "math?ordered=true") is W


def test_percent_is_passed_over_by_leniency_only() -> None:
    found = judge("math", "50", "50\\%")
    assert (found.verdict, found.leniency) == (R, "percent")
    assert judge("math?strict=true", "50", "50\\%").verdict is W
    assert judge("math", "1/2", "50\\%") == (R, None, "1/2", None)
    for reference, said in [("1", "1\\%"), ("1/2", "\\frac{1}{2}\\%"), ("5", "500\\%"), ("50\\%", "1/2")]:
        assert judge("math", reference, said).verdict is W


@pytest.mark.parametrize("reference", ["", " ", "$$", "[]", '{"unit": "cm"}', '{"answer": 1, "tolerance": "x"}'])
def test_references_that_no_answer_could_match_are_refused(reference: str) -> None:
    if reference == "[]":
        kind_of("math").check_reference(reference)  # text, not a list of strings: brackets
        return
    with pytest.raises(UsageError, match="math reference"):
        kind_of("math").check_reference(reference)


def test_what_cannot_be_worked_out_is_an_error_and_what_is_no_formula_is_wrong() -> None:
    assert judge("math", "9^{9^{9}}+1", "1+9^{9^{9}}").verdict is Verdict.ERROR
    assert judge("math", "5", "9^{9^{9}}").verdict is W
    assert judge("math", "5", "1000000!").verdict is W
    assert judge("math", "5", "(" * 5000 + "5" + ")" * 5000).verdict is W
    assert judge("math", "x", "+".join(["x"] * 5000)).verdict is W
    with pytest.raises(TooLarge):
        equal(read_formula("9^{9^{9}}"), read_formula("9^{9^{9}}+1"))


@pytest.mark.parametrize("text", ["1/2x", "2 3", "f(x+1)", "AB", "x^2^3", "--1", "", "\\foo x", "2\\cdot-3", "a/b/c"])
def test_what_people_read_in_two_ways_is_no_formula(text: str) -> None:
    with pytest.raises(Unreadable):
        read_formula(canonical_math(text))


@pytest.mark.parametrize(
    ("text", "rest", "unit"),
    [
        ("10\\text{ cm}", "10", "cm"),
        ("10 \\mathrm{~m/s}", "10", "m / s"),
        ("3 \\mathrm{~m} / \\mathrm{s}^{2}", "3", "m / s ^2"),
        ("\\$18", "18", "dollar"),
        ("-\\$18", "-18", "dollar"),
        ("30°", "30", "degree"),
        ("25^\\circ\\text{C}", "25", "degree C"),
        ("50%", "50", "%"),
        ("1010_2", "1010", "base 2"),
        ("12 square inches", "12", "in ^2"),
        ("5x", "5x", None),
        ("5m", "5m", None),
        ("5 thousand", "5 thousand", None),
    ],
)
def test_units(text: str, rest: str, unit: str | None) -> None:
    assert split_unit(canonical_math(text)) == (rest, unit)


@pytest.mark.parametrize("text", ["(1,2", "1)", "\\{1,2", "x=", "=5", "1,", "[1]"])
def test_shapes_that_do_not_balance_are_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        parse_shape(text)


LONG = {
    "braces": "{" * 1_000_000 + "}" * 1_000_000,
    "boxes": "\\boxed{" * 300_000 + "1" + "}" * 300_000,
    "open boxes": "\\boxed{" * 1_000_000,
    "dollars": "$" * 2_000_000,
    "spaces": "\\boxed{1 " + " " * 2_000_000 + "2}",
    "digits": "1" * 2_000_000,
    "answers": "answer is " * 200_000,
    "words": "a" * 2_000_000,
    "10 MB": "\\frac{1}{" * 1_100_000,
    "text": "\\boxed{" + "\\text{" * 150_000 + "}" * 150_000 + "}",
    "commas": "\\boxed{" + "1 , " * 4_900 + "}",
    "joints": "\\boxed{1}, " * 90_000,
    "labels": "x = \\boxed{1} or " * 60_000,
    "after": "\\boxed{1}" + " word" * 200_000,
    "around": "$" * 900_000 + "\\boxed{1}" + "$" * 900_000,
    "within": "(" * 900_000 + "\\boxed{1}" + ")" * 900_000,
    "rules": "-" * 900_000 + "\\boxed{1}" + "-" * 900_000,
    "statements": "\\boxed{1}" + "The answer is 1. " * 60_000,
    "conclusion": "So we have " + "a " * 480 + "= 5",
    "lines": "5\n" * 400_000,
}


@pytest.mark.parametrize("name", LONG)
def test_long_texts_are_read_in_linear_time(name: str) -> None:
    started_s = time.process_time()
    kind_of("math").read(LONG[name])
    assert time.process_time() - started_s < 3


SHAPES = {
    "math500": ("math", "answer", ["\\boxed{(3,\\pi/2)}", "\\boxed{-q+p}", "\\boxed{14/3}", "\\boxed{9.0}"]),
    "minerva": ("math", "solution", ["\\boxed{1.6 \\text{ cm}}", "\\boxed{3.83 \\times 10^{35}}"]),
    "olympiadbench": (
        "math?all_of=true",
        "final_answer",
        ["\\boxed{(8,18), (2,32)}", "\\boxed{18.8^\\circ}", "\\boxed{(\\sqrt{11},9) \\cup (-\\sqrt{11},-2)}"],
    ),
    "aime": ("math", "answer", ["\\boxed{204}", "\\boxed{73}"]),
    "amc": ("math", "answer", ["\\boxed{142}", "\\boxed{27}"]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_items_of_known_data_sets(shape: str) -> None:
    verifier, column, answers = SHAPES[shape]
    rows = [json.loads(line) for line in (ITEMS / f"{shape}.jsonl").read_text(encoding="utf-8").splitlines()]
    references = [json.dumps(row[column]) if isinstance(row[column], list) else str(row[column]) for row in rows]
    for i, reference in enumerate(references):
        kind_of(verifier).check_reference(reference)
        for j, answer in enumerate(answers):
            assert verdict_of(reference, answer, verifier) is (R if i == j else W)


def test_a_solution_gives_the_answer_of_its_own_column() -> None:
    for line in (ITEMS / "math500.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert verdict_of(row["answer"], row["solution"]) is R
        assert verdict_of(row["solution"], f"\\boxed{{{row['answer']}}}") is R

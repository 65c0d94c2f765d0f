"""Extraction, canonical answers and judgements, on pairs checked by hand."""

import json

import pytest

from leash_ray.types import Problem, Verdict
from leash_ray.verify import canonical, extract, judge, read_answer

GYM = "reasoning_gym:countdown"
R, W = Verdict.CORRECT, Verdict.INCORRECT


def verdict_of(verifier: str, reference: str, text: str) -> Verdict:
    answer = read_answer(Problem.make("t", "p", verifier, reference), text, "stop")
    return judge(verifier, reference, answer).verdict if isinstance(answer, str) else answer.verdict


MATH = [
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


@pytest.mark.parametrize(("reference", "text", "verdict"), MATH)
def test_math(reference: str, text: str, verdict: Verdict) -> None:
    assert verdict_of("math", reference, text) is verdict


COUNTDOWN = [
    ("9*2+3", R),
    (" 3 + 2*9 ", R),
    ("(9*2)+3", R),
    ("<answer>9*2+3</answer> or so", R),
    ("<think>9+9</think>\n9*2+3", R),
    ("9*2*3", W),
    ("9+9+3", W),  # the right value from the wrong numbers
    ("9*2+3=21", W),  # no '=' sign
    ("2+3", W),
    ("hello", W),
    ("9**9**9**9", W),  # not its numbers, so never evaluated
    ("1" * 5000, W),
    ("", Verdict.NO_ANSWER),
    (" \n", Verdict.NO_ANSWER),
]


@pytest.mark.parametrize(("text", "verdict"), COUNTDOWN)
def test_countdown(text: str, verdict: Verdict) -> None:
    assert verdict_of(GYM, '{"numbers": [2, 3, 9], "target": 21}', text) is verdict


def test_spaces_that_part_tokens_stay() -> None:
    # "1 2+3" is no expression; without its space it would be one of 12 and 3.
    assert verdict_of(GYM, '{"numbers": [3, 12], "target": 15}', "1 2+3") is W
    assert verdict_of(GYM, '{"numbers": [3, 12], "target": 15}', "12 + 3") is R


@pytest.mark.parametrize(
    ("verifier", "equal"),
    [
        (GYM, ["9*2+3", " 9 * 2 + 3", "9 *2+ 3\n"]),
        ("math", ["1/2", "0.5", ".50", "½", "\\frac12", "\\dfrac{1}{2}", "\\frac{2}{4}", "$\\tfrac{1}{2}$.", "0.5."]),
        ("math", ["1234", "1,234", "1234.0"]),
        ("math", ["(1,2)", "(1, 2)", "\\left( 1, 2 \\right)", "\\[(1,2)\\]"]),
        ("math", ["A", "\\text{A}", " $\\mathrm{A}$"]),
    ],
)
def test_equal_answers_are_one(verifier: str, equal: list[str]) -> None:
    assert len({canonical(verifier, text) for text in equal}) == 1


@pytest.mark.parametrize(
    ("verifier", "unequal"),
    [
        (GYM, ["9*2+3", "2*9+3", "(9*2)+3"]),
        ("math", ["1,234", "1, 234", "(1, 234)", "1.234"]),
        ("math", ["0.333333", "1/3", "0.33333"]),
        ("math", ["\\pi x", "\\pix", "-x", "x"]),
        ("math", ["12", "1 2"]),
        ("reasoning_gym:spell_backward", ["a b", "ab"]),
    ],
)
def test_unequal_answers_stay_apart(verifier: str, unequal: list[str]) -> None:
    assert len({canonical(verifier, text) for text in unequal}) == len(unequal)


ODD = [
    "", " ", "$", "$$", "$$$$", "\\(\\)", "..", "...", "1..", "\\frac{1}{0}", "1/0", "\\text{\\text{a}}", "$a$ and $b$",
    "\\text{ $x$ }", "$\\text{0.50}$.", "1 , 234", "1,234,56", "- - 1", "+-1", "\\left\\{1\\right\\}", "½½", "3½",
    "\\\\ x", "}{", "\\boxed{1}", "0.", ".", "-.5", "00.10", "2 ** 3", "2* *3", "\t1\n2 ", "∞", "\\ x", "a\\, b",
    "x =  5", "1 / 2", "5 %", "\\dfrac 1 2", "$.5.$", "−½",
]  # fmt: skip


@pytest.mark.parametrize("verifier", ["math", GYM, "reasoning_gym:chain_sum", "python:a:b"])
def test_canonical_is_idempotent(verifier: str) -> None:
    for text in ODD + [t for _, t, _ in MATH] + [t for t, _ in COUNTDOWN]:
        once = canonical(verifier, text)
        assert canonical(verifier, once) == once, text


def test_canonical_is_idempotent_on_random_text() -> None:
    import random

    rng = random.Random(0)
    pieces = [
        *"0123456789.,+-*/ ${}()½ax\t\n\\",
        "\\frac",
        "\\text{",
        "\\left(",
        "\\!",
        "$$",
        "\\(",
        "\\)",
        " , ",
        "100",
    ]
    for _ in range(20_000):
        text = "".join(rng.choices(pieces, k=rng.randint(1, 12)))
        for verifier in ("math", GYM):
            once = canonical(verifier, text)
            assert canonical(verifier, once) == once, text


def test_canonical_keeps_the_verdict() -> None:
    for reference, text, verdict in MATH:
        answer, _ = extract(text, "math")
        if answer is not None and not any(c in answer for c in "½∞"):  # math-verify itself knows neither
            assert judge("math", reference, answer).verdict is verdict, text


@pytest.mark.parametrize(
    ("text", "verifier", "answer", "delimited"),
    [
        ("\\boxed{\\frac{a}{b}} \\boxed{c", "math", "\\frac{a}{b}", True),  # the last one never closes
        ("\\boxed{\\{1\\}}", "math", "\\{1\\}", True),
        ("\\boxed {7}", "math", "7", True),
        ("\\boxed{1}<answer>2</answer>", "math", "1", True),
        ("\\boxed{1}<answer>2</answer>", GYM, "2", True),
        ("<answer>1</answer><answer>\n2 </answer>", GYM, "2", True),
        ("<answer>1", GYM, "<answer>1", False),
        ("a</think>b</think> c ", GYM, "c", False),
        ("The answer is $x+1$. Thank you.", "math", "$x+1$", False),
        ("Answer: 3/4", "math", "3/4", False),
        ("This gives us a total of -1,234.5 units", "math", "-1,234.5", False),
    ],
)
def test_extract(text: str, verifier: str, answer: str | None, delimited: bool) -> None:
    assert extract(text, verifier) == (answer, delimited)


def test_errors_are_not_wrong_answers() -> None:
    assert judge("math", "1", "2").verdict is W
    bad = judge(GYM, "not json", "1+1")
    assert bad.verdict is Verdict.ERROR
    assert "JSONDecodeError" in (bad.reason or "")
    assert judge("reasoning_gym:nope", "{}", "1").verdict is Verdict.ERROR
    assert judge("python:json:nope", "{}", "1").verdict is Verdict.ERROR
    assert "there are: math" in (judge("alchemy", "", "1").reason or "")


def test_a_reference_is_json_text() -> None:
    assert judge(GYM, json.dumps({"metadata": {"numbers": [1, 2], "target": 3}}), "1+2").verdict is R

"""Quantities: numbers in many spellings, units, tolerance, and that the rules settle."""

import json
import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.errors import UsageError
from leash_ray.types import Verdict
from leash_ray.verify.kinds import judge, kind_of
from leash_ray.verify.kinds.numeric import Numeric
from leash_ray.verify.quantities import canonical_quantity, read_quantity
from leash_ray.verify.units import Mismatch, UnknownUnit, convert, parse_unit, unit_text


def numeric(spec: str = "numeric") -> Numeric:
    kind = kind_of(spec)
    assert isinstance(kind, Numeric)
    return kind


ONE_NUMBER_IN_MANY_SPELL = (
    "3.0 \\times 10^8", "3.0e8", "3E+8", "3.0×10⁸", "3·10^8", "3 \\cdot 10^{8}", "3 * 10**8", "300,000,000",
    "300{,}000{,}000", "300\\,000\\,000", "3 x 10^8", "$3\\times 10^{8}$", "v = 3e8", "≈ 3e8", "~3e8", "about 3e8",
    "+3e8", "300 million", "\\textbf{3e8}", "\\frac{6e8}{2}", "6e8/2", "3.0e8.",
)  # fmt: skip


@pytest.mark.parametrize("text", ONE_NUMBER_IN_MANY_SPELL)
def test_one_number_in_many_spellings(text: str) -> None:
    assert canonical_quantity(text) == "300000000"


NUMBERS_WORKED_BY_HAND = (
    ("½", "0.5"), ("3½", "3.5"), ("\\frac12", "0.5"), ("-\\dfrac{1}{4}", "-0.25"),
    ("\\frac{\\pi}{2}", "1.5707963267949"), ("2\\sqrt{3}", "3.46410161513775"), ("\\sqrt{2}/2", "0.707106781186548"),
    ("2π", "6.28318530717959"), ("1/3", "0.333333333333333"), ("25 \\%", "25 %"), ("4e-19", "4e-19"),
    ("12^{\\circ}", "12 deg"), ("0.0", "0"), ("-0", "0"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "value"), NUMBERS_WORKED_BY_HAND)
def test_numbers_worked_by_hand(text: str, value: str) -> None:
    assert canonical_quantity(text) == value


WHAT_IS_NO_SINGLE_NUMBER = (
    "3-5", "3 - 5", "3 to 5", "3, 4", "(3, 4)", "(1,234)", "3 or 4", "3 4", "1/2/3", "1/2*3", "x = 3, y = 4", "3 + 4",
    "5!", "inf", "nan", "9**9**9", "9^9^9", "10^{400000}", "1e999", "1" * 61, "1/0", "\\sqrt{-1}", "\\sqrt[3]{8}",
    "e^2", "1,5", "1,23,456", "٣", "±3", "", "m", "five", "3 m 5 s", "3.2.1", "0x10", "1_000", "3**", "\\frac{1}{0}",
    "5 m^99", "(" * 200 + "1", "3 < x", "x > 3",
)  # fmt: skip


@pytest.mark.parametrize("text", WHAT_IS_NO_SINGLE_NUMBER)
def test_what_is_no_single_number_is_none(text: str) -> None:
    assert read_quantity(text) is None


ONE_UNIT_IN_MANY_SPELLIN = (
    "J/(mol K)", "J/mol/K", "J mol^{-1} K^{-1}", "\\mathrm{~J} \\mathrm{~K}^{-1} \\mathrm{~mol}^{-1}", "J K⁻¹ mol⁻¹",
    "\\frac{\\text{J}}{\\text{mol} \\cdot \\text{K}}", "J per mol per K",
    "\\text{J}\\,\\text{mol}^{-1}\\,\\text{K}^{-1}", "J/mol·K", "J mol-1 K-1",
    "\\mathrm{J} / (\\mathrm{mol} \\cdot \\mathrm{K})",
)  # fmt: skip


@pytest.mark.parametrize("text", ONE_UNIT_IN_MANY_SPELLIN)
def test_one_unit_in_many_spellings(text: str) -> None:
    factors = parse_unit(text)
    assert factors is not None and unit_text(factors) == "J K^-1 mol^-1"


CONVERSIONS_WORKED_BY_HA = (
    (0.5, "km", "m", 500), (36, "km/h", "m/s", 10), (25, "°C", "K", 298.15), (77, "°F", "°C", 25),
    (1, "atm", "kPa", 101.325), (1, "eV", "J", 1.602176634e-19), (5, "Å", "nm", 0.5), (1, "M", "mol/L", 1),
    (180, "°", "rad", 3.141592653589793), (5, "%", "", 0.05), (3, "ms^{-1}", "m/s", 3), (2, "J/°C", "J/K", 2),
    (3, "JK^{-1}", "J/K", 3), (60, "rpm", "rad/s", 6.283185307179586), (1, "cm^{-1}", "m^{-1}", 100),
    (2, "Nm", "N m", 2),
)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "source", "target", "wanted"),
    CONVERSIONS_WORKED_BY_HA,
)
def test_conversions_worked_by_hand(value: float, source: str, target: str, wanted: float) -> None:
    assert convert(value, factors(source), factors(target)) == pytest.approx(wanted, rel=1e-9)


UNITS_OF_DIFFERENT_THING = (
    ("m", "s"), ("kJ/mol", "kJ"), ("Hz", "rad/s"), ("rpm", "Hz"), ("Bq", "Hz"), ("Gy", "Sv"), ("mN", "N m"),
    ("ms", "m s"), ("kg", "N"), ("m", ""),
)  # fmt: skip


@pytest.mark.parametrize(("source", "target"), UNITS_OF_DIFFERENT_THING)
def test_units_of_different_things_do_not_convert(source: str, target: str) -> None:
    with pytest.raises(Mismatch):
        convert(1.0, factors(source), factors(target))


@pytest.mark.parametrize("name", ["apples", "in total", "k", "a", "or", "import os", "dB"])
def test_words_are_no_units(name: str) -> None:
    with pytest.raises((UnknownUnit, Mismatch)):
        convert(1.0, factors(name), factors("m"))


def factors(text: str) -> tuple[tuple[str, str], ...]:
    found = parse_unit(text)
    assert found is not None
    return found


def test_tolerance_is_relative_to_the_reference_and_its_edge_counts() -> None:
    for answer, right in [("101", True), ("99", True), ("101.01", False), ("98.99", False), ("-100", False)]:
        assert (numeric().judge("100", answer).verdict is Verdict.CORRECT) is right
    assert numeric("numeric?rtol=0.05").judge("100", "105").verdict is Verdict.CORRECT
    assert numeric("numeric?rtol=0&atol=2").judge("100 m", "0.102 km").verdict is Verdict.CORRECT
    assert numeric("numeric?rtol=0&atol=2").judge("100 m", "0.103 km").verdict is Verdict.INCORRECT
    own = json.dumps({"answer": 100, "rtol": 0.2})
    assert numeric().judge(own, "119").verdict is Verdict.CORRECT
    assert numeric().judge("0", "1e-9").verdict is Verdict.INCORRECT  # a reference of 0 needs an atol


def test_a_right_answer_is_written_as_the_reference() -> None:
    for content in ("0.499 km", "501 m", "500", "500 ± 1 m"):
        assert numeric().judge("500 m", content).answer == "500 m"
    assert numeric().judge("500 m", "400 m").answer is None


def test_the_unit_option_decides_on_answers_without_one() -> None:
    spec = "numeric?units={}"
    assert numeric(spec.format("require")).judge("5 m", "5").verdict is Verdict.INCORRECT
    assert numeric(spec.format("optional")).judge("5 m", "5").leniency == "no_unit"
    stated = numeric(spec.format("stated")).judge("5 m", "5")
    assert (stated.verdict, stated.leniency) == (Verdict.CORRECT, None)
    assert numeric(spec.format("stated")).judge("5 m", "5 km").verdict is Verdict.INCORRECT
    assert numeric(spec.format("ignore")).judge("5 m", "5 km").verdict is Verdict.CORRECT


def test_a_reference_unit_that_nobody_knows_judges_no_other_unit() -> None:
    assert judge("numeric", "5 apples", "5 apples").verdict is Verdict.CORRECT
    assert judge("numeric", "5 apples", "5").verdict is Verdict.CORRECT
    assert judge("numeric", "5 apples", "5 pears").verdict is Verdict.ERROR
    assert judge("numeric", "5 m", "5 pears").verdict is Verdict.INCORRECT


A_REFERENCE_THAT_IS_NO_N = (
    "", "five", "3-5", "3 ± 1", "{", '{"unit": "m"}', '{"answer": "5", "units": "m"}',
    '{"answer": "5 m", "unit": "m"}', '{"answer": "5", "rtol": -1}', '{"answer": "5", "rtol": true}',
    '{"answer": "nan"}',
)  # fmt: skip


@pytest.mark.parametrize("reference", A_REFERENCE_THAT_IS_NO_N)
def test_a_reference_that_is_no_number_is_refused(reference: str) -> None:
    with pytest.raises(UsageError, match="numeric: "):
        numeric().check_reference(reference)


THE_UNIT_BEHIND_A_BOX_CO = (
    "\\boxed{0.5} km", "$\\boxed{0.5}$ km.", "\\boxed{0.5}\\text{ km}", "\\boxed{0.5}\\ \\mathrm{km}",
)  # fmt: skip


@pytest.mark.parametrize("text", THE_UNIT_BEHIND_A_BOX_CO)
def test_the_unit_behind_a_box_counts(text: str) -> None:
    reading = numeric().read(text)
    assert reading is not None and reading.answer == "0.5 km"


@pytest.mark.parametrize("text", ["\\boxed{0.5} is right", "\\boxed{0.5}. A check", "\\boxed{0.5}", "\\boxed{0.5}, km"])
def test_words_behind_a_box_are_no_unit(text: str) -> None:
    reading = numeric().read(text)
    assert reading is not None and reading.answer == "0.5"


@settings(max_examples=300, deadline=None)
@given(st.integers(-(10**9), 10**9), st.integers(-12, 12))
def test_spellings_of_any_number_agree(digits: int, exponent: int) -> None:
    value = Decimal(digits).scaleb(exponent)
    texts = [
        f"{digits}e{exponent}",
        f"{digits} \\times 10^{{{exponent}}}",
        f"{digits}*10**{exponent}",
        f"{digits:,} \\cdot 10^{exponent}",
        f"x = {digits}E{exponent:+d}",
        format(value, "f"),
        str(digits).replace("-", "−") + "·10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")),
    ]
    assert len({canonical_quantity(t) for t in texts}) == 1
    found = read_quantity(texts[0])
    assert found is not None and found.value == value


PIECES = st.sampled_from((
    "1", "2.5", "10", "-", "+", "^", "{", "}", "(", ")", "\\frac", "\\sqrt", "π", "½", "e", "m", "s", "/", "*", " ",
    "\\times ", "±", "=", ",", "000", "%", "°", "C", "\\mathrm{", "\\text{ km}", "$", "~", "≈", "per ", "⁻¹", "²",
    "million", "\ud800", "**", "\\boxed{", "answer is ", ".", "\n", "µ", "µm",
))  # fmt: skip
TEXTS = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=10).map("".join))


@settings(max_examples=500, deadline=None)
@given(TEXTS)
def test_canonical_quantities_are_idempotent(text: str) -> None:
    once = canonical_quantity(text)
    assert canonical_quantity(once) == once


@settings(max_examples=250, deadline=None)
@given(TEXTS)
def test_reading_and_judging_never_raise(text: str) -> None:
    for shown in (text, f"\\boxed{{{text}}}", f"The answer is {text}"):
        reading = numeric().read(shown)
        if reading is not None:
            numeric().judge("5 m", reading.content)
            if read_quantity(reading.answer):
                again = numeric().read(reading.answer)
                assert again is not None and again.answer == reading.answer


REPEATED = (
    "1", "(", "{", "\\frac{", "\\sqrt{", "10^", "1,000", "m ", "\\mathrm{", "answer is 1 ", "= ", "\\boxed{1", "-",
    "±", "\\,", "$",
)  # fmt: skip


@pytest.mark.parametrize("piece", REPEATED)
def test_reading_is_linear(piece: str) -> None:
    text = piece * (50_000 // len(piece))
    start = time.perf_counter()
    numeric().read(text)
    numeric().read(f"\\boxed{{{text}}}")
    numeric().read(f"\\boxed{{{text[:250]}}}")
    assert time.perf_counter() - start < 3.0


def test_a_multiple_after_a_mark_is_read_the_same_when_written_out() -> None:
    for text, canonical in (
        ("5*million", "5000000"),
        ("3.2 \\text{ million}", "3200000"),
        ("5 / million", None),
        ("5 m million", None),
    ):
        once = canonical_quantity(text)
        assert canonical_quantity(once) == once
        assert canonical is None or once == canonical


def test_what_has_no_value_is_no_quantity() -> None:
    for text in ("0⁻¹", "0^{-1}", "5 ± 0^{-1}", "0^{-2} m"):
        assert read_quantity(text) is None


THE_FORMULA_AROUND_A_BOX_COUNTS = (
    ("-\\boxed{5}", "-5"), ("$- \\boxed{5}$", "-5"), ("x = -\\boxed{5}", "-5"), ("\\boxed{5}\\times 10^3", "5000"),
    ("$\\boxed{5}$ × 10³", "5000"), ("\\boxed{5} x 10^3", "5000"), ("\\boxed{5}\\%", "5 %"), ("\\boxed{5}^2", "25"),
    ("\\boxed{5} million", "5000000"), ("\\boxed{5}\\text{ million}", "5000000"), ("\\boxed{1},500", "1500"),
    ("\\boxed{5} km is the answer", "5 km"), ("\\boxed{5} kilometers is the answer", "5 kilometers"),
    ("\\boxed{5}\\,\\text{km is the distance}", "5 km"), ("$\\boxed{30}^\\circ$", "30 deg"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "answer"), THE_FORMULA_AROUND_A_BOX_COUNTS)
def test_the_formula_around_a_box_counts(text: str, answer: str) -> None:
    reading = numeric().read(text)
    assert reading is not None and reading.answer == answer


NOT_FIVE = (
    "\\sqrt{\\boxed{5}}", "\\frac{\\boxed{5}}{2}", "10^{\\boxed{5}}", "x_{\\boxed{5}}", "3\\boxed{5}", "3 - \\boxed{5}",
    "2 \\cdot \\boxed{5}", "x > \\boxed{5}", "x \\neq \\boxed{5}", "\\boxed{5} < x", "\\boxed{5} \\pm 3",
    "\\boxed{5}/2",
    "\\boxed{5}e3", "\\boxed{5}k", "\\boxed{5} dozen", "\\boxed{5} times 10", "\\boxed{5} squared", "\\boxed{5} to 6",
    "$\\boxed{5}!$", "\\boxed{4}; \\boxed{5}", "\\boxed{4} \\quad \\boxed{5}", "\\boxed{4}, \\boxed{5}",
    "\\boxed{4} or \\boxed{5}", "between \\boxed{4} and \\boxed{5}", "\\boxed{5} or 6", "\\boxed{5} and 6",
    "\\boxed{5}, 6",
    "\\boxed{6 = 5}", "\\boxed{5} = 6", "\\boxed{2x = 5}", "\\boxed{x^2 = 5}", "\\boxed{-x = 5}", "\\boxed{1/x = 5}",
    "\\boxed{\\sqrt{x} = 5}", "\\boxed{\\log x = 5}", "\\boxed{|x| = 5}", "not \\boxed{5}", "\\boxed{5} is wrong",
    "\\boxed{5}?", "\\boxed{5}. Wait, that is wrong, it should be 6.", "\\boxed{5}. The answer is 6.",
    "\\boxed{5}. The answer is 6 because 5 + 1 = 6.", "\\boxed{5}. So the final answer is 6 m/s.",
    "\\boxed{5}. I made a mistake: it is 6.", "\\boxed{5}. Hence $x = 6$.", "\\boxed{5}. We get 6 as the final answer.",
    "\\boxed{5}. Let me recompute. 3+3=6.", "\\boxed{5} <answer>6</answer>",
    "<answer>5</answer> Sorry, the answer is 6.",
    "\\boxed{5}\n\n#### 6", "\\boxed{5}\n\nResult: 6", "\\boxed{5}\n\nFinal Answer: 6",
    "\\boxed{5} is too small; it is 6.",
    "\\boxed{5} was my guess, it is 6", "\\boxed{5}. Rounded up, this gives 6.", "\\boxed{5} minutes and 30 seconds",
    "\\boxed{5} h 30 min", "\\boxed{5} 1/2", "\\boxed{5}:3", "\\boxed{3}:\\boxed{5}", "(\\boxed{5}, 3)",
    "\\boxed{5}, \\text{or } 6", "\\boxed{5} \\text{ or } 6", "\\boxed{5}+2i", "$\\boxed{5}\\sqrt{2}$",
    "$\\boxed{5} \\ln 2$", "\\boxed{5} e^2", "\\boxed{5}\\hbar", "e^{-\\boxed{5}}", "1/\\boxed{5}", "log \\boxed{5}",
    "half of \\boxed{5}", "\\boxed{5}. But if x is negative, \\boxed{-5}.", "\\boxed{5} or is it \\boxed{",
    "The answer is 5.\nSo it is 6.", "1.\n2.\n3.\n4.\n5.",
)  # fmt: skip


@pytest.mark.parametrize("text", NOT_FIVE)
def test_a_box_of_five_need_not_mean_five(text: str) -> None:
    reading = numeric().read(text)
    assert reading is None or numeric().judge("5", reading.content).verdict is Verdict.INCORRECT


STILL_FIVE = (
    "x = \\boxed{5}", "$$\\boxed{5}$$", "**\\boxed{5}**", "- \\boxed{5}", "1. \\boxed{5}", "The answer is \\boxed{5}!",
    "Answer - \\boxed{5}", "\\boxed{5} - as expected", "\\large{\\boxed{5}}", "\\color{blue}{\\boxed{5}}",
    "(\\boxed{5})",
    "*\\boxed{5}*", "\\implies \\boxed{5}", "2+3 = \\boxed{5}", "\\boxed{2+3 = 5}", "\\boxed{v_0 = 5}",
    "\\boxed{\\Delta H^\\circ = 5}", "\\boxed{f(2) = 5}", "\\boxed{\\text{half-life} = 5}",
    "\\boxed{\\frac{10}{2} = 5}",
    "\\boxed{\\sqrt{25} = 5}", "\\boxed{F = ma = 5}", "\\boxed{5} and \\boxed{5}", "\\boxed{5}. This is because 2+3=5.",
    "\\boxed{5}. I hope it is correct.", "\\boxed{5}. Let me double-check: 2 + 3 = 5. Yes, correct.",
    "\\boxed{5}. So the answer is 5.", "\\boxed{5} is the answer.", "\\boxed{5}\n\nThis answer is correct.",
    "\\boxed{5} and we are done.", "\\boxed{5}, as was to be shown.", "<answer>\\boxed{5}</answer>",
    "\\boxed{5} apples",
    "\\boxed{5}\n\nQuestion: What is 3+3? The answer is 6", "x = 5\n5", "\\boxed{5}\\quad\\checkmark",
    "The answer is 5.\n\nThis answer is obtained by summing.",
    "Therefore, the answer is \\(\\boxed{5}\\).\n\n### Verification\nSubstituting: 2(5) + 1 = 11 ✓.",
    "\\boxed{4}\nNo: \\boxed{5}",
)  # fmt: skip


@pytest.mark.parametrize("text", STILL_FIVE)
def test_harmless_words_and_marks_around_a_box_change_nothing(text: str) -> None:
    reading = numeric().read(text)
    assert reading is not None and numeric().judge("5", reading.content).verdict is Verdict.CORRECT


def test_sides_of_an_equation_must_agree_where_they_are_numbers() -> None:
    for text, value in (("0.5 km = 500 m", "500 m"), ("1/3 ≈ 0.333", "0.333"), ("F = 10 \\times 5 = 50 N", "50 N")):
        assert canonical_quantity(text) == value
    for text in ("6 = 5", "x = 6 = 5", "5 m = 6 m", "5.5 ≈ 5"):
        assert read_quantity(text) is None


def test_a_unit_that_was_not_asked_for_is_leniency() -> None:
    found = numeric().judge("0.5", "50 %")
    assert (found.verdict, found.leniency) == (Verdict.CORRECT, "unit")
    assert numeric("numeric?strict=true").judge("0.5", "50 %").verdict is Verdict.INCORRECT
    assert numeric().judge("50 %", "50 %").leniency is None

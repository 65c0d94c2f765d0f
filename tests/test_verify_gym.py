"""reasoning-gym's verdicts: guards against its scorers' false positives, lenient steps, canonical answers, oracles."""

import contextlib
import itertools
import json
import time
from fractions import Fraction
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.errors import UsageError
from leash_ray.tasks.entry import dump_entry, load_entry
from leash_ray.tasks.gym import create, dataset_names
from leash_ray.types import Problem, Verdict
from leash_ray.verify.expression import NotPlain, canonical_expression, exact_value
from leash_ray.verify.gym.canonical import RULES, canonical
from leash_ray.verify.gym.formula import NoNumber, number
from leash_ray.verify.gym.guards import GUARDS
from leash_ray.verify.gym.lenient import GENERAL, SPECIAL, second_chances
from leash_ray.verify.kinds import judge, kind_of
from leash_ray.verify.kinds.gym import MANY_ANSWERS, _problem, _scorer
from leash_ray.verify.pool import VerifierPool

R, W = Verdict.CORRECT, Verdict.INCORRECT


@cache
def reference(dataset: str, index: int = 0, config: str = "{}") -> str:
    given_config = json.loads(config)
    return dump_entry(create(dataset, {**given_config, "seed": 1, "size": index + 1})[index], given_config)


def oracle_of(dataset: str, index: int = 0, config: str = "{}") -> str:
    return str(load_entry(reference(dataset, index, config))["answer"])


def verdict(dataset: str, ref: str, answer: str, options: str = "") -> Verdict:
    verifier = f"reasoning_gym:{dataset}{options}"
    reading = kind_of(verifier).read(f"<answer>{answer}</answer>")
    return judge(verifier, ref, reading.content).verdict if reading else Verdict.NO_ANSWER


def scored(dataset: str, ref: str, answer: str) -> float:
    """What reasoning-gym alone says."""
    name, config, entry = _problem(dataset, ref)
    return float(_scorer(name, config)(answer, entry))


# --- guards ----------------------------------------------------------------------------------------------------------

FALSE_POSITIVES = [
    ("advanced_geometry", 0, "{0}, 7"),
    ("chain_sum", 0, "-,4"),
    ("cryptarithm", 0, "C=9,{0}"),
    ("coin_flip", 0, "0.312,5"),
    ("complex_arithmetic", 0, "nan"),
    ("decimal_arithmetic", 0, "6.321"),
    ("game_of_life_halting", 0, "True"),
    ("game_of_life_halting", 0, "It cannot be told."),
    ("gsm_symbolic", 0, "{0} or 7"),
    ("gsm_symbolic", 0, "-{0}"),
    ("gsm_symbolic", 0, "{0},000"),
    ("kakurasu", 0, "not {0}"),
    ("kakurasu", 0, "{0} 7"),
    ("knights_knaves", 0, "Nobody believes that {0}"),
    ("number_sorting", 0, "['51.9', '30.1', '14', '-49', '-81']"),
    ("number_sorting", 0, str(["nan"] * 5)),
    ("polynomial_equations", 0, "{0}, x = 5"),
    ("polynomial_multiplication", 0, "expand({0})"),
    ("polynomial_multiplication", 0, "{0} or 7"),
    ("products", 0, "7935,46072"),
    ("propositional_logic", 0, "Q ∨ whatever"),
    ("puzzle24", 0, "6*4*1*1"),
    ("puzzle24", 0, "7*7/2*1"),
    ("quantum_lock", 0, "not {0}"),
    ("simple_integration", 0, "integrate(-272*x**7/15 - 5/4, x)"),
    ("simple_integration", 0, "Integral(-272*x**7/15 - 5/4, x)"),
    ("simple_integration", 0, "{0} or 7"),
    ("survo", 0, "perhaps\n{0}"),
    ("word_sorting", 0, "{0}, zebra"),
]


@pytest.mark.parametrize(("dataset", "index", "template"), FALSE_POSITIVES)
def test_a_scorer_s_false_positive_is_guarded(dataset: str, index: int, template: str) -> None:
    ref = reference(dataset, index)
    wrong = template.format(oracle_of(dataset, index))
    assert scored(dataset, ref, wrong) >= 1.0  # or the guard is no longer needed
    assert verdict(dataset, ref, wrong) is W


def made(dataset: str, answer: Any, **metadata: Any) -> str:
    """A reference that one would wait long for the generator to give."""
    return json.dumps({"question": "", "answer": answer, "metadata": metadata})


MADE = [
    ("ab", made("", ""), "A#", ""),
    ("calendar_arithmetic", made("", "-1", task="recurring_event_day"), "12", "-1"),
    ("figlet_font", made("", "WATERMELONS"), "WATERMELONX", "watermelons"),
    (
        "fraction_simplification",
        made("", "1/2", numerator=2, denominator=4, simplified_numerator=1, simplified_denominator=2),
        "\\frac{1}{2} or \\frac{3}{4}",
        "$\\frac{1}{2}$",
    ),
    ("game_of_life", made("", "[[0,1],[1,0]]"), "[[0,1,1],[1,0,1],[1]]", "[[0, 1], [1, 0]]"),
    ("letter_jumble", made("", "so it goes on"), "so it goes on and on", "So it goes on"),
    ("palindrome_partitioning", made("", "", solution=[["a", "a"], ["aa"]]), '["aa", ["aa"]]', '[["aa"], ["a", "a"]]'),
    ("polynomial_equations", made("", "", variable="x"), "x = 2 and x = 3", ""),
    ("polynomial_equations", made("", "", variable="x"), "none that I can see", '""'),
    ("pool_matrix", made("", "100.0 50.0"), "100.9 50.4", "100.00 50.0"),
    ("pool_matrix", made("", "100.0 50.0"), "100\n50", "100 50"),
    ("spell_backward", made("", "ytilaidolam"), "ytilaidolamX", "YTILAIDOLAM"),
    ("advanced_geometry", made("", "16.91°", task_type="angle_measure"), "16.91°0", "16.910°"),
    ("advanced_geometry", made("", "16.91°", task_type="angle_measure"), "16.91°°", "$16.91^\\circ$"),
    (
        "advanced_geometry",
        made("", "(-51.000, 41.000)", task_type="orthocenter", ortho=["-51", "41"]),
        "(-51.000, 41.000)5",
        "(-51, 41)",
    ),
    ("gsm_symbolic", made("", "98"), "98 maybe", "98 pages"),
    ("quantum_lock", made("", "A → B"), "A → B?", "A → B."),
    ("time_intervals", made("", "00:00:29.084", task_type="time_ms"), "00:00:29.84", "00:00:29.084"),
    ("time_intervals", made("", "34 days", task_type="date"), "34 weeks", "34"),
    ("codeio", made("", '{"a": 5}'), '{"a": "5"}', '{"a":5}'),
    ("coin_flip", made("", "0.00001", rational={"numerator": 1, "denominator": 100_000}), "0", "1/100000"),
    (
        "number_format",
        made("", "1.5", solution=1.5, candidates=[1.5, 1.507], size="smallest"),
        "1.507",
        "1.500",
    ),
    ("rubiks_cube", made("", None, cube_size=3, scramble_moves="U R"), "R' 9X9 U'", "R' U'"),
    ("jugs", made("", "", puzzle={"jug_capacities": [3, 5, 7], "target": 5}), '{"fill B": 1}', '["fill B"]'),
    (
        "graph_color",
        made("", None, puzzle={"vertices": [0, 1], "edges": [[0, 1]], "color_options": [0, 1]}),
        "[0, 1]",
        '{"0": 0, "1": 1}',
    ),
]


@pytest.mark.parametrize(("dataset", "ref", "wrong", "right"), MADE)
def test_a_rare_false_positive_is_guarded(dataset: str, ref: str, wrong: str, right: str) -> None:
    assert verdict(dataset, ref, wrong) is W
    assert verdict(dataset, ref, right) is R


def test_cars_do_not_drive_through_others() -> None:
    from reasoning_gym.games.rush_hour import Board

    # A on row 2 must reach columns 4 and 5; B stands in its way until it has gone down by 3.
    empty = "oooooo"
    desc = "oooBoo" + "oooBoo" + "AAoooo" + empty * 3
    desc = desc[:15] + "B" + desc[16:]
    ref = json.dumps({"question": "", "answer": None, "metadata": {"board_config": desc}})
    board = Board(desc)
    board.perform_moves("B+3 A+4")
    assert board.solved
    assert verdict("rush_hour", ref, "B+3 A+4") is R
    assert verdict("rush_hour", ref, "A+1 B+3, A+3") is R
    for wrong in ("A+4 B+3 A+4", "B+3 A+9", "B+3 A+4 A+1", "B+3 Z+1 A+4"):
        assert scored("rush_hour", ref, wrong) >= 1.0 or "Z" in wrong
        assert verdict("rush_hour", ref, wrong) is W
    assert verdict("rush_hour", ref, "A+4") is W


GARBAGE = [
    ".", "0", "-1", "nan", "None", "[]", "{}", "[[]]", "[{}]", '{"a": 1}', '"x"', "a b c", "1/0", "×", "=", "1,,2",
    "\x00", "()", "9**9**9", "(" * 3000, "[" * 3000, "9" * 5000, "¬", "1e999999", "Move disk 1 from Peg 9 to Peg 8",
    "A+9", "\ud800", "٣", "²",
]  # fmt: skip


@pytest.mark.parametrize("dataset", sorted(set(GUARDS) - {"knight_swap", "sokoban", "futoshiki", "boxnet"}))
def test_garbage_is_wrong_and_no_error(dataset: str) -> None:
    ref = reference(dataset)
    for garbage in GARBAGE:
        if garbage != oracle_of(dataset):
            assert verdict(dataset, ref, garbage) is W, garbage[:50]


def test_every_table_names_data_sets_that_exist() -> None:
    assert set(GUARDS) | set(SPECIAL) | set(RULES) | MANY_ANSWERS <= set(dataset_names())


# --- oracles ---------------------------------------------------------------------------------------------------------

_SLOW = {
    "knight_swap",
    "sokoban",
    "futoshiki",
    "zebra_puzzles",
    "codeio",
    "arc_agi",
    "rearc",
    "intermediate_integration",
}


def check_oracles(dataset: str, size: int) -> None:
    config = {"datasets": [{"name": "dice"}, {"name": "chain_sum"}]} if dataset == "composite" else {}
    for entry in itertools.islice(create(dataset, {**config, "seed": 3, "size": size}), size):
        if entry["answer"] is None or "Integral(" in str(entry["answer"]):
            continue  # some oracles of intermediate_integration only repeat the question
        ref = dump_entry(entry, config)
        assert scored(dataset, ref, str(entry["answer"])) >= 1.0  # after the round trip
        reading = kind_of(f"reasoning_gym:{dataset}").read(f"<answer>{entry['answer']}</answer>")
        assert reading is not None
        found = judge(f"reasoning_gym:{dataset}?strict=true", ref, reading.content)
        assert found.verdict is R, (dataset, entry["answer"])
        assert found.leniency is None and found.answer in (None, reading.answer)


@pytest.mark.parametrize("dataset", sorted(set(dataset_names()) - _SLOW)[::3])
def test_the_oracle_is_right(dataset: str) -> None:
    check_oracles(dataset, 3)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", dataset_names())
def test_every_oracle_is_right(dataset: str) -> None:
    check_oracles(dataset, 25)


def test_a_part_of_a_composite_is_scored_with_its_own_config() -> None:
    part = {"name": "word_ladder", "weight": 1.0, "config": {"min_word_length": 3, "max_word_length": 3}}
    config = {"datasets": [part, {"name": "puzzle24"}]}
    dataset = create("composite", {**config, "seed": 5, "size": 20})
    ladder, puzzle = (
        next(e for e in dataset if e["metadata"]["source_dataset"] == name) for name in ("word_ladder", "puzzle24")
    )
    assert verdict("composite", dump_entry(ladder, config), ladder["answer"]) is R
    assert verdict("composite", dump_entry(puzzle, config), puzzle["answer"]) is R
    assert verdict("composite", dump_entry(puzzle, config), "6*4*1*1") is W  # its guard too
    del part["config"]  # by default it knows words of four letters
    assert verdict("composite", dump_entry(ladder, config), ladder["answer"]) is Verdict.ERROR


# --- stages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "answer", "stage", "fallback"),
    [
        ("<answer>1</answer> \\boxed{2}", "", "1", "answer_tag", False),
        ("so \\boxed{2}", "", "2", "boxed", True),
        ("so \\boxed{2}", "?strict=true", "so \\boxed{2}", "whole", False),
        ("<think>\\boxed{1}</think> 2 ", "", "2", "after_think", False),
        ("2", "?strict=true", "2", "whole", False),
        ("x=2; <answer>3</answer>", "?pattern=x%3D%28%5Cd%29", "2", "pattern", False),
    ],
)
def test_stages(text: str, options: str, answer: str, stage: str, fallback: bool) -> None:
    reading = kind_of("reasoning_gym:chain_sum" + options).read(text)
    assert reading and (reading.answer, reading.stage, reading.fallback) == (answer, stage, fallback)


def test_strict_takes_no_second_chance() -> None:
    ref = reference("dice")
    p = Fraction(oracle_of("dice"))
    unreduced = f"{2 * p.numerator}/{2 * p.denominator}"
    assert verdict("dice", ref, unreduced) is R
    assert verdict("dice", ref, unreduced, "?strict=true") is W


# --- lenient steps ---------------------------------------------------------------------------------------------------


def test_dice_no_wrong_number_of_throws_passes() -> None:
    ref = json.dumps({"question": "", "answer": "1/3", "metadata": {"puzzle": {"dice_str": "1d6, 1d4, 1d3"}}})
    for wins in range(73):  # of 72 throws; 24 are a third
        written = [f"{wins}/72", f"\\frac{{{wins}}}{{72}}", f"{wins} out of 72"]
        written += [f"{wins / 72:.{places}f}" for places in range(2, 9)] + [
            f"{100 * wins / 72:.{p}f}%" for p in range(9)
        ]
        for text in written:
            right = verdict("dice", ref, text) is R
            if right:
                assert wins == 24, text
    assert verdict("dice", ref, "0.33") is R  # 23/72 is 0.319, 25/72 is 0.347
    assert verdict("dice", ref, "0.3") is W
    assert verdict("dice", ref, "0.34") is W


@given(st.lists(st.sampled_from([2, 3, 5, 7, 11, 13]), min_size=2, max_size=6), st.data())
@settings(max_examples=100, deadline=None)
def test_prime_factors_in_any_notation(primes: list[int], data: st.DataObject) -> None:
    ref = json.dumps({"question": "", "answer": " × ".join(map(str, sorted(primes))), "metadata": {}})
    powers = [
        f"{p}^{{{primes.count(p)}}}" if primes.count(p) > 1 else str(p)
        for p in data.draw(st.permutations(sorted(set(primes))))
    ]
    sign = data.draw(st.sampled_from([" × ", "*", " \\times ", "·", " x ", "\\cdot "]))
    text = sign.join(powers)
    assert verdict("prime_factorization", ref, text) is R
    assert verdict("prime_factorization", ref, sign.join([*powers, "2"])) is W
    assert verdict("prime_factorization", ref, text + "9") is W


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3\\sqrt{2}", 4.242640687),
        ("3\\sqrt2", 4.242640687),
        ("\\frac{45}{2}^\\circ", 22.5),
        ("45°", 45.0),
        ("45 degrees", 45.0),
        ("2\\pi/3", 2.094395102),
        ("2*pi/3", 2.094395102),
        ("\\dfrac{\\sqrt{3}}{2}", 0.866025404),
        ("(1+2)(3)", 9.0),
        ("\\sqrt{\\frac{1}{4}}", 0.5),
        ("2^{3}", 8.0),
        ("√2", 1.414213562),
        ("-\\frac12", -0.5),
        ("\\frac{180}{\\pi}\\arccos(0.5)", 60.0),
    ],
)
def test_formulas(text: str, value: float) -> None:
    assert number(text) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(
    "text",
    ["", "x", "1 2", "9**9**9", "1/0", "\\sqrt{-1}", "__import__('os')", "(1).real", "sqrt", "(" * 150, "1,2", "1 or 2",
     "\\sqrt22", "45°5", "45^\\circ 30", "45°30'", "True", "10 < 11", "sqrt(1, 2)", "1e999", "[1]", "lambda: 1"],
)  # fmt: skip
def test_what_is_no_formula(text: str) -> None:
    with pytest.raises(NoNumber):
        number(text)


@given(st.text(alphabet="0123456789.+-*/^(){}\\ sqrtfacpi°", max_size=40))
@settings(max_examples=200)
def test_a_formula_is_a_number_or_refused(text: str) -> None:
    with contextlib.suppress(NoNumber):
        assert isinstance(number(text), float)


@given(st.text(max_size=60), st.sampled_from(sorted({*SPECIAL, "chain_sum"})))
@settings(max_examples=300, deadline=None)
def test_second_chances_never_raise_and_never_repeat(text: str, dataset: str) -> None:
    entry = load_entry(reference(dataset if dataset != "boxnet" else "chain_sum"))
    chances = list(second_chances(dataset, text, entry))
    processed = [answer for _, answer in chances]
    assert len(set(processed)) == len(processed) and text not in processed
    assert all(canonical(dataset, answer) == answer for answer in processed)


@given(st.sampled_from([name for name, _ in GENERAL if name not in ("minus", "period")]), st.integers(-999, 999))
@settings(deadline=None)
def test_wrappings_do_not_change_what_is_right(wrapping: str, n: int) -> None:
    templates = {
        "fence": "```text\n{}\n```", "bold": "**{}**", "prefix": "The final answer is: {}", "boxed": "\\boxed{{{}}}",
        "math": "${}$", "text": "\\text{{{}}}", "quotes": "'{}'",
    }  # fmt: skip
    ref = json.dumps({"question": "", "answer": "42", "metadata": {}})
    found = judge("reasoning_gym:gcd", ref, templates[wrapping].format(n))
    assert found.verdict is (R if n == 42 else W)
    if n == 42:
        assert (found.answer, found.leniency) == ("42", wrapping)


# --- canonical answers -----------------------------------------------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([*RULES, "chain_sum"]), st.text(max_size=30) | _JSON.map(json.dumps))
@settings(max_examples=200, deadline=None)
def test_canonical_is_idempotent(dataset: str, text: str) -> None:
    once = canonical(dataset, text)
    assert canonical(dataset, once) == once


@given(st.dictionaries(st.text(max_size=3), st.integers(), max_size=5), st.randoms())
def test_key_order_and_spaces_are_no_difference(value: dict[str, int], random: Any) -> None:
    pairs = list(value.items())
    random.shuffle(pairs)
    forms = {canonical("boxnet", json.dumps([dict(p)], indent=indent)) for p in (pairs, value) for indent in (None, 2)}
    assert len(forms) == 1


def test_canonical_json_leaves_what_it_would_change() -> None:
    for text in ('{"a": 1, "a": 2}', "[1, 2", "[NaN]", "[1e999]", "[" * 5000, "[" + "9" * 5000 + "]", '"text"', "5"):
        assert canonical("boxnet", text) == text
    assert canonical("boxnet", '["\\ud800"]').isascii()
    assert canonical("chain_sum", '{"a": 1}') == '{"a": 1}'


def test_an_equal_answer_becomes_the_oracle_s_text() -> None:
    ref = json.dumps({"question": "", "answer": "42", "metadata": {}})
    assert {judge("reasoning_gym:chain_sum", ref, text).answer or text for text in ("42", "42.0", "+42", "$42$")} == {
        "42"
    }
    assert judge("reasoning_gym:chain_sum", ref, "41.0").answer is None


@pytest.mark.parametrize(
    ("dataset", "equal"),
    [
        ("quantum_lock", ["B → B → B → B", "B, B, B, B", "b->b->b->b"]),
        ("cryptarithm", ["C=3,E=0,T=6,U=4,W=2,Y=5", "Y = 5, C = 3, E = 0, T = 6, U = 4, W = 2"]),
        ("shortest_path", ["up up right up", "up  up\nright up"]),
        ("palindrome_generation", ["oucuo", "OUCUO", "o u c u o"]),
    ],
)
def test_equal_answers_are_one_where_there_are_many(dataset: str, equal: list[str]) -> None:
    found = [judge(f"reasoning_gym:{dataset}", reference(dataset), text) for text in equal]
    assert {j.verdict for j in found} == {R}
    assert {j.answer or text for j, text in zip(found, equal)} == {equal[0]}


def test_a_reference_is_an_entry() -> None:
    kind_of("reasoning_gym:countdown").check_reference('{"numbers": [1, 2], "target": 3}')
    for bad in ("not json", "[1]", ""):
        with pytest.raises(UsageError, match="is no reasoning-gym entry"):
            kind_of("reasoning_gym:countdown").check_reference(bad)


# --- expressions -----------------------------------------------------------------------------------------------------


@given(st.text(alphabet="0123456789+-*/() ", max_size=14))
@settings(max_examples=300, deadline=None)
def test_the_exact_value_is_python_s(text: str) -> None:
    try:
        value = exact_value(text)
    except NotPlain:
        return
    try:
        expected = 0 + eval(text.strip(), {})  # digits and signs only; () is a tuple
    except (SyntaxError, TypeError, ZeroDivisionError):
        assert value is None
    else:
        assert value is not None and float(value) == pytest.approx(expected, rel=1e-9)


@given(st.permutations([2, 3, 9]), st.lists(st.sampled_from("+-*/"), min_size=2, max_size=2), st.integers(0, 2))
@settings(max_examples=200, deadline=None)
def test_countdown_s_guard_agrees_with_its_scorer(numbers: list[int], signs: list[str], shape: int) -> None:
    a, b, c = numbers
    p, q = signs
    text = [f"{a}{p}{b}{q}{c}", f"({a}{p}{b}){q}{c}", f"{a}{p}({b}{q}{c})"][shape]
    ref = json.dumps({"numbers": [2, 3, 9], "target": 21})
    assert (verdict("countdown", ref, text) is R) == (scored("countdown", ref, text) >= 1.0)


@pytest.mark.parametrize(
    "wrong", ["2+3+9+7e0", "9*2+3+0x0", "9*2+3+pi-pi", "9*2+3 if 1 else 0", "9*2+.3", "2+3+9+7_0/10"]
)
def test_countdown_takes_no_hidden_numbers(wrong: str) -> None:
    assert verdict("countdown", '{"numbers": [2, 3, 9], "target": 21}', wrong) is W


def test_countdown_is_exact() -> None:
    ref = '{"numbers": [1, 200, 1000, 1], "target": 1000}'
    near = "1000+1/200*1"  # 1000.005, which the scorer's relative tolerance takes
    assert scored("countdown", ref, near) >= 1.0
    assert verdict("countdown", ref, near) is W


def test_canonical_expression_is_linear() -> None:
    started = time.perf_counter()
    canonical_expression("1 + " * 200_000)
    assert time.perf_counter() - started < 5.0


# --- in the fence ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_scorer_works_within_the_fence() -> None:
    items, datasets = [], [name for name in dataset_names() if name not in ("composite", *_SLOW)]
    for dataset in datasets:
        ref = reference(dataset)
        answer = load_entry(ref)["answer"]
        if answer is not None:
            problem = Problem.make(dataset, "", f"reasoning_gym:{dataset}", ref)
            items += [(problem, f"<answer>{answer}</answer>", "stop"), (problem, "<answer>what?</answer>", "stop")]
    with VerifierPool() as pool:
        found = pool.verify(items)
    assert [v.verdict for v in found] == [R, W] * (len(items) // 2)


WITH_MORE_WORDS = (
    ("<answer>5</answer> Wait, that is wrong.", False), ("<answer>5</answer> The answer is 6.", False),
    ("<answer>5</answer> or rather \\boxed{6}", False), ("It is not <answer>5</answer>", False),
    ("<answer>5</answer> is wrong", False), ("<answer>6</answer> or <answer>5</answer>", False), ("-\\boxed{5}", False),
    ("\\boxed{6}, \\boxed{5}", False), ("5\nNo, 6", False), ("5 or 6", False), ("<answer>5</answer>?", False),
    ("<answer>5</answer> This is right.", True), ("<answer>5</answer>\nThe answer is 5.", True), ("\\boxed{5}", True),
    ("<answer>6</answer> No: <answer>5</answer>", True), ("5", True),
    ("2 + 3 = 5.\n\nThe answer is 5.", True), ("First, 2 + 3.\n\n**Final Answer:** 5", True),
    ("2 + 3 = 5\nSo the answer is 5.\n\n6", False), ("2 + 3.\nThe answer is $5$.", True),
    ("2 + 3.\nThe answer is 5 or 6.", False), ("2 + 3.\nThe answer is not 5.", False),
    ("2 + 3.\nThe answer is 5.\nWait, no.", False), ("2 + 3.\nThe second answer is 5.", False),
    ("2 + 3.\nIf x is even, the answer is 5.", False), ("2 + 3.\nThe answer is 5 more than 3.", False),
    ("2 + 3.\nThe answer is 5.\nThe answer is 6.", False), ("2 + 3.\nThe answer is 5. It is 6.", False),
    ("<answer>5</answer>\n\nUser: What is 3+3?\nAssistant: wait, the answer is 6", True),
)  # fmt: skip


@pytest.mark.parametrize(("text", "right"), WITH_MORE_WORDS)
def test_words_around_an_answer_may_deny_it_or_take_it_back(text: str, right: bool) -> None:
    reading = kind_of("reasoning_gym:chain_sum").read(text)
    found = reading and judge("reasoning_gym:chain_sum", made("", "5"), reading.content).verdict
    assert (found is Verdict.CORRECT) is right

"""The answer in words: every case, from the numbers alone."""

from typing import Any

import pytest

from leash_ray.report import answer_sentence
from leash_ray.report.sentence import answer


def support(
    pass_1: tuple[Any, Any] = (0.112, 0.169),
    pass_256: tuple[Any, Any] = (1.0, 0.78),
    problem: dict[str, Any] | None = None,
    answers: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    policies = {
        role: {
            "pass_at_k": {"1": pass_1[i], "256": pass_256[i]},
            "answer_entropy": (3.93, 1.43)[i],
            "distinct_correct_answers": (4.75, 1.73)[i],
            "verdicts": {"CORRECT": 10},
        }
        for i, role in enumerate(("base", "trained"))
    }
    cells = problem if problem is not None else {"P": 117, "E": 0, "S": 33, "O": 0}
    return {
        "base": "base",
        "trained": "trained",
        "n_problems": 150,
        "k": 256,
        "support": {"problem": cells, "answer": answers},
        "policies": policies,
        **more,
    }


@pytest.mark.parametrize(
    ("pass_1", "gained", "lost", "headline"),
    [
        ((0.1, 0.2), 0, 33, "RLVR sharpened this base but shrank what it can reach."),
        ((0.1, 0.2), 1, 33, "RLVR sharpened this base but shrank what it can reach, on balance."),
        ((0.1, 0.2), 33, 0, "RLVR sharpened this base and expanded what it can reach."),
        ((0.1, 0.2), 33, 2, "RLVR sharpened this base and expanded what it can reach, on balance."),
        ((0.1, 0.2), 6, 6, "RLVR sharpened this base and gained as much reach as it lost."),
        ((0.1, 0.2), 0, 0, "RLVR sharpened this base and neither expanded nor shrank what it can reach."),
        ((0.2, 0.1), 0, 33, "RLVR shrank what this base can reach, and did not sharpen it: pass@1 fell."),
        ((0.2, 0.1), 33, 0, "RLVR expanded what this base can reach, and did not sharpen it: pass@1 fell."),
        ((0.2, 0.2), 0, 33, "RLVR shrank what this base can reach, and did not sharpen it: pass@1 did not change."),
        (
            (0.2, 0.2),
            0,
            0,
            "RLVR neither expanded nor shrank what this base can reach, and did not sharpen it: pass@1 did not change.",
        ),
        ((None, 0.2), 0, 33, "RLVR shrank what this base can reach."),
        (
            (0.1, 0.2),
            None,
            None,
            "RLVR sharpened this base, but it is not known whether RLVR expanded or shrank what this base can reach.",
        ),
        ((None, None), None, 3, "It is not known whether RLVR expanded or shrank what this base can reach."),
    ],
)
def test_headline(pass_1: tuple[Any, Any], gained: Any, lost: Any, headline: str) -> None:
    said = answer(support(pass_1=pass_1, problem={"P": 50, "E": gained, "S": lost, "O": 1}))
    assert said.headline == headline


def test_the_numbers_of_the_measured_run() -> None:
    text = answer_sentence(support(answers={"P": 251, "E": 9, "S": 461, "O": None}))
    assert "pass@1 rose 0.112 → 0.169 (×1.5), while pass@256 fell 1.000 → 0.780" in text
    assert "117 of 150 problems were reached by both policies (P), 33 only by the base (lost, S)" in text
    assert "251 were kept, 461 lost and 9 gained (mean a problem: 4.75 → 1.73)" in text
    assert "Answer entropy fell 3.93 → 1.43 nats." in text
    assert "Caution" not in text
    assert "contradicts" not in text
    assert "significan" not in text


def test_crossing_is_interpolated_on_the_log_axis() -> None:
    # Differences +0.2 at k=1 and -0.2 at k=16: zero half-way in log2, at k = 4.
    table = support()
    for role, values in {"base": (0.1, 0.9), "trained": (0.3, 0.7)}.items():
        table["policies"][role]["pass_at_k"] = {"1": values[0], "16": values[1]}
    assert "the curves cross near k = 4." in answer_sentence(table)


def test_curves_that_touch_do_not_cross() -> None:
    assert "cross" not in answer_sentence(support(pass_256=(1.0, 1.0)))
    assert "pass@256 stayed at 1.000" in answer_sentence(support(pass_256=(1.0, 1.0)))


def test_a_contradiction_is_said() -> None:
    expansion = answer_sentence(support(problem={"P": 100, "E": 40, "S": 0, "O": 10}))
    assert "contradicts the usual picture: reach grew" in expansion
    dull = answer_sentence(support(pass_1=(0.2, 0.1)))
    assert "contradicts the usual picture: pass@1 did not rise" in dull


def test_same_problems_but_fewer_answers() -> None:
    said = answer(support(problem={"P": 150, "E": 0, "S": 0, "O": 0}, answers={"P": 9, "E": 0, "S": 40, "O": None}))
    assert said.headline.endswith("; but the set of distinct correct answers shrank.")
    assert any("E + S < 10" in c for c in said.cautions)


def test_units_that_disagree() -> None:
    text = answer_sentence(
        support(problem={"P": 90, "E": 20, "S": 1, "O": 0}, answers={"P": 9, "E": 1, "S": 40, "O": None})
    )
    assert "The two units of support disagree" in text


def test_only_answers_are_counted() -> None:
    said = answer(support(problem={}, answers={"P": 9, "E": 0, "S": 40, "O": None}))
    expected = "RLVR sharpened this base but shrank what it can reach (counted by distinct correct answers)."
    assert said.headline == expected


def test_cautions() -> None:
    table = support(problem={"P": 1, "E": 4, "S": 5, "O": 0}, n_problems_unpaired={"base_only": 2, "trained_only": 0})
    table["policies"]["trained"]["verdicts"]["ERROR"] = 3
    table["policies"]["base"]["pass_at_k"]["512"] = None
    cautions = answer(table, {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0}).cautions
    assert [c.split(" (")[0] for c in cautions] == [
        "only 9 problems changed sides",
        "sampling itself cut the support",
        "the verifier failed on some completions",
        "problems that lack judged completions of a policy were left out",
        "pass@k is undefined at k = 512: some problems have fewer samples.",
    ]
    assert "top_p 0.95, top_k 20" in cautions[1]
    assert "3 of trained" in cautions[2]
    assert "2 have the base's only, 0 the trained policy's only, 0 neither" in cautions[3]


def test_settings_that_cut_nothing_are_no_caution() -> None:
    for off in ({"top_p": 1.0, "top_k": 0, "min_p": 0.0}, {"top_k": -1}, {"top_p": None}, {}, None):
        assert answer(support(), off).cautions == ()


def test_nothing_is_known() -> None:
    text = answer_sentence({"support": {}, "policies": {}})
    assert "not known" in text
    assert "No pass@k is defined for both policies." in text
    assert "0" not in text


def test_no_paired_problem() -> None:
    assert "no problem was sampled by both policies" in answer_sentence(support(n_problems=0))

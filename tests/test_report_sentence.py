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


def measured(
    problem: tuple[int, int] = (0, 33),
    nscr: tuple[float, float] = (-0.3, -0.15),
    p_net: float | None = 1e-6,
    pass_1: tuple[float, float] = (0.02, 0.09),
    answers: tuple[int, int, float, float] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """With intervals: of NSCR, and of the change of pass@1 and pass@256; ``answers``: E, S and NSCR's interval."""
    table = support(problem={"P": 100, "E": problem[0], "S": problem[1], "O": 5, "NSCR": -0.22}, **more)
    found = table["support"]["problem"]
    null = {"E": 2.5, "S": 2.5, "sd": 1.5, "p_E": 0.9, "p_S": 0.0004, "p_net": p_net}
    found |= {"ci": {"NSCR": list(nscr)}, "null": null, "mcnemar_p": 0.118}
    if answers is not None:
        E, S, low, high = answers
        table["support"]["answer"] = {"P": 200, "E": E, "S": S, "O": None, "NSCR": -0.4, "ci": {"NSCR": [low, high]}}
    table["confidence"] = 0.9
    changes = {"1": {"value": 0.057, "ci": list(pass_1)}, "256": {"value": -0.22, "ci": [-0.31, -0.14]}}
    table["difference"] = {"pass_at_k": changes, "answer_entropy": {"value": -2.5, "ci": [-2.61, -2.37]}}
    return table


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
    assert "Caution: these counts have no intervals and no test against chance: `leash reduce` adds them." in text
    assert text.count("Caution") == 1
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
        "these counts have no intervals and no test against chance: `leash reduce` adds them.",
        "sampling itself cut the support",
        "the verifier failed on some completions",
        "problems that lack judged completions of a policy were left out",
        "pass@k is undefined at k = 512: some problems have fewer samples.",
    ]
    assert "top_p 0.95, top_k 20" in cautions[2] and "`leash score` says how much" in cautions[2]
    shares = {"base": {"share": 0.018, "nats_a_token": 0.0182}, "trained": {"share": 0.0004}}
    measured_cut = answer({**table, "cut": shares}, {"top_p": 0.95}).cautions[2]
    assert measured_cut.endswith("It took 1.8% of base's and 0.04% of trained's probability at a token.")
    assert "3 of trained" in cautions[3]
    assert "2 have the base's only, 0 the trained policy's only, 0 neither" in cautions[4]


def test_settings_that_cut_nothing_are_no_caution() -> None:
    for off in ({"top_p": 1.0, "top_k": 0, "min_p": 0.0}, {"top_k": -1}, {"top_p": None}, {}, None):
        assert answer(measured(), off).cautions == ()


def test_nothing_is_known() -> None:
    text = answer_sentence({"support": {}, "policies": {}})
    assert "not known" in text
    assert "No pass@k is defined for both policies." in text
    assert "0" not in text


def test_no_paired_problem() -> None:
    assert "no problem was sampled by both policies" in answer_sentence(support(n_problems=0))


@pytest.mark.parametrize(
    ("case", "headline"),
    [
        (measured(), "RLVR sharpened this base but shrank what it can reach."),
        (
            measured((4, 11), (-0.1, 0.003)),
            "RLVR sharpened this base, but 4 problems gained against 11 lost do not decide whether its reach grew or "
            "shrank.",
        ),
        (  # an interval on one side of 0 is not enough where chance alone moves as much
            measured((1, 5), (-0.06, -0.01), p_net=0.2),
            "RLVR sharpened this base, but 1 problem gained against 5 lost do not decide whether its reach grew or "
            "shrank.",
        ),
        (  # p at the level of the intervals: 90% here
            measured((1, 5), (-0.06, -0.01), p_net=0.09),
            "RLVR sharpened this base but shrank what it can reach, on balance.",
        ),
        (
            measured((4, 11), (-0.1, 0.003), answers=(31, 285, -0.43, -0.32)),
            "RLVR sharpened this base, but 4 problems gained against 11 lost do not decide whether its reach grew or "
            "shrank; its set of distinct correct answers shrank, on balance.",
        ),
        (  # what is itself open is no counterpart
            measured((4, 11), (-0.1, 0.003), answers=(31, 40, -0.1, 0.1)),
            "RLVR sharpened this base, but 4 problems gained against 11 lost do not decide whether its reach grew or "
            "shrank.",
        ),
        (
            measured(pass_1=(-0.01, 0.09)),
            "RLVR shrank what this base can reach; whether it sharpened this base is not decided.",
        ),
        (
            measured((4, 11), (-0.1, 0.003), pass_1=(-0.01, 0.09)),
            "It is not decided whether RLVR sharpened this base, nor whether its reach grew or shrank (4 problems "
            "gained against 11 lost).",
        ),
        (measured((20, 2), (0.05, 0.2)), "RLVR sharpened this base and expanded what it can reach, on balance."),
        (
            measured((20, 14), (-0.05, 0.1)),
            "RLVR sharpened this base, but 20 problems gained against 14 lost do not decide whether its reach grew or "
            "shrank.",
        ),
    ],
)
def test_headline_says_what_is_decided(case: dict[str, Any], headline: str) -> None:
    assert answer(case).headline == headline


def test_decided_facts_give_intervals_and_chance() -> None:
    facts = " ".join(answer(measured()).facts)
    assert "pass@1 rose 0.112 → 0.169 (+0.057 [0.020, 0.090], ×1.5)" in facts
    assert "pass@256 fell 1.000 → 0.780 (-0.220 [-0.310, -0.140])" in facts
    assert "(Brackets: 90% intervals.)" in facts
    assert "Net shrinkage: NSCR is -0.220 [-0.300, -0.150], p = 1e-06 against chance." in facts
    assert "Chance alone would give about 2.5 each way: 33 lost (p = 0.0004) are more." in facts
    assert "Answer entropy fell 3.93 → 1.43 nats (-2.50 [-2.61, -2.37])." in facts
    assert answer(measured()).cautions == ()


def test_undecided_facts_do_not_claim_a_direction() -> None:
    table = measured((4, 11), (-0.1, 0.003), pass_1=(-0.01, 0.09))
    table["soft_support"] = {"joint": {"NSCR": -0.126, "ci": {"NSCR": [-0.2, -0.06]}}}
    facts = " ".join(answer(table).facts)
    assert "pass@1 went 0.112 → 0.169 (+0.057 [-0.010, 0.090], not decided)" in facts
    assert "4 problems gained against 11 lost do not decide the direction: NSCR is -0.220 [-0.100, 0.003]" in facts
    assert "McNemar's p = 0.12; of problems expected above ε (soft), it is -0.126 [-0.200, -0.060]." in facts
    assert "11 lost (p = 0.0004) are more, 4 gained (p = 0.90) are not more." in facts
    assert "contradicts" not in facts
    assert not {"rose", "shrinkage", "expansion"} & set(facts.split())
    by_chance = " ".join(answer(measured((1, 5), (-0.06, -0.01), p_net=0.2)).facts)
    assert "1 problem gained against 5 lost does not decide the direction" in by_chance
    assert "but chance alone is as uneven with p = 0.20" in by_chance


def test_an_undecided_gain_does_not_contradict() -> None:
    assert "contradicts" not in answer_sentence(measured((20, 14), (-0.05, 0.1)))
    assert "contradicts the usual picture: reach grew" in answer_sentence(measured((20, 2), (0.05, 0.2)))


def test_undecided_units_do_not_disagree() -> None:
    assert "disagree" in answer_sentence(measured((20, 2), (0.05, 0.2), answers=(3, 40, -0.3, -0.1)))
    assert "disagree" not in answer_sentence(measured((20, 2), (0.05, 0.2), answers=(3, 4, -0.3, 0.1)))


def test_crossing_as_measured() -> None:
    crossing = {"k": 16.07, "ci": [7.36, 55.5], "direction": "base overtakes", "share_of_replicates": 0.99}
    assert "; the curves cross near k = 16 [7, 56]." in answer_sentence(measured(crossing=crossing))
    none = {"k": None, "ci": None, "direction": "none", "share_of_replicates": 0.0}
    assert "cross" not in answer_sentence(measured(crossing=none))


def test_nothing_reached_is_not_a_lack_of_intervals() -> None:
    table = measured((0, 0))
    table["support"]["problem"] |= {"P": 0, "NSCR": None, "ci": {"NSCR": None}}
    assert answer(table).cautions == ()

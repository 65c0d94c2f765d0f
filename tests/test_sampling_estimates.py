"""Support of runs whose sampling stopped at decided problems: by hand, and against the fixed design by brute force."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from leash_ray.estimates import Estimates, estimate
from leash_ray.measure.measuring import Measuring
from leash_ray.measure.settings import MeasureConfig
from leash_ray.reducers import CompletionsState
from leash_ray.sampling.budget import Design

QUICK = Measuring(0.05, MeasureConfig(bootstrap=100))


def estimates(samples: dict[str, dict[str, str]]) -> Estimates:
    """Of policy -> problem -> one letter a sample: ``a`` and ``b`` right answers, ``.`` a wrong one, ``!`` an ERROR."""
    verdicts = {".": "INCORRECT", "!": "ERROR"}
    rows = [
        {"policy": policy, "problem_id": problem, "sample_index": i, "verdict": verdicts.get(letter, "CORRECT")}
        | {"answer": None if letter == "!" else letter}
        for policy, problems in samples.items()
        for problem, letters in problems.items()
        for i, letter in enumerate(letters)
    ]
    state = CompletionsState.empty().update(pa.Table.from_pylist(rows))
    return estimate(state.finalize(), base="base", trained="trained", measuring=QUICK)


def counts(support: dict[str, Any]) -> list[int]:
    return [support[group] for group in "PESO"]


BY_HAND = {
    # decided in the first round of 2, in the second (up to 4), never (up to 8)
    "base": {"p": "a.", "q": "..b.", "r": "........", "s": "........"},
    "trained": {"p": "........", "q": ".a", "r": ".......a", "s": "........"},
}


def test_support_by_hand() -> None:
    found = estimates(BY_HAND)
    out = found.to_json()
    assert (out["k"], out["k_answers"]) == (8, 2)
    assert out["epsilon"] == pytest.approx(-math.log(0.05) / 8)
    problem = out["support"]["problem"]
    assert counts(problem) == [1, 1, 1, 1]  # q; r; p; s
    assert out["support_bounds"]["problem"] == {"k": 8, "P": [1, 1], "E": [1, 1], "S": [1, 1], "O": [1, 1]}
    # Of the first two samples: base found p, trained found q.
    assert [out["support"]["answer"][g] for g in "PES"] == [0, 1, 1]
    assert out["n_samples"] == {
        "base": {"fewest": 2, "mean": 5.5, "most": 8},
        "trained": {"fewest": 2, "mean": 6.5, "most": 8},
    }
    assert list(out["policies"]["base"]["pass_at_k"]) == ["1", "2"]
    assert out["policies"]["base"]["coverage_at_k"] == {"1": 0.25, "2": 0.25, "4": 0.5, "8": 0.5}
    table = {row["problem_id"]: row for row in found.per_problem.to_pylist()}
    assert [table[p]["group"] for p in "pqrs"] == ["S", "P", "E", "O"]
    assert [(table[p]["n_base"], table[p]["n_trained"]) for p in "pqrs"] == [(2, 8), (4, 2), (8, 8), (8, 8)]
    assert {table[p]["epsilon"] for p in "pqrs"} == {out["epsilon"]}


def test_the_sweep_is_observed_at_every_k_and_expected_where_all_have_the_samples() -> None:
    sweep = estimates(BY_HAND).to_json()["support"]["problem"]["sweep"]
    assert sweep["k"] == [1, 2, 4, 8]
    assert [sweep["observed"][g] for g in "PESO"] == [[0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 1], [3, 2, 2, 1]]
    expected = [[value is None for value in sweep["expected"][g]] for g in "PESO"]
    assert expected == [[False, False, True, True]] * 4


def test_what_chance_gives_is_undefined_where_the_counts_depend_on_the_order() -> None:
    out = estimates(BY_HAND).to_json()
    for unit in ("problem", "answer"):
        assert out["support"][unit]["null"] is None and out["support"][unit]["noise_floor"] is None
    even = estimates({"base": {"p": "a.", "q": ".."}, "trained": {"p": "..", "q": ".."}}).to_json()
    assert even["support"]["problem"]["null"] is not None


def test_an_error_alone_is_no_early_stop() -> None:
    """As many samples were drawn of all: k is the smallest number of scored ones."""
    out = estimates({"base": {"p": "a!..", "q": "...."}, "trained": {"p": "....", "q": "...."}}).to_json()
    assert (out["k"], out["k_answers"]) == (3, 3)


def test_policies_of_different_fixed_sizes_are_no_early_stop() -> None:
    out = estimates({"base": {"p": "....a.", "q": "a....."}, "trained": {"p": "a.", "q": ".a"}}).to_json()
    assert (out["k"], counts(out["support"]["problem"])) == (2, [1, 1, 0, 0])


def test_a_gap_of_an_unsolved_problem_lowers_k_for_all() -> None:
    """As after a dead letter: of q nothing is known beyond its fourth sample."""
    out = estimates({"base": {"p": "a.", "q": "...."}, "trained": {"p": ".....a..", "q": "........"}}).to_json()
    assert (out["k"], counts(out["support"]["problem"])) == (4, [0, 0, 1, 1])


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("seed", range(8))
def test_the_adaptive_design_gives_the_fixed_one_s_support(seed: int, m: int) -> None:
    """On the same samples, problem by problem and at every k; with fewer of them."""
    rng = np.random.default_rng(seed)
    design = Design((4, 16, 64), m)
    fixed: dict[str, dict[str, str]] = {}
    for policy in ("base", "trained"):
        chances = rng.choice([0.0, 0.01, 0.05, 0.5], 12)
        fixed[policy] = {f"p{i:02}": "".join(rng.choice(["a", "."], 64, p=[c, 1 - c])) for i, c in enumerate(chances)}
    fixed["base"]["p00"] = "." * 64  # so that no k above 64 could be known
    adaptive = {
        policy: {
            problem: letters[: next((e for e in design.ends if letters[:e].count("a") >= m), 64)]
            for problem, letters in problems.items()
        }
        for policy, problems in fixed.items()
    }
    a, b = estimates(adaptive), estimates(fixed)
    ours, theirs = a.to_json(), b.to_json()
    assert ours["k"] == theirs["k"] == 64
    assert ours["support"]["problem"]["sweep"]["observed"] == theirs["support"]["problem"]["sweep"]["observed"]
    assert counts(ours["support"]["problem"]) == counts(theirs["support"]["problem"])
    assert a.per_problem["group"] == b.per_problem["group"]
    assert ours["support"]["problem"]["ci"] == theirs["support"]["problem"]["ci"]
    for policy in ("base", "trained"):
        assert ours["policies"][policy]["coverage_at_k"] == theirs["policies"][policy]["coverage_at_k"]
        assert ours["n_samples"][policy]["mean"] < 64

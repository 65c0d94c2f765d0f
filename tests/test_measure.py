"""What is measured beside the counts: intervals, chance, clusters, guessing, checkpoints, perplexity."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from leash_ray.errors import UsageError
from leash_ray.estimates import estimate
from leash_ray.measure.measuring import Measuring, measuring_of
from leash_ray.measure.problems import read_known_problems
from leash_ray.measure.scores import perplexity_json, read_scores
from leash_ray.measure.settings import MeasureConfig
from leash_ray.reducers import Reduced, state_of_block
from leash_ray.types import Problem

QUICK = Measuring(config=MeasureConfig(bootstrap=200))


def reduced(policies: dict[str, dict[str, str]], task: str = "t") -> Reduced:
    """Policies -> problems -> samples: a letter is a CORRECT answer, "." a wrong one, "-" none, "!" an ERROR."""
    verdict = {".": "INCORRECT", "-": "NO_ANSWER", "!": "ERROR"}
    rows = [
        (policy, task, problem, i, verdict.get(s, "CORRECT"), None if s in "-!" else f"{s}", 2, -1.0, 0.5)
        for policy, problems in policies.items()
        for problem, samples in problems.items()
        for i, s in enumerate(samples)
    ]
    names = (
        "policy",
        "task",
        "problem_id",
        "sample_index",
        "verdict",
        "answer",
        "n_tokens",
        "logprob_sum",
        "entropy_sum",
    )
    return state_of_block(pl.DataFrame(rows, schema=list(names), orient="row").to_arrow()).finalize()


def measured(policies: dict[str, dict[str, str]], how: Measuring = QUICK, trained: str = "trained") -> dict[str, Any]:
    out = estimate(reduced(policies), base="base", trained=trained, measuring=how).to_json()
    json.dumps(out, allow_nan=False)
    return out


def random_pair(seed: int, n_problems: int = 40, n: int = 8) -> dict[str, dict[str, str]]:
    rng = np.random.default_rng(seed)
    letters = np.array(list("abc..-"))
    return {
        policy: {f"p{i:02}": "".join(rng.choice(letters, n)) for i in range(n_problems)}
        for policy in ("base", "trained")
    }


# Two problems, two samples each. p: base a., trained .. ; q: base .., trained ab.
SMALL = {"base": {"p": "a.", "q": ".."}, "trained": {"p": "..", "q": "ab"}}


def test_what_chance_gives_by_hand() -> None:
    out = measured(SMALL)
    # p: 1 of 4 samples is right, the labels fall on it half of the time each: E 1/2, S 1/2.
    # q: 2 of 4 are right; base has both, or none, in 1 of 6 ways each: E 1/6, S 1/6.
    null = out["support"]["problem"]["null"]
    assert null["E"] == null["S"] == pytest.approx(1 / 2 + 1 / 6)
    # P(E* >= 1) = 1 - (1/2)(5/6)
    assert null["p_E"] == null["p_S"] == pytest.approx(1 - 5 / 12)
    assert null["p_net"] == 1.0  # E - S is 0, in the middle
    # Answers: a of p (1 of 4), a and b of q (1 of 4 each).
    assert out["support"]["answer"]["null"]["E"] == pytest.approx(3 / 2)
    # Halves of base: one sample each. p: E where the first half misses and the second hits: 1/2.
    floor = out["support"]["problem"]["noise_floor"]
    assert (floor["k"], floor["base"]["E"], floor["trained"]["E"]) == (1, pytest.approx(1 / 2), 0)
    assert out["support"]["problem"]["mcnemar_p"] == 1.0


def test_numbers_lie_in_their_intervals() -> None:
    out = measured(random_pair(0))
    for unit in ("problem", "answer"):
        support = out["support"][unit]
        for metric, (low, high) in support["ci"].items():
            assert low <= support[metric] <= high and low < high, (unit, metric)
        assert [support["sweep"]["observed"][g][-1] for g in "PES"] == [support[g] for g in "PES"]
        for g in "PES":  # n is 8 for all: at k = 8 every order is the one order
            assert support["sweep"]["expected"][g][-1] == pytest.approx(support[g])
    for policy in out["policies"].values():
        assert policy["ci"].keys() <= policy.keys()
        for k, (low, high) in policy["ci"]["pass_at_k"].items():
            assert low <= policy["pass_at_k"][k] <= high
        low, high = policy["ci"]["answer_entropy"]
        assert low < policy["answer_entropy"] < high
    for name in ("pass_at_k", "cover_at_tau"):
        for at, change in out["difference"][name].items():
            values = [p[name][at] for p in out["policies"].values()]
            assert change["value"] == pytest.approx(values[1] - values[0])
            assert change["ci"][0] <= change["value"] <= change["ci"][1]
    for prior in ("joint", "jeffreys"):
        soft = out["soft_support"][prior]
        assert sum(soft[g] for g in "PESO") == pytest.approx(40)


def test_swapping_the_policies_swaps_what_it_should() -> None:
    policies = random_pair(1)
    there = measured(policies)
    back = measured({"base": policies["trained"], "trained": policies["base"]})
    for unit in ("problem", "answer"):
        one, other = there["support"][unit], back["support"][unit]
        assert (one["E"], one["S"], one["NSCR"]) == (other["S"], other["E"], -other["NSCR"])
        assert one["null"]["E"] == pytest.approx(other["null"]["E"])
        assert (one["null"]["p_E"], one["null"]["p_net"]) == pytest.approx(
            (other["null"]["p_S"], other["null"]["p_net"])
        )
    jeffreys = [x["soft_support"]["jeffreys"] for x in (there, back)]
    assert jeffreys[0]["E"] == pytest.approx(jeffreys[1]["S"])
    lost, gained = there["tilt"]["concentration"]["lost"], back["tilt"]["concentration"]["gained"]
    assert lost["observed"] == gained["observed"]
    assert lost["expected_by_tilting"] == pytest.approx(gained["expected_by_tilting"])


def test_the_order_of_a_problems_samples_is_of_no_account() -> None:
    policies = random_pair(2)
    rng = np.random.default_rng(0)
    shuffled = {p: {i: "".join(rng.permutation(list(s))) for i, s in x.items()} for p, x in policies.items()}
    one, other = measured(policies), measured(shuffled)
    # Coverage, halves and the observed sweep are from one order of the samples, as they were drawn; nothing else is.
    for out in (one, other):
        for unit in out["support"].values():
            del unit["sweep"]["observed"], unit["noise_floor"]["halves"]
        for of in (*out["policies"].values(), *(p["ci"] for p in out["policies"].values()), out["difference"]):
            del of["coverage_at_k"]
        del out["by_task"]
    assert one == other


def test_clusters_make_intervals_of_fewer_things() -> None:
    policies = random_pair(3, n_problems=12)
    four = {p: {f"{i}-{j}": s for i, s in x.items() for j in range(4)} for p, x in policies.items()}
    clusters = {f"{i}-{j}": i for i in policies["base"] for j in range(4)}
    apart = measured(four)
    together = measured(four, Measuring(config=QUICK.config, clusters=clusters))
    assert (apart["n_clusters"], together["n_clusters"]) == (48, 12)
    for out in (apart, together):
        assert out["policies"]["base"]["pass_at_k"]["1"] == pytest.approx(
            measured(policies)["policies"]["base"]["pass_at_k"]["1"]
        )
    width = [x["policies"]["base"]["ci"]["pass_at_k"]["1"] for x in (apart, together)]
    assert np.diff(width[1]) > 1.6 * np.diff(width[0])  # sqrt(4) = 2, but for noise


def test_only_above_guessing() -> None:
    # base: 3 of 8 and 8 of 8 at a guess rate of 1/4; 3 or more of 8 come by guessing with probability 0.32.
    policies = {
        "base": {"p": "aaa.....", "q": "aaaaaaaa"},
        "trained": {"p": "aaaaaaaa", "q": "........"},
    }
    plain = Measuring(config=QUICK.config, guess={"p": 0.25, "q": 0.25})
    out = measured(policies, plain)
    assert [out["support"]["problem"][g] for g in "PESO"] == [1, 0, 1, 0]
    assert out["guessing"]["pass_at_k"]["2"] == pytest.approx(1 - 0.75**2)
    asked = MeasureConfig(bootstrap=200, above_guessing=True)
    above = measured(policies, Measuring(config=asked, guess={"p": 0.25, "q": 0.25}))
    assert [above["support"]["problem"][g] for g in "PESO"] == [0, 1, 1, 0]
    assert above["support"]["problem"]["null"] is None  # counts are no longer counts of samples
    assert above["policies"] == out["policies"]


def test_early_stopping_has_coverage_up_to_the_budget() -> None:
    # p was decided at its second sample; q was drawn to the budget of 8, in vain.
    out = measured({"base": {"p": ".a", "q": "........"}, "trained": {"p": "a", "q": ".......a"}})
    assert (out["k"], out["k_answers"]) == (8, 1)
    assert out["policies"]["base"]["coverage_at_k"] == {"1": 0.0, "2": 0.5, "4": 0.5, "8": 0.5}
    assert out["policies"]["trained"]["coverage_at_k"] == {"1": 0.5, "2": 0.5, "4": 0.5, "8": 1.0}


def test_checkpoints_are_a_series() -> None:
    policies = {
        "base": {"p": "a.", "q": ".b", "r": ".."},
        "trained@9": {"p": "..", "q": "..", "r": "c."},
        "trained@10": {"p": "a.", "q": "..", "r": ".."},
    }
    out = measured(policies)
    assert out["trained"] == "trained@10"  # the last one, as there is no "trained"
    series = out["series"]
    assert (series["steps"], series["policies"], series["k"]) == ([9, 10], ["trained@9", "trained@10"], 2)
    assert [series["support"][g] for g in "PESO"] == [[0, 1], [1, 0], [2, 1], [0, 1]]
    assert series["lost"]["ever"] == 2 and series["lost"]["came_back"] == 1
    assert series["lost"]["problems"] == [
        {"problem_id": "p", "first": 9, "back": 10, "at_last": False, "spells": 1},
        {"problem_id": "q", "first": 9, "back": None, "at_last": True, "spells": 1},
    ]
    assert series["gained"]["problems"][0]["problem_id"] == "r"
    for policy in series["policies"]:
        alone = {k: v for k, v in measured(policies, trained=policy).items() if k in series["estimates"][policy]}
        assert series["estimates"][policy] == alone


def test_one_policy_is_no_series() -> None:
    assert measured(SMALL)["series"] is None


def test_token_entropy_is_a_mean_over_completions_of_the_mean_over_steps() -> None:
    rows = {
        "policy": ["base", "base", "trained"],
        "problem_id": ["p"] * 3,
        "sample_index": [0, 1, 0],
        "verdict": ["CORRECT"] * 3,
        "answer": ["a", "b", "a"],
        "n_tokens": [2, 4, 4],
        "logprob_sum": [-3.0, -1.0, -1.0],
        "entropy_sum": [3.0, 1.0, None],
    }
    state = state_of_block(pl.DataFrame(rows).to_arrow()).finalize()
    out = estimate(state, base="base", trained="trained", measuring=QUICK).to_json()
    base, trained = out["policies"].values()
    assert base["token_entropy"] == pytest.approx((3 / 2 + 1 / 4) / 2) and trained["token_entropy"] is None
    assert base["mean_surprisal"] == pytest.approx(4 / 6)
    assert out["entropy_quadrants"]["tokens_by"] == "mean_surprisal"  # entropy was not scored for both


def test_settings_from_problems() -> None:
    def problem(task: str, answer: str, **metadata: object) -> Problem:
        reference = json.dumps({"answer": "A", "choices": ["1", "2", "3", "4", "5"]}) if task == "quiz" else answer
        return Problem.make(task, f"{task} {answer}", "choice" if task == "quiz" else "math", reference, metadata)

    problems = [problem("quiz", "A", family="x"), problem("aime", "204", family="x"), problem("aime", "5")]
    known = measuring_of(MeasureConfig(guess_rate={"aime": 0.001}, cluster_by="family"), 0.05, problems)
    assert known.guess == {problems[0].id: 0.2, problems[1].id: 0.001, problems[2].id: 0.001}
    assert known.clusters is not None
    assert known.clusters[problems[0].id] == known.clusters[problems[1].id] != known.clusters[problems[2].id]
    assert measuring_of(MeasureConfig(guess_rate=0.5), 0.05, problems).guess == dict.fromkeys(
        (p.id for p in problems), 0.5
    )
    told = problem("aime", "7", guess_rate=0.002)
    assert measuring_of(MeasureConfig(), 0.05, [told]).guess == {told.id: 0.002}
    with pytest.raises(UsageError, match="its keys: family"):
        measuring_of(MeasureConfig(cluster_by="famly"), 0.05, problems)
    with pytest.raises(UsageError, match="guess_rate"):
        measuring_of(MeasureConfig(above_guessing=True), 0.05, problems[1:])


def test_problems_beside_tables(tmp_path: Path) -> None:
    path = tmp_path / "known.jsonl"
    path.write_text('{"problem_id": "p", "family": "x"}\n{"problem_id": "q", "family": null, "task": "t"}\n')
    found = read_known_problems(path)
    assert [(p.id, p.task, dict(p.metadata)) for p in found] == [("p", "", {"family": "x"}), ("q", "t", {})]
    path.write_text('{"name": "p"}\n')
    with pytest.raises(UsageError, match="problem_id"):
        read_known_problems(path)


def test_perplexity_by_hand(tmp_path: Path) -> None:
    rows = [
        ("base", "p", 2, math.log(0.25)),  # perplexity 2
        ("base", "s", 1, math.log(0.25)),  # 4
        ("trained", "p", 2, 0.0),  # 1
        ("trained", "s", 1, math.log(0.125)),  # 8
        ("trained", "only trained has it", 1, -1.0),
        ("base", "e", 1, None),  # not scored: left out for both
        ("trained", "e", 1, -1.0),
    ]
    names = ["policy", "problem_id", "n_tokens", "logprob_sum"]
    pl.DataFrame(rows, schema=names, orient="row").write_parquet(tmp_path / "scores.parquet")
    scores = read_scores([tmp_path / "scores.parquet"])
    out = perplexity_json(scores, {"p": "P", "s": "S", "e": "E"}, base="base", trained="trained")["given texts"]
    assert out["P"]["base"]["mean"] == pytest.approx(2) and out["P"]["trained"]["mean"] == pytest.approx(1)
    assert out["S"]["base"]["median"] == pytest.approx(4) and out["S"]["trained"]["token_weighted"] == pytest.approx(8)
    assert out["E"]["base"]["n_texts"] == 0 and out["E"]["base"]["mean"] is None
    (tmp_path / "bad.jsonl").write_text('{"policy": "base"}\n')
    with pytest.raises(UsageError, match="lacks problem_id, n_tokens, logprob_sum"):
        read_scores([tmp_path / "bad.jsonl"])


def test_the_monitor_gets_numbers_with_the_ends_of_their_intervals() -> None:
    from leash_ray.stages import flat

    out = measured(random_pair(4))
    names = flat(out)
    assert names["support/problem/S"] == out["support"]["problem"]["S"]
    low, high = out["policies"]["base"]["ci"]["pass_at_k"]["2"]
    assert (names["policies/base/ci/pass_at_k/2/low"], names["policies/base/ci/pass_at_k/2/high"]) == (low, high)
    assert all(isinstance(value, int | float) for value in names.values())

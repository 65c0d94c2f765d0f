"""Recipes side by side: the numbers, by hand and against what single runs and brute force say."""

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare_made import drawn, make, study
from hypothesis import given
from hypothesis import strategies as st

from leash_ray.compare import compare_runs
from leash_ray.compare.blocks import Block
from leash_ray.compare.pairs import holm
from leash_ray.compare.seeds import Replicates, between, over_seeds, replicates
from leash_ray.stats.bootstrap import Resampling
from leash_ray.stats.small_counts import jeffreys_support
from leash_ray.stats.support import METRICS

BASE = {"p0": "a...", "p1": "ab..", "p2": "...a", "p3": "a...", "p4": ".b..", "p5": "....", "p6": "a..."}


def recipe(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(r for r in found["recipes"] if r["name"] == name)


def pair(found: dict[str, Any], a: str, b: str) -> dict[str, Any]:
    return next(p for p in found["pairs"] if (p["a"], p["b"]) == (a, b))["numbers"]


@pytest.fixture
def two(tmp_path: Path) -> dict[str, Any]:
    """The base finds six of seven problems. Recipe x keeps all and finds p5; recipe y loses p0 to p3."""
    make(tmp_path / "x", BASE, {**BASE, "p5": "..a."}, train={"lr": 1e-3}, steps=[10, 20, 30])
    lost = dict.fromkeys(["p0", "p1", "p2", "p3"], "....")
    make(tmp_path / "y", BASE, {**BASE, **lost}, train={"lr": 2e-3}, steps=[10, 20])
    return compare_runs([tmp_path / "x", tmp_path / "y"])


def test_two_runs_by_hand(two: dict[str, Any]) -> None:
    x, y = (recipe(two, name)["support"]["problem"] for name in "xy")
    assert [x[g]["value"] for g in ("P", "E", "S", "net", "SRR", "NDR")] == [6, 1, 0, 1, 1.0, pytest.approx(1 / 7)]
    assert [y[g]["value"] for g in ("P", "E", "S", "net", "SRR", "NSCR")] == [2, 0, 4, -4, pytest.approx(1 / 3)] + [
        pytest.approx(-4 / 6)
    ]
    # Answers: the base has a, a b, a, a, b, a; x keeps those 7 and finds one more, y keeps those of p4 and p6.
    answers = [recipe(two, name)["support"]["answer"] for name in "xy"]
    assert [[of[g]["value"] for g in "PES"] for of in answers] == [[7, 1, 0], [2, 0, 5]]
    assert (two["k"], two["n_problems"], two["base"]["draws"], two["base"]["paired"]) == (4, 7, 1, True)
    assert recipe(two, "x")["pass_at_k"]["1"]["value"] == pytest.approx(8 / 28)
    assert recipe(two, "y")["gain_at_k"]["4"]["value"] == pytest.approx((2 - 6) / 7)


def test_pairs_by_hand(two: dict[str, Any]) -> None:
    of = pair(two, "x", "y")
    lost = of["problem"]["S"]
    # McNemar: four problems that y alone lost, none that x alone lost: 2 / 2^4.
    assert (lost["difference"], lost["more_a"], lost["more_b"], lost["p"]) == (-4, 0, 4, 0.125)
    assert (of["problem"]["E"]["p"], of["problem"]["E"]["more_a"]) == (1.0, 1)
    assert of["problem"]["net"]["p"] == of["problem"]["net"]["p_adjusted"] == 2 / 2**5
    # Answers of a problem fall together: 1, 2, 1, 1 lost, and signs flip by problem.
    assert of["answer"]["S"]["p"] == 2 / 2**4
    assert two["pairs"][0]["basis"] == "problems"


def test_tokens(two: dict[str, Any], tmp_path: Path) -> None:
    x = recipe(two, "x")["tokens"]
    assert [x[name]["value"] for name in ("rollouts", "training", "base", "trained")] == [120, 60, 56, 56]
    log = tmp_path / "x" / "metrics.jsonl"
    log.write_text(log.read_text() + json.dumps({"stage": "train", "step": 3, "n_tokens": 5}) + "\n")
    again = compare_runs([tmp_path / "x", tmp_path / "y"])
    assert recipe(again, "x")["tokens"]["training"]["value"] == 35  # a step that was done again counts once, the last


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three seeds of x, then of y."""
    return study(tmp_path_factory.mktemp("study"), {"x": 0.2, "y": 0.9})


def test_a_single_run_has_the_numbers_of_its_own_report(runs: list[Path]) -> None:
    runs = [runs[0], runs[3]]
    found = compare_runs(runs)
    for run, of in zip(runs, found["recipes"], strict=True):
        support = json.loads((run / "support.json").read_text())
        for unit in ("problem", "answer"):
            for metric in METRICS:
                one = of["support"][unit][metric]
                assert one["value"] == pytest.approx(support["support"][unit][metric], abs=1e-11)
                assert one["ci"] == support["support"][unit]["ci"][metric]
            assert [of["support"][unit][g]["value"] for g in "PES"] == [support["support"][unit][g] for g in "PES"]
        policy = support["policies"]["trained"]
        for k, value in policy["pass_at_k"].items():
            assert of["pass_at_k"][k]["value"] == pytest.approx(value)
            assert of["pass_at_k"][k]["ci"] == policy["ci"]["pass_at_k"][k]
            assert of["gain_at_k"][k]["ci"] == support["difference"]["pass_at_k"][k]["ci"]
        for name in ("answer_entropy", "mean_surprisal", "distinct_correct_answers", "mean_n_tokens"):
            assert of[name]["value"] == pytest.approx(policy[name])
        assert of["answer_entropy"]["ci"] == policy["ci"]["answer_entropy"]
        assert of["distinct_correct_answers"]["ci"] == policy["ci"]["distinct_correct_at_k"]["16"]
    base = json.loads((runs[0] / "support.json").read_text())["policies"]["base"]
    assert found["base"]["pass_at_k"]["16"]["ci"] == base["ci"]["pass_at_k"]["16"]


def test_a_mean_over_seeds(runs: list[Path]) -> None:
    found = compare_runs(runs)
    of = recipe(found, "x")
    assert of["seeds"] == ["0", "1", "2"]
    supports = [json.loads((run / "support.json").read_text())["support"]["problem"] for run in runs[:3]]
    for metric in ("P", "E", "S", *METRICS):
        one = of["support"]["problem"][metric]
        assert one["seeds"] == pytest.approx([s[metric] for s in supports])
        assert one["value"] == pytest.approx(np.mean([s[metric] for s in supports]))
        assert one["ci"][0] <= one["value"] <= one["ci"][1]
    assert found["pairs"][0]["basis"] == "seeds and problems"
    assert any("3 seeds are few" in caution for caution in found["cautions"])


def test_the_order_of_runs_does_not_matter(runs: list[Path]) -> None:
    one, other = compare_runs(runs), compare_runs([*runs[3:], *reversed(runs[:3])])
    a, b = pair(one, "x", "y")["problem"], pair(other, "y", "x")["problem"]
    for measure in ("S", "E", "net", "NSCR"):
        assert a[measure]["difference"] == pytest.approx(-b[measure]["difference"])
        assert a[measure]["ci"] == pytest.approx([-end for end in reversed(b[measure]["ci"])])
        assert a[measure]["p"] == pytest.approx(b[measure]["p"])
    assert recipe(one, "x")["support"]["problem"]["SRR"]["ci"] == pytest.approx(
        recipe(other, "x")["support"]["problem"]["SRR"]["ci"]
    )


def test_exact_test_over_seeds_of_different_numbers(tmp_path: Path) -> None:
    """Against every flip of signs: recipe x has two seeds, y three, so a loss in x weighs 3 and one in y 2."""
    rng = np.random.default_rng(4)
    base = {f"p{i}": "aa" for i in range(7)}
    runs, lost = [], {"x": np.zeros(7, int), "y": np.zeros(7, int)}
    for name, seeds, rate in (("x", 2, 0.2), ("y", 3, 0.6)):
        for seed in range(seeds):
            gone = rng.random(7) < rate
            lost[name] += gone
            trained = {f"p{i}": ".." if gone[i] else "aa" for i in range(7)}
            lr = {"x": 1e-3, "y": 2e-3}[name]
            runs.append(make(tmp_path / f"{name}-seed{seed}", base, trained, seed=seed, train={"lr": lr}))
    net = 3 * lost["x"] - 2 * lost["y"]
    sums = [abs(sum(s * n for s, n in zip(signs, net, strict=True))) for signs in itertools.product((1, -1), repeat=7)]
    expected = np.mean([s >= abs(net.sum()) for s in sums])
    of = pair(compare_runs(runs), "x", "y")["problem"]["S"]
    assert of["p_problems"] == pytest.approx(expected)
    assert (of["more_a"], of["more_b"]) == ((net > 0).sum(), (net < 0).sum())
    assert of["difference"] == pytest.approx(lost["x"].sum() / 2 - lost["y"].sum() / 3)


def test_base_drawn_anew(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    p = rng.random(20)
    runs = [
        make(tmp_path / name, drawn(rng, p, 8), drawn(rng, p, 8), train={"lr": lr})
        for name, lr in (("x", 1e-3), ("y", 2e-3))
    ]
    found = compare_runs(runs)
    assert (found["base"]["draws"], found["base"]["paired"]) == (2, False)
    assert len(found["base"]["pass_at_k"]["1"]["seeds"]) == 2
    assert any("drawn anew" in caution for caution in found["cautions"])


def test_clusters_are_resampled_whole(tmp_path: Path) -> None:
    """Twenty problems, each four times over as variants, are twice as uncertain as eighty."""
    base = {f"p{i}-{v}": "aa" for i in range(20) for v in range(4)}
    metadata = {name: {"of": name.split("-")[0]} for name in base}
    runs = []
    for name, n, lr in (("x", 4, 1e-3), ("y", 9, 2e-3)):
        for seed in (0, 1):
            trained = {p: ".." if int(of["of"][1:]) < n + seed else "aa" for p, of in metadata.items()}
            path = tmp_path / f"{name}-seed{seed}"
            runs.append(make(path, base, trained, seed=seed, train={"lr": lr}, metadata=metadata))
    each = compare_runs(runs)
    for run in runs:
        config = run / "config.yaml"
        config.write_text(config.read_text().replace("cluster_by: null", "cluster_by: of"))
    whole = compare_runs(runs)
    assert (each["n_clusters"], whole["n_clusters"]) == (80, 20)
    one, four = (pair(found, "x", "y")["problem"] for found in (each, whole))
    # x loses 0 to 3, then to 4; y loses 0 to 8, then to 9: what differs is six of twenty, or 24 of eighty.
    assert one["S"]["p_problems"] == pytest.approx(2 / 2**24)
    assert four["S"]["p_problems"] == pytest.approx(2 / 2**6)
    widths = [np.ptp(of["SRR"]["ci"]) for of in (one, four)]
    assert 1.5 < widths[1] / widths[0] < 2.5


# The spread over seeds and problems.


def block(values: list[float] | np.ndarray) -> Block:
    found = np.asarray(values, float)[:, None]
    return Block("b", ("b",), found, lambda m: m, np.zeros((0, 1)), ((-np.inf, np.inf),))


def test_seeds_alone_give_student_s_interval() -> None:
    """All problems alike, so that only seeds differ: 1, 2, 3 have mean 2, s = 1, and t of 2 degrees is 4.303."""
    drawn_ = replicates([[block([v] * 10)] for v in (1.0, 2.0, 3.0)], Resampling(200))
    found = over_seeds(drawn_, 10, 0.95)
    assert found.value_M == pytest.approx([2.0])
    assert (found.low_M[0], found.high_M[0]) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-3)
    # Against 0: t = 2 sqrt(3) with 2 degrees of freedom: p = 1 - t / sqrt(t^2 + 2), two-sided.
    t = 2 * 3**0.5
    assert found.p_M == pytest.approx([1 - t / (t**2 + 2) ** 0.5], abs=1e-6)


def test_one_seed_gives_jeffreys_interval() -> None:
    """P, E, S = 20, 0, 3: the weights' intervals are the Dirichlet's."""
    from leash_ray.compare.blocks import support_block

    counts = np.repeat(np.eye(3), [20, 0, 3], axis=0)
    (one,) = replicates([[support_block("problem", counts)]], Resampling(20_000))
    low, high = np.quantile(one.drawn_RM[:, 4:], [0.025, 0.975], axis=0)
    expected = jeffreys_support(20, 0, 3)
    assert low == pytest.approx(expected[:, 0], abs=0.012)
    assert high == pytest.approx(expected[:, 1], abs=0.012)


def test_intervals_hold_the_truth_where_seeds_differ() -> None:
    """Problems with sd 1, seeds with sd 0.3, their mixture with sd 1; 80 problems and 3 seeds. Without the seeds' part
    intervals would hold the truth in little more than half of the cases."""
    rng = np.random.default_rng(0)
    hits: Counter[str] = Counter()
    for _ in range(300):
        values = rng.normal(0, 1, 80) + rng.normal(0, 0.3, (3, 1)) + rng.normal(0, 1, (3, 80))
        seeds = replicates([[block(v)] for v in values], Resampling(200, seed=int(rng.integers(1 << 30))))
        found = over_seeds(seeds, 80, 0.95)
        hits["ours"] += bool(found.low_M[0] <= 0 <= found.high_M[0])
        alone = np.quantile(np.mean([s.drawn_RM for s in seeds], axis=0), [0.025, 0.975])
        hits["problems"] += bool(alone[0] <= 0 <= alone[1])
    assert 0.93 <= hits["ours"] / 300 <= 0.995
    assert hits["problems"] / 300 < 0.85


def test_a_recipe_against_itself_does_not_differ() -> None:
    rng = np.random.default_rng(0)
    seeds = [Replicates(rng.normal(0, 1, 2), rng.normal(0, 1, (100, 2))) for _ in range(3)]
    found = between(seeds, seeds, 50, 0.95, seeds_vary=True)
    assert (found.value_M == 0).all() and (found.p_M == 1).all()


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, np.nan, 0.02]) == pytest.approx([0.5, np.nan, 0.04], nan_ok=True)
    assert len(holm([])) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.999))
def test_holm_rejects_what_the_step_down_procedure_rejects(p: list[float], alpha: float) -> None:
    order = sorted(range(len(p)), key=lambda i: p[i])
    rejected = set()
    for n_before, i in enumerate(order):
        if p[i] * (len(p) - n_before) > alpha:
            break
        rejected.add(i)
    assert {i for i, q in enumerate(holm(p)) if q <= alpha} == rejected

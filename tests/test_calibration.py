"""Calibration of the statistics in small, and that it would notice: wrong intervals and a false null are found out.

``benchmarks/calibration.py`` does it in full. Replications are seeded, so that these tests never fail by chance alone;
their bounds are such that right statistics would leave them once in 10,000 times.
"""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import special, stats

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))

import calibration
import calibration_checks as checks
import calibration_figure
import calibration_worlds as worlds

SAME, PLANTED = (worlds.World("Beta(.3, .7)", 0.3, 0.7, change) for change in (worlds.SAME, worlds.PLANTED))
UNLIKELY = 1e-4


def test_fit_finds_the_law_that_made_the_counts():
    def expected_misses(n: int) -> float:
        return float(np.exp(special.betaln(0.2, 0.6 + n) - special.betaln(0.2, 0.6)))

    missed, twice = expected_misses(64), expected_misses(128)
    counts = {"P": 1 - 2 * missed + twice, "E": missed - twice, "S": missed - twice, "O": twice}
    assert worlds.fitted(counts, 64) == pytest.approx((0.2, 0.6), rel=1e-6)


def test_fit_to_the_paper_finds_two_thirds():
    a, b = worlds.shapes()["paper"]
    found = 1 - np.exp(special.betaln(a, b + 256) - special.betaln(a, b))
    assert found == pytest.approx((3942 + 271) / 6255, abs=1e-9)


@pytest.mark.parametrize("world", [SAME, PLANTED], ids=["same", "planted"])
def test_truth_is_what_many_problems_show(world):
    n, n_problems = (8, 16), 20_000
    truth = worlds.truth(world, n)
    drawn = worlds.draw(world, n_problems, n, np.random.default_rng(1))
    columns = {}
    for side, p_NA, size in (("base", drawn.base_NA, 8), ("trained", drawn.trained_NA, 16)):
        counts_NA = np.random.default_rng(size).multinomial(size, p_NA)
        share_NA = counts_NA / size
        columns[f"answer entropy/{side}"] = -(share_NA * np.log(np.where(share_NA > 0, share_NA, 1))).sum(axis=1)
        right_N = p_NA[:, : worlds.N_RIGHT].sum(axis=1)
        columns[f"pass@1/{side}"] = right_N
        columns[f"pass@8/{side}"] = 1 - (1 - right_N) ** 8
    for name, values in columns.items():
        assert abs(values.mean() - truth[name]) < 4 * values.std() / np.sqrt(n_problems), name
    base, trained = (side.first == 0 for side in drawn.pair.sides)
    both, gained, lost = np.mean(base & trained), np.mean(~base & trained), np.mean(base & ~trained)
    assert both / (both + lost) == pytest.approx(truth["SRR/problem"], abs=0.02)
    assert gained / (both + gained) == pytest.approx(truth["NDR/problem"], abs=0.02)
    assert (gained - lost) / (both + gained + lost) == pytest.approx(truth["NSCR/problem"], abs=0.02)


def test_drawn_counts_agree_with_each_other():
    pair = worlds.draw(PLANTED, 100, (32, 8), np.random.default_rng(2)).pair
    assert pair.k == 8
    for side, count in zip(pair.sides, pair.answers.count, strict=True):
        assert np.array_equal(np.bincount(pair.answers.problem, count, 100), side.n)
    for side, correct, before in zip(pair.sides, pair.correct.correct, pair.correct.before, strict=True):
        assert np.array_equal(np.bincount(pair.correct.problem, correct, 100), side.c)
        assert np.array_equal(before >= 0, correct > 0)
        assert np.array_equal(side.first >= 0, side.c > 0)
        first_N = np.full(100, 99)
        np.minimum.at(first_N, pair.correct.problem, np.where(before >= 0, before, 99))
        assert np.array_equal(first_N, np.where(side.first >= 0, side.first, 99))


@pytest.fixture(scope="module")
def rows():
    return {world.change.name: checks.coverage_rows(world, (32, 32), range(60), 400, 200) for world in (SAME, PLANTED)}


@pytest.mark.parametrize("world", [SAME, PLANTED], ids=["same", "planted"])
def test_intervals_cover_and_half_as_wide_ones_do_not(rows, world):
    truth = worlds.truth(world, (32, 32))
    least = stats.binom(60, 0.95).ppf(UNLIKELY) / 60
    right = checks.coverage(rows[world.change.name], truth)
    assert {name: row["coverage"] for name, row in right.items() if row["coverage"] < least} == {}
    assert {name for name, row in right.items() if row["undefined"]} == set()
    wrong = checks.coverage(rows[world.change.name], truth, width=0.5)
    found_out = [name for name, row in wrong.items() if row["coverage"] < least]
    assert len(found_out) > 0.8 * len(wrong)


def test_intervals_around_a_wrong_truth_do_not_cover(rows):
    truth = worlds.truth(PLANTED, (32, 32))
    found = checks.coverage(rows["same"], truth)
    for name in ("SRR/problem", "SRR/answer", "pass@1/difference", "answer entropy/difference"):
        assert found[name]["coverage"] < 0.3, name


def test_null_is_uniform_where_nothing_changed_and_only_there():
    same = checks.null_summary(checks.null_rows(SAME, (32, 16), range(150), answers=False, n_problems=200))
    planted = checks.null_summary(checks.null_rows(PLANTED, (32, 32), range(40), answers=False, n_problems=200))
    most = stats.binom(150, 0.05).isf(UNLIKELY) / 150
    for p in ("p_E/problem", "p_S/problem", "p_net/problem"):
        assert same[p]["ks_p"] > UNLIKELY
        assert same[p]["rejected"] <= most
    assert planted["p_S/problem"]["ks_p"] < UNLIKELY
    assert planted["p_S/problem"]["rejected"] > 0.5


def test_joint_prior_is_nearer_the_truth_than_jeffreys():
    biases = checks.soft_summary(checks.soft_rows(SAME, (64, 64), range(8)))
    largest = {prior: max(abs(row["bias"]) for row in groups.values()) for prior, groups in biases.items()}
    assert largest["joint"] < 2 < largest["jeffreys"] < largest["hard"]
    assert sum(row["bias"] for row in biases["joint"].values()) == pytest.approx(0, abs=1e-9)


def test_corrected_entropies_and_richness_are_less_biased():
    found = checks.diversity_summary(checks.diversity_rows(SAME, 32, range(5)))
    bias = {name: row["bias"] for name, row in found.items()}
    assert bias["plug-in"] < bias["Miller-Madow"] < 0
    assert abs(bias["Chao-Shen"]) < abs(bias["Miller-Madow"])
    assert bias["observed"] < bias["Chao1"] < 0


def test_whole_script(monkeypatch):
    monkeypatch.setattr(calibration, "SAMPLES", ((32, 32),))
    monkeypatch.setattr(calibration, "LOST", (0.0, 0.08))
    monkeypatch.setattr(calibration, "DIVERSITY_N", (4, 16))
    size = calibration.Size(coverage=2, bootstrap=50, null=2, null_answers=2, power=2, soft=2, diversity=2)
    result = calibration.summarise(calibration.collect(size, workers=1))
    result |= {"replications": vars(size), "summary": calibration.judge(result, size)}
    assert len(result["coverage"]) == 8 * len({row["metric"] for row in result["coverage"]}) == 8 * 23
    assert len(result["null"]) == (4 + 1) * 3  # and unit answer, of one shape
    assert {row["lost"] for row in result["power"]} == {0.0, 0.08}
    calibration.show(result)
    json.dumps(calibration._rounded(result), allow_nan=False)
    svg = ElementTree.fromstring(calibration_figure.figure(result))
    words = "".join(svg.itertext())
    for word in ("SRR, problem", "Chao-Shen", "soft, joint", "planted difference"):
        assert word in words

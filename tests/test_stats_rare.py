"""Means that hang on few problems: Jeffreys' intervals by hand, their ends, and coverage where a bootstrap fails."""

import numpy as np
import pytest
from scipy import stats

from leash_ray.stats.bootstrap import Resampling, bootstrap
from leash_ray.stats.rare import difference_intervals, share_intervals


def of(values: np.ndarray, clusters: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    found = bootstrap(values, lambda m: m, Resampling(n_boot=500, clusters=clusters))
    low, high = share_intervals(values, found, clusters)
    return np.stack([low, high]), np.stack([found.low, found.high])


def test_yes_or_no_values_have_jeffreys_interval() -> None:
    solved = np.zeros((200, 4))
    solved[:3, 0] = 1
    solved[:100, 1] = 1
    solved[:197, 2] = 1
    solved[:, 3] = 1
    limits, plain = of(solved)
    jeffreys = stats.beta.ppf([0.025, 0.975], 3.5, 197.5)
    assert limits[:, 0] == pytest.approx(jeffreys, rel=0.03)
    assert limits[:, 2] == pytest.approx(1 - jeffreys[::-1], rel=0.001)
    assert (limits[:, 1] == plain[:, 1]).all()  # 100 of 200: the bootstrap's
    assert limits[:, 3] == pytest.approx([0.025 ** (1 / 200), 1])  # no miss: the exact bound


def test_values_that_hardly_vary_keep_the_bootstraps() -> None:
    graded = np.random.default_rng(0).uniform(0.04, 0.06, (200, 1))
    limits, plain = of(graded)
    assert (limits == plain).all()


def test_small_misses_do_not_rule_out_a_large_one() -> None:
    values = np.ones((500, 1))
    values[:5] = 1 - 1e-3
    limits, plain = of(values)
    assert plain[0, 0] > 1 - 1e-4  # no replicate knows of a problem that is missed outright
    assert limits[0, 0] == pytest.approx(stats.beta.ppf(0.025, 500, 0.5), abs=2e-4) and limits[1, 0] <= 1


def test_a_cluster_is_one_thing() -> None:
    solved = np.ones((40, 1))
    limits, _ = of(solved, np.repeat(np.arange(10), 4))
    assert limits[0, 0] == pytest.approx(0.025 ** (1 / 10))


def test_differences() -> None:
    changes = np.zeros((100, 3))
    changes[:2, 1] = 1
    changes[:2, 2], changes[2:10, 2] = 1, -1
    found = bootstrap(changes, lambda m: m, Resampling(n_boot=500))
    low, high = difference_intervals(changes, found, None)
    assert low[0] < 0 < high[0] and high[0] == pytest.approx(-low[0], rel=0.1)
    assert found.low[0] == found.high[0] == 0  # what the bootstrap says of no change
    # 2 up, 8 down of 100: Dirichlet(2.5, 8.5, 90.5)
    draws = np.random.default_rng(1).dirichlet([2.5, 8.5, 90.5], 200_000)
    assert [low[2], high[2]] == pytest.approx(np.quantile(draws[:, 0] - draws[:, 1], [0.025, 0.975]), abs=3e-3)
    swapped = difference_intervals(-changes, bootstrap(-changes, lambda m: m, Resampling(n_boot=500)), None)
    assert [swapped[0][2], swapped[1][2]] == pytest.approx([-high[2], -low[2]], abs=3e-3)


def test_undefined_values_have_no_interval() -> None:
    values = np.full((10, 1), np.nan)
    limits, _ = of(values)
    assert np.isnan(limits).all()


def test_coverage_where_one_problem_in_two_hundred_is_missed() -> None:
    """Misses of 1 with probability 1/200 and of 0.001 otherwise now and then: true mean miss 0.005 + 0.0001."""
    rng = np.random.default_rng(2)
    covered, plainly = 0, 0
    for _ in range(200):
        x = np.where(rng.random(200) < 0.005, 1.0, np.where(rng.random(200) < 0.1, 0.001, 0.0))
        limits, plain = of(1 - x[:, None])
        truth = 1 - 0.005 - 0.995 * 0.1 * 0.001
        covered += limits[0, 0] <= truth <= limits[1, 0]
        plainly += plain[0, 0] <= truth <= plain[1, 0]
    assert covered >= 182 and plainly < 160  # 91%: below that a 95% interval falls once in 100 such tests

"""The bootstrap against SciPy's, by enumeration, and in its degenerate cases."""

import itertools

import numpy as np
import pytest
from scipy import stats

from leash_ray.stats import bootstrap as module
from leash_ray.stats.bootstrap import Resampling, bootstrap, cluster_codes
from leash_ray.stats.small_counts import jeffreys_support


def means(m: np.ndarray) -> np.ndarray:
    return m


def ratio(m: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return m[..., :1] / m[..., 1:2]


def test_bca_as_scipy_has_it() -> None:
    rng = np.random.default_rng(0)
    for data in (rng.exponential(size=60), rng.beta(0.3, 2, size=200)):
        theirs = stats.bootstrap((data,), np.mean, n_resamples=20_000, method="BCa", rng=1).confidence_interval
        ours = bootstrap(data[:, None], means, Resampling(n_boot=20_000))
        assert ours.bca.all()
        width = theirs.high - theirs.low
        assert ours.low[0] == pytest.approx(theirs.low, abs=0.03 * width)
        assert ours.high[0] == pytest.approx(theirs.high, abs=0.03 * width)


def test_bca_of_a_ratio_as_scipy_has_it() -> None:
    rng = np.random.default_rng(3)
    x = rng.exponential(size=80)
    y = x + rng.exponential(size=80)
    theirs = stats.bootstrap(
        (x, y), lambda a, b, axis: a.mean(axis=axis) / b.mean(axis=axis), paired=True, n_resamples=20_000, rng=1
    ).confidence_interval
    ours = bootstrap(np.stack([x, y], axis=1), ratio, Resampling(n_boot=20_000))
    width = theirs.high - theirs.low
    assert [ours.low[0], ours.high[0]] == pytest.approx([theirs.low, theirs.high], abs=0.03 * width)


def test_replicates_are_spread_as_all_resamples_are() -> None:
    data = np.array([0.0, 1.0, 5.0])
    every = np.array([np.mean(sample) for sample in itertools.product(data, repeat=3)])  # all 27
    ours = bootstrap(data[:, None], means, Resampling(n_boot=40_000))
    assert ours.sd[0] == pytest.approx(every.std(), rel=0.02)


def test_whole_clusters_are_drawn() -> None:
    rng = np.random.default_rng(1)
    cluster_means = rng.normal(size=30)
    values = np.repeat(cluster_means, 4)[:, None]
    clustered = bootstrap(values, means, Resampling(clusters=np.repeat(np.arange(30), 4)))
    alone = bootstrap(cluster_means[:, None], means, Resampling())
    assert np.allclose([clustered.low, clustered.high], [alone.low, alone.high], atol=1e-12)
    naive = bootstrap(values, means, Resampling())
    assert clustered.high - clustered.low > 1.7 * (naive.high - naive.low)  # sqrt(4) = 2 but for noise


def test_clusters_of_unequal_sizes_weigh_by_their_problems() -> None:
    values = np.array([1.0, 1.0, 1.0, 0.0])[:, None]
    assert bootstrap(values, means, Resampling(clusters=np.array([0, 0, 0, 1]))).value == pytest.approx([0.75])


def test_same_seed_same_interval_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).random((50, 3))
    once = bootstrap(values, means, Resampling(n_boot=300, seed=5))
    monkeypatch.setattr(module, "_CHUNK_BYTES", 8 * 50 * 7)
    again = bootstrap(values, means, Resampling(n_boot=300, seed=5))
    assert np.allclose([once.low, once.high, once.sd], [again.low, again.high, again.sd], atol=1e-12)
    other = bootstrap(values, means, Resampling(n_boot=300, seed=6))
    assert not np.allclose(once.low, other.low, atol=1e-6)


def test_degenerate_cases() -> None:
    values = np.stack([np.ones(10), np.full(10, np.nan), np.arange(10.0)], axis=1)
    found = bootstrap(values, means)
    assert (found.low[0], found.value[0], found.high[0]) == (1, 1, 1) and not found.bca[0]
    assert np.isnan([found.low[1], found.value[1], found.high[1]]).all() and found.defined[1] == 0
    assert found.low[2] < 4.5 < found.high[2] and found.bca[2]
    sometimes = bootstrap(np.array([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]), ratio)  # 0/0 where problem 0 is not drawn
    assert sometimes.value[0] == 1 and sometimes.defined[0] == pytest.approx(1 - (2 / 3) ** 3, abs=0.04)
    one = bootstrap(np.array([[0.3]]), means)
    assert one.low[0] == one.high[0] == 0.3


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="one row of numbers per problem"):
        bootstrap(np.zeros((0, 2)), means)
    with pytest.raises(ValueError, match="one cluster per problem"):
        bootstrap(np.zeros((3, 1)), means, Resampling(clusters=np.array([0, 1])))
    for bad in ({"n_boot": 0}, {"level": 1.0}):
        with pytest.raises(ValueError, match=r"at least 1|strictly between"):
            Resampling(**bad)


def test_cluster_codes() -> None:
    assert cluster_codes(["b", "a", "b", "c"]).tolist() == [1, 0, 1, 2]


def test_jeffreys_support() -> None:
    srr, ndr, sds, nscr = jeffreys_support(117, 0, 33)
    assert srr == pytest.approx(stats.beta.ppf([0.025, 0.975], 117.5, 33.5), abs=2e-3)
    assert ndr[0] == 0 and ndr[1] == pytest.approx(stats.beta.ppf(0.975, 0.5, 117.5), abs=2e-3)
    assert sds[0] == 0 and sds[1] < 0.1
    assert nscr[0] < -33 / 150 < nscr[1] < -0.1
    assert np.isnan(jeffreys_support(0, 3, 0)[0]).all()  # SRR of a base that found nothing
    wide = jeffreys_support(251, 9, 461, n_clusters=72)  # 721 answers of 72 problems
    narrow = jeffreys_support(251, 9, 461)
    assert (np.diff(wide) > 2.5 * np.diff(narrow)).all()  # sqrt(10) = 3.2, less where 9/10 of an answer is left

"""Answer entropy by hand, its corrections by simulation of their definitions, and the order of answers."""

import itertools
import math
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leash_ray.stats.entropy import (
    answer_entropies_nats,
    answer_entropy_nats,
    chao_shen_entropies_nats,
    miller_madow_entropies_nats,
    to_bits,
)

ESTIMATORS = [answer_entropies_nats, miller_madow_entropies_nats, chao_shen_entropies_nats]
Estimator = Callable[..., np.ndarray]


def of(estimator: Estimator, counts: list[int]) -> float:
    return float(estimator(counts, [0] * len(counts), 1)[0])


@pytest.mark.parametrize(
    ("counts", "nats"),
    [
        ([5], 0.0),
        ([1, 1], 0.6931471805599453),
        ([2, 2, 2, 2], 1.3862943611198906),
        ([3, 1], 0.5623351446188083),  # -(3/4) ln(3/4) - (1/4) ln(1/4)
        ([2, 1, 1, 0], 1.0397207708399179),  # (3/2) ln 2; an answer nobody gave adds nothing
    ],
)
def test_by_hand(counts: list[int], nats: float) -> None:
    assert answer_entropy_nats(counts) == pytest.approx(nats, abs=1e-15)


def test_one_answer_is_exactly_zero() -> None:
    for n in (1, 3, 7, 8192):
        assert math.copysign(1, answer_entropy_nats([n])) == 1 and answer_entropy_nats([n]) == 0
        assert of(miller_madow_entropies_nats, [n]) == 0
    assert of(chao_shen_entropies_nats, [2]) == 0 and of(chao_shen_entropies_nats, [8192]) == 0


def test_no_completion_is_undefined() -> None:
    assert math.isnan(answer_entropy_nats([]))
    for estimator in ESTIMATORS:
        assert np.isnan(estimator([], [], 2)).all()


def test_many_problems() -> None:
    values = answer_entropies_nats([1, 3, 5, 1], [0, 2, 3, 0], 4)
    assert values == pytest.approx([math.log(2), np.nan, 0, 0], nan_ok=True)


def test_miller_madow_by_hand() -> None:
    # three answers among four samples: (3/2) ln 2 + (3 - 1) / 8
    assert of(miller_madow_entropies_nats, [2, 1, 1, 0]) == pytest.approx(1.0397207708399179 + 0.25)


def test_chao_shen_by_hand() -> None:
    # N = 4, f1 = 2, C = 1/2; C p = 1/4, 1/8, 1/8; seen with 1 - (3/4)^4 = 175/256 and 1 - (7/8)^4 = 1695/4096.
    # (1/4) ln 4 / (175/256) + 2 (1/8) ln 8 / (1695/4096) = (128/175) ln 2 + (3072/1695) ln 2
    assert of(chao_shen_entropies_nats, [2, 1, 1]) == pytest.approx((128 / 175 + 3072 / 1695) * math.log(2))
    # no answer seen once: C = 1; p = 1/2 each, seen with 15/16
    assert of(chao_shen_entropies_nats, [2, 2]) == pytest.approx(math.log(2) * 16 / 15)


def test_chao_shen_of_singletons_only() -> None:
    # N = 2, f1 taken as 1: C = 1/2, C p = 1/4 each, seen with 1 - (3/4)^2 = 7/16: 2 (1/4) ln 4 / (7/16)
    assert of(chao_shen_entropies_nats, [1, 1]) == pytest.approx(math.log(4) * 8 / 7)
    assert math.isnan(of(chao_shen_entropies_nats, [1]))  # one sample says nothing about what else there is


def test_corrections_bring_the_mean_nearer_to_the_truth() -> None:
    # The exact mean over all 4^5 samples of five from (0.4, 0.3, 0.2, 0.1).
    p = [0.4, 0.3, 0.2, 0.1]
    truth = -sum(x * math.log(x) for x in p)
    mean = dict.fromkeys(ESTIMATORS, 0.0)
    for sample in itertools.product(range(4), repeat=5):
        weight = math.prod(p[i] for i in sample)
        counts = [sample.count(i) for i in range(4)]
        for estimator in ESTIMATORS:
            mean[estimator] += weight * of(estimator, counts)
    plug_in, miller_madow, chao_shen = (mean[e] - truth for e in ESTIMATORS)
    assert plug_in < -0.2
    assert abs(miller_madow) < abs(plug_in) / 2
    assert abs(chao_shen) < abs(plug_in) / 2


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=30), st.randoms())
def test_the_order_of_answers_changes_no_bit(rows: list[tuple[int, int]], random: Random) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    for estimator in ESTIMATORS:
        one = estimator([c for _, c in rows], [p for p, _ in rows], 4)
        other = estimator([c for _, c in shuffled], [p for p, _ in shuffled], 4)
        assert np.array_equal(one, other, equal_nan=True)
        alone = [estimator([c for p, c in rows if p == i], [0] * sum(p == i for p, _ in rows), 1)[0] for i in range(4)]
        assert np.array_equal(one, alone, equal_nan=True)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=30))
def test_ranges(counts: list[int]) -> None:
    plug_in = answer_entropy_nats(counts)
    assert -1e-12 <= plug_in <= math.log(len(counts)) + 1e-12
    assert of(miller_madow_entropies_nats, counts) >= plug_in
    if sum(counts) > 1:
        assert of(chao_shen_entropies_nats, counts) >= 0


def test_a_million_samples() -> None:
    # Every answer seen often: both corrections vanish. 1,000 answers of 1,000 samples each.
    assert answer_entropy_nats([1000] * 1000) == pytest.approx(math.log(1000), rel=1e-12)
    assert of(chao_shen_entropies_nats, [1000] * 1000) == pytest.approx(math.log(1000), rel=1e-12)
    assert of(miller_madow_entropies_nats, [1000] * 1000) == pytest.approx(math.log(1000) + 999 / 2e6, rel=1e-12)


def test_bits() -> None:
    assert to_bits(math.log(8)) == pytest.approx(3)
    assert to_bits([np.nan, 0.0]) == pytest.approx([np.nan, 0], nan_ok=True)


def test_bad_input() -> None:
    for counts, problem in (([-1], [0]), ([1], [1]), ([1], [-1]), ([1, 2], [0])):
        with pytest.raises(ValueError, match=r"negative|number the problems|one problem number"):
            answer_entropies_nats(counts, problem, 1)

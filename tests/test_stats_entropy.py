"""Answer entropy by hand."""

import math

import numpy as np
import pytest

from leash_ray.stats.entropy import answer_entropies_nats, answer_entropy_nats


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


def test_no_completion_is_undefined() -> None:
    assert math.isnan(answer_entropy_nats([]))


def test_many_problems() -> None:
    values = answer_entropies_nats([1, 3, 5, 1], [0, 2, 3, 0], 4)
    assert values == pytest.approx([math.log(2), np.nan, 0, 0], nan_ok=True)

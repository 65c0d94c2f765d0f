"""Importance weights for the difference between sampler and trainer: hand-worked numbers, and what they estimate."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.rlvr.mismatch import importance_weights
from leash_ray.rlvr.sections import MismatchConfig

MASK = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
RATIOS = torch.tensor([[0.25, 1.5, 3.0], [7.0, 1.1, 0.9]])  # trainer over sampler; the 7 is of a prompt


def weights(**config: Any) -> list[list[float]]:
    sampler_BT = torch.full((2, 3), -1.0)
    return importance_weights(sampler_BT + RATIOS.log(), sampler_BT, MASK, MismatchConfig(**config)).tolist()


def test_tokens_by_hand() -> None:
    assert weights(correction="truncate", cap=2.0) == [
        pytest.approx([0.25, 1.5, 2.0]), pytest.approx([0.0, 1.1, 0.9])
    ]  # fmt: skip
    # Left out: above 2, and below 1/2.
    assert weights(correction="mask", cap=2.0) == [pytest.approx([0.0, 1.5, 0.0]), pytest.approx([0.0, 1.1, 0.9])]


def test_completions_by_hand() -> None:
    # Products: 0.25·1.5·3 = 1.125, and 1.1·0.9 = 0.99.
    assert weights(correction="truncate", level="sequence", cap=1.05) == [
        pytest.approx([1.05] * 3), pytest.approx([0.0, 0.99, 0.99])
    ]  # fmt: skip
    assert weights(correction="mask", level="sequence", cap=1.05) == [[0.0] * 3, pytest.approx([0.0, 0.99, 0.99])]


def test_no_gradient_and_no_number_that_is_none() -> None:
    trainer_BT = torch.tensor([[0.0, -1.0, -math.inf]], requires_grad=True)
    sampler_BT = torch.tensor([[-200.0, -1.0, -math.inf]])
    for config in (MismatchConfig(correction="truncate"), MismatchConfig(correction="mask", level="sequence")):
        found_BT = importance_weights(trainer_BT, sampler_BT, torch.tensor([[1.0, 1.0, 0.0]]), config)
        assert found_BT.isfinite().all() and not found_BT.requires_grad
    # e^200 is infinite in float32: cut off, or left out.
    assert importance_weights(
        trainer_BT, sampler_BT, torch.tensor([[1.0, 1.0, 0.0]]), MismatchConfig(correction="truncate", cap=2.0)
    ).tolist() == [[2.0, 1.0, 0.0]]


@given(st.integers(0, 10**6), st.floats(1.0, 4.0))
@settings(max_examples=30, deadline=None)
def test_weights_stay_within_the_cap(seed: int, cap: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    trainer_BT, sampler_BT = torch.randn(2, 3, 4, generator=draw, dtype=torch.float64).unbind()
    mask_BT = torch.ones(3, 4)
    for level in ("token", "sequence"):
        cut = importance_weights(
            trainer_BT, sampler_BT, mask_BT, MismatchConfig(correction="truncate", level=level, cap=cap)
        )  # type: ignore[arg-type]
        kept = importance_weights(
            trainer_BT, sampler_BT, mask_BT, MismatchConfig(correction="mask", level=level, cap=cap)
        )  # type: ignore[arg-type]
        assert float(cut.max()) <= cap * (1 + 1e-12)
        assert all(w == 0 or 1 / cap <= w <= cap for w in kept.flatten().tolist())
        assert torch.equal(kept[kept > 0], cut[kept > 0])


def test_with_a_cap_that_never_binds_means_are_the_trainer_s() -> None:
    """Σ over a vocabulary of sampler·weight·f = Σ trainer·f: importance sampling is unbiased; cutting off takes from
    it."""
    sampler = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    trainer = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    value = torch.tensor([1.0, -2.0, 4.0], dtype=torch.float64)

    def mean(cap: float) -> float:
        w_BT = importance_weights(
            trainer.log()[:, None], sampler.log()[:, None], torch.ones(3, 1),
            MismatchConfig(correction="truncate", cap=cap),
        )  # fmt: skip
        return float((sampler * w_BT[:, 0] * value).sum())

    assert mean(10.0) == pytest.approx(float((trainer * value).sum()))  # 1.6
    # At 2, the third's weight of 2.5 loses a fifth: 0.2 − 0.6 + 0.2·2·4
    assert mean(2.0) == pytest.approx(0.2 - 0.6 + 1.6)

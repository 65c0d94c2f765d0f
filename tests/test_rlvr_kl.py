"""KL to the reference from the policy's own samples: hand-worked numbers, and expectations over a whole vocabulary."""

import math

import pytest
import torch

from leash_ray.rlvr.kl import kl_estimate

P = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
REF = torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64)


def test_k3_by_hand() -> None:
    # p = 1/2 and p_ref = 1/4: r = 1/2, k3 = 1/2 − 1 + ln 2. p = p_ref: 0. The third token is not sampled.
    logp_BT = torch.tensor([[0.5, 0.25, 0.9]], dtype=torch.float64).log().requires_grad_()
    ref_BT = torch.tensor([[0.25, 0.25, 0.1]], dtype=torch.float64).log()
    got_BT = kl_estimate(logp_BT, ref_BT, torch.tensor([[1.0, 1.0, 0.0]]), "k3")
    assert got_BT.tolist() == [pytest.approx([math.log(2) - 0.5, 0.0, 0.0])]
    got_BT.sum().backward()
    # d k3/d ln p = 1 − r
    assert logp_BT.grad.tolist() == [pytest.approx([0.5, 0.0, 0.0])]


def test_mean_k3_is_the_kl() -> None:
    """The expectation of k3 under p is KL(p ‖ p_ref), summed over the whole of a small vocabulary."""
    k3_V = kl_estimate(P.log()[None], REF.log()[None], torch.ones(1, 3), "k3")[0]
    assert float(P @ k3_V) == pytest.approx(float((P * (P / REF).log()).sum()))
    assert float(k3_V.min()) >= 0

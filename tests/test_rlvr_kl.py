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


def test_k1_and_k2_by_hand() -> None:
    # p = 1/2, p_ref = 1/4: ln p − ln p_ref = ln 2, and half its square. p = 1/8: −ln 2, and the same half.
    logp_BT, ref_BT = torch.tensor([[0.5, 0.125, 0.9]]).log(), torch.tensor([[0.25, 0.25, 0.1]]).log()
    mask_BT, ln2 = torch.tensor([[1.0, 1.0, 0.0]]), math.log(2)
    assert kl_estimate(logp_BT, ref_BT, mask_BT, "k1").tolist() == [pytest.approx([ln2, -ln2, 0.0])]
    assert kl_estimate(logp_BT, ref_BT, mask_BT, "k2").tolist() == [pytest.approx([ln2**2 / 2, ln2**2 / 2, 0.0])]


def expected_gradient(estimator: str) -> torch.Tensor:
    """Of the estimate as a term of the loss: each token's gradient, as often as the policy draws the token [V]."""
    logits_V = P.log().requires_grad_()
    logp_V = torch.log_softmax(logits_V, 0)
    estimate_V = kl_estimate(logp_V[None], REF.log()[None], torch.ones(1, 3), estimator)[0]
    return torch.autograd.grad((P * estimate_V).sum(), logits_V)[0]


def gradient(of_kl: str) -> torch.Tensor:
    """Of the KL itself, by autograd over the whole vocabulary [V]."""
    logits_V = P.log().requires_grad_()
    logp_V = torch.log_softmax(logits_V, 0)
    kl = {
        "policy || reference": (logp_V.exp() * (logp_V - REF.log())).sum(),
        "reference || policy": (REF * (REF.log() - logp_V)).sum(),
    }[of_kl]
    return torch.autograd.grad(kl, logits_V)[0]


def test_what_each_estimator_trains_as_a_term_of_the_loss() -> None:
    torch.testing.assert_close(expected_gradient("k2"), gradient("policy || reference"))
    torch.testing.assert_close(expected_gradient("k3"), gradient("reference || policy"))
    torch.testing.assert_close(expected_gradient("k1"), torch.zeros(3, dtype=torch.float64))
    assert not torch.allclose(gradient("policy || reference"), gradient("reference || policy"), rtol=0.1)


def test_what_k1_trains_as_a_part_of_the_reward() -> None:
    """REINFORCE with reward −k1, over the whole vocabulary, is minus the gradient of KL(policy || reference)."""
    logits_V = P.log().requires_grad_()
    logp_V = torch.log_softmax(logits_V, 0)
    k1_V = kl_estimate(P.log()[None], REF.log()[None], torch.ones(1, 3), "k1")[0]
    got = torch.autograd.grad((P * -k1_V * logp_V).sum(), logits_V)[0]
    torch.testing.assert_close(got, -gradient("policy || reference"))

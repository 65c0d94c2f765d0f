"""Several optimizer steps a batch: with every loss, the policy moves away from the one that drew it, and the ratio,
which is 1 in the first step, shows it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_rlvr_learner import (
    MODEL,
    Groups,
    Weights,
    Workers,
    assert_same_update,
    batch_of,
    config_of,
    groups,
    weights_of,
)  # fmt: skip

from leash_ray.rlvr.learner import Learner

LOSSES: dict[str, dict[str, Any]] = {
    "clip": {"kind": "clip"},
    "clip-higher": {"kind": "clip", "clip_high": 0.28, "dual_clip": 3.0},
    "cispo": {"kind": "cispo"},
    "gspo": {"kind": "gspo", "clip_low": 3e-4, "clip_high": 4e-4, "mean": "sequence"},
    "nll": {"kind": "nll"},
}


def passes(groups: Groups, folder: Path, epochs: int, minibatches: int, correction: str, **loss: Any) -> Any:
    """Metrics of one batch, sampled by the very policy that is trained; and the weights after it."""
    config = config_of(
        epochs=epochs, minibatches=minibatches, loss=loss, mismatch={"correction": correction}, kl={"track": False},
        lr=1e-3, micro_tokens=10_000,
    )  # fmt: skip
    learner = Learner(MODEL, config, cpu=True, seed=0)
    batch = batch_of(learner, groups)
    batch.sampler_logp_BT.copy_(learner.logprobs(batch))
    return learner.update(batch, 0), weights_of(learner, folder)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    workers = Workers(1, tmp_path_factory.mktemp("extensions"))
    yield workers
    workers.stop()


@pytest.mark.parametrize("correction", ["none", "truncate"])
@pytest.mark.parametrize("name", LOSSES)
def test_the_ratio_moves_away_from_1(name: str, correction: str, one: Workers, tmp_path: Path) -> None:
    loss = LOSSES[name]
    ((single, start),) = one.run(passes, groups(), tmp_path / "1", 1, 1, correction, **loss)
    ((several, weights),) = one.run(passes, groups(), tmp_path / "n", 2, 2, correction, **loss)
    assert single["optimizer_steps"] == 1 and several["optimizer_steps"] == 4
    assert single["ratio_mean"] == pytest.approx(1, abs=1e-5) and single["ratio_max"] == pytest.approx(1, abs=1e-4)
    assert single["clip_fraction"] == 0
    assert abs(several["ratio_mean"] - 1) > 1e-4 and several["ratio_max"] > 1.01
    # GSPO's bounds are so tight that they bind; nothing is clipped where there is no ratio in the loss.
    assert (several["clip_fraction"] > 0) == (name != "nll")
    # Of the first pass, whichever way it is cut: what is told about the sampler's policy.
    assert several["entropy"] == pytest.approx(single["entropy"], rel=0.05)
    assert several["n_tokens"] == single["n_tokens"]
    assert max(float((weights[n] - start[n]).abs().max()) for n in weights) > 1e-4


def test_a_second_pass_of_maximum_likelihood_is_a_second_step(one: Workers, tmp_path: Path) -> None:
    """No ratio: two passes over one batch are two steps of it."""
    start: Weights
    ((_, twice),) = one.run(passes, groups(), tmp_path / "2", 2, 1, "none", kind="nll")
    ((_, once),) = one.run(passes, groups(), tmp_path / "1", 1, 1, "none", kind="nll")
    ((_, by_steps),) = one.run(two_steps, groups(), tmp_path / "s")
    from safetensors.torch import load_file

    start = load_file(Path(MODEL) / "model.safetensors")
    assert_same_update(twice, by_steps, start)
    assert max(float((twice[n] - once[n]).abs().max()) for n in once) > 1e-4


def two_steps(groups: Groups, folder: Path) -> Any:
    config = config_of(loss={"kind": "nll"}, kl={"track": False}, lr=1e-3, micro_tokens=10_000)
    learner = Learner(MODEL, config, cpu=True, seed=0)
    batch = batch_of(learner, groups)
    for step in range(2):
        learner.update(batch, step)
    return None, weights_of(learner, folder)

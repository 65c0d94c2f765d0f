"""Adapters: what is trained, what samplers get, what a checkpoint keeps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from test_rlvr_learner import MODEL, Workers, batch_of, config_of, groups, weights_of

from leash_ray.errors import UsageError
from leash_ray.rlvr.learner import Learner
from leash_ray.rlvr.lora import adapted
from leash_ray.rlvr.sections import LoraConfig

LORA = {"lora": {"rank": 4, "alpha": 8.0}}


@pytest.fixture(scope="module")
def teams(tmp_path_factory: pytest.TempPathFactory):
    made = {n: Workers(n, tmp_path_factory.mktemp("extensions")) for n in (1, 2)}
    yield made
    for workers in made.values():
        workers.stop()


def train(folder: Path, stage: int) -> dict[str, Any]:
    """Three steps, one of them after a break; what the export says of the batch, and how much was kept."""
    from transformers import AutoModelForCausalLM

    config = config_of(dist.get_world_size(), zero_stage=stage, lr=1e-2, **LORA)
    learner = Learner(MODEL, config, cpu=True, seed=0)
    batch = batch_of(learner, groups())
    before_BT = learner.logprobs(batch)
    metrics = [learner.update(batch, step) for step in range(2)]
    checkpoint = folder / f"{stage}-checkpoint"
    learner.save(checkpoint, 2)
    dist.barrier()
    last = learner.update(batch, 2)
    after = weights_of(learner, folder / f"{stage}-model")
    resumed = Learner(MODEL, config, cpu=True, seed=7)
    assert resumed.load(checkpoint)[0] == 2
    again = resumed.update(batch, 2)
    exported = AutoModelForCausalLM.from_pretrained(folder / f"{stage}-model", dtype=torch.float32)
    with torch.no_grad():
        logp_BTV = exported(batch.ids_BT).logits[:, :-1].log_softmax(-1)
    exported_BT = logp_BTV.gather(-1, batch.ids_BT[:, 1:, None])[..., 0] * batch.mask_BT
    of_reference = learner._logprobs(learner.reference, batch)
    return {
        "metrics": metrics,
        "moved": float((learner.logprobs(batch) - before_BT).abs().max()),
        "export": float((exported_BT - learner.logprobs(batch)).abs().max()),
        "reference": float((of_reference - before_BT).abs().max()),
        "resumed": (last, again),
        "weights": after,
        "trained": sum(p.numel() for p in learner.engine.module.parameters() if p.requires_grad),
        "bytes": sum(f.stat().st_size for f in checkpoint.rglob("*") if f.is_file()),
    }


SLOW = pytest.mark.slow


@pytest.mark.parametrize(("n", "stage"), [(1, 0), pytest.param(2, 2, marks=SLOW), (2, 3)])
def test_samplers_get_the_merged_weights(n: int, stage: int, teams: dict[int, Workers], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    got = teams[n].run(train, tmp_path, stage)[0]
    start = load_file(Path(MODEL) / "model.safetensors")
    assert set(got["weights"]) == set(start)  # names of the plain model: it can be served
    changed = {name for name in start if not torch.equal(start[name], got["weights"][name])}
    assert changed == {n for n in start if n.endswith("proj.weight")}  # every linear layer but the head, nothing else
    assert got["moved"] > 0.01
    assert got["export"] < 1e-4
    assert got["reference"] < 1e-5  # adapters off: what training started from
    last, again = got["resumed"]
    assert again == pytest.approx(last, rel=1e-5)
    assert got["metrics"][1]["kl"] > got["metrics"][0]["kl"] == pytest.approx(0, abs=1e-6)
    whole = sum(w.numel() for w in start.values())
    assert got["trained"] < 0.2 * whole
    # Adapters and the two moments of each, and not the model: three times four bytes.
    assert got["bytes"] < 4 * 4 * got["trained"] + 200_000


def test_layers_that_there_are_not_are_refused_with_those_that_there_are() -> None:
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(MODEL)
    with pytest.raises(UsageError, match=r"no_such.*linear layers are.*q_proj"):
        adapted(network, LoraConfig(targets=["no_such"]))


OFFLOADS = [
    pytest.param(1, 1, "optimizer", marks=SLOW),
    pytest.param(2, 2, "optimizer", marks=SLOW),
    (2, 3, "all"),
]


def two_steps(stage: int, offload: str) -> list[dict[str, float]]:
    config = config_of(dist.get_world_size(), zero_stage=stage, offload=offload)
    learner = Learner(MODEL, config, cpu=True, seed=0)
    batch = batch_of(learner, groups())
    return [learner.update(replace(batch), step) for step in range(2)]


@pytest.mark.parametrize(("n", "stage", "offload"), OFFLOADS)
def test_offloading_changes_nothing(n: int, stage: int, offload: str, teams: dict[int, Workers]) -> None:
    got = teams[n].run(two_steps, stage, offload)[0]
    expected = teams[n].run(two_steps, stage, "none")[0]
    assert got == [pytest.approx(m, rel=1e-4, abs=1e-7) for m in expected]

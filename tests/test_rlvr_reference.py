"""Reference resets against plain PyTorch, over ZeRO stages, workers and a break."""

import functools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from pydantic import ValidationError
from test_rlvr_learner import (
    MODEL,
    Groups,
    N,
    Weights,
    Workers,
    advantages,
    assert_same_update,
    batch_of,
    config_of,
    groups,
    weights_of,
)  # fmt: skip

from leash_ray.rlvr import network
from leash_ray.rlvr.learner import Learner
from leash_ray.rlvr.reference import REFERENCE, start_anew

EVERY, STEPS = 2, 5
SETTINGS: dict[str, Any] = {"kl": {"coef": 0.5, "reset_every": EVERY}, "steps": STEPS}


@functools.cache
def plain_pytorch(steps: int) -> tuple[list[float], Weights]:
    """KL of each step before its update, and the weights after the last: a new copy and a new AdamW every EVERY."""
    import copy

    from transformers import AutoModelForCausalLM

    config = config_of(**SETTINGS)
    policy = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    rows = []
    for group, advantages_N in zip(groups(), advantages()):
        for i in range(N):
            cut = slice(int(group.offsets[i]), int(group.offsets[i + 1]))
            ids = torch.tensor([*group.prompt_ids.tolist(), *group.token_ids_T[cut].tolist()])
            rows.append((len(group.prompt_ids), ids, torch.tensor(group.logprobs_T[cut]), advantages_N[i]))

    def logprobs(model: Any, start: int, ids: torch.Tensor) -> torch.Tensor:
        return model(ids[None]).logits[0, start - 1 : -1].log_softmax(-1).gather(-1, ids[start:, None])[:, 0]

    with torch.no_grad():
        sampler = [logprobs(policy, start, ids) + off for start, ids, off, _ in rows]
    n_tokens, kls = sum(map(len, sampler)), []
    for step in range(steps):
        if step % EVERY == 0:
            reference = copy.deepcopy(policy)
            optimizer = torch.optim.AdamW(policy.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        loss, kl = torch.tensor(0.0), 0.0
        for (start, ids, _, advantage), old in zip(rows, sampler):
            logp = logprobs(policy, start, ids)
            with torch.no_grad():
                ref = logprobs(reference, start, ids)
            ratio, k3 = (logp - old).exp(), (ref - logp).exp() - 1 - (ref - logp)
            clipped = ratio.clamp(1 - config.loss.clip_low, 1 + config.loss.clip_high)
            loss = loss - torch.minimum(ratio * advantage, clipped * advantage).sum() + config.kl.coef * k3.sum()
            kl += k3.sum().item()
        optimizer.zero_grad()
        (loss / n_tokens).backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), config.grad_clip)
        optimizer.step()
        kls.append(kl / n_tokens)
    return kls, {name: p.detach().clone() for name, p in policy.state_dict().items()}


def train(groups: Groups, folder: Path, stage: int) -> dict[str, Any]:
    """Five steps; and the same with breaks after the third and the fourth, on other learners."""
    config = config_of(dist.get_world_size(), zero_stage=stage, **SETTINGS)
    unbroken = Learner(MODEL, config, cpu=True, seed=0)
    batch = batch_of(unbroken, groups)
    rows, own, merged = [], folder / f"rank{dist.get_rank()}", folder / "checkpoint"
    for step in range(STEPS):
        if step in (1, 3):  # before any reset, and after the first
            unbroken.save(own / str(step), step)
        rows.append(unbroken.update(batch, step))
    after = weights_of(unbroken, folder / "unbroken")
    dist.barrier()
    if dist.get_rank() == 0:
        for rank in range(dist.get_world_size()):
            shutil.copytree(folder / f"rank{rank}", merged, dirs_exist_ok=True)
    dist.barrier()
    loaded: list[str] = []
    load_reference = network.load_reference

    def counted(model: Any, *others: Any) -> Any:
        loaded.append(str(model))
        return load_reference(model, *others)

    network.load_reference = counted  # type: ignore[assignment]
    try:
        again = []
        for first in (1, 3):
            resumed = Learner(MODEL, config, cpu=True, seed=1)
            assert resumed.load(merged / str(first))[0] == first
            again.append([resumed.update(batch, step) for step in range(first, STEPS)])
    finally:
        network.load_reference = load_reference
    return {
        "rows": rows,
        "again": again,
        "weights": (after, weights_of(resumed, folder / "resumed")),
        "loaded": loaded,
        "kept": sorted(p.parent.parent.name for p in merged.glob(f"*/{REFERENCE}/model.safetensors")),
    }


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    workers = Workers(2, tmp_path_factory.mktemp("extensions"))
    yield workers
    workers.stop()


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_resets_are_those_of_plain_pytorch_and_outlast_a_break(stage: int, pair: Workers, tmp_path: Path) -> None:
    kls, weights = plain_pytorch(STEPS)
    start = plain_pytorch(0)[1]
    results = pair.run(train, groups(), tmp_path, stage)
    for result in results:
        rows = result["rows"]
        assert [row["reference_step"] for row in rows] == [0, 0, 2, 2, 4]
        assert [row["kl"] for row in rows] == pytest.approx(kls, rel=2e-3, abs=1e-7)
        for first, again in zip((1, 3), result["again"]):
            assert again == [pytest.approx(row, rel=1e-5, abs=1e-7) for row in rows[first:]]
        # Before a reset the start is the reference; after it, what the checkpoint has, and nothing else is loaded.
        assert result["loaded"] == [MODEL, str(tmp_path / "checkpoint" / "3" / REFERENCE)]
        assert result["kept"] == ["3"]
    # KL starts again from 0 after each reset, and is something before it.
    assert min(kls[1], kls[3]) > 1e-6 and max(kls[0], kls[2], kls[4]) < 1e-9
    unbroken, resumed = results[0]["weights"]
    assert_same_update(unbroken, weights, start)
    for name in unbroken:
        torch.testing.assert_close(resumed[name], unbroken[name], rtol=0, atol=1e-7)


@pytest.mark.parametrize("options", [{"lr": 0.1}, {"lr": 0.1, "amsgrad": True}])
def test_an_optimizer_that_starts_anew_is_a_new_one(options: dict[str, Any]) -> None:
    def stepped(optimizer: torch.optim.Optimizer, weight: torch.Tensor, gradients: list[float]) -> None:
        for gradient in gradients:
            weight.grad = torch.tensor([gradient])
            optimizer.step()

    one, other = torch.nn.Parameter(torch.tensor([1.0])), torch.nn.Parameter(torch.tensor([1.0]))
    used = torch.optim.AdamW([one], **options)
    stepped(used, one, [3.0, -1.0, 2.0])
    one.data.copy_(other.data)
    stepped(used, one, [-0.1])
    assert abs(one.item() - 1.1) > 0.05  # it goes on where it was going
    one.data.copy_(other.data)
    start_anew(used)
    stepped(used, one, [-0.1, 0.5])
    stepped(torch.optim.AdamW([other], **options), other, [-0.1, 0.5])
    assert torch.equal(one, other)


def test_a_reset_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="reset_every resets the reference, and there is none"):
        config_of(kl={"coef": 0.0, "track": False, "reset_every": 5})

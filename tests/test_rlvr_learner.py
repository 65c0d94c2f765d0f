"""The DeepSpeed engine against plain PyTorch: scale, clipping, learning rate, ZeRO stages, workers, checkpoints.

The engines run in their own processes with gloo, on CPU: one alone, and a pair. What they are held against is
:func:`plain_pytorch`, which knows no padding, micro-batches, workers or shards. The model is whatever is embedded:
no number here depends on its weights.
"""

import functools
import multiprocessing
import os
import shutil
import socket
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from leash_ray.config import TrainConfig
from leash_ray.deploy import resolve_model
from leash_ray.rlvr.batch import TrainBatch, collate
from leash_ray.rlvr.learner import Learner
from leash_ray.rlvr.rollouts import share_of_worker
from leash_ray.rlvr.schedule import learning_rate
from leash_ray.tasks import ReasoningGymSpec
from leash_ray.types import CompletionBatch

MODEL = resolve_model("embedded:countdown")
PROMPTS = ["2 3 9=21:", "10 7=17:", "1 2 3 4=10:", "5 5 6=31:"]
GROUPS, N = len(PROMPTS), 4
LR = 1e-4
Weights = dict[str, torch.Tensor]
TASK_TIMEOUT_S = 240.0


def config_of(workers: int = 1, **settings: Any) -> TrainConfig:
    plain = {"steps": 4, "lr": LR, "micro_tokens": 60, "kl": {"coef": 0.1}, "loss": {"clip_high": 0.3}}
    return TrainConfig(
        task=ReasoningGymSpec(dataset="countdown"),
        prompts_per_step=GROUPS, group_size=N, workers=workers, **{**plain, **settings},
    )  # fmt: skip


Groups = list[CompletionBatch]


@functools.cache
def groups() -> Groups:
    """Completions of 1 to 12 tokens that the model draws itself; ``logprobs_T`` is what the sampler is off by.

    (On arbitrary tokens ratios and KL explode within a step, and no two ways to compute them agree.)
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    network = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    numbers, draw = np.random.default_rng(3), torch.Generator().manual_seed(3)
    made = []
    for text in PROMPTS:
        prompt = np.array(tokenizer(text).input_ids, np.int32)
        completions = []
        for length in numbers.integers(1, 13, N):
            ids = torch.tensor(prompt)[None].long()
            for _ in range(length):
                with torch.no_grad():
                    p_V = network(ids).logits[0, -1].softmax(-1)
                ids = torch.cat([ids, torch.multinomial(p_V, 1, generator=draw)[None]], dim=1)
            completions.append(ids[0, len(prompt) :].numpy())
        offsets = np.cumsum([0, *map(len, completions)])
        made.append(
            CompletionBatch(
                prompt_ids=prompt,
                token_ids_T=np.concatenate(completions).astype(np.int32),
                logprobs_T=numbers.uniform(-0.5, 0.5, offsets[-1]).astype(np.float32),
                offsets=offsets,
                texts=[""] * N,
                finish_reasons=["stop"] * N,
                version=0,
            )
        )
    return made


def advantages() -> torch.Tensor:
    return torch.linspace(-1.5, 2.0, GROUPS * N).view(N, GROUPS).T


@functools.cache
def plain_pytorch(steps: int, **settings: Any) -> tuple[list[dict[str, float]], Weights]:
    """The same training, one completion at a time, with nothing but autograd and AdamW."""
    return plain_recipe(steps, settings)


def plain_recipe(steps: int, settings: dict[str, Any]) -> tuple[list[dict[str, float]], Weights]:
    """As :func:`plain_pytorch`; metrics are of each step's last optimizer step."""
    from transformers import AutoModelForCausalLM

    config = config_of(**settings)
    network = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    reference = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)

    def forward(model: Any, prompt: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """ln p and entropy of each token."""
        logits_TV = model(torch.cat([prompt, ids])[None]).logits[0] / config.temperature_at(0)
        logp_TV = logits_TV.log_softmax(-1)[len(prompt) - 1 : -1]
        return logp_TV[range(len(ids)), ids], -(logp_TV.exp() * logp_TV).sum(-1)

    rows = []
    for group, advantages_N in zip(groups(), advantages()):
        for i in range(N):
            cut = slice(int(group.offsets[i]), int(group.offsets[i + 1]))
            prompt, ids = torch.tensor(group.prompt_ids).long(), torch.tensor(group.token_ids_T[cut]).long()
            with torch.no_grad():
                ref, _ = forward(reference, prompt, ids)
            rows.append((prompt, ids, ref + torch.tensor(group.logprobs_T[cut]), ref, advantages_N[i]))
    size = len(rows) // config.minibatches
    metrics = []
    for step in range(steps):
        for option in optimizer.param_groups:
            option["lr"] = learning_rate(
                step, lr=config.lr, steps=config.steps, warmup_steps=0, schedule=config.lr_schedule
            )
        with torch.no_grad():
            before = [forward(network, prompt, ids)[0] for prompt, ids, *_ in rows]
        for start in [*range(0, len(rows), size)] * config.epochs:
            now = range(start, start + size)
            n_tokens = sum(len(rows[b][1]) for b in now)
            loss, kl = torch.tensor(0.0), 0.0
            for b in now:
                prompt, ids, sampler, ref, advantage = rows[b]
                logp, entropy = forward(network, prompt, ids)
                k3 = (ref - logp).exp() - 1 - (ref - logp)
                terms = policy_terms(config, logp, sampler, before[b], advantage)
                terms = terms + config.kl.coef * k3 - config.loss.entropy_coef * entropy
                loss = loss + (terms.mean() / size if config.loss.mean == "sequence" else terms.sum() / n_tokens)
                kl += k3.sum().item()
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.grad_clip)
            optimizer.step()
        metrics.append({"loss": loss.item(), "grad_norm": float(norm), "kl": kl / n_tokens})
    return metrics, {name: p.detach().clone() for name, p in network.state_dict().items()}


def policy_terms(
    config: TrainConfig, logp: torch.Tensor, sampler: torch.Tensor, before: torch.Tensor, advantage: torch.Tensor
) -> torch.Tensor:
    """The policy loss of each token of one completion, written out."""
    kind, low, high = config.loss.kind, 1 - config.loss.clip_low, 1 + config.loss.clip_high
    corrected = config.mismatch.correction == "truncate"
    log_ratio = logp - (before if corrected else sampler)
    ratio = log_ratio.mean().exp().expand(len(logp)) if kind == "gspo" else log_ratio.exp()
    if kind == "cispo":
        terms = -ratio.clamp(low, high).detach() * advantage * logp
    else:
        gain = torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage)
        if config.loss.dual_clip and advantage < 0:
            gain = torch.maximum(gain, config.loss.dual_clip * advantage)
        terms = -gain
    return terms * (before - sampler).exp().clamp(max=config.mismatch.cap) if corrected else terms


# What a worker runs, by name: each returns something small that can be pickled.


def batch_of(learner: Learner, groups: Groups, scale: float = 1.0) -> TrainBatch:
    """This worker's share of the groups, sampled by a policy that is a little off the learner's."""
    mine = share_of_worker(range(GROUPS), dist.get_rank(), dist.get_world_size())  # type: ignore[arg-type]
    batch = collate([groups[g] for g in mine], learner.pad_id, [learner.config.temperature_at(0)] * len(mine))
    batch = replace(batch, advantages_B=(advantages()[mine] * scale).flatten())
    return replace(batch, sampler_logp_BT=batch.sampler_logp_BT + learner.logprobs(batch))


def weights_of(learner: Learner, folder: Path) -> Weights:
    from safetensors.torch import load_file

    learner.export(folder)
    return load_file(folder / "model.safetensors") if dist.get_rank() == 0 else {}


def train(
    groups: Groups, folder: Path, steps: int, scale: float = 1.0, **settings: Any
) -> tuple[list[dict[str, float]], Weights]:
    learner = Learner(MODEL, config_of(dist.get_world_size(), **settings), cpu=True, seed=0)
    batch = batch_of(learner, groups, scale)
    return [learner.update(batch, step) for step in range(steps)], weights_of(learner, folder)


def train_with_a_break(groups: Groups, folder: Path, stage: int) -> dict[str, Any]:
    """Four steps, and two steps, a checkpoint, another learner and two more; and what the export says."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = config_of(dist.get_world_size(), zero_stage=stage, weight_decay=0.1)
    mine, merged = folder / f"rank{dist.get_rank()}", folder / "checkpoint"
    mine.mkdir()
    unbroken = Learner(MODEL, config, cpu=True, seed=0)
    batch = batch_of(unbroken, groups)
    for step in range(2):
        unbroken.update(batch, step)
    unbroken.save(mine, 2)  # each worker into its own folder: on a cluster they share no disk
    last = [unbroken.update(batch, step) for step in (2, 3)]
    after = weights_of(unbroken, folder / "unbroken")
    dist.barrier()
    if dist.get_rank() == 0:
        for rank in range(dist.get_world_size()):
            shutil.copytree(folder / f"rank{rank}", merged, dirs_exist_ok=True)
    dist.barrier()
    resumed = Learner(MODEL, config, cpu=True, seed=1)
    assert resumed.load(merged) == (2, {})
    again = [resumed.update(batch, step) for step in (2, 3)]
    logp_BT = resumed.logprobs(batch)
    resumed_weights = weights_of(resumed, folder / "resumed")
    exported = AutoModelForCausalLM.from_pretrained(folder / "resumed", dtype=torch.float32)
    with torch.no_grad():
        exported_BTV = exported(batch.ids_BT).logits[:, :-1].log_softmax(-1)
    exported_BT = exported_BTV.gather(-1, batch.ids_BT[:, 1:, None])[..., 0] * batch.mask_BT
    return {
        "metrics": (last, again),
        "weights": (after, resumed_weights),
        "logprobs": (logp_BT, exported_BT),
        "tokenizer": AutoTokenizer.from_pretrained(folder / "resumed").get_vocab() == resumed.tokenizer.get_vocab(),
    }


def refusal(folder: Path, stage: int) -> str:
    learner = Learner(MODEL, config_of(dist.get_world_size(), zero_stage=stage), cpu=True, seed=0)
    try:
        learner.load(folder)
    except ValueError as e:
        return str(e)
    return ""


class Workers:
    """Processes that form one gloo group, and run the functions above together."""

    def __init__(self, n: int, extensions: Path):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        spawn = multiprocessing.get_context("spawn")
        pipes = [spawn.Pipe() for _ in range(n)]
        self._connections = [ours for ours, _ in pipes]
        self._processes = [
            spawn.Process(target=_serve, args=(rank, n, port, extensions, theirs), daemon=True)
            for rank, (_, theirs) in enumerate(pipes)
        ]
        for process in self._processes:
            process.start()

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Any]:
        """The function's result on every worker."""
        for connection in self._connections:
            connection.send((function, args, kwargs))
        results = []
        for connection in self._connections:
            assert connection.poll(TASK_TIMEOUT_S), f"{function.__name__} hangs"
            results.append(connection.recv())
        errors = [error for error, _ in results if error]
        assert not errors, "\n".join(errors)
        return [result for _, result in results]

    def stop(self) -> None:
        for connection in self._connections:
            connection.send(None)
        for process in self._processes:
            process.join(10)
            process.kill()


def _serve(rank: int, n: int, port: int, extensions: Path, connection: Connection) -> None:
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n), "LOCAL_WORLD_SIZE": str(n),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCH_EXTENSIONS_DIR": str(extensions),
        "PATH": "/nonexistent",  # no compiler, no ninja
    }  # fmt: skip
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=180))
    while task := connection.recv():
        function, args, kwargs = task
        try:
            connection.send(("", function(*args, **kwargs)))
        except Exception:
            connection.send((traceback.format_exc(), None))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def extensions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where PyTorch would build C++ extensions."""
    return tmp_path_factory.mktemp("extensions")


@pytest.fixture(scope="module")
def teams(extensions: Path) -> Iterator[dict[int, Workers]]:
    made = {n: Workers(n, extensions) for n in (1, 2)}
    yield made
    for workers in made.values():
        workers.stop()


@pytest.fixture(scope="module")
def start() -> Weights:
    return plain_pytorch(0)[1]


def assert_same_update(got: Weights, expected: Weights, start: Weights) -> None:
    """The difference is small beside the update itself. (Not element by element: Adam's first step is the sign of
    the gradient, which is rounding error where the gradient is.)"""
    assert set(got) <= set(expected)  # tied weights are written once
    for name, weight in got.items():
        update = (expected[name] - start[name]).norm()
        assert update > 0, name
        assert (weight - expected[name]).norm() < 2e-3 * update, name


STAGES = pytest.mark.parametrize("stage", [0, 1, 2, 3])


@STAGES
@pytest.mark.parametrize("n_workers", [1, 2])
def test_two_steps_are_those_of_plain_pytorch(
    n_workers: int, stage: int, teams: dict[int, Workers], start: Weights, tmp_path: Path
) -> None:
    """At a falling learning rate, with uneven micro-batches and a gradient that is clipped."""
    settings: dict[str, Any] = {"lr_schedule": "linear", "grad_clip": 0.1, "weight_decay": 0.1}
    expected, weights = plain_pytorch(2, **settings)
    assert min(m["grad_norm"] for m in expected) > 0.2  # or this would test no clipping
    results = teams[n_workers].run(train, groups(), tmp_path, 2, zero_stage=stage, **settings)
    for metrics, _ in results:
        for got, want in zip(metrics, expected, strict=True):
            assert {key: got[key] for key in want} == pytest.approx(want, rel=1e-3)
        assert metrics == [pytest.approx(m) for m in results[0][0]]  # every worker says the same
        assert [m["lr"] for m in metrics] == [LR, 0.75 * LR]
    assert_same_update(results[0][1], weights, start)


RECIPES: dict[str, dict[str, Any]] = {
    "gspo": {"loss": {"kind": "gspo", "mean": "sequence", "clip_low": 0.05, "clip_high": 0.07}},
    "cispo": {"loss": {"kind": "cispo", "clip_high": 0.3, "mean": "sequence"}},
    "dual": {"loss": {"dual_clip": 1.15, "clip_high": 0.3, "entropy_coef": 0.05}},
    "truncate": {"mismatch": {"correction": "truncate", "cap": 1.1}, "minibatches": 2, "epochs": 2},
}


@pytest.mark.parametrize(("n_workers", "stage"), [(1, 0), (2, 2)])
@pytest.mark.parametrize("name", RECIPES)
def test_other_losses_are_those_of_plain_pytorch(
    name: str, n_workers: int, stage: int, teams: dict[int, Workers], start: Weights, tmp_path: Path
) -> None:
    expected, weights = plain_recipe(1, RECIPES[name])
    results = teams[n_workers].run(train, groups(), tmp_path, 1, zero_stage=stage, **RECIPES[name])
    (got,), got_weights = results[0]
    assert {key: got[key] for key in expected[0]} == pytest.approx(expected[0], rel=1e-3, abs=1e-6)
    assert_same_update(got_weights, weights, start)
    if name != "truncate":  # or its clip would be untested
        assert got["clip_fraction_low"] > 0 and got["clip_fraction_high"] > 0


@pytest.mark.parametrize(("n_workers", "stage"), [(1, 0), (2, 3)])
def test_the_same_completions_twice_give_the_same_weights_to_the_bit(
    n_workers: int, stage: int, teams: dict[int, Workers], tmp_path: Path
) -> None:
    once, twice = (teams[n_workers].run(train, groups(), tmp_path, 2, zero_stage=stage)[0] for _ in range(2))
    assert once[0] == twice[0]
    assert all(torch.equal(weight, twice[1][name]) for name, weight in once[1].items())


@pytest.mark.parametrize(
    ("n_workers", "stage", "tokens"), [(1, 0, 1), (1, 2, 400), (2, 0, 150), (2, 2, 90), (1, 3, 10_000)]
)
def test_micro_batches_do_not_change_the_update(
    n_workers: int, stage: int, tokens: int, teams: dict[int, Workers], start: Weights, tmp_path: Path
) -> None:
    (expected,), weights = plain_pytorch(1)
    results = teams[n_workers].run(train, groups(), tmp_path, 1, zero_stage=stage, micro_tokens=tokens)
    (got,), got_weights = results[0]
    assert {key: got[key] for key in expected} == pytest.approx(expected, rel=1e-3)
    assert_same_update(got_weights, weights, start)


@pytest.mark.parametrize(("n_workers", "stage"), [(1, 0), (2, 2)])
def test_a_tiny_clip_makes_a_smaller_step(
    n_workers: int, stage: int, teams: dict[int, Workers], start: Weights, tmp_path: Path
) -> None:
    """Adam hides the gradient's scale, but for its ε of 1e-8: a norm of 1e-9 is below that, and what is left
    of each weight's step is its share of the gradient."""
    expected, weights = plain_pytorch(1, grad_clip=1e-9, lr=1.0)
    metrics, got = teams[n_workers].run(train, groups(), tmp_path, 1, zero_stage=stage, grad_clip=1e-9, lr=1.0)[0]
    assert metrics[0]["grad_norm"] == pytest.approx(expected[0]["grad_norm"], rel=1e-3)  # before clipping
    largest = max(float((weight - start[name]).abs().max()) for name, weight in got.items())
    assert 0 < largest < 0.1
    assert_same_update(got, weights, start)


@pytest.mark.parametrize("stage", [0, 2])
def test_epochs_are_optimizer_steps(stage: int, teams: dict[int, Workers], start: Weights, tmp_path: Path) -> None:
    expected, weights = plain_pytorch(2)
    metrics, got = teams[1].run(train, groups(), tmp_path, 1, zero_stage=stage, epochs=2)[0]
    assert {key: metrics[0][key] for key in expected[1]} == pytest.approx(expected[1], rel=1e-3)  # of the last
    assert_same_update(got, weights, start)


@STAGES
def test_without_advantages_nothing_changes(
    stage: int, teams: dict[int, Workers], start: Weights, tmp_path: Path
) -> None:
    metrics, weights = teams[2].run(train, groups(), tmp_path, 2, scale=0.0, zero_stage=stage, kl={"coef": 0.0})[0]
    assert all(torch.equal(weight, start[name]) for name, weight in weights.items())
    assert [(m["loss"], m["grad_norm"]) for m in metrics] == [(0.0, 0.0)] * 2
    assert metrics[0]["kl"] == pytest.approx(0.0, abs=1e-6)  # measured all the same
    assert metrics[0]["logprob_gap_max"] == pytest.approx(0.5, abs=0.1)  # what the sampler was off by
    assert metrics[0]["entropy"] > 0


def test_without_a_reference_kl_is_not_measured(teams: dict[int, Workers], tmp_path: Path) -> None:
    metrics, _ = teams[1].run(train, groups(), tmp_path, 1, kl={"track": False})[0]
    assert np.isnan(metrics[0]["kl"]) and np.isfinite(metrics[0]["loss"])


@STAGES
def test_a_resumed_run_is_the_unbroken_one(stage: int, teams: dict[int, Workers], tmp_path: Path) -> None:
    results = teams[2].run(train_with_a_break, groups(), tmp_path, stage)
    for result in results:
        unbroken, resumed = result["metrics"]
        assert resumed == [pytest.approx(m, rel=1e-6) for m in unbroken]
        unbroken_weights, resumed_weights = result["weights"]
        for name in unbroken_weights:
            torch.testing.assert_close(resumed_weights[name], unbroken_weights[name], rtol=0, atol=1e-7)
        of_engine_BT, of_export_BT = result["logprobs"]
        torch.testing.assert_close(of_engine_BT, of_export_BT, rtol=1e-5, atol=1e-5)
        assert result["tokenizer"]
    # The pair's shards do not fit one worker, nor does another stage read them.
    checkpoint = tmp_path / "checkpoint"
    refused = teams[1].run(refusal, checkpoint, stage)[0]
    assert ("set train.workers: 2 to resume" in refused) == (stage > 0)
    assert f"set train.zero_stage: {stage} to resume" in teams[2].run(refusal, checkpoint, (stage + 1) % 4)[0]


@pytest.mark.parametrize(("n_workers", "stage"), [(1, 0), (2, 1), (2, 3)])
def test_bfloat16_trains_in_about_the_same_direction(
    n_workers: int, stage: int, teams: dict[int, Workers], start: Weights, tmp_path: Path
) -> None:
    metrics, weights = teams[n_workers].run(train, groups(), tmp_path, 4, zero_stage=stage, bf16=True)[0]
    expected, expected_weights = plain_pytorch(4)
    assert metrics[0]["grad_norm"] == pytest.approx(expected[0]["grad_norm"], rel=0.1)
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    got, want = (
        torch.cat([(weights_of_one[name].float() - start[name].bfloat16()).flatten() for name in weights])
        for weights_of_one in (weights, expected_weights)
    )
    assert torch.cosine_similarity(got, want, dim=0) > 0.7


def test_no_extension_was_compiled(teams: dict[int, Workers], extensions: Path, tmp_path: Path) -> None:
    """Runs last: everything above has gone through DeepSpeed by then."""
    teams[2].run(train, groups(), tmp_path, 1)
    assert not list(extensions.iterdir())

"""Supervised and seeded training for real: Ray Train workers, DeepSpeed, the served policy, the verifiers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from train_made import MODEL, Train, column, largest_difference, trains, weights
from transformers import AutoModelForCausalLM

from leash_ray.config import TrainConfig
from leash_ray.policy import ServedPolicy
from leash_ray.rlvr.traces import traces_for
from leash_ray.rlvr.turns import FOLDER as TURNS
from leash_ray.tasks import ReasoningGymSpec, load_problems
from leash_ray.verify.remote import RemoteVerifier

NUMBERS = {"min_numbers": 3, "max_numbers": 3, "max_value": 15, "min_target": 10, "max_target": 60}
TASK = ReasoningGymSpec(dataset="countdown", config=NUMBERS, prompt="compact", seed=2, size=12, split=(70, 90))


@pytest.fixture
def train(served: ServedPolicy, verifier: RemoteVerifier, tmp_path: Path):
    """Trains the served policy in a run directory; puts the embedded weights back afterwards."""
    yield trains(served, verifier, load_problems(TASK), TASK, tmp_path)
    served.load_weights(MODEL, 0)


def test_supervised_training_learns_the_problems_own_solutions(train: Train, served: ServedPolicy) -> None:
    """The first loss is the base's own −ln p of the targets, by plain PyTorch."""
    from transformers import AutoTokenizer

    model, rows = train("sft", objective="sft", steps=6, prompts_per_step=12)
    problems = load_problems(TASK)
    texts = traces_for(TrainConfig(task=TASK, objective="sft"), problems)
    tokenizer, base = AutoTokenizer.from_pretrained(MODEL), AutoModelForCausalLM.from_pretrained(MODEL)
    nll, n = 0.0, 0
    for problem in problems:
        prompt = tokenizer(problem.prompt)["input_ids"]
        target = [*tokenizer(texts[problem.id][0])["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            logp = base(input_ids=torch.tensor([prompt + target])).logits[0].float().log_softmax(-1)
        nll -= sum(float(logp[len(prompt) - 1 + i, t]) for i, t in enumerate(target))
        n += len(target)
    assert rows[0]["loss"] == pytest.approx(nll / n, rel=1e-4)
    assert rows[0]["n_tokens"] == n
    losses = column(rows, "loss")
    assert losses == sorted(losses, reverse=True)  # the same 12 targets every step
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-6) and rows[5]["kl"] > rows[1]["kl"] > 0
    assert column(rows, "epoch") == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert "reward_mean" not in rows[0] and column(rows, "sync_s") == pytest.approx([0.0] * 6, abs=0.01)
    assert served.describe()["version"] == 0  # its weights did not travel
    assert largest_difference(weights(model), weights(MODEL)) > 1e-4


def test_groups_with_traces_hints_and_reviews(train: Train) -> None:
    seeding = {"per_group": 1, "prefix_share": 0.25, "replay": 1}
    model, rows = train("seeded", steps=4, lr=1e-3, seeding=seeding)
    assert column(rows, "traces_used") == [4.0] * 4 and column(rows, "traces_refused") == [0.0] * 4
    assert column(rows, "hinted") == [8.0] * 4  # 2 of 8 in 4 groups
    assert all(0.1 < share < 0.2 for share in column(rows, "foreign_token_share"))  # 1 of 8, not shorter
    # The beginning of a right answer makes a right one likelier than the bare prompt does.
    assert sum(column(rows, "hinted_correct_share")) > sum(column(rows, "reward_mean"))
    assert column(rows, "reviews")[0] == 0.0 and column(rows, "reviews")[2:] == [1.0, 1.0]
    assert rows[3]["replay_buffer"] >= rows[0]["replay_buffer"] > 0
    assert min(column(rows, "grad_norm")) > 0
    kept = sorted((model.parents[2] / TURNS).rglob("*.parquet"))
    assert kept and not any("turn--1" in str(path) for path in kept)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["sft", "rft", "seeded"])
def test_a_resumed_run_is_the_unbroken_one(train: Train, objective: str) -> None:
    changes: dict[str, Any] = {
        "sft": {"objective": "sft"},
        "rft": {"objective": "rft", "supervised": {"refresh_every": 3}},
        "seeded": {"seeding": {"per_group": 1, "prefix_share": 0.25, "replay": 1}},
    }[objective]
    unbroken, rows = train("unbroken", steps=4, **changes)
    train("resumed", steps=2, **changes)
    resumed, again = train("resumed", steps=4, **changes)
    assert column(again, "step") == [1, 2, 3, 4]
    for name in ("n_tokens", "targets", "traces_used", "hinted", "reviews", "replayed", "replay_buffer"):
        assert [row.get(name) for row in again] == [row.get(name) for row in rows], name
    assert column(again, "loss") == pytest.approx(column(rows, "loss"), rel=1e-3, abs=1e-4)
    assert largest_difference(weights(resumed), weights(unbroken)) < 1e-3

"""DAPO, ProRL and rollouts one step ahead for real: Ray Train, DeepSpeed, the served policy, the verifiers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from test_training import GAP_NATS, train  # noqa: F401  (train: a fixture)
from train_made import column, largest_difference, weights

from leash_ray.rlvr.checkpoints import checkpoint_name
from leash_ray.rlvr.turns import FOLDER

DAPO: dict[str, Any] = {
    "loss": {"clip_high": 0.28, "mean": "token"},
    "dynamic": {"max_rounds": 2, "oversample": 1.5},
    "overlong": {"buffer": 3, "mask": True},
    "prompts_per_step": 4,
    "group_size": 4,  # of so few completions, many groups are all wrong
}


def versions(run: Path) -> list[int]:
    """Which versions the kept rollouts are of, by their numbers."""
    paths = sorted((run / FOLDER).rglob("p*.parquet"))
    return sorted(set(ds.dataset(paths).to_table(["policy_version"])["policy_version"].to_pylist()))


def test_dapo_on_two_workers(train) -> None:  # noqa: F811
    model, rows = train("dapo", steps=3, workers=2, cpus_per_worker=0.25, zero_stage=2, **DAPO)
    assert min(column(rows, "group_signal_share")) < 1  # or nothing would be replaced
    before, after = column(rows, "group_signal_share"), column(rows, "group_signal_share_used")
    assert sum(after) > sum(before) and all(a >= b for a, b in zip(after, before))
    for row, share in zip(rows, before):
        assert row["group_replaced_share"] == row["group_signal_share_used"] - share
        assert (row["thrown_tokens"] > 0) == (share < 1)
        assert row["rollout_tokens"] >= row["thrown_tokens"] + row["n_tokens"]
        assert row["dynamic_rounds"] <= 2
        assert row["loss"] is not None and row["grad_norm"] > 0
    # The trainer's log-probabilities of what came as replacement are the sampler's too.
    assert max(column(rows, "logprob_gap_max")) < GAP_NATS
    assert versions(model.parents[2]) == [0, 1, 2]


@pytest.mark.slow
def test_all_at_once_and_a_resumed_run_is_the_unbroken_one(train) -> None:  # noqa: F811
    """One step ahead, with resets, schedules, dynamic sampling, each problem's own temperature, and two optimizer
    steps a batch: over a break after a reset, the same completions, and the same weights up to float32."""
    settings: dict[str, Any] = {
        **DAPO,
        "staleness": 1,
        "minibatches": 2,
        "kl": {"coef": 0.05, "reset_every": 2},
        "temperature": [{"from_step": 0, "value": 1.2}, {"from_step": 3, "value": 0.9}],
        "max_tokens": [{"from_step": 0, "value": 10}, {"from_step": 4, "value": 12}],
        "loss": {"clip_high": 0.28, "mean": "fixed"},
        "temperature_by_problem": {"high": 1.5},
        "checkpoint_every": 3,
    }
    unbroken, rows = train("unbroken", steps=6, **settings)
    assert column(rows, "staleness") == column(rows, "staleness_max") == [0, 1, 1, 1, 1, 1]
    assert versions(unbroken.parents[2]) == [0, 1, 2, 3, 4]
    assert column(rows, "reference_step") == [0, 0, 2, 2, 4, 4]
    assert all(low <= t <= 1.5 for t, low in zip(column(rows, "temperature"), [1.2] * 3 + [0.9] * 3))
    assert max(column(rows, "response_length")[:4]) <= 10
    assert rows[0]["temperature"] == 1.2 and rows[0]["logprob_gap_max"] < 0.5
    for name in ("kl", "loss", "wait_s", "ratio_mean", "grad_norm"):
        assert all(value is not None for value in column(rows, name)), name

    run = unbroken.parents[2]
    broken = run.parent / "broken"
    shutil.copytree(run, broken)
    shutil.rmtree(broken / "checkpoints" / checkpoint_name(6))
    path = broken / "checkpoints" / "checkpoint_manager_snapshot.json"  # Ray Train's list: as it was after step 3
    state = json.loads(path.read_text())
    (first,) = (found for found in state["checkpoint_results"] if found["checkpoint_dir_name"] == checkpoint_name(3))
    state |= {"checkpoint_results": [first], "latest_checkpoint_result": first, "checkpoint_report_indices": [0]}
    path.write_text(json.dumps({**state, "current_report_index": 1}))
    resumed, again = train("broken", steps=6, **settings)
    assert column(again, "step") == [1, 2, 3, 4, 5, 6]
    for name in ("reward_mean", "response_length", "rollout_tokens", "temperature", "staleness", "reference_step"):
        assert column(again, name) == column(rows, name), name
    assert column(again, "kl") == pytest.approx(column(rows, "kl"), rel=0.05, abs=1e-5)
    assert largest_difference(weights(resumed), weights(unbroken)) < 1e-3

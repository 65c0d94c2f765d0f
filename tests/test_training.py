"""RLVR for real: Ray Train workers, DeepSpeed, the served policy, the verifiers."""

from pathlib import Path

import pytest
from train_made import MODEL, column, largest_difference, trains, weights

from leash_ray.policy import ServedPolicy
from leash_ray.reduce import reduce_state
from leash_ray.reducers import Reduced
from leash_ray.rlvr.checkpoints import checkpoint_name
from leash_ray.rlvr.turns import FOLDER
from leash_ray.tasks import ReasoningGymSpec
from leash_ray.types import Problem
from leash_ray.verify.remote import RemoteVerifier

GAP_NATS = 1e-3
"""float32 in vLLM against float32 in transformers; a stale weight shows as 0.01 and more."""


@pytest.fixture
def train(served: ServedPolicy, verifier: RemoteVerifier, countdown: list[Problem], tmp_path: Path):
    """Trains the served policy in a run directory; puts the embedded weights back afterwards."""
    yield trains(served, verifier, countdown, ReasoningGymSpec(dataset="countdown"), tmp_path)
    served.load_weights(MODEL, 0)


def turns_of(model: Path) -> Reduced:
    """The rollouts that were kept beside a checkpoint's model."""
    return reduce_state([model.parents[2] / FOLDER], parallel=False).finalize()


def test_the_sampler_stays_the_trainers_policy_and_a_resumed_run_is_the_unbroken_one(
    train, served: ServedPolicy
) -> None:
    unbroken, rows = train("unbroken", steps=4)
    assert column(rows, "step") == [1, 2, 3, 4]
    # The trainer's log-probabilities of the sampled tokens are the sampler's, at every version, while both move.
    assert max(column(rows, "logprob_gap_max")) < GAP_NATS
    assert largest_difference(weights(unbroken), weights(Path(MODEL))) > 1e-4
    assert served.describe()["version"] == 4
    signal = column(rows, "group_signal_share")
    assert [norm > 0 for norm in column(rows, "grad_norm")] == [share > 0 for share in signal]
    assert sum(share > 0 for share in signal) >= 3
    for name in ("reward_mean", "entropy", "response_length", "kl", "clip_fraction", "lr", "tokens_per_s"):
        assert all(value is not None for value in column(rows, name)), name
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-6) and rows[3]["kl"] > 0

    # Rollouts are kept by turn: 12 problems, 4 a step.
    kept = turns_of(unbroken)
    assert kept.policies == {"turn-0": 3 * 4 * 8, "turn-1": 4 * 8}
    assert kept.problems["CORRECT"].sum() == round(sum(column(rows, "reward_mean")) * 4 * 8)

    train("resumed", steps=2)
    resumed, again = train("resumed", steps=4)
    assert turns_of(resumed).problems["CORRECT"].to_list() == kept.problems["CORRECT"].to_list()
    assert column(again, "step") == [1, 2, 3, 4]
    assert resumed.parent.name == checkpoint_name(4)
    # Same prompts, same random streams, same reference: the same completions and, up to float32, the same weights.
    assert column(again, "reward_mean") == column(rows, "reward_mean")
    assert column(again, "response_length") == column(rows, "response_length")
    assert column(again, "kl") == pytest.approx(column(rows, "kl"), rel=0.05, abs=1e-5)
    assert largest_difference(weights(resumed), weights(unbroken)) < 1e-3


def test_two_workers_do_the_work_of_one(train) -> None:
    one, rows_of_one = train("one", steps=2, zero_stage=0)
    two, rows_of_two = train("two", steps=2, workers=2, cpus_per_worker=0.25, zero_stage=2)
    # Step 1 is drawn at the same version from the same streams: the same completions, dealt out as whole groups.
    for name in ("reward_mean", "group_signal_share", "response_length", "n_tokens"):
        assert rows_of_two[0][name] == rows_of_one[0][name], name
    for name in ("loss", "entropy", "grad_norm"):
        assert rows_of_two[0][name] == pytest.approx(rows_of_one[0][name], rel=1e-3, abs=1e-5), name
    assert max(column(rows_of_two, "logprob_gap_max")) < GAP_NATS
    assert turns_of(two).policies == turns_of(one).policies == {"turn-0": 2 * 4 * 8}
    assert largest_difference(weights(two), weights(one)) < 2e-3


def test_weights_sharded_by_zero_3_reach_the_sampler(train) -> None:
    _, rows = train("zero3", steps=2, workers=2, cpus_per_worker=0.25, zero_stage=3)
    assert max(column(rows, "logprob_gap_max")) < GAP_NATS
    assert rows[1]["kl"] > 0

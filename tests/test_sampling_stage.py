"""The sampling stage of a run on the real engine: adaptive, then topped up to the fixed design."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from leash_ray import stages
from leash_ray.config import RunConfig, load_config
from leash_ray.errors import UsageError
from leash_ray.files import parquet_files
from leash_ray.policy import ServedPolicy
from leash_ray.sampling.stage import is_sampled
from leash_ray.session import Session, open_run
from leash_ray.verify.remote import RemoteVerifier

TINY = Path(__file__).parent.parent / "jobs" / "configs" / "tiny.yaml"
N_PROBLEMS, MOST = 12, 64


def config_of(**changes: Any) -> RunConfig:
    """Two policies of one model, which differ by their streams."""
    model = {"policies.trained.model": "embedded:countdown", "train": None}
    sampling = {"max_tokens": 12, "samples_per_shard": 200, "in_flight": 2}
    return load_config(TINY, {**model, "task.size": N_PROBLEMS, "sampling": sampling, **changes})


def run_stage(
    config: RunConfig, path: Path, served: ServedPolicy, verifier: RemoteVerifier, resume: bool
) -> tuple[dict[str, Any], list[str]]:
    """Sample and reduce with policies that are up already; the estimates, and what was said."""
    said: list[str] = []
    run = open_run(config, path, resume)
    current = Session(config, run, said.append, _verifier=verifier)
    current.serve = lambda models, training: dict.fromkeys(models, served)  # type: ignore[method-assign]
    stages.sample(current)
    assert is_sampled(config, run)
    return stages.reduce_run(run, config, "base", "trained", 0.05), said


def tokens_in(run: Path) -> int:
    return sum(pq.read_table(path, columns=["n_tokens"])["n_tokens"].to_numpy().sum() for path in parquet_files(run))


@pytest.mark.timeout(600)
def test_adaptive_sampling_returns_the_fixed_design_s_support_for_fewer_tokens(
    served: ServedPolicy, verifier: RemoteVerifier, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    by_need = config_of(**{"sampling.budget": {"first": 4, "grow": 4, "max": MOST}})
    adaptive, said = run_stage(by_need, path, served, verifier, resume=False)
    n_tokens = tokens_in(path / "completions")
    assert any(f"4 to {MOST} completions, by need, of {N_PROBLEMS} problems" in line for line in said)
    fixed, said = run_stage(config_of(**{"sampling.n": MOST}), path, served, verifier, resume=True)
    assert tokens_in(path / "completions") > n_tokens
    n_before = sum(adaptive["policies"][policy]["n_completions"] for policy in ("base", "trained"))
    assert any(f"({n_before:,} completions are there)" in line for line in said)
    assert n_before < 2 * N_PROBLEMS * MOST == sum(fixed["policies"][p]["n_completions"] for p in ("base", "trained"))
    assert (adaptive["k"], fixed["k"], fixed["k_answers"]) == (MOST, MOST, MOST) and adaptive["k_answers"] < MOST
    assert [adaptive["support"]["problem"][g] for g in "PESO"] == [fixed["support"]["problem"][g] for g in "PESO"]
    for policy in ("base", "trained"):
        assert adaptive["policies"][policy]["coverage_at_k"] == fixed["policies"][policy]["coverage_at_k"]
    print(f"{n_tokens} of {tokens_in(path / 'completions')} tokens; {fixed['support']['problem']}"[:200])

    # What it was made with is kept: the same seed, or nothing.
    with pytest.raises(UsageError, match="seed: 0 -> 1"):
        open_run(config_of(**{"sampling.n": MOST, "seed": 1}), path, resume=True)

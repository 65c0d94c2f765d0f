"""The support audit in real training: it is there, it stops training where it should, and it changes nothing else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from leash_ray.config import MonitorConfig, TrainConfig
from leash_ray.deploy import resolve_model
from leash_ray.monitor import read_metrics
from leash_ray.policy import ServedPolicy
from leash_ray.rlvr.audit_plan import AuditPlan, completions_folder, result_path
from leash_ray.rlvr.sections import AuditConfig
from leash_ray.rlvr.trainer import CHECKPOINTS, TrainJob, fit
from leash_ray.sampling.settings import SamplingConfig
from leash_ray.stages import reduce_tables
from leash_ray.tasks import ReasoningGymSpec
from leash_ray.types import Problem
from leash_ray.verify.remote import RemoteVerifier

MODEL = resolve_model("embedded:countdown")
DOCS = Path(__file__).parent.parent / "docs" / "training.md"


@pytest.fixture
def job(served: ServedPolicy, verifier: RemoteVerifier, countdown: list[Problem], tmp_path: Path):
    """Makes a training job on half of the problems, audited, if it is, on the other half."""

    def make(name: str, audit: AuditConfig | None = None, **changes: Any) -> TrainJob:
        settings = {"steps": 2, "prompts_per_step": 4, "group_size": 8, "max_tokens": 12, "checkpoint_every": 10}
        config = TrainConfig(task=ReasoningGymSpec(dataset="countdown"), audit=audit, **{**settings, **changes})
        plan = None
        if audit is not None:
            sampling = SamplingConfig(n=32, max_tokens=12)
            plan = AuditPlan(audit, tuple(countdown[6:]), "base", "trained", sampling, {"seed": 0}, shared=32)
        path = tmp_path / name
        path.mkdir(exist_ok=True)
        return TrainJob(
            run_path=path,
            config=config,
            monitor=MonitorConfig(wandb="off", estimates_every_s=0),
            run_config={},
            run_name=name,
            model=MODEL,
            policy=served,
            problems=countdown[:6],
            seed=0,
            cpu=True,
            verifier=verifier,
            audit=plan,
        )

    yield make
    served.load_weights(MODEL, 0)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()


def documented_metrics() -> set[str]:
    """The names of docs/training.md that a step without a GPU has."""
    section = DOCS.read_text(encoding="utf-8").split("\n## Metrics\n")[1].split("\n## ")[0]
    firsts = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return set(re.findall(r"`(\w+)`", " ".join(firsts))) - {"memory_gpu_bytes"}


def test_an_audited_run_is_the_run_without_audits_until_the_guard_stops_it(job) -> None:
    plain, _ = fit(job("plain"))
    audit = AuditConfig(every=2, first=8, n=32, guard=1.0)  # whatever is measured, its interval reaches below 1
    audited = job("audited", audit, steps=5)
    model, steps = fit(audited)
    path = audited.run_path

    assert steps == 2 and [p.name for p in (path / CHECKPOINTS).glob("step-*")] == ["step-000002"]
    rows, rows_of_plain = read_metrics(path, "train"), read_metrics(plain.parents[2], "train")
    for name in ("step", "reward_mean", "response_length", "n_tokens", "entropy", "kl"):
        assert [row[name] for row in rows] == [row[name] for row in rows_of_plain], name
    mine, theirs = weights(model), weights(plain)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)

    assert documented_metrics() <= rows[0].keys()

    start, found = read_metrics(path, "audit")
    assert (start["step"], found["step"], found["guard"], found["k"]) == (0, 2, "stop", 32)
    assert sum(found[f"problem/{g}"] for g in "PESO") == found["n_problems"] == 6
    assert 0 < found["trained/pass_at_k/1"] < 1 and found["trained/token_entropy"] is None
    assert found["trained/mean_surprisal"] > 0 and found["seconds"] > 0 and 0 < found["share_of_time"] < 1
    written = json.loads(result_path(path, 2).read_text())
    assert written["guard"]["action"] == "stop" and sum(map(len, written["groups"].values())) == 6
    assert sum(row["change"] == "lost" for row in written["changes"]) == found["problem/S"]
    reduced = reduce_tables([completions_folder(path)], "base", "trained@2", 0.05, {"bootstrap": 100})
    assert [reduced["support"]["problem"][g] for g in "PESO"] == [found[f"problem/{g}"] for g in "PESO"]
    assert list((path / "completions" / "base").glob("*.parquet"))


@pytest.mark.slow
def test_two_workers_share_an_audit_and_a_resumed_run_audits_again_what_it_trains_again(job) -> None:
    audit = AuditConfig(every=1, first=8, n=32, guard=1.0, action="kl")
    whole = job("whole", audit, steps=3, checkpoint_every=2)
    fit(whole)
    two = job("two", audit, steps=2, workers=2, cpus_per_worker=0.25, checkpoint_every=2)
    fit(two)
    rows, rows_of_two = read_metrics(whole.run_path, "audit"), read_metrics(two.run_path, "audit")
    assert [row["kl_coef"] for row in rows[1:]] == [1e-3, 2e-3, 4e-3]
    same = ("problem/P", "problem/S", "base/pass_at_k/1", "base/coverage_at_k/32", "completions")
    for name in same:
        assert rows_of_two[1].get(name) == rows[1].get(name), name
    assert [row["kl_coef"] for row in rows_of_two[1:]] == [1e-3, 2e-3]

    # What a run leaves that was cut off after its third step, which no checkpoint has: that step is done again.
    resumed = job("two", audit, steps=3, workers=2, cpus_per_worker=0.25, checkpoint_every=2)
    folder = completions_folder(two.run_path)
    (folder / "trained@3").mkdir()
    (folder / "trained@3" / "left.parquet").write_bytes(b"cut off")
    result_path(two.run_path, 3).write_text("{}")
    fit(resumed)
    again = read_metrics(two.run_path, "audit")
    assert [row["step"] for row in again] == [0, 1, 2, 3]
    assert "error" not in again[3], again[3]
    assert again[3]["kl_coef"] == 4e-3  # the raised weight came back with the checkpoint
    assert not (folder / "trained@3" / "left.parquet").exists()
    train = read_metrics(two.run_path, "train")
    assert [row["kl_coef"] for row in train] == [0.0, 1e-3, 2e-3]


@pytest.mark.slow
def test_a_stopped_run_that_was_cut_off_before_it_was_marked_as_done_stays_stopped(job) -> None:
    stopped = job("stopped", AuditConfig(every=1, first=8, n=8, guard=1.0), steps=5)
    found = fit(stopped)
    assert found[1] == 1
    assert fit(stopped) == found
    assert [row["step"] for row in read_metrics(stopped.run_path, "audit")] == [0, 1]
    assert [row["step"] for row in read_metrics(stopped.run_path, "train")] == [1]

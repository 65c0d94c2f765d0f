"""The sampling stage of a run on the real engine: adaptive, topped up, one policy after another, and watched."""

import json
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scoring_made import BASE, kept_shares, probabilities
from scripted_sampling import rows_in
from wandb_records import complete_records

from leash_ray import so_far, stages
from leash_ray.config import RunConfig, load_config
from leash_ray.errors import UsageError
from leash_ray.files import parquet_files
from leash_ray.monitor import read_metrics
from leash_ray.policy import ServedPolicy
from leash_ray.problems_file import read_problems
from leash_ray.run_dir import RunDir
from leash_ray.sampling.shard import Gap
from leash_ray.sampling.stage import is_sampled, turns
from leash_ray.scoring.run import Asked, score_run
from leash_ray.session import Session, open_run
from leash_ray.verify.remote import RemoteVerifier

TINY = Path(__file__).parent.parent / "jobs" / "configs" / "tiny.yaml"
N_PROBLEMS, MOST = 12, 64


def config_of(**changes: Any) -> RunConfig:
    """Two policies of one model, which differ by their streams."""
    model = {"policies.trained.model": "embedded:countdown", "train": None}
    sampling = {"max_tokens": 12, "samples_per_shard": 200, "in_flight": 2}
    return load_config(TINY, {**model, "task.size": N_PROBLEMS, "sampling": sampling, **changes})


def draw_stage(
    config: RunConfig, path: Path, served: ServedPolicy, verifier: RemoteVerifier, resume: bool
) -> tuple[list[str], list[list[str]]]:
    """Sample with policies that are up already; what was said, and which policies were asked to be served, in turn."""
    said: list[str] = []
    asked: list[list[str]] = []
    run = open_run(config, path, resume)
    current = Session(config, run, said.append, _verifier=verifier)

    def serve(models: dict[str, str], training: bool) -> dict[str, ServedPolicy]:
        asked.append(list(models))
        return dict.fromkeys(models, served)

    current.serve = serve  # type: ignore[method-assign,assignment]
    stages.sample(current)
    assert is_sampled(config, run)
    return said, asked


def run_stage(
    config: RunConfig, path: Path, served: ServedPolicy, verifier: RemoteVerifier, resume: bool
) -> tuple[dict[str, Any], list[str]]:
    """Sample and reduce; the estimates, and what was said."""
    said, _ = draw_stage(config, path, served, verifier, resume)
    run = open_run(config, path, resume=True)
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


def test_turns_are_of_what_is_lacking() -> None:
    gaps = [Gap("base", "x", 0, 4), Gap("base", "y", 0, 4), Gap("trained", "x", 2, 4)]
    both = ["base", "trained"]
    assert turns(gaps, both, concurrent=True) == [both]
    assert turns(gaps, both, concurrent=False) == [["base"], ["trained"]]
    assert turns(gaps[2:], both, concurrent=True) == turns(gaps[2:], both, concurrent=False) == [["trained"]]


@pytest.mark.timeout(600)
def test_one_policy_after_another_draws_the_same(
    served: ServedPolicy, verifier: RemoteVerifier, tmp_path: Path
) -> None:
    """By need, in several rounds; then what one of them lost, for which the other is not served."""
    budget = {"sampling.budget": {"first": 4, "grow": 4, "max": MOST}}
    _, asked = draw_stage(config_of(**budget), tmp_path / "a", served, verifier, resume=False)
    assert asked == [["base", "trained"]]
    in_turn = config_of(**budget, **{"sampling.concurrent": False})
    said, asked = draw_stage(in_turn, tmp_path / "b", served, verifier, resume=False)
    assert asked == [["base"], ["trained"]]
    rows = rows_in(tmp_path / "a" / "completions")
    assert rows == rows_in(tmp_path / "b" / "completions") and len(rows) > 2 * 4 * N_PROBLEMS
    assert [line.split(" of ")[1].split(",")[0] for line in said if line.startswith("sampled")] == ["base", "trained"]

    for run, config in (("a", in_turn), ("b", config_of(**budget))):  # it may change within a run, too
        path = tmp_path / run
        parquet_files(path / "completions" / "trained")[0].unlink()
        (path / "stages.json").unlink()
        _, asked = draw_stage(config, path, served, verifier, resume=True)
        assert asked == [["trained"]] and rows_in(path / "completions") == rows


def test_a_second_turn_that_cannot_fit_is_refused_before_the_first(
    served: ServedPolicy, verifier: RemoteVerifier, tmp_path: Path
) -> None:
    config = config_of(**{"sampling.concurrent": False, "policies.trained.cpus": 64})
    with pytest.raises(UsageError, match=r"1 x trained 64 CPU, .*cannot fit"):
        draw_stage(config, tmp_path / "run", served, verifier, resume=False)
    assert rows_in(tmp_path / "run" / "completions") == {}


def exported(name: str, /, **tags: str) -> list[float]:
    """Values of one of the metrics that the Ray node offers to Prometheus."""
    import ray

    node = ray.nodes()[0]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as page:
        lines = page.read().decode().splitlines()
    labels = [f'{key}="{value}"' for key, value in tags.items()]
    found = [re.fullmatch(r"([a-z_]+)\{(.*)\} (\S+)", line) for line in lines]
    return [float(m[3]) for m in found if m and m[1] == name and all(label in m[2] for label in labels)]


@pytest.mark.timeout(600)
def test_numbers_are_in_the_metrics_file_in_wandb_and_in_ray(
    served: ServedPolicy, verifier: RemoteVerifier, tmp_path: Path
) -> None:
    path = tmp_path / "watched"
    config = config_of(**{"sampling.n": 16, "monitor.wandb": "offline"})
    draw_stage(config, path, served, verifier, resume=False)
    n, n_tokens = N_PROBLEMS * 16, tokens_in(path / "completions" / "base")

    last = read_metrics(path, "sample")[-1]
    assert last["step"] == 2 * n and last["base/completions"] == last["trained/completions"] == n
    assert last["base/tokens"] == n_tokens and last["base/tokens_per_s"] > 0
    assert [last[f"base/{key}"] for key in ("decided_share", "seconds_left", "dead_letters")] == [1.0, 0.0, 0]

    (file,) = (path / "wandb").glob("offline-run-*/*.wandb")
    history = [record.history.item for record in complete_records(file) if record.HasField("history")]
    row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in history[-1]}
    for key in ("base/completions", "trained/decided_share", "base/seconds_left", "trained/dead_letters"):
        assert row[f"sample/{key}"] == last[key]
    assert row["sample/step"] == 2 * n

    deadline = time.monotonic() + 30  # Ray's processes report every 10 s
    tags = {"policy": "base", "run": "watched"}
    while not exported("ray_leash_completions", **tags):
        assert time.monotonic() < deadline, "Ray exports nothing"
        time.sleep(0.2)
    assert exported("ray_leash_completions", **tags) == [n]
    assert exported("ray_leash_tokens_total", **tags) == [n_tokens]
    assert exported("ray_leash_decided_share", **tags) == [1.0]
    assert exported("ray_leash_seconds_left", **tags) == exported("ray_leash_dead_letters", **tags) == [0.0]
    assert exported("ray_leash_tokens_per_s", **tags)[0] > 0


@pytest.mark.timeout(600)
def test_estimates_so_far_are_published_while_it_draws(
    served: ServedPolicy, verifier: RemoteVerifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(so_far, "MOST_OF_THE_TIME", 1e9)  # as often as it can
    path = tmp_path / "followed"
    watched = {"monitor.wandb": "offline", "monitor.estimates_every_s": 0.01, "sampling.samples_per_shard": MOST}
    config = config_of(**{"sampling.n": MOST, **watched})
    said, _ = draw_stage(config, path, served, verifier, resume=False)
    assert not [line for line in said if "warning" in line]

    rows = read_metrics(path, "estimates")
    steps = [row["step"] for row in rows]
    assert rows and steps == sorted(steps) and steps[0] < 2 * N_PROBLEMS * MOST  # while it drew
    for row in rows:
        assert 0 < row["n_problems"] == sum(row[f"problem/{group}"] for group in "PESO") <= N_PROBLEMS
        assert row["k"] == MOST and row["base/answer_entropy"] > 0
        if row["problem/SRR"] is not None:
            assert row["problem/SRR/low"] <= row["problem/SRR"] <= row["problem/SRR/high"]

    (file,) = (path / "wandb").glob("offline-run-*/*.wandb")
    history = [record.history.item for record in complete_records(file) if record.HasField("history")]
    shown = [{item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in row} for row in history]
    assert [row["estimates/problem/S"] for row in shown if "estimates/step" in row] == [r["problem/S"] for r in rows]

    deadline = time.monotonic() + 30
    while not exported("ray_leash_estimate", name="problem/S", run="followed"):
        assert time.monotonic() < deadline, "Ray exports nothing"
        time.sleep(0.2)
    assert exported("ray_leash_estimate", name="problem/S", run="followed") == [rows[-1]["problem/S"]]
    assert exported("ray_leash_estimate", name="base/pass_at_k/1", run="followed") == [rows[-1]["base/pass_at_k/1"]]


@pytest.mark.timeout(600)
def test_how_much_of_the_engine_s_distribution_top_p_cut(
    served: ServedPolicy, verifier: RemoteVerifier, tmp_path: Path
) -> None:
    """What vLLM sampled, scored and reduced, against every step's distribution in float64."""
    temperature, top_p = 0.9, 0.8
    settings = {"sampling.n": 8, "sampling.top_p": top_p, "sampling.temperature": temperature, "task.size": 4}
    config, path = config_of(**settings), tmp_path / "cut"
    draw_stage(config, path, served, verifier, resume=False)
    run, said = RunDir.open(path), list[str]()
    assert "cut" not in stages.reduce_run(run, config, "base", "trained", 0.05)
    score_run(run, config, Asked(policies=("base",)), said.append)
    cut = stages.reduce_run(run, config, "base", "trained", 0.05)["cut"]
    prompts = {problem.id: problem.prompt for problem in read_problems(run.problems_parquet)}
    kept: list[float] = []
    for file in parquet_files(path / "completions" / "base"):
        for row in pq.read_table(file, partitioning=None).to_pylist():
            p_TV = probabilities(BASE, prompts[row["problem_id"]], row["token_ids"], temperature)
            kept += list(kept_shares(p_TV, top_p))
    assert set(cut) == {"base"} and cut["base"]["n_tokens"] == len(kept)
    assert cut["base"]["nats_a_token"] == pytest.approx(-np.log(kept).mean(), abs=1e-4)
    assert cut["base"]["share"] == pytest.approx(1 - np.exp(np.log(kept).mean()), abs=1e-4)
    print(f"top_p {top_p}: {cut}")
    assert min(kept) >= top_p and max(kept) < 1  # every token's distribution was cut
    assert any(f"took {cut['base']['nats_a_token']:.3g} nats a token" in line for line in said)

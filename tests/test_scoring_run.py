"""``leash score`` as it is used: a run's completions, given texts, other models; stopped, gone on with, and reduced."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from scoring_made import BASE, PROBLEMS, N, make_run, other_model

from leash_ray.config import parse_config
from leash_ray.errors import UsageError
from leash_ray.run_dir import RunDir
from leash_ray.scoring.run import Asked, Result, score_run

FIRST = PROBLEMS[0]
TRAINED = 3 * N  # completions of a policy


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is copied by each test."""
    folder = tmp_path_factory.mktemp("made")
    return make_run(folder / "run", {"base": BASE, "trained": other_model(folder / "trained")}).path


@pytest.fixture
def run(made: Path, tmp_path: Path) -> RunDir:
    shutil.copytree(made, tmp_path / "run")
    return RunDir.open(tmp_path / "run")


def leash(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "leash_ray.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def score(run: RunDir, **asked: Any) -> tuple[dict[str, Result], list[str]]:
    said: list[str] = []
    return score_run(run, parse_config(run.config, "made"), Asked(**asked), said.append), said


def entropies(run: RunDir, policy: str) -> list[float | None]:
    files = sorted((run.completions / policy).glob("*.parquet"))
    return [e for file in files for e in pq.read_table(file)["entropy_sum"].to_pylist()]


def scores(run: RunDir, policy: str) -> list[dict[str, Any]]:
    return pq.read_table(run.path / "scores" / f"{policy}.parquet").to_pylist()


def test_the_command_from_completions_to_the_report(run: RunDir, tmp_path: Path) -> None:
    """Its own process, as a person runs it; then what ``leash reduce`` makes of it."""
    done = leash("score", run.path, "--under", "base", "--under", "trained")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"entropies are in {run.completions} and scores are in {run.path / 'scores'}; next: leash reduce {run.path}\n"
    )
    assert f"scored {2 * TRAINED} completions under base" in done.stderr
    assert "ERROR" not in done.stderr and " E " not in done.stderr  # nothing of Ray's own
    assert done.stderr.count("ln p agrees with what sampling stored") == 2
    for policy in ("base", "trained"):
        assert None not in entropies(run, policy)
    reduced = leash("reduce", run.path, "--json")
    assert reduced.returncode == 0, reduced.stderr
    support = json.loads(reduced.stdout)
    for policy in ("base", "trained"):
        tables = [pq.read_table(file).to_pylist() for file in sorted((run.completions / policy).glob("*.parquet"))]
        by_problem = [sum(r["entropy_sum"] / r["n_tokens"] for r in table) / len(table) for table in tables]
        expected = sum(by_problem) / len(by_problem)
        assert support["policies"][policy]["token_entropy"] == pytest.approx(expected, abs=1e-5)
    # Each policy is least surprised by what it drew itself.
    found = support["perplexity"]
    for source in ("base", "trained"):
        (group,) = (g for g in found[source].values() if g["base"]["n_texts"])
        assert group["base"]["n_texts"] == TRAINED
        other = "trained" if source == "base" else "base"
        own, others = (group[p]["token_weighted"] for p in (source, other))
        assert 1 < own < others
        rows = [r for r in scores(run, other) if r["source"] == source]
        nats, tokens = sum(r["logprob_sum"] for r in rows), sum(r["n_tokens"] for r in rows)
        assert others == pytest.approx(math.exp(-nats / tokens))
    again = leash("score", run.path, "--under", "base", "--under", "trained", "--json")
    assert again.returncode == 0, again.stderr
    assert {name: (r["scored"], r["there_before"]) for name, r in json.loads(again.stdout).items()} == {
        "base": (0, 2 * TRAINED),
        "trained": (0, 2 * TRAINED),
    }


def test_entropies_of_own_completions(run: RunDir, ray_session: None) -> None:
    results, said = score(run, policies=("trained",))
    assert results["trained"].to_json()["largest_gap"] < 1e-3
    assert None not in entropies(run, "trained")
    assert set(entropies(run, "base")) == {None}
    assert not (run.path / "scores").exists()
    assert run.stage_info("score")["trained"]["scored"] == TRAINED
    assert any("asks Ray for" in line and "scorer" in line for line in said)
    # Everything else, and what is new: a shard that was drawn again has no entropies.
    shard = next((run.completions / "trained").glob("*.parquet"))
    table = pq.read_table(shard)
    stripped = table.set_column(
        table.column_names.index("entropy_sum"), "entropy_sum", table["entropy_sum"].cast("float32")
    )
    pq.write_table(stripped.replace_schema_metadata(None), shard)
    results, said = score(run)
    assert {n: (r.scored.texts, r.n_there) for n, r in results.items()} == {
        "base": (TRAINED, 0),
        "trained": (N, TRAINED - N),
    }
    results, said = score(run)
    assert said == [f"all {TRAINED} completions are scored under {p} already" for p in ("base", "trained")]


def test_given_texts_under_both_and_another_model(run: RunDir, ray_session: None, tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    given = [{"problem": p.id, "text": "9*2+3", "source": "reference"} for p in PROBLEMS]
    file.write_text("".join(json.dumps(row) + "\n" for row in given))
    results, _ = score(run, texts=file)
    assert {name: r.scored.texts for name, r in results.items()} == {"base": 3, "trained": 3}
    assert len(scores(run, "base")) == len(scores(run, "trained")) == 3
    # More texts: only they are scored, and join the table.
    file.write_text(file.read_text() + json.dumps({"problem": FIRST.prompt, "text": "1", "source": "x"}) + "\n")
    results, _ = score(run, texts=file)
    assert {name: (r.scored.texts, r.n_there) for name, r in results.items()} == {
        "base": (1, 3),
        "trained": (1, 3),
    }
    assert len(scores(run, "base")) == len(scores(run, "trained")) == 4
    results, _ = score(run, texts=file, model=BASE, name="other")
    base, other = ([{**r, "policy": ""} for r in scores(run, p)] for p in ("base", "other"))
    for one, two in zip(base, other, strict=True):
        assert one == pytest.approx(two)
    assert set(entropies(run, "base")) == {None}
    with pytest.raises(UsageError, match="at temperature 1, which cannot be compared"):
        score(run, texts=file, temperature=0.5)


def test_another_model_scores_completions(run: RunDir, ray_session: None) -> None:
    with pytest.raises(UsageError, match="no completions of 'other' itself"):
        score(run, model=BASE, name="other")
    results, _ = score(run, model=BASE, name="other", policies=("trained",))
    assert len(scores(run, "other")) == results["other"].scored.texts == TRAINED
    assert {r["source"] for r in scores(run, "other")} == {"trained"}
    assert set(entropies(run, "trained")) == {None}  # they are another policy's
    # The wrong weights under a policy's own name are found out, though its config names others.
    with pytest.raises(UsageError, match="were not drawn by this model"):
        score(run, model=other_model(run.path.parent / "far", noise=0.1), name="base")
    assert set(entropies(run, "base")) == {None}


def test_what_cannot_be_scored_is_refused_before_ray(run: RunDir, tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"problem": "nowhere", "text": "x"}\n')
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"policies": ("bsae",)}, "no completions of policy 'bsae'; it has those of base, trained"),
        ({"under": ("bsae",)}, "no policy 'bsae'"),
        ({"model": BASE}, "give --model and --name together"),
        ({"model": "./nothing", "name": "x"}, "model folder ./nothing does not exist"),
        ({"texts": texts}, "no problem with the id or prompt 'nowhere'"),
        ({"texts": texts, "policies": ("base",)}, "with --texts give --under"),
    ]
    for asked, message in wrong:
        with pytest.raises(UsageError, match=message):
            score(run, **asked)
    config = parse_config(run.config, "made", {"sampling.temperature": 0, "sampling.n": 1})
    with pytest.raises(UsageError, match="at temperature 0"):
        score_run(run, config, Asked(), print)
    (run.completions / "base" / "p1.parquet").write_bytes(b"damaged")
    with pytest.raises(UsageError, match=r"p1\.parquet is damaged .* --resume draws it again"):
        score(run)
    shutil.rmtree(run.completions / "base")
    shutil.rmtree(run.completions / "trained")
    with pytest.raises(UsageError, match="no completions to score: run leash sample"):
        score(run)
    assert not (run.path / "scores").exists()
    done = leash("score", run.path.parent / "nowhere")
    assert (done.returncode, "does not exist" in done.stderr) == (2, True)
    done = leash("score", run.path, "--temperature", "0")
    assert (done.returncode, done.stderr) == (2, "leash: --temperature must be above 0, not 0\n")


def test_a_model_without_weights_is_said_by_name(run: RunDir, ray_session: None, tmp_path: Path) -> None:
    shutil.copytree(BASE, tmp_path / "empty")
    (tmp_path / "empty" / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"cannot load the model .*empty"):
        score(run, model=str(tmp_path / "empty"), name="base")


@pytest.fixture
def large(made: Path, tmp_path: Path) -> RunDir:
    """Enough shards that a person has time to stop it."""
    shutil.copytree(made, tmp_path / "large")
    run = RunDir.open(tmp_path / "large")
    for shard in list(run.completions.rglob("*.parquet")):
        for i in range(20):
            shutil.copy(shard, shard.with_name(f"{shard.stem}_{i}.parquet"))
    return run


@pytest.mark.slow
def test_stopped_it_goes_on_where_it_was(large: RunDir) -> None:
    """Ctrl-C, and then the same command."""
    command = [sys.executable, "-m", "leash_ray.cli", "score", str(large.path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
    try:
        shards = list(large.completions.rglob("*.parquet"))
        for _ in range(2400):
            if any(b"leash_scored" in (pq.read_schema(f).metadata or {}) for f in shards) or process.poll() is not None:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, "stopped: what was scored is kept; the same command goes on" in stderr) == (1, True), (
        stderr
    )
    assert "Traceback" not in stderr
    assert not list(large.completions.rglob(".*.tmp"))
    total = 21 * TRAINED
    filled = sum(e is not None for p in ("base", "trained") for e in entropies(large, p))
    assert 0 < filled < 2 * total
    done = leash("score", large.path, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout).values()
    assert sum(r["there_before"] for r in found) >= filled
    assert sum(r["scored"] + r["there_before"] for r in found) == 2 * total
    assert None not in entropies(large, "base") + entropies(large, "trained")

"""The whole path as a user runs it: ``leash run``, interrupted in training and in sampling, then gone on with."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "jobs" / "configs" / "tiny.yaml"
START_LIMIT_S = 400
N = 1024
STEPS = 40
"""So many that the first Ctrl-C falls into the middle of training, though a step takes a tenth of a second."""
COMMAND = [sys.executable, "-m", "leash_ray.cli", "run", str(CONFIG), "--set", "monitor.wandb=offline"]


def start(run: Path, *extra: str) -> subprocess.Popen:
    return subprocess.Popen(
        [*COMMAND, "--run", str(run), *extra],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("RAY_")},
        start_new_session=True,
    )


def interrupt_when(process: subprocess.Popen, ready) -> str:
    """Ctrl-C (to the whole foreground group, as a terminal does) once ``ready``; returns standard error."""
    deadline = time.monotonic() + START_LIMIT_S
    while not ready():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "it never got there"
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "Traceback" not in err, err
    assert err.strip().splitlines()[-1].startswith("leash: interrupted; what was finished is kept; go on with"), err
    return err


def steps(run: Path) -> int:
    path = run / "metrics.jsonl"
    return sum('"stage": "train"' in line for line in path.read_text().splitlines()) if path.exists() else 0


def without_quantiles(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: without_quantiles(value) for key, value in found.items() if key != "quantiles"}
    return found


@pytest.mark.timeout(1800)
def test_a_run_that_is_interrupted_twice_ends_with_a_true_report(tmp_path: Path) -> None:
    run = tmp_path / "run"
    # Seconds of sampling in 128 shards: the second Ctrl-C falls into the middle.
    changes = (f"train.steps={STEPS}", "train.checkpoint_every=2", f"sampling.n={N}", "sampling.samples_per_shard=64")
    extra = [part for change in changes for part in ("--set", change)]
    interrupt_when(start(run, *extra), lambda: steps(run) >= 3)
    kept = sorted((run / "checkpoints").glob("step-*/model/model.safetensors"))
    assert kept and kept[-1] < run / "checkpoints" / f"step-{STEPS:06d}", "it was not in the middle of training"
    shards = run / "completions"
    interrupt_when(start(run, *extra, "--resume"), lambda: len(list(shards.rglob("p*.parquet"))) >= 2)
    assert len(list(shards.rglob("p*.parquet"))) < 128
    written = {p: p.stat().st_mtime_ns for p in shards.rglob("p*.parquet")}
    for path in written:
        pq.read_table(path)  # whole

    process = start(run, *extra, "--resume")
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert out.strip().splitlines()[-1].endswith("report.html")
    for path, at in written.items():
        assert path.stat().st_mtime_ns == at, "drawn again"

    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    trained = [row["step"] for row in rows if row["stage"] == "train"]
    assert trained == list(range(1, STEPS + 1))  # no gap, no doubled step
    assert any(row["stage"] == "sample" for row in rows) and any(row["stage"] == "summary" for row in rows)
    support = json.loads((run / "support.json").read_text())
    counts = support["support"]["problem"]
    assert sum(counts[x] for x in "PESO") == support["n_problems"] == 4
    for policy in support["policies"].values():
        assert sum(policy["verdicts"].values()) == policy["n_completions"] == 4 * N
    page = (run / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page.replace(
        "https://www.w3.org", ""
    )
    assert list((run / "wandb").glob("offline-run-*/*.wandb"))
    info = json.loads((run / "run.json").read_text())
    assert {"ray", "torch", "transformers", "deepspeed"} <= set(info["packages"]) and info["seed"] == 0
    assert (run / "config.yaml").is_file() and (run / "checkpoints" / f"step-{STEPS:06d}" / "model").is_dir()
    assert not list(run.rglob("*.tmp"))

    # The command line reads the same numbers from the tables alone (quantiles only where asked for).
    done = subprocess.run(
        [sys.executable, "-m", "leash_ray.cli", "reduce", str(shards), "--json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert without_quantiles(json.loads(done.stdout)) == without_quantiles(support)
    assert support["policies"]["base"]["quantiles"]["n_tokens"]["n"] == 4 * N

"""Jobs as they are submitted: a real Ray head with its job server and a token, and the real ``ray job submit``."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
CONFIGS = sorted([*(ROOT / "jobs" / "configs").rglob("*.yaml"), *(ROOT / "leash_ray" / "configs").glob("*.yaml")])
NUM_CPUS = 2


def test_every_committed_config_is_parsed_without_anything_heavy() -> None:
    """As CI does it: no torch, no Ray."""
    script = """
import json, sys
from leash_ray.config import load_config
found = {path: load_config(path).name for path in sys.argv[1:]}
heavy = [m for m in ("torch", "ray", "vllm", "deepspeed", "wandb", "transformers") if m in sys.modules]
print(json.dumps([found, heavy]))
"""
    command = [sys.executable, "-c", script, *map(str, CONFIGS)]
    found, heavy = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    tasks = {path for path in found if Path(path).parent.name == "tasks"}
    assert len(tasks) >= 17
    named = {Path(path).stem: name for path, name in found.items() if path not in tasks}
    assert {"countdown", "demo", "pair", "tiny"} < set(named)
    other = {"qwen-math-gpu": "qwen-math", "train-gpu": "qwen-grpo"}
    assert named == {stem: other.get(stem, stem) for stem in named}  # a run is called as its file is
    assert heavy == []


def test_an_entrypoint_is_the_command(tmp_path: Path) -> None:
    """Run by path, from elsewhere, without the package installed; a mistake ends as it does in ``leash``."""
    job = ROOT / "jobs" / "train.py"
    config = ROOT / "jobs" / "configs" / "tiny.yaml"
    arguments = ["--config", config, "--run", tmp_path / "run", "--set", "train.stpes=1"]
    done = subprocess.run([sys.executable, job, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"leash: {config}: unknown key 'train.stpes'; did you mean 'steps'?\n"
    assert list(tmp_path.iterdir()) == []


def test_a_job_keeps_its_run_outside_of_the_copy_that_ray_deletes(monkeypatch: pytest.MonkeyPatch) -> None:
    from leash_ray.cli_options import run_path

    assert run_path("tiny", None) == Path("runs/tiny").absolute()
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert run_path("tiny", None) == Path("/home/somebody/runs/tiny")
    assert run_path("tiny", "first") == Path("/home/somebody/first")
    assert run_path("tiny", "/shared/first") == Path("/shared/first")


def test_variables_that_a_job_brings_are_not_set_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray refuses ``ray.init`` when both name one."""
    from leash_ray.cluster import _worker_env

    monkeypatch.setenv("WANDB_API_KEY", "key")
    monkeypatch.setenv("HF_HOME", "/models")
    assert {"WANDB_API_KEY", "HF_HOME"} <= _worker_env(local=False)["env_vars"].keys()
    job = {"runtime_env": {"env_vars": {"WANDB_API_KEY": "key"}}, "metadata": {}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    assert {"WANDB_API_KEY", "HF_HOME"} & _worker_env(local=False)["env_vars"].keys() == {"HF_HOME"}
    assert "WANDB_API_KEY" not in _worker_env(local=True)["env_vars"]  # inherited, and so in no log of Ray's
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", '{"runtime_env": null}')
    assert _worker_env(local=False)["env_vars"]["WANDB_API_KEY"] == "key"


# A real head.


@dataclass(frozen=True)
class Head:
    """A Ray head of its own, and what it takes to submit to it."""

    url: str
    token: str
    env: dict[str, str]

    def submit(self, working_dir: Path, *entrypoint: str, options: tuple[str, ...] = (), **env: str) -> tuple[int, str]:
        """Exit status, and everything that ``ray job submit`` and the job printed."""
        command = [BIN / "ray", "job", "submit", "--address", self.url, "--working-dir", working_dir, *options]
        done = subprocess.run(
            [*map(str, command), "--", *entrypoint],
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=550,
            check=False,
        )
        return done.returncode, done.stdout

    def get(self, path: str, token: str | None) -> dict[str, object]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers), timeout=10) as answer:
            return json.load(answer)


def free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """Nothing of it is shared with the Ray of other tests, or of this machine: ports, folder, token, processes."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: Ray puts sockets there
    token = secrets.token_hex(32)
    (folder / "token").write_text(token)
    gcs, dashboard, agent, client = free_ports(4)
    outside = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    env = {
        **outside,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_TMPDIR": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
    }
    command = f"""
        {BIN}/ray start --head --block --node-ip-address=127.0.0.1 --port={gcs} --temp-dir={folder}/ray
        --dashboard-port={dashboard} --dashboard-agent-listen-port={agent} --ray-client-server-port={client}
        --min-worker-port=0 --max-worker-port=0 --num-cpus={NUM_CPUS} --object-store-memory={10**8}
    """.split()
    head = Head(f"http://127.0.0.1:{dashboard}", token, env)
    with open(folder / "log", "w+") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder)
        try:
            _wait_for(head, process, folder / "log")
            yield head
        finally:
            _end(process)
            shutil.rmtree(folder, ignore_errors=True)


def _wait_for(head: Head, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            head.get("/api/jobs/", head.token)
            return
        time.sleep(0.5)
    raise AssertionError(f"the head did not come up: {log.read_text()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the head and what it started, by process: ``ray stop`` would end every Ray of the machine."""
    started = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.kill()
    for p in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            p.kill()
    process.wait(timeout=15)
    psutil.wait_procs(started, timeout=5)


@pytest.fixture(scope="module")
def working_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a small repository would submit: the package, the jobs, and things that must not travel."""
    folder = tmp_path_factory.mktemp("submitted")
    ignore = shutil.ignore_patterns("__pycache__", "models")
    for name in ("leash_ray", "jobs"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    shutil.copy(ROOT / ".gitignore", folder)
    for name in (".venv", "runs", ".git"):
        (folder / name).mkdir()
        (folder / name / "large").write_bytes(b"")
    return folder


def completions(policy: str, problems: dict[str, str]) -> pa.Table:
    """``C`` is a correct sample, and ``.`` an incorrect one."""
    rows = [
        {"policy": policy, "problem_id": p, "sample_index": i, "verdict": "CORRECT" if c == "C" else "INCORRECT"}
        for p, samples in problems.items()
        for i, c in enumerate(samples)
    ]
    table = pa.Table.from_pylist(rows)
    return table.set_column(2, "sample_index", table["sample_index"].cast(pa.int32()))


def test_a_submitted_job_gives_its_result(head: Head, working_dir: Path, tmp_path: Path) -> None:
    pq.write_table(completions("q", {"p": "CC", "e": "..", "s": "C.", "o": ".."}), tmp_path / "q.parquet")
    pq.write_table(completions("rl", {"p": "C.", "e": ".C", "s": "..", "o": ".."}), tmp_path / "rl.parquet")
    job = ("python", "jobs/reduce.py", str(tmp_path), "--base", "q", "--trained", "rl", "--json")
    # One variable that leash would pass on by itself too: Ray takes it once only.
    options = ("--submission-id", "measure", "--runtime-env-json", '{"env_vars": {"HF_HUB_OFFLINE": "1"}}')
    status, out = head.submit(working_dir, *job, options=options)
    assert status == 0, out
    (line,) = [line for line in out.splitlines() if line.startswith("{")]
    support = json.loads(line)
    assert {c: support["support"]["problem"][c] for c in "PESO"} == {"P": 1, "E": 1, "S": 1, "O": 1}
    assert (support["base"], support["trained"], support["n_problems"], support["k"]) == ("q", "rl", 4, 2)
    info = head.get("/api/jobs/measure", head.token)
    assert info["status"] == "SUCCEEDED"  # so few rows are reduced by the driver itself


def test_a_job_that_fails_says_why(head: Head, working_dir: Path) -> None:
    listing = "import os; print('there:', *sorted(os.listdir('.')))"
    script = f'python -c "{listing}" && python jobs/reduce.py /no/such/table'
    status, out = head.submit(working_dir, "bash", "-c", script)
    assert status == 1
    assert "leash: no such file or folder: /no/such/table" in out.splitlines()
    assert "Traceback" not in out
    assert "there: .gitignore jobs leash_ray" in out.splitlines()  # only what is needed has travelled


def test_nothing_goes_without_the_token(head: Head, working_dir: Path, tmp_path: Path) -> None:
    stranger = {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN_PATH": "", "HOME": str(tmp_path)}
    status, out = head.submit(working_dir, "python", "-c", "print('got' + ' in')", **stranger)
    assert status != 0
    assert "Missing authentication token" in out
    assert "got in" not in out
    for token, refusal in ((None, 401), ("0" * 64, 403)):
        with pytest.raises(urllib.error.HTTPError) as e:
            head.get("/api/jobs/", token)
        assert e.value.code == refusal


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_path_as_a_job(head: Head, tmp_path: Path) -> None:
    """From this checkout, as it is."""
    run = tmp_path / "run"
    job = ("python", "jobs/run.py", "--config", "jobs/configs/tiny.yaml", "--run", str(run))
    status, out = head.submit(ROOT, *job)
    assert status == 0, out
    support = json.loads((run / "support.json").read_text())
    assert (support["n_problems"], support["k"]) == (4, 8)
    assert [support["policies"][p]["n_completions"] for p in ("base", "trained")] == [32, 32]
    assert (run / "report.html").is_file()
    assert json.loads((run / "stages.json").read_text()).keys() == {"train", "sample", "reduce"}

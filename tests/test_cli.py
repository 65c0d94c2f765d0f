"""The command line: what a mistake looks like, what a user gets to see, and what it costs to ask."""

import errno
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leash_ray import cli, stages
from leash_ray.config import load_config
from leash_ray.errors import RunFailed, UsageError
from leash_ray.run_dir import RunDir

ROOT = Path(__file__).resolve().parents[1]
LEASH = [sys.executable, "-m", "leash_ray.cli"]
HEAVY = ("torch", "ray", "vllm", "deepspeed", "wandb", "pyarrow", "transformers", "pydantic", "numpy")
COMMANDS = sorted(cli.leash.commands)
# Two models that are there, and no training: everything else is up to a test.
PAIR = """
name: pair
task: {kind: jsonl, path: problems.jsonl}
policies:
  base: {model: "embedded:countdown"}
  trained: {model: "embedded:countdown"}
"""

Leash = Callable[..., tuple[int, str, str]]


@pytest.fixture
def leash(capsys: pytest.CaptureFixture[str]) -> Leash:
    """Run a command here: its exit status, standard output and standard error."""

    def run(*arguments: str | Path, debug: bool = False) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli._run([str(a) for a in arguments], debug)
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a config and a file of problems."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pair.yaml").write_text(PAIR)
    (tmp_path / "problems.jsonl").write_text('{"problem": "What is 1+1?", "answer": "2"}\n')
    return tmp_path


def listing(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() if p.is_file() else b"" for p in path.rglob("*")}


def one_line(err: str) -> str:
    """The only line of standard error, without its ``leash: ``."""
    (line,) = err.splitlines()
    assert line.startswith("leash: "), err
    return line.removeprefix("leash: ")


# Bad input. Each: what is typed, and what the message has to name.

BAD_CONFIG = {
    "a key of no section": ("smapling.n=4", "unknown key 'smapling'; did you mean 'sampling'?"),
    "a key of a section": ("sampling.temprature=1", "unknown key 'sampling.temprature'; did you mean 'temperature'?"),
    "a key of a policy": ("policies.base.modle=x", "unknown key 'policies.base.modle'; did you mean 'model'?"),
    "a key deep down": (
        "policies.base.autoscaling={min_replica: 1}",
        "unknown key 'policies.base.autoscaling.min_replica'; did you mean 'min_replicas'?",
    ),
    "a key of a task": ("task.pth=x", "unknown key 'task.pth'; did you mean 'path'?"),
    "a key of another kind of task": ("task.datset=x", "unknown key 'task.datset'; valid keys: columns, kind, limit"),
    "a key of a training task": (
        "train.task={kind: reasoning_gym, dataset: countdown, sise: 1}",
        "unknown key 'train.task.sise'; did you mean 'size'?",
    ),
    "a key like nothing": ("policies.base.qqqq=1", "unknown key 'policies.base.qqqq'; valid keys: accelerator_type, a"),
    "a kind of task": ("task.kind=jsnl", "unknown task.kind 'jsnl'; did you mean 'jsonl'?"),
    "a kind of task like nothing": ("task.kind=hub", "unknown task.kind 'hub'; there is: reasoning_gym, jsonl"),
    "no kind of task": ("task={path: x}", "missing key 'task.kind'"),
    "a missing key": ("train.steps=3", "missing key 'train.task'"),
    "a word for a number": ("sampling.n=many", "sampling.n: Input should be a valid integer, not 'many'"),
    "half a completion": ("sampling.n=1.5", "sampling.n: Input should be a valid integer"),
    "no completions": ("sampling.n=0", "sampling.n: Input should be greater than or equal to 1, not 0"),
    "a truth for a number": (
        "sampling.temperature=true",
        "sampling.temperature: Input should be a valid number, not T",
    ),
    "a word for a rate": ("sampling.top_p=high", "sampling.top_p: Input should be a valid number, not 'high'"),
    "no rate": ("sampling.top_p=.nan", "sampling.top_p: Input should be a finite number"),
    "no nucleus": ("sampling.top_p=0", "sampling.top_p: Input should be greater than 0, not 0"),
    "equal completions": (
        "sampling={temperature: 0, n: 8}",
        "sampling: at temperature 0 all n = 8 completions of a problem would be equal; set n to 1, or temperature ab",
    ),
    "no replica": (
        "policies.base.autoscaling={min_replicas: 0}",
        "policies.base.autoscaling.min_replicas: Input should be greater than or equal to 1, not 0",
    ),
    "a policy named as a path": (
        "policies={base: {model: m}, trained: {model: m}, ../x: {model: m}}",
        "policies has an entry '../x': a policy's name becomes a folder, so it is made of letters, digits,",
    ),
    "a path for a policy": ("base=../base", "policies has no entry '../base'; it has base, trained"),
    "training into a given model": (
        "train.task={kind: jsonl, path: x}",
        "policies.trained.model is set, so nothing would be trained into it; remove it or the train section",
    ),
    "a text for a task's number": ("task.limit='3'", "task.limit: Input should be a valid integer, not '3'"),
    "a truth for a task's number": (
        "task={kind: reasoning_gym, dataset: countdown, size: true}",
        "task.size: Input should be a valid integer, not True",
    ),
    "a text in a split": ("task.split=[0, '5']", "task.split.1: Input should be a valid integer, not '5'"),
    "a split of three": ("task.split=[0, 5, 9]", "task.split: split must be [lo, hi), such as [0, 80]; got [0, 5, 9]"),
    "a list for a section": ("sampling=[1]", "sampling: Input should be a valid dictionary"),
    "a split that is no range": ("task.split=[5, 2]", "task.split: split must be [lo, hi)"),
    "a policy that is missing": ("trained=rl", "policies has no entry 'rl'; it has base, trained"),
    "one policy twice": ("trained=base", "base and trained must name two different policies"),
    "no model": ("policies.trained.model=null", "policies.trained.model is missing"),
    "groups over workers": (
        "train={task: {kind: jsonl, path: x}, workers: 3, prompts_per_step: 4}",
        "prompts_per_step (4) must be a multiple of workers (3)",
    ),
    "--set without a value": ("sampling.n", "--set takes KEY=VALUE, such as train.steps=10, not 'sampling.n'"),
    "--set without a key": ("=3", "--set takes KEY=VALUE"),
    "--set of no YAML": ("name={", "--set name: '{' is not a YAML value"),
    "--set below a value": ("name.x=1", "--set name.x: name is not a section"),
}


@pytest.mark.parametrize(("setting", "message"), BAD_CONFIG.values(), ids=BAD_CONFIG)
def test_a_config_that_cannot_be(leash: Leash, folder: Path, setting: str, message: str) -> None:
    before = listing(folder)
    for command in ("run", "serve"):
        status, out, err = leash(command, "pair.yaml", "--set", setting)
        assert (status, out) == (2, "")
        assert message in one_line(err)
    assert listing(folder) == before


def test_several_mistakes_are_told_at_once(leash: Leash, folder: Path) -> None:
    _, _, err = leash("run", "pair.yaml", "--set", "sampling.n=0", "--set", "zero=1", "--set", "device=tpu")
    for part in ("sampling.n: ", "unknown key 'zero'", "device: Input should be 'auto', 'cpu' or 'gpu', not 'tpu'"):
        assert part in one_line(err)


BAD_FILES = {
    "missing": (None, "cannot read the config my.yaml: No such file or directory; give the path of a YAML file"),
    "not YAML": (b"name: [unclosed\n", "my.yaml is not valid YAML: "),
    "a list": (b"- name\n", "my.yaml must be a YAML mapping"),
    "empty": (b"", "my.yaml must be a YAML mapping"),
    "not text": (b"\xff\xfe\x00binary", "my.yaml is not a YAML file"),
}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_is_no_config(leash: Leash, folder: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (folder / "my.yaml").write_bytes(content)
    before = listing(folder)
    status, out, err = leash("train", "my.yaml")
    assert (status, out) == (2, "")
    assert message in one_line(err)
    assert listing(folder) == before
    assert leash("serve", folder)[0] == 2  # a directory


BAD_INPUT = {
    "a model folder that is missing": (["--base", "./nowhere"], "model folder ./nowhere does not exist"),
    "a folder without a model": (["--trained", "."], "is no Hugging Face model folder: it has no config.json"),
    "an embedded model": (["--base", "embedded:chess"], "no embedded model 'embedded:chess'; there is embedded:coun"),
    "a problems file that is missing": (["--problems", "nowhere.jsonl"], "no task file nowhere.jsonl"),
    "a problems file without problems": (["--problems", "empty.jsonl"], "empty.jsonl gives no problems: it is empty"),
    "a problems file that is no JSONL": (["--problems", "pair.yaml"], "pair.yaml, line 2: not JSON"),
    "a column that is missing": (["--set", "task.columns.answer=a"], "no column 'a' (columns here: answer, problem)"),
    "a verifier": (["--set", "task.verifier=maths"], "unknown verifier 'maths'"),
    "a data set": (["--gym", "countdwn"], "countdown"),
    "a data set's setting": (
        ["--gym", "countdown", "--set", "task.config={min_number: 3}"],
        "min_numbers",
    ),
    "both --problems and --gym": (["--problems", "problems.jsonl", "--gym", "countdown"], "give either"),
    "training on nothing": (
        ["--set", "train={task: {kind: jsonl, path: empty.jsonl}}", "--set", "policies.trained.model=null"],
        "empty.jsonl gives no problems",
    ),
    "training on what is measured": (
        ["--set", "train={task: {kind: jsonl, path: problems.jsonl}}", "--set", "policies.trained.model=null"],
        "1 training problems are also measured",
    ),
}


@pytest.mark.parametrize(("options", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_input_that_cannot_be_used(leash: Leash, folder: Path, options: list[str], message: str) -> None:
    """It is found before Ray starts, and before a run directory is made: the corrected command needs no clean-up."""
    (folder / "empty.jsonl").write_text("\n")
    before = listing(folder)
    status, out, err = leash("sample", "pair.yaml", *options)
    assert (status, out) == (2, "")
    assert message in one_line(err)
    assert listing(folder) == before


def test_sample_without_a_config_needs_the_rest(leash: Leash, folder: Path) -> None:
    status, _, err = leash("sample", "--base", "a/b", "--gym", "countdown")
    assert (status, one_line(err)) == (2, "give a CONFIG, or --base, --trained and one of --problems and --gym")


def test_models_go_to_the_policies_that_play_the_roles(leash: Leash, folder: Path) -> None:
    (folder / "named.yaml").write_text(PAIR.replace("  base:", "  q:").replace("name: pair", "name: pair\nbase: q"))
    _, _, err = leash("sample", "named.yaml", "--base", "./nowhere")
    assert "model folder ./nowhere does not exist" in one_line(err)


@pytest.mark.parametrize("command", ["run", "train", "sample"])
def test_a_run_directory_that_is_taken(leash: Leash, folder: Path, command: str) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "notes").touch()
    RunDir.create(folder / "runs" / "pair", load_config("pair.yaml").model_dump(mode="json"), seed=0)
    before = listing(folder)
    status, _, err = leash(command, "pair.yaml", "--run", "mine")
    assert status == 2
    assert "mine exists and is not a run: choose another name with `--run`" in one_line(err)
    status, _, err = leash(command, "pair.yaml")
    assert status == 2
    for choice in ("runs/pair holds this run already", "`--resume`", "`--run NAME`"):
        assert choice in one_line(err)
    status, _, err = leash(command, "pair.yaml", "--resume", "--set", "sampling.n=7")
    assert status == 2
    assert "sampling.n: 256 -> 7" in err
    assert listing(folder) == before


def test_a_port_in_use(leash: Leash, folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, out, err = leash("serve", "pair.yaml", "--port", port)
    assert (status, out) == (2, "")
    assert one_line(err).startswith(f"cannot listen on 127.0.0.1:{port} (Address already in use); choose another with")


CLICK_ERRORS = {
    "no such command": (["dmeo"], "No such command 'dmeo'"),
    "no such option": (["demo", "--sede", "1"], "No such option"),
    "no config": (["run"], "Missing argument 'CONFIG'"),
    "too much": (["report", "a", "b"], "unexpected extra argument (b)"),
    "no completions": (["sample", "--n", "0"], "'--n'"),
    "no port": (["serve", "c.yaml", "--port", "70000"], "'--port'"),
    "nothing": ([], "Commands:"),
}


@pytest.mark.parametrize(("arguments", "message"), CLICK_ERRORS.values(), ids=CLICK_ERRORS)
def test_arguments_that_are_none(leash: Leash, folder: Path, arguments: list[str], message: str) -> None:
    status, out, err = leash(*arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reduce"], "give PATHS"),
        (["reduce", "nowhere"], "no such file or folder: nowhere"),
        (["reduce", "nowhere/*.parquet"], "no such file or folder: nowhere/*.parquet"),
        (["reduce", "."], "no Parquet files in ."),
        (["reduce", "pair.yaml"], "cannot read pair.yaml: expected one of .parquet"),
        (["reduce", "problems.jsonl", "--zeta", "1.5"], "--zeta must lie between 0 and 1, not 1.5"),
        (["reduce", "problems.jsonl", "--base", "x", "--trained", "x"], "must name two different policies"),
        (["report", "nowhere"], "nowhere does not exist: `leash demo` makes one"),
        (["report", "."], ". is not a run"),
        (["check", "--task", "maths", "--reference", "1", "--text", "1"], "unknown verifier 'maths'"),
        (["check", "--task", "reasoning_gym:countdwn", "--reference", "1", "--text", "1"], "countdown"),
        (["check", "--task", "math", "--text", "1"], "give --reference and --text together"),
        (["check", "--task", "math", "--reference", "1"], "give --reference and --text together"),
    ],
)
def test_other_commands(leash: Leash, folder: Path, arguments: list[str], message: str) -> None:
    before = listing(folder)
    status, out, err = leash(*arguments)
    assert (status, out) == (2, "")
    assert message in one_line(err)
    assert listing(folder) == before


def test_a_report_before_there_is_anything_to_report(leash: Leash, folder: Path) -> None:
    RunDir.create(folder / "run", load_config("pair.yaml").model_dump(mode="json"), seed=0)
    status, _, err = leash("report", "run")
    assert status == 2
    assert "leash reduce" in one_line(err)


# Whatever goes wrong.


def fails_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(stages, "open_run", fail)


def test_work_that_fails(leash: Leash, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, RunFailed("a policy did not start: no memory"))
    status, _, err = leash("sample", "pair.yaml")
    assert (status, one_line(err)) == (1, "a policy did not start: no memory")


def test_what_nobody_expected(leash: Leash, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, KeyError("first\n\nlast"))
    status, _, err = leash("sample", "pair.yaml")
    assert status == 1
    assert one_line(err).endswith("(--debug shows where)")
    status, _, err = leash("sample", "pair.yaml", debug=True)
    assert status == 1
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-1].startswith("leash: KeyError")


def test_debug_shows_where_a_mistake_was_found(leash: Leash, folder: Path) -> None:
    status, _, err = leash("run", "nowhere.yaml", debug=True)
    assert status == 2
    assert err.startswith("Traceback (most recent call last)")
    assert err.splitlines()[-1].startswith("leash: cannot read the config nowhere.yaml")


@pytest.mark.parametrize(("error", "status"), [(UsageError("name the fix"), 2), (RunFailed("go on so"), 1)])
def test_what_a_ray_task_raised(
    leash: Leash, folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    """Ray's error has the remote stack trace as its text, and the class of what was raised."""
    from ray.exceptions import RayTaskError

    from_ray = RayTaskError("task", "Traceback ...\n  in task\n", error).as_instanceof_cause()
    fails_with(monkeypatch, from_ray)
    found, _, err = leash("sample", "pair.yaml")
    assert (found, one_line(err)) == (status, str(error))


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["sample", "pair.yaml"], "free some space; go on with: leash sample pair.yaml --resume;"),
        (["sample", "pair.yaml", "--resume"], "free some space; go on with: leash sample pair.yaml --resume;"),
    ],
)
def test_a_full_disk(
    leash: Leash, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], hint: str
) -> None:
    fails_with(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "runs/pair/part.parquet"))
    status, _, err = leash(*arguments)
    assert status == 1
    assert hint in one_line(err)
    assert "runs/pair/part.parquet" in err


def test_an_interruption(leash: Leash, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, KeyboardInterrupt())
    status, _, err = leash("sample", "pair.yaml")
    expected = "interrupted; what was finished is kept; go on with: leash sample pair.yaml --resume"
    assert (status, one_line(err)) == (1, expected)


def test_a_reader_that_goes_away_is_no_error(folder: Path) -> None:
    """As in ``leash ... | head -1``."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run([*LEASH, "--help"], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_broken_pipe_to_a_worker_is_an_error(leash: Leash, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, BrokenPipeError(errno.EPIPE, "Broken pipe"))
    status, _, err = leash("sample", "pair.yaml")
    assert status == 1
    assert one_line(err).startswith("BrokenPipeError")


def test_as_it_is_installed(folder: Path) -> None:
    """Through the process's own arguments and exit status."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*LEASH, "run", "no.yaml"], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert one_line(done.stderr).startswith("cannot read the config no.yaml")
    done = subprocess.run([*LEASH, "--debug", "run", "no.yaml"], cwd=folder, env=env, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"Traceback" in done.stderr


# Help.


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(leash: Leash, command: str) -> None:
    for flag in ("--help", "-h"):
        status, out, err = leash(command, flag)
        assert (status, err) == (0, "")
        assert "Example:\n" in out
        assert f"leash {command} " in out.split("Example:\n")[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_is_one_that_the_command_takes(command: str) -> None:
    """Its options exist, and its configs are committed."""
    import shlex

    epilog = cli.leash.commands[command].epilog
    assert epilog is not None
    name, found, *arguments = shlex.split(epilog.split("Example:\n")[1])
    assert (name, found) == ("leash", command)
    with click.Context(cli.leash) as group:
        cli.leash.commands[command].make_context(command, list(arguments), parent=group)
    for argument in arguments:
        if argument.startswith("jobs/"):
            load_config(ROOT / argument)


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    seconds = []
    for _ in range(3):
        started_s = time.monotonic()
        out = subprocess.run([*LEASH, "--help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        seconds.append(time.monotonic() - started_s)
    assert min(seconds) < 0.5
    for command in (*COMMANDS, "leash demo"):
        assert command in out
    script = f"""
import sys
from leash_ray import cli
for arguments in ([], ["--help"], *([c, "--help"] for c in cli.leash.commands), ["--version"]):
    cli._run(arguments, False)
print("heavy:", *[m for m in {HEAVY} if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy:"


# What goes to standard output.


def table(policy: str, problems: dict[str, str]) -> pa.Table:
    """``-`` has no answer, ``.`` a wrong one, and a letter is a correct answer; two tokens of -0.5 nats in all."""
    rows = []
    for problem, samples in problems.items():
        for i, sample in enumerate(samples):
            verdict = {"-": "NO_ANSWER", ".": "INCORRECT"}.get(sample, "CORRECT")
            answer = {"-": None, ".": "wrong"}.get(sample, sample)
            rows.append((policy, "t", problem, i, verdict, answer, 2, -0.5))
    names = ("policy", "task", "problem_id", "sample_index", "verdict", "answer", "n_tokens", "logprob_sum")
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    (tmp_path / "tables").mkdir()
    pq.write_table(table("q", {"1": "ab", "2": "a-", "3": ".."}), tmp_path / "tables" / "q.parquet")
    pq.write_table(table("rl", {"1": "aa", "2": "..", "3": "a."}), tmp_path / "tables" / "rl.parquet")
    return tmp_path / "tables"


def test_reduce_prints_one_json_object_and_nothing_else(tables: Path) -> None:
    """The documented shape, to which keys are only added; from a process of its own, Ray's start included."""
    command = [*LEASH, "reduce", tables, "--base", "q", "--trained", "rl", "--zeta", "0.1", "--json"]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1
    found = json.loads(done.stdout)
    head = {key: found[key] for key in ("base", "trained", "n_problems", "k", "zeta")}
    assert head == {"base": "q", "trained": "rl", "n_problems": 3, "k": 2, "zeta": 0.1}
    assert found["epsilon"] == pytest.approx(2.302585 / 2, rel=1e-6)
    half = {"SRR": 0.5, "NDR": 0.5, "SDS": 0.5, "NSCR": 0.0}
    problem = found["support"]["problem"]
    assert problem == {**problem, "P": 1, "E": 1, "S": 1, "O": 0, **half}
    answer = found["support"]["answer"]  # q: (1, a) (1, b) (2, a); rl: (1, a) (3, a)
    assert {key: answer[key] for key in "PES"} == {"P": 1, "E": 1, "S": 2}
    assert answer.keys() == found["support"]["problem"].keys()
    q = found["policies"]["q"]
    assert found["policies"].keys() == {"q", "rl"}
    assert (q["n_completions"], q["mean_n_tokens"], q["mean_surprisal"]) == (6, 2.0, 0.25)
    assert q["verdicts"] == {"CORRECT": 3, "INCORRECT": 2, "NO_ANSWER": 1, "TRUNCATED": 0, "ERROR": 0}
    assert q["pass_at_k"] == pytest.approx({"1": 0.5, "2": 2 / 3})
    assert q["answer_entropy"] == pytest.approx(2 * 0.693147 / 3, rel=1e-6)
    assert q.keys() == found["policies"]["rl"].keys()


def test_reduce_knows_the_policies_of_a_run(
    leash: Leash, folder: Path, tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `leash sample` says to do next works whatever its config calls the policies."""
    from leash_ray.reduce import reduce_paths

    text = PAIR.replace("  base:", "  q:").replace("  trained:", "  rl:").replace("pair", "pair\nbase: q\ntrained: rl")
    (folder / "named.yaml").write_text(text + "zeta: 0.1\n")
    run = RunDir.create(folder / "run", load_config("named.yaml").model_dump(mode="json"), seed=0)
    for file in tables.iterdir():
        file.rename(run.completions / file.name)

    def here(paths: Any, **options: Any) -> Any:
        return reduce_paths(paths, **{**options, "parallel": False})

    monkeypatch.setattr("leash_ray.reduce.reduce_paths", here)
    status, out, _ = leash("reduce", "run", "--json")
    found = json.loads(out)
    assert (status, found["base"], found["trained"], found["zeta"]) == (0, "q", "rl", 0.1)
    assert json.loads(run.support_json.read_text()) == found
    status, out, _ = leash("reduce", "run")
    assert status == 0
    assert "next: leash report run" in out
    assert leash("reduce", "--config", "named.yaml", "--run", "run", "--json")[:2] == (0, json.dumps(found) + "\n")


@pytest.mark.usefixtures("ray_session")
def test_reduce_without_that_policy(leash: Leash, tables: Path) -> None:
    status, out, err = leash("reduce", tables, "--base", "q", "--trained", "trained")
    assert (status, out) == (2, "")
    message = one_line(err)
    for name in ("trained", "q", "rl"):
        assert name in message


def test_check_one_text(leash: Leash) -> None:
    status, out, err = leash("check", "--task", "math", "--reference", "1/2", "--text", "so \\boxed{0.5}")
    assert (status, err) == (0, "")
    found = {"verdict": "CORRECT", "answer": "1/2", "reason": None, "stage": "boxed", "leniency": None}
    assert json.loads(out) == found


def test_check_with_other_limits(leash: Leash) -> None:
    arguments = ("check", "--task", "exact", "--reference", "yes", "--text", "<answer>no, never</answer>")
    status, out, _ = leash(*arguments, "--set", "max_answer_chars=5")
    assert (status, json.loads(out)["verdict"]) == (0, "ERROR")
    assert "max_answer_chars" in json.loads(out)["reason"]
    status, _, err = leash(*arguments, "--set", "max_answer_char=5")
    assert status == 2 and "did you mean 'max_answer_chars'?" in one_line(err)


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


def test_check_lines(leash: Leash, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference may be an object; blank lines are left out."""
    reference = {"numbers": [2, 3, 9], "target": 21}
    texts = ["9*2+3", "2+3", ""]
    lines = [json.dumps({"reference": reference, "text": text}) for text in texts]
    stdin(monkeypatch, "\n\n".join(lines).encode())
    status, out, err = leash("check", "--task", "reasoning_gym:countdown")
    assert (status, err) == (0, "")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["verdict"] for row in rows] == ["CORRECT", "INCORRECT", "NO_ANSWER"]
    assert all(row.keys() == {"verdict", "answer", "reason", "stage", "leniency"} for row in rows)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"not JSON", "line 2: expected"),
        (b'["1", "1"]', "line 2: expected"),
        (b'{"reference": "1"}', "line 2: expected"),
        (b'{"reference": "1", "text": 1}', "line 2: expected"),
        (b'{"reference": "1", "text": "\xff"}', "standard input is not UTF-8 text"),
    ],
)
def test_check_lines_that_are_none(leash: Leash, monkeypatch: pytest.MonkeyPatch, line: bytes, message: str) -> None:
    stdin(monkeypatch, b"\n" + line + b"\n")
    status, out, err = leash("check", "--task", "math")
    assert (status, out) == (2, "")
    assert message in one_line(err)

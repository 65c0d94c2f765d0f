"""Run directories: made whole, never overwritten, gone on with only as they were."""

import dataclasses
import enum
import json
import math
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from leash_ray import provenance
from leash_ray.config_file import config_hash, config_text, differences, read_config
from leash_ray.errors import RunFailed, UsageError
from leash_ray.files import write_text
from leash_ray.free_space import require_free_space
from leash_ray.run_dir import RunDir

CONFIG = {"model": "m", "train": {"lr": 3e-4, "steps": 10, "betas": [0.9, 0.95]}, "monitor": {"wandb": "auto"}}


def changed(**train: Any) -> dict[str, Any]:
    return {**CONFIG, "train": {**CONFIG["train"], **train}}  # type: ignore[dict-item]


def listing(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


# Making one.


def test_a_new_run_says_what_was_asked_and_with_what(tmp_path: Path) -> None:
    import numpy
    import ray

    run = RunDir.create(tmp_path / "runs" / "first", CONFIG, seed=5)
    assert yaml.safe_load(run.config_yaml.read_text()) == CONFIG == run.config
    info = json.loads(run.run_json.read_text())
    assert info["name"] == run.name == "first"
    assert info["seed"] == run.seed == 5
    assert info["packages"]["ray"] == ray.__version__
    assert info["packages"]["numpy"] == numpy.__version__
    assert info["config_hash"] == config_hash(CONFIG)
    for key in ("created", "command", "leash_ray", "python", "platform"):
        assert info[key], key
    assert "git_commit" in info
    assert f"numpy=={numpy.__version__}\n" in run.versions_txt.read_text()
    assert run.completions.is_dir()
    assert run.checkpoints.is_dir()
    assert [p.name for p in run.path.parent.iterdir()] == ["first"]  # nothing temporary is left


def test_it_may_be_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert RunDir.create(tmp_path / "run", CONFIG, seed=0).config == CONFIG


def test_a_config_is_written_as_plain_values(tmp_path: Path) -> None:
    class Kind(enum.StrEnum):
        A = "a"

    @dataclasses.dataclass(frozen=True)
    class Train:
        betas: tuple[float, float] = (0.9, 0.95)
        out: Path = Path("x/y")
        kind: Kind = Kind.A
        none: None = None

    run = RunDir.create(tmp_path / "run", {"train": Train()}, seed=0)
    assert run.config == {"train": {"betas": [0.9, 0.95], "out": "x/y", "kind": "a", "none": None}}
    RunDir.create(tmp_path / "run", {"train": Train()}, seed=0, resume=True)
    with pytest.raises(TypeError, match="not object"):
        RunDir.create(tmp_path / "other", {"x": object()}, seed=0)
    assert not (tmp_path / "other").exists()


def test_what_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(provenance, "git_commit", fail)
    with pytest.raises(KeyboardInterrupt):
        RunDir.create(tmp_path / "run", CONFIG, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_a_race_has_one_winner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = provenance.git_commit

    def slow() -> str | None:  # while this process is still writing, another one finishes
        monkeypatch.setattr(provenance, "git_commit", real)
        RunDir.create(tmp_path / "run", CONFIG, seed=1)
        return None

    monkeypatch.setattr(provenance, "git_commit", slow)
    monkeypatch.setattr(os, "getpid", iter(range(10**6, 2 * 10**6)).__next__)
    with pytest.raises(UsageError, match="seed: 1 -> 2"):
        RunDir.create(tmp_path / "run", CONFIG, seed=2)
    assert RunDir.open(tmp_path / "run").seed == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="choose another place"):
        RunDir.create(tmp_path / "run", CONFIG, seed=0)


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="choose another place"):
        RunDir.create(tmp_path / "file" / "run", CONFIG, seed=0)


# Going on with one.


def test_an_existing_run_needs_resume(tmp_path: Path) -> None:
    first = RunDir.create(tmp_path / "run", CONFIG, seed=0)
    first.mark_done("train")
    (first.completions / "part.parquet").write_bytes(b"data")
    before = listing(first.path)
    with pytest.raises(UsageError, match=r"stages done: train\)(.|\n)*--resume(.|\n)*--run NAME(.|\n)*by hand"):
        RunDir.create(tmp_path / "run", CONFIG, seed=0)
    assert listing(first.path) == before

    again = RunDir.create(tmp_path / "run", json.loads(json.dumps(CONFIG)), seed=0, resume=True)
    after = listing(first.path)
    assert len(again.info["resumed"]) == 1
    assert again.info["resumed"][0]["changed_packages"] == {}
    assert {k: v for k, v in after.items() if k != "run.json"} == {k: v for k, v in before.items() if k != "run.json"}


def test_resume_starts_a_run_that_is_not_there(tmp_path: Path) -> None:
    assert RunDir.create(tmp_path / "run", CONFIG, seed=0, resume=True).info.get("resumed") is None


def test_a_resume_records_packages_that_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RunDir.create(tmp_path / "run", CONFIG, seed=0)
    then = RunDir.open(tmp_path / "run").info["packages"]
    monkeypatch.setattr(provenance, "versions", lambda: {**then, "ray": "3.0"})
    run = RunDir.create(tmp_path / "run", CONFIG, seed=0, resume=True)
    assert run.info["resumed"][0]["changed_packages"] == {"ray": [then["ray"], "3.0"]}
    assert run.info["packages"] == then


@pytest.mark.parametrize("resume", [False, True])
def test_another_config_is_refused_with_the_keys_that_differ(tmp_path: Path, resume: bool) -> None:
    run = RunDir.create(tmp_path / "run", CONFIG, seed=0)
    before = listing(run.path)
    other = changed(steps=20, betas=[0.9, 0.99], clip=1.0)
    del other["model"]
    with pytest.raises(UsageError) as e:
        RunDir.create(tmp_path / "run", other, seed=1, resume=resume)
    assert str(e.value).splitlines()[1:-1] == [
        '  model: "m" -> (absent)',
        "  train.steps: 10 -> 20",
        "  train.betas: [0.9, 0.95] -> [0.9, 0.99]",
        "  seed: 0 -> 1",
        "  train.clip: (absent) -> 1.0",
    ]
    for choice in ("--run NAME", "--resume", "by hand"):
        assert choice in str(e.value)
    assert listing(run.path) == before


def test_what_does_not_matter_may_change(tmp_path: Path) -> None:
    RunDir.create(tmp_path / "run", CONFIG, seed=0)
    other = {**changed(steps=20), "monitor": {"wandb": "off", "project": "p"}}
    with pytest.raises(UsageError, match=r"train\.steps") as e:
        RunDir.create(tmp_path / "run", other, seed=0, resume=True, may_change=["monitor"])
    assert "wandb" not in str(e.value)
    run = RunDir.create(tmp_path / "run", other, seed=0, resume=True, may_change=["monitor", "train.steps"])
    assert run.config == CONFIG  # what it was made with


def test_what_is_no_run_is_never_touched(tmp_path: Path) -> None:
    folder, file, link = tmp_path / "folder", tmp_path / "file", tmp_path / "link"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    file.write_text("x")
    link.symlink_to(tmp_path / "nowhere")
    for path in (folder, file, link):
        for resume in (False, True):
            with pytest.raises(UsageError, match="is not a run"):
                RunDir.create(path, CONFIG, seed=0, resume=resume)
    assert listing(tmp_path) == {"folder/thesis.tex": b"years of work", "file": b"x"}
    assert link.is_symlink()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), values, max_size=3))
def test_any_config_is_the_same_when_read_back(
    tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]
) -> None:
    """NaN, 1e-05, "no", "1e3" and the like: what YAML may read as something else must still resume."""
    path = tmp_path_factory.mktemp("runs") / "run"
    write_text(path / "config.yaml", config_text(config))
    assert differences(read_config(path / "config.yaml"), config, ()) == []
    shutil.rmtree(path)


def test_numbers_that_yaml_reads_as_text() -> None:
    text = config_text({"a": 1e-5, "b": 1e20, "c": math.inf, "d": "1e3", "e": "no", "f": "0o7"})
    assert yaml.safe_load(text) == {"a": 1e-5, "b": 1e20, "c": math.inf, "d": "1e3", "e": "no", "f": "0o7"}


# Reading one.


def test_open_names_runs_that_are_near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("countdown-a", "math"):
        RunDir.create(tmp_path / "runs" / name, CONFIG, seed=0)
    assert RunDir.open(tmp_path / "runs" / "math").config == CONFIG
    with pytest.raises(UsageError, match=r"countdwn-a does not exist: did you mean \S+/countdown-a\?"):
        RunDir.open(tmp_path / "runs" / "countdwn-a")
    with pytest.raises(UsageError, match=r"did you mean \S+ or \S+\?"):
        RunDir.open(tmp_path / "runs" / "zzz")
    with pytest.raises(UsageError, match=r"is not a run \(it has no run.json\): did you mean \S+/runs/\S+ or"):
        RunDir.open(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"math does not exist: did you mean runs/math\?"):
        RunDir.open("math")  # the name alone
    monkeypatch.chdir(tmp_path / "runs" / "math")
    with pytest.raises(UsageError, match="leash demo"):
        RunDir.open("nowhere/at/all")


def test_a_damaged_run_is_a_usage_error(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", CONFIG, seed=0)
    run.run_json.write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        RunDir.create(tmp_path / "run", CONFIG, seed=0, resume=True)
    run.run_json.write_text("[]")
    with pytest.raises(UsageError, match="damaged"):
        _ = run.info


# Stages.


def test_stages_are_remembered(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", CONFIG, seed=0)
    assert not run.stage_done("train")
    assert run.stage_info("train") is None
    run.mark_done("train", {"step": 100, "checkpoint": Path("c")})
    run.mark_done("sample")
    again = RunDir.open(tmp_path / "run")
    assert again.stage_done("train")
    assert again.stage_info("train") == {"step": 100, "checkpoint": "c"}
    assert again.stage_info("sample") == {}
    assert not again.stage_done("report")


def _try_to_hold(path: Path, answers: "multiprocessing.SimpleQueue[str]") -> None:
    try:
        with RunDir.open(path).hold():
            answers.put("held")
    except UsageError as e:
        answers.put(str(e))


def test_one_process_at_a_time(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", CONFIG, seed=0)
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.SimpleQueue[str] = context.SimpleQueue()

    def other() -> str:
        process = context.Process(target=_try_to_hold, args=(run.path, answers))
        process.start()
        process.join()
        return answers.get()

    with run.hold():
        assert f"another process (pid {os.getpid()}) is working on" in other()
    assert other() == "held"


# Room.


def test_require_free_space(tmp_path: Path) -> None:
    require_free_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(RunFailed, match=r"^sampling needs about 1000000\.0 GB and \S+ has .* free: free some space"):
        require_free_space(tmp_path / "not" / "yet", 1e15, "sampling")
    assert not (tmp_path / "not").exists()

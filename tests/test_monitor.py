"""The monitor: what it writes, that logging never raises, and a real offline W&B run (no network)."""

import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wandb_records import complete_records

from leash_ray import monitor as monitor_module
from leash_ray.errors import RunFailed, UsageError
from leash_ray.monitor import Monitor, Table, read_metrics, resolve_mode


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The machine's own W&B login, if it has one, is not the tests' to use."""
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    # W&B keeps its settings and its logs of staging in the user's folders otherwise.
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))


def rows(run_dir: Path) -> list[dict[str, Any]]:
    """Strictly: every line is JSON, without NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = (run_dir / "metrics.jsonl").read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.split("\n")[:-1]]


# The file.


def test_each_row_is_there_at_once(tmp_path: Path) -> None:
    with Monitor(tmp_path, wandb_mode="off") as monitor:
        monitor.log("train", {"reward": 0.5}, step=3)
        (row,) = rows(tmp_path)
        assert list(row) == ["time", "stage", "step", "reward"]
        assert (row["stage"], row["step"], row["reward"]) == ("train", 3, 0.5)
        monitor.summary({"pass@1": 0.2})
    assert rows(tmp_path)[1]["stage"] == "summary"
    assert not (tmp_path / "wandb").exists()


def test_undefined_numbers_are_null_and_scalars_of_any_library_are_numbers(tmp_path: Path) -> None:
    import torch

    values = {
        "nan": math.nan,
        "inf": -math.inf,
        "np": np.float32(0.25),
        "np_nan": np.float64("nan"),
        "count": np.int64(7),
        "flag": np.bool_(True),
        "torch": torch.tensor(1.5),
        "list": [1, np.nan, (2.0,)],
        "dict": {1: {"x": math.inf}},
        "array": np.array([[1, 2]]),
        "path": tmp_path,
        "time": 3,
    }
    with Monitor(tmp_path, wandb_mode="off") as monitor:
        monitor.log("train", values)
        assert monitor.n_failures == 0
    (row,) = rows(tmp_path)
    assert [row["nan"], row["inf"], row["np_nan"]] == [None, None, None]
    assert [row["np"], row["count"], row["flag"], row["torch"]] == [0.25, 7, True, 1.5]
    assert row["list"] == [1, None, [2.0]]
    assert row["dict"] == {"1": {"x": None}}
    assert row["array"] == [[1, 2]]
    assert row["path"] == str(tmp_path)
    assert row["time_"] == 3
    assert row["time"] > 1e9
    assert row["step"] is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_any_metrics_make_one_readable_line(tmp_path_factory: pytest.TempPathFactory, metrics: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("run")
    with Monitor(folder, wandb_mode="off") as monitor:
        monitor.log("s", metrics, step=1)
        monitor.log("s", {"after": 1}, step=2)
        assert monitor.n_failures == 0
    assert len(rows(folder)) == 2
    assert read_metrics(folder, "s") == rows(folder)


def test_writers_do_not_tear_each_others_lines(tmp_path: Path) -> None:
    def write(i: int) -> None:
        with Monitor(tmp_path, wandb_mode="off") as monitor:
            for step in range(200):
                monitor.log(f"stage{i}", {"text": "x" * 200}, step=step)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for i in range(4):
        assert [r["step"] for r in read_metrics(tmp_path, f"stage{i}")] == list(range(200))
    assert len(rows(tmp_path)) == 800


def test_a_line_cut_short_by_a_crash_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"stage": "train", "step": 1}\n{"stage": "tra')
    assert [r["step"] for r in read_metrics(tmp_path)] == [1]
    with Monitor(tmp_path, wandb_mode="off") as monitor:
        monitor.log("train", {}, step=2)
        assert [r["step"] for r in read_metrics(tmp_path)] == [1, 2]
        monitor.rewind("train", 1)
    assert [r["step"] for r in rows(tmp_path)] == [1]


# Resuming.


def test_rewind_drops_the_later_rows_of_that_stage_only(tmp_path: Path) -> None:
    with Monitor(tmp_path, wandb_mode="off") as monitor:
        for step in range(1, 6):
            monitor.log("train", {"reward": step}, step=step)
            monitor.log("sample", {"n": step}, step=step)
        monitor.log("train", {"note": "no step"})
        assert monitor.rewind("train", 3) == 2
        monitor.log("train", {"reward": 40}, step=4)
        assert monitor.rewind("train", 10) == 0
        assert monitor.rewind("absent", 0) == 0
    assert [r["step"] for r in read_metrics(tmp_path, "train")] == [1, 2, 3, None, 4]
    assert [r["step"] for r in read_metrics(tmp_path, "sample")] == [1, 2, 3, 4, 5]
    assert read_metrics(tmp_path)[-1]["reward"] == 40
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9))), st.integers(0, 9))
def test_rewind_leaves_what_a_filter_would(
    tmp_path_factory: pytest.TempPathFactory, logged: list[tuple[str, int]], step: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    with Monitor(folder, wandb_mode="off") as monitor:
        for stage, s in logged:
            monitor.log(stage, {}, step=s)
        monitor.rewind("a", step)
    left = [(r["stage"], r["step"]) for r in read_metrics(folder)]
    assert left == [(stage, s) for stage, s in logged if stage == "b" or s <= step]


# Failures.


def test_logging_never_raises_and_warns_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("cannot be shown")

    with Monitor(tmp_path, wandb_mode="off") as monitor:
        for _ in range(3):
            monitor.log("train", {"odd": Odd()}, step=1)
        monitor.log("train", {"fine": 1}, step=2)
        assert monitor.n_failures == 3
    assert capsys.readouterr().err.count("the run goes on") == 1
    assert [r["step"] for r in rows(tmp_path)] == [2]


def test_a_failing_wandb_costs_nothing_but_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        url = None

        def __getattr__(self, name: str) -> Any:
            raise ConnectionError("gone")

    monkeypatch.setattr(monitor_module, "_start_wandb", lambda *_: Broken())
    with Monitor(tmp_path, wandb_mode="online") as monitor:
        monitor.log("train", {"reward": 1}, step=1)
        monitor.summary({"x": 1})
    assert monitor.n_failures == 3  # log, summary and finish
    assert capsys.readouterr().err.count("warning:") == 1
    assert len(rows(tmp_path)) == 2


def test_start_up_fails_the_run_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    def refuse(**_: object) -> None:
        raise wandb.errors.CommError("no route to host")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(RunFailed, match=r"no route to host.*wandb login.*offline"):
        Monitor(tmp_path, wandb_mode="online")


# Which mode.


def test_auto_is_online_where_there_is_a_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert resolve_mode("auto") == "offline"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    assert resolve_mode("auto") == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert resolve_mode("auto") == "offline"  # that login is for another server
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert resolve_mode("auto") == "online"
    for asked, mode in {"offline": "offline", "disabled": "off", "online": "online"}.items():
        monkeypatch.setenv("WANDB_MODE", asked)
        assert resolve_mode("auto") == mode
    assert resolve_mode("off") == "off"


def test_an_unknown_mode_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="auto, online, offline, off"):
        Monitor(tmp_path / "run", wandb_mode="on")
    assert not (tmp_path / "run").exists()


def test_wandb_is_imported_only_when_asked_for() -> None:
    code = (
        "import sys, tempfile, pathlib\n"
        "from leash_ray.monitor import Monitor\n"
        "with Monitor(pathlib.Path(tempfile.mkdtemp()), wandb_mode='off') as m: m.log('s', {'x': 1}, 1)\n"
        "assert not {'wandb', 'torch', 'ray', 'numpy'} & set(sys.modules), set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# A real offline run.


def test_an_offline_run_holds_the_metrics_of_all_stages(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_dir = tmp_path / "first"
    with Monitor(run_dir, wandb_mode="offline", config={"seed": 3, "model": Path("m")}) as monitor:
        assert monitor.url is None
        lost = Table(("problem", "n"), [("a", 3), (None, 4)])
        monitor.log("train", {"reward": 0.25, "loss": math.nan, "lost": lost, "none": Table(("n",), [])}, step=7)
        run_id = (run_dir / "wandb" / "run_id").read_text().strip()
    with Monitor(run_dir, wandb_mode="offline") as monitor:  # another stage, later
        monitor.log("sample", {"tokens_per_s": np.float32(1500)}, step=1)
        monitor.summary({"support": {"E": 3}})
    assert monitor.n_failures == 0
    assert "{" not in capfd.readouterr().out  # standard output is `--json`'s

    files = sorted((run_dir / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2  # one a process, though they may start within one second
    assert all(run_id in f.name for f in files)
    history: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    axes: dict[str, str] = {}
    config: dict[str, Any] = {}
    for record in [r for f in files for r in complete_records(f)]:
        if record.HasField("history"):
            history |= {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
        if record.HasField("summary"):
            summary |= {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.summary.update}
        if record.HasField("metric") and record.metric.step_metric:
            axes[record.metric.glob_name or record.metric.name] = record.metric.step_metric
        if record.HasField("run"):
            assert record.run.run_id == run_id
            assert record.run.display_name == "first"
            config |= {i.key: json.loads(i.value_json) for i in record.run.config.update}
    assert history["train/reward"] == 0.25
    assert history["train/step"] == 7
    assert "train/loss" not in history and "train/none" not in history
    assert [history[f"train/lost/{key}"] for key in ("_type", "nrows", "ncols")] == ["table-file", 2, 2]
    row = read_metrics(run_dir, "train")[0]
    assert row["lost"] == [{"problem": "a", "n": 3}, {"problem": None, "n": 4}] and row["none"] == []
    assert history["sample/tokens_per_s"] == 1500
    assert axes == {"train/*": "train/step", "sample/*": "sample/step"}
    assert summary["support"] == {"E": 3}
    assert config["seed"] == 3
    assert config["model"] == "m"

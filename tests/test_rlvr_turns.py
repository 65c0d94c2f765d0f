"""Rollouts kept by turn: what the first and the latest turn of each problem gave, measured like base and trained."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from leash_ray import so_far
from leash_ray.config import MonitorConfig
from leash_ray.monitor import read_metrics
from leash_ray.reduce import reduce_paths, reduce_state
from leash_ray.rlvr import turns
from leash_ray.rlvr.rollouts import Draw
from leash_ray.rlvr.turns import FOLDER, Turns, first_and_latest, in_turns
from leash_ray.rlvr.watched import watched
from leash_ray.types import CompletionBatch, Problem, Verdict
from leash_ray.verify import Verification

PROBLEMS = [Problem.make("t", f"{i}:", "scripted", "1") for i in range(3)]


def group(answers: str) -> CompletionBatch:
    """A completion of one token for each answer."""
    n = len(answers)
    return CompletionBatch(
        prompt_ids=np.array([5], np.int32),
        token_ids_T=np.arange(n, dtype=np.int32),
        logprobs_T=np.full(n, -1.0, np.float32),
        offsets=np.arange(n + 1),
        texts=list(answers),
        finish_reasons=["stop"] * n,
        version=3,
    )


def verified(answers: str) -> list[Verification]:
    """Right is 1; x breaks the verifier."""
    of = {"1": Verdict.CORRECT, "x": Verdict.ERROR}
    return [Verification(of.get(a, Verdict.INCORRECT), None if a == "x" else a, None) for a in answers]


def keep(to: Turns, *drawn: tuple[int, int, str]) -> None:
    """Problem, turn, answers."""
    to.keep(
        [Draw(PROBLEMS[i], turn) for i, turn, _ in drawn],
        [group(answers) for *_, answers in drawn],
        [v for *_, answers in drawn for v in verified(answers)],
    )


def test_turns_are_measured_as_base_and_trained(tmp_path: Path) -> None:
    kept = Turns(tmp_path)
    keep(kept, (0, 0, "12"), (1, 0, "22"))
    keep(kept, (2, 0, "11"), (0, 1, "33"))  # one step, two turns
    found = reduce_state([tmp_path], parallel=False).finalize()
    assert first_and_latest(found) is None  # a third of the problems has had its second turn
    keep(kept, (1, 1, "13"))
    keep(kept, (2, 1, "1x"), (1, 2, "11"))
    found = reduce_state([tmp_path], parallel=False).finalize()
    assert first_and_latest(found) == ("turn-0", "turn-1")
    measured = reduce_paths([tmp_path], base="turn-0", trained="turn-1", parallel=False).to_json()
    # At k = 1: the first turn solved 0 and 2; the second, 1 and 2.
    assert measured["k"] == 1 and [measured["support"]["problem"][g] for g in "PESO"] == [1, 1, 1, 0]
    assert measured["policies"]["turn-1"]["verdicts"]["ERROR"] == 1
    assert kept.n_failures == 0


def test_a_step_that_is_done_again_replaces_what_it_gave(tmp_path: Path) -> None:
    kept = Turns(tmp_path)
    keep(kept, (0, 0, "12"))
    keep(kept, (0, 0, "11"))
    assert reduce_state([tmp_path], parallel=False).finalize().problems["CORRECT"].to_list() == [2]


def test_names_do_not_change_from_turn_to_turn() -> None:
    numbers = {"k": 8, "problem/S": 2, "turn-0/answer_entropy": 1.5, "turn-12/answer_entropy": None}
    assert in_turns(numbers) == {
        "turn": 12, "k": 8, "problem/S": 2, "first/answer_entropy": 1.5, "latest/answer_entropy": None
    }  # fmt: skip


def test_a_disk_that_is_full_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("leash_ray.sampling.manifest.write_new", full)
    kept = turns.Turns(tmp_path)
    for _ in range(2):
        keep(kept, (0, 0, "12"))
    assert kept.n_failures == 2 and capsys.readouterr().err.count("No space left") == 1


def test_worker_0_publishes_them_beside_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(so_far, "MOST_OF_THE_TIME", 1e9)  # as often as it can
    job: Any = SimpleNamespace(
        run_path=tmp_path,
        run_name="r",
        run_config={},
        monitor=MonitorConfig(wandb="off", estimates_every_s=0.01),
        config=SimpleNamespace(prompts_per_step=2, group_size=2),
        zeta=0.05,
    )
    kept = Turns(tmp_path / FOLDER)
    keep(kept, (0, 0, "12"), (1, 0, "21"))
    keep(kept, (0, 1, "22"), (1, 1, "12"))
    with watched(job, 0, 0) as log:
        log({"reward_mean": 0.5}, 1)
        until_s = time.monotonic() + 20
        while not (rows := read_metrics(tmp_path, FOLDER)):
            assert time.monotonic() < until_s
            time.sleep(0.01)
    assert [rows[0][f"problem/{g}"] for g in "PESO"] == [1, 0, 1, 0]
    assert (rows[0]["turn"], rows[0]["k"], rows[0]["step"]) == (1, 2, 8)
    assert (rows[0]["first/pass_at_k/1"], rows[0]["latest/pass_at_k/1"]) == (0.5, 0.25)
    assert [row["step"] for row in read_metrics(tmp_path, "train")] == [1]
    with watched(job, 0, 1):  # after one step of four completions, of which the rows above know nothing
        pass
    assert read_metrics(tmp_path, "train") != [] and not [r for r in read_metrics(tmp_path, FOLDER) if r["step"] > 4]
    with watched(job, 1, 0) as log:
        log({"reward_mean": 0.5}, 2)
    assert len(read_metrics(tmp_path, "train")) == 1

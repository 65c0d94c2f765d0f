"""Verifications taken back, one after another, on a run written by hand."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rare_run import IN_A_BOX, PROBLEMS, counts, rare_run, rows_of

from leash_ray import new_verdicts, reverify, undo
from leash_ray.changes import Changes
from leash_ray.cli import _run as leash
from leash_ray.errors import UsageError
from leash_ray.files import parquet_files
from leash_ray.marks import add_marks, mark_row, marks_path
from leash_ray.problems_file import read_problems
from leash_ray.run_dir import RunDir
from leash_ray.types import Verdict
from leash_ray.verifications import Asked, shards_of
from leash_ray.verify import VerifierPool

STRICT, YES = Asked(options={"strict": True}), Asked(verifier="python:made_verifiers:says_yes")


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifierPool]:
    with VerifierPool() as pool:
        yield pool


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leash_ray.reduce.worth_ray", lambda paths: False)


@pytest.fixture
def run(tmp_path: Path, pool: VerifierPool) -> RunDir:
    return rare_run(tmp_path / "run", pool.verify)


def again(run: RunDir, asked: Asked) -> new_verdicts.Replaced:
    return new_verdicts.verify_again(run, asked, {}, lambda _: None)


def verifiers(run: RunDir) -> set[str]:
    return {p.verifier for p in read_problems(run.problems_parquet)}


def state(run: RunDir) -> tuple[object, ...]:
    """What a verification decides."""
    metadata = [pq.read_schema(p).metadata or {} for p in shards_of(run)]
    schemas = [pq.read_schema(p).names for p in shards_of(run)]
    return rows_of(run), verifiers(run), metadata, schemas


def test_nothing_to_take_back(run: RunDir) -> None:
    with pytest.raises(UsageError, match="no verification to take back"):
        new_verdicts.undo_verification(run)


def test_one_after_another_to_the_beginning(run: RunDir) -> None:
    states = [state(run)]
    for asked in (STRICT, YES, Asked(only=("NO_ANSWER",), options={"strict": None})):
        again(run, asked)
        states.append(state(run))
    assert verifiers(run) == {YES.verifier}
    for number, before in zip(("003", "002", "001"), states[2::-1], strict=True):
        replaced, undone = new_verdicts.undo_verification(run)
        assert undone.number == number and undone.n_made_since == 0
        assert state(run) == before
        assert {undone.verifiers} == verifiers(run)
    assert replaced.changes.verdicts["base", "NO_ANSWER", "CORRECT"] == 1
    assert counts(replaced.after or {}) == [1, 1, 1, 0]
    with pytest.raises(UsageError, match="no verification"):
        new_verdicts.undo_verification(run)
    lines = (run.path / "verifications/undone.jsonl").read_text().splitlines()
    kept = [json.loads(line) for line in lines]
    assert [(k["number"], k["asked"]["verifier"], k["done"] is not None) for k in kept] == [
        ("003", None, True),
        ("002", YES.verifier, True),
        ("001", None, True),
    ]
    assert again(run, STRICT).changes.changed == 5  # and forward again
    assert (run.path / "verifications/001").is_dir()


def test_columns_that_were_not_there_go_again(run: RunDir) -> None:
    path = shards_of(run)[0]
    pq.write_table(pq.read_table(path).drop_columns(["leniency", "stage", "answer"]), path)
    names = pq.read_schema(path).names
    assert again(run, STRICT).changes.changed == 5
    assert "leniency" in pq.read_schema(path).names
    new_verdicts.undo_verification(run)
    assert pq.read_schema(path).names == names


def test_a_stopped_verification_is_taken_back(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    before, real, made = state(run), reverify.ShardVerifier.make, []

    def stops(self: reverify.ShardVerifier, shard: Path) -> Changes:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(shard)
        return real(self, shard)

    monkeypatch.setattr(reverify.ShardVerifier, "make", stops)
    with pytest.raises(KeyboardInterrupt):
        again(run, STRICT)
    assert state(run) != before
    with pytest.raises(UsageError, match="--undo"):
        again(run, YES)
    _, undone = new_verdicts.undo_verification(run)
    assert state(run) == before and undone.n_made_since == 0


def test_taking_back_that_was_stopped_goes_on(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(run)
    again(run, STRICT)
    real, made = undo._restore, []

    def stops(*arguments: object) -> Changes:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(arguments)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(undo, "_restore", stops)
    with pytest.raises(KeyboardInterrupt):
        new_verdicts.undo_verification(run)
    monkeypatch.setattr(undo, "_restore", real)
    for asked in (STRICT, Asked()):
        with pytest.raises(UsageError, match="--undo"):
            again(run, asked)
    new_verdicts.undo_verification(run)
    assert state(run) == before
    (kept,) = (run.path / "verifications/undone.jsonl").read_text().splitlines()
    assert json.loads(kept)["done"]["changed"] == 5


def test_a_verifier_that_fails_late_is_taken_back(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    before, real, made = state(run), reverify.ShardVerifier.make, []

    def fails(self: reverify.ShardVerifier, shard: Path) -> Changes:
        if len(made) == 2:
            raise UsageError("no such sandbox")
        made.append(shard)
        return real(self, shard)

    monkeypatch.setattr(reverify.ShardVerifier, "make", fails)
    with pytest.raises(UsageError, match=r"no such sandbox\. Nothing was changed"):
        again(run, STRICT)
    assert state(run) == before and not (run.path / "verifications/001").exists()


def test_completions_that_were_sampled_since_are_told(run: RunDir) -> None:
    shard = shards_of(run)[0]
    later = shard.read_bytes()
    shard.unlink()
    again(run, STRICT)
    shard.write_bytes(later)
    _, undone = new_verdicts.undo_verification(run)
    assert undone.n_made_since == 12


def test_other_completions_in_a_file_are_refused(run: RunDir) -> None:
    again(run, STRICT)
    a, b = parquet_files(run.completions)[:2]
    a.write_bytes(b.read_bytes())
    with pytest.raises(UsageError, match="other completions"):
        new_verdicts.undo_verification(run)


def test_marks_go_on_to_hold(run: RunDir) -> None:
    again(run, STRICT)
    add_marks(marks_path(run.path), [mark_row(IN_A_BOX, Verdict.INCORRECT)])
    new_verdicts.put_marks(run)
    replaced, _ = new_verdicts.undo_verification(run)
    assert rows_of(run)[IN_A_BOX][0] == "INCORRECT"
    assert counts(replaced.after or {}) == [1, 0, 1, 1]
    add_marks(marks_path(run.path), [mark_row(IN_A_BOX, None)])
    assert counts(new_verdicts.put_marks(run).after or {}) == [1, 1, 1, 0]


def test_the_command(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert leash(["verify", str(run.path), "--undo"], False) == 2
    assert "no verification to take back" in capsys.readouterr().err
    assert leash(["verify", str(run.path), "--strict"], False) == 0
    assert "--undo" in capsys.readouterr().out
    assert leash(["verify", str(run.path), "--undo"], False) == 0
    told = capsys.readouterr()
    assert "5 of 36 verdicts changed" in told.out and "S: 0 → 1" in told.out
    assert "verification 001 is taken back; the problems' verifiers are math" in told.err
    assert leash(["verify", str(run.path), "--strict"], False) == 0
    capsys.readouterr()
    assert leash(["verify", str(run.path), "--undo", "--json"], False) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["undone"] == "001" and told["changed"] == 5 and told["verifiers"] == "math"
    assert {p.id for p in read_problems(run.problems_parquet)} == {p.id for p in PROBLEMS}


def test_verdicts_that_cannot_be_reduced_say_how_to_go_back(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> dict[str, object]:
        raise UsageError("unknown policy")

    monkeypatch.setattr(new_verdicts, "reduce_run", refuses)
    with pytest.raises(new_verdicts.RunFailed, match=r"cannot be reduced: unknown policy(.|\n)*--undo"):
        again(run, STRICT)

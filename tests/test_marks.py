"""A person's marks: kept one by one, over the verifier's verdicts and apart from them."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rare_run import IN_A_BOX, IN_WORDS, PROBLEMS, counts, rare_run, rows_of

from leash_ray import new_verdicts
from leash_ray.audit import rare_verdicts
from leash_ray.cli import _run as leash
from leash_ray.errors import UsageError
from leash_ray.marks import MARKED, add_marks, mark_row, marks_path, marks_to_add, read_marks
from leash_ray.run_dir import RunDir
from leash_ray.types import Verdict
from leash_ray.verifications import Asked, shards_of
from leash_ray.verify import VerifierPool

RIGHT, WRONG = Verdict.CORRECT, Verdict.INCORRECT


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


def mark(run: RunDir, key: tuple[str, str, int], verdict: Verdict | None, note: str = "") -> new_verdicts.Replaced:
    add_marks(marks_path(run.path), [mark_row(key, verdict, note)])
    return new_verdicts.put_marks(run)


def again(run: RunDir, asked: Asked) -> new_verdicts.Replaced:
    return new_verdicts.verify_again(run, asked, {}, lambda _: None)


def test_marks_overrule_the_verifier_and_hold(run: RunDir) -> None:
    changes, before, after = mark(run, IN_A_BOX, WRONG, "a guess")
    assert changes.changed == 1 and sum(changes.verdicts.values()) == 36
    assert (counts(before or {}), counts(after or {})) == ([1, 1, 1, 0], [1, 0, 1, 1])
    reason = f"{MARKED}: a guess; the verifier said CORRECT"
    assert rows_of(run)[IN_A_BOX] == ("INCORRECT", "2", reason, "boxed", None)
    assert again(run, Asked()).changes.changed == 0  # verifying again does not undo a person's mark
    assert rows_of(run)[IN_A_BOX] == ("INCORRECT", "2", reason, "boxed", None)
    shown = [v for v in rare_verdicts(run.path) if v.mark]
    assert [(v.key, v.verdict, v.mark, v.note) for v in shown] == [(IN_A_BOX, "INCORRECT", "INCORRECT", "a guess")]


def test_a_changed_mark_is_over_the_verifier_and_not_over_a_mark(run: RunDir) -> None:
    own = rows_of(run)[IN_WORDS]
    assert own == ("CORRECT", "1", None, "phrase", "phrase")
    mark(run, IN_WORDS, WRONG)
    assert rows_of(run)[IN_WORDS] == ("INCORRECT", "1", f"{MARKED}; the verifier said CORRECT", "phrase", None)
    _, _, after = mark(run, IN_WORDS, RIGHT)  # as the verifier said: its leniency counts again
    assert rows_of(run)[IN_WORDS] == own
    assert after and after["policies"]["base"]["correct_by_leniency"] == 1
    mark(run, IN_WORDS, WRONG, "again")
    assert rows_of(run)[IN_WORDS][2] == f"{MARKED}: again; the verifier said CORRECT"
    assert len(marks_path(run.path).read_text().splitlines()) == 3  # nothing is erased


def test_what_the_verifier_says_later_is_what_it_said(run: RunDir) -> None:
    mark(run, IN_WORDS, RIGHT)
    again(run, Asked(options={"strict": True}))
    said = f"{MARKED}; the verifier said NO_ANSWER"
    assert rows_of(run)[IN_WORDS] == ("CORRECT", None, said, None, None)
    mark(run, IN_WORDS, None)
    assert rows_of(run)[IN_WORDS][0] == "NO_ANSWER"


def test_only_verdicts_that_the_verifier_gave(run: RunDir) -> None:
    mark(run, IN_A_BOX, WRONG)
    changes = again(run, Asked(verifier="python:made_verifiers:says_yes", only=("INCORRECT",))).changes
    assert changes.verdicts["trained", "INCORRECT", "INCORRECT"] == 1  # the marked one alone
    assert rows_of(run)[IN_A_BOX][2] == f"{MARKED}; the verifier said CORRECT"


def test_a_mark_is_withdrawn(run: RunDir) -> None:
    before = rows_of(run)
    mark(run, IN_A_BOX, WRONG)
    mark(run, IN_WORDS, WRONG)
    changes, _, after = mark(run, IN_A_BOX, None)
    assert changes.verdicts["trained", "INCORRECT", "CORRECT"] == 1 and changes.changed == 1
    assert counts(after or {}) == [1, 1, 0, 1]
    mark(run, IN_WORDS, None)
    assert rows_of(run) == before
    assert not read_marks(marks_path(run.path)).verdicts
    assert [v.mark for v in rare_verdicts(run.path)] == ["", ""]


def test_shards_without_marks_are_not_written(run: RunDir) -> None:
    times = {p: p.stat().st_mtime_ns for p in shards_of(run)}
    mark(run, IN_A_BOX, WRONG)
    changed = [p for p in shards_of(run) if p.stat().st_mtime_ns != times[p]]
    assert [p.parent.name for p in changed] == ["trained"] and len(changed) == 1
    times = {p: p.stat().st_mtime_ns for p in shards_of(run)}
    assert new_verdicts.put_marks(run).changes.changed == 0
    assert {p: p.stat().st_mtime_ns for p in shards_of(run)} == times


def test_unusable_marks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "marks.jsonl"
    good = {"policy": "base", "problem_id": "p", "sample_index": 0}
    for bad, message in (
        ("{", "line 1: not a mark"),
        (json.dumps({"policy": "base", "mark": "CORRECT"}), "line 1: not a mark"),
        (json.dumps({**good, "mark": "maybe"}), "line 1: not a mark"),
        (json.dumps({**good, "mark": "ERROR"}), "neither CORRECT nor INCORRECT"),
    ):
        path.write_text(bad + "\n")
        with pytest.raises(UsageError, match=message):
            read_marks(path)
    path.write_text(json.dumps({**good, "mark": ""}) + "\n")
    with pytest.raises(UsageError, match=r"marks nothing(.|\n)*NONE"):
        marks_to_add(path)
    with pytest.raises(UsageError, match="no file of marks"):
        marks_to_add(tmp_path / "absent")
    assert read_marks(tmp_path / "absent").verdicts == {}


def test_notes_keep_their_characters(tmp_path: Path) -> None:
    path, note = tmp_path / "marks.jsonl", "one\u2028two \x85 three\nfour"
    add_marks(path, [mark_row(("base", "p", 0), WRONG, note)])
    assert read_marks(path).notes == {("base", "p", 0): note}
    path.write_text(json.dumps(mark_row(("base", "p", 0), WRONG, note), ensure_ascii=False) + "\n")
    assert read_marks(path).notes == {("base", "p", 0): note}


def test_marks_from_a_file(run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "filled.jsonl"

    def add(*rows: dict[str, object]) -> tuple[int, str, str]:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        status = leash(["audit-verdicts", str(run.path), "--marks", str(path)], False)
        return (status, *capsys.readouterr())

    status, out, _ = add(mark_row(IN_A_BOX, WRONG), mark_row(IN_WORDS, WRONG))
    assert status == 0 and "2 of 36 verdicts changed" in out
    status, out, _ = add({**mark_row(IN_A_BOX, None)}, {**mark_row(IN_WORDS, WRONG), "mark": ""})
    assert status == 0 and "1 of 36 verdicts changed" in out and "E: 0 → 1" in out
    before = marks_path(run.path).read_text()
    status, _, err = add(mark_row(IN_A_BOX, WRONG), mark_row(("base", PROBLEMS[0].id, 99), WRONG))
    assert status == 2 and f"no sample 99 of policy 'base' on problem '{PROBLEMS[0].id}'" in err
    assert marks_path(run.path).read_text() == before


class Keys(io.StringIO):
    """A terminal at which these lines are typed, and then Ctrl-C or the end."""

    def __init__(self, *lines: str, interrupt: bool = False) -> None:
        super().__init__("".join(line + "\n" for line in lines))
        self.interrupt = interrupt

    def isatty(self) -> bool:
        return True

    def readline(self, size: int | None = -1, /) -> str:
        line = super().readline(-1 if size is None else size)
        if not line and self.interrupt:
            raise KeyboardInterrupt
        return line


@pytest.mark.parametrize("interrupt", [True, False])
def test_what_was_marked_before_ctrl_c_is_kept(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], interrupt: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Keys("n", "a guess", interrupt=interrupt))
    assert leash(["audit-verdicts", str(run.path), "--mark"], False) == 0
    told = capsys.readouterr()
    assert "1 marks added" in told.err
    assert f"stopped: the marks given so far are kept; go on with leash audit-verdicts {run.path} --mark" in told.err
    assert read_marks(marks_path(run.path)).notes == {IN_A_BOX: "a guess"}
    assert "1 of 36 verdicts changed" in told.out
    monkeypatch.setattr(sys, "stdin", Keys("y", ""))  # goes on: only the other one is asked for
    assert leash(["audit-verdicts", str(run.path), "--mark"], False) == 0
    told = capsys.readouterr()
    assert "1 of 1: base" in told.out and "stopped" not in told.err
    assert read_marks(marks_path(run.path)).verdicts == {IN_A_BOX: WRONG, IN_WORDS: RIGHT}


def test_a_note_that_is_cut_off_marks_nothing(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Keys("n", interrupt=True))
    assert leash(["audit-verdicts", str(run.path), "--mark"], False) == 0
    assert not marks_path(run.path).exists()


def test_marks_are_changed_and_withdrawn_at_the_terminal(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # wrong; back to it; there is a mark to withdraw now; skip the other
    monkeypatch.setattr(sys, "stdin", Keys("w", "n", "", "b", "w", "s"))
    assert leash(["audit-verdicts", str(run.path), "--mark"], False) == 0
    told = capsys.readouterr()
    assert "w withdraw" in told.out and "'w' is not one of" in told.out + told.err  # at first there was none
    assert "2 marks added" in told.err and "0 of 36 verdicts changed" in told.out
    mark(run, IN_WORDS, WRONG)
    monkeypatch.setattr(sys, "stdin", Keys("s", "w"))
    assert leash(["audit-verdicts", str(run.path), "--mark", "--again"], False) == 0
    assert not read_marks(marks_path(run.path)).verdicts
    assert rows_of(run)[IN_WORDS][0] == "CORRECT"
    capsys.readouterr()
    assert leash(["audit-verdicts", str(run.path), "--again"], False) == 2
    assert "--mark --again" in capsys.readouterr().err

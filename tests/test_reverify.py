"""Verifying stored completions again, and a person's marks, on a run written by hand."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made_run import make_run

from leash_ray import reverify, stages
from leash_ray.audit import rare_verdicts, summary
from leash_ray.cli import _run as leash
from leash_ray.errors import UsageError
from leash_ray.marks import MARKED, add_marks, marks_path, marks_to_add, read_marks
from leash_ray.problems_file import read_problems
from leash_ray.report import write_report
from leash_ray.reverify import Asked
from leash_ray.run_dir import RunDir
from leash_ray.types import Problem, Verdict
from leash_ray.verify import VerifierPool

BOX, SAY = "so \\boxed{%s}", "The answer is %s."
PROBLEMS = [Problem.make("t", f"question {i}", "math", str(i)) for i in range(3)]
# Problem 0: both often. 1: the base once, in words. 2: the trained policy once, in a box.
TEXTS = {
    "base": [[BOX % 0] * 6, [BOX % 9] * 5 + [SAY % 1], [BOX % 9] * 6],
    "trained": [[BOX % 0] * 5 + ["no idea"], [BOX % 9] * 6, [BOX % 9, BOX % 2] + [SAY % 9] * 4],
}
QUIET: list[str] = []


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifierPool]:
    with VerifierPool() as pool:
        yield pool


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not other tests have started Ray."""
    monkeypatch.setattr("leash_ray.reduce.worth_ray", lambda paths: False)


@pytest.fixture
def run(tmp_path: Path, pool: VerifierPool) -> RunDir:
    made = make_run(tmp_path / "run", PROBLEMS, TEXTS, pool.verify)
    stages.reduce_tables([made.path], "base", "trained", 0.05)
    return made


def again(run: RunDir, asked: Asked) -> tuple[reverify.Changes, dict, dict]:
    changes, before, after = stages.verify_again(run, asked, {}, QUIET.append)
    assert before and after
    return changes, before, after


def rows_of(run: RunDir) -> dict[tuple[str, str, int], tuple[str, str | None]]:
    rows = [row for path in reverify.shards_of(run) for row in pq.read_table(path).to_pylist()]
    return {(r["policy"], r["problem_id"], r["sample_index"]): (r["verdict"], r["answer"]) for r in rows}


def counts(support: dict) -> list[int]:
    return [support["support"]["problem"][group] for group in "PESO"]


def test_the_same_verifier_changes_nothing(run: RunDir) -> None:
    before = rows_of(run)
    changes, old, new = again(run, Asked())
    assert changes.changed == 0 and not changes.answers and not changes.unverifiable
    assert sum(changes.verdicts.values()) == 36
    assert rows_of(run) == before
    assert counts(old) == counts(new) == [1, 1, 1, 0]


def test_strictness_changes_what_was_right_by_leniency_and_back(run: RunDir) -> None:
    before = rows_of(run)
    assert json.loads(run.support_json.read_text())["policies"]["base"]["correct_by_leniency"] == 1
    changes, _, after = again(run, Asked(options={"strict": True}))
    # base: one right answer in words; trained: four wrong ones
    assert changes.verdicts["base", "CORRECT", "NO_ANSWER"] == 1
    assert changes.verdicts["trained", "INCORRECT", "NO_ANSWER"] == 4
    assert changes.changed == 5
    assert counts(after) == [1, 1, 0, 1]
    assert {p.verifier for p in read_problems(run.problems_parquet)} == {"math?strict=true"}
    assert [p.id for p in read_problems(run.problems_parquet)] == [p.id for p in PROBLEMS]
    # the old verdicts are kept
    old = [
        r for p in sorted((run.path / "verifications/001/old").rglob("*.parquet")) for r in pq.read_table(p).to_pylist()
    ]
    kept = {(r["policy"], r["problem_id"], r["sample_index"]): (r["verdict"], r["answer"]) for r in old}
    assert kept == before
    # later verifications go on with the options, until they are taken away
    assert again(run, Asked())[0].changed == 0
    assert again(run, Asked(options={"strict": None}))[0].changed == 5
    assert rows_of(run) == before
    assert sorted(p.name for p in (run.path / "verifications").iterdir()) == ["001", "002", "003"]


def test_only_some_verdicts_and_another_verifier(run: RunDir) -> None:
    changes, _, after = again(run, Asked(verifier="python:made_verifiers:says_yes", only=("NO_ANSWER",)))
    assert changes.changed == 1 and changes.verdicts["trained", "NO_ANSWER", "CORRECT"] == 1
    assert after["policies"]["trained"]["verdicts"]["NO_ANSWER"] == 0


def test_a_verification_that_was_stopped_goes_on(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(options={"strict": True})
    real, made = reverify.ShardVerifier.make, []

    def stops(self: reverify.ShardVerifier, shard: Path) -> reverify.Changes:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(shard)
        return real(self, shard)

    monkeypatch.setattr(reverify.ShardVerifier, "make", stops)
    with pytest.raises(KeyboardInterrupt):
        again(run, asked)
    monkeypatch.setattr(reverify.ShardVerifier, "make", real)
    with pytest.raises(UsageError, match="finish that one first"):
        again(run, Asked())
    written = {path: path.stat().st_mtime_ns for path in made}
    changes, _, after = again(run, asked)
    assert {path: path.stat().st_mtime_ns for path in made} == written  # those were done
    assert changes.changed == 5 and counts(after) == [1, 1, 0, 1]  # all are counted
    assert not (run.path / "verifications/002").exists()


def test_a_verification_that_did_nothing_yet_is_no_obstacle(run: RunDir) -> None:
    with pytest.raises(UsageError, match="its options"):
        again(run, Asked(options={"strcit": True}))
    reverify.begin(run, Asked(options={"strict": True}))  # and then the power fails
    changes, _, _ = again(run, Asked())
    assert changes.changed == 0
    assert {p.verifier for p in read_problems(run.problems_parquet)} == {"math"}


def test_completions_without_text_keep_their_verdict(run: RunDir) -> None:
    path = reverify.shards_of(run)[0]
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["text", "stage", "leniency"]), path)
    changes, _, _ = again(run, Asked(verifier="python:made_verifiers:says_yes"))
    assert changes.unverifiable == {"base": 12}
    assert changes.verdicts["base", "INCORRECT", "INCORRECT"] == 8


def test_rare_verdicts_show_what_decides(run: RunDir) -> None:
    found = rare_verdicts(run.path)
    assert [(v.policy, v.problem_id, v.sample_index, v.group, v.c, v.n) for v in found] == [
        ("trained", PROBLEMS[2].id, 1, "E", 1, 6),
        ("base", PROBLEMS[1].id, 5, "S", 1, 6),
    ]
    assert (found[1].stage, found[1].leniency, found[1].text) == ("phrase", "phrase", SAY % 1)
    assert (found[0].prompt, found[0].reference, found[0].decides) == ("question 2", "2", True)
    assert summary(found).startswith("2 rare correct completions, 2 of them decide")
    assert rare_verdicts(run.path, 2) == found
    page = write_report(run.path).read_text()
    assert "Rare correct verdicts" in page and f"problem {PROBLEMS[2].id}, sample 1: 1 of 6 correct" in page
    assert "phrase" in page


def test_marks_overrule_the_verifier_and_hold(run: RunDir) -> None:
    key = ("trained", PROBLEMS[2].id, 1)
    row = {"policy": key[0], "problem_id": key[1], "sample_index": key[2], "mark": "INCORRECT", "note": "a guess"}
    add_marks(marks_path(run.path), [row])
    changes, before, after = again(run, Asked(marks_only=True))
    assert changes.changed == 1
    assert (counts(before), counts(after)) == ([1, 1, 1, 0], [1, 0, 1, 1])
    assert rows_of(run)[key] == ("INCORRECT", "2")
    assert again(run, Asked())[0].changed == 0  # verifying again does not undo a person's mark
    shown = [v for v in rare_verdicts(run.path) if v.mark]
    assert [(v.key, v.verdict, v.mark, v.note) for v in shown] == [(key, "INCORRECT", "INCORRECT", "a guess")]
    assert MARKED in (shown[0].reason or "") and "the verifier said CORRECT" in (shown[0].reason or "")
    add_marks(marks_path(run.path), [{**row, "mark": "CORRECT"}])  # a later mark counts
    assert counts(again(run, Asked(marks_only=True))[2]) == [1, 1, 1, 0]
    assert len(marks_path(run.path).read_text().splitlines()) == 2


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
    with pytest.raises(UsageError, match="marks nothing"):
        marks_to_add(path)
    with pytest.raises(UsageError, match="no file of marks"):
        marks_to_add(tmp_path / "absent")
    assert read_marks(tmp_path / "absent").verdicts == {}


def test_the_commands(run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leash(["verify", str(run.path), "--strict"], False) == 0
    out = capsys.readouterr().out
    assert "5 of 36 verdicts changed" in out and "S: 1 → 0" in out
    assert leash(["verify", str(run.path), "--lenient", "--json"], False) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["changed"] == 5 and told["after"]["support"]["problem"]["S"] == 1
    assert leash(["audit-verdicts", str(run.path)], False) == 0
    assert "1 of 6 samples correct" in capsys.readouterr().out
    rare = run.path / "audit" / "rare.jsonl"
    lines = [json.loads(line) for line in rare.read_text().splitlines()]
    filled = tmp_path / "filled.jsonl"
    filled.write_text("".join(json.dumps({**line, "mark": "INCORRECT"}) + "\n" for line in lines))
    assert leash(["audit-verdicts", str(run.path), "--marks", str(filled)], False) == 0
    out = capsys.readouterr().out
    assert "2 of 36 verdicts changed" in out and "E: 1 → 0" in out
    for arguments, message in (
        (["verify", str(run.path), "--only", "WRONG"], "a verdict is one of"),
        (["verify", str(run.path), "--verifier", "maths"], "did you mean math"),
        (["verify", str(run.path), "--set", "timeout=3"], "timeout_s"),
        (["verify", str(tmp_path / "nowhere")], "does not exist"),
        (["audit-verdicts", str(run.path), "--mark"], "--marks FILE"),
    ):
        assert leash(arguments, False) == 2
        assert message in capsys.readouterr().err


def test_on_ray_the_same(run: RunDir, ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leash_ray.reduce.worth_ray", lambda paths: True)
    changes, _, after = again(run, Asked(options={"strict": True}))
    assert changes.changed == 5 and counts(after) == [1, 1, 0, 1]
    assert {Verdict(old) for _, old, _ in changes.verdicts} == {Verdict.CORRECT, Verdict.INCORRECT, Verdict.NO_ANSWER}

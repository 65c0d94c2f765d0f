"""Verifying stored completions again, and a person's marks, on a run written by hand."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rare_run import PROBLEMS, SAY, counts, rare_run, rows_of

from leash_ray import new_verdicts, reverify
from leash_ray.audit import rare_verdicts, summary
from leash_ray.changes import Changes
from leash_ray.cli import _run as leash
from leash_ray.errors import UsageError
from leash_ray.problems_file import read_problems, write_problems
from leash_ray.report import write_report
from leash_ray.run_dir import RunDir
from leash_ray.types import Verdict
from leash_ray.verifications import Asked, begin, shards_of
from leash_ray.verify import VerifierPool, kind_of

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
    return rare_run(tmp_path / "run", pool.verify)


def again(run: RunDir, asked: Asked) -> tuple[Changes, dict, dict]:
    changes, before, after = new_verdicts.verify_again(run, asked, {}, QUIET.append)
    assert before and after
    return changes, before, after


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
    assert kept == {key: row[:2] for key, row in before.items()}
    # later verifications go on with the options, until they are taken away
    assert again(run, Asked())[0].changed == 0
    assert again(run, Asked(options={"strict": None}))[0].changed == 5
    assert rows_of(run) == before
    assert sorted(p.name for p in (run.path / "verifications").iterdir()) == ["001", "002", "003"]


def test_only_some_verdicts_and_another_verifier(run: RunDir) -> None:
    changes, _, after = again(run, Asked(verifier="python:made_verifiers:says_yes", only=("NO_ANSWER",)))
    assert changes.changed == 1 and changes.verdicts["trained", "NO_ANSWER", "CORRECT"] == 1
    assert after["policies"]["trained"]["verdicts"]["NO_ANSWER"] == 0
    # The problems do not claim that all their completions were judged by it; the record says by what these were.
    assert {p.verifier for p in read_problems(run.problems_parquet)} == {"math"}
    record = json.loads((run.path / "verifications/001/verification.json").read_text())
    assert record["verifiers"] == {"math": "python:made_verifiers:says_yes"}
    assert record["asked"]["only"] == ["NO_ANSWER"]
    assert again(run, Asked())[0].verdicts["trained", "CORRECT", "NO_ANSWER"] == 1


def test_a_verification_that_was_stopped_goes_on(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(options={"strict": True})
    real, made = reverify.ShardVerifier.make, []

    def stops(self: reverify.ShardVerifier, shard: Path) -> Changes:
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
    begin(run, Asked(options={"strict": True}))  # and then the power fails
    changes, _, _ = again(run, Asked())
    assert changes.changed == 0
    assert {p.verifier for p in read_problems(run.problems_parquet)} == {"math"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Asked(verifier="reasoning_gym:countdown"), f"problem {PROBLEMS[0].id}(.|\n)*no reasoning-gym entry"),
        (Asked(verifier="numeric?units=required"), "its options"),
        (Asked(verifier="choice"), f"choice cannot verify problem {PROBLEMS[0].id}(.|\n)*3 of 3 problems"),
        (Asked(verifier="choice", only=("INCORRECT",)), "Nothing was changed"),
        (Asked(verifier="judge"), "verify.judge.model(.|\n)*Nothing was changed"),  # found out by the first shard
    ],
)
def test_a_verifier_that_does_not_fit_changes_nothing(run: RunDir, asked: Asked, message: str) -> None:
    before = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
    with pytest.raises(UsageError, match=message):
        again(run, asked)
    assert {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()} == before
    assert again(run, Asked())[0].changed == 0


def test_a_reference_that_the_own_verifier_refuses_is_no_obstacle(run: RunDir) -> None:
    """It was good enough when the completions were sampled, and what was asked for does not change it."""
    problems = [*PROBLEMS[:2], replace(PROBLEMS[2], reference="")]
    write_problems(run.problems_parquet, problems)
    with pytest.raises(UsageError):
        kind_of("math").check_reference("")
    again(run, Asked())
    with pytest.raises(UsageError, match=f"problem {PROBLEMS[2].id}(.|\n)*1 of 3 problems"):
        again(run, Asked(options={"strict": True}))


def test_completions_are_read_as_after_the_prompt_that_was_asked(run: RunDir) -> None:
    """A thought that the prompt opened and the completion never closed answers nothing."""
    example = {"problem_id": PROBLEMS[1].id, "prompt": f"<user>{PROBLEMS[1].prompt}<assistant><think>\n"}
    record = {"same": False, "policies": {"base": {"example": None}, "trained": {"example": example}}}
    (run.path / "prompts.json").write_text(json.dumps(record))
    changes, _, after = again(run, Asked())
    assert {(p, new) for p, old, new in changes.verdicts if old != new} == {("trained", "NO_ANSWER")}
    assert after["policies"]["trained"]["verdicts"]["NO_ANSWER"] == 18


def test_completions_without_text_keep_their_verdict(run: RunDir) -> None:
    path = shards_of(run)[0]
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
        (["verify", str(run.path), "--verifier", "choice"], "Nothing was changed"),
        (["verify", str(run.path), "--undo", "--strict"], "no option but --json"),
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
    before = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
    with pytest.raises(UsageError, match=r"verify.judge.model(.|\n)*Nothing was changed"):
        again(run, Asked(verifier="judge"))
    assert {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()} == before

"""A resumed run does not judge again what its stored completions show."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made_run import make_run
from rare_run import BOX, IN_A_BOX, PROBLEMS, SAY, TEXTS, rare_run, rows_of

from leash_ray import new_verdicts, provenance
from leash_ray.judged_before import judged_before
from leash_ray.marks import add_marks, mark_row, marks_path
from leash_ray.run_dir import RunDir
from leash_ray.types import Problem, Verdict
from leash_ray.verifications import Asked, shards_of
from leash_ray.verify import VerifierPool
from leash_ray.verify.remote import RemoteVerifier

ITEMS = [
    (p, text, "stop") for texts in TEXTS.values() for p, of_one in zip(PROBLEMS, texts, strict=True) for text in of_one
]


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifierPool]:
    with VerifierPool() as pool:
        yield pool


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leash_ray.reduce.worth_ray", lambda paths: False)
    monkeypatch.setattr(provenance, "git_commit", lambda: "abc")


@pytest.fixture
def run(tmp_path: Path, pool: VerifierPool) -> RunDir:
    return rare_run(tmp_path / "run", pool.verify)


def test_what_is_stored_is_not_judged_again(run: RunDir, pool: VerifierPool) -> None:
    known = judged_before(run, PROBLEMS)
    assert len(known) == 5  # 0 of the first; 9 and 1 of the second; 9 and 2 of the third
    with VerifierPool() as fresh:
        fresh.remember(known)
        assert fresh.verify(ITEMS) == pool.verify(ITEMS)
        assert (fresh.n_calls, fresh.n_cache_hits) == (0, 35)
        (other,) = fresh.verify([(PROBLEMS[0], BOX % 7, "stop")])
        assert (other.verdict, fresh.n_calls) == (Verdict.INCORRECT, 1)


def test_half_of_a_run(run: RunDir) -> None:
    """What is not stored is judged."""
    for shard in shards_of(run)[1:]:
        shard.unlink()
    with VerifierPool() as fresh:
        fresh.remember(judged_before(run, PROBLEMS))
        fresh.verify(ITEMS)
        assert fresh.n_calls == 2  # 1 in words, 2 in a box


def test_only_what_is_certain(run: RunDir) -> None:
    add_marks(marks_path(run.path), [mark_row(IN_A_BOX, Verdict.INCORRECT)])
    new_verdicts.put_marks(run)
    assert (IN_A_BOX[1], "2") not in {(p.id, answer) for p, answer, _ in judged_before(run, PROBLEMS)}
    # a leniency of judging, and an answer with two verdicts
    path = shards_of(run)[0]
    table = pq.read_table(path)
    rows = table.to_pylist()
    for row in rows:
        if row["problem_id"] == PROBLEMS[0].id:
            row["leniency"] = "percent"
    rows[-1]["verdict"], rows[-1]["answer"], rows[-1]["leniency"] = "CORRECT", "9", None
    pq.write_table(table.from_pylist(rows, schema=table.schema), path)
    for other in shards_of(run)[1:]:
        other.unlink()
    found = {(p.id, answer) for p, answer, _ in judged_before(run, PROBLEMS)}
    assert found == {(PROBLEMS[1].id, "9")}


def test_nothing_after_another_verification_or_by_other_code(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    new_verdicts.verify_again(run, Asked(only=("ERROR",)), {}, lambda _: None)
    assert judged_before(run, PROBLEMS) == []
    new_verdicts.undo_verification(run)
    assert judged_before(run, PROBLEMS)
    monkeypatch.setattr(provenance, "git_commit", lambda: "def")
    RunDir.create(run.path, run.config, 0, resume=True)
    assert run.info["resumed"][0]["changed_packages"]["leash_ray"][1].endswith("(def)")
    assert judged_before(run, PROBLEMS) == []


def test_a_changed_tree_is_not_known(tmp_path: Path, pool: VerifierPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "git_commit", lambda: "abc-dirty")
    assert judged_before(rare_run(tmp_path / "run", pool.verify), PROBLEMS) == []


def test_kinds_that_depend_on_more_than_the_answer_judge_again(tmp_path: Path) -> None:
    problems = [Problem.make("t", "q", "python:made_verifiers:says_yes", "5")]
    with VerifierPool() as first:
        run = make_run(tmp_path / "run", problems, {"base": [[BOX % 5]], "trained": [[SAY % 5]]}, first.verify)
    with VerifierPool() as fresh:
        fresh.remember(judged_before(run, problems))
        fresh.verify([(problems[0], BOX % 5, "stop")])
        assert fresh.n_calls == 1


def test_through_actors(run: RunDir, verifier: RemoteVerifier) -> None:
    before = verifier.counters()[0]
    verifier.remember(judged_before(run, PROBLEMS))
    found = verifier.verify(ITEMS)
    after = verifier.counters()[0]
    assert (after["n_calls"] - before["n_calls"], after["n_cache_hits"] - before["n_cache_hits"]) == (0, 35)
    assert [v.verdict.value for v in found].count("CORRECT") == 13
    assert len(rows_of(run)) == len(ITEMS)

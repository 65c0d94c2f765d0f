"""``leash reduce``'s options and ``leash plan``, by the command line."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from made_run import make_run

from leash_ray.cli import main
from leash_ray.types import Problem, Verdict
from leash_ray.verify import Verification


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Two tasks of 20 problems, 8 samples each, of a base and two checkpoints."""
    rng = np.random.default_rng(0)
    rows = []
    for policy, right in (("base", 0.2), ("trained@5", 0.3), ("trained@10", 0.4)):
        for problem in range(40):
            for i in range(8):
                hit = rng.random() < right
                answer = str(rng.integers(3)) if hit else "wrong"
                verdict = "CORRECT" if hit else "INCORRECT"
                rows.append((policy, "quiz" if problem % 2 else "sums", f"p{problem}", i, verdict, answer, 5))
    names = ["policy", "task", "problem_id", "sample_index", "verdict", "answer", "n_tokens"]
    pl.DataFrame(rows, schema=names, orient="row").write_parquet(tmp_path / "c.parquet")
    known = [{"problem_id": f"p{i}", "task": "quiz" if i % 2 else "sums", "family": i // 4} for i in range(40)]
    (tmp_path / "known.jsonl").write_text("".join(json.dumps(row) + "\n" for row in known))
    return tmp_path


def leash(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def reduced(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    status, out, err = leash(capsys, "reduce", *arguments, "--bootstrap", 100, "--json")
    assert status == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_checkpoints_clusters_and_guessing(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = ("--problems", tables / "known.jsonl")
    out = reduced(capsys, tables / "c.parquet", *known, "--cluster-by", "family", "--guess-rate", "quiz=0.25")
    assert (out["trained"], out["series"]["steps"]) == ("trained@10", [5, 10])
    assert (out["n_clusters"], out["guessing"]["n_problems"], out["guessing"]["mean_rate"]) == (10, 20, 0.25)
    assert out["guessing"]["pass_at_k"]["2"] == pytest.approx(1 - 0.75**2)
    plain = out["support"]["problem"]
    above = reduced(capsys, tables / "c.parquet", *known, "--guess-rate", 0.25, "--above-guessing")
    found = [x["P"] + x["S"] for x in (plain, above["support"]["problem"])]
    assert found[1] < found[0]  # at 0.2 the base is no better than a guesser
    assert above["support"]["problem"]["null"] is None


def test_confidence(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wide, narrow = (
        reduced(capsys, tables / "c.parquet", "--confidence", level)["policies"]["base"]["ci"]["pass_at_k"]["1"]
        for level in (0.99, 0.5)
    )
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_perplexities(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(p, f"p{i}", 10, -5.0 if p == "base" else -10.0) for p in ("base", "trained@10") for i in range(40)]
    names = ["policy", "problem_id", "n_tokens", "logprob_sum"]
    pl.DataFrame(rows, schema=names, orient="row").write_parquet(tables / "scores.parquet")
    out = reduced(capsys, tables / "c.parquet", "--scores", tables / "scores.parquet")["perplexity"]["given texts"]
    assert sum(out[group]["base"]["n_texts"] for group in out) == 40
    assert out["P"]["base"]["mean"] == pytest.approx(np.exp(0.5))
    assert out["P"]["trained"]["mean"] == pytest.approx(np.exp(1))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--cluster-by", "family"), "its keys: none"),
        (("--guess-rate", "quiz=often"), "such as 0.25"),
        (("--guess-rate", "0.1", "--guess-rate", "quiz=0.2"), "one rate for all tasks"),
        (("--guess-rate", "1.5"), "guess_rate"),
        (("--above-guessing",), "guess_rate"),
        (("--confidence", "95"), "confidence"),
        (("--problems", "no-such.jsonl"), "cannot read no-such.jsonl"),
        (("--scores", "no-such.parquet"), "cannot read no-such.parquet"),
        (("--trained", "trainde"), "policies in the data: base, trained@10, trained@5"),
    ],
)
def test_what_cannot_be_used(
    tables: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    status, out, err = leash(capsys, "reduce", tables / "c.parquet", *arguments)
    assert (status, out) == (2, "") and says in err and "Traceback" not in err


def test_plan_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--epsilon", 0.01, "--n-problems", 100, "--tokens", 50, "--bytes", 100, "--tokens-per-s", 1000)
    status, out, _ = leash(capsys, "plan", *asked, "--json")
    found = json.loads(out)
    # -ln(0.05) / 0.01 = 299.6; 2 policies x 100 problems x 300 samples x 50 tokens / 1000 a second = 3000 s
    assert (status, found["samples_per_problem"], found["cost"]["completions"]) == (0, 300, 60_000)
    assert found["cost"]["tokens"] == 3_000_000 and found["cost"]["hours"] == pytest.approx(3000 / 3600)
    status, out, _ = leash(capsys, "plan", *asked, "--shares", "0.7,0.02,0.1", "--power", 0.8, "--nscr-width", 0.1)
    # x = -0.08/0.82; N = 4 z^2 / 0.1^2 ((0.12/0.82) - x^2) / 0.82 = 257
    assert "257" in out and "15.4 MB" in out  # 257 x 2 x 300 x 100 bytes


def test_a_pilot_lends_its_numbers(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pilot = tables / "pilot"
    pilot.mkdir()
    (pilot / "support.json").write_text(json.dumps(reduced(capsys, tables / "c.parquet")))
    status, out, _ = leash(capsys, "plan", pilot, "--json")
    found = json.loads(out)
    assert (status, found["samples_per_problem"], found["problems"]) == (0, 8, 40)
    assert found["cost"]["tokens"] == 40 * 8 * 2 * 5 and found["power"] is not None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "--epsilon"),
        (("--epsilon", "0.01"), "--n-problems"),
        (("--epsilon", "0.01", "--k", "3"), "one of --epsilon and --k"),
        (("--epsilon", "0.01", "--power", "0.8"), "--shares"),
        (("--epsilon", "0.01", "--power", "0.8", "--shares", "0.9,0.2,0.1"), "sum to at most 1"),
        (("--epsilon", "-1", "--n-problems", "3"), "epsilon must be positive"),
        (("no-such-run",), "no support.json"),
    ],
)
def test_a_plan_that_cannot_be_made(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str) -> None:
    status, out, err = leash(capsys, "plan", *arguments)
    assert (status, out) == (2, "") and says in err and "Traceback" not in err


def test_details_and_bits(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, detailed, bits = (
        leash(capsys, "reduce", tables / "c.parquet", "--bootstrap", 100, *options)[1]
        for options in ((), ("--details",), ("--details", "--bits"))
    )
    assert len(detailed.splitlines()) > len(plain.splitlines()) + 20
    assert "nats" in detailed and "bits" not in detailed.replace("--bits", "") and "bits" in bits


def test_quantiles_and_approximate_answers(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = reduced(capsys, tables / "c.parquet")
    asked = reduced(capsys, tables / "c.parquet", "--quantiles", "--approximate-answers", 16)
    for policy in ("base", "trained@10"):
        assert plain["policies"][policy]["quantiles"] is plain["policies"][policy]["approximate_answers"] is None
        lengths = asked["policies"][policy]["quantiles"]["n_tokens"]
        assert (lengths["n"], lengths["q"]["0.5"]) == (320, 5)
        assert asked["by_task"]["quiz"]["policies"][policy]["quantiles"]["n_tokens"]["n"] == 160
        assert asked["policies"][policy]["approximate_answers"]["is_exact"]  # there are four answers
        assert asked["policies"][policy]["answer_entropy"] == plain["policies"][policy]["answer_entropy"]
    status, _, err = leash(capsys, "reduce", tables / "c.parquet", "--approximate-answers", 3)
    assert status == 2 and "16" in err


def test_a_run_has_quantiles_and_keeps_its_exact_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problems = [Problem.make("t", f"{i}", "exact", "1") for i in range(3)]
    texts = {p: [["1", "2", "3"]] * 3 for p in ("base", "trained")}

    def verified(items: Sequence[tuple[Problem, str, str]]) -> list[Verification]:
        return [Verification(Verdict.CORRECT if text == "1" else Verdict.INCORRECT, text) for _, text, _ in items]

    run = make_run(tmp_path / "run", problems, texts, verified)
    for options in ((), ("--from-rows",)):
        out = reduced(capsys, run.path, *options)
        assert out["policies"]["base"]["quantiles"]["n_tokens"]["n"] == 9
        assert json.loads(run.support_json.read_text()) == out
    written = run.support_json.read_text()
    approximate = reduced(capsys, run.path, "--approximate-answers", 16)
    assert approximate["policies"]["base"]["approximate_answers"]["kept"] == 16
    assert run.support_json.read_text() == written

"""Given texts as files, scores tables that are gone on with, and prompts as they were asked."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoring_made import BASE, PROBLEMS, other_model

from leash_ray.config import parse_config
from leash_ray.errors import UsageError
from leash_ray.measure.scores import read_scores
from leash_ray.problems_file import write_problems
from leash_ray.prompting.record import keep, render_both
from leash_ray.run_dir import RunDir
from leash_ray.scoring.prompts import asked_prompts
from leash_ray.scoring.subject import given_subject, subject_of
from leash_ray.scoring.table import ScoresTable
from leash_ray.scoring.tally import Tally
from leash_ray.scoring.texts import SOURCE, read_texts, short_hash

FIRST, SECOND, _ = PROBLEMS


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def test_texts_are_found_by_id_or_prompt(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "t.jsonl",
        {"problem": FIRST.id, "text": "a", "source": "reference"},
        {"problem": SECOND.prompt, "text": "a"},
        "\n",
        {"problem": FIRST.id, "text": "a", "source": "reference"},
        {"problem": FIRST.id, "text": "b", "source": "reference", "text_id": 7},
        {"prompt": FIRST.prompt, "text": "a", "source": "x"},
        {"prompt": "elsewhere:", "text": "a"},
    )
    found = read_texts(file, PROBLEMS)
    digest = short_hash("a")
    assert [(t.problem_id, t.prompt, t.source, t.text_id) for t in found] == [
        (FIRST.id, None, "reference", digest),
        (SECOND.id, None, SOURCE, digest),
        (FIRST.id, None, "reference", f"{digest}-2"),  # the same again counts twice
        (FIRST.id, None, "reference", "7"),
        (FIRST.id, FIRST.prompt, "x", digest),
        (short_hash("elsewhere:"), "elsewhere:", SOURCE, digest),
    ]
    assert found[0].digest("p") == found[2].digest("p") != found[0].digest("q")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"problem": FIRST.id, "source": "x"}, "line 2 lacks the key 'text'"),
        ({"text": "a"}, "line 2 needs one of the keys 'problem'"),
        ({"text": "a", "problem": FIRST.id, "prompt": "x"}, "line 2 needs one of the keys"),
        ({"text": "a", "problem": "nowhere"}, "line 2: the run has no problem with the id or prompt 'nowhere'"),
        ({"text": 3, "problem": FIRST.id}, "line 2: text must be a text, not 3"),
        ({"text": "a", "problem": FIRST.id, "sorce": "x"}, "line 2: unknown key 'sorce'"),
        ({"text": "b", "problem": FIRST.id, "text_id": "1"}, "line 2: a second text '1'"),
        ("{not json\n", "line 2 is no JSON"),
        ("[1]\n", "line 2 is no JSON object"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path: Path, row: object, message: str) -> None:
    first = {"problem": FIRST.id, "text": "a", "text_id": "1"}
    with pytest.raises(UsageError, match=message):
        read_texts(lines(tmp_path / "t.jsonl", first, row), PROBLEMS)


def test_files_that_are_no_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the texts"):
        read_texts(tmp_path / "none.jsonl", PROBLEMS)
    with pytest.raises(UsageError, match="has no texts"):
        read_texts(lines(tmp_path / "t.jsonl", "\n"), PROBLEMS)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not text in UTF-8"):
        read_texts(tmp_path / "binary", PROBLEMS)


def row(text_id: str, logprob_sum: float | None, digest: str = "h") -> dict[str, object]:
    key = {"problem_id": FIRST.id, "source": "s", "text_id": text_id}
    return {**key, "n_tokens": 2, "logprob_sum": logprob_sum, "entropy_sum": 1.0, "text_hash": digest}


def test_parts_join_the_table_and_newer_rows_replace_older_ones(tmp_path: Path) -> None:
    table = ScoresTable(tmp_path, "base", "m", 1.0)
    assert (table.texts_done(), table.units_done()) == ({}, set())
    table.write_part("one", [row("a", -1.0), row("b", None)])
    assert table.texts_done() == {("s", FIRST.id, "a"): "h", ("s", FIRST.id, "b"): "h"}  # though not finished
    assert not table.path.exists()
    assert table.finish() == 2
    assert not table.parts.exists()
    table.write_part("two", [row("b", -3.0, "h2"), row("c", -4.0)])
    assert table.units_done() == {"one", "two"}
    assert table.finish() == 3
    assert table.texts_done()["s", FIRST.id, "b"] == "h2"
    # As leash reduce reads it.
    scores = read_scores([table.path])
    assert scores.select("policy", "text_id", "n_tokens", "logprob_sum").rows() == [
        ("base", "a", 2, -1.0),
        ("base", "b", 2, -3.0),
        ("base", "c", 2, -4.0),
    ]


def test_scores_that_cannot_be_compared_are_not_mixed(tmp_path: Path) -> None:
    table = ScoresTable(tmp_path, "base", "m", 1.0)
    table.refuse_others()
    table.write_part("one", [row("a", -1.0)])
    table.finish()
    table.refuse_others()
    ScoresTable(tmp_path, "trained", "m2", 1.0).refuse_others()
    with pytest.raises(UsageError, match="is of another model: move it away"):
        ScoresTable(tmp_path, "base", "m2", 1.0).refuse_others()
    with pytest.raises(
        UsageError, match=r"at temperature 1, which cannot be compared with those at 0.6: .*temperature 1"
    ):
        ScoresTable(tmp_path, "trained", "m2", 0.6).refuse_others()
    pq.write_table(pa.table({"policy": ["x"]}), tmp_path / "scores" / "x.parquet")
    with pytest.raises(UsageError, match="was not written by leash score"):
        ScoresTable(tmp_path, "x", "m", 1.0).refuse_others()
    (tmp_path / "scores" / "y.parquet").write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"cannot read .*y\.parquet"):
        table.refuse_others()


def test_tallies_add_up_and_travel() -> None:
    one = Tally(texts=2, tokens=9, entropy_means=1.0, with_steps=2, gap_max=0.1, gap_sum=0.15, gap_tokens=9)
    two = Tally(texts=1, tokens=1, entropy_means=2.0, with_steps=1, gap_max=0.3, gap_sum=0.3, gap_tokens=1)
    two.unscored["why"] = 4
    one.add(Tally.from_json(json.loads(json.dumps(two.to_json()))))
    assert (one.texts, one.token_entropy, one.gap_max, one.unscored["why"]) == (3, 1.0, 0.3, 4)
    assert one.gap_a_token == pytest.approx(0.045)
    assert Tally().gap_a_token == 0.0
    assert Tally().token_entropy != Tally().token_entropy


# Models and prompts.


def run_of(path: Path, **changes: object) -> RunDir:
    task = {"kind": "jsonl", "path": "unused.jsonl"}
    policies = {"base": {"model": BASE}, "trained": {"model": BASE}}
    config = parse_config({"task": task, "policies": policies, **changes}, "made")
    run = RunDir.create(path, config.model_dump(mode="json"), 0)
    write_problems(run.problems_parquet, PROBLEMS)
    return run


def test_prompts_are_those_that_were_asked(tmp_path: Path) -> None:
    prompting = {"system": "Count.", "assistant_prefix": " ok:"}
    run = run_of(tmp_path / "run", prompting=prompting)
    config = parse_config(run.config, "made")
    base = subject_of(config, run, "base")
    asked, record = render_both(config, {"base": BASE, "trained": BASE}, PROBLEMS)
    keep(run.path, record)
    expected = {p.id: p.prompt for p in asked["base"]}
    (run.path / "prompts.json").rename(run.path / "away.json")
    assert asked_prompts(config, run, PROBLEMS, base) == expected  # a run without a record
    (run.path / "away.json").rename(run.path / "prompts.json")
    assert expected[FIRST.id] == f"Count.\n\n{FIRST.prompt} ok:"
    for name in ("base", "trained@200", "elsewhere"):
        subject = base if name == "base" else given_subject(config, BASE, name)
        assert asked_prompts(config, run, PROBLEMS, subject) == expected
    # Rebuilt from one prompt they would be wrong here, where a problem's text is not in the prompt as it stands.
    record["policies"]["base"]["example"]["prompt"] = "something else"
    (run.path / "prompts.json").write_text(json.dumps(record))
    assert asked_prompts(config, run, PROBLEMS, base) == expected
    record["policies"]["base"]["prompts_hash"] = "0"
    (run.path / "prompts.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match="the prompts of policy 'base' are not those"):
        asked_prompts(config, run, PROBLEMS, base)


def test_a_model_is_known_by_its_weights(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    config = parse_config(run.config, "made")
    base = subject_of(config, run, "base")
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in Path(BASE).iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    assert given_subject(config, str(moved), "x").identity == base.identity
    assert given_subject(config, other_model(tmp_path / "other"), "x").identity != base.identity
    assert given_subject(config, "owner/name", "x").identity == "owner/name@main"


def test_models_that_there_are_not(tmp_path: Path) -> None:
    trained = {"task": {"kind": "jsonl", "path": "unused.jsonl"}, "max_tokens": 4}
    run = run_of(tmp_path / "run", policies={"base": {"model": BASE}, "trained": {}}, train=trained)
    config = parse_config(run.config, "made")
    with pytest.raises(UsageError, match="no trained model yet: run leash train"):
        subject_of(config, run, "trained")
    folder = run.path / "checkpoints" / "step-000100" / "model"
    run.mark_done("train", {"model": str(folder.relative_to(run.path)), "steps": 100})
    with pytest.raises(UsageError, match="does not exist"):
        subject_of(config, run, "trained")
    other_model(folder)
    assert subject_of(config, run, "trained").model == str(folder.resolve())
    with pytest.raises(UsageError, match=r"no policy 'trainde': its config has base, trained; .* --name trainde"):
        subject_of(config, run, "trainde")
    with pytest.raises(UsageError, match="does not exist"):
        given_subject(config, str(tmp_path / "nothing"), "x")
    for name in ("a/b", "x@y", "", "x@1@2"):
        with pytest.raises(UsageError, match="--name"):
            given_subject(config, BASE, name)

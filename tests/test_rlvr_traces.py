"""Solutions to learn from: files, completions tables, problems' own; and how they are tokenised."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leash_ray.config import TrainConfig
from leash_ray.deploy import resolve_model
from leash_ray.errors import UsageError
from leash_ray.rlvr.traces import completion_of, read_traces, solution_ids, traces_for
from leash_ray.tasks import JsonlSpec, ReasoningGymSpec, load_problems
from leash_ray.tasks.solutions import own_solutions
from leash_ray.types import Problem
from leash_ray.verify import judge

A, B, C = (Problem.make("t", f"{name}:", "scripted", name) for name in "abc")
NUMBERS = {"min_numbers": 3, "max_numbers": 3, "max_value": 15, "min_target": 10, "max_target": 60}
COUNTDOWN = ReasoningGymSpec(dataset="countdown", config=NUMBERS, prompt="compact", seed=2, size=40, split=(70, 90))


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_of_solutions_by_id_or_prompt(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "t.jsonl",
        {"problem_id": B.id, "text": "2"},
        {"prompt": "a:", "text": "1"},
        {"problem_id": B.id, "text": "1"},
        {"problem_id": B.id, "text": "2"},  # again
        {"problem_id": "other", "text": "x"},
        {"prompt": "other", "text": "x"},
        {"problem_id": A.id, "text": ""},
    )
    assert read_traces(path, [A, B, C]) == {A.id: ("1",), B.id: ("2", "1")}
    with gzip.open(tmp_path / "t.jsonl.gz", "wt") as f:
        f.write(path.read_text())
    assert read_traces(tmp_path / "t.jsonl.gz", [A, B, C]) == read_traces(path, [A, B, C])
    pq.write_table(pa.Table.from_pylist([{"problem_id": B.id, "text": t} for t in "21"]), tmp_path / "t.parquet")
    assert read_traces(tmp_path / "t.parquet", [A, B, C]) == {B.id: ("2", "1")}


def test_of_completions_the_correct_ones_that_ended(tmp_path: Path) -> None:
    def shard(name: str, rows: list[tuple[str, str, str, str]]) -> None:
        table = pa.Table.from_pylist(
            [
                {"policy": p, "problem_id": A.id, "verdict": v, "text": text, "finish_reason": why}
                for p, v, text, why in rows
            ]
        )
        for column in ("policy", "problem_id", "verdict", "finish_reason"):  # as tables have them, other in each file
            place = table.schema.get_field_index(column)
            table = table.set_column(place, column, table[column].dictionary_encode())
        (tmp_path / "completions").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "completions" / name)

    shard(
        "1.parquet",
        [
            ("base", "CORRECT", "b", "stop"),
            ("teacher", "CORRECT", "good", "stop"),
            ("teacher", "INCORRECT", "bad", "stop"),
        ],
    )
    shard("2.parquet", [("teacher", "CORRECT", "cut", "length"), ("teacher", "CORRECT", "also", "stop")])
    shard("_hidden.parquet", [("teacher", "CORRECT", "hidden", "stop")])
    folder = tmp_path / "completions"
    assert read_traces(folder, [A, B], "teacher") == {A.id: ("good", "also")}
    assert read_traces(folder, [A, B]) == {A.id: ("b", "good", "also")}


def config_of(**settings: Any) -> TrainConfig:
    return TrainConfig(**{"task": COUNTDOWN, **settings})


def test_mistakes_name_the_fix(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "t.jsonl", {"problem_id": A.id, "solution": "1"})
    with pytest.raises(UsageError, match=r"t\.jsonl, line 1: a solution has the columns text, and problem_id or"):
        read_traces(path, [A])
    for missing in ("gone.jsonl", "gone.parquet"):
        with pytest.raises(UsageError, match=r"no .*gone"):
            read_traces(tmp_path / missing, [A])
    (tmp_path / "bad.parquet").write_text("x")
    with pytest.raises(UsageError, match="is it whole"):
        read_traces(tmp_path / "bad.parquet", [A])
    other = str(jsonl(tmp_path / "o.jsonl", {"problem_id": "other", "text": "1", "policy": "p"}))
    sft = config_of(objective="sft", supervised={"traces": other, "policy": "p"})
    with pytest.raises(UsageError, match=r"train.supervised.traces: .*has no solution of policy 'p' of any of the 2"):
        traces_for(sft, [A, B])
    rows = JsonlSpec(path="x.jsonl")
    with pytest.raises(UsageError, match=r"no training problem has a solution.*train.seeding.traces.*\[solution\]"):
        traces_for(config_of(task=rows, seeding={"prefix_share": 0.5}), [A])


def test_only_what_needs_traces_reads_them() -> None:
    missing = {"traces": "gone.jsonl"}
    assert traces_for(config_of(), [A]) == {}
    assert traces_for(config_of(objective="rft"), [A]) == {}
    assert traces_for(config_of(seeding={"replay": 4, **missing}), [A]) == {}
    with pytest.raises(UsageError):
        traces_for(config_of(seeding={"per_group": 1, **missing}), [A])


def test_countdown_s_own_solutions_are_right_and_in_the_form_that_the_prompt_asks_for() -> None:
    problems = load_problems(COUNTDOWN)
    found = traces_for(config_of(objective="sft"), problems)
    assert set(found) == {p.id for p in problems}
    for problem in problems:
        (text,) = found[problem.id]
        assert judge(problem.verifier, problem.reference, text).verdict == "CORRECT"
        assert " " not in text
    in_words = COUNTDOWN.model_copy(update={"prompt": "question", "size": 3})
    assert any(" " in text for text in own_solutions(in_words, load_problems(in_words)).values())


def test_other_data_sets_and_rows_have_what_their_source_has(tmp_path: Path) -> None:
    sums = ReasoningGymSpec(dataset="basic_arithmetic", size=3)
    problems = load_problems(sums)
    for problem, text in zip(problems, own_solutions(sums, problems).values(), strict=True):
        assert judge(problem.verifier, problem.reference, text).verdict == "CORRECT"
    path = jsonl(
        tmp_path / "m.jsonl",
        {"problem": "1+1?", "answer": "2", "solution": "One and one: $2$"},
        {"problem": "1+2?", "answer": "3", "solution": None},
    )
    spec = JsonlSpec(path=str(path), metadata=("solution",))
    rows = load_problems(spec)
    assert own_solutions(spec, rows) == {rows[0].id: "One and one: $2$"}
    assert own_solutions(spec, load_problems(JsonlSpec(path=str(path)))) == {}


# Tokens.


def test_a_solution_is_tokenised_as_the_base_was_taught() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(resolve_model("embedded:countdown"))
    prompt_ids, ids = solution_ids(tokenizer, "2 3 9=21:", "9*2+3")
    assert prompt_ids == tokenizer("2 3 9=21:")["input_ids"]
    assert ids == [*tokenizer("9*2+3")["input_ids"], tokenizer.eos_token_id]
    assert len(ids) == 6
    batch = completion_of(prompt_ids, ids, "9*2+3")
    assert (len(batch), batch.token_ids_T.tolist(), batch.offsets.tolist()) == (1, ids, [0, 6])


class Pairs:
    """Tokens are pairs of letters from the left, and ``^`` marks the beginning of a text."""

    eos_token_id = 0

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        marked = ("^" if add_special_tokens else "") + text
        return {"input_ids": [ord(marked[i]) * 1000 + ord((marked + " ")[i + 1]) for i in range(0, len(marked), 2)]}


def test_where_a_token_would_reach_over_the_border_each_part_is_tokenised_alone() -> None:
    tokenizer = Pairs()
    prompt_ids, ids = solution_ids(tokenizer, "abc", "de")  # ^a bc | de
    assert (len(prompt_ids), ids) == (2, [ord("d") * 1000 + ord("e"), 0])
    prompt_ids, ids = solution_ids(tokenizer, "ab", "cd")  # ^a b|c d
    assert (len(prompt_ids), ids) == (2, [ord("c") * 1000 + ord("d"), 0])

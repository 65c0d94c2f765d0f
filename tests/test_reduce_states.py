"""States kept beside shards: used where they hold, made again where they do not, and the same numbers either way."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leash_ray.cli import main
from leash_ray.reduce import compare, read, reduce_paths, reduced_parts
from leash_ray.reducers import kept
from leash_ray.reducers.parts import from_bytes, to_bytes
from leash_ray.reducers.registry import VERSION
from leash_ray.reducers.state import state_of_block
from leash_ray.sampling.manifest import checksum, write_again, write_new
from leash_ray.sampling.shard import Shard
from leash_ray.types import COMPLETIONS_SCHEMA

N_PROBLEMS, N_SAMPLES, SHARD = 6, 24, 4


def rows_of(shard: Shard) -> pa.Table:
    """Problem i is right every (i + 2)-th time, with two ways to be right."""
    rows = []
    for problem in shard.problems:
        for i in range(shard.first_sample, shard.end_sample):
            right = i % (int(problem[1:]) + 2) == 0 and not (shard.policy == "trained" and problem == "p3")
            answer = f"a{i % 2}" if right else f"w{i % 5}"
            rows.append((problem, i, "CORRECT" if right else "INCORRECT", answer, 3 + i % 4, -0.25 * i))
    names = ("problem_id", "sample_index", "verdict", "answer", "n_tokens", "logprob_sum")
    columns: dict[str, Any] = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    columns |= {"policy": [shard.policy] * len(rows), "task": ["t"] * len(rows)}
    absent = {f.name: [None] * len(rows) for f in COMPLETIONS_SCHEMA if f.name not in columns}
    return pa.table(columns | absent, schema=COMPLETIONS_SCHEMA)


def status_of(*arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code or 0


def shards() -> list[Shard]:
    problems = tuple(f"p{i}" for i in range(N_PROBLEMS))
    return [
        Shard(policy, problems, first, first + SHARD)
        for policy in ("base", "trained")
        for first in range(0, N_SAMPLES, SHARD)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "completions"
    for shard in shards():
        write_new(out, shard, rows_of(shard), {})
    return out


def numbers(folder: Path, **options: Any) -> dict[str, Any]:
    return reduce_paths([folder], base="base", trained="trained", parallel=False, **options).to_json()


def without_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("rows were read")

    monkeypatch.setattr(read, "_parquet", refuse)


def test_states_stand_for_rows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = numbers(folder, from_rows=True)
    assert expected["support"]["problem"]["S"] == 1
    without_reading(monkeypatch)
    assert numbers(folder) == expected
    with pytest.raises(AssertionError, match="rows were read"):
        numbers(folder, from_rows=True)


def test_a_merged_state_stands_for_many(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = Shard("base", ("p0",), N_SAMPLES, N_SAMPLES + 8)
    monkeypatch.setattr(kept, "_FEWEST", 4)
    expected = numbers(folder)
    for policy in ("base", "trained"):
        assert (folder / policy / "_state" / "all.merged").is_file()
    own = (folder / "base" / "_state").glob("*.state")
    for state in own:
        state.write_bytes(b"")  # not needed while the merged one holds
    write_new(folder, extra, rows_of(extra), {})
    with monkeypatch.context() as patch:
        without_reading(patch)
        grown = numbers(folder)
    assert grown["policies"]["base"]["n_completions"] == expected["policies"]["base"]["n_completions"] + 8
    assert grown == numbers(folder, from_rows=True)


def test_new_verdicts_bring_a_new_state(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_FEWEST", 4)
    before = numbers(folder)
    shard = next(s for s in shards() if s.policy == "trained")
    table = pq.read_table(folder / shard.path, partitioning=None)
    verdict = pa.array(["CORRECT"] * len(table)).dictionary_encode().cast(COMPLETIONS_SCHEMA.field("verdict").type)
    write_again(folder / shard.path, table.set_column(table.schema.names.index("verdict"), "verdict", verdict))
    with monkeypatch.context() as patch:
        without_reading(patch)
        after = numbers(folder)
    assert after["support"]["problem"]["S"] == 0 != before["support"]["problem"]["S"]
    assert after == numbers(folder, from_rows=True)


def test_a_file_that_others_replaced_is_read(folder: Path) -> None:
    path = folder / shards()[0].path
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.slice(0, len(table) - 1), path)
    found = numbers(folder)
    assert found["policies"]["base"]["n_completions"] == N_PROBLEMS * N_SAMPLES - 1
    assert found == numbers(folder, from_rows=True)


def test_a_copied_run_keeps_its_states(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = numbers(folder)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, copy_function=shutil.copy)  # with other times of change
    without_reading(monkeypatch)
    assert numbers(copy) == expected


def test_a_state_of_another_version_or_half_written_is_made_again(folder: Path) -> None:
    expected = numbers(folder, from_rows=True)
    states = sorted((folder / "base" / "_state").glob("*.state"))
    whole = states[0].read_bytes()
    states[0].write_bytes(whole[: len(whole) // 2])
    path = folder / shards()[1].path
    stat = path.stat()
    about = {"version": "0", "of": [stat.st_size, stat.st_mtime_ns, checksum(path)]}
    kept.state_path(path).write_bytes(to_bytes(state_of_block(rows_of(shards()[2])), about))
    assert numbers(folder, keep_states=True) == expected
    assert from_bytes(states[0].read_bytes()).policies == {"base": N_PROBLEMS * SHARD}


def test_check_finds_a_state_that_lies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare([folder], parallel=False) == []
    path = folder / shards()[1].path
    stat = path.stat()
    about = {"version": VERSION, "of": [stat.st_size, stat.st_mtime_ns, checksum(path)]}
    changed = rows_of(shards()[1]).set_column(10, "text", pa.array(["x"] * N_PROBLEMS * SHARD))
    answer = pa.array(["other"] * N_PROBLEMS * SHARD)
    place = changed.schema.names.index("answer")
    kept.state_path(path).write_bytes(to_bytes(state_of_block(changed.set_column(place, "answer", answer)), about))
    assert any("distinct_answers" in line for line in compare([folder], parallel=False))
    assert status_of("reduce", str(folder), "--check") == 1
    assert "the kept states differ from the rows" in capsys.readouterr().err


def test_foreign_tables_get_states_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, shard in enumerate(shards()):
        pq.write_table(rows_of(shard), tmp_path / f"{i}.parquet", row_group_size=7)
    expected = numbers(tmp_path)
    assert not (tmp_path / "_state").exists()
    assert numbers(tmp_path, keep_states=True) == expected
    assert (tmp_path / "_state" / "all.merged").is_file()
    without_reading(monkeypatch)
    assert numbers(tmp_path) == expected


def test_states_of_other_policies_are_left_out(folder: Path) -> None:
    third = Shard("third", ("p0",), 0, 4)
    write_new(folder, third, rows_of(third), {})
    assert numbers(folder) == numbers(folder, from_rows=True)
    assert {p for part in reduced_parts([folder], parallel=False) for p in part.policies} == {
        "base",
        "trained",
        "third",
    }


def test_a_state_that_cannot_be_written_costs_nothing(folder: Path) -> None:
    shard = Shard("base", ("p9",), 0, 4)
    shutil.rmtree(folder / "base" / "_state")
    (folder / "base" / "_state").write_text("in the way")
    write_new(folder, shard, rows_of(shard), {})
    assert numbers(folder)["policies"]["base"]["n_completions"] == N_PROBLEMS * N_SAMPLES + 4


def test_the_command_line_reads_states_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for options in ((), ("--from-rows",)):
        assert status_of("reduce", str(folder), "--json", "--bootstrap", "100", *options) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]

"""Shards on the disk: cut, written whole, found again, damaged, lost, doubled, of another origin, re-verified."""

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_sampling import IDS, PROBLEMS, Scripted, drawing, maker, rounds_of, rows_in, wanted_origin

from leash_ray.config import PolicyConfig
from leash_ray.errors import UsageError
from leash_ray.files import parquet_files
from leash_ray.sampling.budget import Design
from leash_ray.sampling.held import check
from leash_ray.sampling.manifest import checksum, read_record, record_path
from leash_ray.sampling.origin import model_identity, origin_differences, origin_of
from leash_ray.sampling.shard import Gap, Shard, cut, plan_shards
from leash_ray.shard_verdicts import write_shard
from leash_ray.types import SamplingParams

DESIGN = Design((8,))
NOBODY = pytest.fail


def keys_of(shards: list[Shard]) -> list[tuple[str, str, int]]:
    return [(s.policy, p, i) for s in shards for p in s.problems for i in range(s.first_sample, s.end_sample)]


@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 100))
@settings(max_examples=60, deadline=None)
def test_shards_hold_every_sample_once(n_problems: int, n: int, samples_per_shard: int) -> None:
    problems = [f"{i:016x}" for i in range(n_problems)]
    shards = plan_shards(["base", "trained"], problems, n, samples_per_shard)
    keys = keys_of(shards)
    assert len(keys) == len(set(keys)) == 2 * n_problems * n == sum(s.n_rows for s in shards)
    assert len({s.path for s in shards}) == len(shards)
    assert max(s.n_rows for s in shards) <= samples_per_shard


def test_gaps_that_are_alike_share_shards_and_policies_take_turns() -> None:
    gaps = [Gap("a", "x", 0, 4), Gap("a", "y", 0, 4), Gap("a", "z", 2, 4), Gap("b", "x", 0, 4), Gap("b", "y", 0, 12)]
    assert cut(gaps, 8) == [
        Shard("a", ("x", "y"), 0, 4),
        Shard("b", ("x",), 0, 4),
        Shard("b", ("y",), 0, 8),
        Shard("a", ("z",), 2, 4),
        Shard("b", ("y",), 8, 12),
    ]


def test_one_problem_s_samples_are_drawn_one_shard_after_another() -> None:
    shards = plan_shards(["a"], ["x", "y"], 12, 4)
    assert [(s.problems, s.first_sample) for s in shards] == [((p,), f) for p in "xy" for f in (0, 4, 8)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six problems by two policies by eight samples, in six shards."""
    folder = tmp_path / "completions"
    made = maker(folder, {"base": Scripted(), "trained": Scripted()})
    assert len(list(rounds_of(folder, DESIGN, samples_per_shard=16).run(drawing(made)))) == 6
    return folder


def test_a_shard_says_what_it_is(folder: Path) -> None:
    path = next(p for p in parquet_files(folder) if p.parent.name == "base")
    record = read_record(path)
    assert record is not None and path == folder / record.shard.path
    assert (record.policy, len(record.problems), record.first_sample, record.end_sample) == ("base", 2, 0, 8)
    assert record.n_rows == pq.read_metadata(path).num_rows == 16
    assert (record.size_bytes, record.blake2b) == (path.stat().st_size, checksum(path))
    assert record.origin["seed"] == 0 and len(record.origin["prompts"]) == 16


def test_what_is_whole_is_not_drawn_again(folder: Path) -> None:
    assert rounds_of(folder, DESIGN).gaps() == []


@pytest.mark.parametrize("how", ["cut short", "one byte", "gone", "record and file", "record cut and file bad"])
def test_what_is_damaged_or_gone_is_drawn_again_and_said(folder: Path, how: str) -> None:
    before = rows_in(folder)
    path = parquet_files(folder)[0]
    content = path.read_bytes()
    if how == "cut short":
        path.write_bytes(content[:-100])
    elif how == "one byte":
        path.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    elif how == "gone":
        path.unlink()
    elif how == "record and file":
        path.unlink()
        record_path(path).unlink()
    else:
        record_path(path).write_text(record_path(path).read_text()[:40])
        path.write_bytes(content[:300])
    said: list[str] = []
    rounds = rounds_of(folder, DESIGN, said=said, samples_per_shard=5)  # it may be cut differently now
    assert sum(gap.n for gap in rounds.gaps()) == 16
    assert len(said) == (how != "record and file")
    assert how == "record and file" or ("missing" if how == "gone" else "is damaged") in said[0]
    policies = {"base": Scripted(), "trained": Scripted()}
    list(rounds.run(drawing(maker(folder, policies))))
    assert sum(request.n for policy in policies.values() for request in policy.requests) == 16
    assert rows_in(folder) == before
    said.clear()
    assert rounds_of(folder, DESIGN, said=said).gaps() == [] and said == []
    if "byte" in how or "cut" in how:
        assert (path.parent / "_damaged" / path.name).is_file()


def test_a_lost_record_is_written_again_from_the_shard(folder: Path) -> None:
    path = parquet_files(folder)[0]
    before = read_record(path)
    record_path(path).unlink()
    said: list[str] = []
    assert rounds_of(folder, DESIGN, said=said).gaps() == [] and said == []
    assert read_record(path) == before


def test_a_table_that_does_not_say_what_it_is_is_refused(folder: Path) -> None:
    path = parquet_files(folder)[0]
    record_path(path).unlink()
    pq.write_table(pq.read_table(path, partitioning=None).replace_schema_metadata({}), path)
    with pytest.raises(UsageError, match=r"does not say what it was made with.*move it out"):
        rounds_of(folder, DESIGN)


def test_a_shard_whose_rows_are_not_its_own_is_damaged(folder: Path) -> None:
    path = parquet_files(folder)[0]
    record_path(path).unlink()
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.slice(1), path)
    said: list[str] = []
    assert sum(g.n for g in rounds_of(folder, DESIGN, said=said).gaps()) == 16
    assert "is damaged" in said[0]


def test_a_shard_of_another_origin_is_refused_with_the_keys_that_differ(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"another configuration \(seed: 0 -> 1\): put the old values back"):
        check(folder, wanted_origin(seed=1), NOBODY)
    asked_otherwise = {"seed": 0, "prompts": "00"}
    with pytest.raises(UsageError, match=r'\(prompts: "[0-9a-f]{16}" -> "00"\)'):
        check(folder, lambda policy, ids: asked_otherwise, NOBODY)
    assert len(check(folder, lambda policy, ids: None, NOBODY).ranges) == 12  # of a policy that this run does not ask


def test_samples_that_two_shards_hold_count_once(folder: Path) -> None:
    """As when a task finishes its file after the next run has drawn the same."""
    before = rows_in(folder)
    late = Shard("base", IDS[:1], 0, 4)
    maker(folder, {"base": Scripted()}).make(late)
    said: list[str] = []
    assert rounds_of(folder, DESIGN, said=said).gaps() == []
    assert "another shard has" in said[0] and rows_in(folder) == before


def test_killed_between_record_and_rename_leaves_only_something_to_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = maker(tmp_path, {"base": Scripted()})
    shard = Shard("base", IDS[:2], 0, 4)
    target, rename = tmp_path / shard.path, os.replace

    def killed(source: Path, to: Path) -> None:
        if Path(to) == target:
            raise KeyboardInterrupt
        rename(source, to)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        made.make(shard)
    monkeypatch.undo()
    assert record_path(target).is_file() and not target.exists()
    said: list[str] = []
    assert not check(tmp_path, wanted_origin(), said.append).ranges and "missing" in said[0]
    made.make(shard)
    assert len(rows_in(tmp_path)) == 8


def test_new_verdicts_keep_a_shard_whole_also_when_killed_in_between(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = parquet_files(folder)[0]
    table = pq.read_table(path, partitioning=None)
    old, rename = path.read_bytes(), os.replace

    def killed(source: Path, to: Path) -> None:
        if Path(to) == path:
            raise KeyboardInterrupt
        rename(source, to)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_shard(path, table, {b"leash_verification": b"001"})
    monkeypatch.undo()
    assert path.read_bytes() == old and rounds_of(folder, DESIGN, said=[]).gaps() == []
    write_shard(path, table, {b"leash_verification": b"001"})
    record = read_record(path)
    assert path.read_bytes() != old and record is not None and record.blake2b == checksum(path)
    said: list[str] = []
    assert rounds_of(folder, DESIGN, said=said).gaps() == [] and said == []


def test_a_table_from_elsewhere_is_replaced_without_a_record(tmp_path: Path) -> None:
    maker(tmp_path, {"base": Scripted()}).make(Shard("base", IDS[:1], 0, 2))
    path = parquet_files(tmp_path)[0]
    record_path(path).unlink()
    write_shard(path, pq.read_table(path, partitioning=None))
    assert not record_path(path).exists()


def test_the_origin_is_everything_that_decides_completions(tmp_path: Path) -> None:
    policy = PolicyConfig(model="owner/name", engine={"quantization": "fp8"})
    found = origin_of(SamplingParams(0.6, 0.95), 7, policy, "owner/name", 3)
    assert found == {
        "seed": 7,
        "temperature": 0.6,
        "top_p": 0.95,
        "top_k": 0,
        "min_p": 0.0,
        "max_tokens": 32,
        "model": "owner/name",
        "version": 3,
        "dtype": "auto",
        "engine.quantization": "fp8",
    }
    assert found == json.loads(json.dumps(found))
    other = origin_of(SamplingParams(0.6), 7, PolicyConfig(model="owner/name", cpus=4.0), "owner/name", 3)
    assert origin_differences(found, other) == ["top_p: 0.95 -> 1.0", 'engine.quantization: "fp8" -> null']


def test_a_model_is_known_by_its_weights_wherever_it_lies(tmp_path: Path) -> None:
    for name, weight in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(weight * 100)
    a, b, c = (model_identity(str(tmp_path / name)) for name in "abc")
    assert a == b != c
    assert model_identity("owner/name") == "owner/name"


def test_prompts_of_problems_are_part_of_the_origin() -> None:
    assert wanted_origin()("base", IDS[:2]) != wanted_origin()("base", IDS[1:3])
    assert len(PROBLEMS) == len(set(IDS))

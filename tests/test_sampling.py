"""Sampling through Ray Data, Ray Serve, vLLM and the verifiers into Parquet."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leash_ray.config import BudgetConfig, SamplingConfig
from leash_ray.policy import ServedPolicy
from leash_ray.sampling import stream
from leash_ray.sampling.budget import design_of
from leash_ray.sampling.held import check
from leash_ray.sampling.origin import prompts_hash
from leash_ray.sampling.rounds import Rounds
from leash_ray.sampling.shard import Shard, cut, plan_shards
from leash_ray.sampling.stream import sample_shards
from leash_ray.types import COMPLETIONS_SCHEMA, Problem
from leash_ray.verify import judge
from leash_ray.verify.remote import RemoteVerifier

CONFIG = SamplingConfig(n=24, max_tokens=12, samples_per_shard=96)


def shards_of(problems: list[Problem], config: SamplingConfig = CONFIG) -> list[Shard]:
    return plan_shards(["alpha"], [p.id for p in problems], config.most, config.samples_per_shard)


@pytest.fixture(scope="module")
def sampled(
    served: ServedPolicy, verifier: RemoteVerifier, countdown: list[Problem], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("completions")
    rows = list(sample_shards(shards_of(countdown), folder, countdown, CONFIG, 0, {"alpha": served}, verifier))
    assert sum(row["completions"] for row in rows) == len(countdown) * CONFIG.most
    return folder


def read(folder: Path) -> list[dict]:
    tables = [pq.read_table(path) for path in sorted(folder.rglob("*.parquet"))]
    assert all(table.schema.equals(COMPLETIONS_SCHEMA) for table in tables)
    rows = pa.concat_tables([table.cast(_plain(table.schema)) for table in tables]).to_pylist()
    return sorted(rows, key=lambda r: (r["problem_id"], r["sample_index"]))


def _plain(schema: pa.Schema) -> pa.Schema:
    return pa.schema(
        [pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in schema]
    )


def test_the_table_holds_each_sample_once_and_its_columns_agree(sampled: Path, countdown: list[Problem]) -> None:
    rows = read(sampled)
    assert {(r["problem_id"], r["sample_index"]) for r in rows} == {
        (p.id, i) for p in countdown for i in range(CONFIG.most)
    }
    by_id = {p.id: p for p in countdown}
    assert {r["verdict"] for r in rows} >= {"CORRECT", "INCORRECT"}
    for row in rows:
        problem = by_id[row["problem_id"]]
        assert row["n_tokens"] == len(row["token_ids"]) and row["logprob_sum"] < 0
        assert row["policy"] == "alpha" and row["task"] == "countdown" and row["policy_version"] == 0
        if row["finish_reason"] == "length":
            assert row["verdict"] == "TRUNCATED" and row["answer"] is None
        elif row["verdict"] in ("CORRECT", "INCORRECT"):
            assert row["answer"] == row["text"]
            assert judge(problem.verifier, problem.reference, row["text"]).verdict == row["verdict"]


def test_a_stopped_run_draws_only_what_is_missing_and_the_same(
    sampled: Path, served: ServedPolicy, verifier: RemoteVerifier, countdown: list[Problem]
) -> None:
    before = read(sampled)
    lost, kept = (sampled / shard.path for shard in shards_of(countdown)[1::-1])
    lost.unlink()
    lost.with_name(f".{lost.name}.1.tmp").write_bytes(b"cut off in mid-write")
    kept_at = kept.stat().st_mtime_ns
    held = check(sampled, lambda policy, ids: None, lambda line: None)
    gaps = [gap for p in countdown for gap in held.gaps(("alpha", p.id), design_of(CONFIG))]
    assert sum(gap.n for gap in gaps) == 96
    list(sample_shards(cut(gaps, 7), sampled, countdown, CONFIG, 0, {"alpha": served}, verifier))
    assert kept.stat().st_mtime_ns == kept_at
    after = read(sampled)
    assert [(r["problem_id"], r["sample_index"], r["text"]) for r in after] == [
        (r["problem_id"], r["sample_index"], r["text"]) for r in before
    ]


def test_how_completions_are_cut_into_shards_does_not_change_them(
    sampled: Path,
    served: ServedPolicy,
    verifier: RemoteVerifier,
    countdown: list[Problem],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other shards, in several streams, and the first 8 samples only: the first 8 of the 24."""
    monkeypatch.setattr(stream, "_LEAST_IN_A_STREAM", 4)
    monkeypatch.setattr(stream, "_ROUNDS_IN_A_STREAM", 1)
    config = SamplingConfig(n=8, max_tokens=12, samples_per_shard=3)
    two = countdown[:2]
    shards = shards_of(two, config)
    assert len(shards) > 4
    made = list(sample_shards(shards, tmp_path, two, config, 0, {"alpha": served}, verifier))
    assert len(made) == len(shards)
    wanted = {p.id for p in two}
    expected = [r["text"] for r in read(sampled) if r["problem_id"] in wanted and r["sample_index"] < 8]
    assert [r["text"] for r in read(tmp_path)] == expected


def test_topping_up_equals_drawing_at_once(
    sampled: Path, served: ServedPolicy, verifier: RemoteVerifier, countdown: list[Problem], tmp_path: Path
) -> None:
    """Adaptively to 16, then to 24 for all: row for row what 24 at once are, and nothing is drawn twice."""
    adaptive = SamplingConfig(budget=BudgetConfig(first=4, grow=2, max=16), max_tokens=12, samples_per_shard=20)
    by_id = {problem.id: problem for problem in countdown}
    n_drawn = 0
    for config in (adaptive, CONFIG):
        design = design_of(config)
        held = check(tmp_path / "c", lambda policy, ids: {"prompts": prompts_hash(by_id[i] for i in ids)}, pytest.fail)
        pairs = [("alpha", problem.id) for problem in countdown]
        rounds = Rounds(held, pairs, design, config.samples_per_shard, tmp_path / "dead_letters.jsonl")
        made = rounds.run(
            lambda shards, config=config: sample_shards(
                shards, tmp_path / "c", countdown, config, 0, {"alpha": served}, verifier
            )
        )
        n_drawn += sum(row["completions"] for row in made)
        if config is adaptive:
            assert 4 * len(countdown) < rounds.n_held["alpha"] < 16 * len(countdown)
    assert read(tmp_path / "c") == read(sampled) and n_drawn == len(read(sampled))


def test_each_distinct_answer_is_verified_once(
    sampled: Path, verifier: RemoteVerifier, countdown: list[Problem]
) -> None:
    rows = read(sampled)
    by_id = {p.id: p for p in countdown}
    before = verifier.counters()
    verifier.verify([(by_id[r["problem_id"]], r["text"], r["finish_reason"]) for r in rows])
    after = verifier.counters()
    assert sum(a["n_calls"] for a in after) == sum(b["n_calls"] for b in before)

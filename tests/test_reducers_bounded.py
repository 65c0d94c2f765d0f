"""Answers in bounded memory: brute force in any order and split, exact while they are few, and errors as stated."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.measure.measuring import Measuring
from leash_ray.measure.settings import MeasureConfig
from leash_ray.reduce import Reading, engine, reduce_paths, reduced_parts
from leash_ray.reducers import CompletionsState, Reduced, state_of_block
from leash_ray.reducers.accumulator import Accumulator
from leash_ray.reducers.hashes import mixed
from leash_ray.reducers.parts import cut, from_bytes, to_bytes
from leash_ray.reducers.reduced import differences, joined
from leash_ray.reducers.registry import ESTIMATED, with_bounded_answers

Row = tuple[str, str, int, str, str | None]
NAMES = ("policy", "problem_id", "sample_index", "verdict", "answer")
ESTIMATES = ("distinct", "once", "twice", "entropy")
HOW = Measuring(config=MeasureConfig(bootstrap=100))


def table(rows: list[Row]) -> pa.Table:
    kinds = (pa.string(), pa.string(), pa.int32(), pa.string(), pa.string())
    return pa.table({n: pa.array([r[i] for r in rows], k) for i, (n, k) in enumerate(zip(NAMES, kinds, strict=True))})


def state(of: pa.Table, size: int) -> CompletionsState:
    return state_of_block(of, reducers=with_bounded_answers(ESTIMATED, size))


def hash_of(problem: str, answer: str) -> int:
    """The hash, one at a time."""
    mask = 2**64 - 1

    def mixed(x: int) -> int:
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & mask
        return x ^ (x >> 31)

    return mixed(xxhash.xxh3_64_intdigest(answer.encode()) ^ mixed(xxhash.xxh3_64_intdigest(problem.encode())))


def test_hashes_are_those_of_the_specification() -> None:
    assert xxhash.xxh3_64_intdigest(b"") == 0x2D06800538D394C2
    # SplitMix64 from seed 0: its first output is the finalizer of its increment
    assert mixed(np.array([0x9E3779B97F4A7C15], dtype=np.uint64)).tolist() == [0xE220A8397B1DCDAF]


def counts_of(rows: list[Row]) -> dict[tuple[str, str], Counter[str | None]]:
    found: dict[tuple[str, str], Counter[str | None]] = {}
    for policy, problem, _, verdict, answer in rows:
        if verdict != "ERROR":
            found.setdefault((policy, problem), Counter())[answer] += 1
    return found


def entropy(counts: list[int]) -> float:
    return -sum(c / sum(counts) * math.log(c / sum(counts)) for c in counts)


def brute(problem: str, counts: Counter[str | None], size: int) -> dict[str, float]:
    """The estimates of one problem by their definition."""
    n_buckets = 1 << (2 * size - 1).bit_length()
    known = sorted((hash_of(problem, a), a) for a in counts if a is not None)
    theta = 1.0 if len(known) <= size else known[size][0] / 2**64
    sample = known if theta == 1.0 else known[:size]
    buckets: Counter[int] = Counter()
    for h, a in known:
        buckets[h % n_buckets] += counts[a]
    n = sum(counts.values())
    within = sum(-counts[a] / n * math.log(counts[a] / buckets[h % n_buckets]) for h, a in sample)
    of_buckets = entropy([*buckets.values(), *([counts[None]] if counts[None] else [])])
    return {
        "distinct": len(sample) / theta,
        "once": sum(counts[a] == 1 for _, a in sample) / theta,
        "twice": sum(counts[a] == 2 for _, a in sample) / theta,
        "entropy": of_buckets + within / theta,
        "entropy_at_least": of_buckets,
    }


completions = st.lists(
    st.tuples(
        st.sampled_from(["base", "trained"]),
        st.sampled_from(["p", "q"]),
        st.integers(0, 200),
        st.sampled_from(["CORRECT", "INCORRECT", "INCORRECT", "NO_ANSWER", "ERROR"]),
        st.sampled_from(["a", "b", "c", "d", "é", "", "NA", "h"]),
    ),
    max_size=60,
    unique_by=lambda r: r[:3],
).map(lambda rows: [(*r[:4], r[4] if r[3] in ("CORRECT", "INCORRECT") else None) for r in rows])


@settings(max_examples=80, deadline=None)
@given(completions, st.randoms(use_true_random=False), st.lists(st.integers(0, 60), max_size=4), st.integers(0, 2))
def test_any_order_and_split(rows: list[Row], random: Any, cuts: list[int], way: int) -> None:
    size = 3
    whole = state(table(rows), size).finalize()
    shuffled = random.sample(rows, len(rows))
    bounds = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    states = [state(table(shuffled[a:b]), size) for a, b in zip(bounds, bounds[1:], strict=False)]
    if way == 0:
        found = states[0].merge(*states[1:]).finalize()
    elif way == 1:
        right = states[-1]
        for one in reversed(states[:-1]):
            right = one.merge(right)
        found = right.finalize()
    else:
        parts = [cut(from_bytes(to_bytes(one)), 3) for one in states]
        found = joined([p[0].merge(*p[1:]).finalize() for p in zip(*parts, strict=True)])
    assert differences(found, whole) == []
    for (policy, problem), counts in counts_of(rows).items():
        row = whole.problems.row(
            by_predicate=(pl.col("policy") == policy) & (pl.col("problem_id") == problem), named=True
        )
        for name, value in brute(problem, counts, size).items():
            assert row[f"approximate_{name}"] == pytest.approx(value, rel=1e-12, abs=1e-12)
        n_answers = len(set(counts) - {None})
        assert row["approximate_sampled"] == (n_answers > size)
        if n_answers <= size:
            assert row["distinct_answers"] == row["approximate_distinct"] == n_answers
            assert row["answer_entropy"] == pytest.approx(row["approximate_entropy"], abs=1e-12)
            assert [row[f"approximate_{name}_se"] for name in ESTIMATES] == [0.0] * 4
        else:
            assert row["distinct_answers"] is None and math.isnan(row["answer_entropy"])
            assert row["approximate_entropy_at_least"] <= entropy([*counts.values()]) + 1e-12


@settings(max_examples=30, deadline=None)
@given(completions)
def test_few_answers_are_exact(rows: list[Row]) -> None:
    exact, found = state_of_block(table(rows)).finalize(), state(table(rows), 8).finalize()
    added = [c for c in found.problems.columns if c.startswith("approximate_")]
    dropped = pl.Series("correct_odd", [None] * len(exact.problems), dtype=pl.Int64)
    as_exact = Reduced(found.problems.drop(added), found.answers, found.answer_texts, found.policies)
    expected = Reduced(
        exact.problems.with_columns(dropped),
        exact.answers.with_columns(correct_odd=0),
        exact.answer_texts,
        exact.policies,
    )
    as_exact = Reduced(
        as_exact.problems, as_exact.answers.with_columns(correct_odd=0), found.answer_texts, found.policies
    )
    assert differences(as_exact, expected) == []


def wide(seed: int, n_problems: int, n: int = 600, n_answers: int = 1000, correct: int = 0) -> pa.Table:
    """Zipf-like answers: a few come often, most once. Both policies; ``correct``: so many of the answers are right."""
    rng = np.random.default_rng(seed)
    chance = 1 / np.arange(1, n_answers + 1)
    rank = rng.choice(n_answers, 2 * n_problems * n, p=chance / chance.sum())
    group, index = np.divmod(np.arange(len(rank)), n)
    return pa.table(
        {
            "policy": pa.array(np.where(group % 2, "trained", "base").tolist()),
            "problem_id": pa.array([f"{seed}-{g // 2}" for g in group.tolist()]),
            "sample_index": pa.array(index, pa.int32()),
            "verdict": pa.array(np.where(rank < correct, "CORRECT", "INCORRECT").tolist()),
            "answer": pa.array([str(r) for r in rank.tolist()]),
        }
    )


def test_errors_are_as_stated() -> None:
    """Over many problems: no bias that a standard error would show, and errors of the stated size."""
    n_problems, size = 300, 64
    of = wide(7, n_problems, n_answers=300)
    exact, found = state_of_block(of).finalize(), state(of, size).finalize().problems
    truth = exact.answers.group_by("row").agg(
        distinct=pl.len(), once=(pl.col("count") == 1).sum(), twice=(pl.col("count") == 2).sum()
    )
    truth = truth.sort("row").with_columns(entropy=exact.problems["answer_entropy"])
    assert found["approximate_sampled"].min() == 1
    base = (found["policy"] == "base").to_numpy()  # the policies of a problem share their hashes
    for name in ESTIMATES:
        error = (found[f"approximate_{name}"] - truth[name]).to_numpy()[base]
        z = error / found[f"approximate_{name}_se"].to_numpy()[base]
        assert abs(error.mean()) < 4 * error.std() / math.sqrt(n_problems)
        assert 0.7 < z.std() < 1.3
        assert np.mean(np.abs(z) < 3) > 0.95
    relative = (found["approximate_distinct"] / truth["distinct"]).to_numpy()[base] - 1
    assert relative.std() < 1.15 / math.sqrt(size - 1)  # 1.15: five standard errors of the root mean square of 300


def test_states_stay_small(tmp_path: Path) -> None:
    of = wide(1, 3, n=4000, n_answers=20_000)
    held = CompletionsState.empty()
    for start in range(0, len(of), 1000):
        held = held.merge(state(of.slice(start, 1000), 32))
    assert len(held.words["answer"]) <= 6 * 33
    assert held.tables["bounded_answers@32"].num_rows <= 6 * (33 + 64 + 1)
    with Accumulator(1 << 14, tmp_path) as states:
        for start in range(0, len(of), 1000):
            states.add(state(of.slice(start, 1000), 32))
        parts = [part.finalize() for part in states.parts()]
        assert states.spilled_bytes > 0
    assert differences(joined(parts), held.finalize()) == []


def reduce(folder: Path, size: int | None, **options: Any) -> dict[str, Any]:
    reading = Reading(reducers=ESTIMATED if size is None else with_bounded_answers(ESTIMATED, size))
    both = {"base": "base", "trained": "trained", "measuring": HOW, "parallel": False}
    return reduce_paths([folder], reading=reading, **both, **options).to_json()  # type: ignore[arg-type]


def test_the_output_says_what_is_approximate(tmp_path: Path) -> None:
    for seed in range(3):
        pq.write_table(wide(seed, 2, correct=3), tmp_path / f"{seed}.parquet")
    exact, few, all_ = reduce(tmp_path, None), reduce(tmp_path, 64), reduce(tmp_path, 5000)
    assert exact["policies"]["base"]["approximate_answers"] is None
    for policy in ("base", "trained"):
        true, said = exact["policies"][policy], few["policies"][policy]["approximate_answers"]
        assert (said["kept"], said["is_exact"], said["n_problems_sampled"]) == (64, False, 6)
        assert said["relative_se"] == pytest.approx(1 / math.sqrt(63))
        assert few["policies"][policy]["answer_entropy"] is None  # no exact one
        of = said["answer_entropy"]
        assert of["at_least"] < true["answer_entropy"] and abs(of["value"] - true["answer_entropy"]) < 5 * of["se"]
        whole = all_["policies"][policy]["approximate_answers"]
        assert (whole["is_exact"], whole["n_problems_sampled"], whole["relative_se"]) == (True, 0, 0.0)
        assert whole["answer_entropy"] == {"value": pytest.approx(true["answer_entropy"]), "se": 0.0, "at_least": whole[
            "answer_entropy"]["at_least"]}  # fmt: skip
        assert whole["distinct_answers"]["se"] == 0.0 < said["distinct_answers"]["se"]
    # Correct answers are few, and kept apart: what rests on them is exact.
    for one in (exact, few, all_):
        del one["support"]["answer"]["noise_floor"]["halves"], one["support"]["problem"]["noise_floor"]["halves"]
    assert few["support"] == exact["support"] == all_["support"]
    assert few["support"]["answer"]["P"] > 0


def test_many_correct_answers_leave_no_exact_support(tmp_path: Path) -> None:
    pq.write_table(wide(1, 2, correct=500), tmp_path / "a.parquet")
    assert reduce(tmp_path, 64)["support"]["answer"] is None
    assert reduce(tmp_path, None)["support"]["answer"] is not None


def test_states_and_rows_say_the_same(tmp_path: Path) -> None:
    for seed in range(3):
        pq.write_table(wide(seed, 2, correct=3), tmp_path / f"{seed}.parquet")
    rows = reduce(tmp_path, 64)
    assert reduce(tmp_path, 64, keep_states=True) == rows
    assert (tmp_path / "_state").is_dir()
    assert reduce(tmp_path, 64) == rows


def test_copies_are_dropped(tmp_path: Path) -> None:
    of = wide(1, 2, correct=3)
    pq.write_table(of, tmp_path / "a.parquet")
    expected = reduce(tmp_path, 64)
    pq.write_table(of.slice(100, 50), tmp_path / "b.parquet")
    assert reduce(tmp_path, 64, drop_duplicates=True) == expected


@pytest.mark.parametrize("is_cut", [False, True])
def test_ray_gives_the_same(is_cut: bool, tmp_path: Path, ray_session: object, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [wide(seed, 3, correct=3) for seed in range(3)]
    for i, one in enumerate(tables):
        pq.write_table(one, tmp_path / f"{i}.parquet", row_group_size=500)
    monkeypatch.setattr(engine, "_WHOLE_BYTES", -1 if is_cut else 1 << 30)
    monkeypatch.setattr("leash_ray.reduce.read._PACKED_FILES", 1)
    found = joined(list(reduced_parts([tmp_path], Reading(reducers=with_bounded_answers(ESTIMATED, 20)))))
    assert differences(found, state(pa.concat_tables(tables), 20).finalize()) == []

"""States cut, written, spilled and exchanged are the same states; both ways of finding rows that are alike agree."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leash_ray.errors import UsageError
from leash_ray.reduce import Reading, engine, reduced_parts
from leash_ray.reduce.dataset import state_of_dataset
from leash_ray.reducers import Reduced, block
from leash_ray.reducers.accumulator import Accumulator
from leash_ray.reducers.parts import cut, from_bytes, to_bytes
from leash_ray.reducers.reduced import differences, joined
from leash_ray.reducers.state import CompletionsState, state_of_block
from leash_ray.types import COMPLETIONS_SCHEMA


def completions(seed: int, n: int = 3000, n_problems: int = 60, n_answers: int = 40) -> pa.Table:
    """Samples in no order; every tenth without tokens, some without a task or an answer."""
    rng = np.random.default_rng(seed)
    row = rng.permutation(n)
    group, index = np.divmod(row, n // (2 * n_problems))
    verdict = rng.choice(["CORRECT", "INCORRECT", "NO_ANSWER", "TRUNCATED", "ERROR"], n, p=[0.3, 0.5, 0.1, 0.05, 0.05])
    answer = [
        f"é{a}" if v in ("CORRECT", "INCORRECT") else None for v, a in zip(verdict, rng.integers(0, n_answers, n))
    ]
    problem = group // 2
    columns: dict[str, Any] = {
        "policy": [("base", "trained")[i] for i in group % 2],
        "task": [(None, "a", "b")[i] for i in problem % 3],
        "problem_id": [f"p{i}" for i in problem],
        "sample_index": index + 64 * seed,
        "verdict": verdict.tolist(),
        "answer": answer,
        "n_tokens": [None if i % 10 == 0 else int(i) for i in rng.integers(1, 50, n)],
        "logprob_sum": rng.normal(-20, 5, n).astype(np.float32),
        "entropy_sum": rng.gamma(5, 2, n).astype(np.float32),
        "leniency": [("phrase" if i % 7 == 0 else None) for i in range(n)],
    }
    return pa.table({c: pa.array(v, COMPLETIONS_SCHEMA.field(c).type) for c, v in columns.items()})


@pytest.fixture(scope="module")
def tables() -> list[pa.Table]:
    return [completions(seed) for seed in range(5)]


@pytest.fixture(scope="module")
def expected(tables: list[pa.Table]) -> Reduced:
    return state_of_block(pa.concat_tables(tables)).finalize()


def test_parts_are_the_whole(tables: list[pa.Table], expected: Reduced) -> None:
    state = state_of_block(pa.concat_tables(tables))
    parts = cut(state, 7)
    ids = [set(part.keys.column("problem_id").to_pylist()) for part in parts]
    assert sum(map(len, ids)) == len(set.union(*ids)) == 60 and min(map(len, ids)) > 0
    assert differences(parts[0].merge(*parts[1:]).finalize(), expected) == []
    assert differences(joined([part.finalize() for part in parts]), expected) == []
    assert all(len(part.words["answer"]) <= 40 for part in parts)


def test_bytes_are_the_state(tables: list[pa.Table], expected: Reduced) -> None:
    states = [
        from_bytes(to_bytes(state_of_block(table), {"a": 1}, c)) for table, c in zip(tables, (None, *["zstd"] * 4))
    ]
    assert differences(states[0].merge(*states[1:]).finalize(), expected) == []
    with pytest.raises(ValueError, match="no state"):
        from_bytes(b"something else")


@pytest.mark.parametrize("budget", [1, 200_000, 1 << 30])
def test_what_is_held_and_spilled_is_the_whole(
    tables: list[pa.Table], expected: Reduced, budget: int, tmp_path: Path
) -> None:
    with Accumulator(budget, tmp_path) as states:
        for table in tables:
            for start in range(0, len(table), 250):
                states.add(state_of_block(table.slice(start, 250)))
        found = [part.finalize() for part in states.parts(2)]
        assert states.is_cut == (budget < 1 << 30) and (states.spilled_bytes > 0) == (budget < 1 << 30)
    assert differences(joined(found), expected) == []
    assert list(tmp_path.iterdir()) == []


def test_sorting_and_hashing_find_the_same_cells(
    tables: list[pa.Table], expected: Reduced, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    for distinct in (0.0, 1.0):  # all blocks are taken for mostly distinct ones, or none

        def unique(values: Any, of: float = distinct) -> range:
            used.append(of)
            return range(int(of * len(values)))

        with monkeypatch.context() as patch:
            patch.setattr(block, "_SAMPLED", 100)
            patch.setattr(block.np, "unique", unique)
            cells = state_of_block(tables[0])
        assert differences(cells.finalize(), state_of_block(tables[0]).finalize()) == []
    assert set(used) == {0.0, 1.0}


def test_no_state_and_no_rows() -> None:
    assert [len(part.pairs) for part in cut(CompletionsState.empty(), 3)] == [0, 0, 0]
    with Accumulator() as states:
        assert [len(part.pairs) for part in states.parts()] == [0]


@pytest.mark.parametrize("is_cut", [False, True])
def test_ray_exchanges_states_of_many_pieces(
    tables: list[pa.Table],
    expected: Reduced,
    is_cut: bool,
    tmp_path: Path,
    ray_session: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for i, table in enumerate(tables):
        pq.write_table(table, tmp_path / f"{i}.parquet", row_group_size=400)
    monkeypatch.setattr(engine, "_WHOLE_BYTES", -1 if is_cut else 1 << 30)
    monkeypatch.setattr("leash_ray.reduce.read._PACKED_FILES", 1)
    parts = list(reduced_parts([tmp_path], Reading(), parallel=True))
    assert (len(parts) > 1) == is_cut
    assert differences(joined(parts), expected) == []


def test_a_problem_with_half_of_all_rows_is_spread_by_rows(
    tables: list[pa.Table], tmp_path: Path, ray_session: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks take rows, whosever they are, and hand over a state that is no larger for it."""
    n = sum(map(len, tables))
    large = completions(9, n, n_problems=1)
    place = large.schema.get_field_index("problem_id")
    large = large.set_column(place, large.schema.field(place), pa.array(["large"] * n, large.schema.types[place]))
    rows = pa.concat_tables([*tables, large])
    slices = [rows.slice(start, 3000) for start in range(0, 2 * n, 3000)]
    sizes = [state_of_block(one).nbytes for one in slices]
    assert max(sizes[n // 3000 :]) < min(sizes[: n // 3000])
    for i, one in enumerate(slices):
        pq.write_table(one, tmp_path / f"{i:02}.parquet")
    monkeypatch.setattr("leash_ray.reduce.read._PACKED_FILES", 1)  # ten pieces
    monkeypatch.setattr(engine, "_WHOLE_BYTES", -1)
    parts = list(reduced_parts([tmp_path], Reading(), parallel=True))
    assert differences(joined(parts), state_of_block(rows).finalize()) == []


def test_a_data_set_of_ray_is_reduced_where_it_is(
    tables: list[pa.Table], expected: Reduced, ray_session: object
) -> None:
    import ray.data

    plain = [pa.table({n: _plain(t.column(n)) for n in t.schema.names}) for t in tables]
    assert differences(state_of_dataset(ray.data.from_arrow(plain)).finalize(), expected) == []
    with pytest.raises(UsageError, match="missing column verdict"):
        state_of_dataset(ray.data.from_arrow([t.drop_columns(["verdict"]) for t in plain]))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Ray Data refuses dictionaries that differ between blocks."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column

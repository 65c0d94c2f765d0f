"""Rows that are cut by problem and reduced at the end: the same numbers as states of pieces that are merged."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_reducers_parts import completions

from leash_ray.errors import UsageError
from leash_ray.reduce import Reading, engine, reduced_parts
from leash_ray.reduce.read import Piece, pieces_of, rows_of_piece
from leash_ray.reducers import CompletionsState, accumulator, rows, state_of_block
from leash_ray.reducers.accumulator import N_PARTS, Accumulator
from leash_ray.reducers.hashes import hashes, parts_of
from leash_ray.reducers.parts import cut
from leash_ray.reducers.reduced import differences, joined
from leash_ray.reducers.registry import ESTIMATED, KEPT, with_bounded_answers
from leash_ray.reducers.rows import CutRows, append_rows, cut_rows, rows_of_file, states_of_rows

OPTIONAL = ["task", "answer", "n_tokens", "logprob_sum", "entropy_sum", "leniency"]


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first state on, rows are cut."""
    monkeypatch.setattr(accumulator, "_LARGE_BYTES", -1)
    monkeypatch.setattr(accumulator, "_LARGE_ROW_BYTES", -1)
    monkeypatch.setattr("leash_ray.reduce.read._PACKED_FILES", 1)
    monkeypatch.setattr(engine, "n_threads", lambda: 2)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where spilled files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that everything is spilled."""
    for name in ("BUDGET_BYTES", "_TASK_BUDGET_BYTES"):
        monkeypatch.setattr(engine, name, 1)


@pytest.fixture(scope="module")
def tables() -> list[pa.Table]:
    return [completions(seed) for seed in range(6)]


@pytest.fixture
def folder(tables: list[pa.Table], tmp_path: Path) -> Path:
    found = tmp_path / "completions"
    found.mkdir()
    for i, table in enumerate(tables):
        pq.write_table(table, found / f"{i}.parquet")
    return found


def drifted(table: pa.Table, random: Any) -> pa.Table:
    """The same, but for optional columns that are missing, and types."""
    table = table.drop_columns([c for c in OPTIONAL if c in table.schema.names and random.random() < 0.2])
    for i, field in enumerate(table.schema):
        column = table.column(i)
        kinds = [field.type]
        if pa.types.is_dictionary(field.type):
            kinds += [pa.string(), pa.large_string()]
        elif pa.types.is_string(field.type):
            kinds += [pa.large_string()]
        elif field.name in ("sample_index", "n_tokens"):
            kinds += [pa.int64()]
        kind = random.choice(kinds)
        column = column.cast(kind)
        if random.random() < 0.2 and not pa.types.is_dictionary(kind) and pa.types.is_large_string(kind):
            column = column.dictionary_encode()
        table = table.set_column(i, field.name, column)
    return table


@settings(max_examples=40, deadline=None)
@given(
    random=st.randoms(use_true_random=False),
    budget=st.sampled_from([1, 20_000, 1 << 30]),
    block_rows=st.sampled_from([1, 300, 1 << 20]),
    policies=st.sampled_from([None, ("trained",), ("base", "trained"), ("nobody",)]),
    copies=st.booleans(),
)
def test_any_mixture_of_rows_and_states_is_the_whole(
    random: Any, budget: int, block_rows: int, policies: tuple[str, ...] | None, copies: bool
) -> None:
    blocks = [
        drifted(completions(seed, n=240, n_problems=20, n_answers=7).slice(random.randrange(100)), random)
        for seed in range(5)
    ]
    if copies:
        blocks.append(drifted(blocks[0].slice(20, 30), random))
    states = [state_of_block(block, policies) for block in blocks]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(rows, "BLOCK_ROWS", block_rows)
        patch.setattr(accumulator, "N_PARTS", 3)
        with Accumulator(budget, Path(folder)) as held:
            for block, state in zip(blocks, states, strict=True):
                way = random.randrange(4)
                held.add(cut_rows(block, 3, policies) if way else state)
            parts = list(held.parts(2))
        assert list(Path(folder).iterdir()) == []
    merged = states[0].merge(*states[1:])
    if copies and policies != ("nobody",):
        with pytest.raises(UsageError) as theirs:
            merged.finalize()
        with pytest.raises(UsageError) as ours:
            parts[0].merge(*parts[1:]).finalize()
        assert str(ours.value) == str(theirs.value)
        return
    assert differences(joined([part.finalize() for part in parts]), merged.finalize()) == []
    if len(parts) > 1:  # each has what cutting the merged state gives
        for part, of in zip(parts, cut(merged, 3), strict=True):
            assert sorted_rows(part) == sorted_rows(of)


def sorted_rows(state: CompletionsState) -> dict[str, list[Any]]:
    """The rows of all tables, with words in place of numbers."""
    keys = list(zip(*state.keys.to_pydict().values(), strict=True))
    found: dict[str, list[Any]] = {"keys": sorted(keys)}
    for name in ESTIMATED:
        table = state.table(name).to_pydict()
        table["pair"] = [keys[i] for i in table["pair"]]
        for kind in {"answer", "task"} & table.keys():
            words = [*state.words[kind].to_pylist(), None]  # -1: none
            table[kind] = [words[i] for i in table[kind]]
        found[name] = sorted(map(repr, zip(*table.values(), strict=True)))
    return found


@pytest.mark.parametrize("reducers", [KEPT, with_bounded_answers(ESTIMATED, 4)])
def test_other_reducers_see_the_same(tables: list[pa.Table], reducers: tuple[str, ...]) -> None:
    whole = state_of_block(pa.concat_tables(tables), reducers=reducers)
    with Accumulator(reducers=reducers) as held:
        for table in tables:
            held.add(cut_rows(table, N_PARTS))
        found = joined([part.finalize() for part in held.parts()])
    assert differences(found, whole.finalize()) == []
    assert (found.spreads is None) == (reducers != KEPT) and found.n_kept == (None if reducers == KEPT else 4)


def test_files_are_read_as_rows_where_states_are_large(
    folder: Path,
    tables: list[pa.Table],
    temporary: Path,
    always: None,
    few_bytes: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = []

    def spied(piece: Piece, *given: Any) -> CutRows:
        names.append(piece.files)
        return rows_of_piece(piece, *given)

    monkeypatch.setattr(engine, "rows_of_piece", spied)
    reading = Reading(where="task = 'a' or n_tokens < 20", first_k=300, policies=("base",))
    expected = joined(list(reduced_parts([folder], reading, parallel=False)))
    assert 0 < len(names) < len(tables)  # the first were on their way
    monkeypatch.setattr(accumulator, "_LARGE_BYTES", 1 << 40)
    names.clear()
    found = joined(list(reduced_parts([folder], reading, parallel=False)))
    assert differences(found, expected) == [] and names == []
    assert set(found.problems["policy"]) == {"base"} and set(found.policies) == {"base", "trained"}
    assert list(temporary.iterdir()) == []


def test_a_task_cuts_its_rows(
    tables: list[pa.Table], folder: Path, temporary: Path, always: None, few_bytes: None
) -> None:
    pieces = list(pieces_of(sorted(folder.glob("*.parquet"))))
    told, *sent = engine._partial(pieces, (Reading(), 1))
    assert not told.is_whole and len(sent) == N_PARTS
    found = joined([engine._unpacked(engine._merged(CompletionsState.finalize, part)) for part in sent])
    assert differences(found, state_of_block(pa.concat_tables(tables)).finalize()) == []
    assert list(temporary.iterdir()) == []


def test_a_mistake_in_rows_names_the_file_and_leaves_nothing_behind(
    folder: Path, tables: list[pa.Table], temporary: Path, always: None, few_bytes: None
) -> None:
    place = tables[0].schema.get_field_index("verdict")
    wrong = tables[5].set_column(place, "verdict", pa.array(["MAYBE"] * len(tables[5])))
    pq.write_table(wrong, folder / "5.parquet")
    with pytest.raises(UsageError, match=r"5\.parquet: unknown verdict 'MAYBE'"):
        list(reduced_parts([folder], parallel=False))
    told, *_ = engine._partial(list(pieces_of(sorted(folder.glob("*.parquet")))), (Reading(), 1))
    assert told.is_whole
    assert list(temporary.iterdir()) == []


def test_who_stops_early_leaves_nothing_behind(folder: Path, temporary: Path, always: None, few_bytes: None) -> None:
    parts = reduced_parts([folder], parallel=False)
    next(parts)
    assert len(list(temporary.iterdir())) == 1
    parts.close()  # type: ignore[attr-defined]
    assert list(temporary.iterdir()) == []


def test_written_rows_are_read_back(tables: list[pa.Table], tmp_path: Path) -> None:
    """Tables of other schemas and dictionaries follow each other in one file."""
    cut_tables = [cut_rows(table.drop_columns(OPTIONAL[i:]), 3).parts[1] for i, table in enumerate(tables)]
    path = tmp_path / "rows"
    written = sum(append_rows(path, some) for some in cut_tables)
    assert written == path.stat().st_size
    back = list(rows_of_file(path))
    assert back == [table for some in cut_tables for table in some] and len({t.schema for t in back}) == 6


def test_no_rows() -> None:
    assert states_of_rows([]) == []
    assert cut_rows(completions(0).slice(0, 0), 2).parts == [[], []]
    found = cut_rows(completions(0, n=240), 2, ["nobody"])
    assert found.parts == [[], []] and found.policies == {"base": 120, "trained": 120}


def test_policy_words_that_repeat_are_counted_together() -> None:
    table = completions(0, n=240).drop_columns(["policy"])
    codes = pa.array(np.arange(240, dtype=np.int32) % 3)
    table = table.append_column("policy", pa.DictionaryArray.from_arrays(codes, pa.array(["a", "b", "a"])))
    assert state_of_block(table).policies == cut_rows(table, 2).policies == {"a": 160, "b": 80}


@given(st.lists(st.text(), max_size=30), st.integers(0, 5))
def test_hashes_are_of_the_words_alone(words: list[str], start: int) -> None:
    found = hashes(pa.array(words, pa.large_string())[start:])
    alone = [int(hashes(pa.array([word], pa.large_string()))[0]) for word in words[start:]]
    assert found.tolist() == alone
    assert len(set(alone)) == len(set(words[start:]))


def test_parts_are_of_one_size() -> None:
    ids = pa.array([f"{i:016x}" for i in range(64_000)] + ["", "a" * 1000], pa.large_string())
    count = np.bincount(parts_of(ids, 64), minlength=64)
    assert count.min() > 850 and count.max() < 1150  # 1,000 each; standard deviation 31

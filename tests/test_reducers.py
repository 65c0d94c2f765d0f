"""The mergeable state: hand-worked numbers, order and split invariance, schema drift, duplicates."""

import math
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.errors import UsageError
from leash_ray.reducers import NATS_UNIT, CompletionsState, Reduced, state_of_block

TYPES = {
    "policy": pa.string(),
    "task": pa.string(),
    "problem_id": pa.string(),
    "sample_index": pa.int32(),
    "verdict": pa.string(),
    "answer": pa.string(),
    "n_tokens": pa.int32(),
    "logprob_sum": pa.float32(),
}
Row = tuple[Any, ...]
# base on problem p: two ways to be right, one wrong answer, two without an answer, one verifier failure
ROWS: list[Row] = [
    ("base", "t", "p", 0, "INCORRECT", "7", 2, -1.0),
    ("base", "t", "p", 1, "CORRECT", "1+2", 3, -2.5),
    ("base", "t", "p", 2, "NO_ANSWER", None, 1, -0.5),
    ("base", "t", "p", 3, "TRUNCATED", "cut o", 4, -4.0),
    ("base", "t", "p", 4, "CORRECT", "2+1", 3, -2.0),
    ("base", "t", "p", 5, "CORRECT", "1+2", 3, -2.5),
    ("base", "t", "p", 6, "ERROR", "??", 5, -6.0),
    ("base", "t", "q", 0, "INCORRECT", "7", 2, -1.0),
    ("trained", "t", "p", 0, "CORRECT", "1+2", 3, -0.25),
]


def table(rows: list[Row], drop: tuple[str, ...] = (), types: dict[str, pa.DataType] = TYPES) -> pa.Table:
    columns = {c: [row[i] for row in rows] for i, c in enumerate(types)}
    return pa.table({c: pa.array(v, types[c]) for c, v in columns.items() if c not in drop})


def row_of(reduced: Reduced, policy: str, problem: str) -> dict[str, Any]:
    return reduced.problems.row(
        by_predicate=(pl.col("policy") == policy) & (pl.col("problem_id") == problem), named=True
    )


def same(a: Reduced, b: Reduced) -> bool:
    return a.problems.equals(b.problems) and a.correct_answers.equals(b.correct_answers) and a.policies == b.policies


def test_by_hand() -> None:
    reduced = state_of_block(table(ROWS)).finalize()
    row = row_of(reduced, "base", "p")
    assert [row[v] for v in ("CORRECT", "INCORRECT", "NO_ANSWER", "TRUNCATED", "ERROR")] == [3, 1, 1, 1, 1]
    assert row["n"] == 6  # ERROR is unscored, not incorrect
    assert (row["first_correct"], row["observed"], row["task"]) == (1, 6, "t")
    assert (row["n_tokens"], row["n_tokens_rows"]) == (21, 7)
    assert row["logprob_units"] * NATS_UNIT == -18.5
    # answers: 1+2 twice, NA twice (one of them cut off), 7, 2+1
    assert row["answer_entropy"] == pytest.approx(-2 * (2 / 6) * math.log(2 / 6) - 2 * (1 / 6) * math.log(1 / 6))
    assert (row["distinct_answers"], row["distinct_correct_answers"]) == (3, 2)
    assert row_of(reduced, "base", "q")["first_correct"] is None
    assert reduced.correct_answers.rows() == [
        ("base", "p", "1+2", 1),
        ("base", "p", "2+1", 4),
        ("trained", "p", "1+2", 0),
    ]
    assert reduced.policies == {"base": 8, "trained": 1}


def test_an_answer_spelt_na_is_not_the_missing_answer() -> None:
    rows: list[Row] = [
        ("base", "t", "p", 0, "INCORRECT", "NA", 1, -1.0),
        ("base", "t", "p", 1, "NO_ANSWER", None, 1, -1.0),
    ]
    row = row_of(state_of_block(table(rows)).finalize(), "base", "p")
    assert row["answer_entropy"] == pytest.approx(math.log(2))


def test_one_answer_with_two_verdicts_is_one_answer() -> None:
    rows: list[Row] = [("base", "t", "p", i, v, "7", 1, -1.0) for i, v in enumerate(["CORRECT", "INCORRECT"])]
    row = row_of(state_of_block(table(rows)).finalize(), "base", "p")
    assert (row["answer_entropy"], row["distinct_answers"], row["distinct_correct_answers"]) == (0.0, 1, 1)


def test_observed_stops_at_gaps_and_errors() -> None:
    for indices, error, observed in (([0, 1, 3], None, 2), ([1, 2], None, 0), ([0, 1, 2], 1, 1), ([2, 0, 1], None, 3)):
        rows: list[Row] = [("base", "t", "p", i, "ERROR" if i == error else "INCORRECT", "7", 1, -1.0) for i in indices]
        assert row_of(state_of_block(table(rows)).finalize(), "base", "p")["observed"] == observed


def test_scored_before_passes_over_gaps_and_errors() -> None:
    # Scored are 2, 3, 7, 8, 9, 12; an ERROR at 8 of the other problem must not matter to this one.
    verdicts = {2: "INCORRECT", 3: "NO_ANSWER", 5: "ERROR", 7: "CORRECT", 8: "CORRECT", 9: "CORRECT", 12: "CORRECT"}
    answers = {7: "a", 8: "b", 9: "a", 12: "c"}
    rows: list[Row] = [("base", "t", "p", i, v, answers.get(i, "x"), 1, -1.0) for i, v in verdicts.items()]
    rows += [("base", "t", "q", 8, "ERROR", None, 1, -1.0), ("base", "t", "r", 4, "CORRECT", "a", 1, -1.0)]
    for state in (state_of_block(table(rows)), state_of_block(table(rows[4:])).merge(state_of_block(table(rows[:4])))):
        reduced = state.finalize()
        assert [row_of(reduced, "base", p)["scored_before_correct"] for p in "pqr"] == [2, None, 0]
        assert reduced.correct_answers.select("problem_id", "answer", "scored_before").rows() == [
            ("p", "a", 2),
            ("p", "b", 3),
            ("p", "c", 5),
            ("r", "a", 0),
        ]


completions = st.lists(
    st.tuples(
        st.sampled_from(["base", "trained"]),
        st.just("t"),
        st.sampled_from(["p", "q", "r"]),
        st.integers(0, 30),
        st.sampled_from(["CORRECT", "INCORRECT", "NO_ANSWER", "TRUNCATED", "ERROR"]),
        st.sampled_from(["1", "2", "\u00e9", "", None]),
        st.integers(0, 9) | st.none(),
        st.floats(-50, 0, width=32) | st.none() | st.just(math.nan),
    ),
    max_size=25,
    unique_by=lambda r: (r[0], r[2], r[3]),
)


@settings(max_examples=40, deadline=None)
@given(completions, st.randoms(use_true_random=False), st.lists(st.integers(0, 25), max_size=4))
def test_any_order_and_split_gives_identical_results(rows: list[Row], random: Any, cuts: list[int]) -> None:
    whole = state_of_block(table(rows)).finalize()
    shuffled = random.sample(rows, len(rows))
    bounds = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    states = [state_of_block(table(shuffled[a:b])) for a, b in zip(bounds, bounds[1:], strict=False)]

    left = CompletionsState.empty()
    for state in states:
        left = left.merge(state)
    right = CompletionsState.empty()
    for state in reversed(states):
        right = state.merge(right)
    assert same(left.finalize(), whole)
    assert same(right.finalize(), whole)
    assert same(states[0].merge(*states[1:]).finalize(), whole)


def test_update_is_merge_of_a_block() -> None:
    state = CompletionsState.empty().update(table(ROWS[:4])).update(table(ROWS[4:]).to_batches()[0])
    assert same(state.finalize(), state_of_block(table(ROWS)).finalize())


def test_types_may_drift_between_blocks() -> None:
    whole = state_of_block(table(ROWS)).finalize()
    label = pa.dictionary(pa.uint8(), pa.large_string())
    drifted = table(ROWS[:5])
    for name in ("policy", "task", "problem_id", "verdict", "answer"):
        i = drifted.schema.get_field_index(name)
        drifted = drifted.set_column(i, name, drifted.column(name).cast(pa.string()).dictionary_encode().cast(label))
    drifted = drifted.set_column(3, "sample_index", drifted.column("sample_index").cast(pa.uint64()))
    drifted = drifted.set_column(7, "logprob_sum", drifted.column("logprob_sum").cast(pa.float64()))
    plain = table(ROWS[5:])
    plain = plain.set_column(4, "verdict", plain.column("verdict").cast(pa.large_string()))
    assert same(state_of_block(drifted).merge(state_of_block(plain)).finalize(), whole)


def test_dictionaries_may_differ_between_chunks_and_repeat_themselves() -> None:
    codes = pa.array([0, 1, 2, None], pa.int8())
    first = pa.DictionaryArray.from_arrays(codes.slice(0, 3), pa.array(["x", "y", "x"]))
    second = pa.DictionaryArray.from_arrays(codes, pa.array(["y", None, "x"]))
    n = 7
    block = pa.table(
        {
            "policy": ["base"] * n,
            "problem_id": [1] * n,  # ids may be integers
            "sample_index": range(n),
            "verdict": ["CORRECT"] * 5 + ["NO_ANSWER"] * 2,
            "answer": pa.chunked_array([first, second.take(pa.array([0, 2, 1, 3]))]),
        }
    )
    row = row_of(state_of_block(block).finalize(), "base", "1")
    assert row["distinct_correct_answers"] == 2  # x y x | y x null null
    assert row["answer_unknown"] == 0


def test_a_sliced_block_and_a_block_of_errors() -> None:
    whole = table(ROWS)
    states = [state_of_block(whole.slice(i, 1)) for i in range(len(ROWS))]
    assert states[6].tables["answers"].num_rows == 0
    assert same(states[0].merge(*states[1:]).finalize(), state_of_block(whole).finalize())


def test_missing_columns_make_their_statistics_missing() -> None:
    bare = state_of_block(table(ROWS, drop=("task", "answer", "n_tokens", "logprob_sum"))).finalize()
    row = row_of(bare, "base", "p")
    assert (row["CORRECT"], row["n"], row["first_correct"]) == (3, 6, 1)
    assert math.isnan(row["answer_entropy"])
    assert row["distinct_answers"] is row["distinct_correct_answers"] is row["task"] is None
    assert row["n_tokens_rows"] == row["logprob_rows"] == 0


def test_one_unknown_wrong_answer_spares_the_correct_ones() -> None:
    rows: list[Row] = [
        ("base", "t", "p", 0, "INCORRECT", None, 1, -1.0),
        ("base", "t", "p", 1, "CORRECT", "7", 1, -1.0),
    ]
    row = row_of(state_of_block(table(rows)).finalize(), "base", "p")
    assert math.isnan(row["answer_entropy"]) and row["distinct_correct_answers"] == 1


def test_policies_left_out_are_still_named() -> None:
    state = state_of_block(table(ROWS), policies=["trained"])
    assert state.keys.column("policy").to_pylist() == ["trained"]
    assert state.finalize().policies == {"base": 8, "trained": 1}
    nobody = state_of_block(table(ROWS), policies=["other"])
    assert nobody.finalize().policies == {"base": 8, "trained": 1} and nobody.pairs.num_rows == 0


@pytest.mark.parametrize("split", [0, 3, 8])
def test_duplicates_are_refused_wherever_they_were(split: int) -> None:
    rows = [*ROWS, ROWS[1], ROWS[8], ROWS[1]]
    state = state_of_block(table(rows[:split])).merge(state_of_block(table(rows[split:])))
    with pytest.raises(UsageError, match=r"2 keys .* more than once") as caught:
        state.finalize()
    assert "(base, p, 1) x3, (trained, p, 0) x2." in str(caught.value)


def test_a_duplicate_may_be_an_error() -> None:
    rows = [*ROWS, (*ROWS[1][:4], "ERROR", *ROWS[1][5:])]
    with pytest.raises(UsageError, match=r"1 keys .* more than once: \(base, p, 1\) x2\."):
        state_of_block(table(rows)).finalize()


def test_only_the_first_ten_duplicates_are_shown() -> None:
    rows: list[Row] = [("base", "t", p, i, "CORRECT", "1", 1, -1.0) for p in ("p", "q") for i in range(8)]
    state = state_of_block(table(rows))
    with pytest.raises(UsageError, match=r"^16 keys") as caught:
        state.merge(state).finalize()
    shown = [f"(base, {p}, {i}) x2" for p, i in [("p", i) for i in range(8)] + [("q", 0), ("q", 1)]]
    assert f"the first ten: {', '.join(shown)}." in str(caught.value)


def test_a_problem_id_in_two_tasks_is_refused() -> None:
    rows: list[Row] = [(p, t, "1", 0, "CORRECT", "1", 1, -1.0) for p, t in (("base", "aime24"), ("trained", "aime25"))]
    with pytest.raises(UsageError, match=r"'1' in 'aime24' and 'aime25'.*prefix the ids"):
        state_of_block(table(rows)).finalize()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("verdict", "correct", "unknown verdict 'correct': a verdict is one of CORRECT, INCORRECT"),
        ("verdict", None, "column verdict is missing or null in 1 rows"),
        ("policy", None, "column policy is missing or null"),
        ("sample_index", None, "column sample_index is missing or null"),
        ("sample_index", -1, "number the samples 0 .. n-1"),
    ],
)
def test_unusable_values(column: str, value: object, message: str) -> None:
    columns = table(ROWS).to_pydict()
    columns[column][0] = value
    with pytest.raises(UsageError, match=message):
        state_of_block(pa.table(columns))


def test_unusable_types() -> None:
    columns = table(ROWS).to_pydict()
    with pytest.raises(UsageError, match="column sample_index has type double"):
        state_of_block(pa.table(columns | {"sample_index": [0.5] * len(ROWS)}))
    with pytest.raises(UsageError, match="column answer has type list"):
        state_of_block(pa.table(columns | {"answer": [["1"]] * len(ROWS)}))
    with pytest.raises(UsageError, match=r"missing column verdict .it has: policy, task"):
        state_of_block(table(ROWS, drop=("verdict",)))


def test_the_empty_state_is_neutral() -> None:
    empty, state = CompletionsState.empty(), state_of_block(table(ROWS))
    assert same(empty.merge(state).finalize(), state.finalize())
    assert empty.merge(empty).finalize().policies == {}
    assert state_of_block(table([])).pairs.num_rows == 0

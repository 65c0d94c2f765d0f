"""Lengths are counted, quantiles of token numbers lie within the bound: by hand, and in any order and split."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import test_reducers
from hypothesis import given, settings
from hypothesis import strategies as st
from test_reducers import Row

from leash_ray.measure.measuring import Measuring
from leash_ray.measure.settings import MeasureConfig
from leash_ray.measure.spread import SHARES, quantiles_json
from leash_ray.reduce import Reading, compare, engine, reduce_paths, reduced_parts
from leash_ray.reducers import CompletionsState, state_of_block
from leash_ray.reducers.accumulator import Accumulator
from leash_ray.reducers.parts import cut, from_bytes, to_bytes
from leash_ray.reducers.quantiles import CONFIDENCE, RANK_ERROR, K, _sketch
from leash_ray.reducers.reduced import joined
from leash_ray.reducers.registry import KEPT
from leash_ray.reducers.spreads import Spreads

TYPES = {name: of for name, of in test_reducers.TYPES.items() if name != "answer"} | {"entropy_sum": pa.float32()}
ROWS: list[Row] = [
    ("base", "t", "p", 0, "CORRECT", 2, -1.0, 4.0),
    ("base", "t", "p", 1, "CORRECT", 4, -3.0, 2.0),
    ("base", "t", "p", 2, "TRUNCATED", 8, -2.0, None),
    ("base", "u", "q", 0, "ERROR", 2, -4.0, 1.0),
    ("base", None, "r", 0, "INCORRECT", None, -4.0, 1.0),
    ("trained", "u", "q", 0, "INCORRECT", 0, -4.0, 1.0),
]


def table(rows: list[Row], drop: tuple[str, ...] = ()) -> pa.Table:
    return test_reducers.table(rows, drop, TYPES)


def state(of: pa.Table) -> CompletionsState:
    return state_of_block(of, reducers=KEPT)


def spreads(of: CompletionsState) -> Spreads:
    found = of.finalize().spreads
    assert found is not None
    return found


def test_by_hand() -> None:
    found = quantiles_json(spreads(state(table(ROWS))), "base")
    lengths = found["n_tokens"]
    assert (lengths["n"], lengths["min"], lengths["max"], lengths["rank_error"]) == (4, 2, 8, 0.0)
    # 2 2 4 8: half of them are 2 at most, three quarters 4 at most
    assert lengths["q"] == {"0.01": 2, "0.05": 2, "0.25": 2, "0.5": 2, "0.75": 4, "0.95": 8, "0.99": 8}
    assert {v: x and x["n"] for v, x in found["n_tokens_by_verdict"].items()} == {
        "CORRECT": 2,
        "INCORRECT": None,
        "NO_ANSWER": None,
        "TRUNCATED": 1,
        "ERROR": 1,
    }
    # surprisals 1/2 3/4 2/8 4/2; entropies 4/2 2/4 1/2
    assert [found["surprisal"][x] for x in ("n", "min", "max", "rank_error")] == [4, 0.25, 2.0, 0.0]
    assert [found["surprisal"]["q"][x] for x in ("0.25", "0.5", "0.75", "0.99")] == [0.25, 0.5, 0.75, 2.0]
    assert [found["token_entropy"][x] for x in ("n", "min", "max")] == [3, 0.5, 2.0]
    assert "rank_confidence" not in found["surprisal"]


def test_by_task() -> None:
    of = spreads(state(table(ROWS)))
    assert [quantiles_json(of, "base", t)["n_tokens"]["n"] for t in ("t", "u")] == [3, 1]
    nothing = {"n_tokens": None, "surprisal": None, "token_entropy": None}
    for policy, task in (("base", ""), ("trained", "t"), ("other", None)):  # "": of rows without a task
        found = quantiles_json(of, policy, task)
        assert {k: found[k] for k in nothing} == nothing
    assert quantiles_json(of, "trained", "u")["surprisal"] is None  # 4 nats of no token


def test_a_missing_column_has_no_quantiles() -> None:
    bare = spreads(state(table(ROWS, drop=("task", "entropy_sum"))))
    assert quantiles_json(bare, "base")["token_entropy"] is None
    assert quantiles_json(bare, "base")["n_tokens"]["n"] == quantiles_json(bare, "base", "")["n_tokens"]["n"] == 4
    assert quantiles_json(spreads(state(table(ROWS, drop=("n_tokens",)))), "base")["surprisal"] is None


completions = st.lists(
    st.tuples(
        st.sampled_from(["base", "trained"]),
        st.just("its") | st.none(),
        st.sampled_from(["p", "q", "r"]),
        st.integers(0, 30),
        st.sampled_from(["CORRECT", "INCORRECT", "NO_ANSWER", "TRUNCATED", "ERROR"]),
        st.integers(-1, 9) | st.none() | st.just(40_000),
        st.floats(-50, 0, width=32) | st.none() | st.just(math.nan),
        st.floats(0, 50, width=32) | st.none(),
    ),
    max_size=25,
    unique_by=lambda r: (r[0], r[2], r[3]),
).map(lambda rows: [(r[0], r[1] and TASK_OF[r[2]], *r[2:]) for r in rows])  # a problem is of one task
TASK_OF = {"p": "t", "q": "u", "r": "t"}
TASKS = (None, "", "t", "u")


def brute(rows: list[Row], policy: str, task: str | None) -> dict[str, Any]:
    own = [r for r in rows if r[0] == policy and (task is None or (r[1] or "") == task)]
    lengths = [r[5] for r in own if r[5] is not None and r[5] >= 0]
    ratios = {
        "surprisal": [-r[6] / r[5] for r in own if r[5] and r[6] is not None and math.isfinite(r[6])],
        "token_entropy": [r[7] / r[5] for r in own if r[5] and r[7] is not None],
    }
    found: dict[str, Any] = {"n_tokens": sorted(lengths)}
    for name, values in ratios.items():
        found[name] = sorted(float(np.float32(v)) for v in values)
    return found


@settings(max_examples=40, deadline=None)
@given(completions, st.randoms(use_true_random=False), st.lists(st.integers(0, 25), max_size=4), st.booleans())
def test_any_order_and_split(rows: list[Row], random: Any, cuts: list[int], in_parts: bool) -> None:
    shuffled = random.sample(rows, len(rows))
    bounds = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    states = [state(table(shuffled[a:b])) for a, b in zip(bounds, bounds[1:], strict=False)]
    whole = states[0].merge(*states[1:])
    if in_parts:
        parts = [cut(s, 3) for s in states]
        merged = [p[0].merge(*p[1:]) for p in zip(*parts, strict=True)]
        found = joined([s.finalize() for s in merged]).spreads
        assert found is not None
    else:
        found = spreads(whole)
    for policy in ("base", "trained"):
        for task in TASKS:
            said, values = quantiles_json(found, policy, task), brute(rows, policy, task)
            for name, expected in values.items():
                if not expected:
                    assert said[name] is None
                    continue
                assert said[name]["n"] == len(expected)
                assert (said[name]["min"], said[name]["max"]) == (expected[0], expected[-1])
                for share in SHARES:  # few values: exact
                    place = next(i for i in range(len(expected)) if (i + 1) * 100 >= round(share * 100) * len(expected))
                    assert said[name]["q"][str(share)] == pytest.approx(expected[place], rel=1e-6)


def many(seed: int, n: int = 12_000) -> pa.Table:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 300, n)
    task = rng.integers(0, 3, n)
    return pa.table(
        {
            "policy": pa.array(["base"] * n),
            "task": pa.array([(None, "a", "b")[i] for i in task]),
            "problem_id": pa.array([f"p{i}-{j}" for i, j in zip(task, rng.integers(0, 9, n))]),
            "sample_index": pa.array(np.arange(n) + seed * n, pa.int32()),
            "verdict": pa.array(["CORRECT"] * n),
            "n_tokens": pa.array(tokens, pa.int32()),
            "logprob_sum": pa.array(-tokens * rng.gamma(2 + seed, 0.3, n), pa.float32()),
        }
    )


@pytest.fixture(scope="module")
def tables() -> list[pa.Table]:
    return [many(seed) for seed in range(4)]


def check(found: Spreads, tables: list[pa.Table]) -> None:
    """Within three times the bound that holds at 99%."""
    whole = pa.concat_tables(tables).to_pydict()
    values = np.float32(-np.array(whole["logprob_sum"]) / np.array(whole["n_tokens"]))
    for task in (None, "", "a", "b"):
        own = np.sort(values[[task is None or (t or "") == task for t in whole["task"]]])
        said = quantiles_json(found, "base", task)["surprisal"]
        assert said["n"] == len(own) > 10_000
        assert (said["rank_error"], said["rank_confidence"]) == (RANK_ERROR, CONFIDENCE)
        for share, value in said["q"].items():
            low, high = (np.searchsorted(own, value, side=s) / len(own) for s in ("left", "right"))
            assert low - 3 * RANK_ERROR <= float(share) <= high + 3 * RANK_ERROR
        counted = Counter(n for n, t in zip(whole["n_tokens"], whole["task"]) if task is None or (t or "") == task)
        assert dict(found.histogram("base", task).iter_rows()) == counted


def test_many_values_lie_within_the_bound(tables: list[pa.Table], tmp_path: Path) -> None:
    check(spreads(state(pa.concat_tables(tables))), tables)
    with Accumulator(1 << 20, tmp_path) as states:  # spilled
        for one in tables:
            for start in range(0, len(one), 1000):
                states.add(from_bytes(to_bytes(state(one.slice(start, 1000)))))
        parts = [part.finalize() for part in states.parts()]
        assert states.spilled_bytes > 0
    found = joined(parts).spreads
    assert found is not None
    check(found, tables)
    assert found.differences(spreads(state(pa.concat_tables(tables)))) == []
    assert found.differences(spreads(state(pa.concat_tables(tables[1:])))) == [
        "lengths (48000 and 36000 completions)",
        "token quantiles (48000 and 36000 completions)",
    ]


def test_the_bound_is_the_library_s() -> None:
    assert pytest.approx(_sketch().normalized_rank_error(False), abs=5e-5) == RANK_ERROR
    assert _sketch().k == K


@pytest.mark.parametrize("is_cut", [False, True])
def test_ray_gives_the_same(
    tables: list[pa.Table], is_cut: bool, tmp_path: Path, ray_session: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i, one in enumerate(tables):
        pq.write_table(one, tmp_path / f"{i}.parquet", row_group_size=4000)
    monkeypatch.setattr(engine, "_WHOLE_BYTES", -1 if is_cut else 1 << 30)
    monkeypatch.setattr("leash_ray.reduce.read._PACKED_FILES", 1)
    found = joined(list(reduced_parts([tmp_path], Reading(reducers=KEPT), parallel=True))).spreads
    assert found is not None
    check(found, tables)


def test_kept_states_have_them_and_rows_only_when_asked(tables: list[pa.Table], tmp_path: Path) -> None:
    for i, one in enumerate(tables):
        both = pa.concat_tables([one, one.set_column(0, "policy", pa.array(["trained"] * len(one)))])
        pq.write_table(both, tmp_path / f"{i}.parquet")

    def reduce(**options: Any) -> dict[str, Any]:
        reading = Reading(reducers=KEPT) if options.pop("quantiles", False) else Reading()
        how = Measuring(config=MeasureConfig(bootstrap=100))
        both = {"base": "base", "trained": "trained", "measuring": how, "parallel": False}
        return reduce_paths([tmp_path], reading=reading, **both, **options).to_json()  # type: ignore[arg-type]

    plain, rows = reduce(), reduce(quantiles=True)
    reduce(keep_states=True)
    kept = reduce(quantiles=True)
    assert [plain["policies"][p].pop("quantiles") for p in ("base", "trained")] == [None, None]
    for one in (rows, kept):
        of = [one["policies"][p].pop("quantiles") for p in ("base", "trained")]
        assert {of[i][name]["n"] for i in range(2) for name in ("n_tokens", "surprisal")} == {sum(map(len, tables))}
        q = one["by_task"]["b"]["policies"]["base"]["quantiles"]["surprisal"]
        assert 10_000 < q["n"] < of[0]["surprisal"]["n"]
    assert compare([tmp_path], parallel=False) == []
    for one in (plain, rows, kept):
        del one["by_task"]
    assert plain == rows == kept


def test_dropping_copies_leaves_no_quantiles(tmp_path: Path) -> None:
    rows = [("base", "t", "p", i, "CORRECT", 2, -1.0, 4.0) for i in range(4)]
    rows += [("trained", *r[1:]) for r in rows]
    for name, of in (("a", rows), ("b", rows[:1])):
        pq.write_table(table(of), tmp_path / f"{name}.parquet")
    reading, both = Reading(reducers=KEPT), {"base": "base", "trained": "trained", "parallel": False}
    found = reduce_paths([tmp_path], reading=reading, drop_duplicates=True, **both)  # type: ignore[arg-type]
    assert found.to_json()["policies"]["base"]["quantiles"] is None
    (tmp_path / "b.parquet").unlink()
    found = reduce_paths([tmp_path], reading=reading, drop_duplicates=True, **both)  # type: ignore[arg-type]
    assert found.to_json()["policies"]["base"]["quantiles"]["n_tokens"]["n"] == 4

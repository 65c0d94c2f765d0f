"""Halves of a policy's samples against each other: by brute force over choices, in any order and split, on Ray."""

import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.estimates import estimate
from leash_ray.measure.measuring import Measuring
from leash_ray.measure.settings import MeasureConfig
from leash_ray.reduce import reduce_paths
from leash_ray.reducers import CompletionsState, state_of_block
from leash_ray.reducers.parts import cut
from leash_ray.reducers.reduced import joined

Row = tuple[str, str, int, str, str | None]
NAMES = ("policy", "problem_id", "sample_index", "verdict", "answer")
HOW = Measuring(config=MeasureConfig(bootstrap=100))


def table(rows: list[Row]) -> pa.Table:
    kinds = (pa.string(), pa.string(), pa.int32(), pa.string(), pa.string())
    return pa.table({n: pa.array([r[i] for r in rows], k) for i, (n, k) in enumerate(zip(NAMES, kinds, strict=True))})


@st.composite
def completions(draw: Any) -> list[Row]:
    """Up to 7 samples of 3 problems by two policies, with gaps and ERRORs."""
    rows: list[Row] = []
    for policy, problem in itertools.product(("base", "trained"), "pqr"):
        for i in draw(st.sets(st.integers(0, 6), min_size=1)):
            verdict = draw(st.sampled_from(["CORRECT", "CORRECT", "INCORRECT", "NO_ANSWER", "ERROR"]))
            answer = draw(st.sampled_from("ab")) if verdict in ("CORRECT", "INCORRECT") else None
            rows.append((policy, problem, i, verdict, answer))
    return rows


def brute(rows: list[Row], policy: str, unit: str, h: int) -> dict[str, float]:
    """Means over all choices of h samples of each half."""
    units = "pqr"
    if unit == "answer":
        units = sorted({(r[1], r[4]) for r in rows if r[3] == "CORRECT"})  # type: ignore[assignment]
    total = dict.fromkeys("PESO", 0.0)
    for one in units:
        problem, answer = one if unit == "answer" else (one, None)
        hits = []
        for parity in (0, 1):
            own = [r for r in rows if r[:2] == (policy, problem) and r[3] != "ERROR" and r[2] % 2 == parity]
            right = [r[3] == "CORRECT" and answer in (None, r[4]) for r in own]
            chosen = list(itertools.combinations(right, h))
            hits.append(sum(map(any, chosen)) / len(chosen))
        even, odd = hits
        for name, p in zip("PESO", (even * odd, (1 - even) * odd, even * (1 - odd), (1 - even) * (1 - odd))):
            total[name] += p
    return total


@settings(max_examples=25, deadline=None)
@given(completions(), st.randoms(use_true_random=False), st.lists(st.integers(0, 40), max_size=4), st.booleans())
def test_halves_by_brute_force(rows: list[Row], random: Any, cuts: list[int], in_parts: bool) -> None:
    shuffled = random.sample(rows, len(rows))
    bounds = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    states = [state_of_block(table(shuffled[a:b])) for a, b in zip(bounds, bounds[1:], strict=False)]
    states = [state if len(state.pairs) else CompletionsState.empty() for state in states]
    if in_parts:
        parts = [cut(state, 2) for state in states]
        reduced = joined([p[0].merge(*p[1:]).finalize() for p in zip(*parts, strict=True)])
    else:
        reduced = states[0].merge(*states[1:]).finalize()
    scored = [r for r in rows if r[3] != "ERROR"]
    paired = {p for p in "pqr" if all(any(r[:2] == (s, p) for r in scored) for s in ("base", "trained"))}
    if not paired:
        return
    found = estimate(reduced, base="base", trained="trained", measuring=HOW).to_json()
    for unit in ("problem", "answer"):
        floor = found["support"][unit]["noise_floor"]
        problems = paired if unit == "problem" else {r[1] for r in rows if r[3] == "CORRECT"}
        sizes = [
            sum(r[:2] == (policy, problem) and r[2] % 2 == parity for r in scored)
            for policy, problem, parity in itertools.product(("base", "trained"), problems, (0, 1))
        ]
        if len(paired) < 3 or floor is None:
            continue  # too few samples
        if not min(sizes):
            assert floor["halves"] is None
            continue
        assert floor["halves"]["k"] == min(sizes)
        for policy in ("base", "trained"):
            expected: dict[str, Any] = brute(rows, policy, unit, min(sizes))
            if unit == "answer":
                expected["O"] = None
            assert floor["halves"][policy] == pytest.approx(expected, abs=1e-12)


def test_ray_counts_the_same_halves(tmp_path: Path, ray_session: object) -> None:
    rows: list[Row] = []
    for policy, problem, i in itertools.product(("base", "trained"), "pqrst", range(8)):
        right = (i * 7 + ord(problem) + len(policy)) % 5 == 0
        rows.append((policy, problem, i, "CORRECT" if right else "INCORRECT", "ab"[i % 3 == 0]))
    for i in range(4):
        pq.write_table(table(rows[i::4]), tmp_path / f"{i}.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("leash_ray.reduce.read._PACKED_FILES", 1)
        both = [
            reduce_paths([tmp_path], base="base", trained="trained", measuring=HOW, parallel=parallel).to_json()
            for parallel in (True, False)
        ]
    assert both[0] == both[1]
    halves = both[0]["support"]["problem"]["noise_floor"]["halves"]
    assert halves["k"] == 4
    for policy in ("base", "trained"):
        counts = {name: round(value) for name, value in brute_of(rows, policy).items()}
        assert halves[policy] == counts


def brute_of(rows: list[Row], policy: str) -> dict[str, int]:
    found = {
        parity: {r[1] for r in rows if r[0] == policy and r[3] == "CORRECT" and r[2] % 2 == parity} for parity in (0, 1)
    }
    even, odd = found[0], found[1]
    return {"P": len(even & odd), "E": len(odd - even), "S": len(even - odd), "O": 5 - len(even | odd)}

"""Which rows are reduced: other formats and places, other people's names, parts of the rows, copies."""

import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leash_ray.errors import UsageError
from leash_ray.estimates import estimate
from leash_ray.measure.measuring import Measuring, groups_by
from leash_ray.measure.settings import MeasureConfig
from leash_ray.reduce import Reading, find_files, reduce_paths, reduced_parts
from leash_ray.types import Problem

QUICK = Measuring(config=MeasureConfig(bootstrap=100))


def table() -> pa.Table:
    rows = [
        (policy, "t", f"p{p}", i, "CORRECT" if (i + p) % 4 == 3 else "INCORRECT", f"{(i + p) % 4}", 5 + i, -1.0 - i)
        for policy in ("base", "trained")
        for p in range(4)
        for i in range(8 if policy == "base" else 6)
    ]
    names = ("policy", "task", "problem_id", "sample_index", "verdict", "answer", "n_tokens", "logprob_sum")
    return pl.DataFrame(rows, schema=list(names), orient="row").to_arrow(compat_level=pl.CompatLevel.oldest())


def numbers(*paths: Path | str, **options: Any) -> dict[str, Any]:
    return reduce_paths(paths, base="base", trained="trained", parallel=False, measuring=QUICK, **options).to_json()


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    pq.write_table(table(), tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


def known_leniency(found: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in found["policies"]["base"].items() if k != "correct_by_leniency"}


def test_csv_is_read(parquet: Path, tmp_path: Path) -> None:
    text = pl.DataFrame(pl.from_arrow(table())).write_csv()
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "b.csv").write_text(text)
    expected = numbers(parquet)
    assert numbers(tmp_path / "a.csv.gz") == numbers(tmp_path / "b.csv") == expected


def test_an_empty_csv_field_is_no_answer_and_quotes_are_an_empty_one(tmp_path: Path) -> None:
    lines = ["policy,problem_id,sample_index,verdict,answer"]
    lines += [f"{p},x,{i},INCORRECT,{a}" for p in ("base", "trained") for i, a in enumerate(['""', "7"])]
    (tmp_path / "a.csv").write_text("\n".join([*lines, ""]))
    assert numbers(tmp_path / "a.csv")["policies"]["base"]["answer_entropy"] == pytest.approx(0.693147, abs=1e-6)
    (tmp_path / "a.csv").write_text("\n".join([*lines, ""]).replace('""', ""))
    assert numbers(tmp_path / "a.csv")["policies"]["base"]["answer_entropy"] is None  # an answer is missing


def test_addresses_are_read(parquet: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/leash/one/a.parquet", parquet.read_bytes())
    memory.pipe("/leash/one/_state/a.parquet", b"hidden")
    expected = numbers(parquet)
    for address in (
        f"file://{parquet}",
        f"file://{parquet.parent}",
        "memory://leash/one",
        "memory://leash/o*/a.parquet",
    ):
        assert numbers(address) == expected, address
    assert find_files([f"file://{parquet.parent}"]) == [f"file://{parquet}"]
    with pytest.raises(UsageError, match="no such file or folder: memory://leash/two"):
        find_files(["memory://leash/two"])
    with pytest.raises(UsageError, match="cannot open nowhere://x"):
        find_files(["nowhere://x"])


def test_other_names_and_a_truth_value_for_a_verdict(parquet: Path, tmp_path: Path) -> None:
    frame = pl.DataFrame(pl.from_arrow(table()))
    frame = (
        frame.rename({"policy": "model", "sample_index": "i"})
        .with_columns(verdict=pl.col("verdict") == "CORRECT")
        .rename({"verdict": "is_right"})
    )
    frame.write_parquet(tmp_path / "theirs.parquet")
    columns = {"policy": "model", "sample_index": "i", "verdict": "is_right"}
    expected = numbers(parquet)
    assert numbers(tmp_path / "theirs.parquet", reading=Reading(columns=columns)) == expected
    with pytest.raises(UsageError, match="missing column policy, sample_index, verdict"):
        numbers(tmp_path / "theirs.parquet")


def test_the_first_k_are_as_if_no_more_had_been_drawn(parquet: Path, tmp_path: Path) -> None:
    frame = pl.DataFrame(pl.from_arrow(table()))
    frame.filter(pl.col("sample_index") < 3).write_parquet(tmp_path / "three.parquet")
    found = numbers(parquet, reading=Reading(first_k=3))
    assert found["k"] == 3 and found == numbers(tmp_path / "three.parquet")


def test_a_filter_on_any_column(parquet: Path) -> None:
    found = numbers(parquet, reading=Reading(where="problem_id in ('p0', 'p1') and n_tokens <> 9"))
    assert (found["n_problems"], found["policies"]["base"]["n_completions"]) == (2, 14)
    for where, message in (
        ("n_tokens <", "is no SQL condition"),
        ("length > 3", "names length, which the table lacks"),
    ):
        with pytest.raises(UsageError, match=message):
            numbers(parquet, reading=Reading(where=where))


def test_copies_are_dropped_on_request(parquet: Path, tmp_path: Path) -> None:
    expected = numbers(parquet)
    again = table().slice(3, 20)
    wrong = pa.array(["INCORRECT"] * len(again))  # of a copy that says otherwise, the first one holds
    pq.write_table(again.set_column(4, "verdict", wrong), tmp_path / "b.parquet")
    with pytest.raises(UsageError, match=r"20 keys .* the first ten: \(base, p0, 3\) x2"):
        numbers(parquet, tmp_path / "b.parquet")
    assert numbers(parquet, tmp_path / "b.parquet", drop_duplicates=True) == expected
    assert numbers(parquet, drop_duplicates=True) == expected


def test_groups_by_the_problems_metadata(parquet: Path) -> None:
    (reduced,) = reduced_parts([parquet], parallel=False)
    problems = [Problem(f"p{i}", "t", "", "", "", {"difficulty": i // 2} if i < 3 else {}) for i in range(4)]
    how = Measuring(config=MeasureConfig(bootstrap=100), by=groups_by(["difficulty", "task"], problems))
    by = estimate(reduced, base="base", trained="trained", measuring=how).to_json()["by"]
    assert {value: group["n_problems"] for value, group in by["difficulty"].items()} == {
        "0": 2,
        "1": 1,
        "(no difficulty)": 1,
    }
    assert by["task"]["t"]["n_problems"] == 4
    with pytest.raises(UsageError, match="no problem's metadata has it; its keys: difficulty, and task"):
        groups_by(["level"], problems)

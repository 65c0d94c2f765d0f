"""The base's completions of another run."""

import json
from pathlib import Path

import pytest

from leash_ray.errors import UsageError
from leash_ray.run_dir import RunDir
from leash_ray.sampling.borrow import borrow
from leash_ray.sampling.manifest import Record


def run_with(path: Path, files: dict[str, bytes]) -> RunDir:
    run = RunDir.create(path, {"name": path.name}, seed=0)
    for name, content in files.items():
        at = run.completions / name
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(content)
    return run


def anything(policy: str, problems: tuple[str, ...]) -> None:
    return None


def test_shards_come_with_their_records_and_stay_two_copies(tmp_path: Path) -> None:
    files = {"base/a.parquet": b"1", "base/_manifest/a.json": b"{}", "base/_state/a.arrow": b"s"}
    lender = run_with(tmp_path / "lender", {**files, "trained/b.parquet": b"2"})
    run = run_with(tmp_path / "run", {})
    said: list[str] = []
    borrow(run, "base", str(lender.path), anything, said.append)
    taken = {str(f.relative_to(run.completions)): f.read_bytes() for f in run.completions.rglob("*") if f.is_file()}
    assert taken == files
    assert said == [f"the completions of base are those of {lender.path} (1 files)"]
    (run.completions / "base" / "a.parquet").write_bytes(b"verified again")
    assert (lender.completions / "base" / "a.parquet").read_bytes() == b"1"
    borrow(run, "base", str(lender.path), anything, said.append)  # has its own by now
    assert (run.completions / "base" / "a.parquet").read_bytes() == b"verified again" and len(said) == 1


def test_completions_of_another_seed_are_refused_before_anything_is_copied(tmp_path: Path) -> None:
    record = Record("base", ("p",), 0, 8, {"seed": 0}, 1, "x")
    lender = run_with(
        tmp_path / "lender",
        {"base/a.parquet": b"1", "base/_manifest/a.json": json.dumps(record.to_json()).encode()},
    )
    run = run_with(tmp_path / "run", {})
    with pytest.raises(UsageError, match=r"seed: 0 -> 1.*leave base_from out"):
        borrow(run, "base", str(lender.path), lambda policy, problems: {"seed": 1}, print)
    assert not list(run.completions.iterdir())
    borrow(run, "base", str(lender.path), lambda policy, problems: {"seed": 0}, print)
    assert (run.completions / "base" / "a.parquet").is_file()


def test_a_lender_without_them_is_refused(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", {})
    lender = run_with(tmp_path / "lender", {"trained/b.parquet": b"2"})
    with pytest.raises(UsageError, match="has no completions of base; name a run"):
        borrow(run, "base", str(lender.path), anything, print)
    with pytest.raises(UsageError, match="does not exist"):
        borrow(run, "base", str(tmp_path / "nowhere"), anything, print)
    assert not list(run.completions.iterdir())

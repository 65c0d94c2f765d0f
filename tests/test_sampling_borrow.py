"""The base's completions of another run."""

from pathlib import Path

import pytest

from leash_ray.errors import UsageError
from leash_ray.run_dir import RunDir
from leash_ray.sampling.borrow import borrow


def run_with(path: Path, files: dict[str, bytes]) -> RunDir:
    run = RunDir.create(path, {"name": path.name}, seed=0)
    for name, content in files.items():
        at = run.completions / name
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(content)
    return run


def test_shards_come_with_their_records_and_stay_two_copies(tmp_path: Path) -> None:
    files = {"base/a.parquet": b"1", "base/_manifest/a.json": b"{}", "base/_state/a.arrow": b"s"}
    lender = run_with(tmp_path / "lender", {**files, "trained/b.parquet": b"2"})
    run = run_with(tmp_path / "run", {})
    said: list[str] = []
    borrow(run, "base", str(lender.path), said.append)
    taken = {str(f.relative_to(run.completions)): f.read_bytes() for f in run.completions.rglob("*") if f.is_file()}
    assert taken == files
    assert said == [f"the completions of base are those of {lender.path} (1 files)"]
    (run.completions / "base" / "a.parquet").write_bytes(b"verified again")
    assert (lender.completions / "base" / "a.parquet").read_bytes() == b"1"
    borrow(run, "base", str(lender.path), said.append)  # has its own by now
    assert (run.completions / "base" / "a.parquet").read_bytes() == b"verified again" and len(said) == 1


def test_a_lender_without_them_is_refused(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", {})
    lender = run_with(tmp_path / "lender", {"trained/b.parquet": b"2"})
    with pytest.raises(UsageError, match="has no completions of base; name a run"):
        borrow(run, "base", str(lender.path), print)
    with pytest.raises(UsageError, match="does not exist"):
        borrow(run, "base", str(tmp_path / "nowhere"), print)
    assert not list(run.completions.iterdir())

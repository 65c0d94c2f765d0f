"""The base's completions of another run: several recipes from one base need to sample it only once.

They are copied, not shared, so that what is later done to one run (verified again, deleted) does not reach the other;
and only if they are of the model, settings, seed and prompts that this run would draw them with.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from leash_ray.errors import UsageError
from leash_ray.files import parquet_files
from leash_ray.free_space import require_free_space
from leash_ray.run_dir import RunDir
from leash_ray.sampling.held import OriginOf
from leash_ray.sampling.manifest import read_record
from leash_ray.sampling.origin import origin_differences


def borrow(run: RunDir, base: str, lender: str, origin_of: OriginOf, say: Callable[[str], None]) -> None:
    """Copy policy ``base``'s completions of the run at ``lender`` into ``run``, unless it has some of its own.

    Raises:
        UsageError: there is no such run, or it has no completions of this policy, or they are of another origin.
        RunFailed: the disk is too small.
    """
    own = run.completions / base
    if own.is_dir() and any(own.iterdir()):
        return
    source = RunDir.open(Path(lender).expanduser()).completions / base
    files = parquet_files(source) if source.is_dir() else []
    if not files:
        raise UsageError(
            f"sampling.base_from: {lender} has no completions of {base}; name a run that has sampled it, or leave "
            "base_from out"
        )
    for path in files:
        record = read_record(path)
        wanted = origin_of(base, record.problems) if record else None
        if record and wanted and (differing := origin_differences(record.origin, wanted)):
            raise UsageError(
                f"sampling.base_from: {lender} drew its {base} with another configuration ({'; '.join(differing)}): "
                "put the same values into this run's, or leave base_from out"
            )
    require_free_space(run.path, sum(f.stat().st_size for f in files), "the base's completions")
    taken = own.with_name(f".{base}.borrowed")
    shutil.rmtree(taken, ignore_errors=True)
    shutil.copytree(source, taken)
    taken.rename(own)
    say(f"the completions of {base} are those of {lender} ({len(files):,} files)")

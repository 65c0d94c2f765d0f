"""Which recipes lose least, and which expand: every recipe with several seeds from one base, then `leash compare`.

    python jobs/findings.py --out runs/findings                     # docs/findings.md: 90 minutes on two cores
    python jobs/findings.py --out runs/quick --recipes grpo sft --seeds 0 --set train.steps=20

The base is sampled once, in the first run; the others take its completions over. A run that is done is left as it is,
and one that was cut off goes on, so the same command ends what an earlier one began.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "jobs" / "configs" / "recipes"
SHOWN = ("grpo", "dapo", "sft", "pass-at-k", "unsolved", "nsr", "seeding")


def main() -> int:
    """Returns how many runs failed, or the status of the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = sorted(path.stem.removeprefix("countdown-") for path in RECIPES.glob("countdown-*.yaml"))
    parser.add_argument("--out", type=Path, default=Path("runs/findings"), help="where the runs go")
    parser.add_argument(
        "--recipes", nargs="+", default=list(SHOWN), choices=known, metavar="NAME", help=", ".join(known)
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="for all runs"
    )
    given = parser.parse_args()
    runs = [(recipe, seed) for seed in given.seeds for recipe in given.recipes]  # a whole seed first
    lender: Path | None = None
    failed, started_s = [], time.monotonic()
    for i, (recipe, seed) in enumerate(runs):
        path = given.out / f"{recipe}-seed{seed}"
        print(f"[{i + 1}/{len(runs)}, {time.monotonic() - started_s:.0f} s] {path}", flush=True)
        if not (path / "report.html").is_file() and _run(recipe, seed, path, lender, given.overrides):
            failed.append(path)
            continue
        lender = lender or path
    done = [given.out / f"{recipe}-seed{seed}" for recipe, seed in runs]
    done = [path for path in done if path not in failed]
    if failed:
        print(f"failed, and left out: {', '.join(map(str, failed))}; the same command tries them again")
    if len(done) < 2:
        return 1
    return _leash("compare", *map(str, done), "--out", str(given.out / "compare")) or len(failed)


def _run(recipe: str, seed: int, path: Path, lender: Path | None, overrides: list[str]) -> int:
    changes = [f"name={recipe}", f"train.seed={seed}", *overrides]
    if lender is not None:
        changes.append(f"sampling.base_from={lender.resolve()}")
    options = [part for change in changes for part in ("--set", change)]
    return _leash("run", str(RECIPES / f"countdown-{recipe}.yaml"), "--run", str(path), "--resume", *options)


def _leash(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "leash_ray.cli", *arguments], cwd=Path.cwd(), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

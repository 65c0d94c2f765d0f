"""Start-up: from ``leash sample`` to the first completions on disk, and where the time goes.

Two policies of the embedded model on a Ray of their own, against raw vLLM with one (a script that makes an ``LLM`` and
generates), in the same run, one after the other::

    python benchmarks/startup.py [--quick] [--json]

``ratio`` is raw's seconds over ours. The breakdown comes from watching the processes: nothing is instrumented.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from _countdown import CONFIG
from _machine import machine, versions

from leash_ray.config import PolicyConfig
from leash_ray.deploy import resolve_model
from leash_ray.engine import engine_env

SIZE = ("task.size=40", "task.split=[90, 100]", "sampling.n=64", "sampling.samples_per_shard=512")

RAW = """
import sys
from vllm import LLM, SamplingParams
if __name__ == "__main__":  # vLLM spawns
    llm = LLM(sys.argv[1], dtype="float32", max_model_len=64, enforce_eager=True)
    llm.generate(["2 3 9=21:"], SamplingParams(n=8, max_tokens=12), use_tqdm=False)
"""

STAGES = (
    ("the command line, config and problems", "raylet/raylet"),
    ("Ray", "ServeController"),
    ("Serve's controller", "ServeReplica"),
    ("replicas import vLLM", "EngineCore"),
)
"""(what takes the time until a process of this name is there, the name)."""


def watched(command: list[str], first: Callable[[], bool], env: dict[str, str] | None = None) -> dict[str, float]:
    """Seconds from the start of ``command`` until each of its processes was there, and until ``first`` was true."""
    started_s = time.perf_counter()
    process = psutil.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    said: list[tuple[float, str]] = []

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said.append((time.perf_counter() - started_s, line.rstrip()))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    found: dict[str, float] = {}
    while process.poll() is None and not first():
        for child in process.children(recursive=True):
            try:
                name = " ".join(child.cmdline())
            except psutil.Error:
                continue
            for _, pattern in STAGES:
                if pattern in name:
                    found.setdefault(pattern, time.perf_counter() - started_s)
        time.sleep(0.1)
    found["first"] = time.perf_counter() - started_s
    process.wait()
    reader.join()
    found |= {"exit": time.perf_counter() - started_s}
    if process.returncode:
        sys.exit("\n".join(line for _, line in said[-30:]))
    found["serving"] = next(at for at, line in said if line.startswith("serving "))
    return found


def ours(folder: Path) -> dict[str, float]:
    """Seconds of each stage of ``leash sample``."""
    config, run = folder / "startup.yaml", folder / "run"
    config.write_text(CONFIG)
    leash = [sys.executable, "-m", "leash_ray.cli", "sample", str(config), "--run", str(run)]
    leash += [part for value in SIZE for part in ("--set", value)]
    at = watched(leash, lambda: any(run.glob("completions/*/*.parquet")))
    stages, before = {}, 0.0
    for what, pattern in STAGES:
        stages[what] = at[pattern] - before
        before = at[pattern]
    stages["engines load the models"] = at["serving"] - before
    stages["the first shard: drawn, verified, written"] = at["first"] - at["serving"]
    return {**{k: round(v, 1) for k, v in stages.items()}, "total": round(at["first"], 1)}


def raw(folder: Path) -> float:
    """Seconds until raw vLLM has its first completions."""
    script = folder / "raw.py"
    script.write_text(RAW)
    started_s = time.perf_counter()
    subprocess.run(
        [sys.executable, str(script), resolve_model("embedded:countdown")],
        env={**os.environ, **engine_env(PolicyConfig(), "cpu")},
        check=True,
        capture_output=True,
    )
    return round(time.perf_counter() - started_s, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="once in place of three times")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    args = parser.parse_args()
    runs, raws = [], []
    for _ in range(1 if args.quick else 3):
        with tempfile.TemporaryDirectory() as name:
            raws.append(raw(Path(name)))
            runs.append(ours(Path(name)))
    ours_s, raw_s = (sorted(of)[len(of) // 2] for of in ([run["total"] for run in runs], raws))
    if not args.json:
        for what in runs[0]:
            print(f"{what:45}", "  ".join(f"{run[what]:6.1f} s" for run in runs))
        print(f"{'raw vLLM, one policy':45}", "  ".join(f"{s:6.1f} s" for s in raws))
    result = {
        "benchmark": "startup",
        "ours": {"seconds": ours_s, "runs": runs},
        "raw": {"seconds": raw_s, "runs": raws},
    }
    print(json.dumps({**result, "ratio": round(raw_s / ours_s, 3), "machine": machine(), "versions": versions()}))


if __name__ == "__main__":
    main()

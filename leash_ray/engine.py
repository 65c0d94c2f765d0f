"""A policy's vLLM engine: its arguments, its environment, and what ray.serve.llm is told of it.

Only :func:`llm_config` imports vLLM, and only replicas call it: a driver would spend ten seconds on that import.
"""

import os
from typing import Any

from leash_ray.cluster import Device
from leash_ray.config import PolicyConfig

CPU_ENGINE = {
    "enforce_eager": True,
    "max_num_seqs": 512,  # a tiny batch is lost in scheduling; vLLM's own default is 256
    "max_num_batched_tokens": 4096,
    "block_size": 32,  # of whole blocks a prefix is computed once; vLLM's own default is 128, longer than many a prompt
}


def engine_kwargs(policy: PolicyConfig, device: Device) -> dict[str, Any]:
    """vLLM's arguments, under its names, without the model."""
    engine: dict[str, Any] = {
        "dtype": policy.dtype,
        "tensor_parallel_size": policy.tensor_parallel_size,
        # What the sampler reports is ln p under the distribution that was sampled, temperature and
        # truncation included; vLLM's default is the raw model's.
        "logprobs_mode": "processed_logprobs",
        "seed": 0,
        "worker_extension_cls": "leash_ray.reload.ReloadWeights",
        "generation_config": "vllm",  # the model folder's own sampling defaults must not leak in
        # Its histograms take in every token, and Ray's agent on the node replays them one by one: half a core of two.
        "disable_log_stats": True,
        **(CPU_ENGINE if device == "cpu" else {}),
        **policy.engine,
    }
    if policy.max_model_len:
        engine["max_model_len"] = policy.max_model_len
    if device == "gpu" and policy.gpus < 1:
        engine.setdefault("gpu_memory_utilization", round(0.9 * policy.gpus, 3))
    return engine


def engine_env(policy: PolicyConfig, device: Device) -> dict[str, str]:
    """Environment of the engine's processes. Without a GPU, each core that the policy claims whole is a thread."""
    env = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "WARNING")}
    if device == "cpu":
        env["VLLM_CPU_KVCACHE_SPACE"] = os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
        # vLLM would bind its threads to cores and keep one back; several engines share these cores.
        env["VLLM_CPU_OMP_THREADS_BIND"] = os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        env["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(max(1, int(policy.cpus))))
        # Eager is asked for, and yet vLLM would compile the ranks of log-probabilities: seconds at the first step.
        env["TORCHDYNAMO_DISABLE"] = os.environ.get("TORCHDYNAMO_DISABLE", "1")
    return env


def bundles(policy: PolicyConfig, device: Device) -> list[dict[str, float]]:
    """What each tensor-parallel worker of one replica holds of the cluster, beside the replica's own half of the
    CPUs."""
    bundle = {"CPU": policy.cpus / 2 / policy.tensor_parallel_size}
    if device == "gpu":
        bundle["GPU"] = policy.gpus
        if policy.accelerator_type:
            bundle[f"accelerator_type:{policy.accelerator_type}"] = 0.001  # Ray's way to ask for a kind of GPU
    return [dict(bundle) for _ in range(policy.tensor_parallel_size)]


def llm_config(name: str, policy: PolicyConfig, model: str, device: Device) -> Any:
    """ray.serve.llm's ``LLMConfig`` of one policy."""
    from ray.serve.llm import LLMConfig

    options: dict[str, Any] = {"runtime_env": {"env_vars": engine_env(policy, device)}}
    if device == "cpu":
        options["accelerator_config"] = {"kind": "cpu"}
    elif policy.accelerator_type:
        options["accelerator_type"] = policy.accelerator_type
    engine = engine_kwargs(policy, device)
    return LLMConfig(
        model_loading_config={"model_id": name, "model_source": model},
        engine_kwargs=engine,
        log_engine_metrics=not engine["disable_log_stats"],
        placement_group_config={"bundles": bundles(policy, device)},
        **options,
    )

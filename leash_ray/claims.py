"""What a command holds of the cluster while it runs: said, and refused where it cannot fit, before anything starts."""

from collections.abc import Sequence

from leash_ray.cluster import Claim, Device
from leash_ray.config import RunConfig


def policy_claims(config: RunConfig, policies: Sequence[str], device: Device) -> list[Claim]:
    """What the replicas of these policies hold of the cluster."""
    held = []
    for name in policies:
        policy = config.policies[name]
        replicas = policy.most_replicas
        gpus = replicas * policy.tensor_parallel_size * policy.gpus if device == "gpu" else 0
        held.append(Claim(f"{replicas} x {name}", replicas * policy.cpus, gpus))
    return held


def claims(config: RunConfig, policies: Sequence[str], device: Device, training: bool) -> list[Claim]:
    """What the command holds of the cluster while it runs."""
    held = policy_claims(config, policies, device)
    held.append(Claim("verifiers", config.verify.actors * config.verify.cpus))
    if training and config.train:
        workers = config.train.workers
        gpus = workers * config.train.gpus_per_worker if device == "gpu" else 0
        held.append(Claim(f"{workers} x trainer", workers * config.train.cpus_per_worker, gpus))
    else:
        from leash_ray.sampling.stream import SAMPLING_CPUS

        replicas = sum(config.policies[name].most_replicas for name in policies)
        held.append(Claim("sampling", SAMPLING_CPUS * config.sampling.in_flight * replicas))
    return held

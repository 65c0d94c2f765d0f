"""What a run would ask of a cluster, without one."""

from leash_ray.claims import claims
from leash_ray.cluster import Device
from leash_ray.config import RunConfig
from leash_ray.errors import UsageError


def dry_run_of_training(config: RunConfig) -> list[str]:
    """Lines for people: Ray's CPUs and GPUs, in training and in sampling after it, and the memory of each GPU.

    Raises:
        UsageError: nothing is to be trained, or the model's config cannot be read.
    """
    from leash_ray.deploy import resolve_model
    from leash_ray.rlvr.memory_plan import describe, shape_of

    if config.train is None:
        raise UsageError("the config has no train section, so there is nothing to train")
    device: Device = "cpu" if config.device == "cpu" else "gpu"
    lines = []
    for what, policies in (("training", [config.trained]), ("sampling", [config.base, config.trained])):
        asked = claims(config, policies, device, training=what == "training")
        parts = ", ".join(f"{c.what} {c.cpus:g} CPU" + (f" {c.gpus:g} GPU" if c.gpus else "") for c in asked)
        lines.append(f"{what}: {sum(c.cpus for c in asked):g} CPUs, {sum(c.gpus for c in asked):g} GPUs ({parts})")
    if device == "gpu":
        model = config.policies[config.base].model
        assert model is not None
        lines += describe(config, shape_of(resolve_model(model)))
    return lines

"""Connecting to Ray, and saying at once what a command asks of the cluster and whether it fits."""

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from leash_ray.errors import RunFailed, UsageError

LOCAL_LOGICAL_CPUS = 2
"""A laptop with fewer cores still gets this many logical CPUs: claims are fractions of them."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Logical resources that one part of a command holds while it runs."""

    what: str
    cpus: float = 0.0
    gpus: float = 0.0


_is_own = False


def is_own() -> bool:
    """Whether this process has started the Ray that it is connected to, which then ends with it."""
    return _is_own


def connect(address: str | None = None, num_cpus: int | None = None, data: bool = True) -> None:
    """Join the cluster at ``address``, the one this process runs in (a Ray job), or start a local one. Idempotent.

    Args:
        data: whether Ray Data is to be used, whose import takes a while.

    Raises:
        RunFailed: no cluster answers at ``address``.
    """
    import ray

    global _is_own
    if ray.is_initialized():
        return
    _quiet_environment()
    in_job = address or os.environ.get("RAY_ADDRESS")
    try:
        if in_job:
            ray.init(
                address=in_job, log_to_driver=False, logging_level=logging.ERROR, runtime_env=_worker_env(local=False)
            )
        else:
            ray.init(
                address="local",
                num_cpus=num_cpus or max(os.cpu_count() or 1, LOCAL_LOGICAL_CPUS),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env=_worker_env(local=True),
            )
            _is_own = True
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as e:
        raise RunFailed(
            f"cannot reach Ray at {in_job or 'this machine'}: {str(e).splitlines()[0]}; check the address "
            "(ray status), and RAY_AUTH_MODE=token where the cluster asks for a token"
        ) from e
    if data:
        quiet_ray_data()


def quiet_ray_data() -> None:
    """leash_ray prints its own progress; Ray Data's bars and plans would break it up."""
    from ray.data import DataContext
    from ray.util.debug import log_once

    log_once("ray_data_progress_manager_disabled")  # else it warns once that the bars are off
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray.data", "ray.serve", "ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _quiet_environment() -> None:
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_TRAIN_ENABLE_V2", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")


def _worker_env(local: bool) -> dict[str, dict[str, str]]:
    """What every process of the run sees. Processes of a local Ray inherit the rest from this one."""
    env = {
        "TOKENIZERS_PARALLELISM": "false",
        "RAY_TRAIN_ENABLE_V2": "1",
        # Some reasoning-gym data sets walk sets of strings: ids must agree between processes.
        "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0"),
    }
    if local:
        # Console scripts (ninja, for torch's extensions) lie beside the interpreter, which need not be on PATH.
        env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    else:
        for name in ("HF_HUB_OFFLINE", "HF_HOME", "HF_TOKEN", "WANDB_API_KEY", "WANDB_BASE_URL", "VLLM_LOGGING_LEVEL"):
            if name in os.environ:
                env[name] = os.environ[name]
    return {"env_vars": {name: value for name, value in env.items() if name not in _job_variables()}}


def _job_variables() -> set[str]:
    """What a submitted job's own runtime environment sets: it is set already, and Ray refuses to be told twice."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return set((job.get("runtime_env") or {}).get("env_vars") or {})


Device = Literal["cpu", "gpu"]


def device(asked: Literal["auto", "cpu", "gpu"]) -> Device:
    """``cpu`` or ``gpu`` for ``auto``; refuses ``gpu`` where the cluster has none.

    Raises:
        UsageError: GPUs are asked for and there are none.
    """
    import ray

    gpus = ray.cluster_resources().get("GPU", 0)
    if asked == "gpu" and not gpus:
        raise UsageError("device: gpu, but this Ray cluster has no GPU; set device: auto or cpu, or join a GPU cluster")
    if asked == "auto":
        return "gpu" if gpus else "cpu"
    return asked


def require(claims: Sequence[Claim], wait: bool = False, hint: str = "") -> str:
    """Check that all claims fit at the same time, and say so in one line.

    A cluster that cannot fit them would wait for ever without a word.

    Args:
        claims: all of them.
        wait: the cluster grows on demand: say what is asked, and let it come.
        hint: a further way out, such as "or set ...".

    Raises:
        UsageError: names each claim, what there is, and what to change.
    """
    import ray

    total = ray.cluster_resources()
    cpus, gpus = sum(c.cpus for c in claims), sum(c.gpus for c in claims)
    have_cpus, have_gpus = total.get("CPU", 0.0), total.get("GPU", 0.0)
    asked = ", ".join(f"{c.what} {c.cpus:g} CPU" + (f" {c.gpus:g} GPU" if c.gpus else "") for c in claims)
    line = f"asks Ray for {cpus:g} of {have_cpus:g} logical CPUs and {gpus:g} of {have_gpus:g} GPUs ({asked})"
    if not wait and (cpus > have_cpus + 1e-9 or gpus > have_gpus + 1e-9):
        raise UsageError(
            f"this run {line}: it cannot fit; lower replicas, workers, or the cpus and gpus of a section (fractions "
            "share), raise ray.num_cpus, join a larger cluster (ray.address), or set ray.wait_for_nodes: true on one "
            f"that grows on demand{', ' * bool(hint)}{hint}"
        )
    return line


def require_shared(path: Path) -> None:
    """Check that every node sees ``path``: weights and completions pass through it.

    Raises:
        UsageError: names the nodes that do not.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) < 2:
        return
    sees = ray.remote(lambda folder: Path(folder, "run.json").is_file())
    seen = ray.get(
        [
            sees.options(
                num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(str(path.absolute()))
            for node in nodes
        ]
    )
    blind = [node["NodeManagerAddress"] for node, ok in zip(nodes, seen, strict=True) if not ok]
    if blind:
        raise UsageError(
            f"{len(blind)} of {len(nodes)} nodes ({', '.join(blind[:5])}) do not see the run directory {path}; "
            "give --run a path on storage that all nodes mount (NFS, EFS, Lustre)"
        )

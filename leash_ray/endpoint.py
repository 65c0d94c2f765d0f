"""``leash serve``: the policies behind an OpenAI-compatible endpoint."""

import contextlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from leash_ray import cluster
from leash_ray.config import RunConfig
from leash_ray.deploy import check_port, deploy, resolve_model, stop
from leash_ray.errors import RunFailed, UsageError


def serve_forever(config: RunConfig, host: str, port: int, run: Path | None, say: Callable[[str], None]) -> None:
    """Serve every policy that has a model, until interrupted.

    Args:
        run: run directory whose last checkpoint is the trained policy; None: only policies with a model of their own.

    Raises:
        UsageError: the port is in use, a model is missing, or the policies do not fit the cluster.
        RunFailed: they did not start, or nothing listens at the port.
    """
    from leash_ray.claims import policy_claims

    check_port(host, port)
    models = {name: resolve_model(p.model) for name, p in config.policies.items() if p.model}
    if run is not None:
        models[config.trained] = _trained_model(run)
    elif config.trained not in models:
        say(f"policy {config.trained} has no model of its own: give --run DIR to serve the one that a run trained")
    cluster.connect(config.ray.address, config.ray.num_cpus)
    device = cluster.device(config.device)
    claims = [*policy_claims(config, list(models), device), cluster.Claim("ingress", 0.1)]
    say(cluster.require(claims, wait=config.ray.wait_for_nodes))
    run_token = f"serve-{os.getpid()}"
    try:
        deploy({name: config.policies[name] for name in models}, models, device, run_token, endpoint=(host, port))
        _check_listening(host, port)
        say(f"serving {', '.join(models)} at http://{host}:{port}/v1 (Ctrl-C to stop)")
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
        say("stopped")
    finally:
        stop(models, run_token)


def _trained_model(run: Path) -> str:
    from leash_ray.run_dir import RunDir

    opened = RunDir.open(run)
    info = opened.stage_info("train")
    if info is None:
        raise UsageError(f"{run} has no trained model yet: run leash train first, with the same --run")
    return resolve_model(str(opened.path.absolute() / info["model"]))


def _check_listening(host: str, port: int) -> None:
    """A cluster whose Serve was started before, without this address, goes on without it and says nothing."""
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError as e:
        raise RunFailed(
            f"nothing listens on {host}:{port}: this cluster's Serve was started with other HTTP options; "
            "stop it first (serve shutdown), or serve from a cluster of your own"
        ) from e

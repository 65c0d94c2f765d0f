"""Start policies on Ray Serve: config -> ray.serve.llm deployment, on CPU or GPU; an OpenAI endpoint on request."""

import contextlib
import logging
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from leash_ray import cluster
from leash_ray.cluster import Device
from leash_ray.config import PolicyConfig
from leash_ray.engine import bundles, engine_env, llm_config
from leash_ray.errors import RunFailed, UsageError
from leash_ray.orphans import Driver
from leash_ray.policy import ServedPolicy, app_name, deployment_name

ENDPOINT = "endpoint"
EMBEDDED = "embedded:"


def resolve_model(model: str) -> str:
    """Path of an ``embedded:NAME`` model or of a folder; a hub name stays as it is.

    Raises:
        UsageError: no such embedded model, or something that looks like a folder and is none.
    """
    if model.startswith(EMBEDDED):
        root = Path(__file__).parent / "models"
        folder = root / model.removeprefix(EMBEDDED)
        if not (folder / "config.json").is_file():
            known = sorted(EMBEDDED + p.parent.name for p in root.glob("*/config.json"))
            raise UsageError(f"no embedded model {model!r}; there is {', '.join(known)}")
        return str(folder)
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UsageError(f"{path} is no Hugging Face model folder: it has no config.json")
        return str(path.resolve())
    if path.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1:
        raise UsageError(f"model folder {model} does not exist; give a Hugging Face folder or a hub name (owner/name)")
    return model


def deployment_options(name: str, policy: PolicyConfig, device: Device) -> dict[str, Any]:
    """Ray Serve's options of one policy's deployment."""
    from ray.serve.config import RequestRouterConfig

    first, *others = bundles(policy, device)
    options: dict[str, Any] = {
        "name": deployment_name(name),
        "ray_actor_options": {"num_cpus": policy.cpus / 2, "runtime_env": {"env_vars": engine_env(policy, device)}},
        # The replica shares the first worker's bundle.
        "placement_group_bundles": [{**first, "CPU": first["CPU"] + policy.cpus / 2}, *others],
        "placement_group_strategy": "PACK",
        "max_ongoing_requests": 10**9,  # vLLM has a queue of its own
        "health_check_period_s": 2,  # how soon a dead replica is replaced
        "health_check_timeout_s": 120,  # an engine that is busy on a small machine is not ill
        "graceful_shutdown_timeout_s": 5,
        "graceful_shutdown_wait_loop_s": 0.1,  # Serve looks only so often whether requests are done; its own: 2
    }
    if policy.most_replicas > 1:
        # By the session of a request, which is its prompt: leash_ray.policy.
        router = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
        options["request_router_config"] = RequestRouterConfig(request_router_class=router)
    if policy.autoscaling:
        options["autoscaling_config"] = policy.autoscaling.model_dump()
    else:
        options["num_replicas"] = policy.replicas
    return options


def deploy(
    policies: Mapping[str, PolicyConfig],
    models: Mapping[str, str],
    device: Device,
    run_token: str,
    endpoint: tuple[str, int] | None = None,
) -> dict[str, ServedPolicy]:
    """Start every policy's deployment at once and wait until all are ready. :func:`stop` takes them down.

    Args:
        policies: by name.
        models: resolved model of each policy.
        run_token: keeps this run's Serve applications apart from another run's on the same cluster.
        endpoint: (host, port) of an OpenAI-compatible endpoint; None: handles only, and no HTTP proxy.

    Raises:
        RunFailed: a deployment did not come up; the message has Serve's reason.
    """
    from ray import serve

    from leash_ray.replica import Replica

    for name in ("ray.serve", "ray.data"):  # importing them sets their levels
        logging.getLogger(name).setLevel(logging.WARNING)
    if endpoint:
        serve.start(http_options={"host": endpoint[0], "port": endpoint[1]}, logging_config=_QUIET)
    else:
        serve.start(proxy_location="Disabled", logging_config=_QUIET)
    driver = None if cluster.is_own() else Driver.announce(run_token)
    served = {
        name: ServedPolicy(name, app_name(name, run_token), replicas=policy.most_replicas)
        for name, policy in policies.items()
    }
    targets = [
        serve.RunTarget(
            target=serve.deployment(Replica, **deployment_options(name, policy, device)).bind(
                name, policy, models[name], device, driver
            ),
            name=served[name].app,
            route_prefix=None,
            logging_config=_QUIET,
        )
        for name, policy in policies.items()
    ]
    try:
        serve.run_many(targets)
        if endpoint:
            configs = {name: llm_config(name, policy, models[name], device) for name, policy in policies.items()}
            _open_endpoint(configs, served, run_token)
    except RuntimeError as e:
        raise RunFailed(f"a policy did not start: {_reason([s.app for s in served.values()])}") from e
    return served


@contextlib.contextmanager
def _quiet_imports() -> Iterator[None]:
    """Importing vLLM tells, as JSON lines, of every accelerator that it does not find."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


_QUIET = {"log_level": "WARNING", "enable_access_log": False}


def _open_endpoint(configs: Mapping[str, Any], served: Mapping[str, ServedPolicy], run_token: str) -> None:
    """An OpenAI ingress in front of the deployments that already run."""
    from ray import serve

    with _quiet_imports():
        from ray.llm._internal.serve.core.configs.openai_api_models import to_model_metadata
        from ray.serve.llm.ingress import OpenAiIngress, make_fastapi_ingress

    options = OpenAiIngress.get_deployment_options(list(configs.values()))
    options["ray_actor_options"] = {**options.get("ray_actor_options", {}), "num_cpus": 0.1}
    ingress = serve.deployment(make_fastapi_ingress(OpenAiIngress), **options).bind(
        llm_deployments={
            name: serve.get_deployment_handle(deployment_name(name), policy.app) for name, policy in served.items()
        },
        model_cards={name: to_model_metadata(name, config) for name, config in configs.items()},
        lora_paths={},
    )
    serve.run(ingress, name=app_name(ENDPOINT, run_token), route_prefix="/", logging_config=_QUIET)


def _reason(apps: Iterable[str]) -> str:
    """The last line of each failed application's message in Serve's status."""
    from ray import serve

    reasons = []
    status = serve.status().applications
    for app in apps:
        for deployment in status[app].deployments.values() if app in status else ():
            lines = [line for line in deployment.message.splitlines() if line.strip()]
            if lines and status[app].status != "RUNNING":
                reasons.append(lines[-1].strip())
    return "; ".join(reasons) or "see Ray's logs (ray logs, or the Ray dashboard)"


def check_port(host: str, port: int) -> None:
    """Refuse a port that is taken, before any replica starts.

    Raises:
        UsageError: names the port and the option to change.
    """
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((host, port))
        except OSError as e:
            raise UsageError(f"cannot listen on {host}:{port} ({e.strerror}); choose another with --port") from e


def stop(names: Iterable[str], run_token: str) -> None:
    """Take these policies of the run down, and its endpoint; whatever else the cluster's Serve runs stays."""
    from ray import serve

    names = (ENDPOINT, *names)
    for wait in (False, True):  # all are on their way down before one is waited for
        for name in names:
            with contextlib.suppress(Exception):  # on the way out: nothing left to save
                serve.delete(app_name(name, run_token), _blocking=wait)

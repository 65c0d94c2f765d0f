"""``leash serve``: the policies behind an OpenAI-compatible endpoint."""

import time
from collections.abc import Callable

from leash_ray import cluster
from leash_ray.config import RunConfig
from leash_ray.deploy import check_port, deploy, resolve_model, stop


def serve_forever(config: RunConfig, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve every policy that has a model, until interrupted.

    Raises:
        UsageError: the port is in use, a model folder is missing, or the policies do not fit the cluster.
    """
    from leash_ray.session import claims

    check_port(host, port)
    models = {name: resolve_model(p.model) for name, p in config.policies.items() if p.model}
    cluster.connect(config.ray.address, config.ray.num_cpus)
    device = cluster.device(config.device)
    say(cluster.require(claims(config, list(models), device, training=False)))
    try:
        deploy({name: config.policies[name] for name in models}, models, device, endpoint=(host, port))
        say(f"serving {', '.join(models)} at http://{host}:{port}/v1 (Ctrl-C to stop)")
        while True:
            time.sleep(3600)
    finally:
        stop(models)

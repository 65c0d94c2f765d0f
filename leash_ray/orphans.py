"""No engine without its driver: applications of Ray Serve outlive whoever deployed them.

On a cluster each driver has an actor, which ends with it however it ends. The replicas look whether it is there, and
have Serve take their application down when it is not: an engine would hold its GPU for ever. A Ray that the driver has
started itself ends with it, and needs no such actor.
"""

import uuid
from dataclasses import dataclass
from typing import Any

NAMESPACE = "leash"
_held: list[Any] = []
"""An actor ends when nothing refers to it any more."""


class _Driver:
    """Is there as long as its driver is."""


@dataclass(frozen=True, slots=True)
class Driver:
    """What a replica knows of the driver that deployed it."""

    actor: str
    run_token: str

    @staticmethod
    def announce(run_token: str) -> "Driver":
        """Start the actor of this process, for the applications of the run that ``run_token`` names."""
        import ray

        driver = Driver(f"driver-{uuid.uuid4().hex}", run_token)
        actor = ray.remote(_Driver).options(name=driver.actor, namespace=NAMESPACE, num_cpus=0, max_restarts=-1)
        _held.append(actor.remote())
        return driver

    def is_gone(self) -> bool:
        """Whether it is known to have ended."""
        import ray

        try:
            ray.get_actor(self.actor, namespace=NAMESPACE)
        except ValueError:
            return True
        except ray.exceptions.RayError:  # the cluster cannot say
            return False
        return False

"""What Ray Serve is told to run for a policy. The driver imports this, and so never imports vLLM."""

from typing import Any


class Replica:
    """Becomes a :class:`~leash_ray.serving.PolicyServer` in the process that is to be one: Serve makes the instance
    with ``__new__`` and then calls its ``__init__``, with (name, policy, model, device, driver)."""

    def __new__(cls) -> Any:
        from leash_ray.serving import PolicyServer

        return PolicyServer.__new__(PolicyServer)

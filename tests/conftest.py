"""One Ray runtime, and one set of served policies, for the whole test session."""

from collections.abc import Iterator

import pytest

NUM_CPUS = 4
"""Logical CPUs: enough that everything the tests start at once is placed, whatever the machine has."""


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local Ray, as ``leash`` starts it."""
    import ray

    from leash_ray import cluster

    cluster.connect(num_cpus=NUM_CPUS)
    yield
    ray.shutdown()

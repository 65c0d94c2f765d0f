"""One Ray runtime, and one set of served policies, for the whole test session."""

import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from leash_ray.config import PolicyConfig, VerifyConfig

if TYPE_CHECKING:
    from leash_ray.policy import ServedPolicy
    from leash_ray.types import Problem
    from leash_ray.verify.remote import RemoteVerifier

NUM_CPUS = 4
"""Logical CPUs: enough that everything the tests start at once is placed, whatever the machine has."""


def pytest_configure() -> None:
    # A shell that starts tests in the background has them, and all that they start, ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local Ray, as ``leash`` starts it."""
    import ray

    from leash_ray import cluster

    cluster.connect(num_cpus=NUM_CPUS)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def served(ray_session: None) -> Iterator["ServedPolicy"]:
    """The embedded base on Ray Serve and vLLM, under the name ``alpha``; tests put its own weights back."""
    from leash_ray.deploy import deploy, resolve_model, stop

    policy = PolicyConfig(model="embedded:countdown", dtype="float32", max_model_len=64, cpus=0.5)
    yield deploy({"alpha": policy}, {"alpha": resolve_model("embedded:countdown")}, "cpu", "tests")["alpha"]
    stop(["alpha"], "tests")


@pytest.fixture(scope="session")
def verifier(ray_session: None) -> Iterator["RemoteVerifier"]:
    """Verifier processes behind a Ray actor."""
    from leash_ray.verify.remote import RemoteVerifier

    remote = RemoteVerifier.start(VerifyConfig())
    yield remote
    remote.stop()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """This process is the one worker of a training group."""
    import torch.distributed as dist

    store = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture(scope="session")
def countdown() -> "list[Problem]":
    """Held-out countdown problems."""
    from leash_ray.tasks import ReasoningGymSpec, load_problems

    numbers = {"min_numbers": 3, "max_numbers": 3, "max_value": 15, "min_target": 10, "max_target": 60}
    spec = ReasoningGymSpec(dataset="countdown", config=numbers, prompt="compact", seed=3, size=12, split=(90, 100))
    return load_problems(spec)

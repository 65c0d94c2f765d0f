"""What a served policy's client does when a replica fails, and when it dies: real Serve, no engine."""

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ray import serve

from leash_ray import policy
from leash_ray.policy import DeadlyRequest, RequestFailed, ServedPolicy, app_name, deployment_name
from leash_ray.types import SampleRequest, SamplingParams

PARAMS = SamplingParams(max_tokens=4)


@pytest.fixture(scope="module")
def stub(ray_session: None) -> Iterator[ServedPolicy]:
    class Replica:
        """Answers with the prompts, its process and the time; or fails, or dies, as the prompt says."""

        def sample(self, requests: list[SampleRequest], params: SamplingParams, version: int | None) -> list[Any]:
            said = [request.prompt for request in requests]
            if "die" in said:
                os._exit(1)
            if "fail" in said:
                raise RuntimeError("vLLM: out of cache\nat block 7")
            return [(prompt, os.getpid()) for prompt in said]

        def describe(self) -> dict[str, Any]:
            return {"version": 0, "max_model_len": 64}

    name = app_name("stub", "tests")
    serve.start(proxy_location="Disabled")
    options = {"name": deployment_name("stub"), "ray_actor_options": {"num_cpus": 0}, "health_check_period_s": 1}
    serve.run(serve.deployment(Replica, **options).bind(), name=name, route_prefix=None)
    yield ServedPolicy("stub", name)
    serve.delete(name)


def ask(stub: ServedPolicy, *prompts: str) -> list[Any]:
    return stub.sample([SampleRequest(prompt, 1, 0) for prompt in prompts], PARAMS)


def test_a_request_that_fails_is_known_within_seconds(stub: ServedPolicy) -> None:
    started_s = time.monotonic()
    with pytest.raises(RequestFailed, match="'stub' could not be sampled: at block 7"):
        ask(stub, "a", "fail")
    assert time.monotonic() - started_s < 15
    assert ask(stub, "a")[0][0] == "a"


def test_a_request_that_kills_replicas_is_known_as_such(stub: ServedPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "MAX_DEATHS", 2)
    monkeypatch.setattr(policy, "SPREAD_S", 0.0)
    (_, before), *_ = ask(stub, "a")
    with pytest.raises(DeadlyRequest, match="2 replicas died of it"):
        ask(stub, "die")
    (_, after), *_ = ask(stub, "a")
    assert after != before

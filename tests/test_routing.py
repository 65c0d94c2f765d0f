"""Several replicas: each prompt has one of its own, and completions don't depend on which."""

import numpy as np
import pytest

from leash_ray.config import PolicyConfig
from leash_ray.policy import ServedPolicy
from leash_ray.types import SampleRequest, SamplingParams

PROMPTS = [f"{a} {b} {c}=21:" for a, b, c in np.random.default_rng(0).integers(1, 10, (24, 3))]
PARAMS = SamplingParams(max_tokens=4)


@pytest.mark.slow
def test_a_prompt_goes_to_the_same_replica_and_gets_the_same_completions(served: ServedPolicy) -> None:
    from leash_ray.deploy import deploy, resolve_model, stop

    policy = PolicyConfig(model="embedded:countdown", dtype="float32", max_model_len=64, cpus=0.3, replicas=2)
    model = resolve_model("embedded:countdown")
    two = deploy({"two": policy}, {"two": model}, "cpu", "routing")["two"]
    try:
        requests = [SampleRequest(prompt, 3, seed=i) for i, prompt in enumerate(PROMPTS)]
        first, again, alone = (
            two.sample(requests, PARAMS),
            two.sample(requests[::-1], PARAMS),
            served.sample(requests, PARAMS),
        )
        replicas = [batch.replica for batch in first]
        assert replicas == [batch.replica for batch in again][::-1]
        counts = [replicas.count(name) for name in set(replicas)]
        assert len(counts) == 2 and min(counts) >= 4  # of 24; a fair coin gives less once in 3,600 runs
        for one, other in zip(first, alone, strict=True):
            assert one.texts == other.texts and (one.token_ids_T == other.token_ids_T).all()
    finally:
        stop(["two"], "routing")

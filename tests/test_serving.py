"""The served policy (real Ray Serve, real vLLM): its samples, its log-probabilities, its weights."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chi2_contingency, chisquare
from transformers import AutoModelForCausalLM, AutoTokenizer

from leash_ray.config import AutoscalingConfig, PolicyConfig
from leash_ray.deploy import check_port, deployment_options, resolve_model
from leash_ray.engine import llm_config
from leash_ray.errors import UsageError
from leash_ray.policy import ServedPolicy
from leash_ray.seeds import stream_seed
from leash_ray.types import CompletionBatch, Problem, SampleRequest, SamplingParams

MODEL = resolve_model("embedded:countdown")
PROMPT = "2 3 9=21:"
LOGPROB_TOLERANCE = 1e-4
"""float32 through different kernels."""


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()


@torch.no_grad()
def reference_logprobs(network: torch.nn.Module, batch: CompletionBatch, temperature: float) -> np.ndarray:
    """ln p of the batch's sampled tokens by a plain transformers forward pass, one completion at a time."""
    found = []
    start = len(batch.prompt_ids)
    for first, end in zip(batch.offsets[:-1], batch.offsets[1:], strict=True):
        ids = np.concatenate([batch.prompt_ids, batch.token_ids_T[first:end]]).astype(np.int64)
        logits = network(torch.tensor(ids)[None]).logits[0].double() / temperature
        logp = torch.log_softmax(logits, dim=-1)
        found += [float(logp[i - 1, ids[i]]) for i in range(start, len(ids))]
    return np.array(found)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_are_those_of_the_sampling_distribution(
    served: ServedPolicy, network: torch.nn.Module, temperature: float
) -> None:
    params = SamplingParams(temperature=temperature, max_tokens=12)
    batch = served.sample([SampleRequest(PROMPT, 32, seed=1)], params)[0]
    assert np.abs(batch.logprobs_T - reference_logprobs(network, batch, temperature)).max() < LOGPROB_TOLERANCE


def test_truncated_sampling_reports_renormalised_logprobs(served: ServedPolicy, network: torch.nn.Module) -> None:
    batch = served.sample([SampleRequest(PROMPT, 200, seed=1)], SamplingParams(top_k=2, max_tokens=1))[0]
    with torch.no_grad():
        probs = torch.softmax(network(torch.tensor(batch.prompt_ids.astype(np.int64))[None]).logits[0, -1], -1)
    top = probs.topk(2)
    allowed = {int(t): float(p / top.values.sum()) for t, p in zip(top.indices, top.values, strict=True)}
    assert set(batch.token_ids_T.tolist()) == set(allowed)
    for token, logprob in zip(batch.token_ids_T.tolist(), batch.logprobs_T.tolist(), strict=True):
        assert logprob == pytest.approx(np.log(allowed[token]), abs=LOGPROB_TOLERANCE)


def test_first_tokens_follow_the_models_distribution(served: ServedPolicy, network: torch.nn.Module) -> None:
    n = 4000
    requests = [SampleRequest(PROMPT, n // 4, seed=10**6 * i) for i in range(4)]
    first = np.concatenate([b.token_ids_T for b in served.sample(requests, SamplingParams(max_tokens=1))])
    with torch.no_grad():
        ids = torch.tensor(AutoTokenizer.from_pretrained(MODEL)(PROMPT)["input_ids"])[None]
        probs = torch.softmax(network(ids).logits[0, -1].double(), -1).numpy()
    counts = np.bincount(first, minlength=len(probs))
    common = probs * n >= 5
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(probs[common], probs[~common].sum()) * n
    keep = expected > 0
    assert chisquare(observed[keep], expected[keep]).pvalue > 1e-4


def test_streams_are_no_more_alike_than_chance_makes_them(served: ServedPolicy, network: torch.nn.Module) -> None:
    """Neighbours within a request (their seeds differ by one), and the same places of requests of other policies and
    other first samples: first tokens are independent, and whole completions are equal as often as two draws are."""
    n = 2000
    starts = [stream_seed(0, "sample", policy, "problem") + first for policy in "ab" for first in (0, n)]
    requests = [SampleRequest(PROMPT, n, seed) for seed in starts]
    batches = served.sample(requests, SamplingParams(max_tokens=12))
    firsts = [b.token_ids_T[b.offsets[:-1]] for b in batches]
    joined = np.concatenate([b.logprobs_T.astype(np.float64) for b in batches])
    ends = np.cumsum(np.concatenate([np.diff(b.offsets) for b in batches]))
    logprob_sums = np.diff(np.concatenate([[0.0], np.cumsum(joined)])[np.concatenate([[0], ends])])
    collision = np.exp(logprob_sums).mean()  # the mean of p over draws is the sum of p², the chance that two are equal
    pairings = {
        "neighbours": [(b, slice(0, n - 1), b, slice(1, n)) for b in range(4)],
        "first samples": [(0, slice(0, n), 1, slice(0, n)), (2, slice(0, n), 3, slice(0, n))],
        "policies": [(0, slice(0, n), 2, slice(0, n)), (1, slice(0, n), 3, slice(0, n))],
    }
    for name, pairs in pairings.items():
        left = np.concatenate([firsts[i][where] for i, where, _, _ in pairs])
        right = np.concatenate([firsts[j][where] for _, _, j, where in pairs])
        common = [token for token in np.unique(left) if (left == token).mean() > 0.05]
        table = np.array([[((left == a) & (right == b)).sum() for b in common] for a in common])
        assert chi2_contingency(table).pvalue > 1e-4, name
        texts = [(batches[i].texts[where], batches[j].texts[other]) for i, where, j, other in pairs]
        equal = sum(a == b for mine, others in texts for a, b in zip(mine, others, strict=True))
        total = sum(len(mine) for mine, _ in texts)
        assert binomtest(equal, total, min(1.0, collision)).pvalue > 1e-4, (name, equal, total, collision)


def test_a_sample_has_its_own_random_stream(served: ServedPolicy) -> None:
    params = SamplingParams(max_tokens=12)
    whole = served.sample([SampleRequest(PROMPT, 16, seed=100)], params)[0]
    tail = served.sample([SampleRequest(PROMPT, 4, seed=112)], params)[0]
    other = served.sample([SampleRequest(PROMPT, 16, seed=10**9)], params)[0]
    assert tail.texts == whole.texts[12:]
    assert other.texts != whole.texts


def test_columns_fit_together(served: ServedPolicy) -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    batches = served.sample(
        [SampleRequest(PROMPT, 8, 5), SampleRequest("1 2 3=6:", 3, 5)], SamplingParams(max_tokens=12)
    )
    assert [len(b) for b in batches] == [8, 3]
    for batch in batches:
        assert batch.offsets[0] == 0 and batch.offsets[-1] == len(batch.token_ids_T) == len(batch.logprobs_T)
        for i, text in enumerate(batch.texts):
            ids = batch.token_ids_T[batch.offsets[i] : batch.offsets[i + 1]].tolist()
            assert tokenizer.decode(ids, skip_special_tokens=True) == text
            ended = ids[-1] == tokenizer.eos_token_id
            assert batch.finish_reasons[i] == ("stop" if ended else "length")


def test_the_length_limit_is_a_finish_reason(served: ServedPolicy) -> None:
    batch = served.sample([SampleRequest(PROMPT, 4, seed=0)], SamplingParams(max_tokens=2))[0]
    assert batch.finish_reasons == ["length"] * 4
    assert np.diff(batch.offsets).tolist() == [2] * 4


def test_new_weights_reach_the_sampler_whole(served: ServedPolicy, network: torch.nn.Module, tmp_path: Path) -> None:
    """Every parameter is moved, also the output head that is tied to the embedding; then put back."""
    torch.manual_seed(0)
    moved = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter.add_(0.05 * parameter.std() * torch.randn_like(parameter))
    moved.save_pretrained(tmp_path / "moved")
    params, request = SamplingParams(max_tokens=12), SampleRequest(PROMPT, 32, seed=1)
    before = served.sample([request], params)[0]
    served.load_weights(str(tmp_path / "moved"), 7)
    try:
        batch = served.sample([request], params)[0]
        assert batch.version == 7
        assert np.abs(batch.logprobs_T - reference_logprobs(moved, batch, 1.0)).max() < LOGPROB_TOLERANCE
        assert np.abs(batch.logprobs_T - reference_logprobs(network, batch, 1.0)).max() > 0.01
    finally:
        served.load_weights(MODEL, 0)
    after = served.sample([request], params)[0]
    assert after.version == 0
    assert after.texts == before.texts


def test_a_policy_pinned_to_a_version_brings_its_weights_along(served: ServedPolicy) -> None:
    """As after a restart: the replica answers with version 0, the caller wants 3 and has its weights."""
    pinned = served.at(3, MODEL)
    try:
        assert pinned.sample([SampleRequest(PROMPT, 1, 0)], SamplingParams(max_tokens=2))[0].version == 3
    finally:
        served.load_weights(MODEL, 0)


def test_prompts_longer_than_the_context_are_refused_before_sampling(served: ServedPolicy) -> None:
    fits = Problem.make("t", PROMPT, "math", "1")
    long = Problem.make("t", "1 " * 40, "math", "1")
    served.check_prompts([fits], 12)
    with pytest.raises(UsageError, match=rf"1 of 2 prompts .* problem {long.id} has 80 tokens, .* context of 64"):
        served.check_prompts([fits, long], 12)


def test_gpu_deployments_are_configured_without_a_gpu() -> None:
    """What a GPU cluster would be asked for: tensor parallel workers, autoscaling, the engine's arguments."""
    policy = PolicyConfig(
        model="owner/name",
        dtype="bfloat16",
        tensor_parallel_size=2,
        autoscaling=AutoscalingConfig(min_replicas=1, max_replicas=4),
        accelerator_type="A10G",
        engine={"gpu_memory_utilization": 0.8},
    )
    config = llm_config("trained", policy, "owner/name", "gpu")
    assert config.engine_kwargs["tensor_parallel_size"] == 2
    assert config.engine_kwargs["gpu_memory_utilization"] == 0.8
    assert deployment_options("trained", policy, "gpu")["autoscaling_config"]["max_replicas"] == 4
    engine = config.get_engine_config()
    assert [bundle["GPU"] for bundle in engine.placement_bundles] == [1, 1]
    assert engine.get_initialization_kwargs()["distributed_executor_backend"] == "ray"


@pytest.mark.parametrize(
    ("device", "policy"),
    [
        ("cpu", PolicyConfig(model="owner/name", cpus=0.5)),
        ("gpu", PolicyConfig(model="owner/name", gpus=0.5, replicas=3)),
        ("gpu", PolicyConfig(model="owner/name", tensor_parallel_size=2, cpus=2, accelerator_type="A10G")),
    ],
)
def test_a_replica_claims_what_ray_serve_llm_would_claim_for_it(device: str, policy: PolicyConfig) -> None:
    """The driver works that out by itself, since asking ray.serve.llm would import vLLM."""
    from ray.serve.llm.deployment import LLMServer

    ours = deployment_options("base", policy, device)
    config = llm_config("base", policy, "owner/name", device)
    config.deployment_config = {"ray_actor_options": {"num_cpus": policy.cpus / 2}}
    theirs = LLMServer.get_deployment_options(config)
    without_zeros = [{k: v for k, v in b.items() if v} for b in theirs["placement_group_bundles"]]
    assert ours["placement_group_bundles"] == without_zeros
    assert ours["placement_group_strategy"] == theirs["placement_group_strategy"]
    mine, its = (o["ray_actor_options"]["runtime_env"]["env_vars"] for o in (ours, theirs))
    assert mine.items() <= its.items()


def test_the_driver_imports_neither_vllm_nor_torch() -> None:
    """It would take ten seconds of every start."""
    code = (
        "import sys, leash_ray.deploy, leash_ray.replica, leash_ray.session, leash_ray.sampling.stage\n"
        "found = {'vllm', 'torch', 'transformers'} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_taken_port_is_refused() -> None:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        with pytest.raises(UsageError, match=rf"127.0.0.1:{port} .*--port"):
            check_port("127.0.0.1", port)


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere/at/all", "nowhere", "embedded:nothing"])
def test_a_missing_model_is_refused(model: str) -> None:
    with pytest.raises(UsageError, match=r"does not exist|no embedded model"):
        resolve_model(model)

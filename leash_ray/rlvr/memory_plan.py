"""What training and sampling need of each GPU's memory, by arithmetic, before a GPU is paid for.

Shapes are read from the model's config alone. The formulas are upper bounds of what is there at once, not of what an
allocator fragments: 10% on top is a sensible margin.
"""

from dataclasses import dataclass, fields

from leash_ray.config import PolicyConfig, RunConfig
from leash_ray.errors import UsageError
from leash_ray.rlvr.settings import TrainConfig

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What memory depends on."""

    n_params: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocab: int
    linear_in_out: int
    """Inputs + outputs, summed over all linear layers but the head: an adapter has rank times as many weights."""


def shape_of(model: str) -> ModelShape:
    """Of a Hugging Face folder or hub name; downloads no weights.

    Raises:
        UsageError: it has no config, or no network to fetch it.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as e:
        raise UsageError(f"cannot read the config of model {model}: {str(e).splitlines()[0]}") from e
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
    heads = config.num_attention_heads
    linear = [m for n, m in network.named_modules() if isinstance(m, torch.nn.Linear) and not n.endswith("lm_head")]
    return ModelShape(
        n_params=sum(p.numel() for p in network.parameters()),
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", heads),
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        mlp=config.intermediate_size,
        vocab=config.vocab_size,
        linear_in_out=sum(m.in_features + m.out_features for m in linear),
    )


@dataclass(frozen=True, slots=True)
class TrainerMemory:
    """Bytes on one training worker's GPU, but for ``host``."""

    parameters: float
    reference: float
    gradients: float
    optimizer: float
    """Master weights in float32 (with bf16) and two moments."""
    activations: float
    """Kept for the backward pass of one micro-batch."""
    logits: float
    """Of one micro-batch: logits, log-probabilities in float32, and the gradients of both."""
    host: float
    """In the CPU's memory: what ZeRO offloads."""

    @property
    def gpu(self) -> float:
        return sum(getattr(self, f.name) for f in fields(self) if f.name != "host")


def trainer_memory(shape: ModelShape, train: TrainConfig, prompt_tokens: int) -> TrainerMemory:
    """Of one worker (ZeRO: Rajbhandari et al., arXiv 1910.02054, §3; activations: Korthikanti et al., arXiv
    2205.05198, §4, without the attention matrix, which fused attention does not keep).

    Args:
        prompt_tokens: of the longest prompt: a micro-batch has at least one whole completion.
    """
    width, stage, workers = 2 if train.bf16 else 4, train.zero_stage, train.workers
    n_trained = shape.linear_in_out * train.lora.rank if train.lora else shape.n_params
    n_all = shape.n_params + (n_trained if train.lora else 0)
    parameters = width * n_all / (workers if stage == 3 else 1)
    gradients = width * n_trained / (workers if stage >= 2 else 1)
    optimizer = (12 if train.bf16 else 8) * n_trained / (workers if stage >= 1 else 1)
    own_reference = train.kl.needed and not (train.lora and train.kl.reset_every is None)
    host = (optimizer if train.offload != "none" else 0.0) + (parameters if train.offload == "all" else 0.0)
    tokens = max(train.micro_tokens, prompt_tokens + train.most_tokens)
    # A layer keeps its input, both norms' outputs, queries, keys and values, attention's output, the gate, up and
    # product of the MLP, and two residual sums.
    of_layer = (6 * shape.hidden + (2 * shape.heads + 2 * shape.kv_heads) * shape.head_dim + 3 * shape.mlp) * width
    kept = of_layer if train.gradient_checkpointing else of_layer * shape.layers
    inputs = shape.hidden * width * shape.layers if train.gradient_checkpointing else 0
    return TrainerMemory(
        parameters=0.0 if train.offload == "all" else parameters,
        reference=width * shape.n_params if own_reference else 0.0,
        gradients=gradients,
        optimizer=0.0 if train.offload != "none" else optimizer,
        activations=float(tokens * (kept + inputs)),
        logits=float(tokens * shape.vocab * (2 * width + 3 * 4)),
        host=host,
    )


@dataclass(frozen=True, slots=True)
class SamplerMemory:
    """Bytes on each GPU of one vLLM engine."""

    weights: float
    kv_per_token: float
    """Keys and values of one token of one completion."""
    context: int
    """Tokens of the longest completion with its prompt."""

    def room(self, gpu_bytes: float, share: float) -> float:
        """How many completions of full length fit at a time, where vLLM takes ``share`` of the GPU (2 GiB of it for
        what a step computes)."""
        return (share * gpu_bytes - self.weights - 2 * GIB) / (self.kv_per_token * self.context)


def sampler_memory(shape: ModelShape, policy: PolicyConfig, context: int) -> SamplerMemory:
    """Of one engine, by its tensor-parallel size."""
    width = 4 if policy.dtype == "float32" else 2
    cut = policy.tensor_parallel_size
    return SamplerMemory(
        weights=width * shape.n_params / cut,
        kv_per_token=2 * shape.layers * shape.kv_heads * shape.head_dim * width / min(cut, shape.kv_heads),
        context=policy.max_model_len or context,
    )


def describe(config: RunConfig, shape: ModelShape, prompt_tokens: int = 1024) -> list[str]:
    """Lines for people: what a training worker and a sampler need."""
    lines = []
    if (train := config.train) is not None:
        memory = trainer_memory(shape, train, prompt_tokens)
        parts = ", ".join(
            f"{f.name} {getattr(memory, f.name) / GIB:.1f}" for f in fields(memory) if getattr(memory, f.name)
        )
        lines.append(
            f"each of {train.workers} training workers: {memory.gpu / GIB:.1f} GiB of GPU memory (GiB: {parts})"
        )
        context = prompt_tokens + train.most_tokens
        sampler = sampler_memory(shape, config.policies[config.trained], context)
        lines.append(
            f"each GPU of a sampler: {sampler.weights / GIB:.1f} GiB of weights, and "
            f"{sampler.kv_per_token * sampler.context / GIB:.2f} GiB for each completion of {sampler.context:,} tokens "
            "that is in flight"
        )
    return lines

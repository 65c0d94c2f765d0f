"""What a GPU has to hold: against models' known sizes, DeepSpeed's own estimator, and what autograd really keeps."""

from pathlib import Path

import pytest
import torch

from leash_ray.claims import claims
from leash_ray.cli import main
from leash_ray.config import RunConfig, load_config
from leash_ray.deploy import resolve_model
from leash_ray.errors import UsageError
from leash_ray.rlvr.memory_plan import GIB, describe, sampler_memory, shape_of, trainer_memory
from leash_ray.rlvr.sections import LoraConfig
from leash_ray.rlvr.settings import TrainConfig
from leash_ray.tasks import ReasoningGymSpec

CONFIGS = Path(__file__).parents[1] / "jobs" / "configs"
SHAPES = Path(__file__).parent / "data" / "shapes"
GPU_BYTES = 80e9
RECIPES = {"r1-distill-1.5b-prorl": ("r1-distill-1.5b", 8), "qwen2.5-7b-dapo": ("qwen2.5-7b", 16)}


def train_config(**settings: object) -> TrainConfig:
    plain = {"task": ReasoningGymSpec(dataset="countdown"), "bf16": True, "kl": {"track": False}, "max_tokens": 1024}
    return TrainConfig.model_validate({**plain, **settings})


def test_parameters_are_counted_as_published() -> None:
    assert shape_of(str(SHAPES / "r1-distill-1.5b")).n_params == 1_777_088_000
    assert shape_of(str(SHAPES / "qwen2.5-7b")).n_params == 7_615_616_512


def test_model_states_by_hand() -> None:
    # ZeRO's table (arXiv 1910.02054, figure 1): 7.5B parameters, 64 GPUs, 12 bytes of optimizer state a parameter.
    shape = shape_of(str(SHAPES / "qwen2.5-7b"))
    n = shape.n_params
    for stage, expected in ((0, 16 * n), (1, (4 + 12 / 64) * n), (2, (2 + 14 / 64) * n), (3, 16 / 64 * n)):
        m = trainer_memory(shape, train_config(zero_stage=stage, workers=64, prompts_per_step=64), 100)
        assert m.parameters + m.gradients + m.optimizer == pytest.approx(expected)


@pytest.mark.parametrize("offload", [False, True])
def test_model_states_are_what_deepspeed_s_own_estimator_says(offload: bool) -> None:
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    shape = shape_of(str(SHAPES / "r1-distill-1.5b"))
    settings = {"zero_stage": 2, "workers": 4, "offload": "optimizer" if offload else "none"}
    m = trainer_memory(shape, train_config(**settings), 100)
    _, theirs = estimate_zero2_model_states_mem_needs(shape.n_params, 4, 1, cpu_offload=offload)
    # Theirs leaves gradients out where optimizer states are offloaded; where they are not, it has them on top, in
    # float32 and without cutting them.
    assert m.parameters + m.optimizer == theirs if offload else theirs - 4 * shape.n_params < m.parameters + m.optimizer
    assert m.parameters + m.gradients + m.optimizer < theirs or offload
    assert m.host == (12 * shape.n_params / 4 if offload else 0)


def test_adapters_take_little() -> None:
    shape = shape_of(str(SHAPES / "qwen2.5-7b"))
    m = trainer_memory(shape, train_config(lora=LoraConfig(rank=16), kl={"coef": 0.1}), 100)
    n = 40_370_176  # of rank 16 on all linear layers of Qwen2.5-7B
    assert m.optimizer == 12 * n and m.gradients == 2 * n
    assert m.reference == 0  # the model with its adapters off


@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_about_what_autograd_keeps(checkpointing: bool) -> None:
    from transformers import AutoModelForCausalLM

    model = resolve_model("embedded:countdown")
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="sdpa")
    if checkpointing:
        network.gradient_checkpointing_enable()
        network.train()
    own = {p.data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = max(kept.get(tensor.data_ptr(), 0), tensor.untyped_storage().nbytes())
        return tensor

    ids_BT = torch.randint(0, 20, (32, 40))
    held = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (held.append(t), keep(t))[1], lambda t: t):
        logits_BTV = network(input_ids=ids_BT, use_cache=False).logits
        logits_BTV.log_softmax(-1).sum()
    settings = {"bf16": False, "gradient_checkpointing": checkpointing, "micro_tokens": 32 * 40, "max_tokens": 8}
    m = trainer_memory(shape_of(model), train_config(**settings), 8)
    if checkpointing:  # inputs of layers; the rest comes again in the backward pass, one layer at a time
        inputs = 32 * 40 * shape_of(model).hidden * 4 * shape_of(model).layers
        assert inputs <= sum(kept.values()) <= m.activations + m.logits
    else:
        assert 0.5 * m.activations < sum(kept.values()) < 1.3 * (m.activations + m.logits)


@pytest.mark.parametrize("name", RECIPES)
def test_gpu_recipes_fit(name: str) -> None:
    folder, n_gpus = RECIPES[name]
    config = load_config(CONFIGS / f"{name}.yaml")
    shape = shape_of(str(SHAPES / folder))
    assert config.train is not None
    assert trainer_memory(shape, config.train, 1024).gpu < 0.9 * GPU_BYTES
    for policy in config.policies.values():
        longest = max(config.train.most_tokens, config.sampling.max_tokens)
        assert policy.max_model_len is not None and policy.max_model_len >= longest + 1024
        assert sampler_memory(shape, policy, longest).room(GPU_BYTES, 0.9) > 32  # completions at a time
    for training, policies in ((True, [config.trained]), (False, [config.base, config.trained])):
        assert sum(c.gpus for c in claims(config, policies, "gpu", training)) <= n_gpus


def test_a_smaller_gpu_is_seen_to_be_too_small() -> None:
    config = load_config(CONFIGS / "qwen2.5-7b-dapo.yaml", {"train.workers": 2, "train.zero_stage": 0})
    assert config.train is not None
    assert trainer_memory(shape_of(str(SHAPES / "qwen2.5-7b")), config.train, 1024).gpu > GPU_BYTES


def test_a_line_for_each_kind_of_gpu() -> None:
    config = load_config(CONFIGS / "qwen2.5-7b-dapo.yaml")
    trainer, sampler = describe(config, shape_of(str(SHAPES / "qwen2.5-7b")))
    m = trainer_memory(shape_of(str(SHAPES / "qwen2.5-7b")), config.train, 1024)
    assert trainer.startswith(f"each of 8 training workers: {m.gpu / GIB:.1f} GiB")
    # 28 layers, 4 heads of keys and values of 128, bfloat16, two GPUs: 28 KiB a token.
    assert "7.1 GiB of weights, and 0.25 GiB for each completion of 9,216 tokens" in sampler


def test_a_dry_run_says_it_and_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    config = CONFIGS / "qwen2.5-7b-dapo.yaml"
    model = SHAPES / "qwen2.5-7b"
    with pytest.raises(SystemExit) as ended:
        main(["train", str(config), "--dry-run", "--set", f"policies.base.model={model}"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert "16 GPUs" in out and "8 x trainer 64 CPU 8 GPU" in out and "each of 8 training workers" in out


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="cannot read the config of model"):
        shape_of("/nowhere/at-all")


def test_the_config_is_one_of_those_committed() -> None:
    assert isinstance(load_config(CONFIGS / "gpu-smoke.yaml"), RunConfig)

"""Completions that the embedded model draws by transformers alone, and a run that holds them as sampling leaves one."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from leash_ray.config import parse_config
from leash_ray.deploy import resolve_model
from leash_ray.problems_file import write_problems
from leash_ray.run_dir import RunDir
from leash_ray.types import COMPLETIONS_SCHEMA, Problem

BASE = resolve_model("embedded:countdown")
MAX_TOKENS = 6
"""An expression of three digits and its end are just as long; with a two-digit number it is cut off."""
EOS = 1
N = 6
PROBLEMS = [
    Problem.make("countdown", f"{a} {b} {c}={target}:", "reasoning_gym:countdown", str(target))
    for a, b, c, target in [(2, 3, 9, 21), (4, 5, 6, 26), (10, 2, 7, 13)]
]


def other_model(folder: Path, noise: float = 0.05) -> str:
    """The embedded model with noise on its weights: another policy with the same tokenizer."""
    torch.manual_seed(5)
    network = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(noise * torch.randn_like(parameter))
    network.save_pretrained(folder)
    AutoTokenizer.from_pretrained(BASE).save_pretrained(folder)
    return str(folder)


@functools.lru_cache
def _network(model: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()


@torch.inference_mode()
def drawn(
    model: str, prompt: str, n: int, temperature: float, seed: int = 0, top_p: float = 1.0
) -> list[tuple[list[int], float]]:
    """(token ids, Σ ln p at that temperature, of what top_p leaves) of n completions; some end at the length limit."""
    network = _network(model)
    prompt_ids = AutoTokenizer.from_pretrained(BASE)(prompt)["input_ids"]
    generator = torch.Generator().manual_seed(seed)
    ids = torch.tensor([prompt_ids] * n)
    nats = torch.zeros(n, MAX_TOKENS, dtype=torch.float64)
    for step in range(MAX_TOKENS):
        logp = torch.log_softmax(network(input_ids=ids).logits[:, -1].double() / temperature, dim=-1)
        if top_p < 1:
            p, order = logp.exp().sort(dim=-1, descending=True)
            before = p.cumsum(dim=-1) - p  # of the more likely ones: while that is below top_p, a token is kept
            logp = torch.log_softmax(logp.masked_fill((before >= top_p).gather(-1, order.argsort()), -torch.inf), -1)
        token = torch.multinomial(logp.exp(), 1, generator=generator)
        nats[:, step] = logp.gather(-1, token)[:, 0]
        ids = torch.cat([ids, token], dim=1)
    found = []
    for row, own in zip(ids[:, len(prompt_ids) :].tolist(), nats, strict=True):
        end = row.index(EOS) + 1 if EOS in row else MAX_TOKENS
        found.append((row[:end], float(own[:end].sum())))
    return found


@torch.inference_mode()
def probabilities(model: str, prompt: str, ids: Sequence[int], temperature: float) -> np.ndarray:
    """[T, V] of each step of a completion, in float64."""
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64)
    asked = AutoTokenizer.from_pretrained(BASE)(prompt)["input_ids"]
    logits = network(input_ids=torch.tensor([[*asked, *ids]])).logits[0, len(asked) - 1 : -1]
    return torch.softmax(logits / temperature, dim=-1).numpy()


def kept_shares(p_TV: np.ndarray, top_p: float) -> np.ndarray:
    """[T]: what the fewest tokens that reach top_p have together."""
    descending = np.sort(p_TV, axis=-1)[:, ::-1]
    n_kept = 1 + (np.cumsum(descending, axis=-1) < top_p).sum(axis=-1)
    return np.array([row[:n].sum() for row, n in zip(descending, n_kept, strict=True)])


def table_of(policy: str, completions: Mapping[str, Sequence[tuple[list[int], float]]]) -> pa.Table:
    """Rows of the completions table. Verdicts are made up: CORRECT for the first of each problem."""
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    rows: list[dict[str, Any]] = [
        {
            "policy": policy,
            "task": "countdown",
            "problem_id": problem,
            "sample_index": i,
            "verdict": "CORRECT" if i == 0 else "INCORRECT",
            "answer": str(i),
            "n_tokens": len(ids),
            "logprob_sum": np.float32(nats),
            "text": tokenizer.decode(ids, skip_special_tokens=True),
            "token_ids": ids,
            "finish_reason": "stop" if ids[-1] == EOS else "length",
            "policy_version": 0,
        }
        for problem, own in completions.items()
        for i, (ids, nats) in enumerate(own)
    ]
    plain = pa.schema(
        [pa.field(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type) for f in COMPLETIONS_SCHEMA]
    )
    columns = pa.Table.from_pylist(rows, schema=plain)
    arrays = [
        column.combine_chunks().dictionary_encode().cast(f.type) if pa.types.is_dictionary(f.type) else column
        for column, f in zip(columns.columns, COMPLETIONS_SCHEMA, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=COMPLETIONS_SCHEMA)


def make_run(path: Path, models: Mapping[str, str], **sampling: float) -> RunDir:
    """A run whose completions are one shard for each policy and problem."""
    config = parse_config(
        {
            "task": {"kind": "jsonl", "path": "unused.jsonl"},
            "device": "cpu",
            "policies": {name: {"model": model, "dtype": "float32"} for name, model in models.items()},
            "sampling": {"n": N, "max_tokens": MAX_TOKENS, "temperature": 1.0, **sampling},
            "monitor": {"wandb": "off"},
        },
        "made",
    )
    run = RunDir.create(path, config.model_dump(mode="json"), 0)
    write_problems(run.problems_parquet, PROBLEMS)
    for policy, model in models.items():
        for i, problem in enumerate(PROBLEMS):
            own = drawn(model, problem.prompt, N, config.sampling.temperature, seed=10 * i + len(policy))
            shard = run.completions / policy / f"p{i}.parquet"
            shard.parent.mkdir(exist_ok=True)
            pq.write_table(table_of(policy, {problem.id: own}), shard)
    run.mark_done("sample", {})
    return run

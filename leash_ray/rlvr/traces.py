"""Solutions to learn from: a file of them, another policy's completions, or each problem's own.

Assumption: a solution's text continues the prompt exactly as the policy is asked it, and ends where it ends: a
completion that was cut off at its length limit is none, for the end-of-sequence token would be learnt in mid-sentence.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leash_ray.errors import UsageError
from leash_ray.files import parquet_files
from leash_ray.rlvr.settings import TrainConfig
from leash_ray.tasks.solutions import own_solutions
from leash_ray.types import CompletionBatch, Problem, Verdict

Traces = Mapping[str, Sequence[str]]
"""Problem id -> its distinct solutions, in the order of their source."""

_COLUMNS = ("problem_id", "prompt", "text", "verdict", "finish_reason", "policy")


def traces_for(config: TrainConfig, problems: Sequence[Problem]) -> Traces:
    """What the objective learns from beside its own completions; nothing where it needs none.

    Args:
        problems: as the trained policy is asked them.

    Raises:
        UsageError: the file cannot be read, or no problem has a solution.
    """
    if config.objective == "sft":
        where, path, policy = "train.supervised", config.supervised.traces, config.supervised.policy
    elif config.seeding and (config.seeding.per_group or config.seeding.prefix_share):
        where, path, policy = "train.seeding", config.seeding.traces, config.seeding.policy
    else:
        return {}
    if path is None:
        own = own_solutions(config.task, problems)
        if not own:
            raise UsageError(
                f"no training problem has a solution of its own: give {where}.traces, or, where the rows have a column "
                "solution, train.task.metadata: [solution]"
            )
        return {i: (text,) for i, text in own.items()}
    found = read_traces(Path(path), problems, policy)
    if not found:
        of = f" of policy {policy!r}" if policy else ""
        raise UsageError(
            f"{where}.traces: {path} has no solution{of} of any of the {len(problems)} training problems; its rows are "
            "found by problem_id, or by prompt exactly as the policy is asked it"
        )
    return found


def read_traces(path: Path, problems: Sequence[Problem], policy: str | None = None) -> dict[str, tuple[str, ...]]:
    """The solutions of ``problems`` in a JSONL or Parquet file, or a folder of Parquet files.

    Columns: ``text``, and ``problem_id`` or ``prompt``. Rows of completions tables count where their ``verdict`` is
    CORRECT, and where they were not cut off.

    Args:
        policy: only its rows, where the table has several policies.

    Raises:
        UsageError: no such file, or it lacks a column.
    """
    by_prompt = {p.prompt: p.id for p in problems}
    ids = {p.id for p in problems}
    found: dict[str, dict[str, None]] = {}
    for row in _rows(path):
        problem_id = row.get("problem_id") or by_prompt.get(row.get("prompt") or "")
        if problem_id not in ids or not row.get("text"):
            continue
        if policy is not None and row.get("policy") != policy:
            continue
        if row.get("verdict") not in (None, Verdict.CORRECT.value) or row.get("finish_reason") == "length":
            continue
        found.setdefault(problem_id, {})[row["text"]] = None
    return {p.id: tuple(found[p.id]) for p in problems if p.id in found}


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.is_dir() or path.suffix in (".parquet", ".pq"):
        return _parquet_rows(path)
    return _jsonl_rows(path)


def _jsonl_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    from leash_ray.tasks.sources import rows_of
    from leash_ray.tasks.spec import JsonlSpec

    for row in rows_of(JsonlSpec(path=str(path))):
        _require(row.columns, row.where)
        yield row.columns


def _parquet_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = parquet_files(path) if path.is_dir() else [path]
    if not files or not all(f.is_file() for f in files):
        raise UsageError(f"no Parquet file {path}: give a file of solutions, or the folder of a completions table")
    for file in files:
        try:
            with pq.ParquetFile(file) as reader:
                names = [name for name in _COLUMNS if name in reader.schema_arrow.names]
                _require(names, str(file))
                for block in reader.iter_batches(columns=names):
                    yield from block.to_pylist()
        except (OSError, pa.ArrowInvalid) as e:
            raise UsageError(f"cannot read {file} as Parquet ({e}): is it whole?") from e


def _require(columns: Sequence[str] | Mapping[str, Any], where: str) -> None:
    if "text" not in columns or not ("problem_id" in columns or "prompt" in columns):
        raise UsageError(
            f"{where}: a solution has the columns text, and problem_id or prompt; found {', '.join(sorted(columns))}"
        )


def solution_ids(tokenizer: Any, prompt: str, text: str) -> tuple[list[int], list[int]]:
    """(prompt_ids, ids of the text as the policy would have written it, end-of-sequence included).

    Tokenised together, so that a tokenizer which marks the beginning of a text does not mark it twice; where a token
    would reach over the border, which no sampler could have written, each on its own.
    """
    prompt_ids: list[int] = tokenizer(prompt)["input_ids"]
    whole: list[int] = tokenizer(prompt + text)["input_ids"]
    if whole[: len(prompt_ids)] == prompt_ids:
        ids = whole[len(prompt_ids) :]
    else:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.eos_token_id is not None, "the tokenizer has no end-of-sequence token"
    return prompt_ids, [*ids, tokenizer.eos_token_id]


def completion_of(
    prompt_ids: Sequence[int], token_ids: Sequence[int], text: str, logprobs: Sequence[float] | None = None
) -> CompletionBatch:
    """One written completion as a batch of one.

    Args:
        logprobs: of each token, under the policy that sampled it; None: not known, and 0.
    """
    n = len(token_ids)
    return CompletionBatch(
        prompt_ids=np.array(prompt_ids, np.int32),
        token_ids_T=np.array(token_ids, np.int32),
        logprobs_T=np.zeros(n, np.float32) if logprobs is None else np.array(logprobs, np.float32),
        offsets=np.array([0, n], np.int64),
        texts=[text],
        finish_reasons=["stop"],
        version=0,
    )

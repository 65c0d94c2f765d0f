"""Completions tables of any size for ``benchmarks/reduce.py``: two policies, Zipf-like answers, all samples once.

Answers are numbers of up to seven digits, other ones for every problem: the r-th most frequent of a problem's A answers
comes with a chance proportional to 1/r. One or two answers of a problem are correct. 3% of the completions have no
answer, 2% are cut off, one in a thousand is an ERROR.

Layouts: ``shards``: a problem's samples follow each other, as samplers write them; ``shuffled``: every file holds rows
of all problems in no order.
"""

import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FILE_ROWS = 1_000_000
POLICIES = ("base", "trained")
_LABEL = pa.dictionary(pa.int32(), pa.string())


@dataclass(frozen=True, slots=True)
class Table:
    """What a folder of files holds."""

    rows: int
    problems: int
    answers: int
    """Distinct answers a problem."""
    layout: str = "shards"

    @property
    def name(self) -> str:
        return f"{self.rows}-{self.problems}-{self.answers}-{self.layout}"


def folder_of(table: Table, cache: Path) -> Path:
    """The table's folder; written unless it is there."""
    folder = cache / table.name
    if not folder.is_dir():
        half = cache / f"_{table.name}"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            files = range(-(-table.rows // FILE_ROWS))
            list(pool.map(_write, [table] * len(files), [half] * len(files), files))
        half.rename(folder)
    return folder


def _write(table: Table, folder: Path, number: int) -> None:
    rng = np.random.default_rng([table.rows, table.problems, table.answers, number])
    row = np.arange(number * FILE_ROWS, min((number + 1) * FILE_ROWS, table.rows), dtype=np.int64)
    if table.layout == "shuffled":  # a prime that divides no size used here
        row = row * 982_451_653 % table.rows
    n_groups = len(POLICIES) * table.problems
    group, sample = np.divmod(row, -(-table.rows // n_groups))
    problem, policy = np.divmod(group, len(POLICIES))

    chance = 1 / np.arange(1, table.answers + 1)
    rank = np.searchsorted(np.cumsum(chance / chance.sum()), rng.random(len(row)))
    correct = (rank == problem % min(20, table.answers)) | (rank == 17 % table.answers)
    verdict = np.where(correct, 0, 1)
    chosen = rng.random(len(row))
    verdict[chosen < 0.051] = 2  # NO_ANSWER
    verdict[chosen < 0.021] = 3  # TRUNCATED
    verdict[chosen < 0.001] = 4  # ERROR
    number_of = (problem * 7919 + rank * 104_729) % 9_999_991
    n_tokens = rng.integers(20, 400, len(row)).astype(np.int32)

    def label(codes: np.ndarray, names: list[str]) -> pa.DictionaryArray:
        used, inverse = np.unique(codes, return_inverse=True)
        chosen = pa.array([names[i] for i in used], pa.string())
        return pa.DictionaryArray.from_arrays(pa.array(inverse, pa.int32()), chosen)

    ids = [f"{i:016x}" for i in range(table.problems)]
    columns = {
        "policy": label(policy, list(POLICIES)),
        "task": label(problem % 3, ["algebra", "counting", "geometry"]),
        "problem_id": label(problem, ids),
        "sample_index": pa.array(sample, pa.int32()),
        "verdict": label(verdict, ["CORRECT", "INCORRECT", "NO_ANSWER", "TRUNCATED", "ERROR"]),
        "answer": pa.array(number_of, mask=verdict > 1).cast(pa.string()),
        "n_tokens": pa.array(n_tokens),
        "logprob_sum": pa.array((-0.4 * n_tokens * rng.gamma(10, 0.1, len(row))).astype(np.float32)),
    }
    pq.write_table(pa.table(columns), folder / f"part-{number:04d}.parquet", compression="zstd")

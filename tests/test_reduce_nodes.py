"""Two nodes, a killed worker, a killed node: the same result, by the exchange of states. So it is where tasks cut their
rows, too: the files of many problems have two rows of each, and states larger than those."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

N_FILES = 16


@pytest.mark.slow
@pytest.mark.parametrize(("n_problems", "n_samples", "most_exchanged"), [(200, 3000, 0.01), (150_000, 2, 1.5)])
def test_two_nodes_give_the_same_result_whatever_is_killed(
    n_problems: int, n_samples: int, most_exchanged: float, tmp_path: Path
) -> None:
    """Samples are of each file, which is large enough to be read by itself."""
    folder = tmp_path / "completions"
    folder.mkdir()
    rng = np.random.default_rng(0)
    ids = pa.array([f"problem {i}" for i in range(n_problems)])
    for i in range(N_FILES):
        problem, sample = np.divmod(np.arange(n_problems * n_samples), n_samples)
        n = len(problem)
        columns = {
            "policy": pa.DictionaryArray.from_arrays(np.full(n, i % 2, np.int32), pa.array(["base", "trained"])),
            "problem_id": pa.DictionaryArray.from_arrays(problem.astype(np.int32), ids),
            "sample_index": pa.array(sample + i // 2 * n_samples),
            "verdict": pa.DictionaryArray.from_arrays(
                (rng.random(n) > 0.2).astype(np.int32), pa.array(["CORRECT", "INCORRECT"])
            ),
            "answer": pa.array(rng.zipf(1.5, n).clip(max=99)).cast(pa.string()),
            "n_tokens": pa.array(rng.integers(1, 400, n)),
            "logprob_sum": pa.array(rng.normal(-50, 9, n)),
        }
        pq.write_table(pa.table(columns), folder / f"{i}.parquet")
    script = Path(__file__).parent / "two_nodes_reduce.py"
    ran = subprocess.run(
        [sys.executable, str(script), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"},
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["differences"] == found["differences_after_a_worker_was_killed"] == []
    assert found["differences_after_a_node_was_killed"] == []
    assert (found["workers_killed"], found["nodes_left"]) == ([1], 1)
    assert 0 < found["exchanged_bytes"] < most_exchanged * found["rows_bytes"]

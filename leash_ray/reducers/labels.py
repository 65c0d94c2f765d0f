"""The policy and task of each row of a block: groups that have far fewer members than there are problems.

What is kept of such a group names one of its pairs, too. It says nothing but into which part the group's state falls
when states are cut by problem; every part may then have a state of the group, and they merge as all do.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leash_ray.reducers.block import Block, Ints
from leash_ray.reducers.reducer import ints

FIELDS = (pa.field("pair", pa.int32()), pa.field("policy", pa.int32()), pa.field("task", pa.int32()))
"""What a group is known by, in a state; task -1: none is named."""


class Labels(NamedTuple):
    """The groups of a block's rows."""

    row: NDArray[np.int32]
    """Group of each row, [rows]."""
    policy: NDArray[np.int32]
    """Of each group, [groups]; numbers of words."""
    task: NDArray[np.int32]
    pair: NDArray[np.int32]
    """One of its pairs."""


def labels_of(block: Block) -> Labels:
    """The groups of a block that has rows."""
    n_tasks = len(block.words["task"]) + 1
    policy_of, task_of = _first_numbers(block.words["policy"]), _first_numbers(block.words["task"])
    # A word may have several numbers in a block; its rows are one group.
    pair_policy = policy_of[ints(block.pairs, "policy")]
    cells = block.cells
    task = np.append(task_of, np.int32(-1))[cells.task]
    key = pair_policy[cells.pair].astype(np.int64) * n_tasks + task + 1
    present, place = np.unique(key, return_inverse=True)
    pair = np.full(len(present), block.n_pairs, dtype=np.int32)
    np.minimum.at(pair, place, cells.pair)
    policy, with_task = np.divmod(present, n_tasks)
    group_of = np.zeros(len(block.words["policy"]) * n_tasks, dtype=np.int32)
    group_of[present] = np.arange(len(present), dtype=np.int32)
    if len(present) == 1:
        row = np.zeros(block.table.num_rows, dtype=np.int32)
    else:
        row = group_of[_row_codes(block, "policy") * n_tasks + _row_codes(block, "task") + 1]
    return Labels(row, policy.astype(np.int32), (with_task - 1).astype(np.int32), pair)


def _row_codes(block: Block, name: str) -> Ints:
    """Number of each row's word, [rows]; -1: none."""
    if name not in block.texts:
        return np.full(block.table.num_rows, -1, dtype=np.int64)
    codes, words = block.texts[name]
    number_of = {word: i for i, word in reversed(list(enumerate(block.words[name].to_pylist())))}
    numbers = [number_of.get(word, -1) for word in words.to_pylist()]
    return np.array([*numbers, -1], dtype=np.int64)[codes]


def _first_numbers(words: pa.Array) -> NDArray[np.int32]:
    """The first number of each word, [words]."""
    texts = words.to_pylist()
    first: dict[str, int] = {}
    for i, text in enumerate(texts):
        first.setdefault(text, i)
    return np.array([first[text] for text in texts], dtype=np.int32)

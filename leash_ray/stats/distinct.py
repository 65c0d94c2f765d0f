"""Rows of integers, each distinct one once: most problems and answers share their counts with many others.

What an estimator costs then depends on the distinct counts, not on the problems. Degenerate case: no rows, no distinct
ones.
"""

import numpy as np
from numpy.typing import NDArray


def distinct(*columns: NDArray[np.int64]) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Distinct rows of columns of integers >= 0, each [rows], and which of them each row is.

    Returns:
        The columns of the distinct rows, each [distinct], and numbers of them, [rows]: ``out[j][back] == columns[j]``.
    """
    # One integer key a column more: at most rows x (largest value + 1), far below 2**63.
    first, back = np.unique(columns[0], return_index=True, return_inverse=True)[1:]
    for column in columns[1:]:
        width = int(column.max(initial=0)) + 1
        first, back = np.unique(back * width + column, return_index=True, return_inverse=True)[1:]
    return [column[first] for column in columns], back

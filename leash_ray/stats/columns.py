"""Columns of completions as plain numbers, however their writer chose to store them.

Assumption: only the values matter. string, large_string and dictionaries of them (with different dictionaries in every
chunk) are the same, and so are int32 and int64; ids that are integers are read as their decimal text.

Degenerate cases: an all-null column is as good as a missing one. What cannot be read is a UsageError that names the
column.
"""

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from leash_ray.errors import UsageError


def codes(table: pa.Table, name: str) -> tuple[NDArray[np.int64], pl.Series]:
    """A column as int64 codes, [rows] (null: -1), and the distinct strings that they number."""
    column = table.column(name)
    try:
        if pa.types.is_dictionary(column.type):
            return _dictionary_codes(column)
        values = column.cast(pa.large_string()).combine_chunks().dictionary_encode()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as e:
        raise UsageError(f"column {name} has type {column.type}; write it as strings ({e})") from e
    return _indices(values), _strings(values.dictionary)


def _dictionary_codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], pl.Series]:
    # Every chunk has its own dictionary, in which values may repeat or be null (which Arrow's unify_dictionaries
    # refuses): number the distinct values of all dictionaries one after another, then look each index up there.
    parts = [chunk.dictionary.cast(pa.large_string()) for chunk in column.chunks]
    values = pa.chunked_array(parts, pa.large_string()).combine_chunks().dictionary_encode()
    number_of = _indices(values)
    offset, looked_up = 0, [np.zeros(0, dtype=np.int64)]
    for chunk, part in zip(column.chunks, parts, strict=True):
        here = np.append(number_of[offset : offset + len(part)], -1)  # index -1 finds the appended -1
        looked_up.append(here[_indices(chunk)])
        offset += len(part)
    return np.concatenate(looked_up), _strings(values.dictionary)


def _indices(array: pa.DictionaryArray) -> NDArray[np.int64]:
    indices = array.indices.cast(pa.int64())  # unsigned ones have no -1
    return np.asarray((indices.fill_null(-1) if indices.null_count else indices).to_numpy())


def _strings(array: pa.Array) -> pl.Series:
    return pl.Series(pl.from_arrow(array), dtype=pl.String)


def codes_without_null(table: pa.Table, name: str) -> tuple[NDArray[np.int64], pl.Series]:
    """The same for a column that may not have nulls."""
    numbers, names = codes(table, name)
    if np.any(numbers < 0):
        raise UsageError(
            f"column {name} is missing or null in {int(np.sum(numbers < 0))} rows: every completion needs one"
        )
    return numbers, names


def numbers(table: pa.Table, name: str, kind: pa.DataType) -> pl.Series:
    """A numeric column as int64 or float64, [rows]; nulls if it is missing."""
    column = table.column(name) if name in table.schema.names else pa.chunked_array([pa.nulls(table.num_rows)])
    try:
        return pl.Series(name, pl.from_arrow(column.cast(kind)))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as e:
        raise UsageError(f"column {name} has type {column.type} and cannot be read as {kind}: {e}") from e

"""Columns of completions as plain numbers, however their writer chose to store them.

Assumption: only the values matter. string, large_string and dictionaries of them (with different dictionaries in every
chunk) are the same, and so are int32 and int64; ids that are integers are read as their decimal text.

Degenerate cases: an all-null column is as good as a missing one. What cannot be read is a UsageError that names the
column.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leash_ray.errors import UsageError
from leash_ray.reducers.arrays import arrow, numpy


class Coded(NamedTuple):
    """A column of texts as numbers."""

    codes: NDArray[np.int32]
    """[rows]; -1: null."""
    words: pa.Array
    """What the codes number: large_string without nulls. Words may repeat, or not be used."""


def coded(table: pa.Table, name: str) -> Coded:
    """A column as codes; dictionaries are used as they are where they can be."""
    column = table.column(name)
    try:
        if not pa.types.is_dictionary(column.type):
            values = column.cast(pa.large_string()).combine_chunks().dictionary_encode()
            return Coded(_indices(values), values.dictionary)
        if column.num_chunks == 1 and not column.chunk(0).dictionary.null_count:
            return Coded(_indices(column.chunk(0)), column.chunk(0).dictionary.cast(pa.large_string()))
        return _of_chunks(column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as e:
        raise UsageError(f"column {name} has type {column.type}; write it as strings ({e})") from e


def _of_chunks(column: pa.ChunkedArray) -> Coded:
    # Every chunk has its own dictionary, in which values may repeat or be null (which Arrow's unify_dictionaries
    # refuses): number the distinct values of all dictionaries, then look each index up there.
    words, numbers = united([chunk.dictionary.cast(pa.large_string()) for chunk in column.chunks])
    looked_up = [np.zeros(0, dtype=np.int32)]
    for chunk, number_of in zip(column.chunks, numbers, strict=True):
        looked_up.append(np.append(number_of, np.int32(-1))[_indices(chunk)])  # index -1 finds the appended -1
    return Coded(np.concatenate(looked_up), words)


def united(parts: list[pa.Array]) -> tuple[pa.Array, list[NDArray[np.int32]]]:
    """The distinct words of several lists, and for each list which of them its words are (null: -1)."""
    values = pa.chunked_array(parts, pa.large_string()).combine_chunks().dictionary_encode()
    stops = np.cumsum([len(part) for part in parts])
    return values.dictionary, np.split(_indices(values), stops[:-1]) if parts else []


def _indices(array: pa.DictionaryArray) -> NDArray[np.int32]:
    indices = numpy(array.indices).astype(np.int32, copy=False)
    return np.where(numpy(array.indices.is_valid()), indices, np.int32(-1)) if array.indices.null_count else indices


def coded_without_null(table: pa.Table, name: str) -> Coded:
    """The same for a column that may not have nulls."""
    found = coded(table, name)
    if len(found.codes) and found.codes.min() < 0:
        raise UsageError(
            f"column {name} is missing or null in {int(np.sum(found.codes < 0))} rows: every completion needs one"
        )
    return found


def used(codes: NDArray[np.int32], words: pa.Array) -> Coded:
    """The same without the words that no code names."""
    named = np.zeros(len(words), dtype=bool)
    named[codes[codes >= 0] if len(codes) and codes.min() < 0 else codes] = True
    if named.all():
        return Coded(codes, words)
    number_of = np.append(np.cumsum(named, dtype=np.int32) - 1, np.int32(-1)).astype(np.int32)
    return Coded(number_of[codes], words.take(arrow(np.flatnonzero(named))))


def numbers(table: pa.Table, name: str, kind: pa.DataType) -> pa.Array | None:
    """A numeric column as int64 or float64; None if it is missing or has only nulls."""
    if name not in table.schema.names or table.column(name).null_count == table.num_rows:
        return None
    column = table.column(name)
    try:
        return column.cast(kind).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as e:
        raise UsageError(f"column {name} has type {column.type} and cannot be read as {kind}: {e}") from e

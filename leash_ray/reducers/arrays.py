"""NumPy arrays as Arrow's, without a copy, and without the import of pandas that ``pyarrow.array`` makes for them."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def arrow(values: NDArray, missing: NDArray[np.bool_] | None = None) -> pa.Array:
    """Numbers or truth values, [N], of the type that they have; null where ``missing``."""
    flat = np.ascontiguousarray(values)
    valid = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    if flat.dtype == np.bool_:
        return pa.Array.from_buffers(pa.bool_(), len(flat), [valid, pa.py_buffer(np.packbits(flat, bitorder="little"))])
    return pa.Array.from_buffers(pa.from_numpy_dtype(flat.dtype), len(flat), [valid, pa.py_buffer(flat)])


def arrow_table(columns: Mapping[str, NDArray], schema: pa.Schema | None = None) -> pa.Table:
    """Columns as a table; they have the types of ``schema``."""
    arrays = {name: arrow(values) for name, values in columns.items()}
    return (
        pa.table(arrays) if schema is None else pa.Table.from_arrays([arrays[n] for n in schema.names], schema=schema)
    )


def numpy(array: pa.Array | pa.ChunkedArray) -> NDArray:
    """Numbers or truth values as a NumPy array, [N], that is not to be written to; anything where they are null."""
    if isinstance(array, pa.ChunkedArray):
        if array.num_chunks != 1:
            parts = [numpy(chunk) for chunk in array.chunks]
            return np.concatenate(parts) if parts else numpy(pa.array([], array.type))
        array = array.chunk(0)
    values = array.buffers()[1]
    if values is None or not len(array):
        return np.zeros(0, dtype=array.type.to_pandas_dtype())
    if pa.types.is_boolean(array.type):
        bits = np.unpackbits(np.frombuffer(values, dtype=np.uint8), bitorder="little")
        return bits[array.offset : array.offset + len(array)].astype(np.bool_)
    of_all = np.frombuffer(values, dtype=array.type.to_pandas_dtype())
    return of_all[array.offset : array.offset + len(array)]

"""Changing a shard where it hurts: one value of a column, found by its real place in the file."""

from __future__ import annotations

from pathlib import Path

import curate_kernels
import numpy as np
import pyarrow as pa


def buffer_of(batch: pa.RecordBatch, column: str) -> pa.Buffer:
    """The values of a column of a shard's record batch, under its list if it is one."""
    array = batch[column]
    return (array.values if hasattr(array, "values") else array).buffers()[1]


def place(path: Path, column: str, index: int = 0, batch: int = 0) -> tuple[int, np.dtype]:
    """File offset and type of entry `index` of a column's values in a record batch."""
    with pa.memory_map(str(path)) as source:
        base = source.read_buffer(8).address
        source.seek(0)
        found = pa.ipc.open_file(source).get_batch(batch)
        array = found[column]
        kind = (array.values if hasattr(array, "values") else array).type
        dtype = np.dtype("V16") if pa.types.is_fixed_size_binary(kind) else np.dtype(kind.to_pandas_dtype())
        return buffer_of(found, column).address - base + index * dtype.itemsize, dtype


def write_value(path: Path, column: str, value: int, index: int = 0, batch: int = 0) -> int:
    """Put another value into a column; returns the one that was there."""
    at, dtype = place(path, column, index, batch)
    data = bytearray(path.read_bytes())
    old = int(np.frombuffer(data, dtype, 1, at)[0])
    data[at : at + dtype.itemsize] = np.array([value], dtype).tobytes()
    path.write_bytes(data)
    return old


def flip_bit(path: Path, at: int, bit: int = 0) -> None:
    """Flip one bit of a file; `at` may count from its end."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def tail_of_body(path: Path, batch: int = 0) -> int:
    """Offset of the last byte of a record batch's body."""
    data = path.read_bytes()
    (length,) = np.frombuffer(data, "<i4", 1, len(data) - 10)
    footer = data[len(data) - 10 - int(length) : len(data) - 10]
    offset, message, body = curate_kernels.footer_blocks(footer)[batch]
    return offset + message + body - 1

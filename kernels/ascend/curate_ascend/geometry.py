"""Where the planes of a shard lie in its file, and where the same tokens would lie in two naive files.

`read_geometry` maps a shard, reads its footer and its lists of lengths, and takes the file offset of each
plane from the address that Arrow's reader gives it; no token is read. About 1 ms per 64 MiB record batch.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

VERSION = "2"
LAYOUTS = ("contiguous", "zigzag", "zigzag_documents")


@dataclass(frozen=True)
class Geometry:
    """Offsets and lengths of one file of packed sequences; documents of row r are [bounds[r], bounds[r +
    1])."""

    name: str
    stage: str
    sequence_length: int
    layout: str  # contiguous, zigzag or zigzag_documents
    context_parallel: int  # ranks that a zig-zag layout is made for
    token_offsets: NDArray[np.int64]  # [rows], file offset of each sequence's tokens, in bytes
    batch_rows: tuple[int, ...]  # rows of each record batch
    bounds: NDArray[np.int64]  # [rows + 1]
    lengths: NDArray[np.int64]  # [documents], true lengths in tokens
    slots: NDArray[np.int64]  # [documents], padded lengths

    @property
    def rows(self) -> int:
        return len(self.token_offsets)

    def row_sums(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sum over each row's documents; every row has at least one."""
        return np.add.reduceat(values, self.bounds[:-1])


def read_geometry(path: str | Path) -> Geometry:
    """The geometry of a shard of format version 2.

    Raises ValueError, with the path, for a file that cannot be read as one, or that holds no sequence.
    """
    try:
        mapped = pa.memory_map(str(path)).read_buffer()
        reader = pa.ipc.open_file(mapped)
        text = {key.decode(): value.decode() for key, value in (reader.schema.metadata or {}).items()}
        version = text.get("curate.version")
        if version != VERSION:
            raise ValueError(f"it has format version {version!r}, not {VERSION!r}")
        length = int(text["curate.sequence_length"])
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        parts = [_batch(batch, length, mapped) for batch in batches]
        header = (text["curate.stage"], length, text["curate.layout"], int(text["curate.context_parallel"]))
    except KeyError as error:
        raise ValueError(f"{path}: no {error.args[0]!r} in it: not a shard of this project") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not parts or not sum(len(offsets) for offsets, *_ in parts):
        raise ValueError(f"{path}: it holds no sequence")
    if header[2] not in LAYOUTS:
        raise ValueError(f"{path}: its layout {header[2]!r} is not one of {', '.join(LAYOUTS)}")
    counts = np.concatenate([counts for _, counts, *_ in parts])
    geometry = Geometry(
        str(path),
        *header,
        token_offsets=np.concatenate([offsets for offsets, *_ in parts]),
        batch_rows=tuple(len(offsets) for offsets, *_ in parts),
        bounds=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        lengths=np.concatenate([lengths for *_, lengths, _ in parts]).astype(np.int64),
        slots=np.concatenate([slots for *_, slots in parts]).astype(np.int64),
    )
    broken = (geometry.lengths < 1) | (geometry.slots < geometry.lengths)
    if broken.any() or (geometry.row_sums(geometry.slots) > length).any():
        raise ValueError(f"{path}: its documents do not fit in their slots, or these in {length} tokens")
    return geometry


def _batch(batch: Any, length: int, mapped: Any) -> tuple[Any, Any, Any, Any]:
    """Token offsets, documents per row, lengths and slots of a record batch."""
    tokens, lengths, slots = (batch[name] for name in ("tokens", "document_lengths", "padded_lengths"))
    if length < 1 or tokens.type != pa.list_(pa.int32(), length):
        raise ValueError(f"its tokens are {tokens.type}, not int32 of length {length}")
    if lengths.type != pa.list_(pa.int32()) or slots.type != lengths.type:
        raise ValueError("its document_lengths or padded_lengths are no lists of int32")
    batch.validate(full=True)
    counts = np.diff(lengths.offsets.to_numpy())
    if not lengths.offsets.equals(slots.offsets) or (counts < 1).any():
        raise ValueError("a sequence has no document, or not as many slots as documents")
    plane = tokens.values.buffers()[1]
    begin = plane.address - mapped.address
    if not 0 <= begin <= mapped.size - 4 * length * len(batch):
        raise ValueError("a token plane does not lie in the file")
    offsets = begin + 4 * length * np.arange(len(batch), dtype=np.int64)
    return offsets, counts, lengths.flatten().to_numpy(), slots.flatten().to_numpy()


def back_to_back(geometry: Geometry) -> NDArray[np.int64]:
    """Byte offsets of the documents in a Megatron `.bin` of int32: one after the other, nothing between."""
    return 4 * (np.cumsum(geometry.lengths) - geometry.lengths)


def list_offsets(geometry: Geometry) -> NDArray[np.int64]:
    """Byte offsets of the rows in the Arrow file that pyarrow makes of `list<int32>` rows without padding.

    pyarrow writes that file here, zeros for tokens, record batches as in the shard; nothing of it is kept.
    """
    tokens = geometry.row_sums(geometry.lengths)
    sink = _Offsets()
    schema = pa.schema([pa.field("input_ids", pa.list_(pa.int32()))])
    begins: list[NDArray[np.int64]] = []
    with pa.ipc.new_file(pa.PythonFile(sink, mode="w"), schema) as writer:
        first = 0
        for rows in geometry.batch_rows:
            ends = np.concatenate([[0], np.cumsum(tokens[first : first + rows])])
            values = pa.array(np.zeros(int(ends[-1]), np.int32))
            lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values)
            sink.wanted = int(values.buffers()[1].size)
            writer.write_batch(pa.record_batch([lists], schema=schema))
            begins.append(sink.found + 4 * ends[:-1])
            first += rows
    return np.concatenate(begins)


class _Offsets(io.RawIOBase):
    """A file that keeps nothing but where the last block of the wanted size began."""

    def __init__(self) -> None:
        self.position = 0
        self.wanted = -1
        self.found = -1

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        size = len(memoryview(data).cast("B"))
        if size == self.wanted:
            self.found = self.position
        self.position += size
        return size

    def tell(self) -> int:
        return self.position

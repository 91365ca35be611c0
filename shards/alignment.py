"""Token planes at page-aligned file offsets, inside the plain Arrow IPC file format.

Arrow aligns a record batch's body to 8 bytes of the file. The body begins with the token plane (the first
column), right after the batch's metadata message, so a filler in that message's custom metadata, which every
reader skips, moves the plane to the next page. Cost: under 4 KiB per record batch of up to 64 MiB.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

PLANE_ALIGNMENT = 4096
FILLER = "filler"


@dataclass(frozen=True)
class PlaneAlignment:
    """Sizes, in bytes, of what Arrow writes ahead of the planes of one schema."""

    preamble: int  # magic and schema message: where the first batch's message begins
    message: int  # a batch's metadata message with an empty filler

    @classmethod
    def of(cls, schema: pa.Schema) -> PlaneAlignment:
        """Measured on a file of two batches of one row: true for the Arrow that does the writing."""
        first, gap = _offsets(schema, 0)
        if _offsets(schema, 1024) != (first + 1024, gap + 1024):
            raise ValueError("this version of Arrow does not lay batch metadata out as expected")
        return cls(preamble=first - gap, message=gap)

    def metadata(self, position: int) -> dict[str, str]:
        """Custom metadata for the batch whose message begins at `position` (0: nothing is written yet)."""
        body = (position or self.preamble) + self.message
        return {FILLER: " " * (-body % PLANE_ALIGNMENT)}


def _offsets(schema: pa.Schema, filler: int) -> tuple[int, int]:
    """File offset of the first batch's body, and size of the second batch's message."""
    sink = pa.BufferOutputStream()
    ends = []
    with pa.ipc.new_file(sink, schema) as writer:
        for _ in range(2):
            batch = pa.RecordBatch.from_arrays([_one_value(f.type) for f in schema], schema=schema)
            writer.write_batch(batch, custom_metadata={FILLER: " " * filler})
            ends.append(sink.tell())
    buffer = sink.getvalue()
    reader = pa.ipc.open_file(buffer)
    bodies = [reader.get_batch(i).column(0).values.buffers()[1].address - buffer.address for i in range(2)]
    return bodies[0], bodies[1] - ends[0]


def _one_value(kind: pa.DataType) -> pa.Array:
    """One value of a shard column's type."""
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(
            pa.repeat(pa.scalar(0, kind.value_type), kind.list_size), type=kind
        )
    value: object = [] if pa.types.is_list(kind) else 0
    return pa.array([value], kind)

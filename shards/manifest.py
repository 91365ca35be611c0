"""The rows that say what lies in which shard: one file of each kind per unit, under `<run>/manifest/`."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

#: One row per shard file. `path` is relative to the run directory; `tokens` is without padding.
SHARDS = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("sequence_length", pa.int64(), nullable=False),
        pa.field("sequences", pa.int64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("padding", pa.int64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("checksum", pa.string(), nullable=False),  # algorithm:hexdigest of the file
        pa.field("footer_checksum", pa.string(), nullable=False),  # and of its footer's flatbuffer
    ]
)

#: One row per sequence; `sequence` counts from 0 in its shard, `documents` counts pieces.
SEQUENCES = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("sequence", pa.int32(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("documents", pa.int32(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("padding", pa.int64(), nullable=False),
        pa.field("sum_squared_lengths", pa.int64(), nullable=False),
        pa.field("checksum", pa.uint64(), nullable=False),  # as in the shard
    ]
)

#: One row per piece of a document: tokens [start, start + length) of the sequence are tokens
#: [document_offset, document_offset + length) of the document.
SPANS = pa.schema(
    [
        pa.field("document_id", pa.binary(16), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("sequence", pa.int32(), nullable=False),
        pa.field("start", pa.int32(), nullable=False),
        pa.field("length", pa.int32(), nullable=False),
        pa.field("document_offset", pa.int64(), nullable=False),
        pa.field("epoch", pa.int16(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Manifest:
    """The manifest rows of one unit, in the order in which they were written."""

    shards: pa.Table
    sequences: pa.Table
    spans: pa.Table

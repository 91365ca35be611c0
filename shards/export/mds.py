"""MosaicML Streaming's MDS: a folder of `shard.NNNNN.mds` and the `index.json` that describes them.

A shard, little-endian (streaming, `base/format/mds`):

    uint32 N, uint32[N + 1] byte where each sample begins and the last ends, the columns as JSON, the samples

A sample is a uint32 size for each column of variable size, then the columns' bytes in the order of their
names. An array of variable shape says how many axes it has and how its shape is stored (one byte: axes times
4, plus 2 for uint32), its shape, and its numbers. A sample is one packed sequence in reading order:

    document_ids      uint8 [documents, 16]      document_lengths  int32 [documents], without padding
    document_offsets  int64 [documents]          padded_lengths    int32 [documents], the slots
    source_ids        int16 [documents]          tokens            int32 [L]

Shards hold 64 MiB of tokens (one sequence, if that is longer; below 4 GiB, which offsets can count to). Cost:
4 bytes a token, 34 a document, 66 a sequence.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from shards.export.stage import CHUNK_TOKENS, Group, Ints, Stage, open_group, sequences
from shards.format import ShardError

#: Opens a file of the export by its name; it becomes visible, whole, when the block is left without an error.
Open = Callable[[str], AbstractContextManager[BinaryIO]]

_UINT32_SHAPE = 2


@dataclass(frozen=True)
class MdsExport:
    """What was written."""

    sequence_length: int
    shards: int
    samples: int
    tokens: int
    padding: int
    bytes: int


@dataclass(frozen=True)
class _Column:
    """A column of one array per sample: its numbers for all pieces, and its shape but for the first axis."""

    name: str
    encoding: str
    values: NDArray[Any]  # [pieces, ...]


def export_mds(
    stage: Stage,
    open_file: Open,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> MdsExport:
    """Write a stage's sequences, in the order of the shards; `index.json` comes last, so half is nothing.

    Raises ShardError for shards that cannot be read, and for sequences too long for a shard of this format.
    """
    if 4 * stage.sequence_length >= 1 << 32:
        raise ShardError(
            f"stage {stage.name!r}: a sequence of {stage.sequence_length} tokens: MDS stops at 4 GiB"
        )
    step = max(1, CHUNK_TOKENS // stage.sequence_length)
    index: list[dict[str, Any]] = []
    for number in range(len(stage.groups)):
        with open_group(stage, number) as group:
            for first in range(0, len(group.plane), step):
                last = min(first + step, len(group.plane))
                name = f"shard.{len(index):05d}.mds"
                with open_file(name) as sink:
                    size, config = _write_shard(sink, group, first, last)
                index.append(
                    config
                    | {
                        "raw_data": {"basename": name, "bytes": size, "hashes": {}},
                        "samples": last - first,
                        "zip_data": None,
                    }
                )
                progress((last - first) * stage.sequence_length)
    with open_file("index.json") as sink:
        sink.write(json.dumps({"shards": index, "version": 2}, sort_keys=True).encode())
    return MdsExport(
        sequence_length=stage.sequence_length,
        shards=len(index),
        samples=sum(shard["samples"] for shard in index),
        tokens=stage.tokens,
        padding=stage.padding,
        bytes=sum(shard["raw_data"]["bytes"] for shard in index),
    )


def _write_shard(sink: BinaryIO, group: Group, first: int, last: int) -> tuple[int, dict[str, Any]]:
    """One shard of rows [first, last); its size in bytes and the description of its columns."""
    bounds = group.bounds[first : last + 1]
    pieces, bounds = slice(int(bounds[0]), int(bounds[-1])), bounds - bounds[0]
    columns = [
        _Column("document_ids", "ndarray:uint8", group.ids[pieces]),
        _Column("document_lengths", "ndarray:int32", group.length[pieces].astype("<i4")),
        _Column("document_offsets", "ndarray:int64", group.offset[pieces].astype("<i8")),
        _Column("padded_lengths", "ndarray:int32", group.slot[pieces].astype("<i4")),
        _Column("source_ids", "ndarray:int16", group.source[pieces].astype("<i2")),
    ]
    heads, starts = _heads(columns, bounds)
    width = group.header.sequence_length
    config = {
        "column_encodings": [*(column.encoding for column in columns), f"ndarray:int32:{width}"],
        "column_names": [*(column.name for column in columns), "tokens"],
        "column_sizes": [*(None for _ in columns), 4 * width],
        "compression": None,
        "format": "mds",
        "hashes": [],
        "size_limit": None,
        "version": 2,
    }
    described = json.dumps(config, sort_keys=True).encode()
    begins = 4 + 4 * (last - first + 1) + len(described) + starts + 4 * width * np.arange(last - first + 1)
    if begins[-1] >= 1 << 32:
        raise ShardError(f"an MDS shard of {begins[-1]} bytes: its offsets stop at 4 GiB")
    sink.write(np.uint32(last - first).tobytes() + begins.astype("<u4").tobytes() + described)
    tokens = sequences(group, first, last)
    samples = np.empty(int(begins[-1] - begins[0]), np.uint8)
    plain = tokens.astype("<i4", copy=False).view(np.uint8)
    at = 0
    for row in range(last - first):  # two copies a sequence, nothing a document
        head = heads[starts[row] : starts[row + 1]]
        samples[at : at + len(head)] = head
        at += len(head)
        samples[at : at + 4 * width] = plain[row]
        at += 4 * width
    sink.write(samples.data)
    return int(begins[-1]), config


def _heads(columns: list[_Column], bounds: Ints) -> tuple[NDArray[np.uint8], Ints]:
    """The bytes of each sample ahead of its tokens: flat, and where those of each sample begin and end."""
    counts = np.diff(bounds)
    rows = len(counts)
    parts = []  # [rows, bytes] for what has one size, or flat with the bytes of each row
    fields = [
        (column, column.values.dtype.itemsize * int(np.prod(column.values.shape[1:], dtype=np.int64)))
        for column in columns
    ]
    sizes = [1 + 4 * column.values.ndim + counts * piece for column, piece in fields]
    parts.append((np.stack(sizes, axis=1).astype("<u4").view(np.uint8), np.full(rows, 4 * len(columns))))
    for column, piece in fields:
        axes = column.values.ndim
        shape = np.empty((rows, axes), "<u4")
        shape[:, 0], shape[:, 1:] = counts, column.values.shape[1:]
        code = np.full((rows, 1), axes << 2 | _UINT32_SHAPE, np.uint8)
        parts.append((np.hstack([code, shape.view(np.uint8)]), np.full(rows, 1 + 4 * axes)))
        parts.append((np.ascontiguousarray(column.values).view(np.uint8), counts * piece))
    widths = np.stack([width for _, width in parts])
    starts = np.concatenate([[0], np.cumsum(widths.sum(axis=0))])
    out = np.empty(int(starts[-1]), np.uint8)
    place = starts[:-1].copy()
    for data, width in parts:
        ahead = np.cumsum(width) - width
        out[np.arange(int(width.sum())) + np.repeat(place - ahead, width)] = data.reshape(-1)
        place += width
    return out, starts

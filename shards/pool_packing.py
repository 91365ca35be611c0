"""Packing of pools whose lengths and keys do not fit in memory, by groups of one length distribution.

Packing a part of a pool is as good as packing all of it when the part has the same mix of lengths. Two passes
over the batches: the first counts lengths, the second deals documents, longest first, round-robin to groups
(`curate_kernels.Dealer`), which are written to one temporary file, 24 bytes per document. Each group is then
read and packed on its own. Memory: `FIXED_BYTES` + 48 bytes per token of `sequence_length`, plus
`DOCUMENT_BYTES` per document and `PIECE_BYTES` per piece of one group, and 60 per document of a batch; the
number of groups follows from the limit. About 4 million documents per second and core.

Every group ends with one sequence that is partly filled, so a group of S sequences loses 1 / 2S of them on
average against packing all at once: 0.05 % at 1,000 sequences per group.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import curate_kernels
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shards.packing import PIECES, pack_documents

#: Lengths (int64) and order keys (float64 or uint64) of some documents, and the pool as a way to walk them.
Batch = tuple[pa.Array, pa.Array]
Pool = Callable[[], Iterable[Batch]]

#: Peak memory while a group is packed: what its arrays add up to, and a tenth.
FIXED_BYTES = 16 << 20
DOCUMENT_BYTES = 52
PIECE_BYTES = 36

#: Groups have 16-bit numbers, so that a batch sorts by group in two counting passes.
_MAX_GROUPS = 1 << 16

_RECORD = np.dtype([("document", "<i8"), ("length", "<i8"), ("key", "V8")])


def pack_pool(
    pool: Pool,
    *,
    sequence_length: int,
    max_documents: int,
    memory_limit: int,
    directory: Path,
    pad_documents_to: int = 1,
    balanced: bool = False,
) -> Iterator[pa.Table]:
    """One `PIECES` table per group: `document` counts through the pool, `sequence` through all groups.

    `pool()` is called twice and must give the same documents in the same order; what lies where depends on
    that order but not on how it is cut into batches. `memory_limit` is in bytes, for this function alone
    (batches and the tables yielded before are the caller's); `directory` takes the temporary file. Other
    options as in `pack_documents`.

    Raises ValueError for a limit below what one sequence length needs, a pool that changed between the
    passes, or columns that `pack_documents` would not take.
    """
    slack = memory_limit - FIXED_BYTES - 48 * sequence_length
    if slack <= 0:
        raise ValueError(
            f"memory_limit={memory_limit} leaves no room for documents: sequences of {sequence_length} "
            f"tokens need more than {memory_limit - slack} bytes"
        )
    dealer = curate_kernels.Dealer(sequence_length)
    documents, pieces, key_type = _count(pool, dealer, sequence_length)
    groups = max(1, math.ceil((documents * DOCUMENT_BYTES + pieces * PIECE_BYTES) / slack))
    if groups > _MAX_GROUPS:
        raise ValueError(
            f"memory_limit={memory_limit} would cut {documents} documents into {groups} groups; "
            f"at most {_MAX_GROUPS} are made: raise the limit"
        )
    sizes = dealer.start(groups).to_numpy().astype(np.int64)
    with tempfile.TemporaryFile(dir=directory) as file:
        spill = _Spill(file, np.concatenate([[0], np.cumsum(sizes)]))
        _deal(pool, dealer, spill, key_type)
        del dealer
        first = 0
        for group in range(groups):
            table = _packed(
                spill.read(group),
                key_type,
                sequence_length=sequence_length,
                max_documents=max_documents,
                pad_documents_to=pad_documents_to,
                balanced=balanced,
            )
            sequence = table["sequence"].to_numpy()
            count = int(sequence[-1]) + 1 if len(sequence) else 0
            if first + count > 2**31:
                raise ValueError("more than 2**31 sequences: pack the pool in parts")
            if first:
                moved = pa.array(sequence + np.int32(first))
                table = table.set_column(3, PIECES.field("sequence"), moved)
            first += count
            yield table
            del table, sequence  # the next group needs the memory


@dataclass(frozen=True)
class _Spill:
    """A file of records, group after group; `bounds` are in records."""

    file: BinaryIO
    bounds: NDArray[np.int64]

    def write(self, record: int, records: NDArray[np.void]) -> None:
        self.file.seek(record * _RECORD.itemsize)
        self.file.write(records.data)

    def read(self, group: int) -> NDArray[np.void]:
        first, end = int(self.bounds[group]), int(self.bounds[group + 1])
        self.file.seek(first * _RECORD.itemsize)
        records = np.empty(end - first, _RECORD)
        if self.file.readinto(records.data.cast("B")) != records.nbytes:  # type: ignore[attr-defined]
            raise OSError(f"the temporary file ends inside group {group}")
        return records


def _count(pool: Pool, dealer: curate_kernels.Dealer, capacity: int) -> tuple[int, int, pa.DataType]:
    documents, pieces, key_type = 0, 0, pa.float64()
    for lengths, keys in pool():
        dealer.count(lengths)
        if len(lengths) != len(keys):
            raise ValueError(f"a batch of {len(lengths)} lengths has {len(keys)} order keys")
        if keys.type not in (pa.float64(), pa.uint64()) or (documents and keys.type != key_type):
            raise ValueError(f"order keys must all be double or all uint64, got {keys.type}")
        if keys.type == pa.float64() and np.isnan(keys.to_numpy(zero_copy_only=False)).any():
            odd = int(np.isnan(keys.to_numpy(zero_copy_only=False)).argmax())
            raise ValueError(f"order_key of document {documents + odd} of the pool is null or NaN")
        documents, key_type = documents + len(lengths), keys.type
        pieces += int((-(-lengths.to_numpy(zero_copy_only=False) // capacity)).sum())
    return documents, pieces, key_type


def _deal(pool: Pool, dealer: curate_kernels.Dealer, spill: _Spill, key_type: pa.DataType) -> None:
    """The second pass: every document into its group's place in the file."""
    filled = spill.bounds[:-1].copy()
    document = 0
    for lengths, keys in pool():
        if len(lengths) != len(keys) or keys.type != key_type:
            raise ValueError("the second pass over the pool gave other columns than the first")
        group = dealer.deal(lengths).to_numpy()
        order = np.argsort(group.astype(np.uint16), kind="stable")
        records = np.empty(len(lengths), _RECORD)
        records["document"] = order + document
        records["length"] = lengths.to_numpy(zero_copy_only=False)[order]
        records["key"] = keys.to_numpy(zero_copy_only=False).view("V8")[order]
        counts = np.bincount(group, minlength=len(filled))
        ends = np.cumsum(counts)
        for number in np.flatnonzero(counts):
            spill.write(int(filled[number]), records[ends[number] - counts[number] : ends[number]])
        filled += counts
        document += len(lengths)
    if (filled != spill.bounds[1:]).any():
        raise ValueError(
            f"the second pass over the pool gave {document} documents, the first {int(spill.bounds[-1])}"
        )


def _packed(
    records: NDArray[np.void],
    key_type: pa.DataType,
    *,
    sequence_length: int,
    max_documents: int,
    pad_documents_to: int,
    balanced: bool,
) -> pa.Table:
    """A group's pieces, its documents numbered as in the pool."""
    document = records["document"].copy()
    lengths, keys = pa.array(records["length"].copy()), records["key"].copy()
    del records
    table = pack_documents(
        lengths,
        pa.array(keys.view(key_type.to_pandas_dtype())),
        sequence_length=sequence_length,
        max_documents=max_documents,
        pad_documents_to=pad_documents_to,
        balanced=balanced,
    )
    return table.set_column(0, PIECES.field("document"), pa.array(document[table["document"].to_numpy()]))

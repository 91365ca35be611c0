"""From document lengths to a packing plan: which piece of which document lies where.

Only lengths are read, never a token. A document longer than the sequence is cut into full sequences and
one tail; everything else stays whole (Ding et al. 2024, arXiv:2404.10830). Pieces are packed best-fit
decreasing (`curate_kernels.best_fit_decreasing`); inside a sequence they then lie in keyed order, so that
length and source say nothing about the place in a sequence. About 2 million documents per second and core
with all of its sorting, 60 bytes of memory per piece.
"""

from __future__ import annotations

import curate_kernels
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

#: One row per piece, sorted by (sequence, start).
PIECES = pa.schema(
    [
        pa.field("document", pa.int64(), nullable=False),  # row of `lengths`
        pa.field("document_offset", pa.int64(), nullable=False),  # first token of the piece in its document
        pa.field("length", pa.int32(), nullable=False),
        pa.field("sequence", pa.int32(), nullable=False),
        pa.field("start", pa.int32(), nullable=False),  # first token of the piece in its sequence
    ]
)


def pack_documents(
    lengths: pa.Array,
    order_key: pa.Array,
    *,
    sequence_length: int,
    max_documents: int,
    pad_documents_to: int = 1,
) -> pa.Table:
    """The `PIECES` that put every token of every document into sequences of `sequence_length`.

    `lengths` is int64, in tokens (a document of 0 tokens has no piece); `order_key` is float64 or uint64
    and orders documents of one length while packing, and all documents inside a sequence: with keys drawn
    from document ids, sources mix. A sequence holds at most `max_documents` pieces. Each piece takes
    a slot of its length rounded up to `pad_documents_to`, which must divide `sequence_length`.

    Raises ValueError for negative lengths, nulls, NaN keys, or options that make no sense.
    """
    if sequence_length < 1 or pad_documents_to < 1 or sequence_length % pad_documents_to:
        raise ValueError(
            f"pad_documents_to={pad_documents_to} must be at least 1 and divide "
            f"sequence_length={sequence_length}"
        )
    sizes = _column(lengths, "lengths", pa.int64()).astype(np.int64, copy=False)
    keys = _column(order_key, "order_key", pa.float64(), pa.uint64())
    if len(sizes) != len(keys):
        raise ValueError(f"{len(sizes)} lengths but {len(keys)} order keys")
    if sizes.size and sizes.min() < 0:
        raise ValueError(f"document {int(sizes.argmin())} has a negative length: {int(sizes.min())}")
    if keys.dtype == np.float64 and np.isnan(keys).any():
        raise ValueError(f"order_key of document {int(np.isnan(keys).argmax())} is NaN")

    # Pieces in keyed order of their documents, so that a piece's number is its rank.
    ranked = np.argsort(keys, kind="stable")
    pieces = -(-sizes[ranked] // sequence_length)
    document = np.repeat(ranked, pieces)
    first = np.repeat(np.cumsum(pieces) - pieces, pieces)
    offset = (np.arange(len(document)) - first) * sequence_length
    length = np.minimum(sizes[document] - offset, sequence_length)
    slot = -(-length // pad_documents_to) * pad_documents_to

    sequence = _packed(slot, sequence_length, max_documents)
    # By sequence, then rank; both fit in 32 bits, so one unstable sort of distinct keys does it.
    order = np.argsort((sequence << 32) | np.arange(len(document)))
    sequence, slot = sequence[order], slot[order]
    start = _starts(sequence, slot)

    if int(length.sum()) != int(sizes.sum()):
        raise ValueError(f"tokens lost while packing: {int(sizes.sum())} in, {int(length.sum())} out")
    if len(slot) and int((start + slot).max()) > sequence_length:
        raise ValueError("a packed sequence overflows its length")
    columns = [document[order], offset[order], length[order], sequence, start]
    arrays = [pa.array(column, field.type, safe=True) for column, field in zip(columns, PIECES, strict=True)]
    return pa.Table.from_arrays(arrays, schema=PIECES)


def _packed(slot: NDArray[np.int64], capacity: int, max_documents: int) -> NDArray[np.int64]:
    """The sequence of every slot."""
    sequence, _ = curate_kernels.best_fit_decreasing(
        pa.array(slot.astype(np.int32)), capacity, max_documents=max_documents
    )
    packed: NDArray[np.int64] = sequence.to_numpy(zero_copy_only=False).astype(np.int64)
    return packed


def _starts(sequence: NDArray[np.int64], slot: NDArray[np.int64]) -> NDArray[np.int64]:
    """Start of each slot in its sequence, for slots that are sorted by sequence."""
    ends = np.cumsum(slot)
    before = ends - slot
    heads = np.flatnonzero(np.diff(sequence, prepend=-1))
    return before - np.repeat(before[heads], np.diff(heads, append=len(slot)))


def _column(array: pa.Array, name: str, *types: pa.DataType) -> NDArray[np.int64 | np.float64]:
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if array.type not in types:
        expected = " or ".join(str(kind) for kind in types)
        raise ValueError(f"{name} must be {expected}, got {array.type}")
    if array.null_count:
        raise ValueError(f"{name} holds {array.null_count} nulls")
    values: NDArray[np.int64 | np.float64] = array.to_numpy(zero_copy_only=False)
    return values

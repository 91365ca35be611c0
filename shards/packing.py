"""From document lengths to a packing plan: which piece of which document lies where.

Only lengths are read, never a token. A document longer than the sequence is cut into full sequences and
one tail; everything else stays whole (Ding et al. 2024, arXiv:2404.10830). Tails are packed best-fit
decreasing; inside a sequence they then lie in keyed order, so that length and source say nothing about the
place in a sequence. The work is one kernel call (`curate_kernels.pack`): 10 million documents per second and
core with all of its sorting, 55 bytes of memory per document beside its length and key.
`shards.pool_packing` packs what does not fit in memory; docs/packing.md has the algorithm and its numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import curate_kernels
import numpy as np
import pyarrow as pa

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
    balanced: bool = False,
) -> pa.Table:
    """The `PIECES` that put every token of every document into sequences of `sequence_length`.

    `lengths` is int64, in tokens (a document of 0 tokens has no piece); `order_key` is float64 or uint64
    and orders documents of one length while packing, and all documents inside a sequence: with keys drawn
    from document ids, sources mix. A sequence holds at most `max_documents` pieces. Each piece takes
    a slot of its length rounded up to `pad_documents_to`, which must divide `sequence_length`.

    `balanced` evens out the sums of squared lengths (see `balance`) over as many sequences as best fit
    needs, at half the speed. It does something where sequences are much longer than most documents.

    Raises ValueError for negative lengths, nulls, NaN keys, options that make no sense, and more than 2**31
    pieces; RuntimeError if what came out were not what went in.
    """
    if sequence_length < 1 or pad_documents_to < 1 or sequence_length % pad_documents_to:
        raise ValueError(
            f"pad_documents_to={pad_documents_to} must be at least 1 and divide "
            f"sequence_length={sequence_length}"
        )
    columns = curate_kernels.pack(
        _column(lengths, "lengths", pa.int64()),
        _column(order_key, "order_key", pa.float64(), pa.uint64()),
        sequence_length,
        max_documents=max_documents,
        pad_documents_to=pad_documents_to,
        balanced=balanced,
    )
    return pa.Table.from_arrays(list(columns), schema=PIECES)


def document_multiple(context_parallel: int, tensor_parallel: int) -> int:
    """What to pad documents to so that both parallel ways cut each of them evenly: CP * lcm(2, TP) tokens.

    Zig-zag context parallelism cuts a document into 2 CP chunks, sequence parallelism a rank's part by TP.
    """
    if context_parallel < 1 or tensor_parallel < 1:
        raise ValueError(
            f"context_parallel={context_parallel} and tensor_parallel={tensor_parallel} must be at least 1"
        )
    return context_parallel * math.lcm(2, tensor_parallel)


@dataclass(frozen=True)
class Balance:
    """Sums of squared piece lengths by sequence, which is what attention inside documents costs.

    `ratio` is the largest sum over the mean; no packing of the same pieces into as many sequences has less
    than `least` (the longest piece alone, or 1).
    """

    ratio: float
    least: float


def balance(pieces: pa.Table) -> Balance:
    """How even the sequences of a `PIECES` table are (ValueError if it has no pieces)."""
    if not pieces.num_rows:
        raise ValueError("no pieces, no balance")
    squares = pieces["length"].to_numpy().astype(np.float64) ** 2
    sums = np.bincount(pieces["sequence"].to_numpy(), weights=squares)
    mean = float(sums.mean())
    return Balance(float(sums.max()) / mean, max(1.0, float(squares.max()) / mean))


def _column(array: pa.Array, name: str, *types: pa.DataType) -> pa.Array:
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if array.type not in types:
        expected = " or ".join(str(kind) for kind in types)
        raise ValueError(f"{name} must be {expected}, got {array.type}")
    if array.null_count:
        raise ValueError(f"{name} holds {array.null_count} nulls")
    return array

"""Write one unit of a stage: pack its documents, gather their tokens, write Arrow shards and manifest rows.

    documents (lengths, keys) ─▶ pack ─▶ keyed shuffle of sequences ─▶ gather a batch ─▶ write it ─▶ ...

Memory: 64 MiB of planes (or one sequence, if that is longer) and a few hundred bytes per document, whatever
the number of tokens; pools are only viewed, so they may be memory-mapped files larger than memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import curate_kernels
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shards.format import PREFIX, Layout, ShardHeader, batch_sequences, check_layout, plane_alignment
from shards.manifest import SEQUENCES, SHARDS, SPANS, Manifest
from shards.order import keyed_seed
from shards.packing import pack_documents

#: Sequences of this many tokens or more are balanced: a rank may have one of them in a batch.
BALANCED_FROM = 65536

#: What is to be packed, one row per document and epoch: tokens [pool_start, pool_start + length) of its pool.
DOCUMENTS = pa.schema(
    [
        pa.field("document_id", pa.binary(16)),
        pa.field("source_id", pa.int16()),
        pa.field("length", pa.int64()),
        pa.field("pool", pa.int32()),
        pa.field("pool_start", pa.int64()),
        pa.field("epoch", pa.int16()),
        pa.field("order_key", pa.float64()),
    ]
)


class Published(Protocol):
    """A file under its final name."""

    @property
    def path(self) -> str:
        """Relative to the run directory, with forward slashes."""

    @property
    def bytes(self) -> int: ...

    @property
    def checksum(self) -> str:
        """`algorithm:hexdigest`; the loader verifies `xxh3_128`, as `curate_kernels.Checksum` gives it."""


#: Opens a temporary file, hands it to the writer, syncs, renames to `name`.
Publish = Callable[[str, Callable[[BinaryIO], None]], Published]


def write_shards(
    documents: pa.Table,
    pools: list[pa.Array],
    *,
    stage: str,
    sequence_length: int,
    group: int,
    shard_tokens: int,
    max_documents: int,
    pad: int,
    pad_documents_to: int,
    sources: list[str],
    metadata: dict[str, str],
    publish: Publish,
    seed: int = 0,
    layout: Layout = "contiguous",
    context_parallel: int = 1,
) -> Manifest:
    """Pack `documents` (`DOCUMENTS`) into shards `{stage}-{group:05d}-{n:04d}.arrow` and publish them.

    `pools` are flat int32 token arrays. A shard holds `shard_tokens` (at least one sequence). `metadata`
    needs `tokenizer` (fingerprint) and `mixture` (name); further keys go into the shard's metadata as they
    are. `layout` is the order of the stored tokens, a zig-zag one for `context_parallel` ranks. The result is
    a function of the arguments: no clock, no generator, no thread order.

    Raises ValueError for arguments that make no sense, for a document outside its pool, and if the tokens
    written are not the tokens given.
    """
    check_layout(layout, context_parallel, sequence_length=sequence_length, pad_documents_to=pad_documents_to)
    table = _checked(documents, pools, sources, metadata)
    unit = _pack(
        table,
        sequence_length=sequence_length,
        max_documents=max_documents,
        pad_documents_to=pad_documents_to,
        seed=keyed_seed("sequences", seed, stage, group),
    )
    per_shard = max(1, shard_tokens // sequence_length)
    header = ShardHeader(
        stage=stage,
        sequence_length=sequence_length,
        batch_sequences=min(per_shard, batch_sequences(sequence_length)),
        pad=pad,
        pad_documents_to=pad_documents_to,
        tokenizer=metadata["tokenizer"],
        mixture=metadata["mixture"],
        sources=tuple(sources),
        layout=layout,
        context_parallel=1 if layout == "contiguous" else context_parallel,
        extra={key: value for key, value in metadata.items() if key not in ("tokenizer", "mixture")},
    )
    schema = header.schema()
    alignment = plane_alignment(sequence_length)

    names: list[str] = []
    files: list[Published] = []
    footers: list[str] = []
    checksums: list[pa.Array] = []
    for first in range(0, unit.sequences, per_shard):
        last = min(first + per_shard, unit.sequences)
        names.append(f"{stage}-{group:05d}-{len(names):04d}.arrow")

        def write(sink: BinaryIO, first: int = first, last: int = last) -> None:
            framing = curate_kernels.ShardFraming(schema, alignment=alignment)
            sink.write(framing.start())
            for batch in _batches(unit, pools, header, schema, first, last):
                _write_batch(sink, framing, batch)
                checksums.append(batch["checksum"])
            end, checksum = framing.finish()
            sink.write(end)
            footers.append(checksum)

        files.append(publish(names[-1], write))

    manifest = _manifest(unit, header, per_shard, names, files, footers, checksums)
    given, written = int(unit.given.sum()), sum(manifest.shards["tokens"].to_pylist())
    if given != written:
        raise ValueError(f"{stage} group {group}: {given} tokens in, {written} tokens out")
    return manifest


def _write_batch(sink: BinaryIO, framing: curate_kernels.ShardFraming, batch: pa.RecordBatch) -> None:
    """A record batch: its message, then its buffers as they lie in memory, depth first."""
    prefix, sizes = framing.batch(batch)
    sink.write(prefix)
    buffers = [buffer for column in batch.columns for buffer in column.buffers()]
    for buffer, (size, zeros) in zip(buffers, sizes, strict=True):
        if size:
            sink.write(memoryview(buffer)[:size])
        if zeros:
            sink.write(bytes(zeros))


@dataclass(frozen=True)
class _Unit:
    """Packed pieces in the order in which they are written; `bounds[s]` is the first piece of sequence s."""

    table: pa.Table  # the documents, one chunk per column
    given: NDArray[np.int64]  # tokens per document
    document: NDArray[np.int64]
    offset: NDArray[np.int64]
    length: NDArray[np.int32]
    start: NDArray[np.int32]
    bounds: NDArray[np.int64]

    @property
    def sequences(self) -> int:
        return len(self.bounds) - 1

    def per_sequence(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sums over the pieces of each sequence (a sequence is never empty)."""
        if not self.sequences:
            return np.zeros(0, np.int64)
        sums: NDArray[np.int64] = np.add.reduceat(values, self.bounds[:-1])
        return sums

    def taken(self, column: str, pieces: slice = slice(None)) -> pa.Array:
        """A document column, one value per piece."""
        return self.table[column].chunk(0).take(pa.array(self.document[pieces]))


def _pack(
    table: pa.Table, *, sequence_length: int, max_documents: int, pad_documents_to: int, seed: int
) -> _Unit:
    """Pack, then put the sequences into keyed order: packing order goes from full to less full."""
    pieces = pack_documents(
        table["length"],
        table["order_key"],
        sequence_length=sequence_length,
        max_documents=max_documents,
        pad_documents_to=pad_documents_to,
        balanced=sequence_length >= BALANCED_FROM,
    )
    counts = np.bincount(pieces["sequence"].to_numpy())
    firsts = np.cumsum(counts) - counts
    order = curate_kernels.permuted_indices(len(counts), seed, 0, len(counts)).to_numpy().astype(np.int64)
    bounds = np.concatenate([[0], np.cumsum(counts[order])])
    index = np.arange(len(pieces)) + np.repeat(firsts[order] - bounds[:-1], counts[order])
    return _Unit(
        table=table,
        given=table["length"].to_numpy(),
        document=pieces["document"].to_numpy()[index],
        offset=pieces["document_offset"].to_numpy()[index],
        length=pieces["length"].to_numpy()[index],
        start=pieces["start"].to_numpy()[index],
        bounds=bounds,
    )


def _batches(
    unit: _Unit, pools: list[pa.Array], header: ShardHeader, schema: pa.Schema, first: int, last: int
) -> Iterator[pa.RecordBatch]:
    """Record batches of sequences [first, last), one at a time."""
    for begin in range(first, last, header.batch_sequences):
        bounds = unit.bounds[begin : min(begin + header.batch_sequences, last) + 1]
        pieces = slice(int(bounds[0]), int(bounds[-1]))
        bounds = bounds - bounds[0]
        rows = len(bounds) - 1
        length = unit.length[pieces]
        pool_start = unit.taken("pool_start", pieces).to_numpy() + unit.offset[pieces]
        planes, next_tokens, token_checksums, checksum = curate_kernels.gather_sequences(
            pools,
            unit.taken("pool", pieces),
            pa.array(pool_start),
            pa.array(length),
            pa.array(np.repeat(np.arange(rows, dtype=np.int32), np.diff(bounds))),
            pa.array(unit.start[pieces]),
            sequences=rows,
            sequence_length=header.sequence_length,
            pad=header.pad,
            layout=header.layout,
            context_parallel=header.context_parallel,
            first_row=begin - first,
        )
        offsets = pa.array(bounds.astype(np.int32))
        padded = -(-length // header.pad_documents_to) * header.pad_documents_to
        lists = [
            pa.array(length),
            pa.array(padded),
            unit.taken("document_id", pieces),
            pa.array(unit.offset[pieces]),
            unit.taken("source_id", pieces),
            unit.taken("epoch", pieces),
        ]
        tokens = np.add.reduceat(length, bounds[:-1], dtype=np.int64)
        squares = np.add.reduceat(length.astype(np.int64) ** 2, bounds[:-1])
        lengths, padded_lengths, *provenance = (pa.ListArray.from_arrays(offsets, values) for values in lists)
        columns = [
            planes,
            lengths,
            padded_lengths,
            next_tokens,
            token_checksums,
            checksum,
            *provenance,
            pa.array((header.sequence_length - tokens).astype(np.int32)),
            pa.array(squares),
        ]
        del planes
        batch = pa.RecordBatch.from_arrays(columns, schema=schema)
        del columns
        yield batch
        del batch  # the planes go before the next ones are made


def _manifest(
    unit: _Unit,
    header: ShardHeader,
    per_shard: int,
    names: list[str],
    files: list[Published],
    footers: list[str],
    checksums: list[pa.Array],
) -> Manifest:
    numbers = np.arange(unit.sequences)
    shard_of, row = numbers // per_shard, (numbers % per_shard).astype(np.int32)
    names_column = pa.array(names, pa.string())
    tokens = unit.per_sequence(unit.length.astype(np.int64))
    padding = header.sequence_length - tokens
    documents = np.diff(unit.bounds)

    def per_shard_sum(values: NDArray[np.int64]) -> NDArray[np.int64]:
        heads = np.arange(0, unit.sequences, per_shard)
        return np.add.reduceat(values, heads) if len(heads) else np.zeros(0, np.int64)

    shards = {
        "shard": names,
        "path": [file.path for file in files],
        "stage": [header.stage] * len(names),
        "sequence_length": np.full(len(names), header.sequence_length),
        "sequences": np.bincount(shard_of, minlength=len(names)),
        "tokens": per_shard_sum(tokens),
        "padding": per_shard_sum(padding),
        "bytes": [file.bytes for file in files],
        "checksum": [file.checksum for file in files],
        "footer_checksum": footers,
    }
    sequences = {
        "shard": names_column.take(pa.array(shard_of)),
        "sequence": row,
        "stage": pa.repeat(header.stage, unit.sequences),
        "documents": documents.astype(np.int32),
        "tokens": tokens,
        "padding": padding,
        "sum_squared_lengths": unit.per_sequence(unit.length.astype(np.int64) ** 2),
        "checksum": pa.chunked_array(checksums, pa.uint64()),
    }
    spans = {
        "document_id": unit.taken("document_id"),
        "source": pa.array(header.sources, pa.string()).take(unit.taken("source_id")),
        "stage": pa.repeat(header.stage, len(unit.document)),
        "shard": names_column.take(pa.array(np.repeat(shard_of, documents))),
        "sequence": np.repeat(row, documents),
        "start": unit.start,
        "length": unit.length,
        "document_offset": unit.offset,
        "epoch": unit.taken("epoch"),
    }
    return Manifest(
        shards=pa.Table.from_pydict(shards, schema=SHARDS),
        sequences=pa.Table.from_pydict(sequences, schema=SEQUENCES),
        spans=pa.Table.from_pydict(spans, schema=SPANS),
    )


def _checked(
    documents: pa.Table, pools: list[pa.Array], sources: list[str], metadata: dict[str, str]
) -> pa.Table:
    """`documents` with the columns of `DOCUMENTS`, each one chunk, all of it inside its pool."""
    for key in ("tokenizer", "mixture"):
        if key not in metadata:
            raise ValueError(f"metadata lacks {key!r}: a shard says which tokenizer and mixture made it")
    if reserved := [key for key in metadata if key.startswith(PREFIX)]:
        raise ValueError(f"metadata keys that begin with {PREFIX!r} are the format's own: {reserved}")
    for name, kind in zip(DOCUMENTS.names, DOCUMENTS.types, strict=True):
        if name not in documents.schema.names or documents.schema.field(name).type != kind:
            raise ValueError(f"documents needs a column {name!r} of {kind}; it has: {documents.schema}")
        if documents[name].null_count:
            raise ValueError(f"documents.{name} holds {documents[name].null_count} nulls")
    columns = [documents[name].combine_chunks() for name in DOCUMENTS.names]
    columns = [
        column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column for column in columns
    ]
    table = pa.Table.from_arrays(columns, schema=DOCUMENTS)
    if not len(table):
        return table
    source, length, pool, start = (
        table[name].to_numpy() for name in ("source_id", "length", "pool", "pool_start")
    )
    _refuse((source < 0) | (source >= len(sources)), table, f"its source_id is not in 0..{len(sources)}")
    _refuse((pool < 0) | (pool >= len(pools)), table, f"its pool is not in 0..{len(pools)}")
    room = np.array([len(tokens) for tokens in pools], np.int64)[pool]
    _refuse((length < 0) | (start < 0) | (start > room), table, "its length or pool_start makes no sense")
    _refuse(length > room - start, table, "it reaches beyond its pool")
    return table


def _refuse(bad: NDArray[np.bool_], table: pa.Table, reason: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"document {row} ({table.slice(row, 1).drop(['order_key']).to_pylist()[0]}): {reason}"
        )

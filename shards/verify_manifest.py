"""The manifest's rows of a shard, and whether they are what lies in it: columns compared, never row by row.

Memory: the rows of one unit (a stage and shard group), about 90 bytes per document piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shards.format import ShardHeader
from shards.manifest import SEQUENCES, SHARDS, SPANS


@dataclass(frozen=True)
class ManifestRows:
    """What the manifest says of one shard; `sequences` in order, `spans` in order of (sequence, start)."""

    shard: str
    path: str
    stage: str
    sequence_length: int
    sequence_rows: pa.Table
    span_rows: pa.Table
    sequences: int
    tokens: int
    padding: int
    bytes: int
    checksum: str
    footer_checksum: str


def manifest_rows(shards: pa.Table, sequences: pa.Table, spans: pa.Table) -> list[ManifestRows]:
    """One entry per row of `shards`, with its rows of the unit's other tables.

    Raises ValueError, saying which table and how, for columns that are not those of `shards.manifest`.
    """
    for name, table, schema in (
        ("shards", shards, SHARDS),
        ("sequences", sequences, SEQUENCES),
        ("spans", spans, SPANS),
    ):
        for field in schema:
            place = table.schema.get_field_index(field.name)
            if place < 0 or table.schema.field(place).type != field.type:
                raise ValueError(f"{name} has no column {field.name!r} of {field.type}")
            if table[field.name].null_count:
                raise ValueError(f"{name}.{field.name} holds nulls")
    sequence_parts = _by_shard(sequences.sort_by([("shard", "ascending"), ("sequence", "ascending")]))
    order = [("shard", "ascending"), ("sequence", "ascending"), ("start", "ascending")]
    span_parts = _by_shard(spans.sort_by(order))
    found = []
    for row in shards.to_pylist():
        shard = row["shard"]
        found.append(
            ManifestRows(
                sequence_rows=sequence_parts.pop(shard, sequences.slice(0, 0)),
                span_rows=span_parts.pop(shard, spans.slice(0, 0)),
                **{name: row[name] for name in SHARDS.names},
            )
        )
    for name, parts in (("sequences", sequence_parts), ("spans", span_parts)):
        if parts:
            raise ValueError(f"{name} names the shard {min(parts)!r}, which shards does not list")
    return found


def _by_shard(table: pa.Table) -> dict[str, pa.Table]:
    """The parts of a table that is in order of `shard`."""
    runs = pc.run_end_encode(table["shard"].combine_chunks()) if len(table) else None
    if runs is None:
        return {}
    if isinstance(runs, pa.ChunkedArray):
        runs = runs.combine_chunks()
    ends = runs.run_ends.to_pylist()
    starts = [0, *ends[:-1]]
    names = runs.values.to_pylist()
    return {
        name: table.slice(start, end - start) for name, start, end in zip(names, starts, ends, strict=True)
    }


def table_problems(rows: ManifestRows) -> Iterator[str]:
    """What does not add up between the manifest's own tables, for one shard."""
    numbers = rows.sequence_rows["sequence"].to_numpy()
    if len(numbers) != rows.sequences or (numbers != np.arange(len(numbers))).any():
        yield (
            f"shards counts {rows.sequences} sequences, and sequences has {len(numbers)} rows, "
            "which have to be 0, 1, ..."
        )
    for name, listed in (("tokens", rows.tokens), ("padding", rows.padding)):
        total = pc.sum(rows.sequence_rows[name]).as_py() or 0
        if total != listed:
            yield f"shards has {listed:,} {name}, its rows of sequences {total:,}"
    spans = pc.sum(rows.span_rows["length"].cast(pa.int64())).as_py() or 0
    if spans != rows.tokens:
        yield f"shards has {rows.tokens:,} tokens, its spans {spans:,}"
    if rows.tokens + rows.padding != rows.sequences * rows.sequence_length:
        yield f"{rows.tokens:,} tokens and {rows.padding:,} of padding do not fill its sequences"
    for name in ("sequence_rows", "span_rows"):
        stages = pc.unique(getattr(rows, name)["stage"]).to_pylist()
        if any(stage != rows.stage for stage in stages):
            yield f"{name.removesuffix('_rows')}s has it in stage {', '.join(stages)}, shards in {rows.stage}"


def batch_problems(
    batch: pa.RecordBatch, first: int, header: ShardHeader, rows: ManifestRows
) -> Iterator[tuple[int, str]]:
    """(sequence, what) where a record batch and the manifest differ; the first of each column.

    `first` is the number of the batch's first sequence. The batch's lists have been checked.
    """
    lengths = batch["document_lengths"]
    counts = np.diff(lengths.offsets.to_numpy())
    flat = {
        name: batch[name].flatten()
        for name in ("document_lengths", "padded_lengths", "document_ids", "document_offsets", "source_ids")
    } | {"epochs": batch["epochs"].flatten()}
    if len({len(values) for values in flat.values()}) > 1:
        return  # named already: lists of different length
    listed = rows.sequence_rows.slice(first, batch.num_rows)
    padding = batch["padding"].cast(pa.int64())
    columns = {
        "documents": pa.array(counts),
        "tokens": pa.array(header.sequence_length - padding.to_numpy()),
        "padding": padding,
        "sum_squared_lengths": batch["sum_squared_lengths"],
        "checksum": batch["checksum"],
    }
    if len(listed) == batch.num_rows:
        sequence = np.arange(first, first + batch.num_rows)
        yield from _differences("sequences", columns, listed, sequence)
    in_order = rows.span_rows["sequence"].to_numpy()
    begin, end = np.searchsorted(in_order, [first, first + batch.num_rows])
    spans = rows.span_rows.slice(begin, end - begin)
    sequence = np.repeat(np.arange(first, first + batch.num_rows), counts)
    found = np.bincount(spans["sequence"].to_numpy() - first, minlength=batch.num_rows)
    if (odd := np.flatnonzero(found != counts)).size:
        row = int(odd[0])
        yield first + row, f"it has {counts[row]} documents, and {found[row]} rows of spans" + _more(odd)
        return
    sources = flat["source_ids"].to_numpy()
    if ((sources < 0) | (sources >= len(header.sources))).any():
        return  # named already
    columns = {
        "document_id": flat["document_ids"],
        "source": pa.array(header.sources, pa.string()).take(flat["source_ids"]),
        "start": pa.array(_starts(flat["padded_lengths"].to_numpy(), counts)),
        "length": flat["document_lengths"],
        "document_offset": flat["document_offsets"],
        "epoch": flat["epochs"],
    }
    yield from _differences("spans", columns, spans, sequence)


def _starts(slots: NDArray[np.int32], counts: NDArray[np.int32]) -> NDArray[np.int32]:
    """Where each slot begins in its sequence."""
    ends = np.cumsum(slots, dtype=np.int64)
    begins = ends - slots
    firsts = np.cumsum(counts) - counts
    heads = np.append(begins, ends[-1] if len(ends) else 0)[firsts]
    starts: NDArray[np.int32] = (begins - np.repeat(heads, counts)).astype(np.int32)
    return starts


def _differences(
    table: str, columns: dict[str, pa.Array], listed: pa.Table, sequence: NDArray[np.int64]
) -> Iterator[tuple[int, str]]:
    for name, column in columns.items():
        expected = listed[name].combine_chunks()
        unequal = pc.not_equal(column.cast(expected.type), expected).to_numpy(zero_copy_only=False)
        if (odd := np.flatnonzero(unequal)).size:
            row = int(odd[0])
            ours, theirs = (_shown(values[row].as_py()) for values in (column, expected))
            yield int(sequence[row]), f"its {name} is {ours}, {table} says {theirs}" + _more(odd)


def _more(odd: NDArray[np.intp]) -> str:
    return f" (and {len(odd) - 1:,} further rows differ)" if len(odd) > 1 else ""


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)

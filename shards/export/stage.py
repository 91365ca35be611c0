"""A stage's packed shards as documents or as whole sequences, in reading order, whatever the stored order.

    manifest ─▶ group (shards of one unit) ─▶ pieces ─▶ stored ranges ─▶ one native gather per 64 MiB

Shards are memory-mapped and compared with the manifest's checksum before a token is used. Memory: what is
gathered at a time (64 MiB, or one document if that is longer) and some 150 bytes per document piece of one
group; nothing is one Python object per document or token. The gather runs at the speed of a copy.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import curate_kernels
import fsspec
import numpy as np
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from shards.catalog import read_stage
from shards.format import PER_DOCUMENT, ShardError, ShardHeader, read_header
from shards.reader import check_common
from shards.verify_files import check_file, check_size

#: Tokens that are gathered at a time: 64 MiB.
CHUNK_TOKENS = 16 << 20

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ShardFile:
    """A row of the manifest."""

    name: str
    path: str
    sequences: int
    bytes: int
    checksum: str


@dataclass(frozen=True)
class Stage:
    """A stage of a run: its shards, by the unit that wrote them, and what all their headers say."""

    root: str
    name: str
    sequence_length: int
    groups: tuple[tuple[ShardFile, ...], ...]
    header: ShardHeader
    sequences: int
    tokens: int
    padding: int


@dataclass(frozen=True)
class Group:
    """The shards of one unit. Pieces of row r are [bounds[r], bounds[r + 1]) of the columns per piece.

    A piece's segment is its slot; that of a row's last piece goes on to the end of the row.
    """

    header: ShardHeader
    planes: list[pa.Array]  # flat int32 tokens of each record batch, as they are stored
    plane: NDArray[np.int32]  # [rows]: which of the planes a row is in
    plane_start: Ints  # [rows]: where it begins there, in tokens
    bounds: Ints  # [rows + 1]
    row: Ints  # [pieces]
    start: Ints  # [pieces]: first token in its row, in reading order
    length: Ints  # [pieces]
    slot: Ints  # [pieces]
    segment: Ints  # [pieces]
    ids: NDArray[np.uint8]  # [pieces, 16]
    offset: Ints  # [pieces]: first token in its document
    source: NDArray[np.int16]  # [pieces]
    epoch: NDArray[np.int16]  # [pieces]


def open_stage(url: str, stage: str) -> Stage:
    """The shards of `stage` in a run directory (a path or any fsspec URL).

    Raises ValueError for a stage that the run does not have, with the nearest; ShardError for a manifest or
    shard that is missing, of another version, or does not belong to the others.
    """
    fs, root = fsspec.core.url_to_fs(str(url))
    root = root.rstrip("/")
    listed = read_stage(fs, root, stage)
    shards = [
        ShardFile(*row)
        for row in zip(
            listed.names, listed.paths, listed.counts.tolist(), listed.bytes, listed.checksums, strict=True
        )
    ]
    header = _header(fs, root, shards[0])
    if (header.stage, header.sequence_length) != (stage, listed.sequence_length):
        raise ShardError(
            f"{shards[0].name}: holds stage {header.stage!r} at {header.sequence_length}, the manifest says "
            f"{stage!r} at {listed.sequence_length}"
        )
    for shard in shards[1:]:
        found = _header(fs, root, shard)
        check_common(shards[0].name, header, shard.name, found, also=("stage", "sequence_length", "sources"))
    # All pieces of a document are in the shards of one unit: those whose names differ in the last number.
    groups = itertools.groupby(shards, key=lambda shard: shard.name.rpartition("-")[0])
    return Stage(
        root=str(url),
        name=stage,
        sequence_length=header.sequence_length,
        groups=tuple(tuple(group) for _, group in groups),
        header=header,
        sequences=listed.sequences,
        tokens=int(listed.tokens.sum()),
        padding=int(listed.padding.sum()),
    )


def _header(fs: Any, root: str, shard: ShardFile) -> ShardHeader:
    try:
        check_size(shard.name, int(fs.size(f"{root}/{shard.path}")), shard.bytes)
        if isinstance(fs, LocalFileSystem):
            with pa.memory_map(f"{root}/{shard.path}") as source:
                return read_header(pa.ipc.open_file(source).schema, shard.name)
        with fs.open(f"{root}/{shard.path}", "rb") as file:
            return read_header(pa.ipc.open_file(pa.PythonFile(file, mode="r")).schema, shard.name)
    except FileNotFoundError as error:
        raise ShardError(
            f"{shard.name}: no file {shard.path} in the run directory: fetch it or rerun the write phase"
        ) from error
    except pa.ArrowException as error:
        raise ShardError(f"{shard.name}: not a readable Arrow file ({error}): write it again") from error


@contextmanager
def open_group(stage: Stage, number: int) -> Iterator[Group]:
    """The shards of one unit, checked; those of a remote run are fetched for as long as the group is open."""
    fs, root = fsspec.core.url_to_fs(stage.root)
    shards = stage.groups[number]
    if isinstance(fs, LocalFileSystem):
        yield _read([(shard, Path(root, shard.path)) for shard in shards])
        return
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        fetched = []
        for i, shard in enumerate(shards):
            fetched.append((shard, Path(folder, f"{i}.arrow")))
            fs.get_file(f"{root.rstrip('/')}/{shard.path}", str(fetched[-1][1]))
        yield _read(fetched)


def _read(shards: list[tuple[ShardFile, Path]]) -> Group:
    planes: list[pa.Array] = []
    plane, plane_start, counts = [], [], []
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in PER_DOCUMENT}
    for shard, path in shards:
        try:
            check_file(LocalFileSystem(), str(path), shard.name, shard.bytes, shard.checksum)
        except ShardError as error:
            raise ShardError(f"{error}; nothing was exported") from error
        source = pa.memory_map(str(path))
        try:
            reader = pa.ipc.open_file(source)
            header = read_header(reader.schema, shard.name)
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            for batch in batches:
                batch.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            raise ShardError(f"{shard.name}: damaged: {error}: write it again") from error
        if sum(batch.num_rows for batch in batches) != shard.sequences:
            raise ShardError(f"{shard.name}: not the {shard.sequences} sequences that the manifest says")
        for batch in batches:
            counts.append(_checked_counts(batch, header, shard.name))
            plane.append(np.full(batch.num_rows, len(planes), np.int32))
            plane_start.append(np.arange(batch.num_rows, dtype=np.int64) * header.sequence_length)
            planes.append(batch["tokens"].flatten())
            for name in PER_DOCUMENT:
                columns[name].append(_values(batch[name]))
    per_row = np.concatenate(counts)
    bounds = np.concatenate([[0], np.cumsum(per_row)])
    row = np.repeat(np.arange(len(per_row)), per_row)
    slot = np.concatenate(columns["padded_lengths"]).astype(np.int64)
    before = np.cumsum(slot) - slot
    start = before - before[bounds[:-1]][row]
    segment = slot.copy()
    last = bounds[1:] - 1
    segment[last] = header.sequence_length - start[last]
    return Group(
        header=header,
        planes=planes,
        plane=np.concatenate(plane),
        plane_start=np.concatenate(plane_start),
        bounds=bounds,
        row=row,
        start=start,
        length=np.concatenate(columns["document_lengths"]).astype(np.int64),
        slot=slot,
        segment=segment,
        ids=np.concatenate(columns["document_ids"]),
        offset=np.concatenate(columns["document_offsets"]),
        source=np.concatenate(columns["source_ids"]),
        epoch=np.concatenate(columns["epochs"]),
    )


def _values(lists: pa.ListArray) -> NDArray[Any]:
    """Entries of a list column, one after the other; ids as [entries, 16] bytes."""
    values = lists.flatten()
    if pa.types.is_fixed_size_binary(values.type):
        offset, data = values.offset * 16, values.buffers()[1]
        if not len(values):
            return np.zeros((0, 16), np.uint8)
        return np.frombuffer(data, np.uint8, len(values) * 16, offset).reshape(-1, 16)
    numbers: NDArray[Any] = values.to_numpy()
    return numbers


def _checked_counts(batch: pa.RecordBatch, header: ShardHeader, name: str) -> Ints:
    """Pieces of each row of a batch whose lists describe sequences; raises ShardError for any other."""
    lists = [batch[column] for column in PER_DOCUMENT]
    if any(column.null_count or column.flatten().null_count for column in [batch["tokens"], *lists]):
        raise ShardError(f"{name}: a record batch holds nulls")
    counts: Ints = lists[0].value_lengths().to_numpy().astype(np.int64)
    if any(not column.value_lengths().equals(lists[0].value_lengths()) for column in lists):
        raise ShardError(f"{name}: the lists of a sequence differ in length")
    length, slot = _values(lists[0]).astype(np.int64), _values(lists[1]).astype(np.int64)
    broken = "boundaries that do not fit their sequence: write it again"
    if (counts < 1).any() or (length < 1).any() or (slot < length).any():
        raise ShardError(f"{name}: {broken}")
    if (np.add.reduceat(slot, np.cumsum(counts) - counts) > header.sequence_length).any():
        raise ShardError(f"{name}: {broken}")
    if (slot % header.pad_documents_to).any() or (_values(batch["document_offsets"]) < 0).any():
        raise ShardError(f"{name}: {broken}")
    source = _values(batch["source_ids"])
    if (source < 0).any() or (source >= len(header.sources)).any():
        raise ShardError(f"{name}: a source id that its metadata does not name")
    return counts


@dataclass(frozen=True)
class Ranges:
    """Runs of stored tokens which, one after the other, are some pieces in reading order."""

    plane: NDArray[np.int32]
    start: Ints
    length: Ints


def stored_ranges(group: Group, pieces: Ints, length: Ints) -> Ranges:
    """Where the first `length` tokens of the segments of `pieces` are stored (`docs/shard-format.md`).

    A contiguous piece is one range; a zig-zag one as many as it touches chunks, at most 2C for C ranks.
    """
    row, start = group.row[pieces], group.start[pieces]
    plane, origin = group.plane[row], group.plane_start[row]
    ranks, width = group.header.context_parallel, group.header.sequence_length
    if group.header.layout == "contiguous":
        return Ranges(plane, origin + start, length)
    if group.header.layout == "zigzag":  # chunks of the sequence
        chunk, begin = np.full(len(pieces), width // (2 * ranks)), start
    else:  # chunks of the segment
        chunk, begin = group.segment[pieces] // (2 * ranks), np.zeros(len(pieces), np.int64)
    first, last = begin // chunk, (begin + length - 1) // chunk
    count = last - first + 1
    piece = np.repeat(np.arange(len(pieces)), count)
    number = np.arange(len(piece)) - np.repeat(np.cumsum(count) - count - first, count)
    size = chunk[piece]
    low = np.maximum(begin[piece], number * size)
    high = np.minimum((begin + length)[piece], (number + 1) * size)
    rank = np.minimum(number, 2 * ranks - 1 - number)
    place = origin[piece] + rank * (width // ranks) + (number >= ranks) * size + low - number * size
    if group.header.layout == "zigzag_documents":  # a rank holds 1/C of all segments before this one
        place += start[piece] // ranks
    return Ranges(plane[piece], place, high - low)


def gather(group: Group, ranges: Ranges) -> NDArray[np.int32]:
    """The tokens of ranges, one after the other (int32 [sum of lengths]), by the shard writer's kernel."""
    total = int(ranges.length.sum())
    if not total:
        return np.zeros(0, np.int32)
    ends = np.cumsum(ranges.length)
    try:
        tokens, *_ = curate_kernels.gather_sequences(
            group.planes,
            pa.array(ranges.plane),
            pa.array(ranges.start),
            pa.array(ranges.length.astype(np.int32)),
            pa.array(np.zeros(len(ends), np.int32)),
            pa.array((ends - ranges.length).astype(np.int32)),
            sequences=1,
            sequence_length=total,
            pad=group.header.pad,
        )
    except ValueError as error:
        raise ShardError(f"stage {group.header.stage!r}: boundaries that do not fit: {error}") from error
    found: NDArray[np.int32] = tokens.flatten().to_numpy()
    return found


def sequences(group: Group, first: int, last: int) -> NDArray[np.int32]:
    """Rows [first, last) in reading order, padding included: int32 [rows, sequence_length]."""
    pieces = np.arange(group.bounds[first], group.bounds[last])
    return gather(group, stored_ranges(group, pieces, group.segment[pieces])).reshape(last - first, -1)


@dataclass(frozen=True)
class Documents:
    """Whole documents: document d is pieces order[bounds[d]:bounds[d + 1]], one after the other."""

    order: Ints
    bounds: Ints
    length: Ints  # [documents], tokens
    source: NDArray[np.int16]  # [documents]


def documents(group: Group) -> Documents:
    """The pieces of a group joined to documents, each at the place of its first piece.

    What a stage has of a document is joined where it is without a gap; each part between gaps is a document
    of its own. Pieces of a document lie in one group. O(pieces), but for those of documents that were cut.
    """
    order = np.arange(len(group.offset))
    low = np.ascontiguousarray(group.ids).view(np.uint64).reshape(-1, 2)[:, 0]
    later = low[group.offset > 0]
    starts_new = np.ones(len(order), np.bool_)
    if len(later):
        later = np.unique(later)
        spot = np.minimum(np.searchsorted(later, low), len(later) - 1)
        cut = np.flatnonzero(later[spot] == low)  # every piece of a document that was cut, and few others
        keys = np.ascontiguousarray(group.ids[cut]).view(">u8").reshape(-1, 2)
        by = np.lexsort((group.offset[cut], group.source[cut], group.epoch[cut], keys[:, 1], keys[:, 0]))
        cut, keys = cut[by], keys[by]
        same = (keys[1:] == keys[:-1]).all(axis=1)
        same &= group.epoch[cut][1:] == group.epoch[cut][:-1]
        same &= group.source[cut][1:] == group.source[cut][:-1]
        same &= (group.offset[cut] + group.length[cut])[:-1] == group.offset[cut][1:]
        goes_on = np.concatenate([[False], same])
        leader = cut[np.maximum.accumulate(np.where(goes_on, 0, np.arange(len(cut))))]
        moved, leader = cut[goes_on], leader[goes_on]
        starts_new[moved] = False
        kept = order[starts_new]
        after = np.argsort(leader, kind="stable")
        order = np.insert(kept, np.searchsorted(kept, leader[after]) + 1, moved[after])
    heads = np.flatnonzero(starts_new[order])
    return Documents(
        order=order,
        bounds=np.concatenate([heads, [len(order)]]),
        length=np.add.reduceat(group.length[order], heads),
        source=group.source[order[heads]],
    )


def spans_of(sizes: Ints, limit: int) -> Iterator[tuple[int, int]]:
    """Cut items into runs [first, last) of at most `limit` in all, or one item where that is more."""
    ends = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        done = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + limit, side="right")))
        yield first, last
        first = last

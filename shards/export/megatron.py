"""Megatron's indexed dataset: `PREFIX.bin` with tokens, back to back, and `PREFIX.idx` with their boundaries.

`.idx`, little-endian (Megatron-Core, `core/datasets/indexed_dataset.py`; it has no padding anywhere):

    9 bytes "MMIDIDX\\0\\0", uint64 version 1, uint8 type of a token (4: int32), uint64 S, uint64 D + 1,
    int32[S] tokens of each sequence, int64[S] byte in `.bin` where it begins, int64[D + 1] first sequence of
    each document, and S at the end

A sequence is a document here (S = D). Cost: 4 bytes a token and 20 a document, written at about the speed of
a checked copy of the shards; memory is that of `stage.py`, since lengths wait in a temporary file.
"""

from __future__ import annotations

import re
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from shards.export.stage import (
    CHUNK_TOKENS,
    Group,
    Ints,
    Stage,
    documents,
    gather,
    open_group,
    sequences,
    spans_of,
    stored_ranges,
)
from shards.format import ShardError

MAGIC = b"MMIDIDX\x00\x00"
INT32 = 4  # Megatron's code for the type of a token

#: Lengths that are turned into the index's columns at a time, and that are kept in memory at most.
_INDEX_ENTRIES = 1 << 20
_LENGTH_BYTES = 16 << 20

#: Opens a file of the export by its name; it becomes visible, whole, when the block is left without an error.
Open = Callable[[str], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True)
class MegatronPart:
    """A `.bin` and `.idx` pair: `prefix` is what `--data-path` takes; `source` None: all of them."""

    prefix: str
    source: str | None
    sequences: int
    tokens: int


@dataclass
class MegatronExport:
    """What was written. `eod_added` ends were not end-of-text in the shards; `eod_inside` are not ends."""

    mode: str
    sequence_length: int
    eod: int
    parts: list[MegatronPart]
    tokens: int = 0
    padding: int = 0
    eod_added: int = 0
    eod_inside: int = 0
    ends_without_eod: int = 0


class _Pair:
    """Lengths of what goes into one `.bin`, until its `.idx` is written."""

    def __init__(self, prefix: str, source: str | None, sink: BinaryIO) -> None:
        self.prefix, self.source, self.sink = prefix, source, sink
        self.count = self.tokens = 0
        # The index begins with the number of its entries, which is known at the end.
        self.lengths = tempfile.SpooledTemporaryFile(max_size=_LENGTH_BYTES)  # noqa: SIM115

    def write(self, tokens: NDArray[np.int32], lengths: Ints) -> None:
        if len(lengths) and lengths.max() >= 1 << 31:
            raise ShardError(
                f"a document of {lengths.max()} tokens: Megatron's index counts to {(1 << 31) - 1}; "
                "export packed sequences"
            )
        self.sink.write(np.ascontiguousarray(tokens, "<i4").data.cast("B"))
        self.lengths.write(lengths.astype("<i4").tobytes())
        self.count += len(lengths)
        self.tokens += len(tokens)

    def write_index(self, sink: BinaryIO) -> None:
        sink.write(MAGIC + struct.pack("<QBQQ", 1, INT32, self.count, self.count + 1))
        for lengths in self._blocks():
            sink.write(lengths.tobytes())
        pointer = 0
        for lengths in self._blocks():
            ends = pointer + np.cumsum(lengths, dtype=np.int64) * 4
            sink.write((ends - lengths.astype(np.int64) * 4).astype("<i8").tobytes())
            pointer = int(ends[-1])
        for first in range(0, self.count + 1, _INDEX_ENTRIES):
            sink.write(np.arange(first, min(first + _INDEX_ENTRIES, self.count + 1), dtype="<i8").tobytes())

    def _blocks(self) -> Iterator[NDArray[np.int32]]:
        self.lengths.seek(0)
        while block := self.lengths.read(4 * _INDEX_ENTRIES):
            yield np.frombuffer(block, "<i4")


def export_megatron(
    stage: Stage,
    prefix: str,
    open_file: Open,
    *,
    eod: int,
    packed: bool = False,
    by_source: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> MegatronExport:
    """Write a stage as `{prefix}.bin` and `{prefix}.idx`, or a pair `{prefix}_{source}` for each source.

    Documents by default: each is one sequence of Megatron's, whole (pieces of the stage joined, in the order
    of the shards), without padding, and ends in `eod`, which is added where a document does not. `packed`:
    each packed sequence as one of exactly L tokens, padding included. `progress` is told tokens read.

    Raises ValueError for options that exclude each other, and ShardError for shards that cannot be read or
    whose padding would be taken for the end of a document or is no token.
    """
    if packed and by_source:
        raise ValueError("a packed sequence mixes sources: either packed or by source")
    pad = stage.header.pad
    if pad == eod:
        raise ShardError(
            f"stage {stage.name!r}: padding is the end-of-text token {eod}: boundaries would move"
        )
    if packed and pad < 0 and stage.padding:
        raise ShardError(f"stage {stage.name!r}: its padding, {pad}, is no token: export documents")
    names = _prefixes(prefix, stage.header.sources) if by_source else [(prefix, None)]
    done = MegatronExport("packed" if packed else "documents", stage.sequence_length, eod, [])
    with ExitStack() as spools:
        with ExitStack() as bins:
            pairs = [
                _Pair(name, source, bins.enter_context(open_file(f"{name}.bin"))) for name, source in names
            ]
            for pair in pairs:
                spools.callback(pair.lengths.close)
            for number in range(len(stage.groups)):
                with open_group(stage, number) as group:
                    if packed:
                        _write_sequences(group, pairs[0], done, progress)
                    else:
                        _write_documents(group, pairs, done, progress)
        # The index comes last: without it there is no dataset, and it must not describe half a file.
        for pair in pairs:
            with open_file(f"{pair.prefix}.idx") as sink:
                pair.write_index(sink)
            done.parts.append(MegatronPart(pair.prefix, pair.source, pair.count, pair.tokens))
    done.tokens, done.padding = stage.tokens, stage.padding if packed else 0
    written = sum(part.tokens for part in done.parts)
    if written != done.tokens + done.padding + done.eod_added:
        raise ShardError(f"stage {stage.name!r}: {written} tokens written, the manifest has {stage.tokens}")
    return done


def _prefixes(prefix: str, sources: tuple[str, ...]) -> list[tuple[str, str | None]]:
    names: dict[str, str | None] = {}
    for source in sources:
        name = f"{prefix}_{re.sub(r'[^A-Za-z0-9.-]+', '_', source)}"
        if name in names:
            raise ShardError(f"sources {names[name]!r} and {source!r} would both be {name}: rename one")
        names[name] = source
    return list(names.items())


def _write_sequences(
    group: Group, pair: _Pair, done: MegatronExport, progress: Callable[[int], None]
) -> None:
    width = group.header.sequence_length
    step = max(1, CHUNK_TOKENS // width)
    for first in range(0, len(group.plane), step):
        last = min(first + step, len(group.plane))
        rows = sequences(group, first, last)
        pieces = slice(int(group.bounds[first]), int(group.bounds[last]))
        ends = group.start[pieces] + group.length[pieces] - 1
        is_eod = rows == done.eod
        at_end = is_eod[group.row[pieces] - first, ends]
        done.ends_without_eod += int((~at_end).sum())
        done.eod_inside += int(np.count_nonzero(is_eod)) - int(at_end.sum())
        pair.write(rows.reshape(-1), np.full(len(rows), width, np.int64))
        progress(rows.size)


def _write_documents(
    group: Group, pairs: list[_Pair], done: MegatronExport, progress: Callable[[int], None]
) -> None:
    found = documents(group)
    for number, pair in enumerate(pairs):
        chosen = (
            np.arange(len(found.length)) if pair.source is None else np.flatnonzero(found.source == number)
        )
        for first, last in spans_of(found.length[chosen], CHUNK_TOKENS):
            some = chosen[first:last]
            count = found.bounds[some + 1] - found.bounds[some]
            at = np.arange(int(count.sum())) + np.repeat(
                found.bounds[some] - (np.cumsum(count) - count), count
            )
            pieces = found.order[at]
            tokens = gather(group, stored_ranges(group, pieces, group.length[pieces]))
            lengths = found.length[some]
            ends = np.cumsum(lengths)
            bare = tokens[ends - 1] != done.eod
            done.eod_inside += int(np.count_nonzero(tokens == done.eod) - np.count_nonzero(~bare))
            progress(len(tokens))
            if bare.any():
                tokens = np.insert(tokens, ends[bare], np.int32(done.eod))
                lengths = lengths + bare
                done.eod_added += int(bare.sum())
            pair.write(tokens, lengths)

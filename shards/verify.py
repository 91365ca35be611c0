"""Is a shard what was written, and what the manifest says of it?

    file ─▶ size, XXH3-128 ─▶ footer ─▶ layout in the file ─▶ each record batch: rows, then its manifest rows

Nothing is trusted that has not been checked: a wrong footer ends the look at a shard, since it says where all
else lies. The file is mapped once and hashed twice, as a file and by tokens, at about half the speed of plain
reads from page cache. Memory: the boundaries of one record batch; tokens are only mapped.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import curate_kernels
import numpy as np
import pyarrow as pa
import xxhash

from shards.format import (
    SLICE_ALIGNMENT,
    ShardError,
    ShardHeader,
    batch_sequences,
    check_layout,
    plane_alignment,
    read_header,
)
from shards.verify_manifest import ManifestRows, batch_problems

AGAIN = "fetch it again, or delete it and rerun the write phase"

_PIECE = 16 << 20
_POPULATE_READ = 22 if sys.platform == "linux" else -1  # MADV_POPULATE_READ
_MAGIC = b"ARROW1"
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (a shard and its sequence, a file, a stage), what, and what to do."""

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: {self.remedy}"


def verify_shard(
    path: Path,
    rows: ManifestRows,
    *,
    context_parallel: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
    found_header: Callable[[ShardHeader], None] = lambda _: None,
) -> Iterator[Problem]:
    """What is wrong with the shard at `path`, of which the manifest says `rows`.

    With `context_parallel`, also whether that many ranks can each read their part of it. `advance` is told
    bytes as they are done, the file's size in all unless it ends early; `found_header` gets what the shard
    says of itself, to be held against that of others.
    """
    name = rows.shard

    def problem(what: str, remedy: str = AGAIN, where: str = name) -> Problem:
        return Problem(where, what, remedy)

    try:
        size = path.stat().st_size
        if size != rows.bytes:
            way = "truncated" if size < rows.bytes else "longer than written"
            yield problem(f"{way}: {size:,} bytes, the manifest says {rows.bytes:,}")
            return
        if not size:
            yield problem("it is empty")
            return
        with path.open("rb") as file:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        found = _file_checksum(path, mapping, lambda read: advance(read // 2))
        if found != rows.checksum:
            yield problem(f"its bytes are not those written (checksum {found}, not {rows.checksum})")
        footer, footer_start = _footer(path, size)
    except FileNotFoundError:
        yield problem("the manifest lists it, and there is no such file")
        return
    except (OSError, ShardError) as error:
        yield problem(f"cannot be read: {error}")
        return
    checksum = f"xxh3_64:{curate_kernels.xxh3_64(footer):016x}"
    if checksum != rows.footer_checksum:
        yield problem(
            f"its footer is not the one written (checksum {checksum}, not {rows.footer_checksum}): "
            "nothing further in it can be trusted"
        )
        return
    try:
        whole = pa.py_buffer(mapping)
        source = pa.BufferReader(whole)
        reader: Any = pa.ipc.open_file(source)
        header = read_header(reader.schema, name)
        found_header(header)
        blocks = curate_kernels.footer_blocks(footer)
        yield from _against_manifest(header, rows, context_parallel)
        yield from _geometry(source, name, header, blocks, footer_start)
        yield from _batches(whole.address, reader, header, blocks, rows, advance)
    except ShardError as error:
        yield problem(str(error).removeprefix(f"{name}: "))
    except (pa.ArrowException, OSError, ValueError) as error:
        yield problem(f"no readable Arrow file: {error}")


def _file_checksum(path: Path, mapping: mmap.mmap, advance: Callable[[int], None]) -> str:
    """Of the mapped file; or by reads, where pages cannot be mapped ahead.

    A disk that fails is an error in both; under a page that is merely touched it would end the process.
    """
    digest = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file, memoryview(mapping) as view:
        for start in range(0, len(view), _PIECE):
            end = min(start + _PIECE, len(view))
            if hasattr(os, "posix_fadvise"):  # the disk reads on while this piece is hashed
                os.posix_fadvise(file.fileno(), end, 2 * _PIECE, os.POSIX_FADV_WILLNEED)
            if _map_ahead(mapping, start, end):
                digest.update(view[start:end])
            else:
                file.seek(start)
                digest.update(file.read(end - start))
            advance(end - start)
    return f"xxh3_128:{digest.hexdigest()}"


def _map_ahead(mapping: mmap.mmap, start: int, end: int) -> bool:
    """Map whole pages of the file at once (Linux from 5.14); False where the system has no such call."""
    try:
        mapping.madvise(_POPULATE_READ, start, end - start)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise OSError(error.errno, f"bytes {start} to {end} cannot be read") from error
        return False
    except AttributeError:
        return False
    return True


def _footer(path: Path, size: int) -> tuple[bytes, int]:
    """The footer's flatbuffer and where it begins."""
    with path.open("rb") as file:
        file.seek(max(0, size - 10))
        tail = file.read(10)
        length = int.from_bytes(tail[:4], "little", signed=True)
        if tail[4:] != _MAGIC or not 0 < length <= size - 18:
            raise ShardError("it does not end like an Arrow file")
        file.seek(size - 10 - length)
        return file.read(length), size - 10 - length


def _against_manifest(
    header: ShardHeader, rows: ManifestRows, context_parallel: int | None
) -> Iterator[Problem]:
    for name, found in (("stage", header.stage), ("sequence_length", header.sequence_length)):
        if found != (listed := getattr(rows, name)):
            yield Problem(rows.shard, f"its {name} is {found!r}, the manifest says {listed!r}", AGAIN)
    if context_parallel is not None:
        if header.layout != "contiguous" and header.context_parallel != context_parallel:
            yield Problem(
                rows.shard,
                f"its {header.layout} order is for {header.context_parallel} ranks, not {context_parallel}",
                "write it for as many ranks as will read it (context_parallel_size of its stage)",
            )
        try:
            check_layout(
                "contiguous",
                context_parallel,
                sequence_length=header.sequence_length,
                pad_documents_to=header.pad_documents_to,
            )
        except ValueError as error:
            yield Problem(rows.shard, str(error), "choose another number of ranks for this stage")


def _geometry(
    source: pa.NativeFile,
    name: str,
    header: ShardHeader,
    blocks: list[tuple[int, int, int]],
    footer_start: int,
) -> Iterator[Problem]:
    """Messages follow one another, bodies begin aligned and end in zeros."""
    alignment = plane_alignment(header.sequence_length)
    if header.batch_sequences > 1 and header.batch_sequences > batch_sequences(header.sequence_length):
        yield Problem(name, f"batches of {header.batch_sequences} sequences, more than the format has", AGAIN)
    expected = None
    for number, (offset, message, body) in enumerate(blocks):
        where, start = f"{name}, record batch {number}", offset + message
        if expected is not None and offset != expected:
            yield Problem(where, f"its message begins at {offset}, the one before ends at {expected}", AGAIN)
        expected = start + body
        if not (0 < offset < start <= expected <= footer_start - 8 and message >= 8):
            yield Problem(where, f"it reaches from {offset} to {expected}, outside of the file", AGAIN)
            return
        source.seek(offset)
        prefix = source.read(8)
        if prefix[:4] != _END_OF_STREAM[:4] or int.from_bytes(prefix[4:], "little") != message - 8:
            yield Problem(where, f"there is no message of {message} bytes at {offset}", AGAIN)
        if start % alignment:
            yield Problem(where, f"its body begins at {start}, not at a multiple of {alignment}", AGAIN)
        if body % SLICE_ALIGNMENT or body < SLICE_ALIGNMENT:
            yield Problem(where, f"its body has {body} bytes, no multiple of {SLICE_ALIGNMENT}", AGAIN)
            continue
        source.seek(expected - SLICE_ALIGNMENT)
        if any(source.read(SLICE_ALIGNMENT)):
            yield Problem(where, f"its body does not end in {SLICE_ALIGNMENT} zeros", AGAIN)
    if expected is not None and expected != footer_start - 8:
        yield Problem(name, f"{footer_start - 8 - expected} bytes lie between its batches and footer", AGAIN)
    source.seek(footer_start - 8)
    if source.read(8) != _END_OF_STREAM:
        yield Problem(name, "no end-of-stream marker before its footer", AGAIN)


def _batches(
    base: int,
    reader: Any,
    header: ShardHeader,
    blocks: list[tuple[int, int, int]],
    rows: ManifestRows,
    advance: Callable[[int], None],
) -> Iterator[Problem]:
    name = rows.shard
    needed = -(-rows.sequences // header.batch_sequences)
    if reader.num_record_batches != needed:
        yield Problem(
            name,
            f"{reader.num_record_batches} record batches; the {rows.sequences} sequences of the manifest "
            f"make {needed}",
            AGAIN,
        )
    for number, (offset, message, body) in enumerate(blocks):
        first = number * header.batch_sequences
        where = f"{name}, record batch {number}"
        try:
            batch = reader.get_batch(number)
            batch.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            yield Problem(where, f"damaged: {error}", AGAIN)
            continue
        expected = min(header.batch_sequences, rows.sequences - first)
        if batch.num_rows != expected:
            yield Problem(where, f"{batch.num_rows} sequences, not {expected}", AGAIN)
        start = offset + message
        yield from _places(where, base, batch, header, start, start + body)
        try:
            wrong, reasons = curate_kernels.wrong_sequences(
                batch,
                first_row=first,
                pad=header.pad,
                pad_documents_to=header.pad_documents_to,
                sources=len(header.sources),
                layout=header.layout,
                context_parallel=header.context_parallel,
            )
        except ValueError as error:
            yield Problem(where, str(error), AGAIN)
            continue
        for row, reason in reasons:
            yield Problem(f"{name}, sequence {first + row}", reason, AGAIN)
        named = len({row for row, _ in reasons})
        if wrong > named:
            yield Problem(where, f"{wrong - named} further sequences are wrong", AGAIN)
        for sequence, what in batch_problems(batch, first, header, rows):
            yield Problem(
                f"{name}, sequence {sequence}",
                what,
                "the manifest and the shard are not of one write: " + AGAIN,
            )
        advance((message + body) // 2)


def _places(
    where: str, base: int, batch: pa.RecordBatch, header: ShardHeader, start: int, end: int
) -> Iterator[Problem]:
    """The file offsets at which a mapped batch's buffers really lie."""
    alignment = plane_alignment(header.sequence_length)
    planes = batch["tokens"].values.buffers()[1].address - base
    offsets = planes + np.arange(batch.num_rows, dtype=np.int64) * 4 * header.sequence_length
    if planes != start:
        yield Problem(where, f"its tokens begin at {planes}, its body at {start}", AGAIN)
    if (odd := np.flatnonzero(offsets % alignment)).size:
        yield Problem(
            where,
            f"the tokens of its row {odd[0]} begin at {offsets[odd[0]]}, not at a multiple of {alignment}",
            AGAIN,
        )
    for column, array in zip(batch.schema.names, batch.columns, strict=True):
        for buffer in array.buffers():
            if buffer is None or not buffer.size:
                continue
            at = buffer.address - base
            if at % 64 or not start <= at <= at + buffer.size <= end - SLICE_ALIGNMENT:
                yield Problem(
                    where, f"a buffer of {column} lies at {at} to {at + buffer.size} of the file", AGAIN
                )

"""The one place that opens paths: fsspec URLs in, published files out.

A file is published by writing it under a temporary name in its own folder, syncing and renaming; its
checksum is computed on the way. The folder is not synced: a rename that a power cut undoes leaves a
file missing, which the next run sees and remakes (`Run.finished`), and syncing costs a disk round trip.
On an object store an upload becomes visible only when it is complete, so there the final name is
written directly. Nothing ever sees half a file.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash


class StorageError(Exception):
    """A file could not be read or written; the message says which, why, and what to do."""


@dataclass(frozen=True)
class Published:
    """A complete file: `path` relative to the run directory, size in bytes, checksum of its bytes."""

    path: str
    bytes: int
    checksum: str


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec filesystem of a URL and the path on it."""
    return cast(tuple[Any, str], fsspec.core.url_to_fs(url))


def is_local(url: str) -> bool:
    """Whether a URL names a file of this machine."""
    return "://" not in url or url.startswith("file://")


def join(root: str, *parts: str) -> str:
    """A path below a folder or bucket."""
    return "/".join([root.rstrip("/"), *(part.strip("/") for part in parts)])


def exists(url: str) -> bool:
    fs, path = filesystem(url)
    return bool(fs.exists(path))


def size(url: str) -> int | None:
    """Size in bytes, or None where there is no such file."""
    if is_local(url):
        try:
            return Path(url.removeprefix("file://")).stat().st_size
        except FileNotFoundError:
            return None
    fs, path = filesystem(url)
    return int(fs.size(path)) if fs.exists(path) else None


def list_files(folder: str) -> list[str]:
    """Names of the complete files in a folder, sorted; none when the folder is missing."""
    fs, path = filesystem(folder)
    if not fs.exists(path):
        return []
    names = (
        entry["name"].rstrip("/").rsplit("/", 1)[-1]
        for entry in fs.ls(path, detail=True)
        if entry["type"] == "file"
    )
    return sorted(name for name in names if not name.startswith("."))


def remove(url: str) -> None:
    """Remove a file if it is there."""
    fs, path = filesystem(url)
    if fs.exists(path):
        fs.rm_file(path)


def read_bytes(url: str) -> bytes:
    fs, path = filesystem(url)
    try:
        return cast(bytes, fs.cat_file(path))
    except FileNotFoundError as error:
        raise StorageError(f"{url}: no such file") from error


@contextmanager
def open_arrow(url: str) -> Iterator[pa.NativeFile]:
    """A file for Arrow's readers: memory-mapped when it is local."""
    if is_local(url):
        with pa.memory_map(url.removeprefix("file://")) as source:
            yield source
        return
    fs, path = filesystem(url)
    with fs.open(path, "rb") as source:
        yield pa.PythonFile(source, mode="r")


def read_table(url: str, **options: Any) -> pa.Table:
    """A Parquet file as a table (`columns`, `filters`: as `pyarrow.parquet.read_table`)."""
    fs, path = filesystem(url)
    try:
        return pq.read_table(path, filesystem=fs, partitioning=None, **options)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise StorageError(
            f"{url}: cannot be read ({error}); delete it and run again to remake it"
        ) from error


class _Checksummed(io.RawIOBase):
    """A write-only sink that counts and hashes what passes through it."""

    def __init__(self, sink: BinaryIO) -> None:
        self.sink, self.count, self.digest = sink, 0, xxhash.xxh3_128()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.sink.write(view)
        self.digest.update(view)
        self.count += len(view)
        return len(view)

    def tell(self) -> int:
        return self.count

    def describe(self, path: str) -> Published:
        return Published(path, self.count, f"xxh3_128:{self.digest.hexdigest()}")


@dataclass
class Publication:
    """A file being written; `published` is set once it is complete and visible."""

    sink: BinaryIO
    published: Published | None = None

    def result(self) -> Published:
        if self.published is None:
            raise ValueError("the file is not published yet")
        return self.published


@contextmanager
def publishing(root: str, path: str) -> Iterator[Publication]:
    """Write a file of the run directory so that it is either complete or absent.

    Leaving the block publishes; an exception in it leaves nothing behind. Raises `StorageError` when
    the disk is full, with the place and the remedy.
    """
    url = join(root, path)
    fs, target = filesystem(url)
    if not is_local(url):
        raw = fs.open(target, "wb")
        sink = _Checksummed(raw)
        publication = Publication(cast(BinaryIO, sink))
        try:
            yield publication
        except BaseException:
            if discard := getattr(raw, "discard", None):
                discard()
            raise
        raw.close()
        publication.published = sink.describe(path)
        return
    final = Path(target)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb", buffering=1 << 20) as file:
            sink = _Checksummed(file)
            publication = Publication(cast(BinaryIO, sink))
            yield publication
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(final)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"{url}: no space left on the device; what was finished is kept: "
                "free some space (or choose another --run-directory) and run the same command again"
            ) from error
        if error.filename is None or Path(error.filename) not in (temporary, final.parent):
            raise  # not about this file: whatever was being read while it was written
        raise StorageError(f"{url}: cannot be written ({error.strerror})") from error
    finally:
        with suppress(NotADirectoryError):  # its folder is a file: already said above
            temporary.unlink(missing_ok=True)
    publication.published = sink.describe(path)


def publish(root: str, path: str, write: Callable[[BinaryIO], None]) -> Published:
    """Publish what `write` puts into the sink that it is given."""
    with publishing(root, path) as publication:
        write(publication.sink)
    return publication.result()


def publish_bytes(root: str, path: str, data: bytes) -> Published:
    with publishing(root, path) as publication:
        publication.sink.write(data)
    return publication.result()


def _leaves(schema: pa.Schema) -> list[str]:
    """Parquet's names of the columns of a schema, nested ones by their paths."""
    columns = pq.ParquetFile(pa.BufferReader(_empty_file(schema))).schema
    return [columns.column(number).path for number in range(len(columns))]


def _empty_file(schema: pa.Schema) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    return sink.getvalue()


def publish_table(
    root: str, path: str, table: pa.Table, *, row_group_rows: int = 1 << 16, find_by: str | None = None
) -> Published:
    """A table as one Parquet file (zstd); its bytes depend on the table alone.

    `find_by` names a column of ids: a Bloom filter lets a reader skip the row groups that lack one, which
    costs 2 bytes a row and finds one of 20 million rows ten times as fast.
    """
    options: dict[str, Any] = {}
    if find_by is not None:
        rows = max(1, min(len(table), row_group_rows))
        options["bloom_filter_options"] = {find_by: {"ndv": rows, "fpp": 0.01}}
        # No dictionary of ids, each of which is there once or a few times.
        options["use_dictionary"] = [leaf for leaf in _leaves(table.schema) if leaf != find_by]

    def write(sink: BinaryIO) -> None:
        pq.write_table(
            table, sink, row_group_size=row_group_rows, compression="zstd", compression_level=1, **options
        )

    return publish(root, path, write)


def remove_temporaries(root: str) -> None:
    """Clear what killed processes left half-written in a local run directory."""
    if is_local(root) and Path(root).exists():
        for leftover in Path(root).rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)


def checksum(url: str) -> str:
    """The checksum of a file as `publish` computes it."""
    digest = xxhash.xxh3_128()
    fs, path = filesystem(url)
    with fs.open(path, "rb") as source:
        while block := source.read(1 << 22):
            digest.update(block)
    return f"xxh3_128:{digest.hexdigest()}"

"""Where a source's bytes come from: a local folder or any fsspec URL, and streams decompressed with a limit.

Local files are opened directly (no fsspec call per file: 30,000 small files cost about 10 us each less).
Nothing here trusts a length that the data declares: every read is bounded, so that a small file that
unpacks to terabytes costs one limit's worth of memory.
"""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import fsspec
from fastwarc.stream_io import ZstdReader

CHUNK = 1 << 20
ZSTD_CHUNK = 1 << 16  # what a read loses when its frame turns out to be cut short

#: Suffixes that are opened transparently.
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}


class DamagedInput(Exception):
    """Bytes that cannot be read on: why, and the offset in the file as stored, where it is known."""

    def __init__(self, reason: str, offset: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


@dataclass(frozen=True)
class Root:
    """A folder (`local`) or a prefix of a remote store; paths are relative to it, with forward slashes."""

    base: str
    local: bool
    filesystem: Any = None

    @staticmethod
    def at(url: str) -> Root:
        """A folder's path, or a URL as fsspec takes it (`s3://bucket/data`, `memory://x`)."""
        if "://" not in url:
            return Root(url, local=True)
        filesystem, base = fsspec.core.url_to_fs(url)
        if "file" in (protocols := filesystem.protocol) or protocols == "file":
            return Root(base, local=True)
        return Root(base.rstrip("/"), local=False, filesystem=filesystem)

    def path(self, relative: str) -> str:
        """The path that the file system takes."""
        if not relative:
            return self.base or "."
        return f"{self.base.rstrip('/')}/{relative}" if self.base else relative

    def open(self, relative: str) -> BinaryIO:
        """The file's bytes as stored; OSError when it cannot be opened."""
        if self.local:
            return Path(self.path(relative)).open("rb")
        return cast(BinaryIO, self.filesystem.open(self.path(relative), "rb"))

    def listing(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        """(path, size, stamp) of every file below `prefix` in a remote store."""
        start = self.path(prefix)
        cut = len(self.base) + 1 if self.base else 0
        for name, info in self.filesystem.find(start, detail=True).items():
            yield name[cut:], int(info.get("size") or 0), _stamp(info)


def _stamp(info: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "md5Hash", "checksum", "LastModified", "last_modified", "mtime", "created"):
        if info.get(key) is not None:
            return f"{info.get('size')}:{info[key]}"
    return str(info.get("size"))


def compression(path: str) -> str | None:
    """`gzip`, `zstd`, `bz2`, `xz` or None, by the name's last suffix."""
    return COMPRESSIONS.get(os.path.splitext(path)[1].lower())  # noqa: PTH122 (one string operation, no Path)


def read_bounded(stream: BinaryIO, codec: str | None, limit: int) -> bytes:
    """All of a small file, decompressed; DamagedInput when it is broken or longer than `limit` bytes."""
    if codec is None:
        data = stream.read(limit + 1)
        size = len(data)
    else:
        parts = []
        size = 0
        for chunk in decompressed(stream, codec):
            parts.append(chunk)
            size += len(chunk)
            if size > limit:
                break
        data = b"".join(parts)
    if size > limit:
        raise DamagedInput(f"larger than the limit of {limit} bytes", 0)
    return data


def decompressed(stream: BinaryIO, codec: str | None) -> Iterator[bytes]:
    """Chunks of at most 1 MiB, whatever the ratio; all that precedes damage comes before DamagedInput."""
    if codec is None:
        while chunk := stream.read(CHUNK):
            yield chunk
    elif codec == "zstd":
        yield from _zstd(stream)
    elif codec == "gzip":
        yield from _members(stream, _Gzip, "gzip", zlib.error)
    elif codec == "bz2":
        yield from _members(stream, bz2.BZ2Decompressor, "bzip2", OSError)
    elif codec == "xz":
        yield from _members(stream, lambda: lzma.LZMADecompressor(memlimit=1 << 28), "xz", lzma.LZMAError)
    else:
        raise ValueError(f"unknown compression {codec!r}")


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib's decompressor with the interface of bz2's and lzma's: input is kept until it is asked for."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        tail = self._inner.unconsumed_tail
        return self._inner.decompress(tail + data if tail else data, max_length)


def _members(
    stream: BinaryIO, new: Callable[[], _Decompressor], name: str, error_type: type[Exception]
) -> Iterator[bytes]:
    """Concatenated members, as gzip, bzip2 and xz files may have; trailing zero bytes are padding."""
    read = 0  # bytes taken from the stream so far
    data = b""
    while True:
        if not data:
            data = stream.read(CHUNK)
            read += len(data)
        if not data or not data.strip(b"\0"):
            if not data:
                return
            data = b""
            continue
        start = read - len(data)
        member = new()
        while not member.eof:
            try:
                chunk = member.decompress(data, CHUNK)
            except error_type as error:
                raise DamagedInput(f"corrupt {name}: {error}", start) from error
            data = b""
            if chunk:
                yield chunk
            if not member.eof and member.needs_input and len(chunk) < CHUNK:
                data = stream.read(CHUNK)
                read += len(data)
                if not data:
                    raise DamagedInput(f"truncated {name}", start)
        data = member.unused_data


def _zstd(stream: BinaryIO) -> Iterator[bytes]:
    reader = ZstdReader(stream)
    while True:
        try:
            chunk = reader.read(ZSTD_CHUNK)
        except OSError as error:
            raise DamagedInput(
                f"corrupt or truncated zstd: {error}", reader.frame_start_position()
            ) from error
        if not chunk:
            return
        yield chunk

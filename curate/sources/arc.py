"""ARC, the archive format before WARC: one header line per record, `URL IP date media-type length`.

The first record is the file's own (`filedesc://`); version 2 lines have five more fields before the
length. Damage ends the file: there is no mark by which the next record could be found.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from curate.sources.opening import DamagedInput, decompressed

_LINE = re.compile(rb"(\S+) (\S+) (\d{14}|\d{12}|\d{8}) (\S+)(?: .*)? (\d+)\s*")
MAX_LINE = 1 << 16


@dataclass(frozen=True)
class ArcHeader:
    """One record's header line; `date` in ISO 8601."""

    url: str
    date: str
    media: str
    length: int


def is_arc(head: bytes) -> bool:
    """Whether a file that begins so is an ARC, plain or gzipped."""
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(31).decompress(head, 64)
        except zlib.error:
            return False
    return head.startswith(b"filedesc:")


def records(stream: BinaryIO, limit: int) -> Iterator[tuple[ArcHeader, bytes | None, int]]:
    """(header, body, offset) of each record; the body is None when it is longer than `limit`.

    The offset counts uncompressed bytes. DamagedInput where the file cannot be read on.
    """
    head = stream.read(2)
    stream.seek(0)
    source = _Buffered(decompressed(stream, "gzip" if head == b"\x1f\x8b" else None))
    while (line := source.line()) is not None:
        if not line.strip():
            continue
        offset = source.position - len(line)
        found = _LINE.fullmatch(line)
        if found is None:
            raise DamagedInput(f"not an ARC header: {line[:80]!r}", offset)
        length = int(found[5])
        url, media = found[1].decode("utf-8", "replace"), found[4].decode("ascii", "replace")
        header = ArcHeader(url, _iso(found[3].decode()), media, length)
        if length > limit:
            source.skip(length, offset)
            yield header, None, offset
        else:
            yield header, source.take(length, offset), offset


def _iso(digits: str) -> str:
    padded = (digits + "000000")[:14]
    return f"{padded[:4]}-{padded[4:6]}-{padded[6:8]}T{padded[8:10]}:{padded[10:12]}:{padded[12:14]}Z"


class _Buffered:
    """Lines and counted bytes from a stream of chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._data = b""
        self.position = 0

    def _more(self) -> bool:
        chunk = next(self._chunks, b"")
        self._data += chunk
        return bool(chunk)

    def line(self) -> bytes | None:
        while (end := self._data.find(b"\n")) < 0 and len(self._data) < MAX_LINE:
            if not self._more():
                end = len(self._data) - 1
                break
        if not self._data:
            return None
        if end < 0:
            raise DamagedInput("an ARC header line without an end", self.position)
        return self._cut(end + 1)

    def take(self, length: int, offset: int) -> bytes:
        parts = []
        while length > 0:
            if not self._data and not self._more():
                raise DamagedInput("truncated record", offset)
            parts.append(self._cut(min(length, len(self._data))))
            length -= len(parts[-1])
        return b"".join(parts)

    def skip(self, length: int, offset: int) -> None:
        while length > 0:
            if not self._data and not self._more():
                raise DamagedInput("truncated record", offset)
            length -= len(self._cut(min(length, len(self._data))))

    def _cut(self, length: int) -> bytes:
        part, self._data = self._data[:length], self._data[length:]
        self.position += length
        return part

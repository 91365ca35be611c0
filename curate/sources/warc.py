"""Web archives: WARC and WET (`.warc`, `.warc.gz`, `.warc.zst`) and the older ARC.

A document is a `response` of status 2xx, a `resource` or a WET `conversion` whose payload is HTML or plain
text; requests, revisits, metadata, redirects and other media types are not documents and are passed over.
A record that cannot be read is one quarantined record at its byte offset in the file as stored. After
damage in a `.gz` or plain file reading resumes at the next record that starts as one; in other files it
ends there.

Locators are `<URL>#<file>@<offset>`: unique by construction, and they lead back to the bytes. Record ids
are not unique: copies of one archive in two compressions repeat all of them.

Speed is fastwarc's for the archive (about 300 MB/s a core from gzip); HTML extraction costs ten times more.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from curate.document import Record
from curate.sources import arc
from curate.sources.charset import UndecodableError, declared_in, decode
from curate.sources.http_body import decode_body
from curate.sources.opening import DamagedInput, Root

HTML = frozenset({"text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml"})
TEXT = frozenset({"text/plain"})

_WANTED = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion
_GZIP_MEMBER = b"\x1f\x8b\x08"
_VERSION = re.compile(rb"WARC/[01]\.\d+\r?\n")
_MARKUP = re.compile(rb"\s*(?:<!--.{0,4096}?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)
_WINDOW = 1 << 22


@dataclass(frozen=True)
class _Origin:
    """Where a record comes from, and what its archive says about it."""

    place: str  # `<file>@<offset>`, `+<n>` where records share a compressed frame
    offset: int  # in the file as stored
    url: str | None = None
    date: str | None = None
    cut: bool = False  # the archive says that it cut the payload off

    def damaged(self, reason: str, size: int = 0) -> Record:
        locator = f"{self.url or ''}#{self.place}"
        return Record(
            locator,
            None,
            size,
            url=self.url,
            date=self.date,
            charset=None,
            error=reason,
            error_offset=self.offset,
        )


def _at(path: str, offset: int) -> _Origin:
    return _Origin(f"{path}@{offset}", offset)


def read_warc(root: Root, path: str, *, document_bytes: int) -> Iterator[Record]:
    """Every document of an archive; `format` is `html` or `text`, `text` is decoded but not extracted."""
    try:
        with root.open(path) as stream:
            head = stream.read(4096)
            stream.seek(0)
            if arc.is_arc(head):
                yield from _arc_documents(stream, path, document_bytes)
            else:
                yield from _documents(stream, path, document_bytes)
    except OSError as error:  # of the file system: what the archive's own bytes cause is dealt with below
        yield Record(f"#{path}", None, 0, charset=None, error=f"cannot be read: {error.strerror or error}")


def _documents(stream: BinaryIO, path: str, document_bytes: int) -> Iterator[Record]:
    base = 0
    while True:
        last = base
        done = -1  # offset of the last record that was dealt with: damage that follows is after it
        ordinal = 0
        try:
            for record in ArchiveIterator(stream, parse_http=False):
                last = base + record.stream_pos
                ordinal = ordinal + 1 if last == done else 0
                yield from _document(record, path, last, ordinal, document_bytes)
                done = last
            offset = base if done < 0 else _end_of(stream, done)
            if offset == done or not _unread(stream, offset):
                return
            yield _at(path, offset).damaged("truncated archive")
        except OSError as error:
            offset = _end_of(stream, done) if done == last else last
            yield _at(path, offset).damaged(f"damaged archive: {error}")
        following = _next_record(stream, offset + 1)
        if following is None:
            return
        base = following
        stream.seek(base)


def _document(record: WarcRecord, path: str, offset: int, ordinal: int, limit: int) -> Iterator[Record]:
    headers = record.headers
    declared = headers.get("Content-Length")
    origin = _Origin(
        place=f"{path}@{offset}+{ordinal}" if ordinal else f"{path}@{offset}",
        offset=offset,
        url=(headers.get("WARC-Target-URI") or "").strip("<>") or None,
        date=headers.get("WARC-Date"),
        cut=headers.get("WARC-Truncated") is not None,
    )
    if not declared or not declared.isdigit():
        yield origin.damaged("record without a valid Content-Length")
        return
    if not record.record_type & _WANTED:
        if record.consume() < int(declared):
            yield origin.damaged("truncated archive")
        return
    if int(declared) > limit:
        yield origin.damaged(f"record of {declared} bytes, over the limit of {limit}", int(declared))
        return
    body = record.reader.read()
    if len(body) < int(declared):
        yield origin.damaged("truncated record", len(body))
        return
    http = (headers.get("Content-Type") or "").startswith("application/http")
    media = headers.get("WARC-Identified-Payload-Type") or ("" if http else headers.get("Content-Type"))
    yield from _payload(origin, body, http, media or "", limit)


def _payload(origin: _Origin, body: bytes, http: bool, media: str, limit: int) -> Iterator[Record]:
    """The record of a payload that is a document; none for one that is not."""
    size = len(body)
    transfer = encoding = charset = None
    if http:
        status, fields, body = split_http(body)
        if not 200 <= status < 300:
            return
        transfer, encoding = fields.get("transfer-encoding"), fields.get("content-encoding")
        media_type, charset = _media_type(fields.get("content-type", ""))
        media = media or media_type
    else:
        media, charset = _media_type(media)
    if media and media not in HTML and media not in TEXT:
        return
    try:
        data = decode_body(body, transfer=transfer, content=encoding, limit=limit, cut=origin.cut)
        if not media:
            if not _MARKUP.match(data[:8192]):
                return
            media = "text/html"
        form = "html" if media in HTML else "text"
        text, charset = decode(data, declared=charset or (declared_in(data) if form == "html" else None))
    except (DamagedInput, UndecodableError) as error:
        yield origin.damaged(str(error), size)
        return
    yield Record(
        f"{origin.url or ''}#{origin.place}", text, size, form, origin.url, None, origin.date, charset
    )


def split_http(message: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status (0 when there is no status line), header fields by lower-case name, and the body."""
    end = message.find(b"\r\n\r\n")
    width = 4
    bare = message.find(b"\n\n")
    if end < 0 or 0 <= bare < end:
        end, width = bare, 2
    head = message if end < 0 else message[:end]
    lines = head.decode("latin-1").splitlines()
    status = re.match(r"HTTP/\d(?:\.\d)?\s+(\d{3})", lines[0]) if lines else None
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    return int(status[1]) if status else 0, fields, b"" if end < 0 else message[end + width :]


def _media_type(value: str) -> tuple[str, str | None]:
    """`text/html; charset="x"` -> ("text/html", "x")."""
    media, _, rest = value.partition(";")
    found = re.search(r"charset\s*=\s*[\"']?([\w.:-]{2,40})", rest, re.I)
    return media.strip().lower(), found[1] if found else None


# After damage


def _end_of(stream: BinaryIO, offset: int) -> int:
    """Where the record at `offset`, which was read whole, ends in the file as stored."""
    stream.seek(offset)
    data = stream.read(_WINDOW)
    if not data.startswith(_GZIP_MEMBER):
        head = data.find(b"\r\n\r\n")
        length = re.search(rb"(?im)^content-length:\s*(\d+)", data[:head]) if head >= 0 else None
        return offset + head + 8 + int(length[1]) if length else offset
    member = zlib.decompressobj(31)
    while data:
        try:
            member.decompress(data, 1)
            while member.unconsumed_tail and not member.eof:
                member.decompress(member.unconsumed_tail, _WINDOW)
        except zlib.error:  # damaged inside the frame that this record shares with others
            return offset
        if member.eof:
            return stream.tell() - len(member.unused_data)
        data = stream.read(_WINDOW)
    return stream.tell()


def _unread(stream: BinaryIO, offset: int) -> bool:
    """Whether a record or a part of one is left at `offset` after the iterator's silent end."""
    stream.seek(0)
    if not stream.read(5).startswith((_GZIP_MEMBER, b"WARC/")):
        return False  # zstd, lz4: the iterator's word has to do
    stream.seek(offset)
    return bool(stream.read(4096).strip(b"\r\n\0 "))


def _next_record(stream: BinaryIO, offset: int) -> int | None:
    """Offset of the first record, plain or a gzip member, that starts at or after `offset`; or None."""
    overlap = 64
    stream.seek(offset)
    window = b""
    start = offset
    while block := stream.read(_WINDOW):
        window += block
        final = len(block) < _WINDOW
        for found in re.finditer(rb"\x1f\x8b\x08|WARC/[01]\.\d", window):
            if not final and found.start() > len(window) - overlap:
                break
            if _starts_record(window[found.start() : found.start() + 4096]):
                return start + found.start()
        start += max(len(window) - overlap, 0)
        window = window[-overlap:]
    return None


def _starts_record(data: bytes) -> bool:
    if data.startswith(_GZIP_MEMBER):
        try:
            data = zlib.decompressobj(31).decompress(data, 64)
        except zlib.error:
            return False
    return _VERSION.match(data) is not None


# ARC


def _arc_documents(stream: BinaryIO, path: str, limit: int) -> Iterator[Record]:
    try:
        for header, body, offset in arc.records(stream, limit):
            origin = _Origin(f"{path}@{offset}", offset, header.url, header.date)
            if body is None:
                yield origin.damaged(
                    f"record of {header.length} bytes, over the limit of {limit}", header.length
                )
            elif header.url.startswith("http"):
                http = body.startswith(b"HTTP/")
                yield from _payload(origin, body, http, "" if http else header.media, limit)
    except DamagedInput as damage:
        yield _at(path, damage.offset or 0).damaged(damage.reason)

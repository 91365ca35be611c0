"""Saved pages as a WARC/1.1 file: one HTTP response record a page, its original bytes as the payload.

The bytes depend on the pages alone: record ids are UUIDs of the package and path, dates are those of the
files in the archive, gzip members carry no time. (Two builds of zlib may still compress differently; what
they unpack to is the same.) One gzip member a record, as the format asks. About 20 MB/s, memory one page.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO

_LEVEL = 6
_RSS = re.compile(rb"\s*<\?xml[^>]*\?>\s*<(?:rss|feed)\b")


@dataclass(frozen=True)
class Page:
    """A saved page: where it was, its path in the package, its bytes and the archive's date for it."""

    url: str
    member: str
    body: bytes
    seconds: int  # since 1970, UTC


def write(out: IO[bytes], package: str, note: str, pages: Iterable[Page]) -> int:
    """Write a warcinfo record and one response record a page; the number of pages comes back.

    `package` (name and version) goes into the record ids, `note` (the rights) into the warcinfo record.
    """
    info = f"software: curate.corpus\r\nformat: WARC File Format 1.1\r\nisPartOf: {package}\r\n"
    info += f"description: {note}\r\n"
    out.write(_record("warcinfo", f"{package}/warcinfo", 0, "application/warc-fields", info.encode(), []))
    count = 0
    for page in pages:
        count += 1
        kind = content_type(page.body)
        http = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(page.body)}\r\n\r\n"
        fields = [("WARC-Target-URI", _printable(page.url)), ("WARC-Payload-Digest", _digest(page.body))]
        out.write(
            _record(
                "response",
                f"{package}/{page.member}",
                page.seconds,
                "application/http; msgtype=response",
                http.encode() + page.body,
                fields,
            )
        )
    return count


def content_type(body: bytes) -> str:
    """The type to serve a saved page with.

    134 of formasaurus' pages were stored as UTF-8 while their <meta> still names the charset that they had
    (windows-1251, gb2312, …). The HTTP header outranks the <meta> (HTML standard, 13.2.3.2), so it says UTF-8
    where the bytes are; where they are not, it leaves the word to the page.
    """
    kind = "application/rss+xml" if _RSS.match(body[:1024]) else "text/html"
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return kind
    return f"{kind}; charset=utf-8"


def _record(
    kind: str, name: str, seconds: int, content: str, block: bytes, fields: list[tuple[str, str]]
) -> bytes:
    identity = uuid.uuid5(uuid.NAMESPACE_URL, f"curate-corpus:{name}")
    head = [
        ("WARC-Type", kind),
        ("WARC-Record-ID", f"<urn:uuid:{identity}>"),
        ("WARC-Date", datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
        *fields,
        ("WARC-Block-Digest", _digest(block)),
        ("Content-Type", content),
        ("Content-Length", str(len(block))),
    ]
    lines = "".join(f"{key}: {value}\r\n" for key, value in head)
    return gzip.compress(f"WARC/1.1\r\n{lines}\r\n".encode() + block + b"\r\n\r\n", _LEVEL, mtime=0)


def _digest(data: bytes) -> str:
    """SHA-1 in base 32, the form that WARC tools expect."""
    return f"sha1:{base64.b32encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()}"


def _printable(url: str) -> str:
    """The address with blanks and control characters percent-encoded: none may end its header line."""
    return re.sub(r"[\x00-\x20\x7f]", lambda m: f"%{ord(m[0]):02X}", url.strip())

"""HTTP bodies as archives hold them: transfer and content encodings undone, with a limit.

Archives lie about encodings: crawlers store a body decoded but keep its `Content-Encoding` or
`Transfer-Encoding` header. A body that does not look like what its header says is taken as it is.
"""

from __future__ import annotations

import io
import re
import zlib

from fastwarc.stream_io import BrotliReader, ZstdReader

from curate.sources.opening import DamagedInput

_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_STREAMED = {"br": BrotliReader, "zstd": ZstdReader}

#: More encodings than anyone stacks in earnest: each layer may multiply the size by a thousand.
MAX_ENCODINGS = 3


def decode_body(
    body: bytes, *, transfer: str | None, content: str | None, limit: int, cut: bool = False
) -> bytes:
    """The entity's bytes; at most `limit` of them, or DamagedInput.

    `cut` says that the archive itself cut the body off (`WARC-Truncated`): what can be decoded is kept.
    """
    encodings = [name.strip().lower() for name in (content or "").split(",") if name.strip()]
    if len(encodings) > MAX_ENCODINGS:
        raise DamagedInput(f"{len(encodings)} stacked content encodings")
    if transfer and "chunked" in transfer.lower():
        body = _dechunk(body, cut)
    for encoding in reversed(encodings):
        body = _decode(body, encoding, limit, cut)
    if len(body) > limit:
        raise DamagedInput(f"larger than the limit of {limit} bytes")
    return body


def _dechunk(body: bytes, cut: bool) -> bytes:
    parts: list[bytes] = []
    at = 0
    while True:
        size = _CHUNK_SIZE.match(body, at)
        if size is None:
            if not parts:
                return body  # stored decoded
            if cut or at >= len(body):
                break  # the closing chunk is missing: nothing is lost
            raise DamagedInput("corrupt chunked body")
        length = int(size[1], 16)
        if length == 0:
            break
        parts.append(body[size.end() : size.end() + length])
        if size.end() + length > len(body):
            if cut or (len(parts) == 1 and size[1].isdigit()):
                # One number and then less than it promises: a text that begins with a number.
                return b"".join(parts) if cut else body
            raise DamagedInput("truncated chunked body")
        at = size.end() + length
        at += 2 if body[at : at + 2] == b"\r\n" else (1 if body[at : at + 1] == b"\n" else 0)
    return b"".join(parts)


def _decode(body: bytes, encoding: str, limit: int, cut: bool) -> bytes:
    if encoding in ("gzip", "x-gzip"):
        return _inflate(body, 31, limit, cut) if body.startswith(b"\x1f\x8b") else body
    if encoding == "deflate":  # zlib framing by the book, raw deflate from some servers
        framed = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
        try:
            return _inflate(body, 15 if framed else -15, limit, cut)
        except DamagedInput as damage:
            if "corrupt" in damage.reason and not framed:
                return body
            raise
    if encoding in _STREAMED:
        return _stream(body, encoding, limit, cut)
    return body  # identity, or nothing we know: the text check decides


def _inflate(body: bytes, wbits: int, limit: int, cut: bool) -> bytes:
    out = bytearray()
    while body:
        member = zlib.decompressobj(wbits)
        try:
            out += member.decompress(body, limit + 1 - len(out))
        except zlib.error as error:
            if cut and out:
                break
            raise DamagedInput(f"corrupt content encoding: {error}") from error
        if len(out) > limit:
            raise DamagedInput(f"unpacks to more than the limit of {limit} bytes")
        if not member.eof:
            if cut:
                break
            raise DamagedInput("truncated content encoding")
        body = member.unused_data if member.unused_data.startswith(b"\x1f\x8b") else b""
    return bytes(out)


def _stream(body: bytes, encoding: str, limit: int, cut: bool) -> bytes:
    reader = _STREAMED[encoding](io.BytesIO(body))
    out = bytearray()
    try:
        while chunk := reader.read(1 << 16):
            out += chunk
            if len(out) > limit:
                raise DamagedInput(f"unpacks to more than the limit of {limit} bytes")
    except OSError as error:
        if not out and (head := body[:256].lstrip()[:1]) and head in b"<{":
            return body  # stored decoded
        if not (cut and out):
            raise DamagedInput(f"corrupt or truncated {encoding} content encoding: {error}") from error
    return bytes(out)

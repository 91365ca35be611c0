"""A slice of the sample corpus: the same layout and formats, less of it.

A file, a page of a WARC file or a row of a JSON Lines file is taken whole or not at all, in the order of a
hash of its path (and number), until its source's share of the size is reached: the same corpus gives the
same slice, and every part of a source is in it. Sizes are of the bytes after gzip.

One thing is added: the `WARC-Identified-Payload-Type` of an HTML page, which Common Crawl's records have and
the sample's lack. Without it the peer's reader asks libmagic, which takes 206 of the 984 pages for something
other than HTML (182 of them JavaScript: a blank line before the doctype), and the two sides would not do the
same work.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from .sources import SOURCES, Source, belongs


@dataclass
class Taken:
    """What the slice holds of one source; `bytes` after gzip."""

    documents: int = 0
    bytes: int = 0


def make_slice(corpus: Path, target: Path, size: int) -> dict[str, Taken]:
    """Write a slice of about `size` bytes under `target`; a finished one of that size is taken as it is."""
    record = target / "slice.json"
    wanted = {"version": 2, "size": size, "shares": {source.name: source.share for source in SOURCES}}
    if record.exists():
        found = json.loads(record.read_text())
        if found["wanted"] == wanted:
            return {name: Taken(**taken) for name, taken in found["sources"].items()}
    shutil.rmtree(target, ignore_errors=True)
    paths = sorted(p.relative_to(corpus).as_posix() for p in corpus.rglob("*") if p.is_file())
    sources = {}
    for source in SOURCES:
        files = [path for path in paths if belongs(source, path)]
        if not files:
            raise FileNotFoundError(
                f"{corpus}: no file for '{source.name}' ({source.glob}); make the corpus first"
            )
        take = _take_parts if source.kind in ("warc", "jsonl") else _take_files
        sources[source.name] = take(source, corpus, target, files, int(size * source.share))
    content = {"wanted": wanted, "sources": {name: asdict(taken) for name, taken in sources.items()}}
    record.write_text(json.dumps(content, indent=2) + "\n")
    return sources


def _order(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).digest()


def _take_files(source: Source, corpus: Path, target: Path, files: list[str], budget: int) -> Taken:
    taken = Taken()
    for path in sorted(files, key=lambda path: _order(source.name, path)):
        if taken.bytes >= budget:
            break
        data = (corpus / path).read_bytes()
        size = len(gzip.decompress(data)) if path.endswith(".gz") else len(data)
        if size > budget // 4 and taken.documents:
            continue  # one file should not be a source
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(data)
        taken.documents += 1
        taken.bytes += size
    return taken


def _take_parts(source: Source, corpus: Path, target: Path, files: list[str], budget: int) -> Taken:
    parts: dict[str, list[tuple[bytes, int]]] = {}
    for path in files:
        split = _warc_records if source.kind == "warc" else _lines
        parts[path] = list(split((corpus / path).read_bytes()))
    order = sorted(
        ((path, i) for path in files for i in range(len(parts[path]))),
        key=lambda part: _order(source.name, part[0], str(part[1])),
    )
    taken, chosen = Taken(), set()
    for path, i in order:
        if taken.bytes >= budget:
            break
        chosen.add((path, i))
        taken.documents += 1
        taken.bytes += parts[path][i][1]
    for path in files:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        kept = (data for i, (data, _) in enumerate(parts[path]) if (path, i) in chosen)
        (target / path).write_bytes(b"".join(kept))
    return taken


def _lines(data: bytes) -> Iterator[tuple[bytes, int]]:
    for line in data.splitlines(keepends=True):
        yield line, len(line)


def _warc_records(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Every response of a WARC file as a gzip member with its payload type, and its size after gzip."""
    view, start = memoryview(data), 0
    while start < len(data):
        member = zlib.decompressobj(wbits=31)
        at, blocks = start, []
        while not member.eof and at < len(data):
            blocks.append(member.decompress(view[at : at + (1 << 16)]))
            at += min(1 << 16, len(data) - at)
        start = at - len(member.unused_data)
        record = _identified(b"".join(blocks))
        if b"\r\nWARC-Type: response\r\n" in record[:400]:
            yield gzip.compress(record, 6, mtime=0), len(record)


def _identified(record: bytes) -> bytes:
    """The record with the payload type that its HTTP header states for an HTML page."""
    head, gap, body = record.partition(b"\r\n\r\n")
    http = body.partition(b"\r\n\r\n")[0].lower()
    for kind in (b"text/html", b"application/xhtml+xml"):
        if b"content-type: " + kind in http and b"WARC-Identified-Payload-Type" not in head:
            return head + b"\r\nWARC-Identified-Payload-Type: " + kind + gap + body
    return record

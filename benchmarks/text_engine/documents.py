"""The documents that both sides measure: real texts of the sample corpus, extracted once, by this project.

Prose as a web crawl has it, in a few languages: saved web pages, documentation, encyclopaedia, articles. A
document is taken in the order of a hash of its locator until its source's share is full, so the same
corpus gives the same documents.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import curate_kernels
import pyarrow as pa
import pyarrow.parquet as pq

from curate.sources import ReadOptions, read_split
from curate.sources.splits import plan_splits

#: Source: kind, pattern, share of the bytes. The web pages are taken whole (2 MB).
SOURCES = {
    "web": ("warc", "web/*.warc.gz", 0.25),
    "docs": ("html", "docs/postgresql-doc-15/**/*.html", 0.25),
    "wikipedia": ("jsonl", "multilingual/wikipedia/*.jsonl", 0.30),
    "gnome": ("mallard", "multilingual/gnome-user-docs/**/*.page", 0.10),
    "plos": ("jats", "science/plos/*.xml", 0.10),
}


def make_documents(data: Path, folder: Path, size: int) -> Path:
    """`documents.parquet` (source, locator, text) and the same as JSON Lines, of about `size` bytes."""
    wanted = json.dumps({"version": 1, "size": size, "sources": SOURCES}, sort_keys=True)
    record, target = folder / "wanted.json", folder / "documents.parquet"
    if record.exists() and record.read_text() == wanted:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for source, (kind, pattern, share) in SOURCES.items():
        splits = plan_splits(source, kind, [pattern], str(data), split_bytes=1 << 40)
        if not splits:
            raise SystemExit(f"{data}: no file matches {pattern}; make the sample corpus first (make data)")
        batches = [b for split in splits for b in read_split(split, root=str(data), options=ReadOptions())]
        parts.append(_taken(pa.Table.from_batches(batches), int(size * share)))
    table = pa.concat_tables(parts)
    pq.write_table(table, target)
    with (folder / "documents.jsonl").open("w", encoding="utf-8") as lines:
        for row in table.to_pylist():
            print(json.dumps(row, ensure_ascii=False), file=lines)
    record.write_text(wanted)
    return target


def _taken(table: pa.Table, size: int) -> pa.Table:
    """Documents with a text, in the order of their locators' hashes, up to `size` bytes of text."""
    table = table.select(["source", "locator", "text"]).filter(table["text"].is_valid())
    text = pa.chunked_array([curate_kernels.normalize(part) for part in table["text"].chunks])
    table = table.set_column(2, "text", text)
    locators = table["locator"].to_pylist()
    lengths = [len(text.encode()) for text in table["text"].to_pylist()]
    order = sorted(range(len(table)), key=lambda row: hashlib.blake2b(locators[row].encode()).digest())
    chosen, total = [], 0
    for row in order:
        if total >= size:
            break
        if lengths[row]:
            chosen.append(row)
            total += lengths[row]
    return table.take(pa.array(chosen, pa.int64()))

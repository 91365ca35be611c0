"""From a split to `RAW` batches: one reader per kind, and extraction of the text from its markup.

| kind | a document is | format |
|---|---|---|
| `warc` | a page of an archive (WARC, WET, ARC) | html, text |
| `jsonl`, `parquet` | a row | text |
| `files`, `repositories` | a file | its suffix |
| `html`, `jats`, `roff`, `mallard` | a file of that format | html, jats, roff, mallard |

Nothing in the data raises: what cannot be read or extracted is a record with `error` and no text. An
exception that does come out is a bug in a reader, or a root that is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pyarrow as pa

from curate.document import Record, batches
from curate.extraction import EXTRACTED, ExtractionError, extract
from curate.sources.files import FORMATS, read_files
from curate.sources.opening import Root
from curate.sources.splits import Split
from curate.sources.tables import Fields, read_jsonl, read_parquet
from curate.sources.warc import read_warc

KINDS = ("warc", "jsonl", "parquet", "files", "repositories", "html", "jats", "roff", "mallard")


@dataclass(frozen=True)
class ReadOptions:
    """How a source's files are read."""

    fields: Fields = field(default_factory=Fields)
    document_bytes: int = 64 << 20  # a document larger than this, as stored or unpacked, is quarantined
    format: str | None = None  # overrides the format: of every file, or of a table's rows
    extract: bool = True  # False keeps markup as it is, for a look at the raw text


def read_split(split: Split, *, root: str, options: ReadOptions) -> Iterator[pa.RecordBatch]:
    """`RAW` batches of a split, in the order of its files; the same bytes give the same batches.

    Raises ValueError for a kind that is none of `KINDS`.
    """
    place = Root.at(root)
    if split.kind in _TABLES:
        for path in split.files:
            yield from _TABLES[split.kind](
                place,
                path,
                split.source,
                fields=options.fields,
                document_bytes=options.document_bytes,
                form=options.format or "text",
            )
        return
    records = _records(split, place, options)
    if options.extract and (split.kind not in _VERBATIM or options.format in EXTRACTED):
        records = _extracted(records)
    yield from batches(split.source, records)


#: Kinds whose files stay as they are, markup and all, unless the format is overridden: an HTML file in a
#: repository is source code.
_VERBATIM = frozenset({"files", "repositories"})

_TABLES: dict[str, Callable[..., Iterator[pa.RecordBatch]]] = {"jsonl": read_jsonl, "parquet": read_parquet}


def _records(split: Split, place: Root, options: ReadOptions) -> Iterator[Record]:
    if split.kind == "warc":
        for path in split.files:
            yield from read_warc(place, path, document_bytes=options.document_bytes)
        return
    if split.kind not in KINDS:
        raise ValueError(f"source {split.source!r}: unknown kind {split.kind!r}; one of {', '.join(KINDS)}")
    repositories: tuple[str | None, ...] = split.repositories or (None,) * len(split.files)
    form = options.format or FORMATS.get(split.kind)
    files = zip(split.files, repositories, strict=True)
    yield from read_files(place, files, document_bytes=options.document_bytes, form=form)


def _extracted(records: Iterator[Record]) -> Iterator[Record]:
    for record in records:
        if record.text is None or record.format not in EXTRACTED:
            yield record
            continue
        try:
            yield replace(record, text=extract(record.format, record.text))
        except ExtractionError as error:
            yield replace(record, text=None, error=f"{record.format}: {error}")

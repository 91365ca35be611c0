"""The columns of a document on its way through the pipeline.

A source yields `RAW` batches; the per-document stages add columns; `LEDGER` keeps one row of every
input document, kept or not, and `DOCUMENTS` the kept ones with their text. A document's id is a
128-bit hash of its source's name and its locator: never a rank, a position or a counter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import curate_kernels
import pyarrow as pa

ID = pa.binary(16)

#: The key of a ledger file's metadata that holds its source's rule sets, as `rule_sets.dump` writes them:
#: with them a row's decision can be read, and asked again, whatever has become of the rule files since.
RULES_KEY = b"curate.rules"

#: What a source yields. `text` is null exactly where `error` is not: a record that could not be read.
RAW = pa.schema(
    [
        pa.field("document_id", ID, nullable=False),
        pa.field("source", pa.large_string(), nullable=False),
        pa.field("locator", pa.large_string(), nullable=False),  # stable: URL + record, path, file + row
        pa.field("url", pa.large_string()),
        pa.field("repository", pa.large_string()),  # repository or package that the file belongs to
        pa.field("format", pa.string(), nullable=False),  # html, text, markdown, or a file's suffix: c, py
        pa.field("date", pa.string()),  # ISO 8601, as the record says
        pa.field("charset", pa.string()),  # as decoded; "utf-8" for most
        pa.field("bytes", pa.int64(), nullable=False),  # size of the record as read, before extraction
        pa.field("text", pa.large_string()),
        pa.field("error", pa.string()),  # why the record could not be read
        pa.field("error_offset", pa.int64()),  # byte offset in its file, where known
    ]
)

#: The languages of a document's paragraphs, each with its share of the bytes, the largest first.
LANGUAGES = pa.list_(pa.struct([pa.field("language", pa.string()), pa.field("share", pa.float32())]))

#: A kept document, as `documents/*.parquet` holds it.
DOCUMENTS = pa.schema(
    [
        pa.field("document_id", ID, nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("format", pa.string(), nullable=False),
        pa.field("repository", pa.large_string()),
        pa.field("topic", pa.string()),
        pa.field("topic_rule", pa.string()),  # what decided: `source`, or `url:` and the row that matched
        pa.field("document_type", pa.string()),
        pa.field("document_type_rule", pa.string()),
        pa.field("text_hash", ID, nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
    ]
)

#: What was cut or replaced in a document: by rule, how many spans, and how many bytes they had.
APPLIED = pa.list_(
    pa.struct(
        [
            pa.field("rule", pa.string(), nullable=False),
            pa.field("count", pa.int32(), nullable=False),
            pa.field("bytes", pa.int64(), nullable=False),
        ]
    )
)

#: Findings of personal data and secrets by kind, whatever was done with them.
FOUND = pa.list_(
    pa.struct([pa.field("kind", pa.string(), nullable=False), pa.field("count", pa.int32(), nullable=False)])
)


def ledger_schema(signals: pa.DataType) -> pa.Schema:
    """One row per input document: where it came from, what was measured, what was decided and why.

    `status` is `kept`, `rules`, `language` or `quarantined` after the per-document stages; deduplication
    adds `duplicate` in the manifest. `dropped_by` is the first of `failed_rules`. `signals` are of the text
    before its edits, `text_bytes` is of the edited one.
    """
    return pa.schema(
        [
            pa.field("document_id", ID, nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("locator", pa.large_string(), nullable=False),
            pa.field("url", pa.large_string()),
            pa.field("repository", pa.large_string()),
            pa.field("format", pa.string(), nullable=False),
            pa.field("domain", pa.string(), nullable=False),
            pa.field("topic", pa.string()),
            pa.field("topic_score", pa.float32()),  # a model's, so null here; phase `classify` may add it
            pa.field("topic_rule", pa.string()),
            pa.field("document_type", pa.string()),
            pa.field("document_type_score", pa.float32()),
            pa.field("document_type_rule", pa.string()),
            pa.field("language", pa.string()),
            pa.field("language_score", pa.float32()),
            pa.field("language_script", pa.string()),  # as the model's label names it; lid.176's do not
            pa.field("languages", LANGUAGES),
            pa.field("language_purity", pa.float32()),  # share of `language` in `languages`
            pa.field("date", pa.string()),
            pa.field("charset", pa.string()),
            pa.field("bytes", pa.int64(), nullable=False),
            pa.field("text_bytes", pa.int64()),
            pa.field("status", pa.string(), nullable=False),
            pa.field("dropped_by", pa.string()),
            pa.field("failed_rules", pa.list_(pa.string()), nullable=False),
            pa.field("edits", APPLIED),  # null where there was no text
            pa.field("privacy", FOUND),  # likewise
            pa.field("error", pa.string()),
            pa.field("error_offset", pa.int64()),
            pa.field("signals", signals),
        ]
    )


@dataclass(frozen=True)
class Record:
    """One document as a reader finds it; `text is None` sends it to quarantine with `error`."""

    locator: str
    text: str | None
    bytes: int
    format: str = "text"
    url: str | None = None
    repository: str | None = None
    date: str | None = None
    charset: str | None = "utf-8"
    error: str | None = None
    error_offset: int | None = None


@dataclass
class BatchBuilder:
    """Collects records into `RAW` batches of bounded size (documents and bytes of text)."""

    source: str
    max_documents: int = 2048
    max_bytes: int = 8 << 20
    _records: list[Record] = field(default_factory=list)
    _size: int = 0

    def add(self, record: Record) -> pa.RecordBatch | None:
        """Take a record; a full batch comes back when this one fills it."""
        if (record.text is None) == (record.error is None):
            raise ValueError(f"{record.locator}: a record has either a text or an error")
        self._records.append(record)
        self._size += len(record.text or "")
        if len(self._records) >= self.max_documents or self._size >= self.max_bytes:
            return self.flush()
        return None

    def flush(self) -> pa.RecordBatch | None:
        """The batch of what is left, or None."""
        records, self._records, self._size = self._records, [], 0
        if not records:
            return None
        # Lone surrogates cannot be stored as UTF-8; readers decode with replacement, file names may not.
        locators = pa.array([_storable(r.locator) for r in records], pa.large_string())
        sources = pa.array([self.source] * len(records), pa.large_string())
        columns = {
            "document_id": curate_kernels.document_ids(sources, locators),
            "source": sources,
            "locator": locators,
            "url": pa.array([r.url and _storable(r.url) for r in records], pa.large_string()),
            "repository": pa.array(
                [r.repository and _storable(r.repository) for r in records], pa.large_string()
            ),
            "format": pa.array([r.format for r in records], pa.string()),
            "date": pa.array([r.date for r in records], pa.string()),
            "charset": pa.array([r.charset for r in records], pa.string()),
            "bytes": pa.array([r.bytes for r in records], pa.int64()),
            "text": pa.array(
                [r.text if r.text is None else _characters(r.text) for r in records], pa.large_string()
            ),
            "error": pa.array([r.error for r in records], pa.string()),
            "error_offset": pa.array([r.error_offset for r in records], pa.int64()),
        }
        return pa.RecordBatch.from_pydict(columns, schema=RAW)


def batches(source: str, records: Iterator[Record]) -> Iterator[pa.RecordBatch]:
    """`RAW` batches of a stream of records."""
    builder = BatchBuilder(source)
    for record in records:
        if (batch := builder.add(record)) is not None:
            yield batch
    if (batch := builder.flush()) is not None:
        yield batch


def _storable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _characters(text: str) -> str:
    """A text with U+FFFD for lone surrogates, as a decoder has it, so that the signals see what was lost."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text

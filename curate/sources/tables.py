"""Tables of documents: JSON Lines (`.jsonl`, also compressed) and Parquet.

Rows go from the file's columns to `RAW` columns as Arrow, without a Python object per row; only rows that
cannot be used (no text, wrong type, too long, broken line) become single quarantined records, with their row
number and, in JSON Lines, the byte offset of their line in the uncompressed file.

Locators are `<file>#<id>`, or `<file>#row=<n>` where a row has no id, or an id that the file has used before.

JSON Lines are parsed by Arrow in blocks of 8 MiB; a block that it refuses (an invalid line, a field of
mixed type, bytes that are not UTF-8) is parsed again line by line, at about a third of the speed (25
against 80 MB/s of short texts).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import curate_kernels
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

from curate.document import RAW, Record, batches
from curate.sources.charset import UndecodableError, decode
from curate.sources.opening import DamagedInput, Root, compression, decompressed

BLOCK_BYTES = 8 << 20
BATCH_ROWS = 2048
BATCH_BYTES = 8 << 20


@dataclass(frozen=True)
class Fields:
    """Column names of a table: the text, and where there are such columns the URL and the id."""

    text: str = "text"
    url: str | None = "url"
    id: str | None = "id"


@dataclass
class _Table:
    """One file on its way to batches: what is needed to name its rows."""

    source: str
    path: str
    limit: int
    form: str
    fields: Fields
    row: int = 0

    def __post_init__(self) -> None:
        self.seen: set[str] = set()

    def name(self, identity: str | None, row: int) -> str:
        if identity is None or identity in self.seen or identity.startswith("row="):
            return f"{self.path}#row={row}"
        self.seen.add(identity)
        return f"{self.path}#{identity}"

    def quarantine(self, row: int, size: int, reason: str, offset: int | None) -> Record:
        return Record(
            f"{self.path}#row={row}", None, size, self.form, charset=None, error=reason, error_offset=offset
        )


# JSON Lines


def read_jsonl(
    root: Root, path: str, source: str, *, fields: Fields, document_bytes: int, form: str
) -> Iterator[pa.RecordBatch]:
    """`RAW` batches of a JSON Lines file; blank lines are not rows."""
    table = _Table(source, path, document_bytes, form, fields)
    offset = 0
    try:
        with root.open(path) as stream:
            for block in _blocks(decompressed(stream, compression(path)), 2 * document_bytes):
                if isinstance(block, int):
                    reason = f"line of {block} bytes, over twice the limit of {document_bytes}"
                    yield from _single(table, table.quarantine(table.row, block, reason, offset))
                    offset += block
                    table.row += 1
                    continue
                yield from _json_block(table, block, offset)
                offset += len(block)
    except (DamagedInput, OSError) as error:
        reason = f"cannot be read on: {error}"
        place = error.offset if isinstance(error, DamagedInput) else offset
        yield from _single(table, table.quarantine(table.row, 0, reason, place))


def _single(table: _Table, record: Record) -> Iterator[pa.RecordBatch]:
    return batches(table.source, iter([record]))


def _blocks(chunks: Iterator[bytes], longest: int) -> Iterator[bytes | int]:
    """Whole lines, about 8 MiB of them at a time; the size alone of a line that is over `longest`.

    What precedes damage is given out before DamagedInput is raised.
    """
    held: list[bytes] = []
    size = 0
    damage: DamagedInput | None = None
    skipped = 0  # bytes so far of a line that is too long to hold
    while True:
        try:
            chunk = next(chunks, b"")
        except DamagedInput as error:
            chunk, damage = b"", error
        if not chunk:
            break
        if skipped:
            end = chunk.find(b"\n") + 1
            skipped += end or len(chunk)
            if not end:
                continue
            yield skipped
            skipped, chunk = 0, chunk[end:]
        held.append(chunk)
        size += len(chunk)
        if size < BLOCK_BYTES:
            continue
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield b"".join([*held[:-1], chunk[:cut]])
            held = [chunk[cut:]]
            size = len(held[0])
        elif size > longest:
            whole = b"".join(held)
            start = whole.rfind(b"\n") + 1
            if start:
                yield whole[:start]
            held, skipped, size = (
                ([], size - start, 0) if size - start > longest else ([whole[start:]], 0, size - start)
            )
    if skipped:
        yield skipped
    elif damage is None:
        if size:
            yield b"".join(held)
    else:  # the last line is cut off by the damage
        whole = b"".join(held)
        if cut := whole.rfind(b"\n") + 1:
            yield whole[:cut]
    if damage is not None:
        raise damage


def _json_block(table: _Table, block: bytes, offset: int) -> Iterator[pa.RecordBatch]:
    columns = _parse_block(table.fields, block)
    if columns is None:
        yield from _lines(table, block, offset)
        return
    for start in range(0, columns.num_rows, BATCH_ROWS):
        yield from _rows(table, columns.slice(start, BATCH_ROWS))


def _parse_block(fields: Fields, block: bytes) -> pa.Table | None:
    """The named columns of a block by Arrow's parser; None where it or its strictness fails."""
    names = dict.fromkeys(name for name in (fields.text, fields.url, fields.id) if name)
    schema = pa.schema([pa.field(name, pa.string()) for name in names])
    try:
        block.decode("utf-8")
        table = pj.read_json(
            io.BytesIO(block),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    if table.column(fields.text).null_count:
        return None  # by lines, to say which and where
    return table


def _lines(table: _Table, block: bytes, offset: int) -> Iterator[pa.RecordBatch]:
    return batches(table.source, _line_records(table, block, offset))


def _line_records(table: _Table, block: bytes, offset: int) -> Iterator[Record]:
    for line in block.splitlines(keepends=True) if b"\r" not in block else _split_lines(block):
        if line.strip():
            yield _line_record(table, line, offset)
            table.row += 1
        offset += len(line)


def _split_lines(block: bytes) -> Iterator[bytes]:
    """Lines by LF alone: a bare CR may stand inside a broken line."""
    return iter(io.BytesIO(block))


def _line_record(table: _Table, line: bytes, offset: int) -> Record:
    fields = table.fields
    try:
        row = json.loads(decode(line)[0])
    except json.JSONDecodeError as error:
        return table.quarantine(
            table.row, len(line), f"invalid JSON: {error.msg} (column {error.colno})", offset
        )
    except UndecodableError as error:
        return table.quarantine(table.row, len(line), str(error), offset)
    except (RecursionError, ValueError) as error:  # nesting, or an integer of thousands of digits
        return table.quarantine(table.row, len(line), f"invalid JSON: {error}", offset)
    if not isinstance(row, dict):
        return table.quarantine(table.row, len(line), f"a {type(row).__name__}, not an object", offset)
    text = row.get(fields.text)
    if not isinstance(text, str):
        reason = (
            f"field {fields.text!r} is missing or null"
            if text is None
            else (f"field {fields.text!r} is a {type(text).__name__}, not a string")
        )
        return table.quarantine(table.row, len(line), reason, offset)
    size = len(text.encode("utf-8", "replace"))
    if size > table.limit:
        reason = f"text of {size} bytes, over the limit of {table.limit}"
        return table.quarantine(table.row, size, reason, offset)
    url = row.get(fields.url) if fields.url else None
    locator = table.name(_identity(row.get(fields.id) if fields.id else None), table.row)
    return Record(locator, text, size, table.form, url if isinstance(url, str) else None)


def _identity(value: Any) -> str | None:
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else None


# Parquet


def read_parquet(
    root: Root, path: str, source: str, *, fields: Fields, document_bytes: int, form: str
) -> Iterator[pa.RecordBatch]:
    """`RAW` batches of a Parquet file. Rows already read are kept when a later page is damaged."""
    table = _Table(source, path, document_bytes, form, fields)
    try:
        with root.open(path) as stream:
            file = pq.ParquetFile(stream)
            names = _columns(file.schema_arrow, fields)
            for batch in file.iter_batches(
                batch_size=_rows_per_batch(file), columns=names, use_threads=False
            ):
                yield from _rows(table, pa.Table.from_batches([batch]))
    except (OSError, pa.ArrowException, DamagedInput) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        yield from _single(table, table.quarantine(table.row, 0, f"cannot be read on: {reason}", None))


def _columns(schema: pa.Schema, fields: Fields) -> list[str]:
    if fields.text not in schema.names:
        names = ", ".join(schema.names[:20])
        raise DamagedInput(f"no column {fields.text!r}; the file has: {names}")
    kind = schema.field(fields.text).type
    if not _is_text(kind):
        raise DamagedInput(f"column {fields.text!r} is {kind}, not a string")
    wanted = [fields.text]
    for name in (fields.url, fields.id):
        if name and name in schema.names and name not in wanted:
            wanted.append(name)
    return wanted


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(
        check(kind)
        for check in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
        )
    )


def _rows_per_batch(file: pq.ParquetFile) -> int:
    """Rows that make about 8 MiB by the file's own account."""
    metadata = file.metadata
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    mean = max(size // max(metadata.num_rows, 1), 1)
    return int(min(max(BATCH_BYTES // mean, 16), BATCH_ROWS))


# Rows to batches


def _rows(table: _Table, columns: pa.Table) -> Iterator[pa.RecordBatch]:
    """A few thousand rows with a text column, as batches; the rows that fail come last, one batch of them."""
    first = table.row
    table.row += columns.num_rows
    text, invalid = _texts(columns.column(table.fields.text))
    sizes = pc.binary_length(text).cast(pa.int64())
    bad: list[Record] = []
    good = pc.fill_null(pc.less_equal(sizes, table.limit), False)
    for i in pc.indices_nonzero(pc.invert(good)).to_pylist():
        size = sizes[i].as_py()
        if size is None:
            reason = f"field {table.fields.text!r} is {'not UTF-8' if i in invalid else 'null'}"
        else:
            reason = f"text of {size} bytes, over the limit of {table.limit}"
        bad.append(table.quarantine(first + i, size or 0, reason, None))
    keep = pc.indices_nonzero(good)
    locators = _locators(table, columns, keep.to_pylist(), first)
    urls = _strings(columns, table.fields.url)
    yield from _batches(table, text.take(keep), sizes.take(keep), locators, urls.take(keep))
    if bad:
        yield from batches(table.source, iter(bad))


def _texts(column: pa.ChunkedArray) -> tuple[pa.LargeStringArray, set[int]]:
    """The column as large strings, and the rows that are not UTF-8, which become null."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    array = column.cast(pa.large_string() if text else pa.large_binary()).combine_chunks()
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    try:
        array = array.cast(pa.large_string())
        array.validate(full=True)
        return array, set()
    except pa.ArrowInvalid:
        values = [_utf8(value) for value in array.cast(pa.large_binary()).to_pylist()]
        invalid = {i for i, value in enumerate(values) if value is None and array[i].is_valid}
        return pa.array(values, pa.large_string()), invalid


def _utf8(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _strings(columns: pa.Table, name: str | None) -> pa.Array:
    """A column as large strings where it has such values, else nulls."""
    if name and name in columns.column_names:
        try:
            return _texts(columns.column(name).cast(pa.large_string()))[0]
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return pa.nulls(columns.num_rows, pa.large_string())
    return pa.nulls(columns.num_rows, pa.large_string())


def _locators(table: _Table, columns: pa.Table, rows: list[int], first: int) -> pa.Array:
    ids = _strings(columns, table.fields.id)
    if ids.null_count == len(ids):
        return pa.array([f"{table.path}#row={first + i}" for i in rows], pa.large_string())
    identities = ids.to_pylist()
    return pa.array([table.name(identities[i], first + i) for i in rows], pa.large_string())


def _batches(
    table: _Table, text: pa.Array, sizes: pa.Array, locators: pa.Array, urls: pa.Array
) -> Iterator[pa.RecordBatch]:
    ends = pc.cumulative_sum(sizes).to_numpy(zero_copy_only=False)
    start = 0
    while start < len(text):
        before = ends[start - 1] if start else 0
        stop = max(int(ends.searchsorted(before + BATCH_BYTES, side="right")), start + 1)
        stop = min(stop, start + BATCH_ROWS)
        part = slice(start, stop)
        yield _batch(table, text[part], sizes[part], locators[part], urls[part])
        start = stop


def _batch(table: _Table, text: Any, sizes: Any, locators: Any, urls: Any) -> pa.RecordBatch:
    rows = len(text)
    sources = pa.repeat(pa.scalar(table.source, pa.large_string()), rows)
    columns = {
        "document_id": curate_kernels.document_ids(sources, locators),
        "source": sources,
        "locator": locators,
        "url": urls,
        "repository": pa.nulls(rows, pa.large_string()),
        "format": pa.repeat(pa.scalar(table.form, pa.string()), rows),
        "date": pa.nulls(rows, pa.string()),
        "charset": pa.repeat(pa.scalar("utf-8", pa.string()), rows),
        "bytes": sizes,
        "text": text,
        "error": pa.nulls(rows, pa.string()),
        "error_offset": pa.nulls(rows, pa.int64()),
    }
    return cast(pa.RecordBatch, pa.RecordBatch.from_pydict(columns, schema=RAW))

"""Labelled texts for `curate classifier`: tables with a label column, or inputs that are all of one label.

An input is a Parquet or JSON Lines file (`.gz` and `.zst` too), a glob of these, or `RUN:SOURCE`, the kept
documents of a source in a run directory. A file is read a row group (Parquet) or a block of 16 MB (JSON) at a
time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import curate_kernels
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet as pq

from curate import storage
from curate.classifiers import ClassifierError
from curate.classifiers.samples import Sampler
from curate.run_directory import RunError, open_run
from mixtures.complaints import suggestion

_BLOCK = 16 << 20
_ENDINGS = (".parquet", ".jsonl", ".json", ".ndjson")


@dataclass(frozen=True)
class Labelled:
    """An input, the label of all its texts (None: its label column says), and the names of its columns."""

    pattern: str
    label: str | None = None
    text: str = "text"
    label_column: str = "label"


def feed(sampler: Sampler, inputs: list[Labelled]) -> None:
    """Show the sampler every text of the inputs. Raises ClassifierError for one that cannot be read."""
    for item in inputs:
        for texts, labels in _batches(item):
            known = pc.and_(pc.is_valid(texts), pc.is_valid(labels))
            texts, labels = texts.filter(known), labels.filter(known)
            hashes = curate_kernels.text_hash(texts)
            for label in labels.unique().to_pylist():
                mask = pc.equal(labels, label)
                bare = checked_label(label, item.pattern)
                sampler.add(bare, hashes.filter(mask), texts.filter(mask))


def checked_label(label: str, where: str) -> str:
    """The label without its prefix; ClassifierError for one that fastText could not tell from a text."""
    bare = label.removeprefix("__label__")
    if not bare or len(bare) > 64 or any(c.isspace() or c == "\0" for c in bare):
        raise ClassifierError(f"{where}: {label!r} is no label: one word of at most 64 characters")
    return bare


def _batches(item: Labelled) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Texts (large_string) and labels (string) of an input."""
    source, files = _files(item.pattern)
    for url in files:
        try:
            for table in _tables(url, item):
                if source is not None:
                    table = table.filter(pc.equal(table["source"], source))
                yield from _columns(url, item, table)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            raise ClassifierError(f"{url}: cannot be read ({error})") from error


def _columns(url: str, item: Labelled, table: pa.Table) -> Iterator[tuple[pa.Array, pa.Array]]:
    _require(url, item, table.column_names)
    texts = table[item.text].cast(pa.large_string()).combine_chunks()
    if item.label is not None:
        yield texts, pa.repeat(pa.scalar(item.label), len(texts))
    else:
        yield texts, table[item.label_column].cast(pa.string()).combine_chunks()


def _require(url: str, item: Labelled, columns: list[str]) -> None:
    for name in [item.text] if item.label is not None else [item.text, item.label_column]:
        if name not in columns:
            raise ClassifierError(f"{url}: no column {name!r}{suggestion(name, columns, 'its columns')}")


def _files(pattern: str) -> tuple[str | None, list[str]]:
    """The source to keep (None: all) and the files of an input."""
    root, colon, source = pattern.rpartition(":")
    if colon and "/" not in source and storage.size(storage.join(root, "run.json")) is not None:
        try:
            run = open_run(root)
        except RunError as error:
            raise ClassifierError(str(error)) from error
        if source not in run.mixture.sources:
            hint = suggestion(source, run.mixture.sources, "its sources")
            raise ClassifierError(f"{pattern}: the run has no source {source!r}{hint}")
        records = [r for r in run.records("curate") if r.figures["source"] == source]
        if not records:
            raise ClassifierError(f"{pattern}: the run has no documents of {source!r} yet; complete it first")
        return source, [run.url(record.output("documents/").path) for record in records]
    fs, path = storage.filesystem(pattern)
    found = sorted(fs.glob(path)) if any(c in path for c in "*?[") and not fs.exists(path) else [path]
    found = [name if storage.is_local(pattern) else fs.unstrip_protocol(name) for name in found]
    if not found or not fs.exists(fs._strip_protocol(found[0])):
        raise ClassifierError(
            f"{pattern}: no such file; give a Parquet or JSON Lines file, a glob, or RUN:SOURCE"
        )
    return None, found


def _tables(url: str, item: Labelled) -> Iterator[pa.Table]:
    kept = {item.text, item.label_column, "source"}
    plain = url.removesuffix(".gz").removesuffix(".zst")
    if not plain.endswith(_ENDINGS):
        raise ClassifierError(f"{url}: of no known kind; known: {', '.join(_ENDINGS)}, with .gz or .zst")
    fs, path = storage.filesystem(url)
    with fs.open(path, "rb") as source:
        if plain.endswith(".parquet"):
            parquet = pq.ParquetFile(source)
            _require(url, item, parquet.schema_arrow.names)
            names = [name for name in parquet.schema_arrow.names if name in kept]
            for group in range(parquet.metadata.num_row_groups):
                yield parquet.read_row_group(group, columns=names)
            return
        kind = {".gz": "gzip", ".zst": "zstd"}.get(url[len(plain) :])
        stream = pa.CompressedInputStream(source, kind) if kind else pa.PythonFile(source, mode="r")
        columns = [(item.text, pa.large_string())]
        if item.label is None:
            columns.append((item.label_column, pa.string()))
        options = pa.json.ParseOptions(explicit_schema=pa.schema(columns), unexpected_field_behavior="ignore")
        reader = pa.json.open_json(stream, pa.json.ReadOptions(use_threads=False, block_size=_BLOCK), options)
        for batch in reader:
            yield pa.Table.from_batches([batch])

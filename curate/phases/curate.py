"""Phase `curate`: one pass over the raw bytes.

A unit is a split of a source (about `limits.split_bytes`). It extracts, normalises, measures and decides
document by document, and publishes four files: `documents/` (kept texts), `ledger/` (a row for every
document, kept or not), and, sorted for the shuffles of deduplication, `hashes/` and `bands/`.
Memory: one batch of documents (8 MB of text) and the unit's band digests (40 bytes a band and document).
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import curate_kernels
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import storage
from curate.document import DOCUMENTS, RULES_KEY, ledger_schema
from curate.phases import Phase, Result
from curate.run_directory import Record, Run, RunError, Unit
from curate.sources import Fields, ReadOptions, read_split
from curate.sources.splits import Split, plan_splits
from curate.stages import SourceContext, language_rules, privacy_rules, run_stages, signals_type
from curate.stages.rule_sets import dump
from curate.stages.rules import fingerprint, load_rules
from curate.stages.tags import tag
from mixtures.spec import Mixture

#: Rows of `hashes/` and `bands/`: `row` is the document's place in its documents file.
HASHES = pa.schema(
    [("key", pa.uint64()), ("row", pa.uint32()), ("document_id", pa.binary(16)), ("text_hash", pa.binary(16))]
)
BANDS = pa.schema(
    [("key", pa.uint64()), ("row", pa.uint32()), ("document_id", pa.binary(16)), ("text_key", pa.uint64())]
)


def plan(run: Run) -> list[Unit]:
    """Splits of every source; a source without a file must be marked optional."""
    if not storage.exists(run.mixture.data):
        raise RunError(
            f"data folder {run.mixture.data!r}: does not exist; fetch the data (make data), or point "
            "CURATE_DATA (the mixture's `data`) at it"
        )
    units: list[Unit] = []
    for name, source in run.mixture.sources.items():
        splits = plan_splits(
            name,
            source.read.kind,
            source.read.patterns,
            run.mixture.data,
            split_bytes=run.mixture.limits.split_bytes,
            exclude=source.read.exclude,
        )
        if not splits and not source.optional:
            raise RunError(
                f"source {name!r}: no file matches {', '.join(source.read.patterns)} "
                f"under {run.mixture.data!r}; "
                "fetch the data (make data), point CURATE_DATA at it, or mark the source `optional: true`"
            )
        rules = fingerprint(load_rules(source.rules))
        language = language_rules.plan(source.language) if splits else None
        for number, split in enumerate(splits):
            payload = {
                "split": split,
                "rules": rules,
                "language": language,
                "source": source.model_dump(mode="json"),
                "privacy": [privacy_rules.fingerprint(), run.mixture.privacy.actions(source.domain)],
            }
            inputs = tuple(zip(split.files, split.stamps, strict=True))
            units.append(Unit(f"{name}-{number:04d}", payload, inputs, split.bytes))
    return units


def absent_sources(run: Run) -> list[str]:
    """Optional sources of which the phase found no data, as its records say."""
    present = {record.figures["source"] for record in run.records("curate")}
    return [name for name in run.mixture.sources if name not in present]


def work(run: Run, unit: Unit) -> Result:
    split: Split = unit.payload["split"]
    source = run.mixture.sources[split.source]
    wanted = source.language
    context = SourceContext(
        split.source,
        source,
        load_rules(source.rules),
        run.mixture.privacy.actions(source.domain),
        run.mixture.seed,
        None if wanted is None else language_rules.load(wanted, unit.payload["language"]["model"]),
    )
    fields = Fields(text=source.read.text, url=source.read.url or Fields.url, id=source.read.id or Fields.id)
    options = ReadOptions(fields=fields, document_bytes=run.mixture.limits.document_bytes)
    near = run.mixture.dedup.near
    schema = ledger_schema(signals_type()).with_metadata({RULES_KEY: dump(context.rule_sets)})
    totals = {"documents": 0, "kept": 0, "quarantined": 0, "bytes": 0, "text_bytes": 0, "kept_bytes": 0}
    hashes: list[pa.RecordBatch] = []
    bands: list[pa.RecordBatch] = []
    with ExitStack() as stack:
        documents_file = stack.enter_context(storage.publishing(run.root, f"documents/{unit.name}.parquet"))
        ledger_file = stack.enter_context(storage.publishing(run.root, f"ledger/{unit.name}.parquet"))
        documents = stack.enter_context(_writer(documents_file.sink, DOCUMENTS))
        ledger = stack.enter_context(_writer(ledger_file.sink, schema))
        for batch in read_split(split, root=run.mixture.data, options=options):
            rows = _decided(batch, context)
            ledger.write_batch(rows.select(schema.names).cast(schema))
            kept = rows.filter(pc.equal(rows["status"], "kept"))
            first_row = totals["kept"]
            totals["documents"] += len(rows)
            totals["kept"] += len(kept)
            totals["quarantined"] += pc.sum(pc.equal(rows["status"], "quarantined")).as_py() or 0
            totals["bytes"] += pc.sum(rows["bytes"]).as_py() or 0
            totals["text_bytes"] += pc.sum(rows["text_bytes"]).as_py() or 0
            totals["kept_bytes"] += pc.sum(kept["text_bytes"]).as_py() or 0
            if not len(kept):
                continue
            kept = kept.append_column("text_hash", curate_kernels.text_hash(kept["text"]))
            documents.write_batch(kept.select(DOCUMENTS.names).cast(DOCUMENTS), row_group_size=len(kept))
            place = np.arange(first_row, first_row + len(kept), dtype=np.uint32)
            hashes.append(_hash_rows(kept, place))
            if near is not None:
                digests = curate_kernels.minhash_bands(
                    kept["text"],
                    bands=near.bands,
                    rows=near.rows,
                    ngram=near.ngram,
                    seed=run.mixture.seed,
                )
                bands.append(_band_rows(kept, digests, place))
    outputs = [
        documents_file.result(),
        ledger_file.result(),
        storage.publish_table(run.root, f"hashes/{unit.name}.parquet", _sorted(hashes, HASHES)),
        storage.publish_table(run.root, f"bands/{unit.name}.parquet", _sorted(bands, BANDS)),
    ]
    return Result(tuple(outputs), {"source": split.source, **totals})


def _writer(sink: Any, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        sink, schema, compression="zstd", compression_level=1, use_dictionary=_dictionary(schema)
    )


def _dictionary(schema: pa.Schema) -> list[str]:
    """Columns of few distinct values; hashing ids and texts for a dictionary only costs time."""
    few = {"source", "domain", "language", "format", "repository", "charset", "status", "dropped_by", "date"}
    few |= {"topic", "topic_rule", "document_type", "document_type_rule"}
    return [
        *(few & set(schema.names)),
        "failed_rules.list.element",
        "edits.list.element.rule",
        "privacy.list.element.kind",
    ]


def _decided(batch: pa.RecordBatch, context: SourceContext) -> pa.RecordBatch:
    """All rows of a batch with every ledger column; those that could not be read are quarantined."""
    readable = pc.is_valid(batch["text"])
    if pc.all(readable).as_py():
        return run_stages(batch, context)
    broken = batch.filter(pc.invert(readable))
    decided = run_stages(batch.filter(readable), context)
    filled = {
        "domain": pa.repeat(pa.scalar(context.source.domain), len(broken)),
        "status": pa.repeat(pa.scalar("quarantined"), len(broken)),
        "failed_rules": pa.array([[]] * len(broken), pa.list_(pa.string())),
        **tag(broken["url"], context.source),
    }
    columns = {
        field.name: broken[field.name]
        if field.name in broken.schema.names
        else filled.get(field.name, pa.nulls(len(broken), field.type))
        for field in decided.schema
    }
    both = pa.concat_batches([decided, pa.RecordBatch.from_pydict(columns, schema=decided.schema)])
    # Back into the order of the input.
    places = pa.concat_arrays([pc.indices_nonzero(readable), pc.indices_nonzero(pc.invert(readable))])
    return both.take(pc.sort_indices(places))


def leading_bits(digests: pa.Array) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The first 64 bits of 16-byte digests, as numbers in the digests' own order."""
    raw = np.frombuffer(digests.buffers()[1], dtype=">u8")
    return raw[2 * digests.offset : 2 * (digests.offset + len(digests)) : 2].astype(np.uint64)


def _hash_rows(kept: pa.RecordBatch, place: Any) -> pa.RecordBatch:
    columns = [
        pa.array(leading_bits(kept["text_hash"])),
        pa.array(place),
        kept["document_id"],
        kept["text_hash"],
    ]
    return pa.RecordBatch.from_arrays(columns, schema=HASHES)


def _band_rows(kept: pa.RecordBatch, digests: pa.FixedSizeListArray, place: Any) -> pa.RecordBatch:
    """One row per band of every document that has words."""
    known = digests.is_valid()
    width = digests.type.list_size
    flat = digests.filter(known).flatten()
    rows = np.repeat(np.flatnonzero(known.to_numpy(zero_copy_only=False)), width)
    text_key = leading_bits(kept["text_hash"])
    columns = [
        flat,
        pa.array(place[rows]),
        kept["document_id"].take(pa.array(rows)),
        pa.array(text_key[rows]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=BANDS)


def _sorted(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    table = pa.Table.from_batches(batches, schema=schema)
    return table.take(pc.sort_indices(table, sort_keys=[("key", "ascending"), ("row", "ascending")]))


def check(run: Run, records: list[Record]) -> None:
    """Stop when a source has more unreadable records than `limits.quarantine_share`."""
    documents: dict[str, int] = {}
    quarantined: dict[str, int] = {}
    for record in records:
        source = record.figures["source"]
        documents[source] = documents.get(source, 0) + record.figures["documents"]
        quarantined[source] = quarantined.get(source, 0) + record.figures["quarantined"]
    limit = run.mixture.limits.quarantine_share
    bad = [name for name, count in documents.items() if count and quarantined[name] > limit * count]
    if bad:
        table = "; ".join(f"{name}: {quarantined[name]:,} of {documents[name]:,}" for name in bad)
        raise RunError(
            f"too many unreadable records (more than limits.quarantine_share = {limit:.0%}): {table}. "
            f'Read the reasons with: curate sql {run.root} "SELECT source, error, count(*) FROM ledger '
            "WHERE status = 'quarantined' GROUP BY ALL\"; then repair the data or raise the limit"
        )


def config(mixture: Mixture) -> Any:
    """What every unit depends on beyond its own source."""
    near = mixture.dedup.near
    return {
        "limits": {"document_bytes": mixture.limits.document_bytes},
        "bands": near and [near.bands, near.rows, near.ngram],
        "seed": mixture.seed,
    }


PHASE = Phase("curate", "read, extract, measure and decide, document by document", plan, work, config, check)

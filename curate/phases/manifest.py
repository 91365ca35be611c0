"""Phase `manifest`: every document's fate in one row, and planned beside realised.

One unit per documents file joins what the phases wrote about its documents (by position: each phase
keeps the rows' order) into `manifest/documents/`; one more unit publishes `plan`, `stages`, `notes` and
`inventory`, and checks that the tokens in the shards are the tokens that were picked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import storage
from curate.phases import Phase, Result, classify, inputs_of
from curate.phases.tokenize import CELL, summed
from curate.run_directory import Run, Unit
from mixtures.spec import Mixture

TABLES = ("documents", "shards", "sequences", "spans", "inventory", "plan", "stages", "notes")

_MIX = "mixture"


def plan(run: Run) -> list[Unit]:
    by_unit = {
        phase: {record.unit: record for record in run.records(phase)}
        for phase in ("dedup.survivors", "tokenize", "classify.score")
    }
    cuts = inputs_of(run.records("classify.buckets"), classify.CUTS)
    units = [
        Unit(
            record.unit,
            {},
            inputs_of([record], "ledger/")
            + inputs_of([by_unit["dedup.survivors"][record.unit]], "dedup/survivors/")
            + inputs_of([by_unit["tokenize"][record.unit]], "tokens/")
            + inputs_of(
                [item for item in [by_unit["classify.score"].get(record.unit)] if item], "classified/"
            )
            + cuts,
            record.figures["documents"],
        )
        for record in run.records("curate")
    ]
    written = run.records("write")
    inputs = inputs_of(run.records("plan"), "plan/") + inputs_of(written, "realised/", "manifest/sequences/")
    return [*units, Unit(_MIX, {}, inputs)]


def work(run: Run, unit: Unit) -> Result:
    return _mixture(run, unit) if unit.name == _MIX else _documents(run, unit)


def _documents(run: Run, unit: Unit) -> Result:
    ledger, survivors, tokens, *more = (storage.read_table(run.url(path)) for path, _ in unit.inputs)
    passed = pc.equal(ledger["status"], "kept").to_numpy()
    unique = np.zeros(len(ledger), bool)
    unique[np.flatnonzero(passed)] = survivors["duplicate_of"].is_null().to_numpy()
    for part, mask in ((survivors, passed), (tokens, unique), *((part, passed) for part in more[:1])):
        if not ledger["document_id"].filter(pa.array(mask)).equals(part["document_id"]):
            raise AssertionError(f"{unit.name}: the rows of the ledger and of a later phase do not match")
    status = pc.if_else(pa.array(passed & ~unique), "duplicate", ledger["status"].combine_chunks())
    table = ledger.set_column(ledger.schema.get_field_index("status"), "status", status)
    for name in ("duplicate_of", "duplicate_kind", "jaccard"):
        table = table.append_column(name, _spread(survivors[name], passed))
    table = table.append_column("tokens", _spread(tokens["tokens"], unique))
    if more:
        table = _with_classes(run, table, passed, *more)
    output = storage.publish_table(
        run.root, f"manifest/documents/{unit.name}.parquet", table, find_by="document_id"
    )
    counts = {row["values"]: row["counts"] for row in pc.value_counts(table["status"]).to_pylist()}
    return Result((output,), {"documents": len(table), "status": counts})


def _with_classes(
    run: Run, table: pa.Table, passed: Any, classified: pa.Table, cuts: pa.Table | None = None
) -> pa.Table:
    """Scores and quality as further columns; tags by model in the place of those that no rule decided."""
    columns = {name: classified[name] for name in classified.column_names if name != "document_id"}
    if cuts is not None:
        languages = table["language"].filter(pa.array(passed)).combine_chunks()
        columns |= classify.quality(classified, languages, cuts, run.mixture)
    for name, column in columns.items():
        place = table.schema.get_field_index(name)
        if place < 0:
            table = table.append_column(name, _spread(column, passed))
        else:  # what was dropped keeps the tags of its source and address
            merged = pc.coalesce(_spread(column, passed), table[name])
            table = table.set_column(place, name, merged)
    return table


def _spread(column: pa.ChunkedArray | pa.Array, mask: Any) -> pa.ChunkedArray | pa.Array:
    """The column's values at the true places of a mask, null elsewhere."""
    place = pa.array(np.where(mask, np.cumsum(mask) - 1, 0), mask=~mask)
    return column.take(place)


def _mixture(run: Run, unit: Unit) -> Result:
    paths = [path for path, _ in unit.inputs]
    realised_parts = [storage.read_table(run.url(path)) for path in paths if path.startswith("realised/")]
    stages = [
        path.removeprefix("realised/").rsplit("-", 1)[0] for path in paths if path.startswith("realised/")
    ]
    realised = pa.concat_tables(
        part.append_column("stage", pa.repeat(pa.scalar(stage), len(part)))
        for part, stage in zip(realised_parts, stages, strict=True)
    )
    keys = ["stage", *CELL]
    realised = summed(realised, keys).rename_columns(
        {"tokens": "realised_tokens", "documents": "realised_documents"}
    )
    packed = sum(
        pc.sum(storage.read_table(run.url(path), columns=["tokens"])["tokens"]).as_py() or 0
        for path in paths
        if path.startswith("manifest/sequences/")
    )
    picked = pc.sum(realised["realised_tokens"]).as_py() or 0
    if packed != picked:
        raise AssertionError(f"tokens were lost: {picked:,} picked by the plan, {packed:,} in the shards")
    assigned = storage.read_table(run.url("plan/assignments.parquet"))
    table = assigned.join(realised, keys, join_type="left outer").sort_by(
        [(key, "ascending") for key in keys]
    )
    for name in ("realised_tokens", "realised_documents"):
        table = table.set_column(table.schema.get_field_index(name), name, pc.fill_null(table[name], 0))
    outputs = [storage.publish_table(run.root, "manifest/plan/mixture.parquet", table)]
    for name in ("stages", "notes", "inventory"):
        part = storage.read_table(run.url(f"plan/{name}.parquet"))
        outputs.append(storage.publish_table(run.root, f"manifest/{name}/mixture.parquet", part))
    return Result(tuple(outputs), {"tokens": packed})


def config(mixture: Mixture) -> Any:
    return list(classify.quality_classifiers(mixture))


PHASE = Phase("manifest", "write every document's fate", plan, work, config)

"""Phase `write`: packed shards, one unit per curriculum stage and shard group.

A unit picks its group's documents by the plan, packs their lengths, gathers their tokens from the
memory-mapped pools and publishes `shards/*.arrow` with its rows of the manifest. Memory: one record
batch of token planes and about 100 bytes a document.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

import curate_kernels
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import storage
from curate.phases import Phase, Result, inputs_of
from curate.phases.tokenize import CELL, length_class, summed, tokenizer_of
from curate.run_directory import Run, Unit
from mixtures.spec import Mixture
from shards.writer import write_shards


def plan(run: Run) -> list[Unit]:
    records = run.records("tokenize")
    inputs = inputs_of(run.records("plan"), "plan/assignments") + inputs_of(records, "pools/")
    groups = records[0].figures["groups"] if records else 0
    tokens = sum(record.figures["tokens"] for record in records)
    return [
        Unit(
            f"{stage.name}-{group:05d}",
            {
                "stage": stage.name,
                "length": stage.length,
                "group": group,
                "pad_documents_to": run.mixture.shards.document_multiple(stage),
                "context_parallel": stage.context_parallel_size,
            },
            inputs,
            int(tokens * stage.share / groups),
        )
        for stage in run.mixture.curriculum.stages
        for group in range(groups)
    ]


def work(run: Run, unit: Unit) -> Result:
    (assignments, *pools) = (run.url(path) for path, _ in unit.inputs)
    mixture, stage = run.mixture, unit.payload["stage"]
    plan_rows = storage.read_table(assignments).filter(pc.field("stage") == stage)
    spec = mixture.tokenizer
    tokenizer = tokenizer_of(spec.preset, spec.bos, spec.eos)
    pad = tokenizer.special.pad
    if pad is None:
        raise AssertionError("a tokenizer without a pad token is refused when it is loaded")
    sources = list(mixture.sources)
    flat: list[pa.Array] = []
    chosen: list[pa.Table] = []
    for number, url in enumerate(pools):
        # The batch keeps its mapping; the file is closed, or a thousand pools would exhaust the descriptors.
        with storage.open_arrow(url) as source:
            batch = pa.ipc.open_file(source).get_batch(unit.payload["group"])
        flat.append(batch["tokens"].values)
        chosen.append(_picked(run, batch, plan_rows, number))
    documents = pa.concat_tables(chosen).combine_chunks()
    ids = documents["document_id"].combine_chunks()
    documents = documents.append_column(
        "order_key", curate_kernels.keyed_uniform(ids, mixture.seed, f"order {stage}")
    ).append_column("source_id", pc.index_in(documents["source"], pa.array(sources)).cast(pa.int16()))
    manifest = write_shards(
        documents,
        flat,
        stage=stage,
        sequence_length=unit.payload["length"],
        group=unit.payload["group"],
        shard_tokens=mixture.shards.shard_tokens,
        max_documents=mixture.shards.documents_per_sequence,
        pad=pad,
        pad_documents_to=unit.payload["pad_documents_to"],
        sources=sources,
        metadata={"mixture": mixture.name, "seed": str(mixture.seed), "tokenizer": tokenizer.fingerprint},
        publish=_publisher(run),
        seed=mixture.seed,
        layout=mixture.shards.context_parallel,
        context_parallel=unit.payload["context_parallel"],
    )
    realised = summed(documents.select([*CELL, "length"]).rename_columns([*CELL, "tokens"]), list(CELL))
    tables = {"shards": manifest.shards, "sequences": manifest.sequences, "spans": manifest.spans}
    rows = [
        storage.publish_table(
            run.root,
            f"manifest/{name}/{unit.name}.parquet",
            table,
            find_by="document_id" if name == "spans" else None,
        )
        for name, table in tables.items()
    ]
    rows.append(storage.publish_table(run.root, f"realised/{unit.name}.parquet", realised))
    files = [
        storage.Published(path, size, checksum)
        for path, size, checksum in zip(
            *(manifest.shards[name].to_pylist() for name in ("path", "bytes", "checksum")), strict=True
        )
    ]
    tokens = pc.sum(documents["length"]).as_py() or 0
    figures = {"documents": len(documents), "tokens": tokens, "sequences": len(manifest.sequences)}
    return Result((*files, *rows), figures)


def _publisher(run: Run) -> Callable[[str, Callable[[BinaryIO], None]], storage.Published]:
    return lambda name, write: storage.publish(run.root, f"shards/{name}", write)


def _picked(run: Run, batch: pa.RecordBatch, plan_rows: pa.Table, number: int) -> pa.Table:
    """The documents of a pool that this stage takes, one row per epoch.

    A document with draw u is taken once for every epoch j >= 0 with start <= u + j < end of its cell.
    """
    offsets = batch["tokens"].offsets.to_numpy()
    lengths = np.diff(offsets)
    cells = pa.table(
        {
            **{name: batch[name] for name in CELL[:3]},
            "length_class": pa.array(length_class(lengths, run)),
            "row": pa.array(np.arange(len(batch))),
        }
    )
    joined = cells.join(plan_rows.select([*CELL, "start", "end"]), list(CELL), join_type="inner").sort_by(
        "row"
    )
    rows = joined["row"].to_numpy()
    draw = batch["draw"].to_numpy()[rows]
    first = np.maximum(np.ceil(joined["start"].to_numpy() - draw), 0).astype(np.int64)
    last = np.maximum(np.ceil(joined["end"].to_numpy() - draw), 0).astype(np.int64)
    times = np.maximum(last - first, 0)
    picked = np.repeat(np.arange(len(rows)), times)
    nth = np.arange(len(picked)) - np.repeat(np.cumsum(times) - times, times)
    rows = rows[picked]
    taken = batch.select(["document_id", "source", "domain", "language"]).take(pa.array(rows))
    table = pa.Table.from_batches([taken])
    for name, values in {
        "length_class": length_class(lengths[rows], run),
        "length": lengths[rows],
        "pool": np.full(len(rows), number, np.int32),
        "pool_start": offsets[:-1][rows],
        "epoch": (first[picked] + nth).astype(np.int16),
    }.items():
        table = table.append_column(name, pa.array(values))
    return table


def config(mixture: Mixture) -> Any:
    return {
        "shards": mixture.shards,
        "seed": mixture.seed,
        "name": mixture.name,
        "tokenizer": mixture.tokenizer,
        "sources": list(mixture.sources),
        "lengths": [stage.length for stage in mixture.curriculum.stages],
    }


PHASE = Phase("write", "pack the documents and write the shards", plan, work, config)

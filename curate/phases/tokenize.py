"""Phase `tokenize`: the survivors of a documents file become token pools.

A unit encodes the kept texts of one documents file (added tokens off, BOS, EOS and FIM markers by id)
and publishes `pools/` (one Arrow record batch per shard group, so that a group is one range read),
`tokens/` (exact count per document) and `inventory/` (a histogram that the planner works from).
Memory: the unit's tokens, four bytes each.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import curate_kernels
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import storage
from curate.document import ID
from curate.phases import Phase, Result, inputs_of
from curate.run_directory import Run, RunError, Unit
from mixtures.planner import INVENTORY, SLICES
from mixtures.spec import Mixture
from tokenizer import Tokenizer, load

#: A shard group holds about this many documents: enough that packing inside it is as good as packing all.
GROUP_DOCUMENTS = 200_000

POOL = pa.schema(
    [
        ("document_id", ID),
        ("source", pa.string()),
        ("domain", pa.string()),
        ("language", pa.string()),
        ("draw", pa.float64()),
        ("tokens", pa.large_list(pa.int32())),
    ]
)
CELL = ("source", "domain", "language", "length_class")


@cache
def tokenizer_of(preset: str, bos: bool, eos: bool) -> Tokenizer:
    """The mixture's tokenizer, without the control tokens that it switches off.

    Raises `RunError` when there is none of that name, or it has no control token that the mixture asks for.
    """
    try:
        tokenizer = load(preset)
    except (ValueError, OSError) as error:
        raise RunError(f"tokenizer: {error}") from error
    special = tokenizer.special
    wanted = {"bos": bos, "eos": eos, "pad": True}
    missing = [name for name, on in wanted.items() if on and getattr(special, name) is None]
    if missing:
        raise RunError(
            f"tokenizer {preset!r} has no {', '.join(missing)} token; name its control tokens in a preset"
        )
    special = replace(special, bos=special.bos if bos else None, eos=special.eos if eos else None)
    # Shards written without one of them must not pass for shards with it.
    without = "".join(f" without {name}" for name, on in (("BOS", bos), ("EOS", eos)) if not on)
    return replace(tokenizer, special=special, fingerprint=tokenizer.fingerprint + without)


@cache
def verified_tokenizer(preset: str, bos: bool, eos: bool) -> Tokenizer:
    """The same, checked against its reference once per process."""
    tokenizer = tokenizer_of(preset, bos, eos)
    tokenizer.verify()
    return tokenizer


def plan(run: Run) -> list[Unit]:
    survivors = run.records("dedup.survivors")
    groups = max(1, -(-sum(record.figures["survivors"] for record in survivors) // GROUP_DOCUMENTS))
    texts = {record.unit: record for record in run.records("curate")}
    return [
        Unit(
            record.unit,
            {"groups": groups},
            inputs_of([texts[record.unit]], "documents/") + inputs_of([record], "dedup/survivors/"),
            texts[record.unit].figures["kept_bytes"],
        )
        for record in survivors
    ]


def work(run: Run, unit: Unit) -> Result:
    spec = run.mixture.tokenizer
    tokenizer = verified_tokenizer(spec.preset, spec.bos, spec.eos)
    documents, survivors = (run.url(path) for path, _ in unit.inputs)
    keep = storage.read_table(survivors, columns=["duplicate_of"])["duplicate_of"].is_null().combine_chunks()
    parts = [POOL.empty_table()]
    text_bytes = 0
    fs, path = storage.filesystem(documents)
    with fs.open(path, "rb") as source:
        parquet = pq.ParquetFile(source)
        first = 0
        for group in range(parquet.metadata.num_row_groups):
            table = parquet.read_row_group(
                group, columns=["document_id", "source", "domain", "language", "text"]
            )
            table = table.filter(keep.slice(first, len(table))).combine_chunks()
            first += parquet.metadata.row_group(group).num_rows
            if len(table):
                text_bytes += pc.sum(pc.binary_length(table["text"])).as_py()
                parts.append(encode(run, tokenizer, table))
    table = pa.concat_tables(parts).combine_chunks()
    lengths = pc.list_value_length(table["tokens"])
    outputs = (
        _publish_pool(run, unit, table),
        storage.publish_table(
            run.root,
            f"tokens/{unit.name}.parquet",
            pa.table({"document_id": table["document_id"], "tokens": lengths.cast(pa.int64())}),
        ),
        storage.publish_table(run.root, f"inventory/{unit.name}.parquet", _inventory(run, table, lengths)),
    )
    figures = {"documents": len(table), "tokens": pc.sum(lengths).as_py() or 0, "text_bytes": text_bytes}
    return Result(outputs, {**figures, "groups": unit.payload["groups"]})


def encode(run: Run, tokenizer: Tokenizer, table: pa.Table) -> pa.Table:
    """The pool's rows of documents (document_id, source, domain, language, text; one chunk each)."""
    text, ids = table["text"].chunk(0), table["document_id"].chunk(0)
    rates = {
        name: run.mixture.tokenizer.fim if source.fim is None else source.fim
        for name, source in run.mixture.sources.items()
    }
    index = pc.index_in(table["source"].combine_chunks(), pa.array(list(rates)))
    fim_rates = pa.array(list(rates.values()), pa.float64()).take(index)
    tokens = tokenizer.encode_documents(text, ids, fim_rates=fim_rates, seed=run.mixture.seed)
    columns = [ids, table["source"], table["domain"], table["language"]]
    columns += [curate_kernels.keyed_uniform(ids, run.mixture.seed, "epoch"), tokens]
    return pa.table(columns, schema=POOL)


def _publish_pool(run: Run, unit: Unit, table: pa.Table) -> storage.Published:
    """One record batch per shard group, a document's group being a keyed draw from its id."""
    groups = unit.payload["groups"]
    ids = table["document_id"].combine_chunks()
    draw = curate_kernels.keyed_uniform(ids, run.mixture.seed, "group").to_numpy()
    group = np.minimum((draw * groups).astype(np.int64), groups - 1)
    with (
        storage.publishing(run.root, f"pools/{unit.name}.arrow") as publication,
        pa.ipc.new_file(publication.sink, POOL) as writer,
    ):
        for number in range(groups):
            part = table.take(pa.array(np.flatnonzero(group == number))) if groups > 1 else table
            batches = part.combine_chunks().to_batches()
            writer.write_batch(batches[0] if batches else pa.RecordBatch.from_pylist([], schema=POOL))
    return publication.result()


def length_class(lengths: Any, run: Run) -> Any:
    """How many of the curriculum's sequence lengths a document exceeds (int8 per document)."""
    stages = np.array([stage.length for stage in run.mixture.curriculum.stages])
    return np.searchsorted(stages, lengths, side="left").astype(np.int8)


def _inventory(run: Run, table: pa.Table, lengths: pa.ChunkedArray) -> pa.Table:
    counts = lengths.to_numpy()
    drawn = np.minimum((table["draw"].to_numpy() * SLICES).astype(np.uint8), SLICES - 1)
    cells = pa.table(
        {
            **{name: table[name] for name in CELL[:3]},
            "length_class": pa.array(length_class(counts, run)),
            "slice": pa.array(drawn),
            "tokens": pa.array(counts.astype(np.int64)),
        }
    )
    return summed(cells, [*CELL, "slice"]).select(INVENTORY.names).cast(INVENTORY)


def summed(table: pa.Table, keys: list[str]) -> pa.Table:
    """Documents and tokens by the keys, in the keys' order."""
    if "documents" not in table.column_names:
        table = table.append_column("documents", pa.array(np.ones(len(table), np.int64)))
    grouped = table.group_by(keys, use_threads=False).aggregate([("documents", "sum"), ("tokens", "sum")])
    grouped = grouped.rename_columns({"documents_sum": "documents", "tokens_sum": "tokens"})
    return grouped.sort_by([(key, "ascending") for key in keys])


def config(mixture: Mixture) -> Any:
    spec = mixture.tokenizer
    return {
        "tokenizer": mixture.tokenizer,
        "ids": tokenizer_of(spec.preset, spec.bos, spec.eos).fingerprint,
        "fim": {name: source.fim for name, source in mixture.sources.items()},
        "lengths": [stage.length for stage in mixture.curriculum.stages],
        "seed": mixture.seed,
    }


PHASE = Phase("tokenize", "encode the survivors exactly", plan, work, config)

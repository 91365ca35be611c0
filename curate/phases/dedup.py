"""Phases `dedup.*`: exact and near-duplicates, verified, with a survivor that no order can change.

1. `dedup.exact`: documents of equal text, by ranges of the text hash; the smallest id survives.
2. `dedup.candidates`: documents that share a MinHash band, by ranges of the band key. Equal texts count
   once. A bucket of up to 16 documents gives all pairs; a larger one links each document to the
   bucket's smallest id and to its neighbour in id order, so pairs stay linear in the bucket's size.
3. `dedup.verify`: the true Jaccard similarity of each candidate pair's shingle sets, from the texts.
4. `dedup.clusters`: connected components of the verified pairs; the longest text survives, ties by id.
5. `dedup.survivors`: for each documents file, which rows stay and which document stood in for the rest.

Memory: 110 bytes a row of a partition (4 Mi rows on average: 450 MB; a key is never divided, so a text with
more copies than that needs more) in 1 and 2, and 180 a candidate pair; the texts of 64 Ki pairs at a time in
3; 320 bytes a verified pair in 4; all near-duplicates, one list of exact ones and the file's own, 40 bytes
each, in 5.
"""

from __future__ import annotations

from typing import Any

import curate_kernels
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import storage
from curate.document import ID
from curate.phases import Phase, Result, inputs_of, shuffle
from curate.run_directory import Record, Run, Unit
from mixtures.spec import Mixture

ALL_PAIRS_UP_TO = 16
PAIRS_AT_A_TIME = 1 << 16

DUPLICATES = pa.schema(
    [("document_id", ID), ("duplicate_of", ID), ("duplicate_kind", pa.string()), ("jaccard", pa.float32())]
)
PAIRS = pa.schema(
    [
        ("key", pa.uint64()),
        ("left", ID),
        ("right", ID),
        ("left_file", pa.uint32()),
        ("left_row", pa.uint32()),
        ("right_file", pa.uint32()),
        ("right_row", pa.uint32()),
    ]
)
EDGES = pa.schema(
    [
        ("left", ID),
        ("right", ID),
        ("left_bytes", pa.int64()),
        ("right_bytes", pa.int64()),
        ("jaccard", pa.float32()),
    ]
)


def _ids(column: pa.Array | pa.ChunkedArray) -> Any:
    """A 16-byte id column as a numpy array that sorts and compares like the bytes."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    raw = np.frombuffer(array.buffers()[1] or b"", dtype=">u8")
    pairs = raw[2 * array.offset : 2 * (array.offset + len(array))].reshape(-1, 2)
    out = np.empty(len(array), dtype=[("high", np.uint64), ("low", np.uint64)])
    out["high"], out["low"] = pairs[:, 0], pairs[:, 1]
    return out


def _id_column(ids: Any) -> pa.Array:
    raw = np.empty((len(ids), 2), dtype=">u8")
    raw[:, 0], raw[:, 1] = ids["high"], ids["low"]
    return pa.FixedSizeBinaryArray.from_buffers(ID, len(ids), [None, pa.py_buffer(raw.tobytes())])


def _changes(values: Any) -> Any:
    """True where a sorted array starts a new run of equal values."""
    first = np.ones(len(values), dtype=bool)
    first[1:] = values[1:] != values[:-1]
    return first


def _range_units(records: list[Record], prefix: str, rows: int) -> list[Unit]:
    inputs = inputs_of(records, prefix)
    parts = shuffle.partitions(rows) if inputs else 0
    return [
        Unit(f"{part:05d}", {"part": part, "parts": parts}, inputs, rows // parts) for part in range(parts)
    ]


def _urls(run: Run, unit: Unit) -> list[str]:
    return [run.url(path) for path, _ in unit.inputs]


# Exact


def plan_exact(run: Run) -> list[Unit]:
    if not run.mixture.dedup.exact:
        return []
    records = run.records("curate")
    return _range_units(records, "hashes/", sum(record.figures["kept"] for record in records))


def work_exact(run: Run, unit: Unit) -> Result:
    table = shuffle.read_range(_urls(run, unit), **unit.payload)
    texts, ids = _ids(table["text_hash"]), _ids(table["document_id"])
    order = np.lexsort((ids["low"], ids["high"], texts["low"], texts["high"]))
    texts, ids = texts[order], ids[order]
    first = _changes(texts)
    survivor = ids[np.flatnonzero(first)[np.cumsum(first) - 1]] if len(ids) else ids
    duplicates = pa.table(
        [
            _id_column(ids[~first]),
            _id_column(survivor[~first]),
            pa.repeat(pa.scalar("exact"), int((~first).sum())),
            pa.repeat(pa.scalar(1.0, pa.float32()), int((~first).sum())),
        ],
        schema=DUPLICATES,
    )
    output = storage.publish_table(run.root, f"dedup/exact/{unit.name}.parquet", duplicates)
    return Result((output,), {"documents": len(ids), "duplicates": len(duplicates)})


# Candidates


def plan_candidates(run: Run) -> list[Unit]:
    near = run.mixture.dedup.near
    if near is None:
        return []
    records = run.records("curate")
    return _range_units(records, "bands/", near.bands * sum(record.figures["kept"] for record in records))


def work_candidates(run: Run, unit: Unit) -> Result:
    table = shuffle.read_range(_urls(run, unit), **unit.payload)
    keys, texts = table["key"].to_numpy(), table["text_key"].to_numpy()
    ids = _ids(table["document_id"])
    # Only rows of keys that occur twice can make a pair: drop the rest before the full sort.
    order = np.argsort(keys, kind="stable")
    first = _changes(keys[order])
    alone = first & np.append(first[1:], True)
    order = order[~alone]
    order = order[np.lexsort((ids["low"][order], ids["high"][order], texts[order], keys[order]))]
    order = order[_changes(keys[order]) | _changes(texts[order])]  # equal texts once, by smallest id
    order = order[np.lexsort((ids["low"][order], ids["high"][order], keys[order]))]
    left, right = _bucket_pairs(keys[order])
    left, right = order[left], order[right]
    pairs = _unique_pairs(ids, left, right, table["file"].to_numpy(), table["row"].to_numpy())
    output = storage.publish_table(run.root, f"dedup/candidates/{unit.name}.parquet", pairs)
    return Result((output,), {"bands": len(table), "pairs": len(pairs)})


def _bucket_pairs(keys: Any) -> tuple[Any, Any]:
    """Index pairs inside each run of equal keys: all of a small run, anchor and neighbours of a large one."""
    starts = np.flatnonzero(_changes(keys))
    sizes = np.diff(np.append(starts, len(keys)))
    lefts, rights = [], []
    for distance in range(1, ALL_PAIRS_UP_TO):
        chosen = starts[(sizes > distance) & (sizes <= ALL_PAIRS_UP_TO)]
        counts = sizes[(sizes > distance) & (sizes <= ALL_PAIRS_UP_TO)] - distance
        first = np.repeat(chosen, counts) + _ramp(counts)
        lefts.append(first)
        rights.append(first + distance)
    large = sizes > ALL_PAIRS_UP_TO
    counts = sizes[large] - 1
    anchors = np.repeat(starts[large], counts)
    members = anchors + 1 + _ramp(counts)
    lefts += [anchors, members - 1]
    rights += [members, members]
    return np.concatenate(lefts), np.concatenate(rights)


def _ramp(counts: Any) -> Any:
    """0..n-1 for each count, end to end."""
    total = int(counts.sum())
    return np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)


def _unique_pairs(ids: Any, left: Any, right: Any, files: Any, rows: Any) -> pa.Table:
    a, b = ids[left], ids[right]
    order = np.lexsort((b["low"], b["high"], a["low"], a["high"]))
    a, b, left, right = a[order], b[order], left[order], right[order]
    keep = _changes(a) | _changes(b)
    a, b, left, right = a[keep], b[keep], left[keep], right[keep]
    columns = [pa.array(a["high"]), _id_column(a), _id_column(b)]
    columns += [pa.array(values) for side in (left, right) for values in (files[side], rows[side])]
    return pa.table(columns, schema=PAIRS)


# Verification


def plan_verify(run: Run) -> list[Unit]:
    candidates = run.records("dedup.candidates")
    pairs = sum(record.figures["pairs"] for record in candidates)
    if not candidates:
        return []
    parts = max(1, -(-pairs // (16 * PAIRS_AT_A_TIME)))
    inputs = inputs_of(candidates, "dedup/candidates/") + inputs_of(run.records("curate"), "documents/")
    return [
        Unit(f"{part:05d}", {"part": part, "parts": parts}, inputs, pairs // parts) for part in range(parts)
    ]


def work_verify(run: Run, unit: Unit) -> Result:
    near = run.mixture.dedup.near
    if near is None:
        raise AssertionError("verification is planned only with near-duplicates switched on")
    urls = [run.url(path) for path, _ in unit.inputs if path.startswith("dedup/")]
    documents = [run.url(path) for path, _ in unit.inputs if path.startswith("documents/")]
    found = shuffle.read_range(urls, **unit.payload)
    a, b = _ids(found["left"]), _ids(found["right"])
    order = np.lexsort((b["low"], b["high"], a["low"], a["high"]))
    order = order[_changes(a[order]) | _changes(b[order])]  # a pair may share several bands
    found = found.take(pa.array(order))
    edges = []
    for start in range(0, len(found), PAIRS_AT_A_TIME):
        edges.append(_verified(found.slice(start, PAIRS_AT_A_TIME), documents, near.ngram, near.jaccard))
    table = pa.concat_tables(edges) if edges else EDGES.empty_table()
    output = storage.publish_table(run.root, f"dedup/edges/{unit.name}.parquet", table)
    return Result((output,), {"pairs": len(found), "verified": len(table)})


def _verified(pairs: pa.Table, documents: list[str], ngram: int, threshold: float) -> pa.Table:
    sides = [
        (pairs[f"{side}_file"].to_numpy().astype(np.uint64) << np.uint64(32))
        | pairs[f"{side}_row"].to_numpy()
        for side in ("left", "right")
    ]
    places, where = np.unique(np.concatenate(sides), return_inverse=True)
    texts = _texts(places, documents)
    left, right = (pa.array(part.astype(np.uint32)) for part in np.split(where, 2))
    jaccard = curate_kernels.jaccard_pairs(texts, left, right, ngram=ngram)
    sizes = pc.binary_length(texts)
    table = pa.table(
        [pairs["left"], pairs["right"], sizes.take(left), sizes.take(right), jaccard.cast(pa.float32())],
        schema=EDGES,
    )
    return table.filter(pc.greater_equal(jaccard, threshold))


def _texts(places: Any, documents: list[str]) -> pa.Array:
    """Texts at sorted (file << 32 | row) places, reading only the row groups that hold them."""
    chunks: list[pa.Array] = [pa.array([], pa.large_string())]
    files = (places >> np.uint64(32)).astype(np.int64)
    for number in np.unique(files):
        rows = (places[files == number] & np.uint64(0xFFFFFFFF)).astype(np.int64)
        fs, path = storage.filesystem(documents[number])
        with fs.open(path, "rb") as source:
            parquet = pq.ParquetFile(source)
            first = 0
            for group in range(parquet.metadata.num_row_groups):
                count = parquet.metadata.row_group(group).num_rows
                inside = rows[(rows >= first) & (rows < first + count)] - first
                if len(inside):
                    column = parquet.read_row_group(group, columns=["text"])["text"].combine_chunks()
                    chunks.append(column.take(pa.array(inside)))
                first += count
    return pa.concat_arrays(chunks)


# Clusters


def plan_clusters(run: Run) -> list[Unit]:
    records = run.records("dedup.verify")
    return [Unit("all", {}, inputs_of(records, "dedup/edges/"))] if records else []


def work_clusters(run: Run, unit: Unit) -> Result:
    edges = pa.concat_tables(storage.read_table(url) for url in _urls(run, unit))
    left, right = _ids(edges["left"]), _ids(edges["right"])
    both = np.concatenate([left, right])
    ids, index = np.unique(both, return_inverse=True)
    size = np.zeros(len(ids), np.int64)
    size[index] = np.concatenate([edges["left_bytes"].to_numpy(), edges["right_bytes"].to_numpy()])
    similarity = edges["jaccard"].to_numpy()
    a, b = np.split(index.astype(np.uint32), 2)
    component = curate_kernels.connected_components(len(ids), pa.array(a), pa.array(b)).to_numpy()
    # The longest text of each component survives; ids are sorted, so the index breaks ties by id.
    order = np.lexsort((np.arange(len(ids)), -size, component))
    first = _changes(component[order])
    survivor = np.empty(len(ids), np.int64)
    survivor[order] = order[np.flatnonzero(first)[np.cumsum(first) - 1]] if len(ids) else order
    # Evidence: the similarity to the survivor where that pair was verified, else the best of its pairs.
    best = np.zeros(len(ids), np.float32)
    np.maximum.at(best, a, similarity)
    np.maximum.at(best, b, similarity)
    for mine, other in ((a, b), (b, a)):
        direct = survivor[mine] == other
        best[mine[direct]] = similarity[direct]
    lost = survivor != np.arange(len(ids))
    duplicates = pa.table(
        [
            _id_column(ids[lost]),
            _id_column(ids[survivor[lost]]),
            pa.repeat(pa.scalar("near"), int(lost.sum())),
            pa.array(best[lost]),
        ],
        schema=DUPLICATES,
    )
    output = storage.publish_table(run.root, "dedup/near/all.parquet", duplicates)
    sizes = (
        np.bincount(component[order][first].searchsorted(component)) if len(ids) else np.zeros(1, np.int64)
    )
    return Result(
        (output,), {"edges": len(edges), "duplicates": len(duplicates), "largest_cluster": int(sizes.max())}
    )


# Survivors


def plan_survivors(run: Run) -> list[Unit]:
    lists = inputs_of(run.records("dedup.exact"), "dedup/exact/") + inputs_of(
        run.records("dedup.clusters"), "dedup/near/"
    )
    return [
        Unit(record.unit, {}, (*inputs_of([record], "documents/"), *lists), record.figures["kept"])
        for record in run.records("curate")
    ]


def work_survivors(run: Run, unit: Unit) -> Result:
    documents = run.url(unit.inputs[0][0])
    column = storage.read_table(documents, columns=["document_id"])["document_id"].combine_chunks()
    ids = _ids(column)
    near, own = DUPLICATES.empty_table(), [DUPLICATES.empty_table()]
    for path, _ in unit.inputs[1:]:
        part = storage.read_table(run.url(path))
        own.append(part.filter(pc.is_in(part["document_id"], column)))
        if path.startswith("dedup/near/"):
            near = part
    found = pa.concat_tables(own)
    lost, kept = _ids(found["document_id"]), _ids(found["duplicate_of"])
    is_near = pc.equal(found["duplicate_kind"], "near").to_numpy()
    jaccard = found["jaccard"].to_numpy()
    # An exact copy's stand-in may itself have given way to a near-duplicate: name the one that stayed, and
    # how alike that one is.
    place = _find(_ids(near["document_id"]), kept)
    if len(near):
        kept = np.where(place >= 0, _ids(near["duplicate_of"])[place], kept)
        jaccard = np.where(place >= 0, near["jaccard"].to_numpy()[place], jaccard)
        is_near |= place >= 0
    order = np.argsort(lost, order=("high", "low"))
    place = _find(lost[order], ids)
    is_lost = place >= 0
    source = pa.array(order[place] if len(order) else place, mask=~is_lost)
    table = pa.table(
        {
            "document_id": column,
            "duplicate_of": _id_column(kept).take(source),
            "duplicate_kind": pc.if_else(pa.array(is_near), "near", "exact").take(source),
            "jaccard": pa.array(jaccard, pa.float32()).take(source),
        },
        schema=DUPLICATES,
    )
    output = storage.publish_table(run.root, f"dedup/survivors/{unit.name}.parquet", table)
    return Result((output,), {"documents": len(ids), "survivors": int((~is_lost).sum())})


def _find(sorted_ids: Any, wanted: Any) -> Any:
    """Index of each wanted id in a sorted array, -1 where it is not there."""
    if not len(sorted_ids):
        return np.full(len(wanted), -1)
    place = np.minimum(np.searchsorted(sorted_ids, wanted), len(sorted_ids) - 1)
    return np.where(sorted_ids[place] == wanted, place, -1)


def verify_config(mixture: Mixture) -> Any:
    near = mixture.dedup.near
    return near and [near.ngram, near.jaccard]


def files_alone(_: Mixture) -> Any:
    """The input files decide everything; whether there are any units is `plan`'s business."""
    return None


PHASES = (
    Phase("dedup.exact", "find equal texts", plan_exact, work_exact, files_alone),
    Phase(
        "dedup.candidates",
        "find documents that share a MinHash band",
        plan_candidates,
        work_candidates,
        files_alone,
    ),
    Phase("dedup.verify", "compare candidate pairs by true Jaccard", plan_verify, work_verify, verify_config),
    Phase(
        "dedup.clusters",
        "join verified pairs and choose survivors",
        plan_clusters,
        work_clusters,
        files_alone,
    ),
    Phase("dedup.survivors", "mark each documents file", plan_survivors, work_survivors, files_alone),
)

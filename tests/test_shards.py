"""Shards: every token of every document comes back, in files that any Arrow reader opens."""

from __future__ import annotations

import hashlib
import io
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import curate_kernels
import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards import writer as writer_module
from shards.format import ShardError, read_header, shard_schema
from shards.manifest import SEQUENCES, SHARDS, SPANS, Manifest
from shards.writer import DOCUMENTS, write_shards

PAD = -7
SOURCES = ["web", "code", "Wissenschaft"]


@dataclass(frozen=True)
class File:
    path: str
    bytes: int
    checksum: str


def publisher(run: Path):
    """Publishes into `<run>/shards/`, with the path relative to the run."""
    (run / "shards").mkdir(parents=True, exist_ok=True)

    def publish(name, write):
        path = run / "shards" / name
        with path.open("wb") as sink:
            write(sink)
        checksum = curate_kernels.Checksum()
        checksum.update(path.read_bytes())
        return File(f"shards/{name}", path.stat().st_size, checksum.digest())

    return publish


def corpus(lengths, pools=3, seed=0):
    """Documents of the given lengths in a few pools, with junk between them; tokens count up from 0."""
    rng = np.random.default_rng(seed)
    parts = [[np.full(3, 10**6, np.int32)] for _ in range(pools)]
    filled = [3] * pools
    rows, token = [], 0
    for number, length in enumerate(lengths):
        pool = int(rng.integers(pools))
        parts[pool] += [np.arange(token, token + length, dtype=np.int32), np.full(2, 10**6, np.int32)]
        rows.append(
            {
                "document_id": hashlib.md5(str(number).encode()).digest(),
                "source_id": int(rng.integers(len(SOURCES))),
                "length": length,
                "pool": pool,
                "pool_start": filled[pool],
                "epoch": int(rng.integers(3)),
                "order_key": float(rng.random()),
            }
        )
        filled[pool] += length + 2
        token += length
    return pa.Table.from_pylist(rows, DOCUMENTS), [pa.array(np.concatenate(part)) for part in parts]


def written(run, documents, pools, **options) -> Manifest:
    """Write one unit and its manifest file of shards."""
    defaults = {
        "stage": "4K",
        "sequence_length": 64,
        "group": 0,
        "shard_tokens": 64 * 8,
        "max_documents": 16,
        "pad": PAD,
        "pad_documents_to": 1,
        "sources": SOURCES,
        "metadata": {"tokenizer": "f1", "mixture": "v4", "owner": "me"},
        "publish": publisher(run),
    }
    options = defaults | options
    manifest = write_shards(documents, pools, **options)
    folder = run / "manifest" / "shards"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(manifest.shards, folder / f"{options['stage']}-{options['group']:05d}.parquet")
    return manifest


def read(run, manifest) -> dict[str, pa.Table]:
    rows = manifest.shards.to_pylist()
    return {row["shard"]: pa.ipc.open_file((run / row["path"]).read_bytes()).read_all() for row in rows}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 300), max_size=40),
    st.sampled_from([1, 8]),
    st.sampled_from([1, 64, 200, 1 << 20]),
    st.integers(1, 20),
)
def test_every_token_of_every_document_is_found_through_its_spans(
    tmp_path_factory, lengths, multiple, shard_tokens, cap
):
    run = tmp_path_factory.mktemp("run")
    documents, pools = corpus(lengths)
    manifest = written(
        run, documents, pools, pad_documents_to=multiple, shard_tokens=shard_tokens, max_documents=cap
    )
    planes = {name: np.stack(table["tokens"].to_numpy()) for name, table in read(run, manifest).items()}
    expected = {row["document_id"]: row for row in documents.to_pylist()}
    found: dict[bytes, dict[int, int]] = {}
    taken = {name: np.zeros(plane.shape, bool) for name, plane in planes.items()}
    for span in manifest.spans.to_pylist():
        where = (span["shard"], span["sequence"], slice(span["start"], span["start"] + span["length"]))
        assert span["start"] % multiple == 0
        assert not taken[where[0]][where[1:]].any()
        taken[where[0]][where[1:]] = True
        document = expected[span["document_id"]]
        assert (span["source"], span["epoch"]) == (SOURCES[document["source_id"]], document["epoch"])
        tokens = found.setdefault(span["document_id"], {})
        for i, token in enumerate(planes[where[0]][where[1:]].tolist()):
            tokens[span["document_offset"] + i] = token
    token = 0
    for document, length in zip(documents["document_id"].to_pylist(), lengths, strict=True):
        assert found.get(document, {}) == {i: token + i for i in range(length)}
        token += length
    for name, plane in planes.items():
        assert (plane[~taken[name]] == PAD).all()
    assert sum(manifest.shards["tokens"].to_pylist()) == sum(lengths)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = tmp_path_factory.mktemp("shared")
    lengths = np.random.default_rng(1).lognormal(3, 1, 400).astype(int).tolist()
    documents, pools = corpus(lengths)
    return run, documents, pools, written(run, documents, pools)


def test_the_columns_of_a_shard_agree_with_each_other_and_with_the_manifest(run):
    folder, _, _, manifest = run
    sequences, spans = manifest.sequences.to_pylist(), iter(manifest.spans.to_pylist())
    assert manifest.shards.schema.equals(SHARDS)
    assert manifest.sequences.schema.equals(SEQUENCES)
    assert manifest.spans.schema.equals(SPANS)
    rows = [
        (name, i, row) for name, t in read(folder, manifest).items() for i, row in enumerate(t.to_pylist())
    ]
    for (name, i, row), listed in zip(rows, sequences, strict=True):
        assert (listed["shard"], listed["sequence"], listed["stage"]) == (name, i, "4K")
        lengths = row["document_lengths"]
        assert row["padding"] == listed["padding"] == 64 - sum(lengths)
        assert row["sum_squared_lengths"] == listed["sum_squared_lengths"] == sum(n * n for n in lengths)
        assert listed["documents"] == len(lengths)
        assert listed["tokens"] == sum(lengths)
        for j, length in enumerate(lengths):
            span = next(spans)
            assert (span["shard"], span["sequence"], span["start"]) == (name, i, sum(lengths[:j]))
            assert (span["length"], span["epoch"]) == (length, row["epochs"][j])
            assert span["document_id"] == row["document_ids"][j]
            assert span["document_offset"] == row["document_offsets"][j]
            assert span["source"] == SOURCES[row["source_ids"][j]]
    assert next(spans, None) is None
    for shard in manifest.shards.to_pylist():
        own = [row for row in sequences if row["shard"] == shard["shard"]]
        assert shard["sequences"] == len(own) <= 8
        assert shard["tokens"] == sum(row["tokens"] for row in own)
        assert shard["padding"] == sum(row["padding"] for row in own)
        assert shard["bytes"] == (folder / shard["path"]).stat().st_size
    assert manifest.shards["shard"].to_pylist()[:2] == ["4K-00000-0000.arrow", "4K-00000-0001.arrow"]


def test_a_shard_says_what_it_is(run):
    folder, _, _, manifest = run
    path = folder / manifest.shards["path"][0].as_py()
    schema = pa.ipc.open_file(path.read_bytes()).schema
    assert schema.equals(shard_schema(64))
    header = read_header(schema, "it")
    assert (header.stage, header.sequence_length, header.pad, header.layout) == ("4K", 64, PAD, "contiguous")
    assert (header.tokenizer, header.mixture, header.sources) == ("f1", "v4", tuple(SOURCES))
    assert header.extra == {"owner": "me"}
    assert schema.metadata[b"curate.version"] == b"1"


def test_polars_and_duckdb_open_a_shard(run):
    folder, _, _, manifest = run
    path = folder / manifest.shards["path"][0].as_py()
    ours = pa.ipc.open_file(path.read_bytes()).read_all()
    frame = pl.read_ipc(path)
    assert frame["tokens"].to_numpy().tolist() == ours["tokens"].to_pylist()
    assert frame["document_ids"].to_list() == ours["document_ids"].to_pylist()
    assert pl.scan_ipc(path).select(pl.col("padding").sum()).collect().item() == sum(
        ours["padding"].to_pylist()
    )
    rows = duckdb.sql("select tokens[1:3], len(document_lengths), sum_squared_lengths from ours").fetchall()
    assert [list(row[0]) for row in rows] == [tokens[:3] for tokens in ours["tokens"].to_pylist()]
    assert [row[1] for row in rows] == [len(lengths) for lengths in ours["document_lengths"].to_pylist()]


def test_planes_begin_at_page_boundaries_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 3 * 4 * 64)  # three sequences in a batch
    documents, pools = corpus([5, 64, 30] * 40)
    manifest = written(
        tmp_path, documents, pools, shard_tokens=64 * 11, metadata={"tokenizer": "t", "mixture": "ö"}
    )
    for row in manifest.shards.to_pylist():
        buffer = pa.py_buffer((tmp_path / row["path"]).read_bytes())
        reader = pa.ipc.open_file(buffer)
        assert reader.num_record_batches == -(-row["sequences"] // 3)
        for number in range(reader.num_record_batches):
            plane = reader.get_batch(number)["tokens"].values.buffers()[1]
            assert (plane.address - buffer.address) % PLANE_ALIGNMENT == 0


def test_the_same_unit_gives_the_same_bytes_and_another_seed_another_order(run, tmp_path):
    _, documents, pools, manifest = run
    again = written(tmp_path / "a", documents, pools)
    assert again == manifest
    shuffled = documents.take(pa.array(np.random.default_rng(3).permutation(len(documents))))
    assert written(tmp_path / "b", shuffled, pools).shards == manifest.shards
    other = written(tmp_path / "c", documents, pools, seed=1)
    assert other.shards["checksum"] != manifest.shards["checksum"]
    assert sum(other.shards["tokens"].to_pylist()) == sum(manifest.shards["tokens"].to_pylist())


def test_a_shard_is_not_sorted_by_fill(run):
    fill = run[3].sequences["tokens"].to_numpy()
    halves = fill[: len(fill) // 2], fill[len(fill) // 2 :]
    assert min(halves[0]) < 64  # packing order would have all of its full sequences first
    assert 64 in halves[1]


def test_planes_of_one_batch_at_a_time_are_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 1 << 20)
    documents, pools = corpus([4000] * 2000)
    gathered = []

    class Sparse(io.RawIOBase):
        """Keeps nothing of what is written."""

        size = 0

        def writable(self):
            return True

        def write(self, data):
            self.size += len(data)
            return len(data)

        def tell(self):
            return self.size

    def gather(*arguments, **options):
        assert not any(reference() is not None for reference in gathered)
        planes = kernel(*arguments, **options)
        gathered.append(weakref.ref(planes))
        return planes

    kernel = curate_kernels.gather_planes
    monkeypatch.setattr(writer_module.curate_kernels, "gather_planes", gather)

    def publish(name: str, write) -> File:
        sink: BinaryIO = Sparse()  # type: ignore[assignment]
        write(sink)
        return File(name, sink.tell(), "none:")

    manifest = written(
        tmp_path, documents, pools, sequence_length=4096, shard_tokens=1 << 30, publish=publish
    )
    assert len(gathered) == -(-2000 // 64)
    assert manifest.shards["bytes"][0].as_py() > 4 * 4096 * 2000


def test_an_empty_unit_writes_nothing(tmp_path):
    documents, pools = corpus([])
    manifest = written(tmp_path, documents, pools)
    assert (len(manifest.shards), len(manifest.sequences), len(manifest.spans)) == (0, 0, 0)
    assert not list((tmp_path / "shards").iterdir())


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("pool", 3, "its pool is not in 0..3"),
        ("pool", -1, "its pool"),
        ("pool_start", 10**9, "makes no sense"),
        ("pool_start", -1, "makes no sense"),
        ("length", -1, "makes no sense"),
        ("length", 2**62, "beyond its pool"),
        ("source_id", 3, "its source_id is not in 0..3"),
        ("source_id", None, "documents.source_id holds 1 nulls"),
        ("order_key", float("nan"), "NaN"),
    ],
)
def test_a_document_that_makes_no_sense_stops_the_unit(tmp_path, column, value, message):
    documents, pools = corpus([5, 6])
    rows = documents.to_pylist()
    rows[1][column] = value
    with pytest.raises(ValueError, match=message):
        written(tmp_path, pa.Table.from_pylist(rows, DOCUMENTS), pools)
    assert not list((tmp_path / "shards").iterdir())


@pytest.mark.parametrize(
    "metadata", [{"tokenizer": "t"}, {"mixture": "m"}, {"tokenizer": "t", "mixture": "m", "curate.pad": "0"}]
)
def test_metadata_is_complete_and_leaves_the_formats_keys_alone(tmp_path, metadata):
    documents, pools = corpus([5])
    with pytest.raises(ValueError, match="metadata"):
        written(tmp_path, documents, pools, metadata=metadata)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"curate.version": None}, "not a shard of this project"),
        ({"curate.version": "9"}, "format version '9'"),
        ({"curate.pad": None}, "'curate.pad' is missing"),
        ({"curate.pad": "x"}, "broken metadata"),
        ({"curate.sequence_length": "0"}, "positive"),
        ({"curate.sequence_length": "32"}, "columns are not those"),
        ({"curate.sources": "[" * 100_000}, "broken metadata"),
        ({"curate.sources": '{"a": 1}'}, "not a list of names"),
    ],
)
def test_metadata_that_is_wrong_is_refused(run, change, message):
    folder, _, _, manifest = run
    schema = pa.ipc.open_file((folder / manifest.shards["path"][0].as_py()).read_bytes()).schema
    metadata = {key.decode(): value.decode() for key, value in schema.metadata.items()} | change
    changed = schema.with_metadata({key: value for key, value in metadata.items() if value is not None})
    with pytest.raises(ShardError, match=message):
        read_header(changed, "it")

"""Shards: every token of every document comes back, in files that any Arrow reader opens."""

from __future__ import annotations

import hashlib
import io
import itertools
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
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from shards import format as format_module
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
    assert schema.metadata[b"curate.version"] == b"2"


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


def test_datasets_opens_a_shard(run, tmp_path):
    datasets = pytest.importorskip("datasets")
    folder, _, _, manifest = run
    path = folder / manifest.shards["path"][0].as_py()
    found = datasets.load_dataset("arrow", data_files=str(path), split="train", cache_dir=str(tmp_path))
    assert found.to_list() == pa.ipc.open_file(path.read_bytes()).read_all().to_pylist()


@pytest.mark.parametrize(
    ("length", "batch_bytes", "rows", "alignment"),
    [
        (64, 64 << 20, 1, 4096),  # planes side by side would not begin at pages
        (1024, 3 * 4096, 3, 4096),
        (1 << 18, 64 << 20, 64, 4096),  # a plane of 1 MiB
        (1 << 19, 64 << 20, 32, 2 << 20),
        (300_000, 64 << 20, 1, 2 << 20),
    ],
)
def test_every_sequence_begins_at_an_aligned_offset_of_the_file(
    tmp_path, monkeypatch, length, batch_bytes, rows, alignment
):
    monkeypatch.setattr(format_module, "BATCH_BYTES", batch_bytes)
    documents, pools = corpus([length, length // 3, length // 2] * 4)
    manifest = written(
        tmp_path,
        documents,
        pools,
        sequence_length=length,
        shard_tokens=length * 5,
        metadata={"tokenizer": "t", "mixture": "ö"},
    )
    for row in manifest.shards.to_pylist():
        data = (tmp_path / row["path"]).read_bytes()
        buffer = pa.py_buffer(data)
        reader = pa.ipc.open_file(buffer)
        assert reader.num_record_batches == -(-row["sequences"] // rows)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            batch.validate(full=True)
            plane = batch["tokens"].values.buffers()[1].address - buffer.address
            assert [(plane + 4 * length * r) % alignment for r in range(batch.num_rows)] == [0] * len(batch)
            last = batch["sum_squared_lengths"].buffers()[1]
            end = last.address - buffer.address + 8 * len(batch)
            assert not any(data[end : end + 512])  # a device may round its last read up
        footer = data[-10 - int.from_bytes(data[-10:-6], "little") : -10]
        assert row["footer_checksum"] == f"xxh3_64:{xxhash.xxh3_64_hexdigest(footer)}"


def in_rank_order(row, layout, ranks):
    """The tokens of a row as each rank holds them, and the token after each of its chunks: by definition."""
    tokens, length = np.array(row["tokens_read"]), len(row["tokens_read"])
    ends = np.cumsum(row["padded_lengths"]).tolist()
    bounds = [0, *ends[:-1], length] if layout == "zigzag_documents" else [0, length]
    parts, after = [], []
    for rank in range(ranks):
        for start, end in itertools.pairwise(bounds):
            chunk = (end - start) // (2 * ranks)
            for number in (rank, 2 * ranks - 1 - rank):
                stop = start + (number + 1) * chunk
                parts.append(tokens[stop - chunk : stop])
                after.append(int(tokens[stop]) if stop < end else PAD)
    return np.concatenate(parts).tolist(), after


@pytest.mark.parametrize(("layout", "multiple"), [("zigzag", 1), ("zigzag", 8), ("zigzag_documents", 8)])
def test_a_zigzag_shard_holds_each_ranks_part_in_one_piece(tmp_path, layout, multiple):
    documents, pools = corpus([*np.random.default_rng(4).integers(1, 900, 60).tolist(), 2500])
    options = {"sequence_length": 1024, "shard_tokens": 1 << 20, "pad_documents_to": multiple}
    plain = read(tmp_path / "a", written(tmp_path / "a", documents, pools, **options))
    manifest = written(tmp_path / "b", documents, pools, layout=layout, context_parallel=4, **options)
    zigzag = read(tmp_path / "b", manifest)
    for name, table in zigzag.items():
        header = read_header(table.schema, name)
        assert (header.layout, header.context_parallel) == (layout, 4)
        for row, stored in zip(plain[name].to_pylist(), table.to_pylist(), strict=True):
            row["tokens_read"] = row["tokens"]
            tokens, after = in_rank_order(row, layout, 4)
            assert stored["tokens"] == tokens != row["tokens"]
            assert stored["next_tokens"] == after
            assert row["next_tokens"] == []
            assert stored["document_lengths"] == row["document_lengths"]


@pytest.mark.parametrize("layout", ["contiguous", "zigzag_documents"])
def test_checksums_are_those_of_the_rows(tmp_path, layout):
    documents, pools = corpus([3000, 7000, 12, 9000, 4000])
    manifest = written(
        tmp_path,
        documents,
        pools,
        sequence_length=10240,
        shard_tokens=10240 * 2,
        pad_documents_to=8,
        layout=layout,
        context_parallel=4,
    )
    rows = [row for table in read(tmp_path, manifest).values() for row in table.to_pylist()]
    for row, listed in zip(rows, manifest.sequences.to_pylist(), strict=True):
        tokens = np.array(row["tokens"], "<i4")
        runs = [
            xxhash.xxh3_64_intdigest(tokens[at : at + 4096].tobytes()) for at in range(0, len(tokens), 4096)
        ]
        assert row["token_checksums"] == runs
        assert len(runs) == 3
        numbers = [np.array(row[name], "<i4") for name in ("document_lengths", "next_tokens")]
        whole = b"".join(array.tobytes() for array in (*numbers, np.array(runs, "<u8")))
        assert row["checksum"] == listed["checksum"]
        assert row["checksum"] == xxhash.xxh3_64_intdigest(whole, seed=listed["sequence"])
    assert {row["sequence"] for row in manifest.sequences.to_pylist()} == {0, 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "spiral"}, "'spiral' is not one of contiguous, zigzag, zigzag_documents"),
        ({"layout": "zigzag", "context_parallel": 0}, "below 1"),
        ({"layout": "zigzag", "context_parallel": 3}, "do not divide into the 6 chunks"),
        ({"layout": "zigzag", "context_parallel": 16}, "no multiple of 128 .512 bytes.: at most 8 ranks"),
        ({"layout": "zigzag_documents", "context_parallel": 4}, "has to be a multiple of that, not 1"),
        ({"context_parallel": 3}, "no multiple of 128"),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(tmp_path, options, message):
    documents, pools = corpus([5])
    with pytest.raises(ValueError, match=message):
        written(tmp_path, documents, pools, sequence_length=1024, **options)


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
    monkeypatch.setattr(format_module, "BATCH_BYTES", 1 << 20)
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
        columns = kernel(*arguments, **options)
        gathered.append(weakref.ref(columns[0]))
        return columns

    kernel = curate_kernels.gather_sequences
    monkeypatch.setattr(writer_module.curate_kernels, "gather_sequences", gather)

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

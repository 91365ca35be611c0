"""Exports of packed shards: whole documents or whole sequences, byte for byte as the formats say."""

from __future__ import annotations

import errno
import itertools
import json
import os
import struct
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_fixture import ask, curate, invoke
from test_shards import SOURCES, corpus, written

from shards import format as format_module
from shards.export import mds as mds_module
from shards.export import megatron as megatron_module
from shards.export.mds import export_mds
from shards.export.megatron import export_megatron
from shards.export.stage import documents, open_group, open_stage, spans_of
from shards.format import ShardError

LENGTH = 512
PAD, EOD = 2_000_000, 1_999_999

#: Stored orders, with what they need of the padding of documents.
LAYOUTS = [
    {"layout": "contiguous", "pad_documents_to": 1},
    {"layout": "contiguous", "pad_documents_to": 16},
    {"layout": "zigzag", "context_parallel": 2, "pad_documents_to": 1},
    {"layout": "zigzag", "context_parallel": 4, "pad_documents_to": 8},
    {"layout": "zigzag_documents", "context_parallel": 2, "pad_documents_to": 4},
    {"layout": "zigzag_documents", "context_parallel": 4, "pad_documents_to": 64},
]


def run_of(run: Path, lengths, *, eod=lambda _: True, **options):
    """A stage of documents of these lengths, each closed by EOD where `eod` says so; and their tokens."""
    table, pools = corpus(lengths)
    arrays = [pool.to_numpy().copy() for pool in pools]
    tokens = {}
    for number, row in enumerate(table.to_pylist()):
        view = arrays[row["pool"]][row["pool_start"] : row["pool_start"] + row["length"]]
        if eod(number) and len(view):
            view[-1] = EOD
        tokens[row["document_id"]] = view
    options = {"sequence_length": LENGTH, "shard_tokens": 4 * LENGTH, "pad": PAD} | options
    manifest = written(run, table, [pa.array(array) for array in arrays], **options)
    return manifest, tokens, {row["document_id"]: row["source_id"] for row in table.to_pylist()}


def opener(folder: Path):
    @contextmanager
    def open_file(name):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("wb") as sink:
            yield sink

    return open_file


def read_megatron(prefix: Path) -> list[np.ndarray]:
    """The sequences of a pair of files, read by the format's description alone."""
    index, tokens = Path(f"{prefix}.idx").read_bytes(), Path(f"{prefix}.bin").read_bytes()
    assert index[:9] == b"MMIDIDX\0\0"
    version, code, count, documents = struct.unpack_from("<QBQQ", index, 9)
    assert (version, code, documents) == (1, 4, count + 1)
    assert len(index) == 34 + 4 * count + 8 * count + 8 * documents
    lengths = struct.unpack_from(f"<{count}i", index, 34)
    pointers = struct.unpack_from(f"<{count}q", index, 34 + 4 * count)
    assert struct.unpack_from(f"<{documents}q", index, 34 + 12 * count) == tuple(range(documents))
    assert len(tokens) == 4 * sum(lengths)
    return [
        np.array(struct.unpack_from(f"<{length}i", tokens, pointer), np.int64)
        for length, pointer in zip(lengths, pointers, strict=True)
    ]


def read_mds(folder: Path) -> list[dict[str, np.ndarray]]:
    """The samples of a folder, read by the format's description alone."""
    samples = []
    index = json.loads((folder / "index.json").read_bytes())
    assert index["version"] == 2
    for shard in index["shards"]:
        data = (folder / shard["raw_data"]["basename"]).read_bytes()
        assert len(data) == shard["raw_data"]["bytes"]
        (count,) = struct.unpack_from("<I", data)
        assert count == shard["samples"]
        ends = struct.unpack_from(f"<{count + 1}I", data, 4)
        described = json.loads(data[8 + 4 * count : ends[0]])
        assert described.items() <= shard.items()
        assert described["column_names"] == sorted(described["column_names"])
        assert ends[-1] == len(data)
        samples += [_sample(data[begin:end], described) for begin, end in itertools.pairwise(ends)]
    return samples


def _sample(data: bytes, described) -> dict[str, np.ndarray]:
    variable = described["column_sizes"].count(None)
    sizes = iter(struct.unpack_from(f"<{variable}I", data))
    at, sample = 4 * variable, {}
    for name, encoding, size in zip(
        described["column_names"], described["column_encodings"], described["column_sizes"], strict=True
    ):
        kind, dtype, *shape = encoding.split(":")
        assert kind == "ndarray"
        value = data[at : at + (size or next(sizes))]
        at += len(value)
        if not shape:
            axes, width = value[0] >> 2, value[0] & 3
            assert width == 2  # uint32
            found = struct.unpack_from(f"<{axes}I", value, 1)
            sample[name] = np.frombuffer(value[1 + 4 * axes :], dtype).reshape(found)
        else:
            sample[name] = np.frombuffer(value, dtype).reshape(int(shape[0]))
    assert at == len(data)
    return sample


def rows_of(manifest, tokens) -> list[np.ndarray]:
    """The packed sequences in reading order, put together from the manifest's spans."""
    rows = {}
    for row in manifest.sequences.to_pylist():
        rows[row["shard"], row["sequence"]] = np.full(LENGTH, PAD, np.int64)
    for span in manifest.spans.to_pylist():
        part = tokens[span["document_id"]][span["document_offset"] :][: span["length"]]
        rows[span["shard"], span["sequence"]][span["start"] : span["start"] + span["length"]] = part
    return list(rows.values())


def closed(document) -> tuple[int, ...]:
    """The document as a trainer of EOD boundaries wants it."""
    found = tuple(document.tolist())
    return found if found[-1] == EOD else (*found, EOD)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 3 * LENGTH), min_size=1, max_size=30),
    layout=st.sampled_from(LAYOUTS),
    shard_tokens=st.sampled_from([LENGTH, 3 * LENGTH, 1 << 20]),
    chunk=st.sampled_from([1, 700, 1 << 20]),
    bare=st.sets(st.integers(0, 30)),
)
def test_every_document_comes_back_whole_and_ends_in_eod(
    tmp_path_factory, lengths, layout, shard_tokens, chunk, bare
):
    lengths = [*lengths, 5]
    run = tmp_path_factory.mktemp("run")
    _, tokens, _ = run_of(
        run, lengths, eod=lambda number: number not in bare, shard_tokens=shard_tokens, **layout
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(megatron_module, "CHUNK_TOKENS", chunk)
        done = export_megatron(open_stage(run, "4K"), "out", opener(run / "exported"), eod=EOD)
    found = read_megatron(run / "exported" / "out")
    expected = [closed(document) for document in tokens.values() if len(document)]
    assert Counter(tuple(document.tolist()) for document in found) == Counter(expected)
    assert done.eod_added == sum(document[-1] != EOD for document in tokens.values() if len(document))
    assert (done.eod_inside, done.padding) == (0, 0)
    assert done.parts[0].tokens == sum(map(len, expected))


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 3 * LENGTH), min_size=1, max_size=30),
    layout=st.sampled_from(LAYOUTS),
    chunk=st.sampled_from([1, 3 * LENGTH, 1 << 20]),
)
def test_sequences_come_back_in_reading_order_whatever_the_stored_order(
    tmp_path_factory, lengths, layout, chunk
):
    run = tmp_path_factory.mktemp("run")
    manifest, tokens, _ = run_of(run, lengths, **layout)
    expected = np.stack(rows_of(manifest, tokens))
    stage = open_stage(run, "4K")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(megatron_module, "CHUNK_TOKENS", chunk)
        patch.setattr(mds_module, "CHUNK_TOKENS", chunk)
        packed = export_megatron(stage, "out", opener(run / "megatron"), eod=EOD, packed=True)
        streaming = export_mds(stage, opener(run / "mds"))
    np.testing.assert_array_equal(np.stack(read_megatron(run / "megatron" / "out")), expected)
    assert packed.parts[0].tokens == packed.tokens + packed.padding == expected.size

    samples = read_mds(run / "mds")
    np.testing.assert_array_equal(np.stack([sample["tokens"] for sample in samples]), expected)
    spans = iter(manifest.spans.to_pylist())
    for sample in samples:
        for i, length in enumerate(sample["document_lengths"].tolist()):
            span = next(spans)
            assert (span["length"], span["document_offset"]) == (length, sample["document_offsets"][i])
            assert span["document_id"] == sample["document_ids"][i].tobytes()
            assert span["source"] == SOURCES[sample["source_ids"][i]]
            assert span["start"] == sample["padded_lengths"][:i].sum()
    assert next(spans, None) is None
    assert streaming.samples == len(samples)
    assert streaming.bytes == sum(path.stat().st_size for path in (run / "mds").glob("*.mds"))


def test_the_index_is_that_of_the_format_to_the_byte(tmp_path):
    _, tokens, _ = run_of(tmp_path, [3, 5])
    export_megatron(open_stage(tmp_path, "4K"), "out", opener(tmp_path), eod=EOD)
    first, second = (len(document) for document in read_megatron(tmp_path / "out"))
    assert sorted([first, second]) == [3, 5]
    assert (tmp_path / "out.idx").read_bytes() == bytes.fromhex(
        "4d4d494449445800 00"  # MMIDIDX
        "0100000000000000 04 0200000000000000 0300000000000000"
        f"0{first}000000 0{second}000000"
        f"0000000000000000 {4 * first:02x}00000000000000"
        "0000000000000000 0100000000000000 0200000000000000"
    )
    assert len(tokens) == 2


def test_documents_are_in_the_order_of_the_shards(tmp_path):
    manifest, tokens, _ = run_of(tmp_path, [300, 1500, 40, 700, 90, 90, 600, 20, 1030])
    export_megatron(open_stage(tmp_path, "4K"), "out", opener(tmp_path), eod=EOD)
    heads = [row["document_id"] for row in manifest.spans.to_pylist() if row["document_offset"] == 0]
    found = read_megatron(tmp_path / "out")
    assert [tuple(document) for document in found] == [tuple(tokens[head].tolist()) for head in heads]


def test_the_same_document_in_two_units_is_two_documents(tmp_path):
    table, pools = corpus([3 * LENGTH])
    for group in (0, 1):
        written(tmp_path, table, pools, sequence_length=LENGTH, pad=PAD, group=group)
    export_megatron(open_stage(tmp_path, "4K"), "out", opener(tmp_path), eod=EOD)
    assert [len(document) for document in read_megatron(tmp_path / "out")] == [3 * LENGTH + 1] * 2


def test_parts_of_a_document_are_joined_only_where_nothing_is_missing_between_them(tmp_path):
    run_of(tmp_path, [10, 20, 30, 40, 50, 60])
    with open_group(open_stage(tmp_path, "4K"), 0) as group:
        length, offset, ids = group.length.copy(), group.offset.copy(), group.ids.copy()
    # Pieces 1, 3 and 4 are parts of one document, which is stored out of order and lacks a token before 4.
    ids[[1, 3, 4]] = ids[3]
    epoch, source = np.zeros_like(group.epoch), np.zeros_like(group.source)
    offset[3], offset[1], offset[4] = 0, length[3], length[3] + length[1] + 1
    found = documents(replace(group, ids=ids, offset=offset, epoch=epoch, source=source))
    joined = [found.order[a:b].tolist() for a, b in itertools.pairwise(found.bounds)]
    assert joined == [[0], [2], [3, 1], [4], [5]]
    assert found.length.tolist() == [sum(length[piece] for piece in pieces) for pieces in joined]


def test_each_source_can_have_its_own_files(tmp_path):
    _, tokens, sources = run_of(tmp_path, [30, 700, 40, 1200, 50, 60, 70, 80])
    done = export_megatron(open_stage(tmp_path, "4K"), "v4", opener(tmp_path), eod=EOD, by_source=True)
    assert [part.source for part in done.parts] == SOURCES
    for number, part in enumerate(done.parts):
        expected = [tuple(tokens[key].tolist()) for key, source in sources.items() if source == number]
        found = [tuple(document.tolist()) for document in read_megatron(tmp_path / part.prefix)]
        assert Counter(found) == Counter(expected)
        assert part.prefix == f"v4_{SOURCES[number]}"


def test_an_end_of_text_token_inside_a_document_is_counted(tmp_path):
    table, pools = corpus([40, 50])
    arrays = [pool.to_numpy().copy() for pool in pools]
    for row in table.to_pylist():
        arrays[row["pool"]][[row["pool_start"] + 7, row["pool_start"] + row["length"] - 1]] = EOD
    written(tmp_path, table, [pa.array(array) for array in arrays], sequence_length=LENGTH, pad=PAD)
    stage = open_stage(tmp_path, "4K")
    assert export_megatron(stage, "a", opener(tmp_path), eod=EOD).eod_inside == 2
    assert export_megatron(stage, "b", opener(tmp_path), eod=EOD, packed=True).eod_inside == 2


def test_padding_is_never_taken_for_the_end_of_a_document_or_for_a_token(tmp_path):
    run_of(tmp_path, [40, 50], pad=EOD)
    with pytest.raises(ShardError, match=f"padding is the end-of-text token {EOD}"):
        export_megatron(open_stage(tmp_path, "4K"), "out", opener(tmp_path), eod=EOD)
    run_of(tmp_path / "below", [40, 50], pad=-7)
    stage = open_stage(tmp_path / "below", "4K")
    with pytest.raises(ShardError, match="its padding, -7, is no token: export documents"):
        export_megatron(stage, "out", opener(tmp_path), eod=EOD, packed=True)
    assert export_megatron(stage, "out", opener(tmp_path), eod=EOD).tokens == 90


def test_a_flipped_bit_is_found_before_a_token_is_written(tmp_path):
    manifest, _, _ = run_of(tmp_path, [600] * 8)
    path = tmp_path / manifest.shards.to_pylist()[1]["path"]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    stage = open_stage(tmp_path, "4K")
    for export in (
        lambda: export_megatron(stage, "out", opener(tmp_path / "out"), eod=EOD),
        lambda: export_mds(stage, opener(tmp_path / "out")),
    ):
        with pytest.raises(ShardError, match=rf"{path.name}: checksum .* the manifest says"):
            export()
    assert sum(path.stat().st_size for path in (tmp_path / "out").glob("*")) == 0


def test_shards_that_do_not_belong_together_are_refused(tmp_path):
    run_of(tmp_path, [600] * 3)
    run_of(tmp_path, [600] * 3, group=1, metadata={"tokenizer": "other", "mixture": "v4"})
    with pytest.raises(ShardError, match=r"tokenizer 'other', but 4K-00000-0000\.arrow has 'f1'"):
        open_stage(tmp_path, "4K")
    with pytest.raises(ValueError, match="no stage '4k'; nearest: 4K; this run has: 4K"):
        open_stage(tmp_path, "4k")
    with pytest.raises(ShardError, match="is this a run directory, and written"):
        open_stage(tmp_path / "elsewhere", "4K")
    (tmp_path / "shards" / "4K-00000-0000.arrow").unlink()
    with pytest.raises(ShardError, match=r"no file shards/4K-00000-0000\.arrow"):
        open_stage(tmp_path, "4K")


def test_shards_of_another_version_are_called_that(tmp_path, monkeypatch):
    monkeypatch.setattr(format_module, "VERSION", "3")
    run_of(tmp_path, [600])
    monkeypatch.undo()
    with pytest.raises(ShardError, match="format version '3', this build reads '2'"):
        open_stage(tmp_path, "4K")


def test_a_run_in_a_bucket_gives_the_same_bytes(tmp_path):
    run_of(tmp_path, [30, 700, 1200, 60, 70, 80], layout="zigzag", context_parallel=2)
    export_megatron(open_stage(tmp_path, "4K"), "out", opener(tmp_path / "here"), eod=EOD)
    bucket = fsspec.filesystem("memory")
    bucket.put(str(tmp_path), "/export-test/run", recursive=True)
    try:
        stage = open_stage("memory://export-test/run", "4K")
        export_megatron(stage, "out", opener(tmp_path / "there"), eod=EOD)
    finally:
        bucket.rm("/export-test", recursive=True)
    for name in ("out.bin", "out.idx"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 60))
def test_chunks_cover_all_and_hold_no_more_than_they_may(sizes, limit):
    chunks = list(spans_of(np.array(sizes, np.int64), limit))
    assert [i for first, last in chunks for i in range(first, last)] == list(range(len(sizes)))
    for first, last in chunks:
        assert sum(sizes[first:last]) <= limit or last == first + 1


def test_the_command_exports_every_stage_of_a_finished_run(finished, tmp_path):
    stages = [stage for (stage,) in ask(finished.root, "SELECT DISTINCT stage FROM {shards}")]
    assert len(stages) == 3
    for stage in stages:
        output = tmp_path / "out" / stage
        result = invoke("export", "megatron", finished.root, "--stage", stage, "-o", output, "--json")
        assert result.exit_code == 0, result.output
        summary = json.loads(result.stdout)
        found = read_megatron(output)
        # The run's own documents end in end-of-text, and nowhere else is that token.
        assert (summary["eod_added"], summary["eod_inside"]) == (0, 0)
        assert all(np.flatnonzero(document == summary["eod"])[0] == len(document) - 1 for document in found)
        expected = ask(
            finished.root,
            "SELECT sum(length) FROM {spans} "
            f"WHERE stage = '{stage}' GROUP BY document_id, source, epoch ORDER BY 1",
        )
        assert sorted(map(len, found)) == [length for (length,) in expected]
        assert sum(map(len, found)) == summary["tokens"]


def test_the_command_does_not_replace_what_is_there_unless_told(finished, tmp_path):
    (stage,) = ask(finished.root, "SELECT min(stage) FROM {shards}")[0]
    for kind, output, file in (
        ("megatron", tmp_path / "v4", "v4.bin"),
        ("mds", tmp_path / "v4", "v4/index.json"),
    ):
        command = ("export", kind, finished.root, "--stage", stage, "-o", output)
        assert invoke(*command).exit_code == 0
        before = (tmp_path / file).stat().st_mtime_ns
        again = curate(*command)
        assert again.returncode == 1
        assert "is there already: choose another -o, or give --force" in again.stderr
        assert (tmp_path / file).stat().st_mtime_ns == before
        assert invoke(*command, "--force").exit_code == 0
        assert (tmp_path / file).stat().st_mtime_ns > before
    # A pair with a longer name is another export.
    assert invoke("export", "megatron", finished.root, "--stage", stage, "-o", tmp_path / "v").exit_code == 0


def test_the_command_says_what_is_wrong(finished, tmp_path):
    export = ("export", "megatron", finished.root)
    unknown = curate(*export, "--stage", "4M", "-o", tmp_path / "a")
    assert unknown.returncode == 1
    assert "no stage '4M'; nearest: 4K" in unknown.stderr
    folder = curate(*export, "--stage", "4K", "-o", f"{tmp_path}/")
    assert folder.returncode == 1
    assert "give the beginning of the files' names, not a folder" in folder.stderr
    both = curate(*export, "--stage", "4K", "-o", tmp_path / "a", "--packed", "--by-source")
    assert both.returncode == 1
    assert "--packed sequences mix their sources" in both.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["megatron", "mds"])
def test_a_full_disk_leaves_nothing_behind(finished, tmp_path, monkeypatch, kind):
    synced = []

    def full(descriptor):
        synced.append(descriptor)
        if len(synced) == 2:  # the first file is complete, the second is not
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = invoke("export", kind, finished.root, "--stage", "4K", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert len(synced) == 2
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

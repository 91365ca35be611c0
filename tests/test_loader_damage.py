"""Damage is named before a bad token reaches a batch: which shard, which sequence, which block."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_loader import write_run
from test_shards import corpus, written

from shards.format import ShardError
from shards.loader import Loader

FIELDS = ("tokens", "positions", "labels", "loss_mask", "segment_ids")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    """One shard of four sequences of 8,192 tokens: two blocks each."""
    run = tmp_path_factory.mktemp("long")
    lengths = [3000, 5000, 8192, 100, 200, 8000, 4000, 4100]
    written(run, *corpus(lengths), sequence_length=8192, shard_tokens=8192 * 8)
    return run


def copy(run, to):
    shutil.copytree(run, to)
    return to


def all_batches(run, **options):
    options = {"stage": "4K", "batch_sequences": 4, "fields": FIELDS} | options
    loader = Loader(str(run), **options)
    return [loader.batch(step) for step in range(-(-loader.sequences // loader.batch_sequences))]


def rewrite(run, column, values):
    """The manifest of group 0 with another column."""
    path = run / "manifest" / "shards" / "4K-00000.parquet"
    table = pq.read_table(path)
    index = table.schema.get_field_index(column)
    array = pa.array(values(table[column].to_pylist()), table.schema.field(column).type)
    pq.write_table(table.set_column(index, table.schema.field(column), array), path)


def buffers(path):
    """File offset and size of every buffer of the first record batch, by column and place."""
    data = pa.py_buffer(path.read_bytes())
    batch = pa.ipc.open_file(data).get_batch(0)
    return {
        (name, i): (buffer.address - data.address, buffer.size)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
        for i, buffer in enumerate(column.buffers())
        if buffer is not None and buffer.size
    }


def flip(path, at, bit=0):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


@pytest.mark.parametrize("options", [{}, {"direct": True}], ids=["mapped", "direct"])
def test_a_truncated_shard_is_named_when_it_is_opened(run, tmp_path, options):
    damaged = copy(run, tmp_path / "run")
    path = damaged / "shards" / "4K-00001-0001.arrow"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ShardError, match=r"4K-00001-0001.arrow: truncated: \d+ bytes, the manifest says"):
        all_batches(damaged, **options)
    all_batches(damaged, stage="16K", batch_sequences=1, **options)


def test_a_missing_shard_is_named_when_it_is_opened(run, tmp_path):
    damaged = copy(run, tmp_path / "run")
    (damaged / "shards" / "4K-00000-0002.arrow").unlink()
    with pytest.raises(ShardError, match=r"4K-00000-0002\.arrow: no file shards/"):
        all_batches(damaged)


@pytest.mark.parametrize("bit", [0, 7])
@pytest.mark.parametrize("block", [0, 1])
def test_a_flipped_bit_in_a_token_names_shard_sequence_and_block(long_run, tmp_path, block, bit):
    damaged = copy(long_run, tmp_path / "run")
    path = next((damaged / "shards").iterdir())
    start, _ = buffers(path)["tokens", 2]
    sequence = 2
    flip(path, start + 4 * (8192 * sequence + 4096 * block + 1234), bit)
    message = (
        rf"{path.name}: sequence 2: block {block} \(tokens {4096 * block} to {4096 * (block + 1)}.* damaged"
    )
    for options in ({}, {"direct": True}, {"fields": ("tokens",), "boundaries": "eod"}, {"dtype": "int64"}):
        with pytest.raises(ShardError, match=message):
            all_batches(damaged, **options)
    # A context-parallel rank checks its own part, and so does the one whose part is damaged.
    all_batches(damaged, context_parallel=(1 - block, 2))
    with pytest.raises(ShardError, match=message):
        all_batches(damaged, context_parallel=(block, 2))
    # Parts that are no multiple of a block check the whole block.
    with pytest.raises(ShardError, match=message):
        all_batches(damaged, context_parallel=(2 * block, 4))
    all_batches(damaged, verify="never")


@pytest.mark.parametrize(
    "buffer",
    [("document_lengths", 3), ("token_checksums", 2), ("checksum", 1)],
    ids=["lengths", "token checksums", "checksum"],
)
def test_a_flipped_bit_beside_the_tokens_is_found(long_run, tmp_path, buffer):
    damaged = copy(long_run, tmp_path / "run")
    path = next((damaged / "shards").iterdir())
    start, _ = buffers(path)[buffer]
    flip(path, start)
    with pytest.raises(ShardError, match=rf"{path.name}: sequence 0: .*damaged"):
        all_batches(damaged)


def test_a_flipped_bit_anywhere_in_what_is_read_is_found(long_run, tmp_path):
    """Every byte of the footer and of a record batch's message, samples of all that a batch is made of."""
    damaged = copy(long_run, tmp_path / "run")
    path = next((damaged / "shards").iterdir())
    good = path.read_bytes()
    expected = all_batches(long_run)
    places = buffers(path)
    body = places["tokens", 2][0]
    footer = len(good) - 10 - int.from_bytes(good[-10:-6], "little")
    message = good.rindex(b"\xff\xff\xff\xff", 0, body)
    used = ("tokens", "document_lengths", "token_checksums", "checksum")
    rng = np.random.default_rng(1)
    at = [*range(footer, len(good)), *range(message, message + 1400)]
    for (column, _), (start, size) in places.items():
        if column in used:
            at += rng.integers(start, start + size, 20).tolist()
    messages: list[str] = []
    unseen = 0
    for place in at:
        data = bytearray(good)
        data[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            found = all_batches(damaged)
        except ShardError as error:
            messages.append(str(error))
            continue
        # What is not used is not missed: the batches are the same.
        assert footer > place >= message
        assert place < body
        unseen += 1
        for one, other in zip(expected, found, strict=True):
            for name in FIELDS:
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert all(path.name in message for message in messages)
    assert unseen < len(at) // 3


def test_hostile_files_are_errors_and_never_crashes(run, tmp_path):
    """Random runs of bytes anywhere, with the checks by checksum off where they can be."""
    damaged = copy(run, tmp_path / "run")
    path = damaged / "shards" / "4K-00000-0000.arrow"
    good = path.read_bytes()
    rewrite(damaged, "footer_checksum", lambda column: column)
    rng = np.random.default_rng(4)
    refused = 0
    for _ in range(150):
        data = bytearray(good)
        at = int(rng.integers(len(data) - 24))
        data[at : at + 24] = rng.bytes(24)
        path.write_bytes(data)
        try:
            all_batches(damaged, batch_sequences=64, verify="never")
        except ShardError:
            refused += 1
    assert refused > 10


def test_offsets_of_a_record_batch_cannot_lead_outside_the_file(long_run, tmp_path):
    """The footer's checksum made to fit, its block and the message's buffers sent astray."""
    damaged = copy(long_run, tmp_path / "run")
    path = next((damaged / "shards").iterdir())
    good = path.read_bytes()
    length = int.from_bytes(good[-10:-6], "little")
    footer = slice(len(good) - 10 - length, len(good) - 10)
    body = buffers(path)["tokens", 2][0]
    message = slice(good.rindex(b"\xff\xff\xff\xff", 0, body), body)

    from curate_kernels import xxh3_64

    refused = 0
    for part in (footer, message):
        for at in range(part.start, min(part.stop, part.start + 1400) - 8, 4):
            for value in (-8, 1 << 40, (1 << 63) - 64, 64):
                data = bytearray(good)
                data[at : at + 8] = value.to_bytes(8, "little", signed=True)
                path.write_bytes(data)
                rewrite(
                    damaged,
                    "footer_checksum",
                    lambda column, data=data: [f"xxh3_64:{xxh3_64(bytes(data[footer])):016x}"] * len(column),
                )
                try:
                    all_batches(damaged, verify="never", batch_sequences=1)
                except ShardError:
                    refused += 1
    assert refused > 500


def test_a_changed_byte_fails_the_check_of_whole_files(run, tmp_path):
    damaged = copy(run, tmp_path / "run")
    assert Loader(str(damaged), stage="4K", batch_sequences=1).verify() == []
    path = damaged / "shards" / "4K-00001-0000.arrow"
    flip(path, path.stat().st_size // 2)
    (damaged / "shards" / "4K-00001-0001.arrow").unlink()
    one, two = Loader(str(damaged), stage="4K", batch_sequences=1).verify()
    assert one.startswith("4K-00001-0000.arrow: checksum xxh3_128:")
    assert two.startswith("4K-00001-0001.arrow: no file shards/")


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(ShardError, match="is this a run directory"):
        Loader(str(tmp_path), stage="4K", batch_sequences=1)


def test_a_manifest_that_points_outside_the_run_is_refused(run, tmp_path):
    for number, target in enumerate(["/etc/hostname", "../x.arrow", "s3://bucket/x.arrow"]):
        damaged = copy(run, tmp_path / f"run{number}")
        rewrite(damaged, "path", lambda column, target=target: [target] * len(column))
        with pytest.raises(ShardError, match="relative to the run directory"):
            Loader(str(damaged), stage="4K", batch_sequences=1)


def test_a_file_that_is_no_manifest_is_named(run, tmp_path):
    damaged = copy(run, tmp_path / "run")
    (damaged / "manifest" / "shards" / "4K-00007.parquet").write_bytes(b"PAR1, or so it says")
    with pytest.raises(ShardError, match=r"4K-00007.parquet: not a manifest of shards"):
        Loader(str(damaged), stage="4K", batch_sequences=1)
    pq.write_table(pa.table({"shard": ["x"]}), damaged / "manifest" / "shards" / "4K-00007.parquet")
    with pytest.raises(ShardError, match=r"4K-00007.parquet: not a manifest of shards"):
        Loader(str(damaged), stage="4K", batch_sequences=1)


def test_a_shard_that_is_not_the_manifests_is_refused(run, tmp_path):
    damaged = copy(run, tmp_path / "run")
    rewrite(damaged, "sequences", lambda column: [count + 70_000 for count in column])
    with pytest.raises(ShardError, match="do not belong together"):
        Loader(str(damaged), stage="4K", batch_sequences=1)


def test_shards_of_two_tokenizers_do_not_mix_in_a_stage(run, tmp_path):
    damaged = copy(run, tmp_path / "run")
    documents, pools = corpus([50] * 40, seed=9)
    written(damaged, documents, pools, group=2, metadata={"tokenizer": "f2", "mixture": "v4"})
    with pytest.raises(
        ShardError, match=r"4K-00002-000\d.arrow has tokenizer 'f2', but 4K-00000-0000.arrow has 'f1'"
    ):
        all_batches(damaged)


def test_a_shard_of_a_newer_version_says_which_build_reads_it(run, tmp_path, monkeypatch):
    damaged = copy(run, tmp_path / "run")
    monkeypatch.setattr("shards.format.VERSION", "3")
    written(damaged, *corpus([50] * 40, seed=9), group=2)
    monkeypatch.setattr("shards.format.VERSION", "2")
    with pytest.raises(ShardError, match=r"4K-00002-000\d.arrow: format version '3', this build reads '2'"):
        all_batches(damaged)

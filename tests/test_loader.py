"""The loader: order is a function of (seed, step), whatever the ranks; damage is named, not loaded."""

from __future__ import annotations

import itertools
import multiprocessing
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_shards import PAD, SOURCES, corpus, written

from shards import reader
from shards.format import ShardError
from shards.loader import Loader

LENGTH = 64


def write_run(run, **options):
    """Two groups of one stage and one of another."""
    rng = np.random.default_rng(2)
    for group in range(2):
        documents, pools = corpus(rng.lognormal(3, 1, 150).astype(int).tolist(), seed=group)
        written(run, documents, pools, group=group, **options)
    documents, pools = corpus([500, 20], seed=3)
    written(run, documents, pools, stage="16K", sequence_length=256, shard_tokens=256, **options)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


def take(loader, steps):
    return list(itertools.islice(loader, steps))


def same(left, right):
    assert left.step == right.step
    for name in ("sequences", "tokens", "positions", "boundaries"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    assert left.document_lengths == right.document_lengths


def all_rows(run):
    """Every sequence of stage 4K as stored, by shard name."""
    table = pa.concat_tables(
        pa.ipc.open_file(path.read_bytes()).read_all() for path in sorted((run / "shards").glob("4K-*.arrow"))
    )
    return table.to_pylist()


def test_a_pass_yields_every_sequence_once_with_its_documents(run):
    rows = all_rows(run)
    loader = Loader(str(run), stage="4K", batch_sequences=1)
    assert loader.sequences == len(rows) > 50
    batches = take(loader, len(rows))
    numbers = [int(loader.order(step)[0]) for step in range(len(rows))]
    assert sorted(numbers) == list(range(len(rows)))
    assert numbers != sorted(numbers)
    for number, batch in zip(numbers, batches, strict=True):
        assert batch.tokens.dtype == batch.positions.dtype == np.int32
        assert batch.tokens.tolist() == [rows[number]["tokens"]]
        assert batch.sequences.tolist() == [number]
        assert batch.document_lengths.to_pylist() == [rows[number]["document_lengths"]]
        documents = loader.documents(batch.step)
        assert documents["document_id"].to_pylist() == rows[number]["document_ids"]
        assert documents["length"].to_pylist() == rows[number]["document_lengths"]
        assert documents["source"].to_pylist() == [SOURCES[i] for i in rows[number]["source_ids"]]


@pytest.mark.parametrize("multiple", [1, 16])
def test_positions_and_boundaries_are_those_of_the_documents(tmp_path, multiple):
    lengths = np.random.default_rng(6).integers(10, 60, 60).tolist()  # too long for full sequences
    written(tmp_path, *corpus(lengths), pad_documents_to=multiple)
    loader = Loader(str(tmp_path), stage="4K", batch_sequences=5)
    tails = 0
    for batch in take(loader, 6):
        assert batch.tokens.shape == batch.positions.shape == (5, LENGTH)
        assert batch.boundaries.dtype == np.int64
        boundaries, positions = [], []
        for row, lengths in enumerate(batch.document_lengths.to_pylist()):
            begin = 0
            for number, length in enumerate(lengths):
                slot = -(-length // multiple) * multiple
                if number == len(lengths) - 1:  # pads at the end go on with the last document
                    tails += begin + slot < LENGTH
                    slot = LENGTH - begin
                document = batch.tokens[row, begin : begin + slot]
                assert (np.diff(document[:length]) == 1).all()  # the corpus counts up inside a document
                assert (document[length:] == PAD).all()
                positions += range(slot)
                begin += slot
                boundaries.append(row * LENGTH + begin)
        assert batch.boundaries.tolist() == boundaries
        assert batch.positions.ravel().tolist() == positions
    assert tails  # some sequences have padding at their end


def test_seeking_gives_what_iterating_gives(run):
    steps = take(Loader(str(run), stage="4K", seed=5, batch_sequences=6), 40)
    loader = Loader(str(run), stage="4K", seed=5, batch_sequences=6)
    for step in (39, 0, 17, 18):
        loader.seek(step)
        assert loader.state() == {"seed": 5, "step": step}
        same(next(iter(loader)), steps[step])
        assert loader.state() == {"seed": 5, "step": step + 1}
    same(loader.batch(33), steps[33])  # looking ahead leaves the state alone
    same(loader.ahead(3), steps[22])
    assert loader.state() == {"seed": 5, "step": 19}
    same(loader.next(), steps[19])
    loader.seek(10**15)
    assert next(iter(loader)).step == 10**15
    with pytest.raises(ValueError, match="below 0"):
        loader.seek(-1)


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_global_order_does_not_depend_on_the_number_of_ranks(run, world_size):
    whole = take(Loader(str(run), stage="4K", batch_sequences=8), 15)
    ranks = [
        take(Loader(str(run), stage="4K", rank=r, world_size=world_size, batch_sequences=8), 15)
        for r in range(world_size)
    ]
    for step, batch in enumerate(whole):
        parts = [rank[step] for rank in ranks]
        assert all(len(part.tokens) == 8 // world_size for part in parts)
        np.testing.assert_array_equal(batch.tokens, np.concatenate([part.tokens for part in parts]))
        np.testing.assert_array_equal(batch.positions, np.concatenate([part.positions for part in parts]))


def test_a_batch_runs_across_the_end_of_a_pass_into_another_order(run):
    loader = Loader(str(run), stage="4K", batch_sequences=7)
    size = loader.sequences
    assert size % 7  # so that some batch does
    numbers = np.concatenate([loader.order(step) for step in range(3 * size // 7)])
    first, second = numbers[:size], numbers[size : 2 * size]
    assert sorted(first) == sorted(second) == list(range(size))
    assert (first != second).any()
    # A batch larger than the stage goes through several passes.
    large = Loader(str(run), stage="4K", batch_sequences=2 * size + 3)
    np.testing.assert_array_equal(large.order(0)[: 2 * size], np.concatenate([first, second]))
    assert next(iter(large)).tokens.shape == (2 * size + 3, LENGTH)


def test_seeds_and_stages_have_orders_of_their_own(run):
    orders = [tuple(Loader(str(run), stage="4K", seed=s, batch_sequences=50).order(0)) for s in range(4)]
    assert len(set(orders)) == 4
    assert Loader(str(run), stage="16K", batch_sequences=1).sequence_length == 256


def test_batch_tokens_is_another_way_to_say_batch_sequences(run):
    assert Loader(str(run), stage="4K", batch_tokens=640).batch_sequences == 10


def test_a_closed_shard_is_opened_again(run, monkeypatch):
    monkeypatch.setattr(reader, "OPEN_MAPPED", 1)
    few = take(Loader(str(run), stage="4K", batch_sequences=4), 10)
    monkeypatch.setattr(reader, "OPEN_MAPPED", 256)
    for one, other in zip(few, take(Loader(str(run), stage="4K", batch_sequences=4), 10), strict=True):
        same(one, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stage": "4k", "batch_sequences": 1}, "no stage '4k'; nearest: .*4K"),
        ({"stage": "zzz", "batch_sequences": 1}, "this run has: 16K, 4K"),
        (
            {"stage": "4K", "batch_sequences": 12, "world_size": 5},
            "these world sizes work: 1, 2, 3, 4, 6, 12",
        ),
        ({"stage": "4K", "batch_sequences": 4, "rank": 4, "world_size": 4}, "rank 4"),
        ({"stage": "4K", "batch_sequences": 4, "rank": -1}, "rank -1"),
        ({"stage": "4K", "batch_sequences": 4, "world_size": 0}, "rank 0"),
        ({"stage": "4K"}, "either"),
        ({"stage": "4K", "batch_sequences": 4, "batch_tokens": 64}, "either"),
        ({"stage": "4K", "batch_sequences": 0}, "at least one"),
        ({"stage": "4K", "batch_tokens": 100}, "multiple of the sequence length 64"),
        ({"stage": "4K", "batch_sequences": 4, "fields": ["mask"]}, "field 'mask' is not one of tokens, pos"),
        ({"stage": "4K", "batch_sequences": 4, "fields": []}, "fields is empty"),
        ({"stage": "4K", "batch_sequences": 4, "boundaries": "te"}, "one of ascend, transformer_engine"),
        ({"stage": "4K", "batch_sequences": 4, "tensor": "jax"}, "one of numpy, torch, dlpack"),
        ({"stage": "4K", "batch_sequences": 4, "dtype": "int16"}, "one of int32, int64"),
        ({"stage": "4K", "batch_sequences": 4, "verify": "no"}, "one of always, never"),
        ({"stage": "4K", "batch_sequences": 4, "device": "tpu"}, "'ascend'"),
        ({"stage": "4K", "batch_sequences": 4, "weights": {"a": 1}}, "several streams"),
    ],
)
def test_options_that_make_no_sense_are_refused_with_those_that_do(run, options, message):
    with pytest.raises(ValueError, match=message):
        Loader(str(run), **options)


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(ShardError, match="is this a run directory"):
        Loader(str(tmp_path), stage="4K", batch_sequences=1)


@pytest.mark.parametrize(
    ("convention", "dtype", "shape"),
    [("ascend", "int64", None), ("transformer_engine", "int32", None), ("mindformers", "int32", (4, 128))],
)
def test_boundaries_come_in_the_convention_asked_for(run, convention, dtype, shape):
    batch = Loader(str(run), stage="4K", batch_sequences=4, boundaries=convention).batch(0)
    assert batch.boundaries.dtype == dtype
    documents = sum(map(len, batch.document_lengths.to_pylist()))
    assert batch.boundaries.shape == (shape or (documents + (convention == "transformer_engine"),))
    assert batch.boundaries.flat[-1] == (LENGTH if shape else 4 * LENGTH)


def test_end_of_document_trainers_get_no_tables(run):
    batch = Loader(str(run), stage="4K", batch_sequences=4, boundaries="eod").batch(0)
    assert batch.boundaries is None
    assert batch.document_lengths is None


def test_a_table_of_fixed_size_never_drops_a_document(run):
    loader = Loader(str(run), stage="4K", batch_sequences=20, boundaries="mindformers", maximum_documents=1)
    with pytest.raises(ValueError, match=r"do not fit in a boundary table of 1: raise maximum_documents"):
        loader.batch(0)


def test_block_tables_restart_at_every_document(run):
    batch = Loader(str(run), stage="4K", batch_sequences=3, blocks=(4, 128)).batch(0)
    lengths = [length for row in batch.document_lengths.to_pylist() for length in row]
    assert batch.blocks[4].counts.tolist() == [length // 4 for length in lengths]
    assert batch.blocks[128].starts.tolist() == []
    firsts = np.cumsum(batch.blocks[4].counts) - batch.blocks[4].counts
    rows = np.repeat(np.arange(3), [len(row) for row in batch.document_lengths.to_pylist()])
    for row, first, count in zip(rows, firsts, batch.blocks[4].counts, strict=True):
        assert (batch.positions[row, batch.blocks[4].starts[first : first + count]] % 4 == 0).all()


def test_fields_that_were_not_asked_for_are_not_made(run):
    batch = Loader(str(run), stage="4K", batch_sequences=2, fields=["labels"]).batch(0)
    assert batch.tokens is batch.positions is batch.loss_mask is batch.segment_ids is None
    assert batch.labels.shape == (2, LENGTH)


def test_seeking_takes_no_time_at_any_step(run):
    loader = Loader(str(run), stage="4K", batch_sequences=8, read_ahead=0)
    loader.batch(0)
    for step in (10**8, 10**15, 3):
        started = time.perf_counter()
        loader.seek(step)
        loader.next()
        assert time.perf_counter() - started < 0.05  # milliseconds; the rest is for a busy machine


def test_the_next_batch_is_read_while_one_is_used(run):
    loader = Loader(str(run), stage="4K", batch_sequences=8, fields=["tokens"], boundaries="eod")
    first = loader.next()
    deadline = time.monotonic() + 10
    while loader.bytes_read.tokens < 2 * first.tokens.nbytes and time.monotonic() < deadline:
        time.sleep(0.001)
    assert loader.bytes_read.tokens == 2 * first.tokens.nbytes
    loader.seek(0)  # what was read ahead is not mistaken for another step
    np.testing.assert_array_equal(loader.next().tokens, first.tokens)


def _tokens_of(loader, queue):
    queue.put(loader.next().tokens.tolist())


def test_a_loader_goes_on_in_a_forked_process(run):
    loader = Loader(str(run), stage="4K", batch_sequences=8)
    loader.next()  # its thread runs
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_tokens_of, args=(loader, queue))
    process.start()
    assert queue.get(timeout=30) == loader.next().tokens.tolist()
    process.join()
    assert process.exitcode == 0


def test_starting_up_reads_the_manifest_and_nothing_else(run, tmp_path):
    """15,000 shards in 1,000 files: a trillion tokens at 64M each; only the shard of the header exists."""
    manifest = pq.read_table(run / "manifest" / "shards" / "4K-00000.parquet")
    folder = tmp_path / "manifest" / "shards"
    folder.mkdir(parents=True)
    (tmp_path / "shards").symlink_to(run / "shards")
    row = manifest.slice(0, 1).to_pylist()[0]
    for unit in range(1000):
        rows = [row | {"shard": f"{unit:04d}-{n:02d}", "path": f"shards/{unit}-{n}.arrow"} for n in range(15)]
        if unit == 0:
            rows[0]["path"] = row["path"]
        pq.write_table(pa.Table.from_pylist(rows, manifest.schema), folder / f"{unit:04d}.parquet")
    times = []
    for _ in range(3):
        started = time.perf_counter()
        loader = Loader(str(tmp_path), stage="4K", batch_sequences=8)
        times.append(time.perf_counter() - started)
    assert loader.sequences == 15_000 * row["sequences"]
    assert min(times) < 2  # 0.4 s on an idle machine
    assert {path.name for path in tmp_path.iterdir()} == {"manifest", "shards"}

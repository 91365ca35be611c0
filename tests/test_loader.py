"""The loader: order is a function of (seed, step), whatever the ranks; damage is named, not loaded."""

from __future__ import annotations

import itertools
import shutil

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_shards import PAD, corpus, written

from shards import loader as loader_module
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


def copy(run, to):
    shutil.copytree(run, to)
    return to


def take(loader, steps):
    return list(itertools.islice(loader, steps))


def same(left, right):
    assert left.step == right.step
    for name in ("tokens", "positions", "cu_seqlens"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    for name in ("document_lengths", "document_ids"):
        for one, other in zip(getattr(left, name), getattr(right, name), strict=True):
            np.testing.assert_array_equal(one, other)


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
        assert batch.document_lengths[0].tolist() == rows[number]["document_lengths"]
        assert [bytes(i) for i in batch.document_ids[0]] == rows[number]["document_ids"]


@pytest.mark.parametrize("multiple", [1, 16])
def test_positions_and_boundaries_are_those_of_the_documents(tmp_path, multiple):
    lengths = np.random.default_rng(6).integers(10, 60, 60).tolist()  # too long for full sequences
    written(tmp_path, *corpus(lengths), pad_documents_to=multiple)
    loader = Loader(str(tmp_path), stage="4K", batch_sequences=5)
    tails = 0
    for batch in take(loader, 6):
        assert batch.tokens.shape == batch.positions.shape == (5, LENGTH)
        assert batch.cu_seqlens.dtype == np.int64
        boundaries, positions, at = [0], [], 0
        for row, lengths in enumerate(batch.document_lengths):
            left, begin = LENGTH, 0
            for length in lengths.tolist():
                slot = -(-length // multiple) * multiple
                document = batch.tokens[row, begin : begin + slot]
                assert (np.diff(document[:length]) == 1).all()  # the corpus counts up inside a document
                assert (document[length:] == PAD).all()
                positions += range(slot)
                boundaries.append(at := at + slot)
                begin, left = begin + slot, left - slot
            assert (batch.tokens[row, begin:] == PAD).all()
            if left:
                tails += 1
                positions += range(left)
                boundaries.append(at := at + left)
        assert batch.cu_seqlens.tolist() == boundaries
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
    assert loader.state() == {"seed": 5, "step": 19}
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
    monkeypatch.setattr(loader_module, "OPEN_SHARDS", 1)
    few = take(Loader(str(run), stage="4K", batch_sequences=4), 10)
    monkeypatch.setattr(loader_module, "OPEN_SHARDS", 256)
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
    ],
)
def test_options_that_make_no_sense_are_refused_with_those_that_do(run, options, message):
    with pytest.raises(ValueError, match=message):
        Loader(str(run), **options)


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(ShardError, match="is this a run directory"):
        Loader(str(tmp_path), stage="4K", batch_sequences=1)


def test_a_truncated_shard_is_named_at_opening(run, tmp_path):
    damaged = copy(run, tmp_path / "run")
    path = damaged / "shards" / "4K-00001-0001.arrow"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ShardError, match=r"4K-00001-0001.arrow: truncated: \d+ bytes, the manifest says"):
        Loader(str(damaged), stage="4K", batch_sequences=1)
    Loader(str(damaged), stage="16K", batch_sequences=1)


def test_a_missing_shard_is_named_at_opening(run, tmp_path):
    damaged = copy(run, tmp_path / "run")
    (damaged / "shards" / "4K-00000-0002.arrow").unlink()
    with pytest.raises(ShardError, match=r"4K-00000-0002\.arrow: no file shards/"):
        Loader(str(damaged), stage="4K", batch_sequences=1)


def test_a_changed_byte_fails_verification(run, tmp_path):
    damaged = copy(run, tmp_path / "run")
    assert Loader(str(damaged), stage="4K", batch_sequences=1).verify() == []
    path = damaged / "shards" / "4K-00001-0000.arrow"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (problem,) = Loader(str(damaged), stage="4K", batch_sequences=1).verify()
    assert problem.startswith("4K-00001-0000.arrow: checksum xxh3_128:")


def test_damage_that_keeps_the_size_is_an_error_and_never_a_crash(run, tmp_path):
    damaged = copy(run, tmp_path / "run")
    path = damaged / "shards" / "4K-00000-0000.arrow"
    good = path.read_bytes()
    rng = np.random.default_rng(4)
    refused = 0
    for _ in range(60):
        data = bytearray(good)  # in a token plane any value is a token, elsewhere it shows
        at = int(rng.integers(len(data) - 24))
        data[at : at + 24] = rng.bytes(24)
        path.write_bytes(data)
        try:
            loader = Loader(str(damaged), stage="4K", batch_sequences=64)
            loader.batch(0)
        except ShardError:
            refused += 1
    assert refused > 10


def test_a_manifest_that_points_outside_the_run_is_refused(run, tmp_path):
    for number, target in enumerate(["/etc/hostname", "../x.arrow", "s3://bucket/x.arrow"]):
        damaged = copy(run, tmp_path / f"run{number}")
        path = damaged / "manifest" / "shards" / "4K-00000.parquet"
        table = pq.read_table(path)
        paths = pa.array([target] * len(table), pa.string())
        pq.write_table(
            table.set_column(table.schema.get_field_index("path"), table.schema.field("path"), paths), path
        )
        with pytest.raises(ShardError, match="relative to the run directory"):
            Loader(str(damaged), stage="4K", batch_sequences=1)


def test_a_shard_that_is_not_the_manifests_is_refused(run, tmp_path):
    damaged = copy(run, tmp_path / "run")
    path = damaged / "manifest" / "shards" / "4K-00000.parquet"
    table = pq.read_table(path)
    index = table.schema.get_field_index("sequences")
    counts = pa.array([count + 70_000 for count in table["sequences"].to_pylist()])
    pq.write_table(table.set_column(index, table.schema.field("sequences"), counts), path)
    with pytest.raises(ShardError, match="do not belong together"):
        Loader(str(damaged), stage="4K", batch_sequences=1)


def test_a_remote_run_is_fetched_once_and_loads_the_same(run, tmp_path):
    memory = fsspec.filesystem("memory")
    memory.put(str(run), "/bucket/run", recursive=True)
    local = take(Loader(str(run), stage="4K", batch_sequences=4), 40)
    loader = Loader("memory://bucket/run", stage="4K", batch_sequences=4, cache=tmp_path / "cache")
    for one, other in zip(local, take(loader, 40), strict=True):
        same(one, other)
    assert loader.verify() == []
    cached = list((tmp_path / "cache").iterdir())
    assert len(cached) == len(list((run / "shards").glob("4K-*")))
    memory.rm("/bucket/run/shards", recursive=True)
    loader.seek(0)
    same(next(iter(loader)), local[0])

"""Remote runs: byte ranges through a bounded cache, shared by processes, the same batches as from a disk."""

from __future__ import annotations

import multiprocessing
import os

import fsspec
import numpy as np
import pytest
from test_loader import same, take, write_run
from test_loader_damage import buffers

from shards.cache import PieceCache
from shards.format import ShardError
from shards.loader import Loader


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def remote(run):
    memory = fsspec.filesystem("memory")
    memory.put(str(run), "/bucket/run", recursive=True)
    yield memory
    memory.rm("/bucket", recursive=True)


def test_a_remote_run_loads_the_same_and_is_fetched_once(run, remote, tmp_path):
    local = take(Loader(str(run), stage="4K", batch_sequences=4), 40)
    loader = Loader("memory://bucket/run", stage="4K", batch_sequences=4, cache=tmp_path / "cache")
    for one, other in zip(local, take(loader, 40), strict=True):
        same(one, other)
    assert loader.verify() == []
    assert loader.documents(3) == Loader(str(run), stage="4K", batch_sequences=4).documents(3)
    assert len(list((tmp_path / "cache").glob("shard-*"))) == len(list((run / "shards").glob("4K-*")))
    remote.rm("/bucket/run/shards", recursive=True)
    loader.seek(0)
    same(loader.next(), local[0])


@pytest.mark.usefixtures("remote")
def test_mixed_local_and_remote_streams(run, tmp_path):
    options = {"stage": "4K", "batch_sequences": 6, "weights": {"a": 1, "b": 1}}
    local = Loader({"a": str(run), "b": str(run)}, **options)
    mixed = Loader({"a": str(run), "b": "memory://bucket/run"}, cache=tmp_path / "cache", **options)
    for one, other in zip(take(local, 10), take(mixed, 10), strict=True):
        same(one, other)


def test_a_missing_remote_shard_is_named(remote, tmp_path):
    name = remote.ls("/bucket/run/shards", detail=False)[-1].rpartition("/")[2]
    remote.rm(f"/bucket/run/shards/{name}")
    stage = name.partition("-")[0]
    loader = Loader("memory://bucket/run", stage=stage, batch_sequences=1, cache=tmp_path / "cache")
    with pytest.raises(ShardError, match=rf"{name}: no file shards/{name}"):
        take(loader, loader.sequences)


def test_a_damaged_copy_is_fetched_again_and_a_damaged_shard_is_not_loaded(run, remote, tmp_path):
    cache = tmp_path / "cache"
    local = take(Loader(str(run), stage="4K", batch_sequences=4), 20)
    first = Loader("memory://bucket/run", stage="4K", batch_sequences=4, cache=cache, read_ahead=0)
    take(first, 20)
    start, size = buffers(run / "shards" / "4K-00000-0000.arrow")["tokens", 2]
    for piece in cache.glob("shard-*/0.piece"):
        data = bytearray(piece.read_bytes())
        data[start : start + size] = bytes(size)
        piece.write_bytes(data)
    fetched = first.fetched_bytes
    first.seek(0)
    for one, other in zip(local, take(first, 20), strict=True):
        same(one, other)
    assert first.fetched_bytes > fetched
    for path in remote.ls("/bucket/run/shards", detail=False):
        data = bytearray(remote.cat_file(path))
        data[start : start + size] = bytes(size)
        remote.pipe_file(path, bytes(data))
    with pytest.raises(ShardError, match="damaged"):
        take(Loader("memory://bucket/run", stage="4K", batch_sequences=4, cache=tmp_path / "other"), 20)


def bytes_of(number, start, stop):
    """Content of a made-up file."""
    return np.random.default_rng(number).bytes(5000)[start:stop]


def piece_cache(folder, limit=4000):
    return PieceCache(folder, limit, lambda url, start, stop: bytes_of(int(url), start, stop), piece=100)


def used(folder):
    return sum(path.stat().st_size for path in folder.glob("*/*.piece"))


def test_the_cache_stays_within_its_bound_and_keeps_what_was_used_last(tmp_path):
    cache = piece_cache(tmp_path)
    rng = np.random.default_rng(0)
    for _ in range(300):
        number, offset = int(rng.integers(5)), int(rng.integers(4900))
        length = int(rng.integers(0, 5000 - offset))
        assert cache.read(f"shard-{number}", str(number), 5000, offset, length) == bytes_of(
            number, offset, offset + length
        )
        assert used(tmp_path) <= 4000
    assert used(tmp_path) > 3000
    # A piece that was just used outlives those that were not.
    for path in tmp_path.glob("*/*.piece"):
        os.utime(path, (1, 1))
    kept = next(tmp_path.glob("*/*.piece"))
    number, piece = int(kept.parent.name.removeprefix("shard-")), int(kept.stem)
    cache.read(kept.parent.name, str(number), 5000, piece * 100, 1)
    for other in range(20):
        cache.read("shard-9", "9", 5000, other * 100, 100)
    assert kept.exists()


def test_neighbouring_pieces_come_in_one_request(tmp_path):
    requests = []

    def fetch(_, start, stop):
        requests.append((start, stop))
        return bytes_of(1, start, stop)

    cache = PieceCache(tmp_path, 4000, fetch, piece=100)
    cache.read("shard-1", "1", 5000, 450, 100)
    cache.read("shard-1", "1", 5000, 150, 1000)
    cache.read("shard-1", "1", 5000, 100, 1100)
    assert requests == [(400, 600), (100, 400), (600, 1200)]


def test_a_remote_file_that_is_shorter_than_its_manifest_says_is_an_error(tmp_path):
    with pytest.raises(OSError, match="truncated"):
        piece_cache(tmp_path).read("shard-1", "1", 6000, 5500, 100)
    with pytest.raises(OSError, match="outside"):
        piece_cache(tmp_path).read("shard-1", "1", 5000, 4950, 100)
    with pytest.raises(ValueError, match="less than one piece"):
        piece_cache(tmp_path, 99)


def _hammer(folder, seed, queue):
    cache, rng = piece_cache(folder), np.random.default_rng(seed)
    wrong, most = 0, 0
    for _ in range(150):
        number, offset = int(rng.integers(5)), int(rng.integers(4000))
        data = cache.read(f"shard-{number}", str(number), 5000, offset, 700)
        wrong += data != bytes_of(number, offset, offset + 700)
        most = max(most, used_safely(folder))
    queue.put((wrong, most))


def used_safely(folder):
    total = 0
    for path in folder.glob("*/*.piece"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # evicted meanwhile
            continue
    return total


def test_processes_share_a_cache_and_its_bound(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_hammer, args=(tmp_path, seed, queue)) for seed in range(4)]
    for process in processes:
        process.start()
    results = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert [wrong for wrong, _ in results] == [0] * 4
    assert used(tmp_path) <= 4000
    assert not list(tmp_path.glob("*/*.part"))

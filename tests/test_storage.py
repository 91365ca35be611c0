"""Publishing a file: it is complete or it is absent, whatever happens while it is written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pytest
import xxhash

from curate import storage
from curate.storage import StorageError


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_published_file_has_its_bytes_size_and_checksum(tmp_path: Path) -> None:
    done = storage.publish_bytes(str(tmp_path), "deep/down/a.bin", b"abc")
    assert (tmp_path / "deep/down/a.bin").read_bytes() == b"abc"
    # XXH3-128 of "abc", from xxhash's own one-shot function.
    expected = "xxh3_128:" + xxhash.xxh3_128_hexdigest(b"abc")
    assert done == storage.Published("deep/down/a.bin", 3, expected)
    assert storage.checksum(str(tmp_path / "deep/down/a.bin")) == expected
    assert everything(tmp_path) == ["deep/down/a.bin"]


def test_checksum_covers_every_block_of_a_file_that_is_written_in_parts(tmp_path: Path) -> None:
    block = os.urandom(1 << 20)
    with storage.publishing(str(tmp_path), "large") as publication:
        for _ in range(5):
            publication.sink.write(block)
    assert publication.result().bytes == 5 << 20
    assert publication.result().checksum == "xxh3_128:" + xxhash.xxh3_128_hexdigest(block * 5)
    assert storage.checksum(str(tmp_path / "large")) == publication.result().checksum


def test_nothing_is_visible_before_the_file_is_complete(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with storage.publishing(str(tmp_path), "a") as publication:
        publication.sink.write(b"new")
        assert (tmp_path / "a").read_bytes() == b"old"
        assert storage.list_files(str(tmp_path)) == ["a"], "the temporary file is not listed"
        with pytest.raises(ValueError, match="not published yet"):
            publication.result()
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt(), OSError(5, "read error")])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def write(sink: BinaryIO) -> None:
        sink.write(b"half")
        raise error

    with pytest.raises(type(error)) as caught:
        storage.publish(str(tmp_path), "a", write)
    assert caught.value is error, "an error that is not about this file comes through as it is"
    assert everything(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("amount", [1, 1 << 16, 3 << 20])
def test_a_full_disk_says_where_and_what_to_do(tmp_path: Path, amount: int) -> None:
    """The kernel's own ENOSPC: the temporary name leads to /dev/full, where every write fails with it."""
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / f".a.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"/a: no space left on the device.*free some space.*again"):
        storage.publish_bytes(str(tmp_path), "a", bytes(amount))
    assert everything(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "units").write_bytes(b"")
    with pytest.raises(StorageError, match=r"units/a: cannot be written"):
        storage.publish_bytes(str(tmp_path), "units/a", b"x")


def test_what_killed_processes_left_is_cleared_and_nothing_more(tmp_path: Path) -> None:
    for name in (
        "documents/.a.parquet.17.tmp",
        ".run.json.4.tmp",
        "documents/a.parquet",
        "note.tmp",
        ".lock",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    storage.remove_temporaries(str(tmp_path))
    assert everything(tmp_path) == [".lock", "documents/a.parquet", "note.tmp"]
    storage.remove_temporaries(str(tmp_path / "nowhere"))


def test_files_are_listed_in_order_without_hidden_ones_and_folders(tmp_path: Path) -> None:
    for name in ("b", "a", ".c.1.tmp", "folder/d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert storage.list_files(str(tmp_path)) == ["a", "b"]
    assert storage.list_files(str(tmp_path / "nowhere")) == []


def test_size_and_removal_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert storage.size(str(tmp_path / "a")) is None
    storage.remove(str(tmp_path / "a"))
    storage.publish_bytes(str(tmp_path), "a", b"12")
    assert storage.size(str(tmp_path / "a")) == storage.size(f"file://{tmp_path}/a") == 2
    storage.remove(str(tmp_path / "a"))
    assert not storage.exists(str(tmp_path / "a"))


def test_a_damaged_table_says_how_to_remake_it(tmp_path: Path) -> None:
    table = pa.table({"x": list(range(1000))})
    storage.publish_table(str(tmp_path), "t.parquet", table)
    assert storage.read_table(str(tmp_path / "t.parquet")).equals(table)
    data = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(StorageError, match=r"t\.parquet: cannot be read .*delete it and run again"):
        storage.read_table(str(tmp_path / "t.parquet"))
    with pytest.raises(StorageError, match=r"nowhere: no such file"):
        storage.read_bytes(str(tmp_path / "nowhere"))


def test_a_table_is_the_same_bytes_however_its_chunks_lie(tmp_path: Path) -> None:
    whole = pa.table({"x": list(range(5000)), "y": [str(n % 7) for n in range(5000)]})
    pieces = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 2999), whole.slice(3000)])
    first = storage.publish_table(str(tmp_path), "a", whole)
    second = storage.publish_table(str(tmp_path), "b", pieces)
    assert first.checksum == second.checksum


def test_an_object_store_holds_the_same_bytes(tmp_path: Path) -> None:
    table = pa.table({"x": [1, 2, 3]})
    local = storage.publish_table(str(tmp_path), "t.parquet", table)
    remote = storage.publish_table("memory://bucket/run", "t.parquet", table)
    assert remote == local
    assert storage.list_files("memory://bucket/run") == ["t.parquet"]
    assert storage.size("memory://bucket/run/t.parquet") == local.bytes
    assert storage.read_table("memory://bucket/run/t.parquet").equals(table)
    assert storage.checksum("memory://bucket/run/t.parquet") == local.checksum


def test_arrow_reads_local_and_remote_files_alike(tmp_path: Path) -> None:
    def write(sink: object) -> None:
        with pa.ipc.new_file(sink, pa.schema([("x", pa.int32())])) as writer:
            writer.write_batch(pa.record_batch({"x": pa.array([4, 5], pa.int32())}))

    for root in (str(tmp_path), f"file://{tmp_path}", "memory://arrow"):
        storage.publish(root, "a.arrow", write)
        with storage.open_arrow(storage.join(root, "a.arrow")) as source:
            assert pa.ipc.open_file(source).get_batch(0)["x"].to_pylist() == [4, 5]

"""The shards of a stage, opened as they are needed.

An open shard is one mapping (no descriptor), so thousands stay open; opening costs about 0.2 ms. Remote
shards are never fetched whole: the kernel asks for byte ranges, which come through a bounded cache of pieces.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import curate_kernels
import fsspec
import numpy as np
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from shards.cache import PieceCache
from shards.catalog import StageShards
from shards.format import ShardError, ShardHeader, read_header

#: Shards that are open at one time. Linux allows a process 65,530 mappings; 1,024 descriptors by default.
OPEN_MAPPED = 4096
OPEN_DIRECT = 256

#: What all shards of a stage have in common.
COMMON = ("tokenizer", "pad", "pad_documents_to", "layout", "context_parallel")


class StageReader:
    """Opens the shards of one stage and checks that they belong together; for use by several threads."""

    def __init__(
        self,
        url: str,
        shards: StageShards,
        *,
        direct: bool = False,
        cache: PieceCache | None = None,
    ) -> None:
        """`cache` is for filesystems that are not local."""
        self.fs, root = fsspec.core.url_to_fs(url)
        self.root = root.rstrip("/")
        self.shards = shards
        self._cache = None if isinstance(self.fs, LocalFileSystem) else cache
        self._direct = direct
        self._limit = OPEN_DIRECT if direct else OPEN_MAPPED
        self._open: OrderedDict[int, curate_kernels.ShardFile] = OrderedDict()
        self._lock = threading.Lock()
        self._first: tuple[str, ShardHeader] | None = None

    @property
    def fetched_bytes(self) -> int:
        """Bytes fetched from a remote store."""
        return self._cache.fetched_bytes if self._cache is not None else 0

    @property
    def header(self) -> ShardHeader:
        """What all shards say, as the first one opened says it."""
        if self._first is None:
            self.open(0)
        assert self._first is not None
        return self._first[1]

    def open(self, number: int) -> curate_kernels.ShardFile:
        """A shard by its number. Raises ShardError, naming it, if it is missing, damaged or another's."""
        with self._lock:
            if (found := self._open.get(number)) is not None:
                self._open.move_to_end(number)
                return found
            opened = self._opened(number)
            self._open[number] = opened
            if len(self._open) > self._limit:
                self._open.popitem(last=False)
            return opened

    def drop(self, number: int) -> bool:
        """Forget the cached copy of a remote shard; False if there is none."""
        if self._cache is None:
            return False
        with self._lock:
            self._open.pop(number, None)
        self._cache.drop(self._key(number))
        return True

    def documents(self, sequence: int) -> pa.Table:
        """The documents of one sequence of the stage: document_id, document_offset, source, epoch, length."""
        number = int(np.searchsorted(self.shards.ends, sequence, side="right"))
        row = sequence - int(self.shards.ends[number] - self.shards.counts[number])
        name = self.shards.names[number]
        try:
            with self.fs.open(self.url(number), "rb") as file:
                reader: Any = pa.ipc.open_file(pa.PythonFile(file, "r"))
                header = read_header(reader.schema, name)
                batch = reader.get_batch(row // header.batch_sequences)
                (columns,) = batch.slice(row % header.batch_sequences, 1).to_pylist()
        except FileNotFoundError as error:
            raise self._missing(number) from error
        except (pa.ArrowException, OSError) as error:
            raise ShardError(f"{name}: sequence {row} is damaged: {error}: fetch the shard again") from error
        try:
            sources = [header.sources[source] for source in columns["source_ids"]]
            return pa.table(
                {
                    "document_id": pa.array(columns["document_ids"], pa.binary(16)),
                    "document_offset": pa.array(columns["document_offsets"], pa.int64()),
                    "source": pa.array(sources, pa.string()),
                    "epoch": pa.array(columns["epochs"], pa.int16()),
                    "length": pa.array(columns["document_lengths"], pa.int32()),
                }
            )
        except (IndexError, pa.ArrowException) as error:
            raise ShardError(f"{name}: sequence {row}: its documents make no sense: {error}") from error

    def url(self, number: int) -> str:
        """Where the shard lies, in its filesystem."""
        return f"{self.root}/{self.shards.paths[number]}"

    def _key(self, number: int) -> str:
        # By content, so that one cache serves several runs.
        return "shard-" + self.shards.checksums[number].replace(":", "-").replace("/", "-")

    def _opened(self, number: int) -> curate_kernels.ShardFile:
        name, size = self.shards.names[number], self.shards.bytes[number]
        url, key, cache = self.url(number), self._key(number), self._cache
        fetch = None
        if cache is not None:

            def fetch(offset: int, length: int) -> bytes:
                return cache.read(key, url, size, offset, length)

        try:
            shard = curate_kernels.ShardFile(
                url,
                name=name,
                size=size,
                footer_checksum=self.shards.footer_checksums[number],
                direct=self._direct,
                fetch=fetch,
            )
        except FileNotFoundError as error:
            raise self._missing(number) from error
        except (ValueError, OSError) as error:
            if cache is not None and not self.fs.exists(url):
                raise self._missing(number) from error
            raise ShardError(str(error)) from error
        self._check(name, shard, number)
        return shard

    def _missing(self, number: int) -> ShardError:
        name, path = self.shards.names[number], self.shards.paths[number]
        return ShardError(f"{name}: no file {path} in the run directory: fetch it or rerun the write phase")

    def _check(self, name: str, shard: curate_kernels.ShardFile, number: int) -> None:
        try:
            reader: Any = pa.ipc.open_file(pa.py_buffer(shard.schema_file()))
            header = read_header(reader.schema, name)
        except (pa.ArrowException, OSError) as error:
            raise ShardError(f"{name}: broken footer: {error}: fetch it or write it again") from error
        if (header.stage, header.sequence_length) != (self.shards.stage, self.shards.sequence_length):
            raise ShardError(
                f"{name}: holds stage {header.stage!r} at {header.sequence_length}, the manifest says "
                f"{self.shards.stage!r} at {self.shards.sequence_length}"
            )
        if self._first is None:
            self._first = (name, header)
        check_common(*self._first, name, header)
        try:
            shard.expect(
                sequences=int(self.shards.counts[number]),
                batch_sequences=header.batch_sequences,
                sequence_length=header.sequence_length,
            )
        except ValueError as error:
            raise ShardError(str(error)) from error


def check_common(
    first: str, one: ShardHeader, name: str, other: ShardHeader, *, also: tuple[str, ...] = ()
) -> None:
    """Raise ShardError, naming both shards, unless they agree on what shards of a stage do, and on `also`."""
    for key in (*COMMON, *also):
        if (left := getattr(one, key)) != (right := getattr(other, key)):
            raise ShardError(
                f"{name} has {key} {right!r}, but {first} has {left!r}: sequences of a stage are made alike; "
                "give the shards of one of them another stage, or write them again"
            )

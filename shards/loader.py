"""Batches of packed sequences in a global order that is a pure function of (seed, step).

    step ─▶ places ─▶ stream, keyed permutation ─▶ (shard, row) ─▶ kernel: read, verify, expand ─▶ host
    buffers

The sequences of a stage are permuted anew for every pass, by a keyed permutation in O(1) memory: any step of
any rank is computed, never replayed, so seeking costs nothing and the order does not depend on the number of
ranks. No shared memory, no barrier, no index to build. The next batch is read in the background while one
is used. `docs/loading.md` has the conventions.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import curate_kernels
import fsspec
import numpy as np
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from shards.balance import deal, imbalance
from shards.batch import (
    BOUNDARIES,
    FIELDS,
    TENSORS,
    Batch,
    Blocks,
    Boundaries,
    Field,
    Tensor,
    as_tensor,
    boundary_table,
    require_torch,
)
from shards.cache import PieceCache
from shards.catalog import planned_batch, read_stage
from shards.format import ShardError, ShardHeader, check_layout
from shards.host_memory import Hook, HostMemory, view
from shards.mixing import Mixture, Weights, mixture_of
from shards.order import passes
from shards.reader import StageReader, check_common
from shards.verify_files import wrong_checksums

#: Threads that read a batch from a remote store: they wait more than they work.
REMOTE_THREADS = 16


@dataclass
class BytesRead:
    """Bytes that a loader has asked its files for."""

    tokens: int = 0  # of token planes, with what verification and O_DIRECT add
    other: int = 0  # lengths, next tokens, checksums


class Loader:
    """Iterate over the batches of one stage of a run, without end; `state()` is (seed, step).

    >>> loader = Loader("runs/v4", stage="4K", seed=1, rank=3, world_size=8, batch_sequences=512)
    >>> loader.seek(120_000)
    >>> batch = next(iter(loader))
    >>> batch.tokens.shape, batch.boundaries.dtype
    ((64, 4096), dtype('int64'))
    """

    _executor: ThreadPoolExecutor
    _readers: list[StageReader]

    def __init__(
        self,
        url: str | Mapping[str, str],
        *,
        stage: str,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        context_parallel: tuple[int, int] = (0, 1),
        batch_sequences: int | None = None,
        batch_tokens: int | None = None,
        weights: Weights | None = None,
        balance: bool = False,
        fields: Sequence[Field] = ("tokens", "positions"),
        dtype: Literal["int32", "int64"] = "int32",
        boundaries: Boundaries = "ascend",
        maximum_documents: int = 128,
        blocks: Sequence[int] = (),
        ignore_label: int = -100,
        tensor: Tensor = "numpy",
        verify: Literal["always", "never"] = "always",
        direct: bool = False,
        threads: int | None = None,
        read_ahead: int = 1,
        host_bytes: int = 16 << 30,
        device: str | None = None,
        register: Hook | None = None,
        unregister: Hook | None = None,
        cache: str | Path | None = None,
        cache_bytes: int = 8 << 30,
    ) -> None:
        """`url` is a run directory (a path or any fsspec URL), or several by name, mixed by `weights`.

        The global batch is `batch_sequences`, or `batch_tokens / sequence_length`; without either, the batch
        that the run's plan has for the stage. Rank r of `world_size` (data-parallel ranks) takes its r-th
        contiguous part; with `balance`, parts of equal number and about equal attention work.
        `context_parallel` is (rank, size): which part of every sequence this rank reads.

        `weights` are per stream, or [(step, weights), ...] to change them at steps; by default each stream
        weighs its number of sequences. `fields` are filled in; `boundaries` picks the convention of their
        tables (`mindformers`: of `maximum_documents` entries) and `blocks` adds tables of compressed blocks.

        `verify` compares the checksums of all that is read. `direct` reads around the page cache. Batches
        lie in host buffers of `host_bytes` at most, registered by `device="ascend"` or `register(address,
        bytes)`. Of remote runs, `cache_bytes` are kept in `cache` (default: a temporary folder).

        Raises ValueError for options that make no sense (with those that would), ShardError for a manifest
        or shard that is missing, truncated or of another version.
        """
        self._urls = {"": str(url)} if not isinstance(url, Mapping) else {n: str(u) for n, u in url.items()}
        if not self._urls:
            raise ValueError("a mixture needs at least one stream")
        self._choose("tensor", tensor, TENSORS)
        self._choose("boundaries", boundaries, BOUNDARIES)
        self._choose("verify", verify, ("always", "never"))
        self._choose("dtype", dtype, ("int32", "int64"))
        for name in fields:
            self._choose("field", name, FIELDS)
        if not fields:
            raise ValueError(f"fields is empty; there are: {', '.join(FIELDS)}")
        if tensor == "torch":
            require_torch()
        self.stage, self.names = stage, tuple(self._urls)
        self._fields, self._dtype, self._tensor = tuple(fields), dtype, tensor
        self._boundaries, self._maximum, self._blocks = boundaries, maximum_documents, tuple(blocks)
        self._ignore, self._verify, self._direct = ignore_label, verify == "always", direct
        self._read_ahead, self._balance = read_ahead, balance
        self._memory_options = (host_bytes, register, unregister, device)
        self._cache_bytes = cache_bytes
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._cache_folder = Path(cache) if cache is not None else None

        roots = [fsspec.core.url_to_fs(one) for one in self._urls.values()]
        self._stages = [read_stage(fs, root.rstrip("/"), stage) for fs, root in roots]
        remote = any(not isinstance(fs, LocalFileSystem) for fs, _ in roots)
        self._threads = threads if threads is not None else REMOTE_THREADS if remote else 1
        if remote and self._cache_folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="shards-")
            self._cache_folder = Path(self._temporary.name)

        lengths = sorted({one.sequence_length for one in self._stages})
        if len(lengths) > 1:
            raise ShardError(f"stage {stage!r} has sequences of {lengths} tokens: streams of one length mix")
        self.sequence_length: int = lengths[0]
        self.sequences = sum(one.sequences for one in self._stages)
        if batch_sequences is None and batch_tokens is None:
            fs, root = roots[0]
            batch_tokens = planned_batch(fs, root.rstrip("/"), stage)
        self.batch_sequences = _batch_sequences(batch_sequences, batch_tokens, self.sequence_length)
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not in 0..{world_size}")
        if self.batch_sequences % world_size:
            sizes = [size for size in range(1, self.batch_sequences + 1) if self.batch_sequences % size == 0]
            raise ValueError(
                f"a batch of {self.batch_sequences} sequences does not divide over {world_size} ranks; "
                f"these world sizes work: {', '.join(map(str, sizes))}"
            )
        self._rank, self._world_size = rank, world_size
        self._mixture = self._mixed(weights, seed)
        self._seed = seed
        self._step = 0
        self.bytes_read = BytesRead()
        self._process = -1
        self._in_process()
        self.header: ShardHeader = self._readers[0].header
        for reader in self._readers[1:]:
            check_common(self._urls[self.names[0]], self.header, reader.root, reader.header)
        self._context_rank, self._context_size = self._context(context_parallel)

    def state(self) -> dict[str, int]:
        """All there is to save: the seed and the next step."""
        return {"seed": self._seed, "step": self._step}

    def seek(self, step: int) -> None:
        """Make `step` the next one, forwards or backwards."""
        if step < 0:
            raise ValueError(f"step {step} is below 0")
        self._step = step

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.next()

    def next(self, stride: int = 1) -> Batch:
        """The batch of the next step; the one `stride` after, which is then next, is read meanwhile."""
        self._in_process()
        step = self._step
        coming = self._coming.pop(step, None)
        batch = coming.result() if coming is not None else self.batch(step)
        self._step = step + stride
        wanted = range(step + stride, step + 1 + stride * self._read_ahead, stride)
        for other in [other for other in self._coming if other not in wanted]:
            self._coming.pop(other).cancel()
        for later in wanted:
            if later not in self._coming:
                self._coming[later] = self._executor.submit(self.batch, later)
        return batch

    def ahead(self, steps: int) -> Batch:
        """The batch `steps` after the next one (0: the next one); leaves the state alone."""
        return self.batch(self._step + steps)

    def batch(self, step: int) -> Batch:
        """This rank's part of any step, for looking ahead or back; leaves the state alone."""
        self._in_process()
        streams, numbers = self._rank_order(step)
        shards, shard_of, rows, where = self._located(streams, numbers)
        part = self.sequence_length // self._context_size
        buffers = {
            name: self._memory.take(len(rows) * part * (4 if self._type(name) != "int64" else 8))
            for name in self._fields
        }
        documents = self._boundaries != "eod" or bool(self._blocks)
        try:
            lengths = self._read(step, shards, shard_of, rows, documents, buffers)
        except ShardError:
            # A damaged copy in the cache is fetched again, once.
            dropped = [self._readers[stream].drop(shard) for stream, shard in where]
            if not any(dropped):
                raise
            shards, shard_of, rows, _ = self._located(streams, numbers)
            lengths = self._read(step, shards, shard_of, rows, documents, buffers)
        arrays = {
            name: as_tensor(view(buffer, self._type(name), len(rows)), self._tensor)
            for name, buffer in buffers.items()
        }
        return Batch(
            step=step,
            sequences=numbers,
            streams=streams if len(self.names) > 1 else None,
            document_lengths=lengths,
            **self._tables(lengths),
            **arrays,
        )

    def order(self, step: int) -> NDArray[np.int64]:
        """Numbers of the sequences of this rank's part of `step`, counted over the stage's shards by name.

        Of a mixture, each number counts over its stream; `streams(step)` says which.
        """
        return self._rank_order(step)[1]

    def streams(self, step: int) -> NDArray[np.int64]:
        """The streams of the sequences of this rank's part of `step`, as places in `names`."""
        return self._rank_order(step)[0]

    def imbalance(self, step: int) -> float:
        """The largest rank's attention work (sum of squared document lengths) in a step over the mean."""
        self._in_process()
        _, _, work, hands = self._dealt(step)
        return imbalance(work, hands)

    def documents(self, step: int) -> pa.Table:
        """The documents of this rank's part of a step, in order: sequence (its place in the part),
        document_id, document_offset, source, epoch, length. Read through Arrow: for inspection.
        """
        self._in_process()
        tables = []
        for place, (stream, number) in enumerate(zip(*self._rank_order(step), strict=True)):
            table = self._readers[stream].documents(int(number))
            tables.append(
                table.add_column(0, "sequence", pa.repeat(pa.scalar(place, pa.int32()), len(table)))
            )
        return pa.concat_tables(tables)

    def verify(self) -> list[str]:
        """Compare the checksum of every shard of the stage with the manifest: what is wrong, a line each."""
        return [
            problem
            for reader in self._readers
            for problem in wrong_checksums(reader.fs, reader.root, reader.shards)
        ]

    def close(self) -> None:
        """Wait for the batch that is being read ahead, and let go of it; the loader can still be used."""
        self._in_process()
        self._executor.shutdown(cancel_futures=True)
        self._coming.clear()
        self._executor = _reading_thread()

    @property
    def memory(self) -> HostMemory:
        """The pool that batches lie in."""
        self._in_process()
        return self._memory

    @property
    def fetched_bytes(self) -> int:
        """Bytes that this process has fetched from remote stores."""
        self._in_process()
        return sum(reader.fetched_bytes for reader in self._readers)

    # Order

    def _global_order(self, start: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Streams and numbers of the sequences at places [start, start + count) of the endless order."""
        if self._mixture is None:
            numbers = passes(self._stages[0].sequences, start, count, self._seed, self.stage)
            return np.zeros(count, np.int64), numbers
        streams = self._mixture.streams(start, count)
        before = self._mixture.counts(start)
        numbers = np.empty(count, np.int64)
        for stream, name in enumerate(self.names):
            mine = streams == stream
            size = self._stages[stream].sequences
            taken = passes(size, before[stream], int(mine.sum()), self._seed, self.stage, name)
            numbers[mine] = taken
        return streams, numbers

    def _rank_order(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if step < 0:
            raise ValueError(f"step {step} is below 0")
        if self._balance and self._world_size > 1:
            streams, numbers, _, hands = self._dealt(step)
            return streams[hands[self._rank]], numbers[hands[self._rank]]
        count = self.batch_sequences // self._world_size
        return self._global_order(step * self.batch_sequences + self._rank * count, count)

    def _dealt(
        self, step: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Streams, numbers and work of the global batch, and the places of each rank."""
        streams, numbers = self._global_order(step * self.batch_sequences, self.batch_sequences)
        shards, shard_of, rows, _ = self._located(streams, numbers)
        try:
            sums, read = curate_kernels.squared_lengths(shards, shard_of, rows, verify=self._verify)
        except ValueError as error:
            raise ShardError(f"step {step}: {error}") from error
        with self._lock:
            self.bytes_read.other += read
        work = sums.to_numpy()
        if self._balance:
            return streams, numbers, work, deal(work, self._world_size)
        return streams, numbers, work, np.arange(self.batch_sequences).reshape(self._world_size, -1)

    # Reading

    def _located(
        self, streams: NDArray[np.int64], numbers: NDArray[np.int64]
    ) -> tuple[list[curate_kernels.ShardFile], NDArray[np.int64], NDArray[np.int64], list[tuple[int, int]]]:
        """Open shards, the shard of each sequence among them, its row there; and which shards they are."""
        shards = np.empty(len(numbers), np.int64)
        rows = np.empty(len(numbers), np.int64)
        first = 0
        firsts = []
        for stream, stage in enumerate(self._stages):
            mine = streams == stream if len(self._stages) > 1 else slice(None)
            found, rows[mine] = stage.places(numbers[mine])
            shards[mine] = found + first
            firsts.append(first)
            first += len(stage.names)
        distinct, shard_of = np.unique(shards, return_inverse=True)
        stream_of = np.searchsorted(firsts, distinct, side="right") - 1
        where = [(int(s), int(shard) - firsts[int(s)]) for s, shard in zip(stream_of, distinct, strict=True)]
        opened = [self._readers[stream].open(shard) for stream, shard in where]
        return opened, shard_of.astype(np.int64, copy=False), rows, where

    def _read(
        self,
        step: int,
        shards: list[curate_kernels.ShardFile],
        shard_of: NDArray[np.int64],
        rows: NDArray[np.int64],
        documents: bool,
        buffers: dict[Field, curate_kernels.HostBuffer],
    ) -> pa.ListArray | None:
        try:
            lengths, tokens, other = curate_kernels.read_sequences(
                shards,
                shard_of,
                rows,
                sequence_length=self.sequence_length,
                layout=self.header.layout,
                stored_for=self.header.context_parallel,
                rank=self._context_rank,
                degree=self._context_size,
                pad_documents_to=self.header.pad_documents_to,
                verify=self._verify,
                documents=documents,
                ignore_label=self._ignore,
                dtype=self._dtype,
                threads=self._threads,
                **buffers,
            )
        except ValueError as error:
            raise ShardError(f"step {step}: {error}") from error
        with self._lock:
            self.bytes_read.tokens += tokens
            self.bytes_read.other += other
        return lengths

    def _tables(self, lengths: pa.ListArray | None) -> dict[str, Any]:
        """Boundary and block tables of a batch."""
        if lengths is None:
            return {}
        multiple = self.header.pad_documents_to
        table = boundary_table(
            lengths,
            self._boundaries,
            sequence_length=self.sequence_length,
            pad_documents_to=multiple,
            maximum_documents=self._maximum,
        )
        blocks = {}
        for ratio in self._blocks:
            found = curate_kernels.block_starts(
                lengths, self.sequence_length, pad_documents_to=multiple, ratio=ratio
            )
            blocks[ratio] = Blocks(*(as_tensor(part.to_numpy(), self._tensor) for part in found))
        return {
            "boundaries": None if table is None else as_tensor(table, self._tensor),
            "blocks": blocks,
        }

    def _type(self, name: Field) -> str:
        return "float32" if name == "loss_mask" else self._dtype

    def _in_process(self) -> None:
        """Make what a process cannot inherit by fork: threads, locks, connections, registered memory."""
        if self._process == os.getpid():
            return
        self._lock = threading.Lock()
        self._coming: dict[int, Future[Batch]] = {}
        self._executor = _reading_thread()
        limit, register, unregister, device = self._memory_options
        self._memory = HostMemory(limit, register=register, unregister=unregister, device=device)
        self._readers = []
        for url, stage in zip(self._urls.values(), self._stages, strict=True):
            fs, _ = fsspec.core.url_to_fs(url)
            cache = None
            if self._cache_folder is not None and not isinstance(fs, LocalFileSystem):

                def fetch(path: str, start: int, end: int, fs: Any = fs) -> bytes:
                    return cast(bytes, fs.cat_file(path, start=start, end=end))

                cache = PieceCache(self._cache_folder, self._cache_bytes, fetch)
            self._readers.append(StageReader(url, stage, direct=self._direct, cache=cache))
        self._process = os.getpid()

    # Options

    def _mixed(self, weights: Weights | None, seed: int) -> Mixture | None:
        if len(self.names) == 1:
            if weights is not None:
                raise ValueError("weights are for several streams: give url as {name: url, ...}")
            return None
        if weights is None:
            weights = {name: stage.sequences for name, stage in zip(self.names, self._stages, strict=True)}
        return mixture_of(
            weights, self.names, batch_sequences=self.batch_sequences, seed=seed, stage=self.stage
        )

    def _context(self, context_parallel: tuple[int, int]) -> tuple[int, int]:
        rank, size = context_parallel
        if not 0 <= rank < size:
            raise ValueError(f"context_parallel rank {rank} is not in 0..{size}")
        layout, stored = self.header.layout, self.header.context_parallel
        if layout != "contiguous" and size not in (1, stored):
            raise ValueError(
                f"these shards are stored as {layout} for {stored} context-parallel ranks, not for {size}: "
                f"use {stored} (or 1, in reading order), or write shards for {size}"
            )
        check_layout(
            "contiguous",
            size,
            sequence_length=self.sequence_length,
            pad_documents_to=self.header.pad_documents_to,
        )
        return rank, size

    @staticmethod
    def _choose(what: str, value: str, choices: Sequence[str]) -> None:
        if value not in choices:
            raise ValueError(f"{what} {value!r} is not one of {', '.join(choices)}")


def _reading_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="shards")  # starts its thread when it is used


def _batch_sequences(sequences: int | None, tokens: int | None, length: int) -> int:
    if (sequences is None) == (tokens is None):
        raise ValueError("give either batch_sequences or batch_tokens")
    if tokens is not None:
        sequences, rest = divmod(tokens, length)
        if rest:
            raise ValueError(f"batch_tokens={tokens} is not a multiple of the sequence length {length}")
    if sequences is None or sequences < 1:
        raise ValueError("a batch needs at least one sequence")
    return sequences

"""Batches of packed sequences in a global order that is a pure function of (seed, step).

The sequences of a stage are permuted anew for every pass, by a keyed permutation in O(1) memory: any step of
any rank is computed, never replayed, so seeking costs nothing and the order does not depend on the number of
ranks. No shared memory, no barrier, no background state. Local shards are memory-mapped; remote ones are
fetched whole, once, into a cache folder.
"""

from __future__ import annotations

import difflib
import os
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import curate_kernels
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from shards.format import ShardError, ShardHeader
from shards.manifest import SHARDS
from shards.order import keyed_seed
from shards.reader import Rows, Shard, check_size

#: Shards that are open at one time; an open shard costs one file descriptor and its page tables.
OPEN_SHARDS = 256


@dataclass(frozen=True)
class Batch:
    """A rank's part of one step: b sequences of L tokens.

    A segment is a document's slot (its length rounded up to the shard's `pad_documents_to`) or the padding at
    the end of a sequence, which is a segment of its own so that `cu_seqlens` covers every token.
    """

    step: int
    tokens: NDArray[np.int32]  # [b, L]
    positions: NDArray[np.int32]  # [b, L], restarting at every segment
    cu_seqlens: NDArray[np.int64]  # [segments + 1], flat over the b*L tokens; first 0, last b*L
    document_lengths: list[NDArray[np.int32]]  # per sequence, without any padding
    document_ids: list[NDArray[np.uint8]]  # per sequence, [documents, 16]


class Loader:
    """Iterate over the batches of one stage of a run, without end; `state()` is (seed, step)."""

    def __init__(
        self,
        url: str,
        *,
        stage: str,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        batch_sequences: int | None = None,
        batch_tokens: int | None = None,
        cache: str | Path | None = None,
    ) -> None:
        """`url` is the run directory (a path or any fsspec URL).

        The global batch is `batch_sequences`, or `batch_tokens / sequence_length`; without either, the batch
        that the run's plan has for the stage. Rank r of `world_size` takes its r-th contiguous part.
        `cache` keeps the shards of a remote run (default: a temporary folder that goes with the loader).

        Raises ValueError for options that make no sense (with those that would), ShardError for a manifest
        or shard that is missing, truncated or of another version.
        """
        self._fs, root = fsspec.core.url_to_fs(str(url))
        self._root = root.rstrip("/")
        self._local = isinstance(self._fs, LocalFileSystem)
        self._temporary = None
        if not self._local and cache is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="shards-")
            cache = self._temporary.name
        self._cache = Path(cache) if cache is not None else None
        self._open: OrderedDict[int, Shard] = OrderedDict()

        table = _stage_shards(self._fs, self._root, stage)
        self._names: list[str] = table["shard"].to_pylist()
        self._paths: list[str] = [_relative(path) for path in table["path"].to_pylist()]
        self._bytes: list[int] = table["bytes"].to_pylist()
        self._checksums: list[str] = table["checksum"].to_pylist()
        self._counts: list[int] = table["sequences"].to_pylist()
        self._ends = np.cumsum(table["sequences"].to_numpy())
        lengths = sorted(set(table["sequence_length"].to_pylist()))
        if len(lengths) > 1:
            raise ShardError(f"stage {stage!r} mixes sequence lengths {lengths}: a stage has one")

        self.stage = stage
        self.sequence_length: int = lengths[0]
        self.sequences = int(self._ends[-1])
        if batch_sequences is None and batch_tokens is None:
            batch_tokens = _planned_batch(self._fs, self._root, stage)
        self.batch_sequences = _batch_sequences(batch_sequences, batch_tokens, self.sequence_length)
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not in 0..{world_size}")
        if self.batch_sequences % world_size:
            sizes = [size for size in range(1, self.batch_sequences + 1) if self.batch_sequences % size == 0]
            raise ValueError(
                f"a batch of {self.batch_sequences} sequences does not divide over {world_size} ranks; "
                f"these world sizes work: {', '.join(map(str, sizes))}"
            )
        self._rank_sequences = self.batch_sequences // world_size
        self._first = rank * self._rank_sequences
        self._seed = seed
        self._step = 0
        if self._local:
            for name, path, size in zip(self._names, self._paths, self._bytes, strict=True):
                check_size(name, self._size(path, name), size)
        self.header: ShardHeader = self._shard(0).header

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
            batch = self.batch(self._step)
            self._step += 1
            yield batch

    def batch(self, step: int) -> Batch:
        """This rank's part of any step, for looking ahead or back; leaves the state alone."""
        numbers = self.order(step)
        rows, length = len(numbers), self.sequence_length
        tokens = np.empty((rows, length), np.int32)
        lengths: list[NDArray[np.int32]] = []
        ids: list[NDArray[np.uint8]] = []
        shards = np.searchsorted(self._ends, numbers, side="right")
        for i, (shard, number) in enumerate(zip(shards.tolist(), numbers.tolist(), strict=True)):
            group, row = self._row(shard, number)
            tokens[i] = group.tokens[row]
            begin, end = group.bounds[row], group.bounds[row + 1]
            lengths.append(group.document_lengths[begin:end])
            ids.append(group.document_ids[begin:end])

        multiple = self.header.pad_documents_to
        counts = np.array([len(documents) for documents in lengths])
        flat = np.concatenate(lengths)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        try:
            positions = curate_kernels.sequence_positions(
                pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat)), length, pad_documents_to=multiple
            )
        except ValueError as error:
            raise ShardError(
                f"step {step}: document lengths that do not fit: {error}: run verify()"
            ) from error
        return Batch(
            step=step,
            tokens=tokens,
            positions=positions.to_numpy().reshape(rows, length),
            cu_seqlens=_boundaries(-(-flat.astype(np.int64) // multiple) * multiple, offsets, length),
            document_lengths=lengths,
            document_ids=ids,
        )

    def order(self, step: int) -> NDArray[np.int64]:
        """Numbers of the sequences of this rank's part of `step`, counted over the stage's shards by name."""
        if step < 0:
            raise ValueError(f"step {step} is below 0")
        at, left = step * self.batch_sequences + self._first, self._rank_sequences
        parts = []
        while left:
            number, entry = divmod(at, self.sequences)
            count = min(left, self.sequences - entry)
            key = keyed_seed("pass", self._seed, self.stage, number)
            parts.append(curate_kernels.permuted_indices(self.sequences, key, entry, count).to_numpy())
            at, left = at + count, left - count
        return np.concatenate(parts).astype(np.int64)

    def verify(self) -> list[str]:
        """Compare the checksum of every shard of the stage with the manifest: what is wrong, a line each."""
        problems = []
        for name, path, size, expected in zip(
            self._names, self._paths, self._bytes, self._checksums, strict=True
        ):
            if not expected.startswith("xxh3_128:"):
                problems.append(f"{name}: no way to check {expected!r}: only xxh3_128 is known")
                continue
            try:
                check_size(name, self._size(path, name), size)
                checksum = curate_kernels.Checksum()
                with self._fs.open(f"{self._root}/{path}", "rb") as file:
                    while data := file.read(8 << 20):
                        checksum.update(data)
            except (ShardError, OSError) as error:
                problems.append(str(error))
                continue
            if checksum.digest() != expected:
                problems.append(f"{name}: checksum {checksum.digest()}, the manifest says {expected}")
        return problems

    def _row(self, shard: int, number: int) -> tuple[Rows, int]:
        return self._shard(shard).row(number - int(self._ends[shard]) + self._counts[shard])

    def _shard(self, number: int) -> Shard:
        if (shard := self._open.get(number)) is not None:
            self._open.move_to_end(number)
            return shard
        name = self._names[number]
        shard = Shard(
            self._fetch(number), name=name, sequences=self._counts[number], bytes=self._bytes[number]
        )
        header = shard.header
        if (header.stage, header.sequence_length) != (self.stage, self.sequence_length):
            raise ShardError(
                f"{name}: holds stage {header.stage!r} at {header.sequence_length}, the manifest says "
                f"{self.stage!r} at {self.sequence_length}"
            )
        if self._open and header.pad_documents_to != self.header.pad_documents_to:
            raise ShardError(f"{name}: pad_documents_to differs from that of {self._names[0]}")
        self._open[number] = shard
        if len(self._open) > OPEN_SHARDS:
            self._open.popitem(last=False)
        return shard

    def _fetch(self, number: int) -> Path:
        """The shard as a local file."""
        name, path = self._names[number], self._paths[number]
        if self._cache is None:
            return Path(self._root, path)
        # Named by content, so that one cache can serve several runs.
        local = self._cache / f"{self._checksums[number].replace(':', '-')}.arrow"
        if not local.exists():
            self._cache.mkdir(parents=True, exist_ok=True)
            check_size(name, self._size(path, name), self._bytes[number])
            temporary = local.with_name(f"{local.name}.{os.getpid()}.part")
            self._fs.get_file(f"{self._root}/{path}", str(temporary))
            temporary.replace(local)
        return local

    def _size(self, path: str, name: str) -> int:
        try:
            return int(self._fs.size(f"{self._root}/{path}"))
        except FileNotFoundError as error:
            raise ShardError(
                f"{name}: no file {path} in the run directory: fetch it or rerun the write phase"
            ) from error


def _boundaries(slots: NDArray[np.int64], offsets: NDArray[np.int32], length: int) -> NDArray[np.int64]:
    """`cu_seqlens` of slots per sequence, with the rest of each sequence as a segment where there is one."""
    ends = np.concatenate([[0], np.cumsum(slots)])[offsets]
    rest = length - np.diff(ends)
    segments = np.insert(slots, offsets[1:], rest)
    return np.concatenate([[0], np.cumsum(segments[segments > 0])])


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


def _planned_batch(fs: Any, root: str, stage: str) -> int | None:
    """The batch in tokens that the plan has for a stage, if the run directory holds a plan."""
    for name in sorted(fs.glob(f"{root}/manifest/stages/*.parquet")):
        with fs.open(name, "rb") as file:
            rows = pq.read_table(file, columns=["stage", "batch_tokens"]).to_pylist()
        return next((int(row["batch_tokens"]) for row in rows if row["stage"] == stage), None)
    return None


def _stage_shards(fs: Any, root: str, stage: str) -> pa.Table:
    """Manifest rows of a stage's shards, sorted by name."""
    files = sorted(fs.glob(f"{root}/manifest/shards/*.parquet"))
    if not files:
        raise ShardError(f"{root}: no manifest/shards/*.parquet here: is this a run directory, and written?")
    tables = []
    for name in files:
        try:
            with fs.open(name, "rb") as file:
                tables.append(pq.read_table(file).select(SHARDS.names).cast(SHARDS))
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise ShardError(f"{name}: not a manifest of shards: {error}") from error
    table = pa.concat_tables(tables)
    stages = sorted(set(table["stage"].to_pylist()))
    if stage not in stages:
        near = difflib.get_close_matches(stage, stages, n=3, cutoff=0.4)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise ValueError(f"no stage {stage!r}{hint}; this run has: {', '.join(stages) or 'none'}")
    table = table.filter(pc.equal(table["stage"], stage)).sort_by("shard")
    if min(table["sequences"].to_pylist()) < 1 or min(table["sequence_length"].to_pylist()) < 1:
        raise ShardError(f"stage {stage!r}: the manifest lists a shard without sequences")
    if len(set(table["shard"].to_pylist())) < len(table):
        raise ShardError(f"stage {stage!r}: the manifest lists a shard twice")
    return table


def _relative(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "://" in path:
        raise ShardError(f"{path}: a shard's path is relative to the run directory and stays inside it")
    return str(parts)

"""One sequence of a shard in reading order, with the documents it is made of: for looking, not for training.

A sequence costs one memory-mapped read of its tokens, and a permutation of them where the shard is stored
in a zig-zag order. A trainer reads through `shards.loader`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shards.format import PER_DOCUMENT, ShardError, ShardHeader, read_header


@dataclass(frozen=True)
class Sequence:
    """The columns of one row; the lists have an entry per document piece, in reading order."""

    tokens: NDArray[np.int32]  # [sequence_length], in reading order
    starts: NDArray[np.int64]  # where each piece begins in them
    lengths: NDArray[np.int64]
    document_ids: list[bytes]
    document_offsets: list[int]
    source_ids: list[int]
    epochs: list[int]


class OpenShard:
    """A memory-mapped shard, a sequence at a time.

    Raises ShardError, naming the shard, for a file that is no shard of this version or is damaged.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        try:
            self._reader: Any = pa.ipc.open_file(pa.memory_map(str(path)))
        except FileNotFoundError as error:
            raise ShardError(f"{name}: there is no file {path}: fetch it or rerun the write phase") from error
        except (pa.ArrowException, OSError) as error:
            raise ShardError(f"{name}: no readable Arrow file ({error}): fetch or write it again") from error
        self.header: ShardHeader = read_header(self._reader.schema, name)

    @property
    def sequences(self) -> int:
        """How many sequences the shard has."""
        full = max(0, self._reader.num_record_batches - 1)
        last = self._batch(full).num_rows if self._reader.num_record_batches else 0
        return int(full * self.header.batch_sequences + last)

    def __getitem__(self, number: int) -> Sequence:
        """Sequence `number` (0..sequences). Raises IndexError outside of these."""
        place, row = divmod(number, self.header.batch_sequences)
        if not 0 <= place < self._reader.num_record_batches:
            raise IndexError(number)
        batch = self._batch(place)
        if row >= batch.num_rows:
            raise IndexError(number)
        lists = {name: batch[name][row].values for name in PER_DOCUMENT}
        slots = lists["padded_lengths"].to_numpy().astype(np.int64)
        lengths = lists["document_lengths"].to_numpy().astype(np.int64)
        starts = np.cumsum(slots) - slots
        size = self.header.sequence_length
        sound = len(slots) and (lengths > 0).all() and (slots >= lengths).all() and slots.sum() <= size
        if not sound or len({len(values) for values in lists.values()}) > 1:
            raise ShardError(
                f"{self._name}: sequence {number} has broken boundaries: fetch or write the shard again"
            )
        stored = batch["tokens"][row].values.to_numpy()
        tokens = stored
        if (order := reading_order(self.header, starts)) is not None:
            tokens = np.empty_like(stored)
            tokens[order] = stored
        return Sequence(
            tokens=tokens,
            starts=starts,
            lengths=lengths,
            document_ids=lists["document_ids"].to_pylist(),
            document_offsets=lists["document_offsets"].to_pylist(),
            source_ids=lists["source_ids"].to_pylist(),
            epochs=lists["epochs"].to_pylist(),
        )

    def _batch(self, place: int) -> pa.RecordBatch:
        try:
            batch = self._reader.get_batch(place)
            batch.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            raise ShardError(
                f"{self._name}: record batch {place} is damaged ({error}): fetch or write the shard again"
            ) from error
        return batch


def reading_order(header: ShardHeader, starts: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Where each stored token of a sequence stands in reading order; None if it is stored in that order.

    `starts` are where the sequence's documents begin (`docs/shard-format.md`, "Stored order").
    """
    if header.layout == "contiguous":
        return None
    ranks = header.context_parallel
    first = starts if header.layout == "zigzag_documents" else np.zeros(1, np.int64)
    chunk = np.diff(first, append=header.sequence_length) // (2 * ranks)
    rank = np.arange(ranks)
    numbers = np.stack([rank, 2 * ranks - 1 - rank], axis=1)[:, None, :]  # [ranks, 1, 2]
    begins = (first[None, :, None] + numbers * chunk[None, :, None]).ravel()
    sizes = np.broadcast_to(chunk[None, :, None], (ranks, len(first), 2)).ravel()
    stored = np.cumsum(sizes) - sizes
    order: NDArray[np.int64] = np.repeat(begins - stored, sizes) + np.arange(header.sequence_length)
    return order

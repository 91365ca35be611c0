"""One shard, memory-mapped: rows by number, without a copy.

Opening costs about 0.3 ms; a record batch is checked in full (list offsets, nulls) when first touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shards.format import ShardError, ShardHeader, read_header


@dataclass(frozen=True)
class Rows:
    """Views of one record batch. Documents of row r are [bounds[r], bounds[r + 1]) of the flat columns."""

    tokens: NDArray[np.int32]  # [rows, sequence_length]
    bounds: NDArray[np.int32]  # [rows + 1]
    document_lengths: NDArray[np.int32]
    document_ids: NDArray[np.uint8]  # [documents, 16]


class Shard:
    """An open shard file; views stay valid for as long as they are held.

    Raises ShardError when the file is truncated, damaged, of another version, or not the one expected.
    """

    def __init__(self, path: Path, *, name: str, sequences: int, bytes: int) -> None:
        self._name = name
        self._sequences = sequences
        self._rows: dict[int, Rows] = {}
        check_size(name, path.stat().st_size, bytes)
        try:
            self._reader: Any = pa.ipc.open_file(pa.memory_map(str(path)))
        except (pa.ArrowException, OSError) as error:
            raise ShardError(
                f"{name}: not a readable Arrow file ({error}): fetch or write it again"
            ) from error
        self.header: ShardHeader = read_header(self._reader.schema, name)
        batches = -(-sequences // self.header.batch_sequences)
        if self._reader.num_record_batches != batches:
            raise ShardError(
                f"{name}: {self._reader.num_record_batches} record batches, but {sequences} sequences "
                f"make {batches}: the manifest and the shard do not belong together"
            )

    def row(self, sequence: int) -> tuple[Rows, int]:
        """The record batch that holds a sequence, and its row there."""
        number, row = divmod(sequence, self.header.batch_sequences)
        rows = self._rows.get(number)
        if rows is None:
            rows = self._rows[number] = self._read(number)
        return rows, row

    def _read(self, number: int) -> Rows:
        size = self.header.batch_sequences
        expected = min(size, self._sequences - number * size)
        try:
            batch = self._reader.get_batch(number)
            batch.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            raise ShardError(f"{self._name}: record batch {number} is damaged: {error}") from error
        lengths, ids = batch["document_lengths"], batch["document_ids"]
        if batch.num_rows != expected:
            raise ShardError(f"{self._name}: record batch {number} has {batch.num_rows} rows, not {expected}")
        if any(column.null_count for column in (batch["tokens"], lengths, ids, lengths.values, ids.values)):
            raise ShardError(f"{self._name}: record batch {number} holds nulls")
        if not lengths.offsets.equals(ids.offsets):
            raise ShardError(
                f"{self._name}: record batch {number}: lengths and ids of documents do not match"
            )
        tokens = batch["tokens"].flatten()
        return Rows(
            tokens=tokens.to_numpy().reshape(expected, self.header.sequence_length),
            bounds=lengths.offsets.to_numpy(),
            document_lengths=lengths.values.to_numpy(),
            document_ids=np.frombuffer(ids.values.buffers()[1], np.uint8, len(ids.values) * 16).reshape(
                -1, 16
            )
            if len(ids.values)
            else np.zeros((0, 16), np.uint8),
        )


def check_size(name: str, found: int, expected: int) -> None:
    """Raise ShardError unless a file has the size that the manifest gives."""
    if found != expected:
        what = "truncated" if found < expected else "longer than written"
        raise ShardError(
            f"{name}: {what}: {found} bytes, the manifest says {expected}: "
            "fetch it again or rerun the write phase"
        )

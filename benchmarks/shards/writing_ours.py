"""Our side of writing: the gathering kernel alone, and `write_shards` from documents to published files.

    python -m benchmarks.shards.writing_ours folder --length 4096 --sequences 16384
    python -m benchmarks.shards.writing_ours folder --arrow sequences.npy

Rates are bytes of finished token planes a second. The kernel works on batches of 64 MiB, as the writer does,
with the documents in keyed order, that is, spread over the pool. The floor of the kernel is one copy of as
many tokens, pool to plane; that of the whole adds the writing of one such file, both in this process.
`--arrow` is Arrow's own writer, given sequences that are packed, gathered and in memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import curate_kernels
import numpy as np
import pyarrow as pa

from benchmarks.shards.corpus import PAD, STAGE, documents, write_documents
from shards.format import batch_sequences
from shards.packing import pack_documents

LAYOUTS = {"contiguous": 1, "zigzag": 8, "zigzag_documents": 8}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--arrow", type=Path)
    arguments.add_argument("--length", type=int, default=4096)
    arguments.add_argument("--sequences", type=int, default=1024)
    given = arguments.parse_args()
    if given.arrow:
        print(json.dumps({"measured": {"rate": _arrow(np.load(given.arrow), given.folder)}}))
        return
    table, pool = documents(given.length * given.sequences)
    measured: dict[str, float] = {}
    for layout, ranks in LAYOUTS.items():
        multiple = 2 * ranks if layout == "zigzag_documents" else 1
        measured[f"kernel {layout}"] = _kernel(table, pool, given.length, layout, ranks, multiple)
    plane = np.empty(16 << 20, np.int32)
    source = pool.to_numpy()[: len(plane)]
    plane = plane[: len(source)]
    measured["floor kernel"] = plane.nbytes / _seconds(lambda: np.copyto(plane, source))
    copied = len(pool) * 4 / measured["floor kernel"]
    measured["floor whole"] = len(pool) * 4 / (copied + _seconds(lambda: _write(pool, given.folder)))
    measured["whole"] = _whole(table, pool, given.length, given.folder)
    print(json.dumps({"measured": measured}))


def _kernel(table: pa.Table, pool: pa.Array, length: int, layout: str, ranks: int, multiple: int) -> float:
    """Bytes a second of all planes, in batches as the writer makes them."""
    pieces = pack_documents(
        table["length"],
        table["order_key"],
        sequence_length=length,
        max_documents=1024,
        pad_documents_to=multiple,
    )
    sequence = pieces["sequence"].to_numpy()
    document = pieces["document"].to_numpy()
    begins = table["pool_start"].to_numpy()[document] + pieces["document_offset"].to_numpy()
    lengths, starts = pieces["length"].to_numpy(), pieces["start"].to_numpy()
    rows = batch_sequences(length)
    plans = []
    for first in range(0, int(sequence[-1]) + 1, rows):
        last = min(first + rows, int(sequence[-1]) + 1)
        part = slice(*np.searchsorted(sequence, [first, last]).tolist())
        zeros = np.zeros(part.stop - part.start, np.int32)
        columns = (
            zeros,
            begins[part],
            lengths[part],
            (sequence[part] - first).astype(np.int32),
            starts[part],
        )
        plans.append((last - first, [pa.array(column) for column in columns]))

    def gather() -> None:
        for count, columns in plans:
            curate_kernels.gather_sequences(
                [pool],
                *columns,
                sequences=count,
                sequence_length=length,
                pad=PAD,
                layout=layout,
                context_parallel=ranks,
            )

    return sum(count for count, _ in plans) * length * 4 / _seconds(gather)


def _whole(table: pa.Table, pool: pa.Array, length: int, folder: Path) -> float:
    times = []
    for _ in range(3):
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            started = time.perf_counter()
            manifest = write_documents(Path(scratch), table, pool, length=length)
            times.append(time.perf_counter() - started)
    return len(manifest.sequences) * length * 4 / statistics.median(times[1:])


def _write(pool: pa.Array, folder: Path) -> None:
    path = folder / "floor"
    with path.open("wb") as file:
        file.write(memoryview(pool.buffers()[1]))
    path.unlink()


def _arrow(sequences: Any, folder: Path) -> float:
    length = sequences.shape[1]
    rows = batch_sequences(length)
    schema = pa.schema([pa.field("tokens", pa.list_(pa.int32(), length))], {"stage": STAGE})

    def write() -> None:
        path = folder / "arrow"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            for first in range(0, len(sequences), rows):
                flat = pa.array(sequences[first : first + rows].reshape(-1))
                planes = pa.FixedSizeListArray.from_arrays(flat, length)
                writer.write_batch(pa.record_batch([planes], schema=schema))
        path.unlink()

    return float(sequences.nbytes / _seconds(write))


def _seconds(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(4):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()

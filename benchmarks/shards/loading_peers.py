"""The peers' side of loading, one reader a process.

    python -m benchmarks.shards.loading_peers write mds sequences.npy folder
    python -m benchmarks.shards.loading_peers read mds folder sequences.npy --batch 256
    python -m benchmarks.shards.loading_peers rank mds folder sequences.npy --degree 64

Reading takes every sequence once, in an order drawn from a seed, in batches, several times over; the first
pass fills the page cache and is not counted. The first batch is compared with the file that was written.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shards.peer_formats import READERS, WRITERS, Array, Take, bytes_of, report, write
from benchmarks.shards.reads import disk_bytes, forget


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    verbs = arguments.add_subparsers(dest="verb", required=True)
    writing = verbs.add_parser("write")
    writing.add_argument("peer", choices=WRITERS)
    writing.add_argument("sequences", type=Path)
    writing.add_argument("folder", type=Path)
    reading = verbs.add_parser("read")
    reading.add_argument("peer", choices=READERS)
    reading.add_argument("folder", type=Path)
    reading.add_argument("sequences", type=Path)
    reading.add_argument("--batch", type=int, required=True)
    reading.add_argument("--seconds", type=float, default=2.0)
    rank = verbs.add_parser("rank")
    rank.add_argument("peer", choices=[*READERS, "numpy_part"])
    rank.add_argument("folder", type=Path)
    rank.add_argument("sequences", type=Path)
    rank.add_argument("--degree", type=int, required=True)
    given = arguments.parse_args()
    sequences = np.load(given.sequences, mmap_mode="r")
    if given.verb == "write":
        rows = np.array(sequences)  # in memory, as they come from a tokenizer
        with tempfile.TemporaryDirectory(dir=given.folder.parent) as scratch:
            write(given.peer, rows[:2], Path(scratch) / "warm")  # what it imports is outside of the time
        started = time.perf_counter()
        write(given.peer, rows, given.folder)
        seconds = time.perf_counter() - started
        report({"rate": rows.nbytes / seconds}, bytes=bytes_of(given.folder))
        return
    if given.verb == "rank":
        report({"bytes": _rank_bytes(given.peer, given.folder, sequences, given.degree)})
        return
    count, length = sequences.shape
    take = READERS[given.peer](given.folder, length)
    out = np.zeros((given.batch, length), np.int32)
    random = np.random.default_rng(1)
    order = random.permutation(count)
    batches = [order[i : i + given.batch] for i in range(0, count - given.batch + 1, given.batch)]
    take(batches[0], out)
    if given.peer != "numpy_new" and not np.array_equal(out, sequences[batches[0]]):
        raise SystemExit(f"{given.peer}: these are not the sequences that were written")
    times: list[float] = []
    while len(times) < 2 or sum(times) < given.seconds:
        started = time.perf_counter()
        for batch in batches:
            take(batch, out)
        times.append(time.perf_counter() - started)
    report({"rate": len(batches) * given.batch / statistics.median(times[1:])})


def _rank_bytes(peer: str, folder: Path, sequences: Any, degree: int) -> float:
    """Bytes that the disk gave for one sequence, of which the rank then keeps 1/degree."""
    length = sequences.shape[1]
    part = slice(length // degree, 2 * (length // degree))
    take = _part(folder, length, part) if peer == "numpy_part" else READERS[peer](folder, length)
    out = np.zeros((1, length), np.int32)
    take(np.array([0]), out)  # indexes and headers are read once, not for every sequence
    forget(folder)
    number = len(sequences) // 2
    before = disk_bytes()
    take(np.array([number]), out)
    found = disk_bytes() - before
    if not np.array_equal(out[0, part], sequences[number, part]):
        raise SystemExit(f"{peer}: this is not the part that was written")
    return float(found)


def _part(folder: Path, length: int, part: slice) -> Take:
    """The memory map of which a trainer slices its rank's part by hand."""
    mapped = np.memmap(folder / "tokens.bin", np.int32, "r").reshape(-1, length)

    def take(indices: Array, out: Array) -> None:
        out[0, part] = mapped[indices[0], part]

    return take


if __name__ == "__main__":
    main()

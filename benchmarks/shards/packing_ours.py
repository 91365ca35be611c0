"""Our side of packing: the kernel alone, and all of `pack_documents`, over lengths in memory.

The kernel packs the pieces that every peer packs, without a cap on documents, which no peer has; then with
the cap of 1,024 that shards have. `pack_documents` cuts, packs with the cap, orders and checks; `balanced`,
it also evens out the sums of squared lengths. Each work is done until half a second is over, three times at
least, and the median is taken.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import curate_kernels
import numpy as np
import pyarrow as pa

from benchmarks.shards.lengths import NAMES, cut, draw
from shards.packing import balance, pack_documents

CAP = 1024


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--documents", type=int, required=True)
    arguments.add_argument("--capacities", type=int, nargs="+", default=[8192, 131072])
    arguments.add_argument("--run", type=Path)
    arguments.add_argument("--whole", action="store_true", help="the cap and pack_documents too")
    given = arguments.parse_args()
    measured: dict[str, float] = {}
    for name in NAMES:
        documents = draw(name, given.documents, run=given.run)
        keys = pa.array(np.random.default_rng(2).random(len(documents)))
        for capacity in given.capacities:
            pieces = pa.array(cut(documents, capacity))
            works: dict[str, Callable[[], int]] = {
                "kernel": partial(_kernel, pieces, capacity, len(pieces)),
                "capped": partial(_kernel, pieces, capacity, CAP),
                "whole": partial(_whole, documents, keys, capacity),
                "balanced": partial(_whole, documents, keys, capacity, balanced=True),
            }
            key = f"{name} {capacity}"
            measured[f"{key} floor"] = len(documents) / _seconds(partial(_move, len(pieces)))
            for work in works if given.whole else ("kernel",):
                measured[f"{key} {work} fill"] = int(documents.sum()) / (works[work]() * capacity)
                measured[f"{key} {work} rate"] = len(documents) / _seconds(works[work])
            if given.whole:
                evenness = balance(_packed(documents, keys, capacity, True))
                measured |= {f"{key} balance": evenness.ratio, f"{key} least": evenness.least}
    print(json.dumps({"measured": measured}))


def _kernel(pieces: pa.Array, capacity: int, cap: int) -> int:
    sequence, _ = curate_kernels.best_fit_decreasing(pieces, capacity, max_documents=cap)
    return int(sequence.to_numpy().max()) + 1


def _whole(documents: Any, keys: pa.Array, capacity: int, balanced: bool = False) -> int:
    return int(_packed(documents, keys, capacity, balanced)["sequence"].to_numpy()[-1]) + 1


def _packed(documents: Any, keys: pa.Array, capacity: int, balanced: bool) -> pa.Table:
    return pack_documents(
        pa.array(documents), keys, sequence_length=capacity, max_documents=CAP, balanced=balanced
    )


def _move(count: int) -> None:
    """The memory that a packing has to move: a length in, a sequence and a start out."""
    np.zeros(count, np.int32).copy().copy()


def _seconds(work: Callable[[], Any]) -> float:
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 0.5 and len(times) < 50):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()

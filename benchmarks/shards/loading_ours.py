"""Our side of loading: batches by step from the page cache, and the copies that they are held against.

    python -m benchmarks.shards.loading_ours run sequences.npy --length 4096 --batch 256

Rates are sequences a second, over whole passes in the loader's own order, the first of which is not counted.
`memcpy n` copies as many sequences, one batch after the other, from the mapped file of the same tokens into n
buffers in turn, as many as the loader fills: the fastest that this machine hands them out. As many threads
read as there are cores; nothing is read ahead.
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

import numpy as np

from benchmarks.shards.corpus import STAGE
from shards.loader import Loader

WORKS: dict[str, dict[str, Any]] = {
    "tokens": {"fields": ("tokens",), "boundaries": "eod"},
    "tokens, unverified": {"fields": ("tokens",), "boundaries": "eod", "verify": "never"},
    "positions and tables": {"fields": ("tokens", "positions")},
    "positions and tables, unverified": {"fields": ("tokens", "positions"), "verify": "never"},
    "all fields": {"fields": ("tokens", "positions", "labels", "loss_mask", "segment_ids")},
}


def planes(work: str) -> int:
    """How many buffers of 4 bytes a token a work fills."""
    return len(WORKS[work]["fields"])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("run", type=Path)
    arguments.add_argument("sequences", type=Path)
    arguments.add_argument("--batch", type=int, required=True)
    arguments.add_argument("--seconds", type=float, default=2.0)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    given = arguments.parse_args()
    mapped = np.load(given.sequences, mmap_mode="r")
    batches = len(mapped) // given.batch
    works: dict[str, Callable[[], None]] = {}
    for count in sorted({planes(work) for work in given.works}):
        buffers = [np.zeros_like(mapped[: given.batch]) for _ in range(count)]
        works[f"memcpy {count}"] = partial(_copy, mapped, given.batch, buffers)
    for work in given.works:
        loader = Loader(
            str(given.run),
            stage=STAGE,
            seed=1,
            batch_sequences=given.batch,
            threads=given.threads,
            **WORKS[work],
        )
        _check(loader, mapped)
        works[work] = partial(_pass, loader, batches)
    seconds = _seconds(works, given.seconds * len(works))
    print(json.dumps({"measured": {work: batches * given.batch / took for work, took in seconds.items()}}))


def _check(loader: Loader, mapped: Any) -> None:
    """The batch is the tokens that Arrow's own reader finds in the same shards."""
    batch = loader.batch(0)
    if not np.array_equal(batch.tokens, mapped[loader.order(0)]):
        raise SystemExit("these are not the sequences that were written")


def _pass(loader: Loader, batches: int) -> None:
    for step in range(batches):
        loader.batch(step)


def _copy(mapped: Any, rows: int, buffers: list[Any]) -> None:
    for first in range(0, len(mapped) - rows + 1, rows):
        for buffer in buffers:
            np.copyto(buffer, mapped[first : first + rows])


def _seconds(works: dict[str, Callable[[], None]], enough: float) -> dict[str, float]:
    """Medians over passes that the works make in turn."""
    times: dict[str, list[float]] = {work: [] for work in works}
    begun = time.perf_counter()
    while len(times["memcpy 1"]) < 3 or time.perf_counter() - begun < enough:
        for work, one_pass in works.items():
            started = time.perf_counter()
            one_pass()
            times[work].append(time.perf_counter() - started)
    return {work: statistics.median(found[1:]) for work, found in times.items()}


if __name__ == "__main__":
    main()

"""Our side of resuming, starting and reading a rank's part, one verb a process.

    python -m benchmarks.shards.order_ours rank run --degree 64
    python -m benchmarks.shards.order_ours seek run --step 100000000
    python -m benchmarks.shards.order_ours start run        # or streams, a folder of run directories

`rank`: bytes for one rank's part of one sequence, by the loader's own count and by the disk's, buffered and
around the page cache. `seek`: seconds from a step to its batch, tokens and all, in a loader that is open,
median over steps about the one given; and in a loader that is made for it. `balance`: how even the attention
of a batch is over 8 ranks. `start`: seconds to make a loader
over the manifest of 10^12 tokens and to know the order of its first batch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shards.corpus import STAGE
from benchmarks.shards.reads import disk_bytes, forget
from shards.loader import Loader


def rank(run: Path, degree: int) -> dict[str, float]:
    """Bytes of rank 1 of `degree`, for one sequence: tokens, positions and tables."""
    measured: dict[str, float] = {}
    for way in ("buffered", "direct"):
        loader = Loader(
            str(run),
            stage=STAGE,
            batch_sequences=1,
            context_parallel=(1, degree),
            direct=way == "direct",
        )
        loader.batch(0)  # the footer is read once, not for every sequence
        forget(run / "shards")
        before, tokens, other = disk_bytes(), loader.bytes_read.tokens, loader.bytes_read.other
        loader.batch(1)
        measured[f"{way} disk"] = disk_bytes() - before
        measured[f"{way} tokens"] = loader.bytes_read.tokens - tokens
        measured[f"{way} other"] = loader.bytes_read.other - other
    return measured


def seek(run: Path, step: int) -> dict[str, float]:
    """Seconds to a step's first batch."""
    options: dict[str, Any] = {"stage": STAGE, "seed": 1, "batch_sequences": 64, "read_ahead": 0}
    loader = Loader(str(run), **options)
    loader.next()
    steps = step + np.random.default_rng(1).integers(0, 10**6, 50)
    times = [_seconds(loader, int(one)) for one in steps]
    started = time.perf_counter()
    other = Loader(str(run), rank=3, world_size=16, **options)
    other.seek(step)
    batch = other.next()
    made = time.perf_counter() - started
    if not np.array_equal(batch.sequences, loader.order(step)[12:16]):
        raise SystemExit(f"step {step}: another order at another world size")
    return {"seek": statistics.median(times), "slowest": max(times), "made": made}


def balance(run: Path) -> dict[str, float]:
    """The busiest rank's sum of squared lengths over the mean, median over steps, dealt and as drawn."""
    measured: dict[str, float] = {}
    for way in ("dealt", "drawn"):
        loader = Loader(
            str(run), stage=STAGE, seed=1, world_size=8, batch_sequences=256, balance=way == "dealt"
        )
        steps = np.array([loader.imbalance(step) for step in range(20)])
        measured |= {way: float(np.median(steps)), f"{way}, worst": float(steps.max())}
    return measured


def _seconds(loader: Loader, step: int) -> float:
    started = time.perf_counter()
    loader.seek(step)
    loader.next()
    return time.perf_counter() - started


def start(folder: Path, streams: bool) -> dict[str, float]:
    """Seconds until the first batch's sequences are known."""
    url = {run.name: str(run) for run in sorted(folder.iterdir())} if streams else str(folder)
    weights = {name: 1.0 + place % 7 for place, name in enumerate(url)} if isinstance(url, dict) else None
    started = time.perf_counter()
    loader = Loader(url, stage=STAGE, batch_sequences=1024, weights=weights)
    made = time.perf_counter()
    loader.order(0)
    ordered = time.perf_counter()
    loader.order(10**6)
    return {
        "start": ordered - started,
        "made": made - started,
        "order at 10^6": time.perf_counter() - ordered,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("verb", choices=("rank", "seek", "balance", "start", "streams"))
    arguments.add_argument("run", type=Path)
    arguments.add_argument("--degree", type=int, default=64)
    arguments.add_argument("--step", type=int, default=10**8)
    given = arguments.parse_args()
    if given.verb == "rank":
        measured = rank(given.run, given.degree)
    elif given.verb == "seek":
        measured = seek(given.run, given.step)
    elif given.verb == "balance":
        measured = balance(given.run)
    else:
        measured = start(given.run, given.verb == "streams")
    print(json.dumps({"measured": measured}))


if __name__ == "__main__":
    main()

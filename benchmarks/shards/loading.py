"""Loading from the page cache on one core: random 4K sequences, and batches of a million tokens.

All sides hand out the same tokens in batches of 1,024 sequences of 4K (V4's 18,432 over 18 ranks) or of one
of 1M, each in its own random order. Ours is the loader as a trainer uses it, with what the row says:
checksums of all that is read compared or not; tokens alone, or positions and boundary tables too. The floor
is memcpy in the same process: batches of the same size out of a mapped file of the same tokens, into as
many buffers as ours fills. Targets: 1 million sequences a second and the rate of NumPy's memory map; 0.8 of
memcpy at a million tokens, positions and tables included.
"""

from __future__ import annotations

import os
import sys

from benchmarks.peers import python_of

from .data import Data
from .loading_ours import WORKS, planes
from .rows import Measured, Row, interleaved

PEERS = {
    "numpy": "numpy memmap take",
    "numpy_new": "numpy memmap [indices]",
    "megatron": "Megatron IndexedDataset.get",
    "mds": "MosaicML StreamingDataset[i]",
    "litdata": "LitData TokensLoader",
}
MILLION = 1 << 20
BATCH = 1024  # sequences of 4K
ON_TWO_CORES = ("tokens", "positions and tables")


def run(data: dict[int, Data], *, quick: bool, rounds: int, core: int) -> list[Row]:
    """The rows of this part, at both lengths."""
    return [row for one in data.values() for row in _at(one, 0.5 if quick else 1.0, rounds, core)]


def _at(data: Data, seconds: float, rounds: int, core: int) -> list[Row]:
    batch = 1 if data.length == MILLION else BATCH
    options = ["--batch", batch, "--seconds", seconds]
    sides = {"ours": [sys.executable, "-m", "benchmarks.shards.loading_ours", data.run, data.array, *options]}
    for peer in PEERS:
        command = [python_of("loaders"), "-m", "benchmarks.shards.loading_peers", "read", peer]
        folder = data.peer("numpy" if peer == "numpy_new" else peer)
        sides[peer] = [*command, folder, data.array, *options]
    both = sorted(os.sched_getaffinity(0))[-2:]
    if len(both) == 2:
        sides["two"] = [*sides["ours"], "--threads", 2, "--works", *ON_TWO_CORES]
    found = interleaved(sides, rounds=rounds, cores=[core], cores_of={"two": both})
    rows = []
    for work in WORKS:
        compared = list(PEERS) if planes(work) == 1 else [None]
        rows += [_row(data, batch, work, found["ours"], peer, found.get(peer or "")) for peer in compared]
    if "two" in found:
        rows += [_row(data, batch, work, found["two"], "one core", found["ours"]) for work in ON_TWO_CORES]
    return rows


def _row(data: Data, batch: int, work: str, ours: Measured, peer: str | None, theirs: Measured | None) -> Row:
    """Sequences a second at 4K; at a million tokens the bytes of all that is handed out."""
    million, filled = data.length == MILLION, planes(work)
    scale = 4 * data.length * filled / 1e9 if million else 1.0
    target, target_of = None, "ours"
    if million and work.startswith("positions"):
        target, target_of = 0.8, "share"
    elif not million and peer == "numpy":
        target = 1e6
    key = work if peer == "one core" else "rate"
    spread, peaks = {"ours": [value * scale for value in ours.spread[work]]}, {"ours": ours.peak_bytes}
    if theirs:
        spread["theirs"] = [value * scale for value in theirs.spread[key]]
        peaks["theirs"] = theirs.peak_bytes
    return Row(
        part="million" if million else "loading",
        work=f"{work}, two cores" if peer == "one core" else work,
        input=f"{data.input}, batch {batch}",
        unit="GB/s" if million else "sequences/s",
        ours=ours.median[work] * scale,
        peer="ours on one core" if peer == "one core" else PEERS[peer] if peer else None,
        theirs=theirs.median[key] * scale if theirs else None,
        floor=ours.median[f"memcpy {filled}"] * scale,
        floor_is=f"memcpy of the same batches on one core, into {filled} buffers",
        target=target,
        target_of=target_of,
        peak_bytes=peaks,
        spread=spread,
    )

"""Loading from the page cache on one core: random 4K sequences, and batches of a million tokens.

All sides hand out the same tokens in batches of 4 MiB (256 sequences of 4K, or one of 1M), each in its own
random order. Ours is the loader as a trainer uses it, with what the row says: checksums of all that is read
compared or not; tokens alone, or positions and boundary tables too. The floor is memcpy in the same process:
batches of the same size out of a mapped file of the same tokens, once for tokens alone, twice where positions
are written too. Targets: 1 million sequences a second and the rate of NumPy's memory map; 0.8 of memcpy at a
million tokens, positions and tables included.
"""

from __future__ import annotations

import sys

from benchmarks.peers import python_of

from .data import Data
from .loading_ours import WORKS
from .rows import Row, interleaved

PEERS = {
    "numpy": "numpy memmap take",
    "numpy_new": "numpy memmap [indices]",
    "megatron": "Megatron IndexedDataset.get",
    "mds": "MosaicML StreamingDataset[i]",
    "litdata": "LitData TokensLoader",
}
BATCH_TOKENS = 1 << 20


def run(data: dict[int, Data], *, quick: bool, rounds: int, core: int) -> list[Row]:
    """The rows of this part, at both lengths."""
    return [row for one in data.values() for row in _at(one, 0.5 if quick else 2.0, rounds, core)]


def _at(data: Data, seconds: float, rounds: int, core: int) -> list[Row]:
    batch = BATCH_TOKENS // data.length
    options = ["--batch", batch, "--seconds", seconds]
    sides = {"ours": [sys.executable, "-m", "benchmarks.shards.loading_ours", data.run, data.array, *options]}
    for peer in PEERS:
        command = [python_of("loaders"), "-m", "benchmarks.shards.loading_peers", "read", peer]
        folder = data.peer("numpy" if peer == "numpy_new" else peer)
        sides[peer] = [*command, folder, data.array, *options]
    found = interleaved(sides, rounds=rounds, cores=[core])
    ours = found["ours"]
    rows = []
    million = data.length == BATCH_TOKENS
    # Sequences a second at 4K; at 1M the bytes of all fields: tokens, and positions where they are there.
    for work in WORKS:
        twice = work.startswith("positions")
        scale = data.length * 4 * (2 if twice else 1) / 1e9 if million else 1.0
        memcpy = ours.median["memcpy twice" if twice else "memcpy"] * scale
        compared = list(PEERS) if work.startswith("tokens") else [None]
        for peer in compared:
            theirs = found[peer] if peer else None
            target, target_of = None, "ours"
            if million and twice:
                target, target_of = 0.8, "share"
            elif not million and work.startswith("tokens") and peer == "numpy":
                target = 1e6
            rows.append(
                Row(
                    part="million" if million else "loading",
                    work=work,
                    input=f"{data.input}, batch {batch}",
                    unit="GB/s" if million else "sequences/s",
                    ours=ours.median[work] * scale,
                    peer=PEERS[peer] if peer else None,
                    theirs=theirs.median["rate"] * scale if theirs else None,
                    floor=memcpy,
                    floor_is="memcpy of the same batches" + (", twice" if twice else ""),
                    target=target,
                    target_of=target_of,
                    peak_bytes={"ours": ours.peak_bytes} | ({"theirs": theirs.peak_bytes} if theirs else {}),
                    spread={"ours": [value * scale for value in ours.spread[work]]}
                    | ({"theirs": [value * scale for value in theirs.spread["rate"]]} if theirs else {}),
                )
            )
    return rows

"""Packing: documents a second, and how full sequences get, against what trainers pack with.

Every comparison is of the same lengths: the large input (2 million documents) for what is compiled, a smaller
one for what is written in Python, with ours measured on that as well. What each side does is in
`packing_ours.py` and `packing_peers.py`. The floor is the memory that packing has to move, 12 bytes a piece
(a length in, a sequence and a start out), as fast as NumPy moves it; the search itself is some log2(L)
dependent steps a piece beyond that, so no share near 1 is to be had. Targets: 10 million documents a second,
fill of at least the peer's, and 99.9 % on the sample's lengths at 64K and above. How even the sums of squared
lengths are is held against what the longest piece alone makes of it; over ranks it is the loader's matter
(`order.balance`).
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.peers import pinned_version, python_of

from .lengths import NAMES
from .rows import Measured, Row, interleaved

TITLES = {
    "seqpacker": "seqpacker obfd",
    "trl": "TRL bfd_split",
    "olmo": "OLMo-core InstancePacker",
    "bridge": "Megatron-Bridge first fit decreasing",
    "grain": "grain best fit, 64 bins",
}
PACKAGES = {
    "seqpacker": "seqpacker",
    "trl": "trl",
    "olmo": "ai2-olmo-core",
    "bridge": "megatron-bridge",
    "grain": "grain",
}
TITLES_OF_WORKS = {
    "kernel": "kernel",
    "capped": "kernel, cap 1,024",
    "whole": "pack_documents",
    "balanced": "pack_documents, balanced",
}
TARGET = 10e6
FILL = 0.999
CAPACITIES = (8192, 131072, 1 << 20)


def versions() -> dict[str, str]:
    """The peers' versions."""
    return {package: pinned_version("packing", package) for package in PACKAGES.values()}


def run(*, quick: bool, rounds: int, core: int, lengths_of: Path | None) -> list[Row]:
    """The rows of this part; `lengths_of` is a run directory whose documents stand for the sample's."""
    sizes = {"large": 2_000_000, "medium": 50_000, "small": 5_000}
    if quick:
        sizes = {"large": 200_000, "medium": 10_000, "small": 1_000}
    input_of = {"seqpacker": "large", "trl": "medium", "olmo": "medium", "bridge": "medium", "grain": "small"}
    python = python_of("packing")
    from_run = ["--run", lengths_of.resolve()] if lengths_of else []
    sides = {}
    for peer, size in input_of.items():
        command = [python, "-m", "benchmarks.shards.packing_peers", peer, "--documents", sizes[size]]
        sides[peer] = [*command, *from_run, "--capacities", *CAPACITIES[: 3 if size == "large" else 2]]
    for size, documents in sizes.items():
        command = [sys.executable, "-m", "benchmarks.shards.packing_ours", "--documents", documents]
        large = size == "large"
        sides[size] = [*command, *from_run, "--capacities", *CAPACITIES[: 3 if large else 2]]
        sides[size] += ["--whole"] if large else []
    found = interleaved(sides, rounds=rounds, cores=[core])
    rows: list[Row] = []
    for peer, size in input_of.items():
        rows += _compared(found[size], found[peer], peer, sizes[size])
    return rows


def _compared(ours: Measured, theirs: Measured, peer: str, documents: int) -> list[Row]:
    rows = []
    for name in NAMES:
        for capacity in CAPACITIES:
            key = f"{name} {capacity}"
            if f"{key} rate" not in theirs:
                continue
            if f"{key} balance" in ours and f"{key} balance" in theirs:
                rows.append(_evenness(ours, theirs, peer, key, f"{name}, {documents:,} docs, L={capacity}"))
            for work in TITLES_OF_WORKS:
                if f"{key} {work} rate" not in ours:
                    continue
                about = {
                    "part": "packing",
                    "input": f"{name}, {documents:,} docs, L={capacity}",
                    "peer": TITLES[peer],
                    "peak_bytes": {"ours": ours.peak_bytes, "theirs": theirs.peak_bytes},
                }
                rate, fill = f"{key} {work} rate", f"{key} {work} fill"
                title = TITLES_OF_WORKS[work]
                rows.append(
                    Row(
                        **about,
                        work=f"{title}: rate",
                        unit="docs/s",
                        ours=ours.median[rate],
                        theirs=theirs.median[f"{key} rate"],
                        spread={"ours": ours.spread[rate], "theirs": theirs.spread[f"{key} rate"]},
                        floor=ours.median[f"{key} floor"],
                        floor_is="12 bytes a piece moved by NumPy",
                        target=TARGET if work in ("kernel", "whole") and peer == "seqpacker" else None,
                    )
                )
                rows.append(
                    Row(
                        **about,
                        work=f"{title}: fill",
                        unit="share",
                        ours=ours.median[fill],
                        theirs=theirs.median[f"{key} fill"],
                        target=1.0 if work == "kernel" else FILL if _long(work, name, capacity) else None,
                        target_of="ratio" if work == "kernel" else "ours",
                    )
                )
    return rows


def _evenness(ours: Measured, theirs: Measured, peer: str, key: str, lengths: str) -> Row:
    """How uneven attention is over the sequences: the largest sum of squared lengths over the mean."""
    return Row(
        part="packing",
        work="pack_documents, balanced: largest work",
        input=lengths,
        unit="of the mean",
        better="less",
        ours=ours.median[f"{key} balance"],
        peer=TITLES[peer],
        theirs=theirs.median[f"{key} balance"],
        floor=ours.median[f"{key} least"],
        floor_is="the longest piece alone",
    )


def _long(work: str, name: str, capacity: int) -> bool:
    """Whether these are the lengths and sequences that the target for fill is set for."""
    return work == "whole" and name == "sample" and capacity >= 65536

"""Writing: token planes a second, from documents to published files, against the writers of others.

Ours packs, gathers, lays out, checksums and publishes; the peers' writers get sequences that are packed and
in memory, and only write them. All write to memory (`/dev/shm` where there is one), so that no disk is
measured. The floor of the gathering kernel is one read and one write of the tokens; it also checksums them
(XXH3-64 of every 4,096) and looks after 12 bytes of plan a piece. The floor of the whole adds the writing of
the file.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.peers import python_of

from .corpus import sequences_of, shards
from .rows import Row, interleaved

PEERS = {
    "arrow": "pyarrow's file writer",
    "numpy": "numpy tofile",
    "megatron": "Megatron IndexedDatasetBuilder",
    "mds": "MosaicML MDSWriter",
    "litdata": "LitData BinaryWriter",
}


def run(*, quick: bool, rounds: int, core: int) -> list[Row]:
    """The rows of this part, at 4K and 1M."""
    megabytes = 64 if quick else 256
    memory = Path("/dev/shm")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="writing_") as scratch:
        place = Path(scratch)
        for length in (4096, 1 << 20):
            rows += _at(length, (megabytes << 20) // (4 * length), place, rounds, core)
    return rows


def _at(length: int, sequences: int, place: Path, rounds: int, core: int) -> list[Row]:
    name = f"L={length}, {4 * length * sequences >> 20} MiB"
    shards(place / "run", length=length, sequences=sequences)
    file = place / f"{length}.npy"
    np.save(file, sequences_of(place / "run"))
    shutil.rmtree(place / "run")
    ours = [sys.executable, "-m", "benchmarks.shards.writing_ours", place]
    sides = {"ours": [*ours, "--length", length, "--sequences", sequences], "arrow": [*ours, "--arrow", file]}
    for peer in list(PEERS)[1:]:
        command = [python_of("loaders"), "-m", "benchmarks.shards.loading_peers", "write", peer, file]
        sides[peer] = [*command, place / "out" / peer]
    (place / "out").mkdir()
    found = interleaved(sides, rounds=rounds, cores=[core], after=lambda: _empty(place / "out"))
    shutil.rmtree(place / "out")
    file.unlink()
    mine = found["ours"]
    rows = [
        Row(
            part="writing",
            work=f"gather kernel, {layout}",
            input=name,
            unit="GB/s",
            ours=mine.median[f"kernel {layout}"] / 1e9,
            floor=mine.median["floor kernel"] / 1e9,
            floor_is="one copy of the tokens",
            spread={"ours": [value / 1e9 for value in mine.spread[f"kernel {layout}"]]},
        )
        for layout in ("contiguous", "zigzag", "zigzag_documents")
    ]
    for peer, title in PEERS.items():
        rows.append(
            Row(
                part="writing",
                work="documents to shards",
                input=name,
                unit="GB/s",
                ours=mine.median["whole"] / 1e9,
                peer=title,
                theirs=found[peer].median["rate"] / 1e9,
                floor=mine.median["floor whole"] / 1e9,
                floor_is="one copy of the tokens and one write of the file",
                peak_bytes={"ours": mine.peak_bytes, "theirs": found[peer].peak_bytes},
                spread={
                    "ours": [value / 1e9 for value in mine.spread["whole"]],
                    "theirs": [value / 1e9 for value in found[peer].spread["rate"]],
                },
                note="the peer writes finished sequences; ours packs, gathers and checksums too",
            )
        )
    return rows


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path)

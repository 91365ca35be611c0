"""The data that is loaded: one run directory at each length, and the same tokens in every peer's format.

It lies under `build/benchmark_shards`, on a disk, so that bytes read from it can be counted; a process that
reads it for speed reads it from the page cache.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.measure import ROOT
from benchmarks.peers import python_of

from .corpus import sequences_of, shards
from .peer_formats import WRITERS

FOLDER = ROOT / "build" / "benchmark_shards"


@dataclass(frozen=True)
class Data:
    """Sequences of one length, as our shards and as others have them."""

    folder: Path
    length: int
    sequences: int

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.folder / "run"

    @property
    def array(self) -> Path:
        """The token planes, [sequences, length] int32."""
        return self.folder / "sequences.npy"

    def peer(self, name: str) -> Path:
        """The folder of a peer's format (`peer_formats.WRITERS`)."""
        return self.folder / name

    @property
    def input(self) -> str:
        """What a row says of it."""
        return f"L={self.length}, {4 * self.length * self.sequences >> 20} MiB"


@contextmanager
def prepared(*, quick: bool, keep: bool) -> Iterator[dict[int, Data]]:
    """The data at 4K and 1M tokens, made where it is not there and removed in the end unless `keep`."""
    megabytes = 64 if quick else 512
    try:
        yield {length: _made(length, megabytes) for length in (4096, 1 << 20)}
    finally:
        if not keep:
            shutil.rmtree(FOLDER, ignore_errors=True)


def _made(length: int, megabytes: int) -> Data:
    folder = FOLDER / f"{length}_{megabytes}"
    complete = folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shards(folder / "run", length=length, sequences=(megabytes << 20) // (4 * length))
        np.save(folder / "sequences.npy", sequences_of(folder / "run"))
        for peer in WRITERS:
            command = [python_of("loaders"), "-m", "benchmarks.shards.loading_peers", "write", peer]
            subprocess.run(
                [*command, folder / "sequences.npy", folder / peer],
                check=True,
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
            )
        complete.touch()
    return Data(folder, length, len(np.load(folder / "sequences.npy", mmap_mode="r")))

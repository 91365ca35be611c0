"""Crash and resume with another world size: whether the order goes on as if nothing had happened.

A trainer of so many ranks logs every sequence that it gets, with the XXH3-64 of its tokens, and saves (seed,
step) after every step. It is killed (SIGKILL) in the middle, resumed from what it saved with another number
of ranks, and what both logged up to and from there, read in global order, has to be what one rank logs
without a crash: every sequence, no more, no fewer, bit for bit.

    python -m benchmarks.shards.crash run log state --world-size 4 --steps 200
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import curate_kernels

from shards.loader import Loader

from .corpus import STAGE
from .data import Data
from .rows import Row

BATCH = 48
STEPS = 120
WORLD_SIZES = ((4, 6), (8, 3), (1, 16))


def run(data: Data) -> list[Row]:
    """A row for each pair of world sizes."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="crash_") as scratch:
        place = Path(scratch)
        whole = place / "whole"
        _train(data, whole, place / "whole.state", 1).wait()
        expected = whole.read_text().splitlines()
        for before, after in WORLD_SIZES:
            log, state = place / f"{before}_{after}", place / f"{before}_{after}.state"
            killed_at = _killed(data, log, state, before)
            _train(data, log, state, after).wait()
            same = log.read_text().splitlines() == expected
            rows.append(
                Row(
                    part="crash",
                    work=f"killed at {before} ranks, resumed at {after}",
                    input=f"{data.input}, {STEPS} steps of {BATCH}",
                    unit="same order",
                    ours=float(same),
                    target=1.0,
                    note=f"killed in or after step {killed_at}",
                )
            )
    return rows


def _train(data: Data, log: Path, state: Path, world_size: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.shards.crash", data.run, log, state]
    return subprocess.Popen([*map(str, command), "--world-size", str(world_size)])


def _killed(data: Data, log: Path, state: Path, world_size: int) -> int:
    """Kill a trainer once it has saved a third of its steps; the step that it had saved then."""
    process = _train(data, log, state, world_size)
    while not (state.exists() and json.loads(state.read_text())["step"] > STEPS // 3):
        if process.poll() is not None:
            raise SystemExit(f"the trainer ended by itself ({process.returncode})")
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    if process.wait() != -signal.SIGKILL:
        raise SystemExit("the trainer was done before it was killed: give it more steps")
    return int(json.loads(state.read_text())["step"])


def main() -> None:
    """The trainer: all ranks of a step in turn, then the state; what a crash left of a step is cut off."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("run", type=Path)
    arguments.add_argument("log", type=Path)
    arguments.add_argument("state", type=Path)
    arguments.add_argument("--world-size", type=int, required=True)
    given = arguments.parse_args()
    saved = {"seed": 7, "step": 0}
    if given.state.exists():
        saved = json.loads(given.state.read_text())
    loaders = [
        Loader(
            str(given.run),
            stage=STAGE,
            seed=saved["seed"],
            rank=rank,
            world_size=given.world_size,
            batch_sequences=BATCH,
        )
        for rank in range(given.world_size)
    ]
    for loader in loaders:
        loader.seek(saved["step"])
    kept = given.log.read_text().splitlines()[: saved["step"] * BATCH] if given.log.exists() else []
    given.log.write_text("".join(f"{line}\n" for line in kept))
    with given.log.open("a") as log:
        for _ in range(saved["step"], STEPS):
            for loader in loaders:
                batch = loader.next()
                for number, tokens in zip(batch.sequences.tolist(), batch.tokens, strict=True):
                    log.write(f"{batch.step} {number} {curate_kernels.xxh3_64(tokens.tobytes()):016x}\n")
            log.flush()
            os.fsync(log.fileno())
            temporary = given.state.with_suffix(".new")
            temporary.write_text(json.dumps(loaders[0].state()))
            temporary.replace(given.state)


if __name__ == "__main__":
    main()

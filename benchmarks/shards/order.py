"""What training at scale asks of a loader besides speed: a rank's bytes, seeking, starting.

- ranks: bytes that the disk gives for one of 64 context-parallel ranks' part of a sequence of a million
  tokens (64 KiB of tokens), counted by the operating system (`/proc/self/io`) with the page cache emptied of
  the files. The peers hand out whole sequences, as their trainers take them; of NumPy's memory map the part
  alone is sliced too, by hand. Of a mapped file the system reads ahead, as far as the disk is set to
  (`read_ahead_kb`). The floor is the part itself; the target is that and a page.
- seek: seconds from a saved (seed, step) at step 10^8 to its batch. The peers' state is loaded and their next
  sample taken; what is scaled down for them, the row says. Target: 10 ms.
- balance: the largest sum of squared document lengths of a rank over the mean of 8 ranks, with the batch
  dealt out by the loader (`balance=True`) and as it was drawn. Target: 1.05.
- start: seconds until the first batch's order is known, over a synthetic index of 10^12 tokens (`index.py`),
  against Megatron's blended dataset over 1,000 sources of 20,000 tokens, for as many samples as the row says.
  Target: 1 s, and no cache files.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.peers import python_of

from .data import FOLDER, Data
from .index import LENGTH, SEQUENCES, SHARDS_EACH, SOURCES, write_index
from .loading import PEERS
from .rows import Row, interleaved

OURS = [sys.executable, "-m", "benchmarks.shards.order_ours"]
TITLES = PEERS | {"numpy_part": "numpy memmap, the part sliced"}
DEGREE = 64
STEP = 10**8


def ranks(data: Data, *, rounds: int, core: int) -> list[Row]:
    """Bytes read for a context-parallel rank."""
    peers = ("numpy", "numpy_part", "megatron", "mds", "litdata")
    sides = {"ours": [*OURS, "rank", data.run, "--degree", DEGREE]}
    for peer in peers:
        command = [python_of("loaders"), "-m", "benchmarks.shards.loading_peers", "rank", peer]
        folder = data.peer(peer.removesuffix("_part"))
        sides[peer] = [*command, folder, data.array, "--degree", DEGREE]
    found = interleaved(sides, rounds=rounds, cores=[core])
    ours, part = found["ours"].median, 4 * data.length // DEGREE
    rows = []
    for way, counted in (("direct", "disk"), ("buffered", "disk"), ("direct", "tokens")):
        for peer in peers if counted == "disk" else [None]:
            rows.append(
                Row(
                    part="ranks",
                    work=f"{way}, " + ("by the disk's count" if counted == "disk" else "by the loader's"),
                    input=f"L={data.length}, context parallel {DEGREE}",
                    unit="bytes",
                    better="less",
                    ours=ours[f"{way} {counted}"],
                    peer=TITLES[peer] if peer else None,
                    theirs=found[peer].median["bytes"] if peer else None,
                    floor=part,
                    floor_is="the rank's own tokens",
                    target=part + 4096 if counted == "tokens" else None,
                    note=f"beside the tokens, {ours[f'{way} other']:,.0f} bytes of lengths and checksums",
                )
            )
    return rows


def seek(data: Data, *, quick: bool, rounds: int, core: int) -> list[Row]:
    """Seconds from a state to its batch."""
    samples = 1_000_000 if quick else 20_000_000
    peer = [python_of("loaders"), "-m", "benchmarks.shards.resume_peers", "seek"]
    sides = {
        "ours": [*OURS, "seek", data.run, "--step", STEP],
        "mds": [*peer, "mds", data.peer("mds"), "--samples", samples],
        "litdata": [*peer, "litdata", data.peer("litdata"), "--length", data.length],
    }
    found = interleaved(sides, rounds=rounds, cores=[core])
    ours = found["ours"]
    rows = [
        Row(
            part="seek",
            work=title,
            input=f"step {STEP:,}, batch 64 x {data.length}",
            unit="s",
            better="less",
            ours=ours.median[work],
            spread={"ours": ours.spread[work]},
            target=0.01 if work != "made" else None,
        )
        for work, title in (("slowest", "slowest of 50 seeks"), ("made", "new loader, rank 3 of 16"))
    ]
    scaled = {
        "mds": f"the peer resumes 90 % into an epoch of {samples:,} samples",
        "litdata": f"the peer resumes 90 % into {data.sequences:,} samples",
    }
    for name, note in scaled.items():
        rows.append(
            Row(
                part="seek",
                work="seek and its batch",
                input=f"step {STEP:,}, batch 64 x {data.length}",
                unit="s",
                better="less",
                ours=ours.median["seek"],
                peer=PEERS[name],
                theirs=found[name].median["seek"],
                target=0.01,
                peak_bytes={"ours": ours.peak_bytes, "theirs": found[name].peak_bytes},
                spread={"ours": ours.spread["seek"], "theirs": found[name].spread["seek"]},
                note=note,
            )
        )
    return rows


def balance(data: Data, *, core: int) -> list[Row]:
    """How evenly the attention of a batch falls on ranks; always the same, so one round does."""
    found = interleaved({"ours": [*OURS, "balance", data.run]}, rounds=1, cores=[core])["ours"].median
    return [
        Row(
            part="balance",
            work=f"busiest of 8 ranks, {which} of 20 steps",
            input=f"256 sequences of {data.length} a step",
            unit="of the mean",
            better="less",
            ours=found[f"dealt{suffix}"],
            peer="the same batch, not dealt out",
            theirs=found[f"drawn{suffix}"],
            target=1.05,
        )
        for which, suffix in (("median", ""), ("worst", ", worst"))
    ]


def start(*, quick: bool, rounds: int, core: int) -> list[Row]:
    """Seconds to start over many sources."""
    samples = 1_000_000 if quick else 10_000_000
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix="index_") as scratch:
        place = Path(scratch)
        one, many = write_index(place)
        sides = {
            "one": [*OURS, "start", one],
            "many": [*OURS, "streams", many],
        }
        peer = [python_of("loaders"), "-m", "benchmarks.shards.resume_peers", "start"]
        sides["megatron"] = [*peer, place / "megatron", "--sources", SOURCES, "--samples", samples]
        found = interleaved(sides, rounds=rounds, cores=[core])
        shutil.rmtree(place / "megatron")
    theirs = found["megatron"]
    tokens = SOURCES * SHARDS_EACH * SEQUENCES * LENGTH
    titles = {"one": f"one run of {SOURCES} units", "many": f"a mixture of {SOURCES} runs"}
    note = (
        f"the peer builds for {samples:,} samples ({samples * LENGTH / 1e9:,.0f} billion tokens) and leaves "
        f"{theirs.facts['cache_files']:,} cache files of {theirs.facts['cache_bytes']:,} bytes; we leave none"
    )
    return [
        Row(
            part="start",
            work=title,
            input=f"{tokens / 1e12:.2f}e12 tokens in {SOURCES * SHARDS_EACH:,} shards",
            unit="s",
            better="less",
            ours=found[side].median["start"],
            peer=f"Megatron blended builder, {built}",
            theirs=theirs.median[work],
            target=1.0,
            peak_bytes={"ours": found[side].peak_bytes, "theirs": theirs.peak_bytes},
            spread={"ours": found[side].spread["start"], "theirs": theirs.spread[work]},
            note=note,
        )
        for side, title in titles.items()
        for work, built in (("start", "no cache"), ("cached", "its cache there"))
    ]

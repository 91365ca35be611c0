"""What it costs to bring a batch to an Ascend NPU: this shard, a Megatron `.bin`, or an Arrow file of lists.

A model, not a measurement. For one rank and one batch,

    time = submissions * 10 us (2 us each where one call takes many)
         + bytes / bandwidth of the link for blocks of this size
         + 16 KiB tiles per vector core * time of one, or bytes / bandwidth of the whole chip if that is more;
           * 1.28 (910B, 910C) or 1.02 (950PR) where rows begin off the chip's alignment

by the published figures of `constants.yaml`, each with its source and confidence; a result has the lowest
confidence of those that made it. Offsets and lengths are real: the shard's own, those of the same documents
one after the other, and those that pyarrow gives the same rows as lists. No token is read.

The three layouts, for a trainer with CP ranks:

    shard          the rank's slice of tokens, and the lists of lengths; on the device the kernels of `expand`
    megatron_bin   every document by a slice of the memory map, joined to int64; tokens, labels and positions
                   as int64, the loss mask as fp32 (28 bytes a token), whole sequences on every rank, of which
                   the device takes the rank's part; and where CP > 1 and the end of a document is no multiple
                   of CP * lcm(2, TP), a launch for each document, to pad it (MindSpeed 028de58:
                   mindspeed/core/context_parallel/utils.py, get_batch_utils.py)
    list_of_lists  the row as one slice at whatever offset it has; the rest as for megatron_bin

Not priced, all to the credit of the naive layouts: arithmetic on the host (widening, positions, masks), page
faults and storage itself, pageable memory. The block tables of `expand` are priced, though only the shard
has them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from curate_ascend.geometry import Geometry, back_to_back, list_offsets, read_geometry

CHIPS = ("910B", "910C", "950PR")
LAYOUTS = ("shard", "megatron_bin", "list_of_lists")

#: Bytes of one token in MindSpeed's planes: tokens, labels and positions as int64, the loss mask as fp32.
NAIVE_PLANES = (8, 8, 8, 4)


@dataclass(frozen=True)
class Constant:
    """A figure: a number, a table of [KiB, GB/s], or the parameters of a fit."""

    value: Any
    unit: str
    source: str
    confidence: str  # H, M or L


@dataclass(frozen=True)
class Parallel:
    """How a trainer shares out a batch: `rows_per_batch` sequences over the data-parallel ranks together."""

    context_parallel: int = 1
    tensor_parallel: int = 1
    data_parallel: int = 1
    rows_per_batch: int = 1


@dataclass(frozen=True)
class Cost:
    """One step of one layout, for one rank and one batch: the mean over a file's sequences and ranks."""

    step: str  # read (storage), copy (host to device), broadcast (over tensor parallel ranks), device
    layout: str
    bytes: float
    requests: float  # reads or slices, copies, launches
    misaligned: float  # of the rows or slices that it touches, those off the chip's alignment
    page_misses: float  # reads only: those that do not begin at a page
    microseconds: float
    confidence: str
    basis: str


@cache
def constants() -> dict[str, dict[str, Constant]]:
    """Constants by section (`alignment`, `host`, `device`, and each of `CHIPS`) and name."""
    raw = yaml.safe_load((Path(__file__).parent / "constants.yaml").read_text(encoding="utf-8"))
    sections = {**{name: raw[name] for name in ("alignment", "host", "device")}, **raw["chips"]}
    return {
        section: {name: Constant(**fields) for name, fields in entries.items()}
        for section, entries in sections.items()
    }


def link_bandwidth(table: Sequence[Sequence[float]], size: float) -> float:
    """GB/s for blocks of `size` bytes: straight lines between the table's rows ([KiB, GB/s]).

    A block shorter than the first takes as long as the first; longer than the last, it is as fast.
    """
    kib, speed = np.array(table, float).T
    return float(np.interp(size / 1024, kib, speed) * min(1.0, size / 1024 / kib[0]))


def core_move(chip: str, kib: float) -> float:
    """Nanoseconds in which one vector core takes in `kib` KiB of device memory by one move."""
    fit = constants()[chip]["core_move"].value
    if "fixed" in fit:
        return float(max(fit["fixed"] + fit["per_kib"] * kib, fit["least_per_kib"] * kib))
    whole, rest = divmod(kib, fit["unit_kib"])
    time = whole * fit["unit_kib"] * fit["per_kib"]
    if rest:
        time += fit["remainder"] if rest < fit["remainder_below_kib"] else rest * fit["per_kib"]
    return float(max(time, fit["least"]))


def device_move(chip: str, size: float, *, aligned: bool) -> float:
    """Microseconds in which all vector cores together move `size` bytes, in tiles of 16 KiB."""
    if not size:
        return 0.0
    known = constants()[chip]
    tile = constants()["device"]["tile"].value
    tiles = math.ceil(size / 1024 / tile)
    cores = math.ceil(tiles / known["vector_cores"].value) * core_move(chip, min(tile, size / 1024)) / 1e3
    time = max(cores, size / known["stream"].value / 1e3)
    return float(time if aligned else time * known["unaligned"].value)


def price(geometry: Geometry, chip: str, parallel: Parallel) -> list[Cost]:
    """The steps of all three layouts for the sequences of one file.

    Raises ValueError for a chip that is not one of `CHIPS`, and where sequences do not divide over the ranks.
    """
    if chip not in CHIPS:
        raise ValueError(f"chip {chip!r} is not one of {', '.join(CHIPS)}")
    _check(geometry, parallel)
    rows = parallel.rows_per_batch // parallel.data_parallel
    return [
        *_shard(geometry, chip, parallel, rows),
        *_naive("megatron_bin", geometry, chip, parallel, rows),
        *_naive("list_of_lists", geometry, chip, parallel, rows),
    ]


def report(
    run_directory_or_shard_paths: str | Path | Iterable[str | Path],
    *,
    chip: str,
    context_parallel: int,
    tensor_parallel: int = 1,
    data_parallel: int = 1,
    rows_per_batch: int = 1,
) -> list[dict[str, Any]]:
    """A row for every stage and layout: what a batch costs a rank, on average over the stage's sequences.

    `stage`, `layout`, `chip`; `bytes_read` from storage and `bytes_copied` to the device; `descriptors`:
    reads, slices, copies and launches together; `misaligned`: how many of the slices and rows begin off the
    chip's alignment; `microseconds`; `basis`: that it is modelled, and the lowest confidence of the
    constants that made it (H, M or L). Takes a run directory (its `shards/*.arrow`), a shard, or several.

    Raises ValueError where there are no shards, one cannot be read, or its sequences do not divide over the
    ranks.
    """
    parallel = Parallel(context_parallel, tensor_parallel, data_parallel, rows_per_batch)
    stages: dict[str, list[Geometry]] = {}
    for path in _shards(run_directory_or_shard_paths):
        geometry = read_geometry(path)
        stages.setdefault(geometry.stage, []).append(geometry)
    result = []
    for stage in sorted(stages, key=lambda name: stages[name][0].sequence_length):
        total = sum(geometry.rows for geometry in stages[stage])
        costs: dict[tuple[str, str], Cost] = {}
        for geometry in stages[stage]:
            for cost in price(geometry, chip, parallel):
                key = (cost.layout, cost.step)
                costs[key] = _add(costs.get(key), cost, geometry.rows / total)
        for layout in LAYOUTS:
            own = [cost for (name, _), cost in costs.items() if name == layout]
            result.append(
                {
                    "stage": stage,
                    "layout": layout,
                    "chip": chip,
                    "bytes_read": round(costs[layout, "read"].bytes),
                    "bytes_copied": round(costs[layout, "copy"].bytes),
                    "descriptors": _up(sum(cost.requests for cost in own)),
                    "misaligned": _up(sum(cost.misaligned for cost in own)),
                    "microseconds": round(sum(cost.microseconds for cost in own), 1),
                    "basis": f"modelled, confidence {_lowest(cost.confidence for cost in own)}",
                }
            )
    return result


def _shard(geometry: Geometry, chip: str, parallel: Parallel, rows: int) -> list[Cost]:
    ranks, alignment = parallel.context_parallel, constants()[chip]["alignment"].value
    plane = 4 * geometry.sequence_length // ranks
    documents = len(geometry.lengths) / geometry.rows
    following = {"contiguous": 1.0, "zigzag": 2.0, "zigzag_documents": 2 * documents}[geometry.layout]
    after = 4 * following if ranks > 1 else 0.0
    starts = geometry.token_offsets[:, None] + plane * np.arange(ranks)
    lists = 2 + (ranks > 1 and geometry.layout != "contiguous")
    read = _read("shard", rows * (plane + 8 * documents + after), rows * (1 + lists), chip, starts, rows)

    copies = [rows * plane, rows * 8 * documents + 4 * (rows + 1)] + ([rows * after] if after else [])
    off = sum(number * plane % alignment != 0 for number in range(rows))
    copy = _copy("shard", copies, chip, off, batched=True)
    # Each token's next one in, which is off any alignment; three planes and both block tables out.
    aligned = rows * (3 * plane + 4 * (geometry.sequence_length // 4 + geometry.sequence_length // 128))
    time = device_move(chip, aligned, aligned=off == 0) + device_move(chip, rows * plane, aligned=False)
    device = _device("shard", chip, aligned + rows * plane, 4, time, 0)
    return [read, copy, *_broadcast("shard", copies, parallel), device]


def _naive(layout: str, geometry: Geometry, chip: str, parallel: Parallel, rows: int) -> list[Cost]:
    ranks, length = parallel.context_parallel, geometry.sequence_length
    documents = len(geometry.lengths) / geometry.rows
    tokens = 4 * float(geometry.lengths.sum()) / geometry.rows
    if layout == "megatron_bin":
        starts, slices = back_to_back(geometry), rows * documents
    else:
        starts, slices = list_offsets(geometry), float(rows)
    read = _read(layout, rows * tokens, slices, chip, starts, slices)
    copies = [float(rows * length * size) for size in NAIVE_PLANES]
    copy = _copy(layout, copies, chip, 0, batched=False)
    steps = [read, copy, *_broadcast(layout, copies, parallel)]
    if ranks == 1:
        return [*steps, _device(layout, chip, 0, 0, 0.0, 0)]

    # One index_select per plane takes the rank's part: read and written once more.
    alignment = constants()[chip]["alignment"].value
    time, off = 0.0, 0.0
    for size in NAIVE_PLANES:
        begins = size * length // ranks * np.arange(ranks)
        time += device_move(chip, 2 * rows * size * length / ranks, aligned=not (begins % alignment).any())
        off += rows * float((begins % alignment != 0).mean())
    to_pad = _documents_to_pad(geometry, ranks * math.lcm(2, parallel.tensor_parallel)) / geometry.rows
    launches = len(NAIVE_PLANES) + rows * to_pad
    moved = 2 * rows * sum(NAIVE_PLANES) * length / ranks
    return [*steps, _device(layout, chip, moved, launches, time, off)]


def _documents_to_pad(geometry: Geometry, multiple: int) -> int:
    """Documents of sequences in which an end is no multiple of `multiple`: for one, all are padded anew."""
    totals = np.cumsum(geometry.lengths)
    before = totals[geometry.bounds[:-1]] - geometry.lengths[geometry.bounds[:-1]]
    counts = np.diff(geometry.bounds)
    off = (totals - np.repeat(before, counts)) % multiple != 0
    return int(counts[geometry.row_sums(off.astype(np.int64)) > 0].sum())


def _read(
    layout: str, size: float, requests: float, chip: str, starts: NDArray[np.int64], touched: float
) -> Cost:
    """Reads or slices that begin at file offsets like `starts`, `touched` of them a batch."""
    known = constants()
    batched, page = known["host"]["batched"], known["alignment"]["page"]
    alignment = known[chip]["alignment"]
    return Cost(
        step="read",
        layout=layout,
        bytes=size,
        requests=requests,
        misaligned=touched * float((starts % alignment.value != 0).mean()),
        page_misses=touched * float((starts % page.value != 0).mean()),
        microseconds=requests * batched.value,
        confidence=batched.confidence,
        basis=f"{batched.value} us for each read or slice; not the storage itself",
    )


def _copy(layout: str, copies: list[float], chip: str, misaligned: float, *, batched: bool) -> Cost:
    """Copies to the device, each of one block; longer ones than the runtime takes at once are split."""
    known = constants()
    link, split = known[chip]["host_to_device"], known[chip]["split"].value
    each = known["host"]["batched" if batched else "submission"]
    parts = [math.ceil(size / split) for size in copies]
    time = sum(
        number * each.value + size / link_bandwidth(link.value, min(size, split)) / 1e3
        for size, number in zip(copies, parts, strict=True)
    )
    return Cost(
        step="copy",
        layout=layout,
        bytes=sum(copies),
        requests=sum(parts),
        misaligned=misaligned,
        page_misses=0,
        microseconds=time,
        confidence=_lowest((link.confidence, each.confidence)),
        basis=f"{each.value} us a copy and the link's bandwidth at its size",
    )


def _broadcast(layout: str, copies: list[float], parallel: Parallel) -> list[Cost]:
    """What the first tensor-parallel rank sends on to the others, plane by plane."""
    if parallel.tensor_parallel == 1:
        return []
    link, each = constants()["host"]["device_to_device"], constants()["host"]["submission"]
    time = sum(each.value + size / link_bandwidth(link.value, size) / 1e3 for size in copies)
    confidence = _lowest((link.confidence, each.confidence))
    basis = f"{each.value} us a plane and the bandwidth from die to die at its size"
    return [Cost("broadcast", layout, sum(copies), len(copies), 0, 0, time, confidence, basis)]


def _device(layout: str, chip: str, size: float, launches: float, time: float, misaligned: float) -> Cost:
    each, known = constants()["host"]["submission"], constants()[chip]
    used = [each, *(known[name] for name in ("core_move", "stream", "unaligned", "vector_cores"))]
    return Cost(
        step="device",
        layout=layout,
        bytes=size,
        requests=launches,
        misaligned=misaligned,
        page_misses=0,
        microseconds=launches * each.value + time,
        confidence=_lowest(constant.confidence for constant in used),
        basis=f"{each.value} us a launch and {size / 1024:,.0f} KiB in tiles over all vector cores",
    )


def _check(geometry: Geometry, parallel: Parallel) -> None:
    for name, value in vars(parallel).items():
        if value < 1:
            raise ValueError(f"{name} {value} is below 1")
    where = f"{geometry.name} (stage {geometry.stage})"
    if geometry.sequence_length % parallel.context_parallel:
        raise ValueError(
            f"{where}: {geometry.sequence_length} tokens do not divide over {parallel.context_parallel} ranks"
        )
    if geometry.layout != "contiguous" and geometry.context_parallel != parallel.context_parallel:
        raise ValueError(
            f"{where}: its layout {geometry.layout} is made for context_parallel "
            f"{geometry.context_parallel}, not {parallel.context_parallel}"
        )
    if parallel.rows_per_batch % parallel.data_parallel:
        raise ValueError(
            f"a batch of {parallel.rows_per_batch} sequences does not divide over "
            f"{parallel.data_parallel} data-parallel ranks: make rows_per_batch a multiple of that"
        )


def _shards(given: str | Path | Iterable[str | Path]) -> list[Path]:
    if not isinstance(given, (str, Path)):
        paths = [Path(path) for path in given]
    elif Path(given).is_dir():
        paths = sorted((Path(given) / "shards").glob("*.arrow"))
    else:
        paths = [Path(given)]
    if not paths:
        raise ValueError(f"no shards in {given}: give a run directory, with shards/*.arrow in it, or shards")
    return paths


def _add(total: Cost | None, cost: Cost, weight: float) -> Cost:
    """A mean over files, file by file."""
    names = ("bytes", "requests", "misaligned", "page_misses", "microseconds")
    before = {name: 0.0 if total is None else getattr(total, name) for name in names}
    sums = {name: before[name] + weight * getattr(cost, name) for name in names}
    return replace(cost, **sums)


def _lowest(confidences: Iterable[str]) -> str:
    return max(confidences, key="HML".index)


def _up(value: float) -> int:
    """A mean count as a whole number: one miss in a thousand batches is not none."""
    return math.ceil(value - 1e-9)

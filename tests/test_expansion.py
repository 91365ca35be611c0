"""The device kernels give what the shard format says, in both interpreters, and compile for 910B and 950PR.

No NPU or GPU takes part: the kernels run in the interpreters of Triton and of triton-ascend, on a CPU.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import curate_kernels
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from benchmarks.peers import pinned_version, python_of

HERE = Path(__file__).resolve().parent
KERNELS = HERE.parent / "kernels/ascend"
IGNORE = -100

Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Case:
    """Packed sequences, as one rank of a layout holds them."""

    layout: str
    length: int
    rank: int
    ranks: int
    pad_to: int
    rows: list[list[int]]  # true lengths of the documents of each sequence
    programs: int = 5
    tile: int = 1024
    width: int | None = None


def _rows(
    seed: int, length: int, pad_to: int, longest: int, rows: int = 3, most: int = 1000
) -> list[list[int]]:
    """Sequences of random documents, some of them full to the last token, some with room at the end."""
    draw = np.random.default_rng(seed)
    result = []
    for row in range(rows):
        left, documents = length, list[int]()
        while left >= pad_to and len(documents) < most and not (row == 1 and left < length // 3):
            size = int(min(draw.integers(1, longest + 1), left))
            documents.append(size)
            left -= -(-size // pad_to) * pad_to
        result.append(documents)
    return result


CASES = {
    "many short documents": Case("contiguous", 4096, 0, 1, 1, _rows(1, 4096, 1, 9)),
    "documents of every size": Case("contiguous", 4096, 0, 1, 1, _rows(2, 4096, 1, 900)),
    "padded slots": Case("contiguous", 4096, 0, 1, 128, _rows(3, 4096, 128, 700)),
    "one document": Case("contiguous", 8192, 0, 1, 1, [[8192], [1], [5000]]),
    "tiles that are not full": Case("contiguous", 5000, 0, 1, 1, _rows(4, 5000, 1, 700)),
    "more tiles than programs": Case("contiguous", 8192, 0, 1, 16, _rows(5, 8192, 16, 300), programs=2),
    "first of four ranks": Case("contiguous", 8192, 0, 4, 1, _rows(6, 8192, 1, 3000)),
    "third of four ranks": Case("contiguous", 8192, 2, 4, 16, _rows(6, 8192, 16, 300)),
    "last of four ranks": Case("contiguous", 8192, 3, 4, 1, _rows(7, 8192, 1, 50)),
    "zig-zag, first rank": Case("zigzag", 8192, 0, 4, 1, _rows(8, 8192, 1, 3000)),
    "zig-zag, third rank": Case("zigzag", 8192, 2, 4, 16, _rows(9, 8192, 16, 200)),
    "zig-zag, tiles not full": Case("zigzag", 6144, 1, 2, 1, _rows(10, 6144, 1, 700), tile=2048),
    "zig-zag by document": Case("zigzag_documents", 8192, 1, 4, 8, _rows(11, 8192, 8, 1200)),
    "zig-zag by document, short": Case("zigzag_documents", 8192, 3, 4, 8, _rows(12, 8192, 8, 20)),
    "zig-zag by document, last": Case("zigzag_documents", 6144, 1, 2, 4, _rows(13, 6144, 4, 900)),
    "one row too rich": Case("contiguous", 4096, 0, 1, 1, [[5] * 16, [3] * 17, [256] * 16], width=16),
}


def _stored_order(case: Case, ends: list[int]) -> tuple[Ints, list[int]]:
    """Reading-order places of this rank's tokens, and of what follows each chunk (-1: nothing)."""
    chunk = 2 * case.ranks
    spans = [(0, case.length)]
    if case.layout == "zigzag_documents":
        spans = list(zip([0, *ends[:-1]], ends, strict=True))
    pieces, following = [], []
    for begin, end in spans:
        size = (end - begin) // chunk
        for number in (case.rank, chunk - 1 - case.rank):
            pieces.append(np.arange(begin + number * size, begin + (number + 1) * size, dtype=np.int32))
            after = begin + (number + 1) * size
            following.append(after if after < end else -1)
    if case.layout == "contiguous":
        share = case.length // case.ranks
        return np.arange(case.rank * share, (case.rank + 1) * share, dtype=np.int32), []
    return np.concatenate(pieces), following


@dataclass(frozen=True)
class Expected:
    inputs: dict[str, Ints]
    reading: Ints  # tokens in reading order, whole sequences
    orders: Ints  # which of them the rank has, in its order
    planes: dict[str, Ints]
    blocks: dict[int, list[list[int]]]  # by ratio: the starts of every row
    counts: dict[int, list[int]]  # by ratio: blocks of every document


def _expected(case: Case) -> Expected:
    """Document by document and token by token, as `docs/shard-format.md` words it."""
    draw = np.random.default_rng(case.length)
    names = ("tokens", "positions", "segments", "labels")
    planes: dict[str, list[Ints]] = {name: [] for name in names}
    next_tokens: list[int] = []
    reading: list[Ints] = []
    orders: list[Ints] = []
    next_offsets, offsets, padded = [0], [0], []
    blocks: dict[int, list[list[int]]] = {4: [], 128: []}
    counts: dict[int, list[int]] = {4: [], 128: []}
    for documents in case.rows:
        slots = [-(-size // case.pad_to) * case.pad_to for size in documents]
        padded += slots
        ends = np.cumsum(slots).tolist()
        ends[-1] = case.length
        tokens = draw.integers(5, 1 << 17, case.length).astype(np.int32)
        positions, segments = np.empty(case.length, np.int32), np.zeros(case.length, np.int32)
        labels = np.full(case.length, IGNORE, np.int32)
        starts: dict[int, list[int]] = {4: [], 128: []}
        for number, (begin, end, size) in enumerate(zip([0, *ends[:-1]], ends, documents, strict=True)):
            positions[begin:end] = np.arange(end - begin)
            segments[begin : begin + size] = number + 1
            labels[begin : begin + size - 1] = tokens[begin + 1 : begin + size]
            for ratio, rows in starts.items():
                rows += range(begin, begin + size // ratio * ratio, ratio)
                counts[ratio].append(size // ratio)
        for ratio, found in starts.items():
            blocks[ratio].append(found)

        order, after = _stored_order(case, ends)
        reading.append(tokens)
        orders.append(order)
        for name, plane in zip(names, (tokens, positions, segments, labels), strict=True):
            planes[name].append(plane[order])
        if case.layout == "contiguous":
            end = (case.rank + 1) * case.length // case.ranks
            next_tokens.append(int(tokens[end]) if end < case.length else 3)
        else:
            # The whole column, of which the rank's entries lie where the format puts them.
            column = np.full(len(after) * case.ranks, 2, np.int32)
            own = slice(len(after) * case.rank, len(after) * (case.rank + 1))
            column[own] = [tokens[place] if place >= 0 else 3 for place in after]
            next_tokens += column.tolist()
        next_offsets.append(len(next_tokens))
        offsets.append(offsets[-1] + len(documents))

    stacked = {name: np.stack(rows) for name, rows in planes.items()}
    inputs = {
        "tokens": stacked.pop("tokens"),
        "document_lengths": np.array([size for row in case.rows for size in row], np.int32),
        "padded_lengths": np.array(padded, np.int32),
        "offsets": np.array(offsets, np.int32),
    }
    if case.ranks > 1:
        inputs["next_tokens"] = np.array(next_tokens, np.int32)
        if case.layout != "contiguous":
            inputs["next_offsets"] = np.array(next_offsets, np.int32)
    return Expected(inputs, np.stack(reading), np.stack(orders), stacked, blocks, counts)


EXPECTED = {name: _expected(case) for name, case in CASES.items()}


@pytest.fixture(scope="module", params=["triton", "triton_ascend"])
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Ints]]:
    """What the kernels make of every case, in one of the interpreters."""
    folder = tmp_path_factory.mktemp(request.param)
    for number, (name, case) in enumerate(CASES.items()):
        options = {
            "sequence_length": case.length,
            "rank": case.rank,
            "ranks": case.ranks,
            "layout": case.layout,
            "programs": case.programs,
            "tile": case.tile,
            "width": case.width,
        }
        np.savez(folder / f"{number}.npz", options=json.dumps(options), **EXPECTED[name].inputs)
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(KERNELS)}
    run = subprocess.run(
        [python_of(request.param), HERE / "expansion_peer.py", folder],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    package = request.param.replace("_", "-")
    assert run.stdout.split() == [pinned_version(request.param, package)]
    found = {}
    for number, name in enumerate(CASES):
        with np.load(folder / "results" / f"{number}.npz") as file:
            found[name] = {key: file[key] for key in file.files}
    return found


@pytest.mark.peer
@pytest.mark.parametrize("name", [name for name in CASES if name != "one row too rich"])
def test_planes_and_blocks_are_those_of_the_format(results: dict[str, dict[str, Ints]], name: str) -> None:
    expected, found = EXPECTED[name], results[name]
    for plane, values in expected.planes.items():
        np.testing.assert_array_equal(found[plane], values, err_msg=plane)
    for which, ratio in enumerate((4, 128)):
        totals = [len(row) for row in expected.blocks[ratio]]
        assert found["block_totals"][which].tolist() == totals
        assert found["block_counts"][which].tolist() == expected.counts[ratio]
        for row, starts in zip(found[f"starts_{ratio}"], expected.blocks[ratio], strict=True):
            assert row[: len(starts)].tolist() == starts
            assert (row[len(starts) :] == -1).all()


@pytest.mark.peer
def test_a_row_with_more_documents_than_the_table_holds_carries_no_loss(
    results: dict[str, dict[str, Ints]],
) -> None:
    found, expected = results["one row too rich"], EXPECTED["one row too rich"]
    assert (found["labels"][1] == IGNORE).all()
    assert (found["segments"][1] == 0).all()
    assert found["block_totals"][:, 1].tolist() == [-1, -1]
    for row in (0, 2):  # its neighbours are as they should be
        for plane, values in expected.planes.items():
            np.testing.assert_array_equal(found[plane][row], values[row], err_msg=plane)


@pytest.mark.peer
@pytest.mark.parametrize("name", [name for name in CASES if name != "one row too rich"])
def test_the_cpu_kernels_agree(results: dict[str, dict[str, Ints]], name: str) -> None:
    """`curate_kernels` expands whole sequences in reading order; the device has the rank's part of them."""
    case, expected, found = CASES[name], EXPECTED[name], results[name]
    lengths = pa.array(case.rows, pa.list_(pa.int32()))
    planes = curate_kernels.expand(
        pa.array(expected.reading.ravel()),
        lengths,
        sequence_length=case.length,
        pad_documents_to=case.pad_to,
        fields=["positions", "labels", "segment_ids", "loss_mask"],
        ignore_label=IGNORE,
    )

    def own(field: str) -> Ints:
        values = planes[field].to_numpy().reshape(len(case.rows), case.length)
        return np.take_along_axis(values, expected.orders, axis=1)

    np.testing.assert_array_equal(found["positions"], own("positions"))
    np.testing.assert_array_equal(found["segments"], own("segment_ids"))
    np.testing.assert_array_equal(found["labels"], own("labels"))
    np.testing.assert_array_equal(found["labels"] != IGNORE, own("loss_mask") == 1)
    for which, ratio in enumerate((4, 128)):
        starts, counts = curate_kernels.block_starts(
            lengths, case.length, pad_documents_to=case.pad_to, ratio=ratio
        )
        on_device = found[f"starts_{ratio}"]
        assert on_device[on_device >= 0].tolist() == starts.to_pylist()
        assert found["block_counts"][which].tolist() == counts.to_pylist()


@pytest.mark.peer
def test_the_kernels_compile_for_910b_and_950_and_fit_their_memory(tmp_path: Path) -> None:
    """All but the last step, which is closed: on-chip memory (192 and 248 KiB) is planned before it."""

    def endings(tile: int) -> dict[tuple[str, str], str]:
        run = subprocess.run(
            [python_of("triton_ascend"), HERE / "expansion_lowering.py", tmp_path, str(tile)],
            env={**os.environ, "PYTHONPATH": str(KERNELS), "TRITON_CACHE_DIR": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        return {(kernel, target): ending for kernel, target, ending in json.loads(run.stdout)}

    fits = endings(4096)
    assert len(fits) == 10
    assert set(fits.values()) == {"stopped at hivmc"}
    # A tile that is too large is found: the check is one.
    too_large = endings(16384)
    for target in ("Ascend910B2", "Ascend950PR_9589"):
        assert "overflow" in too_large["contiguous", target]

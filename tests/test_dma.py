"""The DMA model gives what its published figures say by hand, for the geometry that real shards have.

Nothing here is measured: the numbers are of the vendor's and others' tables, named beside each.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_shards import corpus, written

from curate_ascend.dma import (
    CHIPS,
    LAYOUTS,
    Constant,
    Cost,
    Parallel,
    constants,
    core_move,
    device_move,
    link_bandwidth,
    price,
    report,
)
from curate_ascend.geometry import back_to_back, list_offsets, read_geometry


def shards(run: Path, lengths: list[int], **options: object) -> list[Path]:
    documents, pools = corpus(lengths)
    defaults = {"sequence_length": 4096, "shard_tokens": 4096 * 8, "max_documents": 1024}
    manifest = written(run, documents, pools, **(defaults | options))
    return [run / row["path"] for row in manifest.shards.to_pylist()]


def step(costs: list[Cost], layout: str, name: str) -> Cost:
    (found,) = [cost for cost in costs if (cost.layout, cost.step) == (layout, name)]
    return found


def test_every_constant_has_a_unit_a_source_and_a_confidence() -> None:
    known = constants()
    assert set(CHIPS) < set(known)
    for section in known.values():
        for constant in section.values():
            assert isinstance(constant, Constant)
            assert constant.unit
            assert len(constant.source) > 20
            assert constant.confidence in ("H", "M", "L")


@pytest.mark.parametrize(
    ("chip", "published"),  # GiB/s by KiB a move: mskpp, csrc/prof_data/resource910b.cpp
    [
        (
            "910B",
            {1: 7.3, 2: 13.5, 4: 23.6, 8: 42.7, 12: 54.6, 16: 68.0, 20: 69.3, 24: 77.1, 32: 77.2, 64: 77.0},
        ),
        ("950PR", {1: 7.3, 2: 14.5, 4: 28.9, 8: 57.5, 12: 85.6, 16: 93.7, 20: 73.1, 24: 87.9, 32: 93.6}),
    ],
)
def test_a_cores_move_is_within_an_eighth_of_the_published_table(
    chip: str, published: dict[int, float]
) -> None:
    for kib, speed in published.items():
        modelled = kib / (1 << 20) / (core_move(chip, kib) / 1e9)
        assert modelled == pytest.approx(speed, rel=0.125)


def test_the_whole_chip_takes_what_the_vendors_sample_took() -> None:
    # data_copy/README.md: 12288 x 12288 fp16 at 1490 GB/s, 1166 with an odd row pitch; 1627 and 1596 on 950.
    size = 12288 * 12288 * 2
    for chip, aligned, odd in (("910B", 1490, 1166), ("910C", 1490, 1166), ("950PR", 1627, 1596)):
        assert device_move(chip, size, aligned=True) == pytest.approx(size / aligned / 1e3, rel=1e-3)
        assert device_move(chip, size, aligned=False) == pytest.approx(size / odd / 1e3, rel=3e-3)


def test_a_link_is_as_fast_as_its_table_says() -> None:
    table = constants()["910C"]["host_to_device"].value  # HIXL, benchmarks/performance.md
    published = {16: 10.0, 64: 31.7, 256: 48.5, 512: 53.9, 1024: 57.2, 2048: 59.8}
    for kib, speed in published.items():
        assert link_bandwidth(table, kib * 1024) == pytest.approx(speed)
    assert link_bandwidth(table, 128 * 1024) == pytest.approx(31.7 + (48.5 - 31.7) * 64 / 192)
    assert link_bandwidth(table, 1 << 30) == pytest.approx(59.8)
    assert 1000 / link_bandwidth(table, 1000) == pytest.approx(16384 / 10.0)  # no faster than the first block


@given(st.sampled_from(CHIPS), st.integers(1, 1 << 28), st.integers(0, 1 << 20), st.booleans())
def test_more_bytes_never_take_less_time(chip: str, size: int, more: int, aligned: bool) -> None:
    assert device_move(chip, size, aligned=aligned) <= device_move(chip, size + more, aligned=aligned)
    assert device_move(chip, size, aligned=True) <= device_move(chip, size, aligned=False)
    for table in (constants()[chip]["host_to_device"].value, constants()["host"]["device_to_device"].value):
        before, after = (bytes_ / link_bandwidth(table, bytes_) for bytes_ in (size, size + more))
        assert before <= after * (1 + 1e-12)


def test_one_document_of_a_million_tokens_over_64_ranks_by_hand(tmp_path: Path) -> None:
    """910C. The table's rows: 64 KiB at 31.7 GB/s, 2 MiB at 59.8; a block below 16 KiB takes 1.6384 us."""
    length = 1 << 20
    (path,) = shards(tmp_path, [length], sequence_length=length, shard_tokens=length)
    costs = price(read_geometry(path), "910C", Parallel(context_parallel=64))

    read, copy, device = (step(costs, "shard", name) for name in ("read", "copy", "device"))
    # 16,384 tokens and the next one, a length and a padded length: three reads of 2 us.
    assert (read.bytes, read.requests, read.microseconds) == (65536 + 4 + 8, 3, 6)
    assert (read.misaligned, read.page_misses) == (0, 0)
    # Tokens; lengths with two offsets; the next token: three copies in one call.
    assert (copy.bytes, copy.requests) == (65536 + (8 + 8) + 4, 3)
    assert copy.microseconds == pytest.approx(3 * 2 + 65536 / 31.7e3 + 2 * 1.6384)
    # Four launches. 3 planes of 64 KiB and 4 * (2^20 / 4 + 2^20 / 128) bytes of tables: the chip's 1490 GB/s
    # outweighs two tiles a core (0.446 us). Tokens, off by one: a tile on four cores, * 1.28.
    tables = 4 * (262144 + 8192)
    moved = (3 * 65536 + tables) / 1490e3 + 1.28 * (124 + 6.2 * 16) / 1e3
    assert device.microseconds == pytest.approx(40 + moved)

    read, copy, device = (step(costs, "megatron_bin", name) for name in ("read", "copy", "device"))
    assert (read.bytes, read.requests, read.microseconds) == (4 << 20, 1, 2)
    # Three planes of 8 MiB and one of 4, each copy 10 us.
    assert copy.bytes == 28 << 20
    assert copy.microseconds == pytest.approx(4 * 10 + (28 << 20) / 59.8e3)
    # The only end, 2^20, is a multiple of 64 * 2: nothing to pad, four slices. 16 or 8 tiles: one a core.
    assert device.requests == 4
    assert device.microseconds == pytest.approx(4 * 10 + 4 * (124 + 6.2 * 16) / 1e3)


def test_documents_that_do_not_end_on_the_multiple_cost_a_launch_each(tmp_path: Path) -> None:
    (path,) = shards(tmp_path, [1024, 1024, 1024, 1024, 1000, 3096])
    geometry = read_geometry(path)
    assert geometry.rows == 2

    def launches(context: int, tensor: int) -> float:
        parallel = Parallel(context_parallel=context, tensor_parallel=tensor)
        return step(price(geometry, "910B", parallel), "megatron_bin", "device").requests

    # 1000 = 8 * 125: a multiple of CP * lcm(2, TP) for CP 4, TP 2, but not for CP 8. Two documents in one
    # row of the two.
    assert launches(4, 2) == 4
    assert launches(8, 1) == 4 + 2 / 2
    assert launches(1, 1) == 0


def test_offsets_are_those_at_which_the_tokens_lie_in_the_file(tmp_path: Path) -> None:
    paths = shards(tmp_path, [700, 4096, 9000, 1, 3, 12000, 4000, 17] * 3, shard_tokens=4096 * 5)
    assert len(paths) > 1
    for path in paths:
        geometry = read_geometry(path)
        table = pa.ipc.open_file(path.read_bytes()).read_all()
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for row, offset in enumerate(geometry.token_offsets.tolist()):
                assert offset % 4096 == 0
                stored = np.frombuffer(data[offset : offset + 4 * 4096], np.int32)
                assert stored.tolist() == table["tokens"][row].as_py()
        assert geometry.lengths.tolist() == table["document_lengths"].combine_chunks().flatten().to_pylist()
        assert np.diff(geometry.bounds).tolist() == [
            len(row) for row in table["document_lengths"].to_pylist()
        ]


def test_misaligned_slices_are_counted_one_by_one(tmp_path: Path) -> None:
    (path,) = shards(tmp_path, [700, 4096, 900, 1, 3, 1200, 4000, 17])
    geometry = read_geometry(path)
    # 4096 / 64 tokens are 256 bytes: every other slice is off 512, none off 128, one in 16 begins at a page.
    for chip, share in (("910B", 0.5), ("910C", 0.5), ("950PR", 0.0)):
        read = step(price(geometry, chip, Parallel(context_parallel=64)), "shard", "read")
        assert read.misaligned == pytest.approx(share)
        assert read.page_misses == pytest.approx(1 - 4096 / (64 * 256) / 4)
    offsets, position = [], 0
    for length in geometry.lengths.tolist():
        offsets.append(position)
        position += 4 * length
    for chip, alignment in (("910B", 512), ("950PR", 128)):
        read = step(price(geometry, chip, Parallel()), "megatron_bin", "read")
        off = sum(offset % alignment != 0 for offset in offsets)
        assert off > 0
        assert read.misaligned * geometry.rows == pytest.approx(off)
    assert back_to_back(geometry).tolist() == offsets


def test_rows_of_lists_lie_where_pyarrow_writes_them(tmp_path: Path) -> None:
    (path,) = shards(tmp_path, [700, 4096, 900, 1, 3, 1200, 4000, 17] * 9, shard_tokens=1 << 20)
    geometry = read_geometry(path)
    tokens = geometry.row_sums(geometry.lengths).tolist()
    rows = pa.table({"input_ids": pa.array([list(range(size)) for size in tokens], pa.list_(pa.int32()))})
    with pa.ipc.new_file(str(tmp_path / "lists.arrow"), rows.schema) as writer:
        for batch in rows.to_batches(max_chunksize=geometry.batch_rows[0]):
            writer.write_batch(batch)
    mapped = pa.memory_map(str(tmp_path / "lists.arrow")).read_buffer()
    found = []
    reader = pa.ipc.open_file(mapped)
    for number in range(reader.num_record_batches):
        lists = reader.get_batch(number)["input_ids"]
        base = lists.values.buffers()[1].address - mapped.address
        found += [base + 4 * offset for offset in lists.offsets.to_pylist()[:-1]]
    assert list_offsets(geometry).tolist() == found


def test_a_run_is_priced_by_stage_and_layout(tmp_path: Path) -> None:
    shards(tmp_path, [3000, 70000, 8000], stage="64K", sequence_length=65536, shard_tokens=65536)
    shards(tmp_path, [700, 4096, 900, 1, 3, 1200, 4000, 17])
    rows = report(tmp_path, chip="910B", context_parallel=16, rows_per_batch=4, data_parallel=2)
    assert [(row["stage"], row["layout"]) for row in rows] == [
        (stage, layout) for stage in ("4K", "64K") for layout in LAYOUTS
    ]
    keys = "stage layout chip bytes_read bytes_copied descriptors misaligned microseconds basis"
    for row in rows:
        assert list(row) == keys.split()
        assert row["basis"] == "modelled, confidence L"
    ours, megatron, lists = rows[3:]
    # Two sequences a rank: a sixteenth of the tokens, and all of them in 28 bytes each.
    assert ours["bytes_copied"] < 2 * 65536 * 4 / 16 * 1.02
    assert megatron["bytes_copied"] == lists["bytes_copied"] == 2 * 65536 * 28
    assert ours["misaligned"] == 0
    assert ours["microseconds"] < min(megatron["microseconds"], lists["microseconds"])
    paths = sorted((tmp_path / "shards").glob("*.arrow"))
    assert report(paths, chip="910B", context_parallel=16, rows_per_batch=4, data_parallel=2) == rows


def test_tensor_parallel_ranks_are_sent_every_plane(tmp_path: Path) -> None:
    (path,) = shards(tmp_path, [4096])
    parallel = Parallel(tensor_parallel=8)
    costs = price(read_geometry(path), "910C", parallel)
    sent = step(costs, "megatron_bin", "broadcast")
    assert (sent.bytes, sent.requests) == (28 * 4096, 4)
    # 32 KiB at 9.7 GB/s (die to die): blocks of 32 KiB three times, and one of 16 KiB that takes as long.
    assert sent.microseconds == pytest.approx(4 * (10 + 32768 / 9.7e3))
    assert not [cost for cost in price(read_geometry(path), "910C", Parallel()) if cost.step == "broadcast"]


def test_what_cannot_be_priced_is_refused_with_what_would_do(tmp_path: Path) -> None:
    options = {"layout": "zigzag", "context_parallel": 8}
    (path,) = shards(tmp_path, [4096, 100], **options)
    assert report(path, chip="910C", context_parallel=8)[0]["misaligned"] == 0
    with pytest.raises(ValueError, match="zigzag is made for context_parallel 8, not 4"):
        report(path, chip="910C", context_parallel=4)
    with pytest.raises(ValueError, match="chip '910A' is not one of 910B, 910C, 950PR"):
        report(path, chip="910A", context_parallel=8)
    with pytest.raises(ValueError, match="4096 tokens do not divide over 7 ranks"):
        report(path, chip="910C", context_parallel=7)
    with pytest.raises(ValueError, match="batch of 3 sequences does not divide over 2"):
        report(path, chip="910C", context_parallel=8, rows_per_batch=3, data_parallel=2)
    with pytest.raises(ValueError, match="tensor_parallel 0 is below 1"):
        report(path, chip="910C", context_parallel=8, tensor_parallel=0)
    with pytest.raises(ValueError, match="no shards in"):
        report(tmp_path / "shards", chip="910C", context_parallel=8)


@pytest.mark.parametrize("kept", [0, 7, 300, 5000, -1, -300])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, kept: int) -> None:
    (path,) = shards(tmp_path, [4096, 100])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"4K-00000-0000\.arrow"):
        report(path, chip="910C", context_parallel=1)


@pytest.mark.parametrize(
    ("before", "after", "match"),
    [
        (b"contiguous", b"contiguoux", "layout 'contiguoux' is not one of contiguous, zigzag"),
        (np.array([100, 3990], "<i4").tobytes(), np.array([0, 3990], "<i4").tobytes(), "do not fit"),
        (np.array([100, 3990], "<i4").tobytes(), np.array([200, 3990], "<i4").tobytes(), "do not fit"),
    ],
)
def test_lengths_and_layouts_that_cannot_be_are_errors(
    tmp_path: Path, before: bytes, after: bytes, match: str
) -> None:
    (path,) = shards(tmp_path, [100, 3990])
    lengths = read_geometry(path).lengths.tolist()
    if lengths == [3990, 100] and len(before) == 8:
        before, after = (part[4:] + part[:4] for part in (before, after))
    data = path.read_bytes()
    assert before in data
    path.write_bytes(data.replace(before, after))
    with pytest.raises(ValueError, match=match):
        report(path, chip="910C", context_parallel=1)


def test_other_arrow_files_are_errors_too(tmp_path: Path) -> None:
    path = tmp_path / "other.arrow"
    for metadata, match in ({}, "version None"), ({"curate.version": "1"}, "version '1', not '2'"):
        schema = pa.schema([("tokens", pa.int32())], metadata)
        with pa.ipc.new_file(str(path), schema) as writer:
            writer.write_batch(pa.record_batch([pa.array([1], pa.int32())], schema=schema))
        with pytest.raises(ValueError, match=match):
            report(path, chip="910C", context_parallel=1)

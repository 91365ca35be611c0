"""Pools larger than memory: groups pack as well as the whole, in bounded memory, without loss."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import curate_kernels
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import pool_packing
from shards.packing import PIECES, pack_documents
from shards.pool_packing import pack_pool

MB = 1 << 20


def batches(lengths, keys, size):
    def pool():
        for at in range(0, len(lengths), size):
            yield pa.array(lengths[at : at + size]), pa.array(keys[at : at + size])

    return pool


def room_for(documents, pieces, sequence_length):
    """The memory limit under which a group has about so many documents and pieces."""
    group = documents * pool_packing.DOCUMENT_BYTES + pieces * pool_packing.PIECE_BYTES
    return pool_packing.FIXED_BYTES + 48 * sequence_length + group


def groups(tmp_path, lengths, keys, *, batch=1000, **options):
    options = {"sequence_length": 64, "max_documents": 8, "directory": tmp_path} | options
    return list(pack_pool(batches(lengths, keys, batch), **options))


@given(
    st.lists(st.integers(0, 200), max_size=60),
    st.sampled_from([1, 16]),
    st.integers(1, 9),
    st.integers(1, 20),
    st.sampled_from([np.float64, np.uint64]),
    st.booleans(),
)
def test_every_token_of_the_pool_lies_in_one_group(tmp_path_factory, lengths, multiple, cap, of, kind, even):
    lengths = np.array(lengths, np.int64)
    keys = np.random.default_rng(0).integers(0, 1 << 50, len(lengths)).astype(kind)
    options = {"max_documents": cap, "pad_documents_to": multiple, "balanced": even}
    options["memory_limit"] = room_for(of, of, 64)
    folder = tmp_path_factory.mktemp("spill")
    tables = groups(folder, lengths, keys, batch=7, **options)
    assert all(table.schema == PIECES for table in tables)
    rows = pa.concat_tables(tables).to_pylist()
    for document, length in enumerate(lengths.tolist()):
        pieces = sorted((r["document_offset"], r["length"]) for r in rows if r["document"] == document)
        at = 0
        for offset, size in pieces:
            assert offset == at
            at += size
        assert at == length
    sequence = [row["sequence"] for row in rows]
    assert sorted(set(sequence)) == list(range(len(set(sequence))))
    assert sequence == sorted(sequence)  # groups do not share sequences
    # How the pool is cut into batches does not show.
    assert groups(folder, lengths, keys, batch=13, **options) == tables
    assert not list(folder.iterdir())


def test_one_group_is_packing_all_at_once(tmp_path):
    lengths = np.random.default_rng(1).integers(0, 300, 5000)
    keys = np.random.default_rng(2).random(5000)
    (table,) = groups(tmp_path, lengths, keys, memory_limit=100 * MB)
    whole = pack_documents(pa.array(lengths), pa.array(keys), sequence_length=64, max_documents=8)
    assert table.combine_chunks() == whole.combine_chunks()


@pytest.mark.parametrize("sequence_length", [8192, 131_072])
def test_groups_fill_as_well_as_the_whole_pool(tmp_path, sequence_length):
    lengths = np.random.default_rng(3).lognormal(6.3, 1.25, 2_000_000).astype(np.int64)
    keys = np.random.default_rng(4).random(len(lengths))
    options = {"sequence_length": sequence_length, "max_documents": 1024}
    whole = pack_documents(pa.array(lengths), pa.array(keys), **options)
    fill = lengths.sum() / ((whole["sequence"][-1].as_py() + 1) * sequence_length)
    limit = room_for(200_000, 200_000, sequence_length)
    tables = groups(tmp_path, lengths, keys, batch=100_000, memory_limit=limit, **options)
    assert len(tables) >= 10
    for table in tables:
        sequence = table["sequence"].to_numpy()
        used = int(sequence[-1] - sequence[0]) + 1
        assert table["length"].to_numpy().sum() / (used * sequence_length) > fill - 0.001
    assert sum(table["length"].to_numpy().sum() for table in tables) == lengths.sum()


IN_LITTLE_MEMORY = """
import json, sys
from pathlib import Path
import numpy as np, pyarrow as pa
from shards.pool_packing import pack_pool

DOCUMENTS, BATCH, LIMIT = 20_000_000, 100_000, int(sys.argv[1])

def pool():
    for batch in range(DOCUMENTS // BATCH):
        random = np.random.default_rng(batch)
        lengths = random.lognormal(6.3, 1.25, BATCH).clip(1, 8192).astype(np.int64)
        yield pa.array(lengths), pa.array(random.random(BATCH))

def peak():
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024

seen = np.full(DOCUMENTS, 1, np.uint8)  # written, so that it is resident before
tokens = -sum(int(np.asarray(lengths).sum()) for lengths, _ in pool())
before, groups = peak(), 0
options = {"sequence_length": 8192, "max_documents": 1024, "directory": Path(sys.argv[2])}
for table in pack_pool(pool, memory_limit=LIMIT, **options):
    groups += 1
    document = table["document"].to_numpy()
    assert (seen[document] == 1).all() and len(np.unique(document)) == len(document)
    seen[document] = 0
    tokens += int(table["length"].to_numpy().sum(dtype=np.int64))
    del table, document
print(json.dumps({"grown": peak() - before, "groups": groups, "missing": int(seen.sum()), "tokens": tokens}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_twenty_million_documents_pack_in_the_memory_they_are_given(tmp_path):
    # Lengths and keys alone are 320 MB, their plan 560 MB.
    limit = 96 * MB
    run = subprocess.run(
        [sys.executable, "-c", IN_LITTLE_MEMORY, str(limit), str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["missing"] == found["tokens"] == 0  # all there, each once
    assert found["groups"] > 10
    assert found["grown"] < limit + 100_000 * 100  # the caller's batch and its copies


def test_a_limit_below_one_sequence_is_refused(tmp_path):
    with pytest.raises(ValueError, match="leaves no room for documents"):
        groups(tmp_path, np.array([1]), np.array([0.5]), memory_limit=MB)
    with pytest.raises(ValueError, match="at most 65536 are made"):
        groups(tmp_path, np.ones(70_000, np.int64), np.ones(70_000), memory_limit=room_for(1, 0, 64))


def test_a_pool_that_changes_between_the_passes_is_refused(tmp_path):
    options = {"sequence_length": 8, "max_documents": 8, "memory_limit": 100 * MB, "directory": tmp_path}

    def changing(second):
        passes = iter([([3, 4, 5], [0.1, 0.2, 0.3]), second])

        def pool():
            lengths, keys = next(passes)
            yield pa.array(lengths, pa.int64()), pa.array(keys)

        return pool

    for second, message in [
        (([3, 4], [0.1, 0.2]), "gave 2 documents, the first 3"),
        (([3, 4, 6], [0.1, 0.2, 0.3]), r"document 2 of the batch \(6 tokens\) was not there"),
        (([3, 4, 5, 5], [0.1, 0.2, 0.3, 0.4]), "was not there"),
        (([3, 4, 5], pa.array([1, 2, 3], pa.uint64())), "other columns"),
    ]:
        with pytest.raises(ValueError, match=message):
            list(pack_pool(changing(second), **options))


@pytest.mark.parametrize(
    ("lengths", "keys", "message"),
    [
        ([1, -1], [0.0, 0.0], "document 1 of the batch has a negative length: -1"),
        ([1, None], [0.0, 0.0], "nulls"),
        ([1, 1], [0.0, float("nan")], "order_key of document 1 of the pool"),
        ([1, 1], [0.0, None], "order_key of document 1 of the pool"),
        ([1, 1], [0.0], "2 lengths has 1 order keys"),
        ([1, 1], ["a", "b"], "double or all uint64"),
    ],
)
def test_a_pool_refuses_columns_that_make_no_sense(tmp_path, lengths, keys, message):
    def pool():
        yield pa.array(lengths, pa.int64()), pa.array(keys)

    with pytest.raises(ValueError, match=message):
        list(pack_pool(pool, sequence_length=8, max_documents=8, memory_limit=100 * MB, directory=tmp_path))


# The dealer


@given(st.lists(st.integers(0, 500), max_size=200), st.integers(1, 7), st.integers(1, 64))
def test_groups_get_the_same_documents_of_every_length(lengths, count, sequence_length):
    dealer = curate_kernels.Dealer(sequence_length)
    column = pa.array(lengths, pa.int64())
    dealer.count(column)
    sizes = dealer.start(count).to_numpy()
    group = dealer.deal(column).to_numpy()
    tails = np.array(lengths, np.int64) % sequence_length
    assert np.bincount(group, minlength=count).tolist() == sizes.tolist()
    assert max(sizes) - min(sizes) <= 1
    for tail in set(tails.tolist()):
        dealt = np.bincount(group[tails == tail], minlength=count)
        assert dealt.max() - dealt.min() <= 1
    tokens = np.bincount(group, weights=tails, minlength=count)
    assert tokens.max() - tokens.min() < sequence_length


def test_the_dealers_passes_come_in_order():
    dealer = curate_kernels.Dealer(8)
    one = pa.array([1])
    with pytest.raises(ValueError, match="start first"):
        dealer.deal(one)
    dealer.count(one)
    with pytest.raises(ValueError, match="at least one group"):
        dealer.start(0)
    dealer.start(2)
    for late in (lambda: dealer.start(2), lambda: dealer.count(one)):
        with pytest.raises(ValueError, match=r"start once|first pass is over"):
            late()
    with pytest.raises(ValueError, match="sequence_length 0"):
        curate_kernels.Dealer(0)

"""Context-parallel ranks: each reads its own part, in any layout, and gets what the whole would give it."""

from __future__ import annotations

import numpy as np
import pytest
from test_shards import corpus, written

from shards.loader import Loader

LENGTH, DEGREE = 1024, 4
FIELDS = ("tokens", "positions", "labels", "loss_mask", "segment_ids")
LAYOUTS = ("contiguous", "zigzag", "zigzag_documents")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same documents, packed alike, stored in each layout."""
    lengths = np.random.default_rng(1).lognormal(4, 1.2, 300).astype(int).tolist()
    folder = tmp_path_factory.mktemp("layouts")
    for layout in LAYOUTS:
        documents, pools = corpus(lengths)
        written(
            folder / layout,
            documents,
            pools,
            sequence_length=LENGTH,
            shard_tokens=LENGTH * 7,
            pad_documents_to=2 * DEGREE,
            layout=layout,
            context_parallel=DEGREE,
        )
    return folder


def load(runs, layout, rank=0, degree=1, **options):
    options = {"stage": "4K", "batch_sequences": 9, "fields": FIELDS, "dtype": "int64"} | options
    return Loader(str(runs / layout), context_parallel=(rank, degree), **options)


def part_of(layout, lengths, rank):
    """Places, in reading order, of the tokens of a rank, by the definition of the layouts."""
    if layout == "contiguous":
        return np.arange(rank * LENGTH // DEGREE, (rank + 1) * LENGTH // DEGREE)
    starts = [0]
    if layout == "zigzag_documents":
        slots = [-(-length // (2 * DEGREE)) * 2 * DEGREE for length in lengths]
        starts = [0, *np.cumsum(slots)[:-1].tolist()]
    places = []
    for start, end in zip(starts, [*starts[1:], LENGTH], strict=True):
        chunk = (end - start) // (2 * DEGREE)
        for number in (rank, 2 * DEGREE - 1 - rank):
            places.append(np.arange(start + number * chunk, start + (number + 1) * chunk))
    return np.concatenate(places)


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("verify", ["always", "never"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_ranks_part_is_that_of_the_whole_sequence(runs, layout, verify, direct):
    whole = load(runs, "contiguous")
    for rank in range(DEGREE):
        loader = load(runs, layout, rank, DEGREE, verify=verify, direct=direct, dtype="int32")
        for step in range(4):
            one, part = whole.batch(step), loader.batch(step)
            np.testing.assert_array_equal(one.sequences, part.sequences)
            np.testing.assert_array_equal(one.boundaries, part.boundaries)
            for row, lengths in enumerate(one.document_lengths.to_pylist()):
                places = part_of(layout, lengths, rank)
                for name in FIELDS:
                    np.testing.assert_array_equal(
                        getattr(one, name)[row][places], getattr(part, name)[row], err_msg=f"{name} {rank}"
                    )


@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_one_rank_reads_a_zigzag_layout_in_reading_order(runs, layout):
    for step in range(4):
        one, other = load(runs, "contiguous").batch(step), load(runs, layout).batch(step)
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_layout_made_for_other_ranks_is_refused(runs):
    with pytest.raises(ValueError, match=r"stored as zigzag for 4 context-parallel ranks, not for 2: use 4"):
        load(runs, "zigzag", 0, 2)
    with pytest.raises(ValueError, match="at most 8 ranks"):
        load(runs, "contiguous", 0, 16)
    with pytest.raises(ValueError, match=r"rank 4 is not in 0\.\.4"):
        load(runs, "contiguous", 4, 4)
    load(runs, "contiguous", 0, 2).batch(0)  # contiguous serves any number


def test_threads_change_nothing(runs):
    one, many = load(runs, "zigzag_documents"), load(runs, "zigzag_documents", threads=3)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(one.batch(2), name), getattr(many.batch(2), name))
    assert one.batch(2).document_lengths == many.batch(2).document_lengths


def test_a_context_parallel_rank_reads_its_share_of_the_bytes(tmp_path):
    """CP 64 on sequences of 1M tokens: 64 KiB of 4 MiB, one token more for a label, and the lengths."""
    million, ranks, batch = 1 << 20, 64, 2
    lengths = np.random.default_rng(5).integers(2_000, 90_000, 60).tolist()
    documents, pools = corpus(lengths)
    written(tmp_path, documents, pools, stage="1M", sequence_length=million, shard_tokens=2 * million)
    whole = Loader(str(tmp_path), stage="1M", batch_sequences=batch, fields=("tokens", "labels"))
    everything = whole.batch(0)
    assert whole.bytes_read.tokens == batch * 4 * million
    for rank in (0, 31, 63):
        loader = Loader(
            str(tmp_path),
            stage="1M",
            batch_sequences=batch,
            fields=("tokens", "labels"),
            context_parallel=(rank, ranks),
        )
        part = loader.batch(0)
        here = slice(rank * million // ranks, (rank + 1) * million // ranks)
        np.testing.assert_array_equal(part.tokens, everything.tokens[:, here])
        np.testing.assert_array_equal(part.labels, everything.labels[:, here])
        share = batch * 4 * million // ranks
        assert share <= loader.bytes_read.tokens <= share + batch * 4
        assert loader.bytes_read.other < batch * 4096
        direct = Loader(
            str(tmp_path),
            stage="1M",
            batch_sequences=batch,
            fields=("tokens", "labels"),
            context_parallel=(rank, ranks),
            direct=True,
        )
        np.testing.assert_array_equal(direct.batch(0).labels, part.labels)
        assert direct.bytes_read.tokens <= share + batch * 4096  # a page for the token of the label

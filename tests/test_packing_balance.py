"""Packing at the lengths of real documents: fill, caps, sources, and equal sums of squared lengths."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import sample_lengths
from hypothesis import given
from hypothesis import strategies as st

from shards.packing import balance, document_multiple, pack_documents

M = 1 << 20


def packed(lengths, *, sequence_length, max_documents=1024, seed=1, **options):
    keys = np.random.default_rng(seed).random(len(lengths))
    return pack_documents(
        pa.array(lengths.astype(np.int64)),
        pa.array(keys),
        sequence_length=sequence_length,
        max_documents=max_documents,
        **options,
    )


def sequences(table):
    return int(table["sequence"].to_numpy()[-1]) + 1


def log_normal(documents, longest, mean=6.3, deviation=1.25):
    draws = np.random.default_rng(5).lognormal(mean, deviation, documents)
    return draws.clip(1, longest).astype(np.int64)


# Fill


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize(
    ("sequence_length", "documents"), [(8192, 20_000), (65536, 20_000), (131_072, 150_000), (M, 1_000_000)]
)
def test_the_samples_own_lengths_fill_as_few_sequences_as_there_can_be(sequence_length, documents, balanced):
    lengths, _ = sample_lengths.draw(documents, seed=3)
    table = packed(lengths, sequence_length=sequence_length, balanced=balanced)
    fewest = -(-int(lengths.sum()) // sequence_length)
    assert fewest >= 300
    assert sequences(table) <= fewest * 1.0003
    assert lengths.sum() / (sequences(table) * sequence_length) > 0.999


@pytest.mark.parametrize("max_documents", [128, 1024, 2048])
@pytest.mark.parametrize("sequence_length", [65536, M])
def test_a_cap_costs_no_more_sequences_than_it_must(sequence_length, max_documents):
    lengths, _ = sample_lengths.draw(100_000, seed=4)
    table = packed(lengths, sequence_length=sequence_length, max_documents=max_documents)
    assert np.bincount(table["sequence"].to_numpy()).max() <= max_documents
    whole = int((lengths // sequence_length).sum())  # pieces that fill a sequence alone
    tails = lengths % sequence_length
    fewest = max(-(-int(tails.sum()) // sequence_length), -(-np.count_nonzero(tails) // max_documents))
    assert sequences(table) <= whole + math.ceil(fewest * 1.001)


# Sources


def sources_by_sequence(sequence, source):
    return np.bincount(np.unique(sequence.astype(np.int64) << 8 | source) >> 8)


@pytest.mark.parametrize("sequence_length", [8192, 65536])
def test_sources_share_sequences_as_often_as_chance_would_have_it(sequence_length):
    lengths, source = sample_lengths.draw(100_000, seed=5)
    table = packed(lengths, sequence_length=sequence_length)
    sequence, source = table["sequence"].to_numpy(), source[table["document"].to_numpy()]
    found = sources_by_sequence(sequence, source)
    together = np.bincount(sequence) > 1
    assert (found[together] > 1).mean() > 0.75
    # By chance: sources dealt anew among pieces whose lengths differ by less than a fifth.
    kind = np.round(np.log2(table["length"].to_numpy()) * 4)
    random = np.random.default_rng(9)
    here, there = (np.lexsort((random.random(len(kind)), kind)) for _ in range(2))
    dealt = np.empty_like(source)
    dealt[here] = source[there]
    assert found.mean() == pytest.approx(sources_by_sequence(sequence, dealt).mean(), rel=0.02)


def test_neither_length_nor_source_tells_the_place_in_a_sequence():
    lengths, source = sample_lengths.draw(100_000, seed=6)
    table = packed(lengths, sequence_length=65536)
    sequence, document = table["sequence"].to_numpy(), table["document"].to_numpy()
    counts = np.bincount(sequence)
    rank = np.arange(len(sequence)) - np.repeat(np.cumsum(counts) - counts, counts)
    place = ((rank + 0.5) / counts[sequence])[counts[sequence] >= 10]
    long = (lengths > np.median(lengths))[document][counts[sequence] >= 10]
    common = (source == np.bincount(source).argmax())[document][counts[sequence] >= 10]
    for group in (long, common):
        error = 1 / math.sqrt(12 * group.sum())
        assert abs(place[group].mean() - 0.5) < 5 * error


# Balance


@pytest.mark.parametrize(
    ("case", "sequence_length", "best_fit", "balanced"),
    [
        # Millions of tokens of documents up to 100K: the sums can be equal, and are.
        (lambda: sample_lengths.draw(300_000, seed=7)[0].clip(1, 100_000), M, 1.03, 1.02),
        (lambda: log_normal(300_000, 100_000, deviation=1.6), M, 1.1, 1.02),
        (lambda: log_normal(300_000, 100_000, mean=8.0, deviation=1.5), M, 1.01, 1.01),
        (lambda: log_normal(300_000, 6_000), 65536, 1.0, 1.02),
    ],
)
def test_sums_of_squares_are_equal_where_the_lengths_allow(case, sequence_length, best_fit, balanced):
    lengths = case()
    plain = packed(lengths, sequence_length=sequence_length)
    even = packed(lengths, sequence_length=sequence_length, balanced=True)
    assert balance(even).least == 1
    assert balance(plain).ratio > best_fit  # so that there was something to do
    assert balance(even).ratio < balanced
    assert sequences(even) == sequences(plain)


def test_a_document_that_outweighs_the_mean_does_not_spoil_the_other_sequences():
    lengths = np.append(log_normal(300_000, 100_000, deviation=1.6), 900_000)
    plain = packed(lengths, sequence_length=M)
    even = packed(lengths, sequence_length=M, balanced=True)
    assert sequences(even) == sequences(plain)
    assert balance(even).least > 10
    assert balance(even).ratio < balance(even).least * 1.01

    def without_the_longest(table):
        sequence = table["sequence"].to_numpy()
        longest = sequence[table["length"].to_numpy().argmax()]
        return balance(table.filter(pa.array(sequence != longest)))

    # The sequence left out still counts as one, an empty one.
    others = sequences(even) / (sequences(even) - 1)
    assert without_the_longest(even).ratio < 1.02 * others
    assert without_the_longest(plain).ratio > 1.1


@given(
    st.lists(st.integers(0, 200), min_size=1, max_size=60),
    st.sampled_from([(16, 1), (64, 1), (64, 16), (96, 8)]),
    st.integers(1, 9),
)
def test_balance_never_costs_a_sequence_nor_loses_a_token(lengths, shape, cap):
    sequence_length, multiple = shape
    options = {"sequence_length": sequence_length, "max_documents": cap, "pad_documents_to": multiple}
    lengths = np.array(lengths)
    plain, even = (packed(lengths, balanced=choice, **options) for choice in (False, True))
    assert even.num_rows == plain.num_rows
    if not even.num_rows:
        return
    assert sequences(even) == sequences(plain)
    pieces = ["document", "document_offset", "length"]
    order = [(name, "ascending") for name in pieces]
    assert even.select(pieces).sort_by(order) == plain.select(pieces).sort_by(order)
    slots = -(-even["length"].to_numpy() // multiple) * multiple
    assert (even["start"].to_numpy() + slots <= sequence_length).all()
    assert np.bincount(even["sequence"].to_numpy()).max() <= cap
    found = balance(even)
    assert 1 <= found.least <= found.ratio * (1 + 1e-12)


def test_balance_is_the_largest_sum_over_the_mean():
    table = pa.table({"sequence": pa.array([0, 0, 1], pa.int32()), "length": pa.array([3, 4, 1], pa.int32())})
    assert balance(table).ratio == 25 / 13
    assert balance(table).least == 16 / 13
    with pytest.raises(ValueError, match="no pieces"):
        balance(table.slice(0, 0))


# Padding multiples


@pytest.mark.parametrize(
    ("context", "tensor", "multiple"), [(1, 1, 2), (1, 8, 8), (4, 1, 8), (4, 3, 24), (64, 8, 512)]
)
def test_documents_padded_to_the_multiple_are_cut_evenly_by_both(context, tensor, multiple):
    assert document_multiple(context, tensor) == multiple
    assert multiple % (2 * context) == 0
    assert multiple // context % tensor == 0


@pytest.mark.parametrize(("context", "tensor"), [(0, 1), (1, 0), (-2, 2)])
def test_degrees_below_one_have_no_multiple(context, tensor):
    with pytest.raises(ValueError, match="at least 1"):
        document_multiple(context, tensor)


@pytest.mark.parametrize("multiple", [16, 128, document_multiple(8, 4)])
def test_padding_is_part_of_what_is_packed(multiple):
    lengths, _ = sample_lengths.draw(50_000, seed=8)
    table = packed(lengths, sequence_length=65536, pad_documents_to=multiple)
    slots = -(-table["length"].to_numpy().astype(np.int64) // multiple) * multiple
    assert (table["start"].to_numpy() % multiple == 0).all()
    assert slots.sum() / (sequences(table) * 65536) > 0.999

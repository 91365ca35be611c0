"""Packing, layout and permutation: what the kernels and the plan promise, on any input."""

from __future__ import annotations

import itertools

import curate_kernels
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.order import keyed_seed
from shards.packing import pack_documents

NO_CAP = 1 << 30


def best_fit(lengths: list[int], capacity: int, cap: int = NO_CAP) -> tuple[list[int], list[int]]:
    array = pa.array(lengths, pa.int32())
    sequence, start = curate_kernels.best_fit_decreasing(array, capacity, max_documents=cap)
    assert sequence.type == start.type == pa.uint32()
    return sequence.to_pylist(), start.to_pylist()


def fewest_bins(lengths: list[int], capacity: int) -> int:
    """The optimum, by trying every bin for every item (small inputs only)."""
    best = len(lengths)

    def go(i: int, bins: list[int]) -> None:
        nonlocal best
        if len(bins) >= best:
            return
        if i == len(lengths):
            best = len(bins)
            return
        for room in sorted({room for room in bins if room >= lengths[i]}):
            rest = list(bins)
            rest.remove(room)
            go(i + 1, [*rest, room - lengths[i]])
        go(i + 1, [*bins, capacity - lengths[i]])

    go(0, [])
    return best


def test_best_fit_takes_the_fullest_sequence_with_room():
    # Falling order 6 5 4 3 2 at capacity 10. 6 -> seq 0 (room 4); 5 -> seq 1 (room 5); 4 -> seq 0, the
    # fullest that takes it; 3 -> seq 1 at 5; 2 -> seq 1 at 8.
    assert best_fit([6, 3, 4, 5, 2], 10) == ([0, 1, 0, 1, 1], [0, 5, 6, 0, 8])


def test_items_of_one_length_are_placed_in_the_order_given():
    assert best_fit([4, 4, 4, 4, 4], 8) == ([0, 0, 1, 1, 2], [0, 4, 0, 4, 0])


def test_a_sequence_at_its_cap_is_closed():
    sequence, _ = best_fit([1] * 10, 100, cap=4)
    assert sorted(sequence) == [0] * 4 + [1] * 4 + [2] * 2


def test_long_and_short_documents_are_spread_when_the_cap_would_leave_sequences_empty():
    # Best fit pairs the ten 50s into 5 full sequences and then closes ten of 11 short ones: 15 sequences.
    # Ten are enough: each takes one 50 and ten 5s.
    sequence, _ = best_fit([50] * 10 + [5] * 100, 100, cap=11)
    assert set(np.bincount(sequence)) == {11}
    assert max(sequence) + 1 == 10


@given(
    st.integers(1, 300).flatmap(
        lambda capacity: st.tuples(st.just(capacity), st.lists(st.integers(1, capacity), max_size=200))
    )
)
def test_sequences_are_those_of_best_fit_one_item_at_a_time(case):
    capacity, lengths = case
    filled: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [number for number, used in enumerate(filled) if used + length <= capacity]
        if fitting:
            filled[max(fitting, key=lambda number: filled[number])] += length
        else:
            filled.append(length)
    sequence, _ = best_fit(lengths, capacity)
    # Which of two equally full sequences is taken is free, and changes nothing.
    assert sorted(np.bincount(sequence, weights=lengths).tolist() if lengths else []) == sorted(filled)


@given(
    st.integers(1, 300).flatmap(
        lambda capacity: st.tuples(st.just(capacity), st.lists(st.integers(1, capacity), max_size=200))
    ),
    st.one_of(st.integers(1, 12), st.just(NO_CAP)),
)
def test_every_item_lies_once_without_overlap_overflow_or_breaking_the_cap(case, cap):
    capacity, lengths = case
    sequence, start = best_fit(lengths, capacity, cap)
    assert len(sequence) == len(start) == len(lengths)
    assert (sequence, start) == best_fit(lengths, capacity, cap)
    assert set(sequence) == set(range(len(set(sequence))))  # numbered without holes
    for number in set(sequence):
        spans = sorted((start[i], lengths[i]) for i in range(len(lengths)) if sequence[i] == number)
        assert len(spans) <= cap
        ends = [at + length for at, length in spans]
        assert [at for at, _ in spans] == [0, *ends[:-1]]  # no gap and no overlap
        assert ends[-1] <= capacity
    # Sequences are numbered by first use, longest item first.
    falling = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    seen = list(dict.fromkeys(sequence[i] for i in falling))
    assert seen == sorted(seen)


@settings(max_examples=150)
@given(
    st.integers(5, 60).flatmap(
        lambda capacity: st.tuples(
            st.just(capacity), st.lists(st.integers(1, capacity), min_size=1, max_size=8)
        )
    )
)
def test_sequences_stay_within_the_bound_of_best_fit_decreasing(case):
    # Johnson 1973: 11/9 OPT + a constant; for the few sequences of these cases the constant is below 1.
    capacity, lengths = case
    used = max(best_fit(lengths, capacity)[0]) + 1
    assert used <= 11 / 9 * fewest_bins(lengths, capacity) + 1


@pytest.mark.parametrize(("capacity", "fill"), [(4096, 0.9999), (65536, 0.999), (1 << 20, 0.995)])
def test_log_normal_lengths_fill_sequences(capacity, fill):
    lengths = np.random.default_rng(5).lognormal(6.3, 1.25, 200_000).astype(np.int32).clip(1, capacity)
    sequence, _ = curate_kernels.best_fit_decreasing(pa.array(lengths), capacity, max_documents=1024)
    counts = np.bincount(sequence.to_numpy())
    assert counts.max() <= 1024
    assert lengths.sum(dtype=np.int64) / (len(counts) * capacity) > fill


@pytest.mark.parametrize(
    ("lengths", "capacity", "cap", "message"),
    [
        ([0], 8, 4, "item 0: length 0"),
        ([1, 9], 8, 4, "item 1: length 9"),
        ([-(2**31)], 8, 4, "length -2147483648"),
        ([1], 0, 4, "capacity 0"),
        ([1], -5, 4, "capacity -5"),
        ([1], 1 << 40, 4, "capacity"),
        ([1], 8, 0, "max_documents 0"),
        ([None], 8, 4, "nulls"),
    ],
)
def test_impossible_lengths_are_refused(lengths, capacity, cap, message):
    with pytest.raises(ValueError, match=message):
        best_fit(lengths, capacity, cap)


# The plan


def plan(lengths, keys=None, **options):
    keys = np.arange(len(lengths), dtype=np.float64) if keys is None else keys
    options = {"sequence_length": 10, "max_documents": 1024} | options
    return pack_documents(pa.array(lengths, pa.int64()), pa.array(keys), **options)


def test_a_long_document_is_cut_into_full_pieces_and_one_tail():
    table = plan([23], sequence_length=10)
    assert table.select(["document", "document_offset", "length", "start"]).to_pydict() == {
        "document": [0, 0, 0],
        "document_offset": [0, 10, 20],
        "length": [10, 10, 3],
        "start": [0, 0, 0],
    }


def test_a_document_without_tokens_has_no_piece():
    assert plan([0, 4, 0])["document"].to_pylist() == [1]
    assert plan([]).num_rows == 0


def test_documents_of_a_sequence_lie_in_keyed_order():
    table = plan([2, 5, 3], keys=np.array([7, 9, 8], np.uint64))
    assert table["document"].to_pylist() == [0, 2, 1]
    assert table["start"].to_pylist() == [0, 2, 5]


def test_slots_are_rounded_up():
    table = plan([3, 3, 8], sequence_length=16, pad_documents_to=8)
    assert sorted(zip(table["sequence"].to_pylist(), table["start"].to_pylist(), strict=True)) == [
        (0, 0),
        (0, 8),
        (1, 0),
    ]
    with pytest.raises(ValueError, match="divide"):
        plan([3], sequence_length=10, pad_documents_to=4)


@given(
    st.lists(st.integers(0, 90), max_size=80),
    st.sampled_from([1, 2, 8]),
    st.sampled_from([8, 16, 64]),
    st.integers(1, 9),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_no_token_is_lost_and_no_sequence_overflows(
    lengths, multiple, sequence_length, cap, balanced, random
):
    keys = [random.random() for _ in lengths]
    options = {"sequence_length": sequence_length, "max_documents": cap, "pad_documents_to": multiple}
    options["balanced"] = balanced
    table = plan(lengths, np.array(keys), **options)
    rows = table.to_pylist()
    assert rows == sorted(rows, key=lambda row: (row["sequence"], row["start"]))
    for document, length in enumerate(lengths):
        pieces = sorted((r["document_offset"], r["length"]) for r in rows if r["document"] == document)
        ends = [0, *itertools.accumulate(size for _, size in pieces)]
        assert [offset for offset, _ in pieces] == ends[:-1]  # contiguous from the first token
        assert ends[-1] == length
    for _, group in itertools.groupby(rows, key=lambda row: row["sequence"]):
        at, count = 0, 0
        for row in group:
            assert row["start"] == at
            at += -(-row["length"] // multiple) * multiple
            count += 1
        assert at <= sequence_length
        assert count <= cap
    # The plan follows the documents, not the order in which they are listed.
    again = plan(lengths[::-1], np.array(keys[::-1]), **options)
    if len(set(keys)) == len(keys):
        document = (len(lengths) - 1 - again["document"].to_numpy()).tolist()
        assert document == table["document"].to_pylist()
        assert again.drop(["document"]) == table.drop(["document"])


def test_keys_order_documents_as_numbers_do():
    below, above = [-np.inf, -2.0, -1e-300], [0.0, 5e-324, 1.0, np.inf]
    for keys in (below + above, [*below, -0.0, *above[1:]]):
        assert plan([1] * 7, np.array(keys))["document"].to_pylist() == list(range(7))
        assert plan([1] * 7, np.array(keys[::-1]))["document"].to_pylist() == list(range(7))[::-1]
    assert plan([1, 1], np.array([0.0, -0.0]))["document"].to_pylist() == [0, 1]  # equal: as given
    huge = np.array([2**64 - 1, 2**63, 2**63 - 1], np.uint64)
    assert plan([1, 1, 1], huge)["document"].to_pylist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("lengths", "message"), [([2**62], "pieces of 10 tokens are too many"), ([2**63 - 1] * 40, "too many")]
)
def test_more_pieces_than_a_plan_can_number_are_refused(lengths, message):
    with pytest.raises(ValueError, match=message):
        plan(lengths)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1], [0.5], 8), {"pad_documents_to": 3}, "does not divide 8"),
        (([1], [0.5], 8), {"pad_documents_to": 0}, "does not divide 8"),
        (([1], [0.5], 8), {"max_documents": 0}, "max_documents 0"),
        (([1], [0.5], 0), {}, "capacity 0"),
        (([1, 1], [0.5], 8), {}, "2 lengths but 1 order keys"),
        (([None], [0.5], 8), {}, "lengths holds nulls"),
        (([1], [None], 8), {}, "order_key holds nulls"),
        (([-1], [0.5], 8), {}, "document 0 has a negative length"),
    ],
)
def test_the_kernel_trusts_no_caller(arguments, options, message):
    lengths, keys, sequence_length = arguments
    with pytest.raises(ValueError, match=message):
        curate_kernels.pack(
            pa.array(lengths, pa.int64()), pa.array(keys, pa.float64()), sequence_length, **options
        )


@pytest.mark.parametrize(
    ("lengths", "keys", "message"),
    [
        (pa.array([1, -4]), pa.array([0.0, 1.0]), "document 1 has a negative length"),
        (pa.array([1, None]), pa.array([0.0, 1.0]), "nulls"),
        (pa.array([1, 1]), pa.array([0.0, float("nan")]), "order_key of document 1 is NaN"),
        (pa.array([1, 1]), pa.array([0.0]), "2 lengths but 1"),
        (pa.array([1], pa.int32()), pa.array([0.0]), "must be int64"),
        (pa.array([1]), pa.array(["a"]), "must be double or uint64"),
    ],
)
def test_a_plan_refuses_columns_that_make_no_sense(lengths, keys, message):
    with pytest.raises(ValueError, match=message):
        pack_documents(lengths, keys, sequence_length=8, max_documents=4)


# The planes

I32, I64 = pa.int32(), pa.int64()


def gather(pools, pieces, *, sequences=2, sequence_length=6, pad=-1):
    """`pieces` are (pool, pool_start, length, sequence, start)."""
    columns = [list(column) for column in zip(*pieces, strict=True)] or [[]] * 5
    arrays = [pa.array(c, t) for c, t in zip(columns, (I32, I64, I32, I32, I32), strict=True)]
    return curate_kernels.gather_sequences(
        [pa.array(pool, I32) for pool in pools],
        *arrays,
        sequences=sequences,
        sequence_length=sequence_length,
        pad=pad,
    )[0]


def test_planes_hold_pieces_at_their_place_and_pads_elsewhere():
    pools = [[10, 11, 12, 13], [20, 21, 22]]
    pieces = [(1, 0, 3, 1, 0), (0, 1, 2, 0, 0), (0, 0, 4, 0, 2)]  # not in output order
    planes = gather(pools, pieces)
    assert planes.type == pa.list_(pa.int32(), 6)
    assert planes.to_pylist() == [[11, 12, 10, 11, 12, 13], [20, 21, 22, -1, -1, -1]]


def test_planes_of_a_sliced_pool_read_the_slice():
    pool = pa.array([1, 2, 3, 4], I32).slice(1)
    one = [pa.array([0], t) for t in (I32, I64)]
    rest = [pa.array([v], I32) for v in (3, 0, 0)]
    planes = curate_kernels.gather_sequences([pool], *one, *rest, sequences=1, sequence_length=3, pad=0)[0]
    assert planes.to_pylist() == [[2, 3, 4]]


def test_planes_without_pieces_are_padding():
    assert gather([], [], sequences=1).to_pylist() == [[-1] * 6]
    assert gather([], [], sequences=0).to_pylist() == []


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([(2, 0, 1, 0, 0)], "pool 2 is not in 0..2"),
        ([(-1, 0, 1, 0, 0)], "pool -1"),
        ([(0, 2, 3, 0, 0)], "beyond pool 0 of 4"),
        ([(0, -1, 3, 0, 0)], "at -1 reach"),
        ([(0, 2**63 - 1, 3, 0, 0)], "reach beyond"),
        ([(0, 0, 0, 0, 0)], "length 0"),
        ([(0, 0, -3, 0, 0)], "length -3"),
        ([(0, 0, 3, 2, 0)], "sequence 2 is not in 0..2"),
        ([(0, 0, 3, -1, 0)], "sequence -1"),
        ([(0, 0, 3, 0, 4)], "do not fit"),
        ([(0, 0, 3, 0, -1)], "do not fit"),
        ([(0, 0, 3, 0, 2**31 - 1)], "do not fit"),
        ([(0, 0, 3, 1, 0), (1, 0, 3, 1, 2)], "sequence 1 at 2 is already taken"),
        ([(1, 0, 3, 1, 2), (0, 0, 3, 1, 0)], "already taken"),
    ],
)
def test_a_hostile_plan_is_an_error(pieces, message):
    with pytest.raises(ValueError, match=message):
        gather([[1, 2, 3, 4], [5, 6, 7]], pieces)


@pytest.mark.parametrize("options", [{"sequences": -1}, {"sequence_length": 0}, {"sequence_length": 1 << 40}])
def test_impossible_planes_are_refused(options):
    with pytest.raises(ValueError, match="sequence"):
        gather([[1]], [(0, 0, 1, 0, 0)], **options)


def test_planes_beyond_memory_are_refused():
    with pytest.raises(MemoryError, match="do not fit in memory"):
        gather([[1]], [(0, 0, 1, 0, 0)], sequences=1 << 62, sequence_length=1 << 20)


number = st.one_of(st.integers(-2, 9), st.sampled_from([2**31 - 1, -(2**31)]))


@given(st.lists(st.tuples(number, number, number, number, number), max_size=4))
def test_any_plan_either_fits_exactly_or_raises(pieces):
    pools = [[1, 2, 3, 4], [5, 6, 7]]
    try:
        planes = gather(pools, pieces).to_pylist()
    except ValueError:
        return
    expected = [[-1] * 6, [-1] * 6]
    for pool, pool_start, length, sequence, start in pieces:
        expected[sequence][start : start + length] = pools[pool][pool_start : pool_start + length]
    assert planes == expected
    assert sum(row.count(-1) for row in planes) == 12 - sum(piece[2] for piece in pieces)


# The permutation


def permuted(size, seed, start=0, count=None):
    return curate_kernels.permuted_indices(size, seed, start, size if count is None else count).to_pylist()


def test_the_permutation_is_one_at_every_small_size():
    for size in range(300):
        for seed in (0, 1, 2**64 - 1):
            assert sorted(permuted(size, seed)) == list(range(size))


def test_a_window_of_the_permutation_is_the_window_of_the_whole():
    whole = permuted(1000, 7)
    for start, count in [(0, 1), (999, 1), (1000, 0), (123, 456)]:
        assert permuted(1000, 7, start, count) == whole[start : start + count]


def test_entries_of_a_huge_permutation_are_in_range_and_distinct():
    size = 2**64 - 1
    entries = permuted(size, 3, size - 10_000, 10_000)
    assert len(set(entries)) == 10_000
    assert max(entries) < size
    # Uniform in range: the mean of 10,000 draws is within 5 standard errors of the middle.
    assert abs(np.mean(np.array(entries, np.float64)) / size - 0.5) < 5 / (12 * 10_000) ** 0.5


def test_seeds_give_unrelated_permutations():
    seeds, size = 4000, 20
    first = np.array([permuted(size, seed) for seed in range(seeds)])
    # Every entry is uniform over seeds: chi-square with 19 degrees of freedom, far in the tail at 60.
    for column in first.T:
        counts = np.bincount(column, minlength=size)
        assert ((counts - seeds / size) ** 2 / (seeds / size)).sum() < 60
    # A random permutation has one fixed point on average (variance 1).
    fixed = (first == np.arange(size)).sum(axis=1)
    assert abs(fixed.mean() - 1) < 5 / seeds**0.5
    # Neighbouring seeds agree in a place as often as unrelated permutations do: 1 in `size`.
    agreement = (first[:-1] == first[1:]).mean()
    assert abs(agreement - 1 / size) < 0.005


def test_all_orders_of_few_items_occur():
    assert len({tuple(permuted(4, seed)) for seed in range(2000)}) == 24


@pytest.mark.parametrize(("start", "count"), [(0, 11), (11, 0), (5, 6), (2**64 - 1, 2)])
def test_entries_beyond_the_permutation_are_refused(start, count):
    with pytest.raises(ValueError, match="beyond a permutation of 10"):
        curate_kernels.permuted_indices(10, 0, start, count)


def test_checksum_is_that_of_the_bytes_however_they_are_cut():
    # XXH3-128 of the empty input, from the xxHash specification's reference implementation.
    assert curate_kernels.Checksum().digest() == "xxh3_128:99aa06d3014798d86001c324468d497f"
    data = bytes(range(256)) * 40
    parts, whole = curate_kernels.Checksum(), curate_kernels.Checksum()
    whole.update(data)
    for at in range(0, len(data), 777):
        parts.update(data[at : at + 777])
    assert parts.digest() == whole.digest()
    text = curate_kernels.text_hash(pa.array([data[:100].decode("latin-1")], pa.large_string()))
    again = curate_kernels.Checksum()
    again.update(data[:100].decode("latin-1").encode())
    assert again.digest() == f"xxh3_128:{text[0].as_py().hex()}"


def test_keyed_seeds_tell_their_parts_apart():
    assert (
        len({keyed_seed(*parts) for parts in [(1, "2"), ("1", 2), (1, 2), ("12",), (12,), ("1", "2")]}) == 6
    )
    assert keyed_seed("pass", 1, 2) == keyed_seed("pass", 1, 2)

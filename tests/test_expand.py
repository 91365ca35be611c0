"""Positions, labels, masks, ids and boundary tables are what the lengths of the documents say."""

from __future__ import annotations

import curate_kernels
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

FIELDS = ("positions", "labels", "loss_mask", "segment_ids")


def lists(lengths):
    return pa.array(lengths, pa.list_(pa.int32()))


def by_hand(lengths, width, multiple, first_token):
    """The definition, a token at a time. Tokens count up from `first_token`."""
    positions, labels, ids, ends = [], [], [], []
    for number, length in enumerate(lengths):
        slot = -(-length // multiple) * multiple
        if number == len(lengths) - 1:
            slot = width - len(positions)
        for at in range(slot):
            positions.append(at)
            labels.append(first_token + len(labels) + 1 if at + 1 < length else -100)
            ids.append(number + 1 if at < length else 0)
        ends.append(len(positions))
    return positions, labels, ids, ends


batches = st.integers(1, 5).flatmap(
    lambda multiple: st.tuples(
        st.just(multiple),
        st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=6), min_size=1, max_size=4),
        st.integers(0, 7),
    )
)


@settings(max_examples=60, deadline=None)
@given(batches, st.sampled_from(["int32", "int64"]))
def test_every_field_and_table_follows_its_definition(batch, dtype):
    multiple, rows, tail = batch
    width = max(sum(-(-length // multiple) * multiple for length in row) for row in rows) + tail
    width = max(width, multiple)
    tokens = pa.array(np.arange(len(rows) * width, dtype=np.int32))
    out = curate_kernels.expand(
        tokens,
        lists(rows),
        sequence_length=width,
        pad_documents_to=multiple,
        fields=FIELDS,
        dtype=dtype,
    )
    hands = [by_hand(row, width, multiple, number * width) for number, row in enumerate(rows)]
    assert out["positions"].to_pylist() == [value for hand in hands for value in hand[0]]
    assert out["labels"].to_pylist() == [value for hand in hands for value in hand[1]]
    assert out["segment_ids"].to_pylist() == [value for hand in hands for value in hand[2]]
    assert out["loss_mask"].to_pylist() == [float(value != -100) for hand in hands for value in hand[1]]
    assert {str(out[name].type) for name in FIELDS} == {dtype, "float"}

    def table(convention, maximum=128):
        return curate_kernels.boundary_table(
            lists(rows), width, convention=convention, pad_documents_to=multiple, maximum=maximum
        )

    ends = [row * width + end for row, hand in enumerate(hands) for end in hand[3]]
    assert table("ascend").type == pa.int64()
    assert table("ascend").to_pylist() == ends
    assert table("transformer_engine").type == pa.int32()
    assert table("transformer_engine").to_pylist() == [0, *ends]
    fixed = table("mindformers", 6).to_numpy().reshape(len(rows), 6)
    assert fixed.tolist() == [hand[3] + [width] * (6 - len(hand[3])) for hand in hands]

    starts, counts = curate_kernels.block_starts(lists(rows), width, pad_documents_to=multiple, ratio=4)
    assert counts.to_pylist() == [length // 4 for row in rows for length in row]
    expected = []
    for row, hand in zip(rows, hands, strict=True):
        for start, length in zip([0, *hand[3]], row, strict=False):
            expected += range(start, start + length // 4 * 4, 4)
    assert starts.to_pylist() == expected


def test_the_conventions_by_example():
    """Three documents of 3, 2 and 1 tokens in slots of 2, in sequences of 10."""
    options = {"pad_documents_to": 2}
    out = curate_kernels.expand(
        pa.array(np.arange(10, 20, dtype=np.int32)),
        lists([[3, 2, 1]]),
        sequence_length=10,
        fields=FIELDS,
        **options,
    )
    assert out["positions"].to_pylist() == [0, 1, 2, 3, 0, 1, 0, 1, 2, 3]
    assert out["labels"].to_pylist() == [11, 12, -100, -100, 15, -100, -100, -100, -100, -100]
    assert out["loss_mask"].to_pylist() == [1, 1, 0, 0, 1, 0, 0, 0, 0, 0]
    assert out["segment_ids"].to_pylist() == [1, 1, 1, 0, 2, 2, 3, 0, 0, 0]
    table = curate_kernels.boundary_table(lists([[3, 2, 1]]), 10, convention="ascend", **options)
    assert table.to_pylist() == [4, 6, 10]


def test_more_documents_than_a_fixed_table_holds_is_an_error_and_not_a_cut():
    with pytest.raises(ValueError, match=r"sequence 1: 3 documents do not fit in a boundary table of 2"):
        curate_kernels.boundary_table(lists([[1], [1, 1, 1]]), 8, convention="mindformers", maximum=2)


def test_a_slice_of_a_list_column_is_the_slice():
    lengths = lists([[4, 2], [6], [1, 5]])
    out = curate_kernels.expand(None, lengths.slice(1, 2), sequence_length=6)
    assert out["positions"].to_pylist() == [0, 1, 2, 3, 4, 5, 0, 0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "lengths",
    [[[7]], [[0, 3]], [[-1]], [[4, 3]], [[2**31 - 1]], [[]]],
    ids=["long", "zero", "below", "two", "max", "none"],
)
def test_lengths_that_do_not_fit_are_refused(lengths):
    with pytest.raises(ValueError, match="sequence 0"):
        curate_kernels.expand(None, lists(lengths), sequence_length=6)


def test_hostile_arguments_are_errors():
    one = lists([[3]])
    with pytest.raises(ValueError, match="nulls"):
        curate_kernels.expand(None, lists([[None, 3]]), sequence_length=6)
    with pytest.raises(TypeError, match="list<int32>"):
        curate_kernels.expand(None, pa.array([1, 2]), sequence_length=6)
    with pytest.raises(ValueError, match="pad_documents_to"):
        curate_kernels.expand(None, one, sequence_length=6, pad_documents_to=0)
    with pytest.raises(ValueError, match="sequence_length"):
        curate_kernels.expand(None, one, sequence_length=2**31)
    with pytest.raises(ValueError, match="5 tokens"):
        curate_kernels.expand(pa.array([1] * 5, pa.int32()), one, sequence_length=6)
    with pytest.raises(ValueError, match="labels are made from the tokens"):
        curate_kernels.expand(None, one, sequence_length=6, fields=["labels"])
    with pytest.raises(ValueError, match=r"field .mask. is not one of"):
        curate_kernels.expand(None, one, sequence_length=6, fields=["mask"])
    with pytest.raises(ValueError, match="dtype"):
        curate_kernels.expand(None, one, sequence_length=6, dtype="int16")
    with pytest.raises(ValueError, match="convention"):
        curate_kernels.boundary_table(one, 6, convention="none")
    with pytest.raises(ValueError, match="ratio"):
        curate_kernels.block_starts(one, 6, ratio=0)
    # Offsets that point outside of the values, as a hostile file could hold them.
    broken = pa.Array.from_buffers(
        pa.list_(pa.int32()),
        2,
        [None, pa.py_buffer(np.array([0, 900, 2], np.int32).tobytes())],
        children=[pa.array([1, 2], pa.int32())],
    )
    with pytest.raises(ValueError, match="broken"):
        curate_kernels.expand(None, broken, sequence_length=6)

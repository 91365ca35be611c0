"""The benchmark of shards: what its rows derive, and that its inputs are what they are said to be."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.shards.corpus import sequences_of, shards
from benchmarks.shards.index import write_index
from benchmarks.shards.lengths import cut, draw
from benchmarks.shards.rows import Row


def row(**options) -> Row:
    return Row(**({"part": "p", "work": "w", "input": "i", "unit": "u", "ours": 10.0} | options))


@pytest.mark.parametrize(
    ("better", "ours", "theirs", "ratio"), [("more", 10.0, 4.0, 2.5), ("less", 4.0, 10.0, 2.5)]
)
def test_a_ratio_says_how_many_times_better_ours_is(better, ours, theirs, ratio):
    assert row(better=better, ours=ours, theirs=theirs).ratio == ratio


@pytest.mark.parametrize(
    ("options", "met"),
    [
        ({"target": 9.0}, True),
        ({"target": 11.0}, False),
        ({"target": 11.0, "better": "less"}, True),
        ({"target": 9.0, "better": "less"}, False),
        ({"target": 2.0, "target_of": "ratio", "theirs": 5.0}, True),
        ({"target": 2.0, "target_of": "ratio", "theirs": 20.0, "better": "less"}, True),
        ({"target": 2.0, "target_of": "ratio", "theirs": 19.0, "better": "less"}, False),
        ({"target": 0.8, "target_of": "share", "floor": 12.0}, True),
        ({"target": 0.8, "target_of": "share", "floor": 13.0}, False),
        ({}, None),
        ({"target": 2.0, "target_of": "ratio"}, None),
    ],
)
def test_a_target_is_met_or_missed_or_not_there(options, met):
    assert row(**options).met is met


def test_a_target_missed_stays_in_the_result():
    assert row(target=11.0).as_json()["met"] is False


@given(st.lists(st.integers(1, 10_000), max_size=30), st.integers(1, 300))
def test_cutting_keeps_every_token_and_cuts_only_what_is_too_long(lengths, capacity):
    pieces = cut(np.array(lengths, np.int64), capacity)
    assert pieces.sum() == sum(lengths)
    assert ((pieces >= 1) & (pieces <= capacity)).all()
    assert len(pieces) == sum(-(-length // capacity) for length in lengths)


def test_the_sample_s_lengths_are_those_of_its_documents():
    lengths = draw("sample", 200_000)
    assert np.median(lengths) == pytest.approx(192, rel=0.03)
    assert lengths.max() <= 977_527


def test_lengths_can_be_a_run_s(tmp_path):
    folder = tmp_path / "manifest" / "documents"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"tokens": pa.array([7, None, 9, 0], pa.int64())}), folder / "0.parquet")
    assert set(draw("sample", 100, run=tmp_path).tolist()) == {7, 9}


def test_the_corpus_fills_its_sequences(tmp_path):
    count = shards(tmp_path, length=4096, sequences=32)
    planes = sequences_of(tmp_path)
    assert planes.shape == (count, 4096)
    assert 32 <= count <= 34


def test_the_index_is_of_a_million_million_tokens_from_a_thousand_sources(tmp_path):
    one, many = write_index(tmp_path)
    assert len(list(many.iterdir())) == 1000
    rows = pq.read_table(one / "manifest/shards", columns=["tokens", "path"])
    assert sum(rows["tokens"].to_pylist()) > 10**12
    there = [path for path in rows["path"].to_pylist() if (one / path).exists()]
    assert len(there) == 1, "all but the first shard are rows alone"

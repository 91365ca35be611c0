"""Mixtures: which stream a sequence comes from is a function of its place, and weights change at a step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_shards import corpus, written

from shards.balance import deal, imbalance
from shards.format import ShardError
from shards.loader import Loader
from shards.mixing import floor_sum, mixture_of

NAMES = ("web", "code", "math")


@pytest.fixture(scope="module")
def urls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    rng = np.random.default_rng(3)
    for number, name in enumerate(NAMES):
        lengths = rng.lognormal(3, 1, 60 * (number + 1)).astype(int).tolist()
        written(folder / name, *corpus(lengths, seed=number))
    return {name: str(folder / name) for name in NAMES}


def mixed(urls, **options):
    options = {
        "stage": "4K",
        "batch_sequences": 12,
        "weights": {"web": 0.6, "code": 0.3, "math": 0.1},
        "fields": ["tokens"],
    } | options
    return Loader(urls, **options)


@given(st.integers(0, 300), st.integers(1, 2000), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_sum_of_floors_is_the_sum(count, divisor, factor, shift):
    assert floor_sum(count, divisor, factor, shift) == sum(
        (factor * i + shift) // divisor for i in range(count)
    )


weights = st.fixed_dictionaries({name: st.floats(0, 1e6) for name in NAMES}).filter(
    lambda w: sum(w.values()) > 0
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(weights, min_size=1, max_size=4),
    st.lists(st.integers(1, 40), min_size=3, max_size=3),
    st.integers(0, 2**32),
    st.integers(0, 300),
    st.integers(0, 300),
)
def test_counts_are_those_of_a_walk_over_all_places(tables, gaps, seed, start, count):
    steps = [0, *np.cumsum(gaps).tolist()][: len(tables)]
    schedule = list(zip(steps, tables, strict=True))
    mixture = mixture_of(schedule, NAMES, batch_sequences=3, seed=seed, stage="4K")
    walked = mixture.streams(0, start + count)
    np.testing.assert_array_equal(mixture.streams(start, count), walked[start:])
    assert mixture.counts(start) == np.bincount(walked[:start], minlength=3).tolist()


@settings(max_examples=30, deadline=None)
@given(weights, st.integers(0, 2**32), st.integers(0, 10**13))
def test_any_run_of_sequences_has_its_weights_to_within_a_few(table, seed, start):
    mixture = mixture_of(table, NAMES, batch_sequences=1, seed=seed, stage="4K")
    count = 3000
    expected = np.array([table[name] for name in NAMES]) / sum(table.values()) * count
    found = np.bincount(mixture.streams(start, count), minlength=3)
    assert np.abs(found - expected).max() < 8
    far = np.subtract(mixture.counts(start + count), mixture.counts(start))
    np.testing.assert_array_equal(far, found)


def test_a_stream_without_weight_never_comes(urls):
    loader = mixed(urls, weights={"web": 1, "math": 3})
    streams = np.concatenate([loader.streams(step) for step in range(200)])
    assert set(streams.tolist()) == {0, 2}


def test_each_stream_goes_through_its_own_passes(urls):
    loader = mixed(urls)
    alone = [Loader(url, stage="4K", batch_sequences=1, fields=["tokens"]) for url in urls.values()]
    seen: list[list[int]] = [[], [], []]
    for step in range(60):
        batch = loader.batch(step)
        for stream, number, tokens in zip(batch.streams, batch.sequences, batch.tokens, strict=True):
            seen[stream].append(int(number))
            if step < 3:
                rows = [alone[stream].batch(i) for i in range(alone[stream].sequences)]
                (one,) = [row.tokens[0] for row in rows if row.sequences[0] == number]
                np.testing.assert_array_equal(tokens, one)
    for stream, numbers in enumerate(seen):
        size = alone[stream].sequences
        assert len(numbers) > size or stream == 2
        assert sorted(numbers[:size]) == list(range(size)) or stream == 2
        assert len(set(numbers[:size])) == min(size, len(numbers))


@pytest.mark.parametrize("world_size", [2, 3, 12])
def test_the_order_of_a_mixture_does_not_depend_on_the_number_of_ranks(urls, world_size):
    schedule = [(0, {"web": 1, "code": 1}), (5, {"math": 2, "web": 1})]
    whole = mixed(urls, weights=schedule)
    ranks = [mixed(urls, weights=schedule, rank=r, world_size=world_size) for r in range(world_size)]
    for step in (0, 4, 5, 6, 10**8):
        one, parts = whole.batch(step), [rank.batch(step) for rank in ranks]
        np.testing.assert_array_equal(one.streams, np.concatenate([part.streams for part in parts]))
        np.testing.assert_array_equal(one.tokens, np.concatenate([part.tokens for part in parts]))


def test_weights_that_change_at_a_step_leave_the_steps_before_alone(urls):
    before, after = {"web": 3, "code": 1}, {"math": 1, "code": 1}
    always, changed = mixed(urls, weights=before), mixed(urls, weights=[(0, before), (20, after)])
    for step in range(20):
        np.testing.assert_array_equal(always.batch(step).tokens, changed.batch(step).tokens)
    assert set(np.concatenate([changed.streams(step) for step in range(20, 40)]).tolist()) == {1, 2}
    # No sequence of `code` is skipped or read twice where the weights change.
    numbers = np.concatenate([changed.order(step)[changed.streams(step) == 1] for step in range(40)])
    size = changed._stages[1].sequences
    assert len(set(numbers[:size].tolist())) == size < len(numbers)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"wbe": 1}, "no stream 'wbe'; nearest: web"),
        ({"web": 0}, "0 or more, and one of them more"),
        ({"web": -1, "code": 2}, "0 or more"),
        ({"web": float("nan")}, "NaN"),
        ([(1, {"web": 1})], "begin with 0"),
        ([(0, {"web": 1}), (5, {"code": 1}), (5, {"web": 1})], "ascend"),
    ],
)
def test_weights_that_make_no_sense_are_refused(urls, weights, message):
    with pytest.raises(ValueError, match=message):
        mixed(urls, weights=weights)


def test_streams_of_two_tokenizers_do_not_mix(urls, tmp_path):
    written(tmp_path, *corpus([50] * 20), metadata={"tokenizer": "f2", "mixture": "v4"})
    with pytest.raises(ShardError, match=r"has tokenizer 'f2', but .*web.* has 'f1'"):
        mixed({"web": urls["web"], "other": str(tmp_path)}, weights=None)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_dealing_gives_every_rank_the_same_number(ranks, share, seed):
    work = np.random.default_rng(seed).integers(0, 10**6, ranks * share)
    hands = deal(work, ranks)
    assert hands.shape == (ranks, share)
    assert sorted(hands.ravel().tolist()) == list(range(ranks * share))


def test_balanced_ranks_have_even_attention_work_and_the_same_global_batch(tmp_path):
    """Web-like lengths at 4K tokens: 16 sequences on each of 8 ranks."""
    rng = np.random.default_rng(8)
    lengths = np.clip(rng.lognormal(6.3, 1.2, 3000), 20, 4096).astype(int)
    written(tmp_path, *corpus(lengths.tolist()), sequence_length=4096, shard_tokens=1 << 20, max_documents=64)
    options = {"stage": "4K", "batch_sequences": 128, "fields": ["tokens"]}
    plain = Loader(str(tmp_path), **options)
    ranks = [Loader(str(tmp_path), rank=r, world_size=8, balance=True, **options) for r in range(8)]
    uneven = Loader(str(tmp_path), world_size=8, **options)
    for step in range(4):
        parts = [rank.batch(step) for rank in ranks]
        assert {len(part.tokens) for part in parts} == {16}
        numbers = np.concatenate([part.sequences for part in parts]).tolist()
        assert sorted(numbers) == sorted(plain.order(step).tolist())
        work = [
            sum(length**2 for row in part.document_lengths.to_pylist() for length in row) for part in parts
        ]
        assert max(work) / np.mean(work) == pytest.approx(ranks[0].imbalance(step))
        assert ranks[0].imbalance(step) <= 1.05 < uneven.imbalance(step)


def test_even_work_needs_no_dealing():
    assert imbalance(np.full(8, 5), np.arange(8).reshape(4, 2)) == 1
    assert imbalance(np.zeros(4, np.int64), np.arange(4).reshape(2, 2)) == 1

"""Quality buckets are percentiles by language, weighted by bytes, whatever the files that scores came in."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.classifiers.buckets import (
    BUCKETS,
    CUTS,
    HISTOGRAM,
    POOLED,
    bins,
    combined,
    cut_points,
    histogram,
    lower_end,
    percentiles,
    summed,
)

SOME_SCORES = st.sampled_from([0.0, 1e-5, 0.25, 0.5, 0.75, 1.0])
SCORES = st.one_of(st.floats(0, 1, width=32).map(lambda score: score * 1.00001), SOME_SCORES)
ROWS = st.lists(st.tuples(st.sampled_from(["en", "de"]), SCORES, st.integers(1, 10**6)), max_size=60)


def columns(rows: list[tuple[str, float, int]]) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    languages = pa.array([row[0] for row in rows], pa.string())
    return (
        languages,
        np.array([row[1] for row in rows], np.float32),
        np.array([row[2] for row in rows], np.int64),
    )


def thousandths(rows: list[tuple[str, float, int]], pool_below: int = 1) -> list[float]:
    languages, scores, sizes = columns(rows)
    cuts = cut_points(histogram("q", languages, scores, sizes), {"q": pool_below})
    return list(percentiles("q", languages, scores, cuts))


def test_twenty_documents_of_one_size_fill_the_twenty_buckets() -> None:
    order = [7 * n % 20 for n in range(20)]
    rows = [("en", (n + 1) / 21, 100) for n in order]
    quality, bucket = combined([np.array(thousandths(rows))])
    assert bucket.to_pylist() == order
    assert quality.to_pylist() == pytest.approx([n / 20 for n in order])


def test_bytes_weigh_and_each_language_counts_for_itself() -> None:
    """English: 900 bytes below 0.9. German: half below 0.2; what English scores does not matter."""
    rows = [("en", 0.1, 900), ("en", 0.9, 100), ("de", 0.1, 50), ("de", 0.2, 50)]
    assert thousandths(rows) == [0, 900, 0, 500]


def test_equal_scores_share_a_bucket_and_all_equal_ones_are_in_the_lowest() -> None:
    assert thousandths([("en", 0.7, 10)] * 5) == [0] * 5
    assert thousandths([("en", 0.7, 10), ("en", 0.7, 30), ("en", 0.8, 60)]) == [0, 0, 400]


def test_a_language_of_few_documents_uses_the_pooled_table() -> None:
    rows = [("en", n / 10, 10) for n in range(1, 10)] + [("de", 0.55, 10)]
    own, pooled = thousandths(rows, pool_below=1)[-1], thousandths(rows, pool_below=2)[-1]
    assert (own, pooled) == (0, 500), "five of ten documents are below"
    cuts = cut_points(histogram("q", *columns(rows)), {"q": 9})
    assert cuts["language"].unique().to_pylist() == [POOLED, "en"]
    assert len(cuts) == 2 * (CUTS - 1)


def test_a_document_without_a_score_has_no_quality_and_the_best_classifier_decides() -> None:
    quality, bucket = combined([np.array([np.nan, 100.0, np.nan]), np.array([np.nan, 949.0, 50.0])])
    assert quality.to_pylist() == [None, pytest.approx(0.949), pytest.approx(0.05)]
    assert bucket.to_pylist() == [None, 18, 1]
    assert thousandths([]) == []


@given(ROWS)
def test_a_percentile_is_the_share_of_bytes_below(rows: list[tuple[str, float, int]]) -> None:
    """Against the definition, document by document, on the scores as the histogram tells them apart."""
    found = thousandths(rows)
    number = bins(columns(rows)[1])
    for row, (language, _, _) in enumerate(rows):
        mine = [(number[k], size) for k, (other, _, size) in enumerate(rows) if other == language]
        below = sum(size for b, size in mine if b < number[row])
        assert found[row] == CUTS * below // sum(size for _, size in mine)


@given(ROWS, st.integers(1, 9), st.randoms())
def test_cut_points_do_not_depend_on_how_documents_were_divided(
    rows: list[tuple[str, float, int]], step: int, rng
) -> None:
    whole = cut_points(histogram("q", *columns(rows)), {"q": 3})
    parts = [histogram("q", *columns(rows[start : start + step])) for start in range(0, len(rows), step)]
    rng.shuffle(parts)
    merged = summed(pa.concat_tables([HISTOGRAM.empty_table(), *parts]))
    assert cut_points(merged, {"q": 3}).equals(whole)


@given(st.lists(SCORES, min_size=2, max_size=50))
def test_bins_keep_the_order_of_scores_and_tell_a_thousandth_apart(values: list[float]) -> None:
    scores = np.sort(np.array(values, np.float32))
    number = bins(scores)
    assert (np.diff(number) >= 0).all()
    low = lower_end(number)
    clipped = np.clip(scores, 0, 1)
    assert (low <= clipped).all()
    distance = np.minimum(clipped, 1 - clipped)
    assert (clipped - low <= distance / 500 + 1e-6).all()
    assert bins(np.array([0, 0.5, 1], np.float32)).max() < 2**18
    assert BUCKETS * 50 == CUTS

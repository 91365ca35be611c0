"""Scores to quality buckets: percentiles per language, weighted by bytes, 0 to 19 (Nemotron-CC,
arXiv:2412.02595 §3).

A document's percentile is the share of its language's bytes in documents with a lower score; a bucket is a
twentieth of that, so bucket 19 holds at most the best 5 % of the bytes and equal scores share a bucket.
Scores are told apart to 0.1 % of p or 1 - p, whichever is smaller: about 40,000 bins per language and
classifier whatever the number of documents, and cut points for every thousandth.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BUCKETS = 20
CUTS = 1000  # a multiple of BUCKETS
#: The language of the table that small languages share.
POOLED = "*"
POOL_BELOW = 1000

HISTOGRAM = pa.schema(
    [
        ("classifier", pa.string()),
        ("language", pa.string()),
        ("bin", pa.int32()),
        ("documents", pa.int64()),
        ("bytes", pa.int64()),
    ]
)
#: A document is in a thousandth as large as the number of its table's `bin`s below its own. `score` is the
#: lower end.
TABLE = pa.schema(
    [
        ("classifier", pa.string()),
        ("language", pa.string()),
        ("thousandth", pa.int16()),
        ("bin", pa.int32()),
        ("score", pa.float32()),
        ("documents", pa.int64()),  # of the language, or of all that the pooled table stands for
        ("bytes", pa.int64()),
    ]
)

_MANTISSA = 10  # bits that are kept
_HALF = np.float32(0.5)


def bins(scores: Any) -> Any:
    """The bin (int32, ascending with the score) of float32 scores; -1 for NaN."""
    known = np.nan_to_num(np.clip(scores.astype(np.float32), 0, 1))
    low = known <= _HALF
    distance = np.where(low, known, np.float32(1) - known)
    bits = (distance.view(np.uint32) >> (23 - _MANTISSA)).astype(np.int32)
    top = 2 * int(_HALF.view(np.uint32) >> (23 - _MANTISSA))
    return np.where(np.isnan(scores), -1, np.where(low, bits, top - bits)).astype(np.int32)


def lower_end(number: Any) -> Any:
    """The lowest score of a bin (float32)."""
    top = 2 * int(_HALF.view(np.uint32) >> (23 - _MANTISSA))
    low = number <= top // 2
    bits = np.where(low, number, top - number).astype(np.uint32)
    value = (bits << (23 - _MANTISSA)).view(np.float32)
    above = ((bits + 1) << (23 - _MANTISSA)).astype(np.uint32).view(np.float32)
    return np.where(low, value, np.maximum(np.float32(1) - above, _HALF)).astype(np.float32)


def histogram(classifier: str, languages: pa.Array, scores: Any, sizes: Any) -> pa.Table:
    """Documents and bytes per language and bin; documents without a score are left out."""
    known = ~np.isnan(scores)
    table = pa.table(
        {
            "classifier": pa.repeat(pa.scalar(classifier), int(known.sum())),
            "language": languages.filter(pa.array(known)).cast(pa.string()),
            "bin": pa.array(bins(scores[known])),
            "documents": pa.array(np.ones(int(known.sum()), np.int64)),
            "bytes": pa.array(sizes[known].astype(np.int64)),
        },
        schema=HISTOGRAM,
    )
    return summed(table)


def summed(table: pa.Table) -> pa.Table:
    """The histogram with one row per classifier, language and bin, in their order."""
    keys = HISTOGRAM.names[:3]
    grouped = table.group_by(keys, use_threads=False).aggregate([("documents", "sum"), ("bytes", "sum")])
    grouped = grouped.rename_columns({"documents_sum": "documents", "bytes_sum": "bytes"})
    return grouped.sort_by([(key, "ascending") for key in keys]).select(HISTOGRAM.names).cast(HISTOGRAM)


def cut_points(table: pa.Table, pool_below: dict[str, int]) -> pa.Table:
    """For every classifier a table per language, and one of everything for languages of too few documents.

    A language of fewer than `pool_below` documents has no table of its own.
    """
    parts = [TABLE.empty_table()]
    for classifier in sorted(set(table["classifier"].to_pylist())):
        mine = table.filter(pc.equal(table["classifier"], classifier))
        parts.append(_cuts(classifier, POOLED, mine))
        for language in sorted(set(mine["language"].to_pylist())):
            part = mine.filter(pc.equal(mine["language"], language))
            if pc.sum(part["documents"]).as_py() >= pool_below[classifier]:
                parts.append(_cuts(classifier, language, part))
    return pa.concat_tables(parts)


def _cuts(classifier: str, language: str, part: pa.Table) -> pa.Table:
    number = part["bin"].to_numpy()
    order = np.argsort(number, kind="stable")
    number, sizes = number[order], part["bytes"].to_numpy()[order]
    number, first = np.unique(number, return_index=True)
    upto = np.cumsum(np.add.reduceat(sizes, first))  # bytes up to and with each bin
    total = int(upto[-1])
    # The k-th cut is the first bin with upto >= k/CUTS of the bytes: k = ceil(k * total / CUTS) bytes, in
    # whole numbers.
    wanted = np.array([-(-k * total // CUTS) for k in range(1, CUTS)], dtype=np.int64)
    cuts = number[np.searchsorted(upto, wanted, side="left")]
    return pa.table(
        {
            "classifier": pa.repeat(pa.scalar(classifier), len(cuts)),
            "language": pa.repeat(pa.scalar(language), len(cuts)),
            "thousandth": pa.array(np.arange(1, CUTS, dtype=np.int16)),
            "bin": pa.array(cuts.astype(np.int32)),
            "score": pa.array(lower_end(cuts)),
            "documents": pa.repeat(pa.scalar(pc.sum(part["documents"]).as_py(), pa.int64()), len(cuts)),
            "bytes": pa.repeat(pa.scalar(total, pa.int64()), len(cuts)),
        },
        schema=TABLE,
    )


def percentiles(classifier: str, languages: pa.Array, scores: Any, cuts: pa.Table) -> Any:
    """The thousandth (float64, NaN without a score) that each document's score is in."""
    mine = cuts.filter(pc.equal(cuts["classifier"], classifier))
    found = np.full(len(scores), np.nan)
    number = bins(scores)
    names = languages.cast(pa.string())
    own = set(mine["language"].to_pylist()) - {POOLED}
    rest = ~np.isnan(scores)
    for language in sorted(own & set(names.unique().to_pylist())):
        here = pc.equal(names, language).to_numpy(zero_copy_only=False) & rest
        found[here] = _below(mine, language, number[here])
        rest &= ~here
    if rest.any():
        found[rest] = _below(mine, POOLED, number[rest])
    return found


def _below(cuts: pa.Table, language: str, number: Any) -> Any:
    points = cuts.filter(pc.equal(cuts["language"], language))["bin"].to_numpy()
    return np.searchsorted(points, number, side="left")


def combined(percentile: list[Any]) -> tuple[pa.Array, pa.Array]:
    """`quality` (float32: the highest percentile of all classifiers, as a share) and its bucket (int8).

    Both are null for a document that no classifier scored.
    """
    highest = np.fmax.reduce(percentile)
    missing = np.isnan(highest)
    known = np.where(missing, 0, highest)
    quality = pa.array((known / CUTS).astype(np.float32), mask=missing)
    bucket = pa.array((known.astype(np.int64) // (CUTS // BUCKETS)).astype(np.int8), mask=missing)
    return quality, bucket

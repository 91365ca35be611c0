"""MinHash: shingles, bands and Jaccard against sets made in Python."""

from __future__ import annotations

import math
import random

import curate_kernels
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st


def texts(*values: str | None) -> pa.Array:
    return pa.array(values, pa.large_string())


def indices(*values: int) -> pa.Array:
    return pa.array(values, pa.uint32())


def bands(
    *values: str | None, bands: int = 4, rows: int = 3, ngram: int = 5, seed: int = 1
) -> list[list[int] | None]:
    column = curate_kernels.minhash_bands(texts(*values), bands=bands, rows=rows, ngram=ngram, seed=seed)
    assert column.type == pa.list_(pa.field("item", pa.uint64(), nullable=False), bands)
    return column.to_pylist()


def jaccard(left: str, right: str, ngram: int = 5) -> float:
    return curate_kernels.jaccard_pairs(texts(left, right), indices(0), indices(1), ngram=ngram)[0].as_py()


def test_case_punctuation_and_white_space_do_not_matter() -> None:
    one, two, three = bands(
        "The quick, brown fox: it's here!", "the QUICK brown\n\nfox it s here", "the quick red fox it s here"
    )
    assert one == two
    assert one != three


def test_capitals_beyond_ascii_are_made_small() -> None:
    one, two = bands(
        "\u00c9t\u00e9 \u0416\u0423\u041a \u03a3", "\u00e9t\u00e9 \u0436\u0443\u043a \u03c3", ngram=1
    )
    assert one == two


def test_a_text_without_words_has_no_bands() -> None:
    assert bands(None, "", "... !! \U0001f600", "a")[:3] == [None, None, None]
    assert bands("a")[0] is not None


def test_a_short_text_is_one_shingle() -> None:
    assert jaccard("one two three", "One two three!") == 1
    assert jaccard("one two three", "one two") == 0


def test_the_bands_of_a_seed_are_a_golden_value() -> None:
    # Made by this code and kept: stored digests must not change from one version or machine to the next.
    text = "In the beginning was the word and the word was with the reader"
    assert bands(text, bands=2, rows=2) == [GOLDEN]
    assert bands(text, bands=2, rows=2, seed=2) != [GOLDEN]


GOLDEN = [16029803353408435616, 8678071132393168306]


def test_true_jaccard_by_hand() -> None:
    # Shingles of two words: {a b, b c, c d} and {b c, c d, d e}: 2 of 4.
    assert jaccard("a b c d", "b c d e", ngram=2) == 0.5
    # Sets, not lists: {a b, b a} and {a b}.
    assert jaccard("a b a b a b", "a b", ngram=2) == 0.5
    # Two texts without words have no shingle in common.
    assert jaccard("!!", "??") == 0


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=80),
    st.lists(st.integers(0, 30), min_size=1, max_size=80),
)
def test_jaccard_is_that_of_the_sets(left: list[int], right: list[int]) -> None:
    def shingles(words: list[int]) -> set[tuple[int, ...]]:
        n = min(3, len(words))
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    a, b = shingles(left), shingles(right)
    ours = jaccard(" ".join(map(str, left)), " ".join(map(str, right)), ngram=3)
    assert ours == pytest.approx(len(a & b) / len(a | b))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
def test_estimates_are_unbiased_with_the_spread_of_a_binomial(share: float) -> None:
    # With one row per band the bands that agree estimate Jaccard: mean J, variance J (1 - J) / k.
    k, pairs, size = 256, 200, 400
    draw = random.Random(share)
    column = []
    for _ in range(pairs):
        words = [f"{draw.getrandbits(60):x}" for _ in range(size * 2)]
        common = round(2 * size * share / (1 + share))  # J = common / (2 size - common)
        column += [" ".join(words[:size]), " ".join(words[size - common : 2 * size - common])]
    true = curate_kernels.jaccard_pairs(
        texts(*column), indices(*range(0, 2 * pairs, 2)), indices(*range(1, 2 * pairs, 2)), ngram=1
    ).to_pylist()
    assert true == pytest.approx([common / (2 * size - common)] * pairs)
    found = bands(*column, bands=k, rows=1, ngram=1)
    estimates = [
        sum(a == b for a, b in zip(found[i] or [], found[i + 1] or [], strict=True)) / k
        for i in range(0, 2 * pairs, 2)
    ]
    mean = sum(estimates) / pairs
    spread = math.sqrt(true[0] * (1 - true[0]) / k)
    assert abs(mean - true[0]) < 4 * spread / math.sqrt(pairs)
    deviation = math.sqrt(sum((e - true[0]) ** 2 for e in estimates) / pairs)
    assert 0.8 * spread < deviation < 1.25 * spread  # 4 standard errors of a deviation over 200 pairs: 20 %


def test_bands_agree_as_often_as_the_s_curve_says() -> None:
    # P(a band agrees) = J^rows: 0.8^4 = 0.41 over 400 pairs x 8 bands.
    draw, column = random.Random(7), []
    for _ in range(400):
        words = [f"{draw.getrandbits(60):x}" for _ in range(110)]
        column += [" ".join(words[:100]), " ".join(words[11:])]  # 89 of 110
    found = bands(*column, bands=8, rows=4, ngram=1)
    hits = sum(
        a == b for i in range(0, 800, 2) for a, b in zip(found[i] or [], found[i + 1] or [], strict=True)
    )
    expected = (89 / 110) ** 4
    assert abs(hits / 3200 - expected) < 4 * math.sqrt(expected * (1 - expected) / 3200)


def test_arguments_without_sense_are_errors() -> None:
    column = texts("a")
    for wrong in ({"bands": 0, "rows": 1}, {"bands": 1, "rows": 0}, {"bands": 1 << 40, "rows": 1 << 40}):
        with pytest.raises(ValueError, match="permutations"):
            curate_kernels.minhash_bands(column, **wrong)
    with pytest.raises(ValueError, match="shingles have"):
        curate_kernels.minhash_bands(column, bands=1, rows=1, ngram=0)
    with pytest.raises(ValueError, match="names text 1, but there are 1"):
        curate_kernels.jaccard_pairs(column, indices(0), indices(1))
    with pytest.raises(ValueError, match="needs both"):
        curate_kernels.jaccard_pairs(column, indices(0), indices())
    with pytest.raises(ValueError, match="null"):
        curate_kernels.jaccard_pairs(column, pa.array([None], pa.uint32()), indices(0))

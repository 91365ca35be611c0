"""Fill in the middle: splits depend on (id, seed) alone, lose no byte, and are put together in PSM order."""

from __future__ import annotations

import curate_kernels
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

BEGIN, HOLE, END, BOS, EOS = 101, 100, 102, 0, 1


def strings(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def document_ids(count: int, source: str = "s") -> pa.Array:
    names = strings([str(index) for index in range(count)])
    return curate_kernels.document_ids(strings([source] * count), names)


def split(texts: list[str], ids: pa.Array, rate: float, seed: int) -> list[list[str]]:
    """Pieces of each document."""
    rates = pa.array([rate] * len(texts), pa.float64())
    pieces, counts = curate_kernels.fim_pieces(strings(texts), ids, rates, seed=seed)
    flat = iter(pieces.to_pylist())
    out = [[next(flat) for _ in range(count)] for count in counts.to_pylist()]
    assert next(flat, None) is None
    return out


def assemble(tokens: list[int], offsets: list[int], pieces: list[int], **changes: int | None) -> pa.Array:
    marks: dict[str, int | None] = {
        "bos": BOS,
        "eos": EOS,
        "fim_begin": BEGIN,
        "fim_hole": HOLE,
        "fim_end": END,
    }
    return curate_kernels.assemble_documents(
        pa.array(tokens, pa.uint32()),
        pa.array(offsets, pa.int64()),
        pa.array(pieces, pa.uint8()),
        **(marks | changes),
    )


@given(st.lists(st.text(max_size=30), max_size=20), st.integers(0, 2**64 - 1), st.floats(0, 1))
def test_pieces_in_order_give_the_text_back(texts: list[str], seed: int, rate: float) -> None:
    for text, pieces in zip(texts, split(texts, document_ids(len(texts)), rate, seed), strict=True):
        assert "".join(pieces) == text
        assert len(pieces) in (1, 3)
        assert all(pieces) or pieces == [""]


@given(st.lists(st.text(max_size=12), max_size=20), st.integers(0, 2**64 - 1))
def test_at_rate_one_all_of_three_characters_are_split_and_at_rate_zero_none(
    texts: list[str], seed: int
) -> None:
    ids = document_ids(len(texts))
    for text, all_split, none_split in zip(
        texts, split(texts, ids, 1, seed), split(texts, ids, 0, seed), strict=True
    ):
        assert len(all_split) == (3 if len(text) >= 3 else 1)
        assert none_split == [text]


def test_the_share_of_split_documents_is_the_rate() -> None:
    count, rate = 20_000, 0.1
    pieces = split(["four"] * count, document_ids(count), rate, seed=5)
    # 2,000 expected with a standard deviation of sqrt(20000 * 0.1 * 0.9) = 42; five of those.
    assert abs(sum(len(one) == 3 for one in pieces) - count * rate) < 212


def test_cuts_are_uniform_over_pairs_of_inner_boundaries() -> None:
    count = 12_000
    pieces = split(["añb界"] * count, document_ids(count), 1, seed=5)
    seen = dict.fromkeys([(1, 1, 2), (1, 2, 1), (2, 1, 1)], 0)
    for one in pieces:
        seen[len(one[0]), len(one[1]), len(one[2])] += 1
    # 4,000 expected of each of the three with a standard deviation of 52; five of those.
    assert all(abs(times - count / 3) < 260 for times in seen.values())


def test_a_document_takes_part_by_its_keyed_draw() -> None:
    ids = document_ids(500)
    draws = curate_kernels.keyed_uniform(ids, 9, "fim").to_pylist()
    pieces = split(["some text"] * 500, ids, 0.3, seed=9)
    assert [len(one) == 3 for one in pieces] == [draw < 0.3 for draw in draws]


@given(st.integers(0, 2**32), st.integers(1, 49))
def test_a_split_does_not_depend_on_the_batch(seed: int, cut: int) -> None:
    ids, texts = document_ids(50), [f"text number {index} é" for index in range(50)]
    whole = split(texts, ids, 0.5, seed)
    rates = pa.array([0.5] * 50, pa.float64())
    parts = []
    for start, stop in [(0, cut), (cut, 50)]:
        column = strings(texts).slice(start, stop - start)
        given_ids, given_rates = ids.slice(start, stop - start), rates.slice(start, stop - start)
        pieces, counts = curate_kernels.fim_pieces(column, given_ids, given_rates, seed=seed)
        pieces.validate(full=True)
        parts += [*pieces.to_pylist()]
        assert counts.to_pylist() == [len(one) for one in whole[start:stop]]
    assert parts == [piece for one in whole for piece in one]


def test_another_seed_or_id_splits_elsewhere() -> None:
    texts = ["a text that is long enough to be cut in many places"] * 100
    ids = document_ids(100)
    assert split(texts, ids, 1, 1) != split(texts, ids, 1, 2)
    assert split(texts, ids, 1, 1) != split(texts, document_ids(100, "t"), 1, 1)


def test_documents_are_assembled_in_prefix_suffix_middle_order() -> None:
    documents = assemble([9, 10, 11, 12, 13, 14, 15], [1, 3, 4, 6, 7, 7], [3, 1, 1])
    assert documents.type == pa.large_list(pa.int32())
    assert documents.to_pylist() == [
        [BOS, BEGIN, 10, 11, HOLE, 13, 14, END, 12, EOS],
        [BOS, 15, EOS],
        [BOS, EOS],
    ]
    assert assemble([7], [0, 1], [1], bos=None, eos=None).to_pylist() == [[7]]
    assert assemble([], [0], []).to_pylist() == []


@given(st.lists(st.lists(st.integers(3, 99), max_size=5), max_size=12), st.randoms())
def test_assembly_loses_no_token(pieces: list[list[int]], rng: object) -> None:
    counts: list[int] = []
    while (left := len(pieces) - sum(counts)) > 0:
        counts.append(3 if left >= 3 and rng.random() < 0.5 else 1)  # type: ignore[attr-defined]
    offsets = [sum(map(len, pieces[:index])) for index in range(len(pieces) + 1)]
    documents = assemble([token for piece in pieces for token in piece], offsets, counts).to_pylist()
    at = 0
    for document, count in zip(documents, counts, strict=True):
        assert document[0] == BOS
        assert document[-1] == EOS
        body = document[1:-1]
        if count == 3:
            assert body[0] == BEGIN
            hole, end = body.index(HOLE), body.index(END)
            body = body[1:hole] + body[end + 1 :] + body[hole + 1 : end]
        assert body == [token for piece in pieces[at : at + count] for token in piece]
        at += count


@pytest.mark.parametrize(
    ("tokens", "offsets", "pieces", "changes", "message"),
    [
        ([1, 2], [0, 2], [2], {}, "2 pieces"),
        ([1, 2], [0, 1, 2], [1], {}, "need 2 offsets, not 3"),
        ([1, 2], [0, 3], [1], {}, "ascend"),
        ([1, 2], [-1, 2], [1], {}, "ascend"),
        ([1, 2], [0, 2, 1], [1, 1], {}, "ascend"),
        ([], [], [], {}, "need 1 offsets"),
        ([2**31], [0, 1], [1], {}, "int32"),
        ([1], [0, 1], [1], {"bos": -1}, "no token id"),
        ([1], [0, 1, 1, 1], [3], {"fim_end": None}, "no FIM ids"),
    ],
)
def test_assembly_refuses_what_does_not_fit(
    tokens: list[int], offsets: list[int], pieces: list[int], changes: dict[str, int | None], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        assemble(tokens, offsets, pieces, **changes)


def test_splitting_refuses_nulls_and_rates_that_are_none() -> None:
    ids, rates = document_ids(1), pa.array([0.5])
    for texts, given_rates, message in [
        (pa.array([None], pa.large_string()), rates, "null"),
        (strings(["a"]), pa.array([None], pa.float64()), "null"),
        (strings(["a"]), pa.array([1.5]), "1.5 is not a probability"),
        (strings(["a"]), pa.array([float("nan")]), "not a probability"),
        (strings(["a", "b"]), rates, "2 texts, 1 ids and 1 rates"),
    ]:
        with pytest.raises(ValueError, match=message):
            curate_kernels.fim_pieces(texts, ids, given_rates, seed=1)

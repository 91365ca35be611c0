"""Applying edits, against a plain reference."""

from __future__ import annotations

import curate_kernels
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.stages.edits import EDITS, apply_found

SCHEMA = pa.schema(
    [
        pa.field("row", pa.uint32(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("end", pa.int64(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("replacement", pa.string()),
    ]
)

Edit = tuple[int, int, int, str | None]


def batch(*edits: Edit) -> pa.RecordBatch:
    rows = [
        {"row": row, "start": start, "end": end, "rule": "test.rule", "replacement": new}
        for row, start, end, new in edits
    ]
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def texts(*values: str | None) -> pa.Array:
    return pa.array(values, pa.large_string())


def apply(values: list[str | None], *edits: Edit) -> tuple[list[str | None], list[bool]]:
    out, applied = curate_kernels.apply_edits(texts(*values), batch(*edits))
    return out.to_pylist(), applied.to_pylist()


def by_hand(values: list[str | None], edits: list[Edit]) -> tuple[list[str | None], list[bool]]:
    """One edit at a time, from the last to the first, so that offsets stay good."""
    applied = []
    reached: dict[int, int] = {}
    for row, start, end, _ in edits:
        applied.append(start >= reached.get(row, 0))
        if applied[-1]:
            reached[row] = end
    raw = [None if value is None else value.encode() for value in values]
    for (row, start, end, new), on in reversed(list(zip(edits, applied, strict=True))):
        text = raw[row]
        if on and text is not None:
            raw[row] = text[:start] + (new or "").encode() + text[end:]
    return [None if value is None else value.decode() for value in raw], applied


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[str | None], list[Edit]]:
    values = draw(st.lists(st.none() | st.text("aé漢🙂\n", max_size=8), max_size=5))
    edits: list[Edit] = []
    for row, value in enumerate(values):
        if value is None:
            continue
        places = [len(value[:n].encode()) for n in range(len(value) + 1)]
        spans = st.lists(st.sampled_from(places), min_size=2, max_size=2).map(sorted)
        found = draw(st.lists(st.tuples(spans, st.none() | st.text("xé", max_size=3)), max_size=4))
        edits += sorted(((row, start, end, new) for (start, end), new in found), key=lambda edit: edit[:2])
    return values, edits


@given(cases())
def test_edits_do_what_slicing_does(case: tuple[list[str | None], list[Edit]]) -> None:
    values, edits = case
    assert apply(values, *edits) == by_hand(values, edits)


def test_cuts_and_replacements_of_many_rows_are_done_at_once() -> None:
    out, applied = apply(
        ["a\nbb\nc", None, "", "mail é@x.org now"], (0, 2, 5, None), (3, 5, 13, "<mail>"), (3, 13, 13, "!")
    )
    assert out == ["a\nc", None, "", "mail <mail>! now"]
    assert applied == [True, True, True]


def test_an_edit_that_overlaps_the_last_applied_one_is_left_out() -> None:
    # The second lies in the first; the third too, for the second does not count; the fourth only touches.
    out, applied = apply(["0123456789"], (0, 2, 6, "x"), (0, 3, 9, None), (0, 5, 7, None), (0, 6, 7, None))
    assert (out, applied) == (["01x789"], [True, False, False, True])


def test_slices_of_texts_and_of_edits_count_from_their_own_start() -> None:
    values, edits = (
        texts("skipped", "abc", None, "déf"),
        batch((9, 9, 9, None), (0, 1, 2, None), (2, 1, 3, "e")),
    )
    out, applied = curate_kernels.apply_edits(values.slice(1), edits.slice(1))
    assert out.to_pylist() == ["ac", None, "def"]
    assert applied.to_pylist() == [True, True]


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ([(3, 0, 0, None)], "row 3, but there are 3 texts"),
        ([(1, 0, 0, None)], "row 1, which has no text"),
        ([(0, 0, 5, None)], "0..5 is no span of row 0, which has 4 bytes"),
        ([(0, -1, 1, None)], "-1..1 is no span"),
        ([(0, 3, 1, None)], "3..1 is no span"),
        ([(0, 0, 2**62, None)], "is no span"),
        ([(0, 2, 4, None)], "cuts through a character"),
        ([(0, 3, 4, None), (0, 0, 1, None)], r"edits\[1\]: edits must be sorted"),
        ([(2, 0, 0, None), (0, 0, 1, None)], r"edits\[1\]: edits must be sorted"),
    ],
)
def test_what_is_out_of_place_is_an_error_that_names_the_edit(edits: list[Edit], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply(["aéx", None, ""], *edits)


def test_columns_that_are_missing_null_or_of_another_type_are_named() -> None:
    edits = batch((0, 0, 1, None))
    with pytest.raises(ValueError, match='no column "replacement"'):
        curate_kernels.apply_edits(texts("a"), edits.select(["row", "start", "end"]))
    with pytest.raises(TypeError, match="row to be uint32, got Int64"):
        curate_kernels.apply_edits(texts("a"), edits.set_column(0, "row", pa.array([0])))
    with pytest.raises(ValueError, match="must not be null"):
        curate_kernels.apply_edits(texts("a"), edits.set_column(1, "start", pa.array([None], pa.int64())))


def lists(*documents: list[tuple[int, int, str, str | None]]) -> pa.ListArray:
    names = ("start", "end", "rule", "replacement")
    return pa.array([[dict(zip(names, edit, strict=True)) for edit in of] for of in documents], EDITS)


class TestStages:
    """Edits of several stages together: `curate.stages.edits`."""

    def test_each_rule_is_counted_by_document(self) -> None:
        cuts = lists([(0, 2, "b", None), (2, 3, "a", "x"), (5, 8, "b", None)], [], [(1, 3, "c", None)])
        out, applied = apply_found(texts("0123456789", None, "abc"), [cuts])
        assert out.to_pylist() == ["x3489", None, "a"]
        assert applied.to_pylist() == [
            [{"rule": "a", "count": 1, "bytes": 1}, {"rule": "b", "count": 2, "bytes": 5}],
            [],
            [{"rule": "c", "count": 1, "bytes": 2}],
        ]

    def test_a_redaction_inside_a_cut_line_goes_with_the_line(self) -> None:
        out, applied = apply_found(
            texts("keep\nmail x@y\nkeep"), [lists([(5, 14, "l", None)]), lists([(10, 13, "p", "<>")])]
        )
        assert out.to_pylist() == ["keep\nkeep"]
        assert [edit["rule"] for edit in applied[0].as_py()] == ["l"]

    @pytest.mark.parametrize("start", [0, 3, 5])
    def test_a_redaction_that_reaches_beyond_a_cut_line_is_done_and_the_cut_is_not(self, start: int) -> None:
        # A key over three lines, of which a line rule would cut the first alone.
        cut, redaction = (
            lists([], [(0, 6, "l", None)]),
            lists([(0, 1, "p", None)], [(start, 15, "p", "<key>")]),
        )
        out, _ = apply_found(texts("abc", "BEGIN\nsecret\nEND.\nkeep"), [cut, redaction])
        assert out.to_pylist() == ["bc", "BEGIN\n"[:start] + "<key>D.\nkeep"]

    @given(cases(), cases())
    def test_every_edit_of_the_last_stage_is_applied_or_lies_in_an_applied_one(
        self, first: tuple[list[str | None], list[Edit]], second: tuple[list[str | None], list[Edit]]
    ) -> None:
        values, later = second
        earlier = [edit for edit in first[1] if edit[0] < len(values) and values[edit[0]] is not None]
        earlier = [edit for edit in earlier if edit[2] <= len((values[edit[0]] or "").encode())]
        later = [edit for edit, on in zip(later, by_hand(values, later)[1], strict=True) if on]
        texts_ = [
            None if value is None else "x" * len(value.encode()) for value in values
        ]  # any offset will do

        def of(edits: list[Edit], rule: str) -> pa.ListArray:
            return lists(
                *[[(e[1], e[2], rule, None) for e in edits if e[0] == n] for n in range(len(values))]
            )

        out, _ = apply_found(texts(*texts_), [of(earlier, "l"), of(later, "p")])
        for row, text in enumerate(texts_):
            hidden = {at for edit in later if edit[0] == row for at in range(edit[1], edit[2])}
            assert text is None or len(out[row].as_py()) <= len(text) - len(hidden)

"""A plan keeps every cap, gives every stage its budget to the token, and says what it could not meet."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mixtures.planner import ASSIGNMENTS, INVENTORY, SLICES, STAGES, Plan, plan, water_fill
from mixtures.spec import Curriculum, Mixture, Read, Source, Stage, Weights

Row = tuple[
    str, str, str, int, int, int, int
]  # source, domain, language, length class, slice, documents, tokens

K = 1024


def mixture(
    weights: Mapping[str, float],
    stages: Sequence[Stage],
    *,
    max_epochs: float = 4.0,
    budget: float | int = 1.0,
    batch_tokens: int | None = None,
) -> Mixture:
    """A mixture with one source per domain, of the same name."""
    return Mixture(
        name="m",
        sources={d: Source(read=Read(kind="files", patterns=(f"{d}/*",))) for d in weights},
        mixture=Weights(weights=dict(weights), max_epochs=max_epochs, budget=budget),
        curriculum=Curriculum(
            batch_tokens=batch_tokens or math.lcm(*(stage.length for stage in stages)), stages=tuple(stages)
        ),
    )


def inventory(rows: Sequence[Row]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(INVENTORY)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, INVENTORY, strict=True)],
        schema=INVENTORY,
    )


def spread(
    source: str, tokens: int, *, length_class: int = 0, documents: int = 640, language: str = "en"
) -> list[Row]:
    """A cell of `tokens`, the same in every slice."""
    assert tokens % SLICES == 0
    return [
        (source, source, language, length_class, s, documents // SLICES, tokens // SLICES)
        for s in range(SLICES)
    ]


def by(table: pa.Table, *keys: str) -> dict[Any, int]:
    sums: dict[Any, int] = {}
    for row in table.to_pylist():
        key = tuple(row[k] for k in keys) if len(keys) > 1 else row[keys[0]]
        sums[key] = sums.get(key, 0) + row["planned_tokens"]
    return sums


ONE = [Stage(length=16, share=1.0)]
TWO = [Stage(length=16, share=0.75), Stage(length=64, share=0.25)]


def test_weights_are_met_where_there_is_enough() -> None:
    # 6,400 tokens in all, weights 3 : 1, so 4,800 and 1,600; three quarters of each in the first stage.
    done = plan(mixture({"a": 3, "b": 1}, TWO), inventory([*spread("a", 3200), *spread("b", 3200)]))
    assert by(done.assignments, "domain", "stage") == {
        ("a", "16"): 3600,
        ("a", "64"): 1200,
        ("b", "16"): 1200,
        ("b", "64"): 400,
    }
    assert done.assignments.schema == ASSIGNMENTS
    assert done.stages.schema == STAGES
    assert done.notes == ()
    assert done.stages.to_pylist() == [
        {"stage": "16", "length": 16, "share": 0.75, "budget_tokens": 4800, "planned_tokens": 4800}
        | {"sequences_planned": 300, "steps": 75},
        {"stage": "64", "length": 64, "share": 0.25, "budget_tokens": 1600, "planned_tokens": 1600}
        | {"sequences_planned": 25, "steps": 25},
    ]
    a16, b16, a64, b64 = (
        next(r for r in done.assignments.to_pylist() if (r["domain"], r["stage"]) == key)
        for key in (("a", "16"), ("b", "16"), ("a", "64"), ("b", "64"))
    )
    # a: 3,600 of 3,200 is one epoch and an eighth; then up to one and a half.
    assert (a16["start"], a16["end"], a64["start"], a64["end"]) == (0.0, 1.125, 1.125, 1.5)
    assert (b16["start"], b16["end"], b64["start"], b64["end"]) == (0.0, 0.375, 0.375, 0.5)
    assert (a16["epochs"], b64["epochs"]) == (1.125, 0.125)


def test_what_a_scarce_domain_lacks_is_spread_over_the_others_by_weight_and_said() -> None:
    # c may give 2 * 64 = 128 of the 3,232 it should; the other 6,336 go 2 : 1.
    rows = [*spread("a", 3200), *spread("b", 3200), *spread("c", 64)]
    done = plan(mixture({"a": 2, "b": 1, "c": 3}, TWO, max_epochs=2), inventory(rows))
    assert by(done.assignments, "domain") == {"a": 4224, "b": 2112, "c": 128}
    assert done.notes == (
        "c: 3,232 tokens wanted (50.0% of 6,464), 128 planned (2.0%): all of 64, 2 times, the cap",
    )


def test_a_scarce_domain_is_spread_over_the_whole_curriculum() -> None:
    done = plan(
        mixture({"a": 1, "b": 1}, TWO, max_epochs=2), inventory([*spread("a", 6400), *spread("b", 640)])
    )
    # b's 1,280 in the proportion of the stages, and not all in the last stage, which is planned first.
    assert by(done.assignments, "domain", "stage")["b", "16"] == 960
    assert by(done.assignments, "domain", "stage")["b", "64"] == 320


def test_long_stages_draw_more_from_long_documents_until_these_reach_their_cap() -> None:
    stages = [Stage(length=16, share=0.5), Stage(length=64, share=0.5, favour_long=3)]
    rows = [*spread("a", 6400), *spread("a", 6400, length_class=1)]
    done = plan(mixture({"a": 1}, stages), inventory(rows))
    # 12,800 tokens, 6,400 a stage; the long half counts three times in the second: 4,800 against 1,600.
    assert by(done.assignments, "stage", "length_class") == {
        ("16", 0): 3200,
        ("16", 1): 3200,
        ("64", 0): 1600,
        ("64", 1): 4800,
    }
    capped = plan(
        mixture({"a": 1}, stages, max_epochs=1, budget=0.99),
        inventory(rows[:64] + spread("a", 640, length_class=1)),
    )
    assert by(capped.assignments, "stage", "length_class")["64", 1] == 640
    # 7,040 tokens, 6,970 wanted, 3,485 in the second stage, of which 3 * 640 / (3 * 640 + 6400) are 804.
    assert capped.notes == (
        "64: 804 tokens wanted from documents longer than 16, 640 planned: "
        "they reach max_epochs, and shorter documents take their place",
    )
    without = plan(mixture({"a": 1}, stages), inventory(spread("a", 6400)))
    assert without.notes == ("64: favour_long has nothing to favour: no documents are longer than 16",)


def test_intervals_are_placed_by_tokens_and_not_by_the_number_of_slices() -> None:
    # One slice of u has three quarters of the tokens: half of them end two thirds into that slice.
    rows: list[Row] = [("a", "a", "en", 0, 0, 10, 300), ("a", "a", "en", 0, 63, 1, 100)]
    done = plan(mixture({"a": 1}, ONE, budget=0.5), inventory(rows))
    [row] = done.assignments.to_pylist()
    assert row["planned_tokens"] == 200
    assert row["end"] == pytest.approx((2 / 3) / 64)
    # The next tokens after the first 300 lie in the last slice; whole epochs end at whole numbers.
    [row] = plan(mixture({"a": 1}, ONE, budget=350 / 400), inventory(rows)).assignments.to_pylist()
    assert row["end"] == (63 + 0.5) / 64
    [row] = plan(mixture({"a": 1}, ONE, budget=3.0), inventory(rows)).assignments.to_pylist()
    assert (row["start"], row["end"]) == (0.0, 3.0)


@pytest.mark.parametrize(
    ("tokens", "batch"),
    [
        (64 * 12, 3 * 64),  # the short stage has 192 tokens: 3 sequences of 64 tokens, and 3 divides 72
        (64 * 20, 4 * 64),  # 320 are 5 sequences, but 5 does not divide 72
        (64 * 4 * 72, 72 * 64),  # all of it
        (64 * 4 * 700, 72 * 64),  # and never more
        (64, 64),  # 16 tokens: less than one sequence
    ],
)
def test_the_batch_shrinks_to_the_largest_divisor_that_every_stage_fills(tokens: int, batch: int) -> None:
    done = plan(mixture({"a": 1}, TWO, batch_tokens=72 * 64), inventory(spread("a", tokens)))
    assert done.batch_tokens == batch
    note = [n for n in done.notes if n.startswith("batch_tokens (4,608 in the mixture)")]
    assert len(note) == (batch < 72 * 64)
    if tokens == 64:
        assert note[0].endswith("stage 64 has 16 tokens, less than one batch of 64, the smallest that fits")
        assert "64: 16 tokens are less than one sequence of 64" in done.notes


def test_a_batch_holds_whole_sequences_of_every_stage_even_of_odd_lengths() -> None:
    stages = [Stage(length=48, share=0.5), Stage(length=64, share=0.5)]
    done = plan(mixture({"a": 1}, stages, batch_tokens=192 * 5), inventory(spread("a", 64 * 9)))
    assert done.batch_tokens == 192  # 64 divides 256 too, but 48 does not


def test_an_empty_inventory_is_a_plan_of_nothing() -> None:
    done = plan(mixture({"a": 1}, TWO), inventory([]))
    assert done.assignments.num_rows == 0
    assert done.assignments.schema == ASSIGNMENTS
    assert done.stages["planned_tokens"].to_pylist() == [0, 0]
    assert done.notes[0] == "the inventory is empty: nothing is planned"


def test_a_domain_without_documents_leaves_its_share_to_the_others() -> None:
    done = plan(mixture({"a": 1, "b": 1}, ONE), inventory(spread("a", 640)))
    assert by(done.assignments, "domain") == {"a": 640}
    assert done.notes == ("b: 320 tokens wanted (50.0%), 0 planned: the domain has no documents",)


def test_a_weight_of_zero_leaves_a_domain_out() -> None:
    done = plan(mixture({"a": 1, "b": 0}, ONE), inventory([*spread("a", 640), *spread("b", 640)]))
    assert by(done.assignments, "domain") == {"a": 1280, "b": 0}
    assert done.notes == ()


def test_a_budget_beyond_all_caps_is_cut_and_keeps_the_shares_of_the_stages() -> None:
    done = plan(mixture({"a": 1}, TWO, max_epochs=2, budget=10**12), inventory(spread("a", 640)))
    assert done.stages["planned_tokens"].to_pylist() == [960, 320]
    assert done.stages["budget_tokens"].to_pylist() == [750 * 10**9, 250 * 10**9]
    assert done.notes == (
        "a: 1,000,000,000,000 tokens wanted (100.0% of 1,000,000,000,000), 1,280 planned (100.0%): "
        "all of 640, 2 times, the cap",
        "budget: 1,000,000,000,000 tokens wanted, 1,280 planned: "
        "that is all 640 tokens of the weighted domains, 2 times",
    )


def test_one_document_larger_than_a_stage_is_said() -> None:
    rows: list[Row] = [("a", "a", "en", 2, 17, 1, 100_000)]
    done = plan(mixture({"a": 1}, TWO, budget=0.01), inventory(rows))
    assert by(done.assignments, "stage") == {"16": 750, "64": 250}
    assert (
        "64: 100% of its tokens come from 1 cells with less than one document planned of each; "
        "what is realised will differ by whole documents"
    ) in done.notes


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("tokens", -1, "tokens -1 is not between"),
        ("length_class", 3, "length_class 3 is not between 0 and 2"),
        ("slice", 64, "slice 64 is not between 0 and 63"),
        ("domain", "z", "domains without a weight in the mixture: z"),
        ("language", None, "language has 1 nulls"),
        ("slice", 300, "not of the planner's types"),
        ("tokens", 1 << 60, "tokens 1152921504606846976 is not between"),
    ],
)
def test_a_table_that_is_no_inventory_is_refused(column: str, value: object, words: str) -> None:
    row = dict(zip(INVENTORY.names, ("a", "a", "en", 0, 0, 1, 10), strict=True)) | {column: value}
    with pytest.raises(ValueError, match=words):
        plan(mixture({"a": 1}, TWO), pa.Table.from_pylist([row]))
    with pytest.raises(ValueError, match=f"no column {column}"):
        plan(mixture({"a": 1}, TWO), pa.Table.from_pylist([row]).drop_columns([column]))


def test_other_integer_and_string_types_and_many_chunks_are_the_same_inventory() -> None:
    table = inventory([*spread("a", 640), *spread("b", 640)])
    wide = table.cast(
        pa.schema([(f.name, pa.large_string() if f.type == pa.string() else pa.int64()) for f in INVENTORY])
    )
    chunked = pa.concat_tables([wide.slice(i, 7) for i in range(0, wide.num_rows, 7)])
    spec = mixture({"a": 1, "b": 2}, TWO)
    assert plan(spec, chunked).assignments.equals(plan(spec, table).assignments)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Mixture, list[Row]]:
    domains = draw(st.lists(st.sampled_from("abcd"), min_size=1, unique=True))
    weights = {d: draw(st.sampled_from([0.0, 0.001, 1.0, 3.5, 1e6])) for d in domains}
    assume(sum(weights.values()) > 0)
    shares = draw(st.lists(st.integers(1, 100), min_size=1, max_size=4))
    stages = [
        Stage(
            length=16 << (2 * i),
            share=share / sum(shares),
            favour_long=draw(st.sampled_from([1.0, 4.0, 50.0])),
        )
        for i, share in enumerate(shares)
    ]
    cell = st.tuples(
        st.sampled_from(domains),
        st.sampled_from(["en", "de"]),
        st.integers(0, len(stages)),
        st.integers(0, 63),
    )
    amount = st.one_of(st.integers(0, 50), st.integers(0, 10**12))
    rows = [
        (f"{d}{draw(st.integers(0, 1))}", d, language, length_class, s, 1, draw(amount))
        for d, language, length_class, s in draw(st.lists(cell, max_size=40))
    ]
    spec = mixture(
        weights,
        stages,
        max_epochs=draw(st.sampled_from([0.3, 1.0, 2.5, 4.0, 7.0])),
        budget=draw(st.one_of(st.sampled_from([0.1, 1.0, 6.5]), st.integers(8, 10**13))),
    )
    return spec, rows


@given(problems())
@settings(max_examples=150, deadline=None)
def test_any_plan_keeps_its_caps_budgets_and_intervals(problem: tuple[Mixture, list[Row]]) -> None:
    spec, rows = problem
    done = plan(spec, inventory(rows))
    have: dict[tuple[str, str, str, int], int] = {}
    for source, domain, language, length_class, _, _, tokens in rows:
        key = (source, domain, language, length_class)
        have[key] = have.get(key, 0) + tokens
    weights, epochs = spec.mixture.weights, spec.mixture.max_epochs
    capacity = sum(int(epochs * tokens) for (_, d, _, _), tokens in have.items() if weights[d] > 0)
    budget = spec.mixture.budget
    wanted = round(budget * sum(have.values())) if isinstance(budget, float) else budget
    total = min(wanted, capacity)

    # Every stage gets its share of what there is, to the token that rounding takes.
    planned = done.stages["planned_tokens"].to_pylist()
    assert sum(planned) == total
    for stage, tokens in zip(spec.curriculum.stages, planned, strict=True):
        assert abs(tokens - stage.share * total) <= 1 + 1e-9 * total
    assert by(done.assignments, "stage") == (
        dict(zip(done.stages["stage"].to_pylist(), planned, strict=True)) if have else {}
    )

    cells: dict[tuple[str, str, str, int], list[dict[str, Any]]] = {}
    for row in done.assignments.to_pylist():
        cells.setdefault((row["source"], row["domain"], row["language"], row["length_class"]), []).append(row)
    assert cells.keys() == have.keys()
    for key, stages in cells.items():
        used = sum(row["planned_tokens"] for row in stages)
        assert 0 <= used <= epochs * have[key]
        assert weights[key[1]] > 0 or used == 0
        assert [row["stage"] for row in stages] == [stage.name for stage in spec.curriculum.stages]
        assert stages[0]["start"] == 0
        for row, following in itertools.pairwise(stages):
            assert row["end"] == following["start"]
        for row in stages:
            assert row["start"] <= row["end"]
            assert (row["start"] < row["end"]) or row["planned_tokens"] <= 1e-12 * have[key]
        assert stages[-1]["end"] <= math.ceil(epochs)

    # A domain below its weight is at its cap, and only then.
    got = by(done.assignments, "domain")
    for domain, weight in weights.items():
        share = weight / sum(weights.values()) * wanted
        cap = sum(int(epochs * tokens) for key, tokens in have.items() if key[1] == domain)
        assert got.get(domain, 0) >= min(cap, math.floor(share * (1 - 1e-9)) - 1) or weight == 0


@given(problems(), st.randoms())
@settings(max_examples=50, deadline=None)
def test_a_plan_depends_neither_on_the_order_of_rows_nor_on_how_they_are_split(
    problem: Any, random: Any
) -> None:
    spec, rows = problem
    first = plan(spec, inventory(rows))
    halves = [(*key, documents, part) for *key, documents, t in rows for part in (t // 2, t - t // 2)]
    random.shuffle(halves)
    second = plan(spec, inventory(halves))
    # Twice the rows is twice the documents, which only the notes about coarse cells look at.
    assert first.assignments.equals(second.assignments)
    assert first.stages.equals(second.stages)
    assert first.batch_tokens == second.batch_tokens


def test_water_filling_by_hand() -> None:
    far = np.full(3, 100)
    # 10 in 1 : 2 : 4 is 1.43, 2.86, 5.71; the two missing units go to the largest remainders.
    assert water_fill(10, np.array([1, 2, 4]), far).tolist() == [1, 3, 6]
    assert water_fill(10, np.array([1, 1, 2]), far).tolist() == [3, 2, 5], "the first of equals first"
    # The second is full at 10; 50 are left for 1 : 4, of which the third takes 40.
    assert water_fill(60, np.array([1, 2, 4]), np.array([100, 10, 100])).tolist() == [10, 10, 40]
    assert water_fill(60, np.array([1, 0, 4]), np.array([5, 100, 6])).tolist() == [5, 0, 6], "all there is"


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 1e-9, 0.3, 1.0, 7.0, 1e12]), st.integers(0, 10**14)), max_size=12
    ),
    st.integers(0, 10**15),
)
@settings(max_examples=300, deadline=None)
def test_water_filling_is_exact_capped_and_level(parts: list[tuple[float, int]], target: int) -> None:
    weights = np.array([w for w, _ in parts])
    caps = np.array([c for _, c in parts], np.int64)
    amounts = water_fill(target, weights, caps)
    assert amounts.sum() == min(target, caps[weights > 0].sum())
    assert (amounts >= 0).all()
    assert (amounts <= caps).all()
    # Whoever is below its cap has at least the level of everyone else, but for rounding.
    levels = (amounts + 1.5) / np.where(weights > 0, weights, np.inf) * (1 + 1e-9)
    for index in np.flatnonzero((amounts < caps) & (weights > 0)):
        assert ((amounts - 1.5) * (1 - 1e-9) <= levels[index] * weights).all()


def realised(done: Plan, u: npt.NDArray[np.float64], sizes: npt.NDArray[np.int64]) -> dict[str, int]:
    """Tokens by stage when every document of the one cell with uniform u goes where the plan says."""
    tokens: dict[str, int] = {}
    for row in done.assignments.to_pylist():
        times = sum(((row["start"] <= u + j) & (u + j < row["end"])).astype(int) for j in range(8))
        tokens[row["stage"]] = int((times * sizes).sum())
    return tokens


@pytest.mark.parametrize("budget", [0.3, 1.0, 2.7])
def test_documents_drawn_by_their_uniforms_realise_the_plan(budget: float) -> None:
    random = np.random.default_rng(1)
    u = random.random(50_000)
    sizes = random.lognormal(6.5, 1.2, len(u)).astype(np.int64) + 1
    slices = np.floor(u * SLICES).astype(int)
    rows: list[Row] = [
        ("a", "a", "en", 0, s, int((slices == s).sum()), int(sizes[slices == s].sum())) for s in range(SLICES)
    ]
    stages = [Stage(length=16, share=0.8), Stage(length=64, share=0.15), Stage(length=256, share=0.05)]
    spec = mixture({"a": 1}, stages, budget=budget)
    done = plan(spec, inventory(rows))
    got = realised(done, u, sizes)
    # A stage's ends each fall inside a slice, where the tokens are taken to be even: an error of well under
    # a slice, 1/64 of an epoch, at each.
    for row in done.stages.to_pylist():
        assert abs(got[row["stage"]] - row["planned_tokens"]) < 0.2 * sizes.sum() / SLICES
    # In all, no document more often than the budget's epochs, rounded up, nor less than rounded down.
    last = done.assignments.to_pylist()[-1]["end"]
    times = sum((u + j < last).astype(int) for j in range(8))
    assert set(np.unique(times)) <= {math.floor(budget), math.ceil(budget)}


def test_a_hundred_thousand_rows_are_planned_in_well_under_a_second() -> None:
    random = np.random.default_rng(2)
    n = 100_000
    domain = random.integers(0, 8, n)
    table = pa.table(
        {
            "source": pa.array([f"d{i}" for i in range(8)]).take(pa.array(domain)),
            "domain": pa.array([f"d{i}" for i in range(8)]).take(pa.array(domain)),
            "language": pa.array([f"l{i}" for i in range(300)]).take(pa.array(random.integers(0, 300, n))),
            "length_class": pa.array(random.integers(0, 5, n), pa.int8()),
            "slice": pa.array(random.integers(0, SLICES, n), pa.uint8()),
            "documents": random.integers(1, 100, n),
            "tokens": random.integers(1, 10**9, n),
        }
    )
    stages = [Stage(length=4 * K << (2 * i), share=0.25, favour_long=2) for i in range(4)]
    spec = mixture({f"d{i}": 1 + i for i in range(8)}, stages)
    began = time.process_time()
    done = plan(spec, table)
    assert time.process_time() - began < 1.5  # 0.15 s on a quiet machine
    assert sum(done.stages["planned_tokens"].to_pylist()) == int(np.sum(table["tokens"].to_numpy()))

"""The planner: how much of every cell of the inventory each stage of the curriculum uses.

A cell is (source, domain, language, length class). The planner sees histograms only, never a document:

1. The budget B is a share of the inventory, or tokens, and at most what the epoch caps allow.
2. Domains share B by weight. A domain that is short of tokens is filled to its cap (max_epochs times its
   inventory), and the rest is spread over the others by weight: water-filling, exact in one sort.
3. Each stage gets its share of B, and every domain the same share of it that it has of B: a scarce domain is
   spread over the whole curriculum rather than used up by the stage that is planned first.
4. The longest stage is planned first, so that long documents are there for it. Inside a domain its cells are
   filled in proportion to their tokens, those of long documents times `favour_long`, each up to its cap.
5. A cell's tokens become intervals of the documents' keyed uniforms u: the stages, in curriculum order, take
   consecutive intervals from 0, placed by tokens through the cell's cumulative histogram over 64 slices of u.
   A document belongs to a stage once for each integer j >= 0 with start <= u + j < end.

All amounts are whole tokens: every stage gets its budget exactly, no cell more than its cap. Ties and
roundings go by the sorted cells, so that the plan does not depend on the order of the rows. 100,000 inventory
rows take about 0.15 s; memory is 1.7 kB per cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mixtures.spec import Curriculum, Mixture, Stage
from mixtures.units import length_name

SLICES = 64
_KEYS = ("source", "domain", "language", "length_class")

#: One row per (source, domain, language, length class, slice of u); rows of the same key are added up.
INVENTORY = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field(
            "length_class", pa.int8(), nullable=False
        ),  # how many of the stages' lengths it is longer than
        pa.field("slice", pa.uint8(), nullable=False),  # floor(64 u)
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
    ]
)

#: One row per stage, in curriculum order, and cell, sorted.
ASSIGNMENTS = pa.schema(
    [
        pa.field("stage", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("length_class", pa.int8(), nullable=False),
        pa.field("start", pa.float64(), nullable=False),
        pa.field("end", pa.float64(), nullable=False),
        pa.field("planned_tokens", pa.int64(), nullable=False),
        pa.field("epochs", pa.float64(), nullable=False),  # planned tokens / the cell's inventory
    ]
)

STAGES = pa.schema(
    [
        pa.field("stage", pa.string(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("share", pa.float64(), nullable=False),
        pa.field("budget_tokens", pa.int64(), nullable=False),  # share of the budget that was asked for
        pa.field("planned_tokens", pa.int64(), nullable=False),
        pa.field("sequences_planned", pa.int64(), nullable=False),  # planned tokens / length, rounded up
        pa.field("steps", pa.int64(), nullable=False),  # whole batches of planned tokens
    ]
)

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """What each stage uses of each cell (`ASSIGNMENTS`), the stages (`STAGES`), and what could not be met."""

    assignments: pa.Table
    stages: pa.Table
    notes: tuple[str, ...]
    batch_tokens: int


@dataclass(frozen=True)
class _Cells:
    """The inventory by cell, sorted by domain, source, language and length class; n cells."""

    columns: dict[str, pa.Array]
    domain: Integers  # [n] index into `domains`
    domains: list[str]
    length_class: Integers  # [n]
    documents: Integers  # [n]
    slices: Integers  # [n, 64] tokens


def plan(mixture: Mixture, inventory: pa.Table) -> Plan:
    """Solve a mixture against an inventory (`INVENTORY`).

    Raises ValueError when the inventory is not one: a column missing, a null, a negative count, a slice or
    length class out of range, a domain that the mixture has no weight for. Everything else is planned as well
    as it can be, and what could not be met is in the plan's notes.
    """
    curriculum, weights = mixture.curriculum, mixture.mixture
    cells = _cells(inventory, curriculum, weights.weights)
    tokens: Integers = cells.slices.sum(axis=1)
    caps = np.floor(weights.max_epochs * tokens).astype(np.int64)
    wanted_total = _budget(weights.budget, int(tokens.sum()))

    domains = sorted(weights.weights)
    domain_of = np.array([domains.index(name) for name in cells.domains], np.int64)[cells.domain]
    domain_weights = np.array([weights.weights[name] for name in domains])
    domain_tokens = _sum_by(domain_of, tokens, len(domains))
    by_domain = water_fill(wanted_total, domain_weights, _sum_by(domain_of, caps, len(domains)))
    total = int(by_domain.sum())

    shares = np.array([stage.share for stage in curriculum.stages])
    budgets = water_fill(total, shares, np.full(len(shares), total, np.int64))
    asked = water_fill(wanted_total, shares, np.full(len(shares), wanted_total, np.int64))
    planned, favoured = _fill_stages(
        curriculum, budgets, by_domain, domain_of, cells.length_class, tokens, caps
    )
    starts, ends = _intervals(planned, cells.slices)
    batch = _batch_tokens(curriculum, planned.sum(axis=1))

    notes = [
        *_domain_notes(domains, domain_weights, wanted_total, by_domain, domain_tokens, weights.max_epochs),
        *favoured,
        *_stage_notes(curriculum, planned, cells.documents, tokens),
        *_batch_notes(curriculum, planned.sum(axis=1), batch),
    ]
    return Plan(
        assignments=_assignments(curriculum, cells, planned, starts, ends, tokens),
        stages=_stages(curriculum, asked, planned.sum(axis=1), batch),
        notes=tuple(notes),
        batch_tokens=batch,
    )


def water_fill(target: int, weights: Floats | Integers, caps: Integers) -> Integers:
    """Whole amounts in proportion to `weights`, none above its cap, that sum to `target` or to all the caps.

    Who is capped keeps its cap, and what it leaves is spread over the others in proportion to their weights.
    Amounts are rounded down, and the missing units go to the largest remainders, the first of equals first.
    Zero weights get nothing.
    """
    caps = np.where(weights > 0, caps, 0)
    if target >= caps.sum():
        return caps
    live = np.flatnonzero(caps)
    weight = weights[live] / weights[live].max()
    cap = caps[live]
    ratio = cap / np.maximum(weight, np.finfo(float).tiny)  # the water level at which each is full
    order = np.argsort(ratio, kind="stable")
    filled = np.concatenate(([0], np.cumsum(cap[order])[:-1]))
    open_weight = np.cumsum(weight[order][::-1])[::-1]
    levels = (target - filled) / np.maximum(open_weight, np.finfo(float).tiny)
    reached = levels <= ratio[order]
    level = levels[int(np.argmax(reached))] if reached.any() else levels[-1]
    exact = np.minimum(cap, level * weight)
    whole = np.minimum(np.floor(exact).astype(np.int64), cap)
    by_remainder = np.argsort(whole - exact, kind="stable")
    while (missing := target - int(whole.sum())) != 0:
        room = whole < cap if missing > 0 else whole > 0
        chosen = by_remainder[room[by_remainder]]
        chosen = chosen[:missing] if missing > 0 else chosen[missing:]
        # One unit each suffices but for the float's own error, which is spread evenly.
        step = max(1, abs(missing) // len(chosen))
        if missing > 0:
            whole[chosen] += np.minimum(step, cap[chosen] - whole[chosen])
        else:
            whole[chosen] -= np.minimum(step, whole[chosen])
    amounts = np.zeros(len(caps), np.int64)
    amounts[live] = whole
    return amounts


def _cells(inventory: pa.Table, curriculum: Curriculum, weights: dict[str, float]) -> _Cells:
    if missing := [name for name in INVENTORY.names if name not in inventory.column_names]:
        raise ValueError(f"the inventory has no column {', '.join(missing)}")
    table = inventory.select(INVENTORY.names)
    try:
        table = table.cast(pa.schema([field.with_nullable(True) for field in INVENTORY])).combine_chunks()
    except pa.ArrowInvalid as error:
        raise ValueError(f"the inventory's columns are not of the planner's types: {error}") from error
    for name in INVENTORY.names:
        if table[name].null_count:
            raise ValueError(f"the inventory's column {name} has {table[name].null_count} nulls")
    length_class, slices, documents, tokens = (
        table[name].to_numpy().astype(np.int64) for name in ("length_class", "slice", "documents", "tokens")
    )
    stages = len(curriculum.stages)
    for name, values, low, high in (
        ("length_class", length_class, 0, stages),
        ("slice", slices, 0, SLICES - 1),
        ("documents", documents, 0, 1 << 53),
        ("tokens", tokens, 0, 1 << 53),
    ):
        if len(values) and (values.min() < low or values.max() > high):
            extreme = values.min() if values.min() < low else values.max()
            raise ValueError(f"the inventory's {name} {extreme} is not between {low} and {high}")
    if math.fsum(tokens.tolist()) > 1 << 53:
        raise ValueError("the inventory has more than 2^53 tokens")

    codes: dict[str, Integers] = {}
    values_of: dict[str, pa.Array] = {}
    for name in ("domain", "source", "language"):
        codes[name], values_of[name] = _sorted_codes(table[name])
    if unknown := [name for name in values_of["domain"].to_pylist() if name not in weights]:
        raise ValueError(f"the inventory has domains without a weight in the mixture: {', '.join(unknown)}")
    key = codes["domain"]
    for part, size in (
        (codes["source"], len(values_of["source"])),
        (codes["language"], len(values_of["language"])),
        (length_class, stages + 1),
    ):
        key = key * max(1, size) + part
    _, first, cell = np.unique(key, return_index=True, return_inverse=True)
    by_slice = np.zeros((len(first), SLICES), np.int64)
    np.add.at(by_slice, (cell, slices), tokens)
    columns = {
        name: values_of[name].take(pa.array(codes[name][first])) for name in ("source", "domain", "language")
    }
    return _Cells(
        columns=columns | {"length_class": pa.array(length_class[first], pa.int8())},
        domain=codes["domain"][first],
        domains=values_of["domain"].to_pylist(),
        length_class=length_class[first],
        documents=_sum_by(cell, documents, len(first)),
        slices=by_slice,
    )


def _sorted_codes(column: pa.ChunkedArray) -> tuple[Integers, pa.Array]:
    """Codes of a text column whose order is that of the values, and the values, sorted by their bytes."""
    encoded = pa.array(
        column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    ).dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[encoded.indices.to_numpy()], encoded.dictionary.take(pa.array(order))


def _sum_by(group: Integers, values: Integers, groups: int) -> Integers:
    sums = np.zeros(groups, np.int64)
    np.add.at(sums, group, values)
    return sums


def _budget(budget: float | int, inventory_tokens: int) -> int:
    return round(budget * inventory_tokens) if isinstance(budget, float) else budget


def _fill_stages(
    curriculum: Curriculum,
    budgets: Integers,
    by_domain: Integers,
    domain_of: Integers,
    length_class: Integers,
    tokens: Integers,
    caps: Integers,
) -> tuple[Integers, list[str]]:
    """Tokens by stage and cell, [stages, cells]; and what of `favour_long` could not be met."""
    planned = np.zeros((len(curriculum.stages), len(tokens)), np.int64)
    notes: list[str] = []
    used = np.zeros(len(tokens), np.int64)
    domain_left = by_domain.copy()
    members = [np.flatnonzero(domain_of == index) for index in range(len(by_domain))]
    for index in reversed(range(len(curriculum.stages))):
        stage = curriculum.stages[index]
        targets = water_fill(int(budgets[index]), by_domain, domain_left)
        domain_left -= targets
        long = length_class >= index if index else np.zeros(len(tokens), bool)
        appeal = np.where(long, stage.favour_long, 1.0) * tokens
        long_wanted = 0.0
        for target, cells in zip(targets, members, strict=True):
            if target:
                planned[index, cells] = water_fill(int(target), appeal[cells], (caps - used)[cells])
                long_wanted += target * appeal[cells][long[cells]].sum() / appeal[cells].sum()
        used += planned[index]
        if stage.favour_long > 1 and index and budgets[index]:
            shorter = length_name(curriculum.stages[index - 1].length)
            notes += _favour_notes(
                stage, shorter, long_wanted, int(planned[index][long].sum()), int(long.sum())
            )
    return planned, notes


def _intervals(planned: Integers, slices: Integers) -> tuple[Floats, Floats]:
    """Where each stage starts and ends on the axis of u + epoch, [stages, cells] each."""
    totals = slices.sum(axis=1)
    edges = np.concatenate((np.zeros((len(slices), 1), np.int64), np.cumsum(slices, axis=1)), axis=1)
    positions = np.zeros((len(planned) + 1, len(totals)))
    at = np.zeros(len(totals), np.int64)
    for index, amount in enumerate(planned):
        at = at + amount
        positions[index + 1] = _position(at, totals, edges, slices)
    # Rounding may step back by one unit in the last place; intervals must not.
    positions = np.maximum.accumulate(positions, axis=0)
    return positions[:-1], positions[1:]


def _position(at: Integers, totals: Integers, edges: Integers, slices: Integers) -> Floats:
    """floor(t / T) + F^-1(t mod T) of t tokens; a whole number for whole epochs."""
    epochs, rest = np.divmod(at, np.maximum(totals, 1))
    inside = np.minimum((edges[:, 1:] <= rest[:, None]).sum(axis=1), SLICES - 1)
    rows = np.arange(len(totals))
    share = (rest - edges[rows, inside]) / np.maximum(slices[rows, inside], 1)
    return epochs + np.where(rest > 0, (inside + share) / SLICES, 0.0)


def _batch_tokens(curriculum: Curriculum, planned: Integers) -> int:
    """The largest divisor of the mixture's batch, of whole sequences, that every stage fills once."""
    unit = math.lcm(*(stage.length for stage in curriculum.stages))  # the longest length, as a rule
    most = max(1, int(planned.min()) // unit)
    multiple = curriculum.batch_tokens // unit
    small = [d for d in range(1, math.isqrt(multiple) + 1) if multiple % d == 0]
    return unit * max(d for d in [*small, *(multiple // d for d in small)] if d <= most)


def _domain_notes(
    domains: list[str], weights: Floats, wanted_total: int, got: Integers, tokens: Integers, max_epochs: float
) -> Iterator[str]:
    if not tokens.sum():
        yield "the inventory is empty: nothing is planned"
        return
    if not wanted_total:
        yield "the budget is less than one token: nothing is planned"
    for name, weight, amount, have in zip(domains, weights, got.tolist(), tokens.tolist(), strict=True):
        share = weight / weights.sum()
        wanted = round(share * wanted_total)
        if weight > 0 and not have:
            yield f"{name}: {wanted:,} tokens wanted ({share:.1%}), 0 planned: the domain has no documents"
        elif amount < wanted - 1:
            yield (
                f"{name}: {wanted:,} tokens wanted ({share:.1%} of {wanted_total:,}), {amount:,} planned "
                f"({amount / max(1, int(got.sum())):.1%}): all of {have:,}, {max_epochs:g} times, the cap"
            )
    planned = int(got.sum())
    if planned < wanted_total:
        usable = int(tokens[weights > 0].sum())
        yield (
            f"budget: {wanted_total:,} tokens wanted, {planned:,} planned: "
            f"that is all {usable:,} tokens of the weighted domains, {max_epochs:g} times"
        )


def _stage_notes(
    curriculum: Curriculum, planned: Integers, documents: Integers, tokens: Integers
) -> Iterator[str]:
    mean = tokens / np.maximum(documents, 1)
    for stage, amounts in zip(curriculum.stages, planned, strict=True):
        total = int(amounts.sum())
        if 0 < total < stage.length:
            yield f"{stage.name}: {total:,} tokens are less than one sequence of {stage.length:,}"
        coarse = (amounts > 0) & (amounts < mean)
        if (share := int(amounts[coarse].sum()) / max(1, total)) > 0.01:
            yield (
                f"{stage.name}: {share:.0%} of its tokens come from {int(coarse.sum())} cells with less than "
                "one document planned of each; what is realised will differ by whole documents"
            )


def _favour_notes(stage: Stage, shorter: str, wanted: float, got: int, cells: int) -> Iterator[str]:
    if not wanted:
        yield f"{stage.name}: favour_long has nothing to favour: no documents are longer than {shorter}"
    elif wanted - got > max(cells, wanted / 1000):  # more than rounding
        yield (
            f"{stage.name}: {round(wanted):,} tokens wanted from documents longer than {shorter}, "
            f"{got:,} planned: they reach max_epochs, and shorter documents take their place"
        )


def _batch_notes(curriculum: Curriculum, planned: Integers, batch: int) -> Iterator[str]:
    fewest = int(np.argmin(planned))
    name, tokens = curriculum.stages[fewest].name, int(planned[fewest])
    if tokens < batch:
        words = (
            f"stage {name} has {tokens:,} tokens, less than one batch of {batch:,}, the smallest that fits"
        )
    else:
        words = f"{batch:,} tokens, the most that stage {name} ({tokens:,} tokens) fills at least once"
    if batch < curriculum.batch_tokens or tokens < batch:
        yield f"batch_tokens ({curriculum.batch_tokens:,} in the mixture): {words}"


def _assignments(
    curriculum: Curriculum, cells: _Cells, planned: Integers, starts: Floats, ends: Floats, tokens: Integers
) -> pa.Table:
    stages = len(curriculum.stages)
    names = pa.array([stage.name for stage in curriculum.stages], pa.string())
    every = pa.array(np.tile(np.arange(len(tokens)), stages))
    return pa.table(
        {
            "stage": names.take(pa.array(np.repeat(np.arange(stages), len(tokens)))),
            **{name: cells.columns[name].take(every) for name in _KEYS},
            "start": starts.ravel(),
            "end": ends.ravel(),
            "planned_tokens": planned.ravel(),
            "epochs": (planned / np.maximum(tokens, 1)).ravel(),
        },
        schema=ASSIGNMENTS,
    )


def _stages(curriculum: Curriculum, asked: Integers, planned: Integers, batch: int) -> pa.Table:
    def row(stage: Stage, budget: int, tokens: int) -> dict[str, object]:
        return {
            "stage": stage.name,
            "length": stage.length,
            "share": stage.share,
            "budget_tokens": budget,
            "planned_tokens": tokens,
            "sequences_planned": -(-tokens // stage.length),
            "steps": tokens // batch,
        }

    rows = zip(curriculum.stages, asked.tolist(), planned.tolist(), strict=True)
    return pa.Table.from_pylist([row(*parts) for parts in rows], schema=STAGES)

"""Runs the phases in order: plans units, skips what is done, hands the rest to an executor.

A phase's units are planned only when the phase before it is complete, because they depend on what it
published. Largest units go first, so that the last worker to finish has not much left to do.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from curate import storage
from curate.executors import Executor
from curate.phases import Phase, Task, work
from curate.pipeline import PHASES
from curate.run_directory import Record, Run, RunError, Unit


@dataclass
class PhaseSummary:
    """What a phase did in this run: `done` units of `units`, the others were there already."""

    name: str
    units: int
    done: int
    seconds: float
    figures: dict[str, float] = field(default_factory=dict)


class Watcher(Protocol):
    """Told what happens, to show it."""

    def phase(self, phase: Phase, units: int, todo: Sequence[Unit]) -> None: ...

    def unit(self, unit: Unit, record: Record) -> None: ...

    def finished(self, summary: PhaseSummary) -> None: ...


def execute(
    run: Run, executor: Executor, watcher: Watcher, *, only: Sequence[str] = ()
) -> list[PhaseSummary]:
    """Run all phases, or those that `only` names (`dedup` names all of its parts).

    What comes before a named phase has to be complete already: it is checked, not run. Raises `RunError`
    when a phase cannot start, `storage.StorageError` when a file cannot be written, and
    whatever a unit raises; what had finished before is kept.
    """
    for phase in PHASES:
        phase.config(run.mixture)  # a configuration that cannot work stops before any work
    run.claim()
    wanted = [
        index
        for index, phase in enumerate(PHASES)
        if not only or any(phase.name == name or phase.name.startswith(f"{name}.") for name in only)
    ]
    summaries = []
    for index, phase in enumerate(PHASES[: max(wanted, default=-1) + 1]):
        if index in wanted:
            summaries.append(_execute_phase(run, phase, executor, watcher))
        else:
            _require(run, phase)
    return summaries


def _finished(run: Run, phase: Phase, units: Sequence[Unit]) -> tuple[dict[str, Record], list[Task]]:
    """Records of the units that are done, and the tasks that are left."""
    config = phase.config(run.mixture)
    records: dict[str, Record] = {}
    todo: list[Task] = []
    for unit in units:
        fingerprint = run.fingerprint(phase.name, unit, config)
        if (record := run.finished(phase.name, unit, fingerprint)) is not None:
            records[unit.name] = record
        else:
            todo.append(Task(run, phase.name, unit, fingerprint))
    return records, todo


def _execute_phase(run: Run, phase: Phase, executor: Executor, watcher: Watcher) -> PhaseSummary:
    started = time.monotonic()
    units = phase.plan(run)
    run.forget_others(phase.name, units)
    records, todo = _finished(run, phase, units)
    todo.sort(key=lambda task: (-task.unit.size, task.unit.name))
    watcher.phase(phase, len(units), [task.unit for task in todo])
    for index, record in executor.map(work, todo):
        records[record.unit] = record
        watcher.unit(todo[index].unit, record)
    if todo:
        run.remove_unclaimed(list(records.values()))
    if phase.check is not None:
        phase.check(run, [records[unit.name] for unit in units])
    summary = PhaseSummary(
        phase.name,
        len(units),
        len(todo),
        time.monotonic() - started,
        totals([records[unit.name] for unit in units]),
    )
    watcher.finished(summary)
    return summary


def _require(run: Run, phase: Phase) -> None:
    """With `--only`, a phase may be asked for before those that it reads are complete."""
    units = phase.plan(run)
    records, todo = _finished(run, phase, units)
    surplus = len(run.records(phase.name)) - len(records)
    if todo or surplus:
        raise RunError(
            f"{phase.name}: {len(todo)} of {len(units)} units to do in {run.root}; "
            "complete it first (leave out --only, or name this phase too)"
        )
    if phase.check is not None:
        phase.check(run, list(records.values()))


def totals(records: Sequence[Record]) -> dict[str, float]:
    """Sums of the numeric figures of a phase's units."""
    sums: dict[str, float] = {}
    for record in records:
        for name, value in record.figures.items():
            if isinstance(value, int | float):
                sums[name] = sums.get(name, 0) + value
    return sums


def describe(run: Run) -> list[dict[str, Any]]:
    """The phases with their finished units and figures, from the records alone."""
    rows = []
    for phase in PHASES:
        records = run.records(phase.name)
        missing = [
            item.path
            for record in records
            for item in record.outputs
            if storage.size(run.url(item.path)) != item.bytes
        ]
        rows.append(
            {"phase": phase.name, "units": len(records), "missing_files": missing, "figures": totals(records)}
        )
    return rows

"""Phases and how one of their units runs.

A phase plans its units from what lies in the run directory, and works each of them alone: a unit reads
its inputs, publishes its files and returns its figures. Where it runs is an executor's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from curate.run_directory import Record, Run, Unit
from curate.storage import Published
from mixtures.spec import Mixture


@dataclass(frozen=True)
class Result:
    """What a unit made: files, and figures for progress, status and later phases (sizes, counts)."""

    outputs: tuple[Published, ...]
    figures: dict[str, Any]


@dataclass(frozen=True)
class Phase:
    """`plan` runs in the driver, `work` wherever the unit goes, `config` names what of the mixture it reads.

    `check`, when there is one, looks at all records after the last unit and may stop the run.
    """

    name: str
    does: str
    plan: Callable[[Run], list[Unit]]
    work: Callable[[Run, Unit], Result]
    config: Callable[[Mixture], Any]
    check: Callable[[Run, list[Record]], None] | None = None


@dataclass(frozen=True)
class Task:
    """A unit on its way to a worker."""

    run: Run
    phase: str
    unit: Unit
    fingerprint: str


def work(task: Task) -> Record:
    """Run a unit and record it; the last thing that happens is the record."""
    from curate.pipeline import phase_named

    result = phase_named(task.phase).work(task.run, task.unit)
    record = Record(task.unit.name, task.fingerprint, result.outputs, result.figures)
    task.run.save_record(task.phase, record)
    return record


def inputs_of(records: list[Record], *prefixes: str) -> tuple[tuple[str, str], ...]:
    """(path, checksum) of the records' files whose path starts with one of the prefixes."""
    return tuple(
        (item.path, item.checksum)
        for record in records
        for item in record.outputs
        if item.path.startswith(prefixes)
    )

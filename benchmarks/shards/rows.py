"""A row of the result, and the rounds that its figures are medians of.

A side is a command that measures several works in its own process, on the cores given, and prints one line
of JSON: `{"measured": {work: number}, "facts": {...}}`. The sides of a part run in turn, round after round,
so that a machine that slows down slows them all.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import pinned


@dataclass(frozen=True)
class Row:
    """One measurement. `ours` and `theirs` are in `unit`; `ratio` says how many times better ours is."""

    part: str
    work: str
    input: str
    unit: str
    ours: float | None
    peer: str | None = None
    theirs: float | None = None
    better: str = "more"  # or "less": bytes, seconds
    floor: float | None = None  # what the machine allows, in `unit`
    floor_is: str = ""
    target: float | None = None  # what is asked for, in `unit` or, with `target_of`, of the ratio or share
    target_of: str = "ours"
    peak_bytes: dict[str, int] = field(default_factory=dict)
    spread: dict[str, list[float]] = field(default_factory=dict)  # least and most over the rounds
    note: str = ""

    @property
    def ratio(self) -> float | None:
        if not self.ours or not self.theirs:
            return None
        return self.ours / self.theirs if self.better == "more" else self.theirs / self.ours

    @property
    def share_of_floor(self) -> float | None:
        if not self.ours or not self.floor:
            return None
        return self.ours / self.floor if self.better == "more" else self.floor / self.ours

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        value = {"ours": self.ours, "ratio": self.ratio, "share": self.share_of_floor}[self.target_of]
        if self.target is None or value is None:
            return None
        less = self.better == "less" and self.target_of == "ours"
        return value <= self.target if less else value >= self.target

    def as_json(self) -> dict[str, Any]:
        """The row with what follows from it, without what it has not."""
        derived = {"ratio": self.ratio, "share_of_floor": self.share_of_floor, "met": self.met}
        return {key: value for key, value in (asdict(self) | derived).items() if value not in (None, "", {})}


@dataclass(frozen=True)
class Measured:
    """Medians of a side's works over its rounds, their spread, its largest peak and its last facts."""

    median: dict[str, float]
    spread: dict[str, list[float]]
    peak_bytes: int
    facts: dict[str, Any]

    def __contains__(self, work: str) -> bool:
        return work in self.median


def interleaved(
    sides: Mapping[str, Sequence[Any]],
    *,
    rounds: int,
    cores: list[int],
    cores_of: Mapping[str, list[int]] | None = None,
    after: Callable[[], None] = lambda: None,
) -> dict[str, Measured]:
    """Run every side once a round, on `cores` or its own in `cores_of`, and `after` behind each run.

    Raises SystemExit with what it said when a side fails.
    """
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    peaks = dict.fromkeys(sides, 0)
    for _ in range(rounds):
        for name, command in sides.items():
            with tempfile.TemporaryDirectory(prefix="shards_") as scratch:
                _, _, peak, output = pinned(list(command), (cores_of or {}).get(name, cores), Path(scratch))
            peaks[name] = max(peaks[name], peak)
            seen[name].append(json.loads(output.splitlines()[-1]))
            after()
    return {name: _summary(runs, peaks[name]) for name, runs in seen.items()}


def _summary(runs: list[dict[str, Any]], peak: int) -> Measured:
    values = {work: [run["measured"][work] for run in runs] for work in runs[0]["measured"]}
    return Measured(
        median={work: statistics.median(found) for work, found in values.items()},
        spread={work: [min(found), max(found)] for work, found in values.items()},
        peak_bytes=peak,
        facts=runs[-1].get("facts", {}),
    )


def show(rows: list[Row]) -> None:
    """The table, a block per part."""
    part = None
    for row in rows:
        if row.part != part:
            part = row.part
            print(
                f"\n{part:<10}{'work':<42}{'input':<42}{'ours':>10}{'theirs':>10} {'unit':<12}"
                f"{'ratio':>9}{'floor':>7}  peer"
            )
        ratio = f"{row.ratio:,.1f}x" if row.ratio is not None else ""
        share = f"{row.share_of_floor:.0%}" if row.share_of_floor is not None else ""
        met = {True: " target met", False: " TARGET MISSED", None: ""}[row.met]
        print(
            f"{'':<10}{row.work:<42}{row.input:<42}{_figure(row.ours):>10}{_figure(row.theirs):>10} "
            f"{row.unit:<12}{ratio:>9}{share:>7}  {row.peer or ''}{met}"
        )


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"

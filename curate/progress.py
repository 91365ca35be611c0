"""Progress of a run: a bar with rate and time left on a terminal, a line a phase elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from curate.driver import PhaseSummary
from curate.phases import Phase
from curate.run_directory import Record, Unit


def size(count: float) -> str:
    """Bytes for people: 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def rate_columns() -> tuple[ProgressColumn, ...]:
    """What a bar shows of work with a `rate` field: how far, how fast, how long yet."""
    return (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )


class ConsoleWatcher:
    """Shows phases as they go; bars weigh units by their bytes, so the time left means something."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._documents = 0

    def phase(self, phase: Phase, units: int, todo: Sequence[Unit]) -> None:
        if not todo:
            return
        self._documents = 0
        if not self.console.is_terminal:
            self.console.print(
                f"{phase.name:<17} {phase.does}: {len(todo)} of {units} units to do",
                highlight=False,
                soft_wrap=True,
            )
            return
        self._progress = Progress(
            SpinnerColumn(),
            *rate_columns(),
            console=self.console,
            transient=True,
        )
        self._progress.start()
        total = sum(max(unit.size, 1) for unit in todo)
        self._task = self._progress.add_task(phase.name, total=total, rate="")

    def unit(self, unit: Unit, record: Record) -> None:
        self._documents += int(record.figures.get("documents", 0))
        if self._progress is None or self._task is None:
            return
        self._progress.update(self._task, advance=max(unit.size, 1))
        elapsed = self._progress.tasks[0].elapsed or 0
        if elapsed and self._documents:
            self._progress.update(self._task, rate=f"{self._documents / elapsed:,.0f} documents/s")

    def finished(self, summary: PhaseSummary) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = self._task = None
        if summary.done:
            self.console.print(
                f"[green]✓[/] {summary.name:<17} {summary.done:>4} units {summary.seconds:>7.1f} s  "
                + _rates(summary),
                highlight=False,
                soft_wrap=True,
            )

    def stop(self) -> None:
        """Give the terminal back after an error."""
        if self._progress is not None:
            self._progress.stop()


def _rates(summary: PhaseSummary) -> str:
    figures, seconds = summary.figures, max(summary.seconds, 1e-9)
    # Figures are of all units; rates only make sense when all of them ran now.
    parts = []
    for name, shown in (("documents", "documents"), ("pairs", "pairs"), ("tokens", "tokens")):
        if name in figures:
            parts.append(f"{figures[name]:,.0f} {shown}")
    if "text_bytes" in figures and summary.done == summary.units:
        parts.append(f"{size(figures['text_bytes'])} of text, {size(figures['text_bytes'] / seconds)}/s")
    return ", ".join(parts)

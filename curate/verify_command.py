"""`curate verify`: look at every shard of a run, and price what a trainer would move."""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

if TYPE_CHECKING:
    from curate.run_directory import Run
    from curate.verify import Verdict

console = Console()
errors = Console(stderr=True)


class _Bar:
    """A watcher: a bar of bytes, with the rate, on a terminal; nothing elsewhere. Threads may call it."""

    def __init__(self, on: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=on,
            transient=True,
            disable=not on.is_terminal,
        )
        self._task = self.progress.add_task("", visible=False)
        self._lock = threading.Lock()

    def starts(self, what: str, total: int) -> None:
        self.progress.reset(self._task, description=what, total=total or None, visible=True)

    def advance(self, done: int) -> None:
        with self._lock:
            self.progress.advance(self._task, done)


@click.command()
@click.argument("run_directory")
@click.option("--stage", default=None, help="Only this stage of the curriculum.")
@click.option(
    "--sample",
    type=click.IntRange(0),
    default=200,
    show_default=True,
    help="Documents whose text is encoded again and compared.",
)
@click.option("--seed", type=int, default=None, help="Draws the sample (default: the mixture's seed).")
@click.option("--dma", is_flag=True, help="Price the transfers of a trainer's ranks, against naive layouts.")
@click.option("--chip", default="910B", show_default=True, help="For --dma: whose costs.")
@click.option(
    "--context-parallel",
    type=click.IntRange(1),
    default=None,
    help="Ranks that share a sequence: check that each can read its part.",
)
@click.option("--tensor-parallel", type=click.IntRange(1), default=1, show_default=True, help="For --dma.")
@click.option("--data-parallel", type=click.IntRange(1), default=1, show_default=True, help="For --dma.")
@click.option("--rows-per-batch", type=click.IntRange(1), default=1, show_default=True, help="For --dma.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def verify(
    run_directory: str,
    stage: str | None,
    sample: int,
    seed: int | None,
    dma: bool,
    chip: str,
    context_parallel: int | None,
    tensor_parallel: int,
    data_parallel: int,
    rows_per_batch: int,
    as_json: bool,
) -> None:
    """Check every shard of RUN_DIRECTORY and prove, on a sample, that its tokens are its texts'.

    Checksums of files, footers, sequences and tokens; where each sequence lies in its file; boundaries,
    padding and counts; the manifest's rows against the shards; every token of every picked document there
    once an epoch. Each problem is a line: where, what, what to do. Exit status 1 if there are any.
    """
    from curate.run_directory import open_run
    from curate.verify import verify as look

    run = open_run(run_directory)
    if dma:
        _check_chip(chip, run_directory)
    started = time.monotonic()
    bar = _Bar(errors)
    with bar.progress:
        verdict = look(
            run, stage=stage, sample=sample, seed=seed, context_parallel=context_parallel, watcher=bar
        )
    seconds = time.monotonic() - started
    prices: list[dict[str, Any]] = []
    if dma:
        parallel = {
            "context_parallel": context_parallel or 1,
            "tensor_parallel": tensor_parallel,
            "data_parallel": data_parallel,
            "rows_per_batch": rows_per_batch,
        }
        prices = _prices(run, stage, chip, parallel, verdict)
    if as_json:
        _print_json(run_directory, verdict, seconds, prices)
    else:
        _print(verdict, seconds, prices, chip, context_parallel or 1)
    if verdict.problems:
        sys.exit(1)


def _check_chip(chip: str, run_directory: str) -> None:
    """Raise `RunError` where the cost model cannot be asked, before anything is looked at."""
    from curate import storage
    from curate.run_directory import RunError
    from curate_ascend.dma import CHIPS

    if chip not in CHIPS:
        raise RunError(f"--chip {chip}: not one of {', '.join(CHIPS)}")
    if not storage.is_local(run_directory):
        raise RunError(f"--dma reads local shards, and {run_directory} is not here: fetch its shards first")


def _prices(
    run: Run, stage: str | None, chip: str, parallel: dict[str, int], verdict: Verdict
) -> list[dict[str, Any]]:
    """What a batch costs a rank, stage by stage; one that cannot be priced is a problem of the verdict."""
    from curate.verify import paths_by_stage
    from curate_ascend.dma import report
    from shards.verify import Problem

    found: list[dict[str, Any]] = []
    for name, paths in paths_by_stage(run, stage).items():
        try:
            found += report(paths, chip=chip, **parallel)
        except (ValueError, OSError) as error:
            remedy = "choose another number of ranks, or --stage"
            verdict.problems.append(Problem(f"stage {name}", f"its transfers have no price: {error}", remedy))
    return found


def _print_json(run_directory: str, verdict: Verdict, seconds: float, prices: list[dict[str, Any]]) -> None:
    answer = {
        "run": run_directory,
        "seconds": seconds,
        "bytes": verdict.bytes,
        "bytes_per_second": verdict.bytes / max(verdict.seconds, 1e-9),
        "stages": {name: asdict(totals) for name, totals in verdict.stages.items()},
        "documents_encoded": verdict.documents_encoded,
        "tokens_encoded": verdict.tokens_encoded,
        "problems": [asdict(problem) for problem in verdict.problems],
        "dma": prices,
    }
    click.echo(json.dumps(answer, ensure_ascii=False))


def _print(verdict: Verdict, seconds: float, prices: list[dict[str, Any]], chip: str, ranks: int) -> None:
    from curate.progress import size

    table = Table("stage", box=None)
    for name in ("shards", "sequences", "tokens", "padding", "bytes"):
        table.add_column(name, justify="right")
    for stage, totals in verdict.stages.items():
        table.add_row(stage, *(f"{value:,}" for value in asdict(totals).values()))
    console.print(table)
    if verdict.documents_encoded:
        console.print(
            f"encoded again: {verdict.documents_encoded:,} documents, {verdict.tokens_encoded:,} tokens",
            highlight=False,
        )
    if prices:
        _print_prices(prices, chip, ranks)
    for problem in verdict.problems:
        console.print(f"[bold red]wrong[/] {escape(str(problem))}", highlight=False, soft_wrap=True)
    rate = f"{size(verdict.bytes)} at {size(verdict.bytes / max(verdict.seconds, 1e-9))}/s"
    found = len(verdict.problems)
    words = f"{found:,} problem{'s' if found > 1 else ''}" if found else "as written"
    console.print(f"{words} ({rate}; {seconds:.1f} s in all)", highlight=False)


def _print_prices(prices: list[dict[str, Any]], chip: str, ranks: int) -> None:
    from curate.progress import size

    table = Table("stage", "layout", box=None, title_justify="left")
    table.title = f"a batch of one rank of {ranks}, to a {chip}"
    for name in ("read", "copied", "steps", "misaligned", "microseconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for price in prices:
        sizes = [size(price[name]) for name in ("bytes_read", "bytes_copied")]
        counts = [f"{price[name]:,.0f}" for name in ("descriptors", "misaligned", "microseconds")]
        table.add_row(str(price["stage"]), str(price["layout"]), *sizes, *counts)
    console.print(table)
    for basis in dict.fromkeys(str(price["basis"]) for price in prices):
        console.print(f"[dim]{escape(basis)} (docs/ascend.md)[/]", highlight=False)

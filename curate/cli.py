"""The command line. Each command is a few lines over the module that does the work."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from curate import storage
from curate.classifiers.command import classifier
from curate.export_command import export
from curate.storage import StorageError
from curate.trace_command import trace
from curate.verify_command import verify
from mixtures.complaints import MixtureError
from mixtures.spec import canonical, load_mixture

console = Console()
errors = Console(stderr=True)


class _Commands(click.Group):
    """Turns the errors that people can act on into one clear message and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        from curate.classifiers import ClassifierError
        from curate.executors.local import WorkerDied
        from curate.run_directory import RunError
        from curate.stages.language_data import LanguageError
        from curate.stages.rules import RuleError

        try:
            return super().invoke(ctx)
        except (
            MixtureError,
            RunError,
            RuleError,
            LanguageError,
            StorageError,
            WorkerDied,
            ClassifierError,
            ImportError,
        ) as error:
            errors.print(f"[bold red]error[/] {_plain(str(error))}", highlight=False, soft_wrap=True)
            sys.exit(1)
        except KeyboardInterrupt:
            errors.print("stopped; what had finished is kept: run the same command again to go on")
            sys.exit(130)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="curate")
def main() -> None:
    """From raw web, code, mathematics and science to packed training shards, every decision queryable.

    \b
    curate run mixtures/v4.yaml                 do it (again: only what is missing or changed)
    curate status runs/v4                       what has been done
    curate sql runs/v4 "SELECT dropped_by, count(*) FROM documents GROUP BY 1 ORDER BY 2 DESC"
    curate explain runs/v4 URL-OR-ID            why a document is or is not in the mix
    curate trace runs/v4 SHARD:SEQUENCE:OFFSET  which document a token came from
    curate verify runs/v4                       shards, manifest and a sample of texts: as written?
    curate rules gopher_quality                 what a rule set asks
    curate what-if runs/v4 --set gopher_quality.word_count.min=80
    curate report runs/v4                       the report as one HTML file
    curate classifier train|eval MODEL ...      quality and topic models
    curate export megatron|mds runs/v4 ...      shards in another trainer's format
    """


@main.command()
@click.argument("mixture", type=click.Path(dir_okay=False))
@click.option(
    "--workers", "-w", type=click.IntRange(1), default=None, help="Processes (default: one per core)."
)
@click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where work units run; ray uses RAY_ADDRESS, or starts a cluster here.",
)
@click.option(
    "--run-directory", "-o", default=None, help="Folder or URL of the run (default: runs/<mixture name>)."
)
@click.option(
    "--only",
    multiple=True,
    metavar="PHASE",
    help="Run only this phase (repeatable), e.g. curate, dedup, tokenize.",
)
@click.option(
    "--dry-run", is_flag=True, help="Print the resolved configuration and the work units, and stop."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def run(
    mixture: str,
    workers: int | None,
    executor: str,
    run_directory: str | None,
    only: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run MIXTURE from raw files to packed shards.

    A second run does only what is missing or changed. The output is the same, byte for byte, for any
    number of workers, either executor, and however often the run was killed.
    """
    from curate import executors
    from curate.driver import execute
    from curate.pipeline import PHASES
    from curate.progress import ConsoleWatcher
    from curate.run_directory import Run, RunError

    spec = load_mixture(mixture)
    job = Run(run_directory or f"runs/{spec.name}", spec)
    names = {name for phase in PHASES for name in (phase.name, phase.name.split(".")[0])}
    for name in only:
        if name not in names:
            raise RunError(
                f"--only {name}: no such phase; there are {', '.join(phase.name for phase in PHASES)}"
            )
    if dry_run:
        _show_plan(job)
        return
    started = time.monotonic()
    watcher = ConsoleWatcher(errors if as_json else console)
    pool = executors.make(executor, workers or os.cpu_count() or 1)
    try:
        with job.locked():
            summaries = execute(job, pool, watcher, only=only)
    finally:
        watcher.stop()
        pool.close()
    seconds = time.monotonic() - started
    if as_json:
        click.echo(json.dumps({"run": job.root, "seconds": seconds, "phases": [vars(s) for s in summaries]}))
    elif not any(summary.done for summary in summaries):
        console.print(f"nothing to do: {job.root} is complete ({seconds:.1f} s)", highlight=False)
    if not as_json and not only:
        _show_summary(job)


def _show_plan(job: Any) -> None:
    from curate.phases import curate as first
    from curate.pipeline import PHASES

    click.echo(json.dumps(json.loads(canonical(job.mixture)), indent=2, ensure_ascii=False))
    units = first.plan(job)
    table = Table("unit", "files", "bytes", title="units of the first phase", title_justify="left", box=None)
    for unit in units:
        table.add_row(unit.name, f"{len(unit.inputs):,}", f"{unit.size:,}")
    console.print(table)
    present = {unit.payload["split"].source for unit in units}
    absent = [name for name in job.mixture.sources if name not in present]
    if absent:
        console.print(f"absent (optional): {', '.join(absent)}")
    console.print(
        f"then: {', '.join(phase.name for phase in PHASES[1:])}; their units follow from what the first finds"
    )


def _show_summary(job: Any) -> None:
    from curate.phases import curate as first
    from curate.sql import query

    (totals,) = query(
        job.root,
        "SELECT count(*), count(*) FILTER (status = 'kept'), sum(tokens), "
        "count(*) FILTER (status = 'quarantined') FROM documents",
    )[1]
    stages = query(
        job.root,
        "SELECT stage, sum(sequences), sum(tokens), sum(tokens) / sum(tokens + padding) FROM shards "
        "JOIN stages USING (stage) GROUP BY stage, length ORDER BY length",
    )[1]
    console.print(
        f"\n{totals[0]:,} documents in, {totals[1]:,} kept with {totals[2] or 0:,} tokens, "
        f"{totals[3]:,} quarantined",
        highlight=False,
    )
    table = Table("stage", "sequences", "tokens", "filled", box=None)
    for name, sequences, tokens, fill in stages:
        table.add_row(name, f"{sequences:,}", f"{tokens:,}", f"{fill:.2%}")
    console.print(table)
    absent = first.absent_sources(job)
    if absent:
        console.print(f"absent (optional) sources: {', '.join(absent)}", highlight=False)
    root = job.root
    console.print(
        f"\nreport   {storage.join(root, 'report.html')}\n"
        f'ask      curate sql {root} "SELECT dropped_by, count(*) FROM documents GROUP BY 1 ORDER BY 2"\n'
        f"explain  curate explain {root} URL-OR-ID\n"
        f'load     python -c "from shards.loader import Loader; '
        f"print(Loader('{root}', stage='{stages[0][0]}', batch_sequences=1).batch(0))\"",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@main.command()
@click.argument("run_directory")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def status(run_directory: str, as_json: bool) -> None:
    """What a run has done so far, phase by phase."""
    from curate.driver import describe
    from curate.run_directory import open_run

    rows = describe(open_run(run_directory))
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table("phase", "units done", "documents", "tokens", "notes", box=None)
    for row in rows:
        figures = row["figures"]
        notes = f"{len(row['missing_files'])} files missing: run again" if row["missing_files"] else ""
        cells = [f"{figures[name]:,.0f}" if name in figures else "" for name in ("documents", "tokens")]
        table.add_row(row["phase"], str(row["units"]) if row["units"] else "-", *cells, notes)
    console.print(table)


@main.command()
@click.argument("run_directory")
@click.argument("statement", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a row.")
@click.option("--limit", type=click.IntRange(1), default=200, show_default=True, help="Rows to show.")
@click.option("--views", is_flag=True, help="Print the views, for `duckdb -init` in RUN_DIRECTORY.")
def sql(run_directory: str, statement: str | None, as_json: bool, limit: int, views: bool) -> None:
    """Ask a run's manifests with DuckDB; without a STATEMENT, list the views and their columns.

    Views: documents, shards, sequences, spans, inventory, plan, stages, notes, and ledger (from the
    first phase on). Plain DuckDB reads the same Parquet files under RUN_DIRECTORY/manifest/.
    docs/queries.md has what people ask.
    """
    from curate.sql import query, views_script

    if views:
        click.echo(views_script(), nl=False)
        return
    if statement is None:
        statement = (
            "SELECT table_name AS view, string_agg(column_name, ', ' ORDER BY ordinal_position) AS columns "
            "FROM information_schema.columns GROUP BY 1 ORDER BY 1"
        )
    names, rows = query(run_directory, statement)
    if as_json:
        for row in rows:
            click.echo(
                json.dumps(dict(zip(names, map(_shown, row), strict=True)), default=str, ensure_ascii=False)
            )
        return
    table = Table(*names, box=None)
    for row in rows[:limit]:
        table.add_row(*(_plain("" if value is None else str(_shown(value))) for value in row))
    console.print(table)
    if len(rows) > limit:
        console.print(f"... {len(rows) - limit:,} more rows (--limit)")


def _shown(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


@main.command()
@click.argument("run_directory")
@click.argument("what", metavar="URL-OR-ID")
def explain(run_directory: str, what: str) -> None:
    """The whole story of a document, by its id, URL or locator (or a part of them)."""
    from curate.explain import find, show
    from curate.rules_in_force import rules_of_source
    from curate.run_directory import open_run

    job = open_run(run_directory)
    for story in find(run_directory, what):
        show(console, story, rules_of_source(job, story.row["source"]))
        console.print()


@main.command()
@click.argument("rule_set", metavar="[SET]", required=False)
@click.option("--language", metavar="CODE", help="Show the limits for this language.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def rules(rule_set: str | None, language: str | None, as_json: bool) -> None:
    """The rule sets that come with curate; or one of them (or of a YAML file) with its rows."""
    from dataclasses import asdict

    from curate.show_rules import show_set, show_sets
    from curate.stages.rules import load_rules, shipped_rules

    found = load_rules([rule_set] if rule_set else shipped_rules())
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], ensure_ascii=False))
    elif rule_set:
        show_set(console, found[0], language)
    else:
        show_sets(console, found)


@main.command("what-if")
@click.argument("run_directory")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="SET.RULE.BOUND=VALUE",
    help="Another bound (min or max); none for no bound.",
)
@click.option("--off", multiple=True, metavar="RULE", help="Without this rule, or this whole set.")
@click.option("--add", "added", multiple=True, metavar="SET", help="With this rule set (or YAML file) too.")
@click.option("--source", "sources", multiple=True, metavar="NAME", help="For this source only (repeatable).")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def what_if(
    run_directory: str,
    settings: tuple[str, ...],
    off: tuple[str, ...],
    added: tuple[str, ...],
    sources: tuple[str, ...],
    as_json: bool,
) -> None:
    """What other rules would keep and drop, in documents, bytes and tokens, from the ledger alone.

    \b
    curate what-if runs/v4 --set gopher_quality.word_count.min=80
    curate what-if runs/v4 --off gopher_quality.stop_words --add fineweb --source web
    curate what-if runs/v4 --set fineweb2.top_2_gram.max.fr=0.1 --set language.min_score=0.8
    """
    from curate.run_directory import RunError, open_run
    from curate.show_rules import as_json as plain
    from curate.show_rules import show_answer
    from curate.what_if import Changes, ask, parse_setting

    if not (settings or off or added):
        raise RunError("nothing to ask: give --set, --off or --add")
    changes = Changes(tuple(map(parse_setting, settings)), off, added, sources)
    answer = ask(open_run(run_directory), changes)
    if as_json:
        click.echo(json.dumps(plain(answer), ensure_ascii=False))
    else:
        show_answer(console, answer)


@main.command()
@click.argument("run_directory")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Where to write it (default: RUN_DIRECTORY/report.html).",
)
def report(run_directory: str, output: Path | None) -> None:
    """Draw the report of a finished run as one self-contained HTML file."""
    from curate.report import write_report
    from curate.run_directory import open_run

    open_run(run_directory)
    page = write_report(run_directory)
    if output is None:
        storage.publish_bytes(run_directory, "report.html", page)
        console.print(storage.join(run_directory, "report.html"))
    else:
        output.write_bytes(page)
        console.print(str(output))


main.add_command(classifier)
main.add_command(export)
main.add_command(trace)
main.add_command(verify)


if __name__ == "__main__":
    main()

"""Running the pipeline over the fixture corpus, and comparing what came out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from click.testing import CliRunner, Result

from curate.cli import main
from curate.driver import PhaseSummary, execute
from curate.executors import Executor
from curate.executors.local import LocalExecutor
from curate.phases import Phase
from curate.run_directory import Record, Run, Unit
from mixtures.spec import load_mixture

ROOT = Path(__file__).parents[1]


@dataclass
class Log:
    """A watcher that remembers which units ran, by phase."""

    ran: dict[str, list[str]] = field(default_factory=dict)
    _phase: str = ""

    def phase(self, phase: Phase, _: int, __: Sequence[Unit]) -> None:
        self._phase = phase.name

    def unit(self, unit: Unit, _: Record) -> None:
        self.ran.setdefault(self._phase, []).append(unit.name)

    def finished(self, _: PhaseSummary) -> None: ...


def run_mixture(mixture: Path, root: Path, executor: Executor | None = None) -> dict[str, list[str]]:
    """Run a mixture file; the units that were run, by phase (a phase with none is left out)."""
    log = Log()
    job = Run(str(root), load_mixture(str(mixture)))
    with job.locked():
        execute(job, executor or LocalExecutor(1), log)
    return log.ran


def outputs(root: Path) -> dict[str, bytes]:
    """Every file of a run that has to be the same on every machine: all but records, lock and description."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and not name.startswith("units/") and name not in (".lock", "run.json"):
            found[name] = path.read_bytes()
    return found


def assert_same_outputs(root: Path, expected: dict[str, bytes]) -> None:
    """Fail with the names of the files that are missing, surplus or different."""
    found = outputs(root)
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []


def ask(root: Path, statement: str) -> list[tuple[Any, ...]]:
    """Rows of a query over a run's manifest, by plain DuckDB on the files: `{documents}` names a table."""
    tables = ("documents", "shards", "sequences", "spans", "inventory", "plan", "stages", "notes")
    files = {name: f"read_parquet('{root}/manifest/{name}/*.parquet')" for name in tables}
    files["ledger"] = f"read_parquet('{root}/ledger/*.parquet')"
    with duckdb.connect() as connection:
        return connection.execute(statement.format(**files)).fetchall()


def invoke(*arguments: object) -> Result:
    """A command in this process; a bug in it shows as the exception it is."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def curate(
    *arguments: object, environment: dict[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, with a terminal 200 columns wide."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **(environment or {})}
    command = [sys.executable, "-m", "curate.cli", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env=variables, timeout=timeout, check=False
    )

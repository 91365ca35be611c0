"""DuckDB over a run's manifests: the same files that plain DuckDB opens, as views."""

from __future__ import annotations

from typing import Any

import duckdb

from curate import storage
from curate.phases.manifest import TABLES
from curate.run_directory import RunError

#: `ledger` is there from the first phase on; the others once the run is complete.
_FOLDERS = {"ledger": "ledger", **{name: f"manifest/{name}" for name in TABLES}}


def connect(run: str) -> duckdb.DuckDBPyConnection:
    """An in-memory database with a view for every manifest that the run has.

    Raises `RunError` where there is no run, and for a file that is not Parquet.
    """
    if storage.size(storage.join(run, "run.json")) is None:
        raise RunError(f"{run}: no run here (no run.json); give the folder that `curate run` printed")
    connection = duckdb.connect()
    if not storage.is_local(run):
        connection.register_filesystem(storage.filesystem(run)[0])
    for name, folder in _FOLDERS.items():
        if any(file.endswith(".parquet") for file in storage.list_files(storage.join(run, folder))):
            pattern = storage.join(run.removeprefix("file://"), folder, "*.parquet").replace("'", "''")
            try:
                connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{pattern}')")
            except duckdb.Error as error:
                raise RunError(
                    f"{folder} cannot be read: {str(error).splitlines()[0]}: delete the file and run the "
                    "mixture again: its unit is made anew"
                ) from error
    return connection


def views_script() -> str:
    """The same views for `duckdb -init`, with paths relative to the run directory."""
    return "".join(
        f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet('{folder}/*.parquet');\n"
        for name, folder in _FOLDERS.items()
    )


def query(run: str, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of a statement; raises `RunError` with DuckDB's words when it is wrong."""
    connection = connect(run)
    try:
        result = connection.execute(statement)
        names = [column[0] for column in result.description or []]
        return names, result.fetchall()
    except duckdb.Error as error:
        views = ", ".join(
            row[0]
            for row in connection.execute(
                "SELECT view_name FROM duckdb_views() WHERE NOT internal"
            ).fetchall()
        )
        raise RunError(f"{error}\nviews of this run: {views}") from error

"""The manifests of a run as DuckDB views with the columns that the report reads.

Every table of `<run>/manifest/` is a folder of Parquet files. A view casts the columns it knows to the
types below; a missing column reads as null and a missing or empty folder as no rows, so that a run that
kept nothing, or stopped before it wrote a shard, still has a report. Nothing is copied: a query reads the
columns that it names, and never the `signals` of the ledger.
"""

from __future__ import annotations

import duckdb
import fsspec

_MIX = {"source": "VARCHAR", "domain": "VARCHAR", "language": "VARCHAR", "length_class": "TINYINT"}

#: Columns by table, as SQL types. The manifests may hold more; the report reads these.
TABLES: dict[str, dict[str, str]] = {
    "documents": {
        "document_id": "BLOB",
        "source": "VARCHAR",
        "locator": "VARCHAR",
        "url": "VARCHAR",
        "domain": "VARCHAR",
        "topic": "VARCHAR",
        "document_type": "VARCHAR",
        "language": "VARCHAR",
        "quality_bucket": "TINYINT",  # 0 to 19, by percentile within the language
        "bytes": "BIGINT",
        "text_bytes": "BIGINT",
        "tokens": "BIGINT",
        "status": "VARCHAR",  # kept, rules, language, duplicate, quarantined
        "dropped_by": "VARCHAR",
        "failed_rules": "VARCHAR[]",
        "edits": "STRUCT(rule VARCHAR, count INTEGER, bytes BIGINT)[]",
        "duplicate_of": "BLOB",
        "duplicate_kind": "VARCHAR",  # exact, near
        "jaccard": "DOUBLE",
        "error": "VARCHAR",
        "error_offset": "BIGINT",
    },
    "shards": {
        "shard": "VARCHAR",
        "stage": "VARCHAR",
        "sequences": "BIGINT",
        "tokens": "BIGINT",
        "padding": "BIGINT",
        "bytes": "BIGINT",
    },
    "sequences": {
        "stage": "VARCHAR",
        "documents": "BIGINT",
        "tokens": "BIGINT",
        "padding": "BIGINT",
        "sum_squared_lengths": "DOUBLE",  # tokens²; up to 1.1e12 at 1M context, exact in a double
    },
    "inventory": _MIX | {"documents": "BIGINT", "tokens": "BIGINT"},
    "plan": {"stage": "VARCHAR"}
    | _MIX
    | {"planned_tokens": "BIGINT", "realised_tokens": "BIGINT", "epochs": "DOUBLE"},
    "stages": {
        "stage": "VARCHAR",
        "length": "BIGINT",
        "share": "DOUBLE",
        "budget_tokens": "BIGINT",
        "planned_tokens": "BIGINT",
        "sequences_planned": "BIGINT",
        "steps": "BIGINT",
    },
    "notes": {"note": "VARCHAR"},
}


def open_manifests(run: str) -> duckdb.DuckDBPyConnection:
    """A connection with one view per table of `TABLES`. `run` is a folder or an fsspec URL.

    Raises FileNotFoundError when the run has no manifest at all, and ValueError for a manifest file that
    cannot be read.
    """
    filesystem, root = fsspec.core.url_to_fs(f"{run.rstrip('/')}/manifest")
    if not filesystem.isdir(root):
        raise FileNotFoundError(f"{run}: no manifest folder in it; is it the folder of a finished run?")
    connection = duckdb.connect(
        config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    )
    local = "file" in filesystem.protocol or "local" in filesystem.protocol
    if not local:
        connection.register_filesystem(filesystem)
    for name, columns in TABLES.items():
        files = sorted(f for f in filesystem.glob(f"{_literal(root)}/{name}/*.parquet"))
        paths = [f if local else filesystem.unstrip_protocol(f) for f in files]
        try:
            _create_view(connection, name, columns, paths)
        except duckdb.Error as error:
            raise ValueError(
                f"{run}: the manifest table '{name}' cannot be read ({error}); "
                f"write it again with `curate run`, or check it with `curate verify`"
            ) from error
    return connection


def _create_view(
    connection: duckdb.DuckDBPyConnection, name: str, columns: dict[str, str], paths: list[str]
) -> None:
    if not paths:
        typed = ", ".join(f'NULL::{kind} AS "{column}"' for column, kind in columns.items())
        connection.execute(f"CREATE VIEW {name} AS SELECT {typed} WHERE false")
        return
    listed = ", ".join("'" + _literal(path).replace("'", "''") + "'" for path in paths)
    table = f"read_parquet([{listed}], union_by_name=true)"
    present = {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()}
    typed = ", ".join(
        (f'"{column}"::{kind}' if column in present else f"NULL::{kind}") + f' AS "{column}"'
        for column, kind in columns.items()
    )
    connection.execute(f"CREATE VIEW {name} AS SELECT {typed} FROM {table}")


def _literal(path: str) -> str:
    """The path with the characters that a glob reads as patterns made literal."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)

"""`docs/queries.md` runs as it stands: its queries, its Python, its tables of columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from conftest import Finished
from fixture_corpus import SITE
from run_fixture import ROOT, ask, invoke

from curate.sql import connect, query

PAGE = (ROOT / "docs" / "queries.md").read_text()

#: What the page names, and what the fixture run has in its place.
NAMES = {"'1M'": "'4K'", "en.wikipedia.org": SITE.split("/")[2], "64K-00000-0000": "4K-00000-0000"}


@dataclass(frozen=True)
class Query:
    """A query of the page, and what the page says of its result."""

    title: str
    statement: str
    columns: list[str]
    may_be_empty: bool


def _queries() -> list[Query]:
    found = []
    for section in re.split(r"^### (?=\d+\. )", PAGE, flags=re.MULTILINE)[1:]:
        (statement,) = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
        (after,) = re.findall(r"^Columns: (.*)$", section, re.MULTILINE)
        title = section.splitlines()[0]
        found.append(Query(title, statement, re.findall(r"`(\w+)`", after), "May be empty." in after))
    return found


QUERIES = _queries()


def of_fixture(text: str) -> str:
    """A text of the page with the fixture run's names in it."""
    for name, other in NAMES.items():
        text = text.replace(name, other)
    return text


def test_the_page_has_its_queries_in_order_and_names_what_is_replaced() -> None:
    assert len(QUERIES) >= 20
    assert [int(query.title.split(".")[0]) for query in QUERIES] == list(range(1, len(QUERIES) + 1))
    assert all(name in PAGE for name in NAMES)
    assert PAGE.count("```sql") == len(QUERIES)


@pytest.mark.parametrize("asked", QUERIES, ids=lambda asked: asked.title)
def test_a_query_of_the_page_returns_the_columns_that_it_names(finished: Finished, asked: Query) -> None:
    names, rows = query(str(finished.root), of_fixture(asked.statement))
    assert names == asked.columns
    assert rows or asked.may_be_empty


def test_the_documents_of_a_sequence_fill_it(finished: Finished) -> None:
    """Against the shard's manifest: the page's query gives all of a sequence, in order."""
    (asked,) = [asked for asked in QUERIES if "documents of a sequence" in asked.title]
    rows = query(str(finished.root), asked.statement)[1]
    tokens = ask(
        finished.root,
        "SELECT tokens FROM {sequences} WHERE shard = '4K-00000-0000.arrow' AND sequence = 0",
    )[0][0]
    assert sum(row[1] for row in rows) == tokens
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)


def test_tokens_by_language_are_all_tokens_of_the_stage(finished: Finished) -> None:
    rows = query(str(finished.root), of_fixture(QUERIES[0].statement))[1]
    (total,) = ask(finished.root, "SELECT sum(tokens) FROM {shards} WHERE stage = '4K'")[0]
    assert sum(row[2] for row in rows) == total


def test_epochs_are_within_the_mixtures_cap(finished: Finished) -> None:
    (asked,) = [asked for asked in QUERIES if "Epochs realised" in asked.title]
    rows = query(str(finished.root), asked.statement)[1]
    assert any(row[2] > 0 for row in rows)
    for _, kept, used, passes, epochs in rows:
        if kept:
            assert epochs == pytest.approx(used / kept, abs=1e-3)
            assert passes <= 4 + 1  # a document's draw may lie across the cap's end


def test_cut_documents_are_those_longer_than_their_stage(finished: Finished) -> None:
    (asked,) = [asked for asked in QUERIES if "cut across" in asked.title]
    lengths = dict(ask(finished.root, "SELECT stage, length FROM {stages}"))
    for stage, _, _, pieces, _, tokens in query(str(finished.root), asked.statement)[1]:
        assert tokens > lengths[stage] * (pieces - 1)


def _schemas() -> dict[str, list[tuple[str, str]]]:
    section = PAGE.split("\n## Views\n")[1]
    parts = re.split(r"^### (\w+)\n", section, flags=re.MULTILINE)[1:]
    return {
        name: re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", body, re.MULTILINE)
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


def _real(connection: duckdb.DuckDBPyConnection, view: str) -> list[tuple[str, str]]:
    rows = connection.execute(f"DESCRIBE {view}").fetchall()
    return [(row[0], re.sub(r"STRUCT\(.*\)", "STRUCT", row[1])) for row in rows]


def test_the_tables_of_columns_are_those_of_the_views(finished: Finished) -> None:
    connection = connect(str(finished.root))
    views = {
        row[0]
        for row in connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    }
    schemas = _schemas()
    assert {*schemas, "ledger"} == views
    for view, columns in schemas.items():
        assert columns == _real(connection, view), view
    ledger = _real(connection, "ledger")
    assert ledger == schemas["documents"][: len(ledger)]
    assert ledger[-1][0] == "signals"


def test_the_python_of_the_page_runs(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "v4").symlink_to(finished.root)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        *setup, last = of_fixture(block).strip().splitlines()
        scope: dict[str, object] = {}
        exec("\n".join([*setup, f"result = {last}.fetchall()"]), scope)
        assert scope["result"]


def test_the_views_can_be_printed_for_plain_duckdb(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = invoke("sql", finished.root, "--views").stdout
    monkeypatch.chdir(finished.root)
    with duckdb.connect() as connection:
        connection.execute(script)
        for asked in QUERIES:
            assert connection.execute(of_fixture(asked.statement)).fetchall() or asked.may_be_empty


def test_a_document_is_found_without_reading_the_files_that_lack_it(finished: Finished) -> None:
    """The files' Bloom filters know which ids are not there, and deny none that is."""
    for table in ("spans", "documents"):
        for path in (finished.root / "manifest" / table).iterdir():
            with duckdb.connect() as connection:
                probe = (
                    "SELECT bool_and(bloom_filter_excludes) "
                    "FROM parquet_bloom_probe(?, 'document_id', ?::BLOB)"
                )
                ids = connection.execute(f"SELECT DISTINCT document_id FROM '{path}'").fetchall()
                for (document,) in ids:
                    assert connection.execute(probe, [str(path), document]).fetchone() == (False,)
                absent = [bytes([i]) * 16 for i in range(50)]
                found = [
                    connection.execute(probe, [str(path), other]).fetchone() == (True,) for other in absent
                ]
                assert sum(found) > 40


def test_a_damaged_manifest_is_a_clear_error(finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes((finished.root / "run.json").read_bytes())
    (tmp_path / "manifest" / "spans").mkdir(parents=True)
    (tmp_path / "manifest" / "spans" / "x.parquet").write_bytes(b"PAR1 no")
    result = invoke("sql", tmp_path, "SELECT 1")
    assert result.exit_code == 1
    assert "manifest/spans cannot be read" in result.output

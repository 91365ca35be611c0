"""The recipes of `docs/loading.md` do what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from test_loader import write_run

PAGE = Path(__file__).resolve().parents[1] / "docs" / "loading.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def recipe(word):
    (block,) = [block for block in BLOCKS if word in block]
    return block


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def rows(run):
    tables = [pa.ipc.open_file(path.read_bytes()).read_all() for path in files(run)]
    return pa.concat_tables(tables)


def files(run):
    return sorted((run / "shards").glob("4K-*.arrow"))


def test_datasets_reads_the_shards(run, rows, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    names = {"run": str(run)}
    exec(recipe("import datasets"), names)
    assert len(names["shards"]) == len(rows)
    np.testing.assert_array_equal(names["tokens"], rows["tokens"][0].as_py())


def test_duckdb_queries_the_shards(run, rows):
    names = {"files": [str(path) for path in files(run)]}
    source = recipe("import duckdb").replace("duckdb.sql(", "found = duckdb.sql(")
    exec(source, names)
    documents = max(map(len, rows["document_lengths"].to_pylist()))
    assert names["found"] == [(len(rows), sum(rows["padding"].to_pylist()), documents)]


def test_numpy_views_a_record_batch(run, rows):
    names = {"files": [str(path) for path in files(run)]}
    exec(recipe("pa.memory_map"), names)
    assert names["plane"].tolist() == rows["tokens"][: len(names["plane"])].to_pylist()


def test_the_first_example_and_the_mixture_run(run):
    names: dict[str, object] = {}
    source = recipe("loader.seek(120_000)").replace('"runs/v4"', repr(str(run)))
    exec(source, names)
    assert names["batch"].tokens.shape == (8, 64)
    assert names["loader"].state() == {"seed": 7, "step": 120_001}
    mixture = re.sub(r'"runs/\w+"', repr(str(run)), recipe('"runs/code"'))
    exec(mixture, names)
    assert names["loader"].next().tokens.shape == (256, 64)

"""The whole way, from raw files to shards: every document's fate is told and every token is found again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import curate_kernels
import fixture_corpus as corpus
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Finished
from run_fixture import ask, run_mixture

from curate.phases.manifest import TABLES
from curate.pipeline import PHASES
from curate.sql import query, views_script
from shards.loader import Loader
from tokenizer import load

#: Documents that each source holds, counted by hand in `fixture_corpus`.
DOCUMENTS = {
    "web": 10 + 13 + 4 + 4 + 2,
    "articles": 5 + 1,
    "rows": 5 + 1,
    "texts": 3 + 4,
    "pages": 2,
    "code": 5,
    "math": 2,
    "science": 1,
    "manuals": 2 + 1,
    "help": 2,
}
STAGES = {"256": 256, "1K": 1024, "4K": 4096}


def column(root: Path, statement: str) -> list[Any]:
    return [row[0] for row in ask(root, statement)]


def one(root: Path, statement: str) -> Any:
    (value,) = column(root, statement)
    return value


def placed_tokens(root: Path) -> Iterator[tuple[bytes, str, int, np.ndarray[Any, Any]]]:
    """(document id, stage, epoch, ids) of every document in the shards, pieces put together by the spans."""
    planes: dict[str, list[np.ndarray[Any, Any]]] = {}
    for shard, path in ask(root, "SELECT shard, path FROM {shards}"):
        with pa.memory_map(str(root / path)) as source:
            table = pa.ipc.open_file(source).read_all()
        tokens = table["tokens"].combine_chunks()
        width = tokens.type.list_size
        planes[shard] = list(tokens.flatten().to_numpy().reshape(-1, width).copy())
    pieces: dict[tuple[bytes, str, int], list[np.ndarray[Any, Any]]] = {}
    order = (
        "SELECT document_id, stage, epoch, shard, sequence, start, length, document_offset FROM {spans} "
        "ORDER BY document_id, stage, epoch, document_offset"
    )
    for document, stage, epoch, shard, sequence, start, length, offset in ask(root, order):
        found = pieces.setdefault((bytes(document), stage, epoch), [])
        assert offset == sum(map(len, found)), "pieces follow one another without a gap"
        found.append(planes[shard][sequence][start : start + length])
    for (document, stage, epoch), parts in pieces.items():
        yield document, stage, epoch, np.concatenate(parts)


def kept_texts(root: Path) -> dict[bytes, str]:
    table = pa.concat_tables(pq.read_table(path) for path in sorted((root / "documents").glob("*.parquet")))
    return dict(zip(table["document_id"].to_pylist(), table["text"].to_pylist(), strict=True))


# Documents


def test_every_input_document_has_exactly_one_row(finished: Finished) -> None:
    counts = dict(ask(finished.root, "SELECT source, count(*) FROM {documents} GROUP BY 1"))
    assert counts == DOCUMENTS
    assert one(finished.root, "SELECT count(DISTINCT document_id) FROM {documents}") == sum(
        DOCUMENTS.values()
    )
    same = "SELECT count(*) FROM {documents} JOIN {ledger} USING (document_id, source, locator)"
    assert one(finished.root, same) == sum(DOCUMENTS.values())


def test_an_id_is_the_hash_of_source_and_locator(finished: Finished) -> None:
    rows = ask(finished.root, "SELECT document_id, source, locator FROM {documents}")
    ids, sources, locators = zip(*rows, strict=True)
    made = curate_kernels.document_ids(
        pa.array(sources, pa.large_string()), pa.array(locators, pa.large_string())
    )
    assert made.to_pylist() == list(map(bytes, ids))


def test_fates_add_up(finished: Finished) -> None:
    fates = dict(ask(finished.root, "SELECT status, count(*) FROM {documents} GROUP BY 1"))
    assert set(fates) == {"kept", "rules", "language", "duplicate", "quarantined"}
    assert sum(fates.values()) == sum(DOCUMENTS.values())
    assert fates["quarantined"] == len(corpus.DAMAGED)
    assert fates["duplicate"] == 4
    inconsistent = """
        SELECT locator FROM {documents}
        WHERE (status IN ('rules', 'language')) <> (dropped_by IS NOT NULL)
           OR (status IN ('rules', 'language')) <> (len(failed_rules) > 0)
           OR dropped_by IS DISTINCT FROM failed_rules[1]
           OR (status = 'duplicate') <> (duplicate_of IS NOT NULL)
           OR (status = 'duplicate') <> (duplicate_kind IS NOT NULL)
           OR (status = 'quarantined') <> (error IS NOT NULL)
           OR (status = 'quarantined') <> (signals IS NULL)
           OR (status = 'kept') <> (tokens IS NOT NULL)"""
    assert column(finished.root, inconsistent) == []


def test_bad_pages_fall_to_the_rules_that_are_meant_for_them(finished: Finished) -> None:
    dropped = dict(ask(finished.root, "SELECT url, dropped_by FROM {documents} WHERE status = 'rules'"))
    assert set(dropped) == {corpus.SHORT_PAGE, corpus.REPETITIVE_PAGE}
    assert dropped[corpus.SHORT_PAGE] == "gopher_quality.word_count"
    assert dropped[corpus.REPETITIVE_PAGE].startswith("gopher_repetition.")
    assert column(finished.root, "SELECT locator FROM {documents} WHERE status = 'language'") == [
        "texts/empty.txt"
    ]


def test_duplicates_name_the_document_that_stayed(finished: Finished) -> None:
    rows = ask(
        finished.root,
        "SELECT a.url, b.url, a.duplicate_kind, a.jaccard, b.status FROM {documents} a "
        "JOIN {documents} b ON a.duplicate_of = b.document_id",
    )
    survivors = {url: (survivor, kind) for url, survivor, kind, _, _ in rows}
    by_id = {
        url: bytes(i)
        for i, url in ask(
            finished.root, "SELECT document_id, url FROM {documents} WHERE url IS NOT NULL AND error IS NULL"
        )
    }
    lost, stayed = sorted((corpus.ORIGINAL, corpus.COPY), key=lambda url: by_id[url], reverse=True)
    assert survivors == {
        lost: (stayed, "exact"),  # the smaller id
        corpus.SHORTER: (corpus.LONGER, "near"),
        corpus.TWIN: (corpus.TWIN_LONGER, "near"),
        corpus.TWIN_COPY: (corpus.TWIN_LONGER, "near"),
    }
    assert all(status == "kept" for *_, status in rows), "a survivor is never itself dropped"
    for url, _, kind, jaccard, _ in rows:
        assert jaccard == 1 if kind == "exact" else 0.75 <= jaccard < 1, url


def test_what_cannot_be_read_is_told_with_the_reason(finished: Finished) -> None:
    rows = ask(
        finished.root,
        "SELECT locator, source, error, error_offset FROM {documents} WHERE status = 'quarantined'",
    )
    found = {name: row for name in corpus.DAMAGED for row in rows if name in row[0]}
    assert {name: row[1] for name, row in found.items()} == corpus.DAMAGED
    assert len(rows) == len(corpus.DAMAGED)
    reasons = {name: row[2] for name, row in found.items()}
    assert reasons["web/truncated.warc.gz"] == "truncated record"
    assert reasons["tables/articles.jsonl#row=3"].startswith("invalid JSON")
    assert reasons["texts/picture.txt"] == "binary file"
    assert reasons["texts/cut.txt.gz"] == reasons["man/broken.1.gz"] == "truncated gzip"
    data = (finished.corpus / "tables/articles.jsonl").read_bytes()
    assert data[found["tables/articles.jsonl#row=3"][3] :].startswith(b'{"id": "broken"')
    archive = (finished.corpus / "web/truncated.warc.gz").read_bytes()
    assert archive[found["web/truncated.warc.gz"][3] :].startswith(b"\x1f\x8b"), "the record's own offset"


def test_legacy_charsets_are_decoded(finished: Finished) -> None:
    texts = kept_texts(finished.root)
    by_name = f"SELECT document_id, charset FROM {{documents}} WHERE url = '{corpus.LEGACY_PAGE}'"
    ((page, charset),) = ask(finished.root, by_name)
    assert charset == "cp1251"
    assert "Самовар появился в России" in texts[bytes(page)]
    ((file, charset),) = ask(
        finished.root,
        f"SELECT document_id, charset FROM {{documents}} WHERE locator = '{corpus.LATIN_1_FILE}'",
    )
    assert charset == "cp1252", "what the web means by latin-1"
    assert texts[bytes(file)] == corpus.prose("fr-vigne")


def test_pages_lose_their_navigation_and_keep_their_text(finished: Finished) -> None:
    texts = kept_texts(finished.root)
    (page,) = column(
        finished.root, f"SELECT document_id FROM {{documents}} WHERE url = '{corpus.SITE}en-salt.html'"
    )
    title, first, second = corpus.prose("en-salt").strip().split("\n\n")
    assert texts[bytes(page)] == f"# {title}\n\n{first}\n\n{second}\n"


def test_languages_are_those_the_texts_are_written_in(finished: Finished) -> None:
    rows = ask(finished.root, "SELECT url, language FROM {documents} WHERE source = 'web' AND error IS NULL")
    named = {
        url: language for url, language in rows if url.startswith(corpus.SITE) and url[-8:] != "old.html"
    }
    expected = {url: url.removeprefix(corpus.SITE)[:2] for url in named if url[len(corpus.SITE) + 2] == "-"}
    assert len(expected) == 25
    assert {url: named[url] for url in expected} == expected
    assert set(column(finished.root, "SELECT DISTINCT language FROM {documents} WHERE source = 'code'")) == {
        "zxx"
    }


# Tokens


def test_kept_tokens_are_the_inventory_and_picked_tokens_are_in_the_shards(finished: Finished) -> None:
    root = finished.root
    kept = one(root, "SELECT sum(tokens) FROM {documents}")
    assert kept == one(root, "SELECT sum(tokens) FROM {inventory}")
    spans = one(root, "SELECT sum(length) FROM {spans}")
    assert spans == one(root, "SELECT sum(tokens) FROM {sequences}")
    assert spans == one(root, "SELECT sum(tokens) FROM {shards}")
    assert spans == one(root, "SELECT sum(realised_tokens) FROM {plan}")
    by_stage = "SELECT stage, sum({}) FROM {} GROUP BY 1 ORDER BY 1"
    realised = ask(root, by_stage.format("realised_tokens", "{plan}"))
    assert realised == ask(root, by_stage.format("length", "{spans}"))
    planes = "SELECT sum(tokens + padding) - count(*) * max(length) FROM {sequences} a JOIN {stages} b "
    assert set(column(root, f"{planes} USING (stage) GROUP BY stage")) == {0}


def test_the_plan_meets_its_budget_and_the_shards_come_near_it(finished: Finished) -> None:
    root = finished.root
    kept = one(root, "SELECT sum(tokens) FROM {documents}")
    planned = one(root, "SELECT sum(planned_tokens) FROM {plan}")
    assert 0.9 * 3 * kept <= planned <= 3 * kept, "budget: 3.0, less what the caps on repetition forbid"
    assert one(root, "SELECT sum(realised_tokens) FROM {plan}") == pytest.approx(planned, rel=0.1)
    assert one(root, "SELECT max(epochs) FROM {plan}") <= 4
    shares = dict(ask(root, "SELECT stage, sum(planned_tokens) FROM {plan} GROUP BY 1"))
    assert {name: round(tokens / planned, 2) for name, tokens in shares.items()} == {
        "256": 0.4,
        "1K": 0.3,
        "4K": 0.3,
    }


def test_no_document_is_used_more_often_than_the_cap_nor_twice_in_an_epoch(finished: Finished) -> None:
    uses = "SELECT document_id, count(DISTINCT (stage, epoch)), count(DISTINCT epoch) FROM {spans} GROUP BY 1"
    for _, times, epochs in ask(finished.root, uses):
        assert times == epochs, "an epoch of a document belongs to one stage"
        assert epochs <= 4


def test_every_placed_document_is_its_kept_text_between_bos_and_eos(finished: Finished) -> None:
    tokenizer = load("deepseek-v4")
    texts = kept_texts(finished.root)
    ids, offsets = tokenizer.encode_column(pa.array(texts.values(), pa.large_string()))
    expected = dict(zip(texts, np.split(ids.to_numpy(), offsets.to_numpy()[1:-1]), strict=True))
    sizes = dict(ask(finished.root, "SELECT document_id, tokens FROM {documents} WHERE status = 'kept'"))
    sizes = {bytes(document): tokens for document, tokens in sizes.items()}
    seen = set()
    for document, stage, epoch, found in placed_tokens(finished.root):
        assert found[0] == tokenizer.special.bos
        assert found[-1] == tokenizer.special.eos
        assert np.array_equal(found[1:-1], expected[document]), (stage, epoch)
        assert tokenizer.decode(found[1:-1]) == texts[document]
        assert len(found) == sizes[document]
        seen.add(document)
    assert len(seen) > 0.9 * len(sizes), "three epochs leave hardly a document out"


def test_a_long_document_is_cut_at_sequence_ends_only(finished: Finished) -> None:
    root = finished.root
    (size,) = column(root, f"SELECT tokens FROM {{documents}} WHERE locator = '{corpus.LONG_ROW}'")
    assert size > STAGES["4K"]
    for stage, length in STAGES.items():
        cut = (
            "SELECT count(*) FROM {{spans}} s JOIN {{documents}} d USING (document_id) "
            "WHERE stage = '{0}' AND s.length < d.tokens AND d.tokens <= {1}"
        )
        assert column(root, cut.format(stage, length)) == [0], "a document that fits is never cut"
    pieces = (
        "SELECT stage, epoch, list(length ORDER BY document_offset) FROM {spans} s "
        "JOIN {documents} d USING (document_id) " + (f"WHERE locator = '{corpus.LONG_ROW}' GROUP BY ALL")
    )
    rows = ask(root, pieces)
    assert rows
    for stage, _, lengths in rows:
        assert lengths == [STAGES[stage]] * (size // STAGES[stage]) + [size % STAGES[stage]]


def test_a_page_with_control_strings_encodes_to_ordinary_ids(finished: Finished) -> None:
    tokenizer = load("deepseek-v4")
    (page,) = column(
        finished.root,
        f"SELECT document_id FROM {{documents}} WHERE url = '{corpus.CONTROL_PAGE}' AND status = 'kept'",
    )
    found = [tokens for document, _, _, tokens in placed_tokens(finished.root) if document == bytes(page)]
    assert found, "the page is in the shards"
    for tokens in found:
        assert not set(tokens[1:-1].tolist()) & set(tokenizer.added)
        text = tokenizer.decode(tokens[1:-1])
        assert [string for string in corpus.CONTROL_STRINGS if string not in text] == []


def test_padding_is_the_pad_id_and_nothing_else_is(finished: Finished) -> None:
    pad = load("deepseek-v4").special.pad
    for path, tokens in ask(finished.root, "SELECT path, tokens FROM {shards}"):
        with pa.memory_map(str(finished.root / path)) as source:
            table = pa.ipc.open_file(source).read_all()
        plane = table["tokens"].combine_chunks().flatten().to_numpy()
        assert int((plane != pad).sum()) == tokens


def test_fill_in_the_middle_only_reorders_a_text(finished: Finished, tmp_path: Path) -> None:
    mixture = tmp_path / "fim.yaml"
    mixture.write_text(
        corpus.mixture(finished.corpus, "fim", fim=0.5).replace("rules: [math]", "rules: [math]\n    fim: 0")
    )
    run_mixture(mixture, tmp_path / "run")
    tokenizer = load("deepseek-v4")
    special = tokenizer.special
    texts = kept_texts(tmp_path / "run")
    sources = {bytes(i): s for i, s in ask(tmp_path / "run", "SELECT document_id, source FROM {documents}")}
    split = whole = 0
    for document, _, _, tokens in placed_tokens(tmp_path / "run"):
        body = tokens[1:-1]
        if body[0] != special.fim_begin:
            assert tokenizer.decode(body) == texts[document]
            whole += 1
            continue
        split += 1
        assert sources[document] != "math"
        hole, end = (int(np.flatnonzero(body == mark)[0]) for mark in (special.fim_hole, special.fim_end))
        prefix, suffix, middle = (
            tokenizer.decode(part) for part in (body[1:hole], body[hole + 1 : end], body[end + 1 :])
        )
        assert prefix + middle + suffix == texts[document]
    assert split > 10
    assert whole > 10


# Reading a run


def test_each_view_answers_as_plain_duckdb_on_the_files_does(finished: Finished) -> None:
    _, rows = query(str(finished.root), "SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY 1")
    assert [row[0] for row in rows] == sorted((*TABLES, "ledger"))
    for table in (*TABLES, "ledger"):
        through_view = query(str(finished.root), f"SELECT * FROM {table} ORDER BY ALL")[1]
        assert through_view, f"{table} has rows"
        assert through_view == ask(finished.root, f"SELECT * FROM {{{table}}} ORDER BY ALL")


def test_the_views_script_works_from_inside_the_run_directory(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    import duckdb

    monkeypatch.chdir(finished.root)
    with duckdb.connect() as connection:
        connection.execute(views_script())
        found = connection.execute("SELECT count(*) FROM documents").fetchall()
    assert found == [(sum(DOCUMENTS.values()),)]


@pytest.mark.parametrize("stage", STAGES)
def test_the_loader_gives_every_sequence_of_a_stage_once(finished: Finished, stage: str) -> None:
    loader = Loader(str(finished.root), stage=stage, batch_sequences=1)
    assert loader.verify() == []
    tokens = documents = 0
    for step in range(loader.sequences):
        batch = loader.batch(step)
        assert batch.tokens.shape == (1, STAGES[stage])
        assert batch.boundaries[-1] == STAGES[stage]
        lengths = batch.document_lengths.flatten()
        tokens += sum(lengths.to_pylist())
        documents += len(lengths)
    assert ask(finished.root, f"SELECT sum(length), count(*) FROM {{spans}} WHERE stage = '{stage}'") == [
        (tokens, documents)
    ]


def test_the_report_is_drawn_and_every_phase_recorded(finished: Finished) -> None:
    report = (finished.root / "report.html").read_text()
    assert all(source in report for source in DOCUMENTS)
    assert sorted(path.name for path in (finished.root / "units").iterdir()) == sorted(p.name for p in PHASES)

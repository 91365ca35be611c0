"""A run with line rules on: what is stored is edited, and every cut is in the ledger."""

from __future__ import annotations

from pathlib import Path

import curate_kernels
import fixture_corpus
import line_rules_reference as reference
import pyarrow.parquet as pq
import pytest
from conftest import Finished
from run_fixture import ask, assert_same_outputs, invoke, outputs, run_mixture

from curate.executors.local import LocalExecutor
from curate.stages.rules import load_rules
from mixtures.spec import LineRules


def edited_mixture(corpus: Path, split_bytes: str = "8Ki") -> str:
    text = fixture_corpus.mixture(corpus, "edited")
    text = text.replace("rules: [gopher_quality, gopher_repetition]", "lines: c4")
    text = text.replace("rules: [gopher_repetition]", "lines: [refinedweb]")
    assert text.count("lines:") == 2
    return text.replace("split_bytes: 8Ki", f"split_bytes: {split_bytes}")


def stored(root: Path) -> dict[bytes, tuple[str, str]]:
    """(source, text) of the kept documents, by id."""
    rows = [row for path in (root / "documents").glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    return {row["document_id"]: (row["source"], row["text"]) for row in rows}


@pytest.fixture(scope="module")
def edited(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edited")
    (folder / "edited.yaml").write_text(edited_mixture(corpus))
    run_mixture(folder / "edited.yaml", folder / "run")
    return folder / "run"


def test_kept_texts_are_what_the_published_rules_leave(edited: Path, finished: Finished) -> None:
    before, after = stored(finished.root), stored(edited)
    changed = 0
    for document, (source, text) in after.items():
        if document in before:
            was = before[document][1]
            expected = {"web": reference.c4_text, "texts": reference.refinedweb_text}.get(source, str)(was)
            assert text == expected
            changed += text != was
    assert changed > 10


def test_the_ledger_says_what_was_cut_and_by_which_rule(edited: Path) -> None:
    kinds = dict(
        ask(
            edited,
            "SELECT source, list_sort(list_distinct(flatten(list(list_transform(edits, lambda e: e.rule))))) "
            "FROM {documents} WHERE source IN ('web', 'texts', 'code') GROUP BY 1",
        )
    )
    assert "c4.line_end" in kinds["web"]
    assert all(rule.startswith("c4.") for rule in kinds["web"])
    assert all(rule.startswith("refinedweb.") for rule in kinds["texts"])
    assert kinds["code"] == []
    # The bytes of a document's cuts are those that its text has lost.
    assert ask(
        edited, "SELECT count(*) FROM {documents} WHERE edits IS NULL AND status <> 'quarantined'"
    ) == [(0,)]
    lost = ask(
        edited,
        "SELECT source, signals.text_bytes - text_bytes, "
        "coalesce(list_sum(list_transform(edits, lambda e: e.bytes)), 0) "
        "FROM {documents} WHERE status <> 'quarantined'",
    )
    assert [(source, gone, cut) for source, gone, cut in lost if gone != cut] == []
    assert sum(gone for _, gone, _ in lost) > 0


def test_explain_and_the_report_tell_the_edits(edited: Path) -> None:
    url = ask(edited, "SELECT url FROM {documents} WHERE source = 'web' AND len(edits) > 0 ORDER BY 1")[0][0]
    shown = invoke("explain", edited, url).output
    assert "edited by" in shown
    assert "c4.line_end" in shown
    assert "c4.line_end" in (edited / "report.html").read_text()


def test_edits_do_not_depend_on_workers_or_on_where_a_batch_ends(
    edited: Path, corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "edited.yaml").write_text(edited_mixture(corpus))
    run_mixture(tmp_path / "edited.yaml", tmp_path / "two", LocalExecutor(2))
    assert_same_outputs(tmp_path / "two", outputs(edited))
    (tmp_path / "edited.yaml").write_text(edited_mixture(corpus, "1Mi"))
    run_mixture(tmp_path / "edited.yaml", tmp_path / "whole")
    assert stored(tmp_path / "whole") == stored(edited)
    edits = "SELECT document_id, edits, text_bytes FROM {documents} ORDER BY 1"
    assert ask(tmp_path / "whole", edits) == ask(edited, edits)


def test_every_profile_of_the_schema_is_one_of_the_kernel_and_its_limits_are_a_rule_set() -> None:
    assert list(LineRules.__args__) == curate_kernels.line_rule_names()  # type: ignore[attr-defined]
    sets = load_rules(["c4", "c4_no_punctuation", "c4_paragraphs", "refinedweb_lines"])
    assert [len(rule_set.rules) for rule_set in sets] == [3, 3, 1, 1]

"""What-if: the answer from the ledger is what a run with the other rules keeps."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import fixture_corpus
import pyarrow.parquet as pq
import pytest
from conftest import Finished
from run_fixture import Log, ask, invoke

from curate.driver import execute
from curate.executors.local import LocalExecutor
from curate.run_directory import Run, RunError, open_run
from curate.stages.rules import SHIPPED
from curate.what_if import Answer, Changes, parse_setting
from curate.what_if import ask as what_if
from mixtures.spec import load_mixture

Edit = Callable[[str, Path], str]


def kept_by_kind(root: Path) -> dict[tuple[str, str], int]:
    """Documents kept before deduplication, by source and language."""
    rows = ask(
        root,
        "SELECT source, coalesce(language, ''), count(*) FILTER (status = 'kept') FROM {ledger} GROUP BY ALL",
    )
    return {(source, language): kept for source, language, kept in rows}


def rerun(corpus: Path, folder: Path, edit: Edit) -> dict[tuple[str, str], int]:
    """The first phase over the fixture corpus with an edited mixture."""
    path = folder / "other.yaml"
    path.write_text(edit(fixture_corpus.mixture(corpus, "other"), folder))
    run = Run(str(folder / "other"), load_mixture(str(path)))
    with run.locked():
        execute(run, LocalExecutor(1), Log(), only=("curate",))
    return kept_by_kind(folder / "other")


def with_rules(name: str, old: str, new: str) -> Edit:
    """The mixture with a copy of a shipped set in which something else stands."""

    def edit(mixture: str, folder: Path) -> str:
        text = (SHIPPED / f"{name}.yaml").read_text()
        assert old in text
        (folder / f"{name}.yaml").write_text(text.replace(old, new))
        return re.sub(rf"\b{name}\b", str(folder / f"{name}.yaml"), mixture)

    return edit


def scores(mixture: str, _: Path) -> str:
    return re.sub(r"min_score: [0-9.]+", "min_score: 0.97", mixture).replace(
        "language: {}", "language: {min_score: 0.97}"
    )


WORD_COUNT = "signal: word_count, min: 50"
STOP_WORDS = "  - {name: stop_words, signal: stop_word_count, min: 2, scope: {languages: [en]}}\n"
BOTH = "rules: [gopher_quality, gopher_repetition]"

#: A set of one's own, by path: nothing of it is among the shipped ones.
OWN = """\
name: own
version: 1
source: a test
values: {default: {most: 130}, de: {most: 109}, zh: {most: 180}}
rules:
- {signal: word_count, max: most, scope: {except_languages: [zxx]}}
- {signal: xml_header, max: 0}
"""


def own(folder: Path) -> str:
    path = folder / "own.yaml"
    path.write_text(OWN)
    return str(path)


def without_repetition(mixture: str, _: Path) -> str:
    return mixture.replace(BOTH, "rules: [gopher_quality]").replace("rules: [gopher_repetition]", "rules: []")


def everything_short(mixture: str, folder: Path) -> str:
    text = (SHIPPED / "gopher_quality.yaml").read_text().replace(STOP_WORDS, "")
    (folder / "gopher_quality.yaml").write_text(text.replace(WORD_COUNT, "signal: word_count, min: 5"))
    mixture = without_repetition(mixture, folder)
    return re.sub(r"\bgopher_quality\b", str(folder / "gopher_quality.yaml"), mixture)


SHORT = "gopher_quality.word_count.min=5"
CASES: dict[str, tuple[Callable[[Path], Changes], Edit]] = {
    "a higher minimum": (
        lambda _: Changes((parse_setting("gopher_quality.word_count.min=132"),)),
        with_rules("gopher_quality", WORD_COUNT, "signal: word_count, min: 132"),
    ),
    "a bound of one language": (
        lambda _: Changes((parse_setting("gopher_quality.word_count.min.de=110"),)),
        with_rules(
            "gopher_quality",
            "rules:\n  - {name: word_count, signal: word_count, min: 50",
            "values: {default: {least: 50}, de: {least: 110}}\n"
            "rules:\n  - {name: word_count, signal: word_count, min: least",
        ),
    ),
    "a set off": (lambda _: Changes(off=("gopher_repetition",)), without_repetition),
    "a lower minimum, a rule off and a set off": (
        lambda _: Changes((parse_setting(SHORT),), off=("gopher_quality.stop_words", "gopher_repetition")),
        everything_short,
    ),
    "a set more, for one source": (
        lambda folder: Changes(added=(own(folder),), sources=("web",)),
        lambda mixture, folder: mixture.replace(BOTH, f"{BOTH[:-1]}, {own(folder)}]"),
    ),
    "a set more that drops what another lets go": (
        lambda folder: Changes(off=("gopher_repetition",), added=(own(folder),), sources=("web",)),
        lambda mixture, folder: mixture.replace(BOTH, f"rules: [gopher_quality, {own(folder)}]"),
    ),
    "another language score": (lambda _: Changes((parse_setting("language.min_score=0.97"),)), scores),
}


@pytest.mark.parametrize("case", CASES)
def test_the_answer_is_what_a_rerun_keeps(finished: Finished, tmp_path: Path, case: str) -> None:
    changes, edit = CASES[case]
    answer = what_if(open_run(str(finished.root)), changes(tmp_path))
    expected = rerun(finished.corpus, tmp_path, edit)
    assert {kind: cell.kept for kind, cell in answer.cells.items()} == kept_by_kind(finished.root)
    assert {kind: cell.kept_after for kind, cell in answer.cells.items()} == expected
    cells = answer.cells.values()
    assert all(cell.kept_after == cell.kept - cell.removed + cell.added for cell in cells)
    assert any(cell.removed or cell.added for cell in cells), "a case that changes nothing shows nothing"


def total(answer: Answer, name: str) -> int:
    return sum(getattr(cell, name) for cell in answer.cells.values())


def test_tokens_removed_are_those_of_the_documents_in_the_mix(finished: Finished) -> None:
    answer = what_if(
        open_run(str(finished.root)), Changes((parse_setting("gopher_quality.word_count.min=132"),))
    )
    ((documents, size, tokens, duplicates),) = ask(
        finished.root,
        "SELECT count(*), sum(text_bytes), sum(tokens)::BIGINT, count(*) FILTER (status = 'duplicate') "
        "FROM {documents} WHERE status IN ('kept', 'duplicate') AND signals.word_count < 132 "
        "AND source IN ('web', 'articles', 'pages')",
    )
    found = [
        total(answer, name) for name in ("removed", "removed_bytes", "removed_tokens", "removed_duplicates")
    ]
    assert found == [documents, size, tokens, duplicates]
    assert documents > duplicates > 0
    assert total(answer, "added") == total(answer, "added_tokens") == 0


def test_tokens_of_documents_that_come_back_are_estimated_by_their_kind(finished: Finished) -> None:
    answer = what_if(
        open_run(str(finished.root)),
        Changes((parse_setting(SHORT),), off=("gopher_quality.stop_words", "gopher_repetition")),
    )
    cell = answer.cells["web", "en"]
    ((size, tokens),) = ask(
        finished.root,
        "SELECT sum(text_bytes)::BIGINT, sum(tokens)::BIGINT FROM {documents} "
        "WHERE source = 'web' AND language = 'en' AND tokens IS NOT NULL",
    )
    assert cell.added > 0
    assert cell.added_tokens == round(cell.added_bytes * tokens / size) > 0


def test_rules_are_those_of_the_ledger_not_of_the_files_now(finished: Finished, tmp_path: Path) -> None:
    rules = tmp_path / "gopher_quality.yaml"
    rules.write_text(
        (SHIPPED / "gopher_quality.yaml").read_text().replace(WORD_COUNT, "signal: word_count, min: 70")
    )
    mixture = tmp_path / "mine.yaml"
    text = fixture_corpus.mixture(finished.corpus, "mine")
    mixture.write_text(re.sub(r"\bgopher_quality\b", str(rules), text))
    run = Run(str(tmp_path / "run"), load_mixture(str(mixture)))
    with run.locked():
        execute(run, LocalExecutor(1), Log(), only=("curate",))
    rules.unlink()
    answer = what_if(open_run(run.root), Changes((parse_setting("gopher_quality.word_count.min=70"),)))
    assert total(answer, "removed") == total(answer, "added") == 0
    assert answer.notes == []
    shown = invoke("explain", run.root, fixture_corpus.SHORT_PAGE).stdout
    assert "at least 70" in shown


def test_a_ledger_that_does_not_say_its_rules_takes_those_of_the_files(
    finished: Finished, tmp_path: Path
) -> None:
    shutil.copytree(finished.root, tmp_path / "run")
    for path in (tmp_path / "run" / "ledger").glob("*.parquet"):
        pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    changes = Changes((parse_setting("gopher_quality.word_count.min=132"),))
    answer = what_if(open_run(str(tmp_path / "run")), changes)
    assert answer.cells == what_if(open_run(str(finished.root)), changes).cells
    assert any("does not say which rules were in force" in note for note in answer.notes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--set", "gopher_qualty.word_count.min=8"],
            "no rule set 'gopher_qualty'; did you mean 'gopher_quality'",
        ),
        (["--set", "gopher_quality.wordcount.min=8"], "did you mean 'gopher_quality.word_count'"),
        (["--set", "gopher_quality.word_count.mim=8"], "'mim' is no bound; did you mean 'min'"),
        (["--set", "gopher_quality.word_count.min=many"], "'many' is not a number"),
        (["--set", "gopher_quality.word_count.min=inf"], "must be finite"),
        (["--set", "gopher_quality.word_count=8"], "write it as SET.RULE.min=VALUE"),
        (["--set", "gopher_quality.word_count.min"], "write it as SET.RULE.min=VALUE"),
        (["--set", "gopher_quality.word_count.min=200000"], "min 200000 is above max 100000"),
        (["--set", "fineweb.newlines.max=1"], "--add fineweb asks what it would do"),
        (["--off", "gopher_quality.stop_word"], "did you mean 'gopher_quality.stop_words'"),
        (["--off", "text.emty"], "did you mean 'text.empty'"),
        (["--add", "finweb"], "there is no rule set 'finweb'; did you mean 'fineweb'"),
        (["--off", "math", "--source", "wbe"], "there is no source 'wbe'; did you mean 'web'"),
        ([], "nothing to ask"),
    ],
)
def test_mistakes_are_named_with_the_nearest(finished: Finished, arguments: list[str], message: str) -> None:
    done = invoke("what-if", finished.root, *arguments)
    assert done.exit_code == 1
    assert message in re.sub(r"\s+", " ", done.stderr)


def test_the_command_shows_totals_marks_estimates_and_says_what_it_does_not_know(finished: Finished) -> None:
    arguments = ("--off", "gopher_repetition", "--set", "gopher_quality.word_count.min=132")
    shown = re.sub(r"\s+", " ", invoke("what-if", finished.root, *arguments).stdout)
    assert "~+" in shown
    assert "deduplication has not seen them" in shown
    more = re.sub(r"\s+", " ", invoke("what-if", finished.root, "--add", "fineweb2").stdout)
    assert "fineweb2.stop_words was not asked: its signal was not measured" in more
    found = json.loads(invoke("what-if", finished.root, *arguments, "--json").stdout)
    assert found["total"]["kept_after"] == sum(
        found["total"][name] * sign for name, sign in (("kept", 1), ("removed", -1), ("added", 1))
    )
    assert found["rules"]["gopher_repetition.top_3_gram"]["failed"] > 0
    assert {"source", "language", "removed", "added_tokens"} <= set(found["rows"][0])


def test_a_run_without_a_ledger_says_so(tmp_path: Path, finished: Finished) -> None:
    (tmp_path / "run.json").write_text((finished.root / "run.json").read_text())
    with pytest.raises(RunError, match="no ledger yet"):
        what_if(open_run(str(tmp_path)), Changes(off=("math",)))

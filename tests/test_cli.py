"""The command line: what each command says, and that it says so without a traceback."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import fixture_corpus as corpus
import pytest
from conftest import Finished
from run_fixture import ROOT, ask, assert_same_outputs, curate, invoke, run_mixture

from curate.cli import main
from curate.pipeline import PHASES


def words(text: str) -> str:
    """Output without the line ends that a terminal's width puts in."""
    return re.sub(r"\s+", " ", text)


def identity(finished: Finished, url: str) -> str:
    (row,) = ask(
        finished.root,
        f"SELECT lower(hex(document_id)) FROM {{documents}} WHERE url = '{url}' AND error IS NULL",
    )
    return str(row[0])


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Path:
    shutil.copytree(finished.root, tmp_path / "run")
    return tmp_path / "run"


# run


def test_a_run_from_the_command_line_tells_what_it_did_and_the_second_that_there_is_nothing_to_do(
    finished: Finished, tmp_path: Path
) -> None:
    first = curate("run", finished.mixture, "-o", tmp_path / "run", "-w", 2)
    assert (first.returncode, first.stderr) == (0, "")
    for phase in PHASES:
        assert f"✓ {phase.name} " in first.stdout
    documents, kept, quarantined = ask(
        finished.root,
        "SELECT count(*), count(*) FILTER (status = 'kept'), count(*) FILTER (error IS NOT NULL) "
        "FROM {documents}",
    )[0]
    assert f"{documents} documents in, {kept} kept with " in first.stdout
    assert f"{quarantined} quarantined" in first.stdout
    assert "absent (optional) sources: absent" in first.stdout
    assert_same_outputs(tmp_path / "run", finished.bytes)

    (line,) = [line for line in first.stdout.splitlines() if line.startswith("load ")]
    command = [sys.executable, *shlex.split(line)[2:]]
    loaded = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert loaded.returncode == 0, loaded.stderr
    assert "tokens=array(" in loaded.stdout

    second = curate("run", finished.mixture, "-o", tmp_path / "run")
    assert (second.returncode, second.stderr) == (0, "")
    assert f"nothing to do: {tmp_path}/run is complete" in second.stdout
    assert "✓" not in second.stdout


def test_a_dry_run_shows_configuration_and_units_and_writes_nothing(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke("run", finished.mixture, "--dry-run")
    assert done.exit_code == 0
    configuration, end = json.JSONDecoder().raw_decode(done.stdout)
    assert configuration["seed"] == 7
    assert configuration["curriculum"]["stages"][2]["length"] == 4096
    rest = words(done.stdout[end:])
    units = sorted(path.stem for path in (finished.root / "units/curate").iterdir())
    assert len(units) > 10
    assert [unit for unit in units if unit not in rest] == []
    assert "absent (optional): absent" in rest
    assert all(phase.name in rest for phase in PHASES[1:])
    assert list(tmp_path.iterdir()) == []


def test_the_summary_as_json_counts_units(finished: Finished, copy: Path) -> None:
    (copy / "report.html").unlink()
    done = invoke("run", finished.mixture, "-o", copy, "-w", 1, "--json")
    assert done.exit_code == 0
    summary = json.loads(done.stdout)
    assert summary["run"] == str(copy)
    assert {phase["name"]: phase["done"] for phase in summary["phases"]} == {
        phase.name: int(phase.name == "report") for phase in PHASES
    }
    figures = {phase["name"]: phase["figures"] for phase in summary["phases"]}
    assert figures["tokenize"]["tokens"] == ask(finished.root, "SELECT sum(tokens) FROM {documents}")[0][0]


def test_phases_can_be_run_one_by_one(finished: Finished, tmp_path: Path) -> None:
    root = tmp_path / "run"
    for phase in ("curate", "classify", "dedup", "tokenize", "plan", "write", "manifest", "report"):
        done = invoke("run", finished.mixture, "-o", root, "-w", 1, "--only", phase)
        assert done.exit_code == 0, done.output
    assert_same_outputs(root, finished.bytes)


@pytest.mark.parametrize("phase", [phase.name for phase in PHASES[1:]])
def test_a_phase_that_is_asked_for_too_early_says_what_is_missing(
    finished: Finished, tmp_path: Path, phase: str
) -> None:
    done = invoke("run", finished.mixture, "-o", tmp_path / "run", "-w", 1, "--only", phase)
    assert done.exit_code == 1, done.output
    assert re.match(
        r"error curate: \d+ of \d+ units to do in .* complete it first \(leave out --only", words(done.stderr)
    )
    assert not (tmp_path / "run/units").exists()


def test_a_phase_does_not_work_on_what_another_mixture_left(
    finished: Finished, copy: Path, tmp_path: Path
) -> None:
    mixture = tmp_path / "fixture.yaml"
    mixture.write_text(finished.mixture.read_text().replace("jaccard: 0.75", "jaccard: 0.95"))
    done = invoke("run", mixture, "-o", copy, "-w", 1, "--only", "tokenize")
    assert done.exit_code == 1
    assert "dedup.verify: 1 of 1 units to do" in words(done.stderr)
    assert_same_outputs(copy, finished.bytes)


def test_an_unknown_phase_names_those_there_are(finished: Finished, tmp_path: Path) -> None:
    done = invoke("run", finished.mixture, "-o", tmp_path / "run", "--only", "tokenise")
    assert done.exit_code == 1
    assert "--only tokenise: no such phase; there are curate, classify.train" in words(done.stderr)
    assert not (tmp_path / "run").exists()


#: The command line, interrupted as a terminal does it, in every process of the run, after its third unit.
INTERRUPTED = """
import os, signal, sys
from curate import cli, progress

count, show = 0, progress.ConsoleWatcher.unit

def unit(self, unit, record):
    global count
    count += 1
    show(self, unit, record)
    if count == 3:
        os.killpg(0, signal.SIGINT)

progress.ConsoleWatcher.unit = unit
cli.main()
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_ends_with_one_line_and_the_next_run_completes(
    finished: Finished, tmp_path: Path, workers: int
) -> None:
    root = tmp_path / "run"
    arguments = ["run", str(finished.mixture), "-o", str(root), "-w", str(workers)]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        start_new_session=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    # Workers that are still starting may complain, too; the last word is ours.
    complaint = done.stderr.splitlines() if workers == 1 else done.stderr.splitlines()[-1:]
    assert complaint == ["stopped; what had finished is kept: run the same command again to go on"]
    finished_units = len(list((root / "units/curate").iterdir()))
    assert finished_units >= 3
    ran = run_mixture(finished.mixture, root)
    assert len(ran["curate"]) == len(list((finished.root / "units/curate").iterdir())) - finished_units
    assert_same_outputs(root, finished.bytes)


# status


def test_status_counts_units_documents_and_tokens(finished: Finished) -> None:
    done = invoke("status", finished.root)
    assert done.exit_code == 0
    (line,) = [line for line in done.stdout.splitlines() if line.split()[:1] == ["tokenize"]]
    documents, tokens = ask(
        finished.root, "SELECT count(*), sum(tokens) FROM {documents} WHERE status = 'kept'"
    )[0]
    units = len(list((finished.root / "units/tokenize").iterdir()))
    assert line.split()[1:4] == [str(units), str(documents), f"{tokens:,}"]
    rows = json.loads(invoke("status", finished.root, "--json").stdout)
    assert [row["phase"] for row in rows] == [phase.name for phase in PHASES]
    assert rows[0]["figures"]["quarantined"] == len(corpus.DAMAGED)


def test_status_of_a_damaged_run_says_so(copy: Path) -> None:
    next(copy.glob("shards/*.arrow")).unlink()
    (copy / "units/report/report.json").unlink()
    done = invoke("status", copy)
    (write,) = [line for line in done.stdout.splitlines() if line.split()[:1] == ["write"]]
    assert "1 files missing: run again" in write
    (report,) = [line for line in done.stdout.splitlines() if line.split()[:1] == ["report"]]
    assert report.split() == ["report", "-"]


@pytest.mark.parametrize("command", [["status"], ["sql"], ["explain", "x"], ["report"]])
def test_every_command_that_reads_a_run_says_when_there_is_none(tmp_path: Path, command: list[str]) -> None:
    name, *rest = command
    arguments = [name, str(tmp_path / "nothing"), *rest]
    done = invoke(*arguments)
    assert done.exit_code == 1
    assert "no run here (no run.json)" in words(done.stderr)
    (tmp_path / "nothing").mkdir()
    for content in ("{", "[]", '{"name": "x"}', '{"name": "x", "mixture": {"name": 3}}'):
        (tmp_path / "nothing/run.json").write_text(content)
        done = invoke(*arguments)
        assert done.exit_code == 1 or name == "sql", "sql reads the files alone"
        assert "Traceback" not in done.output


# sql


def test_sql_prints_a_table(finished: Finished) -> None:
    done = invoke(
        "sql", finished.root, "SELECT status, count(*) AS documents FROM documents GROUP BY 1 ORDER BY 1"
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["status", "documents"]
    assert ["quarantined", "5"] in lines


def test_sql_as_json_gives_an_object_a_row(finished: Finished) -> None:
    statement = "SELECT document_id, url, failed_rules FROM documents WHERE status = 'duplicate' ORDER BY url"
    done = invoke("sql", finished.root, statement, "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 4
    assert rows[0]["document_id"] == identity(finished, rows[0]["url"])
    assert rows[0]["failed_rules"] == []


def test_sql_without_a_statement_lists_the_views(finished: Finished) -> None:
    done = invoke("sql", finished.root, "--json")
    views = {row["view"]: row["columns"] for row in map(json.loads, done.stdout.splitlines())}
    assert set(views) == {
        "documents",
        "ledger",
        "shards",
        "sequences",
        "spans",
        "inventory",
        "plan",
        "stages",
        "notes",
    }
    assert "duplicate_of" in views["documents"]


def test_sql_says_what_is_wrong_and_which_views_there_are(finished: Finished) -> None:
    done = invoke("sql", finished.root, "SELECT nonsense FROM documents")
    assert done.exit_code == 1
    assert "nonsense" in done.stderr
    assert "views of this run:" in done.stderr
    assert "spans" in done.stderr
    assert invoke("sql", finished.root, "SELEC 1").exit_code == 1


def test_sql_shows_so_many_rows_and_counts_the_rest(finished: Finished) -> None:
    done = invoke("sql", finished.root, "SELECT url FROM documents", "--limit", 10)
    assert "57 more rows (--limit)" in done.stdout
    assert len(done.stdout.splitlines()) == 12


def test_output_into_a_pipe_that_closes_is_no_error(finished: Finished) -> None:
    statement = "SELECT repeat(locator, 100) AS long FROM documents, range(100)"
    command = f'"{sys.executable}" -m curate.cli sql "{finished.root}" "{statement}" --json | head -c 10'
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.stdout == '{"long": "'
    assert "Traceback" not in done.stderr


# explain


def test_explain_shows_where_the_tokens_of_a_kept_document_went(finished: Finished) -> None:
    url = corpus.SITE + "en-glass.html"
    spans = ask(
        finished.root,
        "SELECT shard, sequence, s.start, s.length FROM {spans} s JOIN {documents} d USING (document_id) "
        f"WHERE url = '{url}'",
    )
    assert spans
    for key in (url, identity(finished, url), identity(finished, url).upper(), "en-glass"):
        done = invoke("explain", finished.root, key)
        assert done.exit_code == 0
        assert "fate kept" in words(done.stdout)
        for shard, sequence, start, length in spans:
            assert re.search(rf"{re.escape(shard)}\s+{sequence}\s+{start}\s+{length}\s", done.stdout)


def test_explain_names_the_rule_its_value_and_the_limit(finished: Finished) -> None:
    shown = words(invoke("explain", finished.root, corpus.SHORT_PAGE).stdout)
    assert "dropped by a rule" in shown
    assert "gopher_quality.word_count: word_count is 8, wanted at least 50" in shown
    repetitive = words(invoke("explain", finished.root, corpus.REPETITIVE_PAGE).stdout)
    assert re.search(r"dropped by gopher_repetition\.\w+: \w+ is 0\.\d+, wanted at most 0\.\d+", repetitive)
    empty = words(invoke("explain", finished.root, "texts/empty.txt").stdout)
    assert "dropped for its language" in empty
    assert "language.min_score" in empty


def test_explain_says_which_version_of_which_rules_and_where_they_come_from(finished: Finished) -> None:
    shown = words(invoke("explain", finished.root, corpus.SHORT_PAGE).stdout)
    assert "gopher_quality version 2; Rae et al. 2021 (Gopher), appendix A.1.1" in shown


# rules


def test_rules_lists_the_shipped_sets_and_shows_one_with_its_limits() -> None:
    shown = words(invoke("rules").stdout)
    assert all(part in shown for part in ("gopher_repetition", "Rae et al. 2021"))
    shown = words(invoke("rules", "fineweb2", "--language", "fr").stdout)
    assert all(part in shown for part in ("max for fr", "0.286", "huggingface/fineweb-2"))
    (found,) = json.loads(invoke("rules", "math", "--json").stdout)
    assert (found["name"], found["rules"][0]["signal"], found["rules"][0]["min"]) == ("math", "chars", 50)
    assert {one["name"] for one in json.loads(invoke("rules", "--json").stdout)} >= {"math", "fineweb2"}


def test_rules_names_the_nearest_set() -> None:
    done = invoke("rules", "finweb")
    assert done.exit_code == 1
    assert "did you mean 'fineweb'" in words(done.stderr)


def test_explain_names_the_document_that_stayed_instead(finished: Finished) -> None:
    shown = words(invoke("explain", finished.root, corpus.TWIN_COPY).stdout)
    assert "dropped as a duplicate" in shown
    assert re.search(rf"instead {re.escape(corpus.TWIN_LONGER)}\S* \(near, Jaccard 0\.9\d\d\)", shown)


def test_explain_tells_why_a_record_could_not_be_read(finished: Finished) -> None:
    shown = words(invoke("explain", finished.root, "tables/articles.jsonl#row=3").stdout)
    assert "could not be read" in shown
    assert re.search(r"because invalid JSON: .* at byte [\d,]+", shown)


def test_explain_of_something_unknown_is_an_error(finished: Finished) -> None:
    for key in ("https://nowhere.example/", "ff" * 16, "%", "'; DROP"):
        done = invoke("explain", finished.root, key)
        assert done.exit_code == 1
        assert "no document of" in done.stderr


def test_explain_before_the_run_is_complete_tells_what_is_known(finished: Finished, tmp_path: Path) -> None:
    invoke("run", finished.mixture, "-o", tmp_path / "run", "-w", 1, "--only", "curate")
    shown = words(invoke("explain", tmp_path / "run", corpus.SHORT_PAGE).stdout)
    assert "gopher_quality.word_count" in shown


def test_markup_in_a_url_is_shown_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    url = "https://a.example/[bold]x[/bold]?[/]=[link=http://b]"
    row = {"text": corpus.prose("en-bread"), "url": url, "id": "[red]1"}
    (tmp_path / "data/a.jsonl").write_text(json.dumps(row) + "\n")
    mixture = tmp_path / "m.yaml"
    mixture.write_text(
        f"name: m\ndata: {tmp_path}/data\nsources: {{s: {{read: {{jsonl: a.jsonl}}}}}}\n"
        "mixture: {weights: {s: 1}}\n"
        "curriculum: {batch_tokens: 1K, stages: [{length: 256, share: 1}]}\n"
    )
    assert invoke("run", mixture, "-o", tmp_path / "run", "-w", 1).exit_code == 0
    assert url in words(invoke("explain", tmp_path / "run", url).stdout).replace(" ", "")
    assert url in invoke("sql", tmp_path / "run", "SELECT url FROM documents").stdout.replace("\n", "")


# report and help


def test_report_is_drawn_again_or_elsewhere(finished: Finished, copy: Path, tmp_path: Path) -> None:
    (copy / "report.html").unlink()
    done = invoke("report", copy)
    assert done.exit_code == 0
    assert f"{copy}/report.html" in done.stdout.replace("\n", "")
    assert (copy / "report.html").read_bytes() == finished.bytes["report.html"]
    assert invoke("report", copy, "-o", tmp_path / "elsewhere.html").exit_code == 0
    assert (tmp_path / "elsewhere.html").read_bytes() == finished.bytes["report.html"]


@pytest.mark.parametrize("command", [None, *main.commands])
def test_every_command_has_help(command: str | None) -> None:
    arguments = [command] if command else []
    done = invoke(*arguments, "--help")
    assert done.exit_code == 0
    assert "Usage:" in done.stdout
    assert done.stdout == invoke(*arguments, "-h").stdout
    if command:
        assert len(main.commands[command].help or "") > 20


def test_a_mistyped_command_or_option_is_an_error_of_usage(finished: Finished) -> None:
    assert invoke("rum").exit_code == 2
    assert invoke("run", finished.mixture, "--worker", "2").exit_code == 2
    assert invoke("run", finished.mixture, "--workers", "0").exit_code == 2
    assert invoke("run", finished.mixture, "--executor", "slurm").exit_code == 2

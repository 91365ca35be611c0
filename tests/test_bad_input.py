"""What is wrong with the data is told and survived; what is wrong with the request stops before any work."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fixture_corpus
import pytest
from conftest import Finished
from run_fixture import ROOT, ask, assert_same_outputs, curate, invoke, run_mixture

from curate import storage
from curate.pipeline import PHASES
from curate.run_directory import RunError
from curate.storage import StorageError

TINY = """\
name: tiny
data: {data}
sources:
  s:
    read: {read}
limits: {{quarantine_share: {share}}}
mixture: {{weights: {{s: 1}}}}
curriculum:
  batch_tokens: 1K
  stages: [{{length: 256, share: 1}}]
"""

Complaint = Callable[..., str]


def tiny(folder: Path, read: str, *, share: float = 1) -> Path:
    """A mixture of one source over `folder/data`."""
    (folder / "data").mkdir(exist_ok=True)
    path = folder / "tiny.yaml"
    path.write_text(TINY.format(data=folder / "data", read=read, share=share))
    return path


@pytest.fixture
def refusal(tmp_path: Path) -> Complaint:
    """Run a mixture that has to be refused: the words, after checking that nothing was done."""

    def run(mixture: Path, *options: str) -> str:
        done = invoke("run", mixture, "-o", tmp_path / "run", "-w", 1, *options)
        assert done.exit_code == 1
        assert done.stdout == ""
        assert done.stderr.startswith("error ")
        assert not list((tmp_path / "run").glob("*/*")), "nothing was done"
        return done.stderr

    return run


# Data


def test_one_unreadable_file_costs_that_file_alone(tmp_path: Path) -> None:
    mixture = tiny(tmp_path, '{files: "*"}')
    data = tmp_path / "data"
    (data / "good.txt").write_text(fixture_corpus.prose("en-bread"))
    (data / "binary.txt").write_bytes(bytes(range(256)))
    (data / "latin.txt").write_bytes(fixture_corpus.prose("fr-vigne").encode("latin-1"))
    (data / "utf-16.txt").write_bytes(fixture_corpus.prose("ru-chai").encode("utf-16"))
    (data / "cut.txt.gz").write_bytes(gzip.compress(b"text " * 500)[:-10])
    (data / "not.txt.gz").write_bytes(b"this is no gzip file")
    (data / "nul.txt").write_bytes(b"a\0b" * 50)
    (data / "line.txt").write_bytes(b"x" * 300_000)
    run_mixture(mixture, tmp_path / "run")
    fates = {
        row[0]: row[1:] for row in ask(tmp_path / "run", "SELECT locator, status, error FROM {documents}")
    }
    broken = {name: error for name, (status, error) in fates.items() if status == "quarantined"}
    assert set(broken) == {"binary.txt", "cut.txt.gz", "not.txt.gz", "nul.txt"}
    assert all(broken.values())
    assert {name for name, (status, _) in fates.items() if status == "kept"} == {
        "good.txt",
        "latin.txt",
        "utf-16.txt",
        "line.txt",
    }


def test_a_truncated_archive_gives_the_pages_before_the_cut(tmp_path: Path) -> None:
    mixture = tiny(tmp_path, '{warc: "*.warc.gz"}')
    names = ("bread", "tides", "salt")
    pages = {
        f"https://a.example/{name}": fixture_corpus.page(fixture_corpus.prose(f"en-{name}")) for name in names
    }
    data, offsets = fixture_corpus.warc(pages)
    third = offsets[6]  # after the info record, and request and response of two pages
    (tmp_path / "data/cut.warc.gz").write_bytes(data[: third + 50])
    run_mixture(mixture, tmp_path / "run")
    rows = ask(tmp_path / "run", "SELECT url, status, error, error_offset FROM {documents} ORDER BY status")
    assert [(url, status) for url, status, _, _ in rows[:2]] == [
        ("https://a.example/bread", "kept"),
        ("https://a.example/tides", "kept"),
    ]
    assert [(status, bool(error), offset) for _, status, error, offset in rows[2:]] == [
        ("quarantined", True, third)
    ]


def test_a_source_with_too_many_unreadable_records_stops_the_run(tmp_path: Path) -> None:
    data = tmp_path / "data"
    mixture = tiny(tmp_path, '{jsonl: "*.jsonl"}', share=0.2)
    good = "".join(f'{{"text": "line {n} of a small table"}}\n' for n in range(8))
    (data / "a.jsonl").write_text(good + "no json\n" * 2)
    run_mixture(mixture, tmp_path / "run")
    (data / "a.jsonl").write_text(good + "no json\n" * 3)
    for _ in range(2):  # the second time too, when the units are done
        done = invoke("run", mixture, "-o", tmp_path / "run", "-w", 1)
        assert done.exit_code == 1
        assert "too many unreadable records" in done.stderr
        assert "limits.quarantine_share = 20%" in done.stderr
        assert "s: 3 of 11" in done.stderr
    statement = (
        "SELECT source, error, count(*) AS records FROM ledger WHERE status = 'quarantined' GROUP BY ALL"
    )
    assert statement.replace(" AS records", "") in done.stderr, "the message says how to read the reasons"
    reasons = invoke("sql", tmp_path / "run", statement, "--json")
    assert '"records": 3' in reasons.stdout


def test_a_source_of_empty_files_is_planned_around(finished: Finished, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(finished.corpus, corpus)
    (corpus / "tables/articles.jsonl").write_bytes(b"")
    for path in (corpus / "help").iterdir():
        path.write_bytes(b"")
    mixture = tmp_path / "fixture.yaml"
    mixture.write_text(fixture_corpus.mixture(corpus, "fixture"))
    run_mixture(mixture, tmp_path / "run")
    by_source = dict(ask(tmp_path / "run", "SELECT source, count(*) FROM {documents} GROUP BY 1"))
    assert "articles" not in by_source
    assert by_source["rows"] == 6


def test_a_corpus_of_which_nothing_is_kept_says_what_removed_it(tmp_path: Path) -> None:
    mixture = tiny(tmp_path, '{files: "*.txt"}\n    language: {allow: [ka]}')
    (tmp_path / "data/a.txt").write_text(fixture_corpus.prose("en-bread"))
    done = invoke("run", mixture, "-o", tmp_path / "run", "-w", 1)
    assert done.exit_code == 1
    assert "no document survived" in done.stderr
    assert "SELECT source, dropped_by, count(*) FROM ledger" in done.stderr


def test_a_corpus_of_one_empty_file_is_no_crash(tmp_path: Path) -> None:
    mixture = tiny(tmp_path, '{jsonl: "*.jsonl"}')
    (tmp_path / "data/a.jsonl").write_bytes(b"")
    done = invoke("run", mixture, "-o", tmp_path / "run", "-w", 1)
    assert done.exit_code == 1
    assert "no document survived" in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        fixture_corpus.CONTROL_STRINGS[5] * 200,
        "\ufeff\u200b\u202e" * 100,
        "a\r\n" * 400,
        "\U0010ffff \ufdd0 " * 50,
        " \n" * 500,
    ],
    ids=["control tokens", "invisible", "line ends", "no characters", "blank"],
)
def test_strange_texts_come_through(tmp_path: Path, text: str) -> None:
    mixture = tiny(tmp_path, '{files: "*.txt"}')
    (tmp_path / "data/strange.txt").write_text(text)
    (tmp_path / "data/plain.txt").write_text("plain")
    run_mixture(mixture, tmp_path / "run")
    assert ask(tmp_path / "run", "SELECT count(*) FROM {documents}") == [(2,)]


def test_file_names_that_are_hard_to_write_down(tmp_path: Path) -> None:
    mixture = tiny(tmp_path, '{files: "**/*"}')
    data = os.fsencode(tmp_path / "data")
    names = [b"caf\xe9.txt", "茶 'x\" $(y) [1].txt".encode(), b"new\nline.txt", b"100%25.txt", b"a#b?c.txt"]
    for number, name in enumerate(names):
        with Path(os.fsdecode(data + b"/" + name)).open("w") as file:
            file.write(f"{number} " * 30)
    run_mixture(mixture, tmp_path / "run")
    rows = ask(
        tmp_path / "run", "SELECT status, count(*), count(DISTINCT locator) FROM {documents} GROUP BY 1"
    )
    assert rows == [("kept", 5, 5)]


# The request


def test_a_missing_data_folder_is_named_with_the_remedies(tmp_path: Path, refusal: Complaint) -> None:
    mixture = tiny(tmp_path, '{files: "*.txt"}')
    mixture.write_text(mixture.read_text().replace("/data", "/nowhere"))
    words = refusal(mixture)
    assert "data folder" in words
    assert "/nowhere" in words
    assert "does not exist" in words
    assert "CURATE_DATA" in words


def test_a_source_without_files_is_an_error_unless_it_is_optional(tmp_path: Path, refusal: Complaint) -> None:
    mixture = tiny(tmp_path, '{files: "*.txt"}')
    words = refusal(mixture)
    assert "source 's': no file matches *.txt under" in words
    assert "optional: true" in words


def test_an_unknown_key_is_told_with_its_line_and_the_nearest_name(
    finished: Finished, tmp_path: Path
) -> None:
    mixture = tmp_path / "fixture.yaml"
    lines = finished.mixture.read_text().splitlines()
    line = next(number for number, text in enumerate(lines) if "max_epochs" in text)
    lines[line] = lines[line].replace("max_epochs", "max_epoch")
    mixture.write_text("\n".join(lines))
    done = curate("run", mixture, "-o", tmp_path / "run")
    assert (done.returncode, done.stdout) == (1, "")
    (words,) = done.stderr.splitlines()
    assert words.startswith(f"error {mixture}:{line + 1}: ")
    assert words.endswith("did you mean 'max_epochs'?")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("rules: [math]", "rules: [maths]", "did you mean 'math'?"),
        ("preset: deepseek-v4", "preset: deepseek-v5", "did you mean 'deepseek-v4'?"),
        ("seed: 7", "seed: seven", ":2: "),
        ("seed: 7", "seed: 7\nseed: 8", ":3: "),
        ("code: 10,", "", "no weight for code"),
        ("name: fixture", "name: ../../elsewhere", ":1: "),
        ("tokenizer: {", "tokenizer: {{", "not valid YAML: while parsing a flow"),
        ('parquet: "tables/*.parquet"', 'parquet: "../*.parquet"', "has to stay inside"),
        ("batch_tokens: 4Ki", "batch_tokens: 5000", "is not a multiple of the length"),
    ],
)
def test_a_request_that_cannot_work_stops_before_any_work(
    finished: Finished, tmp_path: Path, refusal: Complaint, old: str, new: str, expected: str
) -> None:
    text = finished.mixture.read_text()
    assert text.count(old) == 1
    mixture = tmp_path / "fixture.yaml"
    mixture.write_text(text.replace(old, new))
    assert expected in refusal(mixture)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[]", b"name: [unclosed", b"- a\n- b\n", None])
def test_a_file_that_is_no_mixture_is_named(
    tmp_path: Path, refusal: Complaint, content: bytes | None
) -> None:
    mixture = tmp_path / "bad.yaml"
    if content is not None:
        mixture.write_bytes(content)
    assert f"{mixture}:" in refusal(mixture)


def test_a_run_directory_of_another_mixture_is_left_alone(finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished.root, tmp_path / "run")
    other = tmp_path / "other.yaml"
    other.write_text(fixture_corpus.mixture(finished.corpus, "other"))
    done = invoke("run", other, "-o", tmp_path / "run", "-w", 1)
    assert done.exit_code == 1
    assert "belongs to the mixture 'fixture', not 'other'; choose another --run-directory" in done.stderr
    assert_same_outputs(tmp_path / "run", finished.bytes)
    with pytest.raises(RunError, match="belongs to the mixture"):
        run_mixture(other, tmp_path / "run")


# No space left


def test_a_full_disk_stops_the_run_and_more_space_completes_it(finished: Finished, tmp_path: Path) -> None:
    """A real full disk: a tmpfs in a mount namespace of its own, which ends with the process."""
    root = tmp_path / "disk"
    root.mkdir()
    kilobytes = sum(map(len, finished.bytes.values())) // 1024
    script = (
        f'mount -t tmpfs -o size={kilobytes // 2}k tmpfs "{root}" || exit 99\n'
        f'"{sys.executable}" -m curate.cli run "{finished.mixture}" -o "{root}/run" -w 1 1>&2\n'
        "echo first $?\n"
        f'find "{root}" -name ".*.tmp"\n'
        f'mount -o remount,size={4 * kilobytes}k "{root}"\n'
        f'"{sys.executable}" -m curate.cli run "{finished.mixture}" -o "{root}/run" -w 2 1>&2\n'
        "echo second $?\n"
        f'cp -r "{root}/run" "{tmp_path}/copy"'
    )
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare(1) to mount a small tmpfs with")
    done = subprocess.run(
        [unshare, "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "300"},
        timeout=120,
        check=False,
    )
    if done.returncode == 99 or "unshare:" in done.stderr:
        pytest.skip(f"this machine lets nobody mount a tmpfs: {done.stderr.strip()[:200]}")
    assert done.stdout.split("\n")[:-1] == ["first 1", "second 0"], done.stderr
    assert "no space left on the device; what was finished is kept: free some space" in done.stderr
    assert "Traceback" not in done.stderr
    assert_same_outputs(tmp_path / "copy", finished.bytes)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("phase", [phase.name for phase in PHASES])
def test_a_disk_that_fills_in_any_phase_loses_one_unit(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """The kernel's own ENOSPC: the temporary name of a unit's last file leads to /dev/full."""
    root = tmp_path / "run"
    shutil.copytree(finished.root, root)
    record = sorted((root / "units" / phase).iterdir())[-1]
    victim = json.loads(record.read_text())["outputs"][-1]["path"]
    record.unlink()
    trap = (root / victim).with_name(f".{Path(victim).name}.{os.getpid()}.tmp")
    # The run begins by clearing what killed processes left: the trap goes up after that.
    monkeypatch.setattr(storage, "remove_temporaries", lambda _: trap.symlink_to("/dev/full"))
    with pytest.raises(StorageError, match=f"{victim}: no space left on the device"):
        run_mixture(finished.mixture, root)
    monkeypatch.undo()
    assert not list(root.rglob(".*.tmp"))
    assert_same_outputs(root, finished.bytes)
    assert run_mixture(finished.mixture, root) == {phase: [record.stem]}
    assert_same_outputs(root, finished.bytes)

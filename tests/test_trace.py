"""`curate trace`: from any token of a shard to its document, its place in the text, and its ledger row."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import Result
from conftest import Finished
from fixture_corpus import CONTROL_PAGE
from run_fixture import ask, invoke
from shard_damage import write_value

from curate.run_directory import RunError, open_run
from curate.trace import Trace, trace
from tokenizer import load


def spans(root: Path) -> list[dict[str, Any]]:
    """Rows of the manifest's spans, with their document's locator and tokens."""
    names = ("shard", "sequence", "start", "length", "document_offset", "epoch", "id", "locator", "tokens")
    rows = ask(
        root,
        "SELECT shard, sequence, start, length, document_offset, epoch, s.document_id, locator, tokens "
        "FROM {spans} AS s JOIN {documents} AS d ON s.document_id = d.document_id ORDER BY ALL",
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


def follow(root: Path, shard: str, sequence: int, offset: int) -> Trace:
    return trace(open_run(str(root)), f"{shard}:{sequence}:{offset}")


def texts(root: Path) -> dict[bytes, str]:
    """Text of every document by its id."""
    tables = [pq.read_table(path, columns=["document_id", "text"]) for path in (root / "documents").iterdir()]
    return {row["document_id"]: row["text"] for table in tables for row in table.to_pylist()}


def flat(result: Result) -> str:
    return re.sub(r"\s+", " ", result.output)


@pytest.mark.parametrize("name", ["finished", "finished_zigzag"])
def test_any_token_leads_to_its_document_and_to_its_place_in_the_text(
    name: str, request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue(name).root
    text = texts(root)
    rng = random.Random(7)
    in_text, orders = 0, set()
    for span in rng.sample(spans(root), 60):
        at = rng.randrange(span["length"])
        found = follow(root, span["shard"], span["sequence"], span["start"] + at)
        assert not found.padding
        assert found.document_id == span["id"]
        assert found.position == span["document_offset"] + at
        assert found.epoch == span["epoch"]
        assert found.piece == (span["document_offset"], span["document_offset"] + span["length"])
        assert found.story is not None
        assert found.story.row["locator"] == span["locator"]
        assert found.text is not None
        orders.add(found.text.fim)
        if found.text.excerpt is None:
            assert found.tokens.here.startswith("<")
            continue
        in_text += 1
        excerpt = found.text.excerpt
        assert excerpt.before + excerpt.here + excerpt.after in text[span["id"]]
        if "\ufffd" not in found.tokens.here + found.tokens.before:  # a token may be part of a character
            assert excerpt.here == found.tokens.here
            assert text[span["id"]][found.text.character :].startswith(found.tokens.here)
    assert in_text > 40
    assert orders == ({False} if name == "finished" else {False, True})


def test_padding_is_said_to_be_padding_with_the_document_before_it(finished: Finished) -> None:
    shard, sequence, tokens = ask(
        finished.root,
        "SELECT shard, sequence, tokens FROM {sequences} WHERE padding > 1 ORDER BY ALL LIMIT 1",
    )[0]
    last = [span for span in spans(finished.root) if (span["shard"], span["sequence"]) == (shard, sequence)][
        -1
    ]
    for offset in (tokens, tokens + 1):
        found = follow(finished.root, shard, sequence, offset)
        assert found.padding
        assert found.token == load("deepseek-v4").special.pad
        assert found.document_id == last["id"]
        assert found.position is None
    assert not follow(finished.root, shard, sequence, tokens - 1).padding
    result = invoke("trace", finished.root, f"{shard}:{sequence}:{tokens}")
    assert f"this is padding behind document {last['id'].hex()}" in flat(result)


def test_pads_between_documents_belong_to_the_one_before_them(finished_zigzag: Finished) -> None:
    rows = ask(
        finished_zigzag.root,
        "SELECT shard, sequence, start + length, document_id FROM {spans} "
        "WHERE length % 4 > 0 ORDER BY ALL LIMIT 5",
    )
    for shard, sequence, offset, document in rows:
        found = follow(finished_zigzag.root, shard, sequence, offset)
        assert found.padding
        assert found.document_id == document


def test_the_command_shows_the_text_with_the_token_marked_and_the_ledger(finished: Finished) -> None:
    span = next(span for span in spans(finished.root) if span["locator"].startswith(CONTROL_PAGE))
    at = span["start"] + span["length"] // 2
    found = follow(finished.root, span["shard"], span["sequence"], at)
    shard = span["shard"].removesuffix(".arrow")
    result = invoke("trace", finished.root, f"{shard}:{span['sequence']}:{at}")
    assert result.exit_code == 0
    output = flat(result)
    assert f"⟦{found.tokens.here.strip()}⟧" in output.replace("⟦ ", "⟦")
    for part in (span["id"].hex(), "in its text", f"of {span['tokens']:,}, about character", "fate kept"):
        assert part in output
    answer = json.loads(invoke("trace", finished.root, f"{shard}:{span['sequence']}:{at}", "--json").output)
    assert answer["document_id"] == span["id"].hex()
    assert answer["story"]["locator"] == span["locator"]
    assert answer["text"]["excerpt"]["here"] == found.text.excerpt.here


def test_a_document_without_its_text_is_still_named(finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished.root, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "documents")
    span = spans(finished.root)[0]
    result = invoke("trace", tmp_path / "run", f"{span['shard']}:0:1")
    assert result.exit_code == 0
    assert span["id"].hex() in result.output
    assert "its text is not in documents/" in result.output


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("4K-00000-000.arrow:0:0", "nearest: 4K-00000-0000.arrow"),
        ("4K-00000-0000.arrow:999:0", "has no sequence 999; it has 0 to"),
        ("4K-00000-0000.arrow:0:4096", "has no token 4096; it has 0 to 4095"),
        ("4K-00000-0000.arrow:0", "SHARD:SEQUENCE:OFFSET, such as"),
        ("4K-00000-0000.arrow:x:1", "SHARD:SEQUENCE:OFFSET, such as"),
        ("4K-00000-0000.arrow:0:-1", "SHARD:SEQUENCE:OFFSET, such as"),
        (":0:0", "SHARD:SEQUENCE:OFFSET, such as"),
    ],
)
def test_a_place_that_there_is_not_is_an_error_that_says_which_there_are(
    finished: Finished, place: str, words: str
) -> None:
    with pytest.raises(RunError, match=re.escape(words)):
        trace(open_run(str(finished.root)), place)
    result = invoke("trace", finished.root, "--", place)
    assert result.exit_code == 1
    assert words in flat(result)


def test_a_damaged_shard_is_an_error_and_no_stray_read(finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished.root, tmp_path / "run")
    shard = tmp_path / "run" / "shards" / "4K-00000-0000.arrow"
    old = write_value(shard, "padded_lengths", 1 << 30)
    with pytest.raises(RunError, match="sequence 0 has broken boundaries"):
        follow(tmp_path / "run", shard.name, 0, 5)
    write_value(shard, "padded_lengths", old)
    write_value(shard, "tokens", 1 << 30, index=6)
    with pytest.raises(RunError, match=r"outside .*: run `curate verify"):
        follow(tmp_path / "run", shard.name, 0, 5)
    shard.unlink()
    with pytest.raises(RunError, match="there is no file"):
        follow(tmp_path / "run", shard.name, 0, 5)


def test_a_text_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from curate.trace import Excerpt
    from curate.trace_command import _print_excerpt

    _print_excerpt(Excerpt("a\x1b[2J[bold]", "\x07", "\u202eb\x9b1m"))
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\x07" not in printed
    assert "\u202e" not in printed
    assert "[bold]" in printed


def test_a_run_without_shards_says_so(finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished.root, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "manifest" / "shards")
    with pytest.raises(RunError, match="no shards here yet"):
        follow(tmp_path / "run", "4K-00000-0000", 0, 0)

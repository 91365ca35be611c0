"""Splits and readers: what is read, in which order, and what becomes of what cannot be read."""

# ruff: noqa: RUF001 (texts in many scripts)

from __future__ import annotations

import bz2
import codecs
import gzip
import json
import lzma
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.document import RAW
from curate.sources import Fields, ReadOptions, Split, plan_splits, read_split
from curate.sources.charset import UndecodableError, declared_in, decode, is_binary, known_charset
from curate.sources.http_body import decode_body
from curate.sources.opening import CHUNK, DamagedInput, decompressed
from curate.sources.splits import expand_braces

Rows = list[dict[str, Any]]


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def read(root: Path | str, kind: str, *patterns: str, options: ReadOptions | None = None) -> Rows:
    rows: Rows = []
    for split in plan_splits("s", kind, patterns, str(root), split_bytes=1 << 20):
        for batch in read_split(split, root=str(root), options=options or ReadOptions()):
            assert batch.schema == RAW
            batch.validate(full=True)
            rows += batch.to_pylist()
    return rows


def texts(rows: Rows) -> dict[str, str]:
    return {row["locator"]: row["text"] for row in rows if row["text"] is not None}


def errors(rows: Rows) -> dict[str, str]:
    return {row["locator"]: row["error"] for row in rows if row["error"] is not None}


# Splits


def paths(splits: Sequence[Split]) -> list[str]:
    return [path for split in splits for path in split.files]


def test_files_come_in_bytewise_order_and_once(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(("b.txt", "a/z.txt", "a.txt", "B.txt", "é.txt", "a/b/c.txt"), b"x"))
    splits = plan_splits("s", "files", ["**/*.txt", "a/*.txt"], str(tmp_path), split_bytes=100)
    assert paths(splits) == ["B.txt", "a.txt", "a/b/c.txt", "a/z.txt", "b.txt", "é.txt"]


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("*.c", ["x.c"]),
        ("**/*.c", ["d/e/y.c", "d/z.c", "x.c"]),
        ("d/**", ["d/e/y.c", "d/z.c", "d/z.h"]),
        ("d/**/y.c", ["d/e/y.c"]),
        ("d/**/z.c", ["d/z.c"]),
        ("**/[yz].{c,h}", ["d/e/y.c", "d/z.c", "d/z.h"]),
        ("**/[!y].c", ["d/z.c", "x.c"]),
        ("?.c", ["x.c"]),
        ("{d/z.h,x.c}", ["d/z.h", "x.c"]),
        ("**/.hidden/*", ["d/.hidden/h.c"]),
        ("nothing/*.c", []),
        ("*", ["x.c"]),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, matched: list[str]) -> None:
    write(tmp_path, dict.fromkeys(["x.c", "d/z.c", "d/z.h", "d/e/y.c", "d/.hidden/h.c"], b"x"))
    assert paths(plan_splits("s", "files", [pattern], str(tmp_path), split_bytes=100)) == matched
    memory = fsspec.filesystem("memory")
    for path in tmp_path.rglob("*.?"):
        memory.pipe(f"/{tmp_path.name}/{path.relative_to(tmp_path)}", b"x")
    assert paths(plan_splits("s", "files", [pattern], f"memory://{tmp_path.name}", split_bytes=9)) == matched


def test_braces_expand_and_bad_patterns_are_refused() -> None:
    assert expand_braces("a.{c,h{pp,}}") == ["a.c", "a.hpp", "a.h"]
    with pytest.raises(ValueError, match="without its"):
        expand_braces("a.{c,h")
    with pytest.raises(ValueError, match="more than 4096"):
        expand_braces("{a,b}" * 13)
    for bad in ("/etc/*", "../x", "a**/b", "s3://bucket/x", ""):
        with pytest.raises(ValueError, match="pattern"):
            plan_splits("s", "files", [bad], ".", split_bytes=1)


def test_links_never_double_a_file(tmp_path: Path) -> None:
    write(tmp_path, {"in/real/a.txt": b"a", "out/b.txt": b"b", "in/c.txt": b"c"})
    (tmp_path / "in/again").symlink_to(tmp_path / "in/real")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/outside").symlink_to(tmp_path / "out")
    (tmp_path / "in/same.txt").symlink_to("c.txt")
    (tmp_path / "in/one.txt").symlink_to(tmp_path / "out/b.txt")
    (tmp_path / "in/two.txt").symlink_to(tmp_path / "out/b.txt")
    (tmp_path / "in/dangling.txt").symlink_to("gone")
    found = paths(plan_splits("s", "files", ["in/**/*.txt"], str(tmp_path), split_bytes=9))
    assert found == ["in/c.txt", "in/one.txt", "in/real/a.txt"]
    assert paths(plan_splits("s", "repositories", ["in/*"], str(tmp_path), split_bytes=9)) == [
        "in/real/a.txt"
    ]
    # A link that the pattern names is the user's own.
    assert paths(plan_splits("s", "files", ["in/again/*"], str(tmp_path), split_bytes=9)) == [
        "in/again/a.txt"
    ]


def test_small_files_share_a_split_and_large_ones_have_their_own(tmp_path: Path) -> None:
    sizes = [10, 10, 10, 100, 5, 5]
    write(tmp_path, {f"{i}.txt": b"x" * size for i, size in enumerate(sizes)})
    splits = plan_splits("s", "files", ["*.txt"], str(tmp_path), split_bytes=20)
    assert [split.bytes for split in splits] == [20, 110, 10]
    assert paths(splits) == [f"{i}.txt" for i in range(6)]


def test_a_changed_file_changes_its_stamp(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": b"one"})
    os.utime(tmp_path / "a.txt", ns=(10, 10))
    before = plan_splits("s", "files", ["*"], str(tmp_path), split_bytes=9)
    assert plan_splits("s", "files", ["*"], str(tmp_path), split_bytes=9) == before
    write(tmp_path, {"a.txt": b"two"})
    assert plan_splits("s", "files", ["*"], str(tmp_path), split_bytes=9) != before


@pytest.mark.parametrize("remote", [False, True])
def test_a_repository_is_never_divided(tmp_path: Path, remote: bool) -> None:
    files = {"code/b/src/x.c": b"x" * 50, "code/b/.git/HEAD": b"ref", "code/b/.github/ci.yml": b"y" * 50}
    files |= {"code/a/m.c": b"m" * 10, "code/a/x/n.c": b"n" * 10, "code/loose.txt": b"loose"}
    write(tmp_path, files)
    root = str(tmp_path)
    if remote:
        root = f"memory://{tmp_path.name}"
        fsspec.filesystem("memory").pipe({f"/{tmp_path.name}/{name}": data for name, data in files.items()})
    splits = plan_splits("s", "repositories", ["code/*"], root, split_bytes=20)
    assert [split.files for split in splits] == [
        ("code/a/m.c", "code/a/x/n.c"),
        ("code/b/.github/ci.yml", "code/b/src/x.c"),
    ]
    assert splits[0].repositories == ("a", "a")
    rows = [
        row for s in splits for b in read_split(s, root=root, options=ReadOptions()) for row in b.to_pylist()
    ]
    assert [(row["repository"], row["format"]) for row in rows] == [
        ("a", "c"),
        ("a", "c"),
        ("b", "yml"),
        ("b", "c"),
    ]


def test_repositories_two_levels_deep_are_named_by_both(tmp_path: Path) -> None:
    write(tmp_path, {"code/madler/zlib/a.c": b"x", "code/madler/pigz/b.c": b"x"})
    (split,) = plan_splits("s", "repositories", ["code/*/*"], str(tmp_path), split_bytes=99)
    assert split.repositories == ("madler/pigz", "madler/zlib")


# Charsets

SAMPLES = {
    "big5": "中文字元編碼是電腦處理文字的方法，大五碼用於台灣與香港地區的繁體中文。" * 4,
    "euc_kr": "한글 문자 집합은 컴퓨터에서 한국어를 표현하기 위해 사용되는 문자들의 모음이다. " * 4,
    "koi8-r": "Кодировка символов определяет, как буквы русского алфавита хранятся в памяти машины. " * 4,
    "windows-1251": "Кодировка символов определяет, как буквы русского алфавита хранятся в памяти. " * 4,
    "shift_jis": "文字コードとは、コンピュータで文字を扱うための符号である。日本語には幾つもある。" * 4,
    "euc_jp": "文字コードとは、コンピュータで文字を扱うための符号である。日本語には幾つもある。" * 4,
    "gbk": "字符编码是计算机处理文字的方法，简体中文常用国家标准编码来表示汉字。" * 4,
}


@pytest.mark.parametrize("charset", SAMPLES)
def test_legacy_charsets_are_detected_and_obeyed_when_declared(charset: str) -> None:
    text = SAMPLES[charset]
    data = text.encode(charset)
    assert decode(data)[0] == text
    assert decode(data, declared=charset) == (text, known_charset(charset))


@pytest.mark.parametrize(
    ("mark", "charset"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_byte_order_mark_decides_and_goes(mark: bytes, charset: str) -> None:
    assert decode(mark + "Grüße, мир".encode(charset), declared="latin-1") == ("Grüße, мир", charset)


def test_utf16_without_a_mark_is_seen_by_its_zero_bytes() -> None:
    text = "Plain words, and more of them, without a mark."
    assert decode(text.encode("utf-16-le")) == (text, "utf-16-le")
    assert not is_binary(text.encode("utf-16-be"))
    assert is_binary(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0>\0\x01\0\0\0")


def test_utf8_under_a_wrong_label_is_still_utf8() -> None:
    assert decode("naïve café".encode(), declared="iso-8859-1") == ("naïve café", "utf-8")


def test_a_few_bad_bytes_in_utf8_are_replaced_not_reinterpreted() -> None:
    text, charset = decode(("Grüße aus Köln. " * 50).encode() + b"\xff")
    assert charset == "utf-8"
    assert text.endswith("Köln. \ufffd")


def test_latin1_with_few_accents_is_not_broken_utf8() -> None:
    text = "A long English text with one caf\xe9 in it, and nothing else that is not ASCII. " * 3
    assert decode(text.encode("latin-1"))[0] == text


def test_escape_switched_charsets_are_not_taken_for_ascii() -> None:
    assert decode("日本語です".encode("iso-2022-jp")) == ("日本語です", "iso-2022-jp")


@pytest.mark.parametrize(
    ("head", "charset"),
    [
        (b'<html><meta charset="koi8-r">', "koi8-r"),
        (b'<meta http-equiv=Content-Type content="text/html; charset=Big5">', "Big5"),
        (b"<?xml version='1.0' encoding='euc-jp'?>", "euc-jp"),
        (b"<p>charset=none</p>", None),
    ],
)
def test_declarations_in_the_page(head: bytes, charset: str | None) -> None:
    assert declared_in(head) == charset


def test_codecs_that_are_no_charsets_are_not_obeyed() -> None:
    assert [known_charset(name) for name in ("rot13", "hex", "idna", "utf-7", "unicode_escape", "a\0b")] == [
        None
    ] * 6
    assert decode(b"\xff\x00\xfe", declared="unicode_escape")[1] != "unicode_escape"


def test_noise_is_undecodable() -> None:
    with pytest.raises(UndecodableError, match="not text"):
        decode(bytes([0x81, 0x01, 0xFF, 0x02, 0x8D, 0x03] * 200))


@given(st.binary(max_size=300), st.sampled_from([None, "utf-8", "big5", "nonsense", "utf-16"]))
@settings(max_examples=200, deadline=None)
def test_decode_gives_text_or_says_why_not(data: bytes, declared: str | None) -> None:
    try:
        text, charset = decode(data, declared=declared)
    except UndecodableError:
        return
    assert isinstance(text, str)
    codecs.lookup(charset)


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_utf8_text_comes_back_unchanged(text: str) -> None:
    data = text.encode("utf-8", "ignore")
    plain = data.decode("utf-8")
    if "\0" not in plain and "\x1b" not in plain and not plain.startswith("\ufeff"):
        assert decode(data) == (plain, "utf-8")


# Compressed streams


@pytest.mark.parametrize(
    ("codec", "compress"), [("gzip", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]
)
def test_members_follow_one_another_and_damage_is_located(tmp_path: Path, codec: str, compress: Any) -> None:
    big = os.urandom(CHUNK // 2) + b"a" * (3 * CHUNK)
    stored = compress(b"first") + compress(big) + b"\0" * 20
    (tmp_path / "f").write_bytes(stored)
    with (tmp_path / "f").open("rb") as stream:
        chunks = list(decompressed(stream, codec))
    assert b"".join(chunks) == b"first" + big
    assert max(map(len, chunks)) <= CHUNK
    (tmp_path / "f").write_bytes(stored[:-200])
    with (tmp_path / "f").open("rb") as stream, pytest.raises(DamagedInput) as caught:
        for _ in decompressed(stream, codec):
            pass
    assert caught.value.offset == len(compress(b"first"))


# Files


def test_files_are_decoded_opened_and_named_by_their_suffix(tmp_path: Path) -> None:
    write(tmp_path, {
        "a.TXT": "Grüße".encode(),
        "b.txt.gz": gzip.compress(b"zipped"),
        "c": SAMPLES["koi8-r"].encode("koi8-r"),
        "empty.py": b"",
    })  # fmt: skip
    rows = read(tmp_path, "files", "*")
    assert [(row["locator"], row["text"][:7], row["format"], row["charset"]) for row in rows] == [
        ("a.TXT", "Grüße", "txt", "utf-8"),
        ("b.txt.gz", "zipped", "txt", "utf-8"),
        ("c", "Кодиров", "text", "koi8-r"),
        ("empty.py", "", "py", "utf-8"),
    ]
    assert [row["bytes"] for row in rows] == [7, 6, len(SAMPLES["koi8-r"]), 0]


def test_what_is_not_text_is_quarantined_with_its_reason(tmp_path: Path) -> None:
    whole = gzip.compress(os.urandom(5000))
    write(tmp_path, {
        "binary": b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0",
        "bomb.gz": gzip.compress(b"\n" * 3_000_000),
        "cut.gz": whole[:-100],
        "large": b"x" * 1_000_001,
        "notgzip.gz": b"plain text",
    })  # fmt: skip
    rows = read(tmp_path, "files", "*", options=ReadOptions(document_bytes=1_000_000))
    assert errors(rows) == {
        "binary": "binary file",
        "bomb.gz": "larger than the limit of 1000000 bytes",
        "cut.gz": "truncated gzip",
        "large": "larger than the limit of 1000000 bytes",
        "notgzip.gz": "corrupt gzip: Error -3 while decompressing data: incorrect header check",
    }
    assert [row["error_offset"] for row in rows] == [7, 0, 0, 0, 0]
    assert texts(rows) == {}


def test_a_file_that_has_gone_is_quarantined(tmp_path: Path) -> None:
    split = Split("s", "files", ("gone.txt",), ("",), 1)
    (batch,) = read_split(split, root=str(tmp_path), options=ReadOptions())
    assert batch["error"].to_pylist() == ["cannot be read: No such file or directory"]


def test_markup_is_extracted_by_kind_and_left_alone_in_repositories(tmp_path: Path) -> None:
    page = b"<html><body><h1>Title</h1><p>Some words of text in a paragraph.</p></body></html>"
    write(tmp_path, {"code/a/index.html": page})
    assert read(tmp_path, "repositories", "code/*")[0]["text"] == page.decode()
    assert read(tmp_path, "html", "code/**/*.html")[0]["text"].startswith("# Title\n")
    plain = read(tmp_path, "html", "code/**/*.html", options=ReadOptions(extract=False))
    assert plain[0]["text"] == page.decode()
    assert plain[0]["format"] == "html"


def test_what_cannot_be_extracted_is_quarantined(tmp_path: Path) -> None:
    write(tmp_path, {"a.xml": b"<article><body>"})
    (row,) = read(tmp_path, "jats", "*.xml")
    assert row["text"] is None
    assert row["error"].startswith("jats: not well-formed XML")


def test_an_unknown_kind_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown kind 'pdf'"):
        list(read_split(Split("s", "pdf", (), (), 0), root=str(tmp_path), options=ReadOptions()))


# Tables


def test_jsonl_rows_are_named_by_id_or_row(tmp_path: Path) -> None:
    lines = [
        {"text": "a", "id": "x", "url": "http://e/"},
        {"text": "b"},
        {"text": "", "id": "y", "n": [1]},
        {"text": "d", "id": "x"},
    ]
    write(tmp_path, {"t.jsonl.gz": gzip.compress("\n".join(map(json.dumps, lines)).encode())})
    rows = read(tmp_path, "jsonl", "*.jsonl.gz")
    assert texts(rows) == {
        "t.jsonl.gz#x": "a",
        "t.jsonl.gz#row=1": "b",
        "t.jsonl.gz#y": "",
        "t.jsonl.gz#row=3": "d",
    }
    assert [row["url"] for row in rows] == ["http://e/", None, None, None]
    assert len({row["document_id"] for row in rows}) == 4


def test_bad_jsonl_lines_are_quarantined_with_row_and_offset(tmp_path: Path) -> None:
    lines = [
        b'{"text": "good", "id": 7}',
        b"{broken",
        b'["a list"]',
        b'{"text": 5}',
        b'{"other": "x"}',
        b"",
        b'{"text": ' + b"[" * 100_000,
        b'{"text": "\\ud800 lone"}',
        b'{"text": "last"}',
    ]
    write(tmp_path, {"t.jsonl": b"\n".join(lines)})
    rows = read(tmp_path, "jsonl", "*.jsonl")
    assert texts(rows) == {"t.jsonl#7": "good", "t.jsonl#row=6": "\ufffd lone", "t.jsonl#row=7": "last"}
    found = errors(rows)
    assert found["t.jsonl#row=1"].startswith("invalid JSON: Expecting property name")
    assert found["t.jsonl#row=2"] == "a list, not an object"
    assert found["t.jsonl#row=3"] == "field 'text' is a int, not a string"
    assert found["t.jsonl#row=4"] == "field 'text' is missing or null"
    assert found["t.jsonl#row=5"].startswith("invalid JSON")
    offsets = {row["locator"]: row["error_offset"] for row in rows if row["error"]}
    assert offsets["t.jsonl#row=1"] == len(lines[0]) + 1
    assert offsets["t.jsonl#row=5"] == sum(len(line) + 1 for line in lines[:6])


def test_jsonl_fields_can_be_named_otherwise(tmp_path: Path) -> None:
    write(tmp_path, {"t.jsonl": b'{"content": "a", "link": "u", "text": 3}\n'})
    options = ReadOptions(fields=Fields("content", "link", None), format="markdown")
    (row,) = read(tmp_path, "jsonl", "*.jsonl", options=options)
    assert (row["text"], row["url"], row["locator"], row["format"]) == ("a", "u", "t.jsonl#row=0", "markdown")


def test_a_truncated_jsonl_keeps_the_rows_before_the_cut(tmp_path: Path) -> None:
    lines = b"".join(json.dumps({"text": os.urandom(400).hex()}).encode() + b"\n" for _ in range(500))
    write(tmp_path, {"t.jsonl.gz": gzip.compress(lines)[:-20_000]})
    rows = read(tmp_path, "jsonl", "*.jsonl.gz")
    assert 350 < len(texts(rows)) < 500
    assert list(errors(rows).values()) == ["cannot be read on: truncated gzip"]


def test_lines_longer_than_memory_allows_are_passed_over(tmp_path: Path) -> None:
    long = b'{"text": "' + b"x" * 20_000_000 + b'"}\n'
    write(
        tmp_path,
        {"t.jsonl": b'{"text": "a"}\n' + long + b'{"text": "b"}\n' + b'{"text": "' + b"y" * 3000 + b'"}'},
    )
    rows = read(tmp_path, "jsonl", "*.jsonl", options=ReadOptions(document_bytes=2000))
    assert texts(rows) == {"t.jsonl#row=0": "a", "t.jsonl#row=2": "b"}
    assert errors(rows) == {
        "t.jsonl#row=1": f"line of {len(long)} bytes, over twice the limit of 2000",
        "t.jsonl#row=3": "text of 3000 bytes, over the limit of 2000",
    }


@given(
    st.lists(
        st.one_of(st.text(max_size=20), st.integers(), st.none(), st.lists(st.integers(), max_size=2)),
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_every_jsonl_row_is_a_document_or_in_quarantine(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any]
) -> None:
    root = tmp_path_factory.mktemp("rows")
    write(root, {"t.jsonl": "".join(json.dumps({"text": value}) + "\n" for value in values).encode()})
    rows = read(root, "jsonl", "*.jsonl")
    assert len(rows) == len(values)
    wanted = [value.encode("utf-8", "replace").decode() for value in values if isinstance(value, str)]
    assert [row["text"] for row in sorted(rows, key=_row) if row["text"] is not None] == wanted


def _row(row: dict[str, Any]) -> int:
    return int(row["locator"].rpartition("=")[2])


def test_parquet_rows_of_any_string_type(tmp_path: Path) -> None:
    for i, kind in enumerate(
        (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.binary())
    ):
        values = [b"a", None, b"c"] if kind == pa.binary() else ["a", None, "c"]
        pq.write_table(pa.table({"text": pa.array(values, kind), "id": [1, 2, 3]}), tmp_path / f"{i}.parquet")
    rows = read(tmp_path, "parquet", "*.parquet")
    for i in range(4):
        assert texts(rows)[f"{i}.parquet#1"] == "a"
        assert texts(rows)[f"{i}.parquet#3"] == "c"
        assert errors(rows)[f"{i}.parquet#row=1"] == "field 'text' is null"


def test_unusable_parquet_is_one_quarantined_record(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_bytes((tmp_path / "b.parquet").read_bytes()[:-10])
    pq.write_table(pa.table({"text": pa.array([b"\xff\xfe", b"ok"])}), tmp_path / "d.parquet")
    found = errors(read(tmp_path, "parquet", "*.parquet"))
    assert found["a.parquet#row=0"] == "cannot be read on: column 'text' is int64, not a string"
    assert found["b.parquet#row=0"] == "cannot be read on: no column 'text'; the file has: body"
    assert found["c.parquet#row=0"].startswith("cannot be read on: ")
    assert found["d.parquet#row=0"] == "field 'text' is not UTF-8"


# Web archives


def record(
    number: int, body: bytes, *, kind: str = "response", http: str = "200 OK", fields: str = ""
) -> bytes:
    message = f"HTTP/1.1 {http}\r\nContent-Type: text/html; charset=utf-8\r\n{fields}\r\n".encode() + body
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://e.org/{number}\r\n"
        f"WARC-Date: 2020-01-0{number + 1}T00:00:00Z\r\nWARC-Record-ID: <urn:uuid:{number}>\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(message)}\r\n\r\n"
    )
    return head.encode() + message + b"\r\n\r\n"


def page(number: int) -> bytes:
    body = f"<h1>Page {number}</h1><p>Some words of page {number}, for a paragraph.</p>"
    return f"<html><body>{body}</body></html>".encode()


def text_of(number: int) -> str:
    return f"# Page {number}\n\nSome words of page {number}, for a paragraph.\n"


@pytest.mark.parametrize("packed", [True, False])
def test_responses_are_documents_and_other_records_are_not(tmp_path: Path, packed: bool) -> None:
    records = [
        record(0, page(0)),
        record(1, page(1), kind="request"),
        record(2, page(2), kind="revisit"),
        record(3, page(3), http="404 Not Found"),
        record(4, page(4)),
        record(5, b"\x89PNG", fields="").replace(b"text/html", b"image/png"),
    ]
    stored = [gzip.compress(one) if packed else one for one in records]
    write(tmp_path, {"w.warc": b"".join(stored)})
    rows = read(tmp_path, "warc", "*.warc")
    start = sum(map(len, stored[:4]))
    assert texts(rows) == {
        "http://e.org/0#w.warc@0": text_of(0),
        f"http://e.org/4#w.warc@{start}": text_of(4),
    }
    assert rows[1]["date"] == "2020-01-05T00:00:00Z"
    assert rows[1]["url"] == "http://e.org/4"
    assert rows[1]["format"] == "html"
    assert errors(rows) == {}


@pytest.mark.parametrize("packed", [True, False])
def test_damage_costs_one_record_and_the_rest_is_read(tmp_path: Path, packed: bool) -> None:
    stored = [gzip.compress(one) if packed else one for one in (record(i, page(i)) for i in range(4))]
    start = len(stored[0])
    stored[1] = stored[1][:20] + b"\xff" * 30 + stored[1][50:] if packed else b"XXXX" + stored[1][4:]
    write(tmp_path, {"w.warc": b"".join(stored)})
    rows = read(tmp_path, "warc", "*.warc")
    assert list(texts(rows).values()) == [text_of(0), text_of(2), text_of(3)]
    assert [row["error_offset"] for row in rows if row["error"]] == [start]


@pytest.mark.parametrize("packed", [True, False])
def test_a_truncated_archive_keeps_what_precedes_the_cut(tmp_path: Path, packed: bool) -> None:
    stored = [gzip.compress(one) if packed else one for one in (record(i, page(i)) for i in range(3))]
    whole = b"".join(stored)
    for cut in (30, len(stored[2]) - 20):
        write(tmp_path, {"w.warc": whole[:-cut]})
        rows = read(tmp_path, "warc", "*.warc")
        assert list(texts(rows).values()) == [text_of(0), text_of(1)]
        assert [row["error_offset"] for row in rows if row["error"]] == [len(stored[0]) + len(stored[1])]


def test_records_in_one_compressed_frame_have_locators_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, {"w.warc.gz": gzip.compress(b"".join(record(i, page(i)) for i in (0, 1, 1, 1)))})
    rows = read(tmp_path, "warc", "*")
    assert list(texts(rows).values()) == [text_of(0), text_of(1), text_of(1), text_of(1)]
    assert errors(rows) == {}


def test_archives_of_nothing_and_of_noise(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"empty.warc": b"", "noise.warc": b"not an archive" * 100, "n.warc.gz": gzip.compress(b"noise")},
    )
    assert list(errors(read(tmp_path, "warc", "*")).values()) == ["damaged archive: Invalid WARC header"] * 2


def test_large_records_and_bombs_are_refused(tmp_path: Path) -> None:
    bomb = record(1, gzip.compress(b"a" * 5_000_000), fields="Content-Encoding: gzip\r\n")
    write(tmp_path, {"w.warc": record(0, page(0)) + bomb + record(2, b"b" * 2_000_000) + record(3, page(3))})
    rows = read(tmp_path, "warc", "*", options=ReadOptions(document_bytes=1_000_000))
    assert list(texts(rows).values()) == [text_of(0), text_of(3)]
    one, two = errors(rows).values()
    assert one == "unpacks to more than the limit of 1000000 bytes"
    assert two.startswith("record of 2000")


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ("Content-Encoding: gzip\r\n", gzip.compress(page(0))),
        ("Content-Encoding: gzip\r\n", page(0)),
        ("Content-Encoding: deflate\r\n", zlib.compress(page(0))),
        ("Content-Encoding: deflate\r\n", zlib.compress(page(0))[2:-4]),
        (
            "Transfer-Encoding: chunked\r\n",
            b"a\r\n" + page(0)[:10] + b"\r\n%x\r\n" % (len(page(0)) - 10) + page(0)[10:] + b"\r\n0\r\n\r\n",
        ),
        ("Transfer-Encoding: chunked\r\n", page(0)),
        ("Content-Encoding: br\r\n", page(0)),
        ("Content-Encoding: unheard-of\r\n", page(0)),
    ],
)
def test_http_encodings_are_undone_also_where_the_header_lies(
    tmp_path: Path, fields: str, body: bytes
) -> None:
    write(tmp_path, {"w.warc": record(0, body, fields=fields)})
    assert list(texts(read(tmp_path, "warc", "*")).values()) == [text_of(0)]


def test_a_cut_body_is_kept_only_where_the_archive_says_so() -> None:
    packed = gzip.compress(os.urandom(3000))[:-500]
    with pytest.raises(DamagedInput, match="truncated"):
        decode_body(packed, transfer=None, content="gzip", limit=10_000)
    assert len(decode_body(packed, transfer=None, content="gzip", limit=10_000, cut=True)) > 2000


@pytest.mark.parametrize("packed", [True, False])
def test_arc_files_are_read_too(tmp_path: Path, packed: bool) -> None:
    http = b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + page(1)
    own = b"1 0 Someone\nURL IP-address Archive-date Content-type Archive-length\n"
    stored = [
        b"filedesc://x.arc 0.0.0.0 20200101000000 text/plain %d\n" % len(own) + own + b"\n",
        b"http://e.org/1 1.2.3.4 20200203040506 text/html %d\n" % len(http) + http + b"\n",
    ]
    write(tmp_path, {"x.arc": b"".join(gzip.compress(one) if packed else one for one in stored)})
    (row,) = read(tmp_path, "warc", "*.arc")
    assert row["text"] == text_of(1)
    assert (row["url"], row["date"]) == ("http://e.org/1", "2020-02-03T04:05:06Z")


def test_wet_records_are_plain_text(tmp_path: Path) -> None:
    body = "Only text, grüße.".encode()
    head = (
        "WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://e.org/\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    write(tmp_path, {"w.warc.wet": head.encode() + body + b"\r\n\r\n"})
    (row,) = read(tmp_path, "warc", "*")
    assert (row["text"], row["format"]) == ("Only text, grüße.", "text")


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_flipped_byte_stops_an_archive(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    stored = bytearray(b"".join(gzip.compress(record(i, page(i))) for i in range(3)))
    for _ in range(data.draw(st.integers(1, 4))):
        stored[data.draw(st.integers(0, len(stored) - 1))] = data.draw(st.integers(0, 255))
    root = tmp_path_factory.mktemp("flipped")
    write(root, {"w.warc.gz": bytes(stored)})
    rows = read(root, "warc", "*")
    assert len({row["locator"] for row in rows}) == len(rows)
    assert len(texts(rows)) <= 3


def test_what_is_excluded_is_left_out_a_folder_with_all_below_it(tmp_path: Path) -> None:
    for name in ("a/keep.txt", "a/vendor/deep/x.txt", "b/vendor.txt", "b/notes.log", "b/keep.txt"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("text")
    exclude = ["**/vendor", "**/*.{log,tmp}"]
    found = plan_splits("s", "files", ["**/*"], str(tmp_path), split_bytes=1 << 20, exclude=exclude)
    assert [split.files for split in found] == [("a/keep.txt", "b/keep.txt", "b/vendor.txt")]
    found = plan_splits("s", "repositories", ["*"], str(tmp_path), split_bytes=1, exclude=["b", *exclude])
    assert [split.files for split in found] == [("a/keep.txt",)]

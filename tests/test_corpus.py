"""The sample corpus: its catalogue is closed, its archives are not trusted, its downloads resume, and a run
that was killed is completed by the next. Nothing here leaves the machine: the index is a loopback server."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from fastwarc.warc import ArchiveIterator, WarcRecordType
from hypothesis import given
from hypothesis import strategies as st

from curate.corpus import catalog, convert, debian, fetch, layout, metamath, warc
from curate.corpus.__main__ import main
from curate.corpus.catalog import Catalogue, CatalogueError, PypiPackage, Take
from curate.corpus.unpack import Limits, Unpacked, UnsafeArchive, unpack

QUICK = fetch.Patience(tries=3, first_wait=0.01, timeout=5)


# The catalogue


def test_every_entry_of_the_catalogue_is_whole() -> None:
    catalogue = catalog.load()
    assert len(catalogue.pypi) == 10
    assert len(catalogue.debian) == 72
    assert sum(package.bytes for package in catalogue.pypi.values()) < 54e6
    owned = [path for package in catalogue.packages.values() for path in package.outputs]
    assert len(owned) == len(set(owned))


ENTRY = """pypi:
  demo:
    version: "1"
    file: demo-1.tar.gz
    sha256: "{sha}"
    bytes: 10
    licence: MIT
    domain: web
    take:
      - {{match: ["*.txt"], into: web/demo}}
debian: {{}}
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("licence: MIT", "license: MIT", 7, "unknown key; did you mean `licence`?"),
        ("match:", "matches:", 10, "unknown key; did you mean `match`?"),
        ("domain: web", "domain: wbe", 8, "'web'"),
        ("into: web/demo", "into: ../demo", 10, "without '..'"),
        ("into: web/demo", "into: /etc/demo", 10, "not a relative path"),
        ("into: web/demo", "into: elsewhere/demo", 10, "below one of web, docs"),
        ("bytes: 10", "bytes: many", 6, "integer"),
        ("bytes: 10", "version: 2", 6, "`version` again; first on line 3"),
        ("debian: {{}}", "debian: [", 12, "not YAML"),
    ],
)
def test_a_mistake_is_an_error_with_its_line_and_the_remedy(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    path = tmp_path / "packages.yaml"
    path.write_text(ENTRY.replace(old, new).format(sha="0" * 64))
    with pytest.raises(CatalogueError) as error:
        catalog.load(path)
    assert words in str(error.value)
    assert f":{line}:" in str(error.value) or f"line {line}" in str(error.value)


def test_two_packages_cannot_own_one_path(tmp_path: Path) -> None:
    path = tmp_path / "packages.yaml"
    other = "{d: {version: '1', licence: MIT, domain: web, take: [{match: ['*'], into: web/demo/inner}]}}"
    path.write_text(ENTRY.format(sha="0" * 64).replace("debian: {}", f"debian: {other}"))
    with pytest.raises(CatalogueError, match="`into: web/demo/inner` of d lies inside web/demo of demo"):
        catalog.load(path)


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("*.py", "a.py", True),
        ("*.py", "a/b.py", False),
        ("**/*.py", "b.py", True),
        ("**/*.py", "a/b/c.py", True),
        ("**", "a/b/c", True),
        ("*/x?.gz", "man1/xy.gz", True),
        ("*/x?.gz", "man1/x/y.gz", False),
        ("a+b.txt", "aab.txt", False),
    ],
)
def test_globs_stay_inside_a_folder_unless_doubled(glob: str, path: str, matches: bool) -> None:
    take = Take.model_validate({"from": "top", "match": [glob], "into": "web/x"})
    assert take.wants(f"top/{path}") is matches
    assert not take.wants(path)


# Archives


def tar(path: Path, *members: tuple[str, bytes | str] | tarfile.TarInfo) -> Path:
    """A .tar.gz; a member is (name, bytes), or (name, target) for a symbolic link, or a header as it is."""
    with tarfile.open(path, "w:gz") as out:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                out.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.mtime = 1_500_000_000
            if isinstance(member[1], str):
                info.type, info.linkname = tarfile.SYMTYPE, member[1]
                out.addfile(info)
            else:
                info.size = len(member[1])
                out.addfile(info, io.BytesIO(member[1]))
    return path


def everything(_: str) -> bool:
    return True


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "name", ["../out.txt", "/nowhere/out.txt", "a/../../out.txt", "a\\..\\b", "C:out.txt"]
)
def test_a_member_that_leaves_the_folder_refuses_the_archive(tmp_path: Path, name: str) -> None:
    archive = tar(tmp_path / "a.tar.gz", (name, b"x"))
    with pytest.raises(UnsafeArchive, match="leaves the folder"):
        unpack(archive, tmp_path / "into", everything)
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as zipped:
        zipped.writestr(name, b"x")
    with pytest.raises(UnsafeArchive, match="leaves the folder"):
        unpack(tmp_path / "a.whl", tmp_path / "into", everything)
    assert not contents(tmp_path / "into")
    assert not (tmp_path / "out.txt").exists()


def test_links_and_devices_are_never_made(tmp_path: Path) -> None:
    device, hard = tarfile.TarInfo("null"), tarfile.TarInfo("hard")
    device.type = tarfile.CHRTYPE
    hard.type, hard.linkname = tarfile.LNKTYPE, "good.txt"
    archive = tar(tmp_path / "a.tar.gz", ("good.txt", b"good"), ("link", "/etc/passwd"), device, hard)
    assert unpack(archive, tmp_path / "into", everything) == Unpacked(files=1, bytes=4, skipped=3)
    assert contents(tmp_path / "into") == {"good.txt": b"good"}
    assert not (tmp_path / "into" / "link").is_symlink()


def test_a_member_through_a_link_refuses_the_archive(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    archive = tar(tmp_path / "a.tar.gz", ("door", str(tmp_path / "victim")), ("door/in.txt", b"x"))
    with pytest.raises(UnsafeArchive, match="goes through the link door"):
        unpack(archive, tmp_path / "into", everything)
    assert not contents(tmp_path / "victim")


def test_bombs_are_refused_before_they_fill_the_disk(tmp_path: Path) -> None:
    zeros = tar(tmp_path / "zeros.tar.gz", ("zeros", bytes(3_000_000)))
    assert zeros.stat().st_size < 10_000
    with pytest.raises(UnsafeArchive, match=r"zeros has 3,000,000 bytes"):
        unpack(zeros, tmp_path / "into", everything, Limits(member_bytes=2_000_000))
    with pytest.raises(UnsafeArchive, match="more than 1,000,000 bytes unpacked"):
        unpack(
            zeros, tmp_path / "into", lambda _: False, Limits(bytes=1_000_000)
        )  # also where it is not wanted
    many = tar(tmp_path / "many.tar.gz", *((f"f{i}", b"") for i in range(20)))
    with pytest.raises(UnsafeArchive, match="more than 10 members"):
        unpack(many, tmp_path / "into2", everything, Limits(members=10))
    with zipfile.ZipFile(tmp_path / "z.whl", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("zeros", bytes(3_000_000))
    with pytest.raises(UnsafeArchive, match="more than 1,000,000 bytes unpacked"):
        unpack(tmp_path / "z.whl", tmp_path / "into3", everything, Limits(bytes=1_000_000))


def test_a_header_that_claims_more_than_memory_is_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40  # an extended header is read whole before its member
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(header.tobuf() + bytes(4_000_000)))
    with pytest.raises(UnsafeArchive):
        unpack(tmp_path / "a.tar.gz", tmp_path / "into", everything, Limits(bytes=1_000_000))


def test_an_archive_cut_short_is_damaged_not_shorter(tmp_path: Path) -> None:
    whole = tar(tmp_path / "whole.tar.gz", ("a", os.urandom(50_000)), ("b", os.urandom(50_000)))
    (tmp_path / "cut.tar.gz").write_bytes(whole.read_bytes()[:60_000])
    with pytest.raises(UnsafeArchive, match="damaged archive"):
        unpack(tmp_path / "cut.tar.gz", tmp_path / "into", everything)


def test_the_top_folder_is_left_out_and_dates_are_kept(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar.gz", ("demo-1/x/a.txt", b"a"), ("demo-1/b.bin", b"b"))
    unpack(archive, tmp_path / "into", lambda member: member == "x/a.txt", strip=1)
    assert contents(tmp_path / "into") == {"x/a.txt": b"a"}
    assert (tmp_path / "into/x/a.txt").stat().st_mtime == 1_500_000_000


needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb here")


def deb(folder: Path, name: str, version: str = "1.0-1") -> Path:
    tree = folder / f"{name}-tree"
    (tree / "DEBIAN").mkdir(parents=True)
    fields = (
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: d\n"
    )
    (tree / "DEBIAN/control").write_text(fields)
    (tree / "usr/share").mkdir(parents=True)
    (tree / "usr/share/a.txt").write_text(name)
    (tree / "usr/share/again").symlink_to(".")
    path = folder / f"{name}_{version}_all.deb"
    subprocess.run(["dpkg-deb", "--build", "-Zgzip", str(tree), str(path)], check=True, capture_output=True)
    return path


@needs_dpkg
def test_a_debian_package_is_read_without_following_its_folder_links(tmp_path: Path) -> None:
    archive = deb(tmp_path, "demo")
    assert unpack(archive, tmp_path / "into", everything) == Unpacked(files=1, bytes=4, skipped=1)
    assert contents(tmp_path / "into") == {"usr/share/a.txt": b"demo"}
    assert debian.version(archive) == "1.0-1"
    archive.write_bytes(archive.read_bytes()[:300])
    with pytest.raises(UnsafeArchive, match="run again"):
        unpack(archive, tmp_path / "into2", everything)


@needs_dpkg
def test_a_debian_package_that_apt_does_not_know_is_absent_and_the_others_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, tools, cache = tmp_path / "shelf", tmp_path / "bin", tmp_path / "cache"
    for folder in (shelf, tools):
        folder.mkdir()
    deb(shelf, "known")
    # Like apt: one unknown name and nothing is downloaded.
    (tools / "apt-get").write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n'
        'case "$*" in *unknown*) echo "E: Unable to locate package unknown" >&2; exit 100;; esac\n'
        f'case "$*" in *download*) cp {shelf}/*.deb .;; esac\n'
    )
    (tools / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    fetched = debian.fetch(["known", "unknown"], cache)
    assert list(fetched.files) == ["known"]
    assert "knows no such package" in fetched.absent["unknown"]
    (tmp_path / "calls").unlink()
    assert debian.fetch(["known"], cache).files == fetched.files
    assert not (tmp_path / "calls").exists()  # cached: apt is not asked again


# Web archives


PAGES = [
    warc.Page("http://a.example/", "html/0.html", "<html>caf\u00e9</html>".encode(), 1_500_000_000),
    warc.Page("http://b.example/x y\r\nEvil: 1", "html/1.html", b"<html>caf\xe9\r\n\0</html>", 1_500_000_001),
]


def test_a_web_archive_gives_back_each_page_and_its_address() -> None:
    out = io.BytesIO()
    assert warc.write(out, "demo==1", "MIT", iter(PAGES)) == 2
    out.seek(0)
    records = [
        (r.headers["WARC-Target-URI"], r.http_content_type, r.http_charset, r.reader.read(), r.record_date)
        for r in ArchiveIterator(out, record_types=WarcRecordType.response, verify_digests=True)
    ]
    assert [(url, kind, charset, body) for url, kind, charset, body, _ in records] == [
        ("http://a.example/", "text/html", "utf-8", PAGES[0].body),
        ("http://b.example/x%20y%0D%0AEvil:%201", "text/html", None, PAGES[1].body),
    ]
    assert records[0][4].isoformat().startswith("2017-07-14T02:40:00")


def test_a_web_archive_is_the_same_bytes_each_time() -> None:
    first, second = io.BytesIO(), io.BytesIO()
    warc.write(first, "demo==1", "MIT", PAGES)
    warc.write(second, "demo==1", "MIT", PAGES)
    assert first.getvalue() == second.getvalue()
    assert first.getvalue()[4:8] == bytes(4)  # the gzip header's time (RFC 1952, 2.3)
    ids = re.findall(rb"WARC-Record-ID: (.*)\r", gzip.decompress(first.getvalue()))
    assert len(set(ids)) == 3


def test_a_page_says_itself_where_it_was() -> None:
    canonical = b'<link href="https://a.example/p?x=1&amp;y=2" rel="canonical"/>'
    assert convert.own_address(canonical) == "https://a.example/p?x=1&y=2"
    assert (
        convert.own_address(b'<meta property="og:url" content="https://b.example/" />')
        == "https://b.example/"
    )
    assert convert.own_address(b'<link rel="canonical" href="/relative">') is None


# Metamath and Project Euler


MM = b"""$( comment $)
$(
#####
  Part One
#####
$)
ax $a |- x $.
$(
-.-.-.
  Caf\xc3\xa9 lemmas,
  continued
-.-.-.
  Words.
$)
th $p |- x $= ax $.
$( =-=- not a header: no rule line of its own $)
"""


def test_a_metamath_database_is_cut_at_its_headers() -> None:
    sections = metamath.split(MM)
    assert [section.slug for section in sections] == ["preamble", "part-one", "cafe-lemmas-continued"]
    assert sections[1].body == MM[14 : MM.index(b"$(\n-.-.")]


@given(
    st.lists(
        st.sampled_from([*MM.splitlines(keepends=True), b"\r\n", b"\xff", b"####\n", b"$(\n"]), max_size=40
    )
)
def test_sections_put_together_are_the_database(lines: list[bytes]) -> None:
    database = b"".join(lines)
    assert b"".join(section.body for section in metamath.split(database)) == database


def test_statements_are_cut_at_their_headings() -> None:
    text = "Problem 1\n=========\n\n  One.\n\nSee Problem 2.\n\n\nProblem 20\n==========\n\nTwo.\n"
    assert [(row["id"], row["text"]) for row in convert.euler_statements(text)] == [
        ("euler:1", "  One.\n\nSee Problem 2."),
        ("euler:20", "Two."),
    ]


# Downloads


class Index:
    """A package index on loopback with one file; it can cut answers short and remembers what was asked."""

    def __init__(self, body: bytes, kind: str = "json") -> None:
        self.body, self.kind = body, kind
        self.claimed = hashlib.sha256(body).hexdigest()
        self.asked: list[str] = []
        self.cut: list[int] = []  # for each coming answer, the bytes after which the connection ends
        self.failures: list[int] = []  # status codes to answer first
        self.ranges = True
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.answer(self)

            def log_message(self, *_: object) -> None:
                """Keep the tests' output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range", "")
        self.asked.append(f"{request.path} {wanted}".strip())
        if self.failures:
            request.send_error(self.failures.pop(0))
            return
        if request.path == "/simple/demo/":
            link = {"url": "../../files/demo-1.tar.gz", "hashes": {"sha256": self.claimed}}
            if self.kind == "json":
                page = json.dumps({"files": [{"url": "x", "hashes": {}}, link]}).encode()
                self.send(request, 200, page, "application/vnd.pypi.simple.v1+json")
            else:
                page = f'<a href="{link["url"]}#sha256={self.claimed}">demo</a>'.encode()
                self.send(request, 200, page, "text/html")
            return
        if request.path != "/files/demo-1.tar.gz":
            request.send_error(404)
            return
        start = int(wanted[6:-1]) if wanted and self.ranges else 0
        self.send(request, 206 if start else 200, self.body[start:], "application/gzip", start)

    def send(
        self, request: BaseHTTPRequestHandler, status: int, body: bytes, kind: str, start: int = 0
    ) -> None:
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        if status == 206:
            request.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(self.body)}")
        request.end_headers()
        request.wfile.write(body[: self.cut.pop(0)] if self.cut else body)
        request.close_connection = True

    def download(self) -> fetch.Download:
        return fetch.Download(
            f"{self.url[:-7]}/files/demo-1.tar.gz", "demo-1.tar.gz", self.claimed, len(self.body)
        )


@pytest.fixture
def index() -> Iterator[Callable[..., Index]]:
    made: list[Index] = []

    def make(body: bytes = b"", kind: str = "json") -> Index:
        made.append(Index(body or os.urandom(700_000), kind))
        return made[-1]

    yield make
    for server in made:
        server.server.shutdown()
        server.server.server_close()


@pytest.mark.parametrize("kind", ["json", "html"])
def test_a_file_is_found_by_its_hash_on_a_json_or_html_index(index: Callable[..., Index], kind: str) -> None:
    server = index(kind=kind)
    assert fetch.locate(server.url, "demo", server.claimed, QUICK) == server.download().url
    with pytest.raises(fetch.FetchError, match="no file with sha256 0000000000000000"):
        fetch.locate(server.url, "demo", "0" * 64, QUICK)


def test_a_download_goes_on_where_it_was_cut(index: Callable[..., Index], tmp_path: Path) -> None:
    server = index()
    server.cut = [300_000]
    counted: list[int] = []
    path = fetch.fetch(server.download(), tmp_path, counted.append, QUICK)
    assert path.read_bytes() == server.body
    assert server.asked == ["/files/demo-1.tar.gz", "/files/demo-1.tar.gz bytes=300000-"]
    assert sum(counted) == len(server.body)
    assert fetch.fetch(server.download(), tmp_path) == path
    assert len(server.asked) == 2  # cached


def test_a_part_of_an_earlier_run_is_continued(index: Callable[..., Index], tmp_path: Path) -> None:
    server = index()
    part = tmp_path / server.claimed / "demo-1.tar.gz.part"
    part.parent.mkdir()
    part.write_bytes(server.body[:500_000])
    assert fetch.fetch(server.download(), tmp_path, patience=QUICK).read_bytes() == server.body
    assert server.asked == ["/files/demo-1.tar.gz bytes=500000-"]
    assert not part.exists()


@pytest.mark.parametrize("stale", [b"x" * 500_000, b"x" * 900_000])
def test_a_stale_part_is_thrown_away(index: Callable[..., Index], tmp_path: Path, stale: bytes) -> None:
    server = index()
    part = tmp_path / server.claimed / "demo-1.tar.gz.part"
    part.parent.mkdir()
    part.write_bytes(stale)
    assert fetch.fetch(server.download(), tmp_path, patience=QUICK).read_bytes() == server.body


def test_a_server_without_ranges_sends_the_whole_file_again(
    index: Callable[..., Index], tmp_path: Path
) -> None:
    server = index()
    server.cut, server.ranges = [300_000], False
    assert fetch.fetch(server.download(), tmp_path, patience=QUICK).read_bytes() == server.body


def test_other_bytes_than_the_catalogues_are_refused(index: Callable[..., Index], tmp_path: Path) -> None:
    server = index()
    wanted = server.download()
    server.body = server.body[:-1] + bytes([server.body[-1] ^ 1])
    with pytest.raises(fetch.HashMismatch, match=f"the catalogue says {wanted.sha256[:16]}"):
        fetch.fetch(wanted, tmp_path, patience=QUICK)
    server.body += b"more"
    with pytest.raises(fetch.HashMismatch, match="more than the 700,000 bytes"):
        fetch.fetch(wanted, tmp_path, patience=QUICK)
    assert not contents(tmp_path)[f"{wanted.sha256}/demo-1.tar.gz.part"]  # nothing of it was kept


def test_a_damaged_file_in_the_cache_is_fetched_again(index: Callable[..., Index], tmp_path: Path) -> None:
    server = index()
    path = fetch.fetch(server.download(), tmp_path, patience=QUICK)
    path.write_bytes(b"damaged")
    assert fetch.fetch(server.download(), tmp_path, patience=QUICK).read_bytes() == server.body


def test_a_busy_server_is_asked_again_and_a_refusal_is_not(
    index: Callable[..., Index], tmp_path: Path
) -> None:
    server = index()
    server.failures = [503, 429]
    assert fetch.fetch(server.download(), tmp_path / "a", patience=QUICK).read_bytes() == server.body
    server.failures, server.asked = [403], []
    with pytest.raises(fetch.FetchError, match="HTTP 403") as error:
        fetch.fetch(server.download(), tmp_path / "b", patience=QUICK)
    assert "PIP_INDEX_URL" in str(error.value)
    assert len(server.asked) == 1


def test_a_password_in_the_index_address_is_in_no_message(index: Callable[..., Index]) -> None:
    server = index()
    server.failures = [404]
    with pytest.raises(fetch.FetchError) as error:
        fetch.locate(server.url.replace("//", "//user:secret@"), "demo", server.claimed, QUICK)
    assert "secret" not in str(error.value)


# Whole runs


def sdist(tmp_path: Path) -> bytes:
    index = {"html/0.html": {"url": "http://a.example/"}}
    archive = tar(
        tmp_path / "demo-1.tar.gz",
        ("demo-1/data/index.json", json.dumps(index).encode()),
        ("demo-1/data/html/0.html", b"<html>0"),
        ("demo-1/data/html/10.html", b"<html>10"),
        ("demo-1/data/html/2.html", b"<html>2"),
        ("demo-1/docs/a.rst", b"A"),
        ("demo-1/docs/sub/b.rst", b"B"),
        ("demo-1/setup.py", b"raise SystemExit('no build step may run')"),
    )
    return archive.read_bytes()


def demo(server: Index) -> Catalogue:
    package = {
        "version": "1",
        "file": "demo-1.tar.gz",
        "sha256": server.claimed,
        "bytes": len(server.body),
        "licence": "MIT",
        "domain": "web",
        "take": [
            {
                "from": "data",
                "match": ["html/*.html"],
                "convert": "warc",
                "index": "index.json",
                "into": "web/d.warc.gz",
            },
            {"from": "docs", "match": ["**/*.rst"], "into": "docs/demo"},
        ],
    }
    absent = {
        "version": "1",
        "licence": "MIT",
        "domain": "docs",
        "take": [{"match": ["**"], "into": "docs/absent"}],
    }
    return Catalogue.model_validate({"pypi": {"demo": package}, "debian": {"absent": absent}})


@pytest.fixture
def corpus(
    tmp_path: Path, index: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[str, int]]:
    server = index(sdist(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", server.url)
    monkeypatch.setattr(catalog, "load", lambda: demo(server))

    def run(*arguments: str) -> tuple[str, int]:
        folders = ["--into", str(tmp_path / "data"), "--cache", str(tmp_path / "cache")]
        result = CliRunner().invoke(main, [*folders, "--no-debian", *arguments])
        return result.output, result.exit_code

    return run


def test_a_run_lays_out_records_and_then_has_nothing_to_do(
    tmp_path: Path, corpus: Callable[..., tuple[str, int]]
) -> None:
    output, code = corpus()
    assert code == 0, output
    data = tmp_path / "data"
    assert contents(data / "docs") == {"demo/a.rst": b"A", "demo/sub/b.rst": b"B"}
    with (data / "web/d.warc.gz").open("rb") as file:
        records = ArchiveIterator(file, record_types=WarcRecordType.response)
        pages = [(r.headers["WARC-Target-URI"], r.reader.read()) for r in records]
    assert pages == [
        ("http://a.example/", b"<html>0"),
        ("https://demo.invalid/html/2.html", b"<html>2"),
        ("https://demo.invalid/html/10.html", b"<html>10"),
    ]
    assert "| demo | 1 | MIT | `web/d.warc.gz`<br>`docs/demo` | 5 |" in (data / "SOURCES.md").read_text()
    assert "* absent (debian): left out by --no-debian" in (data / "SOURCES.md").read_text()
    rows = json.loads((data / "sources.json").read_text())["packages"]
    assert [(row["name"], row["present"]) for row in rows] == [("demo", True), ("absent", False)]
    assert not (data / ".corpus/building/demo").exists()

    before = {path: path.stat().st_mtime_ns for path in data.rglob("*") if path.is_file()}
    output, code = corpus("--only", "demo")
    assert code == 0
    assert "Nothing to do" in output
    assert {p for p, t in before.items() if p.stat().st_mtime_ns != t} <= {
        data / ".corpus/lock",
        data / "SOURCES.md",
        data / "sources.json",
    }


def test_a_run_that_was_killed_is_completed_by_the_next(
    tmp_path: Path, corpus: Callable[..., tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Stands for the process's end: nothing may catch it."""

    def killed(*_: object) -> None:
        raise Killed

    data = tmp_path / "data"
    with monkeypatch.context() as patch:
        patch.setattr(layout, "_write", killed)  # the paths are renamed into place, the stamp is not written
        with pytest.raises(Killed):
            corpus()
    assert (data / "docs/demo/a.rst").exists()
    assert not (data / ".corpus/demo.json").exists()
    (data / "docs/demo/half.rst").write_text("left by the killed run")
    output, code = corpus()
    assert code == 0, output
    assert contents(data / "docs") == {"demo/a.rst": b"A", "demo/sub/b.rst": b"B"}


def test_a_lost_path_is_made_again_and_a_changed_entry_too(
    tmp_path: Path, corpus: Callable[..., tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus()
    data = tmp_path / "data"
    shutil.rmtree(data / "docs/demo")
    assert "Nothing to do" not in corpus()[0]
    assert (data / "docs/demo/a.rst").exists()
    monkeypatch.setattr(convert, "VERSION", "another")
    assert layout.current(data, "demo", catalog.load().package("demo")) is None


def test_a_package_that_cannot_be_had_from_pypi_fails_with_the_remedy(
    tmp_path: Path, corpus: Callable[..., tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", os.environ["PIP_INDEX_URL"] + "/elsewhere")
    output, code = corpus()
    assert code == 1
    assert "1 failed" in output
    assert "HTTP 404" in output
    assert "check the network, the proxy and PIP_INDEX_URL" in output
    assert "* demo (pypi): not fetched yet" in (tmp_path / "data/SOURCES.md").read_text()


def test_an_unknown_package_is_an_error_with_the_nearest_name(corpus: Callable[..., tuple[str, int]]) -> None:
    output, code = corpus("--only", "dmeo")
    assert code == 1
    assert "'dmeo' is not in the catalogue; did you mean `demo`?" in output


def test_two_runs_do_not_fill_one_folder_at_a_time(
    tmp_path: Path, corpus: Callable[..., tuple[str, int]]
) -> None:
    with layout.locked(tmp_path / "data"):
        output, code = corpus()
    assert code == 1
    assert "another run is filling this folder" in output


def test_what_matches_nothing_fails_and_leaves_nothing(tmp_path: Path, index: Callable[..., Index]) -> None:
    archive = tmp_path / "demo-1.tar.gz"
    archive.write_bytes(sdist(tmp_path))
    entry = demo(index(archive.read_bytes())).pypi["demo"].model_dump(by_alias=True)
    entry["take"][1]["match"] = ["*.tex"]
    package = PypiPackage.model_validate(entry)
    with pytest.raises(convert.ConversionError, match=r"no file below docs matches \*.tex"):
        layout.build(tmp_path / "data", "demo", package, archive, "1")
    assert not (tmp_path / "data/web").exists()

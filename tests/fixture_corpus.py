"""A small corpus of every kind of input that a source can read, good and bad, built from `fixtures/`.

`build` lays it out under a folder, byte for byte the same every time, in about 50 ms: 29 files of pages,
tables, texts, code, proofs, an article and manuals, 67 documents in 70 kB. `mixture` is a mixture over it.
What is wrong on purpose has a name here (`SHORT_PAGE`, `DAMAGED`, ...): a test can say what it expects.
"""

# ruff: noqa: RUF001 (control strings are written with look-alikes of ASCII)

from __future__ import annotations

import gzip
import html
import io
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FIXTURES = Path(__file__).parent / "fixtures"

SITE = "https://almanac.example/"
MIRROR = "https://mirror.example/"

#: A page, and the same bytes under another address.
ORIGINAL, COPY = SITE + "en-bread.html", MIRROR + "bread.html"
#: A page, and a copy with a word more: the longer one stays.
SHORTER, LONGER = SITE + "en-tides.html", MIRROR + "tides-revised.html"
#: A page, its exact copy, and a longer near-duplicate of both.
TWIN, TWIN_COPY, TWIN_LONGER = SITE + "en-bees.html", MIRROR + "bees.html", MIRROR + "bees-revised.html"

SHORT_PAGE = SITE + "short.html"
REPETITIVE_PAGE = SITE + "repetitive.html"
CONTROL_PAGE = SITE + "control.html"
LEGACY_PAGE = SITE + "ru-chai.html"

#: Strings that a careless tokenizer would turn into control tokens, and markup that must stay text.
CONTROL_STRINGS = (
    "<think>",
    "</think>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜▁pad▁｜>",
    "<｜fim▁hole｜>",
    "<|EOT|>",
    "<script>",
)

#: A document longer than the longest sequence of the mixture.
LONG_ROW = "tables/articles.parquet#almanac"

#: Locator (or what it contains) -> source, of every record that cannot be read.
DAMAGED = {
    "web/truncated.warc.gz": "web",
    "tables/articles.jsonl#row=3": "articles",
    "texts/picture.txt": "texts",
    "texts/cut.txt.gz": "texts",
    "man/broken.1.gz": "manuals",
}

LATIN_1_FILE = "texts/fr-vigne.txt"

_WEB = ("bread", "tides", "bridges", "bees", "salt", "paper", "clouds", "clocks", "compost", "glass")
_JSONL = ("maps", "owls", "tea", "wheel", "iron")
_PARQUET = ("soap", "rails", "lighthouse", "silk", "volcano")
_TEXTS = ("bicycle", "libraries", "chess")
_HTML = ("snow", "well")
_ALMANAC = ("letters", "yeast", "stars", "apples", "radio")


def prose(name: str) -> str:
    """A text of `fixtures/prose`: a title, an empty line, paragraphs."""
    return (FIXTURES / "prose" / f"{name}.txt").read_text(encoding="utf-8")


def page(text: str, *, language: str = "en", charset: str = "utf-8") -> bytes:
    """An HTML page with the text between navigation and footer; `charset` is how it is stored."""
    title, *paragraphs = (html.escape(part) for part in text.strip().split("\n\n"))
    body = "\n".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return f"""<!DOCTYPE html>
<html lang="{language}">
<head><meta charset="{charset}"><title>{title}</title>
<script>var counter = 1; document.write("never text");</script><style>p {{ margin: 1em }}</style></head>
<body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/all">All pages</a></li>
<li><a href="/about">About</a></li></ul></nav>
<main><article>
<h1>{title}</h1>
{body}
</article></main>
<footer><p><a href="/imprint">Imprint</a> | <a href="/privacy">Privacy</a></p></footer>
</body>
</html>
""".encode(charset)


def warc_record(kind: str, number: int, url: str, content_type: str, body: bytes) -> bytes:
    """One WARC record as a gzip member of its own."""
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\n"
        f"WARC-Record-ID: <urn:uuid:00000000-0000-4000-8000-{number:012d}>\r\n"
        f"WARC-Date: 2024-03-0{1 + number % 9}T12:00:00Z\r\nWARC-Target-URI: {url}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + body + b"\r\n\r\n", mtime=0)


def warc(
    pages: dict[str, bytes], *, first: int = 0, charsets: dict[str, str] | None = None
) -> tuple[bytes, list[int]]:
    """An archive of 200 responses, each after its request; and the offset of every member."""
    members = []
    info = b"software: hand\r\nformat: WARC File Format 1.0\r\n"
    members.append(warc_record("warcinfo", first, "urn:none", "application/warc-fields", info))
    for number, (url, body) in enumerate(pages.items(), first + 1):
        path = url.split("/", 3)[3]
        request = f"GET /{path} HTTP/1.1\r\nHost: {url.split('/')[2]}\r\n\r\n".encode()
        members.append(warc_record("request", number, url, "application/http; msgtype=request", request))
        charset = (charsets or {}).get(url, "utf-8")
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset={charset}\r\n"
            f"Content-Length: {len(body)}\r\nServer: hand\r\n\r\n"
        ).encode()
        members.append(
            warc_record("response", number, url, "application/http; msgtype=response", head + body)
        )
    moved = b"HTTP/1.1 301 Moved Permanently\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n"
    members.append(
        warc_record("response", first + 900, SITE + "old", "application/http; msgtype=response", moved)
    )
    offsets = [sum(map(len, members[:i])) for i in range(len(members))]
    return b"".join(members), offsets


def files() -> dict[str, bytes]:
    """Every file of the corpus: path to bytes."""
    corpus: dict[str, bytes] = {}
    corpus |= _web() | _tables() | _texts() | _trees() | _documentation()
    return corpus


def build(root: Path, *, order: int | None = None) -> None:
    """Write the corpus under `root`; `order` seeds the order in which the files are made."""
    corpus = list(files().items())
    if order is not None:
        random.Random(order).shuffle(corpus)
    for path, data in corpus:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def _web() -> dict[str, bytes]:
    original = {f"{SITE}en-{name}.html": page(prose(f"en-{name}")) for name in _WEB}
    other = {
        f"{SITE}{language}-{name}.html": page(prose(f"{language}-{name}"), language=language)
        for language, names in {
            "de": ("brot", "wald", "muehle"),
            "fr": ("fromage", "riviere"),
            "es": ("aceite", "faro", "montana"),
            "ru": ("reka", "les"),
            "zh": ("cha", "qiao", "zhi"),
        }.items()
        for name in names
    }
    copies = {
        COPY: original[ORIGINAL],
        LONGER: page(prose("en-tides").replace("the range is large", "the range is always rather large")),
        TWIN_COPY: original[TWIN],
        TWIN_LONGER: page(prose("en-bees").replace("a good patch", "a good and plentiful patch")),
    }
    odd = {
        SHORT_PAGE: page("Closed\n\nThis page has moved to another place."),
        REPETITIVE_PAGE: page(
            "Offers\n\n" + " ".join(["Buy the best of the offers that we have today."] * 30)
        ),
        CONTROL_PAGE: page(prose("en-control")),
        LEGACY_PAGE: page(prose("ru-chai"), language="ru", charset="windows-1251"),
    }
    cut, offsets = warc({SITE + "de-uhren.html": page(prose("de-uhren"), language="de")} | copies, first=600)
    # The second page's record ends in the middle.
    return {
        "web/pages-0.warc.gz": warc(original, first=100)[0],
        "web/pages-1.warc.gz": warc(other, first=200)[0],
        "web/pages-2.warc.gz": warc(copies, first=300)[0],
        "web/pages-3.warc.gz": warc(odd, first=400, charsets={LEGACY_PAGE: "windows-1251"})[0],
        "web/truncated.warc.gz": cut[: (offsets[4] + offsets[5]) // 2],
    }


def _tables() -> dict[str, bytes]:
    lines = [
        json.dumps({"id": name, "text": prose(f"en-{name}"), "url": f"{SITE}json/{name}"}) for name in _JSONL
    ]
    lines.insert(3, '{"id": "broken", "text": "the line stops her')
    # One document longer than any sequence: five texts, each with the other languages' after it.
    chapters = [prose(f"en-{name}") for name in _ALMANAC]
    chapters += [prose(name) for name in ("es-mercado", "fr-chemin", "ru-pochta", "zh-xue")]
    almanac = "\n\n".join(
        f"Chapter {number}: {chapter}" for number, chapter in enumerate(chapters + _sums(), 1)
    )
    table = pa.table(
        {
            "id": [*_PARQUET, "almanac"],
            "text": [*(prose(f"en-{name}") for name in _PARQUET), almanac],
            "note": pa.array(range(len(_PARQUET) + 1), pa.int32()),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return {
        "tables/articles.jsonl": ("\n".join(lines) + "\n").encode(),
        "tables/articles.parquet": sink.getvalue(),
    }


def _sums() -> list[str]:
    """Chapters of worked sums: no two lines alike."""
    return [
        f"Tables of the number {k}\n\n"
        + "\n".join(
            f"If {n} boats carry {k} barrels each, they carry {n * k} barrels, "
            f"and {n * k + n} with one more in every boat."
            for n in range(k, k + 24)
        )
        for k in range(7, 15)
    ]


def _texts() -> dict[str, bytes]:
    names = [f"en-{name}" for name in _TEXTS]
    good = {f"texts/{name}.txt": prose(name).encode() for name in names}
    pages = {f"html/{name}.html": page(prose(f"en-{name}")) for name in _HTML}
    bad = {
        "texts/picture.txt": bytes(range(256)) * 8,
        "texts/cut.txt.gz": gzip.compress(prose("fr-chemin").encode(), mtime=0)[:-40],
        "texts/empty.txt": b"",
        LATIN_1_FILE: prose("fr-vigne").encode("latin-1"),
    }
    return good | pages | bad


def _trees() -> dict[str, bytes]:
    found = {}
    for folder in ("code", "math", "science"):
        for path in sorted((FIXTURES / folder).rglob("*")):
            if path.is_file():
                found[path.relative_to(FIXTURES).as_posix()] = path.read_bytes()
    return found


def _documentation() -> dict[str, bytes]:
    manuals = {
        f"man/{path.name}.gz": gzip.compress(path.read_bytes(), mtime=0)
        for path in sorted((FIXTURES / "man").iterdir())
    }
    broken = {"man/broken.1.gz": manuals["man/kettle.1.gz"][:200]}
    helps = {f"help/{path.name}": path.read_bytes() for path in sorted((FIXTURES / "help").iterdir())}
    return manuals | broken | helps


def mixture(root: Path, run_name: str, *, fim: float = 0.0, quarantine_share: float = 1.0) -> str:
    """A mixture over the corpus, as YAML: every kind of source, small sequences, small shards.

    Most sources hold a bad file on purpose, hence the default `quarantine_share`.
    """
    return f"""\
name: {run_name}
seed: 7
data: {root}
tokenizer: {{preset: deepseek-v4, fim: {fim}}}
sources:
  web:
    read: {{warc: "web/*.warc.gz"}}
    rules: [gopher_quality, gopher_repetition]
    language: {{min_score: 0.5}}
  articles:
    read: {{jsonl: "tables/*.jsonl", id: id, url: url}}
    domain: tables
    rules: [gopher_quality]
  rows:
    read: {{parquet: "tables/*.parquet", id: id}}
    domain: tables
    topic: history
    language: {{}}
  texts:
    read: {{files: "texts/*"}}
    rules: [gopher_repetition]
    language: {{min_score: 0.3}}
  pages:
    read: {{html: "html/*.html"}}
    domain: web
    rules: [gopher_quality]
    language: {{min_score: 0.5, allow: [en]}}
  code:
    read: {{repositories: "code/*"}}
    rules: [starcoder]
    topic: software
    document_type: source_code
  math:
    read: {{files: "math/*.{{v,txt}}"}}
    rules: [math]
  science:
    read: {{jats: "science/*.xml"}}
    language: {{}}
  manuals:
    read: {{roff: "man/*.gz"}}
    domain: docs
    language: {{}}
  help:
    read: {{mallard: "help/*.page"}}
    domain: docs
    language: {{}}
  absent:
    read: {{files: "nowhere/*.txt"}}
    domain: docs
    optional: true
classifiers:
  quality:
    train: {{positive: [articles, rows], negative: [web, texts]}}
    languages: [en, zxx]
    pool_below: 8
    training: {{dim: 8, buckets: 1000, min_count: 1, epochs: 20, learning_rate: 1.0, held_out: 0.2}}
  topic:
    learn: topic
    min_documents: 1
    training: {{dim: 8, buckets: 1000, min_count: 1, learning_rate: 1.0}}
limits: {{document_bytes: 1Mi, split_bytes: 8Ki, quarantine_share: {quarantine_share}}}
dedup: {{exact: true, near: {{preset: fineweb, jaccard: 0.75}}}}
mixture:
  weights: {{web: 50, tables: 20, texts: 8, code: 10, math: 4, science: 4, docs: 4}}
  max_epochs: 4
  budget: 3.0
curriculum:
  batch_tokens: 4Ki
  stages:
    - {{length: 256, share: 0.4}}
    - {{length: 1K, share: 0.3}}
    - {{length: 4K, share: 0.3, favour_long: 4}}
shards: {{documents_per_sequence: 64, shard_tokens: 16Ki}}
"""

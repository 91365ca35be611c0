"""What the benchmark reads: sources of the sample corpus, and what either side does with each.

Read by this benchmark and, in the peer's own environment, by the peer: the standard library only.
The rules and the language threshold are those of `mixtures/v4.yaml` for the same files, so that either side
drops much the same documents and the phases after it have much the same work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["warc", "html", "jsonl", "roff", "mallard", "jats", "files", "repositories"]


@dataclass(frozen=True)
class Source:
    """`share` is of the slice's bytes; `folder` and `suffixes` find its files, `glob` is for a mixture."""

    name: str
    domain: str
    share: float
    kind: Kind
    folder: str
    suffixes: tuple[str, ...]
    glob: str
    rules: tuple[str, ...] = ()
    min_score: float | None = None


GOPHER = ("gopher_quality", "gopher_repetition")
REPETITION = ("gopher_repetition",)

SOURCES = (
    Source("web", "web", 0.40, "warc", "web", (".warc.gz",), "web/*.warc.gz", GOPHER, 0.65),
    Source("faq", "docs", 0.03, "html", "docs", (".html",), "docs/debian-faq*/**/*.html", REPETITION),
    Source("reference", "docs", 0.09, "html", "docs", (".html",), "docs/postgresql-doc-15/**/*.html", GOPHER),
    Source("wikipedia", "multilingual", 0.06, "jsonl", "multilingual/wikipedia", (".jsonl",),
           "multilingual/wikipedia/*.jsonl", REPETITION),
    Source("manpages", "multilingual", 0.06, "roff", "multilingual/manpages", (".gz",),
           "multilingual/manpages/**/*.gz", REPETITION),
    Source("gnome", "multilingual", 0.04, "mallard", "multilingual/gnome-user-docs", (".page",),
           "multilingual/gnome-user-docs/**/*.page", REPETITION),
    Source("code", "code", 0.16, "repositories", "code", (), "code/*", ("starcoder",)),
    Source("metamath", "math", 0.04, "files", "math/metamath", (".mm",), "math/metamath/**/*.mm", ("math",)),
    Source("hol-light", "math", 0.03, "files", "math/hol-light", (".ml", ".hl"),
           "math/hol-light/**/*.{ml,hl}", ("math",)),
    Source("plos", "science", 0.06, "jats", "science/plos", (".xml",), "science/plos/*.xml", GOPHER),
    Source("books", "books", 0.03, "files", "books", (".txt",), "books/shakespeare/*.txt", REPETITION),
)  # fmt: skip

#: Folders that a source's folder holds but that belong to another source (or to none).
ONLY_IN = {"faq": "docs/debian-faq", "reference": "docs/postgresql-doc-15"}


def belongs(source: Source, path: str) -> bool:
    """Whether a file of the corpus, by its path in it, is one of the source's."""
    inside = path.startswith(source.folder + "/") and path.startswith(ONLY_IN.get(source.name, ""))
    shallow = source.kind != "warc" or path.count("/") == 1
    return inside and shallow and (not source.suffixes or path.endswith(source.suffixes))

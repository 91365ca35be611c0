"""datatrove's side: its filters, MinHash signatures and PII formatter over documents in memory.

Run by its own interpreter, on one core. Loading of documents, models and word tokenizers is outside of the
times; every step has seen a document before its clock starts. Prints one line of JSON: seconds per work.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")

from datatrove.data import Document
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.formatters import PIIFormatter
from fasttext.FastText import _FastText


def kept(step: Any, document: Document) -> bool:
    """Whether a filter keeps a document."""
    verdict = step.filter(document)
    return verdict is True or (isinstance(verdict, tuple) and bool(verdict[0]))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("documents", type=Path)
    arguments.add_argument("scratch", type=Path)
    arguments.add_argument("--language-model", required=True)
    given = arguments.parse_args()
    texts = [json.loads(line)["text"] for line in given.documents.open(encoding="utf-8")]
    filters = [GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(), FineWebQualityFilter()]
    model = _FastText(str(given.language_model))
    signature = MinhashDedupSignature(
        str(given.scratch / "signatures"), MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    )
    formatter = PIIFormatter()

    def chain(text: str) -> bool:
        """As a pipeline runs them: the first filter that drops a document is the last to see it."""
        document = Document(text=text, id="")
        return all(kept(step, document) for step in filters)

    def every_filter(text: str) -> list[bool]:
        """Every filter over every document, which is what knowing every reason costs here."""
        return [kept(step, Document(text=text, id="")) for step in filters]

    def language(text: str) -> Any:
        return model.predict(text.replace("\n", " "), k=1)

    def minhash(text: str) -> Any:
        shingles = signature.get_shingles(text)
        return signature.get_signature(shingles) if shingles.size else None

    works: dict[str, Callable[[str], Any]] = {
        "filters": chain,
        "filters_all": every_filter,
        "language": language,
        "minhash": minhash,
        "privacy": lambda text: formatter.format(text),
    }
    seconds: dict[str, float] = {}
    results: dict[str, int] = {}
    for name, work in works.items():
        work(texts[0])
        started = time.perf_counter()
        answers = [work(text) for text in texts]
        seconds[name] = time.perf_counter() - started
        if name == "filters":
            results["kept"] = sum(answers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "results": results, "peak_bytes": peak}))


if __name__ == "__main__":
    main()

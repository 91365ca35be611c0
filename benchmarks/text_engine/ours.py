"""Our side: the same works natively, over one Arrow column of the same texts, on one core.

Each work is done several times over and the fastest is taken, after one round that does not count: the
peer's minutes average out what a work of a tenth of a second cannot. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import curate_kernels
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.stages.language import load
from curate.stages.privacy import privacy_spans
from curate.stages.rules import apply_rules, load_rules

#: The rule sets whose filters the peer runs.
RULES = ("gopher_repetition", "gopher_quality", "c4", "fineweb")
LINE_RULES = ("c4",)
REPEATS = 7


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("documents", type=Path)
    given = arguments.parse_args()
    table = pq.read_table(given.documents).combine_chunks()
    texts = table["text"].chunk(0).cast(pa.large_string())
    rule_sets = load_rules(RULES)
    model = load().kernel

    def signals() -> Any:
        return curate_kernels.measure(texts, line_rules=list(LINE_RULES))

    def filters() -> Any:
        measured, _ = signals()
        return apply_rules(measured, rule_sets)

    def every_kernel() -> Any:
        measured, edits = signals()
        apply_rules(measured, rule_sets)
        curate_kernels.apply_edits(texts, edits)
        privacy_spans(texts)
        return model.identify(texts), curate_kernels.minhash_bands(texts, bands=14, rows=8)

    works: dict[str, Callable[[], Any]] = {
        "floor": lambda: curate_kernels.hash_words(texts),
        "signals": signals,
        "filters": filters,
        "language": lambda: model.predict(texts),
        "languages": lambda: model.identify(texts),
        "minhash": lambda: curate_kernels.minhash_bands(texts, bands=14, rows=8),
        "privacy": lambda: privacy_spans(texts),
        "all": every_kernel,
    }
    seconds = {name: _fastest(work) for name, work in works.items()}
    sources = {}
    for source in pc.unique(table["source"]).to_pylist():
        part = (
            table.filter(pc.equal(table["source"], source))["text"].combine_chunks().cast(pa.large_string())
        )
        size = pc.sum(pc.binary_length(part)).as_py()
        took = _fastest(lambda part=part: curate_kernels.measure(part, line_rules=list(LINE_RULES)))
        sources[source] = {"bytes": size, "seconds": took}
    _, first = filters()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    results = {"kept": first.null_count, "signals": signals()[0].num_columns}
    print(json.dumps({"seconds": seconds, "sources": sources, "results": results, "peak_bytes": peak}))


def _fastest(work: Callable[[], Any]) -> float:
    work()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


if __name__ == "__main__":
    main()

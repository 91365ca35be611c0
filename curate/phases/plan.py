"""Phase `plan`: shares, epochs and budgets from the inventory. One process; it never sees a document.

Publishes `plan/assignments.parquet` (which part of each cell goes to which stage), `plan/stages.parquet`
and `plan/notes.parquet` (what could not be met, in words). Its size is that of the histograms.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from curate import storage
from curate.phases import Phase, Result, inputs_of
from curate.phases.tokenize import CELL, summed
from curate.run_directory import Run, RunError, Unit
from mixtures import planner
from mixtures.spec import Mixture


def plan(run: Run) -> list[Unit]:
    return [Unit("mixture", {}, inputs_of(run.records("tokenize"), "inventory/"))]


def work(run: Run, unit: Unit) -> Result:
    parts = [storage.read_table(run.url(path)) for path, _ in unit.inputs]
    inventory = summed(pa.concat_tables([planner.INVENTORY.empty_table(), *parts]), [*CELL, "slice"]).cast(
        planner.INVENTORY
    )
    if not len(inventory):
        raise RunError(
            "no document survived, so there is nothing to plan: see what removed them with "
            f'curate sql {run.root} "SELECT source, dropped_by, count(*) FROM ledger GROUP BY ALL"'
        )
    result = planner.plan(run.mixture, inventory)
    batch = pa.repeat(pa.scalar(result.batch_tokens, pa.int64()), len(result.stages))
    stages = result.stages.append_column("batch_tokens", batch)
    notes = pa.table({"note": pa.array(result.notes, pa.string())})
    outputs = (
        storage.publish_table(run.root, "plan/assignments.parquet", result.assignments),
        storage.publish_table(run.root, "plan/stages.parquet", stages),
        storage.publish_table(run.root, "plan/notes.parquet", notes),
        storage.publish_table(run.root, "plan/inventory.parquet", inventory),
    )
    return Result(outputs, {"batch_tokens": result.batch_tokens, "notes": len(result.notes)})


def config(mixture: Mixture) -> Any:
    sources = {name: source.domain for name, source in mixture.sources.items()}
    return {"mixture": mixture.mixture, "curriculum": mixture.curriculum, "sources": sources}


PHASE = Phase("plan", "solve the mixture against the inventory", plan, work, config)

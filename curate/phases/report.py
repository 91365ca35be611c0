"""Phase `report`: one self-contained `report.html` from the manifests."""

from __future__ import annotations

from typing import Any

from curate import storage
from curate.phases import Phase, Result, inputs_of
from curate.report import write_report
from curate.run_directory import Run, Unit
from mixtures.spec import Mixture


def plan(run: Run) -> list[Unit]:
    inputs = inputs_of(run.records("write"), "manifest/") + inputs_of(run.records("manifest"), "manifest/")
    return [Unit("report", {}, inputs)]


def work(run: Run, _: Unit) -> Result:
    page = write_report(run.root)
    return Result((storage.publish_bytes(run.root, "report.html", page),), {"bytes": len(page)})


def config(mixture: Mixture) -> Any:
    return {"name": mixture.name}


PHASE = Phase("report", "draw the report", plan, work, config)

"""The pipeline: raw files in, packed shards and every document's story out.

raw files -> curate -> classify -> dedup -> tokenize -> plan -> write -> manifest -> report
"""

from __future__ import annotations

from curate.phases import Phase, classify, curate, dedup, manifest, plan, report, tokenize, write

PHASES: tuple[Phase, ...] = (
    curate.PHASE,
    *classify.PHASES,
    *dedup.PHASES,
    tokenize.PHASE,
    plan.PHASE,
    write.PHASE,
    manifest.PHASE,
    report.PHASE,
)


def phase_named(name: str) -> Phase:
    """The phase of that name."""
    return next(phase for phase in PHASES if phase.name == name)

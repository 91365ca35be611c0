"""Precision and recall of the privacy scan over the labelled cases, per kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from benchmarks.privacy.cases import Case
from curate.stages.privacy import privacy_spans


@dataclass(frozen=True)
class Score:
    kind: str
    true_cases: int
    tempting_cases: int
    found: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        return self.found / (self.found + self.wrong) if self.found + self.wrong else 1.0

    @property
    def recall(self) -> float:
        return self.found / (self.found + self.missed) if self.found + self.missed else 1.0


def findings(cases: Sequence[Case]) -> list[list[tuple[str, str]]]:
    """(kind, value) of every finding, case by case."""
    texts = pa.array([case.text for case in cases], pa.large_string())
    spans = privacy_spans(texts, code=pa.array([case.code for case in cases]))
    out: list[list[tuple[str, str]]] = [[] for _ in cases]
    for span in spans.to_pylist():
        text = cases[span["row"]].text.encode()
        out[span["row"]].append((span["kind"], text[span["start"] : span["end"]].decode()))
    return out


def mistakes(cases: Sequence[Case]) -> list[tuple[Case, list[tuple[str, str]]]]:
    """Cases in which something was missed or wrongly found, with what was found."""
    return [
        (case, found)
        for case, found in zip(cases, findings(cases), strict=True)
        if Counter(found) != Counter((case.kind, value) for value in case.values)
    ]


def scores(cases: Sequence[Case]) -> list[Score]:
    """One row per kind. A finding counts when kind and value are exactly those of the label."""
    kinds = list(dict.fromkeys(case.kind for case in cases))
    found, wrong, missed = Counter[str](), Counter[str](), Counter[str]()
    for case, got in zip(cases, findings(cases), strict=True):
        wanted = Counter((case.kind, value) for value in case.values)
        have = Counter(got)
        found[case.kind] += (wanted & have).total()
        missed[case.kind] += (wanted - have).total()
        for kind, _ in (have - wanted).elements():
            wrong[kind] += 1
    return [
        Score(
            kind,
            sum(1 for case in cases if case.kind == kind and case.values),
            sum(1 for case in cases if case.kind == kind and not case.values),
            found[kind],
            wrong[kind],
            missed[kind],
        )
        for kind in kinds
    ]

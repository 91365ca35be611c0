"""Our decisions beside datatrove's: agreement rule by rule, on the first failure, and overall.

Overall is keep or drop by all filters together; first failures are compared filter by filter. A rule is
compared where datatrove's is defined: not for a text without words, nor where its list is of another
language.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import curate_kernels
import pyarrow as pa

from curate.stages.rules import apply_rules, load_rules

from ..peers import python_of
from .documents import Document, signals_of

#: Scripts without spaces: Thai, Lao, Khmer, Burmese, kana, Han, Hangul.
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]"
)

PEER = Path(__file__).with_name("peer_datatrove.py")

#: Filters in the order in which FineWeb runs them; the names are those of our rule sets.
FILTERS = ("gopher_repetition", "gopher_quality", "c4", "fineweb")

Answer = dict[str, Any]


@dataclass
class Tally:
    """Documents compared, and those on which both agree; of these, how many both drop."""

    compared: int = 0
    agreed: int = 0
    ours: int = 0
    theirs: int = 0

    def add(self, ours: bool, theirs: bool) -> None:
        self.compared += 1
        self.agreed += ours == theirs
        self.ours += ours
        self.theirs += theirs

    @property
    def agreement(self) -> float:
        return self.agreed / self.compared if self.compared else 1.0


@dataclass
class Group:
    """What was compared of a group of documents."""

    rules: dict[str, Tally] = field(default_factory=dict)
    first: dict[str, Tally] = field(default_factory=dict)
    overall: Tally = field(default_factory=Tally)
    lines: Tally = field(default_factory=Tally)  # the text that C4's line rules leave


@dataclass(frozen=True)
class Disagreement:
    """A rule on which the two differ, or `<filter>` for a first failure that differs."""

    document: Document
    rule: str
    ours: bool
    value: float | None


def group_of(document: Document) -> str:
    """English by source, other languages together by script.

    What a model labels English although more than a letter in a hundred is of a script without spaces (feeds
    of Chinese sites, with their markup) is a group of its own.
    """
    if document.language == "en":
        letters = sum(map(str.isalpha, document.text))
        mixed = len(UNSPACED.findall(document.text)) > letters / 100
        return "labelled English, with Han or kana" if mixed else f"English, {document.source}"
    scripts = {"Cyrillic": ("ru", "uk", "bg", "sr"), "Arabic, Hebrew": ("ar", "fa", "he"), "Greek": ("el",)}
    named = {"fr": "French", "es": "Spanish", "de": "German"}
    script = next((name for name, languages in scripts.items() if document.language in languages), None)
    return script or named.get(document.language, "other Latin")


def peer_answers(documents: Sequence[Document]) -> list[Answer]:
    """datatrove's answers, in its own environment."""
    lines = "".join(
        json.dumps({"text": document.text, "language": document.language}) + "\n" for document in documents
    )
    done = subprocess.run(
        [python_of("datatrove"), PEER], input=lines, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"datatrove failed: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def our_failures(documents: Sequence[Document], signals: pa.RecordBatch) -> list[dict[str, list[str]]]:
    """The rules of each filter that every document fails, without the set's name."""
    languages = pa.array([document.language for document in documents])
    out: list[dict[str, list[str]]] = [{} for _ in documents]
    for name in FILTERS:
        failed, _ = apply_rules(signals, load_rules([name]), languages=languages)
        for row, rules in enumerate(failed.to_pylist()):
            out[row][name] = [rule.partition(".")[2] for rule in rules]
    return out


def compare(documents: Sequence[Document]) -> tuple[dict[str, Group], list[Disagreement]]:
    """Tallies by group, and every disagreement."""
    signals = signals_of(documents)
    column = {rule.name: rule.signal for rules in load_rules(FILTERS) for rule in rules.rules}
    groups: dict[str, Group] = {}
    differences: list[Disagreement] = []
    answers = zip(documents, our_failures(documents, signals), peer_answers(documents), strict=True)
    texts = pa.array([document.text for document in documents], pa.large_string())
    _, cuts = curate_kernels.measure(texts, line_rules=["c4"])
    cut_texts = curate_kernels.apply_edits(texts, cuts)[0].to_pylist()
    for row, (document, ours, theirs) in enumerate(answers):
        group = groups.setdefault(group_of(document), Group())
        for name in FILTERS:
            for rule, fails in theirs[name]["rules"].items():
                if fails is None:
                    continue
                full = f"{name}.{rule}"
                group.rules.setdefault(full, Tally()).add(rule in ours[name], fails)
                if (rule in ours[name]) != fails:
                    value = signals[column[full]][row].as_py()
                    differences.append(Disagreement(document, full, rule in ours[name], value))
            mine = (ours[name] or [None])[0]
            reason = theirs[name]["reason"]
            same = mine == reason or (reason == "empty" and mine is not None)
            tally = group.first.setdefault(name, Tally())
            tally.compared += 1
            tally.agreed += same
            tally.ours += mine is not None
            tally.theirs += reason is not None
        same = cut_texts[row] == theirs["c4_text"]
        group.lines.compared += 1
        group.lines.agreed += same
        if not same:
            differences.append(Disagreement(document, "c4.lines", True, None))
        dropped = any(ours[name] for name in FILTERS)
        group.overall.add(dropped, any(theirs[name]["reason"] for name in FILTERS))
    return groups, differences

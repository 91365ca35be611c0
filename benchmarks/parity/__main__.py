"""Our rules beside datatrove's own filters, over real documents: the table, and where the two differ.

    python -m benchmarks.parity --data build/sample            print it
    python -m benchmarks.parity --data build/sample --write    and put it into docs/parity.md

Needs the packages `PACKAGES` of the sample corpus; makes datatrove's environment if it is not there. 2,747
documents, 5 MB of text: about half a minute of datatrove and a few seconds of ours, on one core.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from pathlib import Path

from ..peers import pinned_version
from .compare import FILTERS, Disagreement, Group, compare
from .documents import PACKAGES, choose
from .reasons import reason

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "parity.md"
MARK = "<!-- the rest of this page is written by python -m benchmarks.parity --write -->\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CURATE_DATA", "data")))
    parser.add_argument("--write", action="store_true", help="write the tables into docs/parity.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="parity_") as scratch:
        documents = choose(given.data, Path(scratch))
    groups, differences = compare(documents)
    text = tables(groups, differences)
    print(text)
    if given.write:
        head = PAGE.read_text().partition(MARK)[0]
        PAGE.write_text(head + MARK + "\n" + text)


def tables(groups: dict[str, Group], differences: list[Disagreement]) -> str:
    """Agreement by group, by rule, and the reasons of disagreements, as Markdown."""
    return "\n".join([*_by_group(groups), "", *_by_rule(groups), "", *_reasons(differences)]) + "\n"


def _by_group(groups: dict[str, Group]) -> list[str]:
    version = pinned_version("datatrove", "datatrove")
    total = sum(group.overall.compared for group in groups.values())
    lines = [
        f"{total:,} documents; datatrove {version}; sample packages {', '.join(PACKAGES)}.",
        "",
        "Share of documents on which both agree: to keep or drop them, all filters together; on the rule "
        "that a filter stops at (or none); and on the text that the line rules of C4 leave.",
        "",
        f"| group | documents | ours drops | theirs | keep or drop | {' | '.join(FILTERS)} | c4 text |",
        f"|---|---:|---:|---:|---:|{'---:|' * (len(FILTERS) + 1)}",
    ]
    for name, group in sorted(groups.items()):
        overall = group.overall
        first = " | ".join(f"{group.first[name].agreement:.2%}" for name in FILTERS)
        lines.append(
            f"| {name} | {overall.compared:,} | {overall.ours:,} | {overall.theirs:,} "
            f"| {overall.agreement:.2%} | {first} | {group.lines.agreement:.2%} |"
        )
    return lines


def _by_rule(groups: dict[str, Group]) -> list[str]:
    lines = [
        "Rule by rule, each alone: documents compared, and on how many the two differ.",
        "",
        "| rule | English | both drop | differ | other languages | both drop | differ |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for rule in dict.fromkeys(rule for group in groups.values() for rule in group.rules):
        cells = []
        for english in (True, False):
            tallies = [
                group.rules[rule]
                for name, group in groups.items()
                if name.startswith("English") == english and rule in group.rules
            ]
            compared = sum(tally.compared for tally in tallies)
            differ = sum(tally.compared - tally.agreed for tally in tallies)
            both = (sum(tally.ours + tally.theirs for tally in tallies) - differ) // 2
            cells += [f"{compared:,}", f"{both:,}", f"{differ:,}"]
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    return lines


def _reasons(differences: list[Disagreement]) -> list[str]:
    found = Counter((difference.document.language == "en", reason(difference)) for difference in differences)
    lines = [
        "Why: the rules on which a document differs, by cause.",
        "",
        "| | cause | times |",
        "|---|---|---:|",
    ]
    for (english, cause), count in sorted(found.items(), key=lambda item: (not item[0][0], -item[1])):
        lines.append(f"| {'English' if english else 'other'} | {cause} | {count:,} |")
    return lines


if __name__ == "__main__":
    main()

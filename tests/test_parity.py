"""The rules of the datatrove profile decide as datatrove's own filters do, over real documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.parity.__main__ import tables
from benchmarks.parity.compare import FILTERS, Disagreement, Group, compare
from benchmarks.parity.documents import choose
from benchmarks.parity.reasons import reason

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "build" / "sample"

#: The least share of documents on which both agree: to keep or drop; and on the rule at which a filter stops.
#: English is held to one of 200. Other languages have tokenizers of their own in datatrove.
FLOORS = {
    "French": (0.96, 0.92),
    "German": (0.95, 0.95),
    "Spanish": (0.99, 0.99),
    "other Latin": (0.97, 0.90),
    "labelled English, with Han or kana": (0.90, 0.40),
}
ENGLISH = 0.995

pytestmark = [
    pytest.mark.peer,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (SAMPLE / "web" / "formasaurus.warc.gz").exists(), reason="needs the sample corpus: make test"
    ),
]

Compared = tuple[dict[str, Group], list[Disagreement]]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    documents = choose(SAMPLE, tmp_path_factory.mktemp("parity"))
    assert len(documents) >= 2_000
    groups, differences = compare(documents)
    print("\n" + tables(groups, differences))
    return groups, differences


def english(groups: dict[str, Group]) -> list[Group]:
    return [group for name, group in groups.items() if name.startswith("English")]


def test_english_documents_are_kept_and_dropped_alike(compared: Compared) -> None:
    groups, _ = compared
    found = [group.overall for group in english(groups)]
    total = sum(tally.compared for tally in found)
    assert total >= 1_500
    assert sum(tally.agreed for tally in found) / total >= ENGLISH
    # Agreement means something only where both outcomes occur.
    assert 0.1 < sum(tally.ours for tally in found) / total < 0.9


def test_every_filter_stops_at_the_same_rule_on_english(compared: Compared) -> None:
    groups, _ = compared
    for name in FILTERS:
        found = [group.first[name] for group in english(groups)]
        assert sum(tally.agreed for tally in found) / sum(tally.compared for tally in found) >= ENGLISH, name


def test_every_rule_alone_agrees_on_english(compared: Compared) -> None:
    groups, _ = compared
    rules = english(groups)[0].rules
    assert len(rules) == 8 + 13 + 3 + 4
    for rule in rules:
        found = [group.rules[rule] for group in english(groups)]
        assert sum(tally.agreed for tally in found) / sum(tally.compared for tally in found) >= ENGLISH, rule


def test_every_disagreement_on_english_has_a_known_cause(compared: Compared) -> None:
    _, differences = compared
    unexplained = [
        (difference.document.id, difference.rule, difference.value)
        for difference in differences
        if difference.document.language == "en" and reason(difference) == "unexplained"
    ]
    assert unexplained == []


def test_the_lines_that_c4_cuts_are_the_same_to_the_byte(compared: Compared) -> None:
    groups, _ = compared
    for name, group in groups.items():
        assert group.lines.agreement == 1.0, name


def test_other_languages_agree_as_far_as_their_tokenizers_do(compared: Compared) -> None:
    groups, _ = compared
    others = {name: group for name, group in groups.items() if not name.startswith("English")}
    assert len(others) >= 6
    for name, group in others.items():
        overall, first = FLOORS.get(name, (0.93, 0.93))
        assert group.overall.agreement >= overall, name
        for filter_name in FILTERS:
            assert group.first[filter_name].agreement >= first, (name, filter_name)

"""The rules that decided a run, as its ledger files carry them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow.parquet as pq

from curate import storage
from curate.document import RULES_KEY
from curate.run_directory import Run
from curate.stages.rule_sets import RuleSet, restore
from curate.stages.rules import load_rules


def source_of(ledger: str) -> str:
    """The source whose unit wrote a ledger file, by its name."""
    return ledger.rpartition("-")[0]


def ledger_files(run: Run) -> list[str]:
    """Names of the ledger files, in order."""
    return [name for name in storage.list_files(run.url("ledger")) if name.endswith(".parquet")]


def rules_in_force(run: Run, ledgers: Sequence[str]) -> tuple[dict[str, tuple[RuleSet, ...]], bool]:
    """The rule sets of each ledger file; and whether some do not say, so that the rule files were read.

    Raises RuleError where a rule file has to be read and cannot be.
    """
    found: dict[str, tuple[RuleSet, ...]] = {}
    known: dict[bytes, tuple[RuleSet, ...]] = {}
    unsaid = False
    for name in ledgers:
        with storage.open_arrow(run.url(f"ledger/{name}")) as file:
            recorded = (pq.read_schema(file).metadata or {}).get(RULES_KEY)
        if recorded is None:
            unsaid = True
            source = run.mixture.sources.get(source_of(name))
            found[name] = load_rules(source.rules) if source is not None else ()
            continue
        if recorded not in known:
            known[recorded] = restore(recorded)
        found[name] = known[recorded]
    return found, unsaid


def rules_of_source(run: Run, source: str) -> tuple[RuleSet, ...]:
    """The rule sets that decided a source's documents."""
    ledgers = [name for name in ledger_files(run) if source_of(name) == source][:1]
    found, _ = rules_in_force(run, ledgers)
    return found[ledgers[0]] if ledgers else ()

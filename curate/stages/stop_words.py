"""The signal `language_stop_words`: different frequent words of its language in a text.

The lists are `curate/rules/languages/stop_words.yaml`. It needs the language, which the kernel's other
signals do not, and a second segmentation of the text: it is measured for sources with a rule that asks
for it, and null for the others and for languages without a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import curate_kernels
import pyarrow as pa
import yaml

from curate.stages.rule_sets import RuleSet

NAME = "language_stop_words"
DEFINITION = "distinct words of the text that are on the list of frequent words of its language"

_LISTS = Path(__file__).parent.parent / "rules" / "languages" / "stop_words.yaml"


@cache
def lists() -> dict[str, list[str]]:
    """Language to its frequent words."""
    # The base loader reads every scalar as text: `no` is a word, and a language.
    words: dict[str, list[str]] = yaml.load(_LISTS.read_text("utf-8"), yaml.BaseLoader)["words"]
    return words


def wanted(rule_sets: Sequence[RuleSet]) -> bool:
    """Whether a rule asks for the signal."""
    return any(rule.signal == NAME for rule_set in rule_sets for rule in rule_set.rules)


def count(texts: pa.Array, languages: pa.Array) -> pa.Array:
    """The signal's column."""
    return curate_kernels.stop_words(texts, languages.cast(pa.large_string()), lists())

"""Where documents come from: input splits and the readers of each kind of source."""

from curate.sources.reader import KINDS, ReadOptions, read_split
from curate.sources.splits import Split, plan_splits
from curate.sources.tables import Fields

__all__ = ["KINDS", "Fields", "ReadOptions", "Split", "plan_splits", "read_split"]

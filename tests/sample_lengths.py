"""Documents drawn from the sample corpus's own lengths in tokens, source by source.

`fixtures/sample_lengths.json` holds quantiles of the lengths that a run over the sample corpus packed, and
how many documents each source had; between quantiles lengths are log-linear.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def draw(documents: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lengths and source numbers, sources mixed as often as they are in the sample."""
    table = json.loads((Path(__file__).parent / "fixtures" / "sample_lengths.json").read_text())
    sources = list(table["sources"].values())
    weights = np.array([source["documents"] for source in sources], np.float64)
    random = np.random.default_rng(seed)
    source = random.choice(len(sources), documents, p=weights / weights.sum())
    lengths = np.empty(documents, np.int64)
    for number, row in enumerate(sources):
        mine = source == number
        logs = np.interp(random.random(int(mine.sum())), table["probabilities"], np.log(row["quantiles"]))
        lengths[mine] = np.exp(logs).round()
    return lengths, source

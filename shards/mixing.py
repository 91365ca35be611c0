"""Which stream each sequence of a mixture comes from: a function of its place in the global order alone.

Place p takes the stream whose share of [0, 2^32) holds (a p + b) mod 2^32, a low-discrepancy sequence
(Kronecker's, with the golden ratio), so that any run of n sequences has n times a stream's weight to within a
few. How many of a stream come before p is a sum of floors, in O(log p): seeking replays nothing.
"""

from __future__ import annotations

import difflib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from shards.order import keyed_seed

MODULUS = 1 << 32

#: 2^32 over the golden ratio, odd: the multiplier whose multiples spread most evenly.
STRIDE = 2654435769

#: Weights by stream, for good or from given steps on.
Weights = Mapping[str, float] | Sequence[tuple[int, Mapping[str, float]]]


@dataclass(frozen=True)
class Mixture:
    """Streams, and the ends of their shares of [0, MODULUS) from given places on."""

    starts: tuple[int, ...]  # places at which shares change; the first is 0
    ends: tuple[tuple[int, ...], ...]  # per start: ascending, one per stream, the last MODULUS
    shift: int

    def streams(self, start: int, count: int) -> NDArray[np.int64]:
        """The stream of each place in [start, start + count)."""
        out = np.empty(count, np.int64)
        for first, last, ends in self._spans(start, start + count):
            # Only the place modulo 2^32 matters, and 64 bits hold the product.
            places = np.arange(last - first, dtype=np.uint64) + np.uint64(first % MODULUS)
            values = (places % MODULUS * np.uint64(STRIDE) + np.uint64(self.shift)) % MODULUS
            out[first - start : last - start] = np.searchsorted(ends, values.astype(np.int64), side="right")
        return out

    def counts(self, place: int) -> list[int]:
        """How many of the places before `place` go to each stream."""
        totals = [0] * len(self.ends[0])
        for first, last, ends in self._spans(0, place):
            below = [self._below(last, end) - self._below(first, end) for end in ends]
            for stream, (end, start) in enumerate(zip(below, [0, *below], strict=False)):
                totals[stream] += end - start
        return totals

    def _spans(self, start: int, stop: int) -> list[tuple[int, int, tuple[int, ...]]]:
        """Pieces of [start, stop) in which shares stay the same."""
        spans = []
        for number in range(bisect_right(self.starts, start) - 1, len(self.starts)):
            first = max(start, self.starts[number])
            last = min(stop, self.starts[number + 1]) if number + 1 < len(self.starts) else stop
            if first < last:
                spans.append((first, last, self.ends[number]))
        return spans

    def _below(self, place: int, end: int) -> int:
        """How many places before `place` have a value below `end`."""
        # [x mod M < end] = floor(x / M) - floor((x - end) / M), and x - end + M keeps the terms positive.
        return (
            floor_sum(place, MODULUS, STRIDE, self.shift)
            - floor_sum(place, MODULUS, STRIDE, self.shift + MODULUS - end)
            + place
        )


def floor_sum(count: int, divisor: int, factor: int, shift: int) -> int:
    """The sum of floor((factor i + shift) / divisor) for i in range(count), by Euclid's algorithm."""
    total = 0
    while count:
        if factor >= divisor:
            total += (count - 1) * count // 2 * (factor // divisor)
            factor %= divisor
        if shift >= divisor:
            total += count * (shift // divisor)
            shift %= divisor
        highest = factor * count + shift
        if highest < divisor:
            break
        # The sum counts points under a line: count them by the other axis.
        count, shift = divmod(highest, divisor)
        divisor, factor = factor, divisor
    return total


def mixture_of(
    weights: Weights, names: Sequence[str], *, batch_sequences: int, seed: int, stage: str
) -> Mixture:
    """The mixture of streams `names` under `weights`: one table, or (first step, table) pairs.

    Raises ValueError for unknown names, weights below 0 or all 0, and steps that do not ascend from 0.
    """
    schedule = [(0, weights)] if isinstance(weights, Mapping) else list(weights)
    steps = [step for step, _ in schedule]
    if not steps or steps[0] != 0 or any(b <= a for a, b in pairwise(steps)):
        raise ValueError(f"the steps of weights have to begin with 0 and ascend: {steps}")
    return Mixture(
        starts=tuple(step * batch_sequences for step in steps),
        ends=tuple(_ends(table, names, step) for step, table in schedule),
        shift=keyed_seed("mixture", seed, stage) % MODULUS,
    )


def _ends(table: Mapping[str, float], names: Sequence[str], step: int) -> tuple[int, ...]:
    for name in table:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; nearest: {near[0]}" if near else ""
            raise ValueError(f"weights at step {step}: no stream {name!r}{hint}; streams: {', '.join(names)}")
    try:
        exact = [Fraction(table.get(name, 0)) for name in names]
    except (ValueError, OverflowError, TypeError) as error:
        raise ValueError(f"weights at step {step}: {error}") from error
    if min(exact) < 0 or not sum(exact):
        raise ValueError(f"weights at step {step} have to be 0 or more, and one of them more: {dict(table)}")
    totals = list(accumulate(exact))
    return tuple(round(total / totals[-1] * MODULUS) for total in totals)

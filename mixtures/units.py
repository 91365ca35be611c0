"""Sizes and globs as a mixture file writes them.

Lengths, token counts of layouts and bytes are binary throughout, as in the field's own names (a 4K context is
4,096 tokens, 1M is 1,048,576): `4K` = `4Ki` = 4,096. Token *budgets* are decimal, as papers write them: `32T`
is 32 * 10^12. Both are exact: `1.5K` is 1,536, `0.1K` an error.
"""

from __future__ import annotations

import re
from fractions import Fraction

BINARY = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
BINARY |= {f"{unit}i": factor for unit, factor in BINARY.items() if unit}
DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
DECIMAL |= {unit: factor for unit, factor in BINARY.items() if unit.endswith("i")}

MAX_PATTERNS = 256

_SIZE = re.compile(r"(?P<number>[0-9]{1,18}(?:\.[0-9]{1,9})?) ?(?P<unit>[A-Za-z]{0,2})")
_INNERMOST = re.compile(r"\{([^{}]*)\}")


def parse_size(value: object, units: dict[str, int]) -> int:
    """An integer, or text such as `72Mi`, as an integer. Raises ValueError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None or match["unit"] not in units:
        raise ValueError("expected a whole number or a size such as 72Mi")
    size = Fraction(match["number"]) * units[match["unit"]]
    if size.denominator != 1:
        raise ValueError(f"{value} is not a whole number: {float(size)}")
    return int(size)


def length_name(length: int) -> str:
    """The field's name of a context length: 4096 is `4K`, 1048576 is `1M`, 1000 is `1000`."""
    if length > 0 and length % (1 << 20) == 0:
        return f"{length >> 20}M"
    return f"{length >> 10}K" if length > 0 and length % (1 << 10) == 0 else str(length)


def expand_braces(pattern: str) -> list[str]:
    """`a/*.{c,h}{,.gz}` as plain globs, in order and once each. Raises ValueError for an unbalanced brace."""
    done: dict[str, None] = {}
    queue = [pattern]
    while queue:
        if len(done) + len(queue) > MAX_PATTERNS:
            raise ValueError(f"expands to more than {MAX_PATTERNS} patterns")
        current = queue.pop(0)
        match = _INNERMOST.search(current)
        if match is None:
            if "{" in current or "}" in current:
                raise ValueError("a brace without its partner")
            done[current] = None
            continue
        head, tail = current[: match.start()], current[match.end() :]
        queue = [head + choice + tail for choice in match[1].split(",")] + queue
    return list(done)

"""The table of all signals, as `docs/text-signals.md` shows it.

`python -m curate.signal_table docs/text-signals.md` writes it into the page again, between its two marks;
without a path it prints the table. A test compares the page with the kernel.
"""

from __future__ import annotations

import sys
from pathlib import Path

import curate_kernels
import pyarrow as pa

BEGIN = "<!-- signals: python -m curate.signal_table docs/text-signals.md -->"
END = "<!-- end of signals -->"


def signal_table() -> str:
    """One row per signal in column order: its name, its type and its definition."""
    schema = curate_kernels.signals(pa.array([], pa.large_string())).schema
    names = curate_kernels.signal_names()
    rows = [
        f"| `{name}` | {schema.field(name).type} | {definition.replace('|', chr(92) + '|')} |"
        for name, definition in names.items()
    ]
    return "\n".join(["| signal | type | definition |", "|---|---|---|", *rows])


def updated(page: str) -> str:
    """`page` with the table of today between the marks. ValueError if it does not have both, in order."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN!r} and {END!r}, in this order")
    return f"{before}{begin}\n{signal_table()}\n{end}{after}"


def main(arguments: list[str]) -> None:
    if not arguments:
        print(signal_table())
    for argument in arguments:
        path = Path(argument)
        path.write_text(updated(path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

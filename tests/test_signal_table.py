"""The page on signals says what the kernel has."""

from __future__ import annotations

from pathlib import Path

import curate_kernels
import pytest

from curate.signal_table import main, signal_table, updated

PAGE = Path(__file__).parent.parent / "docs" / "text-signals.md"


def test_the_page_has_the_table_of_today() -> None:
    page = PAGE.read_text("utf-8")
    assert page == updated(page), "run: python -m curate.signal_table docs/text-signals.md"


def test_every_signal_has_one_row_with_its_type() -> None:
    rows = signal_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(curate_kernels.signal_names())
    assert "| `script` | string |" in signal_table()
    assert "| `skeleton_hash` | uint64 |" in signal_table()


def test_only_what_is_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text("utf-8").replace("| `chars` | int64 |", "| `chars` | bool |"), "utf-8")
    main([str(page)])
    assert page.read_text("utf-8") == PAGE.read_text("utf-8")
    with pytest.raises(ValueError, match="needs the lines"):
        updated("a page without marks")

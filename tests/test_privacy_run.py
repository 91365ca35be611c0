"""A run with personal data in its texts: none is stored, all of it is counted, the policy decides."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from run_fixture import ask, run_mixture

MIXTURE = """\
name: private
data: {data}
sources:
  letters: {{read: {{files: "*.txt"}}, language: {{}}}}
mixture: {{weights: {{letters: 1}}}}
curriculum: {{batch_tokens: 4K, stages: [{{length: 1K, share: 1}}]}}
"""

LETTERS = {
    "mail.txt": "Write to joe.bloggs@gmail.com or to Joe.Bloggs@gmail.com about the boat on the lake.\n" * 3,
    "call.txt": "The office can be reached at +1 415 782 2671, and the boat will be ready in May.\n",
    "none.txt": "Nothing in this letter is about anybody; it only says that the lake is cold in winter.\n",
}


def documents(root: Path) -> dict[str, str]:
    rows = [row for path in (root / "documents").glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    return {row["text"].split()[0]: row["text"] for row in rows}


def test_a_run_stores_edited_texts_counts_what_it_found_and_follows_a_changed_policy(tmp_path: Path) -> None:
    data, root, mixture = tmp_path / "data", tmp_path / "run", tmp_path / "private.yaml"
    data.mkdir()
    for name, text in LETTERS.items():
        (data / name).write_text(text)
    mixture.write_text(MIXTURE.format(data=data))
    assert "curate" in run_mixture(mixture, root)
    texts = documents(root)
    assert "gmail" not in texts["Write"]
    assert texts["Write"].count("@example.") == 6
    assert len({word for word in texts["Write"].split() if "@" in word}) == 1  # the same person throughout
    assert "reached at <PHONE>, and" in texts["The"]
    assert texts["Nothing"].strip() == LETTERS["none.txt"].strip()
    found = ask(root, "SELECT locator, privacy, edits FROM {documents} ORDER BY locator")
    assert [(row[1], [edit["rule"] for edit in row[2]]) for row in found] == [
        ([{"kind": "phone", "count": 1}], ["privacy.phone"]),
        ([{"kind": "email", "count": 6}], ["privacy.email"]),
        ([], []),
    ]
    assert run_mixture(mixture, root) == {}  # nothing changed, nothing runs

    mixture.write_text(mixture.read_text() + "privacy: {phone: drop, email: keep}\n")
    assert run_mixture(mixture, root)["curate"]
    texts = documents(root)
    assert sorted(texts) == ["Nothing", "Write"]
    assert texts["Write"].count("joe.bloggs@gmail.com") == 3
    dropped = ask(root, "SELECT dropped_by, failed_rules, privacy FROM {documents} WHERE status = 'rules'")
    assert dropped == [("privacy.phone", ["privacy.phone"], [{"kind": "phone", "count": 1}])]
    kept = ask(
        root, "SELECT sum(p.count) FROM (SELECT unnest(privacy) AS p FROM {documents}) WHERE p.kind = 'email'"
    )
    assert kept == [(6,)]

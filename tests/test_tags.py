"""Tags come from the source first, then from the longest host, then from parts of the path."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.stages.rules import RuleError
from curate.stages.tags import COLUMNS, load_url_rules, shipped_url_rules, tag, tags_of_urls
from mixtures.spec import Read, Source

#: Address, topic, document type, and the rule that gave the document type.
ADDRESSES = [
    ("https://stackoverflow.com/q/1", "software", "question_and_answer", "url:stackoverflow.com"),
    ("http://es.STACKoverflow.com:80/x", "software", "question_and_answer", "url:stackoverflow.com"),
    ("https://github.com/a/b/issues/3", "software", "forum_thread", "url:github.com/issues/"),
    ("https://github.com./a", "software", None, None),
    ("https://github.com", "software", None, None),
    ("https://user:word@man7.org/linux", "software", "manual_page", "url:man7.org"),
    ("https://notgithub.com/issues/", None, None, None),
    ("https://x.example/Forum/3?blog=/blog/", None, "forum_thread", "url:/forum/"),
    ("https://x.example/q?a=/forum/", None, None, None),
    ("https://math.stackexchange.com/q", "mathematics", "question_and_answer", "url:math.stackexchange.com"),
    ("https://bio.stackexchange.com/blog/1", None, "question_and_answer", "url:stackexchange.com"),
    ("urn:uuid:1", None, None, None),
    ("//github.com/x", None, None, None),
    ("", None, None, None),
    (None, None, None, None),
]


def source(**tags: str) -> Source:
    return Source.model_validate({"read": Read.model_validate({"warc": "*"}), **tags})


def urls(found: list[str | None]) -> pa.Array:
    return pa.array(found, pa.large_string())


def test_addresses_give_the_tags_of_their_longest_host() -> None:
    columns = tag(urls([row[0] for row in ADDRESSES]), source())
    assert tuple(columns) == COLUMNS
    keys = ("topic", "document_type", "document_type_rule")
    found = list(zip(*(columns[key].to_pylist() for key in keys), strict=True))
    assert found == [row[1:] for row in ADDRESSES]
    assert columns["topic_score"].null_count == len(ADDRESSES), "a rule has no probability"


def test_the_source_decides_before_the_address() -> None:
    columns = tag(urls(["https://stackoverflow.com/q", None]), source(topic="games"))
    assert columns["topic"].to_pylist() == ["games", "games"]
    assert columns["topic_rule"].to_pylist() == ["source", "source"]
    assert columns["document_type_rule"].to_pylist() == ["url:stackoverflow.com", None]
    assert columns["topic"].type == columns["topic_rule"].type == pa.string()


@given(st.lists(st.one_of(st.text(), st.from_regex(r"https?://[a-z.]{0,30}(/[a-z/]{0,20})?")), max_size=8))
def test_no_address_is_too_strange(found: list[str]) -> None:
    together = tags_of_urls(urls(list(found)), shipped_url_rules())
    for name, (values, rules) in together.items():
        assert len(values) == len(rules) == len(found)
        alone = [tags_of_urls(urls([one]), shipped_url_rules())[name][0][0].as_py() for one in found]
        assert values.to_pylist() == alone


def test_a_hostile_address_costs_no_more_than_its_length() -> None:
    hostile = urls(["https://" + "a." * 500_000 + "com/" + "/forum" * 100_000, "https://" + "@" * 1_000_000])
    started = time.monotonic()
    columns = tag(hostile, source())
    assert time.monotonic() - started < 5
    assert columns["topic"].to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{host: a.example, topic: softwar}", "no topic 'softwar'; did you mean 'software'?"),
        ("{hots: a.example, topic: software}", "did you mean 'host'?"),
        ("{topic: software}", "it would match every address"),
        ("{host: a.example}", "gives neither topic nor document_type"),
        ("{host: A.example, topic: software}", "written in lower case"),
        ("{host: a.example, topic: software}\n  - {host: a.example, topic: games}", "is there twice"),
    ],
)
def test_a_bad_row_is_an_error_with_the_nearest_name(tmp_path: Path, row: str, words: str) -> None:
    path = tmp_path / "urls.yaml"
    path.write_text(f"name: t\nversion: 1\nsource: here\nrows:\n  - {row}\n")
    with pytest.raises(RuleError) as caught:
        load_url_rules(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)

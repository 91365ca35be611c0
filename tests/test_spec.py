"""A mixture file is read exactly, or refused with the line, what was wrong and the nearest valid name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mixtures.complaints import nearest
from mixtures.marked_yaml import parse
from mixtures.spec import Mixture, MixtureError, Near, Read, Stage, canonical, load_mixture
from mixtures.units import BINARY, DECIMAL, expand_braces, length_name, parse_size

V4 = Path(__file__).parent.parent / "mixtures" / "v4.yaml"

#: Line numbers in the tests below count from its first line.
SMALL = """\
name: small
data: ${DATA:-data}
sources:
  web:
    read: {warc: "web/*.warc.gz"}
    language: {min_score: 0.65}
  code: {read: {repositories: "code/*"}, domain: programs}
mixture: {weights: {web: 3, programs: 1}}
curriculum:
  batch_tokens: 64K
  stages:
    - {length: 4K, share: 0.9}
    - {length: 16K, share: 0.1, favour_long: 2}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str | bytes, environ: Mapping[str, str] | None = None) -> Mixture:
    """Loads text as the file m.yaml of the current folder."""
    Path("m.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_mixture("m.yaml", environ=environ or {})


def refusal(text: str | bytes, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(MixtureError) as caught:
        load(text, environ)
    return str(caught.value).splitlines()


def changed(old: str, new: str) -> str:
    assert SMALL.count(old) == 1, old
    return SMALL.replace(old, new)


STAGE = "{length: 16K, share: 0.1, favour_long: 2"


@pytest.mark.usefixtures("folder")
def test_documents_are_padded_to_what_the_trainer_of_each_stage_asks_for() -> None:
    text = changed(STAGE, STAGE + ", context_parallel_size: 8")
    layout = "{context_parallel: zigzag_documents, pad_documents_to: trainer, tensor_parallel_size: 4}"
    mixture = load(f"{text}shards: {layout}\n")
    stages = mixture.curriculum.stages
    assert [mixture.shards.document_multiple(stage) for stage in stages] == [4, 32]  # CP * lcm(2, TP)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("size", "layout", "complaint"),
    [
        (256, "contiguous", "stage 16K over 256 ranks gives each 64 tokens, no multiple of 128"),
        (3, "contiguous", "stage 16K over 3 ranks"),
        (128, "zigzag_documents", "cuts each document of stage 4K into 2 chunks"),
    ],
)
def test_ranks_that_a_layout_cannot_serve_are_named(size: int, layout: str, complaint: str) -> None:
    text = changed(STAGE, f"{STAGE}, context_parallel_size: {size}")
    problems = refusal(f"{text}shards: {{context_parallel: {layout}}}\n")
    assert any(complaint in problem for problem in problems), problems


def test_the_v4_recipe_loads_with_the_published_lengths_and_batch() -> None:
    mixture = load_mixture(str(V4), environ={})
    assert [(stage.name, stage.length) for stage in mixture.curriculum.stages] == [
        ("4K", 4096),
        ("16K", 16384),
        ("64K", 65536),
        ("1M", 1048576),
    ]
    assert mixture.curriculum.batch_tokens == 72 * 2**20  # 75.5M tokens, as published for Flash
    assert (mixture.dedup.near, mixture.data) == (Near.model_validate("dolma3"), "data")
    assert mixture.domains == ("books", "code", "docs", "math", "multilingual", "science", "web")
    assert mixture.sources["gnome"].optional
    assert not mixture.sources["web"].optional
    assert load_mixture(str(V4), environ={"CURATE_DATA": "s3://bucket/corpus"}).data == "s3://bucket/corpus"


@pytest.mark.usefixtures("folder")
def test_everything_left_out_has_its_documented_default() -> None:
    mixture = load(SMALL)
    assert (mixture.seed, mixture.data) == (0, "data")
    assert mixture.tokenizer.model_dump() == {"preset": "deepseek-v4", "bos": True, "eos": True, "fim": 0.1}
    assert mixture.limits.model_dump() == {
        "document_bytes": 64 << 20,
        "split_bytes": 64 << 20,
        "quarantine_share": 0.05,
    }
    assert mixture.dedup.model_dump() == {"exact": True, "near": None}
    assert (mixture.mixture.max_epochs, mixture.mixture.budget) == (4.0, 1.0)
    assert mixture.shards.model_dump() == {
        "pad_documents_to": 1,
        "tensor_parallel_size": 1,
        "documents_per_sequence": 1024,
        "shard_tokens": 64 << 20,
        "context_parallel": "contiguous",
    }
    assert mixture.sources["web"].domain == "web", (
        "a source's domain is its own name unless it says otherwise"
    )
    assert mixture.sources["code"].domain == "programs"
    assert mixture.sources["web"].read == Read(kind="warc", patterns=("web/*.warc.gz",))


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            "    language:",
            "    langauge:",
            "m.yaml:6: unknown key 'langauge' in sources.web; did you mean 'language'?",
        ),
        (
            "{warc: ",
            "{wrac: ",
            "m.yaml:5: sources.web.read.wrac: unknown kind of source 'wrac'; did you mean 'warc'?",
        ),
        (
            "curriculum:",
            "curriculm:",
            "m.yaml:9: unknown key 'curriculm' in the file; did you mean 'curriculum'?",
        ),
        (
            "    - {length: 4K",
            "    - {lenght: 4K",
            "m.yaml:12: unknown key 'lenght' in curriculum.stages[0]; did you",
        ),
        (
            "{web: 3,",
            "{wbe: 3,",
            "m.yaml:8: mixture.weights.wbe: a weight for 'wbe', a domain that no source has;",
        ),
        (
            "{web: 3, ",
            "{",
            "m.yaml:8: mixture.weights: no weight for web; give every domain one, 0 to leave it out",
        ),
        ("web: 3,", "web: -3,", "m.yaml:8: mixture.weights.web: has to be at least 0, got the number -3"),
        ("web: 3,", "web: .inf,", "m.yaml:8: mixture.weights.web: expected a number, got the text '.inf'"),
        (
            "web: 3,",
            "web: 1e999,",
            "m.yaml:8: mixture.weights.web: expected a finite number, got the number inf",
        ),
        (
            "{web: 3, programs: 1}",
            "{web: 0, programs: 0}",
            "m.yaml:8: mixture.weights: every weight is zero;",
        ),
        ("0.65", "high", "m.yaml:6: sources.web.language.min_score: expected a number, got the text 'high'"),
        ("0.65", "6.5", "m.yaml:6: sources.web.language.min_score: has to be at most 1, got the number 6.5"),
        ("name: small", "name: 12", "m.yaml:1: name: expected text, got the number 12; write it in quotes"),
        ("name: small", "name: ../x", "m.yaml:1: name: '../x' is not a plain name: letters, digits"),
        (
            "length: 4K",
            "length: 5000",
            "m.yaml:12: curriculum.stages[0].length: batch_tokens 65,536 is not a multiple",
        ),
        (
            "length: 16K",
            "length: 4K",
            "m.yaml:13: curriculum.stages[1].length: 4K after 4K: stage lengths have to",
        ),
        (
            "share: 0.9}",
            "share: 0.8}",
            "m.yaml:11: curriculum.stages: the shares of the stages sum to 0.9, not to 1",
        ),
        (
            "64K\n",
            "64Q\n",
            "m.yaml:10: curriculum.batch_tokens: expected a whole number or a size such as 72Mi, got",
        ),
        (
            '"web/*.warc.gz"',
            "[a, ../b]",
            "m.yaml:5: sources.web.read.warc[1]: the pattern '../b' has to stay inside",
        ),
        (
            '"web/*.warc.gz"',
            '"/etc/*"',
            "m.yaml:5: sources.web.read.warc[0]: the pattern '/etc/*' has to stay inside",
        ),
        (
            '"web/*.warc.gz"',
            '"a{b"',
            "m.yaml:5: sources.web.read.warc[0]: the pattern 'a{b': a brace without its",
        ),
        (
            '{warc: "web/*.warc.gz"}',
            "{text: a}",
            "m.yaml:5: sources.web.read: no kind of source; expected exactly one",
        ),
        (
            '"web/*.warc.gz"}',
            "a, html: b}",
            "m.yaml:5: sources.web.read.html: one kind of source at a time, but both",
        ),
        ('    read: {warc: "web/*.warc.gz"}\n', "", "m.yaml:4: missing key 'read' in sources.web"),
        (
            "mixture: {",
            "mixture: {max_epochs: 8, ",
            "m.yaml:8: mixture.max_epochs: has to be at most 7, got the",
        ),
        (
            "mixture: {",
            "mixture: {budget: 7.5, ",
            "m.yaml:8: mixture.budget: a share of the inventory is at most 7",
        ),
        (
            "mixture: {",
            "mixture: {budget: 0, ",
            "m.yaml:8: mixture.budget: has to be more than 0, got the number 0",
        ),
        (
            "name: small",
            "name: small\nseed: 010",
            "m.yaml:2: seed: expected a whole number, got the text '010'",
        ),
        (
            "name: small",
            "name: small\nlimits: []",
            "m.yaml:2: limits: expected a mapping, 'key: value', got a list",
        ),
        (
            "name: small",
            "name: small\ndedup: {near: {preset: dolma}}",
            "m.yaml:2: dedup.near.preset: the text 'dolma' is not a choice; did you mean 'dolma3'?",
        ),
        (
            "name: small",
            "name: small\ndedup: {near: {preset: fineweb, bands: 20}}",
            "m.yaml:2: dedup.near.bands: the preset 'fineweb' has 14 bands; leave one of the two out",
        ),
        (
            "name: small",
            "name: small\nshards: {pad_documents_to: 3}",
            "m.yaml:2: shards.pad_documents_to: 3 does not divide the length of stage 4K",
        ),
        (
            "name: small",
            "name: small\nshards: {pad_documents_to: all}",
            "m.yaml:2: shards.pad_documents_to: ",
        ),
        (
            "name: small",
            "name: small\nshards: {context_parallel: zig_zag}",
            "m.yaml:2: shards.context_parallel: the text 'zig_zag' is not a choice; did you mean 'zigzag'?",
        ),
        (
            "name: small",
            "name: small\nshards: {shard_tokens: 4K}",
            "m.yaml:2: shards.shard_tokens: a shard of 4,096 tokens cannot",
        ),
        ("name: small", "name: !!str small", "m.yaml:1: the tag 'tag:yaml.org,2002:str' is not used here"),
        (
            "name: small",
            "name: !!python/object/apply:os.system [ls]",
            "m.yaml:1: the tag 'tag:yaml.org,2002:python",
        ),
        ("name: small", 'name: "a\\ud800"', "m.yaml:1: text with half a surrogate pair"),
        ("name: small", "name: [small", "m.yaml:2: not valid YAML: while parsing a flow sequence"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_the_way_out(old: str, new: str, line: str) -> None:
    problems = refusal(changed(old, new))
    assert any(problem.startswith(line) for problem in problems), problems


@pytest.mark.usefixtures("folder")
def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file() -> None:
    text = (
        changed("name: small", "name: small\nseed: -1\nfoo: bar").replace("0.65", "2").replace(" 4K", " 4X")
    )
    lines = [int(problem.split(":")[1]) for problem in refusal(text)]
    assert lines == [2, 3, 8, 14]


@pytest.mark.usefixtures("folder")
def test_a_key_given_twice_is_an_error_and_not_the_last_one_wins() -> None:
    problems = refusal(changed("  code:", "  web:"))
    assert problems[0] == "m.yaml:7: duplicate key 'web' in sources; first on line 4"
    assert refusal(changed("share: 0.9}", "share: 0.9, share: 0.9}")) == [
        "m.yaml:12: duplicate key 'share' in curriculum.stages[0]; first on line 12"
    ]


@pytest.mark.usefixtures("folder")
def test_words_that_yaml_1_1_makes_booleans_or_times_stay_names() -> None:
    text = (
        SMALL.replace("code: {", "no: {").replace("programs", "on").replace("65}", "65, allow: [no, y, nb]}")
    )
    mixture = load(text.replace("name: small", "name: 1.2.3\ntokenizer: {preset: '1:30'}"))
    assert list(mixture.sources) == ["web", "no"]
    assert mixture.mixture.weights == {"web": 3.0, "on": 1.0}
    assert mixture.sources["web"].language is not None
    assert mixture.sources["web"].language.allow == ("no", "y", "nb")
    assert (mixture.name, mixture.tokenizer.preset) == ("1.2.3", "1:30")
    assert load(SMALL.replace("web", "2026-04-24")).domains == ("2026-04-24", "programs"), (
        "a date, or a name?"
    )
    [problem] = refusal(changed("domain: programs}", "domain: programs, optional: yes}"))
    assert problem == "m.yaml:7: sources.code.optional: expected true or false, got the text 'yes'"


@pytest.mark.usefixtures("folder")
def test_variables_expand_in_text_values_only_and_add_no_structure() -> None:
    assert load(SMALL, {"DATA": "/corpus"}).data == "/corpus"
    assert load(SMALL, {"DATA": ""}).data == "data", "empty counts as not set, as in a shell"
    assert load(SMALL, {"DATA": "x, seed: 5} # ${OTHER}"}).data == "x, seed: 5} # ${OTHER}"
    assert load(changed("${DATA:-data}", "${A}/${B:-c}"), {"A": "a"}).data == "a/c"
    assert refusal(changed("${DATA:-data}", "${DATA}")) == [
        "m.yaml:2: the environment variable DATA is not set; set it, or write ${DATA:-default}"
    ]
    assert refusal(changed("${DATA:-data}", "${DA TA}")) == [
        "m.yaml:2: '${DA TA}': a variable is written ${NAME} or ${NAME:-default}"
    ]
    [problem] = refusal(SMALL.replace("  code:", "  ${DATA}:"), {"DATA": "code"})
    assert "'${DATA}' is not a plain name" in problem, "keys do not expand"
    assert refusal(SMALL, {"DATA": "\udcff"}) == [
        "m.yaml:2: the environment variable DATA is not valid UTF-8"
    ]


@pytest.mark.usefixtures("folder")
def test_aliases_work_but_neither_bombs_nor_cycles_do() -> None:
    shared = SMALL.replace('{warc: "web/*.warc.gz"}', '&r {warc: "web/*.warc.gz"}').replace(
        '{repositories: "code/*"}', "*r"
    )
    mixture = load(shared)
    assert mixture.sources["code"].read == mixture.sources["web"].read
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(9)
    )
    assert any("aliases expand to too much" in problem for problem in refusal(bomb))
    assert any("into themselves" in problem for problem in refusal("a: &a [*a]\n"))
    assert "m.yaml:1: more than 16 levels" in refusal("[" * 100_000)
    assert "m.yaml:1: more than 16 levels" in refusal("{a: " * 60_000)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "m.yaml: the file is empty"),
        (b"# nothing\n", "m.yaml: the file is empty"),
        (b"just words\n", "m.yaml:1: expected a mapping, 'key: value', got the text 'just words'"),
        (b"null\n", "m.yaml:1: expected a mapping, 'key: value', got nothing"),
        (b"name: a\nx: \xff\n", "m.yaml:2: not UTF-8: byte 0xff"),
        (b"name: a\nx: \x00\n", "m.yaml:2: not valid YAML: character U+0000 is not allowed"),
        (b"a: 1\n---\nb: 2\n", "m.yaml:2: not valid YAML: expected a single document in the stream"),
        (b"? [a]\n: 1\n", "m.yaml:1: a key in the file is not text"),
        (b"#" * (257 << 10), "m.yaml: 262,145 bytes; a mixture has at most 262,144"),
        (b'a: "\\UFFFFFFFF"\n', "m.yaml: not valid YAML:"),
    ],
)
def test_what_is_no_mixture_is_refused_in_words(content: bytes, line: str) -> None:
    problems = refusal(content)
    assert any(problem.startswith(line) for problem in problems), problems


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(MixtureError, match=r"^nowhere\.yaml: no such file or directory$"):
        load_mixture("nowhere.yaml")


@pytest.mark.usefixtures("folder")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_read_or_refused_but_never_crashes(data: st.DataObject) -> None:
    content = bytearray(SMALL.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        until = data.draw(st.integers(at, min(len(content), at + 20)))
        content[at:until] = data.draw(
            st.one_of(st.binary(max_size=8), st.text("{}[]&*!:-?#$\"'|>%@\n ~", max_size=8).map(str.encode))
        )
    try:
        mixture = load(bytes(content))
    except MixtureError:  # and nothing else
        return
    assert Mixture.model_validate_json(canonical(mixture)) == mixture


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_bytes_parse_to_values_or_problems(content: bytes) -> None:
    marked = parse(content, {})
    assert marked.value is None or json.dumps(marked.value, default=str)


def test_sizes_are_binary_for_lengths_and_decimal_for_budgets() -> None:
    for text, size in {
        "4K": 4096,
        "64K": 65536,
        "1M": 1 << 20,
        "72Mi": 72 << 20,
        "3Gi": 3 << 30,
        "1.5K": 1536,
    }.items():
        assert parse_size(text, BINARY) == size
    for text, size in {"32T": 32 * 10**12, "1.5B": 15 * 10**8, "2Mi": 2 << 20, "12": 12}.items():
        assert parse_size(text, DECIMAL) == size
    for text in ("", "K", "-4K", "4 KiB", "0.1K", "4k", "1e3", "٤K", "4K\n", "1B"):
        with pytest.raises(ValueError, match="whole number"):
            parse_size(text, BINARY)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("written", "meant"),
    [("1", 1.0), ("0.5", 0.5), ("7", 7.0), ("8", 8), ("32T", 32 * 10**12), ("500000", 500_000)],
)
def test_a_budget_is_a_share_up_to_seven_and_tokens_beyond(written: str, meant: float) -> None:
    budget = load(changed("mixture: {", f"mixture: {{budget: {written}, ")).mixture.budget
    assert (budget, type(budget)) == (meant, type(meant))


@given(st.integers(1, 1 << 24))
def test_a_length_is_named_as_it_can_be_written(length: int) -> None:
    assert parse_size(length_name(length), BINARY) == length


def test_braces_expand_as_in_a_shell() -> None:
    assert expand_braces("a/*.{c,h}{,.gz}") == ["a/*.c", "a/*.c.gz", "a/*.h", "a/*.h.gz"]
    assert expand_braces("{a,b{c,d}}") == ["a", "bc", "bd"]
    assert expand_braces("plain") == ["plain"]
    for pattern in ("{", "}", "a{b,c", "{a,{b}", "{a,b}}"):
        with pytest.raises(ValueError, match="partner"):
            expand_braces(pattern)
    with pytest.raises(ValueError, match="more than 256"):
        expand_braces("{a,b}" * 40)


def test_presets_of_near_duplicates_have_the_published_bands_and_rows() -> None:
    assert [
        (Near.model_validate(name).bands, Near.model_validate(name).rows) for name in ("dolma3", "fineweb")
    ] == [
        (26, 11),
        (14, 8),
    ]
    assert Near(bands=20, rows=5).preset is None
    with pytest.raises(ValidationError, match="name a preset"):
        Near.model_validate({"jaccard": 0.7})


def test_the_canonical_form_is_independent_of_key_order_and_tells_parts_apart() -> None:
    mixture = load_mixture(str(V4), environ={})
    again = Mixture.model_validate_json(canonical(mixture))
    assert again == mixture
    shuffled = {key: json.loads(canonical(mixture))[key] for key in reversed(Mixture.model_fields)}
    assert canonical(Mixture.model_validate_json(json.dumps(shuffled))) == canonical(mixture)
    assert canonical({"b": Stage(length=4096, share=1.0), "a": (1, None)}) == (
        '{"a":[1,null],"b":{"context_parallel_size":1,"favour_long":1.0,"length":4096,"share":1.0}}'
    )
    assert canonical(mixture.shards) != canonical(mixture.limits)


@pytest.mark.usefixtures("folder")
def test_languages_keys_of_the_mixture_are_those_that_a_source_leaves_out() -> None:
    shared = "name: small\nlanguage: {thresholds: lid176, scripts: true, min_score: 0.9}"
    mixture = load(changed("name: small", shared))
    language = mixture.sources["web"].language
    assert language is not None
    assert (language.thresholds, language.scripts, language.min_score) == ("lid176", True, 0.65)
    assert mixture.sources["code"].language is None, "what is not identified stays so"
    plain = load(SMALL).sources["web"].language
    assert plain is not None
    assert plain.model_dump() == {
        "model": None,
        "clean": True,
        "thresholds": None,
        "scripts": False,
        "min_score": 0.65,
        "min_share": 0.0,
        "allow": None,
        "deny": (),
    }
    assert Mixture.model_validate_json(canonical(mixture)) == mixture


def test_models_are_frozen_and_closed_in_code_too() -> None:
    stage = Stage(length=4096, share=1.0)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(stage, "share", 0.5)  # noqa: B010
    with pytest.raises(ValidationError, match="Extra inputs"):
        Stage.model_validate({"length": 4096, "share": 1.0, "shares": 2})


def test_a_name_far_from_all_others_gets_no_suggestion() -> None:
    assert nearest("langauge", ["language", "rules"]) == "language"
    assert nearest("zzz", ["language", "rules"]) is None


def test_near_duplicates_without_exact_ones_are_a_contradiction(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "mixtures" / "v4.yaml").read_text()
    file = tmp_path / "m.yaml"
    file.write_text(text.replace("dedup: {exact: true,", "dedup: {exact: false,"))
    with pytest.raises(MixtureError, match="leave 'exact' on") as caught:
        load_mixture(str(file))
    line = next(n for n, words in enumerate(file.read_text().splitlines(), 1) if "exact: false" in words)
    assert [problem.line for problem in caught.value.problems] == [line]


@pytest.mark.usefixtures("folder")
def test_line_rules_are_named_alone_in_a_list_or_with_languages_and_once() -> None:
    place = "    language: {min_score: 0.65}"

    def lines(written: str) -> tuple[tuple[str, ...], tuple[str, ...] | None, tuple[str, ...]]:
        found = load(changed(place, f"    lines: {written}")).sources["web"].lines
        return found.rules, found.languages, found.except_languages

    assert lines("c4") == (("c4",), None, ())
    assert lines("[c4, refinedweb]") == (("c4", "refinedweb"), None, ())
    assert lines("{rules: c4, languages: en, except_languages: [zh]}") == (("c4",), ("en",), ("zh",))
    assert load(SMALL).sources["web"].lines.rules == ()
    for written in ("[c4, c4]", "{rules: [c4, c4]}"):
        assert refusal(changed(place, f"    lines: {written}"))[0].endswith("the rules 'c4' are named twice")
    (problem,) = refusal(changed(place, "    lines: refindweb"))
    assert problem.startswith("m.yaml:6: ")
    assert problem.endswith("the text 'refindweb' is not a choice; did you mean 'refinedweb'?")


@pytest.mark.usefixtures("folder")
def test_rules_are_names_or_paths_of_yaml_files() -> None:
    place = "    language: {min_score: 0.65}"
    named = load(changed(place, "    rules: [math, own/my rules.yaml]")).sources["web"].rules
    assert named == ("math", "own/my rules.yaml")
    assert "is not a plain name" in refusal(changed(place, "    rules: own/rules"))[0]


@pytest.mark.usefixtures("folder")
def test_privacy_has_an_action_for_each_kind_and_overrides_by_domain() -> None:
    default = load(SMALL).privacy.actions("web")
    assert default == {
        **dict.fromkeys(("phone", "iban", "card", "token", "password", "private_key"), "redact"),
        **dict.fromkeys(("email", "ip"), "replace"),
    }
    written = load(SMALL + "privacy: {phone: keep, domains: {programs: {email: drop, phone: off}}}\n").privacy
    assert written.actions("web") == {**default, "phone": "keep"}
    assert written.actions("programs") == {**default, "phone": "off", "email": "drop"}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("privacy", "complaint"),
    [
        ("{emial: keep}", "unknown key 'emial' in privacy; did you mean 'email'?"),
        ("{card: replace}", "'replace' is for email, ip and phone; this kind has no stand-ins: 'redact' it"),
        ("{domains: {wep: {email: keep}}}", "is a domain that no source has; did you mean 'web'?"),
        ("{email: hide}", "privacy.email"),
    ],
)
def test_a_privacy_policy_is_closed_and_its_domains_exist(privacy: str, complaint: str) -> None:
    (line,) = refusal(f"{SMALL}privacy: {privacy}\n")
    assert complaint in line

"""Extraction: goldens by hand for each format, and what hostile input comes to."""

# Markup samples are kept in one piece:
# ruff: noqa: E501

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.extraction import EXTRACTED, ExtractionError, extract, html, jats, mallard, roff
from curate.extraction.roff_escapes import plain

# HTML


def test_html_keeps_headings_lists_code_and_tables() -> None:
    source = """<html><head><title>T</title><style>p {}</style></head><body>
      <nav><a href="/">Home</a></nav>
      <article><h1>On &lt;tags&gt;</h1><p>First line,<br>second   line &amp; more.</p>
      <ol><li>one</li><li>two</li></ol>
      <pre><code>def f(x):
    return x &lt; 3
</code></pre>
      <table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table>
      <script>alert("no")</script></article><footer>Imprint</footer></body></html>"""
    assert html.extract(source) == (
        "# On <tags>\n\nFirst line,\nsecond line & more.\n\n1. one\n2. two\n\n"
        "```\ndef f(x):\n    return x < 3\n```\n\nA | B\n1 | 2\n"
    )


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        (
            "<math><semantics><mi>x</mi><annotation encoding='application/x-tex'>x^2</annotation></semantics></math>",
            "$x^2$",
        ),
        ("<math alttext='a+b'><mi>a</mi><mo>+</mo><mi>b</mi></math>", "$a+b$"),
        ("<script type='math/tex'>\\frac{1}{2}</script>", "$\\frac{1}{2}$"),
    ],
)
def test_html_formulae_are_tex_between_dollars(formula: str, text: str) -> None:
    source = f"<html><body><article><p>The value {formula} is what we want here.</p></article></body></html>"
    assert html.extract(source) == f"The value {text} is what we want here.\n"


def test_html_lists_of_shallow_pages_are_content_unless_they_are_links() -> None:
    items = "<ul><li>one<ul><li>inner</li></ul></li><li>two</li></ul>"
    links = "<ul><li><a href='/'>Home</a></li><li><a href='/x'>Elsewhere</a></li></ul>"
    for wrap in (
        "{}",
        "<div>{}</div>",
        "<div><main>{}</main></div>",
        "<div><div><article>{}</article></div></div>",
    ):
        text = html.extract(f"<html><body>{wrap.format('<p>Some words.</p>' + items)}</body></html>")
        assert text == "Some words.\n\n- one\n  - inner\n- two\n"
    assert html.extract(f"<html><body>{links}<p>Some words.</p></body></html>") == "Some words.\n"


def test_html_of_nothing_is_an_empty_document() -> None:
    assert html.extract("") == ""
    assert html.extract(b"<html><body></body></html>") == ""


def test_html_nested_beyond_reason_is_refused_quickly() -> None:
    before = time.perf_counter()
    for tag in ("div", "b", "table", "a"):
        with pytest.raises(ExtractionError, match="256 deep"):
            html.extract(
                f"<{tag} x='</{tag}>'>" * 100_000 + "text" if tag == "div" else "<div>" * 300 + f"<{tag}>x"
            )
    assert time.perf_counter() - before < 5


def test_html_of_many_unclosed_paragraphs_is_not_deep() -> None:
    assert html.extract("<html><body>" + "<p>Some words here." * 3000).count("Some words") == 3000


def test_html_padding_of_nuls_is_dropped_and_binary_refused() -> None:
    assert html.extract("<html><body><p>Some words\0 here.</p></body></html>") == "Some words here.\n"
    with pytest.raises(ExtractionError, match="NUL"):
        html.extract("\0" * 50 + "<p>x</p>")


# roff

PAGE = r""".\" a comment
.TH LS 1 "2024\-01\-01"
.SH NAME
ls \- list \fIdirectory\fR contents
.SH SYNOPSIS
.B ls
[\fIOPTION\fR]...
.SH "DESCRIPTION"
List the
.BR file s (1),
sorted\c
\&.
.PP
Options:
.TP
\fB\-a\fR, \fB\-\-all\fR
do not ignore entries
starting with .\" the dot
.TP
.B \-A
almost all
.IP \(bu 2
a point
.IP 1.
a number
.SS Codes
.nf
  if (a \e b)
.B bold
.fi
See \(lqit\(rq \[u20AC] \[:u] caf\['e] \(em end.
"""


def test_man_page() -> None:
    assert roff.extract(PAGE) == (
        "# LS(1)\n\n## NAME\n\nls - list directory contents\n\n## SYNOPSIS\n\nls [OPTION]...\n\n"
        "## DESCRIPTION\n\nList the files(1), sorted.\n\nOptions:\n\n"
        "-a, --all\n: do not ignore entries starting with .\n\n-A\n: almost all\n\n- a point\n\n1. a number\n\n"
        "### Codes\n\n```\n  if (a \\ b)\nbold\n```\n\nSee “it” € ü café — end.\n"
    )


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (r"\-\-x", "--x"),
        (r"\(em\[em]\[u0041]\[u0041_0301]", "——AA\u0301"),
        (r"\fBbold\fP \f(CWcode\f[] \s-1SMALL\s0", "bold code SMALL"),
        (r"a\|b\^c\&d\%e\:f", "abcdef"),
        (r"a\ b\~c", "a b c"),
        (r"\h'1n'x\v'-1'y\w'abc'z", "xyz"),
        (r"\N'65'\C'em'", "A—"),
        (r"back\eslash and \\", "back\\slash and \\"),
        (r"\*(lqq\*(rq \*[name] \*x", "“q” value "),
        ("ends with a backslash\\", "ends with a backslash"),
        (r"\[u110000]\[uD800]", ""),
    ],
)
def test_roff_escapes(source: str, text: str) -> None:
    assert plain(source, {"name": "value"}) == text


def test_roff_strings_that_refer_to_themselves_end() -> None:
    assert len(plain(r"\*x", {"x": r"a\*x"})) < 20


def test_roff_conditionals_take_the_terminal_branch() -> None:
    source = ".if n terminal\n.if t typesetter\n.ie n one\n.el two\n.if t \\{\\\nhidden\n.br\n.\\}\n.if !t shown\n.ie \\n(.g .B yes\n.el no\n"
    assert roff.extract(source) == "terminal one shown no\n"


def test_roff_definitions_are_skipped_and_tables_kept() -> None:
    source = (
        ".de XX\nhidden\n..\n.TS\ntab(:) box;\nl l\nl l.\nName:Value\n_\n"
        "T{\na long\ncell\nT}:\\fB2\\fR\n.TE\nAfter.\n"
    )
    assert roff.extract(source) == "Name | Value\na long cell | 2\n\nAfter.\n"


def test_roff_links_keep_their_text_and_target() -> None:
    assert roff.extract("See\n.UR http://e.org/\nthe page\n.UE .\n") == "See the page <http://e.org/>.\n"
    assert roff.extract("See\n.UR http://e.org/\n.UE ,\nthen\n") == "See http://e.org/, then\n"


def test_roff_lines_of_wide_characters_join_without_a_blank() -> None:
    assert roff.extract("日本語の\n文章です\nand English\n") == "日本語の文章です and English\n"


def test_a_page_that_only_names_another_is_empty() -> None:
    assert roff.extract(".so man1/ls.1\n") == ""


def test_mdoc_page() -> None:
    source = """.Dd January 1, 2024
.Dt CAT 1
.Os
.Sh NAME
.Nm cat
.Nd concatenate files
.Sh SYNOPSIS
.Nm
.Op Fl benst
.Op Ar
.Sh DESCRIPTION
The
.Nm
utility reads
.Ar file ,
see
.Xr head 1 .
.Bl -tag -width Ds
.It Fl b
Number the lines.
.It Fl o Ar name
Write to
.Pa /etc/name .
.El
.Bd -literal
cat  a   b
.Ed
"""
    assert roff.extract(source) == (
        "# CAT(1)\n\n## NAME\n\ncat — concatenate files\n\n## SYNOPSIS\n\ncat [-benst] [file ...]\n\n"
        "## DESCRIPTION\n\nThe cat utility reads file, see head(1).\n\n-b\n: Number the lines.\n\n"
        "-o name\n: Write to /etc/name.\n\n```\ncat  a   b\n```\n"
    )


# JATS

ARTICLE = """<?xml version="1.0"?>
<!DOCTYPE article PUBLIC "-//NLM//DTD JATS//EN" "http://example.org/never-fetched.dtd">
<article xmlns:mml="http://www.w3.org/1998/Math/MathML"><front><journal-meta><journal-title>J</journal-title></journal-meta>
<article-meta><title-group><article-title>On <italic>E. coli</italic></article-title></title-group>
<contrib-group><contrib><name><surname>Doe</surname></name></contrib></contrib-group>
<abstract><p>We   did it.</p></abstract></article-meta></front>
<body><sec id="s1"><title>Methods</title><p>At 10<sup>-3</sup> M H<sub>2</sub>O &amp; more&nbsp;<xref>[1]</xref>.</p>
<sec><title>Model</title><p>Let <inline-formula><tex-math>$x^2$</tex-math></inline-formula> be
<inline-formula><mml:math id="m"><mml:mrow><mml:mi>a</mml:mi><mml:mo>&lt;</mml:mo><mml:mi>b</mml:mi></mml:mrow></mml:math></inline-formula>.
<disp-formula id="e"><label>(1)</label><alternatives><graphic/><tex-math>\\begin{document}y=1\\end{document}</tex-math></alternatives></disp-formula> End.</p>
<list list-type="bullet"><list-item><p>one</p></list-item><list-item><p>two</p></list-item></list></sec></sec>
<table-wrap><label>Table 1</label><caption><title>Sizes</title></caption><table><thead><tr><th>A</th><th>B</th></tr></thead>
<tbody><tr><td>1</td><td>2</td></tr></tbody></table></table-wrap></body>
<back><ack><p>Thanks.</p></ack><ref-list><title>References</title><ref><mixed-citation>Doe 2001</mixed-citation></ref></ref-list></back></article>"""


def test_jats_article() -> None:
    assert jats.extract(ARTICLE) == (
        "# On E. coli\n\n## Abstract\n\nWe did it.\n\n## Methods\n\nAt 10^-3 M H_2O & more [1].\n\n### Model\n\n"
        "Let $x^2$ be <math><mrow><mi>a</mi><mo>&lt;</mo><mi>b</mi></mrow></math>.\n\n$$y=1$$\n\nEnd.\n\n- one\n- two\n\n"
        "Table 1. Sizes.\n\nA | B\n1 | 2\n\n## Acknowledgements\n\nThanks.\n"
    )
    assert jats.extract(ARTICLE.encode()) == jats.extract(ARTICLE)


def test_jats_of_another_vocabulary_is_refused() -> None:
    with pytest.raises(ExtractionError, match="<html>, not a JATS"):
        jats.extract("<html/>")


# Mallard


def test_mallard_page() -> None:
    source = """<page xmlns="http://projectmallard.org/1.0/" id="x"><info><desc>hidden</desc></info>
    <title>Open a   file</title><p>Press <keyseq><key>Ctrl</key><key>O</key></keyseq> or
    <guiseq><gui>File</gui><gui>Open</gui></guiseq>, see <link xref="y">the other page</link>.</p>
    <steps><title>To open:</title><item><p>Go.</p></item><item><p>Choose:</p><list><item><p>this</p></item></list></item></steps>
    <section id="s"><title>More</title><note><p>Careful now.</p></note>
    <terms><item><title>Term</title><p>Its meaning.</p></item></terms>
    <code>ls  -l
  x</code><media type="image" src="a.png"><p>picture</p></media></section></page>"""
    assert mallard.extract(source) == (
        "# Open a file\n\nPress Ctrl+O or File ▸ Open, see the other page.\n\nTo open:\n\n"
        "1. Go.\n\n2. Choose:\n\n   - this\n\n## More\n\nCareful now.\n\nTerm\n: Its meaning.\n\n```\nls  -l\n  x\n```\n"
    )


# Hostile XML

LAUGHS = (
    "<!DOCTYPE {root} [<!ENTITY a 'ha'>"
    + "".join(f"<!ENTITY {chr(98 + i)} '{f'&{chr(97 + i)};' * 10}'>" for i in range(12))
    + "]><{root}><{body}>&m;</{body}></{root}>"
)


@pytest.mark.parametrize(
    ("extractor", "root", "body"), [(jats.extract, "article", "body"), (mallard.extract, "page", "p")]
)
@pytest.mark.parametrize(
    "source",
    [
        LAUGHS,
        "<!DOCTYPE {root} [<!ENTITY x SYSTEM 'file:///etc/hostname'>]><{root}><{body}>&x;</{body}></{root}>",
        "<!DOCTYPE {root} [<!ENTITY % x SYSTEM 'http://192.0.2.1/x.dtd'> %x;]><{root}><{body}>&y;</{body}></{root}>",
        "<{root}><{body}>" + "<sec>" * 100_000,
        "<{root}>" + "<sec>" * 100_000 + "</sec>" * 100_000 + "</{root}>",
        "<{root}><{body}>cut off",
        "<{root}><{body}>nul \0 here</{body}></{root}>",
        "<{root}><{body}>&undefined;</{body}></{root}>",
        "",
        "not XML at all",
    ],
)
def test_hostile_xml_is_refused(extractor: Callable[[str], str], root: str, body: str, source: str) -> None:
    before = time.perf_counter()
    with pytest.raises(ExtractionError):
        extractor(source.replace("{root}", root).replace("{body}", body))
    assert time.perf_counter() - before < 2


def test_xml_nested_as_deep_as_the_parser_allows_is_no_crash() -> None:
    for name in ("sec", "p", "list", "italic"):
        nested = f"<{name}>" * 250 + "x" + f"</{name}>" * 250
        assert "x" in jats.extract(f"<article><body>{nested}</body></article>") or name == "list"
        mallard.extract(f"<page>{nested.replace('sec>', 'section>')}</page>")


@pytest.mark.parametrize("form", sorted(EXTRACTED))
def test_bytes_that_are_not_text_are_refused_or_empty(form: str) -> None:
    for data in (b"\xff\xfe\x00\x01", b"\x80\x81"):
        try:
            text = extract(form, data)
        except ExtractionError:
            continue
        assert text == ""


REQUESTS = st.sampled_from(
    [
        "", ".TP", ".PP", ".IP", ".nf", ".fi", ".SH", ".SS", ".B", ".BR", ".ie", ".el", ".if", ".de", "..", ".TS",
        ".TE", ".UR", ".UE", ".Bl", ".It", ".El", ".Op", ".Fl", ".RS", ".EX", ".EE", ".so", ".ds",
    ]
)  # fmt: skip

MARKUP = st.text(alphabet=st.sampled_from(list("<>/&;'\"\\.(){}[]-*$ \n\tabpTSH=x1é中")), max_size=300)


@given(MARKUP)
@settings(max_examples=300, deadline=None)
def test_no_markup_raises_anything_but_extraction_error(text: str) -> None:
    for form in EXTRACTED:
        try:
            assert isinstance(extract(form, text), str)
        except ExtractionError:
            assert form in ("jats", "mallard")


@given(
    st.lists(
        st.tuples(
            REQUESTS,
            st.text(alphabet="ab \"'\\{}nt[]()*-1.;T", max_size=12),
        ),
        max_size=30,
    )
)
@settings(max_examples=300, deadline=None)
def test_no_order_of_roff_requests_breaks_a_page(lines: list[tuple[str, str]]) -> None:
    for head in ("", ".Dt X 1\n"):
        text = roff.extract(head + "\n".join(f"{macro} {rest}" if macro else rest for macro, rest in lines))
        assert not set(text) & {"\x00", "\x01", "\x02"}

"""The signals of program code: golden values by hand, the definition beside each, and the rules on them."""

from __future__ import annotations

import time
from typing import Any

import curate_kernels
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.stages.rules import apply_rules, load_rules
from curate.stages.signals import add_signals

CODE = tuple(curate_kernels.signal_names())[
    tuple(curate_kernels.signal_names()).index("comment_ratio") :  # the table of code comes last
]


def code(text: str, form: str | None) -> dict[str, Any]:
    batch = curate_kernels.signals(pa.array([text], pa.large_string()), pa.array([form], pa.string()))
    row: dict[str, Any] = batch.to_pylist()[0]
    return row


def parts(text: str, form: str) -> tuple[int, int]:
    """Characters of comments and of strings, back from the shares."""
    row = code(text, form)
    comments = row["comment_ratio"] * len(text)
    strings = row["string_ratio"] * (len(text) - round(comments))
    assert comments == pytest.approx(round(comments))
    assert strings == pytest.approx(round(strings))
    return round(comments), round(strings)


def failed(text: str, form: str, rule_set: str) -> list[str]:
    signals = curate_kernels.signals(pa.array([text], pa.large_string()), pa.array([form]))
    names, _ = apply_rules(signals, load_rules([rule_set]), domain="code", formats=pa.array([form]))
    return [name.removeprefix(f"{rule_set}.") for name in names[0].as_py()]


class TestCommentsAndStrings:
    @pytest.mark.parametrize(
        ("form", "text", "comments", "strings"),
        [
            ("py", "x = 1  # one\n", ["# one"], []),
            ("py", 'x = \'# no\' + "a\\"b"\n', [], ["'# no'", '"a\\"b"']),
            ("py", 'def f():\n    """Say."""\n    return 1\n', ['"""Say."""'], []),  # a docstring comments
            ("py", 'r"""Raw."""\nx = """no"""\n', ['r"""Raw."""'], ['"""no"""']),
            ("py", "f('a',\n  'b')\n", [], ["'a'", "'b'"]),  # alone on its line, not in its statement
            ("py", "x = \\\n'a'\n", [], ["'a'"]),
            ("py", "x = 'open\ny = 2\n", [], ["'open"]),  # not closed: ends with its line
            ("c", "/* a\n b */ int x; // c\n", ["/* a\n b */", "// c"], []),
            ("c", 'char *s = "/*", c = \'"\';\n', [], ['"/*"', "'\"'"]),
            ("c", "int x; /* open", ["/* open"], []),
            ("cpp", 'auto s = R"x(a)" // )x";', [], ['R"x(a)" // )x"']),
            ("cpp", "int n = 1'000'000; char c = 'x';", [], ["'x'"]),
            ("java", 'String s = """\n a // b\n""";', [], ['"""\n a // b\n"""']),
            ("js", "x = `a ${f(`//`)} b`; // c", ["// c"], ["`a ${f(`//`)} b`"]),
            ("js", "x = a / b / c; y = /[/'\"]\\//g.test(s)", [], ["/[/'\"]\\//g"]),
            ("js", "f() {\n// don't\n}", ["// don't"], []),
            ("ts", "let x: string = 'a' /* b */", ["/* b */"], ["'a'"]),
            ("go", "s := `a\\` // b\nr := '\"'", ["// b"], ["`a\\`", "'\"'"]),
            ("rs", '/* a /* b */ c */ let s = r#"a"b"#;', ["/* a /* b */ c */"], ['r#"a"b"#']),
            ("rs", "fn f<'a>(x: &'a str) -> char { '\\'' }", [], ["'\\''"]),
            ("php", "it's <?php echo 'a'; # b\n?> don't", ["# b"], ["'a'"]),
            ("php", "<?php #[Attribute]\n$s = <<<EOT\n'\nEOT;\n", [], ["<<<EOT", "'\nEOT"]),
            (
                "rb",
                '=begin\na\n=end\nx = "#{h["k"]} # no" # yes\n',
                ["=begin\na\n=end", "# yes"],
                ['"#{h["k"]} # no"'],
            ),
            ("rb", "s = <<~SQL\n  it's\nSQL\nx =~ /'/\n", [], ["<<~SQL", "  it's\nSQL", "/'/"]),
            ("pl", "=head1 A\n\nb\n\n=cut\nmy $n = $#a; # c\n", ["=head1 A\n\nb\n\n=cut", "# c"], []),
            ("pl", "my $x = 'open\n\n=pod\n\nIt's.\n\n=cut\n", ["=pod\n\nIt's.\n\n=cut"], ["'open\n"]),
            ("pl", 'f(\\"a(", \\@b, $], $\');', [], ['"a("']),
            ("pl", "s{'}{\"}g; my %h = (y => q(it's)); -s $f", [], ["s{'}{\"}", "q(it's)"]),
            (
                "pl",
                ":- a.\n% it's\nb :- C = 0'a, D = 'x%'. /* e */\n",
                ["% it's", "/* e */"],
                ["0'a", "'x%'"],
            ),
            ("lua", "--[[ a\n]] x = [==[ ]] ]==] -- b", ["--[[ a\n]]", "-- b"], ["[==[ ]] ]==]"]),
            ("hs", "{- a {- b -} -} x --> y -- c\nf' = '\"'", ["{- a {- b -} -}", "-- c"], ["'\"'"]),
            ("ml", "(* a (* b *) *) let x = \"(*\" and y' = 'a'", ["(* a (* b *) *)"], ['"(*"', "'a'"]),
            ("ml", "let t = `(*):num` (* a (*) b *)", ["(* a (*) b *)"], []),  # HOL Light's times
            ("v", '(* a *) Definition s := "a""b".', ["(* a *)"], ['"a""b"']),
            ("v", "// a\nmodule m; endmodule\n", ["// a"], []),
            ("mm", "$( a 'b $) x $a |- y $.", ["$( a 'b $)"], []),
            ("lisp", '#| a |# (f #\\" "b;") ; c', ["#| a |#", "; c"], ['#\\"', '"b;"']),
            ("el", ';; a\n(setq b "c")', [";; a"], ['"c"']),
            ("erl", 'f($") -> "%"; % a\nf(\'b\') -> $\\^].', ["% a"], ['$"', '"%"', "'b'", "$\\^]"]),
            (
                "sh",
                'echo "a $(b "c") # d" ${#x} # e\ncat <<\'EOF\'\n# f\nEOF\n',
                ["# e"],
                ['"a $(b "c") # d"', "<<'EOF'", "# f\nEOF"],
            ),
            ("sql", "SELECT 'it''s -- no' -- yes\n/* b */", ["-- yes", "/* b */"], ["'it''s -- no'"]),
            ("m", "x = a' * b'; % c\ny = 'it''s';", ["% c"], ["'it''s'"]),
            ("r", "x <- 'a' # b", ["# b"], ["'a'"]),
            ("jl", '#= a =# x = "b" # c', ["#= a =#", "# c"], ['"b"']),
            ("lean", "/- a /- b -/ -/ theorem x -- c", ["/- a /- b -/ -/", "-- c"], []),
            ("ex", '# a\nx = "b #{f("c")}"', ["# a"], ['"b #{f("c")}"']),
            ("cs", 's = @"a\\"; // b', ["// b"], ['@"a\\"']),
            ("vb", "x = \"it's\" ' c", ["' c"], ['"it\'s"']),
            ("f90", "x = 'a!' ! b", ["! b"], ["'a!'"]),
            ("tex", "50\\% of % a\n", ["% a"], []),
        ],
    )
    def test_each_language_is_read_by_its_own_syntax(
        self, form: str, text: str, comments: list[str], strings: list[str]
    ) -> None:
        assert all(part in text for part in comments + strings)
        assert parts(text, form) == (sum(map(len, comments)), sum(map(len, strings)))

    def test_characters_count_not_bytes(self) -> None:
        assert parts("x = 'é'  # ü€😀\n", "py") == (5, 3)

    def test_what_holds_data_has_comments_and_no_strings(self) -> None:
        row = code("a: 'b # c'  # d\ne: don't\n", "yaml")
        assert row["comment_ratio"] == 3 / 25
        assert row["string_ratio"] is None
        assert code("<!-- a --><b c='d'/>", "xml")["comment_ratio"] == 0.5


class TestSignals:
    def test_only_texts_in_a_language_have_signals(self) -> None:
        for form in ("md", "txt", "text", "rst", "", None):
            row = code("# a\n", form)
            assert {row[name] for name in CODE} == {None}, form
            assert row["chars"] == 4
        assert code("# a\n", "PY")["comment_ratio"] == 0.75  # a suffix in any case

    def test_without_formats_and_without_texts_they_are_null(self) -> None:
        texts = pa.array(["# a", None], pa.large_string())
        assert {row[name] for row in curate_kernels.signals(texts).to_pylist() for name in CODE} == {None}
        rows = curate_kernels.signals(texts, pa.array(["py", "py"])).to_pylist()
        assert [row["comment_ratio"] for row in rows] == [1, None]
        batch = add_signals(pa.record_batch({"text": texts, "format": pa.array(["py", "py"])}))
        assert batch["comment_ratio"].to_pylist() == [1, None]
        with pytest.raises(ValueError, match="1 formats for 2 texts"):
            curate_kernels.signals(texts, pa.array(["py"]))
        with pytest.raises(TypeError, match="expected a string array"):
            curate_kernels.signals(texts, pa.array([1, 2]))

    def test_an_empty_file_has_zeros(self) -> None:
        row = code("", "py")
        values = {name: row[name] for name in CODE if row[name] is not None}
        assert values.pop("brackets_balanced") is True
        assert set(values.values()) == {0}

    def test_lines_and_words(self) -> None:
        text = "# a\n\nx = foo_bar2(1)  # b\n'''c\nd'''\ny = '''e\n\nf'''\n"
        row = code(text, "py")
        assert row["code_lines"] == 3  # x; y and its last line: blanks and comments are none
        # a, x, foo, bar2, 1, b, c, d, y, e, f
        assert row["code_word_count"] == 11
        assert row["mean_code_word_length"] == (9 * 1 + 3 + 4) / 11

    def test_letters_and_digits_are_of_what_is_visible(self) -> None:
        row = code("ab 12 3\n+;\n", "c")
        assert (row["visible_alphabetic_ratio"], row["visible_digit_ratio"]) == pytest.approx((2 / 7, 3 / 7))

    def test_repetition_is_of_words_without_marks(self) -> None:
        # 'a b' three times: (1 + 1 + 1) * 3 of the 13 characters of the 7 words joined by spaces.
        assert code("a(b); A.b; a, B; c", "c")["code_top_2_gram_ratio"] == 9 / 13
        assert code("v w x y z; v.w.x.y.z", "c")["code_duplicate_5_gram_ratio"] == 0.5

    def test_repeated_lines_count_every_copy(self) -> None:
        text = "foo();\n  foo();\nbar();\n}\n}\n},\n},\n// c\n// c\n"
        assert (
            code(text, "c")["duplicate_code_line_ratio"] == 2 / 7
        )  # } and }, have no copies; comments are none

    def test_long_strings_have_more_than_20_words(self) -> None:
        long, short = " ".join("w" * 21), " ".join("w" * 20)
        row = code(f'a = "{long}"\nb = "{short}"\nc = 1\nd = 2\n', "py")
        assert row["long_string_line_ratio"] == 1 / 4

    def test_long_words_are_in_strings_and_no_urls(self) -> None:
        word = "w" * 21
        text = f'{word}("{word} https://a.example/{word} {word[1:]}")'
        assert code(text, "js")["long_word_ratio"] == 21 / len(text)

    def test_hexadecimal_numbers(self) -> None:
        text = "a = 0xFF + 0x1g + x0xFF;  // 0xFF"
        assert code(text, "c")["hex_ratio"] == 4 / (len(text) - len("// 0xFF"))

    def test_prompts_are_whole_words_of_comments(self) -> None:
        text = "// TODO(x) and FIXME\nint todo;\n// todos\n/* a\n Your code here\n*/\n"
        assert code(text, "c")["prompt_line_ratio"] == 2 / 6

    def test_asserts_are_words_that_contain_it(self) -> None:
        text = "assert x\nself.assertEqual(x, y)\ns = 'assert'\ny = x  # assert\n"
        assert code(text, "py")["assert_line_ratio"] == 2 / 4

    def test_python_lines(self) -> None:
        text = (
            "import os\nfrom a import b\nimportant = 1\n"
            "def f(x):\n    return x\n"
            "def g(x):\n    '''Doc.'''\n    return x\n"  # with a docstring it is not trivial
            "def h(x): return x\n"
            "async def i(\n    x,\n):\n    y = x\n    return y\n"
            "class C:\n    pass\n"
            "password = 1\nself._print(x)\nprint(x)\n"
        )
        row, lines = code(text, "py"), 18
        assert row["code_lines"] == lines
        assert row["import_line_ratio"] == 2 / lines
        assert row["function_ratio"] == 4 / lines
        assert row["trivial_function_ratio"] == 2 / lines
        assert row["pass_line_ratio"] == 1 / lines
        assert row["print_line_ratio"] == 1 / lines
        assert row["assignment_count"] == 3  # important, y, password
        # import, from, 4 def, 3 return on lines of their own, class
        assert row["declaration_line_ratio"] == 10 / lines

    def test_what_a_trivial_function_is(self) -> None:
        def trivial(text: str) -> float:
            row = code(text, "py")
            return round(row["trivial_function_ratio"] * row["code_lines"])

        assert trivial("def f():\n    return (1 +\n      2)\n") == 1  # one statement over two lines
        assert trivial("def f():\n    return 1\n    x = 2\n") == 0
        assert (
            trivial("class C:\n    def f(self):\n        return 1\n\n    def g(self):\n        return 2\n")
            == 2
        )
        assert trivial("def f():\n    if x:\n        return 1\n") == 0
        assert trivial("def f():\n    def g():\n        return 1\n    return g\n") == 1

    def test_functions_by_keyword_have_names(self) -> None:
        go = "func f() {\n}\nfunc (t *T) g() {\n\tgo func() {\n\t}()\n}\ntype h func(int)\n"
        assert code(go, "go")["function_ratio"] == 2 / 7
        assert code("fn f(x: fn(u8)) {}", "rs")["function_ratio"] == 1
        assert code("function f() end\ng(function() end)", "lua")["function_ratio"] == 1 / 2

    def test_functions_by_body_follow_parameters(self) -> None:
        c = "int f(int x)\n{\n  if (x) {\n  }\n  while (g(x)) {\n  }\n}\nint h(void);\nint a[] = {f(1), 2};\n"
        assert code(c, "c")["function_ratio"] == 1 / 9
        cpp = "A::A(int x) : b(x), c(x) {\n}\nint A::d() const noexcept {\n}\n"
        assert code(cpp, "cpp")["function_ratio"] == 2 / 4
        js = "function f(a) {\n}\nclass A {\n  g(b) {\n    for (;;) {}\n  }\n}\n"
        assert code(js, "js")["function_ratio"] == 2 / 7
        java = "class A {\n  int f() throws E {\n  }\n  abstract int g();\n}\n"
        assert code(java, "java")["function_ratio"] == 1 / 5

    def test_mains_and_preprocessor_lines_of_c(self) -> None:
        text = (
            '#include "a.h"\n  # define X\n'
            "int main(int c, char **v) {\n  return domain(main(0));\n}\nint main() {\n}\n"
        )
        row = code(text, "c")
        assert row["main_count"] == 2
        assert row["preprocessor_line_ratio"] == 2 / 7
        assert code(text, "py")["main_count"] is None

    def test_assignments_compare_nothing_and_name_no_argument(self) -> None:
        text = (
            "a = 1; b += 2; if (c == d || e <= f || g != h || i >= j) { k = l; } m(n = 1); var o = (p) => q;"
        )
        assert code(text, "js")["assignment_count"] == 4  # a, b, k, o
        assert code("a := 1\n", "go")["assignment_count"] == 1

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("f(a[1], {'b': (2)})", True),
            ("f('(')  # (", True),
            ("f(a[1)]", False),
            ("f((a)", False),
            ("f(a))", False),
        ],
    )
    def test_brackets_pair_up_outside_of_strings_and_comments(self, text: str, expected: bool) -> None:
        assert code(text, "py")["brackets_balanced"] is expected
        assert code(text, "c")["brackets_balanced"] is None  # both branches of an #if may open one

    def test_html_text_is_what_is_shown(self) -> None:
        text = "<html><style>p {}</style><p class='a'>one &amp; two</p><!-- no --></html>"
        row = code(text, "html")
        assert row["visible_text_chars"] == len("one & two")
        assert row["visible_text_ratio"] == len("one & two") / len(text)
        assert code(text, "xml")["visible_text_chars"] is None

    def test_data_has_distinct_words(self) -> None:
        assert code('{"a": 1, "A": 1, "b": 2}', "json")["code_unique_word_ratio"] == 4 / 6
        assert code("a", "py")["code_unique_word_ratio"] is None

    def test_go_says_what_tests(self) -> None:
        test = 'package a\n\nimport "testing"\n\nfunc TestF(t *testing.T) {\n}\n'
        assert code(test, "go")["test_file"] is True
        assert code(test.replace("TestF", "f"), "go")["test_file"] is False
        assert code(test, "rs")["test_file"] is None

    def test_minified_files_have_long_lines(self) -> None:
        assert code("f(a);" * 30, "js")["minified"] is True  # one line of 150 characters
        assert code("f(a);\n" * 30, "js")["minified"] is False
        assert code("f(a);" * 30, "c")["minified"] is None

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("# Auto-generated, keep out", True),
            ("# This file is generated by hand", True),
            ('// Code generated by "stringer"; DO NOT EDIT.', True),
            ("# Generate the tables that the engine needs", False),  # OpenCoder's substring would say so
            ("# do not edit lightly", False),
        ],
    )
    def test_generated_files_say_so_in_their_first_five_lines(self, line: str, expected: bool) -> None:
        assert code("\n\n\n\n" + line, "py")["autogenerated"] is expected
        assert code("\n\n\n\n\n" + line, "py")["autogenerated"] is False


# --- Properties ------------------------------------------------------------------------------------

#: Lines that are whole by themselves, how a comment line looks, and what may not be in one.
PROGRAMS = {
    "py": (["x = f('a')", "def f(): return 0x1F", "assert y", "import os", "print('# no')", ""], "# {}"),
    "c": (
        ["#include <a.h>", "int x = 0x1F;", 'f("// no", \'"\');', "int main(void) { return 1; }", ""],
        "/* {} */",
    ),
    "rs": (['let x = r#"a"#;', "fn f() {}", "let c = '\"';", 'println!("/*");', ""], "// {}"),
    "lua": (["x = [[a -- b]]", "local function f() end", "print('--')", ""], "-- {}"),
    "sql": (["SELECT 'it''s' FROM a;", "INSERT INTO b VALUES (1);", ""], "/* {} */"),
    "lisp": (['(defun f (x) "a;b" x)', "(setq x #\\;)", ""], "; {}"),
}
REMARK = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="*/[|\\"), max_size=40
)


@given(st.data(), st.sampled_from(sorted(PROGRAMS)))
@settings(max_examples=150)
def test_what_comments_say_changes_nothing_of_the_code(data: st.DataObject, form: str) -> None:
    lines, comment = PROGRAMS[form]
    program = data.draw(st.lists(st.sampled_from(lines), max_size=12))
    remarks = data.draw(st.lists(REMARK, min_size=len(program), max_size=len(program)))
    bare = "".join(line + "\n" for line in program)
    text = "".join(
        f"{comment.format(remark)}\n{line}\n" for line, remark in zip(program, remarks, strict=True)
    )
    without, row = code(bare, form), code(text, form)
    assert row["comment_ratio"] * len(text) == pytest.approx(
        sum(len(comment.format(remark)) for remark in remarks)
    )
    for name in (
        *("code_lines", "duplicate_code_line_ratio", "assert_line_ratio", "print_line_ratio"),
        *("import_line_ratio", "function_ratio", "trivial_function_ratio", "assignment_count", "main_count"),
        *("preprocessor_line_ratio", "brackets_balanced", "long_string_line_ratio", "declaration_line_ratio"),
    ):
        assert row[name] == without[name], name
    strings = without["string_ratio"] * len(bare)
    assert row["string_ratio"] * (len(text) - round(row["comment_ratio"] * len(text))) == pytest.approx(
        strings
    )


LANGUAGES = [
    *("py", "c", "cpp", "java", "js", "go", "rs", "php", "rb", "pl", "lua", "hs", "ml", "v", "mm", "lisp"),
    *("erl", "sh", "sql", "m", "jl", "html", "css", "json", "yaml", "xml", "tex", "prolog", "s"),
]
SHARES = [
    name for name in CODE if name.endswith("_ratio") and not name.startswith(("code_top_", "long_string"))
]


@given(
    st.sampled_from(LANGUAGES), st.text("ab'\"`\\/*#-%({[<>]})$=\n\t ;:!|~?0xqmRr@é\U0001f600", max_size=80)
)
@settings(max_examples=600)
def test_no_text_breaks_the_promises(form: str, text: str) -> None:
    row = code(text, form)
    for name in SHARES:
        if row[name] is not None and name != "function_ratio" and name != "trivial_function_ratio":
            assert 0 <= row[name] <= 1, name
    comments = row["comment_ratio"] * len(text)
    assert comments == pytest.approx(round(comments))
    assert row["code_lines"] <= text.count("\n") + 1


HOSTILE = [
    *(
        "'",
        '"',
        "/*",
        "(*",
        "#|",
        "{-",
        "<<A\n",
        "<<'A'",
        "r#",
        'r#"',
        'R"a(',
        "[=",
        "[[",
        "$a$",
        "$$",
        "/[",
        "/a",
    ),
    *(
        "s/",
        "q(",
        "%w(",
        '"#{',
        "`${",
        '"$(',
        "'\\",
        "?",
        "$'",
        "=a\n",
        "=begin\n",
        "--",
        "#\\",
        "0'",
        "(",
        ")",
    ),
    *(
        "<!--",
        "<script>",
        "</",
        "<a b='",
        "&a",
        '"""',
        "<?",
        "?>",
        "a",
        "a b ",
        "\n",
        "\\",
        "é",
        "def f():\n return\n",
    ),
    *('\\"\n=a\n=cut\n', "0x1", "todo ", "aasser", "{\n", "=", "main(", "func "),
]


@pytest.mark.parametrize("form", LANGUAGES)
def test_time_is_linear_on_hostile_text(form: str) -> None:
    texts = pa.array([part * (200_000 // len(part)) for part in HOSTILE], pa.large_string())
    start = time.process_time()
    rows = curate_kernels.signals(texts, pa.array([form] * len(texts))).to_pylist()
    # 10 MB, about a second; a quadratic case of 200 kB alone would be a minute.
    assert time.process_time() - start < 10
    assert all(row["comment_ratio"] is not None for row in rows)


# --- Rules -----------------------------------------------------------------------------------------

GOOD = '''"""Interest on an account, compounded."""

import math


def growth(rate: float, years: int) -> float:
    """The factor by which a balance grows."""
    factor = 1.0
    for year in range(years):
        factor = factor * (1 + rate)  # at the end of each
    return factor


def doubling(rate: float) -> float:
    """Years until a balance has doubled."""
    if rate <= 0:
        raise ValueError("a balance doubles only if it grows")
    years = math.log(2) / math.log(1 + rate)
    return round(years, 2)
'''


def test_plain_code_fails_nothing() -> None:
    assert [failed(GOOD, "py", name) for name in ("opencoder", "starcoder", "santacoder")] == [[], [], []]


@pytest.mark.parametrize(
    ("rule", "form", "text"),
    [
        (
            "comments",
            "py",
            "# What follows is only talk about the balance and its many parts.\n" * 12 + GOOD[-60:],
        ),
        ("strings", "py", GOOD + 's = """' + GOOD.replace('"""', "") * 3 + '"""\n'),
        ("generated", "py", "# Auto-generated from the ledger\n" + GOOD),
        ("asserts", "py", "balance = growth(1, 2)\n" + "".join(f"assert balance > {n}\n" for n in range(40))),
        ("prints", "py", "total = 1\n" + "".join(f"print(total, 'of', {n}, name)\n" for n in range(20))),
        ("passes", "py", GOOD + "\nclass Late(Exception):\n    pass\n"),
        (
            "imports",
            "py",
            "".join(f"import {name}\n" for name in ("os", "re", "sys", "json", "math", "ast")) + GOOD[72:],
        ),
        ("balanced", "py", GOOD + "growth((1, 2)\n"),
        (
            "digits",
            "c",
            "int table[] = {\n" + "".join(f"{n * 7919}, {n * 104729},\n" for n in range(40)) + "};\n",
        ),
        (
            "sql_digits",
            "sql",
            "INSERT INTO a VALUES\n" + "".join(f"({n * 7919}, {n * 104729}),\n" for n in range(40)),
        ),
        ("mains", "c", "int main(void) {\n  return total(balance, rate);\n}\n" * 2),
        ("preprocessor", "c", "".join(f"#define RATE_{n} {n}\n" for n in range(40))),
        ("html_text", "html", "<div class='balance of the account'><br></div>\n" * 30),
        ("data_chars", "json", '{"a": [' + "\n".join(f'"{n}",' for n in range(2000)) + "]}"),
        ("data_unique_words", "json", '{"balance": "a"}\n' * 40),
        ("lines", "py", "x = 1\n"),
    ],
)
def test_opencoder_drops_what_it_is_for(rule: str, form: str, text: str) -> None:
    assert rule in failed(text, form, "opencoder")


def test_languages_have_limits_of_their_own() -> None:
    digits = "INSERT INTO accounts VALUES\n" + "".join(
        f"(account, balance, {n * 10007}),\n" for n in range(30)
    )
    assert "digits" in failed(digits, "c", "opencoder")
    assert not {"digits", "sql_digits"} & set(failed(digits, "sql", "opencoder"))
    assert failed("short", "md", "opencoder") == []  # prose is not its business
    assert failed("x = 1\n" * 3, "py", "santacoder") == ["comments"]
    assert failed("x = 1;\n" * 3, "c", "santacoder") == []


def test_starcoder_asks_pages_for_text_and_files_for_hands() -> None:
    assert failed("<p>" + "a visible sentence " * 9 + "</p>", "html", "starcoder") == []
    assert failed("<p>" + "<br class='x'/>" * 30 + "text</p>", "html", "starcoder") == [
        "html_text",
        "html_text_chars",
    ]
    assert failed("// Code generated by hand. DO NOT EDIT.\n" + "f(a)\n" * 9, "go", "starcoder") == [
        "generated"
    ]
    assert "minified" in failed("f(aaaa);" * 20, "js", "starcoder")

//! How each language writes comments and strings: one row per language, found by a file's suffix.
//!
//! A row is all that the lexer knows. What no row can say (raw strings with a fence, here-documents,
//! regular expressions) is a flag, and `literals.rs` reads it. Where one suffix serves two languages,
//! `CONTESTED` asks the first 8 KiB of the text.

/// How a string literal hides its own closing quote.
#[derive(Clone, Copy, PartialEq)]
pub enum Escape {
    None,
    Backslash,
    /// Twice the quote means the quote.
    Doubled,
}

/// A kind of string literal; the longest opener of a language comes first.
#[derive(Clone, Copy)]
pub struct Quote {
    pub open: &'static str,
    pub close: &'static str,
    pub escape: Escape,
    /// Whether it may hold line ends. One that may not ends before its line end, closed or not.
    pub lines: bool,
}

const fn quote(mark: &'static str, escape: Escape, lines: bool) -> Quote {
    Quote {
        open: mark,
        close: mark,
        escape,
        lines,
    }
}

const DOUBLE: Quote = quote("\"", Escape::Backslash, false);
const SINGLE: Quote = quote("'", Escape::Backslash, false);
const DOUBLE_LINES: Quote = quote("\"", Escape::Backslash, true);
const SINGLE_LINES: Quote = quote("'", Escape::Backslash, true);
const BACKTICK: Quote = quote("`", Escape::Backslash, true);
const RAW_BACKTICK: Quote = quote("`", Escape::None, true);
const SINGLE_PLAIN: Quote = quote("'", Escape::None, true);
const DOUBLE_DOUBLED: Quote = quote("\"", Escape::Doubled, true);
const SINGLE_DOUBLED: Quote = quote("'", Escape::Doubled, true);
const SINGLE_DOUBLED_LINE: Quote = quote("'", Escape::Doubled, false);
const DOUBLE_DOUBLED_LINE: Quote = quote("\"", Escape::Doubled, false);
const TRIPLE_DOUBLE: Quote = quote("\"\"\"", Escape::Backslash, true);
const TRIPLE_SINGLE: Quote = quote("'''", Escape::Backslash, true);
const VERBATIM: Quote = Quote {
    open: "@\"",
    close: "\"",
    escape: Escape::Doubled,
    lines: true,
};

/// What a row cannot say in strings.
pub mod flags {
    pub const RUST_RAW: u32 = 1; // r#"…"#
    pub const CPP_RAW: u32 = 1 << 1; // R"fence(…)fence"
    pub const LUA_LONG: u32 = 1 << 2; // [==[…]==], and behind -- as a comment
    pub const HEREDOC: u32 = 1 << 3; // <<TAG up to a line TAG
    pub const REGEX: u32 = 1 << 4; // /…/ where an operand may stand
    pub const CHAR: u32 = 1 << 5; // 'x' is one character; any other apostrophe is none
    pub const POD: u32 = 1 << 6; // =word … =cut at line starts
    pub const RUBY: u32 = 1 << 7; // =begin … =end, %w(…), ?c
    pub const PERL: u32 = 1 << 8; // q(…), m{…}, s/…/…/, $' and the like
    pub const DOLLAR_QUOTE: u32 = 1 << 9; // $tag$ … $tag$
    pub const LISP_CHAR: u32 = 1 << 10; // #\x
    pub const DOLLAR_CHAR: u32 = 1 << 11; // $x
    pub const PROLOG_CHAR: u32 = 1 << 12; // 0'x
    pub const MARK_BEHIND_SPACE: u32 = 1 << 13; // a line comment begins a line or follows white space
    pub const DOCSTRING: u32 = 1 << 14; // a string alone in its statement is a comment
    pub const TRANSPOSE: u32 = 1 << 15; // ' behind an operand is an operator
    pub const BACKSLASH: u32 = 1 << 16; // \x outside of strings is x itself
    pub const DASHES: u32 = 1 << 17; // -- is a comment unless it begins an operator
    pub const PHP: u32 = 1 << 18; // text outside of <? … ?> is not code
    pub const PREPROCESSOR: u32 = 1 << 19; // lines that begin with #
    pub const BODIES: u32 = 1 << 20; // a function is a body { behind parameters )
    pub const DIGIT_QUOTES: u32 = 1 << 21; // 1'000'000
    pub const QUOTE_BEHIND_MARK: u32 = 1 << 22; // a quote behind a letter is an apostrophe
    pub const BALANCED: u32 = 1 << 23; // brackets outside of strings and comments pair up in valid files
    pub const MINIFIES: u32 = 1 << 24; // line ends are optional and tools remove them
    pub const PYTHON: u32 = 1 << 25; // statements end with lines, blocks by indentation
    pub const GO: u32 = 1 << 26;
    pub const HTML: u32 = 1 << 27; // markup around a text to be read
    pub const DATA: u32 = 1 << 28; // holds data, not instructions
    pub const COLON_SLASHES: u32 = 1 << 29; // :// begins no comment
    pub const TEMPLATES: u32 = 1 << 30; // only `…` may hold code
}
use flags::*;

/// One language.
pub struct Syntax {
    pub name: &'static str,
    pub formats: &'static [&'static str],
    pub line: &'static [&'static str],
    pub blocks: &'static [(&'static str, &'static str)],
    pub nested: bool,
    pub quotes: &'static [Quote],
    /// What opens code inside of a string with backslashes, up to the bracket that closes it; in a language
    /// with templates, inside of these alone.
    pub interpolation: &'static str,
    pub flags: u32,
    /// Words that open a function, an import or a class (the latter two where a line begins with them).
    pub functions: &'static [&'static str],
    pub imports: &'static [&'static str],
    pub classes: &'static [&'static str],
    /// What printing begins with.
    pub prints: &'static [&'static str],
}

impl Syntax {
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether the language says what opens functions, imports and classes.
    pub const fn declares(&self) -> bool {
        self.has(BODIES) || !self.functions.is_empty()
    }
}

const NONE: Syntax = Syntax {
    name: "",
    formats: &[],
    line: &[],
    blocks: &[],
    nested: false,
    quotes: &[],
    interpolation: "",
    flags: 0,
    functions: &[],
    imports: &[],
    classes: &[],
    prints: &[],
};

/// `//`, `/* */`, and "…" with backslashes: the family of C.
const C_LIKE: Syntax = Syntax {
    line: &["//"],
    blocks: &[("/*", "*/")],
    quotes: &[DOUBLE, SINGLE],
    ..NONE
};

/// `#` and strings with backslashes.
const HASH: Syntax = Syntax {
    line: &["#"],
    quotes: &[DOUBLE_LINES, SINGLE_LINES],
    ..NONE
};

const MARKUP: Syntax = Syntax {
    blocks: &[("<!--", "-->")],
    ..NONE
};

const C_CLASSES: &[&str] = &["struct", "class", "union", "enum"];

#[rustfmt::skip]
pub static LANGUAGES: &[Syntax] = &[
    Syntax {
        name: "python", formats: &["py", "pyi", "pyw", "pyx", "pxd"],
        line: &["#"], quotes: &[TRIPLE_DOUBLE, TRIPLE_SINGLE, DOUBLE, SINGLE],
        flags: PYTHON | DOCSTRING | BALANCED,
        functions: &["def"], imports: &["import", "from"], classes: &["class"], prints: &["print"], ..NONE
    },
    Syntax {
        name: "c", formats: &["c", "h"], flags: PREPROCESSOR | BODIES,
        classes: C_CLASSES, prints: &["printf", "fprintf"], ..C_LIKE
    },
    Syntax {
        name: "c++", formats: &["cc", "cpp", "cxx", "c++", "hh", "hpp", "hxx", "ipp", "inl", "tpp", "cu", "cuh"],
        flags: PREPROCESSOR | BODIES | CPP_RAW | DIGIT_QUOTES,
        classes: C_CLASSES, prints: &["printf", "fprintf", "cout", "cerr"], ..C_LIKE
    },
    Syntax {
        name: "objective-c", formats: &[], flags: PREPROCESSOR | BODIES,
        classes: &["@interface", "@implementation"], prints: &["NSLog", "printf"], ..C_LIKE
    },
    Syntax {
        name: "java", formats: &["java"], quotes: &[TRIPLE_DOUBLE, DOUBLE, SINGLE], flags: BODIES | BALANCED,
        imports: &["import"], classes: &["class", "interface", "enum"], prints: &["System.out.print"], ..C_LIKE
    },
    Syntax {
        name: "c#", formats: &["cs", "csx"], quotes: &[TRIPLE_DOUBLE, VERBATIM, DOUBLE, SINGLE],
        flags: BODIES | PREPROCESSOR,
        imports: &["using"], classes: &["class", "interface", "struct", "enum"],
        prints: &["Console.WriteLine", "Console.Write"], ..C_LIKE
    },
    Syntax {
        name: "javascript", formats: &["js", "mjs", "cjs", "jsx"], quotes: &[DOUBLE, SINGLE, BACKTICK], interpolation: "${",
        flags: REGEX | TEMPLATES | BODIES | MINIFIES | BALANCED,
        imports: &["import"], classes: &["class"], prints: &["console.log"], ..C_LIKE
    },
    Syntax {
        name: "typescript", formats: &["ts", "tsx", "mts", "cts"], quotes: &[DOUBLE, SINGLE, BACKTICK], interpolation: "${",
        flags: REGEX | TEMPLATES | BODIES | BALANCED,
        imports: &["import"], classes: &["class", "interface"], prints: &["console.log"], ..C_LIKE
    },
    Syntax {
        name: "go", formats: &["go"], quotes: &[DOUBLE, SINGLE, RAW_BACKTICK], flags: GO | BALANCED,
        functions: &["func"], imports: &["import"], classes: &["type"], prints: &["fmt.Print"], ..C_LIKE
    },
    Syntax {
        name: "rust", formats: &["rs"], nested: true, quotes: &[DOUBLE_LINES], flags: RUST_RAW | CHAR | BALANCED,
        functions: &["fn"], imports: &["use"], classes: &["struct", "enum", "trait"], prints: &["println"], ..C_LIKE
    },
    Syntax { name: "kotlin", formats: &["kt", "kts"], nested: true, quotes: &[TRIPLE_DOUBLE, DOUBLE, SINGLE], interpolation: "${",
        functions: &["fun"], imports: &["import"], classes: &["class", "interface", "object"], prints: &["println"], ..C_LIKE },
    Syntax { name: "scala", formats: &["scala", "sc"], nested: true, quotes: &[TRIPLE_DOUBLE, DOUBLE], flags: CHAR,
        functions: &["def"], imports: &["import"], classes: &["class", "object", "trait"], prints: &["println"], ..C_LIKE },
    Syntax { name: "swift", formats: &["swift"], nested: true, quotes: &[TRIPLE_DOUBLE, DOUBLE],
        functions: &["func", "init"], imports: &["import"], classes: &["class", "struct", "enum", "protocol"], prints: &["print"], ..C_LIKE },
    Syntax { name: "dart", formats: &["dart"], quotes: &[TRIPLE_DOUBLE, TRIPLE_SINGLE, DOUBLE, SINGLE],
        flags: BODIES, imports: &["import"], classes: &["class"], prints: &["print"], ..C_LIKE },
    Syntax { name: "groovy", formats: &["groovy", "gradle"], quotes: &[TRIPLE_DOUBLE, TRIPLE_SINGLE, DOUBLE, SINGLE], ..C_LIKE },
    Syntax { name: "d", formats: &["d"], blocks: &[("/*", "*/"), ("/+", "+/")], quotes: &[DOUBLE_LINES, SINGLE, RAW_BACKTICK], ..C_LIKE },
    Syntax { name: "zig", formats: &["zig"], ..C_LIKE },
    Syntax { name: "vala", formats: &["vala"], quotes: &[TRIPLE_DOUBLE, DOUBLE, SINGLE], ..C_LIKE },
    Syntax { name: "solidity", formats: &["sol"], ..C_LIKE },
    Syntax { name: "shader", formats: &["glsl", "hlsl", "frag", "vert", "comp", "metal", "wgsl"], ..C_LIKE },
    Syntax { name: "protocol buffers", formats: &["proto", "thrift", "capnp"], flags: DATA, ..C_LIKE },
    Syntax {
        name: "php", formats: &["php", "php3", "php4", "php5", "phtml", "phps"], line: &["//", "#"],
        quotes: &[DOUBLE_LINES, SINGLE_LINES], flags: PHP | HEREDOC | BALANCED,
        functions: &["function", "fn"], imports: &["use", "require", "require_once", "include", "include_once"],
        classes: &["class", "interface", "trait"], prints: &["echo", "print"], ..C_LIKE
    },
    Syntax {
        name: "ruby", formats: &["rb", "rake", "gemspec", "ru"], quotes: &[DOUBLE_LINES, SINGLE_LINES, BACKTICK], interpolation: "#{",
        flags: HEREDOC | REGEX | RUBY,
        functions: &["def"], imports: &["require", "require_relative", "include", "extend"],
        classes: &["class", "module"], prints: &["puts"], ..HASH
    },
    Syntax {
        name: "perl", formats: &["pl", "pm", "t", "perl"], quotes: &[DOUBLE_LINES, SINGLE_LINES, BACKTICK],
        flags: HEREDOC | REGEX | PERL | POD,
        functions: &["sub"], imports: &["use", "require"], classes: &["package"], prints: &["print", "say"], ..HASH
    },
    Syntax {
        name: "prolog", formats: &["prolog", "pro", "plt"], line: &["%"], blocks: &[("/*", "*/")],
        quotes: &[DOUBLE_LINES, SINGLE_LINES, BACKTICK], flags: PROLOG_CHAR, ..NONE
    },
    Syntax {
        name: "lua", formats: &["lua", "luau"], line: &["--"], quotes: &[DOUBLE, SINGLE], flags: LUA_LONG | BALANCED,
        functions: &["function"], prints: &["print"], ..NONE
    },
    Syntax {
        name: "haskell", formats: &["hs", "hsc", "purs", "elm", "agda", "idr"], blocks: &[("{-", "-}")], nested: true,
        quotes: &[DOUBLE], flags: CHAR | DASHES, imports: &["import"], ..NONE
    },
    Syntax {
        name: "lean", formats: &["lean"], line: &["--"], blocks: &[("/-", "-/")], nested: true, quotes: &[DOUBLE_LINES],
        flags: CHAR, imports: &["import"], ..NONE
    },
    Syntax {
        name: "ocaml", formats: &["ml", "mli", "hl", "mll", "mly", "sml", "sig"], blocks: &[("(*", "*)")], nested: true,
        quotes: &[DOUBLE_LINES], flags: CHAR, ..NONE
    },
    Syntax {
        name: "f#", formats: &["fs", "fsi", "fsx"], line: &["//"], blocks: &[("(*", "*)")], nested: true,
        quotes: &[TRIPLE_DOUBLE, VERBATIM, DOUBLE_LINES], flags: CHAR, imports: &["open"], ..NONE
    },
    Syntax { name: "coq", formats: &["v", "rocq"], blocks: &[("(*", "*)")], nested: true, quotes: &[DOUBLE_DOUBLED], ..NONE },
    Syntax { name: "isabelle", formats: &["thy"], blocks: &[("(*", "*)")], nested: true, quotes: &[DOUBLE_LINES], ..NONE },
    Syntax { name: "metamath", formats: &["mm"], blocks: &[("$(", "$)")], ..NONE },
    Syntax { name: "verilog", formats: &["sv", "svh", "vh"], quotes: &[DOUBLE], ..C_LIKE },
    Syntax { name: "vhdl", formats: &["vhd", "vhdl"], line: &["--"], quotes: &[DOUBLE_DOUBLED_LINE], flags: CHAR, ..NONE },
    Syntax { name: "ada", formats: &["adb", "ads", "ada"], line: &["--"], quotes: &[DOUBLE_DOUBLED_LINE], flags: CHAR, ..NONE },
    Syntax {
        name: "pascal", formats: &["pas", "dpr", "lpr"], line: &["//"], blocks: &[("{", "}"), ("(*", "*)")],
        quotes: &[SINGLE_DOUBLED_LINE], functions: &["function", "procedure"], imports: &["uses"], ..NONE
    },
    Syntax {
        name: "lisp", formats: &["lisp", "lsp", "cl", "asd", "el", "scm", "ss", "rkt", "sld", "clj", "cljs", "cljc", "edn"],
        line: &[";"], blocks: &[("#|", "|#")], nested: true, quotes: &[DOUBLE_LINES], flags: LISP_CHAR | BACKSLASH | BALANCED,
        functions: &["defun", "defmacro", "defmethod", "define", "defn"], ..NONE
    },
    Syntax {
        name: "erlang", formats: &["erl", "hrl", "yrl", "xrl", "escript"], line: &["%"], quotes: &[TRIPLE_DOUBLE, DOUBLE_LINES, SINGLE],
        flags: DOLLAR_CHAR | BALANCED, ..NONE
    },
    Syntax {
        name: "elixir", formats: &["ex", "exs"], quotes: &[TRIPLE_DOUBLE, TRIPLE_SINGLE, DOUBLE_LINES, SINGLE_LINES],
        interpolation: "#{", functions: &["def", "defp", "defmacro"], imports: &["import", "alias", "use", "require"], classes: &["defmodule"],
        prints: &["IO.puts"], ..HASH
    },
    Syntax {
        name: "shell", formats: &["sh", "bash", "zsh", "ksh", "bats"], quotes: &[DOUBLE_LINES, SINGLE_PLAIN],
        interpolation: "$(",
        flags: HEREDOC | BACKSLASH | MARK_BEHIND_SPACE, prints: &["echo", "printf"], ..HASH
    },
    Syntax { name: "make", formats: &["mk", "mak", "make"], line: &["#"], flags: BACKSLASH, ..NONE },
    Syntax { name: "cmake", formats: &["cmake"], line: &["#"], blocks: &[("#[[", "]]")], quotes: &[DOUBLE_LINES], ..NONE },
    Syntax { name: "awk", formats: &["awk"], line: &["#"], quotes: &[DOUBLE], flags: REGEX, ..NONE },
    Syntax { name: "tcl", formats: &["tcl"], line: &["#"], quotes: &[DOUBLE_LINES], flags: BACKSLASH | MARK_BEHIND_SPACE, ..NONE },
    Syntax { name: "powershell", formats: &["ps1", "psm1", "psd1"], line: &["#"], blocks: &[("<#", "#>")],
        quotes: &[DOUBLE_DOUBLED, SINGLE_DOUBLED], functions: &["function"], ..NONE },
    Syntax { name: "r", formats: &["r"], functions: &["function"], imports: &["library", "require"], prints: &["print", "cat"], ..HASH },
    Syntax { name: "julia", formats: &["jl"], line: &["#"], blocks: &[("#=", "=#")], nested: true, interpolation: "$(",
        quotes: &[TRIPLE_DOUBLE, DOUBLE_LINES], flags: CHAR, functions: &["function"], imports: &["using", "import"],
        classes: &["struct"], prints: &["println"] },
    Syntax { name: "nim", formats: &["nim"], line: &["#"], blocks: &[("#[", "]#")], nested: true,
        quotes: &[TRIPLE_DOUBLE, DOUBLE], flags: CHAR, functions: &["proc"], ..NONE },
    Syntax { name: "octave", formats: &["m"], line: &["%", "#"], blocks: &[("%{\n", "%}"), ("#{\n", "#}")],
        quotes: &[DOUBLE, SINGLE_DOUBLED_LINE], flags: TRANSPOSE, functions: &["function"], prints: &["disp", "printf", "fprintf"], ..NONE },
    Syntax { name: "fortran", formats: &["f90", "f95", "f03", "f08"], line: &["!"],
        quotes: &[DOUBLE_DOUBLED_LINE, SINGLE_DOUBLED_LINE], functions: &["subroutine", "function"], imports: &["use"], ..NONE },
    Syntax { name: "visual basic", formats: &["vb", "vbs", "bas"], line: &["'"], quotes: &[DOUBLE_DOUBLED_LINE], ..NONE },
    Syntax { name: "sql", formats: &["sql", "psql", "plsql", "ddl"], line: &["--"], blocks: &[("/*", "*/")],
        quotes: &[SINGLE_DOUBLED, DOUBLE_DOUBLED], flags: DOLLAR_QUOTE, ..NONE },
    Syntax { name: "assembler", formats: &["s", "asm", "nasm"], line: &["//", ";", "# "], blocks: &[("/*", "*/")],
        quotes: &[DOUBLE], flags: PREPROCESSOR, ..NONE },
    Syntax { name: "html", formats: &["html", "htm", "xhtml", "vue", "svelte"], flags: HTML, ..MARKUP },
    Syntax { name: "css", formats: &["css"], line: &[], flags: MINIFIES | DATA | BALANCED, ..C_LIKE },
    Syntax { name: "scss", formats: &["scss", "less"], flags: DATA | COLON_SLASHES, ..C_LIKE },
    Syntax { name: "json", formats: &["json", "jsonl", "ndjson", "geojson", "webmanifest"], quotes: &[DOUBLE], flags: DATA | BALANCED, ..NONE },
    Syntax { name: "yaml", formats: &["yaml", "yml"], quotes: &[DOUBLE, SINGLE_DOUBLED_LINE],
        flags: DATA | MARK_BEHIND_SPACE | QUOTE_BEHIND_MARK, ..HASH },
    Syntax { name: "toml", formats: &["toml"], quotes: &[TRIPLE_DOUBLE, TRIPLE_SINGLE, DOUBLE, SINGLE_DOUBLED_LINE],
        flags: DATA | QUOTE_BEHIND_MARK, ..HASH },
    Syntax { name: "ini", formats: &["ini", "cfg", "conf", "properties"], line: &["#", ";"], quotes: &[DOUBLE],
        flags: DATA | MARK_BEHIND_SPACE | QUOTE_BEHIND_MARK, ..NONE },
    Syntax { name: "xml", formats: &["xml", "xsl", "xslt", "xsd", "svg", "rdf", "xlf", "dtd", "plist", "csproj"], flags: DATA, ..MARKUP },
    Syntax { name: "table", formats: &["csv", "tsv"], flags: DATA, ..NONE },
    Syntax { name: "graphql", formats: &["graphql", "gql"], quotes: &[TRIPLE_DOUBLE, DOUBLE], flags: DATA, ..HASH },
    Syntax { name: "asn.1", formats: &["asn1", "asn"], line: &["--"], blocks: &[("/*", "*/")], quotes: &[DOUBLE_DOUBLED_LINE], flags: DATA, ..NONE },
    Syntax { name: "tex", formats: &["tex", "sty", "cls", "dtx", "bib"], line: &["%"], flags: BACKSLASH, ..NONE },
];

/// Suffixes of two languages: which words near the beginning tell the second from the first.
const CONTESTED: &[(&str, &[&str], &str)] = &[
    ("pl", &[":- ", ":-\n"], "prolog"),
    ("v", &["endmodule", "\nmodule ", "`timescale"], "verilog"),
    (
        "m",
        &["#import", "#include", "@interface", "@implementation"],
        "objective-c",
    ),
    (
        "mm",
        &["#import", "#include", "@interface", "@implementation"],
        "objective-c",
    ),
    ("ts", &["<!DOCTYPE TS"], "xml"),
];
const LOOKED_AT: usize = 8192;

/// The language of a text by its format (a suffix, in any case) and, for a shared suffix, its beginning.
pub fn syntax(format: &str, text: &str) -> Option<&'static Syntax> {
    let is = |other: &&str| other.eq_ignore_ascii_case(format);
    let head = &text.as_bytes()[..text.len().min(LOOKED_AT)];
    for (suffix, words, name) in CONTESTED {
        let told = |word: &&str| head.windows(word.len()).any(|part| part == word.as_bytes());
        if is(suffix) && words.iter().any(told) {
            return LANGUAGES.iter().find(|syntax| syntax.name == *name);
        }
    }
    LANGUAGES
        .iter()
        .find(|syntax| syntax.formats.iter().any(is))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_suffix_is_claimed_twice_and_every_opener_is_ascii() {
        let mut seen = std::collections::HashSet::new();
        for syntax in LANGUAGES {
            for format in syntax.formats {
                assert!(seen.insert(format), "{format} is in two rows");
            }
            let openers = syntax.line.iter().copied();
            let blocks = syntax
                .blocks
                .iter()
                .flat_map(|(open, close)| [*open, *close]);
            let quotes = syntax.quotes.iter().flat_map(|q| [q.open, q.close]);
            for mark in openers.chain(blocks).chain(quotes) {
                assert!(
                    !mark.is_empty() && mark.is_ascii(),
                    "{}: {mark:?}",
                    syntax.name
                );
            }
        }
        for (suffix, _, name) in CONTESTED {
            assert!(seen.contains(suffix));
            assert!(LANGUAGES.iter().any(|syntax| syntax.name == *name));
        }
    }

    #[test]
    fn a_shared_suffix_is_told_by_the_text() {
        let name = |format, text| syntax(format, text).map(|syntax| syntax.name);
        assert_eq!(name("pl", "use strict;\n"), Some("perl"));
        assert_eq!(name("pl", ":- module(a, [b/1]).\n"), Some("prolog"));
        assert_eq!(
            name("v", "Lemma a : True.\nProof. exact I. Qed.\n"),
            Some("coq")
        );
        assert_eq!(name("v", "\nmodule a; endmodule\n"), Some("verilog"));
        assert_eq!(name("PY", ""), Some("python"));
        assert_eq!(name("md", ""), None);
    }
}

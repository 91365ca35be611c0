//! Counts what the lexer finds: characters of comments and strings, and what each line of code is.
//!
//! A line is what newlines cut. A line of code has something visible that is no comment; shares of lines
//! are of these. Brackets are matched on a stack of a byte each, which also says what opened a bracket.

use super::lexer::{CLASS, SPACE, Sink, is_word};
use super::syntax::{Syntax, flags::*};

const LONG_WORD: usize = 20; // characters; OpenCoder, long words of strings
const LONG_STRING: usize = 20; // words; OpenCoder, long strings
const PROMPTS: [&str; 3] = ["todo", "fixme", "your code here"]; // OpenCoder, prompt comments
const TEST_NAMES: [&[u8]; 4] = [b"Test", b"Benchmark", b"Fuzz", b"Example"]; // Go's package testing

// What an opening bracket is, in a byte: its kind and, for a round one, what stood before it.
const ROUND: u8 = 1;
const SQUARE: u8 = 2;
const CURLY: u8 = 3;
const KINDS: u8 = 3;
const CALL: u8 = 4;
const MAIN: u8 = 8;

/// Words before a parenthesis that no body of a function follows.
const CONTROL: &[&[u8]] = &[
    b"if",
    b"for",
    b"while",
    b"switch",
    b"catch",
    b"foreach",
    b"using",
    b"lock",
    b"fixed",
    b"return",
    b"with",
    b"synchronized",
    b"elif",
    b"defined",
    b"sizeof",
    b"do",
    b"else",
];

/// Buffers reused from text to text: a hash per line and a byte per open bracket.
#[derive(Default)]
pub struct Scratch {
    pub lines: Vec<u64>,
    stack: Vec<u8>,
}

/// Totals over a text; characters are code points.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Counts {
    pub comment_chars: u64,
    pub string_chars: u64,
    pub long_word_chars: u64,
    pub hex_chars: u64,
    pub code_lines: u64,
    pub all_lines: u64,
    pub prompt_lines: u64,
    pub long_string_lines: u64,
    pub assert_lines: u64,
    pub import_lines: u64,
    pub print_lines: u64,
    pub pass_lines: u64,
    pub preprocessor_lines: u64,
    pub declaration_lines: u64,
    pub functions: u64,
    pub trivial_functions: u64,
    pub assignments: u64,
    pub mains: u64,
    pub unbalanced: bool,
    pub test_functions: u64,
    pub imports_testing: bool,
}

/// What is known of the line so far.
#[derive(Default)]
struct Line {
    start: usize,
    code: bool,
    begun: bool, // a token of code has been seen
    long_string: bool,
    prompt: bool,
    assert: bool,
    import: bool,
    print: bool,
    pass: bool,
    preprocessor: bool,
    declaration: bool,
}

/// Python: a `def` whose body might be one `return`.
#[derive(Default)]
struct Def {
    indent: usize,
    /// 0: none is open; 1: its header has been seen; 2: and a return behind it.
    stage: u8,
    on_line: bool,
}

pub struct Tally<'a> {
    text: &'a str,
    ascii: bool,
    syntax: &'a Syntax,
    scratch: &'a mut Scratch,
    pub counts: Counts,
    line: Line,
    word: (usize, usize),
    /// What the last parenthesis to close was, while a body may still follow it.
    parameters: u8,
    def: Def,
    continued: bool,
}

impl<'a> Tally<'a> {
    pub fn new(
        text: &'a str,
        ascii: bool,
        syntax: &'a Syntax,
        scratch: &'a mut Scratch,
    ) -> Tally<'a> {
        scratch.lines.clear();
        scratch.stack.clear();
        Tally {
            text,
            ascii,
            syntax,
            scratch,
            counts: Counts::default(),
            line: Line::default(),
            word: (0, 0),
            parameters: 0,
            def: Def::default(),
            continued: false,
        }
    }

    /// The totals, once the text is at its end.
    pub fn finish(mut self) -> Counts {
        if self.line.start < self.text.len() {
            self.end_line(self.text.len());
        }
        self.counts.trivial_functions += u64::from(self.def.stage == 2);
        self.counts.unbalanced |= !self.scratch.stack.is_empty();
        self.counts
    }

    fn chars(&self, start: usize, end: usize) -> u64 {
        if self.ascii {
            return (end - start) as u64;
        }
        let bytes = &self.text.as_bytes()[start..end];
        bytes.iter().filter(|&&b| b & 0xC0 != 0x80).count() as u64
    }

    fn end_line(&mut self, at: usize) {
        let line = std::mem::take(&mut self.line);
        self.line.start = at + 1;
        let counts = &mut self.counts;
        counts.all_lines += 1;
        counts.prompt_lines += u64::from(line.prompt);
        if line.code {
            counts.code_lines += 1;
            counts.long_string_lines += u64::from(line.long_string);
            counts.assert_lines += u64::from(line.assert);
            counts.import_lines += u64::from(line.import);
            counts.print_lines += u64::from(line.print);
            counts.pass_lines += u64::from(line.pass);
            counts.preprocessor_lines += u64::from(line.preprocessor);
            counts.declaration_lines += u64::from(line.declaration);
            let visible = self.text.as_bytes()[line.start..at].trim_ascii();
            if visible.len() > 1 && visible != b"}," {
                self.scratch.lines.push(xxhash_rust::xxh3::xxh3_64(visible));
            }
        }
    }

    /// A token of code begins: the line's first has a place of its own in some languages.
    #[inline]
    fn begin(&mut self, at: usize, word: &[u8]) {
        self.line.code = true;
        if std::mem::replace(&mut self.line.begun, true) {
            return;
        }
        if self.syntax.has(PYTHON) && self.scratch.stack.is_empty() && !self.continued {
            self.statement(at, word);
        }
    }

    /// Whether a name follows.
    fn named(&self, end: usize) -> bool {
        let bytes = &self.text.as_bytes()[end..];
        let next = bytes.iter().find(|&&b| CLASS[b as usize] != SPACE);
        next.is_some_and(|b| is_word(*b))
    }

    /// Python: a statement begins with `word`.
    fn statement(&mut self, at: usize, word: &[u8]) {
        let indent = at - self.line.start;
        let inside = indent > self.def.indent;
        self.counts.trivial_functions += u64::from(self.def.stage == 2 && !inside);
        self.def.stage = if self.def.stage == 1 && inside && word == b"return" {
            2
        } else {
            0
        };
        self.def.on_line = word == b"def" || word == b"async";
        if self.def.on_line {
            (self.def.indent, self.def.stage) = (indent, 1);
        }
    }

    /// The parts of a span between line ends; the line that each ends is ended.
    fn parts(&mut self, start: usize, end: usize, mut each: impl FnMut(&mut Self, usize, usize)) {
        let bytes = self.text.as_bytes();
        let mut from = start;
        while let Some(step) = bytes[from..end].iter().position(|&b| b == b'\n') {
            each(self, from, from + step);
            self.end_line(from + step);
            from += step + 1;
        }
        each(self, from, end);
    }
}

impl Sink for Tally<'_> {
    fn comment(&mut self, start: usize, end: usize) {
        self.counts.comment_chars += self.chars(start, end);
        // A docstring is a statement: a function that has one is not trivial.
        if self.syntax.has(PYTHON) && self.text.as_bytes()[start] != b'#' {
            self.statement(start, b"");
        }
        self.parts(start, end, |tally, start, end| {
            tally.line.prompt |= prompts(&tally.text.as_bytes()[start..end]);
        });
    }

    fn string(&mut self, start: usize, end: usize) {
        self.counts.string_chars += self.chars(start, end);
        self.begin(start, b"");
        self.counts.imports_testing |=
            self.syntax.has(GO) && &self.text.as_bytes()[start..end] == b"\"testing\"";
        self.word = (0, 0);
        self.parts(start, end, |tally, start, end| {
            let bytes = &tally.text.as_bytes()[start..end];
            let (tokens, visible) = tokens(bytes);
            tally.line.code |= visible;
            tally.line.begun |= visible;
            tally.line.long_string |= tokens > LONG_STRING;
            if bytes.len() > LONG_WORD {
                tally.counts.long_word_chars += long_words(&tally.text[start..end]);
            }
        });
    }

    #[inline]
    fn word(&mut self, start: usize, end: usize) {
        let bytes = self.text.as_bytes();
        let word = &bytes[start..end];
        let syntax = self.syntax;
        let first = !self.line.begun;
        self.begin(start, word);
        if first {
            self.line.import |= holds(syntax.imports, word);
            self.line.pass = word == b"pass";
            self.line.declaration |=
                self.line.import || holds(syntax.classes, word) || word == b"return";
        }
        // Named, or with a receiver as Go has it: `fn(u8)` and `func() {` are types and values.
        if holds(syntax.functions, word) && (first || self.named(end)) {
            self.counts.functions += 1;
            self.line.declaration = true;
        }
        if syntax.has(PYTHON) {
            self.line.pass |= word == b"pass";
            if self.def.on_line && word == b"return" {
                self.counts.trivial_functions += 1; // def f(x): return x
                (self.def.stage, self.def.on_line) = (0, false);
            }
        }
        if syntax.has(GO) && &bytes[self.word.0..self.word.1] == b"func" {
            self.counts.test_functions +=
                u64::from(TEST_NAMES.iter().any(|name| word.starts_with(name)));
        }
        self.line.print |= syntax
            .prints
            .iter()
            .any(|print| bytes[start..].starts_with(print.as_bytes()));
        if word.len() >= 6 {
            self.line.assert = self.line.assert || asserts(word);
        }
        if word.len() > 2
            && word[0] == b'0'
            && word[1] | 32 == b'x'
            && word[2..].iter().all(u8::is_ascii_hexdigit)
        {
            self.counts.hex_chars += word.len() as u64;
        }
        self.word = (start, end);
    }

    #[inline]
    fn mark(&mut self, at: usize) {
        let bytes = self.text.as_bytes();
        let b = bytes[at];
        let first = !self.line.begun;
        self.begin(at, b"");
        let word = std::mem::take(&mut self.word);
        match b {
            b'(' => self
                .scratch
                .stack
                .push(ROUND | callee(&bytes[word.0..word.1])),
            b'[' => self.scratch.stack.push(SQUARE),
            b'{' => {
                if self.parameters != 0 && self.syntax.has(BODIES) {
                    self.counts.functions += 1;
                    self.counts.mains += u64::from(self.parameters & MAIN != 0);
                    self.line.declaration = true;
                }
                self.parameters = 0;
                self.scratch.stack.push(CURLY);
            }
            b')' | b']' | b'}' => {
                let kind = match b {
                    b')' => ROUND,
                    b']' => SQUARE,
                    _ => CURLY,
                };
                let open = self.scratch.stack.last().copied().unwrap_or(0);
                if open & KINDS == kind {
                    self.scratch.stack.pop();
                    self.parameters = open & (CALL | MAIN);
                } else {
                    self.counts.unbalanced = true;
                }
            }
            b'=' => {
                self.parameters = 0;
                let before = bytes[..at].last().copied().unwrap_or(0);
                let behind = bytes.get(at + 1).copied().unwrap_or(0);
                let compares = b"=!<>~".contains(&before) || b"=>~".contains(&behind);
                let inside = self
                    .scratch
                    .stack
                    .last()
                    .is_some_and(|open| matches!(open & KINDS, ROUND | SQUARE));
                self.counts.assignments += u64::from(!compares && !inside);
            }
            b';' | b',' => self.parameters = 0,
            b'#' if first => self.line.preprocessor = self.syntax.has(PREPROCESSOR),
            _ => {}
        }
    }

    fn outside(&mut self, at: usize) {
        self.begin(at, b"");
    }

    #[inline]
    fn newline(&mut self, at: usize) {
        self.continued = at > 0 && self.text.as_bytes()[at - 1] == b'\\';
        self.end_line(at);
    }
}

fn holds(words: &[&str], word: &[u8]) -> bool {
    words.iter().any(|other| other.as_bytes() == word)
}

fn callee(word: &[u8]) -> u8 {
    match word {
        b"" => 0,
        b"main" => CALL | MAIN,
        word if CONTROL.contains(&word) => 0,
        _ => CALL,
    }
}

fn asserts(word: &[u8]) -> bool {
    word.windows(6)
        .any(|part| part[0] | 32 == b'a' && part.eq_ignore_ascii_case(b"assert"))
}

/// Whether a comment asks for work: one of `PROMPTS`, in any case, as whole words.
fn prompts(comment: &[u8]) -> bool {
    (0..comment.len()).any(|at| {
        matches!(comment[at] | 32, b't' | b'f' | b'y')
            && (at == 0 || !comment[at - 1].is_ascii_alphabetic())
            && PROMPTS.iter().any(|prompt| {
                let end = at + prompt.len();
                comment
                    .get(at..end)
                    .is_some_and(|part| part.eq_ignore_ascii_case(prompt.as_bytes()))
                    && comment.get(end).is_none_or(|b| !is_word(*b) || *b == b'_')
            })
    })
}

/// Runs of word bytes and runs of marks, without the quotes at the ends; and whether any byte is visible.
fn tokens(part: &[u8]) -> (usize, bool) {
    let quotes = |b: &u8| matches!(b, b'"' | b'\'' | b'`');
    let start = part.iter().take_while(|b| quotes(b)).count();
    let end = part.len() - part[start..].iter().rev().take_while(|b| quotes(b)).count();
    let mut count = 0;
    let mut last = SPACE;
    for &b in &part[start..end] {
        let class = CLASS[b as usize];
        count += usize::from(class != last && class != SPACE);
        last = class;
    }
    (count, count > 0 || start > 0)
}

/// Characters of words, as white space cuts them, that are long and no URL.
fn long_words(part: &str) -> u64 {
    let quotes = |c: char| matches!(c, '"' | '\'' | '`');
    let long = part
        .split_ascii_whitespace()
        .map(|word| word.trim_matches(quotes));
    long.filter(|word| {
        word.len() > LONG_WORD && !word.contains("http://") && !word.contains("https://")
    })
    .map(|word| word.chars().count())
    .filter(|&chars| chars > LONG_WORD)
    .sum::<usize>() as u64
}

/// Items that are not alone, counting every copy. Sorts `hashes`.
pub fn repeated(hashes: &mut [u64]) -> u64 {
    hashes.sort_unstable();
    let groups = hashes.chunk_by(|a, b| a == b);
    groups
        .filter(|group| group.len() > 1)
        .map(|group| group.len() as u64)
        .sum()
}

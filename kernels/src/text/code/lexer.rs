//! Cuts a source text into comments, strings and code, and the code into words and marks.
//!
//! One step per byte and no way back: what is not closed ends with its line or with the text, and a
//! construct that looks ahead before it is believed (a regular expression, a character, the end of a
//! here-document) looks at most a fixed distance, or a fixed number of times. Time is linear on any input.

use super::literals;
use super::syntax::{Escape, Quote, Syntax, flags::*};

pub const WORD: u8 = 1; // letters, digits, _ and everything beyond ASCII
pub const SPACE: u8 = 2;
const MARK: u8 = 0;

/// What each byte is in code.
pub static CLASS: [u8; 256] = {
    let mut class = [MARK; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80 {
            class[byte] = WORD;
        } else if matches!(b, b' ' | b'\t' | b'\r' | 0x0B | 0x0C) {
            class[byte] = SPACE;
        }
        byte += 1;
    }
    class
};

pub fn is_word(b: u8) -> bool {
    CLASS[b as usize] == WORD
}

/// Takes the parts of a text, which tile it but for the white space of the code. A comment and a string
/// hold their marks; neither is empty.
pub trait Sink {
    fn comment(&mut self, start: usize, end: usize);
    fn string(&mut self, start: usize, end: usize);
    fn word(&mut self, start: usize, end: usize);
    /// A visible byte of code that belongs to no word.
    fn mark(&mut self, at: usize);
    /// A visible byte of text around the code.
    fn outside(&mut self, at: usize);
    /// A line end in code.
    fn newline(&mut self, at: usize);
}

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Comment,
    String,
}

/// Multiplication as a function in HOL Light and OCaml, which opens and closes no comment.
const TIMES: &[u8] = b"(*)";
/// Here-documents that may be looked for in vain; each search is one read of the rest.
const VAIN_SEARCHES: u32 = 8;

pub struct Lexer<'a> {
    pub bytes: &'a [u8],
    pub syntax: &'a Syntax,
    /// The last visible byte of code, `"` for a string, 0 at the beginning.
    pub last: u8,
    /// The last word of code, if nothing visible followed it.
    pub word: &'a [u8],
    /// Nothing but white space and comments since the statement could have begun.
    pub fresh: bool,
    depth: usize,
    /// Tags of here-documents whose bodies begin with the next line.
    heredocs: Vec<(&'a [u8], bool)>,
    vain: u32,
    pub vain_regexes: u32,
    /// The next POD, once it has been looked for.
    pod: usize,
    triggers: [bool; 256],
}

/// Cut `text`, whole.
pub fn scan(text: &str, syntax: &Syntax, sink: &mut impl Sink) {
    Lexer {
        bytes: text.as_bytes(),
        syntax,
        last: 0,
        word: b"",
        fresh: true,
        depth: 0,
        heredocs: Vec::new(),
        vain: 0,
        vain_regexes: 0,
        pod: 0,
        triggers: triggers(syntax),
    }
    .run(sink);
}

/// The bytes with which a comment or a literal may begin.
fn triggers(syntax: &Syntax) -> [bool; 256] {
    let mut set = [false; 256];
    let blocks = syntax.blocks.iter().map(|(open, _)| *open);
    let quotes = syntax.quotes.iter().map(|quote| quote.open);
    for open in syntax.line.iter().copied().chain(blocks).chain(quotes) {
        set[open.as_bytes()[0] as usize] = true;
    }
    for (flag, bytes) in [
        (LUA_LONG, "["),
        (HEREDOC, "<"),
        (REGEX, "/"),
        (CHAR, "'"),
        (RUBY, "%?"),
        (PERL | RUBY, "$"),
        (DOLLAR_QUOTE, "$"),
        (DOLLAR_CHAR, "$"),
        (LISP_CHAR, "#"),
        (BACKSLASH, "\\"),
        (DASHES, "-"),
        (PHP, "?"),
    ] {
        for &byte in bytes.as_bytes() {
            set[byte as usize] |= syntax.has(flag);
        }
    }
    set
}

/// What stands at a trigger.
pub enum Found {
    Span(Kind, usize),
    /// Code up to here, whose bytes mean nothing by themselves.
    Code(usize),
}

impl<'a> Lexer<'a> {
    fn run(&mut self, sink: &mut impl Sink) {
        let bytes = self.bytes;
        let mut at = if self.syntax.has(PHP) {
            self.outside(0, sink)
        } else {
            self.line_start(0, sink)
        };
        while at < bytes.len() {
            let b = bytes[at];
            match CLASS[b as usize] {
                WORD => {
                    let end = self.word_end(at);
                    match literals::behind_word(self, at, end) {
                        Some((kind, end)) => {
                            let kind = self.docstring(kind, end);
                            at = self.emit(kind, at, end, sink);
                        }
                        None => {
                            sink.word(at, end);
                            (self.last, self.word) = (bytes[end - 1], &bytes[at..end]);
                            self.fresh = false;
                            at = end;
                        }
                    }
                }
                SPACE => at += 1,
                _ if b == b'\n' => {
                    sink.newline(at);
                    self.fresh = at == 0 || bytes[at - 1] != b'\\';
                    at = self.bodies(at + 1, sink);
                    at = self.line_start(at, sink);
                }
                _ => {
                    if self.triggers[b as usize] {
                        match self.found(at) {
                            Some(Found::Span(kind, end)) => {
                                at = self.emit(kind, at, end, sink);
                                continue;
                            }
                            Some(Found::Code(end)) => {
                                if self.syntax.has(PHP) && b == b'?' {
                                    at = self.outside(at, sink);
                                } else {
                                    (at..end).for_each(|at| sink.outside(at));
                                    (self.last, self.word, self.fresh) = (b'x', b"", false);
                                    at = end;
                                }
                                continue;
                            }
                            None => {}
                        }
                    }
                    match b {
                        b'(' | b'[' | b'{' => self.depth += 1,
                        b')' | b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                        _ => {}
                    }
                    sink.mark(at);
                    (self.last, self.word, self.fresh) = (b, b"", false);
                    at += 1;
                }
            }
        }
    }

    fn emit(&mut self, kind: Kind, start: usize, end: usize, sink: &mut impl Sink) -> usize {
        match kind {
            Kind::Comment => sink.comment(start, end),
            Kind::String => {
                sink.string(start, end);
                (self.last, self.word, self.fresh) = (b'"', b"", false);
            }
        }
        end
    }

    fn word_end(&self, start: usize) -> usize {
        let bytes = self.bytes;
        let mut end = start + 1;
        loop {
            while end < bytes.len() && is_word(bytes[end]) {
                end += 1;
            }
            let goes_on = self.syntax.has(DIGIT_QUOTES)
                && bytes[start].is_ascii_digit()
                && bytes.get(end) == Some(&b'\'')
                && bytes.get(end + 1).is_some_and(u8::is_ascii_hexdigit);
            if !goes_on {
                return end;
            }
            end += 1;
        }
    }

    /// What begins at `at`, a trigger: specials first, then comments, then quotes.
    fn found(&mut self, at: usize) -> Option<Found> {
        let bytes = self.bytes;
        let rest = &bytes[at..];
        let syntax = self.syntax;
        if let Some(found) = literals::special(self, at) {
            return Some(found);
        }
        for (open, close) in syntax.blocks {
            if rest.starts_with(open.as_bytes()) && !rest.starts_with(TIMES) {
                let end = block_end(bytes, at, open, close, syntax.nested);
                return Some(Found::Span(Kind::Comment, end));
            }
        }
        for open in syntax.line {
            if rest.starts_with(open.as_bytes()) && self.comment_may_begin(at) {
                return Some(Found::Span(Kind::Comment, line_end(bytes, at)));
            }
        }
        for quote in syntax.quotes {
            if rest.starts_with(quote.open.as_bytes()) && self.quote_may_begin(at) {
                let end = self.quoted_end(at, quote);
                let kind = self.docstring(Kind::String, end);
                return Some(Found::Span(kind, end));
            }
        }
        None
    }

    /// End of a quoted literal. One that POD would interrupt was not meant, and ends before it.
    fn quoted_end(&mut self, at: usize, quote: &Quote) -> usize {
        let open = self.syntax.interpolation;
        let plain =
            quote.close == "'" || quote.close.len() > 1 || quote.escape != Escape::Backslash;
        let template = quote.close == "`" || !self.syntax.has(TEMPLATES);
        let bytes = &self.bytes[..self.pod(at)];
        if open.is_empty() || plain || !template {
            quoted_end(bytes, at, quote)
        } else {
            literals::interpolated_end(bytes, at, quote, open.as_bytes())
        }
    }

    /// The line end before the next POD at or behind `at`, or the end. `at` never decreases, so that the
    /// text is searched once.
    fn pod(&mut self, at: usize) -> usize {
        if !self.syntax.has(POD) {
            return self.bytes.len();
        }
        if self.pod <= at {
            let mut from = at;
            self.pod = loop {
                match find(self.bytes, from, b"\n=") {
                    None => break self.bytes.len(),
                    Some(next) if self.bytes.get(next + 2).is_some_and(u8::is_ascii_lowercase) => {
                        break next;
                    }
                    Some(next) => from = next + 1,
                }
            };
        }
        self.pod
    }

    fn comment_may_begin(&self, at: usize) -> bool {
        let Some(&before) = self.bytes[..at].last() else {
            return true;
        };
        if self.syntax.has(MARK_BEHIND_SPACE) {
            return before == b'\n' || CLASS[before as usize] == SPACE || b";(&|".contains(&before);
        }
        let url = self.syntax.has(COLON_SLASHES) && before == b':';
        let variable = self.syntax.has(PERL) && matches!(before, b'$' | b'@');
        let attribute = self.syntax.has(PHP) && self.bytes[at..].starts_with(b"#[");
        !(url || variable || attribute)
    }

    fn quote_may_begin(&self, at: usize) -> bool {
        let Some(&before) = self.bytes[..at].last() else {
            return true;
        };
        if self.syntax.has(TRANSPOSE) && self.bytes[at] == b'\'' {
            return !is_word(before) && !b")]}'.".contains(&before);
        }
        !(self.syntax.has(QUOTE_BEHIND_MARK) && is_word(before))
    }

    /// A string that is a whole statement is a comment where the language has docstrings.
    fn docstring(&self, kind: Kind, end: usize) -> Kind {
        let alone =
            kind == Kind::String && self.syntax.has(DOCSTRING) && self.fresh && self.depth == 0;
        if !alone {
            return kind;
        }
        let rest = &self.bytes[end..];
        match rest.iter().find(|&&b| CLASS[b as usize] != SPACE) {
            None | Some(b'\n' | b'#') => Kind::Comment,
            Some(_) => kind,
        }
    }

    /// What only a line start can begin: POD and Ruby's =begin.
    fn line_start(&mut self, at: usize, sink: &mut impl Sink) -> usize {
        if self.bytes.get(at) != Some(&b'=') {
            return at;
        }
        match literals::at_line_start(self, at) {
            Some(end) => self.emit(Kind::Comment, at, end, sink),
            None => at,
        }
    }

    pub fn announce(&mut self, tag: &'a [u8], indented: bool) {
        if self.vain < VAIN_SEARCHES && self.heredocs.len() < VAIN_SEARCHES as usize {
            self.heredocs.push((tag, indented));
        }
    }

    /// The bodies of the here-documents that the line before `at` has announced.
    fn bodies(&mut self, mut at: usize, sink: &mut impl Sink) -> usize {
        for (tag, indented) in std::mem::take(&mut self.heredocs) {
            match literals::heredoc_end(self.bytes, at, tag, indented) {
                Some(end) if end > at => {
                    sink.string(at, end);
                    at = end;
                }
                _ => self.vain += 1,
            }
        }
        at
    }

    /// Text around the code of a PHP file: up to the next `<?`.
    fn outside(&mut self, mut at: usize, sink: &mut impl Sink) -> usize {
        let bytes = self.bytes;
        while at < bytes.len() && !bytes[at..].starts_with(b"<?") {
            match bytes[at] {
                b'\n' => sink.newline(at),
                b if CLASS[b as usize] == SPACE => {}
                _ => sink.outside(at),
            }
            at += 1;
        }
        let end = (at + 2).min(bytes.len());
        (at..end).for_each(|at| sink.outside(at));
        let named = bytes[end..].len() >= 3 && bytes[end..end + 3].eq_ignore_ascii_case(b"php");
        if named {
            (end..end + 3).for_each(|at| sink.outside(at));
        }
        (self.last, self.word, self.fresh) = (b';', b"", true);
        end + if named { 3 } else { 0 }
    }
}

pub fn line_end(bytes: &[u8], from: usize) -> usize {
    let step = bytes[from..].iter().position(|&b| b == b'\n');
    step.map_or(bytes.len(), |step| from + step)
}

/// Where `needle` begins at or behind `from`.
pub fn find(bytes: &[u8], from: usize, needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut at = from;
    while at + needle.len() <= bytes.len() {
        at += bytes[at..].iter().position(|&b| b == first)?;
        if bytes[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn block_end(bytes: &[u8], at: usize, open: &str, close: &str, nested: bool) -> usize {
    let (open, close) = (open.as_bytes(), close.as_bytes());
    let mut from = at + open.len();
    if !nested {
        return find(bytes, from, close).map_or(bytes.len(), |end| end + close.len());
    }
    let (first, last) = (open[0], close[0]);
    let mut depth = 1u64;
    while from < bytes.len() {
        let b = bytes[from];
        if b == first && bytes[from..].starts_with(TIMES) {
            from += TIMES.len();
        } else if b == last && bytes[from..].starts_with(close) {
            depth -= 1;
            from += close.len();
            if depth == 0 {
                return from;
            }
        } else if b == first && bytes[from..].starts_with(open) {
            depth += 1;
            from += open.len();
        } else {
            from += 1;
        }
    }
    bytes.len()
}

/// End of the literal that opens at `at`.
pub fn quoted_end(bytes: &[u8], at: usize, quote: &Quote) -> usize {
    let close = quote.close.as_bytes();
    let mut at = at + quote.open.len();
    while at < bytes.len() {
        let b = bytes[at];
        if b == b'\\' && quote.escape == Escape::Backslash {
            at += 2;
        } else if b == close[0] && bytes[at..].starts_with(close) {
            at += close.len();
            if quote.escape != Escape::Doubled || !bytes[at..].starts_with(close) {
                return at;
            }
            at += close.len();
        } else if b == b'\n' && !quote.lines {
            return at;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::super::syntax::LANGUAGES;
    use super::*;
    use proptest::prelude::*;

    /// What a sink is given, in order.
    #[derive(Default)]
    struct Parts(Vec<(usize, usize)>);

    impl Sink for Parts {
        fn comment(&mut self, start: usize, end: usize) {
            self.0.push((start, end));
        }
        fn string(&mut self, start: usize, end: usize) {
            self.0.push((start, end));
        }
        fn word(&mut self, start: usize, end: usize) {
            self.0.push((start, end));
        }
        fn mark(&mut self, at: usize) {
            self.0.push((at, at + 1));
        }
        fn outside(&mut self, at: usize) {
            self.0.push((at, at + 1));
        }
        fn newline(&mut self, at: usize) {
            self.0.push((at, at + 1));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn the_parts_tile_the_text(
            text in "[ab0xqmsRr'\"`\\\\/*#%({<\\[\\]>)}$=~!|?;:.,@ \t\n\r_\u{e9}\u{1F600}-]{0,60}"
        ) {
            for syntax in LANGUAGES {
                let mut parts = Parts::default();
                scan(&text, syntax, &mut parts);
                let mut at = 0;
                for (start, end) in parts.0 {
                    prop_assert!(at <= start && start < end && end <= text.len(), "{}", syntax.name);
                    let gap = &text.as_bytes()[at..start];
                    prop_assert!(gap.iter().all(|&b| CLASS[b as usize] == SPACE), "{}", syntax.name);
                    at = end;
                }
                let rest = &text.as_bytes()[at..];
                prop_assert!(rest.iter().all(|&b| CLASS[b as usize] == SPACE), "{}", syntax.name);
            }
        }

        #[test]
        fn spans_begin_and_end_between_characters(text in "\\PC{0,40}") {
            for syntax in LANGUAGES {
                let mut parts = Parts::default();
                scan(&text, syntax, &mut parts);
                for (start, end) in parts.0 {
                    // PHP reports what is outside of its code byte by byte.
                    let bytes = end - start == 1;
                    prop_assert!(bytes || text.is_char_boundary(start) && text.is_char_boundary(end), "{}", syntax.name);
                }
            }
        }
    }
}

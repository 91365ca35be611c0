//! The literals that no opener and closer describe, each language's own.

use super::lexer::{CLASS, Found, Kind, Lexer, SPACE, find, is_word, line_end, quoted_end};
use super::syntax::{Quote, flags::*};

/// How far a construct is looked at before it is believed.
const LONGEST_REGEX: usize = 1024;
const VAIN_REGEXES: u32 = 4096;
const LONGEST_CHAR: usize = 12;
const LONGEST_TAG: usize = 64;
const LONGEST_FENCE: usize = 16; // C++ allows as many, lex.string

/// A special literal at a trigger.
pub fn special<'a>(lexer: &mut Lexer<'a>, at: usize) -> Option<Found> {
    let bytes = lexer.bytes;
    let syntax = lexer.syntax;
    let rest = &bytes[at..];
    let string = |end: usize| Some(Found::Span(Kind::String, end));
    match bytes[at] {
        b'\\' if syntax.has(BACKSLASH) => {
            let escaped = rest.get(1).is_some_and(|b| b.is_ascii() && *b != b'\n');
            return escaped.then_some(Found::Code(at + 2));
        }
        b'[' if syntax.has(LUA_LONG) => return string(lua_long(bytes, at)?),
        b'-' if syntax.has(LUA_LONG) && rest.starts_with(b"--[") => {
            return Some(Found::Span(Kind::Comment, lua_long(bytes, at + 2)?));
        }
        b'-' if syntax.has(DASHES) && rest.starts_with(b"--") => {
            let dashes = rest.iter().take_while(|&&b| b == b'-').count();
            let operator = |b: &u8| b"!#$%&*+./<=>?@\\^|~:".contains(b);
            let comment = !rest.get(dashes).is_some_and(operator);
            return Some(if comment {
                Found::Span(Kind::Comment, line_end(bytes, at))
            } else {
                Found::Code(at + dashes)
            });
        }
        b'<' if syntax.has(HEREDOC) => {
            let (tag, indented, end) = heredoc(lexer, at)?;
            lexer.announce(tag, indented);
            return string(end);
        }
        b'/' if syntax.has(REGEX) && !rest.starts_with(b"//") && !rest.starts_with(b"/*") => {
            if !operand(lexer, at) || lexer.vain_regexes >= VAIN_REGEXES {
                return None;
            }
            let end = regex(bytes, at, syntax.has(RUBY));
            lexer.vain_regexes += u32::from(end.is_none());
            return string(end?);
        }
        b'\'' if syntax.has(CHAR) => return string(character(bytes, at)?),
        b'%' if syntax.has(RUBY) && operand(lexer, at) => {
            let letter = rest.get(1).is_some_and(|b| b"wWiIqQrsx".contains(b));
            let delimiter = at + 1 + usize::from(letter);
            let known = |b: &u8| b"([{<|!/".contains(b);
            let open = bytes.get(delimiter).is_some_and(known);
            return if open {
                string(delimited(bytes, delimiter))
            } else {
                None
            };
        }
        b'?' if syntax.has(RUBY) => {
            let value = rest
                .get(1)
                .is_some_and(|b| b.is_ascii_graphic() && *b != b'\\');
            let alone = rest.get(2).is_none_or(|b| !is_word(*b));
            return if value && alone && operand(lexer, at) {
                string(at + 2)
            } else {
                None
            };
        }
        b'?' if syntax.has(PHP) && rest.starts_with(b"?>") => return Some(Found::Code(at + 2)),
        b'$' if syntax.has(PERL | RUBY) => {
            let variable = rest
                .get(1)
                .is_some_and(|b| b"'\"`/;,.&!#%<>]-+:?|\\".contains(b));
            return variable.then_some(Found::Code(at + 2));
        }
        b'$' if syntax.has(DOLLAR_CHAR) => {
            // $x, $\n and $\^X.
            let escaped = usize::from(rest.get(1) == Some(&b'\\'));
            let control = usize::from(escaped == 1 && rest.get(2) == Some(&b'^'));
            let value = rest.get(1 + escaped + control)?;
            let ascii = value.is_ascii() && *value != b'\n';
            return if ascii {
                string(at + 2 + escaped + control)
            } else {
                None
            };
        }
        b'$' if syntax.has(DOLLAR_QUOTE) => {
            let tag = rest[1..]
                .iter()
                .take(LONGEST_TAG)
                .take_while(|&&b| is_word(b))
                .count();
            if rest.get(1 + tag) != Some(&b'$') || rest[1..].first().is_some_and(u8::is_ascii_digit)
            {
                return None;
            }
            let fence = &rest[..tag + 2];
            let end = find(bytes, at + fence.len(), fence).map(|end| end + fence.len());
            return string(end.unwrap_or(bytes.len()));
        }
        b'#' if syntax.has(LISP_CHAR) && rest.get(1) == Some(&b'\\') => {
            let value = rest.get(2).filter(|b| b.is_ascii() && **b != b'\n')?;
            let name = if is_word(*value) {
                rest[2..].iter().take_while(|&&b| is_word(b)).count()
            } else {
                1
            };
            return string(at + 2 + name);
        }
        _ => {}
    }
    None
}

/// A literal that a word opens: `r"…"`, `r#"…"#`, `R"x(…)x"`, `qw(…)`, `0'c`.
pub fn behind_word(lexer: &Lexer, start: usize, end: usize) -> Option<(Kind, usize)> {
    let bytes = lexer.bytes;
    let syntax = lexer.syntax;
    let word = &bytes[start..end];
    let next = *bytes.get(end)?;
    if word.len() > 3 {
        return None;
    }
    if syntax.has(DOCSTRING) && matches!(next, b'"' | b'\'') {
        let prefix = word.iter().all(|b| b"rRbBuUfFtT".contains(b));
        let quote = syntax
            .quotes
            .iter()
            .find(|quote| bytes[end..].starts_with(quote.open.as_bytes()))?;
        return prefix.then(|| (Kind::String, quoted_end(bytes, end, quote)));
    }
    if syntax.has(RUST_RAW) && matches!(next, b'"' | b'#') && matches!(word, b"r" | b"br" | b"cr") {
        let fence = bytes[end..].iter().take_while(|&&b| b == b'#').count();
        if bytes.get(end + fence) != Some(&b'"') {
            return None;
        }
        return Some((Kind::String, rust_raw(bytes, end + fence + 1, fence)));
    }
    if syntax.has(CPP_RAW) && next == b'"' && matches!(word, b"R" | b"LR" | b"uR" | b"UR" | b"u8R")
    {
        let fence = bytes[end + 1..]
            .iter()
            .take(LONGEST_FENCE + 1)
            .position(|&b| b == b'(')?;
        let close = [b")", &bytes[end + 1..end + 1 + fence], b"\""].concat();
        let stop = find(bytes, end + fence + 2, &close).map(|at| at + close.len());
        return Some((Kind::String, stop.unwrap_or(bytes.len())));
    }
    if syntax.has(PROLOG_CHAR) && word == b"0" && next == b'\'' {
        let value = *bytes.get(end + 1)?;
        let more = matches!(value, b'\\' | b'\'')
            && bytes.get(end + 2).is_some_and(|b| b.is_ascii_graphic());
        let stop = end + 2 + usize::from(more);
        return value.is_ascii().then_some((Kind::String, stop));
    }
    if syntax.has(PERL)
        && matches!(
            word,
            b"q" | b"qq" | b"qw" | b"qr" | b"m" | b"s" | b"tr" | b"y"
        )
    {
        return perl_quote(lexer, word, end);
    }
    None
}

/// A comment that begins with `=` at a line start: POD up to `=cut`, Ruby's up to `=end`.
pub fn at_line_start(lexer: &Lexer, at: usize) -> Option<usize> {
    let bytes = lexer.bytes;
    let close: &[u8] =
        if lexer.syntax.has(POD) && bytes.get(at + 1).is_some_and(u8::is_ascii_alphabetic) {
            b"\n=cut"
        } else if lexer.syntax.has(RUBY) && bytes[at..].starts_with(b"=begin") {
            b"\n=end"
        } else {
            return None;
        };
    if bytes[at..].starts_with(&close[1..]) {
        return Some(line_end(bytes, at));
    }
    let end = find(bytes, at, close).map(|close| line_end(bytes, close + 1));
    Some(end.unwrap_or(bytes.len()))
}

/// Whether an operand may begin here: behind an operator, a keyword or nothing, not behind a value. Behind
/// a Ruby or Perl word, white space on the left alone says so (`puts /x/`).
fn operand(lexer: &Lexer, at: usize) -> bool {
    const KEYWORDS: &[&[u8]] = &[
        b"return",
        b"typeof",
        b"case",
        b"in",
        b"of",
        b"if",
        b"unless",
        b"while",
        b"until",
        b"and",
        b"or",
        b"not",
        b"when",
        b"elsif",
        b"then",
        b"do",
        b"split",
        b"grep",
        b"map",
        b"join",
        b"delete",
        b"void",
        b"instanceof",
        b"x",
    ];
    let bytes = lexer.bytes;
    if lexer.last == 0 || !(is_word(lexer.last) || b")]}\"'".contains(&lexer.last)) {
        return true;
    }
    if KEYWORDS.contains(&lexer.word) {
        return true;
    }
    let space = |b: &u8| CLASS[*b as usize] == SPACE || *b == b'\n';
    let left = bytes[..at].last().is_some_and(space);
    let right = bytes.get(at + 1).is_none_or(|b| space(b) || *b == b'=');
    let begins = lexer.fresh || !lexer.word.is_empty();
    lexer.syntax.has(RUBY) && begins && left && !right
}

/// End of the regular expression that opens at `at`, with its flags; not too long, and on one line unless
/// its first line is empty, as an extended expression's is.
fn regex(bytes: &[u8], at: usize, extended: bool) -> Option<usize> {
    let lines = extended && bytes.get(at + 1) == Some(&b'\n');
    let mut class = false;
    let end = bytes.len().min(at + LONGEST_REGEX);
    let mut at = at + 1;
    while at < end {
        match bytes[at] {
            b'\\' => at += 1,
            b'\n' if !lines => return None,
            b'[' => class = true,
            b']' => class = false,
            b'/' if !class => {
                let flags = bytes[at + 1..]
                    .iter()
                    .take(8)
                    .take_while(|b| b.is_ascii_lowercase())
                    .count();
                return Some(at + 1 + flags);
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// End of `'x'`, `'\n'` or `'\u{1F600}'`; None for an apostrophe that opens no character.
fn character(bytes: &[u8], at: usize) -> Option<usize> {
    if at > 0 && is_word(bytes[at - 1]) {
        let byte_string = bytes[at - 1] == b'b' && (at < 2 || !is_word(bytes[at - 2]));
        if !byte_string {
            return None; // a prime: x'
        }
    }
    let value = *bytes.get(at + 1)?;
    if value == b'\\' {
        let from = at + 3; // behind what is escaped, which may be the quote
        let window = bytes.get(from..bytes.len().min(at + LONGEST_CHAR))?;
        let close = window
            .iter()
            .take_while(|&&b| b != b'\n')
            .position(|&b| b == b'\'')?;
        return Some(from + close + 1);
    }
    let width = match value {
        b'\'' | b'\n' => return None,
        0..0x80 => 1,
        0x80..0xE0 => 2,
        0xE0..0xF0 => 3,
        _ => 4,
    };
    (bytes.get(at + 1 + width) == Some(&b'\'')).then_some(at + width + 2)
}

/// End of the string that opens at `at` and may hold code behind `open`, with strings in turn: every byte
/// is looked at once, and a byte is kept per level.
pub fn interpolated_end(bytes: &[u8], at: usize, quote: &Quote, open: &[u8]) -> usize {
    let opening = open[open.len() - 1];
    let closing = if opening == b'(' { b')' } else { b'}' };
    let mut levels = vec![quote.close.as_bytes()[0]];
    let mut at = at + quote.open.len();
    while at < bytes.len() {
        let b = bytes[at];
        let Some(&level) = levels.last() else {
            return at;
        };
        if b == b'\\' {
            at += 2;
            continue;
        }
        if b == b'$' && level == closing {
            at += 1; // $' and $" are variables
        } else if b == level {
            levels.pop();
        } else if level == closing {
            if b == opening {
                levels.push(closing);
            } else if matches!(b, b'"' | b'\'' | b'`') {
                levels.push(b);
            }
        } else if level != b'\'' && bytes[at..].starts_with(open) {
            levels.push(closing);
            at += open.len() - 1;
        } else if b == b'\n' && !quote.lines {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

fn rust_raw(bytes: &[u8], from: usize, fence: usize) -> usize {
    let mut at = from;
    while let Some(step) = bytes[at..].iter().position(|&b| b == b'"') {
        at += step + 1;
        // No more than the text is read twice: a run of # behind a quote holds no other quote.
        let marks = bytes[at..]
            .iter()
            .take(fence)
            .take_while(|&&b| b == b'#')
            .count();
        at += marks;
        if marks == fence {
            return at;
        }
    }
    bytes.len()
}

/// End of the long bracket `[==[…]==]` at `at`, or None if it is none.
fn lua_long(bytes: &[u8], at: usize) -> Option<usize> {
    let level = bytes
        .get(at + 1..)?
        .iter()
        .take(LONGEST_TAG)
        .take_while(|&&b| b == b'=')
        .count();
    if bytes.get(at) != Some(&b'[') || bytes.get(at + 1 + level) != Some(&b'[') {
        return None;
    }
    let close = [&b"]"[..], &bytes[at + 1..at + 1 + level], b"]"].concat();
    let end = find(bytes, at + level + 2, &close).map(|end| end + close.len());
    Some(end.unwrap_or(bytes.len()))
}

/// The tag of `<<TAG`, `<<-TAG`, `<<~"TAG"` or PHP's `<<<TAG`, whether the end may be indented, and where it ends.
fn heredoc<'a>(lexer: &Lexer<'a>, at: usize) -> Option<(&'a [u8], bool, usize)> {
    let bytes = lexer.bytes;
    if !bytes[at..].starts_with(b"<<") || bytes[..at].last() == Some(&b'<') {
        return None;
    }
    let mut from = at + 2;
    let php = lexer.syntax.has(PHP);
    if php {
        from += usize::from(bytes.get(from) == Some(&b'<'));
        if from == at + 2 {
            return None;
        }
        while bytes.get(from) == Some(&b' ') {
            from += 1;
        }
    }
    let squiggle = matches!(bytes.get(from), Some(b'-' | b'~'));
    from += usize::from(squiggle);
    let quote = bytes
        .get(from)
        .copied()
        .filter(|b| matches!(b, b'"' | b'\''));
    from += usize::from(quote.is_some());
    let length = bytes
        .get(from..)?
        .iter()
        .take(LONGEST_TAG)
        .take_while(|&&b| is_word(b))
        .count();
    let tag = &bytes[from..from + length];
    let first = *tag.first()?;
    // A bare tag is in capitals: `1 << count` and `list << item` are shifts.
    let named = quote.is_some() || php || first.is_ascii_uppercase() || first == b'_';
    let closed = quote.is_none_or(|quote| bytes.get(from + length) == Some(&quote));
    if !named || !closed || first.is_ascii_digit() {
        return None;
    }
    let end = from + length + usize::from(quote.is_some());
    Some((tag, squiggle || php, end))
}

/// End of the line that closes the here-document `tag`, without its line end.
pub fn heredoc_end(bytes: &[u8], from: usize, tag: &[u8], indented: bool) -> Option<usize> {
    let mut start = from;
    while start < bytes.len() {
        let end = line_end(bytes, start);
        let line = &bytes[start..end];
        let line = if indented {
            line.trim_ascii_start()
        } else {
            line
        };
        let rest = line.strip_prefix(tag);
        if rest.is_some_and(|rest| rest.first().is_none_or(|b| !is_word(*b))) {
            let shown = end - line.len() + tag.len();
            return Some(shown);
        }
        start = end + 1;
    }
    None
}

/// End of a literal between delimiters, brackets nesting, from the opening one.
fn delimited(bytes: &[u8], open: usize) -> usize {
    let Some(&first) = bytes.get(open) else {
        return bytes.len();
    };
    let last = match first {
        b'(' => b')',
        b'[' => b']',
        b'{' => b'}',
        b'<' => b'>',
        other => other,
    };
    let mut depth = 1u64;
    let mut at = open + 1;
    while at < bytes.len() {
        let b = bytes[at];
        if b == b'\\' {
            at += 1;
        } else if b == last {
            depth -= 1;
            if depth == 0 {
                return at + 1;
            }
        } else if b == first {
            depth += 1;
        }
        at += 1;
    }
    bytes.len()
}

/// Perl's quote-like operators, whose word ends at `end`.
fn perl_quote(lexer: &Lexer, word: &[u8], end: usize) -> Option<(Kind, usize)> {
    let bytes = lexer.bytes;
    let start = end - word.len();
    let before = bytes[..start].last().copied().unwrap_or(b' ');
    // $s, -s (a test of a file), ->s and sub s are names.
    if b"$@%&*-".contains(&before)
        || bytes[..start].ends_with(b"->")
        || bytes[..start].ends_with(b"sub ")
    {
        return None;
    }
    let spaces = bytes[end..]
        .iter()
        .take(LONGEST_TAG)
        .take_while(|&&b| CLASS[b as usize] == SPACE)
        .count();
    let open = end + spaces;
    let delimiter = *bytes.get(open)?;
    let value = is_word(delimiter) || b"\n,;)]}> ".contains(&delimiter);
    // `s => 1`, `y = 2` and `{ s }` are words; a # behind a space is a comment.
    if value || delimiter == b'=' || (delimiter == b'#' && spaces > 0) {
        return None;
    }
    let mut stop = delimited(bytes, open);
    if matches!(word, b"s" | b"tr" | b"y") {
        stop = if b"([{<".contains(&delimiter) {
            let gap = bytes[stop..]
                .iter()
                .take(LONGEST_TAG)
                .take_while(|b| b.is_ascii_whitespace())
                .count();
            match bytes.get(stop + gap) {
                Some(b) if !is_word(*b) => delimited(bytes, stop + gap),
                _ => stop,
            }
        } else {
            delimited(bytes, stop.saturating_sub(1).max(open + 1))
        };
    }
    Some((Kind::String, stop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_told_from_lifetimes_and_primes() {
        let end = |text: &str| character(text.as_bytes(), text.find('\'').unwrap_or(0));
        assert_eq!(end("'a'"), Some(3));
        assert_eq!(end("'\\''"), Some(4));
        assert_eq!(end("'\\u{1F600}'"), Some(11));
        assert_eq!(end("'é'"), Some(4));
        assert_eq!(end("&'a str"), None);
        assert_eq!(end("f' x"), None);
        assert_eq!(end("b'x'"), Some(4));
        assert_eq!(end("'"), None);
    }

    #[test]
    fn fences_and_delimiters_close_what_they_opened() {
        assert_eq!(rust_raw(b"r##\"a\"#b\"##c", 4, 2), 11);
        assert_eq!(lua_long(b"[=[a]]b]=]c", 0), Some(10));
        assert_eq!(lua_long(b"[1]", 0), None);
        assert_eq!(delimited(b"(a(b)\\)c)d", 0), 9);
        assert_eq!(heredoc_end(b"a\n  END\nb", 0, b"END", true), Some(7));
        assert_eq!(heredoc_end(b"a\n  END\nb", 0, b"END", false), None);
    }
}

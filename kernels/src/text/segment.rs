//! Words, by rule and without a dictionary, in one pass.
//!
//! White space separates chunks; a chunk of letters, or one that ends in a digit, with at most one mark of
//! punctuation behind it and a bracket before it, is done at once (86 % of the chunks of web pages, 96 % of
//! an encyclopaedia). Any other goes the way of spaCy's blank English tokenizer, after which the thresholds
//! of the Gopher rules in datatrove were set:
//! * marks of punctuation come off both ends, one token each; two or more dots are one ellipsis;
//! * `n't 'm 're 've 'll 'd` after the words that take them, and `'s` after any, are tokens of their own;
//!   other apostrophes stay inside a word;
//! * inside, a hyphen or dash splits before a letter and behind a letter or digit, as do `: < > = /`; a
//!   comma between letters, a dot between a small and a capital letter, `+ - * ^` between digits;
//! * numbers (`1,000.5`), abbreviations (`U.S.`, `e.g.`, `Inc.`), faces and addresses stay whole.
//!
//! Han, hiragana, Thai, Lao, Khmer and Burmese are cut as `unspaced.rs` says; katakana and Hangul go by
//! runs. Emoji and CJK punctuation are tokens by themselves. Time is linear in the bytes for every input: no step looks back.

use super::address::address;
use super::ascii::{ASCII, BLANK, DIGIT, LETTERS, OPENING, PREFIX, TRAILING, kind, letters_end};
use super::classes::*;
use super::english::{abbreviation, contraction, face, run_on};
use super::unspaced;

/// Takes what the segmenter finds, in text order.
pub trait Sink {
    /// A token; `letters` says that it is ASCII letters only.
    fn token(&mut self, start: usize, end: usize, letters: bool);
    /// A character at which Python's `str.splitlines` would end a line, by its byte offset.
    fn line_break(&mut self, at: usize);
}

/// Segment `text` into `sink`. `suffixes` is scratch, reused between calls.
pub fn segment(text: &str, suffixes: &mut Vec<(usize, usize)>, sink: &mut impl Sink) {
    let bytes = text.as_bytes();
    let mut chunks = Chunks {
        text,
        bytes,
        classes: Classes::get(),
        suffixes,
        sink,
    };
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if ASCII[byte as usize] & BLANK != 0 {
            if byte != b' ' && byte != b'\t' && byte != 0x1F {
                chunks.sink.line_break(at);
            }
            at += 1;
            continue;
        }
        let start = at;
        at = letters_end(bytes, at);
        let kind = |at| kind(bytes, at);
        if at > start && kind(at) & BLANK != 0 {
            chunks.letters(start, at);
        } else if at > start + 1 && kind(at) & TRAILING != 0 && kind(at + 1) & BLANK != 0 {
            if bytes[at] == b'.'
                && (!strips_dot(bytes[at - 2], bytes[at - 1]) || abbreviation(&bytes[start..at]))
            {
                chunks.sink.token(start, at + 1, false);
            } else {
                chunks.letters(start, at);
                chunks.sink.token(at, at + 1, false);
            }
            at += 1;
        } else if at == start
            && (kind(at) & PREFIX != 0
                || bytes[at] < 0x80 && kind(at + 1) & BLANK != 0
                || kind(at) & OPENING != 0
                    && kind(at + 1) & (LETTERS | DIGIT) != 0
                    && !face(&bytes[at..bytes.len().min(at + 3)]))
        {
            chunks.sink.token(at, at + 1, false); // the rest goes as if it began the chunk
            at += 1;
        } else {
            at = chunks.chunk(start, at);
        }
    }
}

/// Whether a dot after ASCII letters is a token of its own: not after a lone capital.
fn strips_dot(before: u8, last: u8) -> bool {
    last.is_ascii_lowercase() || before.is_ascii_uppercase()
}

struct Chunks<'a, S: Sink> {
    text: &'a str,
    bytes: &'a [u8],
    classes: &'static Classes,
    suffixes: &'a mut Vec<(usize, usize)>,
    sink: &'a mut S,
}

impl<S: Sink> Chunks<'_, S> {
    /// A word of ASCII letters, in two where two are written as one.
    #[inline]
    fn letters(&mut self, start: usize, end: usize) {
        let mut start = start;
        let cut = run_on(&self.bytes[start..end]);
        if cut > 0 {
            self.sink.token(start, start + cut, true);
            start += cut;
        }
        self.sink.token(start, end, true);
    }

    /// Whether `start..end` is one token although its marks would come off.
    fn special(&self, start: usize, end: usize) -> bool {
        let part = &self.bytes[start..end];
        match part {
            [word @ .., b'.'] => word.len() <= 6 && abbreviation(word),
            _ => part.len() <= 3 && face(part),
        }
    }

    /// The character at `at` and its class; a space past the end.
    #[inline]
    fn peek(&self, at: usize) -> (char, u16) {
        match self.bytes.get(at) {
            Some(&b) if b < 0x80 => (b as char, self.classes.of_byte(b)),
            Some(_) => self.text[at..]
                .chars()
                .next()
                .map_or((' ', SPACE), |c| (c, self.classes.of(c))),
            None => (' ', SPACE),
        }
    }

    /// The character that ends at `end`, not before `start`; a space if there is none.
    #[inline]
    fn last(&self, start: usize, end: usize) -> (char, u16) {
        if end <= start {
            return (' ', SPACE);
        }
        match self.bytes[end - 1] {
            b if b < 0x80 => (b as char, self.classes.of_byte(b)),
            _ => self.text[start..end]
                .chars()
                .next_back()
                .map_or((' ', SPACE), |c| (c, self.classes.of(c))),
        }
    }

    /// A word of letters beyond ASCII too, or an ASCII word that ends in a digit, with at most one
    /// mark behind it, up to a blank: the end of it, and whether it was handed on. What comes before the
    /// end has nothing to split at.
    fn simple(&mut self, start: usize, mut at: usize) -> (usize, bool) {
        let lettered = if kind(self.bytes, at) & DIGIT != 0 {
            while kind(self.bytes, at) & (LETTERS | DIGIT) != 0 {
                at += 1;
            }
            if !self.bytes[at - 1].is_ascii_digit() {
                return (at, false); // a unit of measure, perhaps
            }
            false
        } else {
            let from = at;
            loop {
                at = letters_end(self.bytes, at);
                if self.bytes.get(at).is_none_or(|&b| b < 0x80) {
                    break;
                }
                let (c, class) = self.peek(at);
                if class & (ALPHA | MARK) == 0 || class & (SINGLE | SYLLABLE) != 0 {
                    return (at, false);
                }
                at += c.len_utf8();
            }
            if at == from {
                return (at, false);
            }
            true
        };
        if kind(self.bytes, at) & BLANK != 0 {
            self.sink.token(start, at, false);
            return (at, true);
        }
        if kind(self.bytes, at) & TRAILING == 0 || kind(self.bytes, at + 1) & BLANK == 0 {
            return (at, false);
        }
        let whole = match self.bytes[at] {
            b'.' => lettered && self.suffix(start, at + 1) == 0,
            b')' if !lettered => face(&self.bytes[start..at + 1]),
            _ => false,
        };
        if whole {
            self.sink.token(start, at + 1, false);
        } else {
            self.sink.token(start, at, false);
            self.sink.token(at, at + 1, false);
        }
        (at + 1, true)
    }

    /// Everything up to the next white space, known to be letters before `at`; returns its end.
    fn chunk(&mut self, start: usize, at: usize) -> usize {
        let (mut at, done) = self.simple(start, at);
        if done {
            return at;
        }
        let mut open = start; // start of the part not yet handed on
        while at < self.bytes.len() {
            let byte = self.bytes[at];
            if byte < 0x80 {
                if ASCII[byte as usize] & BLANK != 0 {
                    break;
                }
                at += 1;
                continue;
            }
            let (c, class) = self.peek(at);
            let next = at + c.len_utf8();
            if class & SPACE != 0 {
                self.affixes(open, at);
                if class & BREAK != 0 {
                    self.sink.line_break(at);
                }
                return next;
            }
            if class & (SINGLE | SYLLABLE) != 0 {
                let part = self.text[open..at].trim_end_matches(unspaced::ZERO_WIDTH_SPACE);
                self.affixes(open, open + part.len());
                let (text, classes) = (self.text, self.classes);
                at = unspaced::words(text, at, classes, |start, end| {
                    self.sink.token(start, end, false);
                });
                open = at;
                continue;
            }
            if class & SYMBOL != 0 {
                self.affixes(open, at);
                let mut end = next;
                while let (mark, MARK) = (self.peek(end).0, self.peek(end).1 & MARK) {
                    end += mark.len_utf8();
                }
                self.sink.token(at, end, false);
                (open, at) = (end, end);
                continue;
            }
            at = next;
        }
        self.affixes(open, at);
        at
    }

    /// Take punctuation off both ends of `start..end`, then split what is left.
    fn affixes(&mut self, mut start: usize, mut end: usize) {
        if let [first, .., last] = &self.bytes[start..end]
            && first.is_ascii_alphanumeric()
            && last.is_ascii_alphanumeric()
            && !self.special(start, end)
            && self.suffix(start, end) == 0
        {
            return self.infixes(start, end);
        }
        while start < end && !self.special(start, end) {
            let (c, class) = self.peek(start);
            let dots = self.dots(start, end);
            let next = start + c.len_utf8();
            if matches!(c, '\'' | '’') && bare_clitic(&self.bytes[next..end]) {
                break;
            } else if dots > 1 {
                self.sink.token(start, start + dots, false);
                start += dots;
            } else if class & AFFIX != 0
                || matches!(c, '§' | '%' | '=' | '–' | '—' | '$' | '£' | '¥')
                || (c == '+' && self.peek(next).1 & NUMERIC == 0)
            {
                self.sink.token(start, next, false);
                start = next;
            } else {
                break;
            }
        }
        while start < end && !self.special(start, end) {
            let width = self.suffix(start, end);
            if width == 0 {
                break;
            }
            self.suffixes.push((end - width, end));
            end -= width;
        }
        if start < end {
            if self.special(start, end) {
                self.sink.token(start, end, false);
            } else {
                self.infixes(start, end);
            }
        }
        while let Some((start, end)) = self.suffixes.pop() {
            self.sink.token(start, end, false);
        }
    }

    /// Bytes of the suffix of `start..end` to take off; 0 for none.
    fn suffix(&self, start: usize, end: usize) -> usize {
        let (c, class) = self.last(start, end);
        let width = c.len_utf8();
        let rest = end - width;
        let (before, before_class) = self.last(start, rest);
        if c == '.' {
            let dots = self.bytes[start..end]
                .iter()
                .rev()
                .take_while(|&&b| b == b'.')
                .count();
            if dots > 1 {
                return dots;
            }
            if rest == start {
                return 0;
            }
            let (_, second_class) = self.last(start, rest - before.len_utf8());
            // A letter with its dot stays, as the p. of a page; so does what ends in another mark.
            let alone = second_class & SPACE != 0 && matches!(before, 'a'..='z' | 'ä' | 'ö' | 'ü');
            let strips = if before_class & UPPER != 0 {
                second_class & UPPER != 0
            } else if before_class & (ALPHA | MARK) != 0 {
                !alone
            } else {
                before_class & AFFIX != 0 || matches!(before, '0'..='9' | '%' | '²' | '-' | '+')
            };
            return if strips { 1 } else { 0 };
        }
        if c == ':' && before == ')' {
            return 2; // a face to spaCy, wherever it ends a word
        }
        if class & AFFIX != 0 || matches!(c, '–' | '—') {
            return width;
        }
        if before_class & NUMERIC != 0 && matches!(c, '+' | '%' | '$' | '£' | '€' | '¥') {
            return width;
        }
        if matches!(c, 's' | 'S')
            && matches!(before, '\'' | '’')
            && rest - before.len_utf8() > start
        {
            return width + before.len_utf8();
        }
        if class & ALPHA != 0 && c.is_ascii() {
            return self.unit(start, end);
        }
        0
    }

    /// Length of a unit of measure directly behind a digit at the end of `start..end`.
    fn unit(&self, start: usize, end: usize) -> usize {
        let part = &self.bytes[start..end];
        let letters = part
            .iter()
            .rev()
            .take(5)
            .take_while(|b| b.is_ascii_alphabetic())
            .count();
        let (number, unit) = part.split_at(part.len() - letters);
        let known: &[&[u8]] = &[
            b"km", b"m", b"dm", b"cm", b"mm", b"nm", b"ha", b"ft", b"yd", b"kg", b"g", b"mg", b"t",
            b"lb", b"oz", b"mph", b"hPa", b"Pa", b"mbar", b"mb", b"MB", b"kb", b"KB", b"gb", b"GB",
            b"tb", b"TB", b"T", b"G", b"M", b"K", b"in", b"kmh",
        ];
        if matches!(unit, b"am" | b"pm") {
            let hour = matches!(number, [b'1'..=b'9'] | [b'1', b'0'..=b'2']);
            return if hour { letters } else { 0 };
        }
        let digit = number.last().is_some_and(u8::is_ascii_digit);
        if digit && known.contains(&unit) {
            letters
        } else {
            0
        }
    }

    /// Length of the run of dots at `at`.
    fn dots(&self, at: usize, end: usize) -> usize {
        self.bytes[at..end]
            .iter()
            .take_while(|&&b| b == b'.')
            .count()
    }

    /// Split `start..end`, which has no punctuation at its ends, where the inside asks for it.
    fn infixes(&mut self, start: usize, end: usize) {
        let part = &self.bytes[start..end];
        let ascii_letters = part.iter().all(u8::is_ascii_alphabetic);
        if ascii_letters {
            return self.letters(start, end);
        }
        if address(part) || part == b"and/or" {
            return self.sink.token(start, end, false);
        }
        let (mut open, mut at) = (start, start);
        let (mut before, mut before_class) = (' ', SPACE);
        while at < end {
            let from = at;
            while at < end && self.bytes[at].is_ascii_alphanumeric() {
                at += 1;
            }
            if at > from {
                (before, before_class) = self.last(from, at);
                continue;
            }
            let (c, class) = self.peek(at);
            let next = at + c.len_utf8();
            if class & (ALPHA | MARK | NUMERIC) == 0 {
                let width = self.infix(at, end, before, before_class);
                if width > 0 && at > open {
                    self.word(open, at);
                    self.sink.token(at, at + width, false);
                    (open, at) = (at + width, at + width);
                    (before, before_class) = (' ', SPACE);
                    continue;
                }
                // A run of dots or dashes that does not split is passed over as one, else it would
                // be measured again from each of its characters.
                let run = self.run(at, end, c).max(next);
                (before, before_class) = (c, class);
                at = run;
                continue;
            }
            (before, before_class) = (c, class);
            at = next;
        }
        if open < end {
            self.word(open, end);
        }
    }

    /// End of the run of `c` at `at` if it is a dot or a dash, else `at`.
    fn run(&self, at: usize, end: usize, c: char) -> usize {
        match c {
            '.' | '-' => {
                at + self.bytes[at..end]
                    .iter()
                    .take_while(|&&b| b == c as u8)
                    .count()
            }
            _ => at,
        }
    }

    /// Bytes of the infix at `at` to split at; 0 for none.
    fn infix(&self, at: usize, end: usize, before: char, before_class: u16) -> usize {
        let (c, class) = self.peek(at);
        let width = (self.run(at, end, c) - at).max(c.len_utf8());
        let (after, after_class) = if at + width < end {
            self.peek(at + width)
        } else {
            (' ', SPACE)
        };
        let (letter_before, letter_after) = (before_class & ALPHA != 0, after_class & ALPHA != 0);
        let digit_before = before_class & NUMERIC != 0;
        if c == '-' && digit_before && (width > 1 || after_class & NUMERIC != 0) {
            return 1; // 3-4, and the first of 3--4
        }
        let quote = |c: char| matches!(c, '\'' | '"' | '’' | '”' | '“');
        let splits = match c {
            '.' if width > 1 => true,
            '.' => {
                (before_class & LOWER != 0 || quote(before))
                    && (after_class & UPPER != 0 || quote(after))
            }
            ',' => letter_before && letter_after,
            ':' | '<' | '>' | '=' | '/' => (letter_before || digit_before) && letter_after,
            '+' | '*' | '^' => digit_before && (after_class & NUMERIC != 0 || after == '-'),
            _ if class & DASH != 0 => (letter_before || digit_before) && letter_after,
            _ => false,
        };
        if splits { width } else { 0 }
    }

    /// A word, an English contraction in its parts.
    fn word(&mut self, start: usize, end: usize) {
        let part = &self.bytes[start..end];
        if part.iter().all(u8::is_ascii_alphabetic) {
            return self.sink.token(start, end, true);
        }
        let (first, second) = contraction(part);
        if first > 0 {
            let head = &self.bytes[start..start + first];
            let letters = head.iter().all(u8::is_ascii_alphabetic);
            self.sink.token(start, start + first, letters);
        }
        if second > first {
            self.sink.token(start + first, start + second, false);
        }
        self.sink.token(start + second, end, false);
    }
}

/// Whether what follows an apostrophe is a clitic and nothing more but punctuation.
fn bare_clitic(rest: &[u8]) -> bool {
    let letters = rest
        .iter()
        .take(3)
        .take_while(|b| b.is_ascii_alphabetic())
        .count();
    matches!(&rest[..letters], b"s" | b"m" | b"d" | b"re" | b"ve" | b"ll")
        && !rest
            .get(letters)
            .is_some_and(|&b| b.is_ascii_alphanumeric() || b >= 0x80)
}

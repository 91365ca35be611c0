//! The skeleton of a text: what is left when the parts that a template fills in are masked.
//!
//! Texts made from one template have one skeleton, and so one `skeleton_hash`: XXH3-64 of it, 0 where
//! nothing is left. A word is a letter, mark or `_` with all letters, marks, digits and `_` behind it,
//! and each `'`, `’` or `-` between two letters. Left to right, the first of these that fits decides;
//! 2, 3, 4 and 6 do not begin directly behind a letter, mark, digit or `_`:
//! 1. White space: a run of it is one space, or one newline if a newline is in it; none at the ends.
//! 2. Quotation, `<quote>`: `"…"`, `“…”`, `„…“`, `«…»`, `「…」`; the opening mark is not before white
//!    space, the closing one is within 256 bytes and on the same line.
//! 3. Address, `<url>`: from `http://`, `https://`, `ftp://` or `www.` up to white space or one of
//!    `"<>()[]{}|^`, less any of `.,;:!?'*_` at its end.
//! 4. E-mail address, `<mail>`: `[A-Za-z0-9._%+-]+@` and a domain of `[A-Za-z0-9.-]` with a dot inside.
//! 5. Number, `<num>`: a run of digits (category N) in which one of `.,:/-` may stand between digits,
//!    also in a word that has not been masked.
//! 6. Name, `<name>`: a word that begins with a capital, the first one of a sentence like any other.
//! 7. Anything else stands for itself, words as a whole up to their digits.
//!
//! A placeholder behind the same one and a space is dropped, so that `Ada King Lovelace` is one
//! `<name>`; a line that equals the line before it is dropped, so that a list or table of like rows is
//! one row however long it is. Names in scripts without capitals stay.
//!
//! Words of small letters are copied in stretches: 2 ns per byte of English. Linear: what has been
//! searched for a closing mark is not searched again.

use std::sync::Arc;

use arrow_array::builder::{LargeStringBuilder, ListBuilder, UInt64Builder};
use arrow_array::{ArrayRef, LargeStringArray};
use xxhash_rust::xxh3::xxh3_64;

use super::chunks::{BEYOND, DIGIT, DOT, MARKUP, UPPER, Words, words};
use super::classes::{self, ALPHA, Classes, MARK, NUMERIC};
use super::ratio;
use super::table::signal_table;

const QUOTE_WITHIN: usize = 256; // bytes
const QUOTES: [(char, &[char]); 5] = [
    ('"', &['"']),
    ('“', &['”']),
    ('„', &['“', '”']),
    ('«', &['»']),
    ('「', &['」']),
];

signal_table! {
    /// What identifies the template that a text may be made from.
    pub struct Skeleton {
    skeleton_hash: u64 = "XXH3-64 of the skeleton (numbers, names, quotations and addresses masked, white space folded); 0 if it is empty";
    skeleton_kept_ratio: f64 = "bytes of the skeleton that are no placeholder, per byte of the text: low where a hash says little";
    }
}

/// The placeholders, by number.
const PLACEHOLDERS: [&str; 5] = ["<num>", "<name>", "<quote>", "<url>", "<mail>"];
/// The same, filled up with zeros: eight bytes are stored at once, a length of its own is a call.
const FILLED: [[u8; 8]; PLACEHOLDERS.len()] = {
    let mut filled = [[0; 8]; PLACEHOLDERS.len()];
    let mut which = 0;
    while which < PLACEHOLDERS.len() {
        let mut at = 0;
        while at < PLACEHOLDERS[which].len() {
            filled[which][at] = PLACEHOLDERS[which].as_bytes()[at];
            at += 1;
        }
        which += 1;
    }
    filled
};
const NUM: usize = 0;
const NAME: usize = 1;
const QUOTE: usize = 2;
const URL: usize = 3;
const MAIL: usize = 4;

/// A character, what it counts as, and where the next one begins.
struct Peek {
    c: char,
    alphabetic: bool,
    letter: bool,
    digit: bool,
    capital: bool,
    space: bool,
    next: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Gap {
    None,
    Space,
    Newline,
}

/// Buffers reused from text to text: the skeleton is at most six times as long as its text.
#[derive(Default)]
pub struct SkeletonScratch {
    out: Vec<u8>,
}

/// The skeleton of each text, null for null.
pub fn column(texts: &LargeStringArray) -> ArrayRef {
    let mut scratch = SkeletonScratch::default();
    let mut out = LargeStringBuilder::new();
    for text in texts {
        out.append_option(text.map(|text| {
            let mut masker = Masker::new(text, &mut scratch);
            words(text, &mut masker);
            masker.finish();
            String::from_utf8_lossy(&scratch.out)
        }));
    }
    Arc::new(out.finish())
}

/// XXH3-64 of each line of each text's skeleton with at least `min_kept` bytes outside of placeholders.
pub fn line_hashes(texts: &LargeStringArray, min_kept: usize) -> ArrayRef {
    let mut scratch = SkeletonScratch::default();
    let mut out = ListBuilder::new(UInt64Builder::new());
    for text in texts {
        if let Some(text) = text {
            let mut masker = Masker::new(text, &mut scratch);
            words(text, &mut masker);
            masker.finish();
            for line in scratch.out.split(|&b| b == b'\n') {
                if line.len() - masked(line) >= min_kept.max(1) {
                    out.values().append_value(xxh3_64(line));
                }
            }
        }
        out.append(text.is_some());
    }
    Arc::new(out.finish())
}

/// Bytes of a line that are placeholders, or look like them.
fn masked(line: &[u8]) -> usize {
    let (mut at, mut sum) = (0, 0);
    while let Some(step) = line[at..].iter().position(|&b| b == b'<') {
        at += step;
        let found = PLACEHOLDERS
            .iter()
            .find(|placeholder| line[at..].starts_with(placeholder.as_bytes()));
        sum += found.map_or(0, |placeholder| placeholder.len());
        at += found.map_or(1, |placeholder| placeholder.len());
    }
    sum
}

/// Writes the skeleton as words come in.
pub struct Masker<'a> {
    text: &'a str,
    classes: &'static Classes,
    out: &'a mut Vec<u8>,
    /// Words before this offset are inside of something masked.
    resume: usize,
    /// End of the last word, where the white space begins.
    end: usize,
    /// A stretch of words to be copied as they stand.
    plain: (usize, usize),
    /// The placeholder that `out` ends with.
    tail: Option<usize>,
    line: usize,
    line_before: (usize, usize),
    /// Bytes of placeholders in `out`, and in its lines that are closed.
    masked: usize,
    masked_before: usize,
    /// No closing mark of each kind of quotation lies before this offset.
    barren: [usize; QUOTES.len()],
}

impl<'a> Masker<'a> {
    pub fn new(text: &'a str, scratch: &'a mut SkeletonScratch) -> Masker<'a> {
        scratch.out.clear();
        Masker {
            text,
            classes: Classes::get(),
            out: &mut scratch.out,
            resume: 0,
            end: 0,
            plain: (0, 0),
            tail: None,
            line: 0,
            line_before: (0, 0),
            masked: 0,
            masked_before: 0,
            barren: [0; QUOTES.len()],
        }
    }

    /// The signals, once all words have been handed on.
    pub fn finish(mut self) -> Skeleton {
        self.copy();
        self.close_line();
        // Closing a last line that equals the one before leaves the newline between them.
        if self.out.last() == Some(&b'\n') {
            self.out.pop();
        }
        let kept = self.out.len() - self.masked;
        Skeleton {
            skeleton_hash: if self.out.is_empty() {
                0
            } else {
                xxh3_64(self.out)
            },
            skeleton_kept_ratio: ratio(kept as u64, self.text.len() as u64).min(1.0),
        }
    }

    /// Begin a stretch of plain words with `start..end`.
    #[inline(never)]
    fn stretch(&mut self, start: usize, end: usize) {
        let gap = self.gap(start);
        self.copy();
        self.write_gap(gap);
        self.plain = (start, end);
    }

    /// Copy the stretch of plain words.
    #[inline]
    fn copy(&mut self) {
        let (start, end) = self.plain;
        if start < end {
            self.out
                .extend_from_slice(&self.text.as_bytes()[start..end]);
            self.tail = None;
            self.plain = (end, end);
        }
    }

    fn close_line(&mut self) {
        let (start, end) = self.line_before;
        let line = (self.line, self.out.len());
        if self.line > 0 && self.out[start..end] == self.out[line.0..line.1] {
            self.out.truncate(self.line);
            self.masked = self.masked_before;
        } else {
            self.line_before = line;
            self.masked_before = self.masked;
        }
    }

    /// The white space between the last word and `start`.
    fn gap(&mut self, start: usize) -> Gap {
        if start == self.end || (self.out.is_empty() && self.plain.0 == self.plain.1) {
            return Gap::None;
        }
        let bytes = &self.text.as_bytes()[self.end..start];
        if bytes.contains(&b'\n') {
            Gap::Newline
        } else {
            Gap::Space
        }
    }

    #[inline]
    fn write_gap(&mut self, gap: Gap) {
        match gap {
            Gap::None => {}
            Gap::Space => self.out.push(b' '),
            Gap::Newline => {
                let lines = self.out.len();
                self.close_line();
                if self.out.len() == lines {
                    self.out.push(b'\n');
                }
                self.line = self.out.len();
            }
        }
        if gap != Gap::None {
            self.tail = None;
        }
    }

    fn placeholder(&mut self, which: usize, gap: Gap) {
        self.copy();
        if gap == Gap::Space && self.tail == Some(which) {
            return;
        }
        self.write_gap(gap);
        let length = PLACEHOLDERS[which].len();
        self.out.extend_from_slice(&FILLED[which]);
        self.out.truncate(self.out.len() - 8 + length);
        self.masked += length;
        self.tail = Some(which);
    }

    /// Let `start..end` stand: in the stretch that is to be copied, if that goes on with it.
    #[inline]
    fn literal(&mut self, start: usize, end: usize, gap: Gap) {
        let (from, to) = self.plain;
        let goes_on = match gap {
            Gap::None => start == to,
            Gap::Space => start == to + 1 && self.text.as_bytes()[to] == b' ',
            Gap::Newline => false,
        };
        if goes_on && from < to {
            self.plain.1 = end;
        } else {
            self.copy();
            self.write_gap(gap);
            self.plain = (start, end);
        }
    }

    /// The character at `at`; a space at `end`.
    #[inline(always)] // so that only what a caller asks of it is found out
    fn peek(&self, at: usize, end: usize) -> Peek {
        let c = match self.text.as_bytes()[..end].get(at) {
            None => ' ',
            Some(&b) if b < 0x80 => b as char,
            Some(_) => self.text[at..].chars().next().unwrap_or(' '),
        };
        let class = self.classes.of(c);
        Peek {
            c,
            alphabetic: class & ALPHA != 0,
            letter: class & (ALPHA | MARK) != 0 || c == '_',
            digit: class & NUMERIC != 0,
            capital: class & classes::UPPER != 0,
            space: class & classes::SPACE != 0,
            next: at + c.len_utf8(),
        }
    }

    /// Mask what there is to mask in the word `at..end`.
    #[inline(never)]
    fn mask(&mut self, mut at: usize, end: usize, kinds: u8) {
        let mut gap = self.gap(at);
        let mut inside = false; // directly behind a letter, mark, digit or _
        let mut mail_from = at; // no e-mail address begins before here
        while at < end {
            let byte = self.text.as_bytes()[at];
            // Without a mark that a quotation or an address has, the byte alone tells for most of ASCII.
            if kinds & MARKUP == 0
                && byte < 0x80
                && byte != b'_'
                && (byte != b'w' || kinds & DOT == 0)
            {
                let gap = std::mem::replace(&mut gap, Gap::None);
                let from = at;
                at += 1;
                if byte.is_ascii_digit() {
                    at = self.number(at, end);
                    self.placeholder(NUM, gap);
                    inside = true;
                } else if byte.is_ascii_uppercase() && !inside {
                    at = self.word_end(at, end, true);
                    self.placeholder(NAME, gap);
                    inside = true;
                } else {
                    inside = byte.is_ascii_alphabetic();
                    if inside {
                        at = self.word_end(at, end, false);
                    }
                    self.literal(from, at, gap);
                }
                continue;
            }
            let here = self.peek(at, end);
            let mut masked = None;
            if !inside {
                if kinds & MARKUP != 0 || !here.c.is_ascii() {
                    masked = self.quotation(at, &here).map(|to| (QUOTE, to));
                }
                if masked.is_none() && matches!(here.c, 'h' | 'f' | 'w') {
                    masked = self.address(at, end).map(|to| (URL, to));
                }
                if masked.is_none() && kinds & MARKUP != 0 && at >= mail_from && local(here.c) {
                    let (found, run) = self.mail(at, end);
                    mail_from = run;
                    masked = found.map(|to| (MAIL, to));
                }
            }
            if masked.is_none() && here.digit {
                masked = Some((NUM, self.number(at, end)));
            }
            if masked.is_none() && here.capital && !inside {
                masked = Some((NAME, self.word_end(here.next, end, true)));
            }
            let gap = std::mem::replace(&mut gap, Gap::None);
            let from = at;
            if let Some((which, to)) = masked {
                self.placeholder(which, gap);
                inside = which == NUM || which == NAME;
                at = to;
            } else {
                at = if here.letter {
                    self.word_end(here.next, end, false)
                } else {
                    here.next
                };
                self.literal(from, at, gap);
                inside = here.letter;
            }
        }
        self.resume = self.resume.max(at);
        self.end = at;
    }

    /// End of the word whose next character is at `at`, of its first part without digits if they end it.
    fn word_end(&self, mut at: usize, end: usize, digits: bool) -> usize {
        let mut alphabetic = true;
        let bytes = &self.text.as_bytes()[..end];
        while at < end {
            let letters = letters(&self.text.as_bytes()[at..]).min(end - at);
            if letters > 0 {
                (alphabetic, at) = (true, at + letters);
                continue;
            }
            if bytes[at] < 0x80 && !matches!(bytes[at], b'\'' | b'-' | b'_' | b'0'..=b'9') {
                break;
            }
            let here = self.peek(at, end);
            let joins = alphabetic
                && matches!(here.c, '\'' | '’' | '-')
                && self.peek(here.next, end).alphabetic;
            if !(here.letter || joins || (digits && here.digit)) {
                break;
            }
            alphabetic = here.alphabetic;
            at = here.next;
        }
        at
    }

    fn number(&self, mut at: usize, end: usize) -> usize {
        while at < end {
            let byte = self.text.as_bytes()[at];
            if byte.is_ascii_digit() {
                at += 1;
                continue;
            }
            if byte < 0x80 && !matches!(byte, b'.' | b',' | b':' | b'/' | b'-') {
                break;
            }
            let here = self.peek(at, end);
            let joins =
                matches!(here.c, '.' | ',' | ':' | '/' | '-') && self.peek(here.next, end).digit;
            if !(here.digit || joins) {
                break;
            }
            at = here.next;
        }
        at
    }

    fn address(&self, at: usize, end: usize) -> Option<usize> {
        let part = &self.text[at..end];
        let scheme = ["http://", "https://", "ftp://", "www."]
            .iter()
            .find(|scheme| part.starts_with(**scheme))?;
        let stop = |c: char| {
            matches!(
                c,
                '"' | '<' | '>' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '^'
            )
        };
        let whole = &part[..part.find(stop).unwrap_or(part.len())];
        let whole = whole.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', '*', '_']);
        (whole.len() > scheme.len()).then_some(at + whole.len())
    }

    /// End of the e-mail address at `at`, if there is one, and of the run of characters that may open one.
    fn mail(&self, at: usize, end: usize) -> (Option<usize>, usize) {
        let bytes = &self.text.as_bytes()[..end];
        let run = at
            + bytes[at..]
                .iter()
                .take_while(|&&b| local(b as char))
                .count();
        if bytes.get(run) != Some(&b'@') {
            return (None, run);
        }
        let domain = &bytes[run + 1..];
        let length = domain
            .iter()
            .take_while(|&&b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
            .count();
        let domain = &domain[..length];
        let trimmed = domain
            .iter()
            .rposition(u8::is_ascii_alphanumeric)
            .map_or(0, |last| last + 1);
        let dotted = domain[..trimmed].iter().skip(1).any(|&b| b == b'.');
        (dotted.then_some(run + 1 + trimmed), run)
    }

    /// End of the quotation that `open` begins at `at`.
    fn quotation(&mut self, at: usize, open: &Peek) -> Option<usize> {
        let kind = QUOTES.iter().position(|(mark, _)| *mark == open.c)?;
        if self.peek(open.next, self.text.len()).space {
            return None;
        }
        let mut to = self.text.len().min(at + QUOTE_WITHIN);
        while !self.text.is_char_boundary(to) {
            to -= 1;
        }
        let from = open.next.max(self.barren[kind].min(to));
        let window = self.text.get(from..to)?;
        let line = &window[..window.find('\n').unwrap_or(window.len())];
        let Some(step) = line.find(QUOTES[kind].1) else {
            self.barren[kind] = from + line.len();
            return None;
        };
        let close = line[step..].chars().next().map_or(0, char::len_utf8);
        Some(from + step + close)
    }
}

/// Whether `www.` is in a word with a dot, most of which end in it.
#[inline]
fn www(word: &[u8]) -> bool {
    word.windows(4).any(|four| four == b"www.")
}

/// How many letters of ASCII `bytes` begin with, up to eight.
#[inline]
fn letters(bytes: &[u8]) -> usize {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let each = |byte: u8| u64::from_le_bytes([byte; 8]);
    let Some(eight) = bytes.first_chunk::<8>() else {
        return bytes.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    };
    // Eight at once: the highest bit of a byte tells; no sum goes over into the next byte.
    let eight = u64::from_le_bytes(*eight);
    let small = (eight & !HIGH) | each(0x20);
    let from_a = small + each(0x80 - b'a');
    let above_z = small + each(0x80 - b'z' - 1);
    let others = !(from_a & !above_z & !eight) & HIGH;
    others.trailing_zeros() as usize / 8
}

/// Whether a character may be in the local part of an e-mail address.
fn local(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '%' | '+' | '-')
}

impl Words for Masker<'_> {
    #[inline(always)]
    fn word(&mut self, start: usize, end: usize, kinds: u8) {
        if end <= self.resume {
            return;
        }
        let start = start.max(self.resume);
        let plain = kinds & (UPPER | DIGIT | BEYOND | MARKUP) == 0
            && (kinds & DOT == 0 || !www(&self.text.as_bytes()[start..end]));
        if !plain {
            self.mask(start, end, kinds);
            return;
        }
        // A stretch goes on over a single space; anything else is written first.
        if self.plain.1 > self.plain.0
            && start == self.plain.1 + 1
            && self.text.as_bytes()[self.plain.1] == b' '
        {
            self.plain.1 = end;
        } else {
            self.stretch(start, end);
        }
        self.end = end;
    }
}

//! Everything counted per line or per paragraph.
//!
//! Three ways to cut, each as its rule has it: Python's `splitlines` (bullets, ellipses, line
//! lengths), runs of newlines over the text as it stands (repeated lines), and runs of two and more
//! newlines over the stripped text (repeated paragraphs). Two passes over the bytes in all.

use xxhash_rust::xxh3::xxh3_64;

use super::classes::{Classes, SPACE, sentence_terminal};
use super::repetition::{FirstSeen, duplicates};

const SHORT_LINE: u32 = 30; // FineWeb, section 3.6

/// Line counts of one text; lengths and sums are in characters.
#[derive(Debug, Default, PartialEq)]
pub struct Lines {
    pub lines: u64,
    pub longest: u64,
    pub total: u64,
    pub bullets: u64,
    pub ellipses: u64,
    /// Items between runs of newlines, their later copies and the characters of these.
    pub items: u64,
    pub duplicate_items: (u64, u64),
    pub paragraphs: u64,
    pub duplicate_paragraphs: (u64, u64),
    /// Of the items that are not blank: how many, ended by a full stop or the like, short, and the
    /// characters of later copies.
    pub filled: u64,
    pub ended: u64,
    pub short: u64,
    pub duplicate_filled_chars: u64,
    pub newlines: u64,
    /// Of the items that are not blank, stripped: characters, how many different ones, and of those that
    /// occur more than once the occurrences and their characters.
    pub stripped_chars: u64,
    pub distinct: u64,
    pub repeated: u64,
    pub repeated_chars: u64,
}

/// Buffers reused between texts.
#[derive(Default)]
pub struct LineScratch {
    hashes: Vec<u64>,
    chars: Vec<u32>,
    blank: Vec<bool>,
    seen: FirstSeen,
    stripped: Vec<u64>,
    stripped_chars: Vec<u32>,
}

/// Measure `text`, whose `str.splitlines` characters are at `breaks`.
pub fn measure(text: &str, breaks: &[usize], ascii: bool, scratch: &mut LineScratch) -> Lines {
    let mut out = Lines::default();
    split_lines(text, breaks, ascii, &mut out);
    newline_items(text, breaks, ascii, &mut out, scratch);
    paragraphs(text, breaks, ascii, &mut out, scratch);
    out
}

fn length(part: &str, ascii: bool) -> u32 {
    if ascii {
        part.len() as u32
    } else {
        part.chars().count() as u32
    }
}

fn split_lines(text: &str, breaks: &[usize], ascii: bool, out: &mut Lines) {
    let bytes = text.as_bytes();
    let mut start = 0;
    for &at in breaks.iter().chain([&text.len()]) {
        if bytes.get(at) == Some(&b'\n') && at > 0 && bytes[at - 1] == b'\r' {
            start = at + 1; // the second half of CRLF
            continue;
        }
        if at == text.len() && start == at {
            break; // a final line end opens no line
        }
        let line = &text[start..at];
        let chars = u64::from(length(line, ascii));
        out.lines += 1;
        out.longest = out.longest.max(chars);
        out.total += chars;
        out.bullets += u64::from(strip_start(line).starts_with(['•', '-']));
        let end = strip_end(line);
        out.ellipses += u64::from(end.ends_with("...") || end.ends_with('…'));
        start = at + text[at..].chars().next().map_or(0, char::len_utf8);
    }
}

fn newline_items(
    text: &str,
    breaks: &[usize],
    ascii: bool,
    out: &mut Lines,
    scratch: &mut LineScratch,
) {
    scratch.clear();
    scratch.stripped.clear();
    scratch.stripped_chars.clear();
    let bytes = text.as_bytes();
    let mut start = 0;
    let newlines = breaks.iter().filter(|&&at| bytes[at] == b'\n');
    for &at in newlines.chain([&text.len()]) {
        let inside_run = at > 0 && at == start && bytes[at - 1] == b'\n' && at < text.len();
        out.newlines += u64::from(at < text.len());
        if !inside_run {
            let line = &text[start..at];
            let chars = length(line, ascii);
            let from = strip_start(line);
            let blank = from.is_empty();
            scratch.add(line, chars, blank);
            if !blank {
                let stripped = strip_end(from);
                let whole = stripped.len() == line.len();
                scratch.stripped.push(match scratch.hashes.last() {
                    Some(&hash) if whole => hash,
                    _ => xxh3_64(stripped.as_bytes()),
                });
                let chars = if whole {
                    chars
                } else {
                    length(stripped, ascii)
                };
                scratch.stripped_chars.push(chars);
                out.filled += 1;
                out.ended += u64::from(line.ends_with(sentence_terminal));
                out.short += u64::from(chars <= SHORT_LINE);
            }
        }
        start = at + 1;
    }
    out.items = scratch.hashes.len() as u64;
    out.duplicate_items = duplicates(&mut scratch.seen, &scratch.hashes, &scratch.chars);
    out.duplicate_filled_chars = (0..scratch.hashes.len())
        .filter(|&item| scratch.seen.first[item] as usize != item && !scratch.blank[item])
        .map(|item| u64::from(scratch.chars[item]))
        .sum();
    copies(out, scratch);
}

/// Counts of the stripped lines, all copies of a repeated one included.
fn copies(out: &mut Lines, scratch: &mut LineScratch) {
    scratch.seen.find(&scratch.stripped);
    let counts = &scratch.seen.counts;
    for (&first, &chars) in scratch.seen.first.iter().zip(&scratch.stripped_chars) {
        out.stripped_chars += u64::from(chars);
        if counts[first as usize] > 1 {
            out.repeated += 1;
            out.repeated_chars += u64::from(chars);
        }
    }
    out.distinct = counts.iter().filter(|&&count| count > 0).count() as u64;
}

fn paragraphs(
    text: &str,
    breaks: &[usize],
    ascii: bool,
    out: &mut Lines,
    scratch: &mut LineScratch,
) {
    scratch.clear();
    let bytes = text.as_bytes();
    let from = text.len() - strip_start(text).len();
    let to = from + strip_end(&text[from..]).len();
    let mut start = from;
    let mut at = breaks.partition_point(|&at| at < from);
    while at < breaks.len() && breaks[at] < to {
        let first = breaks[at];
        let mut run = 0;
        while at < breaks.len() && breaks[at] == first + run && bytes[breaks[at]] == b'\n' {
            (at, run) = (at + 1, run + 1);
        }
        if run >= 2 {
            let part = &text[start..first];
            scratch.add(part, length(part, ascii), false);
            start = first + run;
        }
        at += usize::from(run == 0);
    }
    let part = &text[start..to];
    scratch.add(part, length(part, ascii), false);
    out.paragraphs = scratch.hashes.len() as u64;
    out.duplicate_paragraphs = duplicates(&mut scratch.seen, &scratch.hashes, &scratch.chars);
}

impl LineScratch {
    fn clear(&mut self) {
        self.hashes.clear();
        self.chars.clear();
        self.blank.clear();
    }

    fn add(&mut self, part: &str, chars: u32, blank: bool) {
        self.hashes.push(xxh3_64(part.as_bytes()));
        self.chars.push(chars);
        self.blank.push(blank);
    }
}

fn is_space(c: char) -> bool {
    Classes::get().of(c) & SPACE != 0
}

fn strip_start(text: &str) -> &str {
    text.trim_start_matches(is_space)
}

fn strip_end(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

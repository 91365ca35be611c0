//! Everything counted per line or per paragraph.
//!
//! Three ways to cut, each as its rule has it: Python's `splitlines` (bullets, ellipses, line
//! lengths), runs of newlines over the text as it stands (repeated lines), and runs of two and more
//! newlines over the stripped text (repeated paragraphs). Lines are cut in one go, as the first two ways
//! nearly always agree; a text without an empty line inside is one paragraph, which is not looked at.

use xxhash_rust::xxh3::xxh3_64;

use super::classes::sentence_terminal;
use super::line_rules::{trim_end, trim_start};
use super::repetition::FirstSeen;

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

/// A part of a text: its bytes are `start..end`.
#[derive(Clone, Copy)]
struct Part {
    start: usize,
    end: usize,
    blank: bool,
}

impl Part {
    fn chars(&self, text: &str, ascii: bool) -> u64 {
        u64::from(length(&text[self.start..self.end], ascii))
    }
}

/// Buffers reused between texts.
#[derive(Default)]
pub struct LineScratch {
    hashes: Vec<u64>,
    parts: Vec<Part>,
    seen: FirstSeen,
    stripped: Vec<u64>,
    stripped_parts: Vec<Part>,
}

/// Measure `text`, whose `str.splitlines` characters are at `breaks`.
pub fn measure(text: &str, breaks: &[usize], ascii: bool, scratch: &mut LineScratch) -> Lines {
    let mut out = Lines::default();
    cut_lines(text, breaks, ascii, &mut out, scratch);
    repeated_lines(text, ascii, &mut out, scratch);
    paragraphs(text, breaks, ascii, &mut out, scratch);
    out
}

fn length(part: &str, ascii: bool) -> u32 {
    if ascii {
        return part.len() as u32;
    }
    // Bytes that begin a character, eight at a time: lines are too short for the standard library's
    // loop, which begins at 32 bytes.
    let (eights, rest) = part.as_bytes().as_chunks::<8>();
    let inner = |eight: u64| ((eight >> 7) & !(eight >> 6) & 0x0101_0101_0101_0101).count_ones();
    let mut continuing = 0;
    for eights in eights.chunks(255) {
        let sums = eights.iter().fold(0, |sums, &eight| {
            let eight = u64::from_le_bytes(eight);
            sums + ((eight >> 7) & !(eight >> 6) & 0x0101_0101_0101_0101)
        });
        // The bytes of `sums`, of at most 255 each, in pairs and then all together.
        let pairs = (sums & 0x00FF_00FF_00FF_00FF) + ((sums >> 8) & 0x00FF_00FF_00FF_00FF);
        continuing += (pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48) as u32;
    }
    let rest = rest
        .iter()
        .rev()
        .fold(0, |word, &byte| (word << 8) | u64::from(byte));
    part.len() as u32 - continuing - inner(rest)
}

/// Count lines as `str.splitlines` and as newlines cut them, and hash the latter.
///
/// Sums of characters follow from those of the whole text; those of a line are counted where it may be
/// the longest, or short.
fn cut_lines(
    text: &str,
    breaks: &[usize],
    ascii: bool,
    out: &mut Lines,
    scratch: &mut LineScratch,
) {
    scratch.clear();
    scratch.stripped.clear();
    scratch.stripped_parts.clear();
    let bytes = text.as_bytes();
    // Where the line begins for `str.splitlines`, and where for newlines.
    let (mut start, mut item) = (0, 0);
    let mut outside = 0; // characters of white space around lines
    for &at in breaks.iter().chain([&text.len()]) {
        let last = at == text.len();
        let newline = !last && bytes[at] == b'\n';
        // The second half of CRLF cuts no line, nor does the end of the text behind a final line end.
        let line = if (newline && at > 0 && bytes[at - 1] == b'\r') || (last && start == at) {
            None
        } else {
            let whole = &text[start..at];
            let stripped = trim_end(trim_start(whole));
            out.lines += 1;
            if whole.len() as u64 > out.longest {
                out.longest = out.longest.max(u64::from(length(whole, ascii)));
            }
            out.bullets += u64::from(stripped.starts_with(['•', '-']));
            out.ellipses += u64::from(stripped.ends_with("...") || stripped.ends_with('…'));
            Some(stripped)
        };
        let begin = start;
        start = at + text[at..].chars().next().map_or(0, char::len_utf8);
        if !newline && !last {
            continue;
        }
        out.newlines += u64::from(newline);
        let inside_run = newline && at > 0 && at == item && bytes[at - 1] == b'\n';
        if !inside_run {
            let whole = &text[item..at];
            let stripped = match line {
                Some(stripped) if begin == item => stripped,
                _ => trim_end(trim_start(whole)),
            };
            outside += add_item(whole, item, stripped, ascii, out, scratch);
        }
        item = at + 1;
    }
    let all = u64::from(length(text, ascii));
    out.total = all - breaks.len() as u64;
    out.stripped_chars = all - out.newlines - outside;
    out.items = scratch.hashes.len() as u64;
}

/// Count a line of newlines; returns how many characters stripping takes from it.
fn add_item(
    whole: &str,
    start: usize,
    stripped: &str,
    ascii: bool,
    out: &mut Lines,
    scratch: &mut LineScratch,
) -> u64 {
    let hash = xxh3_64(whole.as_bytes());
    let blank = stripped.is_empty();
    let mut part = Part {
        start,
        end: start + whole.len(),
        blank,
    };
    scratch.hashes.push(hash);
    scratch.parts.push(part);
    if blank {
        return u64::from(length(whole, ascii));
    }
    let (mut hash, mut outside) = (hash, 0);
    if stripped.len() < whole.len() {
        let from = whole.len() - trim_start(whole).len();
        let to = from + stripped.len();
        outside = u64::from(length(&whole[..from], ascii) + length(&whole[to..], ascii));
        hash = xxh3_64(stripped.as_bytes());
        part.end = start + to;
        part.start += from;
    }
    scratch.stripped.push(hash);
    scratch.stripped_parts.push(part);
    out.filled += 1;
    out.ended += u64::from(whole.ends_with(sentence_terminal));
    // A character has up to four bytes.
    let short = SHORT_LINE as usize;
    out.short += u64::from(
        whole.len() <= short
            || (!ascii && whole.len() <= 4 * short && length(whole, ascii) <= SHORT_LINE),
    );
    outside
}

/// Count copies of the lines: later ones as they stand, and all of the stripped ones.
fn repeated_lines(text: &str, ascii: bool, out: &mut Lines, scratch: &mut LineScratch) {
    scratch.seen.find(&scratch.hashes);
    for (item, (&first, part)) in scratch.seen.first.iter().zip(&scratch.parts).enumerate() {
        if first as usize != item {
            out.duplicate_items.0 += 1;
            let chars = part.chars(text, ascii);
            out.duplicate_items.1 += chars;
            out.duplicate_filled_chars += if part.blank { 0 } else { chars };
        }
    }
    // The stripped lines are often the very same, but for the blank one behind a final newline.
    let filled = scratch.stripped.len();
    if !scratch.hashes.starts_with(&scratch.stripped)
        || scratch.parts[filled..].iter().any(|part| !part.blank)
    {
        scratch.seen.find(&scratch.stripped);
    }
    let counts = &scratch.seen.counts[..filled];
    for (&first, part) in scratch.seen.first.iter().zip(&scratch.stripped_parts) {
        if counts[first as usize] > 1 {
            out.repeated += 1;
            out.repeated_chars += part.chars(text, ascii);
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
    let from = text.len() - trim_start(text).len();
    let to = from + trim_end(&text[from..]).len();
    let mut start = from;
    let mut at = breaks.partition_point(|&at| at < from);
    while at < breaks.len() && breaks[at] < to {
        let first = breaks[at];
        let mut run = 0;
        while at < breaks.len() && breaks[at] == first + run && bytes[breaks[at]] == b'\n' {
            (at, run) = (at + 1, run + 1);
        }
        if run >= 2 {
            scratch.add(bytes, start, first);
            start = first + run;
        }
        at += usize::from(run == 0);
    }
    if start == from {
        out.paragraphs = 1;
        return;
    }
    scratch.add(bytes, start, to);
    out.paragraphs = scratch.hashes.len() as u64;
    scratch.seen.find(&scratch.hashes);
    for (item, (&first, part)) in scratch.seen.first.iter().zip(&scratch.parts).enumerate() {
        if first as usize != item {
            out.duplicate_paragraphs.0 += 1;
            out.duplicate_paragraphs.1 += part.chars(text, ascii);
        }
    }
}

impl LineScratch {
    fn clear(&mut self) {
        self.hashes.clear();
        self.parts.clear();
    }

    fn add(&mut self, bytes: &[u8], start: usize, end: usize) {
        self.hashes.push(xxh3_64(&bytes[start..end]));
        self.parts.push(Part {
            start,
            end,
            blank: false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn length_counts_characters(part in "[a潮é𝒙]{0,80}", copies in 1usize..60) {
            let part = part.repeat(copies);
            prop_assert_eq!(length(&part, false) as usize, part.chars().count());
        }
    }
}

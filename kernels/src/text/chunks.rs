//! The words between white space, with what is in them, in one pass over the bytes.
//!
//! A look-up and an or per byte (1.4 ns), so that whoever takes the words looks into a word only
//! where there is something for it. White space is what Python's `str.isspace` accepts.

use super::classes::{Classes, SPACE};

pub const UPPER: u8 = 1; // a capital of ASCII
pub const LOWER: u8 = 1 << 1;
pub const DIGIT: u8 = 1 << 2;
pub const BEYOND: u8 = 1 << 3; // something beyond ASCII
pub const MARKUP: u8 = 1 << 4; // may open a quotation or be in an address: " @ :
pub const TECHNICAL: u8 = 1 << 5; // MADLAD-400's technical characters but the digits
pub const DOT: u8 = 1 << 6;
const BLANK: u8 = 1 << 7;

const KIND: [u8; 256] = {
    let mut table = [0; 256];
    let mut b = 0;
    while b < 256 {
        let byte = b as u8;
        table[b] = if b >= 128 {
            BEYOND
        } else if byte.is_ascii_uppercase() {
            UPPER
        } else if byte.is_ascii_lowercase() {
            LOWER
        } else if byte.is_ascii_digit() {
            DIGIT
        } else if byte == b' ' || (byte >= 0x09 && byte <= 0x0D) || (byte >= 0x1C && byte <= 0x1F) {
            BLANK
        } else if matches!(byte, b'"' | b'@' | b':') {
            MARKUP
        } else if matches!(byte, b'{' | b'}' | b'+' | b'/' | b'(' | b')' | b'>') {
            TECHNICAL
        } else if byte == b'.' {
            DOT
        } else {
            0
        };
        b += 1;
    }
    table
};

/// Whether a byte is one of MADLAD-400's technical characters, `[0-9{}+/()>]`.
pub fn technical(byte: u8) -> bool {
    KIND[byte as usize] & (TECHNICAL | DIGIT) != 0
}

/// Takes the words of a text in order.
pub trait Words {
    /// The word at `start..end`; `kinds` are the kinds of its bytes.
    fn word(&mut self, start: usize, end: usize, kinds: u8);
}

/// Bytes whose kinds are looked up at once: these are stored bytewise and read in wider pieces, which
/// would wait for the stores if it followed at once.
const BLOCK: usize = 1024;
/// Kinds of a word that are read at once.
const WIDE: usize = 16;

/// `WITHIN[n]` keeps the first n bytes.
const WITHIN: [u128; WIDE + 1] = {
    let mut table = [0; WIDE + 1];
    let mut n = 1;
    while n <= WIDE {
        table[n] = u128::MAX >> (128 - 8 * n);
        n += 1;
    }
    table
};

/// Hand on every maximal run of characters that are no white space.
///
/// The ends of words come from a bit per byte, as a loop over the bytes of each word would be mispredicted
/// at the end of nearly every one.
pub fn words(text: &str, sink: &mut impl Words) {
    let bytes = text.as_bytes();
    // Zeros behind the last block of kinds, for the wide reads.
    let mut kinds = [0; BLOCK + WIDE];
    // The word that is open: where it began, and its kinds so far.
    let mut open: Option<(usize, u8)> = None;
    for (number, block) in bytes.chunks(BLOCK).enumerate() {
        for (kind, &byte) in kinds.iter_mut().zip(block) {
            *kind = KIND[byte as usize];
        }
        if block.len() < BLOCK {
            kinds[block.len()..BLOCK].fill(BLANK); // closes the last word
        }
        for from in (0..block.len()).step_by(64) {
            let base = number * BLOCK + from;
            let mut inside = !blanks(&kinds[from..from + 64]);
            if inside & 1 == 0
                && let Some((start, found)) = open.take()
            {
                hand_on(text, start, base, found, sink);
            }
            while inside != 0 {
                let begin = inside.trailing_zeros() as usize;
                let length = (!(inside >> begin)).trailing_zeros() as usize;
                let end = begin + length;
                let found = any(&kinds[from + begin..], length);
                let (start, found) = match open.take() {
                    Some((start, before)) => (start, before | found), // begin is 0
                    None => (base + begin, found),
                };
                if end >= 64 {
                    open = Some((start, found));
                    break;
                }
                hand_on(text, start, base + end, found, sink);
                inside &= u64::MAX << end;
            }
        }
    }
    if let Some((start, found)) = open {
        hand_on(text, start, bytes.len(), found, sink);
    }
}

#[inline]
fn hand_on(text: &str, start: usize, end: usize, kinds: u8, sink: &mut impl Words) {
    if kinds & BEYOND == 0 {
        sink.word(start, end, kinds);
    } else {
        beyond(text, start, end, kinds, sink);
    }
}

/// Which of 64 kinds are `BLANK`, the highest bit of a kind: a bit for each, the first one lowest.
#[inline]
fn blanks(kinds: &[u8]) -> u64 {
    let (eights, _) = kinds.as_chunks::<8>();
    let mut bits = 0;
    for (number, eight) in eights.iter().enumerate() {
        let high = (u64::from_le_bytes(*eight) >> 7) & 0x0101_0101_0101_0101;
        // Gathers the lowest bit of each byte in the highest byte.
        bits |= (high.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * number);
    }
    bits
}

/// All kinds of a word of `length` bytes.
#[inline]
fn any(kinds: &[u8], length: usize) -> u8 {
    if length > WIDE {
        return kinds[..length].iter().fold(0, |all, kind| all | kind);
    }
    let wide = kinds
        .first_chunk()
        .map_or(0, |kinds| u128::from_le_bytes(*kinds))
        & WITHIN[length];
    let mut all = wide as u64 | (wide >> 64) as u64;
    all |= all >> 32;
    all |= all >> 16;
    (all | all >> 8) as u8
}

/// A run without a blank of ASCII, cut at the white space beyond it.
fn beyond(text: &str, mut start: usize, end: usize, kinds: u8, sink: &mut impl Words) {
    let classes = Classes::get();
    for (step, c) in text[start..end].char_indices().map({
        let from = start;
        move |(step, c)| (from + step, c)
    }) {
        if !c.is_ascii() && classes.of(c) & SPACE != 0 {
            if step > start {
                sink.word(start, step, kinds);
            }
            start = step + c.len_utf8();
        }
    }
    if start < end {
        sink.word(start, end, kinds);
    }
}

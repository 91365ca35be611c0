//! The words between white space, with what is in them, in one pass over the bytes.
//!
//! A look-up per byte and some steps per word (1.1 ns per byte of web pages), so that whoever takes the
//! words looks into a word only where there is something for it. White space is what Python's
//! `str.isspace` accepts.

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

/// Edges of words that are listed at once.
const EDGES: usize = 8;

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
/// Begins and ends of words come from a bit per byte and are listed a block at a time: a loop over the
/// bytes of each word, or over the words of 64 bytes, is mispredicted wherever it ends.
pub fn words(text: &str, sink: &mut impl Words) {
    let bytes = text.as_bytes();
    // Zeros behind the last block of kinds, for the wide reads.
    let mut kinds = [0; BLOCK + WIDE];
    let mut edges = [0u16; BLOCK + EDGES];
    // The word that is open where a block begins: its begin, and its kinds so far.
    let mut open: Option<(usize, u8)> = None;
    for (number, block) in bytes.chunks(BLOCK).enumerate() {
        let base = number * BLOCK;
        for (kind, &byte) in kinds.iter_mut().zip(block) {
            *kind = KIND[byte as usize];
        }
        let filled = block.len().next_multiple_of(64);
        kinds[block.len()..filled].fill(BLANK); // closes the last word
        let mut edges: &[u16] = list_edges(&kinds[..filled], open.is_some(), &mut edges);
        if let Some((start, before)) = open {
            let end = edges.first().map_or(filled, |&end| end as usize);
            let found = before | any(&kinds, end);
            let Some((_, rest)) = edges.split_first() else {
                open = Some((start, found));
                continue;
            };
            hand_on_rarely(text, start, base + end, found, sink);
            (open, edges) = (None, rest);
        }
        let (pairs, rest) = edges.as_chunks::<2>();
        for &[start, end] in pairs {
            let (start, end) = (start as usize, end as usize);
            let found = any(&kinds[start..], end - start);
            hand_on(text, base + start, base + end, found, sink);
        }
        if let &[start] = rest {
            let start = start as usize;
            open = Some((base + start, any(&kinds[start..], filled - start)));
        }
    }
    if let Some((start, found)) = open {
        hand_on_rarely(text, start, bytes.len(), found, sink);
    }
}

/// Where words begin and end in a block, in order; `inside` says that it begins inside of a word. What
/// is open at its end stays open.
#[inline]
fn list_edges<'a>(kinds: &[u8], inside: bool, edges: &'a mut [u16; BLOCK + EDGES]) -> &'a [u16] {
    let mut count = 0;
    let mut before = u64::from(inside);
    for (number, kinds) in kinds.chunks_exact(64).enumerate() {
        let words = !blanks(kinds);
        let mut bits = words ^ (words << 1 | before);
        before = words >> 63;
        let end = count + bits.count_ones() as usize;
        // By the handful: what is too many is written over.
        while count < end {
            for edge in &mut edges[count..count + EDGES] {
                *edge = (number * 64) as u16 + bits.trailing_zeros() as u16;
                bits &= bits.wrapping_sub(1);
            }
            count += EDGES;
        }
        count = end;
    }
    &edges[..count]
}

/// The same out of line, so that the other call is the one into which what takes the words is inlined.
#[inline(never)]
fn hand_on_rarely(text: &str, start: usize, end: usize, kinds: u8, sink: &mut impl Words) {
    hand_on(text, start, end, kinds, sink);
}

#[inline]
fn hand_on(text: &str, start: usize, end: usize, kinds: u8, sink: &mut impl Words) {
    if kinds & BEYOND == 0 || !may_have_space(text.as_bytes(), start, end) {
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

/// Whether there may be white space beyond ASCII in a run or in the seven bytes behind it: it begins with
/// one of the bytes C2 and E1 to E3 (a test says so), and letters of Latin, Greek and Cyrillic do not.
#[inline]
fn may_have_space(bytes: &[u8], start: usize, end: usize) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Not 0 if a byte is 0, eight at once.
    let zeros = |eight: u64| eight.wrapping_sub(ONES) & !eight & (ONES << 7);
    (start..end).step_by(8).any(|at| {
        bytes[at..].first_chunk::<8>().is_none_or(|eight| {
            let eight = u64::from_le_bytes(*eight);
            zeros(eight ^ (ONES * 0xC2)) | zeros((eight & (ONES * 0xFC)) ^ (ONES * 0xE0)) != 0
        })
    })
}

/// A run without a blank of ASCII, cut at the white space beyond it.
fn beyond(text: &str, mut start: usize, end: usize, kinds: u8, sink: &mut impl Words) {
    let classes = Classes::get();
    let bytes = text.as_bytes();
    let mut at = start;
    while let Some(step) = bytes[at..end]
        .iter()
        .position(|b| matches!(b, 0xC2 | 0xE1..=0xE3))
    {
        at += step;
        let Some(c) = text[at..end].chars().next() else {
            break;
        };
        let next = at + c.len_utf8();
        if classes.of(c) & SPACE != 0 {
            if at > start {
                sink.word(start, at, kinds);
            }
            start = next;
        }
        at = next;
    }
    if start < end {
        sink.word(start, end, kinds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn white_space_beyond_ascii_begins_with_few_bytes() {
        let spaces = ('\u{80}'..=char::MAX).filter(|&c| Classes::get().of(c) & SPACE != 0);
        for c in spaces {
            let first = c.encode_utf8(&mut [0; 4]).as_bytes()[0];
            assert!(matches!(first, 0xC2 | 0xE1..=0xE3), "{c:?}");
        }
    }

    struct Taken(Vec<(usize, usize, u8)>);

    impl Words for Taken {
        fn word(&mut self, start: usize, end: usize, kinds: u8) {
            self.0.push((start, end, kinds));
        }
    }

    proptest! {
        /// Words of every length up to some thousand bytes, at every place in a block.
        #[test]
        fn words_are_those_of_a_plain_search(parts in prop::collection::vec(("[a-zA-Z0-9.@/é漢\u{2003}\u{a0}]{0,6}", 0..400usize, "[ \n\t\x1c\x0b]{0,3}"), 0..30)) {
            let text: String = parts.iter().map(|(word, times, space)| word.repeat(1 + times * times / 400) + space).collect();
            let mut taken = Taken(Vec::new());
            words(&text, &mut taken);
            let space = |c| Classes::get().of(c) & SPACE != 0;
            let expected: Vec<_> = text.split(space).filter(|word| !word.is_empty()).map(|word| {
                let start = word.as_ptr() as usize - text.as_ptr() as usize;
                (start, start + word.len())
            }).collect();
            prop_assert_eq!(taken.0.iter().map(|&(start, end, _)| (start, end)).collect::<Vec<_>>(), expected);
            for (start, end, kinds) in taken.0 {
                let own = text.as_bytes()[start..end].iter().fold(0, |all, &b| all | KIND[b as usize]);
                prop_assert_eq!(kinds & own, own);
                prop_assert!(own & BEYOND != 0 || own == kinds || kinds & BEYOND != 0);
            }
        }
    }
}

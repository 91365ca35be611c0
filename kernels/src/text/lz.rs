//! How well a text compresses: the size of an LZ4 block of its first 64 KiB, without writing it.
//!
//! A greedy parse with one candidate per hash (4,096 slots of 2 bytes: the table stays in the first
//! cache), counted as the LZ4 block format would store it: a match is at least 4 bytes, a sequence
//! is a token, its literals and a 2-byte offset, lengths from 15 and 19 on spill into bytes of 255.
//! The search looks at every other byte and remembers all, after 64 misses at every third, and so on; a
//! match is extended to both sides. Of a longer text the first 65,536 bytes speak for all of it, so the
//! cost is bounded: 1.4 ns per byte of them.

const SAMPLE: usize = 1 << 16;
const SLOTS: usize = 1 << 12;
const MIN_MATCH: usize = 4;
const LAST_LITERALS: usize = 5; // the block format asks for these
const LAST_MATCH: usize = 12; // a match begins at least this far from the end

/// The table of positions, reused from text to text.
pub struct Positions(Box<[u16; SLOTS]>);

impl Default for Positions {
    fn default() -> Positions {
        Positions(Box::new([0; SLOTS]))
    }
}

/// Compressed bytes per byte; 0 for an empty text. A little above 1 where nothing repeats.
pub fn compression_ratio(bytes: &[u8], positions: &mut Positions) -> f64 {
    let sample = &bytes[..bytes.len().min(SAMPLE)];
    if sample.is_empty() {
        return 0.0;
    }
    block_size(sample, &mut positions.0) as f64 / sample.len() as f64
}

/// The eight bytes from `at` on; 0 if there are fewer.
#[inline]
fn eight(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|part| part.first_chunk())
        .map_or(0, |eight| u64::from_le_bytes(*eight))
}

/// Bytes that a length takes beyond its half of the token: none below 15, then one per 255.
#[inline]
fn spill(length: usize) -> usize {
    (length + 240) / 255
}

/// How many bytes from `a` and from `b` on are the same, `b` before `end`; most often fewer than eight,
/// which one comparison tells.
#[inline]
fn same_ahead(bytes: &[u8], a: usize, b: usize, end: usize) -> usize {
    let mut length = 0;
    while b + length + 8 <= end {
        let differ = eight(bytes, a + length) ^ eight(bytes, b + length);
        if differ != 0 {
            return length + differ.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    while b + length < end && bytes[a + length] == bytes[b + length] {
        length += 1;
    }
    length
}

/// How many bytes before `a` and before `b` are the same, `most` at most (no more than `a` and `b`).
#[inline]
fn same_behind(bytes: &[u8], a: usize, b: usize, most: usize) -> usize {
    let mut length = 0;
    // Eight at once also where fewer may count: how many may is hard to predict.
    while let (Some(a), Some(b)) = (a.checked_sub(length + 8), b.checked_sub(length + 8)) {
        let differ = eight(bytes, a) ^ eight(bytes, b);
        length += differ.leading_zeros() as usize / 8;
        if differ != 0 || length >= most {
            return length.min(most);
        }
    }
    while length < most && bytes[a - length - 1] == bytes[b - length - 1] {
        length += 1;
    }
    length
}

fn block_size(bytes: &[u8], positions: &mut [u16; SLOTS]) -> usize {
    let slot = |value: u32| (value.wrapping_mul(2_654_435_761) >> 20) as usize;
    let (mut size, mut anchor) = (0, 0);
    if bytes.len() > LAST_MATCH {
        positions.fill(0);
        let last = bytes.len() - LAST_MATCH;
        let end = bytes.len() - LAST_LITERALS;
        let (mut at, mut misses) = (1, 128);
        while at <= last {
            let here = eight(bytes, at);
            let value = here as u32;
            let candidate = std::mem::replace(&mut positions[slot(value)], at as u16) as usize;
            // The byte passed over is entered too, or copies at an odd distance would be missed.
            positions[slot((here >> 8) as u32)] = at as u16 + 1;
            if candidate >= at || eight(bytes, candidate) as u32 != value {
                at += misses / 64;
                misses += 1;
                continue;
            }
            let ahead = same_ahead(bytes, candidate + MIN_MATCH, at + MIN_MATCH, end);
            let back = same_behind(bytes, candidate, at, candidate.min(at - anchor));
            let literals = at - back - anchor;
            let length = back + MIN_MATCH + ahead;
            size += 1 + literals + spill(literals) + 2 + spill(length - MIN_MATCH);
            at += MIN_MATCH + ahead;
            (anchor, misses) = (at, 128);
        }
    }
    let literals = bytes.len() - anchor;
    size + 1 + literals + spill(literals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn size(text: &str) -> usize {
        block_size(text.as_bytes(), &mut [0; SLOTS])
    }

    #[test]
    fn sizes_are_those_of_the_block_format() {
        assert_eq!(size("tide"), 1 + 4); // a token and four literals
        assert_eq!(size("abcdefghijklmno"), 1 + 15 + 1); // 15 literals spill into one byte
        // One literal; a match at distance 1 up to five bytes from the end (100 - 6 = 94: its length
        // less 4 is 90, which spills into one byte); a token and the last five.
        assert_eq!(size(&"a".repeat(100)), (1 + 1 + 2 + 1) + (1 + 5));
    }

    proptest! {
        #[test]
        fn a_block_is_never_larger_than_its_literals(text in "[ab ]{0,400}") {
            prop_assert!(size(&text) <= text.len() + 1 + spill(text.len()));
        }

        #[test]
        fn copies_cost_little(text in "[a-z ]{40,400}") {
            let twenty = size(&text.repeat(20));
            prop_assert!(twenty < size(&text) + text.len() * 19 / 4, "{twenty}");
        }
    }
}

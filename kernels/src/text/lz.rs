//! How well a text compresses: the size of an LZ4 block of its first 64 KiB, without writing it.
//!
//! A greedy parse with one candidate per hash (4,096 slots of 2 bytes: the table stays in the first
//! cache), counted as the LZ4 block format would store it: a match is at least 4 bytes, a sequence
//! is a token, its literals and a 2-byte offset, lengths from 15 and 19 on spill into bytes of 255.
//! The search looks at every other byte and remembers all, after 64 misses at every third, and so on; a
//! match is extended to both sides. Of a longer text the first 65,536 bytes speak for all of it, so the
//! cost is bounded: 2 ns per byte of them.

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

fn four(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk::<4>()
        .map_or(0, |four| u32::from_le_bytes(*four))
}

/// Bytes that a length takes beyond its half of the token.
fn spill(length: usize) -> usize {
    if length < 15 {
        0
    } else {
        1 + (length - 15) / 255
    }
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
            let value = four(bytes, at);
            let candidate = std::mem::replace(&mut positions[slot(value)], at as u16) as usize;
            // The byte passed over is entered too, or copies at an odd distance would be missed.
            positions[slot(four(bytes, at + 1))] = at as u16 + 1;
            if candidate >= at || four(bytes, candidate) != value {
                at += misses / 64;
                misses += 1;
                continue;
            }
            let mut length = MIN_MATCH;
            while at + length < end && bytes[candidate + length] == bytes[at + length] {
                length += 1;
            }
            let mut back = 0;
            while at - back > anchor
                && candidate > back
                && bytes[candidate - back - 1] == bytes[at - back - 1]
            {
                back += 1;
            }
            let literals = at - back - anchor;
            length += back;
            size += 1 + literals + spill(literals) + 2 + spill(length - MIN_MATCH);
            at += length - back;
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

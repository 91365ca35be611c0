//! Repeated lines, paragraphs and word n-grams, as datatrove counts them for the Gopher rules.
//!
//! Everything is compared by 64-bit hash, never as a string: two different lines of a text of n
//! lines are taken for one with odds below n^2 / 2^65 (a text of a million words: 3e-8). An n-gram's
//! hash is a polynomial of its words' hashes, so each n costs one multiplication per word.
//!
//! An n-gram can only occur twice where both (n-1)-grams inside it do. So words are counted at every
//! position and each longer n only where the shorter one repeated: English prose pays for less than two
//! table passes instead of ten. A text that repeats everywhere pays for ten and stays linear.
//! Memory: about 60 bytes per token. One departure: datatrove joins the words of 5- to 10-grams without a
//! space before it compares them, so `ab c` equals `a bc` there; here word limits count.

use std::sync::OnceLock;

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15 | 2; // odd, and 3 modulo 4: M - 1 loses one bit
const EMPTY: u32 = u32::MAX;

/// Finds equal hashes: an open-addressing table of positions, reused between texts.
#[derive(Default)]
pub struct FirstSeen {
    slots: Vec<u32>,
    /// For every item, the index of the first item with the same hash.
    pub first: Vec<u32>,
    /// For every item, how many there are with the same hash if it is the first, else 0.
    pub counts: Vec<u32>,
}

impl FirstSeen {
    /// Fill `first` and `counts` for `hashes`; at most 2^32 - 1 of them.
    pub fn find(&mut self, hashes: &[u64]) {
        let capacity = (hashes.len() * 2).next_power_of_two().max(2);
        let shift = 64 - capacity.trailing_zeros();
        self.slots.clear();
        self.slots.resize(capacity, EMPTY);
        self.first.clear();
        self.first.resize(hashes.len(), 0);
        self.counts.clear();
        self.counts.resize(hashes.len(), 0);
        let slots = &mut self.slots[..capacity];
        for ((item, &hash), of_item) in hashes.iter().enumerate().zip(&mut self.first) {
            let mut slot = (mix(hash) >> shift) as usize;
            // An empty slot takes the item, which equals itself: whether a hash is new, which no
            // processor foresees, is then no branch.
            let first = loop {
                let there = slots[slot];
                let first = if there == EMPTY { item as u32 } else { there };
                if hashes[first as usize] == hash {
                    slots[slot] = first;
                    break first;
                }
                slot = (slot + 1) & (capacity - 1);
            };
            *of_item = first;
            self.counts[first as usize] += 1;
        }
    }
}

#[inline]
fn mix(hash: u64) -> u64 {
    (hash ^ (hash >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

/// The n-gram counts of one text, in characters.
#[derive(Debug, Default, PartialEq)]
pub struct Repetition {
    /// For n = 2, 3, 4: characters of the most frequent n-gram, words joined by one space, times its
    /// count; the first seen among equals, and a count of one counts.
    pub top: [u64; 3],
    /// For n = 5 to 10: characters of n-grams seen before, going left to right and jumping over each.
    pub duplicate: [u64; 6],
    /// For n = 1, of the items with `WORD` set: how many, how many different ones, and the sum of
    /// c log2 c over the counts c of these.
    pub words: u64,
    pub distinct: u64,
    pub weighted_logs: f64,
}

/// The bit of an item's hash that says that it counts as a word; equal items agree in it.
pub const WORD: u64 = 1;

#[derive(Default)]
pub struct Ngrams {
    seen: FirstSeen,
    positions: Vec<u32>, // of n-grams that may repeat
    hashes: Vec<u64>,    // theirs
    repeated: Vec<Repeated>,
}

/// A repeated n-gram.
#[derive(Clone, Copy, Default)]
struct Repeated {
    position: u32,
    first: u32, // its first occurrence's index
    hash: u64,
}

impl Ngrams {
    /// Count the n-grams of the tokens with these hashes and lengths in characters.
    pub fn count(&mut self, words: &[u64], chars: &[u32]) -> Repetition {
        let mut out = Repetition::default();
        self.words(words, &mut out);
        for n in 2..=10usize {
            if words.len() < n {
                break;
            }
            if n > 2 {
                self.candidates(&words[n - 1..]);
            }
            self.seen.find(&self.hashes);
            let (best, count) = self.tally();
            if n <= 4 {
                let letters: u64 = chars[best..best + n].iter().map(|&c| u64::from(c)).sum();
                out.top[n - 2] = (letters + n as u64 - 1) * u64::from(count);
            } else {
                out.duplicate[n - 5] = self.greedy(n, chars);
            }
        }
        out
    }

    /// Count the words; the positions of 2-grams that may repeat are those of two repeated items.
    fn words(&mut self, words: &[u64], out: &mut Repetition) {
        self.seen.find(words);
        let first = &self.seen.first;
        let counts = &self.seen.counts;
        let logs = weighted_logs();
        // Lists are filled without a branch on what goes in: always written to, now and then grown.
        self.positions.clear();
        self.positions.resize(words.len() + 1, 0);
        let mut several = 0;
        for (&count, &word) in counts.iter().zip(words) {
            let is_word = word & WORD != 0;
            out.words += if is_word { u64::from(count) } else { 0 };
            out.distinct += u64::from(is_word && count > 0);
            self.positions[several] = count;
            several += usize::from(is_word && count > 1);
        }
        for &count in &self.positions[..several] {
            out.weighted_logs += match logs.get(count as usize) {
                Some(log) => *log,
                None => weighted_log(count),
            };
        }
        self.hashes.clear();
        self.hashes.resize(words.len() + 1, 0);
        let (mut before, mut before_hash, mut pairs) = (false, 0, 0);
        for (item, (&first, &word)) in first.iter().zip(words).enumerate() {
            let repeated = counts[first as usize] > 1;
            self.positions[pairs] = (item as u32).wrapping_sub(1);
            self.hashes[pairs] = longer(before_hash, word);
            pairs += usize::from(before && repeated);
            (before, before_hash) = (repeated, word);
        }
        self.positions.truncate(pairs);
        self.hashes.truncate(pairs);
    }

    /// Positions at which an n-gram may repeat, those of two neighbouring repeated (n-1)-grams, and the
    /// hashes of these n-grams; `last` are the words from the n-th on.
    fn candidates(&mut self, last: &[u64]) {
        self.positions.clear();
        self.positions.resize(self.repeated.len(), 0);
        self.hashes.clear();
        self.hashes.resize(self.repeated.len(), 0);
        let mut length = 0;
        for pair in self.repeated.windows(2) {
            let Repeated { position, hash, .. } = pair[0];
            self.positions[length] = position;
            // The last n-gram of a text has no next word, and no pair either.
            self.hashes[length] = longer(hash, last[position as usize]);
            length += usize::from(position + 1 == pair[1].position);
        }
        self.positions.truncate(length);
        self.hashes.truncate(length);
    }

    /// Count the candidates and list the repeated ones; position and count of the top n-gram.
    fn tally(&mut self) -> (usize, u32) {
        self.repeated.clear();
        self.repeated
            .resize(self.positions.len() + 1, Repeated::default());
        let (mut top, mut length) = ((0, 1), 0);
        let items = self.seen.first.iter().zip(&self.positions);
        for ((&first, &position), &hash) in items.zip(&self.hashes) {
            let count = self.seen.counts[first as usize];
            self.repeated[length] = Repeated {
                position,
                first,
                hash,
            };
            length += usize::from(count > 1);
            if count > top.1 {
                top = (position as usize, count);
            }
        }
        self.repeated.truncate(length);
        top
    }

    fn greedy(&mut self, n: usize, chars: &[u32]) -> u64 {
        let (mut sum, mut resume) = (0, 0);
        for &Repeated {
            position, first, ..
        } in &self.repeated
        {
            let position = position as usize;
            if position < resume {
                continue;
            }
            let visited = &mut self.seen.counts[first as usize];
            if *visited == EMPTY {
                sum += chars[position..position + n]
                    .iter()
                    .map(|&c| u64::from(c))
                    .sum::<u64>();
                resume = position + n;
            } else {
                *visited = EMPTY;
            }
        }
        sum
    }
}

/// The hash of an n-gram from that of the n-gram without its last word.
#[inline]
fn longer(hash: u64, word: u64) -> u64 {
    hash.wrapping_mul(MULTIPLIER).wrapping_add(word)
}

fn weighted_log(count: u32) -> f64 {
    f64::from(count) * f64::from(count).log2()
}

/// c log2 c of small counts.
fn weighted_logs() -> &'static [f64; 256] {
    static LOGS: OnceLock<[f64; 256]> = OnceLock::new();
    LOGS.get_or_init(|| std::array::from_fn(|count| weighted_log(count.max(1) as u32)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    /// The definitions, word for word, over strings.
    fn reference(words: &[String]) -> Repetition {
        let mut out = Repetition::default();
        for n in 2..=4.min(words.len()) {
            let mut counts: HashMap<String, (usize, usize)> = HashMap::new();
            for (at, gram) in words.windows(n).enumerate() {
                counts.entry(gram.join(" ")).or_insert((at, 0)).1 += 1;
            }
            let top = counts
                .iter()
                .max_by_key(|(_, (at, count))| (*count, usize::MAX - at));
            out.top[n - 2] = top.map_or(0, |(gram, (_, count))| gram.len() * count) as u64;
        }
        for n in 5..=10 {
            let (mut seen, mut at) = (HashSet::new(), 0);
            while at + n <= words.len() {
                let gram = words[at..at + n].join(" ");
                let letters: usize = words[at..at + n].iter().map(String::len).sum();
                if seen.insert(gram) {
                    at += 1;
                } else {
                    out.duplicate[n - 5] += letters as u64;
                    at += n;
                }
            }
        }
        out
    }

    fn hash(word: &str) -> u64 {
        xxhash_rust::xxh3::xxh3_64(word.as_bytes())
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_definition(words in prop::collection::vec("[a-c]{1,2}", 0..120),
                                              copies in 1..4usize) {
            let words: Vec<String> = words.iter().cloned().cycle().take(words.len() * copies).collect();
            let hashes: Vec<u64> = words.iter().map(|word| hash(word)).collect();
            let chars: Vec<u32> = words.iter().map(|word| word.len() as u32).collect();
            let counted = Ngrams::default().count(&hashes, &chars);
            let expected = reference(&words);
            prop_assert_eq!((counted.top, counted.duplicate), (expected.top, expected.duplicate));
            let kept: Vec<u64> = hashes.iter().copied().filter(|hash| hash & WORD != 0).collect();
            prop_assert_eq!(counted.words, kept.len() as u64);
            prop_assert_eq!(counted.distinct, kept.iter().collect::<HashSet<_>>().len() as u64);
        }
    }
}

//! From a text to rows of the input matrix: words, their character n-grams, and word n-grams
//! (Bojanowski et al. 2017, arXiv:1607.04606 §3.2; Joulin et al. 2016, arXiv:1607.01759 §2.2).
//!
//! A word costs one 32-bit FNV-1a pass per start of an n-gram (the hashes of one start's n-grams are
//! prefixes of each other), one multiplication for each bucket number, and one bit test for each
//! bucket of a pruned dictionary; only kept buckets touch more memory. Nothing is allocated.

use pyo3::PyResult;

use super::reader::Reader;

/// The word that stands for the end of a line. As a literal word of a text it is no feature here.
pub const END_OF_LINE: &[u8] = b"</s>";
/// What a word that is a label starts with.
pub const LABEL_PREFIX: &[u8] = b"__label__";
const FNV_START: u32 = 2_166_136_261;
const NONE: u32 = u32::MAX;
const PRUNED_BUCKETS: i64 = 1 << 28; // 48 MiB of bits and counts

/// One step of FNV-1a. The reference widens each byte as a *signed* char, and so does this.
fn fnv(hash: u32, byte: u8) -> u32 {
    (hash ^ byte as i8 as u32).wrapping_mul(16_777_619)
}

fn fnv_of(bytes: &[u8]) -> u32 {
    bytes.iter().fold(FNV_START, |hash, &byte| fnv(hash, byte))
}

fn continues_a_character(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

/// `value % divisor` for 32-bit numbers in two multiplications (Lemire et al. 2019, arXiv:1902.01961).
struct Modulo {
    divisor: u32,
    inverse: u64,
}

impl Modulo {
    fn new(divisor: u32) -> Self {
        Self {
            divisor,
            inverse: (u64::MAX / u64::from(divisor.max(1))).wrapping_add(1),
        }
    }

    fn of(&self, value: u32) -> u32 {
        let fraction = self.inverse.wrapping_mul(u64::from(value));
        ((u128::from(fraction) * u128::from(self.divisor)) >> 64) as u32
    }
}

/// Which hash buckets have a row, and which.
enum Buckets {
    All,
    /// A bit per bucket, the number of set bits before each word of 64, and the rows in bucket order.
    Kept {
        bits: Vec<(u64, u32)>,
        rows: Vec<u32>,
    },
    Nothing,
}

pub struct Features {
    words: u32,
    text: Vec<u8>,
    starts: Vec<usize>,
    slots: Vec<(u32, u32)>, // hash, entry; a power of two of them, at most half full
    end_of_line: Option<u32>,
    min_n: usize,
    max_n: usize,
    word_n: usize,
    modulo: Modulo,
    buckets: Buckets,
    labels: Vec<(String, i64)>,
    rows: usize,
}

/// The shape of a model's features, from its header.
pub struct Shape {
    pub min_n: i32,
    pub max_n: i32,
    pub word_n: i32,
    pub bucket: i32,
}

impl Features {
    pub fn read(file: &mut Reader, shape: &Shape) -> PyResult<Self> {
        let size = file.i32("the dictionary size")?;
        let words = file.i32("the number of words")?;
        let labels = file.i32("the number of labels")?;
        file.i64("the number of tokens")?;
        let pruned = file.i64("the number of kept buckets")?;
        let size = file.count(size.into(), 10, "the dictionary size")?;
        if words < 0 || labels < 1 || words as i64 + labels as i64 != size as i64 {
            return Err(file.wrong(format!(
                "a dictionary of {size} entries with {words} words and {labels} labels"
            )));
        }
        let mut out = Self {
            words: words as u32,
            text: Vec::new(),
            starts: vec![0],
            slots: vec![(0, NONE); (size * 2).next_power_of_two()],
            end_of_line: None,
            min_n: shape.min_n.max(0) as usize,
            max_n: shape.max_n.max(0) as usize,
            word_n: shape.word_n.max(0) as usize,
            modulo: Modulo::new(shape.bucket.max(0) as u32),
            buckets: Buckets::Nothing,
            labels: Vec::new(),
            rows: words as usize,
        };
        for entry in 0..size as u32 {
            out.read_entry(file, entry)?;
        }
        out.end_of_line = out.find(END_OF_LINE, fnv_of(END_OF_LINE));
        out.end_of_line = out.end_of_line.filter(|&entry| entry < out.words);
        if out.max_n > 0 || out.word_n > 1 {
            if shape.bucket < 1 {
                return Err(file.wrong(format!("n-grams in {} buckets", shape.bucket)));
            }
            out.read_buckets(file, pruned, shape.bucket)?;
        } else if pruned > 0 {
            return Err(file.wrong("kept buckets in a model without n-grams"));
        }
        Ok(out)
    }

    fn read_entry(&mut self, file: &mut Reader, entry: u32) -> PyResult<()> {
        let start = self.text.len();
        file.word(&mut self.text)?;
        self.starts.push(self.text.len());
        let count = file.i64("a word's count")?;
        let (is_label, expected) = (file.u8("a word's kind")?, u8::from(entry >= self.words));
        if is_label != expected {
            return Err(file.wrong(format!(
                "entry {entry} is of kind {is_label}, not {expected}: words come first, then labels"
            )));
        }
        let word = &self.text[start..];
        if expected == 1 {
            let name = word.strip_prefix(LABEL_PREFIX).unwrap_or(word);
            match std::str::from_utf8(name) {
                Ok(name) => self.labels.push((name.to_string(), count)),
                Err(_) => return Err(file.wrong(format!("label {entry} is not UTF-8"))),
            }
        }
        let slot = self.slot(word, fnv_of(word));
        self.slots[slot] = (fnv_of(&self.text[start..]), entry);
        Ok(())
    }

    fn read_buckets(&mut self, file: &mut Reader, pruned: i64, bucket: i32) -> PyResult<()> {
        if pruned == 0 {
            return Ok(());
        }
        if pruned < 0 {
            self.buckets = Buckets::All;
            self.rows += bucket as usize;
            return Ok(());
        }
        let kept = file.count(pruned, 8, "the number of kept buckets")?;
        if bucket as i64 > PRUNED_BUCKETS {
            return Err(file.wrong(format!("a pruned dictionary of {bucket} buckets")));
        }
        let mut pairs = Vec::with_capacity(kept);
        for order in 0..kept {
            let (from, to) = (file.i32("a kept bucket")?, file.i32("a bucket's row")?);
            if !(0..bucket).contains(&from) || to < 0 || to == i32::MAX {
                return Err(file.wrong(format!("kept bucket {from} of {bucket} maps to {to}")));
            }
            pairs.push((from as u32, order, self.words + to as u32));
            self.rows = self.rows.max(self.words as usize + to as usize + 1);
        }
        pairs.sort_unstable();
        let mut bits = vec![(0u64, 0u32); bucket as usize / 64 + 1];
        let mut rows: Vec<u32> = Vec::with_capacity(kept);
        for (index, &(from, _, row)) in pairs.iter().enumerate() {
            if index > 0 && pairs[index - 1].0 == from {
                rows.pop(); // a bucket named twice keeps its last row
            }
            rows.push(row);
            bits[from as usize / 64].0 |= 1 << (from % 64);
        }
        let mut before = 0;
        for (word, count) in &mut bits {
            *count = before;
            before += word.count_ones();
        }
        self.buckets = Buckets::Kept { bits, rows };
        Ok(())
    }

    /// Labels without their prefix, with their counts in training.
    pub fn labels(&self) -> &[(String, i64)] {
        &self.labels
    }

    /// Rows that the input matrix must have.
    pub fn rows(&self) -> usize {
        self.rows
    }

    fn slot(&self, word: &[u8], hash: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash.wrapping_mul(0x9E37_79B1) as usize & mask;
        loop {
            let (known, entry) = self.slots[slot];
            if entry == NONE || (known == hash && self.entry(entry) == word) {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }

    fn entry(&self, entry: u32) -> &[u8] {
        &self.text[self.starts[entry as usize]..self.starts[entry as usize + 1]]
    }

    fn find(&self, word: &[u8], hash: u32) -> Option<u32> {
        let (_, entry) = self.slots[self.slot(word, hash)];
        (entry != NONE).then_some(entry)
    }

    fn push_bucket(&self, bucket: u32, push: &mut impl FnMut(u32)) {
        match &self.buckets {
            Buckets::Kept { bits, rows } => {
                let (word, before) = bits[bucket as usize / 64];
                let bit = 1u64 << (bucket % 64);
                if word & bit != 0 {
                    push(rows[(before + (word & (bit - 1)).count_ones()) as usize]);
                }
            }
            Buckets::All => push(self.words + bucket),
            Buckets::Nothing => {}
        }
    }

    fn push_word_ngram(&self, hash: u64, push: &mut impl FnMut(u32)) {
        self.push_bucket((hash % u64::from(self.modulo.divisor)) as u32, push);
    }

    /// Push the rows of a word's n-grams; `marked` is the word between `<` and `>`.
    fn push_ngrams(&self, marked: &[u8], push: &mut impl FnMut(u32)) {
        for start in 0..marked.len() {
            if continues_a_character(marked[start]) {
                continue;
            }
            let (mut hash, mut at) = (FNV_START, start);
            for n in 1..=self.max_n {
                if at == marked.len() {
                    break;
                }
                hash = fnv(hash, marked[at]);
                at += 1;
                while at < marked.len() && continues_a_character(marked[at]) {
                    hash = fnv(hash, marked[at]);
                    at += 1;
                }
                // The marks alone are no n-gram.
                if n >= self.min_n && !(n == 1 && (start == 0 || at == marked.len())) {
                    self.push_bucket(self.modulo.of(hash), push);
                }
            }
        }
    }
}

/// One text's words on their way to rows; holds what must be remembered from word to word.
pub struct Words<'a> {
    features: &'a Features,
    marked: Vec<u8>,
    open: Vec<u64>, // hashes of the word n-grams that the next word continues
    since: usize,   // words since the last mark
}

impl<'a> Words<'a> {
    pub fn new(features: &'a Features) -> Self {
        Self {
            features,
            marked: Vec::new(),
            open: Vec::new(),
            since: 0,
        }
    }

    pub fn restart(&mut self) {
        self.open.clear();
        self.since = 0;
    }

    /// What comes now is a new part of the text.
    pub fn mark(&mut self) {
        self.since = 0;
    }

    /// Push the rows of one word of a text, and whether they belong to the text only: a word n-gram that
    /// began before the mark is none of the part's.
    pub fn push(&mut self, word: &[u8], push: &mut impl FnMut(u32, bool)) {
        let features = self.features;
        let hash = fnv_of(word);
        let entry = features.find(word, hash);
        match entry {
            Some(entry) if entry >= features.words => return, // a label
            None if word.starts_with(LABEL_PREFIX) => return,
            _ if word == END_OF_LINE => return,
            Some(entry) => push(entry, false),
            None => {}
        }
        if features.max_n > 0 {
            self.marked.clear();
            self.marked.push(b'<');
            self.marked.extend_from_slice(word);
            self.marked.push(b'>');
            features.push_ngrams(&self.marked, &mut |row| push(row, false));
        }
        if features.word_n > 1 {
            let signed = signed(hash);
            let before = self.open.len().saturating_sub(self.since);
            for (index, open) in self.open.iter_mut().enumerate() {
                *open = continued(*open, signed);
                features.push_word_ngram(*open, &mut |row| push(row, index < before));
            }
            if self.open.len() + 1 == features.word_n {
                self.open.remove(0);
            }
            self.open.push(signed);
            self.since += 1;
        }
    }

    /// Push the rows of the end of the line: of the whole text, or of the part since the mark alone.
    pub fn push_end(&self, part: bool, push: &mut impl FnMut(u32)) {
        if let Some(entry) = self.features.end_of_line {
            push(entry);
        }
        if self.features.word_n > 1 {
            let signed = signed(fnv_of(END_OF_LINE));
            let before = self.open.len().saturating_sub(self.since);
            for open in &self.open[if part { before } else { 0 }..] {
                self.features
                    .push_word_ngram(continued(*open, signed), push);
            }
        }
    }
}

/// A word's hash as the reference takes it into word n-grams: sign-extended.
fn signed(hash: u32) -> u64 {
    hash as i32 as u64
}

fn continued(open: u64, signed: u64) -> u64 {
    open.wrapping_mul(116_049_371).wrapping_add(signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_widens_bytes_as_signed_characters() {
        // FNV-1a of "a" is 0xe40c292c (Fowler, Noll and Vo's own test vectors).
        assert_eq!(fnv_of(b"a"), 0xe40c_292c);
        // 0xc3 widens to 0xffffffc3: (2166136261 ^ 0xffffffc3) * 16777619 mod 2^32.
        let widened = (2_166_136_261u64 ^ 0xffff_ffc3) * 16_777_619 % (1 << 32);
        assert_eq!(u64::from(fnv_of(&[0xc3])), widened);
    }

    #[test]
    fn modulo_is_the_remainder() {
        for divisor in [1, 2, 3, 7, 64, 2_000_000, u32::MAX] {
            let modulo = Modulo::new(divisor);
            for value in [0, 1, 2, 6, 63, 1_999_999, 2_000_000, 4_000_001, u32::MAX] {
                assert_eq!(modulo.of(value), value % divisor, "{value} % {divisor}");
            }
        }
    }
}

//! MinHash over word n-grams, the digests of its bands, and true Jaccard of candidate pairs.
//!
//! 1. Words: small letters, no punctuation (`text/words.rs`), 64-bit hash each.
//! 2. Shingle: n words in a row, a polynomial of their hashes with a final mix, 64 bits; two different
//!    shingles of texts with a and b of them meet with odds below a*b / 2^64.
//! 3. Signature: the minimum of `a*x + b` modulo 2^32 over the shingles, `x` the upper half of a shingle's
//!    hash, for bands x rows pairs (a odd, so that each is a permutation of the 32-bit integers).
//!    The 32 bits make a*b / 2^32 accidental agreements: 0.1 between two texts of 20,000 words.
//! 4. Band digest: XXH3-64 of the band's rows, the band's index as seed.
//!
//! Cost: 100 to 150 MB/s of text on one core for 286 permutations. Three vector instructions do 8
//! permutations of a shingle with AVX2, chosen at run time; the portable loop gives the same numbers.
//! `jaccard_pairs` keeps 8 bytes per word of each text that a pair names.

use std::sync::Arc;

use arrow_array::types::UInt32Type;
use arrow_array::{Array, ArrayRef, FixedSizeListArray, Float64Array, UInt64Array};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::arrow::{large_strings, numbers, to_python};
use crate::text::word_hashes;

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15 | 2; // odd, and 3 modulo 4: M - 1 loses one bit
const LANES: usize = 32; // permutations per block: 4 AVX2 registers each of a, b and minimum
const MAX_PERMUTATIONS: usize = 1 << 16;

/// The shingles of texts, with buffers reused between them.
#[derive(Default)]
struct Shingler {
    word: Vec<u8>,
    words: Vec<u64>,
}

impl Shingler {
    /// Append the shingle hashes of `text` to `out`: none without words, one if words are fewer than `n`.
    fn shingles(&mut self, text: &str, n: usize, out: &mut Vec<u64>) {
        self.words.clear();
        word_hashes(text, &mut self.word, &mut self.words);
        let n = n.min(self.words.len());
        if n == 0 {
            return;
        }
        let power = (0..n).fold(1u64, |power, _| power.wrapping_mul(MULTIPLIER));
        let mut sum = 0u64;
        out.extend(self.words.iter().enumerate().filter_map(|(at, &word)| {
            sum = sum.wrapping_mul(MULTIPLIER).wrapping_add(word);
            if at >= n {
                sum = sum.wrapping_sub(self.words[at - n].wrapping_mul(power));
            }
            (at + 1 >= n).then(|| mix(sum ^ n as u64))
        }));
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a permutation of the 64-bit integers.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The affine permutations of a seed, in blocks of `LANES`.
struct Permutations {
    count: usize,
    factors: Vec<[u32; LANES]>,
    offsets: Vec<[u32; LANES]>,
}

impl Permutations {
    fn new(count: usize, seed: u64) -> Permutations {
        let blocks = count.div_ceil(LANES);
        let draw = |index: usize, salt: u64| {
            let key = [index as u64, salt].map(u64::to_le_bytes).concat();
            (xxh3_64_with_seed(&key, seed) >> 32) as u32
        };
        let block = |salt: u64, set: u32| {
            let lane =
                |block: usize| std::array::from_fn(|lane| draw(block * LANES + lane, salt) | set);
            (0..blocks).map(lane).collect()
        };
        Permutations {
            count,
            factors: block(0, 1),
            offsets: block(1, 0),
        }
    }

    /// The signature of a set of shingles into `out`, `count` rounded up to a whole block.
    fn signature(&self, shingles: &[u32], out: &mut Vec<u32>) {
        out.clear();
        for (factors, offsets) in self.factors.iter().zip(&self.offsets) {
            out.extend_from_slice(&minima(shingles, factors, offsets));
        }
        out.truncate(self.count);
    }
}

fn minima(shingles: &[u32], factors: &[u32; LANES], offsets: &[u32; LANES]) -> [u32; LANES] {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, the only feature that the function asks for.
        return unsafe { minima_avx2(shingles, factors, offsets) };
    }
    minima_portable(shingles, factors, offsets)
}

/// The loop itself, written so that the compiler keeps every array in registers and vectorises by lane.
#[inline(always)]
fn minima_portable(
    shingles: &[u32],
    factors: &[u32; LANES],
    offsets: &[u32; LANES],
) -> [u32; LANES] {
    let mut least = [u32::MAX; LANES];
    for &x in shingles {
        for lane in 0..LANES {
            least[lane] =
                least[lane].min(x.wrapping_mul(factors[lane]).wrapping_add(offsets[lane]));
        }
    }
    least
}

/// The same loop compiled for AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn minima_avx2(shingles: &[u32], factors: &[u32; LANES], offsets: &[u32; LANES]) -> [u32; LANES] {
    minima_portable(shingles, factors, offsets)
}

fn check_ngram(ngram: usize) -> PyResult<()> {
    if (1..=64).contains(&ngram) {
        Ok(())
    } else {
        Err(PyValueError::new_err(format!(
            "ngram is {ngram}; shingles have 1 to 64 words"
        )))
    }
}

#[pyfunction]
#[pyo3(signature = (texts, *, bands, rows, ngram = 5, seed = 1))]
fn minhash_bands<'py>(
    py: Python<'py>,
    texts: &Bound<'py, PyAny>,
    bands: usize,
    rows: usize,
    ngram: usize,
    seed: u64,
) -> PyResult<Bound<'py, PyAny>> {
    let count = bands
        .checked_mul(rows)
        .filter(|count| (1..=MAX_PERMUTATIONS).contains(count));
    let Some(count) = count else {
        return Err(PyValueError::new_err(format!(
            "{bands} bands of {rows} rows; there are 1 to {MAX_PERMUTATIONS} permutations"
        )));
    };
    check_ngram(ngram)?;
    let texts = large_strings(texts)?;
    let out = py.detach(|| {
        let permutations = Permutations::new(count, seed);
        let mut shingler = Shingler::default();
        let (mut shingles, mut folded, mut signature) = (Vec::new(), Vec::new(), Vec::new());
        let mut digests = Vec::with_capacity(texts.len() * bands);
        let mut row = Vec::with_capacity(rows * 4);
        let mut valid = Vec::with_capacity(texts.len());
        for text in &texts {
            shingles.clear();
            shingler.shingles(text.unwrap_or(""), ngram, &mut shingles);
            valid.push(!shingles.is_empty());
            if shingles.is_empty() {
                digests.resize(digests.len() + bands, 0u64);
                continue;
            }
            folded.clear();
            folded.extend(shingles.iter().map(|shingle| (shingle >> 32) as u32));
            permutations.signature(&folded, &mut signature);
            for (band, minima) in signature.chunks_exact(rows).enumerate() {
                row.clear();
                row.extend(minima.iter().flat_map(|least| least.to_le_bytes()));
                digests.push(xxh3_64_with_seed(&row, band as u64));
            }
        }
        let item = Arc::new(Field::new("item", DataType::UInt64, false));
        let values = Arc::new(UInt64Array::from(digests));
        FixedSizeListArray::try_new(item, bands as i32, values, Some(NullBuffer::from(valid)))
            .map(|array| Arc::new(array) as ArrayRef)
            .map_err(|error| PyValueError::new_err(error.to_string()))
    })?;
    to_python(py, &out)
}

/// Jaccard of two sorted sets; two empty sets share nothing, so that they are no duplicates.
fn jaccard(left: &[u64], right: &[u64]) -> f64 {
    let (mut i, mut j, mut shared) = (0, 0, 0usize);
    while i < left.len() && j < right.len() {
        let (a, b) = (left[i], right[j]);
        shared += usize::from(a == b);
        i += usize::from(a <= b);
        j += usize::from(b <= a);
    }
    let union = left.len() + right.len() - shared;
    if union == 0 {
        0.0
    } else {
        shared as f64 / union as f64
    }
}

#[pyfunction]
#[pyo3(signature = (texts, left, right, *, ngram = 5))]
fn jaccard_pairs<'py>(
    py: Python<'py>,
    texts: &Bound<'py, PyAny>,
    left: &Bound<'py, PyAny>,
    right: &Bound<'py, PyAny>,
    ngram: usize,
) -> PyResult<Bound<'py, PyAny>> {
    check_ngram(ngram)?;
    let texts = large_strings(texts)?;
    let (left, right) = (numbers::<UInt32Type>(left)?, numbers::<UInt32Type>(right)?);
    if left.len() != right.len() {
        return Err(PyValueError::new_err(format!(
            "left has {} entries and right {}: a pair needs both",
            left.len(),
            right.len()
        )));
    }
    if left.null_count() + right.null_count() > 0 {
        return Err(PyValueError::new_err("a pair has a null end"));
    }
    let out = py.detach(|| {
        let mut sets: Vec<Option<Box<[u64]>>> = vec![None; texts.len()];
        let mut shingler = Shingler::default();
        let mut shingles = Vec::new();
        for &index in left.values().iter().chain(right.values()) {
            let index = index as usize;
            match sets.get(index) {
                None => {
                    return Err(PyValueError::new_err(format!(
                        "a pair names text {index}, but there are {} texts",
                        texts.len()
                    )));
                }
                Some(Some(_)) => {}
                Some(None) => {
                    shingles.clear();
                    if texts.is_valid(index) {
                        shingler.shingles(texts.value(index), ngram, &mut shingles);
                    }
                    shingles.sort_unstable();
                    shingles.dedup();
                    sets[index] = Some(shingles.as_slice().into());
                }
            }
        }
        let set = |index: u32| sets[index as usize].as_deref().unwrap_or(&[]);
        let pairs = left.values().iter().zip(right.values());
        let values = pairs.map(|(&left, &right)| jaccard(set(left), set(right)));
        Ok(Arc::new(Float64Array::from_iter_values(values)) as ArrayRef)
    })?;
    to_python(py, &out)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(minhash_bands, module)?)?;
    module.add_function(wrap_pyfunction!(jaccard_pairs, module)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_vector_loop_equals_the_portable_one(shingles in prop::collection::vec(any::<u32>(), 0..200),
                                                   seed in any::<u64>()) {
            let permutations = Permutations::new(286, seed);
            for (factors, offsets) in permutations.factors.iter().zip(&permutations.offsets) {
                let expected = minima_portable(&shingles, factors, offsets);
                prop_assert_eq!(minima(&shingles, factors, offsets), expected);
            }
        }
    }

    #[test]
    fn a_rolling_shingle_equals_one_made_afresh() {
        let mut shingler = Shingler::default();
        let (mut rolled, mut fresh) = (Vec::new(), Vec::new());
        shingler.shingles("one two three four five six seven", 5, &mut rolled);
        for text in [
            "one two three four five",
            "two three four five six",
            "three four five six seven",
        ] {
            shingler.shingles(text, 5, &mut fresh);
        }
        assert_eq!(rolled, fresh);
    }
}

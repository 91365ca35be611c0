//! A keyed permutation of `range(size)` in O(1) memory: entry k without the entries before it.
//!
//! A Feistel network over the smallest power of two that holds `size` (halves may differ by one bit),
//! walked along its cycle until the value falls below `size` (Black and Rogaway 2002, "Ciphers with
//! arbitrary finite domains"); fewer than two walks on average. Not a cipher: the round
//! function is a 64-bit mixer. About 20 to 50 ns per entry.

use std::sync::Arc;

use arrow_array::{ArrayRef, UInt64Array};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;

use crate::arrow::to_python;

/// Half rounds; each changes one half by a function of the other.
const ROUNDS: usize = 10;

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014), a bijection of 64 bits.
#[inline]
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

struct Permutation {
    size: u64,
    keys: [u64; ROUNDS],
    low_bits: u32,
    low_mask: u64,
    high_mask: u64,
}

impl Permutation {
    /// `size` is at least 1.
    fn new(size: u64, seed: u64) -> Self {
        let bits = 64 - (size - 1).leading_zeros();
        let low_bits = bits.div_ceil(2);
        let mut state = mix(seed ^ 0x6a09_e667_f3bc_c908) ^ size;
        let keys = std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(state)
        });
        Self {
            size,
            keys,
            low_bits,
            low_mask: (1 << low_bits) - 1,
            high_mask: (1 << (bits - low_bits)) - 1,
        }
    }

    #[inline]
    fn walk(&self, value: u64) -> u64 {
        let (mut low, mut high) = (value & self.low_mask, value >> self.low_bits);
        for pair in self.keys.chunks_exact(2) {
            low ^= mix(high ^ pair[0]) & self.low_mask;
            high ^= mix(low ^ pair[1]) & self.high_mask;
        }
        (high << self.low_bits) | low
    }

    #[inline]
    fn entry(&self, index: u64) -> u64 {
        let mut value = self.walk(index);
        while value >= self.size {
            value = self.walk(value);
        }
        value
    }
}

#[pyfunction]
fn permuted_indices<'py>(
    py: Python<'py>,
    size: u64,
    seed: u64,
    start: u64,
    count: u64,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(end) = start.checked_add(count).filter(|&end| end <= size) else {
        return Err(PyValueError::new_err(format!(
            "entries [{start}, {start} + {count}) reach beyond a permutation of {size}"
        )));
    };
    let out: ArrayRef = py.detach(|| {
        let mut entries: Vec<u64> = Vec::new();
        let room = usize::try_from(count).unwrap_or(usize::MAX);
        entries.try_reserve_exact(room).map_err(|_| {
            PyMemoryError::new_err(format!(
                "{count} entries do not fit in memory: ask for fewer"
            ))
        })?;
        if count > 0 {
            let permutation = Permutation::new(size, seed);
            entries.extend((start..end).map(|index| permutation.entry(index)));
        }
        Ok::<_, PyErr>(Arc::new(UInt64Array::from(entries)) as ArrayRef)
    })?;
    to_python(py, &out)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(permuted_indices, module)?)
}

//! Identities: document ids, text hashes and the keyed draw that every random choice comes from.
//!
//! Cost: one XXH3 over the bytes named, no allocation per document.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, FixedSizeBinaryArray, Float64Array};
use arrow_buffer::Buffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed, xxh3_128};

use crate::arrow::{fixed_binary, large_strings, to_python};

pub const ID_BYTES: i32 = 16;

/// A uniform draw in [0, 1) that depends on (id, seed, salt) alone.
pub fn uniform(id: &[u8], seed: u64, salt: &str) -> f64 {
    (keyed_hash(id, seed, salt) >> 11) as f64 / (1u64 << 53) as f64
}

/// 64 keyed bits that depend on (id, seed, salt) alone.
pub fn keyed_hash(id: &[u8], seed: u64, salt: &str) -> u64 {
    // The streaming hasher gives the same digest but costs about 100 ns of set-up, so keys of a
    // document id and a short salt go through the one-shot function.
    let mut key = [0u8; 64];
    let length = id.len() + salt.len();
    if length <= key.len() {
        key[..id.len()].copy_from_slice(id);
        key[id.len()..length].copy_from_slice(salt.as_bytes());
        return xxh3_64_with_seed(&key[..length], seed);
    }
    let mut hasher = Xxh3::with_seed(seed);
    hasher.update(id);
    hasher.update(salt.as_bytes());
    hasher.digest()
}

fn ids(digests: impl Iterator<Item = u128>) -> PyResult<ArrayRef> {
    let bytes: Vec<u8> = digests.flat_map(u128::to_be_bytes).collect();
    FixedSizeBinaryArray::try_new(ID_BYTES, Buffer::from_vec(bytes), None)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

#[pyfunction]
fn text_hash<'py>(py: Python<'py>, texts: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let texts = large_strings(texts)?;
    let out =
        py.detach(|| ids((0..texts.len()).map(|row| xxh3_128(texts.value(row).as_bytes()))))?;
    to_python(py, &out)
}

#[pyfunction]
fn document_ids<'py>(
    py: Python<'py>,
    sources: &Bound<'py, PyAny>,
    locators: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let (sources, locators) = (large_strings(sources)?, large_strings(locators)?);
    if sources.len() != locators.len() {
        return Err(PyValueError::new_err(
            "sources and locators differ in length",
        ));
    }
    let out = py.detach(|| {
        let mut key = Vec::new();
        ids((0..sources.len()).map(|row| {
            key.clear();
            key.extend_from_slice(sources.value(row).as_bytes());
            key.push(0);
            key.extend_from_slice(locators.value(row).as_bytes());
            xxh3_128(&key)
        }))
    })?;
    to_python(py, &out)
}

#[pyfunction]
fn keyed_uniform<'py>(
    py: Python<'py>,
    ids: &Bound<'py, PyAny>,
    seed: u64,
    salt: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let ids = fixed_binary(ids, ID_BYTES)?;
    let out: ArrayRef = py.detach(|| {
        Arc::new(Float64Array::from_iter_values(
            (0..ids.len()).map(|row| uniform(ids.value(row), seed, salt)),
        )) as ArrayRef
    });
    to_python(py, &out)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(text_hash, module)?)?;
    module.add_function(wrap_pyfunction!(document_ids, module)?)?;
    module.add_function(wrap_pyfunction!(keyed_uniform, module)?)
}

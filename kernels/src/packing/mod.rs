//! Packing of documents into sequences, over lengths only.
//!
//! `fit` decides which sequence takes an item (best-fit decreasing with a cap on documents), `balance` evens out
//! the sums of squared lengths, `plan` makes the whole table of pieces from lengths and keys, `deal` splits
//! pools larger than memory into groups of one length distribution.

mod balance;
mod bit_tree;
mod deal;
mod fit;
mod plan;

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, UInt32Array};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrow::{numbers, to_python};
use fit::{NONE, Run};

/// Longest capacity accepted: its tables take a gigabyte.
const MAX_CAPACITY: i64 = 1 << 26;

/// Capacity and cap as the kernels take them.
fn limits(capacity: i64, max_documents: i64) -> PyResult<(usize, u32)> {
    if !(1..=MAX_CAPACITY).contains(&capacity) {
        return Err(PyValueError::new_err(format!(
            "capacity {capacity} is not in 1..={MAX_CAPACITY}"
        )));
    }
    if max_documents < 1 {
        return Err(PyValueError::new_err(format!(
            "max_documents {max_documents} is below 1"
        )));
    }
    let cap = u32::try_from(max_documents).unwrap_or(u32::MAX);
    Ok((capacity as usize, cap))
}

fn too_many(items: usize) -> PyErr {
    PyValueError::new_err(format!(
        "{items} items are too many for one call: pack them in groups"
    ))
}

/// First slot of every length when items are sorted longest first.
fn slots(counts: &[u32]) -> Vec<u32> {
    let mut slots = counts.to_vec();
    let mut before = 0;
    for slot in slots.iter_mut().rev() {
        before += std::mem::replace(slot, before);
    }
    slots
}

/// Item numbers by falling length, equal lengths in the order given.
fn sorted_items(lengths: &[i32], counts: &[u32]) -> Vec<u32> {
    let mut slots = slots(counts);
    let mut items = vec![0u32; lengths.len()];
    for (item, &length) in lengths.iter().enumerate() {
        let slot = &mut slots[length as usize];
        items[*slot as usize] = item as u32;
        *slot += 1;
    }
    items
}

/// Sequence (high half) and start (low half) of every item: one random store each.
fn places(runs: &[Run], items: &[u32], fit: &fit::Fit) -> Vec<u64> {
    let mut used = vec![0u32; fit.sequences];
    let mut places = vec![0u64; items.len()];
    let mut at = 0;
    for run in runs {
        let end = at + run.count;
        for (&item, &sequence) in items[at..end].iter().zip(&fit.sequence[at..end]) {
            let start = &mut used[sequence as usize];
            places[item as usize] = (u64::from(sequence) << 32) | u64::from(*start);
            *start += run.length as u32;
        }
        at = end;
    }
    places
}

#[pyfunction]
#[pyo3(signature = (lengths, capacity, *, max_documents = 1024))]
fn best_fit_decreasing<'py>(
    py: Python<'py>,
    lengths: &Bound<'py, PyAny>,
    capacity: i64,
    max_documents: i64,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let lengths = numbers::<Int32Type>(lengths)?;
    let (capacity, cap) = limits(capacity, max_documents)?;
    if lengths.null_count() > 0 {
        return Err(PyValueError::new_err("lengths holds nulls"));
    }
    if lengths.len() >= NONE as usize {
        return Err(too_many(lengths.len()));
    }
    let (sequence, start) = py.detach(|| {
        let values = lengths.values();
        let mut counts = vec![0u32; capacity + 1];
        for (item, &length) in values.iter().enumerate() {
            // Negative lengths wrap to numbers beyond any capacity.
            match counts.get_mut(length as u32 as usize) {
                Some(count) if length > 0 => *count += 1,
                _ => {
                    return Err(PyValueError::new_err(format!(
                        "item {item}: length {length} is not in 1..={capacity}"
                    )));
                }
            }
        }
        let runs = fit::runs(&counts);
        let fit = fit::fit(&runs, capacity, cap);
        let places = places(&runs, &sorted_items(values, &counts), &fit);
        let sequence =
            UInt32Array::from_iter_values(places.iter().map(|place| (place >> 32) as u32));
        let start = UInt32Array::from_iter_values(places.iter().map(|&place| place as u32));
        Ok((Arc::new(sequence) as ArrayRef, Arc::new(start) as ArrayRef))
    })?;
    Ok((to_python(py, &sequence)?, to_python(py, &start)?))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(best_fit_decreasing, module)?)?;
    module.add_function(wrap_pyfunction!(plan::pack, module)?)?;
    module.add_class::<deal::Dealer>()
}

//! Groups of one length distribution, out of a pool that is never in memory.
//!
//! Sort all documents longest first and deal them like cards: document number i to group i mod G. Any two
//! groups then differ by at most one document of every length, and by less than the longest document in
//! tokens (the differences telescope). The sort is never made: counts by length from a first pass say where
//! each length begins in it, and a second pass numbers the documents of a length as they come.

use std::sync::Arc;

use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, UInt32Array, UInt64Array};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::MAX_CAPACITY;
use crate::arrow::{numbers, to_python};

/// The two passes: `count` every batch, `start`, then `deal` the same batches.
#[pyclass(module = "curate_kernels")]
pub struct Dealer {
    /// By length of the tail: documents counted; after `start`, the next number dealt.
    numbers: Vec<u64>,
    /// After `start`: the number that ends each length's run.
    ends: Vec<u64>,
    groups: Option<u64>,
}

impl Dealer {
    fn class(&self, document: usize, length: i64) -> PyResult<usize> {
        if length < 0 {
            return Err(PyValueError::new_err(format!(
                "document {document} of the batch has a negative length: {length}"
            )));
        }
        Ok((length as u64 % self.numbers.len() as u64) as usize)
    }
}

fn column(lengths: &Bound<'_, PyAny>) -> PyResult<arrow_array::Int64Array> {
    let lengths = numbers::<Int64Type>(lengths)?;
    if lengths.null_count() > 0 {
        return Err(PyValueError::new_err("lengths holds nulls"));
    }
    Ok(lengths)
}

#[pymethods]
impl Dealer {
    #[new]
    fn new(sequence_length: i64) -> PyResult<Self> {
        if !(1..=MAX_CAPACITY).contains(&sequence_length) {
            return Err(PyValueError::new_err(format!(
                "sequence_length {sequence_length} is not in 1..={MAX_CAPACITY}"
            )));
        }
        Ok(Self {
            numbers: vec![0; sequence_length as usize],
            ends: Vec::new(),
            groups: None,
        })
    }

    /// First pass: count the documents of a batch.
    fn count(&mut self, py: Python<'_>, lengths: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.groups.is_some() {
            return Err(PyValueError::new_err("the first pass is over: deal"));
        }
        let lengths = column(lengths)?;
        py.detach(|| {
            for (document, &length) in lengths.values().iter().enumerate() {
                let class = self.class(document, length)?;
                self.numbers[class] += 1;
            }
            Ok(())
        })
    }

    /// End the first pass: how many documents each of `groups` groups gets (uint64).
    fn start<'py>(&mut self, py: Python<'py>, groups: u32) -> PyResult<Bound<'py, PyAny>> {
        if groups == 0 || self.groups.is_some() {
            return Err(PyValueError::new_err("start once, with at least one group"));
        }
        self.groups = Some(u64::from(groups));
        let mut before = 0;
        self.ends = vec![0; self.numbers.len()];
        for (number, end) in self.numbers.iter_mut().zip(&mut self.ends).rev() {
            let first = before;
            before += *number;
            (*number, *end) = (first, before);
        }
        let (total, groups) = (before, u64::from(groups));
        let sizes = (0..groups).map(|group| total / groups + u64::from(group < total % groups));
        let sizes: ArrayRef = Arc::new(UInt64Array::from_iter_values(sizes));
        to_python(py, &sizes)
    }

    /// Second pass: the group of every document of a batch (uint32).
    fn deal<'py>(
        &mut self,
        py: Python<'py>,
        lengths: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(groups) = self.groups else {
            return Err(PyValueError::new_err("count all batches and start first"));
        };
        let lengths = column(lengths)?;
        let dealt = py.detach(|| {
            let mut dealt = Vec::with_capacity(lengths.len());
            for (document, &length) in lengths.values().iter().enumerate() {
                let class = self.class(document, length)?;
                let number = &mut self.numbers[class];
                if *number == self.ends[class] {
                    return Err(PyValueError::new_err(format!(
                        "document {document} of the batch ({length} tokens) was not there in the first pass"
                    )));
                }
                dealt.push((*number % groups) as u32);
                *number += 1;
            }
            Ok(dealt)
        })?;
        let dealt: ArrayRef = Arc::new(UInt32Array::from(dealt));
        to_python(py, &dealt)
    }
}

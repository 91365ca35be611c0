//! What is measured of a text, and its normal form.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, LargeStringArray, RecordBatch};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_pyarrow::ToPyArrow;
use arrow_schema::{Field, Schema};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrow::{large_strings, to_python};

mod characters;
mod chunks;
mod classes;
mod document;
mod encoded;
mod lines;
mod lz;
mod madlad;
mod maths;
mod normalize;
mod phrases;
mod repetition;
mod segment;
mod signals;
mod skeleton;
mod table;
mod words;

pub use words::word_hashes;

fn value_error(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// A share; of nothing it is 0.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[pyfunction(name = "normalize")]
fn normalize_texts<'py>(py: Python<'py>, texts: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let texts = large_strings(texts)?;
    let out = py.detach(|| {
        let size = texts.value_offsets().last().unwrap_or(&0)
            - texts.value_offsets().first().unwrap_or(&0);
        let mut values = Vec::with_capacity(size as usize);
        let mut offsets = Vec::with_capacity(texts.len() + 1);
        let mut scratch = String::new();
        offsets.push(0i64);
        for text in &texts {
            if let Some(text) = text {
                normalize::normalize_into(text, &mut values, &mut scratch);
            }
            offsets.push(values.len() as i64);
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        LargeStringArray::try_new(offsets, Buffer::from_vec(values), texts.nulls().cloned())
            .map(|array| Arc::new(array) as ArrayRef)
            .map_err(value_error)
    })?;
    to_python(py, &out)
}

#[pyfunction(name = "signals")]
fn text_signals<'py>(py: Python<'py>, texts: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let texts = large_strings(texts)?;
    let batch = py.detach(|| {
        let mut documents = document::Documents::default();
        for (row, text) in texts.iter().enumerate() {
            if text.is_some_and(|text| text.len() >= u32::MAX as usize) {
                return Err(value_error(format!(
                    "texts[{row}] has 4 GiB or more; split it first"
                )));
            }
            documents.push(text);
        }
        let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = documents
            .columns()
            .into_iter()
            .map(|(name, column)| (Field::new(name, column.data_type().clone(), true), column))
            .unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(value_error)
    })?;
    batch.to_pyarrow(py)
}

#[pyfunction]
fn signal_names(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let names = PyDict::new(py);
    for (name, definition) in document::Documents::definitions() {
        names.set_item(name, definition)?;
    }
    Ok(names)
}

#[pyfunction]
fn skeletons<'py>(py: Python<'py>, texts: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let texts = large_strings(texts)?;
    let out = py.detach(|| skeleton::column(&texts));
    to_python(py, &out)
}

#[pyfunction]
#[pyo3(signature = (texts, *, min_kept = 16))]
fn skeleton_lines<'py>(
    py: Python<'py>,
    texts: &Bound<'py, PyAny>,
    min_kept: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let texts = large_strings(texts)?;
    let out = py.detach(|| skeleton::line_hashes(&texts, min_kept));
    to_python(py, &out)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(normalize_texts, module)?)?;
    module.add_function(wrap_pyfunction!(text_signals, module)?)?;
    module.add_function(wrap_pyfunction!(signal_names, module)?)?;
    module.add_function(wrap_pyfunction!(skeletons, module)?)?;
    module.add_function(wrap_pyfunction!(skeleton_lines, module)?)
}

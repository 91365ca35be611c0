//! One pass over the text: normal form and signals.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, LargeStringArray, RecordBatch};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_pyarrow::ToPyArrow;
use arrow_schema::{Field, Schema};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrow::{large_strings, to_python};

mod address;
mod classes;
mod encoded;
mod english;
mod lines;
mod maths;
mod normalize;
mod repetition;
mod segment;
mod signals;
mod stop_words;
mod table;
mod words;

pub use words::word_hashes;

fn value_error(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
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
        let mut scratch = signals::Scratch::default();
        let mut rows = Vec::with_capacity(texts.len());
        for (row, text) in texts.iter().enumerate() {
            if text.is_some_and(|text| text.len() >= u32::MAX as usize) {
                return Err(value_error(format!(
                    "texts[{row}] has 4 GiB or more; split it first"
                )));
            }
            rows.push(text.map(|text| signals::compute(text, &mut scratch)));
        }
        let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = signals::Signals::columns(&rows)
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
    for (name, definition) in signals::Signals::DEFINITIONS {
        names.set_item(name, definition)?;
    }
    Ok(names)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(normalize_texts, module)?)?;
    module.add_function(wrap_pyfunction!(text_signals, module)?)?;
    module.add_function(wrap_pyfunction!(signal_names, module)?)?;
    stop_words::register(module)
}

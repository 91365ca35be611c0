//! One pass over the text: normal form and signals.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, LargeStringArray, RecordBatch, StringArray};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_pyarrow::ToPyArrow;
use arrow_schema::{Field, Schema};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrow::{large_strings, strings, to_python};

mod classes;
mod code;
mod encoded;
mod lines;
mod maths;
mod normalize;
mod repetition;
mod segment;
mod signals;
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

#[pyfunction(name = "signals", signature = (texts, formats=None))]
fn text_signals<'py>(
    py: Python<'py>,
    texts: &Bound<'py, PyAny>,
    formats: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let texts = large_strings(texts)?;
    let formats = formats.map(strings).transpose()?;
    let batch = py.detach(|| measure(&texts, formats.as_ref()))?;
    batch.to_pyarrow(py)
}

/// One row per text and one column per signal; those of code are null without `formats`.
fn measure(texts: &LargeStringArray, formats: Option<&StringArray>) -> PyResult<RecordBatch> {
    if let Some(formats) = formats.filter(|formats| formats.len() != texts.len()) {
        return Err(value_error(format!(
            "{} formats for {} texts",
            formats.len(),
            texts.len()
        )));
    }
    let mut scratch = signals::Scratch::default();
    let mut code_scratch = code::Scratch::default();
    let mut rows = Vec::with_capacity(texts.len());
    let mut code_rows = Vec::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        if text.is_some_and(|text| text.len() >= u32::MAX as usize) {
            return Err(value_error(format!(
                "texts[{row}] has 4 GiB or more; split it first"
            )));
        }
        let format = formats
            .filter(|formats| formats.is_valid(row))
            .map(|formats| formats.value(row));
        let general = text.map(|text| signals::compute(text, &mut scratch));
        code_rows.push(match (text, &general, format) {
            (Some(text), Some(general), Some(format)) => {
                code::compute(text, format, general, &mut code_scratch)
            }
            _ => None,
        });
        rows.push(general);
    }
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = signals::Signals::columns(&rows)
        .into_iter()
        .chain(code::CodeSignals::columns(&code_rows))
        .map(|(name, column)| (Field::new(name, column.data_type().clone(), true), column))
        .unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(value_error)
}

#[pyfunction]
fn signal_names(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let names = PyDict::new(py);
    for (name, definition) in [
        signals::Signals::DEFINITIONS,
        code::CodeSignals::DEFINITIONS,
    ]
    .concat()
    {
        names.set_item(name, definition)?;
    }
    Ok(names)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(normalize_texts, module)?)?;
    module.add_function(wrap_pyfunction!(text_signals, module)?)?;
    module.add_function(wrap_pyfunction!(signal_names, module)?)
}

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
use crate::edits::EditList;

mod c4;
mod classes;
mod encoded;
mod line_facts;
mod line_rules;
mod lines;
mod maths;
mod normalize;
mod refinedweb;
mod repetition;
mod segment;
mod signals;
mod table;
mod words;

use line_rules::{LineRules, PROFILES, RuleScratch, Wanted};

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
    let (signals, _) = py.detach(|| measure_texts(&texts, Wanted::default()))?;
    signals.to_pyarrow(py)
}

#[pyfunction(signature = (texts, *, line_rules))]
fn measure<'py>(
    py: Python<'py>,
    texts: &Bound<'py, PyAny>,
    line_rules: Vec<String>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let texts = large_strings(texts)?;
    let mut wanted = Wanted::default();
    for name in &line_rules {
        let at = PROFILES.iter().position(|known| known == name);
        let at = at.ok_or_else(|| {
            value_error(format!(
                "there are no line rules {name:?}; known: {}",
                PROFILES.join(", ")
            ))
        })?;
        wanted.0[at] = true;
    }
    let (signals, edits) = py.detach(|| measure_texts(&texts, wanted))?;
    Ok((signals.to_pyarrow(py)?, edits.to_pyarrow(py)?))
}

/// One row per text and one column per signal, and the edits of the line rules that are wanted.
fn measure_texts(texts: &LargeStringArray, wanted: Wanted) -> PyResult<(RecordBatch, RecordBatch)> {
    let mut scratch = signals::Scratch::default();
    let mut rule_scratch = RuleScratch::default();
    let mut edits = EditList::default();
    let mut rows = Vec::with_capacity(texts.len());
    let mut line_rows = Vec::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        if text.is_some_and(|text| text.len() >= u32::MAX as usize) {
            return Err(value_error(format!(
                "texts[{row}] has 4 GiB or more; split it first"
            )));
        }
        rows.push(text.map(|text| signals::compute(text, &mut scratch)));
        line_rows.push(text.map(|text| {
            let (breaks, sentences) = scratch.segmentation();
            let scratch = &mut rule_scratch;
            line_rules::evaluate(text, breaks, sentences, wanted, row, &mut edits, scratch)
        }));
    }
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = signals::Signals::columns(&rows)
        .into_iter()
        .chain(LineRules::columns(&line_rows))
        .map(|(name, column)| (Field::new(name, column.data_type().clone(), true), column))
        .unzip();
    let signals =
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(value_error)?;
    Ok((signals, edits.into_batch().map_err(value_error)?))
}

#[pyfunction]
fn signal_names(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let names = PyDict::new(py);
    for (name, definition) in signals::Signals::DEFINITIONS
        .iter()
        .chain(LineRules::DEFINITIONS)
    {
        names.set_item(name, definition)?;
    }
    Ok(names)
}

#[pyfunction]
fn line_rule_names() -> Vec<&'static str> {
    PROFILES.to_vec()
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(normalize_texts, module)?)?;
    module.add_function(wrap_pyfunction!(text_signals, module)?)?;
    module.add_function(wrap_pyfunction!(measure, module)?)?;
    module.add_function(wrap_pyfunction!(signal_names, module)?)?;
    module.add_function(wrap_pyfunction!(line_rule_names, module)?)
}

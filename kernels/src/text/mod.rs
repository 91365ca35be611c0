//! What is measured of a text, and its normal form.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, LargeStringArray, RecordBatch, StringArray, UInt64Array};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_pyarrow::ToPyArrow;
use arrow_schema::{Field, Schema};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use xxhash_rust::xxh3::xxh3_64;

use crate::arrow::{large_strings, strings, to_python};

mod address;
mod ascii;
mod c4;
mod characters;
mod chunks;
mod classes;
mod code;
mod document;
mod encoded;
mod english;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod line_facts;
mod line_rules;
mod lines;
mod lz;
mod madlad;
mod maths;
mod normalize;
mod phrases;
mod refinedweb;
mod repetition;
mod segment;
mod signals;
mod skeleton;
mod stop_words;
mod table;
mod unspaced;
mod words;

use line_rules::{PROFILES, Wanted};

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

#[pyfunction(name = "signals", signature = (texts, formats=None))]
fn text_signals<'py>(
    py: Python<'py>,
    texts: &Bound<'py, PyAny>,
    formats: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let texts = large_strings(texts)?;
    let formats = formats.map(strings).transpose()?;
    let (signals, _) = py.detach(|| measure_texts(&texts, formats.as_ref(), Wanted::default()))?;
    signals.to_pyarrow(py)
}

#[pyfunction(signature = (texts, formats=None, *, line_rules))]
fn measure<'py>(
    py: Python<'py>,
    texts: &Bound<'py, PyAny>,
    formats: Option<&Bound<'py, PyAny>>,
    line_rules: Vec<String>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let texts = large_strings(texts)?;
    let formats = formats.map(strings).transpose()?;
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
    let (signals, edits) = py.detach(|| measure_texts(&texts, formats.as_ref(), wanted))?;
    Ok((signals.to_pyarrow(py)?, edits.to_pyarrow(py)?))
}

/// One row per text and one column per signal, and the edits of the line rules that are wanted;
/// the signals of code are null without `formats`.
fn measure_texts(
    texts: &LargeStringArray,
    formats: Option<&StringArray>,
    wanted: Wanted,
) -> PyResult<(RecordBatch, RecordBatch)> {
    if let Some(formats) = formats.filter(|formats| formats.len() != texts.len()) {
        return Err(value_error(format!(
            "{} formats for {} texts",
            formats.len(),
            texts.len()
        )));
    }
    let mut documents = document::Documents::new(wanted);
    for (row, text) in texts.iter().enumerate() {
        if text.is_some_and(|text| text.len() >= u32::MAX as usize) {
            return Err(value_error(format!(
                "texts[{row}] has 4 GiB or more; split it first"
            )));
        }
        let format = formats
            .filter(|formats| formats.is_valid(row))
            .map(|formats| formats.value(row));
        documents.push(text, format);
    }
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = documents
        .columns()
        .into_iter()
        .map(|(name, column)| (Field::new(name, column.data_type().clone(), true), column))
        .unzip();
    let signals =
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(value_error)?;
    Ok((signals, documents.edits.into_batch().map_err(value_error)?))
}

/// The floor under every signal: one read of the text and one hash per word, and nothing else.
#[pyfunction]
fn hash_words<'py>(py: Python<'py>, texts: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let texts = large_strings(texts)?;
    let hashes: ArrayRef = py.detach(|| {
        let of = |text: &str| {
            let words = text
                .as_bytes()
                .split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty());
            words.fold(0u64, |sum, word| sum.wrapping_add(xxh3_64(word)))
        };
        let column = texts.iter().map(|text| text.map(of));
        Arc::new(column.collect::<UInt64Array>()) as ArrayRef
    });
    to_python(py, &hashes)
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

#[pyfunction]
fn line_rule_names() -> Vec<&'static str> {
    PROFILES.to_vec()
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(normalize_texts, module)?)?;
    module.add_function(wrap_pyfunction!(text_signals, module)?)?;
    module.add_function(wrap_pyfunction!(measure, module)?)?;
    module.add_function(wrap_pyfunction!(line_rule_names, module)?)?;
    module.add_function(wrap_pyfunction!(hash_words, module)?)?;
    module.add_function(wrap_pyfunction!(signal_names, module)?)?;
    module.add_function(wrap_pyfunction!(skeletons, module)?)?;
    module.add_function(wrap_pyfunction!(skeleton_lines, module)?)?;
    stop_words::register(module)
}

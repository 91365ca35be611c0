//! Native inference of fastText classifiers (`.bin`, and `.ftz` with a product quantizer).
//!
//! A text is one line: white space of all kinds, line ends and NUL separate words, and the end-of-line
//! word is added once. Two departures from the reference, both on purpose: a literal `</s>` in a text is
//! no end of line (it would hide the rest of a page), and a text with no feature but the end of line
//! gets null instead of the model's prior. `lid.176.ftz` takes about 4 MB in memory.

mod features;
mod loss;
mod matrix;
mod reader;
mod scores;

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Float32Array, Int32Array, LargeStringArray, RecordBatch,
    StringArray,
};
use arrow_pyarrow::ToPyArrow;
use arrow_schema::{DataType, Field, Schema};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrow::{large_strings, to_python};
pub use features::{END_OF_LINE, LABEL_PREFIX, separates};
use features::{Features, Shape, Words};
use loss::Loss;
use matrix::{LANES, Matrix};
use reader::Reader;

const MAGIC: i32 = 793_712_314;
const SUPERVISED: i32 = 3;
const MAX_DIM: i32 = 1 << 16;
const MAX_N: i32 = 64; // a longer n-gram would make a long word quadratic
const ROWS: usize = 1024; // rows gathered before they are added

#[pyclass(frozen, module = "curate_kernels")]
struct LanguageModel {
    dim: usize,
    features: Features,
    input: Matrix,
    output: Matrix,
    loss: Loss,
    labels: Arc<StringArray>,
}

/// Sums rows of the input matrix, a thousand at a time.
struct Hidden<'a> {
    input: &'a Matrix,
    rows: [u32; ROWS],
    waiting: usize,
    count: u64,
    sum: Vec<f32>,
}

impl Hidden<'_> {
    fn push(&mut self, row: u32) {
        if self.waiting == ROWS {
            self.flush();
        }
        self.rows[self.waiting] = row;
        self.waiting += 1;
    }

    fn flush(&mut self) {
        self.input
            .add_rows(&self.rows[..self.waiting], &mut self.sum);
        self.count += self.waiting as u64;
        self.waiting = 0;
    }

    fn restart(&mut self) {
        self.sum.fill(0.0);
        (self.waiting, self.count) = (0, 0);
    }

    fn is_empty(&self) -> bool {
        self.waiting == 0 && self.count == 0
    }

    fn average(&mut self) -> &[f32] {
        self.flush();
        let scale = (1.0 / self.count as f64) as f32;
        self.sum.iter_mut().for_each(|value| *value *= scale);
        &self.sum
    }
}

fn positive(file: &Reader, value: i32, limit: i32, what: &str) -> PyResult<usize> {
    if (1..=limit).contains(&value) {
        Ok(value as usize)
    } else {
        Err(file.wrong(format!("{what} is {value}, not 1 to {limit}")))
    }
}

impl LanguageModel {
    fn read(file: &mut Reader) -> PyResult<Self> {
        if file.i32("the magic number")? != MAGIC {
            return Err(file.wrong("it does not start with fastText's magic number"));
        }
        let version = file.i32("the version")?;
        if !(11..=12).contains(&version) {
            return Err(file.wrong(format!("version {version} is neither 11 nor 12")));
        }
        let mut header = [0i32; 12];
        for value in &mut header {
            *value = file.i32("the header")?;
        }
        file.f64("the header")?;
        let [
            dim,
            _,
            _,
            _,
            _,
            word_n,
            loss,
            model,
            bucket,
            min_n,
            max_n,
            _,
        ] = header;
        if model != SUPERVISED {
            return Err(file.wrong(format!("model kind {model} is no classifier")));
        }
        let dim = positive(file, dim, MAX_DIM, "the dimension")?;
        // Version 11 classifiers were trained without character n-grams, whatever their header says.
        let max_n = if version == 11 { 0 } else { max_n };
        if max_n > MAX_N || word_n > MAX_N {
            return Err(file.wrong(format!(
                "n-grams of {max_n} characters or {word_n} words, more than {MAX_N}"
            )));
        }
        let shape = Shape {
            min_n,
            max_n,
            word_n,
            bucket,
        };
        let features = Features::read(file, &shape)?;
        let quantized = file.flag("the mark of a quantised input matrix")?;
        let input = if quantized {
            Matrix::quantized(file, dim, "the input matrix")?
        } else {
            Matrix::dense(file, dim, "the input matrix")?
        };
        let quantized_output = file.flag("the mark of a quantised output matrix")?;
        let output = if quantized && quantized_output {
            Matrix::quantized(file, dim, "the output matrix")?
        } else {
            Matrix::dense(file, dim, "the output matrix")?
        };
        file.end()?;
        let labels = features.labels();
        let counts: Vec<i64> = labels.iter().map(|(_, count)| *count).collect();
        for (have, need, what) in [
            (input.rows() >= features.rows(), features.rows(), "input"),
            (output.rows() == labels.len(), labels.len(), "output"),
        ] {
            if !have {
                return Err(file.wrong(format!("the {what} matrix does not have {need} rows")));
            }
        }
        let loss = Loss::new(loss, &counts).map_err(|what| file.wrong(what))?;
        let names = StringArray::from_iter_values(labels.iter().map(|(name, _)| name));
        Ok(Self {
            dim,
            features,
            input,
            output,
            loss,
            labels: Arc::new(names),
        })
    }

    fn predict_all(&self, texts: &LargeStringArray) -> (Vec<Option<i32>>, Vec<Option<f32>>) {
        let mut words = Words::new(&self.features);
        let mut hidden = Hidden {
            input: &self.input,
            rows: [0; ROWS],
            waiting: 0,
            count: 0,
            sum: vec![0.0; self.dim.next_multiple_of(LANES)],
        };
        let mut one = |row: usize| {
            if texts.is_null(row) {
                return None;
            }
            hidden.restart();
            words.restart();
            let mut rest = texts.value(row).as_bytes();
            while let Some(start) = rest.iter().position(|&byte| !separates(byte)) {
                rest = &rest[start..];
                let end = rest.iter().position(|&byte| separates(byte));
                let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
                words.push(word, &mut |row| hidden.push(row));
                rest = after;
            }
            if hidden.is_empty() {
                return None;
            }
            words.push_end(&mut |row| hidden.push(row));
            self.loss.best(&self.output, hidden.average())
        };
        let best = (0..texts.len()).map(|row| one(row).map(|(label, score)| (label as i32, score)));
        best.map(|best| (best.map(|best| best.0), best.map(|best| best.1)))
            .unzip()
    }
}

#[pymethods]
impl LanguageModel {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| Self::read(&mut Reader::open(&path)?))
    }

    #[getter]
    fn labels(&self) -> Vec<&str> {
        self.labels.iter().flatten().collect()
    }

    #[allow(clippy::type_complexity)]
    fn predict<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let texts = large_strings(texts)?;
        let (labels, scores) = py.detach(|| self.predict_all(&texts));
        let keys = Int32Array::from(labels);
        let values: ArrayRef = self.labels.clone();
        let labels = DictionaryArray::<Int32Type>::try_new(keys, values)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let (labels, scores): (ArrayRef, ArrayRef) =
            (Arc::new(labels), Arc::new(Float32Array::from(scores)));
        Ok((to_python(py, &labels)?, to_python(py, &scores)?))
    }
    #[pyo3(signature = (texts, labels=None))]
    fn predict_proba<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        labels: Option<Vec<String>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let texts = large_strings(texts)?;
        let wanted = match labels {
            None => (0..self.labels.len()).collect(),
            Some(names) => self.label_indices(&names).map_err(|name| {
                let known: Vec<_> = self.labels.iter().flatten().take(50).collect();
                PyValueError::new_err(format!("no label {name:?}; known: {}", known.join(", ")))
            })?,
        };
        let columns = py.detach(|| self.scores(&texts, &wanted));
        let fields: Vec<Field> = wanted
            .iter()
            .map(|&label| Field::new(self.labels.value(label), DataType::Float32, true))
            .collect();
        let columns = columns
            .into_iter()
            .map(|column| Arc::new(Float32Array::from(column)) as ArrayRef)
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|error| PyValueError::new_err(error.to_string()))?
            .to_pyarrow(py)
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<LanguageModel>()
}

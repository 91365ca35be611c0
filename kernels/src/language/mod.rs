//! Native inference of fastText classifiers (`.bin`, and `.ftz` with a product quantizer).
//!
//! A text is one line: white space of all kinds, line ends and NUL separate words, and the end-of-line
//! word is added once. Two departures from the reference, both on purpose: a literal `</s>` in a text is
//! no end of line (it would hide the rest of a page), and a text with no feature but the end of line
//! gets null instead of the model's prior. `lid.176.ftz` takes about 4 MB in memory.
//!
//! lid.176 on one core, over cleaned words: 47-63 MB/s for whole texts, 45-59 with their paragraphs; the
//! reference does 6-8 (documents of 7 sources; `benchmarks/language`).

mod clean;
mod features;
mod hidden;
mod identify;
mod loss;
mod matrix;
mod reader;
mod scores;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::builder::{Float32Builder, ListBuilder, StringBuilder, StructBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Float32Array, Int32Array, LargeStringArray, RecordBatch,
    StringArray,
};
use arrow_pyarrow::ToPyArrow;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrow::{large_strings, to_python};
pub use clean::separates;
pub use features::{END_OF_LINE, LABEL_PREFIX};
use features::{Features, Shape};
use identify::{Names, Options, Pass};
use loss::Loss;
use matrix::Matrix;
use reader::Reader;

const MAGIC: i32 = 793_712_314;
const SUPERVISED: i32 = 3;
const MAX_DIM: i32 = 1 << 16;
const MAX_N: i32 = 64; // a longer n-gram would make a long word quadratic

#[pyclass(frozen, module = "curate_kernels")]
struct LanguageModel {
    dim: usize,
    features: Features,
    input: Matrix,
    output: Matrix,
    loss: Loss,
    labels: Arc<StringArray>,
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

    fn best(&self, hidden: &[f32]) -> Option<(usize, f32)> {
        self.loss.best(&self.output, hidden)
    }

    fn label_column(&self, labels: Vec<Option<i32>>) -> Result<ArrayRef, ArrowError> {
        let (keys, values) = (Int32Array::from(labels), self.labels.clone());
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(
            keys, values,
        )?))
    }

    fn identify_all(
        &self,
        texts: &LargeStringArray,
        names: &Names,
        options: Options,
    ) -> Result<RecordBatch, ArrowError> {
        let mut pass = Pass::new(self, names, options);
        let mut labels: Vec<Option<i32>> = Vec::with_capacity(texts.len());
        let mut scores: Vec<Option<f32>> = Vec::with_capacity(texts.len());
        let fields = [("language", DataType::Utf8), ("share", DataType::Float32)];
        let fields = fields.map(|(name, kind)| Arc::new(Field::new(name, kind, false)));
        let mut languages = ListBuilder::new(StructBuilder::from_fields(fields, texts.len()));
        for text in texts {
            let best = text.and_then(|text| pass.read(text));
            labels.push(best.map(|(label, _)| label as i32));
            scores.push(best.map(|(_, score)| score));
            let shares = text.map_or(Vec::new(), |_| pass.shares());
            for (name, share) in shares {
                let row = languages.values();
                if let Some(into) = row.field_builder::<StringBuilder>(0) {
                    into.append_value(names.name(name));
                }
                if let Some(into) = row.field_builder::<Float32Builder>(1) {
                    into.append_value(share);
                }
                row.append(true);
            }
            languages.append(text.is_some());
        }
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            ("label", self.label_column(labels)?),
            ("score", Arc::new(Float32Array::from(scores))),
        ];
        if options.paragraphs {
            columns.push(("languages", Arc::new(languages.finish())));
        }
        RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .map(|(name, column)| (name, column, true)),
        )
    }

    fn own_names(&self) -> Names<'_> {
        Names::new(self.labels.iter().flatten().map(Cow::Borrowed))
    }
}

fn value_error(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
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

    #[pyo3(signature = (texts, *, clean = false))]
    #[allow(clippy::type_complexity)]
    fn predict<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        clean: bool,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let texts = large_strings(texts)?;
        let options = Options {
            clean,
            paragraphs: false,
            unsure: 0.0,
        };
        let batch = py.detach(|| self.identify_all(&texts, &self.own_names(), options));
        let batch = batch.map_err(value_error)?;
        Ok((
            to_python(py, batch.column(0))?,
            to_python(py, batch.column(1))?,
        ))
    }

    #[pyo3(signature = (texts, *, clean = true, names = None, unsure = 0.4))]
    fn identify<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        clean: bool,
        names: Option<Vec<String>>,
        unsure: f32,
    ) -> PyResult<Bound<'py, PyAny>> {
        let texts = large_strings(texts)?;
        let names = match names {
            None => self.own_names(),
            Some(names) if names.len() == self.labels.len() => {
                Names::new(names.into_iter().map(Cow::Owned))
            }
            Some(names) => {
                return Err(value_error(format!(
                    "{} names for {} labels",
                    names.len(),
                    self.labels.len()
                )));
            }
        };
        let options = Options {
            clean,
            paragraphs: true,
            unsure,
        };
        let batch = py.detach(|| self.identify_all(&texts, &names, options));
        batch.map_err(value_error)?.to_pyarrow(py)
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

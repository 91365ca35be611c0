//! What the fuzz targets call (`fuzz/`): the kernels below their Python face, with plain values out.
//!
//! Only with the feature `fuzzing`; nothing of the pipeline uses it. A new target is one function here,
//! that hands its input on and says what came back, and one file of assertions in `fuzz/targets/`.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use super::normalize::normalize_into;
use super::segment::{Sink, segment};
use super::signals::{Scratch, Signals, compute};
use super::word_hashes;

/// Scratch that lives from text to text, as in a column: what one leaves behind must not reach the next.
#[derive(Default)]
pub struct Reused {
    signals: Scratch,
    normal: String,
    word: Vec<u8>,
}

impl Reused {
    /// Every signal of a text; `None` for a null and for a type that is no number.
    pub fn signals(&mut self, text: &str) -> Vec<(&'static str, Option<f64>)> {
        let row = [Some(compute(text, &mut self.signals))];
        Signals::columns(&row)
            .into_iter()
            .map(|(name, column)| (name, number(&column)))
            .collect()
    }

    /// The normal form of a text.
    pub fn normalize(&mut self, text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        normalize_into(text, &mut out, &mut self.normal);
        out
    }

    /// The hashes of a text's words for shingles.
    pub fn word_hashes(&mut self, text: &str) -> Vec<u64> {
        let mut out = Vec::new();
        word_hashes(text, &mut self.word, &mut out);
        out
    }
}

fn number(column: &ArrayRef) -> Option<f64> {
    if column.is_null(0) {
        return None;
    }
    match column.data_type() {
        DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(0) as f64),
        DataType::UInt64 => Some(column.as_primitive::<UInt64Type>().value(0) as f64),
        DataType::Float64 => Some(column.as_primitive::<Float64Type>().value(0)),
        DataType::Boolean => Some(f64::from(u8::from(column.as_boolean().value(0)))),
        _ => None,
    }
}

/// The tokens of a text as byte ranges, and the offsets of its line breaks.
pub fn segments(text: &str) -> (Vec<(usize, usize)>, Vec<usize>) {
    #[derive(Default)]
    struct Found(Vec<(usize, usize)>, Vec<usize>);
    impl Sink for Found {
        fn token(&mut self, start: usize, end: usize, _: bool) {
            self.0.push((start, end));
        }
        fn line_break(&mut self, at: usize) {
            self.1.push(at);
        }
    }
    let mut found = Found::default();
    segment(text, &mut Vec::new(), &mut found);
    (found.0, found.1)
}

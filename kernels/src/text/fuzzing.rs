//! What the fuzz targets call (`fuzz/`): the kernels below their Python face, with plain values out.
//!
//! Only with the feature `fuzzing`; nothing of the pipeline uses it. A new target is one function here,
//! that hands its input on and says what came back, and one file of assertions in `fuzz/src/bin/`.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, LargeStringArray};
use arrow_schema::DataType;

use super::document::Documents;
use super::line_rules::{PROFILES, Wanted};
use super::normalize::normalize_into;
use super::segment::{Sink, segment};
use super::skeleton;
use super::word_hashes;

/// A signal by name: its value as a number, and none where it is null or text.
pub type Signal = (&'static str, Option<f64>);

/// A span of a text in bytes and what to put there.
pub type Edit = (usize, usize, Option<String>);

/// All signals and all line edits of each text, measured in one batch; with formats, as code too.
pub fn measure(texts: &[(&str, Option<&str>)]) -> (Vec<Vec<Signal>>, Vec<Vec<Edit>>) {
    let mut documents = Documents::new(Wanted([true; PROFILES.len()]));
    for &(text, format) in texts {
        documents.push(Some(text), format);
    }
    let columns = documents.columns();
    let of = |row| {
        let number = |(name, column): &(&'static str, ArrayRef)| (*name, number(column, row));
        columns.iter().map(number).collect()
    };
    let signals = (0..texts.len()).map(of).collect();
    let mut edits = vec![Vec::new(); texts.len()];
    if let Ok(batch) = documents.edits.into_batch() {
        let rows = batch.column(0).as_primitive::<UInt32Type>();
        let starts = batch.column(1).as_primitive::<Int64Type>();
        let ends = batch.column(2).as_primitive::<Int64Type>();
        let replacements = batch.column(4).as_string::<i32>();
        for at in 0..batch.num_rows() {
            let new = replacements
                .is_valid(at)
                .then(|| replacements.value(at).to_owned());
            let (start, end) = (starts.value(at) as usize, ends.value(at) as usize);
            edits[rows.value(at) as usize].push((start, end, new));
        }
    }
    (signals, edits)
}

/// The skeleton of a text, and the hashes of all its lines.
pub fn skeleton(text: &str) -> (String, Vec<u64>) {
    let texts = LargeStringArray::from_iter_values([text]);
    let skeleton = skeleton::column(&texts);
    let hashes = skeleton::line_hashes(&texts, 1);
    let hashes = hashes.as_list::<i32>().value(0);
    (
        skeleton.as_string::<i64>().value(0).to_owned(),
        hashes.as_primitive::<UInt64Type>().values().to_vec(),
    )
}

/// Scratch that lives from text to text, as in a column: what one leaves behind must not reach the next.
#[derive(Default)]
pub struct Reused {
    normal: String,
    word: Vec<u8>,
}

impl Reused {
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

fn number(column: &ArrayRef, row: usize) -> Option<f64> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(row) as f64),
        DataType::UInt64 => Some(column.as_primitive::<UInt64Type>().value(row) as f64),
        DataType::Float64 => Some(column.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => Some(f64::from(u8::from(column.as_boolean().value(row)))),
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

//! How many different frequent words of its language a text has, from lists that the caller gives.
//!
//! Words are those of the segmenter, which runs once more for this (some 150 MB/s on one core), so it is
//! for texts of a source whose rules ask. A word is looked up as it stands; elided words are on the lists of
//! their languages, so one with an apostrophe inside is also looked up in two (`d'un`: `d'`, and then `un`).

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, LargeStringArray};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::segment::{Sink, segment};
use crate::arrow::{large_strings, to_python};

/// Longer words, in bytes, are on no list: they are not looked up.
const LONGEST: usize = 64;

/// A language's words, each with its number.
struct List {
    words: HashMap<String, u32>,
}

impl List {
    fn new(words: Vec<String>) -> List {
        let mut numbered = HashMap::new();
        for word in words {
            let next = numbered.len() as u32;
            numbered.entry(word.replace('’', "'")).or_insert(next);
        }
        List { words: numbered }
    }
}

struct Distinct<'a> {
    text: &'a str,
    list: &'a List,
    seen: &'a mut Vec<bool>,
    count: i64,
}

impl Distinct<'_> {
    /// Whether the word is on the list; it counts when it is seen for the first time.
    fn look_up(&mut self, word: &str) -> bool {
        let Some(&number) = self.list.words.get(word) else {
            return false;
        };
        if !std::mem::replace(&mut self.seen[number as usize], true) {
            self.count += 1;
        }
        true
    }
}

impl Sink for Distinct<'_> {
    fn token(&mut self, start: usize, end: usize, letters: bool) {
        // Nothing is left to find once all were seen.
        if end - start > LONGEST || self.count as usize == self.seen.len() {
            return;
        }
        let word = &self.text[start..end];
        if letters {
            self.look_up(word);
            return;
        }
        match word.find(['\'', '’']) {
            None => {
                self.look_up(word);
            }
            Some(at) => {
                let plain = word.replace('’', "'");
                self.look_up(&plain);
                if at + 1 < plain.len() && self.look_up(&plain[..=at]) {
                    self.look_up(&plain[at + 1..]);
                }
            }
        }
    }

    fn line_break(&mut self, _: usize) {}
}

/// Distinct words of each text that are on the list of its language; null where there is no list.
fn count(
    texts: &LargeStringArray,
    languages: &LargeStringArray,
    lists: &HashMap<String, List>,
) -> Int64Array {
    let (mut suffixes, mut seen) = (Vec::new(), Vec::new());
    texts
        .iter()
        .zip(languages)
        .map(|(text, language)| {
            let (text, list) = (text?, lists.get(language?)?);
            seen.clear();
            seen.resize(list.words.len(), false);
            let mut sink = Distinct {
                text,
                list,
                seen: &mut seen,
                count: 0,
            };
            segment(text, &mut suffixes, &mut sink);
            Some(sink.count)
        })
        .collect()
}

#[pyfunction]
fn stop_words<'py>(
    py: Python<'py>,
    texts: &Bound<'py, PyAny>,
    languages: &Bound<'py, PyAny>,
    lists: HashMap<String, Vec<String>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (texts, languages) = (large_strings(texts)?, large_strings(languages)?);
    if texts.len() != languages.len() {
        return Err(PyValueError::new_err(format!(
            "{} texts, but {} languages",
            texts.len(),
            languages.len()
        )));
    }
    let counts = py.detach(|| {
        let lists = lists
            .into_iter()
            .map(|(language, words)| (language, List::new(words)))
            .collect();
        Arc::new(count(&texts, &languages, &lists)) as ArrayRef
    });
    to_python(py, &counts)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(stop_words, module)?)
}

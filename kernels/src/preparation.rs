//! What a classifier is given to read: named preprocessings of a text, and lines to train from.
//!
//! Published thresholds hold for one preprocessing only, down to its treatment of line ends. Each preset is one
//! pass and one copy, about 1 GB/s on ASCII text.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, LargeStringArray};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrow::{large_strings, to_python};
use crate::language::{END_OF_LINE, LABEL_PREFIX, separates};

#[derive(Clone, Copy)]
enum Preset {
    Dclm,
    FastText,
    Datatrove,
    Lowercase,
}

const PRESETS: [(&str, Preset); 4] = [
    ("dclm", Preset::Dclm),
    ("fasttext", Preset::FastText),
    ("datatrove", Preset::Datatrove),
    ("lowercase", Preset::Lowercase),
];

/// White space as Python's `str.strip` has it: Unicode's, and the four information separators.
fn strips(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Where Python's `str.splitlines` ends a line.
fn ends_a_line(c: char) -> bool {
    matches!(
        c,
        '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

fn prepare_into(text: &str, preset: Preset, out: &mut String) {
    match preset {
        Preset::FastText => push_replaced(text, '\n', " ", out),
        Preset::Datatrove => push_replaced(text, '\n', "", out),
        Preset::Lowercase => push_replaced(&text.to_lowercase(), '\n', " ", out),
        Preset::Dclm => {
            let mut rest = text.trim_matches(strips);
            while let Some(at) = rest.find(ends_a_line) {
                out.push_str(&rest[..at]);
                out.push(' ');
                let after = &rest[at..];
                let end = after.chars().next().map_or(1, char::len_utf8);
                let end = if after.starts_with("\r\n") { 2 } else { end };
                rest = &after[end..];
            }
            out.push_str(rest);
        }
    }
}

fn push_replaced(text: &str, from: char, to: &str, out: &mut String) {
    for (index, part) in text.split(from).enumerate() {
        if index > 0 {
            out.push_str(to);
        }
        out.push_str(part);
    }
}

/// One line of training data: words by single spaces, without what fastText would take for a label or for the
/// end of the line.
fn push_line(text: &str, out: &mut String) {
    let separated = |c: char| u8::try_from(c).is_ok_and(separates);
    let words = text.split(separated).filter(|word| {
        let word = word.as_bytes();
        !word.is_empty() && !word.starts_with(LABEL_PREFIX) && word != END_OF_LINE
    });
    for (index, word) in words.enumerate() {
        if index > 0 {
            out.push(' ');
        }
        out.push_str(word);
    }
}

fn shortened(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn map_texts<'py>(
    py: Python<'py>,
    texts: &Bound<'py, PyAny>,
    mut append: impl FnMut(&str, &mut String) + Send,
) -> PyResult<Bound<'py, PyAny>> {
    let texts = large_strings(texts)?;
    let out = py.detach(|| {
        let mut values = String::new();
        let mut offsets = Vec::with_capacity(texts.len() + 1);
        offsets.push(0i64);
        for text in &texts {
            if let Some(text) = text {
                append(text, &mut values);
            }
            offsets.push(values.len() as i64);
        }
        LargeStringArray::try_new(
            OffsetBuffer::new(ScalarBuffer::from(offsets)),
            Buffer::from_vec(values.into_bytes()),
            texts.nulls().cloned(),
        )
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|error| PyValueError::new_err(error.to_string()))
    })?;
    to_python(py, &out)
}

fn preset_named(name: &str) -> PyResult<Preset> {
    let found = PRESETS.iter().find(|(known, _)| *known == name);
    found.map(|(_, preset)| *preset).ok_or_else(|| {
        let known = PRESETS.map(|(known, _)| known).join(", ");
        PyValueError::new_err(format!("there is no preset {name:?}; known: {known}"))
    })
}

#[pyfunction]
fn classifier_text<'py>(
    py: Python<'py>,
    texts: &Bound<'py, PyAny>,
    preset: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let preset = preset_named(preset)?;
    map_texts(py, texts, move |text, out| prepare_into(text, preset, out))
}

#[pyfunction]
fn training_lines<'py>(
    py: Python<'py>,
    texts: &Bound<'py, PyAny>,
    preset: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let preset = preset_named(preset)?;
    let mut prepared = String::new();
    map_texts(py, texts, move |text, out| {
        prepared.clear();
        prepare_into(text, preset, &mut prepared);
        push_line(&prepared, out);
    })
}

#[pyfunction]
fn shorten<'py>(
    py: Python<'py>,
    texts: &Bound<'py, PyAny>,
    bytes: usize,
) -> PyResult<Bound<'py, PyAny>> {
    map_texts(py, texts, move |text, out| {
        out.push_str(shortened(text, bytes))
    })
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(classifier_text, module)?)?;
    module.add_function(wrap_pyfunction!(training_lines, module)?)?;
    module.add_function(wrap_pyfunction!(shorten, module)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prepared(text: &str, preset: Preset) -> String {
        let mut out = String::new();
        prepare_into(text, preset, &mut out);
        out
    }

    #[test]
    fn presets_differ_in_their_line_ends() {
        let text = " one\r\ntwo\n\nthree\u{2028}four\u{a0}\n";
        assert_eq!(prepared(text, Preset::Dclm), "one two  three four");
        assert_eq!(
            prepared(text, Preset::FastText),
            " one\r two  three\u{2028}four\u{a0} "
        );
        assert_eq!(
            prepared(text, Preset::Datatrove),
            " one\rtwothree\u{2028}four\u{a0}"
        );
        assert_eq!(prepared("ÉTÉ\nΣΑΣ", Preset::Lowercase), "été σας");
    }

    #[test]
    fn a_line_holds_neither_labels_nor_line_ends() {
        let mut out = String::new();
        push_line("a __label__x\0b </s>\x0bc__label__ __label__", &mut out);
        assert_eq!(out, "a b c__label__");
    }

    proptest! {
        #[test]
        fn lines_are_single_and_shortened_texts_are_prefixes(text in ".{0,80}", bytes in 0usize..90) {
            let mut line = String::new();
            push_line(&text, &mut line);
            prop_assert!(!line.contains(['\n', '\0', '\t']));
            let short = shortened(&text, bytes);
            prop_assert!(short.len() <= bytes && text.starts_with(short));
            prop_assert!(text.len() <= bytes || bytes - short.len() < 4);
        }
    }
}

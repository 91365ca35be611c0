//! Signals and line edits: every number finite and defined, shares within 0 to 1, edits in order and between
//! characters, applying them takes out just their bytes, and nothing depends on the texts before.
#![no_main]

use std::cell::RefCell;

use curate_kernels::fuzzing::{edited, measure};
use libfuzzer_sys::fuzz_target;

/// Rates per token, n-grams counted more than once, and sizes of what a short text becomes: they can exceed 1.
const RATES: [&str; 7] = [
    "hash_ratio",
    "ellipsis_ratio",
    "newline_ratio",
    "top_2_gram_char_ratio",
    "top_3_gram_char_ratio",
    "top_4_gram_char_ratio",
    "compression_ratio",
];

/// Signals of code are null where a language cannot have them: these are the general ones' last.
const GENERAL_UP_TO: &str = "comment_ratio";

/// A language for each way of writing comments and strings.
const FORMATS: [&str; 16] = [
    "py", "c", "js", "rs", "rb", "pl", "php", "lua", "hs", "ml", "lisp", "erl", "sh", "sql",
    "html", "go",
];

thread_local!(static BEFORE: RefCell<String> = RefCell::default());

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let format = FORMATS[bytes.first().map_or(0, |&byte| byte as usize) % FORMATS.len()];
    let before = BEFORE.replace(text.to_string());
    let (mut rows, edits) = measure(&[
        (&text, None),
        (&before, Some(format)),
        (&text, Some(format)),
    ]);
    let (alone, edits_alone) = measure(&[(&text, Some(format))]);
    assert_eq!(rows[2], alone[0], "scratch leaks");
    assert_eq!(edits[2], edits_alone[0], "scratch leaks");
    assert_eq!(edits[0], edits[2]);
    let code = rows.remove(2);
    for (name, value) in code {
        let Some(value) = value else { continue };
        assert!(value.is_finite() && value >= 0.0, "{name} is {value}");
        if name.ends_with("_ratio") && !RATES.contains(&name) && !name.starts_with("code_top_") {
            assert!(value <= 1.0, "{name} is {value}");
        }
    }
    let signals = rows.remove(0);
    let general = signals
        .iter()
        .take_while(|(name, _)| *name != GENERAL_UP_TO);
    for (name, value) in general.filter(|(name, _)| *name != "script") {
        assert!(value.is_some(), "{name} is not there");
    }
    let mut behind = 0;
    for &(start, end, _) in &edits[0] {
        assert!(behind <= start && start <= end && end <= text.len());
        assert!(text.is_char_boundary(start) && text.is_char_boundary(end));
        behind = end;
    }
    let (rest, applied) = edited(&text, &edits[0]).expect("edits that can be applied");
    assert_eq!(applied, edits[0].len());
    let size = |edit: &(usize, usize, Option<String>)| {
        (edit.1 - edit.0, edit.2.as_ref().map_or(0, String::len))
    };
    let (cut, added) = edits[0]
        .iter()
        .map(size)
        .fold((0, 0), |sum, edit| (sum.0 + edit.0, sum.1 + edit.1));
    assert_eq!(rest.len() + cut, text.len() + added);
    let of = |wanted: &str| {
        let found = signals.iter().find(|(name, _)| *name == wanted);
        found.and_then(|(_, value)| *value).expect(wanted) as usize
    };
    assert_eq!(of("text_bytes"), text.len());
    assert_eq!(of("chars"), text.chars().count());
    assert!(of("word_count") <= of("segments") && of("segments") <= of("chars"));
    // Each sentence begins with a word, but for the first.
    assert!(of("sentences") <= of("word_count") + 1);
});

//! Signals: every one a finite number, shares within 0 to 1, and none changed by the texts before.
#![no_main]

use std::cell::RefCell;

use curate_kernels::fuzzing::Reused;
use libfuzzer_sys::fuzz_target;

/// Rates per token or n-grams counted more than once: they can exceed 1.
const RATES: [&str; 6] = [
    "hash_ratio",
    "ellipsis_ratio",
    "newline_ratio",
    "top_2_gram_char_ratio",
    "top_3_gram_char_ratio",
    "top_4_gram_char_ratio",
];

thread_local!(static REUSED: RefCell<Reused> = RefCell::default());

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let signals = REUSED.with_borrow_mut(|reused| reused.signals(&text));
    assert_eq!(signals, Reused::default().signals(&text), "scratch leaks");
    for &(name, value) in &signals {
        let value = value.expect(name);
        assert!(value.is_finite() && value >= 0.0, "{name} is {value}");
        if name.ends_with("_ratio") && !RATES.contains(&name) {
            assert!(value <= 1.0, "{name} is {value}");
        }
    }
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

//! Redaction: findings in order, apart and between characters; with placeholders in their place a second scan
//! finds nothing, and what lies outside of them is untouched.
#![no_main]

use std::cell::RefCell;

use curate_kernels::fuzzing::{Redaction, edited};
use libfuzzer_sys::fuzz_target;

thread_local!(static SCANNER: RefCell<Redaction> = RefCell::new(scanner()));

fn scanner() -> Redaction {
    let path = std::env::var("PRIVACY_RULES").expect("PRIVACY_RULES names the rules as JSON");
    let rules = std::fs::read_to_string(path).expect("the rules");
    Redaction::new(&rules).expect("a scanner")
}

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    SCANNER.with_borrow_mut(|scanner| {
        let spans = scanner.spans(&text);
        let mut behind = 0;
        for &(start, end, _) in &spans {
            assert!(behind <= start && start < end && end <= text.len());
            assert!(text.is_char_boundary(start) && text.is_char_boundary(end));
            behind = end;
        }
        let placeholder = |kind: &str| format!("<{}>", kind.to_uppercase());
        let edits: Vec<_> = spans
            .iter()
            .map(|&(start, end, kind)| (start, end, Some(placeholder(kind))))
            .collect();
        let (redacted, applied) = edited(&text, &edits).expect("edits that can be applied");
        assert_eq!(applied, spans.len());
        let again = scanner.spans(&redacted);
        assert!(again.is_empty(), "{again:?} in {redacted:?}");
    });
});

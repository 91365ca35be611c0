//! Tokens: in order, apart, between characters, and nothing but white space outside of them.
#![no_main]

use curate_kernels::fuzzing::{Reused, segments};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (tokens, breaks) = segments(&text);
    let mut behind = 0;
    for &(start, end) in &tokens {
        assert!(behind <= start && start < end && end <= text.len());
        assert_blank(&text[behind..start]);
        assert!(!text[start..end].contains(' ') && !text[start..end].contains('\n'));
        behind = end;
    }
    assert_blank(&text[behind..]);
    assert!(breaks.is_sorted() && breaks.iter().all(|&at| text.is_char_boundary(at)));
    let lines = text.matches('\n').count();
    assert!(lines <= breaks.len() && breaks.len() <= text.chars().count());
    assert!(Reused::default().word_hashes(&text).len() <= text.chars().count());
});

fn assert_blank(between: &str) {
    let blank = |c: char| c.is_whitespace() || matches!(c, '\u{1C}'..='\u{1F}' | '\u{200B}');
    assert!(between.chars().all(blank), "{between:?} is in no token");
}

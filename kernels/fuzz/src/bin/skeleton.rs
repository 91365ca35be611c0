//! Skeletons: no bigger than said, white space folded, other numbers make no difference, lines hashed one by one.
#![no_main]

use curate_kernels::fuzzing::skeleton;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (found, hashes) = skeleton(&text);
    assert!(found.len() <= 6 * text.len());
    let lines: Vec<&str> = found.split('\n').collect();
    assert!(hashes.len() <= lines.len());
    assert!(
        found.is_empty() || lines.iter().all(|line| !line.is_empty()),
        "{found:?}"
    );
    assert!(lines.windows(2).all(|pair| pair[0] != pair[1]), "{found:?}");
    assert!(
        !found.contains("  ") && !found.contains(" \n") && !found.contains("\n "),
        "{found:?}"
    );
    assert!(!found.contains(|c: char| c.is_ascii_digit()), "{found:?}");
    let other: String = text
        .chars()
        .map(|c| match c {
            '0'..='8' => (c as u8 + 1) as char,
            '9' => '0',
            _ => c,
        })
        .collect();
    assert_eq!(skeleton(&other), (found, hashes));
});

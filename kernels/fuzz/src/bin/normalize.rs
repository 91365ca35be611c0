//! The normal form: valid, free of controls, a fixed point, and no dependence on the texts before.
#![no_main]

use std::cell::RefCell;

use curate_kernels::fuzzing::Reused;
use libfuzzer_sys::fuzz_target;

thread_local!(static REUSED: RefCell<Reused> = RefCell::default());

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let once = REUSED.with_borrow_mut(|reused| reused.normalize(&text));
    let once = String::from_utf8(once).expect("valid UTF-8");
    assert!(
        !once.contains(|c: char| c == '\u{FEFF}' || (c.is_control() && c != '\t' && c != '\n'))
    );
    let twice = Reused::default().normalize(&once);
    assert_eq!(once.as_bytes(), twice, "not a fixed point");
});

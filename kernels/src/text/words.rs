//! Normalised words for shingles: small letters, no punctuation, one hash each.
//!
//! A word is a run of letters, digits and marks, so `don't` is two words whichever apostrophe it has;
//! of scripts without spaces a Han ideograph or hiragana is a word, and Thai, Lao, Khmer and Burmese go by
//! orthographic syllable. The signals have longer words there (`unspaced.rs`); shingles stay with these
//! units, as one changed character moves no cut behind it. Emoji and signs are no words.

use xxhash_rust::xxh3::xxh3_64;

use super::classes::*;

const KEPT: u16 = ALPHA | NUMERIC | MARK;

/// Append the hash of every word of `text` to `out`; `word` is scratch, reused between calls.
pub fn word_hashes(text: &str, word: &mut Vec<u8>, out: &mut Vec<u64>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] < 0x80 && !bytes[at].is_ascii_alphanumeric() {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len() && bytes[at].is_ascii_alphanumeric() {
            at += 1;
        }
        if bytes.get(at).is_none_or(|&b| b < 0x80) {
            word.clear();
            word.extend(bytes[start..at].iter().map(u8::to_ascii_lowercase));
            out.push(xxh3_64(word));
        } else {
            at = mixed_run(text, start, word, out);
        }
    }
}

/// Words from `start` up to the next ASCII character that is in no word; returns its offset.
fn mixed_run(text: &str, start: usize, word: &mut Vec<u8>, out: &mut Vec<u64>) -> usize {
    let classes = Classes::get();
    let mut binds = false;
    let mut close = |word: &mut Vec<u8>| {
        if !word.is_empty() {
            out.push(xxh3_64(word));
            word.clear();
        }
    };
    word.clear();
    for (step, c) in text[start..].char_indices() {
        let class = classes.of(c);
        if class & KEPT == 0 || (class & MARK != 0 && word.is_empty()) {
            close(word);
            if c.is_ascii() {
                return start + step;
            }
            continue;
        }
        if class & SINGLE != 0 || (class & SYLLABLE != 0 && !binds) {
            close(word);
        }
        binds = class & BINDS != 0;
        if class & UPPER != 0 {
            for c in c.to_lowercase() {
                word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        } else {
            word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if class & SINGLE != 0 {
            close(word);
        }
    }
    close(word);
    text.len()
}

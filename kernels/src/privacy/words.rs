//! What stands before a candidate: boundaries, and words such as "phone" that tell what a number is.

use std::collections::HashSet;

/// How far back a word is looked for, in bytes.
const WINDOW: usize = 40;

pub fn at(bytes: &[u8], index: usize) -> u8 {
    bytes.get(index).copied().unwrap_or(b'\n')
}

/// The byte before `index`, a line end at the beginning.
pub fn before(bytes: &[u8], index: usize) -> u8 {
    match index.checked_sub(1) {
        Some(previous) => at(bytes, previous),
        None => b'\n',
    }
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// True where a number may not end: in a word, or before a separator with more digits behind it.
pub fn number_goes_on(bytes: &[u8], end: usize) -> bool {
    let next = at(bytes, end);
    is_word(next)
        || next == b'@'
        || (matches!(next, b'.' | b',' | b'-' | b'/' | b':' | b'+' | b'*' | b'=')
            && at(bytes, end + 1).is_ascii_digit())
}

/// A list of words in lower case; those in scripts without spaces are found inside a run of letters too.
pub struct Words(Vec<String>);

impl Words {
    pub fn new(words: Vec<String>) -> Self {
        Self(words.into_iter().map(|word| word.to_lowercase()).collect())
    }

    /// Does one of the words stand within `WINDOW` bytes before `start`, on the same line, with neither a
    /// digit nor `<`, `>`, `@` between? (These end the search, so that replacing an earlier finding
    /// never brings a word nearer to a later candidate.)
    pub fn before(&self, text: &str, start: usize) -> bool {
        let bytes = text.as_bytes();
        let mut from = start.saturating_sub(WINDOW);
        if let Some(stop) = bytes[from..start]
            .iter()
            .rposition(|byte| byte.is_ascii_digit() || matches!(byte, b'<' | b'>' | b'@' | b'\n'))
        {
            from += stop + 1;
        }
        while !text.is_char_boundary(from) {
            from += 1;
        }
        if start - from < 2 {
            return false;
        }
        let window = text[from..start].to_lowercase();
        // A word cut by the window's edge is not a word.
        let cut = from > 0 && is_word(before(bytes, from));
        self.0.iter().any(|word| {
            window.match_indices(word.as_str()).any(|(place, _)| {
                // From Thai on, scripts that put no spaces between words.
                if word.chars().any(|c| c >= '\u{e00}') {
                    return true;
                }
                let left = window[..place].chars().next_back();
                let right = window[place + word.len()..].chars().next();
                let inside = |c: char| c.is_alphabetic() || c == '_';
                let whole_left = left.map_or(!cut, |c| !inside(c));
                let whole_right = right.is_none_or(|c| !inside(c));
                whole_left && whole_right
            })
        })
    }
}

/// Exact membership, without regard to ASCII case.
pub struct Set(HashSet<Vec<u8>>);

impl Set {
    pub fn new(words: Vec<String>) -> Self {
        Self(
            words
                .into_iter()
                .map(|word| word.to_ascii_lowercase().into_bytes())
                .collect(),
        )
    }

    pub fn has(&self, word: &[u8]) -> bool {
        word.len() <= 256 && self.0.contains(&word.to_ascii_lowercase())
    }
}

/// Is any of `parts` (lower case) inside `value`, without regard to ASCII case?
pub fn contains_any(value: &[u8], parts: &[Vec<u8>]) -> bool {
    let value = value.to_ascii_lowercase();
    parts
        .iter()
        .any(|part| memchr::memmem::find(&value, part).is_some())
}

pub fn lower(words: Vec<String>) -> Vec<Vec<u8>> {
    words
        .into_iter()
        .map(|word| word.to_ascii_lowercase().into_bytes())
        .filter(|word| !word.is_empty())
        .collect()
}

/// Shannon entropy of the bytes, in bits per byte.
pub fn entropy(value: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for &byte in value {
        counts[byte as usize] += 1;
    }
    let total = value.len().max(1) as f64;
    counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| {
            let share = f64::from(count) / total;
            -share * share.log2()
        })
        .sum()
}

//! What the line rules ask of a line, counted in one look at its bytes: about 1 GB/s on one core.
//!
//! Words are separated by white space, as Python's `str.split` has it. Phrases are found without regard
//! to the case of ASCII letters, each by its rarest letter, so that hardly a byte in 20 is looked at
//! twice. Digits are those of Python (`\d` and `str.isdigit`, Unicode 14).

use super::classes::{ALPHA, Classes, NUMERIC, SPACE, UPPER};

const LONG_WORD: usize = 1000; // characters; the reference code of C4, beside the paper

// What `Facts::found` says.
pub const LOREM: u8 = 1;
pub const JAVASCRIPT: u8 = 1 << 1;
pub const CURLY: u8 = 1 << 2;
pub const POLICY: u8 = 1 << 3;
pub const BRACKET: u8 = 1 << 4;

/// Counts over one line. `chars`, `upper` and `digits` are in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Facts {
    pub words: usize,
    /// Words that begin with a letter or digit.
    pub counted: usize,
    pub chars: usize,
    pub upper: usize,
    pub digits: usize,
    pub found: u8,
}

const BLANK: u8 = 1;
const CAPITAL: u8 = 1 << 1;
const DIGIT: u8 = 1 << 2;
const NAMED: u8 = 1 << 3; // letter or digit
const LOOK: u8 = 1 << 4; // rarest letter of a phrase
const HIGH: u8 = 1 << 5;

const KINDS: [u8; 256] = {
    let mut table = [HIGH; 256];
    let mut b = 0;
    while b < 128 {
        let byte = b as u8;
        let mut kind = 0;
        if byte == b' ' || (byte >= 0x09 && byte <= 0x0D) || (byte >= 0x1C && byte <= 0x1F) {
            kind |= BLANK;
        }
        if byte.is_ascii_uppercase() {
            kind |= CAPITAL;
        }
        if byte.is_ascii_digit() {
            kind |= DIGIT;
        }
        if byte.is_ascii_alphanumeric() {
            kind |= NAMED;
        }
        if matches!(
            byte.to_ascii_lowercase(),
            b'f' | b'j' | b'k' | b'p' | b'v' | b'[' | b'{'
        ) {
            kind |= LOOK;
        }
        table[b] = kind;
        b += 1;
    }
    table
};

pub fn facts(line: &str) -> Facts {
    let bytes = line.as_bytes();
    let mut out = Facts {
        chars: bytes.len(),
        ..Facts::default()
    };
    let (mut before, mut all) = (BLANK, 0);
    for (at, &byte) in bytes.iter().enumerate() {
        let kind = KINDS[byte as usize];
        let opens = usize::from(before & !kind & BLANK);
        out.words += opens;
        out.counted += opens & usize::from(kind & NAMED != 0);
        out.upper += usize::from(kind & CAPITAL != 0);
        out.digits += usize::from(kind & DIGIT != 0);
        if kind & LOOK != 0 {
            out.found |= look(bytes, at);
        }
        all |= kind;
        before = kind;
    }
    if all & HIGH != 0 {
        characters(line, &mut out);
    }
    out
}

/// The counts again, for a line beyond ASCII.
fn characters(line: &str, out: &mut Facts) {
    let classes = Classes::get();
    *out = Facts {
        found: out.found,
        ..Facts::default()
    };
    let mut before = SPACE;
    for c in line.chars() {
        let class = classes.of(c);
        let opens = before & SPACE != 0 && class & SPACE == 0;
        out.words += usize::from(opens);
        out.counted += usize::from(opens && class & (ALPHA | NUMERIC) != 0);
        out.chars += 1;
        out.upper += usize::from(class & UPPER != 0);
        out.digits += usize::from(class & NUMERIC != 0 && is_digit(c));
        before = class;
    }
}

/// Words of a line in pieces that begin with a letter or digit.
pub fn counted_words(chars: impl Iterator<Item = char>) -> usize {
    let classes = Classes::get();
    let (mut count, mut before) = (0, SPACE);
    for c in chars {
        let class = classes.of(c);
        count += usize::from(
            before & SPACE != 0 && class & SPACE == 0 && class & (ALPHA | NUMERIC) != 0,
        );
        before = class;
    }
    count
}

/// The phrases in a line alone.
pub fn phrases(line: &str) -> u8 {
    let bytes = line.as_bytes();
    (0..bytes.len())
        .filter(|&at| KINDS[bytes[at] as usize] & LOOK != 0)
        .fold(0, |found, at| found | look(bytes, at))
}

/// Whether the byte at `at` is the rarest letter of a phrase that stands there.
#[inline]
fn look(bytes: &[u8], at: usize) -> u8 {
    let here = |back: usize, phrase: &[u8]| at >= back && starts_with(&bytes[at - back..], phrase);
    let found = |yes: bool, what: u8| if yes { what } else { 0 };
    match bytes[at].to_ascii_lowercase() {
        b'[' => BRACKET,
        b'{' => CURLY,
        b'f' => found(here(7, b"terms of use"), POLICY),
        b'j' => found(here(0, b"javascript"), JAVASCRIPT),
        b'p' => found(here(7, b"lorem ipsum"), LOREM),
        b'v' => found(here(3, b"privacy policy"), POLICY),
        b'k' => found(
            here(3, b"cookie policy")
                || (here(3, b"cookies")
                    && (here(8, b"uses ") || here(10, b"use of ") || here(7, b"use "))),
            POLICY,
        ),
        _ => 0,
    }
}

/// Whether bytes start with a phrase of small letters, in whatever case.
pub fn starts_with(bytes: &[u8], phrase: &[u8]) -> bool {
    bytes
        .get(..phrase.len())
        .is_some_and(|part| part.eq_ignore_ascii_case(phrase))
}

/// Offset of a phrase of small letters, in whatever case, from `from` on.
pub fn find(bytes: &[u8], phrase: &[u8], from: usize) -> Option<usize> {
    (from..(bytes.len() + 1).saturating_sub(phrase.len()))
        .find(|&at| starts_with(&bytes[at..], phrase))
}

/// Whether any word has more than 1,000 characters. Words of ordinary length are passed in jumps.
pub fn has_long_word(line: &str) -> bool {
    let bytes = line.as_bytes();
    let mut start = 0;
    while start + LONG_WORD < bytes.len() {
        // Only a stretch of 1,001 bytes without ASCII white space can hold such a word.
        let stretch = start..=start + LONG_WORD;
        if let Some(at) = stretch
            .rev()
            .find(|&at| KINDS[bytes[at] as usize] & BLANK != 0)
        {
            start = at + 1;
            continue;
        }
        let end = (start + LONG_WORD..bytes.len())
            .find(|&at| KINDS[bytes[at] as usize] & BLANK != 0)
            .unwrap_or(bytes.len());
        let classes = Classes::get();
        let mut run = 0;
        for c in line[start..end].chars() {
            run = if classes.of(c) & SPACE != 0 {
                0
            } else {
                run + 1
            };
            if run > LONG_WORD {
                return true;
            }
        }
        start = end + 1;
    }
    false
}

/// Where the ten decimal digits of each script begin (general category Nd beyond ASCII).
const DECIMALS: [u32; 65] = [
    0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6,
    0xE50, 0xED0, 0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50,
    0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
    0x104A0, 0x10D30, 0x11066, 0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650,
    0x116C0, 0x11730, 0x118E0, 0x11950, 0x11C50, 0x11D50, 0x11DA0, 0x16A60, 0x16AC0, 0x16B50,
    0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E950, 0x1FBF0,
];

/// What `\d` matches.
pub fn is_decimal(c: char) -> bool {
    let code = c as u32;
    c.is_ascii_digit()
        || (code >= DECIMALS[0] && {
            let after = DECIMALS.partition_point(|&first| first <= code);
            code - DECIMALS[after - 1] < 10
        })
}

/// What `str.isdigit` accepts: decimal digits, and those in circles, brackets or raised.
fn is_digit(c: char) -> bool {
    is_decimal(c)
        || matches!(c as u32,
            0xB2 | 0xB3 | 0xB9 | 0x1369..=0x1371 | 0x19DA | 0x2070 | 0x2074..=0x2079
            | 0x2080..=0x2089 | 0x2460..=0x2468 | 0x2474..=0x247C | 0x2488..=0x2490 | 0x24EA
            | 0x24F5..=0x24FD | 0x24FF | 0x2776..=0x277E | 0x2780..=0x2788 | 0x278A..=0x2792
            | 0x10A40..=0x10A43 | 0x10E60..=0x10E68 | 0x11052..=0x1105A | 0x1F100..=0x1F10A)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counting_bytes_and_characters_is_the_same(line in "[A-Za-z0-9 \t.{\\[]{0,40}") {
            let expected = facts(&line);
            let mut found = Facts { found: expected.found, ..Facts::default() };
            characters(&line, &mut found);
            prop_assert_eq!(found, expected);
            prop_assert_eq!(phrases(&line), expected.found);
            prop_assert_eq!(counted_words(line.chars()), expected.counted);
        }

        #[test]
        fn a_long_word_is_one_of_more_than_a_thousand_characters(
            parts in prop::collection::vec((0usize..1100, "[ \u{3000}xé]"), 1..6)
        ) {
            let line: String = parts.iter().map(|(n, gap)| "é".repeat(*n) + gap).collect();
            let expected = line.split_whitespace().any(|word| word.chars().count() > LONG_WORD);
            prop_assert_eq!(has_long_word(&line), expected);
        }
    }

    #[test]
    fn phrases_are_found_in_any_case_and_at_both_ends() {
        assert_eq!(facts("JavaScript").found, JAVASCRIPT);
        assert_eq!(facts("xLorem Ipsumx").found, LOREM);
        for phrase in [
            "Terms of Use",
            "privacy policy",
            "COOKIE POLICY",
            "uses cookies",
            "use of cookies",
            "use cookies",
        ] {
            assert_eq!(facts(phrase).found, POLICY, "{phrase}");
            assert_eq!(facts(&phrase[1..]).found & !POLICY, 0, "{phrase}");
        }
        assert_eq!(facts("eat cookies, of use k f v p j").found, 0);
        assert_eq!(facts("é{[").found, CURLY | BRACKET);
    }
}

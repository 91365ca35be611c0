//! What the line rules ask of a line, in loops that the compiler vectorises.
//!
//! Words are separated by white space, as Python's `str.split` has it. Phrases are found without regard
//! to the case of ASCII letters; a text is first asked whether it can have any, which most cannot. Digits
//! are those of Python (`\d` and `str.isdigit`, Unicode 14).

use memchr::memchr;

use super::classes::{ALPHA, Classes, NUMERIC, SPACE, UPPER};

const LONG_WORD: usize = 1000; // characters; the reference code of C4, beside the paper

// What `phrases` finds.
pub const LOREM: u8 = 1;
pub const JAVASCRIPT: u8 = 1 << 1;
pub const CURLY: u8 = 1 << 2;
pub const POLICY: u8 = 1 << 3;

/// Counts over one line; `chars` and `upper` are of characters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Facts {
    pub words: usize,
    /// Words that begin with a letter or digit.
    pub counted: usize,
    pub chars: usize,
    pub upper: usize,
}

pub fn facts(line: &str) -> Facts {
    let mut out = of_bytes(line.as_bytes());
    if out.chars < line.len() && !beyond_ascii(line, &mut out) {
        return characters(line);
    }
    out
}

/// Add what the characters beyond ASCII bring; false if one of them is white space.
fn beyond_ascii(line: &str, out: &mut Facts) -> bool {
    let classes = Classes::get();
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if let Some(eight) = bytes[at..].first_chunk::<8>() {
            let high = u64::from_le_bytes(*eight) & 0x8080_8080_8080_8080;
            at += high.trailing_zeros() as usize / 8; // all eight without such a byte
            if high == 0 {
                continue;
            }
        } else if bytes[at] < 0x80 {
            at += 1;
            continue;
        }
        let mut opens = at == 0 || is_blank(bytes[at - 1]);
        for c in line[at..].chars().take_while(|c| !c.is_ascii()) {
            let class = classes.of(c);
            if class & SPACE != 0 {
                return false;
            }
            out.counted += usize::from(opens && class & (ALPHA | NUMERIC) != 0);
            out.upper += usize::from(class & UPPER != 0);
            opens = false;
            at += c.len_utf8();
        }
    }
    true
}

#[inline(always)]
fn is_blank(byte: u8) -> bool {
    (byte == b' ') | (byte.wrapping_sub(0x09) < 5) | (byte.wrapping_sub(0x1C) < 4)
}

#[inline(always)]
fn is_named(byte: u8) -> bool {
    (byte.wrapping_sub(b'0') < 10) | ((byte | 0x20).wrapping_sub(b'a') < 26)
}

const BLOCK: usize = 32;

/// The facts with every byte beyond ASCII taken for one that is neither white space nor a letter.
fn of_bytes(bytes: &[u8]) -> Facts {
    let Some(&first) = bytes.first() else {
        return Facts::default();
    };
    let mut out = Facts {
        words: usize::from(!is_blank(first)),
        counted: usize::from(is_named(first)),
        chars: bytes.len(),
        upper: usize::from(is_upper(first)),
    };
    // Whole blocks only, which the compiler makes vectors of; lines are often shorter than three.
    let (before, _) = bytes[..bytes.len() - 1].as_chunks::<BLOCK>();
    let (after, rest) = bytes[1..].as_chunks::<BLOCK>();
    for (before, after) in before.iter().zip(after) {
        out.add(before, after);
    }
    if !rest.is_empty() {
        let mut padded = [b' '; BLOCK + 1]; // a blank behind the line adds nothing
        padded[..=rest.len()].copy_from_slice(&bytes[bytes.len() - 1 - rest.len()..]);
        if let (Some(before), Some(after)) = (padded.first_chunk(), padded.last_chunk()) {
            out.add(before, after);
        }
    }
    out
}

#[inline(always)]
fn is_upper(byte: u8) -> bool {
    byte.wrapping_sub(b'A') < 26
}

impl Facts {
    #[inline(always)]
    fn add(&mut self, before: &[u8; BLOCK], after: &[u8; BLOCK]) {
        let (mut words, mut counted, mut upper, mut inner) = (0u8, 0u8, 0u8, 0u8);
        for (&before, &byte) in before.iter().zip(after) {
            let opens = is_blank(before);
            words += u8::from(opens & !is_blank(byte));
            counted += u8::from(opens & is_named(byte));
            upper += u8::from(is_upper(byte));
            inner += u8::from(byte & 0xC0 == 0x80);
        }
        self.words += usize::from(words);
        self.counted += usize::from(counted);
        self.upper += usize::from(upper);
        self.chars -= usize::from(inner);
    }
}

fn characters(line: &str) -> Facts {
    let classes = Classes::get();
    let mut out = Facts::default();
    let mut before = SPACE;
    for c in line.chars() {
        let class = classes.of(c);
        let opens = before & SPACE != 0 && class & SPACE == 0;
        out.words += usize::from(opens);
        out.counted += usize::from(opens && class & (ALPHA | NUMERIC) != 0);
        out.chars += 1;
        out.upper += usize::from(class & UPPER != 0);
        before = class;
    }
    out
}

/// How many characters `str.isdigit` accepts.
pub fn digits(line: &str) -> usize {
    line.chars().filter(|&c| is_digit(c)).count()
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

/// The phrases that `possible` asks for: of C4, then one of RefinedWeb. None is shorter than `LEAST`.
const PHRASES: [&[u8]; 9] = [
    b"javascript",
    b"lorem ipsum",
    b"terms of use",
    b"privacy policy",
    b"cookie policy",
    b"uses cookies",
    b"use of cookies",
    b"use cookies",
    b"items in cart",
];
const LEAST: usize = 10;
/// Of four bytes each so far apart, one lies in any phrase as a whole.
const STRIDE: usize = LEAST - 3;
/// How far a phrase reaches before and behind four bytes in it, at most.
const REACH: usize = 10;

/// The bit of four bytes among 8,192, small letters and capitals alike.
#[inline(always)]
const fn bit_of(four: [u8; 4]) -> usize {
    ((u32::from_le_bytes(four) | 0x2020_2020).wrapping_mul(0x9E37_79B1) >> 19) as usize
}

/// The bits of all fours in the phrases.
const FOURS: [u64; 128] = {
    let mut bits = [0; 128];
    let mut which = 0;
    while which < PHRASES.len() {
        let phrase = PHRASES[which];
        let mut at = 0;
        while at + 4 <= phrase.len() {
            let bit = bit_of([phrase[at], phrase[at + 1], phrase[at + 2], phrase[at + 3]]);
            bits[bit / 64] |= 1 << (bit % 64);
            at += 1;
        }
        which += 1;
    }
    bits
};

/// Whether a text can have phrases that C4 looks for, and one of RefinedWeb's: by six letters of each
/// around four that are in some phrase.
pub fn possible(text: &[u8]) -> (bool, bool) {
    let (mut c4, mut refinedweb) = (false, false);
    let is_in_phrase = |at: usize| {
        let four = text.get(at..).and_then(|rest| rest.first_chunk::<4>());
        four.map(|&four| FOURS[bit_of(four) / 64] >> (bit_of(four) % 64) & 1 != 0)
    };
    let mut at = 0;
    while let Some(found) = is_in_phrase(at) {
        // Six more bytes of the phrase are around these, so three on one side at least.
        let more = |at: Option<usize>| at.and_then(is_in_phrase) == Some(true);
        if found && (more(at.checked_sub(3)) || more(Some(at + 3))) {
            let around = at.saturating_sub(REACH)..text.len().min(at + 4 + REACH);
            for six in text[around].windows(6) {
                let is = |part: &[u8; 6]| six.eq_ignore_ascii_case(part);
                c4 |= is(b"ascrip") | is(b"cookie") | is(b"em ips") | is(b"s of u") | is(b"cy pol");
                refinedweb |= is(b"s in c");
            }
            if c4 && refinedweb {
                break;
            }
        }
        at += STRIDE;
    }
    (c4, refinedweb)
}

/// The phrases of C4 in a line.
pub fn phrases(line: &str) -> u8 {
    let bytes = line.as_bytes();
    if !possible(bytes).0 {
        return if memchr(b'{', bytes).is_some() {
            CURLY
        } else {
            0
        };
    }
    (0..bytes.len()).fold(0, |found, at| found | look(bytes, at))
}

/// What phrase the byte at `at` is the rarest letter of.
#[inline]
fn look(bytes: &[u8], at: usize) -> u8 {
    let here = |back: usize, phrase: &[u8]| at >= back && starts_with(&bytes[at - back..], phrase);
    let found = |yes: bool, what: u8| if yes { what } else { 0 };
    match bytes[at] {
        b'{' => CURLY,
        b'f' | b'F' => found(here(7, b"terms of use"), POLICY),
        b'j' | b'J' => found(here(0, b"javascript"), JAVASCRIPT),
        b'p' | b'P' => found(here(7, b"lorem ipsum"), LOREM),
        b'v' | b'V' => found(here(3, b"privacy policy"), POLICY),
        b'k' | b'K' => found(
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
        if let Some(at) = stretch.rev().find(|&at| is_blank(bytes[at])) {
            start = at + 1;
            continue;
        }
        let end = (start + LONG_WORD..bytes.len())
            .find(|&at| is_blank(bytes[at]))
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
pub fn is_digit(c: char) -> bool {
    // The first after those of ASCII; most characters that are asked for are below.
    if c < '\u{B2}' {
        return c.is_ascii_digit();
    }
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
        fn counting_bytes_and_characters_is_the_same(
            line in "([A-Za-z0-9 \t\x1c.@\\[`{]|[éÉ潮…𝒙]){0,600}|([a-z ]|[Éé\u{3000}]){0,80}"
        ) {
            prop_assert_eq!(facts(&line), characters(&line));
            prop_assert_eq!(counted_words(line.chars()), characters(&line).counted);
        }

        #[test]
        fn a_text_with_a_phrase_can_have_one(
            before in "[ -~é]{0,40}", after in "[ -~é]{0,40}", which in 0usize..9, capitals in any::<bool>()
        ) {
            let phrase = ["lorem ipsum", "javascript", "terms of use", "privacy policy", "cookie policy",
                "uses cookies", "use of cookies", "use cookies", "items in cart"][which];
            let phrase = if capitals { phrase.to_uppercase() } else { phrase.into() };
            let text = format!("{before}{phrase}{after}");
            let (c4, refinedweb) = possible(text.as_bytes());
            let found = if which < 8 { c4 && phrases(&text) != 0 } else { refinedweb };
            prop_assert!(found);
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
        assert_eq!(phrases("JavaScript"), JAVASCRIPT);
        assert_eq!(phrases("xLorem Ipsumx"), LOREM);
        for phrase in [
            "Terms of Use",
            "privacy policy",
            "COOKIE POLICY",
            "uses cookies",
            "use of cookies",
            "use cookies",
        ] {
            assert_eq!(phrases(phrase), POLICY, "{phrase}");
            assert_eq!(phrases(&phrase[1..]), 0, "{phrase}");
        }
        assert_eq!(phrases("eat cookies, of use k f v p j"), 0);
        assert_eq!(phrases("é{["), CURLY);
    }
}

//! What each character is, in one table look-up.
//!
//! A 16-bit entry per character of the first two planes (256 KiB, built once in some 40 ms; in practice
//! a few cache lines of it are hot, as a text stays within a few blocks). Of the planes beyond, the
//! ideographs are known by their range; the rest, which is hardly ever met, is classified on the spot.

use std::sync::OnceLock;

use unicode_normalization::IsNormalized;
use unicode_normalization::char::{canonical_combining_class, is_combining_mark};
use unicode_normalization::is_nfc_quick;

pub const ALPHA: u16 = 1; // Unicode Alphabetic
pub const NUMERIC: u16 = 1 << 1; // general category N*
pub const SPACE: u16 = 1 << 2; // what Python's str.isspace accepts
pub const UPPER: u16 = 1 << 3;
pub const LOWER: u16 = 1 << 4;
pub const MARK: u16 = 1 << 5; // combining mark, or a joiner or variation selector
pub const PUNCTUATION: u16 = 1 << 6; // a token of these alone is no word
pub const STABLE: u16 = 1 << 7; // a starter that NFC keeps and never joins to what precedes it
pub const MATHS: u16 = 1 << 8; // mathematical operators and alphanumerics, not ASCII
pub const BREAK: u16 = 1 << 9; // ends a line for Python's str.splitlines
pub const SINGLE: u16 = 1 << 10; // a unit by itself: Han ideograph, hiragana
pub const SYLLABLE: u16 = 1 << 11; // begins a unit: base letter of Thai, Lao, Khmer, Burmese
pub const BINDS: u16 = 1 << 12; // the next base letter does not begin a unit
pub const SYMBOL: u16 = 1 << 13; // a token by itself, wherever it stands: emoji, CJK punctuation
pub const AFFIX: u16 = 1 << 14; // a token of its own at either edge of a chunk: brackets, quotes
pub const DASH: u16 = 1 << 15; // en dash, em dash, tilde, hyphen: splits between letters

pub struct Classes {
    planes: Box<[u16]>,
}

impl Classes {
    /// The table, built on first use.
    pub fn get() -> &'static Classes {
        static TABLE: OnceLock<Classes> = OnceLock::new();
        TABLE.get_or_init(|| Classes {
            planes: (0..=0x1_FFFFu32)
                .map(|code| char::from_u32(code).map_or(0, classify))
                .collect(),
        })
    }

    #[inline]
    pub fn of(&self, c: char) -> u16 {
        match self.planes.get(c as usize) {
            Some(&class) => class,
            None if matches!(c as u32, 0x2_0000..=0x2_F7FF | 0x3_0000..=0x3_23AF) => {
                ALPHA | STABLE | SINGLE
            }
            None => classify(c),
        }
    }

    #[inline]
    pub fn of_byte(&self, b: u8) -> u16 {
        self.planes[b as usize & 0x7F]
    }
}

fn classify(c: char) -> u16 {
    let mut class = 0;
    let mut set = |flag: u16, on: bool| class |= if on { flag } else { 0 };
    let code = c as u32;
    let mark = is_combining_mark(c) || matches!(code, 0x200C | 0x200D | 0xFE00..=0xFE0F);
    let space = c.is_whitespace() || matches!(code, 0x1C..=0x1F);
    let word = c.is_alphanumeric() || mark;
    let affix = matches!(
        c,
        ',' | ':' | ';' | '!' | '?' | '(' | ')' | '[' | ']' | '{' | '}'
    ) || matches!(c, '<' | '>' | '_' | '#' | '*' | '&' | '\'' | '"' | '`')
        || matches!(c, '¿' | '؟' | '¡' | '·' | '،' | '۔' | '؛' | '٪' | '।')
        || matches!(c, '‘' | '’' | '‚' | '“' | '”' | '„' | '«' | '»' | '´');
    let maths = matches!(code,
        0xAC | 0xB1 | 0xD7 | 0xF7 | 0x2200..=0x22FF | 0x27C0..=0x27EF | 0x2980..=0x2AFF
        | 0x1D400..=0x1D7FF);
    // Of the marks below U+2060 only the ellipsis stands by itself: a dagger or a prime stays with its word.
    let symbol = matches!(c, '¦' | '©' | '®' | '°' | '…')
        || code >= 0x2060
            && !(maths || word || space || affix || single(code) || syllable(code))
            && !matches!(code, 0x2060..=0x206F | 0x2190..=0x2194 | 0x21D2 | 0x21D4 | 0xD800..=0xF8FF | 0xFEFF)
            && code < 0xE0000;
    set(ALPHA, c.is_alphabetic());
    set(NUMERIC, c.is_numeric());
    set(SPACE, space);
    set(UPPER, c.is_uppercase());
    set(LOWER, c.is_lowercase());
    set(MARK, mark);
    set(PUNCTUATION, punctuation(c));
    set(
        STABLE,
        canonical_combining_class(c) == 0 && is_nfc_quick([c].into_iter()) == IsNormalized::Yes,
    );
    set(MATHS, maths);
    set(
        BREAK,
        matches!(code, 0x0A..=0x0D | 0x1C..=0x1E | 0x85 | 0x2028 | 0x2029),
    );
    set(SINGLE, single(code));
    set(SYLLABLE, syllable(code));
    set(
        BINDS,
        matches!(code, 0x0E40..=0x0E44 | 0x0EC0..=0x0EC4 | 0x17D2 | 0x1039),
    );
    set(SYMBOL, symbol);
    set(AFFIX, affix);
    set(DASH, matches!(c, '-' | '–' | '—' | '~'));
    class
}

/// Han ideographs (every block of them) and hiragana.
fn single(code: u32) -> bool {
    matches!(code,
        0x3005 | 0x3007 | 0x3041..=0x3096 | 0x309D..=0x309F | 0x3400..=0x4DBF | 0x4E00..=0x9FFF
        | 0xF900..=0xFAFF | 0x20000..=0x323AF)
}

/// Letters that open an orthographic syllable: consonants and leading or independent vowels.
fn syllable(code: u32) -> bool {
    matches!(code,
        0x0E01..=0x0E2E | 0x0E40..=0x0E44       // Thai
        | 0x0E81..=0x0EAE | 0x0EC0..=0x0EC4 | 0x0EDC..=0x0EDF // Lao
        | 0x1000..=0x102A | 0x103F | 0x104E     // Burmese
        | 0x1780..=0x17B3) // Khmer
}

/// Characters that make no word, as datatrove has them (0.10, Gopher quality filter): ASCII punctuation,
/// C0 and C1 controls but tab and newline, Sentence_Terminal, and a list of quotes, dashes and CJK marks.
/// A token of emoji, bullets or mathematical signs does count as a word there, so it does here; the
/// full-width digit one, which is on that list, does too.
fn punctuation(c: char) -> bool {
    c.is_ascii_punctuation()
        || (c.is_control() && !matches!(c, '\t' | '\n'))
        || sentence_terminal(c)
        || matches!(
            c,
            '«' | '»' | '´' | '–' | '—' | '’' | '“' | '”' | '„' | '…' | '∶' | '━' | '►'
        )
        || matches!(
            c,
            '、' | '〈' | '〉' | '《' | '》' | '「' | '」' | '【' | '】'
        )
        || matches!(c, '％' | '（' | '）' | '，' | '：' | '；' | '～')
}

/// The Unicode property Sentence_Terminal, which FineWeb's rule on line ends uses too.
pub fn sentence_terminal(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, '.' | '!' | '?');
    }
    matches!(c as u32,
        0x0589 | 0x061D..=0x061F | 0x06D4 | 0x0700..=0x0702 | 0x07F9 | 0x0837 | 0x0839
        | 0x083D | 0x083E | 0x0964 | 0x0965 | 0x104A | 0x104B | 0x1362 | 0x1367 | 0x1368 | 0x166E
        | 0x1735 | 0x1736 | 0x17D4 | 0x17D5 | 0x1803 | 0x1809 | 0x1944 | 0x1945 | 0x1AA8..=0x1AAB
        | 0x1B5A | 0x1B5B | 0x1B5E | 0x1B5F | 0x1B7D..=0x1B7F | 0x1C3B | 0x1C3C | 0x1C7E | 0x1C7F
        | 0x203C | 0x203D | 0x2047..=0x2049 | 0x2CF9..=0x2CFB | 0x2E2E | 0x2E3C | 0x2E53 | 0x2E54
        | 0x3002 | 0xA4FF | 0xA60E | 0xA60F | 0xA6F3 | 0xA6F7 | 0xA876 | 0xA877 | 0xA8CE | 0xA8CF
        | 0xA92F | 0xA9C8 | 0xA9C9 | 0xAA5D..=0xAA5F | 0xAAF0 | 0xAAF1 | 0xABEB | 0xFE12 | 0xFE15
        | 0xFE16 | 0xFE52 | 0xFE56 | 0xFE57 | 0xFF01 | 0xFF0E | 0xFF1F | 0xFF61 | 0x10A56 | 0x10A57
        | 0x10F55..=0x10F59 | 0x10F86..=0x10F89 | 0x11047 | 0x11048 | 0x110BE..=0x110C1
        | 0x11141..=0x11143 | 0x111C5 | 0x111C6 | 0x111CD | 0x111DE | 0x111DF | 0x11238 | 0x11239
        | 0x1123B | 0x1123C | 0x112A9 | 0x1144B | 0x1144C | 0x115C2 | 0x115C3 | 0x115C9..=0x115D7
        | 0x11641 | 0x11642 | 0x1173C..=0x1173E | 0x11944 | 0x11946 | 0x11A42 | 0x11A43 | 0x11A9B
        | 0x11A9C | 0x11C41 | 0x11C42 | 0x11EF7 | 0x11EF8 | 0x11F43 | 0x11F44 | 0x16A6E | 0x16A6F
        | 0x16AF5 | 0x16B37 | 0x16B38 | 0x16B44 | 0x16E98 | 0x1BC9F | 0x1DA88)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_agrees_with_the_rule() {
        for code in 0..=0x1FFFFu32 {
            if let Some(c) = char::from_u32(code) {
                assert_eq!(Classes::get().of(c), classify(c), "U+{code:04X}");
            }
        }
    }

    #[test]
    fn a_character_is_at_most_one_kind_of_token() {
        for c in (0..0x3_0000u32).filter_map(char::from_u32) {
            let class = classify(c);
            let kinds = [SINGLE, SYLLABLE, SYMBOL, AFFIX, SPACE];
            assert!(
                kinds.iter().filter(|kind| class & **kind != 0).count() <= 1,
                "{c:?}"
            );
        }
    }
}

//! Counts over the characters of a text: their classes, and the scripts of its letters.
//!
//! Counts of ten kinds of bytes, in vectors, answer for ASCII. Beyond ASCII, characters that count
//! alike in everything below are one kind: a character costs one look-up and one increment, and the
//! 300 or so kinds are added up once per text. The table (256 KiB, built on first use) covers two
//! planes; of those beyond, the ideographs are known by their range.
//!
//! A letter is a character with the property Alphabetic. Its script is the Unicode property Script,
//! but that hiragana, katakana and the long-vowel marks which both use count as one: kana.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use memchr::memmem::Finder;
use unicode_script::{Script, UnicodeScript};

use super::classes::*;
use super::ratio;
use super::table::signal_table;

const COVERED: u32 = 0x2_0000;
const KANA: u8 = Script::Hiragana as u8;
const NONE: u8 = Script::Unknown as u8;
/// Han text with fewer kana than one in 20 is not taken for Japanese.
const JAPANESE: u64 = 20;

signal_table! {
    /// The scripts of a text's letters. The shares add up to 1 unless there is no letter.
    pub struct Scripts {
    script: &'static str = "ISO 15924 code of the script with most letters, the first by code among equals; Jpan for han and kana together where kana are at least 1 in 20 of both, else Hani and Hrkt; Zyyy without letters";
    script_ratio: f64 = "share of letters in that script";
    latin_ratio: f64 = "share of letters (Alphabetic) of the Latin script";
    cyrillic_ratio: f64 = "share of letters in Cyrillic";
    greek_ratio: f64 = "share of letters in Greek";
    armenian_ratio: f64 = "share of letters in Armenian";
    georgian_ratio: f64 = "share of letters in Georgian";
    hebrew_ratio: f64 = "share of letters in Hebrew";
    arabic_ratio: f64 = "share of letters in Arabic";
    ethiopic_ratio: f64 = "share of letters in Ethiopic";
    devanagari_ratio: f64 = "share of letters in Devanagari";
    indic_ratio: f64 = "share of letters in Bengali, Gurmukhi, Gujarati, Oriya, Tamil, Telugu, Kannada, Malayalam or Sinhala; `script` says which";
    thai_ratio: f64 = "share of letters in Thai";
    lao_ratio: f64 = "share of letters in Lao";
    khmer_ratio: f64 = "share of letters in Khmer";
    burmese_ratio: f64 = "share of letters in the Myanmar script";
    han_ratio: f64 = "share of letters that are Han ideographs";
    kana_ratio: f64 = "share of letters that are hiragana or katakana";
    hangul_ratio: f64 = "share of letters in Hangul";
    other_script_ratio: f64 = "share of letters in any other script, and of those that no script has for its own";
    }
}

/// What a character counts as.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    alphabetic: bool,
    numeric: bool,
    upper: bool,
    space: bool,
    maths: bool,
    replacement: bool,
    ellipsis: bool,
    script: u8,
}

impl Kind {
    fn of(c: char) -> Kind {
        let class = Classes::get().of(c);
        let alphabetic = class & ALPHA != 0;
        Kind {
            alphabetic,
            numeric: class & NUMERIC != 0,
            upper: class & UPPER != 0,
            space: class & SPACE != 0,
            maths: class & MATHS != 0,
            replacement: c == '\u{FFFD}',
            ellipsis: c == '…',
            script: if alphabetic { script_of(c) as u8 } else { NONE },
        }
    }
}

fn script_of(c: char) -> Script {
    match c {
        '\u{30FC}' | '\u{FF70}' => Script::Hiragana,
        _ if matches!(c as u32, 0x2_0000..=0x2_F7FF | 0x3_0000..=0x3_23AF) => Script::Han,
        _ => match c.script() {
            Script::Katakana => Script::Hiragana,
            script => script,
        },
    }
}

struct Kinds {
    of_char: Box<[u16]>,
    kinds: Vec<Kind>,
}

impl Kinds {
    fn get() -> &'static Kinds {
        static TABLE: OnceLock<Kinds> = OnceLock::new();
        TABLE.get_or_init(|| {
            let (mut kinds, mut numbers) = (Vec::new(), HashMap::new());
            let of_char = (0..COVERED).map(|code| {
                let kind = Kind::of(char::from_u32(code).unwrap_or('\0'));
                *numbers.entry(kind).or_insert_with(|| {
                    kinds.push(kind);
                    kinds.len() as u16 - 1
                })
            });
            let of_char = of_char.collect();
            Kinds { of_char, kinds }
        })
    }
}

/// Counts over the ASCII bytes of a text.
#[derive(Default)]
struct Ascii {
    all: u64,
    letters: u64,
    upper: u64,
    digits: u64,
    space: u64,
    hashes: u64,
    stops: u64,
    backslashes: u64,
    dollars: u64,
    curly_brackets: u64,
}

impl Ascii {
    fn count(bytes: &[u8]) -> Ascii {
        let mut out = Ascii::default();
        // Pieces so short that their sums fit a byte, as wide as the characters themselves: the
        // compiler makes vectors of it.
        for piece in bytes.chunks(224) {
            let (mut all, mut letters, mut upper, mut digits, mut space) =
                (0u8, 0u8, 0u8, 0u8, 0u8);
            let (mut hashes, mut stops, mut backslashes, mut dollars, mut curly) =
                (0u8, 0u8, 0u8, 0u8, 0u8);
            for &byte in piece {
                all += u8::from(byte < 0x80);
                letters += u8::from((byte | 0x20).wrapping_sub(b'a') < 26);
                upper += u8::from(byte.wrapping_sub(b'A') < 26);
                digits += u8::from(byte.wrapping_sub(b'0') < 10);
                space += u8::from(
                    (byte == b' ') | (byte.wrapping_sub(0x09) < 5) | (byte.wrapping_sub(0x1C) < 4),
                );
                hashes += u8::from(byte == b'#');
                stops += u8::from(byte == b'.');
                backslashes += u8::from(byte == b'\\');
                dollars += u8::from(byte == b'$');
                curly += u8::from(byte == b'{');
            }
            out.all += u64::from(all);
            out.letters += u64::from(letters);
            out.upper += u64::from(upper);
            out.digits += u64::from(digits);
            out.space += u64::from(space);
            out.hashes += u64::from(hashes);
            out.stops += u64::from(stops);
            out.backslashes += u64::from(backslashes);
            out.dollars += u64::from(dollars);
            out.curly_brackets += u64::from(curly);
        }
        out
    }
}

/// Counts over the characters of a text.
pub struct Characters {
    pub chars: u64,
    pub alphanumeric: u64,
    pub alphabetic: u64,
    pub numeric: u64,
    pub uppercase: u64,
    pub whitespace: u64,
    pub replacements: u64,
    pub maths: u64,
    pub hashes: u64,
    pub ellipses: u64,
    pub backslashes: u64,
    pub dollars: u64,
    pub curly_brackets: u64,
    scripts: [u64; 256],
}

impl Characters {
    pub fn count(text: &str) -> Characters {
        let bytes = text.as_bytes();
        let ascii = Ascii::count(bytes);
        let mut out = Characters {
            chars: ascii.all,
            alphanumeric: ascii.letters + ascii.digits,
            alphabetic: ascii.letters,
            numeric: ascii.digits,
            uppercase: ascii.upper,
            whitespace: ascii.space,
            replacements: 0,
            maths: 0,
            hashes: ascii.hashes,
            ellipses: if ascii.stops >= 3 { ellipses(bytes) } else { 0 },
            backslashes: ascii.backslashes,
            dollars: ascii.dollars,
            curly_brackets: ascii.curly_brackets,
            scripts: [0; 256],
        };
        out.scripts[Script::Latin as usize] = ascii.letters;
        if out.chars < bytes.len() as u64 {
            out.add_beyond_ascii(text, Kinds::get());
        }
        out
    }

    fn add_beyond_ascii(&mut self, text: &str, kinds: &Kinds) {
        let mut histogram = vec![0u32; kinds.kinds.len()];
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            if let Some(eight) = bytes[at..].first_chunk::<8>() {
                let high = u64::from_le_bytes(*eight) & 0x8080_8080_8080_8080;
                // Each byte of ASCII before the first other one, or all eight.
                at += high.trailing_zeros() as usize / 8;
                if high == 0 {
                    continue;
                }
            } else if bytes[at] < 0x80 {
                at += 1;
                continue;
            }
            for c in text[at..].chars().take_while(|c| !c.is_ascii()) {
                at += c.len_utf8();
                match kinds.of_char.get(c as usize) {
                    Some(&kind) => histogram[kind as usize] += 1,
                    None => self.add(&Kind::of(c), 1),
                }
            }
        }
        for (kind, &count) in kinds.kinds.iter().zip(&histogram) {
            if count > 0 {
                self.add(kind, u64::from(count));
            }
        }
    }

    fn add(&mut self, kind: &Kind, count: u64) {
        let when = |on: bool| if on { count } else { 0 };
        self.chars += count;
        self.alphanumeric += when(kind.alphabetic || kind.numeric);
        self.alphabetic += when(kind.alphabetic);
        self.numeric += when(kind.numeric);
        self.uppercase += when(kind.upper);
        self.whitespace += when(kind.space);
        self.maths += when(kind.maths);
        self.replacements += when(kind.replacement);
        self.ellipses += when(kind.ellipsis);
        self.scripts[kind.script as usize] += when(kind.alphabetic);
    }

    /// The script signals.
    pub fn scripts(&self) -> Scripts {
        let letters = self.alphabetic;
        let of = |script: Script| self.scripts[script as usize];
        let share = |script: Script| ratio(of(script), letters);
        let (han, kana) = (of(Script::Han), self.scripts[KANA as usize]);
        let japanese = kana > 0 && kana * JAPANESE >= han + kana;
        let mut top = ("Zyyy", 0);
        let mut offer = |code: &'static str, count: u64| {
            if count > top.1 || (count == top.1 && count > 0 && code < top.0) {
                top = (code, count);
            }
        };
        if japanese {
            offer("Jpan", han + kana);
        } else {
            offer("Hani", han);
            offer("Hrkt", kana);
        }
        for (number, &count) in self.scripts.iter().enumerate() {
            if count > 0 && number != Script::Han as usize && number != KANA as usize {
                offer(code_of(number), count);
            }
        }
        let indic = [
            Script::Bengali,
            Script::Gurmukhi,
            Script::Gujarati,
            Script::Oriya,
            Script::Tamil,
            Script::Telugu,
            Script::Kannada,
            Script::Malayalam,
            Script::Sinhala,
        ]
        .into_iter()
        .map(of)
        .sum();
        let named = [
            Script::Latin,
            Script::Cyrillic,
            Script::Greek,
            Script::Armenian,
            Script::Georgian,
            Script::Hebrew,
            Script::Arabic,
            Script::Ethiopic,
            Script::Devanagari,
            Script::Thai,
            Script::Lao,
            Script::Khmer,
            Script::Myanmar,
            Script::Han,
            Script::Hiragana,
            Script::Hangul,
        ];
        let other = letters - indic - named.into_iter().map(of).sum::<u64>();
        Scripts {
            script: top.0,
            script_ratio: ratio(top.1, letters),
            latin_ratio: share(Script::Latin),
            cyrillic_ratio: share(Script::Cyrillic),
            greek_ratio: share(Script::Greek),
            armenian_ratio: share(Script::Armenian),
            georgian_ratio: share(Script::Georgian),
            hebrew_ratio: share(Script::Hebrew),
            arabic_ratio: share(Script::Arabic),
            ethiopic_ratio: share(Script::Ethiopic),
            devanagari_ratio: share(Script::Devanagari),
            indic_ratio: ratio(indic, letters),
            thai_ratio: share(Script::Thai),
            lao_ratio: share(Script::Lao),
            khmer_ratio: share(Script::Khmer),
            burmese_ratio: share(Script::Myanmar),
            han_ratio: share(Script::Han),
            kana_ratio: share(Script::Hiragana),
            hangul_ratio: share(Script::Hangul),
            other_script_ratio: ratio(other, letters),
        }
    }
}

/// The ISO 15924 code of a script by its number.
fn code_of(number: usize) -> &'static str {
    static CODES: OnceLock<Vec<&'static str>> = OnceLock::new();
    let codes = CODES.get_or_init(|| {
        let mut codes = vec!["Zyyy"; 256];
        for c in (0..=0x10_FFFF).filter_map(char::from_u32) {
            let script = c.script();
            codes[script as usize] = script.short_name();
        }
        codes
    });
    codes[number]
}

/// How often `...` occurs, without overlap.
fn ellipses(bytes: &[u8]) -> u64 {
    static THREE: LazyLock<Finder> = LazyLock::new(|| Finder::new("..."));
    THREE.find_iter(bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn script(text: &str) -> &'static str {
        Characters::count(text).scripts().script
    }

    #[test]
    fn the_script_is_that_of_most_letters() {
        for (text, code) in [
            ("", "Zyyy"),
            ("1, 2 …", "Zyyy"),
            ("Tide", "Latn"),
            ("прилив tide", "Cyrl"),
            ("潮汐", "Hani"),
            ("潮の満ち引き", "Jpan"),
            ("カー", "Jpan"),
            ("조석", "Hang"),
            ("নদী", "Beng"),
            ("αβ ab", "Grek"),
            ("ᏣᎳᎩ", "Cher"),
            ("𠀀𠀁", "Hani"),
        ] {
            assert_eq!(script(text), code, "{text}");
        }
    }

    #[test]
    fn a_few_kana_do_not_make_chinese_japanese() {
        assert_eq!(script(&format!("{}の", "潮".repeat(20))), "Hani");
        assert_eq!(script(&format!("{}の", "潮".repeat(19))), "Jpan");
    }

    proptest! {
        #[test]
        fn counts_are_those_of_each_character(text in "(\\PC|[a-z 1{#…\u{FFFD}あ潮б𠀀𝒙]){0,60}") {
            let counts = Characters::count(&text);
            let alphabetic = text.chars().filter(|c| c.is_alphabetic()).count() as u64;
            prop_assert_eq!(counts.chars, text.chars().count() as u64);
            prop_assert_eq!(counts.alphabetic, alphabetic);
            prop_assert_eq!(counts.scripts.iter().sum::<u64>(), alphabetic);
            prop_assert_eq!(counts.numeric, text.chars().filter(|c| c.is_numeric()).count() as u64);
            prop_assert_eq!(counts.curly_brackets, text.matches('{').count() as u64);
            let cyrillic = text.chars().filter(|c| c.is_alphabetic() && c.script() == Script::Cyrillic);
            prop_assert_eq!(counts.scripts[Script::Cyrillic as usize], cyrillic.count() as u64);
        }
    }
}

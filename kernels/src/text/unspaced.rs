//! Words of scripts without spaces, without a dictionary: Chinese, Japanese, Thai, Lao, Khmer, Burmese.
//!
//! The text is a row of units: a Han ideograph or hiragana, or an orthographic syllable (a consonant and
//! all that leans on it, the letter below it and a vowel in front included). Each unit is of one of up to
//! eleven kinds, told by its signs alone. One rule for all scripts: **a word ends between two units when it
//! has as many characters as a table gives for their two kinds.** So 1 is "always", and the largest number
//! of a table bounds the length of its words. Two things go before it: function words (a closed class of
//! some two dozen per language, kept as a list) stand alone wherever they are found, and so does what an
//! author has set apart by U+200B, as Khmer does. Of Han, an odd number leaves three together at its end.
//!
//! The tables are fitted to one half of real text (manual pages, desktop help and web pages for Chinese and
//! Japanese; interface texts, for Thai web sentences too, for the others, of which the corpus has next to
//! nothing), cut by the segmenter that a pipeline for the language would call. On the other half:
//!
//! | language | characters | against | words, ours / theirs | mean length, ours and theirs | F1 of boundaries | F1, one unit a word | ICU's F1 |
//! |---|---|---|---|---|---|---|---|
//! | Chinese | 51,000 | jieba 0.42 | 1.02 | 1.69 1.72 | 0.77 | 0.68 | 0.89 |
//! | Japanese | 54,000 | MeCab, unidic-lite 1.0.8 | 1.01 | 1.91 1.92 | 0.94 | 0.64 | 0.92 |
//! | Thai | 68,000 | PyThaiNLP 5.4 newmm | 1.01 | 4.72 4.76 | 0.74 | 0.46 | 0.86 |
//! | Lao | 8,000 | LaoNLP 1.3 | 1.03 | 4.13 4.25 | 0.80 | 0.54 | 0.88 |
//! | Khmer | 63,000 | khmercut 0.2 | 1.06 | 4.54 4.82 | 0.72 | 0.34 | 0.88 |
//! | Burmese | 61,000 | pyidaungsu 0.1.4 | 1.02 | 4.53 4.61 | 0.81 | 0.55 | 0.84 |
//!
//! The ends of runs of such letters are no boundaries here; they would flatter. One unit a word makes 1.7 to
//! 2.8 times as many words. ICU (its dictionaries, version 72 by PyICU 2.17) shows how far two segmenters
//! agree. Other subjects do no worse: Japanese fitted to manual pages alone, 0.93 and 1.01 on help and web
//! pages; Chinese essays that nothing was fitted to, 0.78 and 0.99.
//!
//! Linear in the bytes: each unit is looked at once, function words are compared only at letters that one
//! begins with. The signals of such texts run at 60 to 80 MB/s on one core, as before; English is not touched.

use super::classes::*;

/// A script: how its units are sorted into kinds, when a word ends between two, its function words.
struct Script {
    kind: fn(Unit, Option<u8>) -> u8,
    kinds: usize,
    ends: &'static [u8], // kinds x kinds: row the kind before, column the kind behind
    function_words: &'static [&'static str],
    initials: u128, // letters that function words begin with, by their place in the block
}

/// What a unit is made of: its first character, and one bit per sort of sign in it.
#[derive(Clone, Copy)]
struct Unit {
    first: char,
    signs: u8,
}

impl Unit {
    fn has(self, sign: u8) -> bool {
        self.signs & sign != 0
    }
}

// Signs of Thai and Lao, whose blocks run in parallel.
const TONE: u8 = 1;
const VOWEL: u8 = 2;
const CLIPPED: u8 = 4; // a vowel that a final consonant follows
const SILENT: u8 = 8; // the letter is not spoken: it ends a loan word's syllable
// Signs of Khmer and Burmese (with TONE and VOWEL; asat and Khmer's marks above close a syllable).
const NASAL: u8 = 4;
const STACKED: u8 = 8;
const CLOSED: u8 = 16;

fn sign(c: char) -> u8 {
    match c as u32 {
        0x0E31 | 0x0E47 | 0x0EB1 | 0x0EBB => VOWEL | CLIPPED,
        0x0E30 | 0x0E32..=0x0E39 | 0x0EB0 | 0x0EB2..=0x0EB9 | 0x0EBD => VOWEL,
        0x0E48..=0x0E4B | 0x0EC8..=0x0ECB => TONE,
        0x0E4C | 0x0ECC => SILENT,
        0x102B..=0x1032 | 0x17B6..=0x17C5 => VOWEL,
        0x1036 | 0x17C6..=0x17C8 => NASAL,
        0x1037 | 0x1038 => TONE,
        0x1039 | 0x17D2 => STACKED,
        0x103A | 0x17CB..=0x17D1 => CLOSED,
        _ => 0,
    }
}

/// Han: 0, and 1 for function characters. Hiragana by how often a word begins with it (never or seldom,
/// at times, mostly: 2, 5, 8) and ends with it (likewise: 0, 1, 2 more), in the half that was fitted to.
fn cjk(unit: Unit, _: Option<u8>) -> u8 {
    match unit.first {
        'ぎ' | 'ぞ' | 'づ' | 'ざ' | 'ょ' => 2,
        'う' | 'く' | 'ぐ' | 'じ' | 'ぜ' | 'っ' | 'む' | 'め' | 'り' | 'る' => 4,
        'す' | 'べ' => 5,
        'い' | 'か' | 'ず' | 'せ' | 'だ' | 'つ' | 'ど' | 'ね' | 'ら' | 'れ' | 'ん' => 6,
        'し' | 'と' | 'ば' => 7,
        'あ' | 'お' | 'こ' | 'ご' | 'そ' | 'ひ' | 'ほ' | 'ま' | 'よ' => 8,
        'た' | 'で' | 'な' | 'も' => 9,
        'が' | 'さ' | 'て' | 'に' | 'の' | 'は' | 'へ' | 'や' | 'を' => 10,
        '\u{3041}'..='\u{309F}' => 3,
        c if function_character(c) => 1,
        _ => 0,
    }
}

/// Particles, pronouns, prepositions and the like of Chinese, in both forms where these differ: among the
/// most frequent characters, and words of their own far more often than parts of others.
fn function_character(c: char) -> bool {
    matches!(
        c,
        '的' | '了' | '是' | '在' | '和' | '與' | '与' | '及' | '或' | '而' | '不' | '也' | '就'
    ) || matches!(
        c,
        '都' | '要' | '將' | '将' | '被' | '把' | '對' | '对' | '從' | '从' | '為' | '为' | '於'
    ) || matches!(
        c,
        '于' | '你' | '您' | '我' | '他' | '它' | '她' | '這' | '这' | '那' | '個' | '个' | '該'
    ) || matches!(c, '该' | '中' | '上' | '来' | '來')
}

/// By vowel in front, tone mark and vowel; a letter without signs closes what is open or opens a syllable.
fn thai(unit: Unit, before: Option<u8>) -> u8 {
    let leads = matches!(unit.first as u32, 0x0E40..=0x0E44 | 0x0EC0..=0x0EC4);
    match unit {
        _ if unit.has(SILENT) => 0,
        _ if leads && unit.has(TONE) => 6,
        _ if leads && unit.has(VOWEL) => 7,
        _ if leads => 5,
        _ if unit.has(TONE) => 4,
        _ if unit.has(CLIPPED) => 3,
        _ if unit.has(VOWEL) => 2,
        _ => match before {
            Some(1) => 9,
            None | Some(0 | 8) => 1,
            _ => 8,
        },
    }
}

fn khmer(unit: Unit, before: Option<u8>) -> u8 {
    let stacked = u8::from(unit.has(STACKED));
    match unit {
        _ if unit.has(CLOSED) => 0,
        _ if unit.has(NASAL) => 5 + stacked,
        _ if unit.has(VOWEL) => 3 + stacked,
        _ if stacked == 1 => 2,
        _ => match before {
            Some(1..=4) => 8,
            _ => 1,
        },
    }
}

fn burmese(unit: Unit, _: Option<u8>) -> u8 {
    let tone = u8::from(unit.has(TONE));
    match unit {
        _ if unit.has(CLOSED) && !unit.has(VOWEL) => tone,
        _ if unit.has(NASAL) => 2,
        _ if unit.has(VOWEL) => 3 + tone,
        _ if unit.has(STACKED) => 5,
        _ if tone == 1 => 6,
        _ => 7,
    }
}

const HAN: u8 = 0;
pub const ZERO_WIDTH_SPACE: char = '\u{200B}';

#[rustfmt::skip]
const CJK_ENDS: [[u8; 11]; 11] = [
    [2, 1, 4, 4, 4, 2, 2, 2, 2, 1, 1],
    [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    [1, 1, 1, 4, 4, 1, 4, 4, 4, 1, 1],
    [3, 1, 4, 4, 6, 1, 1, 4, 1, 1, 1],
    [1, 1, 1, 4, 4, 1, 2, 1, 1, 1, 1],
    [1, 1, 4, 4, 4, 4, 4, 1, 1, 2, 4],
    [1, 1, 4, 4, 4, 4, 2, 1, 1, 1, 1],
    [1, 1, 4, 4, 4, 1, 1, 1, 1, 1, 1],
    [1, 1, 4, 4, 4, 4, 2, 4, 4, 4, 4],
    [1, 1, 1, 4, 4, 4, 4, 4, 1, 1, 1],
    [1, 1, 1, 4, 1, 1, 1, 1, 1, 1, 1],
];

#[rustfmt::skip]
const THAI_ENDS: [[u8; 10]; 10] = [
    [6, 5, 1, 6, 1, 3, 6, 6, 6, 6],
    [10, 6, 10, 6, 9, 2, 1, 2, 6, 12],
    [9, 6, 10, 6, 3, 6, 3, 6, 12, 6],
    [6, 6, 6, 6, 6, 6, 6, 6, 8, 6],
    [6, 6, 4, 6, 1, 6, 1, 6, 12, 6],
    [8, 6, 7, 3, 8, 6, 6, 6, 8, 6],
    [6, 6, 6, 6, 6, 8, 6, 6, 10, 6],
    [6, 6, 6, 6, 6, 6, 6, 6, 9, 6],
    [12, 10, 8, 4, 5, 5, 1, 6, 6, 6],
    [12, 6, 9, 6, 8, 1, 6, 6, 12, 6],
];

#[rustfmt::skip]
const LAO_ENDS: [[u8; 10]; 10] = [
    [4, 4, 4, 4, 4, 4, 4, 4, 4, 4],
    [4, 4, 4, 4, 4, 4, 4, 4, 4, 9],
    [4, 4, 6, 6, 4, 4, 4, 4, 8, 4],
    [4, 4, 4, 4, 4, 4, 4, 4, 8, 4],
    [4, 4, 1, 4, 1, 8, 7, 4, 9, 4],
    [4, 4, 4, 4, 4, 4, 4, 4, 7, 4],
    [4, 4, 4, 4, 6, 7, 4, 4, 8, 4],
    [4, 4, 4, 4, 4, 4, 4, 4, 7, 4],
    [4, 9, 4, 4, 6, 5, 4, 4, 4, 4],
    [4, 4, 4, 4, 4, 4, 4, 4, 9, 4],
];

#[rustfmt::skip]
const KHMER_ENDS: [[u8; 9]; 9] = [
    [9, 9, 10, 6, 7, 1, 5, 5, 5],
    [9, 5, 5, 5, 7, 5, 2, 5, 5],
    [8, 5, 5, 7, 5, 5, 5, 5, 12],
    [9, 5, 10, 8, 7, 3, 5, 5, 9],
    [10, 5, 5, 1, 7, 5, 5, 5, 12],
    [7, 8, 5, 5, 5, 3, 5, 5, 5],
    [5, 6, 5, 5, 5, 5, 5, 5, 5],
    [5, 5, 5, 5, 5, 5, 5, 5, 5],
    [8, 4, 5, 5, 6, 1, 5, 5, 5],
];

#[rustfmt::skip]
const BURMESE_ENDS: [[u8; 8]; 8] = [
    [10, 6, 8, 7, 6, 6, 6, 7],
    [6, 6, 9, 8, 7, 6, 6, 7],
    [6, 6, 10, 12, 5, 6, 6, 6],
    [12, 12, 3, 6, 8, 6, 6, 6],
    [7, 6, 10, 5, 8, 6, 6, 5],
    [6, 6, 6, 6, 6, 6, 6, 6],
    [6, 6, 6, 6, 6, 6, 6, 6],
    [9, 9, 8, 7, 8, 6, 6, 7],
];

// Particles, prepositions, conjunctions, pronouns, auxiliaries, prefixes that make nouns of verbs. The
// longest first, so that the first one found is the longest.

#[rustfmt::skip]
const THAI_WORDS: &[&str] = &[
    "ความ", "หรือ", "อยู่", "เป็น", "แล้ว", "กับ", "การ", "ของ", "คุณ", "จาก", "ถูก", "ที่",
    "นี้", "ว่า", "และ", "โดย", "ใช้", "ให้", "ได้", "ไม่", "จะ", "มี", "ใน",
];

#[rustfmt::skip]
const LAO_WORDS: &[&str] = &[
    "ເພື່ອ", "ຄວາມ", "ທ່ານ", "ເປັນ", "ແມ່ນ", "ແລ້ວ", "ກັບ", "ການ", "ຂອງ", "ຈາກ", "ຖືກ", "ທີ່",
    "ນີ້", "ບໍ່", "ວ່າ", "ຫຼື", "ແລະ", "ໂດຍ", "ໃຫ້", "ໄດ້", "ຈະ", "ມີ", "ໃນ",
];

#[rustfmt::skip]
const KHMER_WORDS: &[&str] = &[
    "ត្រូវបាន", "សម្រាប់", "ដើម្បី", "ក្នុង", "ត្រូវ", "របស់", "អ្នក", "ការ", "ដែល", "ដោយ",
    "និង", "នេះ", "បាន", "មាន", "មិន", "ឱ្យ", "ជា", "ថា", "ទៅ", "នៃ", "នៅ", "ពី", "វា", "ឬ",
];

#[rustfmt::skip]
const BURMESE_WORDS: &[&str] = &[
    "နိုင်", "နှင့်", "ဖြင့်", "တို့", "တွင်", "ဖြစ်", "များ", "သည့်", "သို့", "ကို", "ခဲ့",
    "တစ်", "တဲ့", "ထား", "ထို", "မှာ", "မှု", "ရန်", "ရှိ", "သည်", "သော", "ဒီ", "နေ", "ပါ",
    "မှ", "မ", "ဤ",
];

/// The script of Chinese and Japanese, Thai, Lao, Burmese and Khmer, in this order.
static SCRIPTS: [Script; 5] = [
    script(cjk, 11, CJK_ENDS.as_flattened(), &[]),
    script(thai, 10, THAI_ENDS.as_flattened(), THAI_WORDS),
    script(thai, 10, LAO_ENDS.as_flattened(), LAO_WORDS),
    script(burmese, 8, BURMESE_ENDS.as_flattened(), BURMESE_WORDS),
    script(khmer, 9, KHMER_ENDS.as_flattened(), KHMER_WORDS),
];

const CJK: usize = 0;

/// Which of `SCRIPTS` a character of class `SINGLE` or `SYLLABLE`, or a sign on one, belongs to.
fn script_of(c: char) -> usize {
    match c as u32 {
        0x0E00..=0x0E7F => 1,
        0x0E80..=0x0EFF => 2,
        0x1000..=0x109F => 3,
        0x1780..=0x17FF => 4,
        _ => CJK,
    }
}

const fn script(
    kind: fn(Unit, Option<u8>) -> u8,
    kinds: usize,
    ends: &'static [u8],
    function_words: &'static [&'static str],
) -> Script {
    let mut initials = 0;
    let mut at = 0;
    while at < function_words.len() {
        let bytes = function_words[at].as_bytes();
        initials |= 1 << letter(bytes[1], bytes[2]);
        at += 1;
    }
    Script {
        kind,
        kinds,
        ends,
        function_words,
        initials,
    }
}

/// The code point modulo 128 of a character of three bytes, from its last two: its place in its block.
const fn letter(second: u8, third: u8) -> u8 {
    (second & 1) << 6 | third & 0x3F
}

impl Script {
    /// Whether a word of so many characters ends between units of these kinds.
    fn ends(&self, before: u8, behind: u8, chars: usize) -> bool {
        let cell = before as usize * self.kinds + behind as usize;
        self.ends
            .get(cell)
            .is_none_or(|&least| chars >= least as usize)
    }

    /// Bytes of the function word at `at`, if it ends where a unit does; 0 for none.
    fn function_word(&self, text: &str, at: usize, classes: &Classes) -> usize {
        let rest = &text[at..];
        match rest.as_bytes() {
            [_, second, third, ..] if self.initials >> letter(*second, *third) & 1 == 1 => {}
            _ => return 0,
        }
        let found = self.function_words.iter().find(|word| {
            rest.strip_prefix(**word).is_some_and(|behind| {
                let next = behind.chars().next();
                !next.is_some_and(|c| leans(c, classes.of(c), script_of(c)))
            })
        });
        found.map_or(0, |word| word.len())
    }
}

/// Whether a character behind a unit of `script` is a sign on it.
fn leans(c: char, class: u16, script: usize) -> bool {
    class & MARK != 0
        || (script != CJK
            && class & ALPHA != 0
            && class & (SINGLE | SYLLABLE) == 0
            && script_of(c) == script)
}

/// Cut the run of such scripts that begins at `start`, where a unit begins; returns its end. Never
/// inlined: the way of other scripts is not to pay for it.
#[inline(never)]
pub fn words(
    text: &str,
    start: usize,
    classes: &Classes,
    mut word: impl FnMut(usize, usize),
) -> usize {
    let (mut open, mut chars) = (start, 0);
    let mut at = start;
    let mut of = None; // the script of the open word
    let mut before = None; // the kind of the unit before
    let mut fixed = start; // the end of the last function word
    while let Some(c) = text[at..].chars().next() {
        let class = classes.of(c);
        if c == ZERO_WIDTH_SPACE {
            if open < at {
                word(open, at);
            }
            at += c.len_utf8();
            (open, chars, of) = (at, 0, None);
            continue;
        }
        if class & (SINGLE | SYLLABLE) == 0 {
            break;
        }
        let script = script_of(c);
        if of != Some(script) {
            before = None;
        }
        let (unit, end, width) = unit(text, at, c, script, classes);
        let kind = (SCRIPTS[script].kind)(unit, before);
        let inside = at < fixed;
        let found = if inside {
            0
        } else {
            SCRIPTS[script].function_word(text, at, classes)
        };
        let ends = match before {
            Some(before) if before == HAN && kind == HAN && script == CJK => {
                chars >= 2 && !last_of_three(text, open, end, classes)
            }
            Some(before) => SCRIPTS[script].ends(before, kind, chars),
            None => true,
        };
        if open < at && !inside && (ends || found > 0 || at == fixed) {
            word(open, at);
            (open, chars) = (at, 0);
        }
        if found > 0 {
            fixed = at + found;
        }
        (of, before) = (Some(script), Some(kind));
        chars += width;
        at = end;
    }
    if open < at {
        word(open, at);
    }
    at
}

/// The unit that begins with `c` at `at`, its end, and its length in characters (signs on Han and
/// hiragana not counted).
fn unit(text: &str, at: usize, c: char, script: usize, classes: &Classes) -> (Unit, usize, usize) {
    let mut unit = Unit { first: c, signs: 0 };
    let (mut end, mut chars) = (at + c.len_utf8(), 1);
    let mut binds = classes.of(c) & BINDS != 0;
    for c in text[end..].chars() {
        let class = classes.of(c);
        let bound = binds && class & SYLLABLE != 0 && script_of(c) == script;
        if !bound && !leans(c, class, script) {
            break;
        }
        unit.signs |= sign(c);
        binds = class & BINDS != 0;
        end += c.len_utf8();
        chars += usize::from(script != CJK);
    }
    (unit, end, chars)
}

/// Whether a Han character that ends at `end` behind two others from `open` on is the last of its run.
fn last_of_three(text: &str, open: usize, end: usize, classes: &Classes) -> bool {
    let han = |c: char| classes.of(c) & SINGLE != 0 && !function_character(c);
    let hiragana = |c: char| matches!(c, '\u{3041}'..='\u{309F}');
    match text[end..].chars().next() {
        Some(c) if hiragana(c) => false,
        Some(c) if han(c) => false,
        _ => !text[..open].chars().next_back().is_some_and(hiragana),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &str) -> Vec<&str> {
        let mut found = Vec::new();
        let end = words(text, 0, Classes::get(), |start, end| {
            found.push(&text[start..end])
        });
        assert_eq!(end, text.len(), "{text}");
        found
    }

    #[test]
    fn han_goes_in_twos_around_function_characters_and_an_odd_rest_in_threes() {
        assert_eq!(cut("我们的中国"), ["我", "们", "的", "中", "国"]);
        assert_eq!(cut("打开图形界面"), ["打开", "图形", "界面"]);
        assert_eq!(cut("打开浏览器的窗口"), ["打开", "浏览器", "的", "窗口"]);
        assert_eq!(
            cut("計算の言語処理系を"),
            ["計算", "の", "言語", "処理", "系", "を"]
        );
    }

    #[test]
    fn units_beyond_the_first_planes_and_signs_on_han_are_kept_whole() {
        assert_eq!(cut("𠀀𠀁𠀂𠀃"), ["𠀀𠀁", "𠀂𠀃"]);
        assert_eq!(
            cut("葛\u{E0100}飾\u{301}区役"),
            ["葛\u{E0100}飾\u{301}", "区役"]
        );
    }

    #[test]
    fn a_zero_width_space_ends_a_word_and_is_in_none() {
        assert_eq!(cut("ទំព័រ\u{200B}ដើម\u{200B}"), ["ទំព័រ", "ដើម"]);
    }

    #[test]
    fn a_function_word_must_end_with_its_unit() {
        assert_eq!(cut("ของคุณ"), ["ของ", "คุณ"]);
        assert_eq!(cut("มีการ"), ["มี", "การ"]);
        assert!(!cut("การะเกด").contains(&"การ"));
    }

    #[test]
    fn function_words_are_of_three_byte_letters_and_longest_first() {
        for script in &SCRIPTS {
            assert_eq!(script.ends.len(), script.kinds * script.kinds);
            let lengths: Vec<usize> = script
                .function_words
                .iter()
                .map(|word| word.chars().count())
                .collect();
            assert!(lengths.is_sorted_by(|one, next| one >= next));
            assert!(
                script
                    .function_words
                    .iter()
                    .all(|word| word.chars().all(|c| c.len_utf8() == 3))
            );
        }
    }

    proptest! {
        #[test]
        fn words_are_the_run_without_gaps_and_of_bounded_units(
            text in "[\u{0E01}-\u{0E2E}\u{0E40}-\u{0E44}\u{0E81}\u{1000}-\u{1020}\u{1780}-\u{17A2}一-十の-を]\
                [\u{0E01}-\u{0E4E}\u{0E81}-\u{0ECB}\u{1000}-\u{103E}\u{1780}-\u{17D2}一-十ぁ-ん\u{200B}\u{301}]{0,40}"
        ) {
            let mut behind = 0;
            let end = words(&text, 0, Classes::get(), |start, end| {
                assert!(start < end);
                assert!(text[behind..start].chars().all(|c| c == ZERO_WIDTH_SPACE));
                behind = end;
            });
            prop_assert!(text[behind..end].chars().all(|c| c == ZERO_WIDTH_SPACE));
            prop_assert!(end > 0 && text.is_char_boundary(end));
        }
    }
}

//! The numbers of a text that its tokens, lines and characters give, computed in one go.
//!
//! The text is segmented once, and each token hashed once. These tables alone run at 60 to 90 MB/s on one
//! core (code to encyclopaedia); `document` says what all of them together cost.
//! Names, types and definitions are the tables below and nowhere else.
//! Characters are Unicode code points, as Python's `len` counts them. A share of nothing is 0, and so
//! is a mean over nothing: an empty text has 0 everywhere, which the lower bounds of rules reject.

use xxhash_rust::xxh3::xxh3_64;

use super::characters::{Characters, Scripts};
use super::classes::*;
use super::encoded::{Encoded, encoded};
use super::lines::{LineScratch, measure};
use super::maths::{Formulae, formulae};
use super::ratio;
use super::repetition::{Ngrams, WORD};
use super::segment::{Sink, segment};
use super::table::signal_table;

const XML_HEADER_WITHIN: usize = 100; // characters; StarCoder (Li et al. 2023), section 3.1

signal_table! {
    /// The signals of one text.
    pub struct Signals {
    text_bytes: i64 = "UTF-8 bytes of the text";
    chars: i64 = "characters (code points)";
    segments: i64 = "tokens of the segmenter: words and marks of punctuation";
    word_count: i64 = "tokens that are not punctuation alone";
    lines: i64 = "lines, as str.splitlines cuts them";
    sentences: i64 = "sentences: a word behind a token that is one Sentence_Terminal character begins the next";
    paragraphs: i64 = "paragraphs: stripped text cut at two and more newlines";
    mean_word_length: f64 = "mean characters of the tokens counted by word_count";
    stop_word_count: i64 = "distinct words among the, be, to, of, and, that, have, with, in small letters";
    alphabetic_word_ratio: f64 = "share of tokens with an alphabetic character";
    hash_ratio: f64 = "number signs (#) per token";
    ellipsis_ratio: f64 = "'...' (not overlapping) and U+2026 per token";
    bullet_line_ratio: f64 = "share of lines whose first visible character is U+2022 or -";
    ellipsis_line_ratio: f64 = "share of lines that end in '...' or U+2026 but for white space";
    duplicate_paragraph_ratio: f64 = "share of paragraphs that are later copies";
    duplicate_paragraph_char_ratio: f64 = "characters of paragraphs that are later copies, per character";
    duplicate_line_ratio: f64 = "share of later copies among the parts between runs of newlines, unstripped";
    duplicate_line_char_ratio: f64 = "characters of lines that are later copies, per character";
    top_2_gram_char_ratio: f64 = "characters of the most frequent 2-gram, joined by a space, times its count, per character; the first of equals, and a count of 1 counts; can exceed 1";
    top_3_gram_char_ratio: f64 = "as top_2_gram_char_ratio, for 3 tokens";
    top_4_gram_char_ratio: f64 = "as top_2_gram_char_ratio, for 4 tokens";
    duplicate_5_gram_char_ratio: f64 = "characters of 5-grams seen before, jumping over each one found, per character";
    duplicate_6_gram_char_ratio: f64 = "as duplicate_5_gram_char_ratio, for 6 tokens";
    duplicate_7_gram_char_ratio: f64 = "as duplicate_5_gram_char_ratio, for 7 tokens";
    duplicate_8_gram_char_ratio: f64 = "as duplicate_5_gram_char_ratio, for 8 tokens";
    duplicate_9_gram_char_ratio: f64 = "as duplicate_5_gram_char_ratio, for 9 tokens";
    duplicate_10_gram_char_ratio: f64 = "as duplicate_5_gram_char_ratio, for 10 tokens";
    terminal_punctuation_line_ratio: f64 = "share of non-blank lines (newlines only) that end in a Sentence_Terminal character";
    short_line_ratio: f64 = "share of non-blank lines (newlines only) of 30 characters or fewer";
    duplicate_filled_line_char_ratio: f64 = "characters of non-blank lines that are later copies, per character that is no newline";
    newline_ratio: f64 = "newlines per token; can exceed 1";
    max_line_length: i64 = "characters of the longest line";
    mean_line_length: f64 = "mean characters per line, line ends not counted";
    alphanumeric_ratio: f64 = "share of characters that are alphabetic or numeric";
    alphabetic_ratio: f64 = "share of characters with the property Alphabetic";
    digit_ratio: f64 = "share of characters of category N (digits and other numerals)";
    uppercase_ratio: f64 = "share of alphabetic characters that are upper case";
    whitespace_ratio: f64 = "share of characters that are white space";
    replacement_char_ratio: f64 = "share of characters that are U+FFFD";
    encoded_ratio: f64 = "share of characters in runs of base64, hex bytes or unicode escapes";
    longest_encoded_run: i64 = "characters of the longest such run";
    xml_header: bool = "whether '<?xml version=' is within the first 100 characters";
    formula_count: i64 = "TeX formulae: $..$, $$..$$, \\(..\\), \\[..\\], display environments";
    formula_ratio: f64 = "share of characters in TeX formulae or of TeX commands outside of them";
    maths_symbol_ratio: f64 = "share of characters that are mathematical operators or alphanumerics beyond ASCII";
    maths_ratio: f64 = "formula_ratio and maths_symbol_ratio together, at most 1";
    }
}

signal_table! {
    /// Numbers that other systems' variants of the same rules ask for.
    pub struct Variants {
    stop_word_occurrences: i64 = "occurrences of stop_word_count's eight words, in any case (DCLM, datamap-rs, NeMo and dolma count repeats)";
    curly_bracket_count: i64 = "left curly brackets (C4 drops a page that has one)";
    unique_line_ratio: f64 = "different lines per line, of the non-blank lines (newlines only), stripped (NeMo keeps 0.7 and more)";
    repeated_line_ratio: f64 = "share of the same lines that occur more than once, all copies counted (DCLM, datamap-rs)";
    repeated_line_char_ratio: f64 = "characters of the lines that occur more than once, all copies counted, per character of the same lines (DCLM divides by the characters of words)";
    }
}

/// What one segmentation of a text yields.
pub struct Measured {
    pub signals: Signals,
    pub variants: Variants,
    pub scripts: Scripts,
    pub words: u64,
    pub distinct_words: u64,
    /// The sum of c log2 c over the counts c of the different words.
    pub weighted_logs: f64,
}

/// Buffers reused from text to text: about 70 bytes per token of the longest one.
#[derive(Default)]
pub struct Scratch {
    hashes: Vec<u64>,
    chars: Vec<u32>,
    breaks: Vec<usize>,
    sentences: Vec<usize>,
    suffixes: Vec<(usize, usize)>,
    ngrams: Ngrams,
    lines: LineScratch,
}

impl Scratch {
    /// Of the last text: where its lines end for `str.splitlines`, and where its sentences begin.
    pub fn segmentation(&self) -> (&[usize], &[usize]) {
        (&self.breaks, &self.sentences)
    }
}

/// Counts tokens as the segmenter finds them.
struct Tally<'a> {
    text: &'a str,
    ascii: bool,
    classes: &'static Classes,
    hashes: &'a mut Vec<u64>,
    chars: &'a mut Vec<u32>,
    breaks: &'a mut Vec<usize>,
    /// Where each sentence begins: with the first word behind a terminal mark, as spaCy's rule has it.
    sentences: &'a mut Vec<usize>,
    /// Whether a word would begin a sentence; the first token begins one, word or not.
    ended: bool,
    word_chars: u64,
    /// Tokens of ASCII letters; of the others, the words and what has a letter.
    letters: u64,
    words: u64,
    alphabetic: u64,
    stop_words: u8,
    stop_word_occurrences: u64,
}

impl Sink for Tally<'_> {
    #[inline]
    fn token(&mut self, start: usize, end: usize, letters: bool) {
        if letters {
            self.letters(start, end);
        } else {
            self.other(start, end);
        }
    }

    #[inline]
    fn line_break(&mut self, at: usize) {
        self.breaks.push(at);
    }
}

impl Tally<'_> {
    /// A token of ASCII letters.
    #[inline(never)] // a lean function of its own, called for most tokens
    fn letters(&mut self, start: usize, end: usize) {
        let bytes = &self.text.as_bytes()[start..end];
        let (low, high) = packed(self.text.as_bytes(), start, end);
        let (exact, any_case) = stop_word(low);
        self.stop_words |= exact;
        self.stop_word_occurrences += u64::from(any_case);
        if self.ended {
            self.ended = false;
            self.sentences.push(start);
        }
        self.hashes.push(hash(bytes, low, high) | WORD);
        self.chars.push(bytes.len() as u32);
        self.letters += 1;
        self.word_chars += bytes.len() as u64;
    }

    /// Any other token.
    #[inline(never)]
    fn other(&mut self, start: usize, end: usize) {
        let part = &self.text[start..end];
        let (low, high) = packed(self.text.as_bytes(), start, end);
        let first = self.sentences.is_empty();
        let was_ended = std::mem::take(&mut self.ended) && !first;
        let chars = match part.len() {
            1 => 1,
            length if self.ascii => length,
            length @ ..=16 => length - continuations(low) - continuations(high),
            _ => part.chars().count(),
        } as u32;
        let class = part.chars().next().map_or(0, |c| self.classes.of(c));
        let (alphabetic, word);
        if class & ALPHA != 0 {
            (alphabetic, word) = (true, true);
        } else if chars == 1 {
            (alphabetic, word) = (false, class & PUNCTUATION == 0);
            self.ended = !word && (was_ended || single_terminal(part));
        } else {
            let mut classes = part.chars().map(|c| self.classes.of(c));
            alphabetic = classes.clone().any(|class| class & ALPHA != 0);
            word = alphabetic || classes.any(|class| class & PUNCTUATION == 0);
            self.ended = !word && was_ended;
        }
        if first || (was_ended && word) {
            self.sentences.push(start);
        }
        let hash = hash(part.as_bytes(), low, high);
        self.hashes.push((hash & !WORD) | u64::from(word));
        self.chars.push(chars);
        self.alphabetic += u64::from(alphabetic);
        self.words += u64::from(word);
        self.word_chars += if word { u64::from(chars) } else { 0 };
    }
}

/// The first 16 bytes of a token as two numbers, zeros behind its end.
#[inline]
fn packed(bytes: &[u8], start: usize, end: usize) -> (u64, u64) {
    let length = end - start;
    let (first, second) = match bytes[start..].first_chunk::<16>() {
        Some(chunk) => {
            let all = u128::from_le_bytes(*chunk);
            (all as u64, (all >> 64) as u64)
        }
        None => {
            let mut chunk = [0; 16];
            let part = &bytes[start..end];
            chunk[..part.len()].copy_from_slice(part);
            let all = u128::from_le_bytes(chunk);
            (all as u64, (all >> 64) as u64)
        }
    };
    let length = length.min(16);
    (first & LOW[length], second & HIGH[length])
}

/// How many of eight bytes continue a character of UTF-8.
#[inline]
fn continuations(eight: u64) -> usize {
    (eight & !(eight << 1) & 0x8080_8080_8080_8080).count_ones() as usize
}

/// What `packed` keeps of the first eight bytes and of the second, by a token's length. Two tables: with
/// one of pairs the compiler takes vectors, and moves between these and numbers cost more than they save.
const LOW: [u64; 17] = masks(0);
const HIGH: [u64; 17] = masks(64);

const fn masks(shift: u32) -> [u64; 17] {
    let mut masks = [0; 17];
    let mut length = 1;
    while length <= 16 {
        masks[length] = ((u128::MAX >> (128 - 8 * length)) >> shift) as u64;
        length += 1;
    }
    masks
}

/// A hash of a token, packed too: two multiplications for up to 16 bytes, XXH3 for more.
#[inline]
fn hash(token: &[u8], low: u64, high: u64) -> u64 {
    if token.len() > 16 {
        return xxh3_64(token);
    }
    let salt = (token.len() as u64).wrapping_mul(0x8EBC_6AF0_9C88_C6E3);
    let product =
        u128::from(low ^ 0x9E37_79B9_7F4A_7C15) * u128::from(high ^ 0xD6E8_FEB8_6659_FD93 ^ salt);
    let folded = (product >> 64) as u64 ^ product as u64;
    folded.wrapping_mul(0xA076_1D64_78BD_642F) ^ (folded >> 32)
}

/// Gopher's eight stop words (Rae et al. 2021, appendix A.1.1), packed, each where `SPREAD` puts it.
const STOP_WORDS: [u64; 8] = [
    pack(b"the"),
    pack(b"and"),
    pack(b"with"),
    pack(b"be"),
    pack(b"of"),
    pack(b"have"),
    pack(b"that"),
    pack(b"to"),
];
const SPREAD: u64 = 0x3099_FDF5_AB99_254B; // a random number that puts them in eight places
const SMALL: u64 = 0x2020_2020_2020_2020;

const fn pack(word: &[u8]) -> u64 {
    let (mut packed, mut at) = (0, 0);
    while at < word.len() {
        packed |= (word[at] as u64) << (8 * at);
        at += 1;
    }
    packed
}

/// The bit of the stop word that a packed word of ASCII letters is, else 0; whether it is one in any
/// case. Without branches: the lengths of words are not foreseen.
#[inline]
fn stop_word(word: u64) -> (u8, bool) {
    let small = word | SMALL;
    let place = (small.wrapping_mul(SPREAD) >> 61) as usize;
    let stop = STOP_WORDS[place];
    (u8::from(word == stop) << place, small == stop | SMALL)
}

/// Whether a token is one character that ends sentences.
fn single_terminal(token: &str) -> bool {
    let mut chars = token.chars();
    chars.next().is_some_and(sentence_terminal) && chars.next().is_none()
}

fn xml_header(text: &str) -> bool {
    let end = text.char_indices().nth(XML_HEADER_WITHIN);
    let head = &text[..end.map_or(text.len(), |(at, _)| at)];
    head.contains('<') && head.contains("<?xml version=")
}

/// Compute the signals of a text of fewer than 2^32 bytes.
pub fn compute(text: &str, scratch: &mut Scratch) -> Measured {
    let Scratch {
        hashes,
        chars,
        breaks,
        sentences,
        suffixes,
        ngrams,
        lines,
    } = scratch;
    hashes.clear();
    chars.clear();
    breaks.clear();
    sentences.clear();
    let counts = Characters::count(text);
    let ascii = counts.chars == text.len() as u64;
    let (words, word_chars, alphabetic, stop_words, stop_word_occurrences);
    {
        let classes = Classes::get();
        let (text_, hashes, chars) = (text, &mut *hashes, &mut *chars);
        let mut tally = Tally {
            text: text_,
            ascii,
            classes,
            hashes,
            chars,
            breaks: &mut *breaks,
            sentences: &mut *sentences,
            ended: true,
            word_chars: 0,
            letters: 0,
            words: 0,
            alphabetic: 0,
            stop_words: 0,
            stop_word_occurrences: 0,
        };
        segment(text, suffixes, &mut tally);
        (words, word_chars) = (tally.letters + tally.words, tally.word_chars);
        alphabetic = tally.letters + tally.alphabetic;
        stop_words = tally.stop_words;
        stop_word_occurrences = tally.stop_word_occurrences;
    }
    let tokens = hashes.len() as u64;
    let all = counts.chars;
    let repetition = ngrams.count(hashes, chars);
    let lines = measure(text, breaks, ascii, lines);
    let encoded = if text.len() < 16 {
        Encoded::default()
    } else {
        encoded(text.as_bytes(), counts.backslashes)
    };
    let formulae = if counts.backslashes + counts.dollars > 0 {
        formulae(text)
    } else {
        Formulae::default()
    };
    let of_chars = |part: u64| ratio(part, all);
    let variants = Variants {
        stop_word_occurrences: stop_word_occurrences as i64,
        curly_bracket_count: counts.curly_brackets as i64,
        unique_line_ratio: ratio(lines.distinct, lines.filled),
        repeated_line_ratio: ratio(lines.repeated, lines.filled),
        repeated_line_char_ratio: ratio(lines.repeated_chars, lines.stripped_chars),
    };
    let signals = Signals {
        text_bytes: text.len() as i64,
        chars: all as i64,
        segments: tokens as i64,
        word_count: words as i64,
        lines: lines.lines as i64,
        sentences: sentences.len() as i64,
        paragraphs: lines.paragraphs as i64,
        mean_word_length: ratio(word_chars, words),
        stop_word_count: i64::from(stop_words.count_ones()),
        alphabetic_word_ratio: ratio(alphabetic, tokens),
        hash_ratio: ratio(counts.hashes, tokens),
        ellipsis_ratio: ratio(counts.ellipses, tokens),
        bullet_line_ratio: ratio(lines.bullets, lines.lines),
        ellipsis_line_ratio: ratio(lines.ellipses, lines.lines),
        duplicate_paragraph_ratio: ratio(lines.duplicate_paragraphs.0, lines.paragraphs),
        duplicate_paragraph_char_ratio: of_chars(lines.duplicate_paragraphs.1),
        duplicate_line_ratio: ratio(lines.duplicate_items.0, lines.items),
        duplicate_line_char_ratio: of_chars(lines.duplicate_items.1),
        top_2_gram_char_ratio: of_chars(repetition.top[0]),
        top_3_gram_char_ratio: of_chars(repetition.top[1]),
        top_4_gram_char_ratio: of_chars(repetition.top[2]),
        duplicate_5_gram_char_ratio: of_chars(repetition.duplicate[0]),
        duplicate_6_gram_char_ratio: of_chars(repetition.duplicate[1]),
        duplicate_7_gram_char_ratio: of_chars(repetition.duplicate[2]),
        duplicate_8_gram_char_ratio: of_chars(repetition.duplicate[3]),
        duplicate_9_gram_char_ratio: of_chars(repetition.duplicate[4]),
        duplicate_10_gram_char_ratio: of_chars(repetition.duplicate[5]),
        terminal_punctuation_line_ratio: ratio(lines.ended, lines.filled),
        short_line_ratio: ratio(lines.short, lines.filled),
        duplicate_filled_line_char_ratio: ratio(lines.duplicate_filled_chars, all - lines.newlines),
        newline_ratio: ratio(lines.newlines, tokens),
        max_line_length: lines.longest as i64,
        mean_line_length: ratio(lines.total, lines.lines),
        alphanumeric_ratio: of_chars(counts.alphanumeric),
        alphabetic_ratio: of_chars(counts.alphabetic),
        digit_ratio: of_chars(counts.numeric),
        uppercase_ratio: ratio(counts.uppercase, counts.alphabetic),
        whitespace_ratio: of_chars(counts.whitespace),
        replacement_char_ratio: of_chars(counts.replacements),
        encoded_ratio: of_chars(encoded.total),
        longest_encoded_run: encoded.longest as i64,
        xml_header: xml_header(text),
        formula_count: formulae.count as i64,
        formula_ratio: of_chars(formulae.chars),
        maths_symbol_ratio: of_chars(counts.maths),
        maths_ratio: of_chars((formulae.chars + counts.maths).min(all)),
    };
    Measured {
        signals,
        variants,
        scripts: counts.scripts(),
        words: repetition.words,
        distinct_words: repetition.distinct,
        weighted_logs: repetition.weighted_logs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_words_are_found_where_they_are_spread_to() {
        let mut found = 0;
        for word in ["the", "be", "to", "of", "and", "that", "have", "with"] {
            let (exact, any_case) = stop_word(pack(word.as_bytes()));
            assert!(any_case && exact.is_power_of_two(), "{word}");
            found |= exact;
            let capitals = word.to_ascii_uppercase();
            assert_eq!(stop_word(pack(capitals.as_bytes())), (0, true));
        }
        assert_eq!(found, u8::MAX);
        for word in ["a", "thee", "them", "bet", "withhold"] {
            assert_eq!(stop_word(pack(word.as_bytes())), (0, false), "{word}");
        }
    }

    #[test]
    fn a_token_is_packed_and_counted_alike_wherever_it_stands() {
        let text = "é0123456789abcé漢";
        for end in (1..=16).filter(|end| text.is_char_boundary(*end)) {
            let alone = packed(&text.as_bytes()[..end], 0, end);
            let followed = format!("{text}{text}");
            assert_eq!(packed(followed.as_bytes(), 0, end), alone);
            let chars = end - continuations(alone.0) - continuations(alone.1);
            assert_eq!(chars, text[..end].chars().count());
        }
    }
}

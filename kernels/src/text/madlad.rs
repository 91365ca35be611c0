//! MADLAD-400's questionable sentences (Kudugunta et al. 2023, section 2.3).
//!
//! A document goes where more than a fifth of its sentences are questionable, or it has fewer than
//! five. A sentence is questionable for any of five reasons: its language is not the document's; list
//! case; an abnormal length; technical characters; a "cursed" substring. Where we differ:
//! * The paper does not say how sentences are cut. Here, as in datamap-rs, one ends at a word that
//!   ends in `.`, `!` or `?`, at the next white space; in other scripts any Sentence_Terminal
//!   character does the same, and `。！？｡` need no white space. Line ends alone end no sentence, so
//!   hard-wrapped prose stays whole. The sentence keeps its mark and loses the white space around it.
//! * Its language is not looked at: the other four reasons only. Lengths are characters (datamap-rs
//!   counts bytes). Tokens of list case are the words between white space that have a letter or digit.
//! * The cursed patterns made of wildcards are matched by words: nine words in a row of three, of four
//!   characters or of one, single spaces between; four items of two characters between commas.

use super::chunks::{self, BEYOND, DIGIT, LOWER, UPPER, technical};
use super::classes::{self, Classes, sentence_terminal};
use super::phrases::Curse;
use super::ratio;
use super::table::signal_table;

const SHORT: u64 = 20; // characters
const LONG: u64 = 500;
const LIST_TOKENS: u64 = 12;
const RUN: u32 = 8; // words of one length, one more behind them

signal_table! {
    /// Shares of questionable sentences.
    pub struct Madlad {
    madlad_sentences: i64 = "sentences, cut behind a word that ends in a terminal mark and at 。！？｡";
    madlad_questionable_sentence_ratio: f64 = "share of these that are questionable for any of the four reasons below";
    madlad_list_case_ratio: f64 = "share with 12 words and more, over half of them with a capital in front";
    madlad_abnormal_length_ratio: f64 = "share of fewer than 20 or more than 500 characters";
    madlad_technical_ratio: f64 = "share in which over a fifth of the characters are of 0-9{}+/()>";
    madlad_cursed_ratio: f64 = "share with a cursed substring or pattern";
    madlad_listed_or_cursed_ratio: f64 = "share with list case or a curse: the two reasons that OLMo 3's web data uses";
    longest_word_length: i64 = "characters of the longest word between white space";
    }
}

/// Cuts sentences and tests them as words come in.
pub struct Sentences<'a> {
    text: &'a str,
    curses: &'a [Curse],
    next_curse: usize,
    /// Begin of the open sentence, if one is open.
    start: Option<usize>,
    /// End of the word before.
    end: usize,
    chars: u64,
    technical: u64,
    tokens: u64,
    capitals: u64,
    runs: Runs,
    sentences: u64,
    questionable: u64,
    list_case: u64,
    abnormal: u64,
    technicals: u64,
    cursed: u64,
    listed_or_cursed: u64,
    longest: u64,
}

/// Rows of words that the cursed patterns ask for.
#[derive(Default)]
struct Runs {
    /// Words in a row of `length` characters, each behind a single space.
    length: u64,
    count: u32,
    /// Items of two characters between commas; `comma`: the word before ends in one.
    pairs: u32,
    comma: bool,
    found: bool,
}

impl Runs {
    /// The next word of a sentence; `spaced` says that one space is before it.
    #[inline]
    fn word(&mut self, word: &[u8], chars: u64, spaced: bool) {
        let goes_on = self.count >= RUN && spaced && chars >= self.length;
        self.found |= goes_on && matches!(self.length, 1 | 3 | 4);
        let same = chars == self.length && spaced; // no branch: it would be mispredicted often
        self.count = u32::from(spaced) + if same { self.count } else { 0 };
        self.length = chars;
        if self.comma {
            let pair = spaced && word.get(2) == Some(&b',');
            self.found |= pair && self.pairs >= 3;
            let closed = word.len() == 3 || (word.len() == 4 && word[3] == b',');
            self.pairs = if pair && closed { self.pairs + 1 } else { 0 };
        } else {
            self.pairs = 0;
        }
        self.comma = word.last() == Some(&b',');
    }
}

impl<'a> Sentences<'a> {
    pub fn new(text: &'a str, curses: &'a [Curse]) -> Sentences<'a> {
        Sentences {
            text,
            curses,
            next_curse: 0,
            start: None,
            end: 0,
            chars: 0,
            technical: 0,
            tokens: 0,
            capitals: 0,
            runs: Runs::default(),
            sentences: 0,
            questionable: 0,
            list_case: 0,
            abnormal: 0,
            technicals: 0,
            cursed: 0,
            listed_or_cursed: 0,
            longest: 0,
        }
    }

    /// The signals, once all words have been handed on.
    pub fn finish(mut self) -> Madlad {
        self.close();
        let share = |count| ratio(count, self.sentences);
        Madlad {
            madlad_sentences: self.sentences as i64,
            madlad_questionable_sentence_ratio: share(self.questionable),
            madlad_list_case_ratio: share(self.list_case),
            madlad_abnormal_length_ratio: share(self.abnormal),
            madlad_technical_ratio: share(self.technicals),
            madlad_cursed_ratio: share(self.cursed),
            madlad_listed_or_cursed_ratio: share(self.listed_or_cursed),
            longest_word_length: self.longest as i64,
        }
    }

    /// A word or, where sentences end inside of one, a part of it: its characters.
    #[inline(always)]
    fn part(&mut self, start: usize, end: usize, kinds: u8) -> u64 {
        let bytes = self.text.as_bytes();
        let word = &bytes[start..end];
        let chars = if kinds & BEYOND == 0 {
            word.len() as u64
        } else {
            characters(bytes, start, end).0
        };
        let gap = match self.start {
            Some(_) if start == self.end + 1 => 1,
            Some(_) => characters(bytes, self.end, start).0,
            None => {
                self.start = Some(start);
                0
            }
        };
        self.chars += gap + chars;
        if kinds & (chunks::TECHNICAL | DIGIT) != 0 {
            self.technical += word.iter().filter(|&&b| technical(b)).count() as u64;
        }
        if kinds & (UPPER | LOWER | DIGIT | BEYOND) != 0 {
            self.tokens += 1;
            self.capitals += u64::from(self.capital(start, end, kinds));
        }
        self.runs
            .word(word, chars, gap == 1 && bytes[start - 1] == b' ');
        self.end = end;
        chars
    }

    /// Whether the first letter or digit of a word is upper case.
    #[inline]
    fn capital(&self, start: usize, end: usize, kinds: u8) -> bool {
        let first = self.text.as_bytes()[start];
        if first.is_ascii_alphanumeric() {
            return first.is_ascii_uppercase();
        }
        kinds & (UPPER | BEYOND) != 0 && self.capital_within(start, end)
    }

    #[inline(never)]
    fn capital_within(&self, start: usize, end: usize) -> bool {
        let table = Classes::get();
        self.text[start..end]
            .chars()
            .map(|c| table.of(c))
            .find(|class| class & (classes::ALPHA | classes::NUMERIC) != 0)
            .is_some_and(|class| class & classes::UPPER != 0)
    }

    #[inline(never)]
    fn close(&mut self) {
        let Some(start) = self.start.take() else {
            return;
        };
        let end = self.end;
        let mut cursed = self.runs.found;
        while let Some(curse) = self.curses.get(self.next_curse)
            && curse.end <= end
        {
            cursed |= curse.start >= start && (!curse.at_end || curse.end == end);
            self.next_curse += 1;
        }
        let listed = self.tokens >= LIST_TOKENS && self.capitals * 2 > self.tokens;
        let abnormal = self.chars < SHORT || self.chars > LONG;
        let technical = self.technical * 5 > self.chars;
        self.sentences += 1;
        self.list_case += u64::from(listed);
        self.abnormal += u64::from(abnormal);
        self.technicals += u64::from(technical);
        self.cursed += u64::from(cursed);
        self.listed_or_cursed += u64::from(listed || cursed);
        self.questionable += u64::from(listed || abnormal || technical || cursed);
        (self.chars, self.technical, self.tokens, self.capitals) = (0, 0, 0, 0);
        self.runs = Runs::default();
    }
}

impl chunks::Words for Sentences<'_> {
    #[inline(always)]
    fn word(&mut self, start: usize, end: usize, kinds: u8) {
        if kinds & BEYOND == 0 {
            let chars = self.part(start, end, kinds);
            self.longest = self.longest.max(chars);
            if matches!(self.text.as_bytes()[end - 1], b'.' | b'!' | b'?') {
                self.close();
            }
        } else {
            self.beyond(start, end, kinds);
        }
    }
}

impl Sentences<'_> {
    /// A word with something beyond ASCII.
    #[inline(never)]
    fn beyond(&mut self, mut start: usize, end: usize, kinds: u8) {
        let bytes = self.text.as_bytes();
        let part = &self.text[start..end];
        let mut chars = 0;
        if characters(bytes, start, end).1 {
            let from = start;
            let mut ended = false; // behind such a mark
            for (step, c) in part.char_indices() {
                let stops = matches!(c, '。' | '！' | '？' | '｡');
                if ended && !stops {
                    chars += self.part(start, from + step, kinds);
                    self.close();
                    start = from + step;
                }
                ended = stops;
            }
        }
        chars += self.part(start, end, kinds);
        self.longest = self.longest.max(chars);
        let classes = Classes::get();
        if part.ends_with(|c| classes.of(c) & classes::PUNCTUATION != 0 && sentence_terminal(c)) {
            self.close();
        }
    }
}

/// Characters of a word or gap, and whether one of the bytes is in it with which the marks begin that
/// need no white space (it may say so where one is right behind).
#[inline]
fn characters(bytes: &[u8], start: usize, end: usize) -> (u64, bool) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let has = |eight: u64, byte: u8| {
        let zero = eight ^ (ONES * u64::from(byte));
        zero.wrapping_sub(ONES) & !zero & (ONES << 7)
    };
    let (mut chars, mut marks) = ((end - start) as u64, 0);
    let mut at = start;
    while at < end {
        // Of the last bytes of a text fewer than eight are left.
        let eight = bytes[at..].first_chunk::<8>().map_or_else(
            || {
                let mut eight = [0; 8];
                eight[..end - at].copy_from_slice(&bytes[at..end]);
                u64::from_le_bytes(eight)
            },
            |eight| u64::from_le_bytes(*eight),
        );
        marks |= has(eight, 0xE3) | has(eight, 0xEF);
        let within = u64::MAX >> (64 - 8 * (end - at).min(8));
        let continues = (eight >> 7) & !(eight >> 6) & ONES & within;
        chars -= continues.wrapping_mul(ONES) >> 56; // the sum of the bytes
        at += 8;
    }
    (chars, marks != 0)
}

//! All signals of a batch of texts: one table per idea, one column per signal.
//!
//! Passes over a text: histogram, segmentation, lines, phrases, words between white space (sentences of
//! MADLAD-400 and skeleton together), compression of its first 64 KiB; tokens are hashed once.
//!
//! The floor is one read of the text and one hash per word. `make bench NAME=text_engine` measures both:
//! all signals and line rules take 16 ns per byte of documentation, 18 of encyclopaedia leads and 20 of web
//! pages (63, 54 and 49 MB/s on one core), a tenth of the floor. Before signals, tokens and lines were made
//! faster these were 26, 29 and 31: a fifth of it was segmentation, as much words between white space (MADLAD's
//! sentences and the skeleton), a sixth n-grams, an eighth line rules.

use arrow_array::ArrayRef;

use super::characters::Scripts;
use super::chunks::{Words, words};
use super::code::{self, CodeSignals};
use super::line_rules::{LineRules, RuleScratch, Wanted, evaluate};
use super::lz::{Positions, compression_ratio};
use super::madlad::{Madlad, Sentences};
use super::phrases::{Curse, Phrases, phrases};
use super::ratio;
use super::signals::{Measured, Scratch, Signals, Variants, compute};
use super::skeleton::{Masker, Skeleton, SkeletonScratch};
use super::table::signal_table;
use crate::edits::EditList;

signal_table! {
    /// How much a text says in how much space.
    pub struct Density {
    compression_ratio: f64 = "bytes of an LZ4 block of the first 65,536 bytes of the text, per byte of these; a little above 1 where nothing repeats";
    word_entropy: f64 = "entropy of the distribution of words (tokens that are not punctuation alone, case counts), in bits";
    unique_word_ratio: f64 = "different words per word";
    }
}

/// The buffers of one worker, reused from text to text.
#[derive(Default)]
struct Buffers {
    scratch: Scratch,
    curses: Vec<Curse>,
    positions: Positions,
    skeleton: SkeletonScratch,
    line_rules: RuleScratch,
    code: code::Scratch,
}

/// The tables of a batch, row by row.
#[derive(Default)]
pub struct Documents {
    buffers: Buffers,
    signals: Vec<Option<Signals>>,
    variants: Vec<Option<Variants>>,
    scripts: Vec<Option<Scripts>>,
    density: Vec<Option<Density>>,
    phrases: Vec<Option<Phrases>>,
    madlad: Vec<Option<Madlad>>,
    skeleton: Vec<Option<Skeleton>>,
    line_rules: Vec<Option<LineRules>>,
    code: Vec<Option<CodeSignals>>,
    wanted: Wanted,
    /// What the wanted line rules cut of the texts so far.
    pub edits: EditList,
}

impl Documents {
    /// No rows yet; the edits of these line rules will be listed.
    pub fn new(wanted: Wanted) -> Documents {
        Documents {
            wanted,
            ..Documents::default()
        }
    }

    /// Measure the next text, of fewer than 2^32 bytes; as code where its format is that of a language.
    pub fn push(&mut self, text: Option<&str>, format: Option<&str>) {
        let Some(text) = text else {
            self.signals.push(None);
            self.variants.push(None);
            self.scripts.push(None);
            self.density.push(None);
            self.phrases.push(None);
            self.madlad.push(None);
            self.skeleton.push(None);
            self.line_rules.push(None);
            self.code.push(None);
            return;
        };
        let buffers = &mut self.buffers;
        let row = self.signals.len();
        let measured = compute(text, &mut buffers.scratch);
        let (breaks, sentences) = buffers.scratch.segmentation();
        let scratch = &mut buffers.line_rules;
        self.line_rules.push(Some(evaluate(
            text,
            breaks,
            sentences,
            self.wanted,
            row,
            &mut self.edits,
            scratch,
        )));
        let phrases = phrases(text, &mut buffers.curses);
        let mut both = Both(
            Sentences::new(text, &buffers.curses),
            Masker::new(text, &mut buffers.skeleton),
        );
        words(text, &mut both);
        let compression = compression_ratio(text.as_bytes(), &mut buffers.positions);
        self.density.push(Some(density(&measured, compression)));
        self.madlad.push(Some(both.0.finish()));
        self.skeleton.push(Some(both.1.finish()));
        self.phrases.push(Some(phrases));
        self.code.push(
            format.and_then(|format| {
                code::compute(text, format, &measured.signals, &mut buffers.code)
            }),
        );
        self.signals.push(Some(measured.signals));
        self.variants.push(Some(measured.variants));
        self.scripts.push(Some(measured.scripts));
    }

    /// Names and columns, in the order of `definitions`.
    pub fn columns(&self) -> Vec<(&'static str, ArrayRef)> {
        [
            Signals::columns(&self.signals),
            Variants::columns(&self.variants),
            Scripts::columns(&self.scripts),
            Density::columns(&self.density),
            Phrases::columns(&self.phrases),
            Madlad::columns(&self.madlad),
            Skeleton::columns(&self.skeleton),
            LineRules::columns(&self.line_rules),
            CodeSignals::columns(&self.code),
        ]
        .concat()
    }

    /// Name and definition of every signal.
    pub fn definitions() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        [
            Signals::DEFINITIONS,
            Variants::DEFINITIONS,
            Scripts::DEFINITIONS,
            Density::DEFINITIONS,
            Phrases::DEFINITIONS,
            Madlad::DEFINITIONS,
            Skeleton::DEFINITIONS,
            LineRules::DEFINITIONS,
            CodeSignals::DEFINITIONS,
        ]
        .into_iter()
        .flatten()
    }
}

/// Hands each word to two takers.
struct Both<A, B>(A, B);

impl<A: Words, B: Words> Words for Both<A, B> {
    #[inline(always)] // a call per word is felt
    fn word(&mut self, start: usize, end: usize, kinds: u8) {
        self.0.word(start, end, kinds);
        self.1.word(start, end, kinds);
    }
}

fn density(measured: &Measured, compression_ratio: f64) -> Density {
    let words = measured.words as f64;
    let entropy = if measured.words == 0 {
        0.0
    } else {
        words.log2() - measured.weighted_logs / words
    };
    Density {
        compression_ratio,
        word_entropy: entropy.max(0.0), // rounding can leave a hair less than nothing
        unique_word_ratio: ratio(measured.distinct_words, measured.words),
    }
}

//! The line rules of C4, in datatrove's order of checks.
//!
//! A line is what `str.splitlines` gives, stripped; a check sees only lines that passed those before it:
//! 1. a word of more than 1,000 characters cuts the line;
//! 2. citations come out: `[` digits `]`, `[edit]`, `[citation needed]`;
//! 3. it must end in `.`, `?`, `!` or a straight quote, and not in `...` (no check in FineWeb's variant);
//! 4. it must have 3 words, counted before citations came out;
//! 5. `lorem ipsum`: the document goes; 6. `javascript`: the line; 7. `{`: the document;
//! 8. one of six phrases about cookies, privacy and terms: the line.
//!
//! What is left is joined by newlines and stripped. Where the source stops at the first reason to drop
//! the document, this goes on, so that both reasons are known. Sentences are those of the segmenter,
//! which follows spaCy's rule as datatrove does; a line begins one.

use memchr::memchr;

use super::classes::{ALPHA, Classes, PUNCTUATION, SPACE, sentence_terminal};
use super::line_facts::*;
use super::line_rules::{Cut, LineRules, Span, Wanted, close, trim_end, trim_start};
use super::segment::{Sink, segment};

const MIN_WORDS: usize = 3;

/// The checks that cut a line, as indices into the names of rules.
#[derive(Clone, Copy)]
enum Check {
    LongWord,
    LineEnd,
    FewWords,
    Javascript,
    Policy,
}

/// Rule names of a variant: by `Check`, then citations, then white space.
const NAMES: [[&str; 7]; 2] = [
    [
        "c4.long_word",
        "c4.line_end",
        "c4.few_words",
        "c4.javascript",
        "c4.policy",
        "c4.citation",
        "c4.white_space",
    ],
    [
        "c4_no_punctuation.long_word",
        "c4_no_punctuation.line_end",
        "c4_no_punctuation.few_words",
        "c4_no_punctuation.javascript",
        "c4_no_punctuation.policy",
        "c4_no_punctuation.citation",
        "c4_no_punctuation.white_space",
    ],
];
const CITATION: usize = 5;
const WHITE_SPACE: usize = 6;

#[derive(Default)]
pub struct Buffers {
    cuts: [Vec<Cut>; 2],
    citations: Vec<(usize, usize)>,
    edited: String,
    suffixes: Vec<(usize, usize)>,
}

/// What one of the two variants has found so far.
#[derive(Default)]
struct Variant {
    wanted: bool,
    removed: [i64; 5],
    sentences: i64,
    citations: i64,
    lorem: bool,
    curly: bool,
    /// From the first kept character that is no white space to behind the last.
    kept: Option<(usize, usize)>,
}

pub struct C4<'a> {
    text: &'a str,
    sentences: &'a [usize],
    /// Whether the text can have a phrase, and whether it has a curly and a square bracket.
    possible: [bool; 3],
    lines: i64,
    variants: [Variant; 2],
    buffers: &'a mut Buffers,
}

impl<'a> C4<'a> {
    /// `phrased` says whether any of the phrases can be in the text.
    pub fn new(
        text: &'a str,
        sentences: &'a [usize],
        phrased: bool,
        wanted: Wanted,
        buffers: &'a mut Buffers,
    ) -> C4<'a> {
        buffers.cuts.iter_mut().for_each(Vec::clear);
        let [with, without, _] = wanted.0;
        let variants = [with, without].map(|wanted| Variant {
            wanted,
            ..Variant::default()
        });
        C4 {
            text,
            sentences,
            possible: [
                phrased,
                memchr(b'{', text.as_bytes()).is_some(),
                memchr(b'[', text.as_bytes()).is_some(),
            ],
            lines: 0,
            variants,
            buffers,
        }
    }

    pub fn line(&mut self, line: Span, facts: &Facts) {
        // The sentences that begin in this line come first in what is left of them.
        let begun = self
            .sentences
            .iter()
            .take_while(|&&at| at < line.next)
            .count();
        let (begun, later) = self.sentences.split_at(begun);
        self.sentences = later;
        if facts.words == 0 {
            for which in 0..2 {
                self.blank(which, line.start, line.next);
            }
            return;
        }
        self.lines += 1;
        let whole = &self.text[line.start..line.end];
        let start = line.end - trim_start(whole).len();
        let end = line.start + trim_end(whole).len();
        let (verdicts, found) = self.judge(start, end, facts.words);
        let mut sentences = None;
        for (which, verdict) in verdicts.into_iter().enumerate() {
            if let Some(check) = verdict {
                self.variants[which].removed[check as usize] += 1;
                self.cut(which, line.start, line.next, check as usize);
            }
            // Past the checks on words and line ends, the document itself is at stake.
            if matches!(verdict, None | Some(Check::Javascript | Check::Policy)) {
                let variant = &mut self.variants[which];
                variant.lorem |= found & LOREM != 0;
                variant.curly |= found & CURLY != 0 && !matches!(verdict, Some(Check::Javascript));
            }
            if verdict.is_none() {
                let sentences =
                    *sentences.get_or_insert_with(|| self.sentences_of(start, end, begun));
                self.variants[which].sentences += sentences;
                self.keep(which, line, start, end);
            }
        }
    }

    /// For each variant, the check that cuts the line; and the phrases in it without its citations.
    fn judge(&mut self, start: usize, end: usize, words: usize) -> ([Option<Check>; 2], u8) {
        let line = &self.text[start..end];
        self.buffers.citations.clear();
        if has_long_word(line) {
            return ([Some(Check::LongWord); 2], 0);
        }
        let [phrased, curly, bracketed] = self.possible;
        let mut found = if phrased {
            phrases(line)
        } else if curly && memchr(b'{', line.as_bytes()).is_some() {
            CURLY
        } else {
            0
        };
        let mut ends = ends_as_asked(line);
        if bracketed && memchr(b'[', line.as_bytes()).is_some() {
            find_citations(line, start, &mut self.buffers.citations);
            if !self.buffers.citations.is_empty() {
                let edited = &mut self.buffers.edited;
                edited.clear();
                let mut copied = start;
                for &(from, to) in &self.buffers.citations {
                    edited.push_str(&self.text[copied..from]);
                    copied = to;
                }
                edited.push_str(&self.text[copied..end]);
                // Taking a citation out can bring the two halves of a phrase together.
                found = phrases(edited);
                ends = ends_as_asked(edited);
            }
        }
        let rest = if words < MIN_WORDS {
            Some(Check::FewWords)
        } else if found & JAVASCRIPT != 0 {
            Some(Check::Javascript)
        } else if found & POLICY != 0 {
            Some(Check::Policy)
        } else {
            None
        };
        (
            [if ends { rest } else { Some(Check::LineEnd) }, rest],
            found,
        )
    }

    /// Note what is kept of a line, and what comes out of it.
    fn keep(&mut self, which: usize, line: Span, start: usize, end: usize) {
        if self.buffers.citations.is_empty() && !self.variants[which].wanted {
            // The line is stripped and not blank.
            let kept = &mut self.variants[which].kept;
            *kept = Some((kept.map_or(start, |kept| kept.0), end));
            return;
        }
        let citations = std::mem::take(&mut self.buffers.citations);
        let variant = &mut self.variants[which];
        variant.citations += citations.len() as i64;
        let mut piece = start;
        for &(from, to) in citations.iter().chain([&(end, end)]) {
            let part = &self.text[piece..from];
            if !trim_start(part).is_empty() {
                let first = from - trim_start(part).len();
                let last = piece + trim_end(part).len();
                variant.kept = Some((variant.kept.map_or(first, |kept| kept.0), last));
            }
            piece = to;
        }
        if variant.wanted {
            self.blank(which, line.start, start);
            for &(from, to) in &citations {
                self.cut(which, from, to, CITATION);
            }
            self.blank(which, end, line.end);
            if line.end < line.next && &self.text[line.end..line.next] != "\n" {
                let cut = Cut::new(line.end, line.next, NAMES[which][WHITE_SPACE]);
                self.buffers.cuts[which].push(Cut {
                    newline: true,
                    ..cut
                });
            }
        }
        self.buffers.citations = citations;
    }

    fn cut(&mut self, which: usize, start: usize, end: usize, rule: usize) {
        if self.variants[which].wanted {
            self.buffers.cuts[which].push(Cut::new(start, end, NAMES[which][rule]));
        }
    }

    /// Cut white space, together with such right before it.
    fn blank(&mut self, which: usize, start: usize, end: usize) {
        if !self.variants[which].wanted {
            return;
        }
        let rule = NAMES[which][WHITE_SPACE];
        match self.buffers.cuts[which].last_mut() {
            Some(last) if last.end == start && last.rule == rule && !last.newline => last.end = end,
            _ if start < end => self.cut(which, start, end, WHITE_SPACE),
            _ => {}
        }
    }

    /// Sentences of a kept line, of which some begin at `begun`.
    fn sentences_of(&mut self, start: usize, end: usize, begun: &[usize]) -> i64 {
        let Buffers {
            citations,
            edited,
            suffixes,
            ..
        } = &mut *self.buffers;
        if !citations.is_empty() {
            let mut count = Sentences {
                text: edited,
                ended: true,
                count: 0,
            };
            segment(edited, suffixes, &mut count);
            return count.count.max(1);
        }
        let classes = Classes::get();
        let before = &self.text[start..begun.first().map_or(end, |&at| at.clamp(start, end))];
        let opened = before
            .chars()
            .any(|c| classes.of(c) & (SPACE | PUNCTUATION) == 0);
        let begun = begun.len() as i64;
        (begun + i64::from(opened)).max(1)
    }

    pub fn finish(self, cuts: &mut Vec<Cut>, out: &mut LineRules) {
        for (which, variant) in self.variants.iter().enumerate() {
            if variant.wanted {
                let from = cuts.len();
                cuts.append(&mut self.buffers.cuts[which]);
                let rule = NAMES[which][WHITE_SPACE];
                close(cuts, from, variant.kept, self.text.len(), rule);
            }
        }
        let share = |variant: &Variant| {
            let removed: i64 = variant.removed.iter().sum();
            removed as f64 / self.lines.max(1) as f64
        };
        let [c4, without] = &self.variants;
        out.c4_removed_line_ratio = share(c4);
        out.c4_sentence_count = c4.sentences;
        out.c4_lorem_ipsum = c4.lorem;
        out.c4_curly_bracket = c4.curly;
        [
            out.c4_long_word_lines,
            out.c4_unpunctuated_lines,
            out.c4_few_word_lines,
            out.c4_javascript_lines,
            out.c4_policy_lines,
        ] = c4.removed;
        out.c4_citations = c4.citations;
        out.c4_no_punctuation_removed_line_ratio = share(without);
        out.c4_no_punctuation_sentence_count = without.sentences;
        out.c4_no_punctuation_lorem_ipsum = without.lorem;
        out.c4_no_punctuation_curly_bracket = without.curly;
    }
}

fn ends_as_asked(line: &str) -> bool {
    line.ends_with(['.', '?', '!', '"', '\'']) && !line.ends_with("...")
}

/// Citations in a line that begins at `start` of its text, without overlap.
fn find_citations(line: &str, start: usize, out: &mut Vec<(usize, usize)>) {
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'[' {
            at += 1;
            continue;
        }
        let inside = &line[at + 1..];
        let length = if inside.starts_with("edit]") {
            5
        } else if inside.starts_with("citation needed]") {
            16
        } else {
            let rest = inside.trim_start_matches(is_decimal);
            if rest.starts_with(']') {
                inside.len() - rest.len() + 1
            } else {
                at += 1;
                continue;
            }
        };
        out.push((start + at, start + at + 1 + length));
        at += 1 + length;
    }
}

/// Counts the sentences of a line that citations came out of, as the signals count those of a text.
struct Sentences<'a> {
    text: &'a str,
    ended: bool,
    count: i64,
}

impl Sink for Sentences<'_> {
    fn token(&mut self, start: usize, end: usize, letters: bool) {
        let token = &self.text[start..end];
        let classes = Classes::get();
        let word = letters
            || token.chars().any(|c| classes.of(c) & ALPHA != 0)
            || token.chars().any(|c| classes.of(c) & PUNCTUATION == 0);
        self.count += i64::from(word && self.ended);
        let mut chars = token.chars();
        let terminal = chars.next().is_some_and(sentence_terminal) && chars.next().is_none();
        self.ended = !word && (self.ended || terminal);
    }

    fn line_break(&mut self, _: usize) {}
}

//! Rules on lines: what the published pipelines cut from a page that they keep.
//!
//! One look at every line gives the facts that all profiles share; each profile decides by them and by
//! its own order of checks, and says what it would cut as spans of the text. Nothing is built per line.
//! All profiles together take about a tenth of the pass (`document.rs`).
//!
//! | profile | source |
//! |---|---|
//! | `c4` | Raffel et al. 2020 (C4), section 2.2, as datatrove's `C4QualityFilter` has it |
//! | `c4_no_punctuation` | the same without the check on how lines end (Penedo et al. 2024, FineWeb) |
//! | `refinedweb` | Penedo et al. 2023 (RefinedWeb), appendix G.2, as DCLM reconstructs it |
//!
//! A cut line takes its line end along, so that no empty line is left behind; one at the end of what
//! is kept takes the line end before it instead. A profile's edits give the very text that its source
//! would give. Those of several profiles are joined: what any of them cuts is cut, once.

use super::c4::{self, C4};
use super::classes::{Classes, SPACE};
use super::line_facts::{facts, possible};
use super::refinedweb::{self, RefinedWeb};
use super::table::signal_table;
use crate::edits::EditList;

signal_table! {
    /// What the line rules find in one text. Lines are counted where they are not blank.
    pub struct LineRules {
    c4_removed_line_ratio: f64 = "share of lines that the C4 rules cut";
    c4_sentence_count: i64 = "sentences in the lines that the C4 rules keep, each line by itself";
    c4_lorem_ipsum: bool = "'lorem ipsum' in a line that passed the C4 rules on words and line ends";
    c4_curly_bracket: bool = "{ in a line that passed the C4 rules on words, line ends and javascript";
    c4_long_word_lines: i64 = "lines with a word of more than 1,000 characters";
    c4_unpunctuated_lines: i64 = "lines that do not end in . ? ! or a straight quote, or do in '...'; citations taken out";
    c4_few_word_lines: i64 = "lines of fewer than 3 words among those that end as C4 asks";
    c4_javascript_lines: i64 = "lines with 'javascript' among those that passed the C4 checks before";
    c4_policy_lines: i64 = "lines with one of C4's six phrases on cookies, privacy and terms of use, among those that passed the checks before";
    c4_citations: i64 = "citations ([1], [edit], [citation needed]) in the lines that the C4 rules keep";
    c4_long_lines: i64 = "lines (newlines only) of 200 characters and more";
    c4_no_punctuation_removed_line_ratio: f64 = "as c4_removed_line_ratio, whatever lines end in";
    c4_no_punctuation_sentence_count: i64 = "as c4_sentence_count, whatever lines end in";
    c4_no_punctuation_lorem_ipsum: bool = "as c4_lorem_ipsum, whatever lines end in";
    c4_no_punctuation_curly_bracket: bool = "as c4_curly_bracket, whatever lines end in";
    refinedweb_removed_word_ratio: f64 = "share of words (between white space, beginning with a letter or digit) that the RefinedWeb line rules cut";
    refinedweb_uppercase_lines: i64 = "lines (newlines only) of which more than half the characters are upper case";
    refinedweb_digit_lines: i64 = "lines of digits alone, among the others";
    refinedweb_counter_lines: i64 = "lines that are a number and a word like 'likes' or 'comments', among the others";
    refinedweb_one_word_lines: i64 = "lines of a single word, among the others";
    refinedweb_phrases: i64 = "'items in cart', 'Read more...' at the end and 'Sign-in' at the start of lines of at most 10 words";
    }
}

/// Names that callers ask edits by, in the order of `Wanted`'s fields.
pub const PROFILES: [&str; 3] = ["c4", "c4_no_punctuation", "refinedweb"];

/// Which profiles' edits to return.
#[derive(Clone, Copy, Default)]
pub struct Wanted(pub [bool; 3]);

/// A span to cut; `newline` puts one line feed in its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    pub start: usize,
    pub end: usize,
    pub rule: &'static str,
    pub newline: bool,
}

impl Cut {
    pub fn new(start: usize, end: usize, rule: &'static str) -> Cut {
        Cut {
            start,
            end,
            rule,
            newline: false,
        }
    }
}

/// A line: its bytes are `start..end`, the next one begins at `next`.
#[derive(Clone, Copy)]
pub struct Span {
    pub start: usize,
    pub end: usize,
    pub next: usize,
}

/// Buffers reused from text to text: 16 bytes per line, and 40 per cut that is asked for.
#[derive(Default)]
pub struct RuleScratch {
    c4: c4::Buffers,
    refinedweb: refinedweb::Buffers,
    cuts: Vec<Cut>,
}

/// Apply all profiles to a text whose line ends are at `breaks` and sentences begin at `sentences`, and
/// append the edits that are wanted as those of `row`.
pub fn evaluate(
    text: &str,
    breaks: &[usize],
    sentences: &[usize],
    wanted: Wanted,
    row: usize,
    edits: &mut EditList,
    scratch: &mut RuleScratch,
) -> LineRules {
    let bytes = text.as_bytes();
    let cuts = &mut scratch.cuts;
    cuts.clear();
    let (c4_phrases, items_in_cart) = possible(bytes);
    let mut c4 = C4::new(text, sentences, c4_phrases, wanted, &mut scratch.c4);
    let mut refinedweb = RefinedWeb::new(text, items_in_cart, &mut scratch.refinedweb);
    let (mut start, mut inner, mut long_lines) = (0, 0, 0);
    for index in 0..=breaks.len() {
        // The last line has no line end; after a final line end it is empty.
        let end = breaks.get(index).copied().unwrap_or(text.len());
        if bytes.get(end).is_some_and(|&byte| byte != b'\n') {
            continue; // a line end for C4 only
        }
        let line = Span {
            start,
            end,
            next: text.len().min(end + 1),
        };
        let facts = facts(&text[start..end]);
        long_lines += i64::from(facts.chars >= 200);
        refinedweb.line(line, &facts);
        if inner == index {
            c4.line(line, &facts);
        } else {
            c4_lines(text, line, &breaks[inner..index], &mut c4);
        }
        (start, inner) = (end + 1, index + 1);
    }
    let mut out = LineRules {
        c4_long_lines: long_lines,
        ..LineRules::default()
    };
    c4.finish(cuts, &mut out);
    refinedweb.finish(wanted.0[2].then_some(&mut *cuts), &mut out);
    emit(text, cuts, row, edits);
    out
}

/// The parts of a line (of newlines) that other line ends make.
fn c4_lines(text: &str, line: Span, breaks: &[usize], c4: &mut C4) {
    let mut start = line.start;
    for &end in breaks {
        let next = end + text[end..].chars().next().map_or(1, char::len_utf8);
        c4.line(Span { start, end, next }, &facts(&text[start..end]));
        start = next;
    }
    let last = Span { start, ..line };
    c4.line(last, &facts(&text[start..line.end]));
}

/// The cuts in order, each byte cut once.
fn emit(text: &str, cuts: &mut [Cut], row: usize, edits: &mut EditList) {
    cuts.sort_unstable_by_key(|cut| (cut.start, std::cmp::Reverse(cut.end), cut.rule));
    let mut reached = 0;
    for cut in cuts {
        let start = cut.start.max(reached);
        let kept = cut.newline && start == cut.start;
        if start < cut.end && !(kept && &text[start..cut.end] == "\n") {
            edits.push(row, start, cut.end, cut.rule, kept.then_some("\n"));
        }
        reached = reached.max(cut.end);
    }
}

/// Extend cuts to everything before and after what is kept; `rule` is for what no cut is next to.
///
/// `cuts`, in order, are those of one profile, and `kept` runs from its first kept character that is no
/// white space to the end of the last.
pub fn close(
    cuts: &mut Vec<Cut>,
    from: usize,
    kept: Option<(usize, usize)>,
    length: usize,
    rule: &'static str,
) {
    let (first, last) = kept.unwrap_or((length, length));
    let fill = |mut index: usize, mut reached: usize, end: usize, cuts: &mut Vec<Cut>| {
        while index < cuts.len() && cuts[index].start < end {
            if cuts[index].start >= reached {
                cuts[index].start = reached;
            }
            cuts[index].newline = false;
            reached = reached.max(cuts[index].end);
            index += 1;
        }
        if reached < end {
            cuts.insert(index, Cut::new(reached, end, rule));
        }
    };
    fill(from, 0, first, cuts);
    let after = cuts[from..].partition_point(|cut| cut.start < last) + from;
    fill(after, last, length, cuts);
}

pub fn trim_start(text: &str) -> &str {
    match text.as_bytes().first() {
        Some(b'!'..=b'~') => text,
        _ => text.trim_start_matches(is_space),
    }
}

pub fn trim_end(text: &str) -> &str {
    match text.as_bytes().last() {
        Some(b'!'..=b'~') => text,
        _ => text.trim_end_matches(is_space),
    }
}

pub fn is_space(c: char) -> bool {
    Classes::get().of(c) & SPACE != 0
}

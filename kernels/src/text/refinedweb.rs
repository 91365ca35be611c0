//! The line rules of RefinedWeb, as DCLM reconstructs them.
//!
//! Lines are cut at newlines alone. Seven steps, one after the other over the whole text, which is
//! stripped after each but the fourth (so that what is first and last may change):
//! 1. more than half of its characters upper case; 2. digits alone; 3. a counter, such as `3.5K likes`;
//! 4. fewer than 2 words; then, in lines of at most 10 words, 5. `items in cart` anywhere, 6. `Read more`
//!    and three more characters (DCLM's dots are any characters) at the end, 7. `Sign-in` at the start
//!    come out, each with one white space beside it, and the line goes when that leaves it blank.
//!
//! Empty lines stay. A document of which more than 5 % of the words go is dropped: the rule set
//! `refinedweb_lines` has the limit.

use super::classes::{ALPHA, Classes, NUMERIC};
use super::line_facts::{
    Facts, counted_words, digits, facts, find, is_decimal, is_digit, starts_with,
};
use super::line_rules::{Cut, LineRules, Span, close, is_space, trim_end, trim_start};

const MAX_UPPERCASE: f64 = 0.5;
const MAX_DIGITS: f64 = 0.999999;
const SHORT: usize = 10; // words

/// Steps as bits, in order; a line goes by the lowest that it fails.
const UPPERCASE: u8 = 1;
const DIGITS: u8 = 1 << 1;
const COUNTER: u8 = 1 << 2;
const ONE_WORD: u8 = 1 << 3;
const ITEMS: u8 = 1 << 4;
const READ_MORE: u8 = 1 << 5;
const SIGN_IN: u8 = 1 << 6;
const BLANK: u8 = 1 << 7; // no step: only white space

const NAMES: [&str; 7] = [
    "refinedweb.uppercase",
    "refinedweb.digits",
    "refinedweb.counter",
    "refinedweb.one_word",
    "refinedweb.items_in_cart",
    "refinedweb.read_more",
    "refinedweb.sign_in",
];
const WHITE_SPACE: &str = "refinedweb.white_space";

const COUNTED: [&str; 12] = [
    "likes",
    "shares",
    "comments",
    "retweets",
    "reposts",
    "quotes",
    "bookmarks",
    "upvotes",
    "downvotes",
    "downloads",
    "views",
    "followers",
];

/// A line; texts are shorter than 4 GiB.
struct Line {
    start: u32,
    end: u32,
    counted: u32,
    fails: u8,
}

/// A short line with one of the phrases: what is left of it.
struct Phrased {
    line: usize,
    pieces: Vec<(usize, usize)>,
}

#[derive(Default)]
pub struct Buffers {
    lines: Vec<Line>,
    phrased: Vec<Phrased>,
    cuts: Vec<Cut>,
}

pub struct RefinedWeb<'a> {
    text: &'a str,
    possible: bool,
    words: usize,
    buffers: &'a mut Buffers,
    /// Lines `front..back` and bytes `from..to` are what stripping has left.
    front: usize,
    back: usize,
    from: usize,
    to: usize,
    phrases: i64,
}

impl<'a> RefinedWeb<'a> {
    /// `possible` says whether `items in cart` can be in the text.
    pub fn new(text: &'a str, possible: bool, buffers: &'a mut Buffers) -> RefinedWeb<'a> {
        buffers.lines.clear();
        buffers.phrased.clear();
        buffers.cuts.clear();
        RefinedWeb {
            text,
            possible,
            words: 0,
            buffers,
            front: 0,
            back: 0,
            from: 0,
            to: text.len(),
            phrases: 0,
        }
    }

    pub fn line(&mut self, line: Span, facts: &Facts) {
        let part = &self.text[line.start..line.end];
        self.words += facts.counted;
        if facts.words > 0 && facts.words <= SHORT && may_have_phrase(part, self.possible) {
            self.buffers.phrased.push(Phrased {
                line: self.buffers.lines.len(),
                pieces: Vec::new(),
            });
        }
        self.buffers.lines.push(Line {
            start: line.start as u32,
            end: line.end as u32,
            counted: facts.counted as u32,
            fails: fails(part, facts),
        });
    }

    /// Go through the steps; append the cuts where they are wanted.
    pub fn finish(mut self, cuts: Option<&mut Vec<Cut>>, out: &mut LineRules) {
        self.back = self.buffers.lines.len();
        for step in [UPPERCASE, DIGITS, COUNTER, ONE_WORD] {
            self.strip(step);
        }
        if !self.buffers.phrased.is_empty() {
            for step in [ITEMS, READ_MORE, SIGN_IN] {
                self.take_out(step);
                self.strip(step);
            }
        }
        let mut removed = [0i64; 7];
        let mut left = 0;
        for line in &self.buffers.lines {
            if line.fails & !BLANK == 0 {
                left += line.counted as usize;
            } else if line.fails & BLANK == 0 {
                removed[line.fails.trailing_zeros() as usize] += 1;
            }
        }
        for phrased in &self.buffers.phrased {
            let line = &self.buffers.lines[phrased.line];
            if line.fails == 0 && !phrased.pieces.is_empty() {
                left -= line.counted as usize;
                left += counted_words(chars(self.text, &phrased.pieces).map(|(_, c)| c));
            }
        }
        out.refinedweb_removed_word_ratio =
            self.words.saturating_sub(left) as f64 / self.words.max(1) as f64;
        [
            out.refinedweb_uppercase_lines,
            out.refinedweb_digit_lines,
            out.refinedweb_counter_lines,
            out.refinedweb_one_word_lines,
            ..,
        ] = removed;
        out.refinedweb_phrases = self.phrases;
        if let Some(cuts) = cuts {
            self.cuts_into(cuts);
        }
    }

    fn cuts_into(self, cuts: &mut Vec<Cut>) {
        let first = cuts.len();
        cuts.append(&mut self.buffers.cuts);
        for (index, line) in self.buffers.lines.iter().enumerate() {
            let next = self.buffers.lines.get(index + 1);
            let next = next.map_or(self.text.len(), |next| next.start as usize);
            let inside = self.front <= index && index < self.back;
            if line.fails & BLANK == 0 && line.fails != 0 {
                let name = NAMES[line.fails.trailing_zeros() as usize];
                cuts.push(Cut::new(line.start as usize, next, name));
            } else if inside && line.fails & !BLANK != 0 {
                cuts.push(Cut::new(line.start as usize, next, WHITE_SPACE));
            }
        }
        cuts[first..].sort_by_key(|cut| (cut.start, std::cmp::Reverse(cut.end)));
        let kept = (self.front < self.back).then_some((self.from, self.to));
        close(cuts, first, kept, self.text.len(), WHITE_SPACE);
    }

    /// Drop what is blank or failed a step up to `step` from both ends, and white space before and after.
    fn strip(&mut self, step: u8) {
        let passed = step | (step - 1);
        while self.front < self.back && self.stripped(self.front, passed, true) {
            self.front += 1;
        }
        while self.front < self.back && self.stripped(self.back - 1, passed, false) {
            self.back -= 1;
        }
    }

    /// Whether nothing is left of a line at the start or end; if there is, strip that side of it.
    fn stripped(&mut self, index: usize, passed: u8, at_start: bool) -> bool {
        let line = &mut self.buffers.lines[index];
        if line.fails & (passed | BLANK) != 0 {
            return true;
        }
        let (mut from, mut to) = (
            self.from.max(line.start as usize),
            self.to.min(line.end as usize),
        );
        if let Some(phrased) = pieces_of(&mut self.buffers.phrased, index) {
            // At least one character that is no white space is left, else the line had failed.
            let visible = |&(_, c): &(usize, char)| !is_space(c);
            if at_start {
                from = chars(self.text, phrased)
                    .find(visible)
                    .map_or(from, |(at, _)| at);
                clip(phrased, from, usize::MAX);
            } else {
                to = chars(self.text, phrased)
                    .rfind(visible)
                    .map_or(to, |(at, c)| at + c.len_utf8());
                clip(phrased, 0, to);
            }
        } else {
            let part = &self.text[from..to];
            let trimmed = if at_start {
                trim_start(part)
            } else {
                trim_end(part)
            };
            if at_start {
                from = to - trimmed.len();
            } else {
                to = from + trimmed.len();
            }
            if trimmed.len() < part.len() {
                // Its shares are of fewer characters now; steps that it passed do not come again.
                let again = fails(trimmed, &facts(trimmed));
                line.fails = again & !passed;
            }
        }
        if at_start {
            self.from = from;
        } else {
            self.to = to;
        }
        false
    }

    /// Take the phrase of a step out of the short lines that have it.
    fn take_out(&mut self, step: u8) {
        let text = self.text;
        let Buffers {
            lines,
            phrased,
            cuts,
        } = &mut *self.buffers;
        for Phrased { line, pieces } in phrased {
            let index = *line;
            let line = &mut lines[index];
            if line.fails != 0 || index < self.front || index >= self.back {
                continue;
            }
            if pieces.is_empty() {
                pieces.push((
                    self.from.max(line.start as usize),
                    self.to.min(line.end as usize),
                ));
            }
            let before = cuts.len();
            match step {
                ITEMS => items_in_cart(text, pieces, cuts),
                READ_MORE => read_more(text, pieces, cuts),
                _ => sign_in(text, pieces, cuts),
            }
            self.phrases += (cuts.len() - before) as i64;
            if chars(text, pieces).all(|(_, c)| is_space(c)) {
                line.fails |= step;
            }
        }
    }
}

/// The steps that a line fails by itself.
fn fails(line: &str, facts: &Facts) -> u8 {
    if facts.words == 0 {
        // White space alone has no words either; an empty line passes everything.
        return BLANK | if line.is_empty() { 0 } else { ONE_WORD };
    }
    let share = |part: usize| part as f64 / facts.chars as f64;
    let mut fails = 0;
    // A line of fewer than a million characters has to begin with a digit to be all digits.
    let begins = match line.as_bytes()[0] {
        byte @ ..0x80 => byte.is_ascii_digit(),
        _ => line.starts_with(|c| Classes::get().of(c) & NUMERIC != 0 && is_digit(c)),
    };
    if share(facts.upper) > MAX_UPPERCASE {
        fails |= UPPERCASE;
    }
    if (begins || facts.chars >= 1_000_000) && share(digits(line)) > MAX_DIGITS {
        fails |= DIGITS;
    }
    if facts.words < 2 {
        fails |= ONE_WORD;
    } else if is_counter(line) {
        fails |= COUNTER;
    }
    fails
}

/// A number, `k`, `m` or `b` behind it or not, and what is counted; anything but words around.
fn is_counter(line: &str) -> bool {
    let classes = Classes::get();
    if line.starts_with(|c| classes.of(c) & ALPHA != 0) {
        return false; // most lines begin with a letter
    }
    let word = |c: char| classes.of(c) & (ALPHA | NUMERIC) != 0 || c == '_';
    let line = line.trim_start_matches(|c| !word(c));
    if !line.starts_with(is_decimal) {
        return false;
    }
    let rest = line.trim_start_matches(|c| is_decimal(c) || matches!(c, ',' | '.'));
    let rest = rest
        .strip_prefix(['k', 'K', 'm', 'M', 'b', 'B'])
        .unwrap_or(rest);
    let what = trim_start(rest);
    what.len() < rest.len()
        && COUNTED.iter().any(|noun| {
            starts_with(what.as_bytes(), noun.as_bytes()) && !what[noun.len()..].contains(word)
        })
}

/// Whether a line can have one of the phrases; `possible` says whether the text can have the first.
fn may_have_phrase(line: &str, possible: bool) -> bool {
    let more = |line: &str| {
        let end = line.char_indices().rev().nth(2).map_or(0, |(at, _)| at);
        let start = end.saturating_sub(b"read more".len());
        starts_with(&line.as_bytes()[start..end], b"read more")
    };
    let trimmed = trim_end(line);
    // Without the phrase inside, the others stand at the very edge, or behind stripped white space.
    starts_with(trim_start(line).as_bytes(), b"sign-in")
        || more(line)
        || (trimmed.len() < line.len() && more(trimmed))
        || (possible && find(line.as_bytes(), b"items in cart", 0).is_some())
}

fn pieces_of(phrased: &mut [Phrased], line: usize) -> Option<&mut Vec<(usize, usize)>> {
    let index = phrased
        .binary_search_by_key(&line, |phrased| phrased.line)
        .ok()?;
    Some(&mut phrased[index].pieces).filter(|pieces| !pieces.is_empty())
}

/// The characters of some pieces of a text, with their offsets.
fn chars<'a>(
    text: &'a str,
    pieces: &'a [(usize, usize)],
) -> impl DoubleEndedIterator<Item = (usize, char)> + 'a {
    pieces.iter().flat_map(|&(from, to)| {
        text[from..to]
            .char_indices()
            .map(move |(at, c)| (from + at, c))
    })
}

/// Keep of some pieces what lies in `from..to`.
fn clip(pieces: &mut Vec<(usize, usize)>, from: usize, to: usize) {
    for piece in pieces.iter_mut() {
        *piece = (piece.0.max(from), piece.1.min(to));
    }
    let some = pieces[0];
    pieces.retain(|piece| piece.0 < piece.1);
    if pieces.is_empty() {
        pieces.push((some.0, some.0));
    }
}

fn items_in_cart(text: &str, pieces: &mut Vec<(usize, usize)>, cuts: &mut Vec<Cut>) {
    const PHRASE: &[u8] = b"items in cart";
    let (mut start, end) = pieces[0];
    let mut left = Vec::new();
    while let Some(at) = find(&text.as_bytes()[..end], PHRASE, start) {
        let before = &text[start..at];
        let from = match before.chars().next_back() {
            Some(c) if is_space(c) => at - c.len_utf8(),
            _ => at,
        };
        left.push((start, from));
        start = at + PHRASE.len();
        cuts.push(Cut::new(from, start, NAMES[4]));
    }
    left.push((start, end));
    *pieces = left;
}

fn read_more(text: &str, pieces: &mut Vec<(usize, usize)>, cuts: &mut Vec<Cut>) {
    let mut back = chars(text, pieces).rev().skip(3);
    let mut from = text.len();
    let phrase = "read more".chars().rev();
    for expected in phrase {
        match back.next() {
            Some((at, c)) if c.eq_ignore_ascii_case(&expected) => from = at,
            _ => return,
        }
    }
    if let Some((at, c)) = back.next()
        && is_space(c)
    {
        from = at;
    }
    drop(back);
    let end = pieces[pieces.len() - 1].1;
    cuts.push(Cut::new(from, end, NAMES[5]));
    clip(pieces, 0, from);
}

fn sign_in(text: &str, pieces: &mut Vec<(usize, usize)>, cuts: &mut Vec<Cut>) {
    let mut ahead = chars(text, pieces);
    let mut to = 0;
    for expected in "sign-in".chars() {
        match ahead.next() {
            Some((at, c)) if c.eq_ignore_ascii_case(&expected) => to = at + c.len_utf8(),
            _ => return,
        }
    }
    if let Some((at, c)) = ahead.next()
        && is_space(c)
    {
        to = at + c.len_utf8();
    }
    drop(ahead);
    cuts.push(Cut::new(pieces[0].0, to, NAMES[6]));
    clip(pieces, to, usize::MAX);
}

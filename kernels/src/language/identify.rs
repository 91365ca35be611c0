//! The language of a text and of its paragraphs, in one pass.
//!
//! The features of a word are looked up once and summed for the text and for its paragraph (word n-grams
//! that span two paragraphs, for models that have such, for the text only). A paragraph ends at a blank line, or at any line end once it has `LONG` bytes; one of fewer than `SHORT` joins the next,
//! or, at the end of the text, the one before. What is counted are bytes of words from their first letter
//! to their last. A paragraph whose best score is below `unsure` is undecided: `und`.
//!
//! Paragraphs cost up to 20 % on top of the whole text (lid.176): a second sum, and a walk through the labels
//! each. A model of 2,000 labels under a softmax of 256 dimensions takes 0.1 ms or so for each walk.

use std::borrow::Cow;

use super::LanguageModel;
use super::clean::Split;
use super::features::Words;
use super::hidden::Hidden;

/// Below this many bytes of letters a paragraph is not judged: of those of 20 to 30 bytes 86 % get the right
/// label, of 50 to 60 94 %, of more than 100 96.5 % (gnome-user-docs in 41 locales).
const SHORT: usize = 50;
/// A line end is the end of a paragraph from here on: three lines of wrapped text, or a line of a text
/// that has no blank lines.
const LONG: usize = 200;

pub const UNDECIDED: &str = "und";

#[derive(Clone, Copy)]
pub struct Options {
    /// Words without addresses, marks at their ends and capitals, instead of as they stand.
    pub clean: bool,
    pub paragraphs: bool,
    pub unsure: f32,
}

/// What labels are called, as numbers: labels of one name are one language.
pub struct Names<'a> {
    of_label: Vec<usize>,
    names: Vec<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    pub fn new(of_labels: impl Iterator<Item = Cow<'a, str>>) -> Self {
        let mut known = std::collections::HashMap::from([(Cow::Borrowed(UNDECIDED), 0)]);
        let mut names = vec![Cow::Borrowed(UNDECIDED)];
        let of_label = of_labels
            .map(|name| {
                *known.entry(name).or_insert_with_key(|name| {
                    names.push(name.clone());
                    names.len() - 1
                })
            })
            .collect();
        Self { of_label, names }
    }

    pub fn name(&self, number: usize) -> &str {
        &self.names[number]
    }
}

pub struct Pass<'a> {
    model: &'a LanguageModel,
    options: Options,
    names: &'a Names<'a>,
    words: Words<'a>,
    hidden: Hidden<'a>,
    scratch: Vec<u8>,
    bytes: Vec<usize>, // by name
    last: Option<usize>,
}

impl<'a> Pass<'a> {
    pub fn new(model: &'a LanguageModel, names: &'a Names<'a>, options: Options) -> Self {
        Self {
            model,
            options,
            names,
            words: Words::new(&model.features),
            hidden: Hidden::new(&model.input, model.dim, options.paragraphs),
            scratch: Vec::new(),
            bytes: vec![0; names.names.len()],
            last: None,
        }
    }

    /// The best label of the whole text and its score; none where nothing in it is known.
    pub fn read(&mut self, text: &str) -> Option<(usize, f32)> {
        self.hidden.restart();
        self.words.restart();
        self.bytes.fill(0);
        self.last = None;
        let mut bytes = 0;
        for word in Split::new(text) {
            let long_enough = word.lines > 0 && bytes >= SHORT;
            if long_enough && self.options.paragraphs && (word.lines > 1 || bytes >= LONG) {
                self.judge(bytes);
                bytes = 0;
            }
            let plain = if self.options.clean {
                let plain = word.clean(&mut self.scratch);
                bytes += plain.len();
                plain
            } else {
                bytes += word.letters().len();
                word.bytes
            };
            if plain.is_empty() {
                continue;
            }
            let hidden = &mut self.hidden;
            self.words.push(plain, &mut |row, spans| {
                if spans {
                    hidden.push_text(row)
                } else {
                    hidden.push(row)
                }
            });
        }
        let best = if self.hidden.text_is_empty() {
            None
        } else {
            let hidden = &mut self.hidden;
            self.words.push_end(false, &mut |row| hidden.push_text(row));
            self.model.best(hidden.text_average())
        };
        match self.last {
            Some(_) if bytes >= SHORT => self.judge(bytes),
            Some(last) => self.bytes[last] += bytes,
            None => self.count(best, bytes), // the text is its only paragraph
        }
        best
    }

    /// The names of the paragraphs' languages, each with its share of the bytes, the largest first.
    pub fn shares(&self) -> Vec<(usize, f32)> {
        let all: usize = self.bytes.iter().sum();
        let mut found: Vec<(usize, usize)> = (self.bytes.iter().copied().enumerate())
            .filter(|&(_, bytes)| bytes > 0)
            .collect();
        found.sort_by_key(|&(name, bytes)| (std::cmp::Reverse(bytes), name));
        let share = |bytes: usize| (bytes as f64 / all as f64) as f32;
        (found.into_iter())
            .map(|(name, bytes)| (name, share(bytes)))
            .collect()
    }

    fn judge(&mut self, bytes: usize) {
        let best = if self.hidden.part_is_empty() {
            None
        } else {
            let hidden = &mut self.hidden;
            self.words.push_end(true, &mut |row| hidden.push_part(row));
            self.model.best(hidden.part_average())
        };
        self.count(best, bytes);
        self.hidden.restart_part();
        self.words.mark();
    }

    fn count(&mut self, best: Option<(usize, f32)>, bytes: usize) {
        let sure = best.filter(|&(_, score)| score >= self.options.unsure);
        let name = sure.map_or(0, |(label, _)| self.names.of_label[label]);
        self.bytes[name] += bytes;
        self.last = Some(name);
    }
}

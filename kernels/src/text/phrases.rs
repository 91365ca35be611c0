//! Phrases of boilerplate, found in one pass of one automaton.
//!
//! The phrases and their groups are `phrases.txt`, compiled in. Aho-Corasick over ASCII without case,
//! every occurrence of every phrase; what asks for more (case, whole words) is checked where it is
//! found. Each step of an automaton waits for the one before, so four parts of a text are searched
//! abreast, each from as far before its part as the longest phrase can begin: 0.8 ns per byte, not 2.

use std::sync::OnceLock;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, MatchKind};

use super::table::signal_table;

signal_table! {
    /// How often phrases of boilerplate occur; the phrases are those of phrases.txt.
    pub struct Phrases {
    lorem_ipsum_count: i64 = "occurrences of 'lorem ipsum', in any case";
    javascript_count: i64 = "occurrences of 'javascript', in any case, also inside words";
    policy_phrase_count: i64 = "occurrences of C4's six policy phrases (terms of use, privacy policy, cookie policy, uses cookies, use of cookies, use cookies), in any case";
    boilerplate_phrase_count: i64 = "occurrences of phrases of page frames (read more, sign in, items in cart, ...), in any case, whole words; one inside another counts too";
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Group {
    Lorem,
    JavaScript,
    Policy,
    Boilerplate,
    Cursed { at_end: bool },
}

/// An occurrence of a cursed substring of MADLAD-400.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curse {
    pub start: usize,
    pub end: usize,
    /// Whether it counts only where its sentence ends.
    pub at_end: bool,
}

/// Parts of a text that are searched abreast.
const LANES: usize = 4;

struct Finder {
    phrases: Vec<(Group, &'static str)>,
    automaton: Option<DFA>,
    longest: usize,
}

/// The groups and phrases of the list; a line that is none is left out (a test says there is none).
fn listed() -> impl Iterator<Item = (Group, &'static str)> {
    include_str!("phrases.txt").lines().filter_map(|line| {
        let (group, rest) = line.split_once(" ")?;
        let (_, quoted) = rest.split_once('"')?;
        let (phrase, behind) = quoted.rsplit_once('"')?;
        let group = match group {
            "lorem" => Group::Lorem,
            "javascript" => Group::JavaScript,
            "policy" => Group::Policy,
            "boilerplate" => Group::Boilerplate,
            "cursed" => Group::Cursed {
                at_end: behind.trim() == "$",
            },
            _ => return None,
        };
        Some((group, phrase))
    })
}

impl Finder {
    fn get() -> &'static Finder {
        static FINDER: OnceLock<Finder> = OnceLock::new();
        FINDER.get_or_init(|| {
            let phrases: Vec<_> = listed().collect();
            let automaton = DFA::builder()
                .ascii_case_insensitive(true)
                .match_kind(MatchKind::Standard)
                .prefilter(false)
                .build(phrases.iter().map(|(_, phrase)| phrase))
                .ok();
            let lengths = phrases.iter().map(|(_, phrase)| phrase.len());
            let longest = lengths.max().unwrap_or(0);
            Finder {
                phrases,
                automaton,
                longest,
            }
        })
    }

    /// Call `found` with the number, begin and end of every occurrence of every phrase, in no order.
    fn search(&self, bytes: &[u8], mut found: impl FnMut(usize, usize, usize)) {
        let Some(automaton) = &self.automaton else {
            return;
        };
        let Ok(begin) = automaton.start_state(Anchored::No) else {
            return;
        };
        let part = bytes.len().div_ceil(LANES);
        let lanes: [Lane; LANES] = std::array::from_fn(|lane| {
            let end = bytes.len().min((lane + 1) * part);
            let from = (lane * part).saturating_sub(self.longest).min(end);
            Lane {
                bytes: &bytes[from..end],
                from,
                owns: lane * part,
            }
        });
        let mut report = |lane: &Lane, state: StateID, step: usize| {
            let end = lane.from + step + 1;
            // What ends before a lane's own part is found by the lane before it.
            if automaton.is_match(state) && end > lane.owns {
                for index in 0..automaton.match_len(state) {
                    let pattern = automaton.match_pattern(state, index);
                    let start = end - automaton.pattern_len(pattern);
                    found(pattern.as_usize(), start, end);
                }
            }
        };
        let abreast = lanes.iter().map(|lane| lane.bytes.len()).min().unwrap_or(0);
        let [first, second, third, fourth] = lanes.each_ref().map(|lane| &lane.bytes[..abreast]);
        let mut states = [begin; LANES];
        let steps = first.iter().zip(second).zip(third.iter().zip(fourth));
        for (step, ((&first, &second), (&third, &fourth))) in steps.enumerate() {
            let mut special = false;
            for (state, byte) in states.iter_mut().zip([first, second, third, fourth]) {
                *state = automaton.next_state(Anchored::No, *state, byte);
                special |= automaton.is_special(*state);
            }
            if special {
                for (lane, &state) in lanes.iter().zip(&states) {
                    report(lane, state, step);
                }
            }
        }
        for (lane, mut state) in lanes.iter().zip(states) {
            for (step, &byte) in lane.bytes.iter().enumerate().skip(abreast) {
                state = automaton.next_state(Anchored::No, state, byte);
                report(lane, state, step);
            }
        }
    }
}

/// A part of a text that is searched beside the others.
struct Lane<'a> {
    bytes: &'a [u8],
    /// Where `bytes` begin, and where the lane's own part does.
    from: usize,
    owns: usize,
}

/// Count the phrases of `text`; its cursed substrings go to `curses`, by their ends.
pub fn phrases(text: &str, curses: &mut Vec<Curse>) -> Phrases {
    curses.clear();
    let mut out = Phrases::default();
    let finder = Finder::get();
    let bytes = text.as_bytes();
    finder.search(bytes, |number, start, end| {
        let (group, phrase) = finder.phrases[number];
        match group {
            Group::Lorem => out.lorem_ipsum_count += 1,
            Group::JavaScript => out.javascript_count += 1,
            Group::Policy => out.policy_phrase_count += 1,
            Group::Boilerplate => {
                out.boilerplate_phrase_count += i64::from(whole_words(bytes, start, end));
            }
            Group::Cursed { at_end } => {
                if &bytes[start..end] == phrase.as_bytes() {
                    curses.push(Curse { start, end, at_end });
                }
            }
        }
    });
    curses.sort_unstable_by_key(|curse| (curse.end, curse.start)); // the parts were searched abreast
    out
}

/// Whether no letter or digit of ASCII is on either side.
fn whole_words(bytes: &[u8], start: usize, end: usize) -> bool {
    let joins = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    !(joins(start.wrapping_sub(1)) || joins(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_line_of_the_list_is_a_phrase_and_the_automaton_builds() {
        let lines = include_str!("phrases.txt").lines();
        let phrases = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert_eq!(listed().count(), phrases.count());
        assert!(Finder::get().automaton.is_some());
        assert!(listed().all(|(_, phrase)| !phrase.is_empty()));
    }

    #[test]
    fn overlapping_phrases_count_each() {
        let mut curses = Vec::new();
        let found = phrases(
            "ACCEPT ALL COOKIES; this website uses cookies. Catalog in.",
            &mut curses,
        );
        assert_eq!(found.boilerplate_phrase_count, 3); // accept all (cookies), this website uses
        assert_eq!(found.policy_phrase_count, 1);
        assert_eq!(curses, []);
        phrases("x |\nDownload download mp3", &mut curses);
        let at = |start, end, at_end| Curse { start, end, at_end };
        assert_eq!(
            curses,
            [
                at(2, 3, true),
                at(5, 12, false),
                at(14, 21, false),
                at(22, 25, false)
            ]
        );
    }

    proptest! {
        #[test]
        fn counts_are_those_of_a_plain_search(text in "(lorem ipsum|JavaScript|use cookies|terms of use|mp3|[a-z .é]){0,30}") {
            let mut curses = Vec::new();
            let found = phrases(&text, &mut curses);
            let starts: Vec<usize> = curses.iter().filter(|curse| text[curse.start..].starts_with("mp3")).map(|curse| curse.start).collect();
            prop_assert_eq!(starts, text.match_indices("mp3").map(|(at, _)| at).collect::<Vec<_>>());
            let small = text.to_ascii_lowercase();
            prop_assert_eq!(found.lorem_ipsum_count, small.matches("lorem ipsum").count() as i64);
            prop_assert_eq!(found.javascript_count, small.matches("javascript").count() as i64);
            let policy = ["use cookies", "terms of use"].map(|phrase| small.matches(phrase).count());
            prop_assert_eq!(found.policy_phrase_count, policy.iter().sum::<usize>() as i64);
        }
    }
}

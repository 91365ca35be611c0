//! Phrases of boilerplate, found in one pass of one automaton.
//!
//! The phrases and their groups are `phrases.txt`, compiled in. Aho-Corasick over ASCII without case,
//! every occurrence of every phrase; what asks for more (case, whole words) is checked where it is
//! found. 1.0 ns per byte of English.

use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

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

struct Finder {
    phrases: Vec<(Group, &'static str)>,
    automaton: Option<AhoCorasick>,
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
            let automaton = AhoCorasick::builder()
                .ascii_case_insensitive(true)
                .match_kind(MatchKind::Standard)
                .kind(Some(AhoCorasickKind::DFA))
                .build(phrases.iter().map(|(_, phrase)| phrase))
                .ok();
            Finder { phrases, automaton }
        })
    }
}

/// Count the phrases of `text`; its cursed substrings go to `curses`, by their ends.
pub fn phrases(text: &str, curses: &mut Vec<Curse>) -> Phrases {
    curses.clear();
    let mut out = Phrases::default();
    let finder = Finder::get();
    let Some(automaton) = &finder.automaton else {
        return out;
    };
    let bytes = text.as_bytes();
    for found in automaton.find_overlapping_iter(bytes) {
        let (group, phrase) = finder.phrases[found.pattern().as_usize()];
        let (start, end) = (found.start(), found.end());
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
    }
    out
}

/// Whether no letter or digit of ASCII is on either side.
fn whole_words(bytes: &[u8], start: usize, end: usize) -> bool {
    !(start > 0 && bytes[start - 1].is_ascii_alphanumeric())
        && !bytes.get(end).is_some_and(u8::is_ascii_alphanumeric)
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
        fn counts_are_those_of_a_plain_search(text in "(lorem ipsum|JavaScript|use cookies|terms of use|[a-z .é]){0,30}") {
            let found = phrases(&text, &mut Vec::new());
            let small = text.to_ascii_lowercase();
            prop_assert_eq!(found.lorem_ipsum_count, small.matches("lorem ipsum").count() as i64);
            prop_assert_eq!(found.javascript_count, small.matches("javascript").count() as i64);
            let policy = ["use cookies", "terms of use"].map(|phrase| small.matches(phrase).count());
            prop_assert_eq!(found.policy_phrase_count, policy.iter().sum::<usize>() as i64);
        }
    }
}

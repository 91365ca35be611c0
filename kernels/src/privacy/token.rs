//! Keys and tokens of known services, and blocks of private keys in PEM armour.
//!
//! A search for all prefixes at once finds candidates; a rule's pattern,
//! anchored at the prefix, its check digits and its entropy decide. Every rule is a row of the rules file.

use memchr::memmem;
use pyo3::FromPyObject;
use regex::bytes::{Regex, RegexBuilder};

use super::prefixes::Prefixes;
use super::span::{Findings, Kind, Span};
use super::words::{at, before, contains_any, entropy, is_word, lower};

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Rule {
    pub name: String,
    prefixes: Vec<String>,
    pattern: String,
    entropy: f64,
    check: Option<String>,
    digits_before: bool,
    pair: Option<String>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Rules {
    pub rules: Vec<Rule>,
    placeholders: Vec<String>,
}

struct Compiled {
    pattern: Regex,
    entropy: f64,
    check: Check,
    digits_before: bool,
    pair: Option<Regex>,
}

#[derive(Clone, Copy)]
enum Check {
    Nothing,
    /// The last six characters are the CRC-32 of those after the prefix, in base 62.
    Crc32,
    /// Three parts, the first a JSON object in base64url that names an algorithm.
    Jwt,
}

pub struct Tokens {
    prefixes: Prefixes,
    /// For each prefix, the rules that begin with it or with a prefix of it.
    rules_of: Vec<Vec<u16>>,
    rules: Vec<Compiled>,
    placeholders: Vec<Vec<u8>>,
}

const BEGIN: &[u8] = b"-----BEGIN ";
/// The longest token looked at, and the longest private key block, in bytes.
const LONGEST: usize = 4096;
const LONGEST_BLOCK: usize = 64 << 10;
/// How far behind a key's id its secret is looked for.
const PAIR: usize = 200;

impl Tokens {
    pub fn new(rules: Rules) -> Result<Self, String> {
        let mut prefixes: Vec<Vec<u8>> = vec![BEGIN.to_vec()];
        let mut compiled = Vec::new();
        let mut starts: Vec<(Vec<u8>, u16)> = Vec::new();
        for (index, rule) in rules.rules.iter().enumerate() {
            let regex = |pattern: &str| {
                RegexBuilder::new(&format!("^(?:{pattern})"))
                    .unicode(false)
                    .size_limit(4 << 20)
                    .build()
                    .map_err(|error| format!("token.{}: {error}", rule.name))
            };
            let check = match rule.check.as_deref() {
                None => Check::Nothing,
                Some("crc32") => Check::Crc32,
                Some("jwt") => Check::Jwt,
                Some(other) => return Err(format!("token.{}: unknown check {other:?}", rule.name)),
            };
            compiled.push(Compiled {
                pattern: regex(&rule.pattern)?,
                entropy: rule.entropy,
                check,
                digits_before: rule.digits_before,
                pair: match &rule.pair {
                    Some(pair) => Some(regex(pair)?),
                    None => None,
                },
            });
            let number = u16::try_from(index).map_err(|_| "token: too many rules".to_owned())?;
            for prefix in &rule.prefixes {
                starts.push((prefix.clone().into_bytes(), number));
                if !prefixes.contains(&prefix.clone().into_bytes()) {
                    prefixes.push(prefix.clone().into_bytes());
                }
            }
        }
        let rules_of = prefixes
            .iter()
            .map(|prefix| {
                starts
                    .iter()
                    .filter(|(start, _)| prefix.starts_with(start))
                    .map(|(_, rule)| *rule)
                    .collect()
            })
            .collect();
        Ok(Self {
            prefixes: Prefixes::new(&prefixes).map_err(|error| format!("token: {error}"))?,
            rules_of,
            rules: compiled,
            placeholders: lower(rules.placeholders),
        })
    }

    /// Tokens and keys in `bytes[floor..]` that begin at `from` or later. What stands before `floor`, the last
    /// finding's end, says nothing about what comes after it.
    pub fn scan(&self, bytes: &[u8], floor: usize, from: usize, found: &mut Findings) {
        let (mut base, mut from) = (floor, from);
        while let Some((prefix, start, end)) = self.prefixes.find(bytes, from) {
            from = end;
            let hit = (prefix, start - base, end - base);
            if let Some(end) = self.candidate(&bytes[base..], base, hit, found) {
                (base, from) = (base + end, base + end);
            }
        }
    }

    /// Decides on the prefix at `start..end` of `bytes`, which begin at `base` of the text; returns the finding's
    /// end.
    fn candidate(
        &self,
        bytes: &[u8],
        base: usize,
        (prefix, start, _): (usize, usize, usize),
        found: &mut Findings,
    ) -> Option<usize> {
        let shifted = |span: Span| Span {
            start: base + span.start,
            end: base + span.end,
            ..span
        };
        if prefix == 0 {
            let span = private_key(bytes, start)?;
            found.push(shifted(span));
            return Some(span.end);
        }
        for &number in &self.rules_of[prefix] {
            let rule = &self.rules[number as usize];
            let Some(first) = begins_at(bytes, start, rule.digits_before) else {
                continue;
            };
            let window = &bytes[start..bytes.len().min(start + LONGEST)];
            let Some(groups) = rule.pattern.captures(window) else {
                continue;
            };
            let Some(value) = groups.get(1).or_else(|| groups.get(0)) else {
                continue;
            };
            let after = at(window, value.end());
            let goes_on = is_word(after) || (after == b'-' && is_word(at(window, value.end() + 1)));
            if goes_on || !self.is_real(rule, value.as_bytes()) {
                continue;
            }
            let first = if rule.digits_before {
                first
            } else {
                start + value.start()
            };
            let last = start + value.end();
            let span = |start, end| Span {
                start,
                end,
                kind: Kind::Token,
                rule: number,
            };
            found.push(shifted(span(first, last)));
            let Some((from, to)) = self.pair_of(bytes, rule, last) else {
                return Some(last);
            };
            found.push(shifted(span(from, to)));
            return Some(to);
        }
        None
    }

    /// The secret that belongs to the id that ends at `end`, if no other candidate stands between.
    fn pair_of(&self, bytes: &[u8], rule: &Compiled, end: usize) -> Option<(usize, usize)> {
        let pair = rule.pair.as_ref()?;
        let near = &bytes[..bytes.len().min(end + PAIR)];
        let stop = self
            .prefixes
            .find(near, end)
            .map_or(near.len(), |hit| hit.1);
        let value = pair.captures(&near[end..stop])?.get(1)?;
        let real = !is_word(at(bytes, end + value.end()))
            && entropy(value.as_bytes()) >= 4.0
            && !contains_any(value.as_bytes(), &self.placeholders);
        real.then_some((end + value.start(), end + value.end()))
    }

    fn is_real(&self, rule: &Compiled, value: &[u8]) -> bool {
        let checked = match rule.check {
            Check::Nothing => true,
            Check::Crc32 => has_crc32(value),
            Check::Jwt => is_jwt(value),
        };
        checked && entropy(value) >= rule.entropy && !contains_any(value, &self.placeholders)
    }
}

/// Where a token whose prefix is at `start` begins: not inside a word, nor in the middle of base64.
fn begins_at(bytes: &[u8], start: usize, digits_before: bool) -> Option<usize> {
    let mut first = start;
    if digits_before {
        while first > 0 && start - first < 11 && bytes[first - 1].is_ascii_digit() {
            first -= 1;
        }
        if !(8..=10).contains(&(start - first)) {
            return None;
        }
    }
    let previous = before(bytes, first);
    let inside = is_word(previous)
        || matches!(previous, b'-' | b'+')
        || (previous == b'/' && is_base64_before(bytes, first));
    (!inside).then_some(first)
}

/// Is the `/` before `start` one of base64, of at least 8 characters on?
fn is_base64_before(bytes: &[u8], start: usize) -> bool {
    let from = start.saturating_sub(9);
    let run = &bytes[from..start - 1];
    run.len() == 8
        && run
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        && run.iter().any(u8::is_ascii_uppercase)
        && run.iter().any(u8::is_ascii_lowercase)
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn has_crc32(token: &[u8]) -> bool {
    let Some(underscore) = token.iter().position(|&byte| byte == b'_') else {
        return false;
    };
    let body = &token[underscore + 1..];
    let Some((value, check)) = body.len().checked_sub(6).map(|at| body.split_at(at)) else {
        return false;
    };
    let mut rest = crc32(value);
    let mut wanted = [b'0'; 6];
    for place in wanted.iter_mut().rev() {
        *place = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    check == wanted
}

/// CRC-32 of IEEE 802.3, bit by bit: tokens are rare and short.
fn crc32(value: &[u8]) -> u32 {
    !value.iter().fold(u32::MAX, |mut crc, &byte| {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
        crc
    })
}

fn is_jwt(token: &[u8]) -> bool {
    let header = token.split(|&byte| byte == b'.').next().unwrap_or(token);
    let decoded = base64url(header);
    decoded.first() == Some(&b'{') && memmem::find(&decoded, b"\"alg\"").is_some()
}

fn base64url(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let (mut bits, mut held) = (0u32, 0);
    for &byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => break,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    out
}

/// A whole block from its `-----BEGIN … PRIVATE KEY…-----` at `start` to the end line, if there is a key in it.
///
/// The next dashes have to be those of the end line, so a run of unfinished blocks is read once.
fn private_key(bytes: &[u8], start: usize) -> Option<Span> {
    if before(bytes, start) == b'-' {
        return None;
    }
    let label = start + BEGIN.len();
    let title = memmem::find(&bytes[label..bytes.len().min(label + 48)], b"-----")?;
    memmem::find(&bytes[label..label + title], b"PRIVATE KEY")?;
    let body = label + title + 5;
    let limit = bytes.len().min(body + LONGEST_BLOCK);
    let dashes = body + memmem::find(&bytes[body..limit], b"-----")?;
    if !bytes[dashes..].starts_with(b"-----END ") {
        return None;
    }
    let tail = dashes + 9;
    let close = memmem::find(&bytes[tail..bytes.len().min(tail + 48)], b"-----")?;
    has_key_material(&bytes[body..dashes]).then_some(Span {
        start,
        end: tail + close + 5,
        kind: Kind::PrivateKey,
        rule: 0,
    })
}

/// At least 64 characters of base64 in lines of 16 or more, as random as base64 is.
fn has_key_material(body: &[u8]) -> bool {
    let mut material = Vec::new();
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let mut rest = body;
    while !rest.is_empty() && material.len() < 512 {
        // `\n` written out, in a string of a program or of JSON.
        if let Some(after) = rest
            .strip_prefix(b"\\n")
            .or_else(|| rest.strip_prefix(b"\\r"))
        {
            rest = after;
            continue;
        }
        let run = rest.iter().take_while(|byte| is_base64(byte)).count();
        if run >= 16 {
            material.extend_from_slice(&rest[..run]);
        }
        rest = &rest[run.max(1)..];
    }
    material.len() >= 64 && entropy(&material) >= 4.0
}

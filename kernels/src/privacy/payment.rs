//! Payment cards (ISO/IEC 7812: issuer, length, Luhn) and bank accounts (IBAN, ISO 13616: country, form, mod 97).
//!
//! One number in ten meets Luhn by chance, so a run of digits without groups is a card only behind a word such
//! as "card"; groups of four (4-6-5 with 15 digits), as on the card itself, speak for themselves.

use std::collections::HashMap;

use pyo3::FromPyObject;

use super::digits::Number;
use super::span::{Kind, Span};
use super::words::{Words, at, before, is_word, number_goes_on};

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Issuer {
    from: String,
    to: String,
    lengths: Vec<usize>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct CardRules {
    issuers: Vec<Issuer>,
    words: Vec<String>,
    test_numbers: Vec<String>,
}

pub struct Cards {
    issuers: Vec<Issuer>,
    words: Words,
    test_numbers: Vec<Vec<u8>>,
}

impl Cards {
    pub fn new(rules: CardRules) -> Result<Self, String> {
        for issuer in &rules.issuers {
            let digits =
                |prefix: &str| !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
            if !digits(&issuer.from) || !digits(&issuer.to) || issuer.from.len() != issuer.to.len()
            {
                return Err(format!(
                    "card.issuers: {:?} to {:?} is not a range of equally long prefixes",
                    issuer.from, issuer.to
                ));
            }
        }
        Ok(Self {
            issuers: rules.issuers,
            words: Words::new(rules.words),
            test_numbers: rules
                .test_numbers
                .into_iter()
                .map(String::into_bytes)
                .collect(),
        })
    }

    /// A card number that begins with the number's first group.
    pub fn find(&self, text: &str, number: &Number) -> Option<Span> {
        let bytes = text.as_bytes();
        let grouped = number.lengths_are(&[4, 4, 4, 4]) && number.one_separator(4)
            || number.lengths_are(&[4, 6, 5]) && number.one_separator(3);
        let last = match number.groups[0].length() {
            13..=19 => 0,
            4 if grouped && matches!(number.groups[1].separator, b' ' | b'-') => {
                if number.groups[1].length() == 4 { 3 } else { 2 }
            }
            _ => return None,
        };
        let (start, end) = (number.groups[0].start, number.groups[last].end);
        let digits = &number.digits[..number.groups[last].total];
        let previous = before(bytes, start);
        if !self.issued(digits)
            || !luhn(digits)
            || self.test_numbers.iter().any(|test| test == digits)
            || is_word(previous)
            || matches!(previous, b'.' | b',' | b'-' | b'+' | b'/' | b'#' | b'=')
            || number_goes_on(bytes, end)
        {
            return None;
        }
        if last == 0 {
            return self.words.before(text, start).then_some(card(start, end));
        }
        // One more group of four on either side: a table, or some other long number.
        let more = number.count > last + 1 && number.groups[last + 1].length() >= 4;
        let less = start >= 2
            && before(bytes, start) == number.groups[1].separator
            && bytes[start - 2].is_ascii_digit();
        let listed = hex_group(&bytes[..start], true) || hex_group(&bytes[end..], false);
        (!more && !less && !listed).then_some(card(start, end))
    }

    fn issued(&self, digits: &[u8]) -> bool {
        self.issuers.iter().any(|issuer| {
            digits.get(..issuer.from.len()).is_some_and(|prefix| {
                issuer.from.as_bytes() <= prefix && prefix <= issuer.to.as_bytes()
            }) && issuer.lengths.contains(&digits.len())
        })
    }
}

/// Whether the next word, on this side and behind one blank or line end, is a hexadecimal number of four digits
/// and more: then the groups are of a hex dump or a table of code points.
fn hex_group(side: &[u8], backwards: bool) -> bool {
    let byte = |at: usize| {
        let place = if backwards {
            side.len().checked_sub(at + 1)?
        } else {
            at
        };
        side.get(place).copied()
    };
    if !matches!(byte(0), Some(b' ' | b'\n')) {
        return false;
    }
    let word = (1..10).map_while(|at| byte(at).filter(u8::is_ascii_alphanumeric));
    let (mut length, mut digits, mut hex) = (0, 0, true);
    for letter in word {
        length += 1;
        digits += usize::from(letter.is_ascii_digit());
        hex &= letter.is_ascii_hexdigit();
    }
    length >= 4 && digits > 0 && hex
}

fn card(start: usize, end: usize) -> Span {
    Span {
        start,
        end,
        kind: Kind::Card,
        rule: 0,
    }
}

/// The check digit of ISO/IEC 7812-1, annex B.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit - b'0') << (place & 1);
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct IbanRules {
    countries: HashMap<String, String>,
    examples: Vec<String>,
}

pub struct Ibans {
    /// The form of what follows country and check digits: `n`, `a` or `c` for each character.
    countries: HashMap<[u8; 2], Vec<u8>>,
    examples: Vec<Vec<u8>>,
}

impl Ibans {
    pub fn new(rules: IbanRules) -> Result<Self, String> {
        let mut countries = HashMap::new();
        for (country, form) in &rules.countries {
            let code: [u8; 2] = country.as_bytes().try_into().map_err(|_| {
                format!("iban.countries: {country:?} is not a country of two letters")
            })?;
            let mut kinds = Vec::new();
            let mut count = 0usize;
            for byte in form.bytes() {
                match byte {
                    b'0'..=b'9' => count = (count * 10 + usize::from(byte - b'0')).min(30),
                    b'n' | b'a' | b'c' if count > 0 => {
                        kinds.extend(std::iter::repeat_n(byte, count));
                        count = 0;
                    }
                    _ => {
                        return Err(format!(
                            "iban.countries.{country}: {form:?} is not like 4a14n"
                        ));
                    }
                }
            }
            countries.insert(code, kinds);
        }
        Ok(Self {
            countries,
            examples: rules.examples.into_iter().map(String::into_bytes).collect(),
        })
    }

    /// An account whose check digits start at `digit`, in one run or in groups of four.
    pub fn find(&self, bytes: &[u8], digit: usize) -> Option<Span> {
        let start = digit.checked_sub(2)?;
        let form = self.countries.get(&[bytes[start], bytes[start + 1]])?;
        if is_word(before(bytes, start)) || !at(bytes, digit + 1).is_ascii_digit() {
            return None;
        }
        let mut value = Vec::with_capacity(34);
        value.extend_from_slice(&bytes[start..digit + 2]);
        let mut place = digit + 2;
        let grouped = at(bytes, place) == b' ' || bytes[place..].starts_with(b"\xc2\xa0");
        for kind in form {
            if grouped && value.len().is_multiple_of(4) {
                place += match (at(bytes, place), at(bytes, place + 1)) {
                    (b' ', _) => 1,
                    (0xc2, 0xa0) => 2,
                    _ => return None,
                };
            }
            let byte = at(bytes, place);
            let fits = match kind {
                b'n' => byte.is_ascii_digit(),
                b'a' => byte.is_ascii_uppercase(),
                _ => byte.is_ascii_digit() || byte.is_ascii_uppercase(),
            };
            if !fits {
                return None;
            }
            value.push(byte);
            place += 1;
        }
        let personal =
            !is_word(at(bytes, place)) && mod97(&value) && !self.examples.contains(&value);
        personal.then_some(Span {
            start,
            end: place,
            kind: Kind::Iban,
            rule: 0,
        })
    }
}

/// ISO 7064 MOD 97-10 over the account with its first four characters behind the rest.
fn mod97(value: &[u8]) -> bool {
    let rest = value[4..]
        .iter()
        .chain(&value[..4])
        .fold(0u32, |rest, &byte| {
            if byte.is_ascii_digit() {
                (rest * 10 + u32::from(byte - b'0')) % 97
            } else {
                (rest * 100 + u32::from(byte - b'A') + 10) % 97
            }
        });
    rest == 1
}

//! Secrets written into programs: `password = "…"`, `api_key: '…'`, `DB_PASSWORD=…`, found at `=` or `:`.
//!
//! Only a name that speaks of a secret, with a literal of random look: not a placeholder, variable, path, URL,
//! word, UUID or digest. For code alone; prose about passwords is not secret.

use pyo3::FromPyObject;

use super::span::{Kind, Span};
use super::words::{at, before, contains_any, entropy, is_word, lower};

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Rules {
    names: Vec<String>,
    key_names: Vec<String>,
    not_names: Vec<String>,
    placeholders: Vec<String>,
    min_length: usize,
    min_entropy: f64,
    key_min_length: usize,
    key_min_entropy: f64,
}

pub struct Assignments {
    names: Vec<Vec<u8>>,
    key_names: Vec<Vec<u8>>,
    not_names: Vec<Vec<u8>>,
    placeholders: Vec<Vec<u8>>,
    min_length: usize,
    min_entropy: f64,
    key_min_length: usize,
    key_min_entropy: f64,
}

const NAME: usize = 64;
const VALUE: usize = 200;

impl Assignments {
    pub fn new(rules: Rules) -> Self {
        Self {
            names: lower(rules.names),
            key_names: lower(rules.key_names),
            not_names: lower(rules.not_names),
            placeholders: lower(rules.placeholders),
            min_length: rules.min_length,
            min_entropy: rules.min_entropy,
            key_min_length: rules.key_min_length,
            key_min_entropy: rules.key_min_entropy,
        }
    }

    /// The secret assigned by the `=` or `:` at `place`.
    pub fn find(&self, bytes: &[u8], place: usize) -> Option<Span> {
        let mut after = place + 1;
        match (bytes[place], at(bytes, after)) {
            (b':', b':' | b'=') | (b'=', b'=') => return None,
            (b'=', b'>') => after += 1,
            _ => {}
        }
        let mut left = place;
        match before(bytes, place) {
            b'!' | b'<' | b'>' | b'=' | b'+' | b'-' | b'*' | b'%' | b'&' | b'|' | b'^' => {
                return None;
            }
            b':' if bytes[place] == b':' => return None,
            b':' | b'?' => left -= 1,
            _ => {}
        }
        let (start, end) = name_before(bytes, left)?;
        let mut name = &bytes[start..end];
        let mut at_line_start = is_line_start(bytes, start);
        if !self.speaks_of_secret(name) {
            // `password: str = "…"`: the name stands before the type.
            let typed = bytes[..start].trim_ascii_end().len();
            if bytes[place] != b'=' || start - typed > 4 || before(bytes, typed) != b':' {
                return None;
            }
            let (start, end) = name_before(bytes, typed - 1)?;
            name = &bytes[start..end];
            at_line_start = false;
            if !self.speaks_of_secret(name) {
                return None;
            }
        }
        let skipped = bytes[after..]
            .iter()
            .take(8)
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        let mut value = after + skipped;
        if matches!(at(bytes, value), b'r' | b'b' | b'u' | b'L' | b'@')
            && matches!(at(bytes, value + 1), b'"' | b'\'')
        {
            value += 1;
        }
        let rest = &bytes[value.min(bytes.len())..bytes.len().min(value + VALUE)];
        let (from, to) = match at(bytes, value) {
            quote @ (b'"' | b'\'' | b'`') => {
                let length = rest[1..]
                    .iter()
                    .position(|&byte| byte == quote || byte == b'\n')?;
                if rest[1 + length] != quote {
                    return None;
                }
                (value + 1, value + 1 + length)
            }
            // A line of an environment file: NAME=value, without quotes or spaces.
            _ if bytes[place] == b'=' && skipped == 0 && at_line_start && is_constant(name) => {
                let length = rest
                    .iter()
                    .position(u8::is_ascii_whitespace)
                    .unwrap_or(rest.len());
                if length == VALUE || before(bytes, place) == b' ' {
                    return None;
                }
                (value, value + length)
            }
            _ => return None,
        };
        self.is_secret(name, &bytes[from..to]).then_some(Span {
            start: from,
            end: to,
            kind: Kind::Password,
            rule: 0,
        })
    }

    fn speaks_of_secret(&self, name: &[u8]) -> bool {
        (contains_any(name, &self.names) || contains_any(name, &self.key_names))
            && !contains_any(name, &self.not_names)
    }

    fn is_secret(&self, name: &[u8], value: &[u8]) -> bool {
        let key = !contains_any(name, &self.names);
        let (length, bits) = if key {
            (self.key_min_length, self.key_min_entropy)
        } else {
            (self.min_length, self.min_entropy)
        };
        let count = |wanted: fn(&u8) -> bool| value.iter().filter(|byte| wanted(byte)).count();
        let (digits, lowers) = (count(u8::is_ascii_digit), count(u8::is_ascii_lowercase));
        let (uppers, marks) = (
            count(u8::is_ascii_uppercase),
            count(u8::is_ascii_punctuation),
        );
        let plain = value.iter().all(|byte| {
            byte.is_ascii_graphic()
                && !matches!(
                    byte,
                    b'(' | b')'
                        | b'{'
                        | b'}'
                        | b'<'
                        | b'>'
                        | b'['
                        | b']'
                        | b'\\'
                        | b','
                        | b';'
                        | b'"'
                        | b'\''
                )
        });
        let mixed = digits > 0 && lowers + uppers > 0 || lowers > 0 && uppers > 0 && marks > 0;
        // `user_id2`, `sha256-rsa`: words, whatever their entropy.
        let wordy = uppers == 0
            && digits <= 3
            && value
                .iter()
                .all(|b| is_word(*b) || matches!(b, b'-' | b'.' | b'/'));
        (length..=128).contains(&value.len())
            && plain
            && mixed
            && !wordy
            && !matches!(
                value[0],
                b'~' | b'$' | b'/' | b'.' | b'%' | b'#' | b'&' | b'*'
            )
            && memchr::memmem::find(value, b"://").is_none()
            && entropy(value) >= bits
            && !is_uuid(value)
            && !is_digest(value)
            && !is_numeric(value)
            && !is_word_list(value)
            && !contains_any(value, &self.placeholders)
    }
}

/// The identifier that ends before `end`, spaces and a quote aside.
fn name_before(bytes: &[u8], end: usize) -> Option<(usize, usize)> {
    let mut end = end;
    for _ in 0..8 {
        if !matches!(before(bytes, end), b' ' | b'\t') {
            break;
        }
        end -= 1;
    }
    for _ in 0..2 {
        if matches!(before(bytes, end), b'"' | b'\'' | b']' | b'`') {
            end -= 1;
        }
    }
    let from = end.saturating_sub(NAME);
    let length = bytes[from..end]
        .iter()
        .rev()
        .take_while(|&&byte| is_word(byte) || matches!(byte, b'-' | b'.' | b'$'))
        .count();
    (length >= 3).then_some((end - length, end))
}

fn is_line_start(bytes: &[u8], start: usize) -> bool {
    let from = start.saturating_sub(12);
    let line = memchr::memrchr(b'\n', &bytes[from..start]).map_or(from, |at| from + at + 1);
    (line > from || from == 0)
        && matches!(
            bytes[line..start].trim_ascii(),
            b"" | b"export" | b"set" | b"ENV"
        )
}

fn is_constant(name: &[u8]) -> bool {
    name.iter()
        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
}

fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Hexadecimal of the length of a digest (MD5 to SHA-512), or with its name before it.
fn is_digest(value: &[u8]) -> bool {
    let hex = value.iter().all(u8::is_ascii_hexdigit);
    hex && matches!(value.len(), 32 | 40 | 48 | 56 | 64 | 96 | 128)
        || value.starts_with(b"sha1-")
        || value.starts_with(b"sha256")
        || value.starts_with(b"sha384-")
        || value.starts_with(b"sha512-")
        || value.starts_with(b"0x")
}

/// `AES256-GCM-SHA384`, `Db1.key`: two or more parts, each of letters, then digits.
fn is_word_list(value: &[u8]) -> bool {
    let mut parts = 0;
    let words = value
        .split(|byte| matches!(byte, b'-' | b'_' | b'.' | b'/'))
        .all(|part| {
            parts += 1;
            let letters = part
                .iter()
                .take_while(|byte| byte.is_ascii_alphabetic())
                .count();
            part.len() <= 12 && part[letters..].iter().all(u8::is_ascii_digit)
        });
    words && parts > 1
}

/// A number, a version, an address: digits and marks, or hexadecimal groups with colons.
fn is_numeric(value: &[u8]) -> bool {
    let of = |marks: &[u8], digit: fn(&u8) -> bool| {
        value.iter().all(|byte| digit(byte) || marks.contains(byte))
    };
    of(b".-+:eE", u8::is_ascii_digit) || of(b":.", u8::is_ascii_hexdigit) && value.contains(&b':')
}

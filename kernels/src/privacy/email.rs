//! E-mail addresses, found at their `@`; and passwords in URLs (`scheme://user:password@host`), which look
//! like the same thing.
//!
//! Dot-atoms of RFC 5322 in the characters that mailboxes use, with a host of RFC 1123 labels under a known
//! top-level domain. No address: a handle (`@user@host`), the user of a URL or of an SSH remote (`git@host:path`),
//! reserved and placeholder domains, and mailboxes of no person (`noreply`).

use pyo3::FromPyObject;

use super::span::{Kind, Span};
use super::words::{Set, at, before, contains_any, is_word, lower};

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Rules {
    top_level_domains: Vec<String>,
    reserved_domains: Vec<String>,
    mailboxes: Vec<String>,
    password_placeholders: Vec<String>,
}

pub struct Emails {
    top_level: Set,
    reserved: Set,
    mailboxes: Set,
    placeholders: Vec<Vec<u8>>,
}

/// Longest local part of RFC 5321 and longest host name.
const LOCAL: usize = 64;
const HOST: usize = 253;

impl Emails {
    pub fn new(rules: Rules) -> Self {
        Self {
            top_level: Set::new(rules.top_level_domains),
            reserved: Set::new(rules.reserved_domains),
            mailboxes: Set::new(rules.mailboxes),
            placeholders: lower(rules.password_placeholders),
        }
    }

    /// The address at the `@` of `place`.
    pub fn find(&self, text: &str, place: usize) -> Option<Span> {
        let bytes = text.as_bytes();
        let end = self.host_end(bytes, place + 1)?;
        let mut start = place;
        while start > 0 && place - start <= LOCAL && is_local(bytes[start - 1]) {
            start -= 1;
        }
        if place - start > LOCAL {
            return None;
        }
        // A Latin letter with a mark (U+00C0 to U+024F) goes with the word.
        while start > 0 && place - start <= LOCAL {
            let latin = text[..start]
                .chars()
                .next_back()
                .filter(|c| ('\u{c0}'..='\u{24f}').contains(c));
            let Some(letter) = latin else { break };
            start -= letter.len_utf8();
            while start > 0 && place - start <= LOCAL && is_local(bytes[start - 1]) {
                start -= 1;
            }
        }
        if place - start > LOCAL {
            return None;
        }
        let preceding = before(bytes, start);
        while start < place && !(bytes[start].is_ascii_alphanumeric() || bytes[start] >= 0x80) {
            start += 1; // punctuation before an address is not its beginning
        }
        let local = &bytes[start..place];
        let host = &bytes[place + 1..end];
        if local.is_empty() || matches!(local.last(), Some(b'.' | b'\'')) || has_double_dot(local) {
            return None;
        }
        // A handle, or the user of a URL.
        let scheme = &bytes[start.saturating_sub(9)..start];
        if preceding == b'@' || (scheme.ends_with(b"://") && scheme != b"mailto://") {
            return None;
        }
        // `user@host:path`: a place to copy from or to, not a mailbox.
        if at(bytes, end) == b':'
            && (is_word(at(bytes, end + 1)) || matches!(at(bytes, end + 1), b'/' | b'~' | b'.'))
        {
            return None;
        }
        if self.mailboxes.has(local) || self.is_reserved(host) {
            return None;
        }
        Some(Span {
            start,
            end,
            kind: Kind::Email,
            rule: 0,
        })
    }

    /// The end of the host name from `start`: the longest one with a known top-level domain.
    fn host_end(&self, bytes: &[u8], start: usize) -> Option<usize> {
        let limit = bytes.len().min(start + HOST);
        let run = bytes[start..limit]
            .iter()
            .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')))
            .map_or(limit, |length| start + length);
        // Labels from the left; remember where the last good one ended.
        let (mut label, mut found, mut labels) = (start, None, 0);
        while label < run {
            let end = memchr::memchr(b'.', &bytes[label..run]).map_or(run, |length| label + length);
            let name = &bytes[label..end];
            let good = !name.is_empty() && name.len() <= 63 && name[0] != b'-';
            if !good {
                break;
            }
            let trimmed = end - name.iter().rev().take_while(|&&byte| byte == b'-').count();
            if labels >= 1 && self.top_level.has(&bytes[label..trimmed]) {
                found = Some(trimmed);
            }
            if trimmed < end {
                break;
            }
            labels += 1;
            label = end + 1;
        }
        let end = found?;
        (!is_word(at(bytes, end)) && at(bytes, end) != b'@').then_some(end)
    }

    /// A reserved domain or one below it.
    fn is_reserved(&self, host: &[u8]) -> bool {
        let mut rest = host;
        loop {
            if self.reserved.has(rest) {
                return true;
            }
            match memchr::memchr(b'.', rest) {
                Some(dot) => rest = &rest[dot + 1..],
                None => return false,
            }
        }
    }

    /// Of `scheme://user:password@host` whose `@` is at `place`, the password, or `None` inside where it is a
    /// placeholder; `None` where there is no such URL.
    pub fn url_password(&self, bytes: &[u8], place: usize) -> Option<Option<Span>> {
        if !(is_word(at(bytes, place + 1)) || at(bytes, place + 1) == b'[') {
            return None;
        }
        let from = place.saturating_sub(2 * LOCAL);
        let start = from
            + 1
            + bytes[from..place]
                .iter()
                .rposition(|&byte| !is_password(byte))
                .filter(|&back| bytes[from + back] == b':')?;
        let user = bytes[from..start - 1]
            .iter()
            .rposition(|&byte| !is_password(byte))
            .map(|back| from + back)?;
        let scheme = user.checked_sub(2)?;
        if &bytes[scheme..=user] != b"://" || !before(bytes, scheme).is_ascii_alphabetic() {
            return None;
        }
        let value = &bytes[start..place];
        // All digits is a port, or a place in a log; `$NAME`, `%s` and `***` stand for something.
        let real = value.len() >= 4
            && value.iter().any(u8::is_ascii_alphanumeric)
            && !value.iter().all(u8::is_ascii_digit)
            && !matches!(value[0], b'$' | b'%' | b'*')
            && !contains_any(value, &self.placeholders);
        Some(real.then_some(Span {
            start,
            end: place,
            kind: Kind::Password,
            rule: 0,
        }))
    }
}

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'' | b'&')
}

fn is_password(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(
            byte,
            b'@' | b':' | b'/' | b'<' | b'>' | b'"' | b'\'' | b'{' | b'}'
        )
}

fn has_double_dot(local: &[u8]) -> bool {
    local.windows(2).any(|pair| pair == b"..")
}

//! IPv4 and IPv6 addresses of the public internet, found at their first digit.
//!
//! Public is what the IANA special-purpose registries do not list. Four small numbers with dots are as a rule a
//! version or a section, so they need a word such as "address" or a scheme before them; none may stand
//! behind a word such as "version".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pyo3::FromPyObject;

use super::span::{Kind, Span};
use super::words::{Words, at, before, is_word};

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Rules {
    special: Vec<String>,
    not_personal: Vec<String>,
    small: u8,
    few_digits: usize,
    words: Vec<String>,
    version_words: Vec<String>,
}

pub struct Addresses {
    special_v4: Vec<(u32, u32)>,
    special_v6: Vec<(u128, u128)>,
    not_personal: Vec<IpAddr>,
    small: u8,
    few_digits: usize,
    words: Words,
    version_words: Words,
}

impl Addresses {
    pub fn new(rules: Rules) -> Result<Self, String> {
        let (mut special_v4, mut special_v6) = (Vec::new(), Vec::new());
        for block in &rules.special {
            let bad = || format!("ip.special: {block:?} is not a block such as 10.0.0.0/8");
            let (address, bits) = block.split_once('/').ok_or_else(bad)?;
            let bits: u32 = bits.parse().map_err(|_| bad())?;
            match address.parse::<IpAddr>().map_err(|_| bad())? {
                IpAddr::V4(v4) if bits <= 32 => {
                    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
                    special_v4.push((u32::from(v4) & mask, mask));
                }
                IpAddr::V6(v6) if bits <= 128 => {
                    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
                    special_v6.push((u128::from(v6) & mask, mask));
                }
                _ => return Err(bad()),
            }
        }
        let not_personal = rules
            .not_personal
            .iter()
            .map(|address| {
                address
                    .parse()
                    .map_err(|_| format!("ip.not_personal: {address:?} is not an address"))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            special_v4,
            special_v6,
            not_personal,
            small: rules.small,
            few_digits: rules.few_digits,
            words: Words::new(rules.words),
            version_words: Words::new(rules.version_words),
        })
    }

    /// An IPv4 address whose first digit is at `start`; one that ends in 0 names a network.
    pub fn v4(&self, text: &str, start: usize) -> Option<Span> {
        let bytes = text.as_bytes();
        let (mut octets, mut place) = ([0u8; 4], start);
        for (index, octet) in octets.iter_mut().enumerate() {
            if index > 0 {
                if at(bytes, place) != b'.' {
                    return None;
                }
                place += 1;
            }
            let digits = bytes[place..]
                .iter()
                .take(4)
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            if digits == 0 || digits > 3 || (digits > 1 && bytes[place] == b'0') {
                return None;
            }
            *octet = text[place..place + digits].parse().ok()?;
            place += digits;
        }
        let scheme = bytes[..start].ends_with(b"://") || before(bytes, start) == b'@';
        if !scheme
            && (is_word(before(bytes, start))
                || matches!(
                    before(bytes, start),
                    b'.' | b'-' | b'/' | b'+' | b'\\' | b','
                ))
        {
            return None;
        }
        let next = at(bytes, place);
        let goes_on = is_word(next)
            || next == b'@'
            || (matches!(next, b'.' | b'-' | b'+' | b',') && is_word(at(bytes, place + 1)))
            || next == b'*';
        let address = Ipv4Addr::from(octets);
        let number = u32::from(address);
        if goes_on
            || self
                .special_v4
                .iter()
                .any(|(block, mask)| number & mask == *block)
            || self.not_personal.contains(&IpAddr::V4(address))
            || octets[3] == 0
            || octets.iter().all(|octet| *octet == octets[0])
            || self.version_words.before(text, start)
        {
            return None;
        }
        // With three dots.
        let few = place - start <= self.few_digits + 3;
        if (few || octets.iter().all(|octet| *octet < self.small))
            && !scheme
            && !self.words.before(text, start)
        {
            return None;
        }
        Some(Span {
            start,
            end: place,
            kind: Kind::Ip,
            rule: 4,
        })
    }

    /// An IPv6 address whose first digit, 2 or 3 (global unicast, 2000::/3), is at `start`.
    pub fn v6(&self, text: &str, start: usize) -> Option<Span> {
        let bytes = text.as_bytes();
        let run = bytes[start..]
            .iter()
            .take(46)
            .take_while(|byte| byte.is_ascii_hexdigit() || **byte == b':')
            .count();
        // A full stop or a colon of the sentence is not part of it.
        let mut end = start + run;
        if text[start..end].ends_with(':') && !text[start..end].ends_with("::") {
            end -= 1;
        }
        let value = &text[start..end];
        let groups = value.split(':').filter(|group| !group.is_empty()).count();
        if groups < 3
            || value.ends_with("::")
            || value.find(':') != Some(4)
            || is_word(at(bytes, end))
        {
            return None;
        }
        let previous = before(bytes, start);
        if is_word(previous) || matches!(previous, b':' | b'.' | b'-') {
            return None;
        }
        let address: Ipv6Addr = value.parse().ok()?;
        let number = u128::from(address);
        let special = self
            .special_v6
            .iter()
            .any(|(block, mask)| number & mask == *block);
        let personal = !special && !self.not_personal.contains(&IpAddr::V6(address));
        personal.then_some(Span {
            start,
            end,
            kind: Kind::Ip,
            rule: 6,
        })
    }
}

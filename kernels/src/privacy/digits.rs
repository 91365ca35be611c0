//! Groups of digits as people write long numbers: `4111 1111 1111 1111`, `(415) 555-0132`, `030/123456`.

use super::words::at;

const GROUPS: usize = 10;
pub const DIGITS: usize = 24;

/// Up to `GROUPS` runs of digits with one separator between each two: their bytes, and the separator before
/// each (space, `-`, `.`, `/`, or a parenthesis).
pub struct Number {
    pub digits: [u8; DIGITS],
    pub groups: [Group; GROUPS],
    pub count: usize,
}

#[derive(Clone, Copy, Default)]
pub struct Group {
    pub start: usize,
    pub end: usize,
    pub separator: u8,
    /// Digits of the number up to the end of this group.
    pub total: usize,
}

impl Group {
    pub fn length(&self) -> usize {
        self.end - self.start
    }
}

impl Number {
    /// The number whose first digit is at `start`: it ends before what would be more than 24 digits.
    pub fn parse(bytes: &[u8], start: usize) -> Self {
        let mut number = Self {
            digits: [0; DIGITS],
            groups: [Group::default(); GROUPS],
            count: 0,
        };
        let (mut place, mut separator, mut total) = (start, 0, 0);
        while number.count < GROUPS {
            let length = bytes[place..]
                .iter()
                .take(DIGITS + 1)
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            if length == 0 || total + length > DIGITS {
                break;
            }
            number.digits[total..total + length].copy_from_slice(&bytes[place..place + length]);
            total += length;
            let end = place + length;
            number.groups[number.count] = Group {
                start: place,
                end,
                separator,
                total,
            };
            number.count += 1;
            match next_group(bytes, end) {
                Some((next, byte)) => (place, separator) = (next, byte),
                None => break,
            }
        }
        number
    }

    pub fn lengths_are(&self, lengths: &[usize]) -> bool {
        self.count >= lengths.len()
            && lengths
                .iter()
                .zip(&self.groups)
                .all(|(length, group)| *length == group.length())
    }

    /// Have groups `1..count` the separator of group 1?
    pub fn one_separator(&self, count: usize) -> bool {
        (2..count).all(|index| self.groups[index].separator == self.groups[1].separator)
    }
}

/// Where the next group starts after one that ends at `end`, and what stands between.
fn next_group(bytes: &[u8], end: usize) -> Option<(usize, u8)> {
    let mut place = end;
    let mut separator = match at(bytes, place) {
        byte @ (b' ' | b'-' | b'.' | b'/' | b')') => {
            place += 1;
            byte
        }
        // A no-break space: U+00A0, or the narrow U+202F.
        0xc2 if at(bytes, place + 1) == 0xa0 => {
            place += 2;
            b' '
        }
        0xe2 if at(bytes, place + 1) == 0x80 && at(bytes, place + 2) == 0xaf => {
            place += 3;
            b' '
        }
        _ => return None,
    };
    if separator == b')' && matches!(at(bytes, place), b' ' | b'-') {
        place += 1;
    } else if separator == b' ' && at(bytes, place) == b'(' {
        separator = b'(';
        place += 1;
    }
    at(bytes, place)
        .is_ascii_digit()
        .then_some((place, separator))
}

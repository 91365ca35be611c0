//! Telephone numbers, found at their first digit.
//!
//! Three forms: international with `+` and a country code of E.164; North American `(415) 555-2671` and
//! `415-555-2671` by the rules of the numbering plan; and any national form behind a word such as "phone".
//! Numbers reserved for fiction, toll-free ones and counting (`1234567`) are nobody's.

use pyo3::FromPyObject;

use super::digits::Number;
use super::span::{Kind, Span};
use super::words::{Words, at, before, is_word, number_goes_on};

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Country {
    code: String,
    min: usize,
    max: usize,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Rules {
    countries: Vec<Country>,
    words: Vec<String>,
    toll_free: Vec<String>,
    fictional: Vec<String>,
    placeholders: Vec<String>,
}

pub struct Phones {
    countries: Vec<Country>,
    words: Words,
    toll_free: Vec<Vec<u8>>,
    fictional: Vec<Vec<u8>>,
    placeholders: Vec<Vec<u8>>,
}

const NANP: &[u8] = b"1";

impl Phones {
    pub fn new(rules: Rules) -> Result<Self, String> {
        if let Some(bad) = rules.countries.iter().find(|country| {
            country.code.is_empty()
                || country.min < 4
                || country.max > 15
                || country.min > country.max
        }) {
            return Err(format!(
                "phone.countries: {:?} with {} to {} digits is no country of E.164",
                bad.code, bad.min, bad.max
            ));
        }
        let bytes = |list: Vec<String>| list.into_iter().map(String::into_bytes).collect();
        Ok(Self {
            countries: rules.countries,
            words: Words::new(rules.words),
            toll_free: bytes(rules.toll_free),
            fictional: bytes(rules.fictional),
            placeholders: bytes(rules.placeholders),
        })
    }

    /// A telephone number that begins with the number's first group (and `+` or `(` before it).
    pub fn find(&self, text: &str, number: &Number) -> Option<Span> {
        let bytes = text.as_bytes();
        let first = number.groups[0].start;
        let lead = before(bytes, first);
        let start = if matches!(lead, b'+' | b'(') {
            first - 1
        } else {
            first
        };
        let previous = before(bytes, start);
        if is_word(previous)
            || matches!(
                previous,
                b'+' | b'-' | b'.' | b'/' | b'=' | b'*' | b'#' | b'@'
            )
        {
            return None;
        }
        let last = if lead == b'+' {
            self.international(bytes, number)?
        } else {
            self.north_american(bytes, number, lead == b'(')
                .or_else(|| self.national(text, number, start))?
        };
        let end = number.groups[last].end;
        let digits = &number.digits[..number.groups[last].total];
        let counting = |part: &Vec<u8>| memchr::memmem::find(digits, part).is_some();
        let varied = digits
            .iter()
            .any(|digit| digit != &digits[digits.len() - 1]);
        if number_goes_on(bytes, end) || !varied || self.placeholders.iter().any(counting) {
            return None;
        }
        Some(Span {
            start,
            end,
            kind: Kind::Phone,
            rule: 0,
        })
    }

    /// After `+`: the last group, by the country's count of digits.
    fn international(&self, bytes: &[u8], number: &Number) -> Option<usize> {
        let country = self
            .countries
            .iter()
            .filter(|country| number.digits.starts_with(country.code.as_bytes()))
            .max_by_key(|country| country.code.len())?;
        let code = country.code.len();
        // `+44 (0)20`: the trunk digit is not dialled.
        let trunk = (1..number.count.min(3)).any(|index| {
            let group = number.groups[index];
            group.separator == b'(' && group.length() == 1 && bytes[group.start] == b'0'
        });
        let national = |index: usize| {
            number.groups[index]
                .total
                .saturating_sub(code + usize::from(trunk))
        };
        let last = (0..number.count)
            .rev()
            .find(|&index| (country.min..=country.max).contains(&national(index)))?;
        let digits = &number.digits[code..number.groups[last].total];
        let digits = if trunk && digits.first() == Some(&b'0') {
            &digits[1..]
        } else {
            digits
        };
        let valid = if country.code.as_bytes() == NANP {
            self.is_north_american(digits)
        } else {
            !self.is_fictional(country.code.as_bytes(), digits)
        };
        valid.then_some(last)
    }

    /// `(415) 555-2671`, `415-555-2671`, `1-415-555-2671`.
    fn north_american(&self, bytes: &[u8], number: &Number, parenthesis: bool) -> Option<usize> {
        let skip = usize::from(number.groups[0].length() == 1 && number.digits[0] == b'1');
        let last = skip + 2;
        if number.count <= last {
            return None;
        }
        let groups = &number.groups[skip..=last];
        let lengths = [groups[0].length(), groups[1].length(), groups[2].length()];
        let separators = (groups[1].separator, groups[2].separator);
        let written = match separators {
            (b')', b'-' | b'.' | b' ') => parenthesis || groups[0].separator == b'(',
            (b'-', b'-') => !parenthesis && (skip == 0 || groups[0].separator == b'-'),
            _ => false,
        };
        let digits = number.digits.get(skip..skip + 10)?;
        let goes_on = number.count > last + 1 && number.groups[last + 1].separator == b'-';
        let plain = at(bytes, groups[2].end) != b'-';
        (written && lengths == [3, 3, 4] && !goes_on && plain && self.is_north_american(digits))
            .then_some(last)
    }

    /// Behind a word such as "phone": 8 to 15 digits in any grouping that is not a date.
    fn national(&self, text: &str, number: &Number, start: usize) -> Option<usize> {
        let last = (0..number.count)
            .rev()
            .find(|&index| (8..=15).contains(&number.groups[index].total))?;
        if last > 6 || is_something_else(number) || !self.words.before(text, start) {
            return None;
        }
        let digits = &number.digits[..number.groups[last].total];
        let ten = digits
            .strip_prefix(NANP)
            .filter(|rest| rest.len() == 10)
            .unwrap_or(digits);
        let fictional = ten.len() == 10 && self.is_fictional(NANP, ten)
            || digits[0] == b'0' && self.is_fictional(b"44", &digits[1..]);
        let toll_free = ten.len() == 10 && self.is_toll_free(ten);
        (!fictional && !toll_free).then_some(last)
    }

    /// NPA-NXX-XXXX: area and exchange begin with 2 to 9 and are not N11.
    fn is_north_american(&self, digits: &[u8]) -> bool {
        let part = |code: &[u8]| code[0] >= b'2' && &code[1..] != b"11";
        digits.len() == 10
            && part(&digits[..3])
            && digits[1] != b'9'
            && part(&digits[3..6])
            && !self.is_fictional(NANP, digits)
            && !self.is_toll_free(digits)
    }

    fn is_toll_free(&self, digits: &[u8]) -> bool {
        self.toll_free.iter().any(|area| digits.starts_with(area))
    }

    /// Does a pattern such as `1...55501..` (a dot is any digit) match country code and number?
    fn is_fictional(&self, code: &[u8], digits: &[u8]) -> bool {
        self.fictional.iter().any(|pattern| {
            pattern.strip_prefix(code).is_some_and(|rest| {
                rest.len() == digits.len()
                    && rest
                        .iter()
                        .zip(digits)
                        .all(|(wanted, digit)| *wanted == b'.' || wanted == digit)
            })
        })
    }
}

/// A date or an address: `2019-04-12`, `20190412`, `12.04.2019`, `12/04/2019`, years in a row, `192.0.2.1`.
fn is_something_else(number: &Number) -> bool {
    let year = |index: usize| {
        let group = number.groups[index];
        let from = group.total - group.length();
        group.length() == 4 && matches!(&number.digits[from..from + 2], b"19" | b"20")
    };
    let short = |index: usize| number.groups[index].length() <= 2;
    let compact = number.groups[0].length() == 8
        && matches!(&number.digits[..2], b"19" | b"20")
        && matches!(
            &number.digits[4..6],
            [b'0', b'1'..=b'9'] | [b'1', b'0'..=b'2']
        );
    // Four numbers with dots are an IP address, whatever it says before them.
    let quad = number.count == 4
        && (0..4).all(|index| number.groups[index].length() <= 3)
        && number.groups[1..4]
            .iter()
            .all(|group| group.separator == b'.');
    if compact || quad {
        return true;
    }
    number.count >= 2 && year(0) && year(1)
        || number.count >= 3 && (year(0) && short(1) && short(2) || short(0) && short(1) && year(2))
}

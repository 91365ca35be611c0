//! Personal data and secrets: one scan finds candidates, patterns and check digits decide.
//!
//! Two searches over a text that is still in the cache: one for the first bytes of addresses and numbers (a
//! table of 256), one for the prefixes of all known tokens. Candidates are rare and each looks at a
//! bounded number of bytes, so hostile input takes linear time. The floor is one read of the text; all kinds take
//! 360 to 940 MB/s on one core, 300 to 700 where assignments are looked at too. What is
//! looked for (prefixes, patterns, lists, thresholds) comes from `curate/rules/privacy/`.

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, StringDictionaryBuilder, UInt32Builder, UInt64Builder};
use arrow_array::types::Int8Type;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_pyarrow::ToPyArrow;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use xxhash_rust::xxh3::Xxh3Builder;

use crate::arrow::{booleans, fixed_binary, large_strings};
use digits::Number;
use span::{Findings, KINDS, Kind, Span};

mod address;
mod assignment;
mod digits;
mod email;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod payment;
mod phone;
mod prefixes;
mod span;
mod token;
mod words;

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Rules {
    email: email::Rules,
    ip: address::Rules,
    phone: phone::Rules,
    card: payment::CardRules,
    iban: payment::IbanRules,
    token: token::Rules,
    password: assignment::Rules,
}

/// What a byte begins.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
enum Anchor {
    Nothing,
    Digit,
    At,
    Assign,
}

#[pyclass(frozen, module = "curate_kernels")]
struct PrivacyScanner {
    emails: email::Emails,
    addresses: address::Addresses,
    phones: phone::Phones,
    cards: payment::Cards,
    ibans: payment::Ibans,
    tokens: token::Tokens,
    assignments: assignment::Assignments,
    token_names: Vec<String>,
}

/// How often a text is looked at again; more than two takes a text made for it.
const ROUNDS: usize = 6;
/// How far before a finding something can begin that ends there: more than the longest token.
const TAIL: usize = 8192;

/// Which kinds are looked for.
type Wanted = [bool; KINDS.len()];

impl PrivacyScanner {
    /// Findings of a text, in `found.resolved`.
    ///
    /// What was found divides the text: every stretch between two findings is looked at as if it were a text of
    /// its own, because that is what it is once they are edited. So a second scan finds nothing more. After the
    /// first round only what ends at a finding can be new, unless a finding gave way to another.
    fn scan(&self, text: &str, code: bool, wanted: &Wanted, found: &mut Findings) {
        let bytes = text.as_bytes();
        let table = anchors(code, wanted);
        let tokens = wanted[Kind::Token as usize] || wanted[Kind::PrivateKey as usize];
        found.resolved.clear();
        if tokens {
            self.tokens.scan(bytes, 0, 0, found);
            found.merge();
        }
        let mut reach = text.len();
        for round in 0..ROUNDS {
            let held = std::mem::take(&mut found.resolved);
            let mut floor = 0;
            let ends = held.iter().map(|span| (span.start, span.end));
            for (ceiling, after) in ends.chain([(text.len(), text.len())]) {
                let from = floor.max(ceiling.saturating_sub(reach));
                if round > 0 && tokens {
                    self.tokens.scan(&bytes[..ceiling], floor, from, found);
                }
                self.stretch(text, (floor, from, ceiling), &table, wanted, found);
                floor = after;
            }
            let before = held.len();
            found.resolved = held;
            let dropped = found.merge();
            if found.resolved.len() == before {
                break;
            }
            reach = if dropped > 0 { text.len() } else { TAIL };
        }
    }

    /// Everything in `floor..ceiling` that begins at one of a few bytes, from `place` on.
    fn stretch(
        &self,
        text: &str,
        (mut floor, mut place, ceiling): (usize, usize, usize),
        table: &[Anchor; 256],
        wanted: &Wanted,
        found: &mut Findings,
    ) {
        let bytes = &text.as_bytes()[..ceiling];
        // Not from the middle of a run of digits.
        while place > floor && place < ceiling && bytes[place].is_ascii_digit() {
            place += 1;
        }
        while let Some(step) = bytes.get(place..).and_then(|rest| {
            rest.iter()
                .position(|&byte| table[byte as usize] != Anchor::Nothing)
        }) {
            place += step;
            let mut next = place + 1;
            let (rest, here) = (&text[floor..ceiling], place - floor);
            let span = match table[bytes[place] as usize] {
                Anchor::Digit => {
                    let run = rest.as_bytes()[here..]
                        .iter()
                        .take_while(|byte| byte.is_ascii_digit())
                        .count();
                    next = place + run;
                    self.number(rest, here, here + run, wanted)
                }
                Anchor::At => match self.emails.url_password(rest.as_bytes(), here) {
                    Some(password) => password.filter(|_| wanted[Kind::Password as usize]),
                    None => self
                        .emails
                        .find(rest, here)
                        .filter(|_| wanted[Kind::Email as usize]),
                },
                Anchor::Assign => self.assignments.find(rest.as_bytes(), here),
                Anchor::Nothing => None,
            };
            if let Some(span) = span {
                let span = Span {
                    start: floor + span.start,
                    end: floor + span.end,
                    ..span
                };
                found.push(span);
                floor = span.end;
            }
            place = next.max(floor);
        }
    }

    /// Whatever the run of digits `start..run` begins.
    fn number(&self, text: &str, start: usize, run: usize, wanted: &Wanted) -> Option<Span> {
        let bytes = text.as_bytes();
        let length = run - start;
        let wants = |kind: Kind| wanted[kind as usize];
        let previous = words::before(bytes, start);
        let next = words::at(bytes, run);
        if length >= 2 && previous.is_ascii_uppercase() {
            return self.ibans.find(bytes, start).filter(|_| wants(Kind::Iban));
        }
        if length <= 4
            && matches!(bytes[start], b'2' | b'3')
            && (next == b':' || next.is_ascii_hexdigit())
            && wants(Kind::Ip)
            && let Some(span) = self.addresses.v6(text, start)
        {
            return Some(span);
        }
        if length <= 3
            && next == b'.'
            && wants(Kind::Ip)
            && let Some(span) = self.addresses.v4(text, start)
        {
            return Some(span);
        }
        let goes_on = matches!(next, b' ' | b'-' | b'.' | b'/' | b')' | 0xc2 | 0xe2)
            && bytes[run..].iter().take(4).any(u8::is_ascii_digit);
        if !(goes_on || length >= 7) || !(wants(Kind::Card) || wants(Kind::Phone)) {
            return None;
        }
        let number = Number::parse(bytes, start);
        if number.count == 0 {
            return None;
        }
        let card = wants(Kind::Card)
            .then(|| self.cards.find(text, &number))
            .flatten();
        card.or_else(|| {
            wants(Kind::Phone)
                .then(|| self.phones.find(text, &number))
                .flatten()
        })
    }
}

fn anchors(code: bool, wanted: &Wanted) -> [Anchor; 256] {
    let mut table = [Anchor::Nothing; 256];
    let any = |kinds: &[Kind]| kinds.iter().any(|&kind| wanted[kind as usize]);
    if any(&[Kind::Card, Kind::Iban, Kind::Ip, Kind::Phone]) {
        table[b'0' as usize..=b'9' as usize].fill(Anchor::Digit);
    }
    if any(&[Kind::Email, Kind::Password]) {
        table[b'@' as usize] = Anchor::At;
    }
    if code && any(&[Kind::Password]) {
        table[b'=' as usize] = Anchor::Assign;
        table[b':' as usize] = Anchor::Assign;
    }
    table
}

/// The value as it is compared: an address in any case, a number in any grouping, is the same.
fn normal(value: &str, kind: Kind) -> String {
    match kind {
        Kind::Email => value.to_ascii_lowercase(),
        Kind::Phone | Kind::Card | Kind::Iban => {
            value.chars().filter(char::is_ascii_alphanumeric).collect()
        }
        _ => value.to_owned(),
    }
}

fn value_error(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

#[pymethods]
impl PrivacyScanner {
    #[new]
    fn new(rules: Rules) -> PyResult<Self> {
        let token_names = rules
            .token
            .rules
            .iter()
            .map(|rule| rule.name.clone())
            .collect();
        Ok(Self {
            emails: email::Emails::new(rules.email),
            addresses: address::Addresses::new(rules.ip).map_err(value_error)?,
            phones: phone::Phones::new(rules.phone).map_err(value_error)?,
            cards: payment::Cards::new(rules.card).map_err(value_error)?,
            ibans: payment::Ibans::new(rules.iban).map_err(value_error)?,
            tokens: token::Tokens::new(rules.token).map_err(value_error)?,
            assignments: assignment::Assignments::new(rules.password),
            token_names,
        })
    }

    #[pyo3(signature = (texts, *, kinds=None, code=None, ids=None, seed=0))]
    fn spans<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        kinds: Option<Vec<String>>,
        code: Option<&Bound<'py, PyAny>>,
        ids: Option<&Bound<'py, PyAny>>,
        seed: u64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let texts = large_strings(texts)?;
        let mut wanted: Wanted = [kinds.is_none(); KINDS.len()];
        for name in kinds.unwrap_or_default() {
            let Some((kind, _)) = KINDS.iter().find(|(_, known)| *known == name) else {
                let known: Vec<_> = KINDS.iter().map(|(_, name)| *name).collect();
                return Err(value_error(format!(
                    "unknown kind {name:?}; known: {}",
                    known.join(", ")
                )));
            };
            wanted[*kind as usize] = true;
        }
        let code = code.map(booleans).transpose()?;
        let ids = ids.map(|ids| fixed_binary(ids, 16)).transpose()?;
        for (name, length) in [
            ("code", code.as_ref().map(Array::len)),
            ("ids", ids.as_ref().map(Array::len)),
        ] {
            if length.is_some_and(|length| length != texts.len()) {
                return Err(value_error(format!("{name} and texts differ in length")));
            }
        }
        if texts.len() > u32::MAX as usize {
            return Err(value_error("more than 4 billion texts in one column"));
        }
        let batch = py.detach(|| {
            let mut out = Columns::default();
            let mut found = Findings::default();
            let hasher = Xxh3Builder::new().with_seed(seed);
            for (row, text) in texts.iter().enumerate() {
                let Some(text) = text else { continue };
                let is_code = code
                    .as_ref()
                    .is_some_and(|code: &BooleanArray| code.is_valid(row) && code.value(row));
                self.scan(text, is_code, &wanted, &mut found);
                for span in found
                    .resolved
                    .iter()
                    .filter(|span| wanted[span.kind as usize])
                {
                    let mut key = hasher.build();
                    if let Some(ids) = &ids {
                        key.update(ids.value(row));
                    }
                    key.update(&[span.kind as u8]);
                    key.update(normal(&text[span.start..span.end], span.kind).as_bytes());
                    out.push(row, *span, key.digest(), &self.token_names);
                }
            }
            out.finish().map_err(value_error)
        })?;
        batch.to_pyarrow(py)
    }
}

#[derive(Default)]
struct Columns {
    row: UInt32Builder,
    start: Int64Builder,
    end: Int64Builder,
    kind: StringDictionaryBuilder<Int8Type>,
    detector: StringDictionaryBuilder<arrow_array::types::Int16Type>,
    key: UInt64Builder,
}

impl Columns {
    fn push(&mut self, row: usize, span: Span, key: u64, token_names: &[String]) {
        let kind = KINDS[span.kind as usize].1;
        let detector = match span.kind {
            Kind::Token => token_names
                .get(span.rule as usize)
                .map_or(kind, String::as_str),
            Kind::Ip if span.rule == 6 => "ipv6",
            Kind::Ip => "ipv4",
            _ => kind,
        };
        self.row.append_value(row as u32);
        self.start.append_value(span.start as i64);
        self.end.append_value(span.end as i64);
        self.kind.append_value(kind);
        self.detector.append_value(detector);
        self.key.append_value(key);
    }

    fn finish(mut self) -> Result<RecordBatch, arrow_schema::ArrowError> {
        RecordBatch::try_from_iter([
            ("row", Arc::new(self.row.finish()) as ArrayRef),
            ("start", Arc::new(self.start.finish())),
            ("end", Arc::new(self.end.finish())),
            ("kind", Arc::new(self.kind.finish())),
            ("detector", Arc::new(self.detector.finish())),
            ("key", Arc::new(self.key.finish())),
        ])
    }
}

#[pyfunction]
fn privacy_kinds() -> Vec<&'static str> {
    KINDS.iter().map(|(_, name)| *name).collect()
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PrivacyScanner>()?;
    module.add_function(wrap_pyfunction!(privacy_kinds, module)?)
}

//! What the fuzz target of the redaction calls: the scanner with the shipped rules, without a column around it.

use pyo3::prelude::*;

use super::span::{Findings, KINDS};
use super::{PrivacyScanner, Wanted};

/// A scanner, and its findings reused from text to text as in a column.
pub struct Redaction {
    scanner: PrivacyScanner,
    found: Findings,
}

impl Redaction {
    /// From the rules as JSON: what `curate.stages.privacy_rules.rules` gives. Starts Python.
    pub fn new(rules: &str) -> PyResult<Redaction> {
        Python::initialize();
        Python::attach(|py| {
            let rules = py.import("json")?.call_method1("loads", (rules,))?;
            Ok(Redaction {
                scanner: PrivacyScanner::new(rules.extract()?)?,
                found: Findings::default(),
            })
        })
    }

    /// Start, end and kind of everything found, assignments in code included.
    pub fn spans(&mut self, text: &str) -> Vec<(usize, usize, &'static str)> {
        let wanted: Wanted = [true; KINDS.len()];
        self.scanner.scan(text, true, &wanted, &mut self.found);
        let name = |kind| {
            let known = KINDS.iter().find(|(known, _)| *known == kind);
            known.map_or("", |(_, name)| *name)
        };
        let spans = self.found.resolved.iter();
        spans
            .map(|span| (span.start, span.end, name(span.kind)))
            .collect()
    }
}

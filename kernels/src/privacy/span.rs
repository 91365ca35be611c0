//! What a detector yields, and which finding wins where two overlap.

/// The kinds, in order of precedence: where two findings overlap, the earlier kind stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    PrivateKey,
    Token,
    Password,
    Card,
    Iban,
    Email,
    Ip,
    Phone,
}

pub const KINDS: [(Kind, &str); 8] = [
    (Kind::PrivateKey, "private_key"),
    (Kind::Token, "token"),
    (Kind::Password, "password"),
    (Kind::Card, "card"),
    (Kind::Iban, "iban"),
    (Kind::Email, "email"),
    (Kind::Ip, "ip"),
    (Kind::Phone, "phone"),
];

/// A finding: bytes `start..end` of a text; `rule` is the token's rule, or 4 or 6 for an
/// IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
    pub rule: u16,
}

/// Findings of one text by kind, each list in order and without overlap inside it.
#[derive(Default)]
pub struct Findings {
    lists: [Vec<Span>; KINDS.len()],
    pub resolved: Vec<Span>,
    spare: Vec<Span>,
}

impl Findings {
    pub fn push(&mut self, span: Span) {
        let list = &mut self.lists[span.kind as usize];
        if span.start < span.end && list.last().is_none_or(|last| last.end <= span.start) {
            list.push(span);
        }
    }

    /// `resolved` becomes all findings in order, without overlap; the lists are emptied. Linear: one merge
    /// per kind, from the first in precedence to the last.
    pub fn resolve(&mut self) {
        self.resolved.clear();
        for list in &mut self.lists {
            if list.is_empty() {
                continue;
            }
            if self.resolved.is_empty() {
                std::mem::swap(&mut self.resolved, list);
                continue;
            }
            self.spare.clear();
            let mut old = self.resolved.iter().copied().peekable();
            for &new in list.iter() {
                while let Some(held) = old.next_if(|held| held.end <= new.start) {
                    self.spare.push(held);
                }
                if old.peek().is_none_or(|held| held.start >= new.end) {
                    self.spare.push(new);
                }
            }
            self.spare.extend(old);
            std::mem::swap(&mut self.resolved, &mut self.spare);
            list.clear();
        }
    }
}

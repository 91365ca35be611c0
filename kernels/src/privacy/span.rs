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

    /// Adds the lists to `resolved`, which stays in order and without overlap: what overlaps something there, or of a
    /// kind before it, is left out. Returns how many were. Linear: one merge per kind.
    pub fn merge(&mut self) -> usize {
        let mut dropped = 0;
        for list in &mut self.lists {
            if list.is_empty() {
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
                } else {
                    dropped += 1;
                }
            }
            self.spare.extend(old);
            std::mem::swap(&mut self.resolved, &mut self.spare);
            list.clear();
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_merged_is_in_order_and_apart(
            spans in prop::collection::vec((0usize..60, 1usize..9, 0usize..KINDS.len()), 0..40)
        ) {
            let mut found = Findings::default();
            let mut sorted = spans.clone();
            sorted.sort_unstable();
            let mut pushed = 0;
            for (start, length, kind) in sorted {
                let kind = KINDS[kind].0;
                let before = found.lists[kind as usize].len();
                found.push(Span { start, end: start + length, kind, rule: 0 });
                pushed += found.lists[kind as usize].len() - before;
            }
            let secret = found.lists[0].clone();
            let dropped = found.merge();
            prop_assert_eq!(found.resolved.len() + dropped, pushed);
            prop_assert!(found.resolved.windows(2).all(|pair| pair[0].end <= pair[1].start));
            // Nothing displaces the first kind.
            prop_assert!(secret.iter().all(|span| found.resolved.contains(span)));
        }
    }
}

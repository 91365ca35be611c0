//! How much of a text is formulae: TeX between its delimiters, and TeX commands outside of them.
//!
//! Delimiters: `$…$` (as Pandoc reads it: no blank inside the dollars, no digit behind, one paragraph),
//! `$$…$$`, `\(…\)`, `\[…\]`, and the display environments of LaTeX and amsmath. A formula is at most
//! 4,096 bytes long, so that two stray dollars make none and time is linear: a delimiter that finds no
//! partner within them costs that much once, and the next 4,096 bytes are not searched for it again.
//! Texts with neither a dollar nor a backslash are not looked at.

const LONGEST: usize = 4096;
const ENVIRONMENTS: [&str; 8] = [
    "equation",
    "align",
    "gather",
    "multline",
    "eqnarray",
    "displaymath",
    "math",
    "alignat",
];

/// What was found, in characters.
#[derive(Debug, Default, PartialEq)]
pub struct Formulae {
    /// Characters inside formulae, delimiters included, and of commands outside of them.
    pub chars: u64,
    /// Formulae between delimiters.
    pub count: u64,
}

/// Measure the formulae of a text.
pub fn formulae(text: &str) -> Formulae {
    let bytes = text.as_bytes();
    let mut out = Formulae::default();
    let mut closers = Closers::default();
    let mut at = 0;
    while let Some(step) = bytes[at..].iter().position(|&b| b == b'$' || b == b'\\') {
        at += step;
        if let Some(end) = formula(bytes, at, &mut closers) {
            out.count += 1;
            out.chars += text[at..end].chars().count() as u64;
            at = end;
        } else if bytes[at] == b'\\' {
            let letters = bytes[at + 1..]
                .iter()
                .take_while(|b| b.is_ascii_alphabetic())
                .count();
            out.chars += if letters > 0 { 1 + letters as u64 } else { 0 };
            // Without letters it is an escape, as `\$` and `\\` are.
            at = (at + 1 + letters.max(1)).min(bytes.len());
        } else {
            at += if bytes[at..].starts_with(b"$$") { 2 } else { 1 };
        }
    }
    out
}

/// What is known about each kind of closing delimiter, so that no stretch is searched twice.
#[derive(Default)]
struct Closers {
    barren: [usize; 4], // none begins before this offset, behind those already used
    found: [usize; 4],  // end of the one found last
}

impl Closers {
    /// End of the first `closer` in the window behind `from`; `from` never decreases.
    fn find(&mut self, bytes: &[u8], from: usize, kind: usize, closer: &[u8]) -> Option<usize> {
        if self.found[kind] >= from + closer.len() {
            return Some(self.found[kind]);
        }
        let end = bytes.len().min(from + LONGEST);
        let start = from.max(self.barren[kind].min(end));
        match bytes[start..end]
            .windows(closer.len())
            .position(|window| window == closer)
        {
            Some(step) => {
                self.found[kind] = start + step + closer.len();
                Some(self.found[kind])
            }
            None => {
                self.barren[kind] = start.max((end + 1).saturating_sub(closer.len()));
                None
            }
        }
    }
}

/// End of the formula that opens at `at`.
fn formula(bytes: &[u8], at: usize, closers: &mut Closers) -> Option<usize> {
    match &bytes[at..] {
        [b'$', b'$', ..] => closers
            .find(bytes, at + 2, 0, b"$$")
            .filter(|end| *end > at + 4),
        [b'$', first, ..] if !first.is_ascii_whitespace() => inline(bytes, at),
        [b'\\', b'(', ..] => closers.find(bytes, at + 2, 1, b"\\)"),
        [b'\\', b'[', ..] => closers.find(bytes, at + 2, 2, b"\\]"),
        rest if rest.starts_with(b"\\begin{") => {
            let name = &rest[7..];
            let environment = ENVIRONMENTS.iter().find(|environment| {
                let tail = name.strip_prefix(environment.as_bytes());
                tail.is_some_and(|tail| tail.starts_with(b"}") || tail.starts_with(b"*}"))
            })?;
            let end = closers.find(bytes, at + 7, 3, b"\\end{")?;
            let name = &bytes[end..];
            name.starts_with(environment.as_bytes()).then(|| {
                let close = name
                    .iter()
                    .take(environment.len() + 2)
                    .position(|&b| b == b'}');
                end + close.map_or(environment.len(), |close| close + 1)
            })
        }
        _ => None,
    }
}

/// End of the `$…$` that opens at `at`: the next dollar decides, so the search is not repeated.
fn inline(bytes: &[u8], at: usize) -> Option<usize> {
    let mut next = at + 1;
    let end = bytes.len().min(at + LONGEST);
    while next < end {
        match bytes[next] {
            b'\\' => next += 1,
            b'\n' if bytes.get(next + 1) == Some(&b'\n') => return None,
            b'$' => {
                let closes = !bytes[next - 1].is_ascii_whitespace()
                    && !bytes.get(next + 1).is_some_and(u8::is_ascii_digit);
                return closes.then_some(next + 1);
            }
            _ => {}
        }
        next += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (u64, u64) {
        let found = formulae(text);
        (found.chars, found.count)
    }

    #[test]
    fn delimiters_of_tex_are_known() {
        assert_eq!(of("a $x^2$ b"), (5, 1));
        assert_eq!(of("$$x$$ \\(y\\) \\[é\\]"), (15, 3));
        assert_eq!(of("\\begin{align*}x\\end{align*}!"), (27, 1));
        assert_eq!(of("\\alpha and \\$5"), (6, 0));
    }

    #[test]
    fn prices_are_no_formulae() {
        assert_eq!(of("from $5 to $10"), (0, 0));
        assert_eq!(of("US$ 5 and $ 6"), (0, 0));
        assert_eq!(of("costs $5.\n\nSaves x$ more"), (0, 0));
    }
}

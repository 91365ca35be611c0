//! Runs of encoded data in code: base64, lists of hex bytes, `\uXXXX` escapes.
//!
//! After StarCoder2's filter (Lozhkov et al. 2024, appendix A): base64 of 64 characters and more, hex
//! bytes and escapes of 8 in a row and more. Ours differ in two ways that spare real text: a newline
//! continues base64 only behind a line of 40 or more of its characters (PEM and MIME wrap at 64 and
//! 76), so a word list is none; and bytes are pairs of hex digits or `0x` numbers standing alone.
//! Eight bytes in each stride tell whether a run could be around them, so ordinary text costs three looks
//! in four bytes and hardly a branch. Linear on any input.

const BASE64_RUN: usize = 64;
const BASE64_LINE: usize = 40;
const GROUPS: usize = 8;

const BASE64: u8 = 1;
const HEX_LIST: u8 = 2; // may stand in a list of hex bytes

const KIND: [u8; 256] = {
    let mut table = [0; 256];
    let mut b = 0;
    while b < 128 {
        let byte = b as u8;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=') {
            table[b] |= BASE64;
        }
        if byte.is_ascii_hexdigit()
            || matches!(
                byte,
                b'x' | b'X' | b'\\' | b',' | b' ' | b'\n' | b'\r' | b'\t'
            )
        {
            table[b] |= HEX_LIST;
        }
        b += 1;
    }
    table
};

/// Characters in encoded runs, and the longest run.
#[derive(Debug, Default, PartialEq)]
pub struct Encoded {
    pub total: u64,
    pub longest: u64,
}

impl Encoded {
    fn add(&mut self, run: usize) {
        self.total += run as u64;
        self.longest = self.longest.max(run as u64);
    }
}

/// Find the encoded runs of a text with this many backslashes. Runs are of ASCII: bytes are characters.
pub fn encoded(bytes: &[u8], backslashes: u64) -> Encoded {
    let mut out = Encoded::default();
    base64_runs(bytes, &mut out);
    hex_runs(bytes, &mut out);
    if backslashes >= GROUPS as u64 {
        escape_runs(bytes, &mut out);
    }
    out
}

/// Call `found` with every maximal stretch of at least `least` (8 and more) bytes of a kind.
fn stretches(bytes: &[u8], kind: u8, least: usize, mut found: impl FnMut(usize, usize)) {
    let is = |at: usize| KIND[bytes[at] as usize] & kind != 0;
    // Such a stretch holds every eight bytes that begin in it up to here, so eight in each stride are
    // enough to rule all of them out, without a branch per byte.
    let stride = least - 7;
    let (mut floor, mut at) = (0, stride - 1);
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        if eight
            .iter()
            .fold(kind, |all, &byte| all & KIND[byte as usize])
            == 0
        {
            at += stride;
            continue;
        }
        // The stride before holds another byte, or all before `floor` has been gone through.
        let start = (floor..at)
            .rev()
            .find(|&at| !is(at))
            .map_or(floor, |at| at + 1);
        let end = (at + 8..bytes.len())
            .find(|&at| !is(at))
            .unwrap_or(bytes.len());
        if end - start >= least {
            found(start, end);
        }
        floor = end + 1;
        at = end + stride;
    }
}

fn base64_runs(bytes: &[u8], out: &mut Encoded) {
    // Lines of 40 and more that a single newline joins make one run.
    let (mut end, mut length) = (0, 0);
    let mut close = |length: usize| {
        if length >= BASE64_RUN {
            out.add(length);
        }
    };
    stretches(bytes, BASE64, BASE64_LINE, |from, to| {
        if length > 0 && from == end + 1 && bytes[end] == b'\n' {
            length += to - from + 1;
        } else {
            close(length);
            length = to - from;
        }
        end = to;
    });
    close(length);
}

fn hex_runs(bytes: &[u8], out: &mut Encoded) {
    // Eight pairs of digits and what stands between them.
    stretches(bytes, HEX_LIST, 3 * GROUPS - 1, |from, to| {
        let part = &bytes[from..to];
        let (mut at, mut run, mut groups, mut end) = (0, 0, 0, 0);
        while at < part.len() {
            let width = hex_group(&part[at..]);
            if width == 0 {
                if groups >= GROUPS {
                    out.add(end - run);
                }
                groups = 0;
                // Past the whole word, so that no group starts in the middle of one.
                while at < part.len() && !is_separator(part[at]) {
                    at += 1;
                }
                while at < part.len() && is_separator(part[at]) {
                    at += 1;
                }
                run = at;
                continue;
            }
            if groups == 0 {
                run = at;
            }
            groups += 1;
            at += width;
            end = at;
            while at < part.len() && is_separator(part[at]) {
                at += 1;
            }
        }
        if groups >= GROUPS {
            out.add(end - run);
        }
    });
}

fn is_separator(b: u8) -> bool {
    matches!(b, b',' | b' ' | b'\n' | b'\r' | b'\t')
}

/// Width of the group at the start: `1f`, `\x1f` or `0x1f` (2, 4, 8 or 16 digits); 0 for none.
fn hex_group(part: &[u8]) -> usize {
    let prefix = match part {
        [b'0' | b'\\', b'x' | b'X', ..] => 2,
        _ => 0,
    };
    let digits = part[prefix..]
        .iter()
        .take(17)
        .take_while(|b| b.is_ascii_hexdigit())
        .count();
    let fits = match part[0] {
        _ if prefix == 0 => digits == 2,
        b'\\' => digits >= 2,
        _ => matches!(digits, 2 | 4 | 8 | 16),
    };
    let width = if part[0] == b'\\' { 4 } else { prefix + digits };
    let alone = part
        .get(width)
        .is_none_or(|&b| is_separator(b) || b == b'\\');
    if fits && alone { width } else { 0 }
}

fn escape_runs(bytes: &[u8], out: &mut Encoded) {
    let (mut at, mut run) = (0, 0);
    while at < bytes.len() {
        let escape = bytes[at] == b'\\'
            && bytes.get(at + 1) == Some(&b'u')
            && bytes
                .get(at + 2..at + 6)
                .is_some_and(|four| four.iter().all(u8::is_ascii_hexdigit));
        if escape {
            run += 6;
            at += 6;
            continue;
        }
        if run >= 6 * GROUPS {
            out.add(run);
        }
        run = 0;
        at += 1;
    }
    if run >= 6 * GROUPS {
        out.add(run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stretches_are_all_that_are_long_enough(
            parts in prop::collection::vec((0usize..50, "[. ]"), 0..12), least in 8usize..45
        ) {
            let text: String = parts.iter().map(|(n, gap)| "Q".repeat(*n) + gap).collect();
            let mut found = Vec::new();
            stretches(text.as_bytes(), BASE64, least, |from, to| found.push((from, to)));
            let (mut expected, mut at) = (Vec::new(), 0);
            for part in text.split(['.', ' ']) {
                if part.len() >= least {
                    expected.push((at, at + part.len()));
                }
                at += part.len() + 1;
            }
            prop_assert_eq!(found, expected);
        }
    }

    fn of(text: &str) -> (u64, u64) {
        let found = encoded(text.as_bytes(), u64::MAX);
        (found.total, found.longest)
    }

    #[test]
    fn base64_needs_64_characters_and_long_lines() {
        let line = "QUJD".repeat(16);
        assert_eq!(of(&format!("x {line} y")), (64, 64));
        assert_eq!(of(&line[1..]), (0, 0));
        assert_eq!(of(&format!("{line}\n{line}\nQUJD")), (129, 129)); // a short last line is left out
        assert_eq!(of(&"word\n".repeat(100)), (0, 0));
    }

    #[test]
    fn eight_hex_bytes_make_a_run() {
        assert_eq!(
            of("a = [0x1f, 0x00, 0xAB, 0x1f, 0x00, 0xAB, 0x01, 0x02];"),
            (46, 46)
        );
        assert_eq!(of("1f 8b 08 00 00 00 00 00"), (23, 23));
        assert_eq!(of("1f 8b 08 00 00 00 00"), (0, 0));
        assert_eq!(of(&r"\x41".repeat(8)), (32, 32));
        assert_eq!(of("1999 2000 2001 2002 2003 2004 2005 2006 2007"), (0, 0));
    }

    #[test]
    fn eight_escapes_make_a_run() {
        assert_eq!(of(&format!("'{}'", r"\u4e2d".repeat(8))), (48, 48));
        assert_eq!(of(&r"\u4e2d".repeat(7)), (0, 0));
    }
}

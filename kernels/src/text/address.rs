//! Web and mail addresses, which stay one token: scheme, user, host with a suffix in small letters or four
//! numbers, port, path. As spaCy (3.8) has them, but that it leaves out private networks.

/// Whether the whole of `part` is an address. Linear in its bytes.
pub fn address(part: &[u8]) -> bool {
    if !part.contains(&b'.') {
        return false;
    }
    let scheme = part
        .iter()
        .take_while(|&&b| b.is_ascii_alphanumeric() || b"_+-.".contains(&b))
        .count();
    let rest = match part[scheme..].strip_prefix(b"://") {
        Some(rest) if scheme >= 2 => rest,
        _ => part,
    };
    // The user ends with a sign before the path; one in the path ends no user that a host could follow.
    located(rest)
        || rest
            .iter()
            .position(|&b| b == b'@')
            .is_some_and(|at| at > 0 && located(&rest[at + 1..]))
}

/// Host, port and path.
fn located(part: &[u8]) -> bool {
    let end = part
        .iter()
        .position(|b| b"/?#:".contains(b))
        .unwrap_or(part.len());
    let (name, mut rest) = part.split_at(end);
    if !host(name) {
        return false;
    }
    if let Some(port) = rest.strip_prefix(b":") {
        let digits = port.iter().take_while(|b| b.is_ascii_digit()).count();
        if !(2..=5).contains(&digits) {
            return false;
        }
        rest = &port[digits..];
    }
    rest.first().is_none_or(|b| b"/?#".contains(b))
}

fn host(name: &[u8]) -> bool {
    let mut labels = name.rsplit(|&b| b == b'.');
    let suffix = labels.next().unwrap_or(b"");
    let letters = suffix.iter().all(|b| b.is_ascii_lowercase() || *b >= 0x80);
    let named = (2..=63).contains(&suffix.len()) && letters && name.len() > suffix.len();
    if named {
        return labels.all(|label| {
            let word = |b: u8| b.is_ascii_alphanumeric() || b >= 0x80;
            let ends =
                label.first().is_some_and(|&b| word(b)) && label.last().is_some_and(|&b| word(b));
            ends && label.len() <= 64 && label.iter().all(|&b| word(b) || b == b'_' || b == b'-')
        });
    }
    let numbers = name.split(|&b| b == b'.');
    let small = |number: &[u8]| {
        (1..=3).contains(&number.len())
            && number.iter().all(u8::is_ascii_digit)
            && (number.len() < 3 || number <= &b"255"[..])
    };
    name.iter().filter(|&&b| b == b'.').count() == 3 && numbers.into_iter().all(small)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_whole_and_what_merely_holds_one_is_not() {
        for whole in [
            "http://example.org/a/b?c=d",
            "www.example.org",
            "example.org/path",
            "me@example.org",
            "ftp://user:pass@host.net:8080/x",
            "1.2.3.4",
            "https://example.org:443",
            "a.co",
        ] {
            assert!(address(whole.as_bytes()), "{whole}");
        }
        for other in [
            "href=\"http://example.org/a",
            "end.Start",
            "1.2",
            "and/or",
            "a/b.c",
            "x@y",
            "http://",
            "",
            ".",
            "..",
            "300.1.1.1",
            "example.org:1",
            "e.g",
            "://a.bc",
        ] {
            assert!(!address(other.as_bytes()), "{other}");
        }
    }
}

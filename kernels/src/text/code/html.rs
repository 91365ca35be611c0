//! The text that a reader of an HTML page sees: outside of tags, comments, scripts and styles.
//!
//! White space counts as it stands and an entity is one character, as in the text of StarCoder's HTML
//! filter. One pass; what is not closed goes to the end.

use super::lexer::find;

const LONGEST_ENTITY: usize = 32;
const UNSEEN: [&str; 2] = ["script", "style"];

/// Visible characters of a page.
pub fn visible_chars(html: &str) -> u64 {
    let bytes = html.as_bytes();
    let mut chars = 0;
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        match bytes[at] {
            b'<' if rest.starts_with(b"<!--") => {
                at = find(bytes, at + 4, b"-->").map_or(bytes.len(), |end| end + 3);
            }
            b'<' if rest
                .get(1)
                .is_some_and(|b| b.is_ascii_alphabetic() || b"/!?".contains(b)) =>
            {
                let end = tag_end(bytes, at);
                at = match UNSEEN.iter().find(|name| opens(rest, name)) {
                    Some(name) => closing(bytes, end, name),
                    None => end,
                };
            }
            b'&' => {
                let letters = |b: &&u8| b.is_ascii_alphanumeric() || **b == b'#';
                let name = rest[1..]
                    .iter()
                    .take(LONGEST_ENTITY)
                    .take_while(letters)
                    .count();
                let entity = name > 0 && rest.get(1 + name) == Some(&b';');
                chars += 1;
                at += if entity { name + 2 } else { 1 };
            }
            b => {
                chars += u64::from(b & 0xC0 != 0x80);
                at += 1;
            }
        }
    }
    chars
}

/// End of the tag that opens at `at`; a `>` in a quoted value is not it.
fn tag_end(bytes: &[u8], at: usize) -> usize {
    let mut quote = 0;
    for (step, &b) in bytes[at..].iter().enumerate() {
        match b {
            b'>' if quote == 0 => return at + step + 1,
            b'"' | b'\'' if quote == 0 && bytes[at + step - 1] == b'=' => quote = b,
            _ if b == quote => quote = 0,
            _ => {}
        }
    }
    bytes.len()
}

fn opens(tag: &[u8], name: &str) -> bool {
    let word = tag.get(1..1 + name.len());
    word.is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
        && tag
            .get(1 + name.len())
            .is_none_or(|b| !b.is_ascii_alphanumeric())
}

/// Where `</name` begins at or behind `from`.
fn closing(bytes: &[u8], from: usize, name: &str) -> usize {
    let mut at = from;
    while let Some(next) = find(bytes, at, b"</") {
        if opens(&bytes[next + 1..], name) {
            return next;
        }
        at = next + 2;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_shown_counts() {
        assert_eq!(visible_chars("<p class=\"a>b\">caf\u{e9} &amp; x</p>"), 8);
        assert_eq!(
            visible_chars("<script>var a = '<p>';</script>ab<STYLE>x</STYLE>"),
            2
        );
        assert_eq!(visible_chars("<!-- no -->1 < 2"), 5);
        assert_eq!(visible_chars("<script>never closed"), 0);
    }
}

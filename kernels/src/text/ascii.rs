//! What the bytes of ASCII are to the segmenter, in one table look-up, and where its letters end.

pub const LETTERS: u8 = 1;
pub const BLANK: u8 = 2;
pub const TRAILING: u8 = 4; // punctuation that comes off the end of letters without further ado
pub const DIGIT: u8 = 8;
pub const OPENING: u8 = 16; // punctuation that comes off before a letter or digit, if this is no face
pub const PREFIX: u8 = 32; // a mark that comes off the front of any chunk: no face begins with it

pub const ASCII: [u8; 256] = {
    let mut table = [0; 256];
    let mut b = 0;
    while b < 128 {
        let byte = b as u8;
        if byte.is_ascii_alphabetic() {
            table[b] = LETTERS;
        } else if byte == b' ' || (byte >= 0x09 && byte <= 0x0D) || (byte >= 0x1C && byte <= 0x1F) {
            table[b] = BLANK;
        } else if matches!(byte, b',' | b'.' | b';' | b':' | b'!' | b'?' | b')' | b'"') {
            table[b] = TRAILING;
        } else if byte.is_ascii_digit() {
            table[b] = DIGIT;
        }
        if matches!(byte, b'(' | b'[') {
            table[b] |= OPENING;
        }
        if matches!(
            byte,
            b',' | b'!' | b'?' | b'{' | b'}' | b'_' | b'#' | b'*' | b'&'
        ) || matches!(byte, b'"' | b'`' | b'$' | b'%')
        {
            table[b] |= PREFIX;
        }
        b += 1;
    }
    table
};

/// What the byte at `at` is; a blank past the end.
#[inline]
pub fn kind(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).map_or(BLANK, |&b| ASCII[b as usize])
}

/// Where the ASCII letters from `at` on end, eight bytes at a time.
#[inline]
pub fn letters_end(bytes: &[u8], mut at: usize) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const CASE: u64 = 0x20 * EACH;
    const LOWER_BITS: u64 = 0x7F * EACH;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let eight = u64::from_le_bytes(*chunk);
        let small = (eight | CASE) & LOWER_BITS;
        // The high bit of each byte: from a on, behind z, beyond ASCII. No sum leaves its byte.
        let (from_a, behind_z) = (small + 0x1F * EACH, small + 0x05 * EACH);
        let others = !(from_a & !behind_z & !eight) & (0x80 * EACH);
        if others != 0 {
            return at + others.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while at < bytes.len() && ASCII[bytes[at] as usize] & LETTERS != 0 {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_ends_letters_but_a_letter_wherever_it_stands() {
        for byte in 0..=255u8 {
            for before in 0..20 {
                for behind in [0, 3, 20] {
                    let mut bytes = vec![b'z'; before];
                    bytes.push(byte);
                    bytes.resize(before + 1 + behind, b'A');
                    let letter = byte.is_ascii_alphabetic();
                    let end = if letter { bytes.len() } else { before };
                    assert_eq!(letters_end(&bytes, 0), end, "{byte} behind {before}");
                }
            }
        }
    }
}

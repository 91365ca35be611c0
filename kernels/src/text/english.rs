//! What English writes against the rules of the segmenter: abbreviations, contractions, faces.
//!
//! The tables are the tokenizer exceptions of spaCy's blank English pipeline (3.8), after whose words the
//! limits of the Gopher rules in datatrove were set. A look-up is a comparison of a few bytes; most words
//! are turned away by their length and last letter.

/// Abbreviations that keep their dot, without it.
pub fn abbreviation(word: &[u8]) -> bool {
    match word {
        [letter] => letter.is_ascii_lowercase(),
        b"Mr" | b"Mrs" | b"Ms" | b"Dr" | b"Jr" | b"Prof" | b"Messrs" | b"Rep" | b"Rev" | b"Sen"
        | b"Gov" | b"Gen" | b"Adm" | b"St" | b"Mt" | b"Bros" | b"Co" | b"co" | b"Corp" | b"Inc"
        | b"Ltd" | b"vs" => true,
        b"Jan" | b"Feb" | b"Mar" | b"Apr" | b"Jun" | b"Jul" | b"Aug" | b"Sep" | b"Sept"
        | b"Oct" | b"Nov" | b"Dec" => true,
        b"Ak" | b"Ala" | b"Ariz" | b"Ark" | b"Calif" | b"Colo" | b"Conn" | b"Del" | b"Fla"
        | b"Ga" | b"Ia" | b"Id" | b"Ill" | b"Ind" | b"Kan" | b"Kans" | b"Ky" | b"La" | b"Mass"
        | b"Md" | b"Mich" | b"Minn" | b"Miss" | b"Mo" | b"Mont" | b"Neb" | b"Nebr" | b"Nev"
        | b"Okla" | b"Ore" | b"Pa" | b"Tenn" | b"Va" | b"Wash" | b"Wis" => true,
        b"e.g" | b"E.g" | b"i.e" | b"I.e" | b"a.m" | b"p.m" | b"v.s" | b"Ph.D" => true,
        _ => false,
    }
}

/// Faces and pairs of marks that stay together.
pub fn face(part: &[u8]) -> bool {
    match part.len() {
        2 => matches!(
            part,
            b":)"
                | b":("
                | b";)"
                | b"(:"
                | b"(;"
                | b"):"
                | b"8)"
                | b"=)"
                | b"(="
                | b"=("
                | b":]"
                | b"[:"
                | b"=]"
                | b"]="
                | b"[="
                | b":}"
                | b":/"
                | b"=/"
                | b":|"
                | b"=|"
                | b":*"
                | b":>"
                | b"<3"
                | b"''"
        ),
        3 => matches!(
            part,
            b":-)"
                | b":-("
                | b";-)"
                | b"(-:"
                | b"(-;"
                | b")-:"
                | b":-]"
                | b"[-:"
                | b":-}"
                | b":-/"
                | b":-|"
                | b":-*"
                | b":->"
                | b":))"
                | b":(("
                | b":()"
                | b":o)"
                | b"(o:"
                | b":')"
                | b":'("
                | b"8-)"
                | b"(-8"
                | b">:("
                | b"^_^"
                | b"-_-"
                | b"@_@"
                | b"._."
                | b";_;"
                | b">.>"
                | b"<.<"
                | b">.<"
                | b"</3"
                | b"<33"
                | b"w/o"
        ),
        _ => false,
    }
}

/// Who or what a contraction may begin with, for each of its endings.
fn subject(head: &[u8]) -> bool {
    matches!(
        head,
        b"i" | b"you" | b"he" | b"she" | b"it" | b"we" | b"they"
    ) || question(head)
}

fn question(head: &[u8]) -> bool {
    matches!(
        head,
        b"who"
            | b"what"
            | b"when"
            | b"where"
            | b"why"
            | b"how"
            | b"there"
            | b"that"
            | b"this"
            | b"these"
            | b"those"
    )
}

fn has(head: &[u8]) -> bool {
    matches!(
        head,
        b"i" | b"you"
            | b"we"
            | b"they"
            | b"who"
            | b"what"
            | b"when"
            | b"where"
            | b"why"
            | b"how"
            | b"there"
            | b"these"
            | b"those"
            | b"could"
            | b"might"
            | b"must"
            | b"should"
            | b"would"
            | b"not"
    )
}

fn are(head: &[u8]) -> bool {
    matches!(
        head,
        b"you"
            | b"we"
            | b"they"
            | b"who"
            | b"what"
            | b"when"
            | b"where"
            | b"why"
            | b"how"
            | b"there"
            | b"these"
            | b"those"
    )
}

fn negated(head: &[u8]) -> bool {
    matches!(
        head,
        b"ca"
            | b"could"
            | b"do"
            | b"does"
            | b"did"
            | b"had"
            | b"may"
            | b"might"
            | b"must"
            | b"need"
            | b"ought"
            | b"sha"
            | b"should"
            | b"wo"
            | b"would"
            | b"ai"
            | b"are"
            | b"is"
            | b"was"
            | b"were"
            | b"have"
            | b"has"
            | b"dare"
    )
}

/// Where to cut a contraction written with an apostrophe, which is `mark` (1 byte, or 3 as U+2019): the two
/// offsets in the word, equal when there is one cut, and 0 for none.
pub fn contraction(word: &[u8]) -> (usize, usize) {
    if word.len() > 16 {
        return (0, 0);
    }
    let mut small = [0u8; 16];
    let small = &mut small[..word.len()];
    small.copy_from_slice(word);
    small[0].make_ascii_lowercase();
    let outer = ending(small);
    if outer == 0 {
        return (0, 0);
    }
    // I'd've, couldn't've: a contraction of a contraction.
    let inner = if small.ends_with(b"ve") {
        ending(&small[..outer])
    } else {
        0
    };
    match (inner, accepts(&small[..outer], &small[outer..])) {
        (0, true) => (outer, outer),
        (0, false) => (0, 0),
        (inner, _) if accepts(&small[..inner], &small[inner..outer]) => (inner, outer),
        _ => (0, 0),
    }
}

/// Offset of the last ending with an apostrophe: its own, or the n before it; 0 for none.
fn ending(word: &[u8]) -> usize {
    let letters = word
        .iter()
        .rev()
        .take(3)
        .take_while(|b| b.is_ascii_alphabetic())
        .count();
    let head = &word[..word.len() - letters];
    let stem = match head {
        [stem @ .., b'\''] | [stem @ .., 0xE2, 0x80, 0x99] => stem.len(),
        _ => return 0,
    };
    if letters == 1 && word.ends_with(b"t") && head[..stem].ends_with(b"n") {
        stem - 1
    } else {
        stem
    }
}

fn accepts(head: &[u8], tail: &[u8]) -> bool {
    let letters: &[u8] = match tail {
        [b'\'', letters @ ..] | [0xE2, 0x80, 0x99, letters @ ..] => letters,
        [b'n', b'\'', b't'] | [b'n', 0xE2, 0x80, 0x99, b't'] => return negated(head),
        _ => return false,
    };
    match letters {
        b"ll" | b"d" => subject(head),
        b"ve" => has(head),
        b"re" => are(head),
        b"m" => head == b"i",
        _ => false,
    }
}

/// Where to cut a word of letters that is a contraction without its apostrophe (dont, whats) or two words
/// in one (cannot, gonna); 0 for none. Words that are words of their own (well, ill, its) stay whole.
#[inline]
pub fn run_on(word: &[u8]) -> usize {
    if word.len() < 2 || word.len() > 8 {
        return 0;
    }
    let bit = |b: u8| 1u32 << (b & 31);
    let (firsts, befores) = RUN_ON[(word[word.len() - 1] & 31) as usize];
    // One test of both: neither is foreseen well.
    if (firsts & bit(word[0]) != 0) & (befores & bit(word[word.len() - 2]) != 0) {
        cut_run_on(word)
    } else {
        0
    }
}

/// By a word's last letter, the letters it may begin with and those before the last, if it may be two in
/// one; one bit per letter, in any case.
const RUN_ON: [(u32, u32); 32] = {
    const fn set(letters: &[u8]) -> u32 {
        let (mut bits, mut at) = (0, 0);
        while at < letters.len() {
            bits |= 1 << (letters[at] & 31);
            at += 1;
        }
        bits
    }
    const fn row(table: &mut [(u32, u32); 32], last: u8, firsts: &[u8], befores: &[u8]) {
        table[(last & 31) as usize] = (set(firsts), set(befores));
    }
    let mut table = [(0, 0); 32];
    row(&mut table, b'l', b"iyhswt", b"l");
    row(&mut table, b'e', b"hiywtcmsn", b"vr");
    row(&mut table, b'd', b"iyhswt", b"iuetyonws");
    row(&mut table, b's', b"hstw", b"etsonyw");
    row(&mut table, b't', b"cdhmnoswai", b"no");
    row(&mut table, b'a', b"g", b"nt");
    row(&mut table, b'm', b"i", b"i");
    table
};

fn cut_run_on(word: &[u8]) -> usize {
    let mut small = [0u8; 8];
    let small = &mut small[..word.len()];
    small.copy_from_slice(word);
    small[0].make_ascii_lowercase();
    let found = match &*small {
        b"cannot" | b"gonna" | b"gotta" => return 3,
        b"im" => return 1,
        b"ill" | b"hell" | b"shell" | b"well" | b"shed" | b"were" | b"whore" | b"its" => 0,
        [head @ .., b'l', b'l'] if subject(head) => 2,
        [head @ .., b'd'] if subject(head) => 1,
        [head @ .., b'v', b'e'] if has(head) => 2,
        [head @ .., b'r', b'e'] if are(head) => 2,
        b"hes" | b"shes" | b"thats" | b"thiss" => 1,
        [head @ .., b's'] if are(head) && !matches!(head, b"you" | b"we" | b"they") => {
            usize::from(!head.starts_with(b"thes") && !head.starts_with(b"thos"))
        }
        [head @ .., b'n', b't'] if negated(head) => 2,
        _ => 0,
    };
    if found == 0 { 0 } else { word.len() - found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contractions_are_cut_where_spacy_cuts_them() {
        let cases: &[(&str, &[&str])] = &[
            ("don't", &["do", "n't"]),
            ("Can’t", &["Ca", "n’t"]),
            ("I'd've", &["I", "'d", "'ve"]),
            ("couldn't've", &["could", "n't", "'ve"]),
            ("they're", &["they", "'re"]),
            ("cont'd", &["cont'd"]),
            ("Bob'll", &["Bob'll"]),
            ("o'clock", &["o'clock"]),
            ("DON'T", &["DON'T"]),
            ("'", &["'"]),
        ];
        for (word, parts) in cases {
            let (first, second) = contraction(word.as_bytes());
            let mut found = vec![&word[..first], &word[first..second], &word[second..]];
            found.retain(|part| !part.is_empty());
            assert_eq!(&found, parts, "{word}");
        }
    }

    #[test]
    fn run_on_words_are_cut_and_their_doubles_are_not() {
        for (word, head) in [
            ("cannot", "can"),
            ("Cannot", "Can"),
            ("dont", "do"),
            ("whats", "what"),
            ("Wed", "We"),
            ("id", "i"),
            ("youre", "you"),
            ("shouldnt", "should"),
            ("theyve", "they"),
            ("hes", "he"),
            ("well", ""),
            ("its", ""),
            ("were", ""),
            ("CANNOT", ""),
            ("these", ""),
            ("use", ""),
            ("shall", ""),
            ("that", ""),
            ("mad", ""),
        ] {
            assert_eq!(&word[..run_on(word.as_bytes())], head, "{word}");
        }
    }

    #[test]
    fn no_word_that_would_be_cut_is_turned_away_by_its_letters() {
        let heads = "i you he she it we they who what when where why how there that this these those \
            could might must should would not ca do does did had may need ought sha wo ai are is was \
            were have has dare can gon got";
        for head in heads.split_whitespace() {
            for tail in ["ll", "d", "ve", "re", "s", "nt", "not", "na", "ta", "m"] {
                let word = format!("{head}{tail}");
                if word.len() <= 8 {
                    assert_eq!(
                        run_on(word.as_bytes()),
                        cut_run_on(word.as_bytes()),
                        "{word}"
                    );
                }
            }
        }
    }
}

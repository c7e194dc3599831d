//! What a process must not say: the values of its secrets, taken out of its output as it passes.
//!
//! A value is looked for as a whole, line by line if it has several, and as the letters of base64 it becomes at each of the
//! three places it can have in an encoded text. It may arrive in any pieces: what could be the beginning of a value is held
//! back until it is clear that it is none. Values shorter than [`SHORTEST`] are left alone, for they are part of
//! everything.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shorter texts are not secrets: masking them would take apart what a process writes.
const SHORTEST: usize = 4;
/// Of a value's lines and of its encoded forms only longer ones tell of it.
const SHORTEST_PART: usize = 8;
/// What stands in the place of a value.
const MASK: &[u8] = b"***";

/// The values that one process must not say.
#[derive(Debug)]
pub(crate) struct Mask {
    /// By their first byte, the longest first.
    values: Vec<Vec<u8>>,
    /// Whether a value begins with the byte.
    begins: Vec<bool>,
}

/// One stream of output. What it holds back belongs to it alone.
#[derive(Debug, Default)]
pub(crate) struct Masked {
    held: Vec<u8>,
}

impl Mask {
    /// A mask for these values.
    pub(crate) fn of<'a>(secrets: impl Iterator<Item = &'a [u8]>) -> Mask {
        let mut values: Vec<Vec<u8>> = secrets.flat_map(forms).collect();
        values.sort_by(|a, b| (a[0], b.len(), a).cmp(&(b[0], a.len(), b)));
        values.dedup();
        let mut begins = vec![false; 256];
        for value in &values {
            begins[usize::from(value[0])] = true;
        }
        Mask { values, begins }
    }

    /// Whether there is nothing to look for.
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether one of the values is in a text.
    pub(crate) fn finds_in(&self, text: &[u8]) -> bool {
        (0..text.len()).any(|at| matches!(self.at(&text[at..]), Here::Value(_)))
    }

    /// What a text begins with.
    fn at(&self, text: &[u8]) -> Here {
        if !self.begins[usize::from(text[0])] {
            return Here::Nothing;
        }
        let from = self.values.partition_point(|value| value[0] < text[0]);
        let same = self.values[from..].iter().take_while(|value| value[0] == text[0]);
        let mut found = Here::Nothing;
        for value in same {
            if value.len() > text.len() && value.starts_with(text) {
                return Here::Beginning;
            }
            if matches!(found, Here::Nothing) && text.starts_with(value) {
                found = Here::Value(value.len());
            }
        }
        found
    }
}

enum Here {
    Nothing,
    /// A value of so many bytes.
    Value(usize),
    /// All of the text, which a value goes on from.
    Beginning,
}

impl Masked {
    /// What can be shown, now that `bytes` have come.
    pub(crate) fn pass(&mut self, mask: &Mask, bytes: &[u8]) -> Vec<u8> {
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(bytes);
        let mut shown = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            match mask.at(&text[at..]) {
                Here::Nothing => {
                    shown.push(text[at]);
                    at += 1;
                }
                Here::Value(length) => {
                    shown.extend_from_slice(MASK);
                    at += length;
                }
                Here::Beginning => break,
            }
        }
        self.held = text.split_off(at);
        shown
    }

    /// What was held back, and has turned out to be the beginning of nothing.
    pub(crate) fn rest(&mut self, mask: &Mask) -> Vec<u8> {
        let text = std::mem::take(&mut self.held);
        let mut shown = Vec::new();
        let mut at = 0;
        while at < text.len() {
            match mask.at(&text[at..]) {
                Here::Value(length) => {
                    shown.extend_from_slice(MASK);
                    at += length;
                }
                // A shorter value may be in the beginning of a longer one.
                Here::Nothing | Here::Beginning => match mask.shorter(&text[at..]) {
                    Some(length) => {
                        shown.extend_from_slice(MASK);
                        at += length;
                    }
                    None => {
                        shown.push(text[at]);
                        at += 1;
                    }
                },
            }
        }
        shown
    }
}

impl Mask {
    /// The length of the longest value that a text begins with.
    fn shorter(&self, text: &[u8]) -> Option<usize> {
        let found = self.values.iter().filter(|value| text.starts_with(value));
        found.map(Vec::len).max()
    }
}

/// The texts that tell of a value.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let value = value.trim_ascii();
    if value.len() < SHORTEST {
        return Vec::new();
    }
    let mut forms = vec![value.to_vec()];
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    forms.extend(lines.filter(|line| line.len() >= SHORTEST_PART).map(<[u8]>::to_vec));
    for before in 0..3 {
        let shifted = [&[0; 2][..before], value].concat();
        // Letters that are made of bytes around the value, too, are not the same everywhere.
        let (first, whole) = ((before * 8).div_ceil(6), shifted.len() * 8 / 6);
        for text in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            let letters = &text.as_bytes()[first..whole];
            if letters.len() >= SHORTEST_PART {
                forms.push(letters.to_vec());
            }
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn shown(values: &[&str], pieces: &[&str]) -> String {
        let mask = Mask::of(values.iter().map(|value| value.as_bytes()));
        let mut masked = Masked::default();
        let mut out = Vec::new();
        for piece in pieces {
            out.extend(masked.pass(&mask, piece.as_bytes()));
        }
        out.extend(masked.rest(&mask));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_value_is_masked_wherever_it_is_and_in_whatever_pieces_it_comes() {
        for (values, pieces, expected) in [
            (&["hunter2hunter2\n"][..], &["pw=hunter2hunter2!"][..], "pw=***!"),
            (&["hunter2"], &["hun", "ter", "2 hunter"], "*** hunter"),
            (&["hunter2"], &["hunhunter2hunter2"], "hun******"),
            (&["aab-aab-x"], &["aab-aab-aab-x"], "aab-***"),
            (&["abcd", "abcdefgh"], &["abcdef abcd", "efgh abcd"], "***ef *** ***"),
            (&["abc", ""], &["abc"], "abc"),
            (&["first line\nsecond line\n"], &["first line\nsecond line\n"], "***\n"),
            (&["first line\nsecond line\nx"], &["got second line\r\n"], "got ***\r\n"),
            (&[], &["anything"], "anything"),
        ] {
            assert_eq!(shown(values, pieces), expected, "{values:?} {pieces:?}");
        }
    }

    #[test]
    fn every_place_to_cut_gives_the_same() {
        let text = "a correct-horse b correct-hors correct-horsecorrect-horse";
        for cut in 0..text.len() {
            let pieces = [&text[..cut], &text[cut..]];
            assert_eq!(
                shown(&["correct-horse"], &pieces),
                "a *** b correct-hors ******",
                "{cut}"
            );
        }
    }

    #[test]
    fn the_letters_of_base64_are_masked_at_every_place() {
        let value = "correct-horse-battery";
        for before in ["", "u", "us", "user:", "user"] {
            for after in ["", "\n", "xy", ":and more"] {
                let text = STANDARD.encode(format!("{before}{value}{after}"));
                let out = shown(&[value], &[&text]);
                assert!(out.contains("***"), "{before}{after}: {out}");
                // At the edges at most one letter has bits of the value.
                let left: usize = out.split("***").map(str::len).sum();
                let around = STANDARD.encode(format!("{before}{after}")).len();
                assert!(left <= around + 5, "{before}{after}: {out}");
            }
        }
    }

    #[test]
    fn a_text_is_searched() {
        let mask = Mask::of([&b"correct-horse"[..]].into_iter());
        assert!(mask.finds_in(b"[x]\npassword=correct-horse\n"));
        assert!(!mask.finds_in(b"correct-hors"));
        assert!(!mask.finds_in(b""));
    }
}

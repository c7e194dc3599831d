//! The JSON form of arguments, read as Go reads JSON: half a surrogate pair is U+FFFD, lists in lists may be
//! 10,000 deep, and a number that no double holds spoils the whole.
//!
//! Only strings keep their value; of all the rest it is only seen whether it is JSON. General JSON is read with `serde_json`,
//! which is stricter on the first two counts.

use std::iter::Peekable;
use std::str::Chars;

/// Lists and objects may be that deep in each other.
const DEEPEST: usize = 10_000;

/// An element of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// A string.
    Text(String),
    /// Anything else.
    Other,
}

/// The elements of the list that `text` is, if it is one and nothing else.
pub(super) fn list(text: &str) -> Option<Vec<Element>> {
    let mut reader = Reader(text.chars().peekable());
    reader.blanks();
    reader.take('[')?;
    let mut elements = Vec::new();
    if !reader.ends(']') {
        loop {
            elements.push(reader.element()?);
            if reader.ends(']') {
                break;
            }
            reader.take(',')?;
        }
    }
    reader.blanks();
    reader.0.next().is_none().then_some(elements)
}

/// What is left to read. Where it returns `None`, the text is no JSON.
struct Reader<'a>(Peekable<Chars<'a>>);

impl Reader<'_> {
    fn blanks(&mut self) {
        while self.0.next_if(|c| matches!(c, ' ' | '\t' | '\r' | '\n')).is_some() {}
    }

    fn take(&mut self, wanted: char) -> Option<()> {
        self.0.next_if_eq(&wanted).map(|_| ())
    }

    /// Whether `closing` comes next; it is read then.
    fn ends(&mut self, closing: char) -> bool {
        self.blanks();
        self.take(closing).is_some()
    }

    /// An element, however deep, without recursion.
    fn element(&mut self) -> Option<Element> {
        let mut open: Vec<char> = Vec::new();
        loop {
            self.blanks();
            let closing = match self.0.peek()? {
                '[' => Some(']'),
                '{' => Some('}'),
                _ => None,
            };
            if let Some(closing) = closing {
                self.0.next();
                // This one, those it is in, and the list around all.
                if open.len() + 2 > DEEPEST {
                    return None;
                }
                if !self.ends(closing) {
                    open.push(closing);
                    self.name(closing)?;
                    continue;
                }
            } else {
                let element = self.scalar()?;
                if open.is_empty() {
                    return Some(element);
                }
            }
            // A value has ended, and with it perhaps what it is in.
            loop {
                let Some(&closing) = open.last() else {
                    return Some(Element::Other);
                };
                if !self.ends(closing) {
                    self.take(',')?;
                    self.name(closing)?;
                    break;
                }
                open.pop();
            }
        }
    }

    /// The name of the next value, in an object.
    fn name(&mut self, closing: char) -> Option<()> {
        if closing == '}' {
            self.blanks();
            self.string()?;
            self.blanks();
            self.take(':')?;
        }
        Some(())
    }

    fn scalar(&mut self) -> Option<Element> {
        match self.0.peek()? {
            '"' => return self.string().map(Element::Text),
            't' => self.word("true")?,
            'f' => self.word("false")?,
            'n' => self.word("null")?,
            _ => self.number()?,
        }
        Some(Element::Other)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        word.chars().try_for_each(|c| self.take(c))
    }

    fn number(&mut self) -> Option<()> {
        let mut text = String::new();
        text.extend(self.0.next_if_eq(&'-'));
        match self.0.next_if(char::is_ascii_digit)? {
            '0' => text.push('0'),
            first => {
                text.push(first);
                self.digits(&mut text);
            }
        }
        if let Some(point) = self.0.next_if_eq(&'.') {
            text.push(point);
            self.some_digits(&mut text)?;
        }
        if let Some(e) = self.0.next_if(|c| matches!(c, 'e' | 'E')) {
            text.push(e);
            text.extend(self.0.next_if(|c| matches!(c, '+' | '-')));
            self.some_digits(&mut text)?;
        }
        text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|_| ())
    }

    fn digits(&mut self, text: &mut String) {
        while let Some(digit) = self.0.next_if(char::is_ascii_digit) {
            text.push(digit);
        }
    }

    fn some_digits(&mut self, text: &mut String) -> Option<()> {
        text.push(self.0.next_if(char::is_ascii_digit)?);
        self.digits(text);
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        self.take('"')?;
        let mut text = String::new();
        // The first half of a pair, waiting for the second.
        let mut half: Option<u16> = None;
        loop {
            let c = self.0.next()?;
            let unit = match c {
                '\\' => self.escaped()?,
                '\0'..='\x1f' => return None,
                _ => Unit::Char(c),
            };
            match (half.take(), unit) {
                (Some(high), Unit::Code(low @ 0xdc00..=0xdfff)) => {
                    text.extend(char::decode_utf16([high, low]).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
                    continue;
                }
                (Some(_), _) => text.push(char::REPLACEMENT_CHARACTER),
                (None, _) => {}
            }
            match unit {
                Unit::Char('"') if c == '"' => return Some(text),
                Unit::Char(c) => text.push(c),
                Unit::Code(high @ 0xd800..=0xdbff) => half = Some(high),
                Unit::Code(code) => {
                    text.push(char::from_u32(u32::from(code)).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
            }
        }
    }

    /// What stands after a backslash.
    fn escaped(&mut self) -> Option<Unit> {
        Some(Unit::Char(match self.0.next()? {
            c @ ('"' | '\\' | '/') => c,
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let mut code = 0;
                for _ in 0..4 {
                    code = code << 4 | u16::try_from(self.0.next()?.to_digit(16)?).ok()?;
                }
                return Some(Unit::Code(code));
            }
            _ => return None,
        }))
    }
}

/// A piece of a string.
#[derive(Clone, Copy)]
enum Unit {
    /// A character.
    Char(char),
    /// A unit of UTF-16, from an escape.
    Code(u16),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(text: &str) -> Option<Vec<String>> {
        let elements = list(text)?;
        let strings = elements.into_iter().map(|element| match element {
            Element::Text(text) => text,
            Element::Other => "other".to_owned(),
        });
        Some(strings.collect())
    }

    #[test]
    fn strings_are_read_as_go_reads_them() {
        for (text, read) in [
            ("[]", &[][..]),
            (" [ \"a\" ,\t\"b\" ] ", &["a", "b"]),
            (
                r#"["\"\\\/\b\f\n\r\t\u0041\u00e9\u0000"]"#,
                &["\"\\/\x08\x0c\n\r\tAé\0"],
            ),
            (r#"["\ud83d\ude00"]"#, &["😀"]),
            (r#"["\ud800"]"#, &["\u{fffd}"]),
            (r#"["a\udc00b"]"#, &["a\u{fffd}b"]),
            (r#"["\ud800\ud83d\ude00"]"#, &["\u{fffd}😀"]),
            (
                r#"["\ud800\u0041", "\ud800\n", "\ud800x"]"#,
                &["\u{fffd}A", "\u{fffd}\n", "\u{fffd}x"],
            ),
            (r#"["\ud800\"", "\""]"#, &["\u{fffd}\"", "\""]),
            ("[\"\u{7f}é\"]", &["\u{7f}é"]),
        ] {
            let read: Vec<String> = read.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(strings(text), Some(read), "{text}");
        }
    }

    #[test]
    fn anything_else_is_json_all_the_same() {
        let deep = format!("[{}{}]", "[".repeat(9_999), "]".repeat(9_999));
        for text in [
            "[null]",
            "[true]",
            "[false]",
            "[0]",
            "[-0]",
            "[12]",
            "[1.50]",
            "[1e3]",
            "[1E-999]",
            "[-1.0e+3]",
            "[[]]",
            "[{}]",
            r#"[{"a": 1, "a": [2, {"b": []}]}]"#,
            &deep,
        ] {
            assert_eq!(list(text), Some(vec![Element::Other]), "{text:.40}");
        }
        assert_eq!(list("[[1, 2], \"a\"]").map(|list| list.len()), Some(2));
    }

    #[test]
    fn what_is_no_json_is_no_list() {
        let deep = format!("[{}{}]", "[".repeat(10_000), "]".repeat(10_000));
        for text in [
            "",
            "a",
            "{}",
            "[",
            "[\"a\"",
            "[\"a\",]",
            "[,]",
            "[\"a\" \"b\"]",
            "[\"a\"] x",
            "[\"a\"]]",
            "['a']",
            "[\"\\x\"]",
            "[\"\\'\"]",
            "[\"\\u12\"]",
            "[\"\\u12g4\"]",
            "[\"\t\"]",
            "[\"\0\"]",
            "[\"\\",
            "[01]",
            "[+1]",
            "[1.]",
            "[.5]",
            "[1e]",
            "[-]",
            "[1e999]",
            "[[1e999]]",
            "[nul]",
            "[True]",
            "[{1: 2}]",
            "[{\"a\"}]",
            "[{\"a\": 1,}]",
            "[[1}]",
            "[{\"a\": 1]]",
            "\u{a0}[]",
            &deep,
        ] {
            assert!(list(text).is_none(), "{text:.40}");
        }
    }
}

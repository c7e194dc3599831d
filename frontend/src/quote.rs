//! Go's way of writing strings and lists: history entries and error messages are spelled in it.

use std::fmt::Write;

/// A string as Go's `%q` writes it.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            letter if is_printable(letter) => quoted.push(letter),
            letter => escape(&mut quoted, u32::from(letter)),
        }
    }
    quoted.push('"');
    quoted
}

/// A list of strings as Go's `%q` writes it: `["a" "b"]`.
pub(crate) fn quote_list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quote(item)).collect();
    format!("[{}]", items.join(" "))
}

/// A list of strings as Go's `%v` writes it: `[a b]`.
pub(crate) fn list(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

fn escape(quoted: &mut String, code: u32) {
    match code {
        0..=0x7f => write!(quoted, "\\x{code:02x}"),
        0x80..=0xffff => write!(quoted, "\\u{code:04x}"),
        _ => write!(quoted, "\\U{code:08x}"),
    }
    .expect("writing to a string cannot fail");
}

/// Go prints letters, marks, numbers, punctuation, symbols and the plain space: not controls, formats, other spaces,
/// private use.
fn is_printable(letter: char) -> bool {
    let format = matches!(u32::from(letter),
        0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x180e | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f
        | 0xe000..=0xf8ff | 0xfeff | 0xfff0..=0xfffb | 0xfffe..=0xffff | 0xe0000..=0x0010_ffff);
    letter == ' ' || !(letter.is_control() || letter.is_whitespace() || format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_go_does() {
        for (text, quoted) in [
            ("a b", r#""a b""#),
            ("\" \\ \x08 \n \0", r#""\" \\ \b \n \x00""#),
            ("♥ 한", r#""♥ 한""#),
            ("\u{a0}\u{200b}", r#""\u00a0\u200b""#),
        ] {
            assert_eq!(quote(text), quoted);
        }
        assert_eq!(quote_list(&["a".into(), "b c".into()]), r#"["a" "b c"]"#);
        assert_eq!(quote_list(&[]), "[]");
    }
}

//! Words and numbers as progress shows them: sizes, durations, and foreign text made harmless.
//!
//! What a process writes may hold escape sequences that move the cursor, rename the window or hide other output. None of
//! them reaches the terminal: a log line is text. No colours are kept, they would bleed into the lines around.
//!
//! The same holds for whatever else is of foreign origin: names of files, words of servers, labels of images. All that the
//! program says passes here last: errors in `main`, answers in `commands::answer`, progress in its displays.

use std::time::Duration;

/// A line a process wrote, as a terminal would end up showing it: without escape sequences and control characters, and
/// after a carriage return only what was written last (progress bars redraw their line that way).
pub(crate) fn harmless(line: &[u8]) -> String {
    if let Some(plain) = plain(line) {
        return plain.to_owned();
    }
    let text = String::from_utf8_lossy(line);
    let shown = text.trim_end_matches(['\r', '\n']);
    let last = shown.rsplit('\r').find(|part| !part.is_empty()).unwrap_or("");
    let mut out = String::with_capacity(last.len());
    let mut rest = last.chars();
    while let Some(character) = rest.next() {
        match character {
            '\u{1b}' => skip_escape(&mut rest),
            '\u{9b}' => skip_control_sequence(&mut rest),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut rest),
            '\t' => out.push('\t'),
            other if other.is_control() || is_direction_override(other) => {}
            other => out.push(other),
        }
    }
    out
}

/// What most lines are, seen at once: printable ASCII.
fn plain(line: &[u8]) -> Option<&str> {
    let is_plain = line.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    std::str::from_utf8(line).ok().filter(|_| is_plain)
}

/// The same for a text of several lines, all of whose ends are kept.
pub(crate) fn harmless_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(|line| harmless(line.as_bytes())).collect();
    lines.join("\n")
}

/// A JSON document whose strings are as they were, for whoever reads it, and steer no terminal: what JSON would leave as
/// it is becomes an escape.
pub(crate) fn harmless_json(document: &str) -> String {
    let mut out = String::with_capacity(document.len());
    for character in document.chars() {
        match character {
            '\n' => out.push('\n'),
            other if other.is_control() || is_direction_override(other) => {
                out.push_str(&format!("\\u{:04x}", u32::from(other)));
            }
            other => out.push(other),
        }
    }
    out
}

/// After ESC: a control sequence, a string (title, link, …), or a short sequence.
fn skip_escape(rest: &mut std::str::Chars<'_>) {
    match rest.next() {
        Some('[') => skip_control_sequence(rest),
        Some(']' | 'P' | 'X' | '^' | '_') => skip_string(rest),
        Some(' '..='/') => {
            rest.find(|character| !(' '..='/').contains(character));
        }
        _ => {}
    }
}

/// Parameters end with a letter or one of `@[\]^_{|}~` and the back-tick.
fn skip_control_sequence(rest: &mut std::str::Chars<'_>) {
    rest.find(|character| ('@'..='~').contains(character));
}

/// Ends with BEL, or ST in one of its two spellings.
fn skip_string(rest: &mut std::str::Chars<'_>) {
    while let Some(character) = rest.next() {
        match character {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                rest.next();
                return;
            }
            _ => {}
        }
    }
}

/// Characters that make a terminal show what follows in another order than it is written.
fn is_direction_override(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A size in decimal units: `32B`, `2.10kB`, `1.05MB`.
pub(crate) fn bytes(size: u64) -> String {
    if size < 1000 {
        return format!("{size}B");
    }
    let mut value = size as f64;
    let mut unit = "";
    for next in ["k", "M", "G", "T", "P"] {
        if value < 999.995 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.2}{unit}B")
}

/// The time since a step's start, in five characters while that is enough: `0.413`, `12.34`, `123.4`, `1234.`.
pub(crate) fn stamp(since: Duration) -> String {
    let seconds = since.as_secs_f64();
    let text = format!("{seconds:.3}");
    match text.find('.') {
        Some(point) if point <= 4 => text.chars().take(5).collect(),
        _ => format!("{seconds:.0}"),
    }
}

/// A duration with one decimal: `1.2s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_process_writes_steers_the_terminal() {
        for (written, shown) in [
            (&b"plain"[..], "plain"),
            (b"\x1b[31mred\x1b[0m", "red"),
            (b"\x1b]0;title\x07after", "after"),
            (b"\x1b]8;;http://x\x1b\\link", "link"),
            (b"\x1b[2J\x1b[1;1Hgone", "gone"),
            (b"\x1b(Bascii", "ascii"),
            (b"10%\r50%\r100%", "100%"),
            (b"100%\r", "100%"),
            (b"windows\r\n", "windows"),
            (b"bell\x07 back\x08space\x00", "bell backspace"),
            (b"\xc2\x9b31mC1", "C1"),
            (b"a\tb", "a\tb"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            ("\u{202e}txt.exe".as_bytes(), "txt.exe"),
            (b"\x1b", ""),
            (b"\x1b[", ""),
            (b"", ""),
        ] {
            assert_eq!(harmless(written), shown, "{written:?}");
        }
    }

    #[test]
    fn a_text_keeps_its_lines_and_no_more() {
        let text = "ERROR: cannot open /a\u{1b}[2Jb:\n\tno\u{9b}1A such\u{202e} file\n";
        assert_eq!(harmless_lines(text), "ERROR: cannot open /ab:\n\tno such file\n");
    }

    #[test]
    fn a_document_says_the_same_in_plain_letters() {
        let value = serde_json::json!({ "a\u{7f}": "\u{1b}[1m\u{9b}2J\u{202e}é\n" });
        let shown = harmless_json(&format!("{value:#}\n"));
        assert_eq!(shown, "{\n  \"a\\u007f\": \"\\u001b[1m\\u009b2J\\u202eé\\n\"\n}\n");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn sizes_are_decimal_with_two_places() {
        for (size, shown) in [
            (0, "0B"),
            (999, "999B"),
            (2100, "2.10kB"),
            (999_999, "1.00MB"),
            (1_050_000, "1.05MB"),
            (3_400_000_000, "3.40GB"),
        ] {
            assert_eq!(bytes(size), shown);
        }
    }

    #[test]
    fn stamps_keep_their_width() {
        for (milliseconds, shown) in [
            (0, "0.000"),
            (413, "0.413"),
            (12_345, "12.34"),
            (123_456, "123.4"),
            (1_234_567, "1234."),
            (12_345_678, "12346"),
        ] {
            assert_eq!(stamp(Duration::from_millis(milliseconds)), shown);
        }
    }
}

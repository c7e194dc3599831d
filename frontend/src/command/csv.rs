//! One line of comma-separated values, as flags have them.

use crate::Diagnostic;
use crate::quote::quote;

/// The values of one line of CSV: a value in double quotes may hold commas, and quotes doubled.
pub(super) fn fields(text: &str) -> Result<Vec<String>, Diagnostic> {
    let broken = || {
        Diagnostic::new(format!(
            "failed to parse csv mounts: misplaced quote in {}",
            quote(text)
        ))
    };
    if text.is_empty() {
        // The reader of BuildKit finds no line.
        return Err(Diagnostic::new("failed to parse csv mounts: EOF"));
    }
    let mut fields = Vec::new();
    let mut letters = text.chars().peekable();
    loop {
        let mut field = String::new();
        let quoted = letters.next_if_eq(&'"').is_some();
        loop {
            match letters.next() {
                None if quoted => return Err(broken()),
                None => {
                    fields.push(field);
                    return Ok(fields);
                }
                Some('"') if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
                Some('"') if quoted => match letters.next() {
                    None => {
                        fields.push(field);
                        return Ok(fields);
                    }
                    Some(',') => break,
                    Some(_) => return Err(broken()),
                },
                Some('"') => return Err(broken()),
                Some(',') if !quoted => break,
                Some(letter) => field.push(letter),
            }
        }
        fields.push(field);
    }
}

//! `--chmod`: what it may be.

use crate::Diagnostic;

/// A mode as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Octal digits.
    Octal(u32),
    /// `u=rwX,go=rX` and the like.
    Symbolic,
}

/// Reads a mode.
pub(super) fn parse(text: &str) -> Result<Mode, Diagnostic> {
    let refusal = || {
        Diagnostic::new(format!(
            "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
        ))
    };
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o7777 => Ok(Mode::Octal(mode)),
            _ => Err(refusal()),
        };
    }
    if text.split(',').all(is_clause) {
        Ok(Mode::Symbolic)
    } else {
        Err(refusal())
    }
}

/// Whom, then an operator and permissions, again and again.
fn is_clause(clause: &str) -> bool {
    let operations = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    operations.starts_with(['+', '-', '='])
        && operations
            .split(['+', '-', '='])
            .all(|permissions| permissions.chars().all(|letter| "rwxXstugo".contains(letter)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_or_symbolic() {
        assert_eq!(parse("0755").unwrap(), Mode::Octal(0o755));
        assert_eq!(parse("7777").unwrap(), Mode::Octal(0o7777));
        for text in ["u=rwX,go=rX", "+x", "g=u", "a-w+r"] {
            assert_eq!(parse(text).unwrap(), Mode::Symbolic, "{text}");
        }
        for text in ["9", "17777", "-1", "u", "rwx", "u=q", "", "u=r,"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

//! Ignore files: `.dockerignore` text to the patterns of a context.
//!
//! Only the text is read here: comments and blanks go, paths are cleaned. What a pattern matches is `graph::pattern`'s.

use graph::pattern::{PatternError, PatternList};

use crate::path;

/// Why an ignore file was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not UTF-8.
    #[error("line {line} of the ignore file is not valid UTF-8")]
    Encoding {
        /// Which line, the first being 1.
        line: usize,
    },
    /// A pattern that makes no sense.
    #[error("line {line} of the ignore file")]
    Pattern {
        /// Which line, the first being 1.
        line: usize,
        /// What is wrong with it.
        source: PatternError,
    },
    /// `!` and nothing after it.
    #[error("line {line} of the ignore file excludes nothing: illegal exclusion pattern: \"!\"")]
    EmptyExclusion {
        /// Which line, the first being 1.
        line: usize,
    },
}

/// The patterns, in order; the last that matches decides. `!` at the start takes a path back in.
///
/// # Errors
/// [`Error`] for text that is no ignore file.
pub fn parse(bytes: &[u8]) -> Result<Vec<String>, Error> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut patterns = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let line = str::from_utf8(line).map_err(|_| Error::Encoding { line: number })?;
        let pattern = line.trim();
        if line.starts_with('#') || pattern.is_empty() {
            continue;
        }
        match pattern.strip_prefix('!').map(str::trim) {
            None => patterns.push(clean(pattern)),
            Some("") => return Err(Error::EmptyExclusion { line: number }),
            Some(pattern) => patterns.push(format!("!{}", clean(pattern))),
        }
        let made = PatternList::new(&patterns[patterns.len() - 1..]);
        made.map_err(|source| Error::Pattern { line: number, source })?;
    }
    Ok(patterns)
}

/// `/a`, `a/` and `./a` are the same.
fn clean(pattern: &str) -> String {
    let cleaned = path::clean(pattern);
    match cleaned.strip_prefix('/') {
        Some(relative) if !relative.is_empty() => relative.to_owned(),
        _ => cleaned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_cleaned_and_comments_dropped() {
        let text = "\u{feff}# comment\n #not a comment\n/a\n b/ \n./c\n\n! /d/../e\n**/x\r\n/\n";
        assert_eq!(
            parse(text.as_bytes()).unwrap(),
            ["#not a comment", "a", "b", "c", "!e", "**/x", "/"]
        );
    }

    #[test]
    fn a_pattern_without_sense_is_refused_by_its_line() {
        for text in ["a\n[\n", "a\n!b\\\n"] {
            assert!(
                matches!(parse(text.as_bytes()), Err(Error::Pattern { line: 2, .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn an_exclusion_of_nothing_is_refused() {
        assert!(matches!(parse(b"a\n!\n"), Err(Error::EmptyExclusion { line: 2 })));
    }
}

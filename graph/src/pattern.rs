//! Path patterns: the wildcards of COPY sources and the patterns of ignore files.
//!
//! Two languages that look alike. A [`Pattern`] is one of Go's `filepath.Match`: `*` and `?` stop at a slash, `[a-z]` and
//! `[^a-z]` are classes, a backslash takes the next character as it is. A [`PatternList`] is what moby's ignore files
//! hold: the same, and `**` for any number of folders, `!` to take back what an earlier line excluded, and a match of a
//! folder covers everything below it. The last line that matches decides.
//!
//! Paths are bytes with `/` between names and none in front: file names need not be UTF-8. A byte that is no part of a
//! character is matched by `*`, `?` and negated classes only. Matching walks all states of a pattern at once, so that no
//! pattern can make it slow. Reading ignore files (comments, leading slashes) is the work of whoever has the text.

mod list;
mod token;

pub use list::{Carried, PatternList};

use token::Token;

/// A pattern that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A class that is not closed or empty, or a backslash at the end.
    #[error("syntax error in pattern `{0}`")]
    Syntax(String),
    /// An exclamation mark with nothing to take back.
    #[error("illegal exclusion pattern: `!`")]
    BareNegation,
}

/// One pattern of Go's `filepath.Match`.
#[derive(Clone, Debug)]
pub struct Pattern(Vec<Token>);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn new(text: &str) -> Result<Pattern, PatternError> {
        token::glob(text)
            .map(Pattern)
            .ok_or_else(|| PatternError::Syntax(text.to_owned()))
    }

    /// Whether all of `name` matches.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        token::matches(&self.0, name)
    }
}

/// A pattern that `path` alone matches.
#[must_use]
pub fn literal(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for letter in path.chars() {
        if matches!(letter, '*' | '?' | '[' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

/// Whether a text is more than a name: a `*`, `?` or `[` that no backslash takes as it is.
#[must_use]
pub fn has_wildcards(text: &str) -> bool {
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                characters.next();
            }
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests;

//! Words: quotes, escapes and variables, as the builder (not the shell) reads them.
//!
//! ```text
//! $x ${x}               the value, or nothing
//! ${x:-w} ${x-w}        w if unset or empty / if unset
//! ${x:+w} ${x+w}        w if set and not empty / if set
//! ${x:?w} ${x?w}        fails with w if unset or empty / if unset
//! ${x#p} ${x##p}        without the shortest / longest prefix that matches p
//! ${x%p} ${x%%p}        without the shortest / longest suffix that matches p
//! ${x/p/r} ${x//p/r}    the first / each match of p replaced by r
//! ```
//!
//! Single quotes stop all of it, double quotes keep words together, the escape character takes the meaning from the next
//! letter. Patterns are in [`pattern`].

pub(crate) mod allowance;
mod pattern;
mod scan;

use std::collections::BTreeSet;

use crate::Environment;
use crate::quote::quote;
use allowance::Allowance;

/// How a word is read.
#[derive(Clone, Debug)]
pub(crate) struct Expander {
    /// The character that takes the meaning from the next.
    pub(crate) escape: char,
    /// What becomes of quotes.
    pub(crate) quotes: Quotes,
    /// What becomes of escape characters.
    pub(crate) escapes: Escapes,
    /// What becomes of variables that are not set.
    pub(crate) unset: Unset,
    /// How much work there may be.
    pub(crate) allowance: Allowance,
}

/// What becomes of quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quotes {
    /// They group and are taken away.
    Removed,
    /// They group and stay.
    Kept,
    /// They are letters like others.
    Ordinary,
}

/// What becomes of escape characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escapes {
    /// They work and are taken away.
    Removed,
    /// They work and stay.
    Kept,
}

/// What becomes of variables that are not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unset {
    /// They are empty.
    Empty,
    /// They stay as written.
    Kept,
}

/// A word with its variables replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expansion {
    /// As one word.
    pub(crate) text: String,
    /// Split at blanks that are not quoted.
    pub(crate) words: Vec<String>,
    /// The variables that were asked for and set.
    pub(crate) matched: BTreeSet<String>,
    /// The variables that were asked for and not set.
    pub(crate) unmatched: BTreeSet<String>,
}

/// Why a word has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {}: {reason}", quote(word))]
pub struct WordError {
    /// The word.
    pub word: String,
    /// What is wrong with it.
    pub reason: Reason,
    /// The variables that were asked for until then and not set.
    pub unmatched: BTreeSet<String>,
}

/// What is wrong with a word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A quote (or `/`, `}`) that has no other end.
    #[error("unexpected end of statement while looking for matching {0}")]
    NoEnd(&'static str),
    /// `${` and no `}` (or no `/` where one must be).
    #[error("syntax error: missing {0}")]
    Missing(&'static str),
    /// `${}` or the like.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// Something else than `:-` and its family after a name.
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    /// A pattern with a backslash before an ordinary letter.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{letter}'")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What follows the backslash.
        letter: char,
    },
    /// A pattern and a value that are both very long.
    #[error("the pattern and the value of a substitution are too long to be compared")]
    TooMuchWork,
    /// `${name:?message}` of a variable without value.
    #[error("{name}: {message}")]
    Mandatory {
        /// The variable.
        name: String,
        /// What the author wrote to say of it.
        message: String,
    },
    /// Substitutions within substitutions, beyond all sense.
    #[error("substitutions are nested more than {0} deep")]
    Depth(usize),
    /// Values made of values, beyond all sense.
    #[error("the value is longer than {0} bytes")]
    Length(usize),
    /// The same, of all values together.
    #[error("the values of variables in this Dockerfile are more than {0} bytes, all together")]
    TooMuch(u64),
}

impl Expander {
    /// An expander that takes quotes and escapes away, and unset variables too, with an allowance of its own.
    pub(crate) fn new(escape: char) -> Expander {
        Expander {
            escape,
            quotes: Quotes::Removed,
            escapes: Escapes::Removed,
            unset: Unset::Empty,
            allowance: Allowance::new(),
        }
    }

    /// Reads `word`.
    pub(crate) fn expand(&self, word: &str, environment: &Environment) -> Result<Expansion, WordError> {
        scan::expand(self, word, environment).map_err(|(reason, unmatched)| WordError {
            word: word.to_owned(),
            reason,
            unmatched,
        })
    }

    /// Reads `word` as one.
    pub(crate) fn text(&self, word: &str, environment: &Environment) -> Result<String, WordError> {
        self.expand(word, environment).map(|expansion| expansion.text)
    }
}

/// The value of `word` as one, with `\` as the escape character.
///
/// # Errors
/// [`WordError`] for a word without end or sense.
pub fn expand(word: &str, environment: &Environment) -> Result<String, WordError> {
    Expander::new('\\').text(word, environment)
}

/// The value of `word`, split at blanks that are not quoted, with `\` as the escape character.
///
/// # Errors
/// [`WordError`] for a word without end or sense.
pub fn words(word: &str, environment: &Environment) -> Result<Vec<String>, WordError> {
    Expander::new('\\')
        .expand(word, environment)
        .map(|expansion| expansion.words)
}

#[cfg(test)]
mod tests;

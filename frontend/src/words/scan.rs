//! The reader of words: one pass over the letters, recursive where a substitution holds a word.

use std::collections::BTreeSet;
use std::mem;

use super::pattern::{self, Pattern, Reach};
use super::{Escapes, Expander, Expansion, Quotes, Reason, Unset};
use crate::Environment;

/// Deeper nesting than anyone writes, shallower than the stack.
const DEPTH: usize = 64;

/// Why a word has no value, and the variables it had asked for until then that are not set.
type Failure = (Reason, BTreeSet<String>);

/// Longer than any value a process could be given, and short enough that values made of values stay small.
const LONGEST: usize = 16 << 20;

/// Comparing letters is less work than copying them.
const STEPS_A_BYTE: usize = 8;

/// Reads the whole of `word`.
pub(super) fn expand(expander: &Expander, word: &str, environment: &Environment) -> Result<Expansion, Failure> {
    let mut scan = Scan {
        expander,
        environment,
        letters: word.chars().collect(),
        position: 0,
        escapes: expander.escapes,
        matched: BTreeSet::new(),
        unmatched: BTreeSet::new(),
        depth: 0,
    };
    match scan.until(None) {
        Ok((text, words)) => Ok(Expansion {
            text,
            words,
            matched: scan.matched,
            unmatched: scan.unmatched,
        }),
        Err(reason) => Err((reason, scan.unmatched)),
    }
}

struct Scan<'a> {
    expander: &'a Expander,
    environment: &'a Environment,
    letters: Vec<char>,
    position: usize,
    escapes: Escapes,
    matched: BTreeSet<String>,
    unmatched: BTreeSet<String>,
    depth: usize,
}

/// Collects letters into words.
#[derive(Default)]
struct Words {
    words: Vec<String>,
    current: String,
    in_word: bool,
}

impl Words {
    /// A letter: a blank ends the word.
    fn letter(&mut self, letter: char) {
        if !letter.is_whitespace() {
            self.raw(letter);
        } else if self.in_word && !self.current.is_empty() {
            self.words.push(mem::take(&mut self.current));
            self.in_word = false;
        }
    }

    /// A letter that is part of the word even if it is a blank.
    fn raw(&mut self, letter: char) {
        self.current.push(letter);
        self.in_word = true;
    }

    fn finish(mut self) -> Vec<String> {
        if !self.current.is_empty() {
            self.words.push(self.current);
        }
        self.words
    }
}

impl Scan<'_> {
    fn peek(&self) -> Option<char> {
        self.letters.get(self.position).copied()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek();
        self.position += usize::from(letter.is_some());
        letter
    }

    /// Reads up to `stop` and past it, or to the end.
    fn until(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), Reason> {
        let mut text = String::new();
        let mut words = Words::default();
        while let Some(letter) = self.peek() {
            check_length(&text)?;
            if Some(letter) == stop {
                self.next();
                return Ok((text, words.finish()));
            }
            match letter {
                '$' => {
                    let value = self.dollar()?;
                    value.chars().for_each(|letter| words.letter(letter));
                    text.push_str(&value);
                }
                '<' => self.heredoc_mark().chars().for_each(|letter| {
                    words.raw(letter);
                    text.push(letter);
                }),
                '\'' | '"' if self.expander.quotes != Quotes::Ordinary => {
                    let quoted = if letter == '"' {
                        self.double_quoted()?
                    } else {
                        self.single_quoted()?
                    };
                    words.in_word = true;
                    quoted.chars().for_each(|letter| words.raw(letter));
                    text.push_str(&quoted);
                }
                _ => self.plain(&mut text, &mut words),
            }
        }
        match stop {
            None => Ok((text, words.finish())),
            Some('/') => Err(Reason::NoEnd("/")),
            Some(_) => Err(Reason::NoEnd("}")),
        }
    }

    /// A letter without meaning, or an escape and what it protects. An escape at the very end is dropped.
    fn plain(&mut self, text: &mut String, words: &mut Words) {
        let Some(letter) = self.next() else { return };
        if letter != self.expander.escape {
            words.letter(letter);
            text.push(letter);
            return;
        }
        if self.escapes == Escapes::Kept {
            words.raw(letter);
            text.push(letter);
        }
        if let Some(protected) = self.next() {
            words.raw(protected);
            text.push(protected);
        }
    }

    /// `<<` and the blanks after it belong to the word that follows, so that `<< EOF` is one.
    fn heredoc_mark(&mut self) -> String {
        self.next();
        if self.peek() != Some('<') {
            return "<".to_owned();
        }
        self.next();
        let mut mark = "<<".to_owned();
        while let Some(blank @ ('\t' | '\r' | ' ')) = self.peek() {
            mark.push(blank);
            self.next();
        }
        mark
    }

    fn single_quoted(&mut self) -> Result<String, Reason> {
        let mut text = String::new();
        self.quote(&mut text);
        loop {
            match self.peek() {
                None => return Err(Reason::NoEnd("single-quote")),
                Some('\'') => {
                    self.quote(&mut text);
                    return Ok(text);
                }
                Some(letter) => {
                    text.push(letter);
                    self.next();
                }
            }
        }
    }

    fn double_quoted(&mut self) -> Result<String, Reason> {
        let mut text = String::new();
        self.quote(&mut text);
        loop {
            match self.peek() {
                None => return Err(Reason::NoEnd("double-quote")),
                Some('"') => {
                    self.quote(&mut text);
                    return Ok(text);
                }
                Some('$') => {
                    text.push_str(&self.dollar()?);
                    check_length(&text)?;
                }
                Some(letter) => {
                    self.next();
                    if letter == self.expander.escape {
                        self.escaped_in_quotes(&mut text);
                    } else {
                        text.push(letter);
                    }
                }
            }
        }
    }

    /// The escape works on `"`, `$` and itself only.
    fn escaped_in_quotes(&mut self, text: &mut String) {
        let escape = self.expander.escape;
        if self.escapes == Escapes::Kept {
            text.push(escape);
        }
        match self.peek() {
            None => {}
            Some(letter) if letter == '"' || letter == '$' || letter == escape => {
                text.push(letter);
                self.next();
            }
            Some(_) => text.push(escape),
        }
    }

    fn quote(&mut self, text: &mut String) {
        if let Some(mark) = self.next()
            && self.expander.quotes == Quotes::Kept
        {
            text.push(mark);
        }
    }

    fn dollar(&mut self) -> Result<String, Reason> {
        self.next();
        if self.peek() == Some('{') {
            self.next();
            return self.substitution();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        match self.value(&name)? {
            None if self.expander.unset == Unset::Kept => Ok(format!("${name}")),
            value => Ok(value.unwrap_or_default()),
        }
    }

    /// What follows `${`.
    fn substitution(&mut self) -> Result<String, Reason> {
        match self.peek() {
            None => return Err(Reason::Missing("'}'")),
            Some('{' | '}' | ':') => return Err(Reason::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        let Some(mark) = self.next() else {
            return Err(Reason::Missing("'}'"));
        };
        match mark {
            '}' => match self.value(&name)? {
                None if self.expander.unset == Unset::Kept => Ok(format!("${{{name}}}")),
                value => Ok(value.unwrap_or_default()),
            },
            ':' => {
                let Some(mark) = self.next() else {
                    return Err(Reason::Missing("'}'"));
                };
                if matches!(mark, '#' | '%') {
                    return Err(Reason::Modifier(format!(":{mark}")));
                }
                self.modified(&name, mark, true)
            }
            '+' | '-' | '?' => self.modified(&name, mark, false),
            '#' | '%' => self.trimmed(&name, mark),
            '/' => self.replaced(&name),
            other => Err(Reason::Modifier(other.to_string())),
        }
    }

    /// `${name-word}` and its family; `colon` is the form in which empty counts as unset.
    fn modified(&mut self, name: &str, mark: char, colon: bool) -> Result<String, Reason> {
        let marks = format!("{}{mark}", if colon { ":" } else { "" });
        let word = self.inner('}', Escapes::Removed, "'}'")?;
        let value = self.value(name)?;
        if value.is_none() && self.expander.unset == Unset::Kept {
            return Ok(format!("${{{name}{marks}{word}}}"));
        }
        let given = value.clone().filter(|value| !(colon && value.is_empty()));
        match mark {
            '-' => Ok(given.unwrap_or(word)),
            '+' => Ok(given.map(|_| word).unwrap_or_default()),
            '?' => given.ok_or_else(|| {
                let missing = if value.is_none() { "unset" } else { "empty" };
                let default = format!("is not allowed to be {missing}");
                Reason::Mandatory {
                    name: name.to_owned(),
                    message: if word.is_empty() { default } else { word },
                }
            }),
            _ => Err(Reason::Modifier(marks)),
        }
    }

    /// `${name#pattern}` and its family.
    fn trimmed(&mut self, name: &str, mark: char) -> Result<String, Reason> {
        let word = self.inner('}', Escapes::Kept, "'}'")?;
        let value = match self.value(name)? {
            None if self.expander.unset == Unset::Kept => return Ok(format!("${{{name}{mark}{word}}}")),
            value => value.unwrap_or_default(),
        };
        let (reach, word) = match word.strip_prefix(mark) {
            Some(word) => (Reach::Longest, word),
            None => (Reach::Shortest, word.as_str()),
        };
        let pattern = parse_pattern(word)?;
        let rest = match mark {
            '#' => pattern.without_prefix(&value, reach),
            _ => pattern.without_suffix(&value, reach),
        };
        self.unless_given_up(&pattern, rest)
    }

    /// `${name/pattern/replacement}` and with `//`.
    fn replaced(&mut self, name: &str) -> Result<String, Reason> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let word = self.inner('/', Escapes::Kept, "'/' in ${}")?;
        let replacement = self.inner('}', Escapes::Kept, "'}'")?;
        let value = match self.value(name)? {
            None if self.expander.unset == Unset::Kept => return Ok(format!("${{{name}/{word}/{replacement}}}")),
            value => value.unwrap_or_default(),
        };
        let pattern = parse_pattern(&word)?;
        let result = match all {
            true => pattern.replace_all(&value, &replacement, LONGEST),
            false => pattern.replace_first(&value, &replacement),
        };
        check_length(&result)?;
        self.expander.allowance.take(result.len())?;
        self.unless_given_up(&pattern, result)
    }

    fn unless_given_up(&self, pattern: &Pattern, result: String) -> Result<String, Reason> {
        self.expander.allowance.take(pattern.work_done() / STEPS_A_BYTE)?;
        match pattern.gave_up() {
            true => Err(Reason::TooMuchWork),
            false => Ok(result),
        }
    }

    /// The word inside a substitution, up to `stop`; `missing` is what to say if that never comes.
    fn inner(&mut self, stop: char, escapes: Escapes, missing: &'static str) -> Result<String, Reason> {
        if self.depth == DEPTH {
            return Err(Reason::Depth(DEPTH));
        }
        let outer = mem::replace(&mut self.escapes, escapes);
        self.depth += 1;
        let result = self.until(Some(stop));
        self.depth -= 1;
        self.escapes = outer;
        match result {
            Ok((word, _)) => Ok(word),
            Err(Reason::NoEnd(_)) if self.peek().is_none() => Err(Reason::Missing(missing)),
            Err(reason) => Err(reason),
        }
    }

    /// A name: letters, digits and `_`; or digits only; or one special parameter; or nothing.
    fn name(&mut self) -> String {
        let start = self.position;
        match self.peek() {
            Some(first) if first.is_numeric() => {
                while self.peek().is_some_and(char::is_numeric) {
                    self.next();
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => {
                self.next();
            }
            _ => {
                while self
                    .peek()
                    .is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
                {
                    self.next();
                }
            }
        }
        self.letters[start..self.position].iter().collect()
    }

    fn value(&mut self, name: &str) -> Result<Option<String>, Reason> {
        let value = self.environment.get(name);
        let names = match value {
            Some(_) => &mut self.matched,
            None => &mut self.unmatched,
        };
        names.insert(name.to_owned());
        self.expander.allowance.take(value.map_or(0, str::len))?;
        Ok(value.map(str::to_owned))
    }
}

fn check_length(text: &str) -> Result<(), Reason> {
    match text.len() > LONGEST {
        true => Err(Reason::Length(LONGEST)),
        false => Ok(()),
    }
}

fn parse_pattern(word: &str) -> Result<Pattern, Reason> {
    pattern::parse(word).map_err(|letter| Reason::Pattern {
        pattern: word.to_owned(),
        letter,
    })
}

//! Lists of patterns: the last that matches a path, or a folder above it, decides.
//!
//! As in moby, a line is only looked at where it could change the decision of those before it, and a folder hands down
//! the lines that were looked at and matched. So in `d`, `!d/k`, `d` the last line says nothing of `d`, which is left out
//! already, and hence nothing of `d/k`; and in `d/o`, `!d` the second takes nothing back.

use super::token::{self, Token};
use super::{PatternError, has_wildcards};

/// The patterns of an ignore file.
#[derive(Clone, Debug, Default)]
pub struct PatternList(Vec<Line>);

#[derive(Clone, Debug)]
struct Line {
    text: String,
    negated: bool,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// No wildcards: the most common, and the cheapest.
    Exact(Vec<u8>),
    /// The literal beginning, and all parts.
    Parts(Vec<u8>, Vec<Token>),
}

/// Which patterns matched a folder or one above it: what a walk takes along on its way down.
#[derive(Clone, Debug, Default)]
pub struct Carried(Vec<bool>);

impl PatternList {
    /// Reads patterns. Space around them is dropped, empty ones are skipped, paths are cleaned (`./a`, `a/` and `b/../a`
    /// are `a`).
    ///
    /// # Errors
    /// If one is malformed.
    pub fn new(patterns: &[String]) -> Result<PatternList, PatternError> {
        let mut lines = Vec::with_capacity(patterns.len());
        for text in patterns {
            let trimmed = text.trim();
            if trimmed.is_empty() {
                continue;
            }
            let cleaned = clean(trimmed);
            let (negated, pattern) = match cleaned.strip_prefix('!') {
                Some("") => return Err(PatternError::BareNegation),
                Some(pattern) => (true, pattern),
                None => (false, cleaned.as_str()),
            };
            lines.push(Line {
                text: trimmed.to_owned(),
                negated,
                form: Form::read(pattern).ok_or_else(|| PatternError::Syntax(text.clone()))?,
            });
        }
        Ok(PatternList(lines))
    }

    /// Whether there are no patterns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the list matches `path`.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        self.decider(path).is_some()
    }

    /// The pattern that makes the list match `path`, as it was written.
    #[must_use]
    pub fn decider(&self, path: &[u8]) -> Option<&str> {
        let mut carried = Carried::default();
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for end in ends.map(|(at, _)| at).chain([path.len()]) {
            carried = self.enter(&carried, &path[..end]).1;
        }
        let line = &self.0[carried.0.iter().rposition(|matched| *matched)?];
        (!line.negated).then_some(line.text.as_str())
    }

    /// Whether the list matches `path`, given what its folder carries, and what `path` carries to its own entries.
    #[must_use]
    pub fn enter(&self, folder: &Carried, path: &[u8]) -> (bool, Carried) {
        let mut decision = false;
        let matched = self.0.iter().enumerate().map(|(index, line)| {
            let handed_down = folder.0.get(index).copied().unwrap_or_default();
            let matched = handed_down || line.negated == decision && line.form.matches(path);
            if matched {
                decision = !line.negated;
            }
            matched
        });
        let carried = Carried(matched.collect());
        (decision, carried)
    }

    /// Whether the list matches what carries `carried`.
    #[must_use]
    pub fn decides(&self, carried: &Carried) -> bool {
        let decider = carried.0.iter().rposition(|matched| *matched);
        decider.is_some_and(|at| !self.0[at].negated)
    }

    /// Whether the list matches anything that could be below the folder `path`, which carries `carried`.
    #[must_use]
    pub fn may_match_below(&self, carried: &Carried, path: &[u8]) -> bool {
        let mut start = path.to_vec();
        start.push(b'/');
        self.decides(carried) || self.0.iter().any(|line| !line.negated && line.form.may_begin(&start))
    }

    /// Whether a later `!` could take back something below the folder `path`, which carries `carried`.
    #[must_use]
    pub fn may_take_back_below(&self, carried: &Carried, path: &[u8]) -> bool {
        let decided = carried.0.iter().rposition(|matched| *matched).map_or(0, |at| at + 1);
        let mut start = path.to_vec();
        start.push(b'/');
        self.0[decided..]
            .iter()
            .any(|line| line.negated && line.form.may_begin(&start))
    }
}

impl Form {
    fn read(pattern: &str) -> Option<Form> {
        let tokens = token::deep_glob(pattern)?;
        if !has_wildcards(pattern) && !pattern.contains(['\\', ']']) {
            return Some(Form::Exact(pattern.as_bytes().to_vec()));
        }
        let literal: String = tokens
            .iter()
            .map_while(|token| match token {
                Token::Literal(character) => Some(*character),
                _ => None,
            })
            .collect();
        Some(Form::Parts(literal.into_bytes(), tokens))
    }

    fn matches(&self, path: &[u8]) -> bool {
        match self {
            Form::Exact(exact) => exact == path,
            Form::Parts(literal, tokens) => path.starts_with(literal) && token::matches(tokens, path),
        }
    }

    fn may_begin(&self, start: &[u8]) -> bool {
        match self {
            Form::Exact(exact) => exact.starts_with(start),
            Form::Parts(_, tokens) => token::may_begin(tokens, start),
        }
    }
}

/// The shortest path that means the same, as Go's `filepath.Clean`.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => match names.last() {
                Some(last) if *last != ".." => {
                    names.pop();
                }
                _ if rooted => {}
                _ => names.push(name),
            },
            _ => names.push(name),
        }
    }
    match (rooted, names.is_empty()) {
        (true, _) => format!("/{}", names.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => names.join("/"),
    }
}

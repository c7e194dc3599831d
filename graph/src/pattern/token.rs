//! The parts of a pattern, and matching them: a small automaton whose states are the places between parts.

use std::iter::Peekable;
use std::str::Chars;

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// This character.
    Literal(char),
    /// One character that is no slash: `?`.
    One,
    /// Any characters but slashes: `*`.
    Star,
    /// One character of a set: `[a-z]`.
    Class(Class),
    /// The next part may be left out.
    Maybe,
    /// Anything up to and with a slash.
    Folders,
    /// Anything: `**` at an end.
    Rest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    fn contains(&self, character: Option<char>) -> bool {
        let listed = character.is_some_and(|character| {
            self.ranges
                .iter()
                .any(|(low, high)| (*low..=*high).contains(&character))
        });
        listed != self.negated
    }
}

/// Go's `filepath.Match`; `None` if malformed.
pub(super) fn glob(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        tokens.push(match character {
            '*' => Token::Star,
            other => single(other, &mut characters)?,
        });
    }
    Some(tokens)
}

/// A line of an ignore file; `None` if malformed.
pub(super) fn deep_glob(text: &str) -> Option<Vec<Token>> {
    glob(text)?;
    // `**name` is the one case where `**` also stands for a part of a name: moby compares ends of paths there.
    if let Some(end) = text.strip_prefix("**")
        && !end.starts_with('/')
        && !end.contains(['*', '?', '[', ']', '\\'])
    {
        let literals = end.chars().map(Token::Literal);
        return Some(std::iter::once(Token::Rest).chain(literals).collect());
    }
    let mut tokens = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '*' {
            tokens.push(single(character, &mut characters)?);
        } else if characters.next_if_eq(&'*').is_none() {
            tokens.push(Token::Star);
        } else {
            characters.next_if_eq(&'/');
            match characters.peek() {
                None => tokens.push(Token::Rest),
                Some(_) => tokens.extend([Token::Maybe, Token::Folders]),
            }
        }
    }
    Some(tokens)
}

fn single(character: char, rest: &mut Peekable<Chars<'_>>) -> Option<Token> {
    Some(match character {
        '?' => Token::One,
        '[' => Token::Class(class(rest)?),
        '\\' => Token::Literal(rest.next()?),
        other => Token::Literal(other),
    })
}

fn class(rest: &mut Peekable<Chars<'_>>) -> Option<Class> {
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && rest.next_if_eq(&']').is_some() {
            return Some(Class { negated, ranges });
        }
        let low = class_end(rest)?;
        let high = match rest.next_if_eq(&'-') {
            Some(_) => class_end(rest)?,
            None => low,
        };
        ranges.push((low, high));
    }
}

fn class_end(rest: &mut Peekable<Chars<'_>>) -> Option<char> {
    match rest.next()? {
        '-' | ']' => None,
        '\\' => rest.next(),
        other => Some(other),
    }
}

/// Whether all of `path` matches.
pub(super) fn matches(tokens: &[Token], path: &[u8]) -> bool {
    run(tokens, path).is_some_and(|states| states[tokens.len()])
}

/// Whether a path that begins with `start` could match.
pub(super) fn may_begin(tokens: &[Token], start: &[u8]) -> bool {
    run(tokens, start).is_some_and(|states| states[..tokens.len()].contains(&true))
}

/// The states that are alive after `path`, or none at all.
fn run(tokens: &[Token], path: &[u8]) -> Option<Vec<bool>> {
    let mut now = vec![false; tokens.len() + 1];
    let mut next = now.clone();
    reach(tokens, &mut now, 0);
    for character in characters(path) {
        next.fill(false);
        let mut alive = false;
        for (state, token) in tokens.iter().enumerate() {
            if !now[state] {
                continue;
            }
            let slash = character == Some('/');
            let (stays, moves) = match token {
                Token::Literal(literal) => (false, character == Some(*literal)),
                Token::One => (false, !slash),
                Token::Star => (!slash, false),
                Token::Class(class) => (false, class.contains(character)),
                Token::Maybe => (false, false),
                Token::Folders => (true, slash),
                Token::Rest => (true, false),
            };
            if stays {
                reach(tokens, &mut next, state);
            }
            if moves {
                reach(tokens, &mut next, state + 1);
            }
            alive |= stays || moves;
        }
        if !alive {
            return None;
        }
        std::mem::swap(&mut now, &mut next);
    }
    Some(now)
}

/// Marks a state, and those that need no character to get to.
fn reach(tokens: &[Token], states: &mut [bool], from: usize) {
    let mut state = from;
    while !states[state] {
        states[state] = true;
        match tokens.get(state) {
            Some(Token::Star | Token::Rest) => state += 1,
            Some(Token::Maybe) => {
                states[state + 1] = true;
                state += 2;
            }
            _ => return,
        }
    }
}

/// The characters of a path; `None` is a byte that is no part of one.
fn characters(path: &[u8]) -> impl Iterator<Item = Option<char>> {
    path.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid().chars().map(Some);
        valid.chain(chunk.invalid().iter().map(|_| None))
    })
}

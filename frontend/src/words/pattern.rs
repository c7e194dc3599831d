//! The patterns of `${x#p}`, `${x%p}` and `${x/p/r}`: `*` any letters, `?` any one letter, a backslash before `*`, `?`
//! and itself takes their meaning. Before `}` and `/` the backslash only keeps them from ending the pattern.
//!
//! There are no brackets, and neither `*` nor `?` matches the end of a line.

use std::cell::Cell;

/// How many steps one pattern may take: a second's work at most.
const MOST_WORK: u64 = 1 << 27;

/// A pattern, and how much work is left for it.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
    work: Cell<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Letter(char),
    Any,
    Many,
}

/// Which of several matches is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Shortest,
    Longest,
}

/// Reads a pattern; the error is what stands after a backslash and must not.
pub(super) fn parse(text: &str) -> Result<Pattern, char> {
    let mut tokens = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        tokens.push(match letter {
            '*' => Token::Many,
            '?' => Token::Any,
            '\\' => match letters.peek() {
                Some('}' | '/') => continue,
                Some(protected @ ('*' | '?' | '\\')) => {
                    let token = Token::Letter(*protected);
                    letters.next();
                    token
                }
                other => return Err(other.copied().unwrap_or(char::REPLACEMENT_CHARACTER)),
            },
            letter => Token::Letter(letter),
        });
    }
    Ok(Pattern::of(tokens))
}

impl Pattern {
    fn of(tokens: Vec<Token>) -> Pattern {
        Pattern {
            tokens,
            work: Cell::new(MOST_WORK),
        }
    }

    /// How much work it was so far.
    pub(super) fn work_done(&self) -> usize {
        usize::try_from(MOST_WORK - self.work.get()).unwrap_or(usize::MAX)
    }

    /// Whether the work was too much; what the pattern gave is worth nothing then.
    pub(super) fn gave_up(&self) -> bool {
        self.work.get() == 0
    }

    /// `value` without the prefix that matches.
    pub(super) fn without_prefix(&self, value: &str, reach: Reach) -> String {
        let letters: Vec<char> = value.chars().collect();
        let end = self.end(&letters, reach).unwrap_or(0);
        letters[end..].iter().collect()
    }

    /// `value` without the suffix that matches.
    pub(super) fn without_suffix(&self, value: &str, reach: Reach) -> String {
        let backwards: Vec<char> = value.chars().rev().collect();
        let pattern = Pattern::of(self.tokens.iter().rev().copied().collect());
        let end = pattern.end(&backwards, reach).unwrap_or(0);
        self.work.set(pattern.work.get());
        backwards[end..].iter().rev().collect()
    }

    /// `value` with the first match replaced.
    pub(super) fn replace_first(&self, value: &str, replacement: &str) -> String {
        let letters: Vec<char> = value.chars().collect();
        match self.find(&letters, 0) {
            None => value.to_owned(),
            Some((start, end)) => {
                let before: String = letters[..start].iter().collect();
                let after: String = letters[end..].iter().collect();
                before + replacement + &after
            }
        }
    }

    /// `value` with each match replaced. An empty match right after another one does not count. More than `most` bytes are
    /// not wanted: the rest is left away then.
    pub(super) fn replace_all(&self, value: &str, replacement: &str, most: usize) -> String {
        let letters: Vec<char> = value.chars().collect();
        let mut result = String::new();
        let (mut copied, mut position) = (0, 0);
        while position <= letters.len() && result.len() <= most {
            let Some((start, end)) = self.find(&letters, position) else {
                break;
            };
            result.extend(&letters[copied..start]);
            if end > copied || start == 0 {
                result.push_str(replacement);
            }
            copied = end;
            position = end.max(position + 1);
        }
        result.extend(&letters[copied.min(letters.len())..]);
        result
    }

    /// The first place at or after `from` where the pattern matches, and the longest match there.
    fn find(&self, letters: &[char], from: usize) -> Option<(usize, usize)> {
        (from..=letters.len()).find_map(|start| {
            self.end(&letters[start..], Reach::Longest)
                .map(|length| (start, start + length))
        })
    }

    /// How much of the start of `letters` matches.
    fn end(&self, letters: &[char], reach: Reach) -> Option<usize> {
        // The places where what was read so far may end, in order.
        let mut reached = vec![0];
        for token in &self.tokens {
            let wanted = |place: &usize, wanted: fn(char, char) -> bool, letter: char| {
                letters.get(*place).is_some_and(|found| wanted(*found, letter))
            };
            reached = match token {
                Token::Letter(letter) => {
                    reached.retain(|place| wanted(place, |found, letter| found == letter, *letter));
                    reached.into_iter().map(|place| place + 1).collect()
                }
                Token::Any => {
                    reached.retain(|place| wanted(place, |found, end| found != end, '\n'));
                    reached.into_iter().map(|place| place + 1).collect()
                }
                Token::Many => spread(&reached, letters),
            };
            let left = self.work.get().saturating_sub(reached.len() as u64 + 1);
            self.work.set(left);
            if reached.is_empty() || left == 0 {
                return None;
            }
        }
        match reach {
            Reach::Shortest => reached.first().copied(),
            Reach::Longest => reached.last().copied(),
        }
    }
}

/// All places from each of `places` to the end of its line.
fn spread(places: &[usize], letters: &[char]) -> Vec<usize> {
    let mut spread: Vec<usize> = Vec::new();
    for place in places {
        if spread.last().is_some_and(|last| last >= place) {
            continue;
        }
        spread.push(*place);
        let line = letters[*place..].iter().take_while(|letter| **letter != '\n').count();
        spread.extend(place + 1..=place + line);
    }
    spread
}

//! The patterns of `${x#p}`, `${x%p}` and `${x/p/r}`: `*` any letters, `?` any one letter, a backslash before `*`, `?`
//! and itself takes their meaning. Before `}` and `/` the backslash only keeps them from ending the pattern.
//!
//! There are no brackets, and neither `*` nor `?` matches the end of a line.

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Token>);

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
    Ok(Pattern(tokens))
}

impl Pattern {
    /// `value` without the prefix that matches.
    pub(super) fn without_prefix(&self, value: &str, reach: Reach) -> String {
        let letters: Vec<char> = value.chars().collect();
        let end = self.end(&letters, reach).unwrap_or(0);
        letters[end..].iter().collect()
    }

    /// `value` without the suffix that matches.
    pub(super) fn without_suffix(&self, value: &str, reach: Reach) -> String {
        let backwards: Vec<char> = value.chars().rev().collect();
        let pattern = Pattern(self.0.iter().rev().copied().collect());
        let end = pattern.end(&backwards, reach).unwrap_or(0);
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

    /// `value` with each match replaced. An empty match right after another one does not count.
    pub(super) fn replace_all(&self, value: &str, replacement: &str) -> String {
        let letters: Vec<char> = value.chars().collect();
        let mut result = String::new();
        let (mut copied, mut position) = (0, 0);
        while position <= letters.len() {
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
        let mut reached = vec![false; letters.len() + 1];
        reached[0] = true;
        for token in &self.0 {
            let mut next = vec![false; letters.len() + 1];
            for position in 0..=letters.len() {
                let from_letter = position > 0 && letters[position - 1] != '\n';
                next[position] = match token {
                    Token::Many => reached[position] || (from_letter && next[position - 1]),
                    Token::Any => from_letter && reached[position - 1],
                    Token::Letter(letter) => position > 0 && letters[position - 1] == *letter && reached[position - 1],
                };
            }
            reached = next;
        }
        match reach {
            Reach::Shortest => reached.iter().position(|end| *end),
            Reach::Longest => reached.iter().rposition(|end| *end),
        }
    }
}

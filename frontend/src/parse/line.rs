//! Lines of a file, counted, and whether they go on.

use graph::SourceLines;

/// Lines with their ends.
pub(super) struct Lines<'a> {
    rest: std::str::SplitInclusive<'a, char>,
    number: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Lines<'a> {
        Lines {
            rest: text.split_inclusive('\n'),
            number: 0,
        }
    }

    /// The next line, its end included.
    pub(super) fn next(&mut self) -> Option<&'a str> {
        let line = self.rest.next()?;
        self.number += 1;
        Some(line)
    }

    /// The number of the line read last, the first being 1.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// The line read last.
    pub(super) fn here(&self) -> SourceLines {
        SourceLines(self.number..self.number + 1)
    }
}

/// A line of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Nothing follows.
    Last(&'a str),
    /// The next line goes on where this text ends.
    Continued(&'a str),
}

/// A line goes on if its last character, blanks aside, is the escape character and the one before it is not, or if there
/// is nothing else on it.
pub(super) fn piece(line: &str, escape: char) -> Piece<'_> {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(text) if !text.ends_with(escape) => Piece::Continued(text),
        _ => Piece::Last(line),
    }
}

//! Lines to instructions: directives, comments, continuations, flags, JSON forms, heredocs.
//!
//! The tree is as shallow as the language: an instruction has a name, flags, arguments and perhaps heredocs; ONBUILD has
//! an instruction in it. What the arguments mean is not asked here, so unknown instructions are parsed too.

mod arguments;
mod directive;
mod flags;
mod heredoc;
mod json;
mod line;
mod words;

use graph::SourceLines;

pub use directive::Directive;
pub use heredoc::Heredoc;

pub(crate) use directive::{leading as directives, without_shebang};
pub(crate) use flags::{Flag, Flags, Kind};
pub(crate) use heredoc::{strip_tabs, word as heredoc_word};

use crate::Diagnostic;
use arguments::Arguments;
use line::{Lines, Piece};

/// A Dockerfile as written.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    /// `# syntax=`, `# escape=`, `# check=`.
    pub directives: Vec<Directive>,
    /// In order; there is at least one.
    pub instructions: Vec<Instruction>,
    /// The character that continues lines and takes the meaning from letters: `\` or a backtick.
    pub escape: char,
    /// The last lines of instructions that have an empty line in them: allowed but not good.
    pub empty_continuations: Vec<SourceLines>,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// As written, for example `run`.
    pub name: String,
    /// Words that start with `--`, quotes removed.
    pub flags: Vec<String>,
    /// The rest, cut as the instruction wants it. ENV and LABEL: name, value and `=` (or nothing in the old form), again
    /// and again. HEALTHCHECK: the kind, then the command.
    pub arguments: Vec<String>,
    /// How the arguments were written.
    pub form: Form,
    /// The instruction in an ONBUILD.
    pub trigger: Option<Box<Instruction>>,
    /// Documents that follow the instruction, in order.
    pub heredocs: Vec<Heredoc>,
    /// The text, continued lines joined, without heredocs.
    pub original: String,
    /// Where it stands, heredocs included.
    pub lines: SourceLines,
    /// The comments right above it.
    pub comments: Vec<String>,
}

/// How arguments were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As text.
    Text,
    /// As a JSON list of strings.
    Json,
}

/// Reads a Dockerfile.
///
/// # Errors
/// [`Diagnostic`] for text of which no instructions can be made.
pub fn parse(text: &[u8]) -> Result<Dockerfile, Diagnostic> {
    if text.is_empty() {
        return Err(Diagnostic::new("the Dockerfile cannot be empty"));
    }
    let text = utf8(text)?;
    let mut reader = Reader {
        lines: Lines::new(text),
        directives: directive::Reader::new(),
        escape: '\\',
        comments: Vec::new(),
        empty_continuations: Vec::new(),
    };
    let mut instructions = Vec::new();
    while let Some(instruction) = reader.instruction()? {
        instructions.push(instruction);
    }
    if instructions.is_empty() {
        return Err(Diagnostic::new("file with no instructions").at(&reader.lines.here()));
    }
    Ok(Dockerfile {
        directives: reader.directives.found,
        instructions,
        escape: reader.escape,
        empty_continuations: reader.empty_continuations,
    })
}

fn utf8(text: &[u8]) -> Result<&str, Diagnostic> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    str::from_utf8(text).map_err(|error| {
        let line = 1 + text[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        Diagnostic::new(format!("line {line} is not valid UTF-8")).at(&SourceLines(line..line + 1))
    })
}

struct Reader<'a> {
    lines: Lines<'a>,
    directives: directive::Reader,
    escape: char,
    comments: Vec<String>,
    empty_continuations: Vec<SourceLines>,
}

impl Reader<'_> {
    /// The next instruction, if there is one.
    fn instruction(&mut self) -> Result<Option<Instruction>, Diagnostic> {
        while let Some(line) = self.lines.next() {
            let line = line.trim_start();
            if let Some(comment) = line.strip_prefix('#') {
                self.comment(line, comment)?;
                continue;
            }
            self.directives.end();
            let start = self.lines.number();
            let piece = line::piece(line.trim_end_matches(['\r', '\n']), self.escape);
            if let Piece::Last("") = piece {
                continue;
            }
            let text = self.continued(piece);
            let end = self.lines.number();
            let mut instruction =
                Instruction::new(&text, self.escape).map_err(|error| error.at(&SourceLines(start..end + 1)))?;
            self.heredocs(&mut instruction, start)?;
            instruction.lines = SourceLines(start..self.lines.number() + 1);
            instruction.comments = std::mem::take(&mut self.comments);
            return Ok(Some(instruction));
        }
        Ok(None)
    }

    fn comment(&mut self, line: &str, comment: &str) -> Result<(), Diagnostic> {
        let here = self.lines.here();
        let line = line.trim_end_matches(['\r', '\n']);
        let found = self
            .directives
            .line(line, "#", self.lines.number())
            .and_then(|found| found.map(Directive::escape).transpose())
            .map_err(|error| error.at(&here))?;
        match (found, comment.trim()) {
            (Some(escape), _) => self.escape = escape.unwrap_or(self.escape),
            (None, "") => self.comments.clear(),
            (None, comment) => self.comments.push(comment.to_owned()),
        }
        Ok(())
    }

    /// The whole text of an instruction of which `first` is the first line.
    fn continued(&mut self, first: Piece<'_>) -> String {
        let (mut text, mut more) = match first {
            Piece::Last(text) => (text.to_owned(), false),
            Piece::Continued(text) => (text.to_owned(), true),
        };
        let mut has_empty_line = false;
        while more {
            let Some(line) = self.lines.next() else { break };
            let line = line.trim_end_matches(['\r', '\n']);
            if line.trim_start().starts_with('#') {
                continue;
            }
            if line.trim_start().is_empty() {
                has_empty_line = true;
                continue;
            }
            match line::piece(line, self.escape) {
                Piece::Last(last) => {
                    text.push_str(last);
                    more = false;
                }
                Piece::Continued(part) => text.push_str(part),
            }
        }
        if has_empty_line {
            self.empty_continuations.push(self.lines.here());
        }
        text
    }

    /// Reads the documents that the instruction announces.
    fn heredocs(&mut self, instruction: &mut Instruction, start: usize) -> Result<(), Diagnostic> {
        let bearer = instruction.trigger.as_deref().unwrap_or(instruction);
        let may = matches!(bearer.name.to_ascii_lowercase().as_str(), "add" | "copy" | "run");
        if !may || bearer.form == Form::Json || !instruction.original.contains("<<") {
            return Ok(());
        }
        for mut document in heredoc::announced(&instruction.original) {
            if !document.read(&mut self.lines) {
                let lines = SourceLines(start..self.lines.number() + 1);
                return Err(Diagnostic::new("unterminated heredoc").at(&lines));
            }
            instruction.heredocs.push(document);
        }
        Ok(())
    }
}

impl Instruction {
    /// The instruction that `text` is, lines joined and heredocs not yet read.
    fn new(text: &str, escape: char) -> Result<Instruction, Diagnostic> {
        let command = words::command(text, escape);
        let Arguments { list, form, trigger } = arguments::of(&command.name, &command.rest, escape)?;
        Ok(Instruction {
            name: command.name,
            flags: command.flags,
            arguments: list,
            form,
            trigger,
            heredocs: Vec::new(),
            original: text.to_owned(),
            lines: SourceLines(0..0),
            comments: Vec::new(),
        })
    }

    /// The text without blanks around it.
    pub(crate) fn code(&self) -> &str {
        self.original.trim()
    }
}

#[cfg(test)]
mod tests;

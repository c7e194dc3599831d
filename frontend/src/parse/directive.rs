//! Parser directives: `# name=value` at the very top, before any other comment, blank line or instruction.

use crate::Diagnostic;

/// A directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// In lower case: `syntax`, `escape` or `check`.
    pub name: String,
    /// As written, without blanks around it.
    pub value: String,
    /// The line it stands on, the first being 1.
    pub line: usize,
}

/// Reads the lines at the top until there is one that is no directive.
pub(super) struct Reader {
    pub(super) found: Vec<Directive>,
    ended: bool,
}

impl Reader {
    pub(super) fn new() -> Reader {
        Reader {
            found: Vec::new(),
            ended: false,
        }
    }

    /// No directive can follow.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Looks at a comment line. `None`: it is only a comment. `Some`: it is a directive, with the new escape character if
    /// it sets one.
    pub(super) fn line(&mut self, line: &str, number: usize) -> Result<Option<Option<char>>, Diagnostic> {
        let Some((name, value)) = (!self.ended).then(|| read(line)).flatten() else {
            self.ended = true;
            return Ok(None);
        };
        if self.found.iter().any(|directive| directive.name == name) {
            return Err(Diagnostic::new(format!("only one {name} parser directive can be used")));
        }
        let escape = match (name.as_str(), value) {
            ("escape", "\\") => Some('\\'),
            ("escape", "`") => Some('`'),
            ("escape", other) => {
                let message = format!("invalid escape token '{other}' does not match ` or \\");
                return Err(Diagnostic::new(message));
            }
            _ => None,
        };
        self.found.push(Directive {
            name,
            value: value.to_owned(),
            line: number,
        });
        Ok(Some(escape))
    }
}

/// The directives at the top of a file, which need not be a Dockerfile otherwise; a first line `#!…` is skipped.
pub(crate) fn leading(text: &[u8]) -> Vec<Directive> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let text = String::from_utf8_lossy(text);
    let mut reader = Reader::new();
    for (index, line) in text.lines().enumerate() {
        if index == 0 && line.starts_with("#!") {
            continue;
        }
        if !matches!(reader.line(line, index + 1), Ok(Some(_))) {
            break;
        }
    }
    reader.found
}

/// `# name = value` with a name that is known.
fn read(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.strip_prefix('#')?.trim_start().split_once('=')?;
    let (name, value) = (name.trim_end().to_ascii_lowercase(), value.trim());
    let known = matches!(name.as_str(), "syntax" | "escape" | "check");
    (known && !value.is_empty()).then_some((name, value))
}

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

    /// Looks at a line with `mark` before a comment: perhaps it is a directive.
    pub(super) fn line(&mut self, line: &str, mark: &str, number: usize) -> Result<Option<&Directive>, Diagnostic> {
        let Some((name, value)) = (!self.ended).then(|| read(line, mark)).flatten() else {
            self.ended = true;
            return Ok(None);
        };
        if self.found.iter().any(|directive| directive.name == name) {
            return Err(Diagnostic::new(format!("only one {name} parser directive can be used")));
        }
        self.found.push(Directive {
            name,
            value: value.to_owned(),
            line: number,
        });
        Ok(self.found.last())
    }
}

impl Directive {
    /// The character that is chosen, if that is what the directive is for.
    pub(super) fn escape(&self) -> Result<Option<char>, Diagnostic> {
        match (self.name.as_str(), self.value.as_str()) {
            ("escape", "\\") => Ok(Some('\\')),
            ("escape", "`") => Ok(Some('`')),
            ("escape", other) => Err(Diagnostic::new(format!(
                "invalid escape token '{other}' does not match ` or \\"
            ))),
            _ => Ok(None),
        }
    }
}

/// The directives at the top of a file, which need not be a Dockerfile otherwise, where `mark` begins a comment; a first
/// line `#!…` is skipped.
pub(crate) fn leading(text: &[u8], mark: &str) -> Vec<Directive> {
    let (text, first) = without_shebang(text);
    let text = String::from_utf8_lossy(text);
    let mut reader = Reader::new();
    for (index, line) in text.lines().enumerate() {
        if !matches!(reader.line(line, mark, first + index), Ok(Some(_))) {
            break;
        }
    }
    reader.found
}

/// The text without byte-order mark and a first line `#!…`, and the number of its first line.
pub(crate) fn without_shebang(text: &[u8]) -> (&[u8], usize) {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if !text.starts_with(b"#!") {
        return (text, 1);
    }
    let rest = text.iter().position(|byte| *byte == b'\n').map(|end| &text[end + 1..]);
    (rest.unwrap_or_default(), 2)
}

/// `# name = value` with a name that is known. A value of blanks alone is the last of them.
fn read<'a>(line: &'a str, mark: &str) -> Option<(String, &'a str)> {
    const BLANKS: [char; 5] = ['\t', '\n', '\x0c', '\r', ' '];
    let (name, rest) = line.strip_prefix(mark)?.trim_start().split_once('=')?;
    let name = name.trim_end_matches(BLANKS).to_ascii_lowercase();
    let value = match rest.trim_matches(BLANKS) {
        "" => rest.get(rest.len().checked_sub(1)?..)?,
        value => value,
    };
    let known = matches!(name.as_str(), "syntax" | "escape" | "check");
    known.then_some((name, value))
}

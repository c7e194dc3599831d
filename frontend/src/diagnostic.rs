//! What is wrong with a Dockerfile, and where.

use std::fmt;

use graph::SourceLines;

/// Something to tell the author of a Dockerfile, with the lines it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// One sentence, in BuildKit's words where BuildKit has the same to say.
    pub message: String,
    /// The lines; several where several places disagree, as in a circle of stages.
    pub lines: Vec<SourceLines>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A message about no line in particular.
    pub(crate) fn new(message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            message: message.into(),
            lines: Vec::new(),
            hint: None,
        }
    }

    /// A part of the language that is understood but not yet converted.
    pub(crate) fn unsupported(what: impl fmt::Display, lines: &SourceLines) -> Diagnostic {
        let first = lines.0.start;
        Diagnostic::new(format!("{what} is not supported yet (Dockerfile line {first})")).at(lines)
    }

    /// The same, about these lines too.
    #[must_use]
    pub(crate) fn at(mut self, lines: &SourceLines) -> Diagnostic {
        self.lines.push(lines.clone());
        self
    }

    /// The same about these lines, if it is about none yet.
    #[must_use]
    pub(crate) fn or_at(self, lines: &SourceLines) -> Diagnostic {
        if self.lines.is_empty() { self.at(lines) } else { self }
    }

    /// The same with advice.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)
    }
}

impl std::error::Error for Diagnostic {}

/// Why no plan could be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Dockerfile, or what was asked of it, is wrong.
    #[error(transparent)]
    Dockerfile(#[from] Diagnostic),
    /// An image the build starts or copies from could not be looked up.
    #[error("cannot look up image `{image}`")]
    Image {
        /// The name as it stands in the Dockerfile.
        image: String,
        /// Where it stands.
        lines: Option<SourceLines>,
        /// A stage or image of a similar name.
        hint: Option<String>,
        /// Why not.
        source: Box<oci::PortError>,
    },
}

impl Error {
    /// The lines of the Dockerfile the error is about.
    #[must_use]
    pub fn lines(&self) -> Vec<SourceLines> {
        match self {
            Error::Dockerfile(diagnostic) => diagnostic.lines.clone(),
            Error::Image { lines, .. } => lines.iter().cloned().collect(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Error::Dockerfile(diagnostic) => diagnostic.hint.as_deref(),
            Error::Image { hint, .. } => hint.as_deref(),
        }
    }
}

//! Documents: as files, and what of a RUN's command and its documents the shell gets to see.
//!
//! `RUN <<EOF` alone is a way to write a long command: the document is the command. In all other forms the shell does what
//! it always does with documents, so it gets the whole text back.

use graph::{FileAction, FileOp, MakeFile, Metadata, VertexId};

use super::Scope;
use crate::command::{CommandLine, Run};
use crate::parse::{Heredoc, heredoc_word, strip_tabs};
use crate::{Diagnostic, path};

/// What RUN runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// A command line, as it stands there or put together again.
    Line(CommandLine),
    /// A document that names its own interpreter: a file to be executed.
    File {
        /// The word that announces it.
        name: String,
        /// Its text.
        content: String,
    },
}

impl Scope<'_, '_> {
    /// A tree with nothing but a document as a file of root's.
    pub(super) fn file_of_text(&mut self, name: &str, content: String, mode: u32) -> VertexId {
        let make = MakeFile {
            path: path::from_root(name),
            content: content.into_bytes(),
            mode,
            owner: None,
            timestamp: self.converter.globals.epoch,
        };
        let file = FileOp {
            base: None,
            names: None,
            actions: vec![FileAction::MakeFile(make)],
        };
        let metadata = Metadata {
            name: "[internal] preparing inline document".to_owned(),
            ..Metadata::default()
        };
        self.converter.add_files(file, Vec::new(), metadata)
    }
}

impl Script {
    /// What the instruction runs.
    pub(super) fn of(run: &Run, os: &str) -> Result<Script, Diagnostic> {
        let [first, ..] = &run.documents[..] else {
            return Ok(Script::Line(run.line.clone()));
        };
        let CommandLine::Shell(text) = &run.line else {
            return Err(Diagnostic::new("a heredoc cannot be given to a command in JSON form"));
        };
        if heredoc_word(text).is_none() {
            return Ok(Script::Line(CommandLine::Shell(whole(text, &run.documents))));
        }
        let content = if first.strip_tabs {
            strip_tabs(&first.content)
        } else {
            first.content.clone()
        };
        if os != "windows" && content.starts_with("#!") {
            let name = first.name.clone();
            return Ok(Script::File { name, content });
        }
        Ok(Script::Line(CommandLine::Shell(content)))
    }
}

/// The instruction as the shell reads it: the line, and each document with its end.
fn whole(line: &str, documents: &[Heredoc]) -> String {
    let mut text = line.to_owned();
    for document in documents {
        text.push('\n');
        text.push_str(&document.content);
        text.push_str(&document.name);
    }
    text
}

/// What progress adds to the name of a step that is a document: its first line.
pub(super) fn summary(run: &Run) -> Option<String> {
    let CommandLine::Shell(text) = &run.line else {
        return None;
    };
    let document = run.documents.first()?;
    heredoc_word(text)?;
    let mut lines = document.content.trim().lines();
    let first = lines.next().unwrap_or_default();
    let more = if lines.next().is_some() { "..." } else { "" };
    Some(format!("({first}{more})"))
}

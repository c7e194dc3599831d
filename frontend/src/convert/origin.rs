//! Where the files of one source of a COPY or ADD are: a tree of the graph, and a path in it.

use graph::pattern::literal;
use graph::{Unpack, VertexId};

use super::Scope;
use crate::parse::Heredoc;
use crate::words::{Expander, Quotes};
use crate::{Diagnostic, path};

/// The files of one source.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The tree or context they are in.
    pub(super) tree: VertexId,
    /// Where there, with wildcards.
    pub(super) path: String,
    /// Of a directory there, only what this pattern matches.
    pub(super) include: Option<String>,
    /// What becomes of an archive.
    pub(super) unpack: Unpack,
}

impl Origin {
    /// A path of a context, a stage or an image, as it was written.
    pub(super) fn path(tree: VertexId, written: &str, unpack: Unpack) -> Origin {
        Origin {
            tree,
            path: path::from_root(written),
            include: None,
            unpack,
        }
    }

    /// A path whose folders are kept, all or those behind the pivot `/./`.
    pub(super) fn with_parents(tree: VertexId, written: &str) -> Origin {
        let (folder, kept) = written.split_once("/./").unwrap_or(("/", written));
        let kept = path::from_root(kept);
        Origin {
            tree,
            path: path::from_root(folder),
            include: Some(kept[1..].to_owned()).filter(|kept| !kept.is_empty()),
            unpack: Unpack::Never,
        }
    }

    /// A file of a tree that has been made for it.
    pub(super) fn file(tree: VertexId, name: &str) -> Origin {
        Origin {
            tree,
            path: literal(&path::from_root(name)),
            include: None,
            unpack: Unpack::Never,
        }
    }
}

impl Scope<'_, '_> {
    /// A file made of a document.
    pub(super) fn document(&mut self, document: &Heredoc) -> Result<Origin, Diagnostic> {
        let content = match document.expand {
            true => self.expand_document(&document.content)?,
            false => document.content.clone(),
        };
        let tree = self.file_of_text(&document.name, content, 0o644);
        Ok(Origin::file(tree, &document.name))
    }

    /// The text with the stage's variables; whatever the file's escape character is, here it is a backslash.
    fn expand_document(&self, text: &str) -> Result<String, Diagnostic> {
        let expander = Expander {
            quotes: Quotes::Ordinary,
            escape: '\\',
            ..self.converter.globals.expander.clone()
        };
        self.expand_by(&expander, text)
    }
}

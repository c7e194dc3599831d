//! Why a source is not there, for the person who named it: the pattern that hides it, or the name that was meant.

use graph::suggest;

use super::error::{FilesError, shown};
use super::path::{join, names};
use super::root::Node;
use super::select::Source;

/// That there is nothing at `path`.
pub(super) fn not_found(source: &Source<'_>, path: &[u8]) -> FilesError {
    let hidden_by = match source {
        Source::Context(context) => context.hidden_by(path),
        Source::Directory(_) => None,
    };
    let nearest = match hidden_by {
        Some(_) => None,
        None => nearest(source, path),
    };
    FilesError::NotFound {
        path: shown(path),
        hidden_by,
        nearest: nearest.map(|path| shown(&path)),
    }
}

/// The path that differs from `path` in one name, by a letter or two.
fn nearest(source: &Source<'_>, path: &[u8]) -> Option<Vec<u8>> {
    let mut folder: Vec<u8> = Vec::new();
    let mut left = names(path);
    while let Some(name) = left.next() {
        let next = join(&folder, name);
        match source.tree().node(&next).ok()? {
            Node::Missing => {
                let near = join(&folder, &near(name, &source.list(&folder).ok()?)?);
                let meant = left.fold(near, |path, name| join(&path, name));
                return (source.tree().node(&meant).ok()? != Node::Missing).then_some(meant);
            }
            // What is behind a link has another name, too: that would be a long explanation.
            Node::Link(_) | Node::Leaf => return None,
            Node::Directory => folder = next,
        }
    }
    None
}

/// Of the names in a folder the one that `name` was to be.
fn near(name: &[u8], names: &[Vec<u8>]) -> Option<Vec<u8>> {
    let name = std::str::from_utf8(name).ok()?;
    let names: Vec<&str> = names.iter().filter_map(|name| std::str::from_utf8(name).ok()).collect();
    let same = names.iter().find(|other| other.to_lowercase() == name.to_lowercase());
    let nearest = same.copied().or_else(|| {
        // Of three letters two make no likeness.
        let long = |other: &&str| name.chars().count().min(other.chars().count()) > 3;
        suggest::nearest(name, names.iter().copied().filter(long))
    });
    nearest.map(|name| name.as_bytes().to_vec())
}

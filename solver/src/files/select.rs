//! What a copy's source selects: one path, or all that a wildcard matches, in the order of a walk.
//!
//! The links of a path are followed, inside the tree: those on the way, and that of the file or directory named. A
//! wildcard looks into directories, not through links to such; a link that it matches is followed.

use std::borrow::Cow;
use std::path::Path;
use std::sync::OnceLock;

use graph::pattern::{Pattern, has_wildcards};

use super::content;
use super::context::Context;
use super::entry::Entry;
use super::error::{FilesError, shown};
use super::filter::Filter;
use super::missing::not_found;
use super::path::{clean, join, names, relative, split};
use super::pool;
use super::root::{Node, Root, resolve};
use super::walk::walk;

/// Where files come from.
#[derive(Clone, Copy, Debug)]
pub enum Tree<'a> {
    /// A context; its files belong to root, whoever owns them.
    Context(&'a Context),
    /// A snapshot that is mounted.
    Snapshot(&'a cache::Tree),
    /// The root of any other tree.
    Directory(&'a Path),
}

/// A tree that was opened.
#[derive(Debug)]
pub(super) enum Source<'a> {
    Context(&'a Context),
    Directory(Root),
}

/// What a source selects.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    pub(super) wildcard: bool,
    pub(super) items: Vec<Item<'a>>,
}

/// One selected file or directory, with all below it.
#[derive(Debug)]
pub(super) struct Item<'a> {
    /// The last name of the path that selects it: what it is called in a directory.
    pub(super) name: Vec<u8>,
    /// In walk order; the first is the item itself.
    pub(super) entries: Cow<'a, [Entry]>,
    /// Where among those of its context they are.
    places: Places,
}

/// The places of an item's entries in a list.
#[derive(Clone, Debug)]
pub(super) enum Places {
    /// One after the other, from here on.
    From(usize),
    /// Here and there.
    At(Vec<usize>),
}

impl Item<'_> {
    pub(super) fn top(&self) -> &Entry {
        &self.entries[0]
    }

    /// The path of an entry from the item on; empty is the item itself.
    pub(super) fn relative<'e>(&self, entry: &'e Entry) -> &'e [u8] {
        relative(&entry.path, &self.top().path)
    }
}

impl<'a> Source<'a> {
    pub(super) fn open(tree: Tree<'a>) -> Result<Source<'a>, FilesError> {
        Ok(match tree {
            Tree::Context(context) => Source::Context(context),
            Tree::Snapshot(tree) => Source::Directory(Root::open_owned(tree.path(), tree.owners().clone())?),
            Tree::Directory(path) => Source::Directory(Root::open(path)?),
        })
    }

    pub(super) fn root(&self) -> &Root {
        match self {
            Source::Context(context) => context.root(),
            Source::Directory(root) => root,
        }
    }

    /// The owner that a copy gives to an entry, if it is not told another.
    pub(super) fn owner(&self, entry: &Entry) -> (u32, u32) {
        match self {
            Source::Context(_) => (0, 0),
            Source::Directory(_) => (entry.user, entry.group),
        }
    }

    /// What a copy selects.
    pub(super) fn select(&self, copy: &graph::Copy) -> Result<Selection<'a>, FilesError> {
        let filter = Filter::of(copy)?;
        let cleaned = clean(copy.source.as_bytes());
        let parts: Vec<&str> = names(&cleaned)
            .filter_map(|name| std::str::from_utf8(name).ok())
            .collect();
        let plain = parts.iter().take_while(|part| !has_wildcards(part)).count();
        let start = parts[..plain].join("/").into_bytes();
        if let Some(include) = &copy.include
            && plain == parts.len()
            && !has_wildcards(include)
        {
            let required = join(&start, &clean(include.as_bytes()));
            if self.tree().node(&resolve(self.tree(), &required)?)? == Node::Missing {
                return Err(not_found(self, &required));
            }
        }
        let resolved = resolve(self.tree(), &start)?;
        if plain == parts.len() {
            let name = split(&start).1.to_vec();
            let item = self.item(name, &resolved, &start, &filter)?;
            return Ok(Selection {
                wildcard: false,
                items: vec![item],
            });
        }
        if self.tree().node(&resolved)? == Node::Missing {
            return Err(not_found(self, &start));
        }
        let mut matches = vec![resolved];
        for part in &parts[plain..] {
            matches = self.expand(&matches, &Pattern::new(part)?)?;
        }
        let items = matches.iter().map(|path| {
            let resolved = resolve(self.tree(), path)?;
            self.item(split(path).1.to_vec(), &resolved, path, &filter)
        });
        Ok(Selection {
            wildcard: true,
            items: items.collect::<Result<_, _>>()?,
        })
    }

    fn expand(&self, folders: &[Vec<u8>], pattern: &Pattern) -> Result<Vec<Vec<u8>>, FilesError> {
        let mut matches = Vec::new();
        for folder in folders {
            if self.tree().node(folder)? != Node::Directory {
                continue;
            }
            let names = self.list(folder)?;
            let matching = names.iter().filter(|name| pattern.matches(name));
            matches.extend(matching.map(|name| join(folder, name)));
        }
        Ok(matches)
    }

    fn item(&self, name: Vec<u8>, resolved: &[u8], asked: &[u8], filter: &Filter) -> Result<Item<'a>, FilesError> {
        let (entries, places) = match self {
            Source::Context(context) => match context.range(resolved) {
                Some(range) if filter.takes_all() => {
                    (Cow::Borrowed(context.entries(range.clone())), Places::From(range.start))
                }
                Some(range) => sifted(context.entries(range.clone()), range.start, filter),
                None => return Err(not_found(self, asked)),
            },
            Source::Directory(root) => (Cow::Owned(walk(root, resolved, filter)?), Places::From(0)),
        };
        if entries.is_empty() {
            return Err(not_found(self, asked));
        }
        if let Some((errno, entry)) = entries.iter().find_map(|entry| Some((entry.problem()?, entry))) {
            return Err(FilesError::Io {
                action: "read",
                path: shown(&entry.path),
                source: errno.into(),
            });
        }
        Ok(Item { name, entries, places })
    }

    /// The names in a folder, sorted.
    pub(super) fn list(&self, folder: &[u8]) -> Result<Vec<Vec<u8>>, FilesError> {
        match self {
            Source::Context(context) => Ok(context.list(folder)),
            Source::Directory(root) => root.list(folder),
        }
    }

    pub(super) fn tree(&self) -> &dyn super::root::Tree {
        match self {
            Source::Context(context) => *context,
            Source::Directory(root) => root,
        }
    }

    /// The digest of an item's file, if it is known already.
    pub(super) fn known_digest(&self, item: &Item<'_>, at: usize) -> Option<[u8; 32]> {
        match self {
            Source::Context(context) => context.known_digest(match &item.places {
                Places::From(first) => first + at,
                Places::At(places) => places[at],
            }),
            Source::Directory(_) => None,
        }
    }

    /// Finds out the digests of an item's files.
    pub(super) fn digests(&self, item: &Item<'_>) -> Result<Digests<'a>, FilesError> {
        match self {
            Source::Context(context) => {
                match &item.places {
                    Places::From(first) => context.read(*first..first + item.entries.len())?,
                    Places::At(places) => context.read(places.iter().copied())?,
                }
                Ok(Digests::Context(context, item.places.clone()))
            }
            Source::Directory(root) => {
                let digests: Vec<OnceLock<[u8; 32]>> = item.entries.iter().map(|_| OnceLock::new()).collect();
                pool::each(digests.len(), content::buffer, |buffer, at| {
                    let entry = &item.entries[at];
                    if entry.is_file() {
                        let content = content::digest(root, entry, buffer)?;
                        digests[at].get_or_init(|| content.digest);
                    }
                    Ok(())
                })?;
                Ok(Digests::Own(digests))
            }
        }
    }
}

/// The digests of an item's files.
pub(super) enum Digests<'a> {
    /// They are with the context; the item's entries have these places there.
    Context(&'a Context, Places),
    Own(Vec<OnceLock<[u8; 32]>>),
}

impl Digests<'_> {
    /// That of an entry; zero for what is no file.
    pub(super) fn of(&self, entry: usize) -> [u8; 32] {
        match self {
            Digests::Context(context, Places::From(first)) => context.digest(first + entry),
            Digests::Context(context, Places::At(places)) => context.digest(places[entry]),
            Digests::Own(digests) => digests[entry].get().copied().unwrap_or_default(),
        }
    }
}

/// The entries that a filter takes of a directory, and their places in a list where the directory is at `first`.
fn sifted(entries: &[Entry], first: usize, filter: &Filter) -> (Cow<'static, [Entry]>, Places) {
    let taken = filter.sift(entries);
    let places = taken.iter().map(|taken| first + taken.place).collect();
    let entries = taken.iter().map(|taken| {
        let mut entry = entries[taken.place].clone();
        entry.implied = taken.implied;
        entry
    });
    (Cow::Owned(entries.collect()), Places::At(places))
}

//! What a copy's source selects: one path, or all that a wildcard matches, in the order of a walk.
//!
//! The links of a path are followed, inside the tree: those on the way, and that of the file or directory named. A
//! wildcard looks into directories, not through links to such; a link that it matches is followed.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use graph::pattern::{Pattern, has_wildcards};

use super::content;
use super::context::Context;
use super::digests::Digests;
use super::entries::{Entries, Taken, Walk};
use super::entry::{Entry, Facts};
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
    /// What has its entries, and others.
    list: Cow<'a, Entries>,
    /// Of its entries in the list, in walk order; the first is the item itself.
    places: Places,
    path: Vec<u8>,
}

/// The places of an item's entries in a list.
#[derive(Clone, Debug)]
enum Places {
    /// One after the other.
    All(Range<u32>),
    /// Here and there.
    Some(Vec<Taken>),
}

impl Item<'_> {
    /// How many entries it has.
    pub(super) fn len(&self) -> usize {
        match &self.places {
            Places::All(places) => places.len(),
            Places::Some(taken) => taken.len(),
        }
    }

    /// The item itself.
    pub(super) fn top(&self) -> Entry<'_> {
        let top = self.taken().next().map_or(0, Taken::at);
        Entry {
            path: &self.path,
            facts: self.list.facts(top),
        }
    }

    /// The list that its entries have their places in.
    pub(super) fn list(&self) -> &Entries {
        &self.list
    }

    /// Its entries, one after the other.
    pub(super) fn walk(&self) -> Walk<'_, impl Iterator<Item = Taken>> {
        self.list.walk(self.taken())
    }

    /// What there is to know of its files.
    pub(super) fn files(&self) -> impl Iterator<Item = Facts<'_>> {
        let facts = self.taken().map(|taken| self.list.facts(taken.at()));
        facts.filter(Facts::is_file)
    }

    fn taken(&self) -> impl Iterator<Item = Taken> {
        let (all, some) = match &self.places {
            Places::All(places) => (places.clone(), &[][..]),
            Places::Some(taken) => (0..0, &taken[..]),
        };
        let all = all.map(|place| Taken {
            place,
            implied: self.list.is_implied(place as usize),
        });
        all.chain(some.iter().copied())
    }

    /// The path of an entry from the item on; empty is the item itself.
    pub(super) fn relative<'e>(&self, path: &'e [u8]) -> &'e [u8] {
        relative(path, &self.path)
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
    pub(super) fn owner(&self, entry: &Facts<'_>) -> (u32, u32) {
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
        let counted = |range: Range<usize>| {
            let counted = |place| u32::try_from(place).unwrap_or(u32::MAX);
            counted(range.start)..counted(range.end)
        };
        let (list, places) = match self {
            Source::Context(context) => {
                let list = context.entries();
                let range = context.range(resolved).map(counted);
                let places = match range {
                    Some(range) if filter.takes_all() => Places::All(range),
                    Some(range) => Places::Some(filter.sift(list, range)),
                    None => return Err(not_found(self, asked)),
                };
                (Cow::Borrowed(list), places)
            }
            Source::Directory(root) => {
                let list = walk(root, resolved, filter)?;
                let places = Places::All(counted(0..list.len()));
                (Cow::Owned(list), places)
            }
        };
        let mut item = Item {
            name,
            list,
            places,
            path: Vec::new(),
        };
        let Some(top) = item.taken().next() else {
            return Err(not_found(self, asked));
        };
        item.path = item.list.path_of(top.at());
        let problem = item
            .taken()
            .find_map(|taken| Some((taken, item.list.problem(taken.at())?)));
        if let Some((taken, errno)) = problem {
            return Err(FilesError::Io {
                action: "read",
                path: shown(&item.list.path_of(taken.at())),
                source: errno.into(),
            });
        }
        Ok(item)
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

    /// The digest of the file at a place of an item's list, if it is known already.
    pub(super) fn known_digest(&self, place: usize) -> Option<[u8; 32]> {
        match self {
            Source::Context(context) => context.digests().known(place),
            Source::Directory(_) => None,
        }
    }

    /// Finds out the digests of an item's files.
    pub(super) fn digests(&self, item: &Item<'_>) -> Result<FoundDigests<'a>, FilesError> {
        let files = item.taken().map(Taken::at);
        match self {
            Source::Context(context) => {
                context.read(files)?;
                Ok(FoundDigests::Context(context))
            }
            Source::Directory(root) => {
                let digests = Digests::new(item.list.len());
                let files = files.filter(|place| item.list.is_file(*place));
                let files: Vec<u32> = files.filter_map(|place| u32::try_from(place).ok()).collect();
                let state = || (content::buffer(), Vec::new());
                pool::each(files.len(), state, |(buffer, path), piece| {
                    let place = files[piece] as usize;
                    let content = content::digest(root, &item.list.get(place, path), buffer)?;
                    digests.learn(place, content.digest);
                    Ok(())
                })?;
                Ok(FoundDigests::Own(digests))
            }
        }
    }
}

/// The digests of an item's files, by their places in its list.
pub(super) enum FoundDigests<'a> {
    Context(&'a Context),
    Own(Digests),
}

impl FoundDigests<'_> {
    pub(super) fn list(&self) -> &Digests {
        match self {
            FoundDigests::Context(context) => context.digests(),
            FoundDigests::Own(digests) => digests,
        }
    }
}

//! The way from an index to the manifest of a platform, also through indexes in indexes.
//!
//! Which way to go is decided here; whoever has the documents (a registry, a layout, the store) reads them. Entries are
//! tried in the order in which they suit, and what an index does not have may be in the next. Digests allow no circles,
//! but whoever answers may be hostile: depth and number of documents are bounded.

use crate::error::listed;
use crate::{Descriptor, Error, Index, Platform};

/// How deep indexes may lie in one another.
pub const NESTING_LIMIT: usize = 4;
/// How many documents are looked into.
const MOST_READ: usize = 64;
/// How many platforms are kept in mind, to be told.
const MOST_OFFERED: usize = 10_000;

/// A search for the manifest of a platform.
#[derive(Debug)]
pub struct Descent<'a> {
    wanted: &'a Platform,
    /// What is to be tried, the best last, each with the number of indexes it is in.
    open: Vec<(usize, Descriptor)>,
    /// In how many indexes that lies which was given last.
    depth: usize,
    read: usize,
    offered: Vec<String>,
}

impl<'a> Descent<'a> {
    /// A search that has seen nothing yet.
    #[must_use]
    pub fn to(wanted: &'a Platform) -> Descent<'a> {
        Descent {
            wanted,
            open: Vec::new(),
            depth: 0,
            read: 0,
            offered: Vec::new(),
        }
    }

    /// What was read last is this index.
    ///
    /// # Errors
    /// [`Error::Document`] if it lies too deep.
    pub fn enter(&mut self, index: &Index) -> Result<(), Error> {
        if self.depth == NESTING_LIMIT {
            return Err(too_deep());
        }
        let platforms = index.manifests.iter().filter_map(|entry| entry.platform.as_ref());
        let room = MOST_OFFERED - self.offered.len();
        self.offered.extend(platforms.take(room).map(Platform::to_string));
        // More would never be read.
        let candidates = index.candidates(self.wanted).into_iter().take(MOST_READ);
        let candidates: Vec<_> = candidates.map(|entry| (self.depth + 1, entry.clone())).collect();
        self.open.extend(candidates.into_iter().rev());
        Ok(())
    }

    /// What to read next: a manifest, which is the one, or an index to [enter](Descent::enter).
    ///
    /// # Errors
    /// [`Error::NoSuchPlatform`], naming what there is, or [`Error::Document`] after too many.
    #[expect(clippy::should_implement_trait, reason = "it does not end, it fails")]
    pub fn next(&mut self) -> Result<Descriptor, Error> {
        let Some((depth, descriptor)) = self.open.pop() else {
            return Err(Error::NoSuchPlatform {
                wanted: Box::new(self.wanted.clone()),
                available: listed(self.offered.drain(..)),
            });
        };
        if self.read == MOST_READ {
            return Err(Error::Document {
                what: "the image index",
                reason: format!(
                    "{MOST_READ} indexes in it have no manifest for platform `{}`",
                    self.wanted
                ),
            });
        }
        self.read += 1;
        self.depth = depth;
        Ok(descriptor)
    }
}

/// That indexes lie too deep in one another.
#[must_use]
pub fn too_deep() -> Error {
    Error::Document {
        what: "the image index",
        reason: format!("indexes lie in one another more than {NESTING_LIMIT} deep"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, media_type};

    fn entry(kind: &str, name: &str, platform: Option<&str>) -> Descriptor {
        let mut descriptor = Descriptor::new(kind, Digest::of(name.as_bytes()), 1);
        descriptor.platform = platform.map(|platform| platform.parse().unwrap());
        descriptor
    }

    #[test]
    fn what_one_index_lacks_is_looked_for_in_the_next() {
        let wanted = "linux/amd64".parse().unwrap();
        let (first, second) = (entry(media_type::INDEX, "1", None), entry(media_type::INDEX, "2", None));
        let arm = entry(media_type::MANIFEST, "arm", Some("linux/arm64"));
        let amd = entry(media_type::MANIFEST, "amd", Some("linux/amd64"));
        let mut way = Descent::to(&wanted);
        way.enter(&Index::new(vec![first.clone(), second.clone()])).unwrap();
        assert_eq!(way.next().unwrap(), first);
        way.enter(&Index::new(vec![arm.clone()])).unwrap();
        assert_eq!(way.next().unwrap(), second);
        way.enter(&Index::new(vec![arm, amd.clone()])).unwrap();
        assert_eq!(way.next().unwrap(), amd);
        let error = way.next().unwrap_err().to_string();
        assert!(error.ends_with("linux/arm64, linux/arm64, linux/amd64"), "{error}");
    }

    #[test]
    fn a_manifest_for_the_platform_is_taken_before_an_index_for_any() {
        let wanted = "linux/amd64".parse().unwrap();
        let inner = entry(media_type::DOCKER_INDEX, "1", None);
        let amd = entry(media_type::MANIFEST, "amd", Some("linux/amd64"));
        let mut way = Descent::to(&wanted);
        way.enter(&Index::new(vec![inner.clone(), amd.clone()])).unwrap();
        assert_eq!((way.next().unwrap(), way.next().unwrap()), (amd, inner));
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let wanted = "linux/amd64".parse().unwrap();
        let inner = Index::new(
            (0..100)
                .map(|n| entry(media_type::INDEX, &format!("{n}"), None))
                .collect(),
        );
        let mut deep = Descent::to(&wanted);
        for _ in 0..NESTING_LIMIT {
            deep.enter(&inner).unwrap();
            deep.next().unwrap();
        }
        assert!(deep.enter(&inner).unwrap_err().to_string().contains("4 deep"));
        let mut wide = Descent::to(&wanted);
        wide.enter(&inner).unwrap();
        let outcome = (0..2).try_for_each(|_| {
            (0..MOST_READ).try_for_each(|_| {
                let entry = wide.next()?;
                if wide.open.len() < 100 && wide.depth < NESTING_LIMIT {
                    wide.enter(&Index::new(vec![entry]))?;
                }
                Ok::<_, Error>(())
            })
        });
        assert!(outcome.unwrap_err().to_string().contains("64 indexes"));
    }
}

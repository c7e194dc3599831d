//! What a client remembers of its pushes: which blobs are where, which uploads have begun, how large a body may be, and
//! which repositories give nothing to which.
//!
//! So a blob that two outputs want in one repository is sent once, whoever comes second waits, and what a registry said
//! once it is not asked again. It is as long as the pushes of one process.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use oci::Digest;
use reqwest::Url;

use crate::repository::Repository;

/// What a proxy that refuses a body is sent next: 64 MiB, and less as long as that is refused, too.
const CHUNKS: [u64; 4] = [64 << 20, 16 << 20, 4 << 20, 1 << 20];
/// So many refusals, and a repository is not asked for blobs for another any more.
const REFUSALS: u32 = 2;

/// How one blob stands in one repository. Who asks or sends holds its lock.
#[derive(Debug, Default)]
pub(crate) enum Standing {
    #[default]
    Unknown,
    /// It was asked for a moment ago.
    Absent,
    /// The registry waits for its bytes.
    Begun(Begun),
    There,
}

/// An upload that the registry has a place for.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    pub(crate) place: Url,
    /// Chunks but the last must not be smaller.
    pub(crate) least: u64,
    /// Bytes were sent: how many arrived is to be asked before more are.
    pub(crate) touched: bool,
}

type Blobs = HashMap<(String, String, Digest), Arc<tokio::sync::Mutex<Standing>>>;

/// The memory of one client.
#[derive(Debug)]
pub(crate) struct Pushes {
    blobs: Mutex<Blobs>,
    /// By host.
    chunks: Mutex<HashMap<String, u64>>,
    chunk_size: Option<u64>,
    /// Hosts that take no bodies of unknown length.
    no_streams: Mutex<HashSet<String>>,
    /// By host, the repository that asks, and the one that is to give.
    refusals: Mutex<HashMap<(String, String, String), u32>>,
}

impl Pushes {
    pub(crate) fn new(chunk_size: Option<u64>) -> Pushes {
        Pushes {
            blobs: Mutex::default(),
            chunks: Mutex::default(),
            chunk_size,
            no_streams: Mutex::default(),
            refusals: Mutex::default(),
        }
    }

    pub(crate) fn of(&self, repository: &Repository, digest: Digest) -> Arc<tokio::sync::Mutex<Standing>> {
        let key = (repository.host.clone(), repository.path.clone(), digest);
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(blobs.entry(key).or_default())
    }

    /// All of one repository.
    pub(crate) fn all_of(&self, repository: &Repository) -> Vec<Arc<tokio::sync::Mutex<Standing>>> {
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = |(host, path, _): &(String, String, Digest)| *host == repository.host && *path == repository.path;
        let found = blobs.iter().filter(|(key, _)| of_it(key));
        found.map(|(_, standing)| Arc::clone(standing)).collect()
    }

    /// The largest body that the host takes, so far as that is known or wished.
    pub(crate) fn chunk(&self, host: &str) -> Option<u64> {
        let chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        chunks.get(host).copied().or(self.chunk_size)
    }

    /// The host refused a body of `length` bytes: the size of the next, if there is a smaller one.
    pub(crate) fn shrink(&self, host: &str, length: u64, least: u64) -> Option<u64> {
        let smaller = CHUNKS.into_iter().find(|chunk| *chunk < length && *chunk >= least)?;
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        let known = chunks.entry(host.to_owned()).or_insert(smaller);
        *known = smaller.min(*known);
        Some(smaller)
    }

    /// Whether the host may be sent a body whose length nobody knows.
    pub(crate) fn takes_streams(&self, host: &str) -> bool {
        let refuse = self.no_streams.lock().unwrap_or_else(PoisonError::into_inner);
        !refuse.contains(host) && self.chunk(host).is_none()
    }

    /// The host refused such a body.
    pub(crate) fn refuses_streams(&self, host: &str) {
        let mut refuse = self.no_streams.lock().unwrap_or_else(PoisonError::into_inner);
        refuse.insert(host.to_owned());
    }

    /// Whether it is of use to ask for blobs of the repository at `source`.
    pub(crate) fn gives(&self, repository: &Repository, source: &str) -> bool {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals
            .get(&pair(repository, source))
            .is_none_or(|count| *count < REFUSALS)
    }

    /// `repository` was given nothing of the repository at `source`.
    pub(crate) fn refused(&self, repository: &Repository, source: &str) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals.entry(pair(repository, source)).or_default() += 1;
    }
}

fn pair(repository: &Repository, source: &str) -> (String, String, String) {
    (repository.host.clone(), repository.path.clone(), source.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_shrink_until_there_is_no_smaller_one() {
        let pushes = Pushes::new(None);
        assert_eq!(pushes.chunk("h"), None);
        assert_eq!(pushes.shrink("h", 100 << 20, 0), Some(64 << 20));
        assert_eq!(pushes.shrink("h", 64 << 20, 0), Some(16 << 20));
        assert_eq!(pushes.chunk("h"), Some(16 << 20));
        assert_eq!(pushes.chunk("other"), None);
        assert_eq!(
            pushes.shrink("h", 16 << 20, 5 << 20),
            None,
            "the registry takes no smaller ones"
        );
        assert_eq!(pushes.shrink("h", 1 << 20, 0), None);
    }

    #[test]
    fn what_gave_nothing_twice_is_not_asked_a_third_time() {
        let repository = Repository::of(&"h.example/a".parse().unwrap(), &[]).unwrap();
        let pushes = Pushes::new(None);
        pushes.refused(&repository, "b");
        assert!(pushes.gives(&repository, "b"));
        pushes.refused(&repository, "b");
        assert!(!pushes.gives(&repository, "b") && pushes.gives(&repository, "c"));
    }
}

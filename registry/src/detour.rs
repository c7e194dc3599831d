//! Mirrors first, the registry itself last: which endpoints are asked for something, and what happens when one of them
//! fails. Whoever sends the bytes, digests are checked, so a mirror can be late, wrong or gone, but never believed.
//!
//! ```text
//! no answer, or none that helps      the next endpoint is asked                                   pass_over
//! breaks off in the middle           taken up there a few times, then at the next endpoint        leave
//! other bytes than the digest says   whoever reads sees it at the end, and reads once more        distrust
//! ```

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oci::{Descriptor, Digest, Reference};

use crate::client::Client;
use crate::error::Error;
use crate::repository::Repository;

/// So long is waited for a mirror to answer, if somebody else can be asked.
pub(crate) const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 15 });

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Which digest a tag has.
    Digest,
    /// What is under a tag.
    Tag,
    /// What has a digest.
    Content,
}

/// What was passed over and told of, and what mirrors gave.
#[derive(Debug, Default)]
pub(crate) struct Detours {
    told: Mutex<HashSet<(String, String)>>,
    left: Mutex<HashSet<String>>,
    gave: Mutex<HashMap<Digest, Givers>>,
}

/// The mirrors that bytes of one blob came from.
#[derive(Debug, Default)]
struct Givers {
    /// Nothing is said of their bytes yet.
    believed: HashSet<String>,
    /// Their bytes were wrong.
    distrusted: HashSet<String>,
}

impl Detours {
    fn givers(&self) -> MutexGuard<'_, HashMap<Digest, Givers>> {
        self.gave.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Where the thing is asked for, in this order. Those that are known to be down are left out, if others remain.
    pub(crate) fn places(&self, name: &Reference, wanted: Wanted) -> Result<Vec<Repository>, Error> {
        let serves = |repository: &&Repository| {
            let endpoint = repository.endpoint();
            match wanted {
                Wanted::Digest => endpoint.purposes.resolve,
                Wanted::Tag => endpoint.purposes.resolve && endpoint.purposes.pull,
                Wanted::Content => endpoint.purposes.pull && !(endpoint.tags_only && name.digest().is_some()),
            }
        };
        let all = self.hosts().all(name)?;
        let serving: Vec<Repository> = all.iter().filter(serves).cloned().collect();
        let up = |repository: &&Repository| !repository.endpoint().is_down();
        let alive: Vec<Repository> = serving.iter().filter(up).cloned().collect();
        match (alive.is_empty(), serving.is_empty()) {
            (false, _) => Ok(alive),
            (true, false) => Ok(serving),
            (true, true) => Err(Error::Address {
                host: name.host().to_owned(),
                reason: "none of its endpoints is configured to give this".to_owned(),
            }),
        }
    }

    /// Where a blob is asked for: not from those that gave something else for it.
    pub(crate) fn places_of_blob(&self, name: &Reference, blob: Digest) -> Result<Vec<Repository>, Error> {
        let mut places = self.places(name, Wanted::Content)?;
        if let Some(givers) = self.detours().givers().get(&blob) {
            places.retain(|place| !givers.distrusted.contains(&place.endpoint().authority));
        }
        match places.is_empty() {
            true => self.places(name, Wanted::Content),
            false => Ok(places),
        }
    }

    /// Remembers that bytes of `blob` come from there, if it is a mirror.
    pub(crate) fn gives(&self, repository: &Repository, blob: Digest) {
        let endpoint = repository.endpoint();
        if endpoint.has_next {
            let mut givers = self.detours().givers();
            givers
                .entry(blob)
                .or_default()
                .believed
                .insert(endpoint.authority.clone());
        }
    }

    /// That bytes of `blob` were wrong: no mirror that gave some is asked for it again. Whether there was one.
    pub(crate) fn distrust_givers(&self, name: &Reference, blob: &Descriptor) -> bool {
        let wrong = match self.detours().givers().get_mut(&blob.digest) {
            Some(givers) => {
                givers.distrusted.extend(givers.believed.iter().cloned());
                std::mem::take(&mut givers.believed)
            }
            None => HashSet::new(),
        };
        for host in &wrong {
            let (path, digest) = (name.repository(), blob.digest);
            self.listener().tell(&format!(
                "mirror `{host}` is left for `{path}`: what it sent is not `{digest}`; all of it is asked for elsewhere"
            ));
        }
        !wrong.is_empty()
    }

    /// Whether something that may not say what a tag means comes before all that may: then the digest is asked for
    /// elsewhere first.
    pub(crate) fn needs_digest_first(&self, name: &Reference) -> Result<bool, Error> {
        let all = self.hosts().all(name)?;
        let first = all
            .iter()
            .map(Repository::endpoint)
            .find(|one| one.purposes.pull && !one.is_down());
        Ok(first.is_some_and(|first| !first.purposes.resolve))
    }

    /// An answer of `repository`, not waited for too long if others can be asked.
    pub(crate) async fn soon<T>(
        &self,
        repository: &Repository,
        asking: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if !repository.endpoint().has_next {
            return asking.await;
        }
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Err(error @ Error::Unreachable(_))) => {
                repository.endpoint().give_up();
                Err(error)
            }
            Ok(answer) => answer,
            Err(_) => {
                repository.endpoint().give_up();
                let host = &repository.endpoint().authority;
                let seconds = PATIENCE.as_secs();
                Err(Error::Unreachable(format!(
                    "no answer from `{host}` in {seconds} seconds"
                )))
            }
        }
    }

    /// Tells the user, once a mirror, that it broke off and `next` goes on; it is not asked any more.
    pub(crate) fn leave(&self, repository: &Repository, next: &Repository, received: u64, error: &Error) {
        let host = &repository.endpoint().authority;
        repository.endpoint().give_up();
        let is_news = {
            let mut left = self.detours().left.lock().unwrap_or_else(PoisonError::into_inner);
            left.insert(host.clone())
        };
        if is_news {
            let (path, next) = (&repository.path, &next.endpoint().authority);
            self.listener().tell(&format!(
                "mirror `{host}` is left for `{path}`: {error}; `{next}` goes on from byte {received}"
            ));
        }
    }

    /// Tells the user, once, that the next endpoint is asked because this one failed.
    pub(crate) fn pass_over(&self, repository: &Repository, error: &Error) {
        let host = &repository.endpoint().authority;
        let key = (host.clone(), repository.path.clone());
        let mut told = self.detours().told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(key) {
            let sentence = format!("mirror `{host}` is passed over for `{}`: {error}", repository.path);
            self.listener().tell(&sentence);
        }
    }
}

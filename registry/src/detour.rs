//! Mirrors first, the registry itself last: which endpoints are asked for something, and what happens when one of them
//! fails. Whoever sends the bytes, digests are checked, so a mirror can be late, wrong or gone, but never believed.

use std::collections::HashSet;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use oci::Reference;

use crate::client::Client;
use crate::error::Error;
use crate::repository::Repository;

/// So long is waited for a mirror to answer, if somebody else can be asked.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 15 });

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

/// What was passed over and told of.
#[derive(Debug, Default)]
pub(crate) struct Detours {
    told: Mutex<HashSet<(String, String)>>,
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

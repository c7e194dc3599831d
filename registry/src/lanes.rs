//! How many things one host is asked at once. Registries answer crowds with 429 and proxies with closed doors, and more
//! than a few transfers at a time make none of them faster.
//!
//! A transfer (the body of a blob, either way) has one of a few lanes of its host as long as bytes move; small requests
//! have lanes of their own, so that a question never waits for a layer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Url;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many blobs move between us and one host at a time, where nobody says.
const TRANSFERS: usize = 4;
/// How many small requests may be under way beside them; of a host that few may be asked at once, twice as many.
const BESIDE: usize = 8;

/// The lanes of all hosts.
#[derive(Debug)]
pub(crate) struct Lanes {
    transfers: usize,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
}

#[derive(Debug)]
struct Host {
    transfers: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

/// A lane, free again when dropped.
#[derive(Debug)]
pub(crate) struct Lane {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Lanes {
    pub(crate) fn new(transfers: Option<usize>) -> Lanes {
        Lanes {
            transfers: transfers.unwrap_or(TRANSFERS).max(1),
            hosts: Mutex::default(),
        }
    }

    /// How many blobs move to or from one host at most.
    pub(crate) fn transfers(&self) -> usize {
        self.transfers
    }

    /// Waits until a blob may move to or from the host of `url`.
    pub(crate) async fn transfer(&self, url: &Url) -> Lane {
        enter(&self.host(url).transfers).await
    }

    /// Waits until the host of `url` may be asked something.
    pub(crate) async fn request(&self, url: &Url) -> Lane {
        enter(&self.host(url).requests).await
    }

    fn host(&self, url: &Url) -> Arc<Host> {
        let host = url.host_str().unwrap_or_default();
        let name = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let made = hosts.entry(name).or_insert_with(|| {
            Arc::new(Host {
                transfers: Arc::new(Semaphore::new(self.transfers)),
                requests: Arc::new(Semaphore::new(BESIDE.min(self.transfers * 2))),
            })
        });
        Arc::clone(made)
    }
}

async fn enter(lanes: &Arc<Semaphore>) -> Lane {
    Lane {
        // Nobody closes a semaphore of ours.
        _permit: Arc::clone(lanes).acquire_owned().await.ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn each_host_has_its_lanes_and_questions_do_not_wait_for_blobs() {
        let lanes = Lanes::new(Some(2));
        let [here, there] = ["https://h.example/a", "https://h.example:444/a"].map(|url| Url::parse(url).unwrap());
        let at_once = Duration::from_millis(20);
        let first = lanes.transfer(&here).await;
        let _second = lanes.transfer(&here).await;
        assert!(timeout(at_once, lanes.transfer(&here)).await.is_err());
        assert!(timeout(at_once, lanes.transfer(&there)).await.is_ok());
        assert!(timeout(at_once, lanes.request(&here)).await.is_ok());
        drop(first);
        assert!(timeout(at_once, lanes.transfer(&here)).await.is_ok());
    }
}

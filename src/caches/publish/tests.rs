//! Many writers of one list, at a place that compares before it writes and at one that does not.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use cache::CacheKey;
use oci::{Blob, BoxFuture, DiffId, ImageName};

use super::super::shelf::Found;
use super::*;

/// A place in memory.
#[derive(Default)]
struct Memory {
    compares: bool,
    state: Mutex<State>,
    /// Blobs that it knows; it takes no list with others.
    blobs: Option<HashSet<Digest>>,
}

#[derive(Default)]
struct State {
    versions: usize,
    results: Option<Vec<Listed>>,
    /// So many writes are lost to another writer who saw the list before.
    lose: usize,
}

fn listed(name: &str) -> Listed {
    let digest = Digest::of(name.as_bytes());
    Listed {
        keys: vec![CacheKey(digest)],
        stack: vec![(Descriptor::of("", name.as_bytes()), DiffId(digest))],
        used: None,
        origin: None,
    }
}

fn list(name: &str) -> ListToWrite {
    ListToWrite {
        results: vec![listed(name)],
        form: export::records::ManifestForm::Image,
    }
}

impl Shelf for Memory {
    fn name(&self) -> ImageName {
        ImageName::Results("memory".to_owned())
    }

    fn read(&self) -> BoxFuture<'_, Result<Option<Found>, PortError>> {
        Box::pin(async {
            let found = {
                let state = self.state.lock().unwrap();
                let results = state.results.clone();
                results.map(|results| Found {
                    version: state.versions.to_string(),
                    manifest: None,
                    results: Ok(Arc::new(results)),
                })
            };
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok(found)
        })
    }

    fn is_still<'a>(&'a self, version: &'a str) -> BoxFuture<'a, bool> {
        let is_still = self.state.lock().unwrap().versions.to_string() == version;
        Box::pin(std::future::ready(is_still))
    }

    fn lacks<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<bool, PortError>> {
        let lacks = self.blobs.as_ref().is_some_and(|blobs| !blobs.contains(&blob.digest));
        Box::pin(std::future::ready(Ok(lacks)))
    }

    fn put<'a>(
        &'a self,
        _: &'a Descriptor,
        _: PathBuf,
        _: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(std::future::ready(Ok(true)))
    }

    fn write<'a>(&'a self, list: &'a ListToWrite, over: Option<&'a str>) -> BoxFuture<'a, Result<Written, PortError>> {
        Box::pin(async move {
            let is_as_seen =
                |state: &State| state.results.as_ref().map(|_| state.versions.to_string()).as_deref() == over;
            if !is_as_seen(&self.state.lock().unwrap()) {
                return Ok(Written::No);
            }
            if let Some(blobs) = &self.blobs
                && !super::blobs(&list.results)
                    .iter()
                    .all(|blob| blobs.contains(&blob.digest))
            {
                return Err(PortError::Protocol {
                    name: "memory".to_owned(),
                    detail: "a blob is unknown".to_owned(),
                });
            }
            if !self.compares {
                // Whoever looks now sees what was there before.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let mut state = self.state.lock().unwrap();
            if self.compares && !is_as_seen(&state) {
                return Ok(Written::No);
            }
            state.versions += 1;
            let version = state.versions.to_string();
            if state.lose > 0 {
                state.lose -= 1;
                state.versions += 1;
            } else {
                state.results = Some(list.results.clone());
            }
            Ok(match self.compares {
                true => Written::Surely,
                false => Written::Perhaps(version),
            })
        })
    }

    fn blob<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<Blob, PortError>> {
        let name = blob.digest.to_string();
        Box::pin(std::future::ready(Err(PortError::NotFound { name })))
    }
}

async fn put(shelf: &dyn Shelf, name: &str) {
    publish(shelf, &list(name), HashSet::new(), Start::Joining, 1)
        .await
        .unwrap();
}

fn names(shelf: &Memory) -> usize {
    shelf.state.lock().unwrap().results.as_ref().map_or(0, Vec::len)
}

#[tokio::test]
async fn eight_at_once_lose_nothing() {
    for compares in [true, false] {
        let shelf = Memory {
            compares,
            ..Memory::default()
        };
        let writers = (0..8).map(|writer| {
            let shelf = &shelf;
            async move { put(shelf, &writer.to_string()).await }
        });
        futures_util::future::join_all(writers).await;
        assert_eq!(names(&shelf), 8, "compares: {compares}");
    }
}

#[tokio::test]
async fn a_write_that_another_overwrote_is_made_again() {
    let shelf = Memory::default();
    put(&shelf, "a").await;
    shelf.state.lock().unwrap().lose = 2;
    put(&shelf, "b").await;
    assert_eq!(names(&shelf), 2);
}

#[tokio::test]
async fn nothing_is_written_where_nothing_is_new() {
    let shelf = Memory::default();
    put(&shelf, "a").await;
    let before = shelf.state.lock().unwrap().versions;
    put(&shelf, "a").await;
    assert_eq!(shelf.state.lock().unwrap().versions, before);
}

#[tokio::test]
async fn results_whose_blobs_are_gone_leave_when_that_is_noticed() {
    let blobs = ["b", "c"].map(|name| Digest::of(name.as_bytes()));
    let shelf = Memory {
        blobs: Some(HashSet::from(blobs)),
        ..Memory::default()
    };
    shelf.state.lock().unwrap().results = Some(vec![listed("a"), listed("b")]);
    put(&shelf, "c").await;
    let results = shelf.state.lock().unwrap().results.clone().unwrap();
    assert!(results.iter().all(|result| result.stack != listed("a").stack));
    assert_eq!(results.len(), 2);
}

#[tokio::test]
async fn a_list_begun_anew_has_nothing_of_the_old() {
    let shelf = Memory::default();
    put(&shelf, "a").await;
    publish(&shelf, &list("b"), HashSet::new(), Start::Anew, 1)
        .await
        .unwrap();
    assert_eq!(names(&shelf), 1);
}

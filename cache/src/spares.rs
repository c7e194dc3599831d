//! Directories of trees, made before they are asked for.
//!
//! A directory that a file system places far from others (see `store.rs`) takes it as long as all else of a small step's tree: it
//! looks through all its groups. So from the second step on, one is made beside the work for the next. What nobody asked for goes
//! with the store, and if the process does not get that far, with what it left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::SnapshotId;

/// Names within the directory of a tree.
pub(crate) const UPPER: &str = "upper";
pub(crate) const MERGED: &str = "merged";

/// An empty directory for a tree.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) id: SnapshotId,
    pub(crate) directory: PathBuf,
}

impl Spare {
    /// Makes the directory, in `place`.
    pub(crate) fn make(id: SnapshotId, place: &Path) -> Result<Spare, (PathBuf, io::Error)> {
        let directory = place.join(id.to_string());
        let spare = Spare { id, directory };
        let directory = &spare.directory;
        for path in [directory.clone(), directory.join(UPPER), directory.join(MERGED)] {
            if let Err(error) = fs::create_dir(&path) {
                spare.remove();
                return Err((path, error));
            }
        }
        Ok(spare)
    }

    /// Removes the directory, which nobody used.
    fn remove(&self) {
        for path in [
            self.directory.join(MERGED),
            self.directory.join(UPPER),
            self.directory.clone(),
        ] {
            // What stays is swept after the end of this process.
            let _ = fs::remove_dir(path);
        }
    }
}

/// The directories made ahead.
#[derive(Debug, Default)]
pub(crate) struct Spares(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether one was asked for before.
    is_wanted: bool,
    maker: Option<Maker>,
}

#[derive(Debug)]
struct Maker {
    orders: Sender<(SnapshotId, PathBuf)>,
    made: Receiver<Spare>,
    thread: JoinHandle<()>,
}

impl Spares {
    /// A directory, if one is ready; and has the next made in `place`.
    pub(crate) fn take(&self, next: impl FnOnce() -> SnapshotId, place: &Path) -> Option<Spare> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut state.is_wanted, true) {
            return None;
        }
        if state.maker.is_none() {
            state.maker = Maker::start();
            state.maker.as_ref()?.order(next(), place);
            return None;
        }
        let maker = state.maker.as_ref()?;
        // One that comes too late is for the next.
        let ready = maker.made.try_recv().ok()?;
        maker.order(next(), place);
        Some(ready)
    }

    /// Removes what is left over.
    pub(crate) fn finish(&self) {
        let maker = self.0.lock().unwrap_or_else(PoisonError::into_inner).maker.take();
        let Some(Maker { orders, made, thread }) = maker else {
            return;
        };
        drop(orders);
        let _ = thread.join();
        made.iter().for_each(|spare| spare.remove());
    }
}

impl Maker {
    fn start() -> Option<Maker> {
        let (orders, ordered) = channel::<(SnapshotId, PathBuf)>();
        let (give, made) = channel();
        let make_all = move || {
            for (id, place) in ordered {
                match Spare::make(id, &place) {
                    Ok(spare) => {
                        let _ = give.send(spare);
                    }
                    // Whoever asks makes one, and meets the same.
                    Err(_) => return,
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("spare".to_owned())
            .spawn(make_all)
            .ok()?;
        Some(Maker { orders, made, thread })
    }

    fn order(&self, id: SnapshotId, place: &Path) {
        let _ = self.orders.send((id, place.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_ahead_is_given_once_and_the_rest_removed() {
        let place = tempfile::tempdir().unwrap();
        let spares = Spares::default();
        let mut numbers = 0..;
        let mut take = || spares.take(|| SnapshotId::new(7, numbers.next().unwrap()), place.path());
        assert!(take().is_none(), "nobody knows yet that there will be a second");
        assert!(take().is_none());
        let mut given = Vec::new();
        while given.len() < 3 {
            given.extend(take());
            std::thread::yield_now();
        }
        for (number, spare) in given.iter().enumerate() {
            assert_eq!(spare.id, SnapshotId::new(7, number as u64));
            assert!(spare.directory.join(UPPER).is_dir() && spare.directory.join(MERGED).is_dir());
        }
        spares.finish();
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), given.len());
    }

    #[test]
    fn where_none_can_be_made_none_is_given() {
        let spares = Spares::default();
        for number in 0..20 {
            assert!(
                spares
                    .take(|| SnapshotId::new(7, number), Path::new("/nowhere"))
                    .is_none()
            );
        }
        spares.finish();
    }
}

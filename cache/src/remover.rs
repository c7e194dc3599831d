//! Removing beside the work: the work directories of an overlay that was committed take longer to remove than all that
//! keeping its tree takes, and nobody waits for that.
//!
//! A thread begins with the first tree and ends with the store. What is given to it carries the name of our lease: if it does not
//! come to it, the next process does.

use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::remove::remove_tree;

/// Removes trees, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Remover(Mutex<Option<Working>>);

#[derive(Debug)]
struct Working {
    paths: Sender<PathBuf>,
    /// Whether all could be removed.
    thread: JoinHandle<bool>,
}

impl Remover {
    /// Removes the tree at `path` soon; where there are no threads to be had, now.
    pub(crate) fn remove(&self, path: PathBuf) -> std::io::Result<()> {
        let mut working = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if working.is_none() {
            *working = Working::begin();
        }
        match &*working {
            Some(working) => working.paths.send(path).or_else(|unsent| remove_tree(&unsent.0)),
            None => remove_tree(&path),
        }
    }

    /// Waits until all is removed; whether it could be.
    pub(crate) fn finish(&self) -> bool {
        let working = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        working.is_none_or(|Working { paths, thread }| {
            drop(paths);
            thread.join().unwrap_or(false)
        })
    }
}

impl Working {
    fn begin() -> Option<Working> {
        let (paths, given) = channel::<PathBuf>();
        let remove_all = move || {
            let mut is_all_gone = true;
            for path in given {
                is_all_gone &= remove_tree(&path).is_ok();
            }
            is_all_gone
        };
        let thread = std::thread::Builder::new().name("remove".to_owned()).spawn(remove_all);
        thread.ok().map(|thread| Working { paths, thread })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_gone_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let remover = Remover::default();
        for name in ["a", "b", "c"] {
            let tree = directory.path().join(name);
            std::fs::create_dir_all(tree.join("below")).unwrap();
            remover.remove(tree).unwrap();
        }
        remover.remove(directory.path().join("never there")).unwrap();
        assert!(remover.finish());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        assert!(remover.finish(), "nothing is left to do");
    }
}

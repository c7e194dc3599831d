//! Removing beside the work: the work directories of an overlay that was committed take longer to remove than all that
//! keeping its tree takes, and nobody waits for that.
//!
//! A thread begins with the first tree and ends with the store. What is given to it carries the name of our lease: if it does not
//! come to it, the next process does. So the end of a command waits for it a moment only: a tree of a whole image that a slow disk
//! takes a minute to remove is not what anybody waits for either.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::remove::remove_tree;

/// How long the end of a store waits for what is being removed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Removes trees, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Remover(Mutex<Option<Working>>);

#[derive(Debug)]
struct Working {
    paths: Sender<PathBuf>,
    /// Gets, when there are no more, whether all could be removed.
    ended: Receiver<bool>,
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

    /// Waits a moment until all is removed; whether it is.
    pub(crate) fn finish(&self) -> bool {
        let working = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        working.is_none_or(|Working { paths, ended }| {
            drop(paths);
            ended.recv_timeout(PATIENCE).unwrap_or(false)
        })
    }
}

impl Working {
    fn begin() -> Option<Working> {
        let (paths, given) = channel::<PathBuf>();
        let (end, ended) = channel();
        let remove_all = move || {
            let mut is_all_gone = true;
            for path in given {
                is_all_gone &= remove_tree(&path).is_ok();
            }
            // Nobody may wait for that any more.
            let _ = end.send(is_all_gone);
        };
        let thread = std::thread::Builder::new().name("remove".to_owned()).spawn(remove_all);
        thread.ok().map(|_| Working { paths, ended })
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

//! Folders for the time of some work: what is in them nobody keeps.

use std::path::{Path, PathBuf};

use crate::error::failed;
use crate::{Error, Store};

/// A folder of the store that is deleted when this is dropped, or after the end of the process.
#[derive(Debug)]
pub struct Scratch {
    store: Store,
    path: PathBuf,
}

impl Scratch {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is swept after the end of this process.
        let _ = self.store.remove(&self.path);
    }
}

impl Store {
    /// Makes an empty folder.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn scratch(&self) -> Result<Scratch, Error> {
        let path = self.temporary();
        std::fs::create_dir(&path).map_err(failed("create", &path))?;
        Ok(Scratch {
            store: self.clone(),
            path,
        })
    }
}

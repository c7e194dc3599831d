//! The files of the results as files of the user: folders and tar archives.

use std::io;
use std::path::Path;

use export::{FileDest, OutputSpec, Skipped, Tree};
use solver::ResultTree;

use super::{Built, Delivery, failed};
use crate::error::CommandError;

impl Delivery {
    /// Puts the files of the results where they are wanted; tells what could not be.
    pub(super) fn write_files(&self, output: &OutputSpec) -> Result<Vec<String>, CommandError> {
        match output {
            OutputSpec::Directory {
                dest,
                epoch,
                split,
                stale,
            } => {
                let mounted = self.mount_all()?;
                let (trees, epoch) = (self.trees(&mounted, *split), epoch.or(self.epoch));
                let skipped = export::to_directory(&trees, dest, epoch, *stale);
                let note = |skipped: Skipped| format!("left out: {} is a {}", skipped.path.display(), skipped.kind);
                Ok(skipped.map_err(|error| failed(&error))?.into_iter().map(note).collect())
            }
            OutputSpec::Tar { dest, epoch, split } => {
                let mounted = self.mount_all()?;
                let (trees, epoch) = (self.trees(&mounted, *split), epoch.or(self.epoch));
                let written = match dest {
                    FileDest::Stdout => export::to_tar(&trees, epoch, self.stopping(io::stdout().lock())),
                    FileDest::File(path) => {
                        export::to_file(path, |file| export::to_tar(&trees, epoch, self.stopping(file)))
                    }
                };
                written.map_err(|error| failed(&error))?;
                Ok(Vec::new())
            }
            OutputSpec::Image { .. } | OutputSpec::Archive { .. } | OutputSpec::CacheOnly => Ok(Vec::new()),
        }
    }

    fn trees<'a>(&self, mounted: &'a [MountedResult], split: Option<bool>) -> Vec<Tree<'a>> {
        let is_apart = split.unwrap_or(self.multi_platform);
        let tree = |(built, mounted): (&Built, &'a MountedResult)| Tree {
            path: mounted.path(),
            platform: built.platform.clone(),
            owners: mounted.tree.owners().clone(),
            is_apart,
        };
        self.results.iter().zip(mounted).map(tree).collect()
    }

    fn mount_all(&self) -> Result<Vec<MountedResult>, CommandError> {
        let mounted = self.results.iter().map(|built| self.mount(built));
        let mounted: Result<_, cache::Error> = mounted.collect();
        mounted.map_err(|error| CommandError::failed("failed to export").because(&error))
    }

    fn mount(&self, built: &Built) -> Result<MountedResult, cache::Error> {
        // Who wants files has them here.
        if let Some(ResultTree::Here(snapshot)) = &built.tree {
            return Ok(MountedResult {
                tree: snapshot.mount(&self.store)?,
                _empty: None,
            });
        }
        let empty = self.store.prepare(None)?;
        Ok(MountedResult {
            tree: empty.mount()?,
            _empty: Some(empty),
        })
    }
}

/// The files of a result; an empty result has an empty tree, deleted with this.
struct MountedResult {
    tree: cache::Tree,
    _empty: Option<cache::ActiveSnapshot>,
}

impl MountedResult {
    fn path(&self) -> &Path {
        self.tree.path()
    }
}

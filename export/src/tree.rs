//! File trees of several platforms in one place: each in a folder of its own, or all merged where nothing meets.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cache::Owners;
use oci::Platform;

use crate::Error;
use crate::walk::walk;

/// The root file system of one platform, mounted.
#[derive(Clone, Debug)]
pub struct Tree<'a> {
    /// Where it is mounted.
    pub path: &'a Path,
    /// What it is for.
    pub platform: Platform,
    /// Whose its files are.
    pub owners: Owners,
    /// Whether it goes into a folder named after its platform.
    pub is_apart: bool,
}

impl Tree<'_> {
    /// The folder it goes into: `linux_arm_v7`, or none.
    #[must_use]
    pub fn folder(&self) -> Option<String> {
        self.is_apart.then(|| self.platform.to_string().replace('/', "_"))
    }
}

/// Makes sure that no file of a tree takes the place of one of another; folders may meet.
///
/// # Errors
/// [`Error::Collision`] with the first that does, or if a tree cannot be read.
pub fn refuse_collisions(trees: &[Tree<'_>]) -> Result<(), Error> {
    let mut seen: HashMap<PathBuf, (usize, bool)> = HashMap::new();
    for (place, tree) in trees.iter().enumerate().filter(|(_, tree)| !tree.is_apart) {
        walk(tree.path, |found| {
            let is_directory = found.metadata.is_dir();
            match seen.insert(found.relative.clone(), (place, is_directory)) {
                Some((first, was_directory)) if first != place && !(is_directory && was_directory) => {
                    Err(Error::Collision {
                        path: found.relative.display().to_string(),
                        first: trees[first].platform.to_string(),
                        second: tree.platform.to_string(),
                    })
                }
                _ => Ok(()),
            }
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn trees(first: &[&str], second: &[&str], is_apart: bool) -> Result<(), String> {
        let roots = [first, second].map(|files| {
            let root = tempfile::tempdir().unwrap();
            for file in files {
                fs::create_dir_all(root.path().join(file).parent().unwrap()).unwrap();
                fs::write(root.path().join(file), "").unwrap();
            }
            root
        });
        let tree = |place: usize, platform: &str| Tree {
            path: roots[place].path(),
            platform: platform.parse().unwrap(),
            owners: Owners::default(),
            is_apart,
        };
        refuse_collisions(&[tree(0, "linux/amd64"), tree(1, "linux/arm/v7")]).map_err(|error| error.to_string())
    }

    #[test]
    fn files_of_two_platforms_must_not_meet_in_one_folder() {
        assert_eq!(trees(&["d/a"], &["d/b"], false), Ok(()));
        assert_eq!(trees(&["d/a"], &["d/a"], true), Ok(()));
        let told = "cannot overwrite d/a from linux/amd64 with linux/arm/v7 when split option is disabled";
        assert_eq!(trees(&["d/a"], &["d/a"], false), Err(told.to_owned()));
        let told = "cannot overwrite d from linux/amd64 with linux/arm/v7 when split option is disabled";
        assert_eq!(trees(&["d"], &["d/a"], false), Err(told.to_owned()));
    }

    #[test]
    fn a_folder_is_named_after_its_platform() {
        let tree = |is_apart| Tree {
            path: Path::new("/"),
            platform: "linux/arm/v7".parse().unwrap(),
            owners: Owners::default(),
            is_apart,
        };
        assert_eq!(tree(true).folder().as_deref(), Some("linux_arm_v7"));
        assert_eq!(tree(false).folder(), None);
    }
}

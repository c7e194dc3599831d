//! What was checked out, made the same everywhere: modes, times, and only what was asked for.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::{Error, files};

/// Moves what is in a directory of `tree` to `target`. Links on the way to it are not followed.
pub(super) fn move_up(tree: &Path, subdirectory: &str, target: &Path) -> Result<(), Error> {
    let mut folder = tree.to_owned();
    for part in subdirectory.split('/') {
        folder.push(part);
        let refuse = |why: &str| Error::Subdirectory(subdirectory.to_owned(), why.to_owned());
        match fs::symlink_metadata(&folder) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(refuse("not a directory")),
            Err(_) => return Err(refuse("no such directory")),
        }
    }
    for entry in fs::read_dir(&folder).map_err(files(&folder))? {
        let entry = entry.map_err(files(&folder))?;
        let place = target.join(entry.file_name());
        fs::rename(entry.path(), &place).map_err(files(&place))?;
    }
    Ok(())
}

/// Sets modes to 0644 and 0755, and all times to `seconds`. Submodules lose the file that names their repository, which
/// is a path of this machine, unless `.git` stays and they lead there.
pub(super) fn settle(root: &Path, seconds: Option<i64>, keeps_git: bool) -> Result<(), Error> {
    let mut folders = vec![root.to_owned()];
    let mut at = 0;
    while at < folders.len() {
        let folder = folders[at].clone();
        at += 1;
        for entry in fs::read_dir(&folder).map_err(files(&folder))? {
            let path = entry.map_err(files(&folder))?.path();
            let found = fs::symlink_metadata(&path).map_err(files(&path))?;
            let is_git = path.file_name().is_some_and(|name| name == ".git");
            if is_git && !keeps_git {
                fs::remove_file(&path).map_err(files(&path))?;
            } else if found.is_dir() {
                folders.push(path);
            } else {
                if found.is_file() && !is_inside_git(&path, root) {
                    let mode = if found.permissions().mode() & 0o100 == 0 {
                        0o644
                    } else {
                        0o755
                    };
                    fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(files(&path))?;
                }
                set_time(&path, seconds)?;
            }
        }
    }
    // The deepest first: nothing is changed below a directory whose time is set.
    for folder in folders.iter().rev() {
        fs::set_permissions(folder, Permissions::from_mode(0o755)).map_err(files(folder))?;
        set_time(folder, seconds)?;
    }
    Ok(())
}

fn is_inside_git(path: &Path, root: &Path) -> bool {
    path.starts_with(root.join(".git"))
}

fn set_time(path: &PathBuf, seconds: Option<i64>) -> Result<(), Error> {
    let Some(seconds) = seconds else { return Ok(()) };
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| files(path)(errno.into()))
}

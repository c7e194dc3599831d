//! Archives that ADD unpacks, in all its compressions: nothing outside of the tree changes.

use std::cell::RefCell;
use std::fs;

use graph::{Copy, FileAction, InputIndex, Owner, Unpack, UserName};
use solver::files::{Target, Tree, apply, is_archive_file, newest_in_archive};

use super::blocks::with_checksums;
use super::outside::Outside;

thread_local! {
    static OUTSIDE: RefCell<Option<Outside>> = const { RefCell::new(None) };
}

/// Adds the archive to a tree that has links to the outside.
pub fn run(bytes: &[u8]) {
    OUTSIDE.with_borrow_mut(|outside| {
        let outside = outside.get_or_insert_with(Outside::new);
        let (from, to) = (outside.path().join("from"), outside.path().join("to"));
        fs::create_dir(&from).expect("there is none yet");
        fs::create_dir(&to).expect("there is none yet");
        std::os::unix::fs::symlink("../outside", to.join("up")).expect("there is none yet");
        std::os::unix::fs::symlink("/proc/self/cwd/outside", to.join("absolute")).expect("there is none yet");
        let archive = from.join("archive");
        fs::write(&archive, with_checksums(bytes)).expect("there is room");
        let is_archive = is_archive_file(&archive).unwrap_or(false);
        let newest = newest_in_archive(&archive);
        let target = Target {
            root: &to,
            upper: None,
            owners: &cache::Owners::default(),
            reuse: None,
        };
        let added = apply(
            &FileAction::Copy(add()),
            &|_| Tree::Directory(&from),
            target,
            &nobody,
            &|| false,
        );
        if !is_archive && added.is_ok() {
            assert_eq!(fs::read(to.join("archive")).expect("it is copied").len(), bytes.len());
        }
        if added.is_ok() && is_archive {
            assert!(newest.is_ok(), "what can be unpacked can be looked at");
        }
        outside.check();
        fs::remove_dir_all(&from).expect("it is ours");
        fs::remove_dir_all(&to).expect("it is ours");
    });
}

fn add() -> Copy {
    Copy {
        from: InputIndex(0),
        source: "archive".to_owned(),
        destination: "/".to_owned(),
        owner: None,
        mode: None,
        include: None,
        excludes: Vec::new(),
        unpack: Unpack::Archives,
    }
}

fn nobody(owner: &Owner) -> Result<(u32, u32), Box<dyn std::error::Error + Send + Sync>> {
    match owner.user {
        UserName::Id(id) => Ok((id, id)),
        UserName::Name(_) => Err("nobody has a name".into()),
    }
}

//! Files that are laid beneath an overlay for the time of a step.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use cache::{ActiveSnapshot, MountPoints, Store};

use crate::new_store;

const NAMES: [&str; 2] = ["resolv.conf", "hosts"];

/// A tree to be changed, whose parent `fill` has made.
fn above(store: &Store, fill: impl FnOnce(&Path)) -> ActiveSnapshot {
    let parent = store.prepare(None).unwrap();
    fill(parent.upper());
    store.prepare(Some(&parent.commit().unwrap())).unwrap()
}

/// An `etc` of 1970 that not everybody may read.
fn make_etc(root: &Path) {
    let etc = root.join("etc");
    fs::create_dir(&etc).unwrap();
    fs::write(etc.join("passwd"), "").unwrap();
    fs::set_permissions(&etc, Permissions::from_mode(0o750)).unwrap();
    fs::File::open(&etc)
        .unwrap()
        .set_modified(UNIX_EPOCH + Duration::from_nanos(5_000_000_007))
        .unwrap();
}

fn lay(active: &ActiveSnapshot) -> Option<MountPoints> {
    active.lay_mount_points("etc", &NAMES).unwrap()
}

fn names_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = names
        .map(|name| name.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_step_that_leaves_them_alone_has_changed_nothing() {
    let (_root, store) = new_store();
    let active = above(&store, make_etc);
    let laid = lay(&active).unwrap();
    let etc = active.upper().join("etc");
    let seen = fs::metadata(&etc).unwrap();
    assert_eq!((seen.mode() & 0o7777, seen.mtime(), seen.mtime_nsec()), (0o750, 5, 7));
    assert_eq!(names_in(&etc), ["hosts", "resolv.conf"]);
    laid.take_away().unwrap();
    assert!(names_in(active.upper()).is_empty());
}

#[test]
fn what_a_step_makes_beside_them_stays_with_the_times_of_the_step() {
    let (_root, store) = new_store();
    let active = above(&store, make_etc);
    let laid = lay(&active).unwrap();
    let etc = active.upper().join("etc");
    fs::write(etc.join("new"), "").unwrap();
    fs::write(etc.join("hosts"), "taken over").unwrap();
    fs::File::open(&etc)
        .unwrap()
        .set_modified(UNIX_EPOCH + Duration::from_secs(9))
        .unwrap();
    laid.take_away().unwrap();
    assert_eq!(names_in(&etc), ["hosts", "new"]);
    assert_eq!(fs::metadata(&etc).unwrap().mtime(), 9);
}

#[test]
fn what_the_step_changed_of_the_folder_alone_stays() {
    let (_root, store) = new_store();
    let active = above(&store, make_etc);
    let laid = lay(&active).unwrap();
    let etc = active.upper().join("etc");
    fs::set_permissions(&etc, Permissions::from_mode(0o700)).unwrap();
    laid.take_away().unwrap();
    assert!(names_in(&etc).is_empty());
    assert_eq!(fs::metadata(&etc).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn nothing_is_laid_where_it_would_show() {
    let (_root, store) = new_store();
    assert!(lay(&store.prepare(None).unwrap()).is_none());
    assert!(lay(&above(&store, |_| {})).is_none());
    assert!(lay(&above(&store, |root| symlink("usr", root.join("etc")).unwrap())).is_none());
    let both = |root: &Path| {
        make_etc(root);
        NAMES
            .iter()
            .for_each(|name| symlink("elsewhere", root.join("etc").join(name)).unwrap());
    };
    assert!(lay(&above(&store, both)).is_none());
    let with_attribute = |root: &Path| {
        make_etc(root);
        rustix::fs::setxattr(root.join("etc"), "user.mine", b"x", rustix::fs::XattrFlags::empty()).unwrap();
    };
    assert!(lay(&above(&store, with_attribute)).is_none());
    let one = above(&store, |root| {
        make_etc(root);
        fs::write(root.join("etc/hosts"), "").unwrap();
    });
    let laid = lay(&one).unwrap();
    assert_eq!(names_in(&one.upper().join("etc")), ["resolv.conf"]);
    laid.take_away().unwrap();
    assert!(names_in(one.upper()).is_empty());
}

use std::fs;
use std::path::Path;

use rustix::fs::{AtFlags, CWD};

use super::*;
use crate::files::filter::Filter;
use crate::files::root::Root;
use crate::files::walk::walk;

#[test]
fn an_entry_has_few_bytes() {
    assert!(size_of::<Record>() <= 48, "{}", size_of::<Record>());
}

fn paths(entries: &Entries) -> Vec<String> {
    let places = 0..u32::try_from(entries.len()).unwrap();
    let mut walk = entries.walk(places.map(|place| Taken { place, implied: false }));
    let mut paths = Vec::new();
    while let Some((place, entry)) = walk.step() {
        assert_eq!(entry.path, entries.path_of(place));
        paths.push(String::from_utf8(entry.path.to_vec()).unwrap());
    }
    paths
}

/// Folders of one, few and many entries, with names that stand between a folder and what is in it.
fn tree(root: &Path) -> Vec<String> {
    for folder in ["a", "a/b", "a.d", "a-", "z/y/x/w", "many/d"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let mut files = vec!["a/f".to_owned(), "a.f".into(), "a/b/f".into(), "z/y/x/w/f".into()];
    files.extend((0..100).map(|number| format!("many/{number}")));
    files.extend((0..50).flat_map(|number| [format!("d{number}"), format!("d{number}/f")]));
    for file in files {
        match file.strip_suffix("/f") {
            Some(folder) if file.starts_with('d') => {
                fs::create_dir_all(root.join(folder)).unwrap();
                fs::write(root.join(&file), &file).unwrap();
            }
            None if file.starts_with('d') => {}
            _ => fs::write(root.join(&file), &file).unwrap(),
        }
    }
    let mut all = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            all.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    all.sort_by(|a, b| walk_order(a.as_bytes(), b.as_bytes()));
    all
}

#[test]
fn entries_are_in_walk_order_and_found_by_their_paths() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = tree(folder.path());
    expected.insert(0, String::new());
    let root = Root::open(folder.path()).unwrap();
    let entries = walk(&root, b"", &Filter::default()).unwrap();
    assert_eq!(paths(&entries), expected);
    for (at, path) in expected.iter().enumerate() {
        assert_eq!(entries.place(path.as_bytes()), Some(at));
        let below = expected
            .iter()
            .filter(|other| is_below(other.as_bytes(), path.as_bytes()));
        assert_eq!(entries.below(at), at..at + 1 + below.count(), "{path}");
        let stat = rustix::fs::statat(CWD, folder.path().join(path), AtFlags::SYMLINK_NOFOLLOW).unwrap();
        let facts = entries.facts(at);
        assert!(facts.is_still(&stat) && facts.changed == changed(&stat), "{path}");
        assert_eq!((facts.mode, facts.user), (stat.st_mode & 0o7777, stat.st_uid));
    }
    for missing in ["b", "a/c", "a/f/g", "zz"] {
        assert_eq!(entries.place(missing.as_bytes()), None, "{missing}");
    }
}

#[test]
fn a_walk_can_begin_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path());
    let root = Root::open(folder.path()).unwrap();
    let below = |top: &str| paths(&walk(&root, top.as_bytes(), &Filter::default()).unwrap());
    assert_eq!(below("z/y"), ["z/y", "z/y/x", "z/y/x/w", "z/y/x/w/f"]);
    assert_eq!(below("a/f"), ["a/f"]);
    assert_eq!(below("none"), [""; 0]);
}

#[test]
fn times_that_are_no_nanoseconds_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    for (name, seconds) in [("old", -20_000_000_000_i64), ("before", -1), ("new", 20_000_000_000)] {
        let path = folder.path().join(name);
        fs::write(&path, "").unwrap();
        let time = rustix::fs::Timespec {
            tv_sec: seconds,
            tv_nsec: 7,
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
        let stat = rustix::fs::statat(CWD, &path, AtFlags::empty()).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let entries = walk(&root, name.as_bytes(), &Filter::default()).unwrap();
        assert_eq!(entries.facts(0).modified, modified(&stat), "{name}");
        assert!(entries.facts(0).is_still(&stat), "{name}");
    }
}

use std::os::unix::fs::symlink;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn whole(path: &Path) -> Tree<'_> {
    Tree {
        path,
        platform: "linux/amd64".parse().unwrap(),
        owners: cache::Owners::default(),
        is_apart: false,
    }
}

#[test]
fn modes_times_and_links_are_kept() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (tree, dest) = (from.path(), to.path().join("new/dest"));
    fs::create_dir(tree.join("d")).unwrap();
    fs::write(tree.join("d/tool"), b"tool").unwrap();
    fs::hard_link(tree.join("d/tool"), tree.join("d/twin")).unwrap();
    symlink("/nowhere", tree.join("link")).unwrap();
    set_mode(&tree.join("d/tool"), 0o4711);
    set_mode(&tree.join("d"), 0o555);
    let old = Timestamps {
        last_access: Timespec { tv_sec: 5, tv_nsec: 0 },
        last_modification: Timespec { tv_sec: 7, tv_nsec: 9 },
    };
    for name in ["d/tool", "d", "link"] {
        rustix::fs::utimensat(CWD, tree.join(name), &old, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    // The second time everything is there already.
    for _ in 0..2 {
        assert_eq!(to_directory(&[whole(tree)], &dest, None, Stale::Kept).unwrap(), []);
        assert_eq!(mode(&dest.join("d")), 0o555);
        assert_eq!(mode(&dest.join("d/tool")), 0o4711);
        let tool = fs::metadata(dest.join("d/tool")).unwrap();
        assert_eq!(tool.ino(), fs::metadata(dest.join("d/twin")).unwrap().ino());
        assert_eq!(fs::read_link(dest.join("link")).unwrap(), Path::new("/nowhere"));
        for name in ["d/tool", "d", "link"] {
            let metadata = fs::symlink_metadata(dest.join(name)).unwrap();
            assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (7, 9), "{name}");
        }
    }
    to_directory(&[whole(tree)], &dest, Some(1_000), Stale::Kept).unwrap();
    for name in ["d/tool", "d", "link"] {
        assert_eq!(fs::symlink_metadata(dest.join(name)).unwrap().mtime(), 1_000, "{name}");
    }
    set_mode(&tree.join("d"), 0o755);
    set_mode(&dest.join("d"), 0o755);
}

#[test]
fn nothing_is_written_through_links_in_the_destination() {
    let (from, to, outside) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let (tree, dest) = (from.path(), to.path());
    fs::create_dir(tree.join("lib")).unwrap();
    fs::write(tree.join("lib/new"), b"new").unwrap();
    fs::write(tree.join("file"), b"new").unwrap();
    fs::write(outside.path().join("victim"), b"old").unwrap();
    symlink(outside.path(), dest.join("lib")).unwrap();
    symlink(outside.path().join("victim"), dest.join("file")).unwrap();
    to_directory(&[whole(tree)], dest, None, Stale::Kept).unwrap();
    assert_eq!(fs::read(outside.path().join("victim")).unwrap(), b"old");
    assert!(!outside.path().join("new").exists());
    assert_eq!(fs::read(dest.join("lib/new")).unwrap(), b"new");
    assert_eq!(fs::read(dest.join("file")).unwrap(), b"new");
}

#[test]
fn what_is_there_gives_way_or_stays() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (tree, dest) = (from.path(), to.path());
    fs::write(tree.join("was-directory"), b"new").unwrap();
    fs::create_dir(tree.join("was-file")).unwrap();
    fs::create_dir(tree.join("both")).unwrap();
    fs::create_dir_all(dest.join("was-directory/full")).unwrap();
    fs::write(dest.join("was-file"), b"old").unwrap();
    fs::create_dir(dest.join("both")).unwrap();
    fs::write(dest.join("both/other"), b"old").unwrap();
    to_directory(&[whole(tree)], dest, None, Stale::Kept).unwrap();
    assert!(dest.join("was-directory").is_file());
    assert!(dest.join("was-file").is_dir());
    assert_eq!(fs::read(dest.join("both/other")).unwrap(), b"old");
    assert_eq!(fs::read_dir(dest).unwrap().count(), 3);
}

#[test]
fn devices_and_sockets_are_left_out_and_named() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = from.path();
    // `bind` takes only short paths.
    rustix::fs::mknodat(
        CWD,
        tree.join("socket"),
        FileType::Socket,
        Mode::from_raw_mode(0o755),
        0,
    )
    .unwrap();
    rustix::fs::mknodat(CWD, tree.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    let mut expected = vec![Skipped {
        path: "socket".into(),
        kind: "socket",
    }];
    let null = rustix::fs::makedev(1, 3);
    if rustix::fs::mknodat(CWD, tree.join("null"), FileType::CharacterDevice, Mode::RUSR, null).is_ok() {
        expected.insert(
            0,
            Skipped {
                path: "null".into(),
                kind: "device",
            },
        );
    } else {
        eprintln!("skipped: needs CAP_MKNOD to look at devices");
    }
    assert_eq!(
        to_directory(&[whole(tree)], to.path(), None, Stale::Kept).unwrap(),
        expected
    );
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 1);
    assert_eq!(mode(&to.path().join("pipe")), 0o640);
}

#[test]
fn a_file_is_no_destination() {
    let (from, file) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let error = to_directory(&[whole(from.path())], file.path(), None, Stale::Kept).unwrap_err();
    assert!(error.to_string().ends_with("is not a directory"), "{error}");
}

#[test]
fn a_platform_has_a_folder_even_where_a_link_was() {
    let (tree, to, outside) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    fs::write(tree.path().join("f"), "x").unwrap();
    std::os::unix::fs::symlink(outside.path(), to.path().join("linux_amd64")).unwrap();
    let apart = Tree {
        owners: cache::Owners::default(),
        is_apart: true,
        ..whole(tree.path())
    };
    to_directory(&[apart], to.path(), None, Stale::Kept).unwrap();
    assert_eq!(fs::read_to_string(to.path().join("linux_amd64/f")).unwrap(), "x");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn what_is_stale_goes_if_asked_and_links_are_not_followed() {
    let (tree, to, outside) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    fs::create_dir(tree.path().join("d")).unwrap();
    fs::write(tree.path().join("d/new"), "x").unwrap();
    fs::create_dir_all(to.path().join("d/old")).unwrap();
    fs::write(outside.path().join("kept"), "x").unwrap();
    std::os::unix::fs::symlink(outside.path(), to.path().join("link")).unwrap();
    to_directory(&[whole(tree.path())], to.path(), None, Stale::Deleted).unwrap();
    let names = |path: &Path| {
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(
        (names(to.path()), names(&to.path().join("d"))),
        (vec!["d".into()], vec!["new".into()])
    );
    assert_eq!(names(outside.path()), ["kept"]);
}

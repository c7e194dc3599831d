use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn archive_of(tree: &Path, epoch: Option<i64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let tree = Tree {
        path: tree,
        platform: "linux/amd64".parse().unwrap(),
        owners: cache::Owners::default(),
        is_apart: false,
    };
    to_tar(&[tree], epoch, &mut bytes).unwrap();
    bytes
}

/// A line for each entry: type, mode, size, name, target.
fn listing(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let line = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let entry = entry.unwrap();
        let header = entry.header();
        let target = entry
            .link_name()
            .unwrap()
            .map(|target| format!(" -> {}", target.display()));
        format!(
            "{} {:o} {} {}{}",
            char::from(header.entry_type().as_byte()),
            header.mode().unwrap(),
            entry.size(),
            String::from_utf8_lossy(&entry.path_bytes()),
            target.unwrap_or_default()
        )
    };
    archive.entries().unwrap().map(line).collect()
}

#[test]
fn a_tree_is_written_in_order_with_all_its_kinds() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path();
    fs::create_dir_all(tree.join("usr/bin")).unwrap();
    fs::write(tree.join("usr/bin/su"), b"#!").unwrap();
    fs::set_permissions(tree.join("usr/bin/su"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(tree.join("usr/bin/su"), tree.join("usr/sudo")).unwrap();
    fs::write(tree.join("usr-first"), vec![7; 100_000]).unwrap();
    fs::set_permissions(tree.join("usr-first"), fs::Permissions::from_mode(0o644)).unwrap();
    symlink("usr/bin", tree.join("bin")).unwrap();
    let deep = format!("usr/{}", "d".repeat(200));
    fs::create_dir(tree.join(&deep)).unwrap();
    for directory in ["usr", "usr/bin", &deep] {
        fs::set_permissions(tree.join(directory), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, tree.join("pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    // `bind` takes only short paths.
    rustix::fs::mknodat(
        rustix::fs::CWD,
        tree.join("socket"),
        rustix::fs::FileType::Socket,
        mode,
        0,
    )
    .unwrap();
    assert_eq!(
        listing(&archive_of(tree, None)),
        [
            "2 777 0 bin -> usr/bin".to_owned(),
            "6 600 0 pipe".to_owned(),
            "5 755 0 usr/".to_owned(),
            "5 755 0 usr/bin/".to_owned(),
            "0 4755 2 usr/bin/su".to_owned(),
            format!("5 755 0 {deep}/"),
            "1 4755 0 usr/sudo -> usr/bin/su".to_owned(),
            "0 644 100000 usr-first".to_owned(),
        ]
    );
}

#[test]
fn with_an_epoch_the_same_files_give_the_same_bytes() {
    let make = || {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b", "a", "c"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        directory
    };
    let first = archive_of(make().path(), Some(1_000_000_000));
    let second = archive_of(make().path(), Some(1_000_000_000));
    assert!(first == second);
    let mut archive = tar::Archive::new(&first[..]);
    let mut times = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().header().mtime().unwrap());
    assert!(times.all(|time| time == 1_000_000_000));
}

#[test]
fn file_capabilities_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ping");
    fs::write(&file, b"").unwrap();
    // Revision 2, effective, cap_net_raw.
    let value = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    if rustix::fs::setxattr(&file, CAPABILITY, &value, rustix::fs::XattrFlags::empty()).is_err() {
        eprintln!("skipped: needs CAP_SETFCAP");
        return;
    }
    let bytes = archive_of(directory.path(), None);
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
    let mut extensions = entry.pax_extensions().unwrap().unwrap();
    let extension = extensions.next().unwrap().unwrap();
    assert_eq!(extension.key().unwrap(), "SCHILY.xattr.security.capability");
    assert_eq!(extension.value_bytes(), value);
}

#[test]
fn platforms_have_folders_or_are_merged() {
    let roots = ["b", "a"].map(|name| {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("d")).unwrap();
        fs::write(root.path().join("d").join(name), name).unwrap();
        root
    });
    let names = |is_apart| {
        let trees = ["linux/arm/v7", "linux/amd64"].map(|platform| platform.parse().unwrap());
        let trees: Vec<Tree<'_>> = trees
            .into_iter()
            .zip(&roots)
            .map(|(platform, root)| Tree {
                path: root.path(),
                platform,
                owners: cache::Owners::default(),
                is_apart,
            })
            .collect();
        let mut bytes = Vec::new();
        to_tar(&trees, None, &mut bytes).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let entries = archive.entries().unwrap();
        let names: Vec<String> = entries
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        names.join(" ")
    };
    assert_eq!(
        names(true),
        "linux_amd64/ linux_amd64/d/ linux_amd64/d/a linux_arm_v7/ linux_arm_v7/d/ linux_arm_v7/d/b"
    );
    assert_eq!(names(false), "d/ d/b d/a");
}

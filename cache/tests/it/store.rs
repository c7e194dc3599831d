//! Opening, blobs, trees, keys and locks.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use cache::{Attempt, Store};
use oci::{Descriptor, Digest};
use tempfile::TempDir;

use crate::{can_mount, key, new_store, step};

#[test]
fn a_blob_is_kept_by_its_digest_and_only_if_it_is_the_one_announced() {
    let (root, store) = new_store();
    let blob = store.put_blob(b"hello").unwrap();
    assert_eq!(fs::read(&blob.path).unwrap(), b"hello");
    assert_eq!(store.blob(&Digest::of(b"hello")).unwrap(), Some(blob));
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"other").unwrap();
    let error = writer.finish_as(&Descriptor::of("x", b"hello")).unwrap_err();
    assert!(error.to_string().contains("has digest"), "{error}");
    assert_eq!(store.blob(&Digest::of(b"other")).unwrap(), None);
    assert_eq!(fs::read_dir(root.path().join("v1/tmp")).unwrap().count(), 0);
}

#[test]
fn a_dropped_tree_leaves_nothing() {
    let (root, store) = new_store();
    let active = store.prepare(None).unwrap();
    let locked = active.upper().join("locked");
    fs::create_dir_all(locked.join("deep")).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    drop(active);
    for place in ["active", "tmp", "snapshots"] {
        assert_eq!(
            fs::read_dir(root.path().join("v1").join(place)).unwrap().count(),
            0,
            "{place}"
        );
    }
}

#[test]
fn a_dropped_tree_leaves_nothing_on_another_filesystem_either() {
    let Ok(root) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: needs a /dev/shm to write to");
        return;
    };
    let store = Store::open(root.path()).unwrap();
    drop(store.prepare(None).unwrap());
    assert_eq!(fs::read_dir(root.path().join("v1/tmp")).unwrap().count(), 0);
}

#[test]
fn the_root_of_a_tree_from_nothing_is_always_the_same() {
    let (_root, store) = new_store();
    if !can_mount(&store) {
        return;
    }
    let snapshot = step(&store, None, |tree| fs::write(tree.join("a"), "1").unwrap());
    let tree = snapshot.mount(&store).unwrap();
    let root = fs::metadata(tree.path()).unwrap();
    assert_eq!(
        (root.mode() & 0o7777, root.uid(), root.gid(), root.mtime()),
        (0o755, 0, 0, 0)
    );
    assert!(fs::write(tree.path().join("b"), "").is_err(), "it is read-only");
}

#[test]
fn many_layers_stack() {
    let (_root, store) = new_store();
    if !can_mount(&store) {
        return;
    }
    let mut top = None;
    for number in 0..150 {
        let active = store.prepare(top.as_ref()).unwrap();
        fs::write(active.upper().join(format!("f{number}")), "").unwrap();
        top = Some(active.commit().unwrap());
    }
    let top = top.unwrap();
    assert_eq!(top.stack().len(), 150);
    let tree = top.mount(&store).unwrap();
    assert_eq!(fs::read_dir(tree.path()).unwrap().count(), 150);
}

#[test]
fn a_key_leads_to_its_snapshot_also_by_another_name_and_after_reopening() {
    let (root, store) = new_store();
    let snapshot = store.prepare(None).unwrap().commit().unwrap();
    let components = vec![
        ("instruction".to_owned(), "RUN \"x\"".to_owned()),
        ("base".to_owned(), "1".to_owned()),
    ];
    assert!(store.lookup(&key("a")).unwrap().is_none());
    store.record(&key("a"), &components, "RUN x", &snapshot).unwrap();
    store.alias(&key("b"), &key("a")).unwrap();
    let other = Store::open(root.path()).unwrap();
    for name in ["a", "b"] {
        let record = other.lookup(&key(name)).unwrap().unwrap();
        assert_eq!((record.key, record.snapshot.id()), (key("a"), snapshot.id()));
    }
    assert_eq!(other.components_of_latest("RUN x").unwrap(), Some(components));
    assert_eq!(other.components_of_latest("RUN y").unwrap(), None);
}

#[test]
fn what_another_boot_left_unsettled_is_taken_as_absent() {
    let (root, store) = new_store();
    let snapshot = store.prepare(None).unwrap().commit().unwrap();
    store.record(&key("a"), &[], "", &snapshot).unwrap();
    let blob = store.put_blob(b"x").unwrap();
    drop(store);
    let index = rusqlite::Connection::open(root.path().join("v1/index.db")).unwrap();
    let pretend = |change: &str| {
        index
            .execute_batch(&format!("UPDATE blobs SET {change}; UPDATE snapshots SET {change};"))
            .unwrap();
    };

    // Old enough to be settled: survives the next boot.
    pretend("created = created - 10000");
    drop(Store::open(root.path()).unwrap().settle());
    pretend("boot = 'another'");
    let store = Store::open(root.path()).unwrap();
    assert!(store.lookup(&key("a")).unwrap().is_some() && store.blob(&blob.digest).unwrap().is_some());

    // A machine that goes down takes its processes with it.
    drop(store);
    pretend("durable = 0");
    let store = Store::open(root.path()).unwrap();
    assert!(store.lookup(&key("a")).unwrap().is_none() && store.blob(&blob.digest).unwrap().is_none());
    assert!(!snapshot.directory().exists() && !blob.path.exists());
}

#[test]
fn a_lock_is_held_by_one_at_a_time() {
    let (root, store) = new_store();
    let other = Store::open(root.path()).unwrap();
    let Attempt::Locked(lock) = store.try_lock(&key("a"), "RUN x").unwrap() else {
        panic!("nobody has it");
    };
    let Attempt::HeldBy(user) = other.try_lock(&key("a"), "RUN y").unwrap() else {
        panic!("it is taken");
    };
    assert_eq!((user.process, &*user.about), (std::process::id(), "RUN x"));
    assert!(matches!(other.try_lock(&key("b"), "").unwrap(), Attempt::Locked(_)));
    let waiting = std::thread::spawn(move || drop(other.lock(&key("a")).unwrap()));
    drop(lock);
    waiting.join().unwrap();
    assert!(matches!(store.try_lock(&key("a"), "").unwrap(), Attempt::Locked(_)));
}

#[test]
fn a_foreign_index_is_refused() {
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("v1")).unwrap();
    fs::write(
        root.path().join("v1/index.db"),
        "this is no database, but a text long enough".repeat(100),
    )
    .unwrap();
    assert!(Store::open(root.path()).is_err());
    let mut text = String::new();
    fs::File::open(root.path().join("v1/index.db"))
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert!(text.starts_with("this is no database"));
}

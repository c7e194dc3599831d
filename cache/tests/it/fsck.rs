//! What verifying finds, and what repairing leaves.

use std::fs;
use std::path::Path;

use cache::{Amount, Checked, Compression, Fault, Finding, Fsck, Prune, Repair, Snapshot, Store, Subject};
use oci::{Descriptor, DiffId, Digest, Manifest, media_type};

use crate::{can_own, key, new_store, prune};

/// Verifies; gives what was counted and the findings, as text.
fn fsck(store: &Store, repair: Repair) -> (Checked, Vec<String>) {
    let (checked, findings) = try_fsck(store, repair);
    (checked.unwrap(), findings)
}

fn try_fsck(store: &Store, repair: Repair) -> (Result<Checked, cache::Error>, Vec<String>) {
    let mut findings = Vec::new();
    let checked = store.fsck(Fsck {
        repair,
        is_whole: &|path| Ok(fs::read(path)?.starts_with(b"note")),
        found: &mut |finding: &Finding| findings.push(format!("{:?} {}", finding.subject, kind(&finding.fault))),
        waits: &|| {},
    });
    (checked, findings)
}

fn kind(fault: &Fault) -> &'static str {
    match fault {
        Fault::Damaged(_) => "damaged",
        Fault::Malformed => "malformed",
        Fault::Missing(_) => "missing",
        Fault::Unreadable(_) => "unreadable",
        Fault::Changed { .. } => "changed",
        Fault::Lacks(_) => "lacks",
        Fault::Unknown => "unknown",
    }
}

fn step(store: &Store, text: &str, parent: Option<&Snapshot>) -> Snapshot {
    let active = store.prepare(parent).unwrap();
    fs::write(active.upper().join(text), text).unwrap();
    let snapshot = active.commit().unwrap();
    store.record(&key(text), &[], text, &snapshot).unwrap();
    snapshot
}

/// An unpacked layer, a step on it with a plain and a compressed layer, a named image of the two.
fn store_with_an_image() -> (tempfile::TempDir, Store, Snapshot, Snapshot) {
    let (root, store) = new_store();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mtime(7);
    archive
        .append_data(&mut header, "below/file", b"abc".as_slice())
        .unwrap();
    let bytes = archive.into_inner().unwrap();
    let layer = Descriptor::of(media_type::LAYER, &bytes);
    let base = store
        .unpack(None, &layer, DiffId(Digest::of(&bytes)), bytes.as_slice(), &|_| {})
        .unwrap();
    let top = step(&store, "top", Some(&base));
    store.alias(&key("quick"), &key("top")).unwrap();
    store.layer(&top, Compression::Uncompressed, false).unwrap();
    let made = store.layer(&top, Compression::default(), false).unwrap();
    let config = store.put_blob(b"{}").unwrap();
    let config = Descriptor::new(media_type::CONFIG, config.digest, config.size);
    let manifest = Manifest::new(media_type::MANIFEST, config, vec![layer, made.descriptor]).to_bytes();
    store.put_blob(&manifest).unwrap();
    let name = "app:1".parse().unwrap();
    store
        .tag(&name, &Descriptor::of(media_type::MANIFEST, &manifest))
        .unwrap();
    fs::write(store.stat_cache_path("known"), "note").unwrap();
    (root, store, base, top)
}

#[test]
fn nothing_is_wrong_with_what_was_just_made() {
    let (_root, store, ..) = store_with_an_image();
    let (checked, findings) = fsck(&store, Repair::Nothing);
    assert!(findings.is_empty(), "{findings:?}");
    let counts = (
        checked.blobs,
        checked.trees,
        checked.layers,
        checked.keys,
        checked.images,
        checked.others,
    );
    assert_eq!(counts, (4, 2, 2, 2, 1, 1));
}

/// As a prune leaves them that found no room for forgetting them.
#[test]
fn emptied_blobs_are_absent_and_forgotten_by_the_next_prune() {
    let (root, store, _, top) = store_with_an_image();
    assert!(store.untag(&"app:1".parse().unwrap()).unwrap());
    let blobs = || fs::read_dir(root.path().join("v1/blobs/sha256")).unwrap();
    for blob in blobs() {
        fs::write(blob.unwrap().path(), "").unwrap();
    }
    assert_eq!(fsck(&store, Repair::Nothing).1, [""; 0]);
    let (store, pruned) = prune(
        store,
        &Prune {
            max_used: Some(Amount::Bytes(1 << 40)),
            ..Prune::default()
        },
    );
    assert!(pruned.removed.is_empty(), "{pruned:?}");
    assert_eq!(blobs().count(), 0);
    assert_eq!(fsck(&store, Repair::Nothing).1, [""; 0]);
    let made = store.layer(&top, Compression::default(), false).unwrap();
    assert!(
        store.blob(&made.descriptor.digest).unwrap().is_some(),
        "it is made again"
    );
}

#[test]
fn a_changed_file_of_an_unpacked_layer_is_found_by_its_blob() {
    let (_root, store, base, _) = store_with_an_image();
    fs::write(base.directory().join("below/file"), "abd").unwrap();
    let (_, findings) = fsck(&store, Repair::Nothing);
    assert_eq!(
        findings,
        [format!("{:?} changed", Subject::Snapshot(base.id().to_string()))]
    );
    let (checked, _) = fsck(&store, Repair::Forget);
    assert_eq!(checked.findings, checked.repaired);
    assert!(!base.directory().exists());
    assert!(
        store.lookup(&key("top")).unwrap().is_none(),
        "what stood on it is forgotten"
    );
    assert_eq!(fsck(&store, Repair::Nothing).1, [""; 0]);
}

#[test]
fn a_changed_file_of_a_step_is_found_by_its_layer() {
    let (_root, store, base, top) = store_with_an_image();
    fs::write(top.directory().join("more"), "more").unwrap();
    let (_, findings) = fsck(&store, Repair::Forget);
    assert_eq!(
        findings,
        [format!("{:?} changed", Subject::Snapshot(top.id().to_string()))]
    );
    assert!(store.lookup(&key("top")).unwrap().is_none() && store.lookup(&key("quick")).unwrap().is_none());
    assert!(base.directory().exists());
    assert_eq!(fsck(&store, Repair::Nothing).1, [""; 0]);
}

/// A note that cannot be read for this reason is neither whole nor damaged.
#[test]
fn what_could_not_be_looked_at_is_not_damaged() {
    use rustix::io::Errno;
    for (errno, is_damage) in [
        (Errno::NOSPC, false),
        (Errno::DQUOT, false),
        (Errno::MFILE, false),
        (Errno::NFILE, false),
        (Errno::NOMEM, false),
        (Errno::ACCESS, false),
        (Errno::PERM, false),
        (Errno::IO, true),
        (Errno::ISDIR, true),
    ] {
        let (root, store, ..) = store_with_an_image();
        let mut findings = 0;
        let outcome = store.fsck(Fsck {
            repair: Repair::Forget,
            is_whole: &|_| Err(errno.into()),
            found: &mut |_| findings += 1,
            waits: &|| {},
        });
        assert_eq!((outcome.is_ok(), findings > 0), (is_damage, is_damage), "{errno}");
        assert_eq!(root.path().join("v1/stat/known").exists(), !is_damage, "{errno}");
        if let Err(error) = outcome {
            assert!(error.to_string().contains("known` could not be verified"), "{error}");
            assert_eq!(fsck(&store, Repair::Nothing).1, [""; 0], "all is here");
        }
    }
}

/// The layer of the base is unpacked once more, for which there is no room here.
#[test]
fn a_full_disk_damages_nothing() {
    let (root, store, base, _) = store_with_an_image();
    if !can_own() {
        return;
    }
    let active = root.path().join("v1/active");
    // Nothing can be made in a directory of another file system that has no room for anything.
    let options = c"size=4k,nr_inodes=4";
    let flags = rustix::mount::MountFlags::empty();
    if let Err(error) = rustix::mount::mount("x", &active, "tmpfs", flags, options) {
        eprintln!("skipped: a small file system cannot be mounted: {error}");
        return;
    }
    let (outcome, findings) = try_fsck(&store, Repair::Forget);
    rustix::mount::unmount(&active, rustix::mount::UnmountFlags::DETACH).unwrap();
    let error = outcome.unwrap_err();
    assert!(matches!(error, cache::Error::Unverified { .. }), "{error}");
    assert_eq!(findings, [""; 0]);
    assert!(base.directory().join("below/file").exists());
    assert_eq!(fsck(&store, Repair::Nothing).1, [""; 0]);
}

/// To whom whose files look like others'.
#[test]
fn a_store_of_another_user_is_not_judged() {
    if !can_own() {
        return;
    }
    let (root, store, ..) = store_with_an_image();
    if std::os::unix::fs::chown(root.path().join("v1"), Some(1), None).is_err() {
        eprintln!("skipped: there is no other user");
        return;
    }
    let (outcome, findings) = try_fsck(&store, Repair::Forget);
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("is of user 1, and this is user 0"), "{error}");
    assert_eq!(findings, [""; 0]);
}

#[test]
fn every_kind_of_damage_is_found_and_forgotten() {
    type Damage = fn(&Path, &Snapshot);
    let cases: [(&str, Damage, &str); 8] = [
        (
            "a lost tree",
            |_, top| fs::remove_dir_all(top.directory()).unwrap(),
            "Snapshot missing",
        ),
        (
            "a changed blob",
            |home, _| append(&first(&home.join("blobs/sha256"))),
            "Blob changed",
        ),
        (
            "a lost blob",
            |home, _| fs::remove_file(first(&home.join("blobs/sha256"))).unwrap(),
            "Blob missing",
        ),
        (
            "a blob of nobody",
            |home, _| fs::write(home.join("blobs/sha256/stray"), "x").unwrap(),
            "Path unknown",
        ),
        (
            "a tree of nobody",
            |home, _| fs::create_dir(home.join("snapshots/0123456789abcdef-1")).unwrap(),
            "Path unknown",
        ),
        (
            "a file below all trees",
            |home, _| fs::write(home.join("empty/x"), "").unwrap(),
            "Path unknown",
        ),
        (
            "half a note",
            |home, _| fs::write(home.join("stat/known"), "no").unwrap(),
            "Note malformed",
        ),
        (
            "half a cache mount",
            |home, _| fs::create_dir_all(home.join("caches/x-1")).unwrap(),
            "CacheDirectory unknown",
        ),
    ];
    for (what, damage, expected) in cases {
        let (root, store, _, top) = store_with_an_image();
        damage(&root.path().join("v1"), &top);
        let (_, findings) = fsck(&store, Repair::Nothing);
        let (subject, fault) = expected.split_once(' ').unwrap();
        let is_it = |text: &String| text.starts_with(subject) && text.ends_with(fault);
        assert!(findings.iter().any(is_it), "{what}: {findings:?}");
        fsck(&store, Repair::Forget);
        assert_eq!(fsck(&store, Repair::Nothing).1, [""; 0], "{what}");
    }
}

#[test]
fn what_a_killed_process_left_at_its_place_is_gone_with_the_next() {
    let (root, store, ..) = store_with_an_image();
    let home = root.path().join("v1");
    // As if its process had been killed between the moving and the recording, and while it held a lock.
    let lease = "00000000000000aa";
    fs::write(home.join("leases").join(lease), "").unwrap();
    let left = [
        home.join("snapshots").join(format!("{lease}-1")),
        home.join("blobs/sha256").join("ab".repeat(32)),
        home.join("stat").join(format!("{lease}-1.files")),
        home.join("tmp").join(format!("{lease}-2")),
        home.join("locks").join("cd".repeat(32)),
    ];
    fs::create_dir(&left[0]).unwrap();
    left[1..].iter().for_each(|path| fs::write(path, "").unwrap());
    let other = Store::open(root.path()).unwrap();
    assert!(left.iter().all(|path| !path.exists()));
    drop(other);
    assert_eq!(fsck(&store, Repair::Nothing).1, [""; 0]);
}

fn first(directory: &Path) -> std::path::PathBuf {
    let mut paths: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.remove(0)
}

fn append(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes.push(b' ');
    fs::write(path, bytes).unwrap();
}

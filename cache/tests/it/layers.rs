//! Snapshots as blobs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use cache::{Compression, Snapshot, Store};
use oci::{Descriptor, DiffId, Digest, media_type};

use crate::{Archive, bytes, can_mount, can_own, content, listing, new_store, read, step};

#[test]
fn a_layer_tells_exactly_what_changed() {
    let (_root, store) = new_store();
    if !can_mount(&store) {
        return;
    }
    let base = Archive::new()
        .directory("etc/")
        .file("etc/passwd", "root")
        .file("etc/shadow", "x")
        .directory("d/")
        .file("d/a", "a")
        .file("d/b", "b")
        .directory("d/sub/")
        .file("d/sub/c", "c")
        .directory("quiet/")
        .file("quiet/file", "q")
        .file("gone", "g")
        .unpack(&store, None)
        .unwrap();
    let next = step(&store, Some(&base), |tree| {
        fs::write(tree.join("etc/passwd"), "root\nuser").unwrap();
        fs::remove_file(tree.join("gone")).unwrap();
        fs::remove_dir_all(tree.join("d")).unwrap();
        fs::create_dir(tree.join("d")).unwrap();
        fs::write(tree.join("d/b"), "new").unwrap();
        fs::write(tree.join("quiet/stub"), "").unwrap();
        fs::remove_file(tree.join("quiet/stub")).unwrap();
        fs::write(tree.join("one"), "1").unwrap();
        fs::hard_link(tree.join("one"), tree.join("two")).unwrap();
        fs::hard_link(tree.join("etc/shadow"), tree.join("shadow")).unwrap();
        std::os::unix::fs::symlink("one", tree.join("link")).unwrap();
        // `bind` takes only short paths.
        let (kind, mode) = (rustix::fs::FileType::Socket, rustix::fs::Mode::from_raw_mode(0o755));
        rustix::fs::mknodat(rustix::fs::CWD, tree.join("socket"), kind, mode, 0).unwrap();
    });
    assert_eq!(
        listing(&store, &next),
        [
            "d/",
            "d/.wh.a",
            "d/b",
            "d/.wh.sub",
            "etc/",
            "etc/passwd",
            ".wh.gone",
            "link -> one",
            "one",
            "shadow",
            "two -> one"
        ]
    );
    // What was told can be unpacked again and shows the same.
    let layer = store.layer(&next, Compression::default(), false).unwrap();
    let content = content(&store, &layer).open().unwrap();
    let again = store
        .unpack(Some(&base), &layer.descriptor, layer.diff_id, content, &|_| {})
        .unwrap();
    let tree = again.mount(&store).unwrap();
    let mut names: Vec<_> = fs::read_dir(tree.path().join("d"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["b"]);
    assert_eq!(read(&tree, "etc/passwd"), "root\nuser");
    assert!(!tree.path().join("gone").exists());
    let inode = |name: &str| fs::metadata(tree.path().join(name)).unwrap().ino();
    assert_eq!(inode("one"), inode("two"));
}

#[test]
fn a_file_that_would_remove_another_is_refused_by_name() {
    let (_root, store) = new_store();
    for name in [".wh.etc", "d/.wh..wh..opq"] {
        let active = store.prepare(None).unwrap();
        fs::create_dir(active.upper().join("d")).unwrap();
        fs::write(active.upper().join(name), "").unwrap();
        let snapshot = active.commit().unwrap();
        for compression in [Compression::Uncompressed, Compression::default()] {
            let error = store.layer(&snapshot, compression, false).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`/{name}` cannot be in an image")),
                "{error}"
            );
        }
    }
}

#[test]
fn the_same_changes_give_the_same_layer_in_every_compression() {
    let (_root, store) = new_store();
    let make = || {
        let active = store.prepare(None).unwrap();
        for name in ["b", "a", "c"] {
            let path = active.upper().join(name);
            fs::write(&path, name.repeat(700_000)).unwrap();
            fs::File::open(&path)
                .unwrap()
                .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(5))
                .unwrap();
        }
        active.commit().unwrap()
    };
    let (one, two) = (make(), make());
    for compression in ["uncompressed", "gzip", "zstd"] {
        let compression: Compression = compression.parse().unwrap();
        let (a, b) = (
            store.layer(&one, compression, false).unwrap(),
            store.layer(&two, compression, false).unwrap(),
        );
        assert_eq!(a, b);
        assert_eq!((a.newest, a.foreign), (5, false));
        assert_eq!(a.descriptor.digest, Digest::of(&bytes(&store, &a)));
        assert_eq!(a, store.layer(&one, compression, false).unwrap());
        // The unpacked layer proves that the bytes are the archive that the diff-id names.
        let content = content(&store, &a).open().unwrap();
        store.unpack_layer(&a.descriptor, a.diff_id, content, &|_| {}).unwrap();
    }
    assert!("brotli".parse::<Compression>().is_err());
}

#[test]
fn the_layer_of_a_base_image_stays_the_blob_it_came_in() {
    if !can_own() {
        return;
    }
    let (_root, store) = new_store();
    let plain = Archive::new().file("a", "1").bytes();
    let diff_id = DiffId(Digest::of(&plain));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&plain).unwrap();
    // Two members, as some tools write.
    let mut blob = gzip.finish().unwrap();
    blob.extend(
        flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best())
            .finish()
            .unwrap(),
    );
    let descriptor = Descriptor::of(media_type::DOCKER_LAYER_GZIP, &blob);
    let moved = std::cell::Cell::new(0);
    let snapshot = store
        .unpack(None, &descriptor, diff_id, blob.as_slice(), &|n| {
            moved.set(moved.get() + n);
        })
        .unwrap();
    assert_eq!(moved.get(), blob.len() as u64);
    let layer = store
        .layer(&snapshot, Compression::Zstd { level: None }, false)
        .unwrap();
    assert_eq!(
        (&layer.descriptor, layer.diff_id, layer.foreign, layer.newest),
        (&descriptor, diff_id, true, 1000)
    );
    let forced = store.layer(&snapshot, Compression::Zstd { level: None }, true).unwrap();
    assert_eq!(
        (forced.descriptor.media_type.as_str(), forced.foreign),
        (media_type::LAYER_ZSTD, false)
    );
    // Known stacks are not read again.
    let again = store
        .unpack(None, &descriptor, diff_id, std::io::empty(), &|_| {})
        .unwrap();
    assert_eq!(again.id(), snapshot.id());
    assert_eq!(
        store.chain(&again.chain_id().unwrap()).unwrap().unwrap().id(),
        snapshot.id()
    );
}

/// A snapshot on nothing, made by `change` in its bare directory.
fn bare(store: &Store, change: impl FnOnce(&std::path::Path)) -> Snapshot {
    let active = store.prepare(None).unwrap();
    change(active.upper());
    active.commit().unwrap()
}

#[test]
fn changes_laid_over_trees_keep_their_layer_and_their_directory() {
    let (root, store) = new_store();
    if !can_mount(&store) {
        return;
    }
    let base = |text: &str| {
        let archive = Archive::new()
            .directory("d/")
            .file("d/a", text)
            .symlink("l", "d")
            .file("f", "f");
        archive.unpack(&store, None).unwrap()
    };
    let changes = bare(&store, |tree| {
        fs::create_dir(tree.join("d")).unwrap();
        fs::write(tree.join("d/b"), "linked").unwrap();
        fs::create_dir(tree.join("l")).unwrap();
        fs::write(tree.join("l/c"), "c").unwrap();
    });
    let over_one = store.lay_over(&base("one"), &changes).unwrap();
    let over_two = store.lay_over(&base("two"), &changes).unwrap();
    for (over, text) in [(&over_one, "one"), (&over_two, "two")] {
        let tree = over.mount(&store).unwrap();
        assert_eq!(
            (read(&tree, "d/a"), read(&tree, "d/b")),
            (text.to_owned(), "linked".to_owned())
        );
        assert_eq!((read(&tree, "l/c"), read(&tree, "f")), ("c".to_owned(), "f".to_owned()));
        assert_eq!(over.directory(), changes.directory());
    }
    let layer = |snapshot| store.layer(snapshot, Compression::default(), false).unwrap();
    assert_eq!(layer(&over_one), layer(&changes));
    assert_eq!(layer(&over_two), layer(&changes));

    let twice = store.lay_over(&over_one, &changes).unwrap();
    let tree = twice.mount(&store).unwrap();
    assert_eq!(
        (read(&tree, "d/a"), read(&tree, "d/b")),
        ("one".to_owned(), "linked".to_owned())
    );
    drop(tree);
    let next = step(&store, Some(&twice), |tree| fs::remove_file(tree.join("d/b")).unwrap());
    assert_eq!(listing(&store, &next), ["d/", "d/.wh.b"]);

    // Another process finds all of it.
    let other = Store::open(root.path()).unwrap();
    let found = other.snapshot(&next.id()).unwrap().unwrap();
    assert_eq!(found.parent().unwrap().directory(), changes.directory());
    assert_eq!(found.stack().len(), 4);
}

#[test]
fn no_time_in_a_layer_is_later_than_asked() {
    let (_root, store) = new_store();
    if !can_mount(&store) {
        return;
    }
    let base = Archive::new().file("f", "f").unpack(&store, None).unwrap();
    let next = step(&store, Some(&base), |tree| {
        for (name, time) in [("early", 100), ("late", 300)] {
            let file = fs::File::create(tree.join(name)).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time);
            file.set_modified(time).unwrap();
        }
    });
    let layer = store
        .layer_until(&next, Compression::Uncompressed, 200, &|_| {})
        .unwrap();
    let mut archive = tar::Archive::new(content(&store, &layer).open().unwrap());
    let times: Vec<(String, u64)> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            (name, entry.header().mtime().unwrap())
        })
        .collect();
    assert_eq!(times, [("early".to_owned(), 100), ("late".to_owned(), 200)]);
    assert_eq!(layer.newest, 200);
    assert_eq!(layer.descriptor.annotations["buildkit/rewritten-timestamp"], "200");
    // The layer with the times as they are is another one, and each is found again.
    let whole = store.layer(&next, Compression::Uncompressed, false).unwrap();
    assert_ne!(whole.diff_id, layer.diff_id);
    let again = store.layer_until(&next, Compression::Uncompressed, 200, &|_| {});
    assert_eq!(again.unwrap(), layer);
    assert_eq!(store.layer(&next, Compression::Uncompressed, false).unwrap(), whole);
}

//! What goes and what stays.

use std::fs;

use cache::{Compression, Prune, Snapshot, Store};
use oci::{Descriptor, Manifest, media_type};

use crate::{key, new_store, prune};

#[test]
fn pruning_keeps_what_named_images_need() {
    let (root, store) = new_store();
    let make = |text: &str, parent: Option<&Snapshot>| made(&store, text, parent);
    let below = make("below", None);
    let kept = make("kept", Some(&below));
    let lost = make("lost", Some(&below));
    let layers: Vec<_> = [&below, &kept]
        .map(|s| store.layer(s, Compression::default(), false).unwrap())
        .into();
    let config = store.put_blob(b"{}").unwrap();
    let stray = store.put_blob(b"stray").unwrap();
    let manifest = Manifest::new(
        media_type::MANIFEST,
        Descriptor::new(media_type::CONFIG, config.digest, config.size),
        layers.iter().map(|layer| layer.descriptor.clone()).collect(),
    );
    let bytes = manifest.to_bytes();
    store.put_blob(&bytes).unwrap();
    let name = "app:1".parse().unwrap();
    store.tag(&name, &Descriptor::of(media_type::MANIFEST, &bytes)).unwrap();
    assert_eq!(store.usage().unwrap().len(), 3 + 2 + 3);

    let young = Prune {
        older_than: Some(std::time::Duration::from_secs(3600)),
        ..Prune::default()
    };
    let (store, pruned) = prune(store, &young);
    assert!(pruned.removed.is_empty());
    let roomy = Prune {
        all: true,
        max_used: Some(cache::Amount::Bytes(1 << 40)),
        ..Prune::default()
    };
    let (store, pruned) = prune(store, &roomy);
    assert!(pruned.removed.is_empty());

    let (store, pruned) = prune(store, &Prune::default());
    let mut removed: Vec<_> = pruned.removed.iter().map(|usage| usage.id.clone()).collect();
    removed.sort();
    let mut expected = vec![lost.id().to_string(), stray.digest.to_string()];
    expected.sort();
    assert_eq!(removed, expected);
    assert!(!lost.directory().exists() && store.lookup(&key("lost")).unwrap().is_none());
    assert!(store.lookup(&key("kept")).unwrap().is_some());

    let all = Prune {
        all: true,
        ..Prune::default()
    };
    let (store, pruned) = prune(store, &all);
    assert_eq!(pruned.removed.len(), 2, "both snapshots: {pruned:?}");
    for layer in &layers {
        assert!(store.blob(&layer.descriptor.digest).unwrap().is_some());
    }
    assert!(store.untag(&name).unwrap() && !store.untag(&name).unwrap());
    let (store, _) = prune(store, &Prune::default());
    assert_eq!(fs::read_dir(root.path().join("v1/blobs/sha256")).unwrap().count(), 0);
    assert!(store.usage().unwrap().is_empty());
}

#[test]
fn what_a_process_found_stays_until_it_ends() {
    let (root, store) = new_store();
    let below = made(&store, "below", None);
    let top = made(&store, "top", Some(&below));
    made(&store, "other", None);
    let layer = store.layer(&top, Compression::default(), false).unwrap();
    drop(store);

    let builder = Store::open(root.path()).unwrap();
    assert!(builder.lookup(&key("top")).unwrap().is_some());
    assert!(builder.blob(&layer.descriptor.digest).unwrap().is_some());
    let pruner = Store::open(root.path()).unwrap();
    builder.describe("build of /app");
    let pruned = pruner.prune(&Prune::default()).unwrap();
    assert_eq!(pruned.removed.len(), 1, "the other snapshot: {pruned:?}");
    assert_eq!(pruned.spared.len(), 3);
    let holder = &pruned.spared[0].held_by[0];
    assert_eq!(holder.process, std::process::id());
    assert!(below.directory().exists() && top.directory().exists());
    assert!(pruner.lookup(&key("other")).unwrap().is_none());

    drop(builder);
    assert_eq!(pruner.prune(&Prune::default()).unwrap().removed.len(), 3);
    assert!(!top.directory().exists());
}

#[test]
fn what_a_process_made_stays_until_it_ends() {
    let (root, builder) = new_store();
    let pruner = Store::open(root.path()).unwrap();
    let top = made(&builder, "top", None);
    let blob = builder.put_blob(b"a document").unwrap();
    assert!(pruner.prune(&Prune::default()).unwrap().removed.is_empty());
    assert!(top.directory().exists() && blob.path.exists());
    let (_store, pruned) = prune(builder, &Prune::default());
    assert_eq!(pruned.removed.len(), 2);
}

#[test]
fn an_image_that_was_asked_for_stays_with_all_its_parts() {
    let (root, store) = new_store();
    let below = made(&store, "below", None);
    let layer = store.layer(&below, Compression::Uncompressed, false).unwrap();
    let config = store.put_blob(b"{}").unwrap();
    let manifest = Manifest::new(
        media_type::MANIFEST,
        Descriptor::new(media_type::CONFIG, config.digest, config.size),
        vec![layer.descriptor.clone()],
    );
    let bytes = manifest.to_bytes();
    store.put_blob(&bytes).unwrap();
    let name = "app:1".parse().unwrap();
    store.tag(&name, &Descriptor::of(media_type::MANIFEST, &bytes)).unwrap();
    drop(store);

    let reader = Store::open(root.path()).unwrap();
    assert!(reader.image(&name).unwrap().is_some());
    let pruner = Store::open(root.path()).unwrap();
    pruner.untag(&name).unwrap();
    assert!(pruner.prune(&Prune::default()).unwrap().removed.is_empty());
    assert!(reader.content(&layer.descriptor.digest).unwrap().is_some());
    drop(reader);
    assert_eq!(pruner.prune(&Prune::default()).unwrap().removed.len(), 3);
}

#[test]
fn what_was_pruned_before_it_was_looked_for_is_not_found() {
    let (root, store) = new_store();
    made(&store, "a", None);
    drop(store);
    // Open, and with a view of the index, before others prune.
    let early = Store::open(root.path()).unwrap();
    assert!(early.lookup(&key("b")).unwrap().is_none());
    let pruner = Store::open(root.path()).unwrap();
    assert_eq!(pruner.prune(&Prune::default()).unwrap().removed.len(), 1);
    assert!(early.lookup(&key("a")).unwrap().is_none());
}

#[test]
fn the_logs_of_running_builds_stay() {
    let (root, store) = new_store();
    let builder = Store::open(root.path()).unwrap();
    builder.hold_logs("running").unwrap();
    for build in ["running", "over"] {
        fs::create_dir_all(builder.log_path(build, "1.log")).unwrap();
    }
    store.prune(&Prune::default()).unwrap();
    assert!(builder.log_path("running", "1.log").exists());
    assert!(!builder.log_path("over", "1.log").exists());
}

/// A snapshot that is found by its text.
fn made(store: &Store, text: &str, parent: Option<&Snapshot>) -> Snapshot {
    let active = store.prepare(parent).unwrap();
    fs::write(active.upper().join("f"), text).unwrap();
    let snapshot = active.commit().unwrap();
    store.record(&key(text), &[], text, &snapshot).unwrap();
    snapshot
}

#[test]
fn changes_laid_over_a_tree_hold_those_they_came_from() {
    let (_root, store) = new_store();
    let make = |text: &str| {
        let active = store.prepare(None).unwrap();
        fs::write(active.upper().join("f"), text).unwrap();
        active.commit().unwrap()
    };
    let (base, changes) = (make("base"), make("changes"));
    let over = store.lay_over(&base, &changes).unwrap();
    let (_store, pruned) = prune(store, &Prune::default());
    let removed = pruned.removed;
    let ids: Vec<_> = removed.iter().map(|usage| usage.id.clone()).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[0], over.id().to_string(), "what needs others goes first");
    assert_eq!(removed[0].size, 0);
    assert!(!changes.directory().exists());
}

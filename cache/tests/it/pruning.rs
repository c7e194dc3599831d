//! What goes and what stays.

use std::fs;

use cache::{Compression, Prune, Snapshot, Store};
use oci::{Descriptor, Manifest, media_type};

use crate::{key, new_store};

#[test]
fn pruning_keeps_what_named_images_need() {
    let (root, store) = new_store();
    let make = |text: &str, parent: Option<&Snapshot>| {
        let active = store.prepare(parent).unwrap();
        fs::write(active.upper().join("f"), text).unwrap();
        let snapshot = active.commit().unwrap();
        store.record(&key(text), &[], text, &snapshot).unwrap();
        snapshot
    };
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
    assert!(store.prune(&young).unwrap().removed.is_empty());
    let roomy = Prune {
        all: true,
        keep_storage: Some(1 << 40),
        ..Prune::default()
    };
    assert!(store.prune(&roomy).unwrap().removed.is_empty());

    let pruned = store.prune(&Prune::default()).unwrap();
    let mut removed: Vec<_> = pruned.removed.iter().map(|usage| usage.id.clone()).collect();
    removed.sort();
    let mut expected = vec![lost.id().to_string(), stray.digest.to_string()];
    expected.sort();
    assert_eq!(removed, expected);
    assert!(!lost.directory().exists() && store.lookup(&key("lost")).unwrap().is_none());
    assert!(store.lookup(&key("kept")).unwrap().is_some());

    let pruned = store
        .prune(&Prune {
            all: true,
            ..Prune::default()
        })
        .unwrap();
    assert_eq!(pruned.removed.len(), 2, "both snapshots: {pruned:?}");
    for layer in &layers {
        assert!(store.blob(&layer.descriptor.digest).unwrap().is_some());
    }
    assert!(store.untag(&name).unwrap() && !store.untag(&name).unwrap());
    store.prune(&Prune::default()).unwrap();
    assert_eq!(fs::read_dir(root.path().join("v1/blobs/sha256")).unwrap().count(), 0);
    assert!(store.usage().unwrap().is_empty());
}

#[test]
fn pruning_waits_for_other_processes() {
    let (root, store) = new_store();
    let other = Store::open(root.path()).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let pruning = std::thread::spawn(move || store.prune_telling(&Prune::default(), &|| tell.send(()).unwrap()));
    told.recv().unwrap();
    assert!(!pruning.is_finished());
    drop(other);
    pruning.join().unwrap().unwrap();
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
    let removed: Vec<_> = store.prune(&Prune::default()).unwrap().removed;
    let ids: Vec<_> = removed.iter().map(|usage| usage.id.clone()).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[0], over.id().to_string(), "what needs others goes first");
    assert_eq!(removed[0].size, 0);
    assert!(!changes.directory().exists());
}

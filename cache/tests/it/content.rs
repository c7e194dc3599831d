//! Layers whose bytes are made when somebody reads them.

use std::fs;
use std::io::Read;
use std::path::Path;

use cache::{Compression, Content, Error, Layer, Prune, Snapshot, Store};
use oci::{Descriptor, DiffId, Digest, Manifest, media_type};

use crate::{Archive, bytes, can_mount, can_own, content, new_store, prune, read, step};

const PLAIN: Compression = Compression::Uncompressed;

fn bare(store: &Store, files: &[(&str, &str)]) -> Snapshot {
    let active = store.prepare(None).unwrap();
    for (name, text) in files {
        fs::write(active.upper().join(name), text).unwrap();
    }
    active.commit().unwrap()
}

fn blobs(root: &Path) -> usize {
    fs::read_dir(root.join("v1/blobs/sha256")).unwrap().count()
}

/// Names an image of these layers.
fn name(store: &Store, name: &str, layers: &[Layer]) {
    let config = store.put_blob(b"{}").unwrap();
    let config = Descriptor::new(media_type::CONFIG, config.digest, config.size);
    let layers = layers.iter().map(|layer| layer.descriptor.clone()).collect();
    let manifest = Manifest::new(media_type::MANIFEST, config, layers).to_bytes();
    store.put_blob(&manifest).unwrap();
    let descriptor = Descriptor::of(media_type::MANIFEST, &manifest);
    store.tag(&name.parse().unwrap(), &descriptor).unwrap();
}

#[test]
fn a_plain_layer_is_no_file_and_can_be_read() {
    let (root, store) = new_store();
    let snapshot = bare(&store, &[("f", &"text".repeat(100_000)), ("g", "")]);
    let layer = store.layer(&snapshot, PLAIN, false).unwrap();
    assert_eq!(blobs(root.path()), 0);
    assert_eq!(layer.descriptor.digest, layer.diff_id.0);

    let copied = bytes(&store, &layer);
    let mut opened = Vec::new();
    let mut reader = content(&store, &layer).open().unwrap();
    reader.read_to_end(&mut opened).unwrap();
    for read in [&copied, &opened] {
        assert_eq!(
            (Digest::of(read), read.len() as u64),
            (layer.descriptor.digest, layer.descriptor.size)
        );
    }
    // Whoever stops reading leaves nothing behind that waits.
    content(&store, &layer)
        .open()
        .unwrap()
        .read_exact(&mut [0; 512])
        .unwrap();

    let gzip = store.layer(&snapshot, Compression::default(), false).unwrap();
    assert_eq!((gzip.diff_id, blobs(root.path())), (layer.diff_id, 1));
    let file = store.file_of(&content(&store, &layer)).unwrap();
    assert_eq!(fs::read(&file.path).unwrap(), copied);
    assert!(matches!(content(&store, &layer), Content::File(_)));
}

#[test]
fn a_layer_whose_files_were_changed_is_refused() {
    let (_root, store) = new_store();
    for text in ["more than there was before", "less", "as many bytes as before"] {
        let snapshot = bare(&store, &[("f", "so many bytes as before")]);
        let layer = store.layer(&snapshot, PLAIN, false).unwrap();
        fs::write(
            snapshot.directory().join("f"),
            text.repeat(if text.starts_with("more") { 100 } else { 1 }),
        )
        .unwrap();
        let content = content(&store, &layer);
        let error = content.copy_to(&mut Vec::new()).unwrap_err();
        assert!(matches!(error, Error::LayerChanged { .. }), "{text}: {error}");
        let error = content.open().unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("not what they were"), "{text}: {error}");
        assert!(store.file_of(&content).is_err() && store.blob(&layer.descriptor.digest).unwrap().is_none());
    }
}

#[test]
fn pruning_keeps_the_snapshots_of_plain_layers() {
    let (_root, store) = new_store();
    if !can_mount(&store) {
        return;
    }
    let below = bare(&store, &[("below", "1")]);
    let top = step(&store, Some(&below), |tree| fs::write(tree.join("top"), "2").unwrap());
    let other = bare(&store, &[("other", "3")]);
    let layers = [&below, &top].map(|snapshot| store.layer(snapshot, PLAIN, false).unwrap());
    store.layer(&top, Compression::default(), false).unwrap();
    name(&store, "app:1", &layers);

    let all = Prune {
        all: true,
        ..Prune::default()
    };
    let (store, pruned) = prune(store, &all);
    let removed = pruned.removed;
    assert_eq!(removed.len(), 2, "the other snapshot and the blob of gzip: {removed:?}");
    assert!(!other.directory().exists());
    for layer in &layers {
        assert_eq!(Digest::of(&bytes(&store, layer)), layer.descriptor.digest);
    }
    store.untag(&"app:1".parse().unwrap()).unwrap();
    let (store, _) = prune(store, &all);
    assert!(store.content(&layers[0].descriptor.digest).unwrap().is_none());
    assert!(store.usage().unwrap().is_empty());
}

#[test]
fn a_blob_that_goes_takes_no_plain_layer_with_it() {
    let (_root, store) = new_store();
    let snapshot = bare(&store, &[("f", "f")]);
    let layer = store.layer(&snapshot, PLAIN, false).unwrap();
    let file = store.file_of(&content(&store, &layer)).unwrap();
    store.record(&crate::key("k"), &[], "k", &snapshot).unwrap();
    fs::remove_file(&file.path).unwrap();
    assert_eq!(Digest::of(&bytes(&store, &layer)), layer.descriptor.digest);
}

#[test]
fn a_stack_that_was_made_here_is_found_as_it_is() {
    let (root, store) = new_store();
    if !can_mount(&store) || !can_own() {
        return;
    }
    let base = Archive::new()
        .file("base", "b")
        .file("gone", "g")
        .unpack(&store, None)
        .unwrap();
    let first = step(&store, Some(&base), |tree| {
        fs::remove_file(tree.join("gone")).unwrap();
        fs::write(tree.join("first"), "1").unwrap();
    });
    let linked = bare(&store, &[("linked", "l")]);
    let top = store.lay_over(&first, &linked).unwrap();
    let stack: Vec<(Descriptor, DiffId)> = top
        .stack()
        .iter()
        .map(|snapshot| store.layer(snapshot, PLAIN, false).unwrap())
        .map(|layer| (layer.descriptor, layer.diff_id))
        .collect();
    let before = fs::read_dir(root.path().join("v1/snapshots")).unwrap().count();

    let (found, count) = store.stack(&stack).unwrap();
    let found = found.unwrap();
    assert_eq!(count, 3);
    let directories = |snapshot: &Snapshot| snapshot.stack().iter().map(Snapshot::directory).collect::<Vec<_>>();
    assert_eq!(directories(&found), directories(&top));
    assert_eq!(fs::read_dir(root.path().join("v1/snapshots")).unwrap().count(), before);
    let tree = found.mount(&store).unwrap();
    assert_eq!(
        (read(&tree, "first"), read(&tree, "linked")),
        ("1".to_owned(), "l".to_owned())
    );
    assert!(!tree.path().join("gone").exists());
    drop(tree);
    assert_eq!(
        store.chain(&found.chain_id().unwrap()).unwrap().unwrap().id(),
        found.id()
    );
    assert_eq!(store.stack(&stack).unwrap().0.unwrap().id(), found.id());
    // Its layers are ours, in whatever form they are wanted.
    for compression in [PLAIN, Compression::default()] {
        for (mine, theirs) in found.stack().iter().zip(top.stack()) {
            let layer = |snapshot| store.layer(snapshot, compression, false).unwrap();
            assert_eq!(layer(mine), layer(&theirs));
        }
    }
    // A step on it changes what it changes, and the stack stays as long as it is needed.
    let next = step(&store, Some(&found), |tree| {
        fs::remove_file(tree.join("linked")).unwrap();
    });
    assert_eq!(crate::listing(&store, &next), [".wh.linked"]);
    let (part, count) = store.stack(&stack[..2]).unwrap();
    assert_eq!((part.unwrap().directory(), count), (first.directory(), 2));
}

#[test]
fn layers_that_are_not_here_are_not_taken_for_those_made_here() {
    let (_root, store) = new_store();
    let snapshot = bare(&store, &[("f", "f")]);
    let layer = store.layer(&snapshot, PLAIN, false).unwrap();
    // The same files, compressed by somebody else: their blob has to come first.
    let elsewhere = Descriptor::of(media_type::LAYER_GZIP, b"compressed elsewhere");
    let (found, count) = store.stack(&[(elsewhere, layer.diff_id)]).unwrap();
    assert!(found.is_none() && count == 0);
    // Nor is a layer whose files have other times in it.
    let early = store.layer_until(&snapshot, PLAIN, 1, &|_| {}).unwrap();
    let (found, _) = store.stack(&[(early.descriptor, early.diff_id)]).unwrap();
    assert!(found.is_none());
}

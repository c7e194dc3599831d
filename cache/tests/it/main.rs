//! The store as its users see it.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "this is all tests")]

mod content;
mod copied;
mod directories;
mod fsck;
mod hostile;
mod layers;
mod mount_points;
mod processes;
mod pruning;
mod raw;
mod store;
mod unpacking;

use std::fs;
use std::path::Path;

use cache::{CacheKey, Compression, Content, Layer, Prune, Pruned, Snapshot, Store};
use oci::{Descriptor, DiffId, Digest, media_type};
use tempfile::TempDir;

fn new_store() -> (TempDir, Store) {
    let root = TempDir::new().unwrap();
    let store = Store::open(root.path()).unwrap();
    (root, store)
}

/// Prunes as another process would: the one before holds what it found and made.
fn prune(store: Store, wish: &Prune) -> (Store, Pruned) {
    let root = store.root().to_owned();
    drop(store);
    let store = Store::open(&root).unwrap();
    let pruned = store.prune(wish).unwrap();
    (store, pruned)
}

/// Whether overlays can be mounted here; says so if not.
fn can_mount(store: &Store) -> bool {
    let mounted = store.prepare(None).unwrap().mount().is_ok();
    if !mounted {
        eprintln!("skipped: needs CAP_SYS_ADMIN and overlayfs");
    }
    mounted
}

/// Whether files can be given to root here; says so if not.
fn can_own() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs to be root, of the machine or of a user namespace");
    }
    root
}

/// What is said of an error and of what is behind it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn key(text: &str) -> CacheKey {
    CacheKey(Digest::of(text.as_bytes()))
}

/// A snapshot made by `change` in a mounted tree on `parent`.
fn step(store: &Store, parent: Option<&Snapshot>, change: impl FnOnce(&Path)) -> Snapshot {
    let active = store.prepare(parent).unwrap();
    let tree = active.mount().unwrap();
    change(tree.path());
    drop(tree);
    active.commit().unwrap()
}

fn content(store: &Store, layer: &Layer) -> Content {
    store.content(&layer.descriptor.digest).unwrap().unwrap()
}

fn bytes(store: &Store, layer: &Layer) -> Vec<u8> {
    let mut bytes = Vec::new();
    content(store, layer).copy_to(&mut bytes).unwrap();
    bytes
}

/// The entries of a layer as text: `name type mode size` and link targets.
fn listing(store: &Store, snapshot: &Snapshot) -> Vec<String> {
    let layer = store.layer(snapshot, Compression::Uncompressed, true).unwrap();
    let mut archive = tar::Archive::new(content(store, &layer).open().unwrap());
    let mut lines = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        let link = entry.link_name().unwrap();
        let link = link.map(|link| format!(" -> {}", link.display())).unwrap_or_default();
        lines.push(format!("{}{link}", String::from_utf8_lossy(&entry.path_bytes())));
        assert!(header.username_bytes().unwrap().is_empty());
    }
    lines
}

/// A plain tar with these entries, each made by the library.
struct Archive(tar::Builder<Vec<u8>>);

impl Archive {
    fn new() -> Archive {
        Archive(tar::Builder::new(Vec::new()))
    }

    fn raw(mut self, name: &str, kind: tar::EntryType, link: &str, content: &[u8]) -> Archive {
        let mut header = tar::Header::new_ustar();
        // Past the library's own scruples about names.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_size(content.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1000);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn file(self, name: &str, content: &str) -> Archive {
        self.raw(name, tar::EntryType::Regular, "", content.as_bytes())
    }

    fn directory(self, name: &str) -> Archive {
        self.raw(name, tar::EntryType::Directory, "", b"")
    }

    fn symlink(self, name: &str, target: &str) -> Archive {
        self.raw(name, tar::EntryType::Symlink, target, b"")
    }

    fn hard_link(self, name: &str, target: &str) -> Archive {
        self.raw(name, tar::EntryType::Link, target, b"")
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    fn unpack(self, store: &Store, parent: Option<&Snapshot>) -> Result<Snapshot, cache::Error> {
        let bytes = self.bytes();
        let diff_id = DiffId(Digest::of(&bytes));
        store.unpack(
            parent,
            &Descriptor::of(media_type::LAYER, &bytes),
            diff_id,
            bytes.as_slice(),
            &|_| {},
        )
    }
}

fn read(tree: &cache::Tree, name: &str) -> String {
    fs::read_to_string(tree.path().join(name)).unwrap()
}

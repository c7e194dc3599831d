//! Layers, compressed or not, put on top of another: nothing outside of the store changes, and what is refused leaves
//! nothing in it.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::MetadataExt;

use cache::{Error, Snapshot, Store};
use oci::{Descriptor, DiffId, Digest, media_type};

use super::blocks::with_checksums;
use super::outside::Outside;

/// So many layers are kept before the store is made anew.
const MOST_KEPT: usize = 300;

struct World {
    store: Store,
    below: Snapshot,
    kept: usize,
    outside: Outside,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Puts the layer on one that has a file, a directory and links.
pub fn run(bytes: &[u8]) {
    WORLD.with_borrow_mut(|world| {
        if world.as_ref().is_none_or(|world| world.kept >= MOST_KEPT) {
            *world = Some(World::new());
        }
        if let Some(world) = world {
            world.put(&with_checksums(bytes));
        }
    });
}

impl World {
    fn new() -> World {
        let outside = Outside::new();
        let store = Store::open(&outside.path().join("store")).expect("a new store");
        let owner = fs::metadata(outside.path()).expect("it is there").uid();
        let archive = base(owner.into());
        let (descriptor, diff_id) = (
            Descriptor::of(media_type::LAYER, &archive),
            DiffId(Digest::of(&archive)),
        );
        let below = store
            .unpack(None, &descriptor, diff_id, &archive[..], &|_| {})
            .expect("a good layer");
        World {
            store,
            below,
            kept: 0,
            outside,
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        let descriptor = Descriptor::of(media_type::LAYER, bytes);
        let put = |diff_id: DiffId| {
            let layer = self.store.unpack_layer(&descriptor, diff_id, bytes, &|_| {})?;
            self.store.attach(Some(&self.below), layer)
        };
        let plain = DiffId(Digest::of(bytes));
        let outcome = match put(plain) {
            // It is compressed, so that only now is known what it is.
            Err(Error::DiffIdMismatch { actual, .. }) => put(actual),
            outcome => outcome,
        };
        self.outside.check();
        let active = fs::read_dir(self.outside.path().join("store/v1/active")).expect("it is there");
        assert_eq!(active.count(), 0, "what is not finished is gone");
        let names = fs::read_dir(self.outside.path()).expect("it is there").count();
        assert_eq!(names, 2, "the store and what is outside of it");
        if outcome.is_ok() {
            self.kept += 1;
        }
    }
}

/// A layer of files that belong to whoever runs this: `file`, `directory/file`, `up -> ../../outside`, `absolute -> /proc/self/cwd/outside`.
fn base(owner: u64) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut put = |kind, path: &str, link: &str| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o755);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(0);
        header.set_path(path).expect("a short name");
        if !link.is_empty() {
            header.set_link_name_literal(link).expect("a short name");
        }
        header.set_cksum();
        archive.append(&header, &b""[..]).expect("memory takes it");
    };
    put(tar::EntryType::Regular, "file", "");
    put(tar::EntryType::Directory, "directory", "");
    put(tar::EntryType::Regular, "directory/file", "");
    put(tar::EntryType::Symlink, "up", "../../../../../../../../outside");
    put(tar::EntryType::Symlink, "absolute", "/proc/self/cwd/outside");
    archive.into_inner().expect("memory takes it")
}

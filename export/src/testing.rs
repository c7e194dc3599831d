//! A store and a tiny image in it, for tests.

use std::sync::Mutex;

use cache::{Compression, Layer, Store};
use oci::{Descriptor, DiffId, Digest, History, ImageConfig, media_type};
use tar::EntryType;
use tempfile::TempDir;

use crate::archive::{Archive, Entry};
use crate::{Annotations, Assembly, Bundle, Image, Media, Progress, image};

/// For tests that look at results only.
pub(crate) struct Unheard;

impl Progress for Unheard {
    fn moved(&self, _: &str, _: u64, _: Option<u64>, _: bool) {}
}

/// Keeps what it was told, in order.
#[derive(Default)]
pub(crate) struct Heard(pub(crate) Mutex<Vec<String>>);

impl Progress for Heard {
    fn moved(&self, item: &str, current: u64, total: Option<u64>, done: bool) {
        let total = total.map(|total| format!("/{total}")).unwrap_or_default();
        let end = if done { " done" } else { "" };
        self.0.lock().unwrap().push(format!("{item} {current}{total}{end}"));
    }
}

pub(crate) fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    (directory, store)
}

pub(crate) fn assembly(media: Media) -> Assembly {
    Assembly {
        compression: Compression::Gzip { level: None },
        force_compression: false,
        rewrite_timestamp: false,
        media,
        epoch: None,
        annotations: Annotations::default(),
    }
}

/// A configuration as a frontend hands it over: no layers, no times.
pub(crate) fn config() -> ImageConfig {
    let mut config = ImageConfig::scratch(&"linux/amd64".parse().unwrap());
    config.config.cmd = Some(vec!["/hello".to_owned()]);
    for (text, empty_layer) in [("COPY hello / # buildkit", false), ("CMD [\"/hello\"]", true)] {
        config.history.push(History {
            created_by: Some(text.to_owned()),
            comment: Some("buildkit.dockerfile.v0".to_owned()),
            empty_layer,
            ..History::default()
        });
    }
    config
}

/// A layer with the file `hello`, plain.
pub(crate) fn layer(store: &Store) -> Layer {
    let mut bytes = Vec::new();
    let mut archive = Archive::new(&mut bytes);
    let entry = Entry {
        mtime: 1_600_000_000,
        ..Entry::new(b"hello", EntryType::Regular, 0o755)
    };
    archive.bytes(&entry, b"hello\n").unwrap();
    archive.finish().unwrap();
    store.put_blob(&bytes).unwrap();
    Layer {
        descriptor: Descriptor::of(media_type::LAYER, &bytes),
        diff_id: DiffId(Digest::of(&bytes)),
        newest: 1_600_000_000,
        foreign: false,
    }
}

/// The image of [`layer`] and [`config`].
pub(crate) fn tiny(store: &Store, how: &Assembly) -> Image {
    image::assemble_layers(store, &[layer(store)], config(), how, &Unheard).unwrap()
}

/// The image of [`tiny`] alone.
pub(crate) fn alone(store: &Store, how: &Assembly) -> Bundle {
    Bundle::single(tiny(store, how), &how.annotations, how.epoch).unwrap()
}

/// An index of [`tiny`] for two platforms.
pub(crate) fn two(store: &Store, how: &Assembly) -> Bundle {
    let of = |platform: &str| {
        let config = oci::ImageConfig {
            architecture: platform.to_owned(),
            ..config()
        };
        image::assemble_layers(store, &[layer(store)], config, how, &Unheard).unwrap()
    };
    let images = vec![of("arm64"), of("amd64")];
    Bundle::index(store, images, &how.annotations, (how.media, how.epoch), &Unheard).unwrap()
}

use cache::Snapshot;

use super::*;
use crate::testing::{self, Unheard, assembly, config};
use crate::{Annotation, Assembly, to_layout_archive, to_layout_directory};

/// A snapshot with one file.
fn snapshot(store: &Store, text: &str) -> Snapshot {
    let active = store.prepare(None).unwrap();
    let file = std::fs::File::create(active.upper().join("hello")).unwrap();
    std::io::Write::write_all(&mut &file, text.as_bytes()).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(5000))
        .unwrap();
    active.commit().unwrap()
}

/// Images of the snapshots, each for a platform of its own: in an index, unless there is one only.
fn bundle(store: &Store, snapshots: &[Snapshot], how: &Assembly) -> Bundle {
    let mut images = Vec::new();
    for (snapshot, architecture) in snapshots.iter().zip(["amd64", "arm64"]) {
        let config = oci::ImageConfig {
            architecture: architecture.to_owned(),
            ..config()
        };
        images.push(crate::assemble(store, Some(snapshot), config, how, &Unheard).unwrap());
    }
    match images.len() {
        1 => Bundle::single(images.remove(0), &how.annotations, how.epoch).unwrap(),
        _ => Bundle::index(store, images, &how.annotations, (how.media, how.epoch), &Unheard).unwrap(),
    }
}

#[test]
fn what_is_compressed_later_is_what_is_compressed_at_once() {
    let (_directory, store) = testing::store();
    let snapshots = [snapshot(&store, "one"), snapshot(&store, "two")];
    for (count, media, rewrite) in [
        (1, Media::Oci, false),
        (1, Media::Oci, true),
        (1, Media::Docker, false),
        (2, Media::Oci, false),
        (2, Media::Docker, false),
    ] {
        let how = |compression| {
            let mut how = Assembly {
                compression,
                epoch: Some(3000),
                rewrite_timestamp: rewrite,
                ..assembly(media)
            };
            if media == Media::Oci {
                how.annotations.0.extend(Annotation::parse("a=b").unwrap());
            }
            how
        };
        let plain = bundle(&store, &snapshots[..count], &how(Compression::Uncompressed));
        for compression in ["gzip", "zstd"] {
            let compression: Compression = compression.parse().unwrap();
            let loaded = Bundle::load(&store, &plain.root).unwrap();
            let later = loaded.compressed(&store, compression, false, &Unheard).unwrap();
            let at_once = bundle(&store, &snapshots[..count], &how(compression));
            let case = format!("{count} {media:?} {rewrite} {compression}");
            assert_eq!(later.root.digest, at_once.root.digest, "{case}");
            assert_ne!(later.root.digest, plain.root.digest, "{case}");
            let again = later
                .compressed(&store, Compression::default(), false, &Unheard)
                .unwrap();
            assert_eq!(again.root, later.root, "what is compressed stays: {case}");
        }
    }
}

#[test]
fn with_force_all_layers_are_compressed_anew_and_stay_the_same_files() {
    let (_directory, store) = testing::store();
    let gzip = bundle(&store, &[snapshot(&store, "one")], &assembly(Media::Oci));
    let zstd: Compression = "zstd".parse().unwrap();
    let kept = gzip.compressed(&store, zstd, false, &Unheard).unwrap();
    assert_eq!(kept.root, gzip.root);
    let forced = gzip.compressed(&store, zstd, true, &Unheard).unwrap();
    assert_eq!(forced.id(), gzip.id());
    assert_eq!(forced.images[0].layers[0].media_type, media_type::LAYER_ZSTD);
    let plain = forced.compressed(&store, Compression::Uncompressed, true, &Unheard);
    let image = &plain.unwrap().images[0];
    assert_eq!(image.layers[0].digest, image.configuration.rootfs.diff_ids[0].0);
}

#[test]
fn plain_layers_are_exported_as_any_other() {
    let (_directory, store) = testing::store();
    let how = Assembly {
        compression: Compression::Uncompressed,
        ..assembly(Media::Oci)
    };
    let image = bundle(&store, &[snapshot(&store, "one")], &how);
    let layer = &image.images[0].layers[0];
    assert!(store.blob(&layer.digest).unwrap().is_none());
    let folder = tempfile::tempdir().unwrap();
    to_layout_directory(&store, &image, &[], folder.path(), &Unheard).unwrap();
    let written = std::fs::read(folder.path().join(crate::to_layout::blob_name(layer))).unwrap();
    assert_eq!(oci::Digest::of(&written), layer.digest);
    let mut archive = Vec::new();
    to_layout_archive(&store, &image, &[], &mut archive, &Unheard).unwrap();
    assert!(archive.windows(written.len()).any(|part| part == written));
}

use std::fs;

use super::*;
use crate::testing::{self, Heard, Unheard, alone, assembly, config, tiny};

/// Changing one of these changes what everyone's images are called: it needs a line in the changelog.
#[test]
fn digests_of_a_tiny_image_stay() {
    let (_directory, store) = testing::store();
    for (media, manifest, config) in [
        (
            Media::Oci,
            "sha256:81cab9b04a18788396edb9f262e7fa3bca099bad12c14e69a4d0272c7a0a8e09",
            "sha256:e6eae36ccd9975262c9aa9896f7fdf36de884ed6fd0e709260db4488b64ba0d0",
        ),
        (
            Media::Docker,
            "sha256:e3444c47dc30f687fb1e7f29dd85194dec7fb1fb5627be06d4fd4a2f4774ddc2",
            "sha256:e6eae36ccd9975262c9aa9896f7fdf36de884ed6fd0e709260db4488b64ba0d0",
        ),
    ] {
        let image = tiny(&store, &assembly(media));
        assert_eq!(image.config.digest.to_string(), config, "{media:?}");
        assert_eq!(image.manifest.digest.to_string(), manifest, "{media:?}");
    }
}

#[test]
fn the_configuration_is_completed_from_the_layers() {
    let (_directory, store) = testing::store();
    let image = tiny(&store, &assembly(Media::Oci));
    let bytes = read_blob(&store, &image.config.digest).unwrap();
    let diff_id = image.configuration.rootfs.diff_ids[0];
    let expected = format!(
        concat!(
            r#"{{"architecture":"amd64","config":{{"Cmd":["/hello"],"WorkingDir":"/"}},"#,
            r#""created":"2020-09-13T12:26:40Z","history":["#,
            r#"{{"created":"2020-09-13T12:26:40Z","created_by":"COPY hello / # buildkit","comment":"buildkit.dockerfile.v0"}},"#,
            r#"{{"created":"2020-09-13T12:26:40Z","created_by":"CMD [\"/hello\"]","comment":"buildkit.dockerfile.v0","empty_layer":true}}"#,
            r#"],"os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#
        ),
        diff_id
    );
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

#[test]
fn an_image_loads_as_it_was_made() {
    let (_directory, store) = testing::store();
    let made = tiny(&store, &assembly(Media::Oci));
    let loaded = load(&store, &made.manifest).unwrap();
    assert_eq!(format!("{made:?}"), format!("{loaded:?}"));
    let absent = Descriptor::of(media_type::MANIFEST, b"absent");
    assert!(matches!(load(&store, &absent), Err(Error::MissingBlob(_))));
    let index = oci::Index::new(vec![made.manifest]).to_bytes();
    store.put_blob(&index).unwrap();
    let index = Descriptor::of(media_type::INDEX, &index);
    assert!(matches!(load(&store, &index), Err(Error::Several(_))));
    store.put_blob(b"{}").unwrap();
    let nonsense = Descriptor::of(media_type::MANIFEST, b"{}");
    assert!(matches!(load(&store, &nonsense), Err(Error::Document { .. })));
}

#[test]
fn media_types_change_family_and_internal_annotations_go() {
    for (from, oci, docker) in [
        (
            media_type::LAYER_GZIP,
            media_type::LAYER_GZIP,
            media_type::DOCKER_LAYER_GZIP,
        ),
        (media_type::DOCKER_LAYER, media_type::LAYER, media_type::DOCKER_LAYER),
        (
            media_type::DOCKER_LAYER_ZSTD,
            media_type::LAYER_ZSTD,
            media_type::DOCKER_LAYER_ZSTD,
        ),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            media_type::LAYER_GZIP,
            media_type::DOCKER_LAYER_GZIP,
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            media_type::LAYER,
            media_type::DOCKER_LAYER,
        ),
        ("application/x-other", "application/x-other", "application/x-other"),
    ] {
        assert_eq!(layer_type(Media::Oci, from), oci);
        assert_eq!(layer_type(Media::Docker, from), docker);
    }
    let (_directory, store) = testing::store();
    let mut layer = testing::layer(&store);
    for key in [
        "kept",
        "buildkit/createdat",
        "containerd.io/distribution.source.docker.io",
    ] {
        layer.descriptor.annotations.insert(key.to_owned(), "x".to_owned());
    }
    let kept: Vec<String> = descriptor_in(Media::Oci, &layer.descriptor)
        .annotations
        .into_keys()
        .collect();
    assert_eq!(kept, ["kept"]);
    assert!(descriptor_in(Media::Docker, &layer.descriptor).annotations.is_empty());
}

#[test]
fn what_every_image_states_is_checked_before_work_begins() {
    let (_directory, store) = testing::store();
    let attempt =
        |config: ImageConfig, how: &Assembly| assemble(&store, None, config, how, &Unheard).unwrap_err().to_string();
    let nowhere = ImageConfig {
        os: String::new(),
        ..config()
    };
    assert_eq!(
        attempt(nowhere, &assembly(Media::Oci)),
        "invalid image configuration: `os` is missing"
    );
}

#[test]
fn an_epoch_marks_the_image_but_adds_nothing_without_one() {
    let (_directory, store) = testing::store();
    assert!(alone(&store, &assembly(Media::Oci)).root.annotations.is_empty());
    let how = Assembly {
        epoch: Some(1_000_000_000),
        ..assembly(Media::Oci)
    };
    let image = alone(&store, &how);
    assert_eq!(
        image.root.annotations["org.opencontainers.image.created"],
        "2001-09-09T01:46:40Z"
    );
    assert_eq!(
        image.images[0].configuration.created.as_deref(),
        Some("2001-09-09T01:46:40Z")
    );
}

#[test]
fn an_image_of_nothing_has_no_layers() {
    let (_directory, store) = testing::store();
    let scratch = ImageConfig::scratch(&"linux/amd64".parse().unwrap());
    let image = assemble(&store, None, scratch, &assembly(Media::Oci), &Unheard).unwrap();
    assert!(image.layers.is_empty());
    assert_eq!(image.configuration.created.as_deref(), Some("1970-01-01T00:00:00Z"));
}

#[test]
fn each_snapshot_of_the_stack_becomes_a_layer_in_order() {
    let (_directory, store) = testing::store();
    let mut top = None;
    for number in 0..6 {
        let active = store.prepare(top.as_ref()).unwrap();
        let file = active.upper().join(format!("file{number}"));
        fs::write(&file, [b'x'; 1000]).unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000 + number);
        fs::File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_modified(time)
            .unwrap();
        let root = fs::File::open(active.upper()).unwrap();
        root.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        top = Some(active.commit().unwrap());
    }
    let scratch = ImageConfig::scratch(&"linux/amd64".parse().unwrap());
    let heard = Heard::default();
    let image = assemble(&store, top.as_ref(), scratch.clone(), &assembly(Media::Oci), &heard).unwrap();
    let times: Vec<&str> = image
        .configuration
        .history
        .iter()
        .filter_map(|e| e.created.as_deref())
        .collect();
    assert_eq!(times.len(), 6);
    assert_eq!((times[0], times[5]), ("1970-01-01T00:16:40Z", "1970-01-01T00:16:45Z"));
    assert!(
        image
            .layers
            .iter()
            .all(|layer| layer.media_type == media_type::LAYER_GZIP)
    );
    let bytes: u64 = image.layers.iter().map(|layer| layer.size).sum();
    assert!(
        heard
            .0
            .lock()
            .unwrap()
            .contains(&format!("exporting layers {bytes} done"))
    );
    let again = assemble(&store, top.as_ref(), scratch, &assembly(Media::Oci), &Unheard).unwrap();
    assert_eq!(image.manifest, again.manifest);
}

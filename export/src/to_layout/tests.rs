use std::process::Command;

use serde_json::json;

use super::*;
use crate::testing::{self, Heard, Unheard, alone, assembly};
use crate::{Media, to_docker_archive, to_file};

fn names(texts: &[&str]) -> Vec<Reference> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Names and contents of a tar archive's files.
fn unpacked(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let file = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 0);
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        (String::from_utf8_lossy(&entry.path_bytes()).into_owned(), content)
    };
    archive.entries().unwrap().map(file).collect()
}

fn json_of(files: &[(String, Vec<u8>)], name: &str) -> Value {
    let (_, content) = files.iter().find(|(found, _)| found == name).unwrap();
    serde_json::from_slice(content).unwrap()
}

#[test]
fn an_archive_is_a_layout_with_an_entry_for_each_name() {
    let (_directory, store) = testing::store();
    let bundle = alone(&store, &assembly(Media::Oci));
    let image = &bundle.images[0];
    let (mut bytes, heard) = (Vec::new(), Heard::default());
    let names = names(&["a:1", "localhost:5000/b"]);
    to_layout_archive(&store, &bundle, &names, &mut bytes, &heard).unwrap();
    let files = unpacked(&bytes);
    let blobs = [&image.layers[0], &image.config, &image.manifest];
    let [first, second, third] = blobs.map(blob_name);
    let listing: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        listing,
        [
            "blobs/",
            "blobs/sha256/",
            &first,
            &second,
            &third,
            "index.json",
            "oci-layout"
        ]
    );
    for (name, content) in &files[2..5] {
        assert_eq!(*name, format!("blobs/sha256/{}", oci::Digest::of(content).hex()));
    }
    let entry = |name: &str, tag: &str| {
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": image.manifest.digest,
            "size": image.manifest.size,
            "platform": { "architecture": "amd64", "os": "linux" },
            "annotations": { IMAGE_NAME: name, REF_NAME: tag },
        })
    };
    assert_eq!(
        json_of(&files, "index.json"),
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry("docker.io/library/a:1", "1"), entry("localhost:5000/b:latest", "latest")],
        })
    );
    assert_eq!(json_of(&files, "oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }));
    let sum = image.layers[0].size + image.config.size + image.manifest.size;
    let last = heard.0.into_inner().unwrap().pop();
    assert_eq!(last.unwrap(), format!("sending tarball {sum}/{sum} done"));
    let mut again = Vec::new();
    to_layout_archive(&store, &bundle, &names, &mut again, &Unheard).unwrap();
    assert!(bytes == again);
}

#[test]
fn a_docker_archive_says_what_docker_load_wants() {
    let (_directory, store) = testing::store();
    let bundle = alone(&store, &assembly(Media::Docker));
    let image = &bundle.images[0];
    for (names, tags) in [
        (
            names(&["a:1", "localhost:5000/b"]),
            json!(["a:1", "localhost:5000/b:latest"]),
        ),
        (vec![], Value::Null),
    ] {
        let mut bytes = Vec::new();
        to_docker_archive(&store, &bundle, &names, &mut bytes, &Unheard).unwrap();
        let files = unpacked(&bytes);
        assert_eq!(
            json_of(&files, "manifest.json"),
            json!([{
                "Config": blob_name(&image.config),
                "RepoTags": tags,
                "Layers": [blob_name(&image.layers[0])],
            }])
        );
        assert_eq!(
            json_of(&files, "index.json")["manifests"].as_array().unwrap().len(),
            names.len().max(1)
        );
    }
}

#[test]
fn a_directory_keeps_other_images_and_moves_names() {
    let (_directory, store) = testing::store();
    let dest = tempfile::tempdir().unwrap();
    let dest = dest.path().join("layout");
    let first = alone(&store, &assembly(Media::Oci));
    let mut how = assembly(Media::Oci);
    how.annotations
        .0
        .extend(crate::Annotation::parse("other=image").unwrap());
    let second = alone(&store, &how);
    to_layout_directory(&store, &first, &names(&["a:1", "a:2"]), &dest, &Unheard).unwrap();
    for _ in 0..2 {
        to_layout_directory(&store, &second, &names(&["a:2"]), &dest, &Unheard).unwrap();
    }
    let index: Value = serde_json::from_slice(&fs::read(dest.join("index.json")).unwrap()).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    let line = |entry: &Value| (entry["annotations"][REF_NAME].clone(), entry["digest"].clone());
    assert_eq!(
        entries.iter().map(line).collect::<Vec<_>>(),
        [
            (json!("1"), json!(first.root.digest)),
            (json!("2"), json!(second.root.digest))
        ]
    );
    for blob in [
        &first.images[0].layers[0],
        &first.images[0].config,
        &first.root,
        &second.root,
    ] {
        let bytes = fs::read(dest.join(blob_name(blob))).unwrap();
        assert_eq!(oci::Digest::of(&bytes), blob.digest);
    }
    assert_eq!(fs::read_dir(dest.join("blobs/sha256")).unwrap().count(), 4);
    fs::write(dest.join("index.json"), b"[]").unwrap();
    let error = to_layout_directory(&store, &first, &[], &dest, &Unheard).unwrap_err();
    assert!(matches!(error, Error::ForeignIndex { .. }));
}

#[test]
fn a_blob_cut_short_is_not_exported() {
    let (_directory, store) = testing::store();
    let bundle = alone(&store, &assembly(Media::Oci));
    let image = &bundle.images[0];
    let path = store.blob(&image.layers[0].digest).unwrap().unwrap().path;
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, b"short").unwrap();
    let dest = tempfile::tempdir().unwrap();
    let file = dest.path().join("image.tar");
    let written = to_file(&file, |out| to_layout_archive(&store, &bundle, &[], out, &Unheard));
    assert!(written.is_err());
    assert_eq!(fs::read_dir(dest.path()).unwrap().count(), 0);
    let directory = dest.path().join("layout");
    assert!(to_layout_directory(&store, &bundle, &[], &directory, &Unheard).is_err());
    assert!(!directory.join("index.json").exists());
}

#[test]
fn skopeo_reads_what_we_write() {
    if Command::new("skopeo").arg("--version").output().is_err() {
        eprintln!("skipped: needs skopeo");
        return;
    }
    let (_directory, store) = testing::store();
    let bundle = alone(&store, &assembly(Media::Oci));
    let dest = tempfile::tempdir().unwrap();
    let (oci, docker, layout) = (
        dest.path().join("o.tar"),
        dest.path().join("d.tar"),
        dest.path().join("l"),
    );
    let names = names(&["a:1"]);
    to_file(&oci, |out| to_layout_archive(&store, &bundle, &names, out, &Unheard)).unwrap();
    to_file(&docker, |out| to_docker_archive(&store, &bundle, &names, out, &Unheard)).unwrap();
    to_layout_directory(&store, &bundle, &names, &layout, &Unheard).unwrap();
    for source in [
        format!("oci-archive:{}", oci.display()),
        format!("docker-archive:{}:a:1", docker.display()),
        format!("oci:{}:1", layout.display()),
    ] {
        let copy = format!("dir:{}", dest.path().join("copy").display());
        let answer = Command::new("skopeo")
            .args(["copy", "--insecure-policy", &source, &copy])
            .output()
            .unwrap();
        assert!(
            answer.status.success(),
            "{source}: {}",
            String::from_utf8_lossy(&answer.stderr)
        );
    }
}

#[test]
fn a_name_in_a_layout_moves_to_the_new_image() {
    let entry = |digest: &str, image: Option<&str>, tag: Option<&str>| {
        let mut annotations = json!({});
        for (key, value) in [(IMAGE_NAME, image), (REF_NAME, tag)] {
            if let Some(value) = value {
                annotations[key] = json!(value);
            }
        }
        json!({ "digest": digest, "annotations": annotations })
    };
    let new = entry("new", Some("docker.io/library/a:1"), Some("1"));
    for (old, superseded) in [
        (entry("old", Some("docker.io/library/a:1"), Some("1")), true),
        (entry("old", Some("docker.io/library/b:1"), Some("1")), false),
        (entry("old", None, Some("1")), true),
        (entry("old", None, Some("2")), false),
        (entry("old", None, None), false),
        (entry("new", None, None), true),
        (json!({ "digest": "old" }), false),
        (json!("nonsense"), false),
    ] {
        assert_eq!(supersedes(&new, &old), superseded, "{old}");
    }
}

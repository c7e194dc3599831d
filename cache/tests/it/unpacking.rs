//! Layers of base images, good and hostile.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use oci::{Descriptor, DiffId, Digest, media_type};

use crate::raw::Raw;
use crate::{Archive, can_mount, can_own, new_store, read};

#[test]
fn bytes_that_are_not_the_layer_announced_are_refused() {
    if !can_own() {
        return;
    }
    let (root, store) = new_store();
    let bytes = Archive::new().file("a", "1").bytes();
    let (descriptor, diff_id) = (Descriptor::of(media_type::LAYER, &bytes), DiffId(Digest::of(&bytes)));
    let mut longer = bytes.clone();
    longer.extend([0; 512]);
    let mut changed = bytes.clone();
    changed[600] ^= 1;
    for (what, content, diff_id, words) in [
        ("shorter", &bytes[..700], diff_id, "bytes long"),
        ("longer", &longer[..], diff_id, "cannot read layer"),
        ("changed", &changed[..], diff_id, "has digest"),
        (
            "other diff-id",
            &bytes[..],
            DiffId(Digest::of(b"")),
            "the image configuration says",
        ),
    ] {
        let error = store.unpack(None, &descriptor, diff_id, content, &|_| {}).unwrap_err();
        assert!(error.to_string().contains(words), "{what}: {error}");
    }
    assert_eq!(fs::read_dir(root.path().join("v1/active")).unwrap().count(), 0);
    let noise = vec![7; 2048];
    let error = store
        .unpack(
            None,
            &Descriptor::of(media_type::LAYER, &noise),
            DiffId(Digest::of(&noise)),
            &noise[..],
            &|_| {},
        )
        .unwrap_err();
    assert!(matches!(error, cache::Error::Archive { .. }), "{error}");
}

#[test]
fn nothing_escapes_the_directory_of_a_layer() {
    let (root, store) = new_store();
    let outside = root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "untouched").unwrap();
    let out = outside.to_str().unwrap();
    let up = "../".repeat(20);
    let cases = [
        Archive::new().file(&format!("{up}{out}/file"), "evil"),
        Archive::new().file(&format!("{out}/file"), "evil"),
        Archive::new().symlink("s", out).file("s/file", "evil"),
        Archive::new()
            .symlink("s", &format!("{up}{out}"))
            .file("s/file", "evil"),
        Archive::new()
            .symlink("file", &format!("{out}/file"))
            .file("file", "evil"),
        Archive::new().hard_link("h", &format!("{out}/file")).file("h", "evil"),
        Archive::new()
            .symlink("s", out)
            .hard_link("h", "s/file")
            .file("h", "evil"),
        Archive::new().symlink("s", out).file("s/.wh.file", ""),
        Archive::new().symlink("s", out).directory("s/"),
        Archive::new().file("..", "evil"),
        Archive::new().symlink("a", "b").symlink("b", "a").file("a/x", "evil"),
        Archive::new().file("f", "1").file("f/x", "evil"),
        Archive::new().file(".wh..", "").file(".wh.", ""),
        Archive::new().directory("d/").hard_link("h", "d"),
    ];
    for archive in cases {
        // Refused or kept inside: both are fine.
        let _ = archive.unpack(&store, None);
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::metadata(outside.join("file")).unwrap().nlink(), 1);
    }
}

#[test]
fn what_a_link_leads_to_is_made_inside() {
    if !can_own() {
        return;
    }
    let (_root, store) = new_store();
    let layer = Archive::new()
        .directory("d/")
        .symlink("d/x", "../opt/./q")
        .symlink("opt", "/usr/../var/opt")
        .file("d/x/e/c", "1")
        .file("d/x/f", "2")
        .unpack(&store, None)
        .unwrap();
    let made = layer.directory().join("var/opt/q");
    assert_eq!(fs::read_to_string(made.join("e/c")).unwrap(), "1");
    assert_eq!(fs::read_to_string(made.join("f")).unwrap(), "2");
    assert_eq!(fs::metadata(&made).unwrap().mode() & 0o7777, 0o755);
    for link in ["d/x", "opt"] {
        let kept = fs::symlink_metadata(layer.directory().join(link)).unwrap();
        assert!(kept.is_symlink(), "{link}");
    }
}

#[test]
fn a_slash_makes_a_directory_only_of_what_has_no_type() {
    if !can_own() {
        return;
    }
    let (_root, store) = new_store();
    let bytes = Raw::new()
        .entry(b"old/", 0, b"", b"")
        .file("file/", "1")
        .file("last", "2")
        .bytes();
    let (descriptor, diff_id) = (Descriptor::of(media_type::LAYER, &bytes), DiffId(Digest::of(&bytes)));
    let layer = store.unpack(None, &descriptor, diff_id, &bytes[..], &|_| {}).unwrap();
    assert!(layer.directory().join("old").is_dir());
    assert_eq!(fs::read_to_string(layer.directory().join("file")).unwrap(), "1");
    assert_eq!(fs::read_to_string(layer.directory().join("last")).unwrap(), "2");
}

/// As `pzstd` writes them: in several frames, and before each one without content that tells its size.
#[test]
fn zstd_frames_without_content_may_be_anywhere() {
    if !can_own() {
        return;
    }
    let plain = Archive::new().file("a", "1").file("b", "2").bytes();
    let diff_id = DiffId(Digest::of(&plain));
    let mut bytes = Vec::new();
    for (number, piece) in plain.chunks(700).enumerate() {
        bytes.extend([0x50 + number as u8 % 16, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4]);
        bytes.extend(zstd::encode_all(piece, 1).unwrap());
    }
    bytes.extend([0x5f, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
    for media_type in [media_type::LAYER_ZSTD, media_type::LAYER_GZIP] {
        let (_root, store) = new_store();
        let descriptor = Descriptor::of(media_type, &bytes);
        let layer = store.unpack(None, &descriptor, diff_id, &bytes[..], &|_| {}).unwrap();
        assert_eq!(fs::read_to_string(layer.directory().join("b")).unwrap(), "2");
    }
}

#[test]
fn removals_hide_what_is_below() {
    let (_root, store) = new_store();
    if !can_mount(&store) {
        return;
    }
    let base = Archive::new()
        .directory("d/")
        .file("d/old", "1")
        .file("f", "1")
        .directory("e/")
        .file("e/old", "1")
        .file("g", "1")
        .unpack(&store, None)
        .unwrap();
    let next = Archive::new()
        .directory("d/")
        .file("d/.wh..wh..opq", "")
        .file("d/new", "2")
        .file(".wh.f", "")
        .file(".wh.e", "")
        .file("e/new", "2")
        .file(".wh.g", "")
        .file("g", "2")
        .unpack(&store, Some(&base))
        .unwrap();
    let removed = fs::symlink_metadata(next.directory().join("f")).unwrap();
    assert!(removed.file_type().is_char_device() && removed.rdev() == 0);
    let tree = next.mount(&store).unwrap();
    for (name, there) in [
        ("d/old", false),
        ("d/new", true),
        ("f", false),
        ("e/old", false),
        ("e/new", true),
        ("g", true),
    ] {
        assert_eq!(tree.path().join(name).exists(), there, "{name}");
    }
    assert_eq!(read(&tree, "g"), "2");
    drop(tree);
    // A single layer with removals shows none of them.
    let lonely = Archive::new()
        .file(".wh.x", "")
        .file("y", "")
        .unpack(&store, None)
        .unwrap();
    let tree = lonely.mount(&store).unwrap();
    assert_eq!(fs::read_dir(tree.path()).unwrap().count(), 1);
    let lonely = Archive::new()
        .file("d/.wh.x", "")
        .file("d/y", "")
        .unpack(&store, None)
        .unwrap();
    let tree = lonely.mount(&store).unwrap();
    assert_eq!(fs::read_dir(tree.path().join("d")).unwrap().count(), 1);
}

#[test]
fn a_later_layer_takes_after_the_one_below_and_links_into_it() {
    let (_root, store) = new_store();
    if !can_mount(&store) {
        return;
    }
    let base = Archive::new()
        .raw("./", tar::EntryType::Directory, "", b"")
        .raw("secret/", tar::EntryType::Directory, "", b"")
        .file("secret/f", "content")
        .unpack(&store, None)
        .unwrap();
    fs::set_permissions(base.directory().join("secret"), fs::Permissions::from_mode(0o700)).unwrap();
    let next = Archive::new()
        .file("secret/g", "2")
        .hard_link("h", "secret/f")
        .unpack(&store, Some(&base))
        .unwrap();
    let tree = next.mount(&store).unwrap();
    assert_eq!(read(&tree, "h"), "content");
    assert_eq!(fs::metadata(tree.path().join("secret")).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(tree.path()).unwrap().mtime(), 1000);
    let error = Archive::new()
        .hard_link("h", "nowhere")
        .unpack(&store, Some(&base))
        .unwrap_err();
    assert!(error.to_string().contains("does not exist"), "{error}");
}

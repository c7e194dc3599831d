//! The same layout, once as a directory and once as an archive, must answer alike.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::*;
use crate::{ImageConfig, Manifest, RunConfig};

/// Documents and names that become a layout.
#[derive(Default)]
struct Draft {
    entries: Vec<Descriptor>,
    blobs: Vec<Vec<u8>>,
}

impl Draft {
    fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Descriptor {
        self.blobs.push(bytes.to_owned());
        Descriptor::of(media_type, bytes)
    }

    /// An image whose configuration bears `label` and which has one layer.
    fn image(&mut self, platform: &str, label: &str) -> Descriptor {
        let platform: Platform = platform.parse().unwrap();
        let mut config = ImageConfig::scratch(&platform);
        config.config = RunConfig {
            user: label.to_owned(),
            ..config.config
        };
        let layer = self.blob(media_type::LAYER, format!("layer of {label}").as_bytes());
        config.rootfs.diff_ids = vec![crate::DiffId(layer.digest)];
        let config = self.blob(media_type::CONFIG, &config.to_bytes());
        let manifest = Manifest::new(media_type::MANIFEST, config, vec![layer]);
        let mut descriptor = self.blob(media_type::MANIFEST, &manifest.to_bytes());
        descriptor.platform = Some(platform);
        descriptor
    }

    fn name(&mut self, descriptor: &Descriptor, annotations: &[(&str, &str)]) {
        let mut entry = descriptor.clone();
        for (key, value) in annotations {
            entry.annotations.insert((*key).to_owned(), (*value).to_owned());
        }
        self.entries.push(entry);
    }

    fn write(&self, folder: &Path) -> [PathBuf; 2] {
        let tree = folder.join("tree");
        fs::create_dir_all(tree.join("blobs/sha256")).unwrap();
        fs::write(tree.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        fs::write(tree.join("index.json"), Index::new(self.entries.clone()).to_bytes()).unwrap();
        for blob in &self.blobs {
            fs::write(tree.join(blob_name(Digest::of(blob))), blob).unwrap();
        }
        let archive = folder.join("image.tar");
        let mut builder = tar::Builder::new(File::create(&archive).unwrap());
        builder.append_dir_all(".", &tree).unwrap();
        builder.into_inner().unwrap();
        [tree, archive]
    }
}

fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

fn user_of(path: &Path, tag: Option<&str>, digest: Option<Digest>) -> Result<String, String> {
    let layout = Layout::open(path).map_err(|error| error.to_string())?;
    let resolved = layout
        .resolve(tag, digest, &amd64())
        .map_err(|error| error.to_string())?;
    Ok(resolved.config.config.user)
}

#[test]
fn an_image_is_found_by_tag_by_name_and_by_digest() {
    let folder = tempfile::tempdir().unwrap();
    let mut draft = Draft::default();
    let (one, two) = (draft.image("linux/amd64", "one"), draft.image("linux/amd64", "two"));
    draft.name(&one, &[(TAG, "1")]);
    draft.name(&two, &[(NAME, "docker.io/library/app:2"), (TAG, "2")]);
    for path in draft.write(folder.path()) {
        let found = |tag| user_of(&path, Some(tag), None);
        assert_eq!(found("1").unwrap(), "one");
        assert_eq!(found("2").unwrap(), "two");
        assert_eq!(found("app:2").unwrap(), "two");
        assert_eq!(found("docker.io/library/app:2").unwrap(), "two");
        assert_eq!(user_of(&path, None, Some(two.digest)).unwrap(), "two");
        let shown = path.display();
        assert_eq!(
            found("app").unwrap_err(),
            format!("no image `app` in OCI layout `{shown}`; there are: `1`, `2`")
        );
        assert!(user_of(&path, None, None).unwrap_err().contains("no image `latest`"));
    }
}

#[test]
fn without_a_tag_latest_is_meant_or_the_only_image() {
    let folder = tempfile::tempdir().unwrap();
    let mut draft = Draft::default();
    let (one, two) = (draft.image("linux/amd64", "one"), draft.image("linux/amd64", "two"));
    draft.name(&one, &[(TAG, "1")]);
    for path in draft.write(&folder.path().join("single")) {
        assert_eq!(user_of(&path, None, None).unwrap(), "one");
    }
    draft.name(&two, &[(TAG, "latest")]);
    for path in draft.write(&folder.path().join("several")) {
        assert_eq!(user_of(&path, None, None).unwrap(), "two");
    }
}

#[test]
fn platforms_are_chosen_in_nested_indexes_and_in_the_layouts_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut draft = Draft::default();
    let (arm, amd) = (draft.image("linux/arm64", "arm"), draft.image("linux/amd64", "amd"));
    let index = draft.blob(
        media_type::INDEX,
        &Index::new(vec![arm.clone(), amd.clone()]).to_bytes(),
    );
    let inner = Index::new(vec![index.clone()]).to_bytes();
    let inner = draft.blob(media_type::DOCKER_INDEX, &inner);
    let only_arm = Index::new(vec![arm.clone()]).to_bytes();
    let only_arm = draft.blob(media_type::INDEX, &only_arm);
    let deeper = Index::new(vec![only_arm, inner]).to_bytes();
    let deeper = draft.blob(media_type::INDEX, &deeper);
    draft.name(&index, &[(TAG, "nested")]);
    draft.name(&deeper, &[(TAG, "deeper")]);
    draft.name(&arm, &[(TAG, "flat")]);
    draft.name(&amd, &[(TAG, "flat")]);
    for path in draft.write(folder.path()) {
        let layout = Layout::open(&path).unwrap();
        for (tag, root) in [
            ("nested", index.digest),
            ("deeper", deeper.digest),
            ("flat", amd.digest),
        ] {
            let resolved = layout.resolve(Some(tag), None, &amd64()).unwrap();
            assert_eq!(resolved.config.config.user, "amd");
            assert_eq!(
                (resolved.root.digest, resolved.manifest_descriptor.digest),
                (root, amd.digest)
            );
            assert_eq!(Digest::of(&resolved.manifest_bytes), amd.digest);
        }
        let error = layout
            .resolve(Some("nested"), None, &"linux/s390x".parse().unwrap())
            .unwrap_err();
        assert!(error.to_string().contains("linux/arm64, linux/amd64"), "{error}");
    }
}

#[test]
fn a_digest_that_no_index_lists_is_read_as_what_it_says_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut draft = Draft::default();
    let amd = draft.image("linux/amd64", "amd");
    for path in draft.write(folder.path()) {
        assert_eq!(user_of(&path, None, Some(amd.digest)).unwrap(), "amd");
        let layout = Layout::open(&path).unwrap();
        let resolved = layout.resolve(None, Some(amd.digest), &amd64()).unwrap();
        assert_eq!(resolved.root.media_type, media_type::MANIFEST);
        let error = user_of(&path, None, Some(Digest::of(b"absent"))).unwrap_err();
        assert!(error.contains("no image `sha256:"), "{error}");
    }
}

#[test]
fn blobs_are_read_where_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let mut draft = Draft::default();
    let blob = draft.blob(media_type::LAYER, &vec![7; 100_000]);
    let mut wrong_size = blob.clone();
    wrong_size.size += 1;
    for path in draft.write(folder.path()) {
        let layout = Layout::open(&path).unwrap();
        let (mut first, mut second) = (layout.blob(&blob).unwrap(), layout.blob(&blob).unwrap());
        let mut bytes = Vec::new();
        first.read_exact(&mut [0; 10]).unwrap();
        second.read_to_end(&mut bytes).unwrap();
        assert_eq!(Digest::of(&bytes), blob.digest);
        assert_eq!(first.read_to_end(&mut Vec::new()).unwrap(), 99_990);
        assert!(layout.blob(&wrong_size).is_err());
        let absent = layout.blob(&Descriptor::of(media_type::LAYER, b"absent"));
        let error = absent.err().unwrap().to_string();
        assert!(error.contains("it has no `blobs/sha256/"), "{error}");
    }
}

#[test]
fn damaged_documents_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut draft = Draft::default();
    let image = draft.image("linux/amd64", "x");
    draft.name(&image, &[]);
    let [tree, _] = draft.write(folder.path());
    let manifest = tree.join(blob_name(image.digest));
    let mut bytes = fs::read(&manifest).unwrap();
    let last = bytes.len() - 1;
    bytes[last] = b' ';
    fs::write(&manifest, bytes).unwrap();
    assert!(user_of(&tree, None, None).unwrap_err().contains("has digest"));
}

#[test]
fn what_is_no_layout_says_why_and_shows_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("rootfs/etc")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::write(at("text"), "not a tar archive").unwrap();
    fs::write(at("image.tar.gz"), [0x1f, 0x8b, 8, 0]).unwrap();
    fs::create_dir(at("old")).unwrap();
    fs::write(at("old/oci-layout"), r#"{"imageLayoutVersion":"2.0"}"#).unwrap();
    for (name, expected) in [
        ("rootfs", "it has no `oci-layout`, only `etc`"),
        ("empty", "it has no `oci-layout`, only emptiness"),
        ("text", "is not an OCI layout"),
        ("image.tar.gz", "compressed with gzip"),
        ("old", "version `2.0` is not known"),
        ("absent", "cannot read"),
    ] {
        let error = Layout::open(&at(name)).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(name), "{error}");
    }
}

#[test]
fn a_truncated_archive_is_noticed_before_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let mut draft = Draft::default();
    draft.blob(media_type::LAYER, &vec![1; 50_000]);
    let [_, archive] = draft.write(folder.path());
    let length = fs::metadata(&archive).unwrap().len();
    for cut in [length / 2, 700, 1] {
        File::options()
            .write(true)
            .open(&archive)
            .unwrap()
            .set_len(cut)
            .unwrap();
        assert!(Layout::open(&archive).is_err(), "{cut}");
    }
}

#[test]
fn names_in_an_index_lead_nowhere_outside() {
    let folder = tempfile::tempdir().unwrap();
    let [tree, _] = Draft::default().write(folder.path());
    fs::write(folder.path().join("secret"), "{}").unwrap();
    let index = r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",
        "digest":"sha256:../../../secret","size":2}]}"#;
    fs::write(tree.join("index.json"), index).unwrap();
    assert!(Layout::open(&tree).is_err());
}

#[test]
fn locations_are_split_at_tag_and_digest() {
    let digest = Digest::of(b"x");
    for (text, path, tag, pinned) in [
        ("oci-layout:///a/b", "/a/b", None, None),
        ("oci-layout:///a/b:t", "/a/b", Some("t"), None),
        ("oci-layout://./a:1/b", "./a:1/b", None, None),
        ("a@home/b:t", "a@home/b", Some("t"), None),
        (&format!("/a:t@{digest}"), "/a", Some("t"), Some(digest)),
        (&format!("/a@{digest}"), "/a", None, Some(digest)),
    ] {
        let expected = (PathBuf::from(path), tag.map(str::to_owned), pinned);
        assert_eq!(parse_location(text).unwrap(), expected, "{text}");
    }
    for text in ["", "oci-layout://", ":t", "/a:", "/a@sha256:0", "/a@b"] {
        assert!(parse_location(text).is_err(), "{text}");
    }
}

#[test]
fn layouts_answer_as_a_port() {
    let folder = tempfile::tempdir().unwrap();
    let mut draft = Draft::default();
    let image = draft.image("linux/amd64", "x");
    draft.name(&image, &[]);
    let layouts = Layouts::new();
    let [tree, _] = draft.write(folder.path());
    let name = |path: &Path| ImageName::Layout {
        path: path.to_owned(),
        tag: None,
        digest: None,
    };
    let ask = |name: &ImageName| now(crate::Fetch::resolve(&layouts, name, &amd64()));
    assert_eq!(ask(&name(&tree)).unwrap().config.config.user, "x");
    let absent = ask(&name(&folder.path().join("absent"))).unwrap_err();
    assert!(matches!(absent, crate::PortError::NotFound { .. }), "{absent:?}");
    let elsewhere = ask(&ImageName::Registry("debian".parse().unwrap())).unwrap_err();
    assert_eq!(
        elsewhere.to_string(),
        "docker.io/library/debian:latest: unexpected answer: it is not an OCI layout"
    );
}

/// Layouts never wait: their futures are ready at once.
fn now<T>(future: crate::BoxFuture<'_, T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(answer) => answer,
        std::task::Poll::Pending => panic!("a layout must not wait"),
    }
}

/// What is said of a layout with these documents, as a directory and as an archive.
fn said_of(index: &str, blobs: &[&[u8]]) -> [String; 2] {
    let folder = tempfile::tempdir().unwrap();
    let draft = Draft {
        blobs: blobs.iter().map(|blob| blob.to_vec()).collect(),
        ..Draft::default()
    };
    let paths = draft.write(folder.path());
    fs::write(paths[0].join("index.json"), index).unwrap();
    let mut builder = tar::Builder::new(File::create(&paths[1]).unwrap());
    builder.append_dir_all(".", &paths[0]).unwrap();
    builder.into_inner().unwrap();
    paths.map(|path| match user_of(&path, None, None) {
        Ok(user) => format!("accepted: {user}"),
        Err(error) => error,
    })
}

#[test]
fn documents_that_lie_are_refused_in_few_words() {
    let zeros = format!("sha256:{}", "0".repeat(64));
    let entry = |digest: &str, size: &str, more: &str| {
        format!(
            r#"{{"mediaType":"{}","digest":"{digest}","size":{size}{more}}}"#,
            media_type::MANIFEST
        )
    };
    let index = |entries: &str| format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
    let text = b"text".as_slice();
    let of_text = Digest::of(text).to_string();
    let itself = index(&entry(&zeros, "1", ""));
    let of_itself = Digest::of(itself.as_bytes()).to_string();
    let many: Vec<String> = (0..5000)
        .map(|number| {
            let platform = format!(r#","platform":{{"os":"os{number}","architecture":"\u001bx"}}"#);
            entry(&format!("sha256:{number:064x}"), "1", &platform)
        })
        .collect();
    let deep = "[".repeat(100_000);
    for (what, index, expected) in [
        (
            "missing",
            index(&entry(&zeros, "1", "")),
            "it has no `blobs/sha256/0000",
        ),
        ("shorter", index(&entry(&of_text, "9", "")), "its descriptor says 9"),
        ("longer", index(&entry(&of_text, "1", "")), "its descriptor says 1"),
        (
            "huge",
            index(&entry(&of_text, "9999999999999", "")),
            "larger than 4194304",
        ),
        ("below nothing", index(&entry(&of_text, "-4", "")), "not valid"),
        ("no document", index(&entry(&of_text, "4", "")), "not valid"),
        ("a path", index(&entry("sha256:../../../etc/passwd", "4", "")), ""),
        ("another path", index(&entry("../../etc:passwd", "4", "")), ""),
        ("five thousand platforms", index(&many.join(",")), "and 4984 more"),
        ("depth", deep, "not valid"),
        (
            "itself by name",
            index(&entry(&of_itself, &itself.len().to_string(), "")),
            "",
        ),
        (
            "twice",
            r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#.to_owned(),
            "duplicate",
        ),
        ("nothing", String::new(), "not valid"),
        (
            "no list",
            r#"{"schemaVersion":2,"manifests":{}}"#.to_owned(),
            "not valid",
        ),
    ] {
        for said in said_of(&index, &[text, itself.as_bytes()]) {
            assert!(
                said.contains(expected) && !said.starts_with("accepted"),
                "{what}: {said}"
            );
            assert!(said.len() < 3000, "{what}: {} bytes of error", said.len());
        }
    }
}

/// A header of 512 bytes.
fn header(name: &str, kind: tar::EntryType, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[test]
fn archives_that_lie_need_neither_memory_nor_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    let opened = |bytes: &[u8], length: u64| {
        fs::write(&path, bytes).unwrap();
        // What is not written costs nothing on the disk.
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(length.max(bytes.len() as u64))
            .unwrap();
        Layout::open(&path).unwrap_err().to_string()
    };
    let long = |kind| header("././@LongLink", kind, 200 << 30);
    let file = |name: &str, size: u64| header(name, tar::EntryType::Regular, size);
    for (what, bytes, length, expected) in [
        (
            "a name of 200 GiB",
            long(tar::EntryType::GNULongName),
            201 << 30,
            "more than 2 MiB",
        ),
        (
            "a target of 200 GiB",
            long(tar::EntryType::GNULongLink),
            201 << 30,
            "more than 2 MiB",
        ),
        (
            "records of 200 GiB",
            long(tar::EntryType::XHeader),
            201 << 30,
            "more than 2 MiB",
        ),
        (
            "global records of 200 GiB",
            long(tar::EntryType::XGlobalHeader),
            201 << 30,
            "more than 2 MiB",
        ),
        (
            "a marker of 200 GiB",
            file("oci-layout", 200 << 30),
            201 << 30,
            "larger than 4194304",
        ),
        (
            "more than there is",
            file("oci-layout", 200 << 30),
            0,
            "ends within `oci-layout`",
        ),
        ("a size of all", file("oci-layout", u64::MAX), 0, ""),
        (
            "half a header",
            file("oci-layout", 0)[..300].to_vec(),
            0,
            "ends within a header",
        ),
        ("noise", vec![7; 4096], 0, "neither a directory nor a tar archive"),
        ("holes", vec![0; 512], 100 << 30, "it has no `oci-layout`"),
        ("upwards", file("../oci-layout", 0), 0, "it has no `oci-layout`"),
    ] {
        let said = opened(&bytes, length);
        assert!(said.contains(expected), "{what}: {said}");
    }
    let many: Vec<u8> = (0..20_000)
        .flat_map(|number| file(&format!("d{number}/x"), 0))
        .collect();
    let said = opened(&many, 0);
    assert!(said.contains("it has no `oci-layout`") && said.len() < 1000, "{said}");
}

#[test]
fn what_is_no_file_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path();
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    for target in ["/dev/zero", "/proc/self/mem", ".", "nowhere"] {
        let _ = fs::remove_file(layout.join("index.json"));
        std::os::unix::fs::symlink(target, layout.join("index.json")).unwrap();
        assert!(Layout::open(layout).is_err(), "{target}");
    }
    for path in ["/dev/zero", "/dev/null", "/proc/self/mem"] {
        assert!(Layout::open(Path::new(path)).is_err(), "{path}");
    }
}

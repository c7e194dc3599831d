//! The store as its users see it: snapshots, layers, keys, images, and several processes at once.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use cache::{CacheKey, Compression, Prune, Snapshot, Store};
use oci::{Descriptor, DiffId, Digest, Manifest, media_type};
use tempfile::TempDir;

fn store() -> (TempDir, Store) {
    let root = TempDir::new().unwrap();
    let store = Store::open(root.path()).unwrap();
    (root, store)
}

/// Whether overlays can be mounted here; says so if not.
fn can_mount(store: &Store) -> bool {
    let mounted = store.prepare(None).unwrap().mount().is_ok();
    if !mounted {
        eprintln!("skipped: needs CAP_SYS_ADMIN and overlayfs");
    }
    mounted
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

/// The entries of a layer as text: `name type mode size` and link targets.
fn listing(store: &Store, snapshot: &Snapshot) -> Vec<String> {
    let layer = store.layer(snapshot, Compression::Uncompressed, true).unwrap();
    let mut archive = tar::Archive::new(fs::File::open(layer.path).unwrap());
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
        (header.set_uid(0), header.set_gid(0), header.set_mtime(1000));
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
        store.unpack(parent, &Descriptor::of(media_type::LAYER, &bytes), diff_id, bytes.as_slice(), &|_| {})
    }
}

fn read(tree: &cache::Tree, name: &str) -> String {
    fs::read_to_string(tree.path().join(name)).unwrap()
}

#[test]
fn a_blob_is_kept_by_its_digest_and_only_if_it_is_the_one_announced() {
    let (root, store) = store();
    let blob = store.put_blob(b"hello").unwrap();
    assert_eq!(fs::read(&blob.path).unwrap(), b"hello");
    assert_eq!(store.blob(&Digest::of(b"hello")).unwrap(), Some(blob));
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"other").unwrap();
    let error = writer.finish_as(&Descriptor::of("x", b"hello")).unwrap_err();
    assert!(error.to_string().contains("has digest"), "{error}");
    assert_eq!(store.blob(&Digest::of(b"other")).unwrap(), None);
    assert_eq!(fs::read_dir(root.path().join("v1/tmp")).unwrap().count(), 0);
}

#[test]
fn a_dropped_tree_leaves_nothing() {
    let (root, store) = store();
    let active = store.prepare(None).unwrap();
    let locked = active.upper().join("locked");
    fs::create_dir_all(locked.join("deep")).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0)).unwrap();
    drop(active);
    for place in ["active", "tmp", "snapshots"] {
        assert_eq!(fs::read_dir(root.path().join("v1").join(place)).unwrap().count(), 0, "{place}");
    }
}

#[test]
fn the_root_of_a_tree_from_nothing_is_always_the_same() {
    let (_root, store) = store();
    if !can_mount(&store) {
        return;
    }
    let snapshot = step(&store, None, |tree| fs::write(tree.join("a"), "1").unwrap());
    let tree = snapshot.mount(&store).unwrap();
    let root = fs::metadata(tree.path()).unwrap();
    assert_eq!((root.mode() & 0o7777, root.uid(), root.gid(), root.mtime()), (0o755, 0, 0, 0));
    assert!(fs::write(tree.path().join("b"), "").is_err(), "it is read-only");
}

#[test]
fn a_layer_tells_exactly_what_changed() {
    let (_root, store) = store();
    if !can_mount(&store) {
        return;
    }
    let base = Archive::new()
        .directory("etc/")
        .file("etc/passwd", "root")
        .file("etc/shadow", "x")
        .directory("d/")
        .file("d/a", "a")
        .file("d/b", "b")
        .directory("d/sub/")
        .file("d/sub/c", "c")
        .directory("quiet/")
        .file("quiet/file", "q")
        .file("gone", "g")
        .unpack(&store, None)
        .unwrap();
    let next = step(&store, Some(&base), |tree| {
        fs::write(tree.join("etc/passwd"), "root\nuser").unwrap();
        fs::remove_file(tree.join("gone")).unwrap();
        fs::remove_dir_all(tree.join("d")).unwrap();
        fs::create_dir(tree.join("d")).unwrap();
        fs::write(tree.join("d/b"), "new").unwrap();
        fs::write(tree.join("quiet/stub"), "").unwrap();
        fs::remove_file(tree.join("quiet/stub")).unwrap();
        fs::write(tree.join("one"), "1").unwrap();
        fs::hard_link(tree.join("one"), tree.join("two")).unwrap();
        fs::hard_link(tree.join("etc/shadow"), tree.join("shadow")).unwrap();
        std::os::unix::fs::symlink("one", tree.join("link")).unwrap();
        std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    });
    assert_eq!(
        listing(&store, &next),
        [
            "d/.wh.a", "d/b", "d/.wh.sub", "etc/", "etc/passwd", ".wh.gone", "link -> one", "one", "shadow", "two -> one"
        ]
        .map(|line| line.to_owned())
        .into_iter()
        .flat_map(|line| if line == "d/.wh.a" { vec!["d/".to_owned(), line] } else { vec![line] })
        .collect::<Vec<_>>()
    );
    // What was told can be unpacked again and shows the same.
    let layer = store.layer(&next, Compression::default(), false).unwrap();
    let content = fs::File::open(&layer.path).unwrap();
    let again = store.unpack(Some(&base), &layer.descriptor, layer.diff_id, content, &|_| {}).unwrap();
    let tree = again.mount(&store).unwrap();
    let mut names: Vec<_> = fs::read_dir(tree.path().join("d")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["b"]);
    assert_eq!(read(&tree, "etc/passwd"), "root\nuser");
    assert!(!tree.path().join("gone").exists());
    let inode = |name: &str| fs::metadata(tree.path().join(name)).unwrap().ino();
    assert_eq!(inode("one"), inode("two"));
}

#[test]
fn the_same_changes_give_the_same_layer_in_every_compression() {
    let (_root, store) = store();
    let make = || {
        let active = store.prepare(None).unwrap();
        for name in ["b", "a", "c"] {
            let path = active.upper().join(name);
            fs::write(&path, name.repeat(700_000)).unwrap();
            fs::File::open(&path).unwrap().set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(5)).unwrap();
        }
        active.commit().unwrap()
    };
    let (one, two) = (make(), make());
    for compression in ["uncompressed", "gzip", "zstd"] {
        let compression: Compression = compression.parse().unwrap();
        let (a, b) = (store.layer(&one, compression, false).unwrap(), store.layer(&two, compression, false).unwrap());
        assert_eq!(a, b);
        assert_eq!((a.newest, a.foreign), (5, false));
        assert_eq!(a.descriptor.digest, Digest::of(&fs::read(&a.path).unwrap()));
        assert_eq!(a, store.layer(&one, compression, false).unwrap());
        // The unpacked layer proves that the bytes are the archive that the diff-id names.
        let content = fs::File::open(&a.path).unwrap();
        store.unpack_layer(&a.descriptor, a.diff_id, content, &|_| {}).unwrap();
    }
    assert!("brotli".parse::<Compression>().is_err());
}

#[test]
fn the_layer_of_a_base_image_stays_the_blob_it_came_in() {
    let (_root, store) = store();
    let plain = Archive::new().file("a", "1").bytes();
    let diff_id = DiffId(Digest::of(&plain));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&plain).unwrap();
    // Two members, as some tools write.
    let mut blob = gzip.finish().unwrap();
    blob.extend(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best()).finish().unwrap());
    let descriptor = Descriptor::of(media_type::DOCKER_LAYER_GZIP, &blob);
    let moved = std::cell::Cell::new(0);
    let snapshot = store.unpack(None, &descriptor, diff_id, blob.as_slice(), &|n| moved.set(moved.get() + n)).unwrap();
    assert_eq!(moved.get(), blob.len() as u64);
    let layer = store.layer(&snapshot, Compression::Zstd { level: None }, false).unwrap();
    assert_eq!((&layer.descriptor, layer.diff_id, layer.foreign, layer.newest), (&descriptor, diff_id, true, 1000));
    let forced = store.layer(&snapshot, Compression::Zstd { level: None }, true).unwrap();
    assert_eq!((forced.descriptor.media_type.as_str(), forced.foreign), (media_type::LAYER_ZSTD, false));
    // Known stacks are not read again.
    let again = store.unpack(None, &descriptor, diff_id, std::io::empty(), &|_| {}).unwrap();
    assert_eq!(again.id(), snapshot.id());
    assert_eq!(store.chain(&again.chain_id().unwrap()).unwrap().unwrap().id(), snapshot.id());
}

#[test]
fn bytes_that_are_not_the_layer_announced_are_refused() {
    let (root, store) = store();
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
        ("other diff-id", &bytes[..], DiffId(Digest::of(b"")), "the image configuration says"),
    ] {
        let error = store.unpack(None, &descriptor, diff_id, content, &|_| {}).unwrap_err();
        assert!(error.to_string().contains(words), "{what}: {error}");
    }
    assert_eq!(fs::read_dir(root.path().join("v1/active")).unwrap().count(), 0);
    let noise = vec![7; 2048];
    let error = store
        .unpack(None, &Descriptor::of(media_type::LAYER, &noise), DiffId(Digest::of(&noise)), &noise[..], &|_| {})
        .unwrap_err();
    assert!(matches!(error, cache::Error::Archive { .. }), "{error}");
}

#[test]
fn nothing_escapes_the_directory_of_a_layer() {
    let (root, store) = store();
    let outside = root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "untouched").unwrap();
    let out = outside.to_str().unwrap();
    let up = "../".repeat(20);
    let cases = [
        Archive::new().file(&format!("{up}{out}/file"), "evil"),
        Archive::new().file(&format!("{out}/file"), "evil"),
        Archive::new().symlink("s", out).file("s/file", "evil"),
        Archive::new().symlink("s", &format!("{up}{out}")).file("s/file", "evil"),
        Archive::new().symlink("file", &format!("{out}/file")).file("file", "evil"),
        Archive::new().hard_link("h", &format!("{out}/file")).file("h", "evil"),
        Archive::new().symlink("s", out).hard_link("h", "s/file").file("h", "evil"),
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
fn removals_hide_what_is_below() {
    let (_root, store) = store();
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
    for (name, there) in
        [("d/old", false), ("d/new", true), ("f", false), ("e/old", false), ("e/new", true), ("g", true)]
    {
        assert_eq!(tree.path().join(name).exists(), there, "{name}");
    }
    assert_eq!(read(&tree, "g"), "2");
    drop(tree);
    // A single layer with removals shows none of them.
    let lonely = Archive::new().file(".wh.x", "").file("y", "").unpack(&store, None).unwrap();
    let tree = lonely.mount(&store).unwrap();
    assert_eq!(fs::read_dir(tree.path()).unwrap().count(), 1);
}

#[test]
fn a_later_layer_takes_after_the_one_below_and_links_into_it() {
    let (_root, store) = store();
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
    let next = Archive::new().file("secret/g", "2").hard_link("h", "secret/f").unpack(&store, Some(&base)).unwrap();
    let tree = next.mount(&store).unwrap();
    assert_eq!(read(&tree, "h"), "content");
    assert_eq!(fs::metadata(tree.path().join("secret")).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(tree.path()).unwrap().mtime(), 1000);
    let error = Archive::new().hard_link("h", "nowhere").unpack(&store, Some(&base)).unwrap_err();
    assert!(error.to_string().contains("does not exist"), "{error}");
}

#[test]
fn many_layers_stack() {
    let (_root, store) = store();
    if !can_mount(&store) {
        return;
    }
    let mut top = None;
    for number in 0..150 {
        let active = store.prepare(top.as_ref()).unwrap();
        fs::write(active.upper().join(format!("f{number}")), "").unwrap();
        top = Some(active.commit().unwrap());
    }
    let top = top.unwrap();
    assert_eq!(top.stack().len(), 150);
    let tree = top.mount(&store).unwrap();
    assert_eq!(fs::read_dir(tree.path()).unwrap().count(), 150);
}

#[test]
fn a_key_leads_to_its_snapshot_also_by_another_name_and_after_reopening() {
    let (root, store) = store();
    let snapshot = store.prepare(None).unwrap().commit().unwrap();
    let components = vec![("instruction".to_owned(), "RUN \"x\"".to_owned()), ("base".to_owned(), "1".to_owned())];
    assert!(store.lookup(&key("a")).unwrap().is_none());
    store.record(&key("a"), &components, "RUN x", &snapshot).unwrap();
    store.alias(&key("b"), &key("a")).unwrap();
    let other = Store::open(root.path()).unwrap();
    for name in ["a", "b"] {
        let record = other.lookup(&key(name)).unwrap().unwrap();
        assert_eq!((record.key, record.snapshot.id()), (key("a"), snapshot.id()));
    }
    assert_eq!(other.components_of_latest("RUN x").unwrap(), Some(components));
    assert_eq!(other.components_of_latest("RUN y").unwrap(), None);
}

#[test]
fn a_lock_is_held_by_one_at_a_time() {
    let (root, store) = store();
    let other = Store::open(root.path()).unwrap();
    let lock = store.lock(&key("a")).unwrap();
    assert!(other.try_lock(&key("a")).unwrap().is_none());
    assert!(other.try_lock(&key("b")).unwrap().is_some());
    let waiting = std::thread::spawn(move || drop(other.lock(&key("a")).unwrap()));
    drop(lock);
    waiting.join().unwrap();
    assert!(store.try_lock(&key("a")).unwrap().is_some());
}

#[test]
fn pruning_keeps_what_named_images_need() {
    let (root, store) = store();
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
    let layers: Vec<_> = [&below, &kept].map(|s| store.layer(s, Compression::default(), false).unwrap()).into();
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

    let young = Prune { older_than: Some(std::time::Duration::from_secs(3600)), ..Prune::default() };
    assert!(store.prune(&young).unwrap().removed.is_empty());
    let roomy = Prune { all: true, keep_storage: Some(1 << 40), ..Prune::default() };
    assert!(store.prune(&roomy).unwrap().removed.is_empty());

    let pruned = store.prune(&Prune::default()).unwrap();
    let mut removed: Vec<_> = pruned.removed.iter().map(|usage| usage.id.clone()).collect();
    removed.sort();
    let mut expected = vec![lost.id().to_string(), stray.digest.to_string()];
    expected.sort();
    assert_eq!(removed, expected);
    assert!(!lost.directory().exists() && store.lookup(&key("lost")).unwrap().is_none());
    assert!(store.lookup(&key("kept")).unwrap().is_some());

    let pruned = store.prune(&Prune { all: true, ..Prune::default() }).unwrap();
    assert_eq!(pruned.removed.len(), 2, "both snapshots: {pruned:?}");
    for layer in &layers {
        assert!(layer.path.exists());
    }
    assert!(store.untag(&name).unwrap() && !store.untag(&name).unwrap());
    store.prune(&Prune::default()).unwrap();
    assert_eq!(fs::read_dir(root.path().join("v1/blobs/sha256")).unwrap().count(), 0);
    assert!(store.usage().unwrap().is_empty());
}

#[test]
fn pruning_waits_for_other_processes() {
    let (root, store) = store();
    let other = Store::open(root.path()).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let pruning = std::thread::spawn(move || store.prune_telling(&Prune::default(), &|| tell.send(()).unwrap()));
    told.recv().unwrap();
    assert!(!pruning.is_finished());
    drop(other);
    pruning.join().unwrap().unwrap();
}

/// Not a test by itself: what the processes do that the tests below start.
#[test]
fn child() {
    let (Ok(root), Ok(task)) = (std::env::var("STORE_TEST_ROOT"), std::env::var("STORE_TEST_TASK")) else {
        return;
    };
    let store = Store::open(Path::new(&root)).unwrap();
    for round in 0..if task == "forever" { usize::MAX } else { 25 } {
        let key = key(&format!("{round}"));
        let _lock = store.lock(&key).unwrap();
        if store.lookup(&key).unwrap().is_some() {
            continue;
        }
        let active = store.prepare(None).unwrap();
        for file in 0..10 {
            fs::write(active.upper().join(format!("{file}")), format!("{round}")).unwrap();
        }
        let snapshot = active.commit().unwrap();
        store.record(&key, &[], "child", &snapshot).unwrap();
        store.layer(&snapshot, Compression::default(), false).unwrap();
        let _unfinished = store.prepare(Some(&snapshot)).unwrap();
    }
}

fn spawn(root: &Path, task: &str) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env("STORE_TEST_ROOT", root)
        .env("STORE_TEST_TASK", task)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn four_processes_do_equal_work_once() {
    let root = TempDir::new().unwrap();
    let children: Vec<_> = (0..4).map(|_| spawn(root.path(), "some")).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let store = Store::open(root.path()).unwrap();
    assert_eq!(fs::read_dir(root.path().join("v1/snapshots")).unwrap().count(), 25);
    for round in 0..25 {
        let record = store.lookup(&key(&format!("{round}"))).unwrap().unwrap();
        assert_eq!(fs::read_to_string(record.snapshot.directory().join("9")).unwrap(), format!("{round}"));
    }
}

#[test]
fn a_killed_process_leaves_nothing_that_counts() {
    let root = TempDir::new().unwrap();
    for delay in [30, 55, 80, 105, 130] {
        let mut child = spawn(root.path(), "forever");
        std::thread::sleep(std::time::Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let store = Store::open(root.path()).unwrap();
    for round in 0.. {
        let Some(record) = store.lookup(&key(&format!("{round}"))).unwrap() else {
            break;
        };
        assert_eq!(fs::read_dir(record.snapshot.directory()).unwrap().count(), 10);
    }
    // Sweeping happens beside the work; a store that is closed and opened again has had its time.
    let count = |place: &str| fs::read_dir(root.path().join("v1").join(place)).unwrap().count();
    for _ in 0..100 {
        if count("active") + count("tmp") == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!((count("active"), count("tmp"), count("leases")), (0, 0, 1));
    store.prune(&Prune::default()).unwrap();
    assert_eq!((count("snapshots"), count("blobs/sha256")), (0, 0));
}

#[test]
fn opening_again_is_quick() {
    let (root, _store) = store();
    let start = std::time::Instant::now();
    for _ in 0..10 {
        Store::open(root.path()).unwrap();
    }
    eprintln!("opening takes {:?}", start.elapsed() / 10);
    assert!(start.elapsed().as_millis() < 1000);
}

#[test]
fn a_foreign_index_is_refused() {
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("v1")).unwrap();
    fs::write(root.path().join("v1/index.db"), "this is no database, but a text long enough".repeat(100)).unwrap();
    assert!(Store::open(root.path()).is_err());
    let mut text = String::new();
    fs::File::open(root.path().join("v1/index.db")).unwrap().read_to_string(&mut text).unwrap();
    assert!(text.starts_with("this is no database"));
}

//! Trees without mounts: the same changes, found by looking.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache::{Compression, Error, Fsck, Ownership, Repair, Snapshot, Store, Views};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use tempfile::TempDir;

use crate::{Archive, can_mount, can_own, listing, new_store, read};

fn copying(root: &Path) -> Store {
    Store::open_viewing(root, Ownership::Kept, Views::Copied).unwrap()
}

fn new_copying_store() -> (TempDir, Store) {
    let root = TempDir::new().unwrap();
    let store = copying(root.path());
    (root, store)
}

/// A snapshot made by `change` in a tree on `parent` that is closed, with times that are the same in every run.
fn step(store: &Store, parent: Option<&Snapshot>, change: impl FnOnce(&Path)) -> Snapshot {
    let active = store.prepare(parent).unwrap();
    let tree = active.mount().unwrap();
    change(tree.path());
    date(tree.path());
    tree.close().unwrap();
    active.commit().unwrap()
}

/// Gives all that is new one date.
fn date(path: &Path) {
    let metadata = fs::symlink_metadata(path).unwrap();
    if metadata.is_dir() {
        fs::read_dir(path)
            .unwrap()
            .for_each(|entry| date(&entry.unwrap().path()));
    }
    if metadata.modified().unwrap() > SystemTime::now() - Duration::from_secs(3600) {
        let time = Timespec {
            tv_sec: 2000,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// Two layers of an image; who may not unpack what is root's makes the same by hand.
fn base(store: &Store) -> Snapshot {
    if !rustix::process::geteuid().is_root() {
        return base_by_hand(store);
    }
    let lower = Archive::new()
        .directory("etc/")
        .file("etc/passwd", "root")
        .file("etc/motd", "hello")
        .file("etc/untouched", "same")
        .directory("d/")
        .file("d/a", "a")
        .file("d/b", "b")
        .directory("d/sub/")
        .file("d/sub/c", "c")
        .directory("moved/")
        .file("moved/one", "1")
        .file("moved/two", "2")
        .directory("emptied/")
        .file("emptied/x", "x")
        .directory("tree/")
        .file("tree/leaf", "leaf")
        .file("plain", "plain")
        .file("tool", "tool")
        .file("line\nbreak", "n")
        .file("linked", "twice")
        .hard_link("again", "linked")
        .symlink("link", "plain")
        .unpack(store, None)
        .unwrap();
    Archive::new()
        .directory("d/")
        .file("d/b", "b above")
        .file(".wh.gone", "")
        .directory("later/")
        .file("later/f", "f")
        .unpack(store, Some(&lower))
        .unwrap()
}

fn base_by_hand(store: &Store) -> Snapshot {
    let fill = |parent: Option<&Snapshot>, files: &[(&str, &str)]| {
        let active = store.prepare(parent).unwrap();
        for (name, text) in files {
            let path = active.upper().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        if parent.is_none() {
            fs::hard_link(active.upper().join("linked"), active.upper().join("again")).unwrap();
            symlink("plain", active.upper().join("link")).unwrap();
        }
        date(active.upper());
        active.commit().unwrap()
    };
    let lower = [
        ("etc/passwd", "root"),
        ("etc/motd", "hello"),
        ("etc/untouched", "same"),
        ("d/a", "a"),
        ("d/b", "b"),
        ("d/sub/c", "c"),
        ("moved/one", "1"),
        ("moved/two", "2"),
        ("emptied/x", "x"),
        ("tree/leaf", "leaf"),
        ("plain", "plain"),
        ("tool", "tool"),
        ("line\nbreak", "n"),
        ("linked", "twice"),
    ];
    let lower = fill(None, &lower);
    fill(Some(&lower), &[("d/b", "b above"), ("later/f", "f")])
}

type Change = fn(&Path);

/// What steps do, each on what the one before left.
const STEPS: [(&str, Change); 8] = [
    ("files new, changed and removed", |tree| {
        fs::write(tree.join("etc/passwd"), "root\nuser").unwrap();
        fs::write(tree.join("new"), "new").unwrap();
        fs::write(tree.join("line\nfeed"), "f").unwrap();
        fs::remove_file(tree.join("line\nbreak")).unwrap();
        fs::create_dir_all(tree.join("deep/er/and")).unwrap();
        fs::write(tree.join("deep/er/and/deeper"), "here").unwrap();
        fs::write(tree.join("etc/stub"), "").unwrap();
        fs::remove_file(tree.join("etc/stub")).unwrap();
    }),
    ("a directory by another of its name", |tree| {
        fs::remove_dir_all(tree.join("d")).unwrap();
        fs::create_dir(tree.join("d")).unwrap();
        fs::write(tree.join("d/b"), "new").unwrap();
    }),
    ("a file by a directory and the other way round", |tree| {
        fs::remove_file(tree.join("plain")).unwrap();
        fs::create_dir(tree.join("plain")).unwrap();
        fs::write(tree.join("plain/inside"), "i").unwrap();
        fs::remove_dir_all(tree.join("tree")).unwrap();
        fs::write(tree.join("tree"), "a file").unwrap();
    }),
    ("links of both kinds, a pipe, a socket", |tree| {
        fs::hard_link(tree.join("etc/motd"), tree.join("motd")).unwrap();
        fs::write(tree.join("first"), "1").unwrap();
        fs::hard_link(tree.join("first"), tree.join("second")).unwrap();
        fs::remove_file(tree.join("link")).unwrap();
        symlink("tool", tree.join("link")).unwrap();
        symlink("nowhere", tree.join("dangling")).unwrap();
        for (name, kind) in [("pipe", FileType::Fifo), ("socket", FileType::Socket)] {
            rustix::fs::mknodat(CWD, tree.join(name), kind, Mode::from_raw_mode(0o640), 0).unwrap();
        }
    }),
    ("modes alone", |tree| {
        fs::set_permissions(tree.join("tool"), Permissions::from_mode(0o4755)).unwrap();
        fs::set_permissions(tree.join("etc"), Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(tree.join("etc/passwd"), Permissions::from_mode(0o600)).unwrap();
    }),
    ("attributes alone", |tree| {
        let set = |name: &str, value| rustix::fs::setxattr(tree.join(name), "user.x", value, XattrFlags::empty());
        set("tool", &b"v"[..]).unwrap();
        set("later", b"d").unwrap();
    }),
    ("a directory emptied, one moved", |tree| {
        fs::remove_file(tree.join("emptied/x")).unwrap();
        let moved = Command::new("mv")
            .arg(tree.join("moved"))
            .arg(tree.join("there"))
            .status();
        assert!(moved.unwrap().success());
    }),
    ("what earlier steps made", |tree| {
        fs::remove_dir_all(tree.join("deep/er")).unwrap();
        fs::remove_file(tree.join("etc/motd")).unwrap();
        fs::remove_file(tree.join("tree")).unwrap();
        fs::create_dir(tree.join("tree")).unwrap();
        fs::write(tree.join("there/one"), "changed").unwrap();
        fs::rename(tree.join("deep"), tree.join("shallow")).unwrap_or_else(|_| {
            // A mount does not rename what is below it.
            fs::remove_dir(tree.join("deep")).unwrap();
            fs::create_dir(tree.join("shallow")).unwrap();
        });
    }),
];

/// The diff-ids of a chain of all steps, with what each layer tells.
fn chain(store: &Store) -> Vec<(&'static str, Vec<String>, String)> {
    let mut top = base(store);
    let mut made = Vec::new();
    for (name, change) in STEPS {
        top = step(store, Some(&top), change);
        let layer = store.layer(&top, Compression::Uncompressed, false).unwrap();
        made.push((name, listing(store, &top), layer.diff_id.0.to_string()));
    }
    made
}

#[test]
fn the_same_changes_give_the_same_layers_as_in_a_mount() {
    let (_mounting_root, mounting) = new_store();
    if !can_own() || !can_mount(&mounting) {
        return;
    }
    let (_root, store) = new_copying_store();
    let (mounted, copied) = (chain(&mounting), chain(&store));
    for (mounted, copied) in mounted.iter().zip(&copied) {
        assert_eq!(mounted, copied);
    }
    assert_eq!(mounted.len(), STEPS.len());
}

/// The same where nothing can be mounted to compare with.
#[test]
fn layers_tell_what_changed_in_a_copy() {
    let (_root, store) = new_copying_store();
    let made = chain(&store);
    let told: Vec<&[String]> = made.iter().map(|(_, told, _)| told.as_slice()).collect();
    let none: [&str; 0] = [];
    assert_eq!(
        told[0],
        [
            "deep/",
            "deep/er/",
            "deep/er/and/",
            "deep/er/and/deeper",
            "etc/",
            "etc/passwd",
            ".wh.line\nbreak",
            "line\nfeed",
            "new"
        ]
    );
    assert_eq!(told[1], ["d/", "d/.wh.a", "d/b", "d/.wh.sub"]);
    assert_eq!(told[2], ["plain/", "plain/inside", "tree"]);
    assert_eq!(
        told[3],
        [
            "dangling -> nowhere",
            "first",
            "link -> tool",
            "motd",
            "pipe",
            "second -> first"
        ]
    );
    assert_eq!(told[4], ["etc/", "etc/passwd", "tool"]);
    assert_eq!(told[5], none, "layers know no other attributes than capabilities");
    assert_eq!(
        told[6],
        [
            "emptied/",
            "emptied/.wh.x",
            ".wh.moved",
            "there/",
            "there/one",
            "there/two"
        ]
    );
    assert_eq!(
        told[7],
        [
            ".wh.deep",
            "etc/",
            "etc/.wh.motd",
            "shallow/",
            "there/",
            "there/one",
            "tree/"
        ]
    );
}

#[test]
fn a_chain_of_steps_goes_on_in_one_copy() {
    let (_root, store) = new_copying_store();
    let mut top = base(&store);
    let mut inodes = Vec::new();
    for number in 0..3 {
        let active = store.prepare(Some(&top)).unwrap();
        let tree = active.mount().unwrap();
        inodes.push(fs::metadata(tree.path().join("etc/untouched")).unwrap().ino());
        for before in 0..number {
            assert_eq!(read(&tree, &format!("made by {before}")), "text");
            assert_eq!(read(&tree, "etc/passwd"), format!("root{}", "x".repeat(number)));
        }
        assert!(!tree.path().join("d/a").exists() || number == 0);
        fs::write(tree.path().join(format!("made by {number}")), "text").unwrap();
        let mut file = File::options()
            .append(true)
            .open(tree.path().join("etc/passwd"))
            .unwrap();
        file.write_all(b"x").unwrap();
        if number == 0 {
            fs::remove_file(tree.path().join("d/a")).unwrap();
        }
        tree.close().unwrap();
        top = active.commit().unwrap();
    }
    assert!(inodes.iter().all(|inode| *inode == inodes[0]), "{inodes:?}");
    // Each snapshot is as it was left.
    for (number, snapshot) in top.stack()[2..].iter().enumerate() {
        let text = fs::read_to_string(snapshot.directory().join("etc/passwd")).unwrap();
        assert_eq!(text, format!("root{}", "x".repeat(number + 1)));
        assert!(!snapshot.directory().join("etc/untouched").exists());
    }
    assert_eq!(
        fs::read_to_string(top.stack()[0].directory().join("etc/passwd")).unwrap(),
        "root"
    );
}

#[test]
fn two_children_of_one_parent_do_not_meet() {
    let (_root, store) = new_copying_store();
    let parent = step(&store, Some(&base(&store)), |tree| {
        fs::write(tree.join("shared"), "p").unwrap();
    });
    let (one, two) = (
        store.prepare(Some(&parent)).unwrap(),
        store.prepare(Some(&parent)).unwrap(),
    );
    let (first, second) = (one.mount().unwrap(), two.mount().unwrap());
    fs::write(first.path().join("shared"), "first").unwrap();
    fs::remove_file(first.path().join("d/a")).unwrap();
    assert_eq!(
        (read(&second, "shared"), read(&second, "d/a")),
        ("p".into(), "a".into())
    );
    fs::write(second.path().join("second"), "2").unwrap();
    second.close().unwrap();
    first.close().unwrap();
    let (one, two) = (one.commit().unwrap(), two.commit().unwrap());
    assert_eq!(listing(&store, &one), ["d/", "d/.wh.a", "shared"]);
    assert_eq!(listing(&store, &two), ["second"]);
    let (one, two) = (one.mount(&store).unwrap(), two.mount(&store).unwrap());
    assert_eq!(
        (read(&one, "shared"), read(&two, "shared")),
        ("first".into(), "p".into())
    );
    assert!(!one.path().join("second").exists() && !one.path().join("d/a").exists());
}

#[test]
fn who_reads_a_snapshot_reads_one_copy_and_nothing_is_mounted() {
    let (root, store) = new_copying_store();
    let base = base(&store);
    let bottom = base.parent().unwrap();
    assert_eq!(
        bottom.mount(&store).unwrap().path(),
        bottom.directory(),
        "it is the tree"
    );
    let next = step(&store, Some(&base), |tree| fs::remove_file(tree.join("plain")).unwrap());
    let (one, two) = (next.mount(&store).unwrap(), next.mount(&store).unwrap());
    assert_eq!(one.path(), two.path());
    assert_eq!(
        (read(&one, "d/b"), read(&one, "later/f")),
        ("b above".into(), "f".into())
    );
    assert!(!one.path().join("plain").exists());
    let names = |name: &str| fs::metadata(one.path().join(name)).unwrap().ino();
    assert_eq!(names("linked"), names("again"));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(root.path().to_str().unwrap()), "{mounts}");
    let path = one.path().to_owned();
    drop((one, two));
    // The next step works where others have read.
    let active = store.prepare(Some(&next)).unwrap();
    let tree = active.mount().unwrap();
    assert!(!path.exists() && tree.path().join("etc/untouched").exists());
}

#[test]
fn what_is_written_in_place_with_its_old_date_is_found() {
    let (_root, store) = new_copying_store();
    let base = base(&store);
    let next = step(&store, Some(&base), |tree| {
        let path = tree.join("etc/motd");
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        (&file).write_all(b"HELLO").unwrap();
        file.set_modified(before).unwrap();
        // Moved away and back, as if by a hand that makes room: no change.
        fs::rename(tree.join("etc/passwd"), tree.join("aside")).unwrap();
        fs::rename(tree.join("aside"), tree.join("etc/passwd")).unwrap();
    });
    assert_eq!(listing(&store, &next), ["etc/", "etc/motd"]);
    assert!(!next.directory().join("etc/passwd").exists());
    let below = base.parent().unwrap().directory();
    assert_eq!(fs::read_to_string(below.join("etc/motd")).unwrap(), "hello");
}

#[test]
fn a_capability_goes_with_its_file() {
    if !can_own() {
        return;
    }
    // Revision 2, effective, `CAP_NET_RAW`.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (_root, store) = new_copying_store();
    let next = step(&store, Some(&base(&store)), |tree| {
        let set = rustix::fs::setxattr(
            tree.join("tool"),
            "security.capability",
            &capability,
            XattrFlags::empty(),
        );
        set.unwrap();
    });
    assert_eq!(listing(&store, &next), ["tool"]);
    let over = step(&store, Some(&next), |tree| fs::write(tree.join("f"), "").unwrap());
    let (store, over) = (copying(store.root()), over.id());
    let tree = store.snapshot(&over).unwrap().unwrap().mount(&store).unwrap();
    let mut value = [0; 20];
    rustix::fs::getxattr(tree.path().join("tool"), "security.capability", &mut value[..]).unwrap();
    assert_eq!(value, capability);
}

#[test]
fn changes_laid_over_trees_show_in_copies() {
    let (_root, store) = new_copying_store();
    let base = base(&store);
    let active = store.prepare(None).unwrap();
    fs::create_dir(active.upper().join("d")).unwrap();
    fs::write(active.upper().join("d/b"), "linked").unwrap();
    let changes = active.commit().unwrap();
    let over = store.lay_over(&base, &changes).unwrap();
    let tree = over.mount(&store).unwrap();
    assert_eq!((read(&tree, "d/a"), read(&tree, "d/b")), ("a".into(), "linked".into()));
    drop(tree);
    let next = step(&store, Some(&over), |tree| fs::remove_file(tree.join("d/b")).unwrap());
    assert_eq!(listing(&store, &next), ["d/", "d/.wh.b"]);
    let twice = store.lay_over(&next, &changes).unwrap();
    assert_eq!(read(&twice.mount(&store).unwrap(), "d/b"), "linked");
    assert_eq!(fs::read_to_string(changes.directory().join("d/b")).unwrap(), "linked");
}

#[test]
fn a_store_filled_by_copies_is_mounted_and_the_other_way_round() {
    let (root, mounting) = new_store();
    if !can_own() || !can_mount(&mounting) {
        return;
    }
    let copies = copying(root.path());
    let one = step(&copies, Some(&base(&copies)), STEPS[1].1);
    let found = mounting.snapshot(&one.id()).unwrap().unwrap();
    let two = step(&mounting, Some(&found), STEPS[2].1);
    assert_eq!(listing(&mounting, &two), ["plain/", "plain/inside", "tree"]);
    let tree = two.mount(&mounting).unwrap();
    assert_eq!(read(&tree, "d/b"), "new");
    assert!(!tree.path().join("d/a").exists());
    let copies = copying(root.path());
    let tree = copies.snapshot(&two.id()).unwrap().unwrap().mount(&copies).unwrap();
    assert_eq!(
        (read(&tree, "d/b"), read(&tree, "plain/inside")),
        ("new".into(), "i".into())
    );
    assert!(!tree.path().join("d/a").exists());
}

/// How many entries the store has in the places of what is unfinished, once removing has had its time.
fn unfinished(root: &Path) -> usize {
    let count = |place: &str| fs::read_dir(root.join("v1").join(place)).unwrap().count();
    for _ in 0..200 {
        if count("active") + count("tmp") == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    count("active") + count("tmp")
}

#[test]
fn a_tree_that_is_dropped_leaves_nothing() {
    let (root, store) = new_copying_store();
    let active = store.prepare(None).unwrap();
    fs::write(active.upper().join("f"), "f").unwrap();
    let parent = active.commit().unwrap();
    let active = store.prepare(Some(&parent)).unwrap();
    let tree = active.mount().unwrap();
    fs::write(tree.path().join("f"), "changed").unwrap();
    fs::write(tree.path().join("g"), "g").unwrap();
    drop(tree);
    assert_eq!(fs::read_dir(active.upper()).unwrap().count(), 0);
    let tree = active.mount().unwrap();
    assert_eq!((read(&tree, "f"), tree.path().join("g").exists()), ("f".into(), false));
    drop((tree, active));
    assert_eq!(unfinished(root.path()), 0);
    // What is kept for the next goes with the store.
    step(&store, Some(&parent), |tree| fs::write(tree.join("g"), "g").unwrap());
    drop(store);
    assert_eq!(unfinished(root.path()), 0);
}

#[test]
fn a_second_tree_shows_what_the_first_left() {
    let (_root, store) = new_copying_store();
    let active = store.prepare(None).unwrap();
    fs::write(active.upper().join("a"), "a").unwrap();
    fs::write(active.upper().join("b"), "b").unwrap();
    let parent = active.commit().unwrap();
    let active = store.prepare(Some(&parent)).unwrap();
    let tree = active.mount().unwrap();
    fs::remove_file(tree.path().join("a")).unwrap();
    fs::write(tree.path().join("c"), "c").unwrap();
    tree.close().unwrap();
    let tree = active.mount().unwrap();
    assert!(!tree.path().join("a").exists());
    assert_eq!(read(&tree, "c"), "c");
    fs::remove_file(tree.path().join("c")).unwrap();
    fs::write(tree.path().join("a"), "a again").unwrap();
    tree.close().unwrap();
    let next = active.commit().unwrap();
    assert_eq!(listing(&store, &next), ["a"]);
}

/// Not a test by itself: a process that is killed.
#[test]
fn child() {
    let Ok(root) = std::env::var("STORE_TEST_COPY") else {
        return;
    };
    let store = copying(Path::new(&root));
    let active = store.prepare(None).unwrap();
    for file in 0..300 {
        fs::write(active.upper().join(format!("{file}")), "text").unwrap();
    }
    let mut top = active.commit().unwrap();
    loop {
        top = step(&store, Some(&top), |tree| fs::write(tree.join("f"), "f").unwrap());
        let _lent = top.mount(&store).unwrap();
    }
}

#[test]
fn what_a_killed_process_copied_is_swept_by_the_next() {
    let root = TempDir::new().unwrap();
    for delay in [40, 90, 150] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "copied::child", "--nocapture"])
            .env("STORE_TEST_COPY", root.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let store = copying(root.path());
    assert_eq!(unfinished(root.path()), 0);
    let mut findings = Vec::new();
    let checked = store.fsck(Fsck {
        repair: Repair::Nothing,
        is_whole: &|_| Ok(true),
        found: &mut |finding| findings.push(format!("{finding:?}")),
        waits: &|| {},
    });
    assert_eq!((checked.unwrap().findings, findings), (0, Vec::new()));
}

#[test]
fn recorded_owners_are_not_copied() {
    let root = TempDir::new().unwrap();
    let refused = Store::open_viewing(root.path(), Ownership::Recorded, Views::Copied);
    assert!(matches!(refused, Err(Error::CopiesOfRecords(_))));
}

/// A mount that goes with the test.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

/// The root of a container is an overlay, which lets nobody make the marks of overlays.
#[test]
fn removals_are_kept_where_the_store_is_on_an_overlay() {
    let folder = TempDir::new().unwrap();
    let place = |name: &str| folder.path().join(name);
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(place(name)).unwrap();
    }
    let options = ["lower", "upper", "work"].map(|name| format!("{name}dir={}", place(name).display()));
    let options = std::ffi::CString::new(options.join(",")).unwrap();
    let merged = place("merged");
    let flags = rustix::mount::MountFlags::empty();
    if rustix::mount::mount("overlay", &merged, "overlay", flags, Some(options.as_c_str())).is_err() {
        eprintln!("skipped: needs CAP_SYS_ADMIN and overlayfs");
        return;
    }
    let _mounted = Mounted(&merged);
    let store = copying(&merged);
    let lower = Archive::new()
        .directory("d/")
        .file("d/a", "a")
        .file("d/b", "b")
        .file("gone", "g")
        .unpack(&store, None)
        .unwrap();
    let base = Archive::new()
        .file(".wh.gone", "")
        .file("e", "e")
        .unpack(&store, Some(&lower))
        .unwrap();
    let mark = base.directory().join("gone");
    assert!(!fs::symlink_metadata(mark).unwrap().file_type().is_char_device());
    let next = step(&store, Some(&base), |tree| {
        assert!(!tree.join("gone").exists());
        fs::remove_file(tree.join("d/a")).unwrap();
        fs::write(tree.join("empty"), "").unwrap();
        fs::set_permissions(tree.join("empty"), Permissions::from_mode(0o0)).unwrap();
    });
    assert_eq!(listing(&store, &next), ["d/", "d/.wh.a", "empty"]);
    let store = copying(&merged);
    let tree = store.snapshot(&next.id()).unwrap().unwrap().mount(&store).unwrap();
    assert!(!tree.path().join("d/a").exists() && !tree.path().join("gone").exists());
    assert!(tree.path().join("empty").exists());
    assert_eq!(
        fs::metadata(tree.path().join("e")).unwrap().modified().unwrap(),
        UNIX_EPOCH + Duration::from_secs(1000)
    );
}

/// A copy has one file of two names where the kernel shows two: what is written to one is in both.
#[test]
fn writing_to_one_of_two_names_changes_both_in_a_copy() {
    let (_root, store) = new_copying_store();
    let next = step(&store, Some(&base(&store)), |tree| {
        fs::write(tree.join("linked"), "both").unwrap();
    });
    assert_eq!(listing(&store, &next), ["again", "linked -> again"]);
}

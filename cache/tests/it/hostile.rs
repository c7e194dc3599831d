//! Layers made by somebody who means harm: each is refused with a reason, or does nothing but what a layer may.

mod headers;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use cache::{Snapshot, Store};
use oci::{Descriptor, DiffId, Digest, media_type};

use crate::raw::Raw;
use crate::{can_own, new_store};

/// What becomes of a layer.
#[derive(Clone, Copy)]
enum Fate {
    /// It is refused in these words.
    Refused(&'static str),
    /// It is unpacked, and nothing bad comes of it.
    Harmless,
}

use Fate::{Harmless, Refused};

fn unpack(store: &Store, parent: Option<&Snapshot>, bytes: &[u8]) -> Result<Snapshot, cache::Error> {
    let layer = Descriptor::of(media_type::LAYER, bytes);
    store.unpack(parent, &layer, DiffId(Digest::of(bytes)), bytes, &|_| {})
}

/// A folder beside the store, with all that an attacker could want to change.
fn sentinel(root: &Path) -> (String, Vec<String>) {
    let outside = root.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "untouched").unwrap();
    fs::set_permissions(outside.join("file"), fs::Permissions::from_mode(0o640)).unwrap();
    let state = state(&outside);
    (outside.to_str().unwrap().to_owned(), state)
}

/// Everything about a folder that could have been changed.
fn state(folder: &Path) -> Vec<String> {
    let mut lines: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .chain([folder.to_owned()])
        .map(|path| {
            let found = fs::symlink_metadata(&path).unwrap();
            let content = fs::read_to_string(&path).unwrap_or_default();
            format!(
                "{path:?} {:o} {}:{} {} {}.{} {content}",
                found.mode(),
                found.uid(),
                found.gid(),
                found.nlink(),
                found.mtime(),
                found.mtime_nsec()
            )
        })
        .collect();
    lines.sort();
    lines
}

/// Tries layers one after the other; says which had another fate than theirs.
fn try_all(cases: Vec<(&str, Raw, Fate)>) {
    if !can_own() {
        return;
    }
    let (root, store) = new_store();
    let (_, before) = sentinel(root.path());
    let mut wrong = Vec::new();
    let (mut refused, mut harmless) = (0, 0);
    for (what, archive, fate) in cases {
        let bytes = archive.bytes();
        let began = Instant::now();
        match (unpack(&store, None, &bytes), fate) {
            (Err(error), Refused(words)) => {
                let said = crate::with_causes(&error);
                let is_plain = !said.chars().any(char::is_control) && said.len() < 6000;
                if !said.contains(words) || !is_plain {
                    wrong.push(format!("{what}: expected `{words}`, was told: {said}"));
                }
                refused += 1;
            }
            (Ok(snapshot), Harmless) => {
                if let Some(problem) = problem_in(&snapshot.directory()) {
                    wrong.push(format!("{what}: {problem}"));
                }
                harmless += 1;
            }
            (Err(error), Harmless) => wrong.push(format!("{what}: refused: {}", crate::with_causes(&error))),
            (Ok(_), Refused(words)) => wrong.push(format!("{what}: accepted, expected `{words}`")),
        }
        if state(&root.path().join("outside")) != before {
            wrong.push(format!("{what}: wrote outside"));
        }
        if fs::read_dir(root.path().join("v1/active")).unwrap().count() != 0 {
            wrong.push(format!("{what}: left something behind"));
        }
        if began.elapsed() > Duration::from_secs(20) {
            wrong.push(format!("{what}: took {:?}", began.elapsed()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    eprintln!("{refused} layers refused, {harmless} harmless");
}

/// Attributes and devices that a layer may not bring.
fn problem_in(folder: &Path) -> Option<String> {
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            let mut names = [0; 4096];
            let length = rustix::fs::llistxattr(&path, &mut names[..]).unwrap_or(0);
            let names = String::from_utf8_lossy(&names[..length]).into_owned();
            let allowed = ["security.capability", "user.overlay.opaque", "security.selinux"];
            if let Some(name) = names.split_terminator('\0').find(|name| !allowed.contains(name)) {
                return Some(format!("{path:?} has the attribute {name}"));
            }
            if found.file_type().is_char_device() && found.rdev() == 0 {
                return Some(format!("{path:?} marks something as removed"));
            }
            if found.is_dir() {
                open.push(path);
            }
        }
    }
    None
}

/// The path of the sentinel as seen from a layer's directory, if that were not the root of all.
fn outside() -> String {
    format!("{}outside", "../".repeat(12))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn names_and_links_lead_nowhere_else() {
    let out = &outside();
    let deep = "d/".repeat(1000);
    try_all(vec![
        (
            "pax path upwards",
            Raw::new()
                .pax("path", format!("{out}/file").as_bytes())
                .file("x", "evil"),
            Harmless,
        ),
        (
            "long name upwards",
            Raw::new()
                .long(b'L', format!("{out}/file\0").as_bytes())
                .file("x", "evil"),
            Harmless,
        ),
        (
            "global path",
            Raw::new()
                .global("path", format!("{out}/file").as_bytes())
                .file("x", "evil"),
            Harmless,
        ),
        (
            "pax link upwards",
            Raw::new()
                .pax("linkpath", format!("{out}/file").as_bytes())
                .link("h", "x")
                .file("h", "evil"),
            Refused("does not exist"),
        ),
        (
            "long link upwards",
            Raw::new().long(b'K', format!("{out}/file\0").as_bytes()).link("h", "x"),
            Refused("does not exist"),
        ),
        (
            "directory becomes a link",
            Raw::new()
                .directory("d")
                .file("d/a", "1")
                .symlink("d", out)
                .file("d/file", "evil"),
            Harmless,
        ),
        (
            "link becomes a directory",
            Raw::new().symlink("d", out).directory("d").file("d/file", "fine"),
            Harmless,
        ),
        (
            "mode through a link",
            Raw::new().symlink("d", out).mode("d", b'5', 0o777),
            Harmless,
        ),
        (
            "hard link to a symlink",
            Raw::new()
                .symlink("s", &format!("{out}/file"))
                .link("h", "s")
                .file("h", "evil"),
            Harmless,
        ),
        (
            "file over a hard link",
            Raw::new().file("a", "good").link("b", "a").file("b", "evil"),
            Harmless,
        ),
        (
            "link through proc",
            Raw::new().symlink("s", "/proc/self/root").file("s/file", "evil"),
            Harmless,
        ),
        (
            "link through descriptors",
            Raw::new().symlink("s", "/proc/self/fd/3").file("s/file", "evil"),
            Harmless,
        ),
        (
            "removal through a link",
            Raw::new().symlink("s", out).file("s/.wh.file", ""),
            Harmless,
        ),
        (
            "opacity through a link",
            Raw::new().symlink("s", out).file("s/.wh..wh..opq", ""),
            Harmless,
        ),
        (
            "links in a circle",
            Raw::new().symlink("a", "b").symlink("b", "a").file("a/x", "evil"),
            Refused("Too many levels"),
        ),
        (
            "a link to nothing that is a link to it",
            Raw::new().symlink("a", "b/c").symlink("b", "a").file("a/x", "evil"),
            Refused("Too many levels"),
        ),
        (
            "a link to nothing above the root",
            Raw::new()
                .symlink("s", &format!("x/../{out}/new"))
                .file("s/file", "evil"),
            Harmless,
        ),
        (
            "a link to nothing in a file",
            Raw::new().file("f", "1").symlink("s", "/f/x").file("s/file", "evil"),
            Refused("`f` above it is no directory"),
        ),
        ("a link to itself", Raw::new().link("a", "a"), Refused("does not exist")),
        (
            "a link to a directory",
            Raw::new().directory("d").link("h", "d"),
            Refused("hard link to a directory"),
        ),
        (
            "a link to the root",
            Raw::new().link("h", "/"),
            Refused("links to the root"),
        ),
        (
            "a link to nothing",
            Raw::new().link("h", ""),
            Refused("links to the root"),
        ),
        (
            "a symlink to nothing",
            Raw::new().symlink("s", ""),
            Refused("symbolic link"),
        ),
        (
            "a symlink of 5000 letters",
            Raw::new().pax("linkpath", &[b'x'; 5000]).symlink("s", ""),
            Refused("5000 bytes"),
        ),
        (
            "a symlink with a zero",
            Raw::new().pax("linkpath", b"a\0b").symlink("s", "x"),
            Refused("zero byte"),
        ),
        (
            "the root as a file",
            Raw::new().file("./", "evil").file("/", "evil"),
            Refused("replace the root"),
        ),
        (
            "the root as a symlink",
            Raw::new().symlink("/", out).file("file", "evil"),
            Refused("replace the root"),
        ),
        (
            "the root as a pipe",
            Raw::new().entry(b"../..", b'6', b"", b""),
            Refused("replace the root"),
        ),
        (
            "an empty name",
            Raw::new().file("", "evil"),
            Refused("replace the root"),
        ),
        (
            "a file in a file",
            Raw::new().file("f", "1").file("f/x", "evil"),
            Refused("`f` above it is no directory"),
        ),
        (
            "a name with a zero",
            Raw::new().pax("path", b"a\0b").file("x", "evil"),
            Refused("zero byte"),
        ),
        (
            "a name of bytes",
            Raw::new().file("x", "").entry(b"a\xff\xfe\n\x1b[2J", b'0', b"", b""),
            Harmless,
        ),
        (
            "a long component",
            Raw::new().pax("path", &[b'x'; 256]).file("x", ""),
            Refused("too long"),
        ),
        (
            "the longest component",
            Raw::new().pax("path", &[b'x'; 255]).file("x", ""),
            Harmless,
        ),
        (
            "a name of 64 KiB",
            Raw::new().long(b'L', &[b'x'; 1 << 16]).file("x", ""),
            Refused("65536 bytes"),
        ),
        (
            "a pax name of 64 KiB",
            Raw::new().pax("path", &[b'x'; 1 << 16]).file("x", ""),
            Refused("65536 bytes"),
        ),
        (
            "a thousand directories",
            Raw::new().pax("path", format!("{deep}f").as_bytes()).file("x", ""),
            Harmless,
        ),
        (
            "a pipe in the way",
            Raw::new()
                .entry(b"p", b'6', b"", b"")
                .file("p", "fine")
                .entry(b"p", b'6', b"", b""),
            Harmless,
        ),
        (
            "everything in one place",
            Raw::new()
                .directory("a")
                .file("a/b", "")
                .file("a", "")
                .symlink("a", "x")
                .directory("a")
                .entry(b"a", b'6', b"", b"")
                .file("a", "end"),
            Harmless,
        ),
    ]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn marks_devices_and_attributes_have_no_power() {
    let attribute = |name: &str, value: &[u8]| {
        let key = format!("SCHILY.xattr.{name}");
        Raw::new()
            .pax(&key, value)
            .directory("d")
            .pax(&key, value)
            .file("d/f", "1")
    };
    try_all(vec![
        (
            "removal of nothing",
            Raw::new().file(".wh.", ""),
            Refused("removes nothing"),
        ),
        (
            "removal of the directory",
            Raw::new().file("d/.wh..", ""),
            Refused("removes nothing"),
        ),
        (
            "removal of the one above",
            Raw::new().file("d/.wh...", ""),
            Refused("removes nothing"),
        ),
        (
            "other marks",
            Raw::new().file(".wh..wh.plnk", "").file("d/.wh..wh.aufs", ""),
            Harmless,
        ),
        ("opacity of nothing", Raw::new().file("a/b/.wh..wh..opq", ""), Harmless),
        (
            "opacity of the root",
            Raw::new().file(".wh..wh..opq", "").file("x", "1"),
            Harmless,
        ),
        (
            "a directory called opaque",
            Raw::new().file(".wh..wh..opq/x", "1"),
            Harmless,
        ),
        (
            "removals, then the thing",
            Raw::new()
                .file(".wh.a", "")
                .file("a", "1")
                .file(".wh.d", "")
                .file("d/x", "1"),
            Harmless,
        ),
        (
            "the thing, then removals",
            Raw::new()
                .file("a", "1")
                .file(".wh.a", "")
                .file(".wh.a", "")
                .directory("d")
                .file(".wh.d", ""),
            Harmless,
        ),
        (
            "a removal as a directory",
            Raw::new().directory(".wh.a").file("b", ""),
            Harmless,
        ),
        (
            "a removal by device",
            Raw::new().device("gone", b'3', 0, 0),
            Refused("0:0"),
        ),
        ("a block device 0:0", Raw::new().device("zero", b'4', 0, 0), Harmless),
        (
            "a device of large numbers",
            Raw::new().device("x", b'3', 0o7_777_777, 0o7_777_777),
            Refused("out of range"),
        ),
        (
            "a removal by overflow",
            Raw::new().device("x", b'3', 1 << 12, 0),
            Refused("out of range"),
        ),
        ("overlay opaque", attribute("user.overlay.opaque", b"y"), Harmless),
        (
            "overlay redirect",
            attribute("user.overlay.redirect", b"/etc"),
            Harmless,
        ),
        ("overlay metacopy", attribute("user.overlay.metacopy", b""), Harmless),
        ("overlay whiteout", attribute("user.overlay.whiteout", b""), Harmless),
        ("trusted overlay", attribute("trusted.overlay.opaque", b"y"), Harmless),
        (
            "trusted redirect",
            attribute("trusted.overlay.redirect", b"/etc"),
            Harmless,
        ),
        ("an ACL", attribute("system.posix_acl_access", &[2, 0, 0, 0]), Harmless),
        ("integrity", attribute("security.ima", &[1; 20]), Harmless),
        ("a user's", attribute("user.note", b"hello"), Harmless),
        (
            "a capability of noise",
            attribute("security.capability", &[0xff; 20]),
            Refused("capability"),
        ),
        (
            "a large capability",
            attribute("security.capability", &[1; 70_000]),
            Refused("capability"),
        ),
    ]);
}

#[test]
fn a_tree_deeper_than_any_path_comes_and_goes() {
    if !can_own() {
        return;
    }
    let (root, store) = new_store();
    // Each link stands for a thousand directories more. No path is long enough for all of them.
    let mut archive = Raw::new();
    let step = "d/".repeat(1000);
    for link in 0..4 {
        let from = if link == 0 {
            String::new()
        } else {
            format!("l{}/", link - 1)
        };
        archive = archive.pax("path", format!("{from}{step}x").as_bytes()).file("x", "1");
        archive = archive
            .pax("linkpath", format!("{from}{step}").as_bytes())
            .symlink(&format!("l{link}"), "x");
    }
    let snapshot = unpack(&store, None, &archive.bytes()).unwrap();
    assert!(snapshot.directory().join("d/d/d/d").is_dir());
    // What this process made it holds as long as the store is open.
    drop((snapshot, store));
    let again = cache::Store::open(root.path()).unwrap();
    again.prune(&cache::Prune::default()).unwrap();
    let left = fs::read_dir(root.path().join("v1/snapshots")).unwrap().count();
    assert_eq!(left, 0, "the tree can be removed, too");
}

#[test]
fn a_tree_as_deep_as_paths_go_becomes_a_layer() {
    let (_root, store) = new_store();
    let active = store.prepare(None).unwrap();
    let mut path = active.upper().to_owned();
    for _ in 0..1800 {
        path.push("d");
        fs::create_dir(&path).unwrap();
    }
    fs::write(path.join("f"), "1").unwrap();
    let lines = crate::listing(&store, &active.commit().unwrap());
    assert_eq!(lines.len(), 1801);
    assert_eq!(lines[1800], format!("{}f", "d/".repeat(1800)));
}

#[test]
fn a_layer_cannot_reach_the_files_of_the_one_below() {
    if !can_own() {
        return;
    }
    let (root, store) = new_store();
    let (out, before) = sentinel(root.path());
    let base = Raw::new()
        .directory("d")
        .file("d/f", "base")
        .symlink("s", &out)
        .symlink("t", "d");
    let base = unpack(&store, None, &base.bytes()).unwrap();
    let seen = || fs::read_to_string(base.directory().join("d/f")).unwrap();
    for (what, layer) in [
        ("a file through its link", Raw::new().file("s/file", "evil")),
        (
            "a link to it, then a file",
            Raw::new().link("h", "d/f").file("h", "evil"),
        ),
        (
            "a link to it, opened again",
            Raw::new().link("h", "d/f").link("i", "h").file("i", "evil"),
        ),
        (
            "a link through its link",
            Raw::new().link("h", "s/file").file("h", "evil"),
        ),
        (
            "a link below another's link",
            Raw::new().symlink("d", &out).link("h", "d/f"),
        ),
        ("a removal through its link", Raw::new().file("s/.wh.file", "")),
        ("opacity through its link", Raw::new().file("t/.wh..wh..opq", "")),
    ] {
        let _ = unpack(&store, Some(&base), &layer.bytes());
        assert_eq!(seen(), "base", "{what}");
        assert_eq!(state(&root.path().join("outside")), before, "{what}");
    }
    assert_eq!(fs::metadata(base.directory().join("d/f")).unwrap().nlink(), 1);
}

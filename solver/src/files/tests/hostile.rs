//! Archives and contexts that mean harm: nothing outside of their trees is read or written, and nothing waits for ever.

#[path = "../../../../cache/tests/it/raw.rs"]
#[expect(dead_code, reason = "it can more than is needed here")]
mod raw;

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use raw::Raw;

use super::archives::filter;
use super::*;

enum Fate {
    Refused(&'static str),
    Harmless,
}

use Fate::{Harmless, Refused};

fn add(bytes: &[u8], to: &Path) -> Result<(), FilesError> {
    let from = tree(&[]);
    fs::write(from.path().join("t"), bytes).unwrap();
    let add = Copy {
        unpack: Unpack::Archives,
        ..copy("t", "/o/")
    };
    run(add, from.path(), to)
}

/// An error and its cause.
fn words_of(error: &FilesError) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    format!("{error}: {}", cause.unwrap_or_default())
}

/// Whether the bytes were taken for an archive at all: else they are a file like others.
fn is_plain_file(to: &Path) -> bool {
    to.join("o/t").is_file()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn archives_stay_where_they_are_put() {
    if !is_root() {
        return;
    }
    let out = "../".repeat(10) + "outside";
    let many = (0..1000).fold(Raw::new(), |raw, number| {
        raw.directory(&format!("d/{number}")).directory("e").file("e", "")
    });
    let ways = (0..10).fold(Raw::new(), |raw, number| {
        raw.pax("path", format!("{number}/{}f", "a/".repeat(900)).as_bytes())
            .file("x", "")
    });
    let same_way = (0..100).fold(Raw::new(), |raw, number| {
        raw.pax("path", format!("{}{number}", "a/".repeat(900)).as_bytes())
            .file("x", "")
    });
    let sparse = |map: &str, size: &str| {
        let records = [
            ("GNU.sparse.major", "0"),
            ("GNU.sparse.minor", "1"),
            ("GNU.sparse.map", map),
            ("GNU.sparse.size", size),
        ];
        Raw::new()
            .pax_records(&records.map(|(key, value)| (key, value.as_bytes())))
            .file("x", "ab")
    };
    let cases = [
        ("upwards", Raw::new().file(&format!("{out}/file"), "evil"), Harmless),
        (
            "pax upwards",
            Raw::new()
                .pax("path", format!("{out}/file").as_bytes())
                .file("x", "evil"),
            Harmless,
        ),
        (
            "through a link",
            Raw::new().symlink("s", &out).file("s/file", "evil"),
            Harmless,
        ),
        (
            "through an absolute link",
            Raw::new().symlink("s", "/proc/self/root").file("s/file", "evil"),
            Harmless,
        ),
        (
            "a link to outside",
            Raw::new().link("h", &format!("{out}/file")).file("h", "evil"),
            Refused("which is not there"),
        ),
        (
            "a link through a link",
            Raw::new().symlink("s", &out).link("h", "s/file").file("h", "evil"),
            Refused("which is not there"),
        ),
        (
            "a link to a symlink",
            Raw::new()
                .symlink("s", &format!("{out}/file"))
                .link("h", "s")
                .file("h", "evil"),
            Harmless,
        ),
        (
            "a directory, then a link",
            Raw::new().directory("d").symlink("d", &out).file("d/file", "evil"),
            Harmless,
        ),
        (
            "a mode through a link",
            Raw::new().symlink("d", &out).mode("d", b'5', 0o777),
            Harmless,
        ),
        (
            "links in a circle",
            Raw::new().symlink("a", "b").symlink("b", "a").file("a/x", "evil"),
            Refused("too many links"),
        ),
        (
            "a pipe in the way",
            Raw::new().entry(b"p", b'6', b"", b"").file("p", "fine"),
            Harmless,
        ),
        (
            "a pipe on the way",
            Raw::new().entry(b"p", b'6', b"", b"").file("p/x", "evil"),
            Refused("not a directory"),
        ),
        (
            "a mark of removal",
            Raw::new().device("gone", b'3', 0, 0).file("a", ""),
            Harmless,
        ),
        (
            "a mark by overflow",
            Raw::new().file("a", "").device("gone", b'3', 1 << 12, 0),
            Refused("out of range"),
        ),
        (
            "a name with a zero",
            Raw::new().pax("path", b"a\0b").file("x", ""),
            Refused(""),
        ),
        (
            "a long component",
            Raw::new().pax("path", &[b'x'; 256]).file("x", ""),
            Refused("too long"),
        ),
        (
            "a long name, second",
            Raw::new().file("a", "").long(b'L', &[b'x'; 1 << 16]).file("x", ""),
            Refused("65536"),
        ),
        (
            "a size beyond",
            Raw::new().file("a", "").pax("size", b"1000000").file("x", ""),
            Refused("middle of a file"),
        ),
        (
            "an owner of nobody",
            Raw::new().file("a", "").pax("uid", b"4294967295").file("x", ""),
            Refused("owner"),
        ),
        (
            "an owner too large",
            Raw::new().file("a", "").pax("uid", b"4294967296").file("x", ""),
            Refused("owner"),
        ),
        (
            "a kind that nobody knows",
            Raw::new().file("a", "").entry(b"z", b'Z', b"", b"12"),
            Refused("z is of the unknown type `Z`"),
        ),
        (
            "a size below nothing",
            Raw::new()
                .file("a", "")
                .entry_with(b"x", b'0', b"", b"", |block| block[124..136].fill(0xff)),
            Refused("entry /x: its size is negative"),
        ),
        (
            "a size of letters",
            Raw::new()
                .file("a", "")
                .entry_with(b"x", b'0', b"", b"", |block| block[124..130].fill(b'q')),
            Refused("entry /x: a number in its header is `qqqqqq"),
        ),
        (
            "a block of zeros, and more",
            Raw::new().file("a", "").block([0; 512]).file("b", ""),
            Refused("a single block of zeros"),
        ),
        (
            "a file in place of all",
            Raw::new().file("a", "").file("/", "evil"),
            Refused("would replace"),
        ),
        (
            "a link in place of all",
            Raw::new().symlink("/", &out).file("file", "evil"),
            Refused("would replace"),
        ),
        (
            "a directory in place of all",
            Raw::new().directory("/").file("a", ""),
            Harmless,
        ),
        ("a map that overlaps", sparse("0,2,1,2", "2000"), Refused("wrong")),
        ("a map out of order", sparse("1000,1,0,1", "2000"), Refused("wrong")),
        (
            "half a header",
            Raw::new().file("a", "").file("x", "").cut(1000),
            Refused("middle of a header"),
        ),
        (
            "half a file",
            Raw::new().file("a", &"y".repeat(3000)).cut(2000),
            Refused("middle of a file"),
        ),
        ("holes", sparse("0,1,1000,1", "2000"), Harmless),
        (
            "exabytes of holes",
            sparse("0,1,1000,1", "9000000000000000000"),
            Refused("free"),
        ),
        ("a map beyond", sparse("0,1,9000,1", "2000"), Refused("wrong")),
        (
            "attributes",
            Raw::new()
                .pax("SCHILY.xattr.user.overlay.opaque", b"y")
                .directory("d")
                .pax("SCHILY.xattr.trusted.overlay.redirect", b"/")
                .directory("e"),
            Harmless,
        ),
        ("directories replaced again and again", many, Harmless),
        ("long ways that nobody describes", ways, Refused("too many directories")),
        ("one long way for many", same_way, Harmless),
    ];
    let world = tree(&["file 640 outside/file =untouched", "dir 755 to"]);
    let before = lines(&world.path().join("outside"));
    let mut wrong = Vec::new();
    for (what, archive, fate) in cases {
        let to = world.path().join("to");
        fs::remove_dir_all(&to).unwrap();
        fs::create_dir(&to).unwrap();
        let began = Instant::now();
        match (add(&archive.bytes(), &to), fate) {
            (Err(error), Refused(words)) if words_of(&error).contains(words) => {}
            (Ok(()), Harmless) if !is_plain_file(&to) => {}
            (outcome, _) => wrong.push(format!("{what}: {outcome:?}")),
        }
        if lines(&world.path().join("outside")) != before {
            wrong.push(format!("{what}: wrote outside"));
        }
        for name in ["o/d", "o/e"] {
            let mut names = [0; 1024];
            let length = rustix::fs::llistxattr(to.join(name), &mut names[..]).unwrap_or(0);
            let names = String::from_utf8_lossy(&names[..length]).into_owned();
            if names.contains("overlay") {
                wrong.push(format!("{what}: {name} has {names}"));
            }
        }
        if began.elapsed() > Duration::from_secs(30) {
            wrong.push(format!("{what}: took {:?}", began.elapsed()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_slash_makes_a_directory_only_of_what_has_no_type() {
    if !is_root() {
        return;
    }
    let archive = Raw::new().file("a", "").entry(b"old/", 0, b"", b"").file("new/", "N");
    let to = tree(&[]);
    add(&archive.bytes(), to.path()).unwrap();
    assert!(to.path().join("o/old").is_dir());
    assert_eq!(fs::read_to_string(to.path().join("o/new")).unwrap(), "N");
}

#[test]
fn windows_that_want_all_memory_are_refused() {
    // A zstd frame with a window of two gigabytes, an xz block with a dictionary of four.
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 3, 0, 0, b'x'];
    let refused = |bytes: &[u8]| {
        let error = add(bytes, tree(&[]).path()).unwrap_err().to_string();
        assert!(error.contains("more memory than archives may have"), "{error}");
    };
    refused(&zstd);
    let Some(mut xz) = filter("xz", &Raw::new().file("a", "1").bytes()) else {
        eprintln!("skipped: needs the program xz");
        return;
    };
    // The block's header: its size, flags, the filter, the size of its properties, the dictionary, then zeros and a sum.
    assert_eq!(xz[14..16], [0x21, 1]);
    xz[16] = 40;
    let sum = crc32(&xz[12..20]);
    xz[20..24].copy_from_slice(&sum.to_le_bytes());
    refused(&xz);
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[test]
fn what_changes_under_our_hands_is_noticed_and_never_leads_out() {
    if !is_root() {
        return;
    }
    type Change = fn(&Path);
    let changes: [(&str, Change); 8] = [
        ("a folder becomes a link", |root| {
            fs::rename(root.join("d"), root.join("old")).unwrap();
            symlink("../outside", root.join("d")).unwrap();
        }),
        ("a folder becomes a link to the root", |root| {
            fs::rename(root.join("d"), root.join("old")).unwrap();
            symlink("/", root.join("d")).unwrap();
        }),
        ("a file becomes a link", |root| {
            fs::remove_file(root.join("d/file")).unwrap();
            symlink("../../outside/file", root.join("d/file")).unwrap();
        }),
        ("a file becomes a pipe", |root| {
            fs::remove_file(root.join("d/file")).unwrap();
            grow(&root.join("d"), &["fifo 644 file"]);
        }),
        ("a file becomes a folder", |root| {
            fs::remove_file(root.join("d/file")).unwrap();
            fs::create_dir(root.join("d/file")).unwrap();
        }),
        ("a file becomes a device", |root| {
            fs::remove_file(root.join("d/file")).unwrap();
            let zero = rustix::fs::makedev(1, 5);
            let path = root.join("d/file");
            rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::RUSR, zero).unwrap();
        }),
        ("a file vanishes", |root| fs::remove_file(root.join("d/file")).unwrap()),
        ("all vanishes", |root| fs::remove_dir_all(root.join("d")).unwrap()),
    ];
    for (what, change) in changes {
        let world = tree(&[
            "file 644 outside/file =secret",
            "file 644 context/d/file =public",
            "file 644 context/d/other =x",
        ]);
        let root = world.path().join("context");
        let context = context(&root, &[]);
        change(&root);
        let to = tree(&[]);
        let began = Instant::now();
        let outcome = act(&FileAction::Copy(copy("d", "/d")), Tree::Context(&context), to.path());
        assert!(outcome.is_err(), "{what}");
        let copied = fs::read(to.path().join("d/file")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&copied).contains("secret"), "{what}");
        assert!(
            super::super::checksum(Tree::Context(&context), &copy("d", "/d")).is_err(),
            "{what}"
        );
        assert!(began.elapsed() < Duration::from_secs(5), "{what}");
    }
}

#[test]
fn a_file_that_grows_without_end_does_not_keep_a_copy_busy() {
    if !is_root() {
        return;
    }
    let world = tree(&["file 644 context/f =x"]);
    let path = world.path().join("context/f");
    fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
    let context = context(&world.path().join("context"), &[]);
    let ends = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::File::options().append(true).open(&path).unwrap();
            let end = Instant::now() + Duration::from_secs(10);
            while !ends.load(std::sync::atomic::Ordering::Relaxed) && Instant::now() < end {
                file.write_all(&[b'y'; 1 << 16]).unwrap();
                if file.metadata().unwrap().len() > 1 << 30 {
                    file.set_len(1 << 20).unwrap();
                }
            }
        });
        let to = tree(&[]);
        let began = Instant::now();
        let _ = act(&FileAction::Copy(copy("f", "/f")), Tree::Context(&context), to.path());
        ends.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    });
}

#[test]
fn odd_names_and_odd_links_are_copied_or_named() {
    if !is_root() {
        return;
    }
    let names: [&[u8]; 6] = [
        b"new\nline",
        b"\x1b[2J",
        b"\xff\xfe",
        &[b'n'; 255],
        b"-rf",
        "\u{202e}txt".as_bytes(),
    ];
    let world = tree(&[
        "link loop > loop",
        "link out > ../../../../etc",
        "link abs > /etc/passwd",
    ]);
    for name in names {
        fs::write(world.path().join(OsStr::from_bytes(name)), "x").unwrap();
    }
    let context = context(world.path(), &[]);
    let to = tree(&[]);
    act(&FileAction::Copy(copy(".", "/")), Tree::Context(&context), to.path()).unwrap();
    for name in names {
        assert!(to.path().join(OsStr::from_bytes(name)).is_file(), "{name:?}");
    }
    assert!(fs::symlink_metadata(to.path().join("loop")).unwrap().is_symlink());
    for source in ["loop", "out", "abs", "out/passwd"] {
        let copied = act(
            &FileAction::Copy(copy(source, "/x")),
            Tree::Context(&context),
            tree(&[]).path(),
        );
        let said = copied.unwrap_err().to_string();
        assert!(
            said.contains("not found") || said.contains("too many links"),
            "{source}: {said}"
        );
    }
    let error = act(
        &FileAction::Copy(copy("\x1bx/x", "/x")),
        Tree::Context(&context),
        to.path(),
    )
    .unwrap_err();
    assert!(!error.to_string().contains('\x1b'), "{error}");
}

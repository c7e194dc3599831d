use std::io::Write;
use std::process::{Command, Stdio};

use super::*;

struct Archive(tar::Builder<Vec<u8>>);

impl Archive {
    fn new() -> Archive {
        Archive(tar::Builder::new(Vec::new()))
    }

    fn entry(mut self, kind: tar::EntryType, name: &str, mode: u32, text: &str) -> Archive {
        let mut header = tar::Header::new_ustar();
        // Written as it is: the builder's own way refuses names that an attacker would take.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(12);
        header.set_gid(13);
        header.set_mtime(100);
        header.set_size(0);
        match kind {
            tar::EntryType::Regular => header.set_size(text.len() as u64),
            tar::EntryType::Symlink | tar::EntryType::Link => header.set_link_name_literal(text).unwrap(),
            tar::EntryType::Char => {
                header.set_device_major(1).unwrap();
                header.set_device_minor(5).unwrap();
            }
            _ => {}
        }
        header.set_cksum();
        let contents = if kind == tar::EntryType::Regular { text } else { "" };
        self.0.append(&header, contents.as_bytes()).unwrap();
        self
    }

    fn file(self, name: &str, text: &str) -> Archive {
        self.entry(tar::EntryType::Regular, name, 0o644, text)
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn add(bytes: &[u8], destination: &str, to: &Path) -> Result<(), FilesError> {
    let from = tree(&[]);
    fs::write(from.path().join("t"), bytes).unwrap();
    set_time(&from.path().join("t"), 100);
    let add = Copy {
        unpack: Unpack::Archives,
        owner: owner(0, 0),
        ..copy("t", destination)
    };
    run(add, from.path(), to)
}

#[test]
fn an_archive_is_unpacked_into_a_directory() {
    if !is_root() {
        return;
    }
    let bytes = Archive::new()
        .entry(tar::EntryType::Directory, "d/", 0o1777, "")
        .entry(tar::EntryType::Regular, "d/x", 0o4755, "X")
        .entry(tar::EntryType::Symlink, "l", 0o777, "/d/x")
        .entry(tar::EntryType::Link, "h", 0o4755, "d/x")
        .entry(tar::EntryType::Fifo, "p", 0o600, "")
        .file("/deep/er/f", "F")
        .bytes();
    let to = tree(&[]);
    add(&bytes, "/o", to.path()).unwrap();
    let expected = [
        "dir 755 o @0",
        "dir 1777 o/d",
        "file 4755 o/d/x =X",
        "dir 755 o/deep @0",
        "dir 755 o/deep/er @0",
        "file 644 o/deep/er/f =F",
        "file 4755 o/h =X",
        "link o/l > /d/x",
        "fifo 600 o/p",
    ];
    assert_eq!(lines(to.path()), expected);

    let from = tree(&[]);
    fs::write(from.path().join("t"), bytes).unwrap();
    let add = Copy {
        unpack: Unpack::Archives,
        ..copy("t", "/")
    };
    let to = tree(&[]);
    run(add, from.path(), to.path()).unwrap();
    assert_eq!(lines(to.path())[1], "file 4755 d/x =X 12:13");
}

#[test]
fn entries_replace_what_is_there_but_directories_are_merged() {
    if !is_root() {
        return;
    }
    let bytes = Archive::new()
        .entry(tar::EntryType::Directory, "d", 0o711, "")
        .file("f", "new")
        .entry(tar::EntryType::Directory, "l", 0o755, "")
        .file("l/x", "X")
        .file("was-dir", "W")
        .bytes();
    let before: &[&str] = &[
        "dir 755 d",
        "file 644 d/k =k",
        "file 600 f =old",
        "dir 755 r",
        "link l > /r",
        "file 644 was-dir/a =a",
    ];
    let to = tree(before);
    add(&bytes, "/", to.path()).unwrap();
    let expected = [
        "dir 711 d",
        "file 644 d/k =k",
        "file 644 f =new",
        "dir 755 l",
        "file 644 l/x =X",
        "dir 755 r",
        "file 644 was-dir =W",
    ];
    assert_eq!(lines(to.path()), expected);
    assert_eq!(fs::metadata(to.path()).unwrap().mtime(), 100);
}

#[test]
fn nothing_of_an_archive_leaves_the_directory() {
    if !is_root() {
        return;
    }
    let outside = tree(&["file 644 kept =K"]);
    let absolute = outside.path().display().to_string();
    let up = format!("{}{absolute}", "../".repeat(20));
    let bytes = Archive::new()
        .file("../evil", "X")
        .file("a/../../../evil2", "X")
        .entry(tar::EntryType::Symlink, "s", 0o777, &up)
        .file("s/evil3", "X")
        .entry(tar::EntryType::Symlink, "k", 0o777, &format!("{up}/kept"))
        .file("k", "replaced")
        .bytes();
    let to = tree(&["dir 755 o"]);
    add(&bytes, "/o/", to.path()).unwrap();
    assert_eq!(lines(outside.path()), ["file 644 kept =K"]);
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 1);
    assert_eq!(fs::read(to.path().join("o/evil")).unwrap(), b"X");
    assert!(
        to.path()
            .join("o")
            .join(absolute.trim_start_matches('/'))
            .join("evil3")
            .exists()
    );

    let link = Archive::new()
        .entry(tar::EntryType::Link, "h", 0o644, &format!("{up}/kept"))
        .bytes();
    let error = add(&link, "/o/", tree(&[]).path()).unwrap_err().to_string();
    assert!(error.contains("which is not there"), "{error}");
}

#[test]
fn compressed_archives_are_known_by_their_bytes() {
    if !is_root() {
        return;
    }
    let bytes = Archive::new()
        .file("x", "X")
        .file("big", &"0123456789".repeat(50_000))
        .bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bytes).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&bytes).unwrap();
    let mut forms = vec![
        ("plain", bytes.clone()),
        ("gzip", gzip.finish().unwrap()),
        ("bzip2", bzip2.finish().unwrap()),
        ("zstd", zstd::encode_all(bytes.as_slice(), 1).unwrap()),
    ];
    match filter("xz", &bytes) {
        Some(xz) => forms.push(("xz", xz)),
        None => eprintln!("skipped: needs the program xz"),
    }
    for (form, compressed) in forms {
        let to = tree(&[]);
        add(&compressed, "/o/", to.path()).unwrap_or_else(|error| panic!("{form}: {error}"));
        assert_eq!(fs::read(to.path().join("o/x")).unwrap(), b"X", "{form}");
        assert_eq!(fs::metadata(to.path().join("o/big")).unwrap().len(), 500_000, "{form}");
    }
}

pub(super) fn filter(program: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Some(output.stdout)
}

#[test]
fn what_is_no_archive_is_copied() {
    if !is_root() {
        return;
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"only text").unwrap();
    for bytes in [
        b"".to_vec(),
        b"text".to_vec(),
        vec![0; 2048],
        gzip.finish().unwrap(),
        b"\x1f\x8b\x08broken".to_vec(),
    ] {
        let to = tree(&[]);
        add(&bytes, "/o/", to.path()).unwrap();
        assert_eq!(fs::read(to.path().join("o/t")).unwrap(), bytes);
    }
}

#[test]
fn a_broken_archive_is_an_error() {
    if !is_root() {
        return;
    }
    let bytes = Archive::new().file("a", "A").file("b", &"B".repeat(5000)).bytes();
    for end in [1536 + 300, 1024 + 512 + 700] {
        let error = add(&bytes[..end], "/", tree(&[]).path()).unwrap_err().to_string();
        assert!(error.starts_with("cannot unpack /t: "), "{error}");
    }
}

#[test]
fn archives_in_a_directory_are_files() {
    if !is_root() {
        return;
    }
    let from = tree(&["dir 755 d"]);
    fs::write(from.path().join("d/t.tar"), Archive::new().file("x", "X").bytes()).unwrap();
    let to = tree(&[]);
    let add = Copy {
        unpack: Unpack::Archives,
        ..copy("d", "/o/")
    };
    run(add, from.path(), to.path()).unwrap();
    assert!(to.path().join("o/t.tar").is_file());
}

#[test]
fn sparse_files_keep_their_holes() {
    if !is_root() {
        return;
    }
    let from = tree(&[]);
    let sparse = fs::File::create(from.path().join("s")).unwrap();
    sparse.set_len(5_000_000).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"middle", 2_000_000).unwrap();
    for format in ["gnu", "posix"] {
        let made = Command::new("tar")
            .args(["-cS", &format!("--format={format}"), "-C"])
            .args([from.path().as_os_str(), "s".as_ref()])
            .output();
        let Ok(made) = made else {
            eprintln!("skipped: the program tar is not here");
            return;
        };
        let to = tree(&[]);
        add(&made.stdout, "/", to.path()).unwrap();
        let contents = fs::read(to.path().join("s")).unwrap();
        assert_eq!(contents.len(), 5_000_000, "{format}");
        assert_eq!(&contents[2_000_000..2_000_006], b"middle", "{format}");
    }
}

#[test]
fn an_archive_may_end_without_its_padding() {
    if !is_root() {
        return;
    }
    let bytes = Archive::new().file("a", "A").file("b", "B").bytes();
    add(&bytes[..3 * 512], "/", tree(&[]).path()).unwrap_err();
    let to = tree(&[]);
    add(&bytes[..3 * 512 + 1], "/", to.path()).unwrap();
    assert_eq!(lines(to.path()), ["file 644 a =A", "file 644 b =B"]);
}

#[test]
fn what_would_hide_the_files_of_other_layers_is_left_out() {
    if !is_root() {
        return;
    }
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_path("passwd").unwrap();
    header.set_entry_type(tar::EntryType::Char);
    header.set_device_major(0).unwrap();
    header.set_device_minor(0).unwrap();
    header.set_mode(0o644);
    header.set_size(0);
    header.set_cksum();
    archive.append(&header, std::io::empty()).unwrap();
    let to = tree(&[]);
    add(&archive.into_inner().unwrap(), "/etc/", to.path()).unwrap();
    assert_eq!(lines(to.path()), ["dir 755 etc @0"]);
}

//! Examples of what happens to files, on small trees.
//!
//! A tree is written as lines: `dir 711 d`, `file 644 a =text`, `link l > a`, `hard b > a`, `fifo 640 p`, `socket s`. What is
//! made is at the time 100 unless a test says otherwise.

mod archives;
mod checksums;
mod contexts;
mod copies;
mod hostile;
mod linked;
mod special;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use cache::Owners;
use graph::{Copy, FileAction, InputIndex, MakeDirectory, MakeFile, Owner, Unpack, UserName};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};
use tempfile::TempDir;

use super::{Context, FilesError, Target, Tree, apply};

fn tree(lines: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    grow(root.path(), lines);
    root
}

fn grow(root: &Path, lines: &[&str]) {
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let mode = |text: &str| fs::Permissions::from_mode(u32::from_str_radix(text, 8).unwrap());
        let parent = |name: &str| fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        match words.as_slice() {
            ["dir", permissions, name] => {
                fs::create_dir_all(root.join(name)).unwrap();
                fs::set_permissions(root.join(name), mode(permissions)).unwrap();
            }
            ["file", permissions, name, text] => {
                parent(name);
                fs::write(root.join(name), text.strip_prefix('=').unwrap()).unwrap();
                fs::set_permissions(root.join(name), mode(permissions)).unwrap();
            }
            ["link", name, ">", target] => {
                parent(name);
                symlink(target, root.join(name)).unwrap();
            }
            ["hard", name, ">", target] => fs::hard_link(root.join(target), root.join(name)).unwrap(),
            ["fifo", permissions, name] => {
                let mode = Mode::from_raw_mode(u32::from_str_radix(permissions, 8).unwrap());
                rustix::fs::mknodat(CWD, root.join(name), FileType::Fifo, mode, 0).unwrap();
                fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode.as_raw_mode())).unwrap();
            }
            ["socket", name] => {
                // `bind` takes only short paths.
                let mode = Mode::from_raw_mode(0o755);
                rustix::fs::mknodat(CWD, root.join(name), FileType::Socket, mode, 0).unwrap();
            }
            _ => panic!("what is {line}?"),
        }
    }
    age(root, 100);
}

/// Sets all times in a tree.
fn age(path: &Path, seconds: i64) {
    let stat = fs::symlink_metadata(path).unwrap();
    if stat.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            age(&entry.unwrap().path(), seconds);
        }
    }
    set_time(path, seconds);
}

fn set_time(path: &Path, seconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A tree as lines, in walk order, with owners and times where they are not 0:0 and 100.
fn lines(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    describe(root, root, &mut lines);
    lines
}

fn describe(root: &Path, folder: &Path, lines: &mut Vec<String>) {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        let stat = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        let mode = stat.mode() & 0o7777;
        let mut line = match FileType::from_raw_mode(stat.mode()) {
            FileType::Directory => format!("dir {mode:o} {name}"),
            FileType::RegularFile => {
                let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
                format!("file {mode:o} {name} ={text}")
            }
            FileType::Symlink => format!("link {name} > {}", fs::read_link(&path).unwrap().display()),
            other => format!("{other:?} {mode:o} {name}").to_lowercase(),
        };
        let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if (stat.uid(), stat.gid()) != me {
            line += &format!(" {}:{}", stat.uid(), stat.gid());
        }
        if stat.mtime() != 100 {
            line += &format!(" @{}", stat.mtime());
        }
        lines.push(line);
        if stat.is_dir() {
            describe(root, &path, lines);
        }
    }
}

fn copy(source: &str, destination: &str) -> Copy {
    Copy {
        from: InputIndex(0),
        source: source.into(),
        destination: destination.into(),
        owner: None,
        mode: None,
        include: None,
        excludes: vec![],
        unpack: Unpack::Never,
    }
}

fn owner(user: u32, group: u32) -> Option<Owner> {
    Some(Owner {
        user: UserName::Id(user),
        group: Some(UserName::Id(group)),
    })
}

/// Copies from a directory as from a stage.
fn run(copy: Copy, from: &Path, to: &Path) -> Result<(), FilesError> {
    act(&FileAction::Copy(copy), Tree::Directory(from), to)
}

fn act(action: &FileAction, from: Tree<'_>, to: &Path) -> Result<(), FilesError> {
    let numbers = |owner: &Owner| match (&owner.user, &owner.group) {
        (UserName::Id(user), Some(UserName::Id(group))) => Ok((*user, *group)),
        _ => Err("no such user".into()),
    };
    let target = Target {
        root: to,
        upper: None,
        owners: &Owners::default(),
        reuse: None,
    };
    apply(action, &|_| from, target, &numbers, &|| false).map(drop)
}

fn context(root: &Path, excludes: &[&str]) -> Context {
    let excludes: Vec<String> = excludes
        .iter()
        .chain(&[".stats"])
        .map(|line| (*line).to_owned())
        .collect();
    Context::open(root, &excludes, known(&root.join(".stats"))).unwrap()
}

fn known(file: &Path) -> super::KnownFiles {
    super::KnownFiles {
        file: file.to_owned(),
        spare: file.with_extension("new"),
    }
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: needs root, to give files to others");
    }
    is_root
}

#[test]
fn workdir_makes_missing_directories_and_leaves_others_alone() {
    if !is_root() {
        return;
    }
    let root = tree(&["dir 700 a", "dir 755 real", "link l > /real"]);
    let make = |path: &str, owner| {
        FileAction::MakeDirectory(MakeDirectory {
            path: path.into(),
            mode: 0o755,
            owner,
            timestamp: Some(7),
        })
    };
    let nowhere = tree(&[]);
    let from = Tree::Directory(nowhere.path());
    act(&make("/a/b/c", owner(5, 6)), from, root.path()).unwrap();
    act(&make("/l/x", None), from, root.path()).unwrap();
    act(&make("/a", owner(9, 9)), from, root.path()).unwrap();
    let expected = [
        "dir 700 a",
        "dir 755 a/b 5:6 @7",
        "dir 755 a/b/c 5:6 @7",
        "link l > /real",
        "dir 755 real",
        "dir 755 real/x @7",
    ];
    assert_eq!(lines(root.path()), expected);
    assert_eq!(fs::metadata(root.path()).unwrap().mtime(), 100);
}

#[test]
fn workdir_on_a_file_is_an_error() {
    if !is_root() {
        return;
    }
    let root = tree(&["file 644 f =x"]);
    let make = MakeDirectory {
        path: "/f/x".into(),
        mode: 0o755,
        owner: None,
        timestamp: None,
    };
    let made = act(
        &FileAction::MakeDirectory(make),
        Tree::Directory(root.path()),
        root.path(),
    );
    assert_eq!(made.unwrap_err().to_string(), "mkdir /f: not a directory");
}

#[test]
fn a_made_file_replaces_what_is_there() {
    if !is_root() {
        return;
    }
    let root = tree(&["dir 755 d", "link d/l > /kept", "file 600 kept =old"]);
    let make = |path: &str| {
        FileAction::MakeFile(MakeFile {
            path: path.into(),
            content: b"new".to_vec(),
            mode: 0o755,
            owner: owner(5, 6),
            timestamp: Some(7),
        })
    };
    act(&make("/d/f"), Tree::Directory(root.path()), root.path()).unwrap();
    act(&make("/kept"), Tree::Directory(root.path()), root.path()).unwrap();
    let expected = [
        "dir 755 d",
        "file 755 d/f =new 5:6 @7",
        "link d/l > /kept",
        "file 755 kept =new 5:6 @7",
    ];
    assert_eq!(lines(root.path()), expected);
    let nowhere = act(&make("/none/f"), Tree::Directory(root.path()), root.path());
    assert_eq!(nowhere.unwrap_err().to_string(), "cannot open /none");
}

#[test]
fn a_directory_lends_its_time_to_the_one_its_files_go_to() {
    let from = tree(&["dir 755 a", "file 644 a/f =x"]);
    let to = tree(&["dir 700 there"]);
    set_time(&from.path().join("a"), 50);
    let action = FileAction::Copy(copy("/a", "/there"));
    act(&action, Tree::Directory(from.path()), to.path()).unwrap();
    assert_eq!(lines(to.path()), ["dir 700 there @50", "file 644 there/f =x"]);
}

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::*;

#[test]
fn files_with_two_names_stay_one_file() {
    if !is_root() {
        return;
    }
    let from = tree(&["file 644 d/a =same", "hard d/b > d/a", "file 644 d/c =same"]);
    let to = tree(&[]);
    run(copy("d", "/d"), from.path(), to.path()).unwrap();
    let inode = |name: &str| fs::metadata(to.path().join(name)).unwrap().ino();
    assert_eq!(inode("d/a"), inode("d/b"));
    assert_ne!(inode("d/a"), inode("d/c"));
}

#[test]
fn pipes_are_kept_and_sockets_become_empty_files() {
    if !is_root() {
        return;
    }
    let from = tree(&["dir 755 d", "fifo 640 d/p", "socket d/s"]);
    fs::set_permissions(from.path().join("d/s"), fs::Permissions::from_mode(0o600)).unwrap();
    let context = context(from.path(), &[]);
    for tree_of in [Tree::Directory(from.path()), Tree::Context(&context)] {
        let to = tree(&[]);
        act(&FileAction::Copy(copy("d", "/d")), tree_of, to.path()).unwrap();
        assert_eq!(lines(to.path()), ["dir 755 d", "fifo 640 d/p", "file 600 d/s ="]);
    }
}

#[test]
fn devices_are_kept() {
    if !is_root() {
        return;
    }
    let from = tree(&["dir 755 d"]);
    let null = rustix::fs::makedev(1, 3);
    let made = rustix::fs::mknodat(
        CWD,
        from.path().join("d/c"),
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o600),
        null,
    );
    if made.is_err() {
        eprintln!("skipped: needs root, to make devices");
        return;
    }
    let to = tree(&[]);
    run(copy("d", "/d"), from.path(), to.path()).unwrap();
    assert_eq!(fs::metadata(to.path().join("d/c")).unwrap().rdev(), null);
}

#[test]
fn names_need_not_be_utf8() {
    if !is_root() {
        return;
    }
    let from = tree(&["dir 755 d"]);
    let name = OsStr::from_bytes(b"a\xff\xfe");
    fs::write(from.path().join("d").join(name), "x").unwrap();
    let context = context(from.path(), &[]);
    for source in [Tree::Directory(from.path()), Tree::Context(&context)] {
        let to = tree(&[]);
        act(&FileAction::Copy(copy("d/a*", "/o/")), source, to.path()).unwrap();
        assert_eq!(fs::read(to.path().join("o").join(name)).unwrap(), b"x");
    }
}

#[test]
fn times_are_kept_to_the_nanosecond() {
    if !is_root() {
        return;
    }
    let from = tree(&["file 644 a =A"]);
    let time = Timespec {
        tv_sec: 1_485_449_953,
        tv_nsec: 123_456_789,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, from.path().join("a"), &times, AtFlags::empty()).unwrap();
    let to = tree(&[]);
    run(copy("a", "/a"), from.path(), to.path()).unwrap();
    let stat = fs::metadata(to.path().join("a")).unwrap();
    assert_eq!((stat.mtime(), stat.mtime_nsec()), (1_485_449_953, 123_456_789));
}

#[test]
fn large_files_and_holes_are_the_same_bytes() {
    if !is_root() {
        return;
    }
    let from = tree(&[]);
    let large: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    fs::write(from.path().join("large"), &large).unwrap();
    let holes = fs::File::create(from.path().join("holes")).unwrap();
    holes.set_len(50_000_000).unwrap();
    std::os::unix::fs::FileExt::write_at(&holes, b"in the middle", 20_000_000).unwrap();
    let to = tree(&[]);
    run(copy("/", "/"), from.path(), to.path()).unwrap();
    assert_eq!(fs::read(to.path().join("large")).unwrap(), large);
    let copied = fs::read(to.path().join("holes")).unwrap();
    assert_eq!(copied.len(), 50_000_000);
    assert_eq!(&copied[20_000_000..20_000_013], b"in the middle");
    let (before, after) = (
        holes.metadata().unwrap(),
        fs::metadata(to.path().join("holes")).unwrap(),
    );
    if before.blocks() * 512 < 1_000_000 {
        assert!(
            after.blocks() * 512 < 1_000_000,
            "holes were filled: {} blocks",
            after.blocks()
        );
    }
}

#[test]
fn capabilities_are_kept_and_other_attributes_are_not() {
    if !is_root() {
        return;
    }
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    let from = tree(&["file 755 a =A"]);
    let capability: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let path = from.path().join("a");
    let user = setxattr(&path, "user.k", b"v", XattrFlags::empty());
    if setxattr(&path, "security.capability", &capability, XattrFlags::empty()).is_err() || user.is_err() {
        eprintln!("skipped: needs root, to set file capabilities");
        return;
    }
    let plain = tree(&["file 755 a =A"]);
    let key = |root: &Path| super::super::checksum(Tree::Directory(root), &copy("a", "/")).unwrap();
    assert_ne!(key(from.path()), key(plain.path()));
    let to = tree(&[]);
    run(copy("a", "/a"), from.path(), to.path()).unwrap();
    let mut value = [0; 64];
    let length = getxattr(to.path().join("a"), "security.capability", &mut value[..]).unwrap();
    assert_eq!(value[..length], capability);
    assert!(getxattr(to.path().join("a"), "user.k", &mut value[..]).is_err());
}

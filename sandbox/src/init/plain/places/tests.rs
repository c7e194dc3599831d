use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use super::*;

/// A folder with a root, and with what is put there for a while.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Site {
        let site = Site(tempfile::tempdir().unwrap());
        for path in ["root/etc", "root/data", "cache/content"] {
            fs::create_dir_all(site.at(path)).unwrap();
        }
        fs::write(site.at("root/etc/hosts"), "the image's").unwrap();
        fs::write(site.at("root/data/own"), "the image's").unwrap();
        fs::write(site.at("cache/content/kept"), "before").unwrap();
        // Long ago, so that any change of a time shows.
        for path in ["root/etc/hosts", "root/data/own", "root/data", "root/etc", "root"] {
            let opened = fs::File::open(site.at(path)).unwrap();
            opened
                .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1000))
                .unwrap();
        }
        site
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.0.path().join(path)
    }

    fn source(&self) -> Place {
        let folder = rustix::fs::open(self.at("cache"), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        rooted::place(folder.as_fd(), Path::new("content")).unwrap()
    }

    /// All files below the root, with mode, time and number.
    fn root(&self) -> Vec<(String, u32, i64, u64)> {
        fn walk(path: &Path, list: &mut Vec<(String, u32, i64, u64)>) {
            let data = fs::symlink_metadata(path).unwrap();
            list.push((path.display().to_string(), data.mode(), data.mtime(), data.ino()));
            if data.is_dir() {
                fs::read_dir(path)
                    .unwrap()
                    .for_each(|entry| walk(&entry.unwrap().path(), list));
            }
        }
        let mut list = Vec::new();
        walk(&self.at("root"), &mut list);
        list.sort();
        list
    }

    /// Has `step` act on what `put` has put there, and clears all away.
    fn during(&self, put: impl FnOnce(&mut Places<'_>) -> Result<(), Failure>, step: impl FnOnce()) {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let root = rustix::fs::open(self.at("root"), flags, Mode::empty()).unwrap();
        let mut places = Places::in_root(&self.at("root"), &root).unwrap();
        put(&mut places).unwrap();
        step();
        places.clear(true).unwrap();
        let left: Vec<_> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(left.iter().all(|name| name == "root" || name == "cache"), "{left:?}");
    }
}

fn text(places: &mut Places<'_>, target: &str, content: &str) -> Result<(), Failure> {
    places.put(target, Kind::File, |place| {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = rustix::fs::openat(&place.directory, &place.name, flags, Mode::from_raw_mode(0o644))?;
        io::Write::write_all(&mut fs::File::from(file), content.as_bytes())
    })
}

#[test]
fn afterwards_all_is_as_it_was() {
    let site = Site::new();
    let before = site.root();
    site.during(
        |places| {
            text(places, "/etc/hosts", "the step's")?;
            places.directory("/data", 0o1777)?;
            text(places, "/data/on/top", "nested")?;
            places.lend("/etc/cache", site.source())
        },
        || {
            assert_eq!(fs::read_to_string(site.at("root/etc/hosts")).unwrap(), "the step's");
            assert_eq!(fs::metadata(site.at("root/data")).unwrap().mode() & 0o7777, 0o1777);
            assert!(!site.at("root/data/own").exists());
            assert_eq!(fs::read_to_string(site.at("root/data/on/top")).unwrap(), "nested");
            assert_eq!(fs::read_to_string(site.at("root/etc/cache/kept")).unwrap(), "before");
            fs::write(site.at("root/etc/cache/new"), "").unwrap();
            fs::write(site.at("root/data/lost"), "").unwrap();
        },
    );
    assert!(site.at("cache/content/new").exists());
    // What was made to be put on is left for who noted it.
    fs::remove_dir(site.at("root/etc/cache")).unwrap();
    let etc = fs::File::open(site.at("root/etc")).unwrap();
    etc.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1000))
        .unwrap();
    assert_eq!(site.root(), before);
}

#[test]
fn what_the_step_does_around_a_target_stays() {
    let site = Site::new();
    site.during(
        |places| text(places, "/etc/hosts", "the step's"),
        || fs::write(site.at("root/etc/passwd"), "new").unwrap(),
    );
    assert_eq!(fs::read_to_string(site.at("root/etc/hosts")).unwrap(), "the image's");
    assert_ne!(fs::metadata(site.at("root/etc")).unwrap().mtime(), 1000);
}

#[test]
fn a_step_may_remove_and_replace_what_stands_at_a_target() {
    let site = Site::new();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::set_permissions(site.at("cache/content"), fs::Permissions::from_mode(0o751)).unwrap();
    site.during(
        |places| {
            text(places, "/etc/hosts", "the step's")?;
            places.lend("/data", site.source())
        },
        || {
            fs::remove_file(site.at("root/etc/hosts")).unwrap();
            symlink("/etc/passwd", site.at("root/etc/hosts")).unwrap();
            fs::remove_dir_all(site.at("root/data")).unwrap();
            symlink(elsewhere.path(), site.at("root/data")).unwrap();
        },
    );
    assert_eq!(fs::read_to_string(site.at("root/etc/hosts")).unwrap(), "the image's");
    assert_eq!(fs::read_to_string(site.at("root/data/own")).unwrap(), "the image's");
    // The cache is empty, and is one.
    assert_eq!(fs::metadata(site.at("cache/content")).unwrap().mode() & 0o7777, 0o751);
    assert!(fs::read_dir(site.at("cache/content")).unwrap().next().is_none());
    assert!(fs::read_dir(elsewhere.path()).unwrap().next().is_none());
}

#[test]
fn a_folder_that_the_step_removed_stays_removed() {
    let site = Site::new();
    site.during(
        |places| text(places, "/etc/hosts", "the step's"),
        || fs::remove_dir_all(site.at("root/etc")).unwrap(),
    );
    assert!(!site.at("root/etc").exists());
}

#[test]
fn what_cannot_be_put_changes_nothing() {
    let site = Site::new();
    let before = site.root();
    site.during(
        |places| {
            assert!(text(places, "/data", "a file on a directory").is_err());
            assert!(places.directory("/etc/hosts", 0o755).is_err());
            assert!(places.directory("/", 0o755).is_err());
            Ok(())
        },
        || {},
    );
    assert_eq!(site.root(), before);
}

//! What a step without namespaces finds in its root: the system's folders as far as they can be had without mounts, and
//! what it asks to have mounted.
//!
//! `/dev` has the usual devices. `/proc` has files that are the same for all processes, as they were when the step began,
//! and nothing of any process; `/sys` has nothing.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, linkat, makedev, statat};
use rustix::io::Errno;

use super::copy;
use super::places::Places;
use super::relay::Relay;
use crate::init::devices::NODES;
use crate::rooted::{self, Kind, Place};
use crate::wire::{During, Failure, Plan};
use crate::{Mount, Stdio};

/// Files of `/proc` that programs read and that are about no process.
const PROC: [&str; 19] = [
    "cpuinfo",
    "meminfo",
    "version",
    "filesystems",
    "uptime",
    "loadavg",
    "stat",
    "sys/kernel/osrelease",
    "sys/kernel/ostype",
    "sys/kernel/version",
    "sys/kernel/hostname",
    "sys/kernel/cap_last_cap",
    "sys/kernel/ngroups_max",
    "sys/kernel/pid_max",
    "sys/kernel/random/boot_id",
    "sys/vm/overcommit_memory",
    "sys/vm/max_map_count",
    "sys/net/core/somaxconn",
    "sys/crypto/fips_enabled",
];
/// In the place of a list of mounts, of which the step has none.
const MOUNTS: &str = "rootfs / rootfs rw 0 0\n";
const MOST_OF_A_FILE: u64 = 1 << 20;

/// Puts everything in its place; gives the pipes in `/dev` from which output is to be passed on.
pub(super) fn furnish(places: &mut Places<'_>, plan: &Plan) -> Result<Vec<Relay>, Failure> {
    processes(places)?;
    let relays = devices(places, plan.spec.stdio)?;
    places.directory("/sys", 0o555)?;
    for (target, text) in [("/etc/resolv.conf", &plan.resolver), ("/etc/hosts", &plan.hosts)] {
        file(places, target, text.as_bytes(), (0, 0), 0o644)?;
    }
    for mount in &plan.spec.mounts {
        put(places, mount)?;
    }
    Ok(relays)
}

fn processes(places: &mut Places<'_>) -> Result<(), Failure> {
    let proc = places.directory("/proc", 0o555)?;
    for name in PROC {
        let path = Path::new("/proc").join(name);
        let mut content = Vec::new();
        // What the kernel does not have, or the container hides, is missing there too.
        let read = File::open(&path).and_then(|file| file.take(MOST_OF_A_FILE).read_to_end(&mut content));
        if read.is_ok() {
            add(&proc, Path::new(name), &content).during("write", path)?;
        }
    }
    add(&proc, Path::new("mounts"), MOUNTS.as_bytes()).during("write", "/proc/mounts")
}

/// Writes a file into a directory that is ours alone.
fn add(directory: &OwnedFd, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut here = directory.try_clone()?;
    for folder in path.parent().into_iter().flat_map(Path::iter) {
        here = rooted::make_directory(&here, folder)?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let name = path.file_name().unwrap_or_default();
    let file = rustix::fs::openat(&here, name, flags, Mode::from_raw_mode(0o444))?;
    File::from(file).write_all(content)
}

fn devices(places: &mut Places<'_>, stdio: Stdio) -> Result<Vec<Relay>, Failure> {
    let dev = places.directory("/dev", 0o755)?;
    let node = |name: &str, (major, minor): (u32, u32)| {
        let mode = Mode::from_raw_mode(0o666);
        let made = rustix::fs::mknodat(&dev, name, FileType::CharacterDevice, mode, makedev(major, minor));
        made.during(
            "make a device (does this container allow any?),",
            format!("/dev/{name}"),
        )
    };
    for (name, major, minor) in NODES {
        node(name, (major, minor))?;
    }
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(&dev, "null", flags, Mode::empty()).during(
        "open a device (is the store on a file system that is mounted `nodev`?),",
        "/dev/null",
    )?;
    let link = |name: &str, target: &str| {
        rustix::fs::symlinkat(target, &dev, name).during("make the link", format!("/dev/{name}"))
    };
    // Leads nowhere, as long as there is nothing of processes in /proc.
    link("fd", "/proc/self/fd")?;
    let shm = rooted::make_directory(&dev, "shm".as_ref()).during("make", "/dev/shm")?;
    rustix::fs::chmodat(&dev, "shm", Mode::from_raw_mode(0o1777), AtFlags::empty()).during("open", "/dev/shm")?;
    drop(shm);
    match stdio {
        Stdio::Terminal => {
            for name in ["stdin", "stdout", "stderr", "console"] {
                link(name, "tty")?;
            }
            Ok(Vec::new())
        }
        Stdio::Captured | Stdio::Inherited { stdin: false } => {
            node("stdin", (1, 3))?;
            outputs(&dev)
        }
        Stdio::Inherited { stdin: true } => {
            link("stdin", "fd/0")?;
            outputs(&dev)
        }
    }
}

fn outputs(dev: &OwnedFd) -> Result<Vec<Relay>, Failure> {
    let made = ["stdout", "stderr"].map(|name| Relay::make(dev, name).during("make", format!("/dev/{name}")));
    made.into_iter().collect()
}

fn file(
    places: &mut Places<'_>,
    target: &str,
    content: &[u8],
    (user, group): (u32, u32),
    mode: u32,
) -> Result<(), Failure> {
    places.put(target, Kind::File, |place| {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&place.directory, &place.name, flags, Mode::from_raw_mode(0o600))?;
        let mut file = File::from(file);
        file.write_all(content)?;
        match rustix::fs::fchown(&file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group))) {
            // An id that nobody can be here: it stays root's.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o777))?)
    })
}

fn put(places: &mut Places<'_>, mount: &Mount) -> Result<(), Failure> {
    match mount {
        Mount::Bind {
            source,
            inside,
            target,
            read_only,
        } => {
            let place = find(source, inside).during("find the source of a mount,", source.join(inside))?;
            let stat = statat(&place.directory, &place.name, AtFlags::SYMLINK_NOFOLLOW)
                .during("find the source of a mount,", source.join(inside))?;
            match (FileType::from_raw_mode(stat.st_mode), read_only) {
                (FileType::Directory, false) => places.lend(target, place),
                (FileType::Directory, true) => places.put(target, Kind::Directory, |to| copy::copy(&place, to)),
                (_, true) => places.put(target, Kind::File, |to| copy::copy(&place, to)),
                (_, false) => places.put(target, Kind::File, |to| share(&place, to)),
            }
        }
        Mount::Tmpfs { target, .. } => places.directory(target, 0o1777).map(|_| ()),
        Mount::Secret {
            target,
            content,
            user,
            group,
            mode,
        } => file(places, target, &content.0, (*user, *group), *mode),
    }
}

/// The same file under another name.
fn share(from: &Place, to: &Place) -> io::Result<()> {
    let linked = linkat(&from.directory, &from.name, &to.directory, &to.name, AtFlags::empty());
    Ok(linked?)
}

/// Where `inside` is, which cannot lie outside of `source`.
fn find(source: &Path, inside: &str) -> io::Result<Place> {
    let source = std::fs::canonicalize(source)?;
    if Path::new(inside)
        .components()
        .any(|part| matches!(part, std::path::Component::Normal(_)))
    {
        let tree = rustix::fs::openat(CWD, &source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        return rooted::place(tree.as_fd(), Path::new(inside));
    }
    let (parent, name) = source.parent().zip(source.file_name()).ok_or(Errno::BUSY)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(Place {
        directory: rustix::fs::openat(CWD, parent, flags, Mode::empty())?,
        name: name.to_owned(),
    })
}

//! `/dev`: a file system of its own with the few devices every program expects.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, makedev};
use rustix::mount::MountAttrFlags;
use rustix::pty::OpenptFlags;

use super::filesystem::{self, Depth, INERT};
use super::mounts::{Root, put_in};
use crate::groups::Devices;
use crate::rooted::{self, Kind};
use crate::wire::{During, Failure};

pub(super) const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
/// For a step without limits: the kernel's log, file systems and devices in programs, virtual machines, tunnels, loops.
const MACHINE: [(&str, u32, u32); 6] = [
    ("kmsg", 1, 11),
    ("cuse", 10, 203),
    ("fuse", 10, 229),
    ("kvm", 10, 232),
    ("net/tun", 10, 200),
    ("loop-control", 10, 237),
];
/// How many loop devices such a step gets.
const LOOPS: u32 = 16;
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
const NO_PROGRAMS_OF_ROOT: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// A terminal of the step: both ends.
pub(super) struct Terminal {
    /// For who looks at it.
    pub(super) outer: OwnedFd,
    /// For the command.
    pub(super) inner: OwnedFd,
}

/// Mounts `/dev` and what is below it; opens a terminal there if wanted.
pub(super) fn mount(
    root: &Root,
    shm_size: u64,
    with_terminal: bool,
    devices: Devices,
) -> Result<Option<Terminal>, Failure> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
    let dev = filesystem::new("tmpfs", &[("mode", "755"), ("size", "65536k")], attributes).during("mount", "/dev")?;
    root.put(&dev, "/dev", Kind::Directory)?;
    filesystem::keep_from(&dev, devices).during("keep from devices", "/dev")?;
    let dev = dev.as_fd();
    for (name, major, minor) in NODES {
        make_node(dev, name, (major, minor), devices).during("make the device", format!("/dev/{name}"))?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, dev, name).during("make the link", format!("/dev/{name}"))?;
    }
    let pts = terminals().during("mount", "/dev/pts")?;
    put_in(dev, "pts", &pts).during("mount", "/dev/pts")?;
    let shm_size = shm_size.to_string();
    let shm = filesystem::new("tmpfs", &[("mode", "1777"), ("size", &shm_size)], INERT).during("mount", "/dev/shm")?;
    put_in(dev, "shm", shm).during("mount", "/dev/shm")?;
    // A kernel may have been built without message queues.
    if let Ok(queues) = filesystem::new("mqueue", &[], INERT) {
        put_in(dev, "mqueue", queues).during("mount", "/dev/mqueue")?;
    }
    if !with_terminal {
        return Ok(None);
    }
    let (terminal, name) = open_terminal(pts.as_fd()).during("open a terminal in", "/dev/pts")?;
    let console = filesystem::copy_at(pts.as_fd(), &name).during("find the terminal in", "/dev/pts")?;
    root.put(console, "/dev/console", Kind::File)?;
    Ok(Some(terminal))
}

/// The machine's own devices that a step without limits may use, as far as there are any.
///
/// In a user namespace nobody may use them, and the kernel does not let them be made.
pub(super) fn lend(root: &Root) {
    let Ok(Some(dev)) = root.find("/dev") else { return };
    let _ = rooted::make_directory(&dev, std::ffi::OsStr::new("net"));
    let loops = (0..LOOPS).map(|number| (format!("loop{number}"), FileType::BlockDevice, 7, number));
    let machine = MACHINE.map(|(name, major, minor)| (name.to_owned(), FileType::CharacterDevice, major, minor));
    for (name, kind, major, minor) in machine.into_iter().chain(loops) {
        let mode = Mode::from_raw_mode(0o600);
        // What is missing the step will miss, if it needs it at all.
        let _ = rustix::fs::mknodat(&dev, &name, kind, mode, makedev(major, minor));
    }
}

fn make_node(dev: BorrowedFd<'_>, name: &str, (major, minor): (u32, u32), devices: Devices) -> io::Result<()> {
    if devices == Devices::Unopenable {
        return lend_node(dev, name);
    }
    let made = rustix::fs::mknodat(
        dev,
        name,
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        makedev(major, minor),
    );
    // In a user namespace nobody may make devices; the host's own do as well.
    made.or_else(|_| lend_node(dev, name))
}

/// The host's own device, which is on a mount of its own.
fn lend_node(dev: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let point = rooted::find_or_make(dev, Path::new(name), Kind::File)?;
    let device = filesystem::copy(&Path::new("/dev").join(name), Depth::One)?;
    filesystem::attach(device, point)
}

fn terminals() -> io::Result<OwnedFd> {
    let common = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];
    let with_group = [common[0], common[1], common[2], ("gid", "5")];
    filesystem::new("devpts", &with_group, NO_PROGRAMS_OF_ROOT)
        // In a small user namespace there may be no group 5.
        .or_else(|_| filesystem::new("devpts", &common, NO_PROGRAMS_OF_ROOT))
}

/// A terminal of the file system `pts`, and its name there.
pub(super) fn open_terminal(pts: BorrowedFd<'_>) -> io::Result<(Terminal, String)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let outer = rustix::fs::openat(pts, "ptmx", flags, Mode::empty())?;
    rustix::pty::unlockpt(&outer)?;
    let inner = rustix::pty::ioctl_tiocgptpeer(&outer, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    let name = rustix::pty::ptsname(&outer, Vec::new())?;
    let name = name.to_string_lossy();
    let name = name.rsplit('/').next().unwrap_or_default().to_owned();
    Ok((Terminal { outer, inner }, name))
}

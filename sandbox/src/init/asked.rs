//! What a step asks to have mounted besides the system's own: binds, file systems in memory, secrets.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::filesystem::{self, Depth, INERT, READ_ONLY};
use super::mounts::Root;
use crate::Mount;
use crate::groups::Devices;
use crate::rooted::{self, Found, Kind};
use crate::wire::{During, Failure};

const NO_DEVICES: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);
/// The name of a secret in a file system of its own.
const SECRET: &str = "secret";

/// Mounts one of them.
pub(super) fn put(root: &Root, mount: &Mount, devices: Devices) -> Result<(), Failure> {
    match mount {
        Mount::Bind {
            source,
            inside,
            target,
            read_only,
        } => {
            let tree = find(source, inside).during("find the source of a mount,", source.join(inside))?;
            let kind = Kind::of(&tree).during("look at the source of a mount,", source)?;
            filesystem::keep_from(&tree, devices).during("keep from devices", target)?;
            if *read_only {
                filesystem::restrict(&tree, READ_ONLY, Depth::All).during("make read-only", target)?;
            }
            root.put(tree, target, kind)
        }
        Mount::Tmpfs {
            target,
            size,
            read_only,
        } => {
            let size = size.map(|size| size.to_string());
            let options: Vec<(&str, &str)> = std::iter::once(("mode", "1777"))
                .chain(size.as_deref().map(|size| ("size", size)))
                .collect();
            let attributes = match read_only {
                true => MountAttrFlags::MOUNT_ATTR_NOSUID | READ_ONLY,
                false => MountAttrFlags::MOUNT_ATTR_NOSUID,
            };
            let tmpfs = filesystem::new("tmpfs", &options, attributes).during("mount", target)?;
            filesystem::keep_from(&tmpfs, devices).during("keep from devices", target)?;
            root.put(tmpfs, target, Kind::Directory)
        }
        Mount::Secret {
            target,
            content,
            user,
            group,
            mode,
        } => {
            let attributes = match mode & 0o111 {
                0 => INERT,
                _ => NO_DEVICES,
            };
            let scratch =
                filesystem::new("tmpfs", &[("mode", "711")], attributes).during("make a file system for", target)?;
            write_secret(&scratch, &content.0, (*user, *group), *mode).during("write", target)?;
            let [secret] = root.lift(&scratch, [SECRET])?;
            root.put(secret, target, Kind::File)
        }
    }
}

/// A mount of `inside`, which cannot lie outside of `source`.
fn find(source: &Path, inside: &str) -> io::Result<OwnedFd> {
    if inside.is_empty() {
        return filesystem::copy(source, Depth::All);
    }
    let tree = rustix::fs::openat(CWD, source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    match rooted::find(tree.as_fd(), Path::new(inside))? {
        Found::Here(place) => filesystem::copy_of(place, Depth::All),
        Found::Missing { .. } => Err(Errno::NOENT.into()),
    }
}

fn write_secret(scratch: &OwnedFd, content: &[u8], (user, group): (u32, u32), mode: u32) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(scratch, SECRET, flags, Mode::from_raw_mode(0o600))?);
    file.write_all(content)?;
    match rustix::fs::fchown(&file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group))) {
        // An id that nobody can be here: the secret stays root's.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o777))?)
}

//! Mounts as things: a file system or a copy of a tree is made first, attached after, and never found by a path that
//! someone could bend.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::groups::Devices;
use crate::sys;

/// No setuid programs, no devices, no programs.
pub(super) const INERT: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);
pub(super) const READ_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;

/// A new file system, mounted nowhere yet. An option without a value is a flag.
pub(super) fn new(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", kind)?;
    for (name, value) in options {
        match *value {
            "" => fsconfig_set_flag(&context, *name)?,
            value => fsconfig_set_string(&context, *name, value)?,
        }
    }
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// How much of a tree is copied.
#[derive(Clone, Copy, Debug)]
pub(super) enum Depth {
    /// What is mounted there.
    One,
    /// That, and all that is mounted below.
    All,
}

impl Depth {
    fn flags(self) -> OpenTreeFlags {
        let base = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        match self {
            Depth::One => base,
            Depth::All => base | OpenTreeFlags::AT_RECURSIVE,
        }
    }
}

/// Another mount of what is at `path` outside.
pub(super) fn copy(path: &Path, depth: Depth) -> io::Result<OwnedFd> {
    Ok(open_tree(CWD, path, depth.flags())?)
}

/// Another mount of `name` in `directory`.
pub(super) fn copy_at(directory: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    Ok(open_tree(directory, name, Depth::One.flags())?)
}

/// Another mount of what `fd` is.
pub(super) fn copy_of(fd: impl AsFd, depth: Depth) -> io::Result<OwnedFd> {
    Ok(open_tree(fd, "", depth.flags() | OpenTreeFlags::AT_EMPTY_PATH)?)
}

/// Takes abilities from a mount and all below it.
pub(super) fn restrict(mount: impl AsFd, attributes: MountAttrFlags, depth: Depth) -> io::Result<()> {
    sys::set_mount_attributes(mount, attributes.bits().into(), matches!(depth, Depth::All))
}

/// Lets no device be opened in a mount and all below it, if that is how a step is kept from them.
pub(super) fn keep_from(mount: impl AsFd, devices: Devices) -> io::Result<()> {
    match devices {
        Devices::AsTheyAre => Ok(()),
        Devices::Unopenable => restrict(mount, MountAttrFlags::MOUNT_ATTR_NODEV, Depth::All),
    }
}

/// Puts a mount on `target`.
pub(super) fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", target, "", flags)?)
}

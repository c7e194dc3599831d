//! From all-powerful in a world of its own to the user and the powers the command is to have.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{DumpableBehavior, Gid, Uid, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::groups::Devices;
use crate::sys::Scope;
use crate::users::Identity;
use crate::wire::{During, Failure};
use crate::{Privileges, capabilities, seccomp, sys};

/// Becomes `identity`, for good.
///
/// The order is forced: the filter needs a capability that is dropped, so it comes first and lets through what follows;
/// groups can be set only before the user is.
pub(super) fn drop_to(identity: &Identity, privileges: Privileges) -> Result<(), Failure> {
    if privileges == Privileges::Insecure {
        return keep_all(identity);
    }
    set_groups(identity).during("set the groups of the command", "")?;
    sys::keep_from_outside(&[Scope::Sockets], None).during("keep from the host's sockets", "")?;
    seccomp::install().during("install the filter of system calls", "")?;
    keep(capabilities::DEFAULT, identity)
}

/// Becomes `identity` where there are no namespaces, for good.
pub(super) fn drop_in_our_namespaces(identity: &Identity, devices: Devices) -> Result<(), Failure> {
    // Until the command is executed we are the builder's program, with its socket: whoever has the powers of a step must not
    // trace us now.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).during("keep from being traced", "")?;
    set_groups(identity).during("set the groups of the command", "")?;
    if is_confined(identity).during("ask for our capabilities", "")? {
        confine()?;
    }
    let kept = match devices {
        Devices::AsTheyAre => capabilities::WITHOUT_NAMESPACES,
        // Nothing else would keep the step from those of the machine.
        Devices::Unopenable => capabilities::WITHOUT_NAMESPACES.difference(CapabilitySet::MKNOD),
    };
    keep(kept, identity)
}

/// Whether a step of this user can be kept from what is outside of its root without losing what it needs.
///
/// Without `CAP_SYS_ADMIN` that takes from setuid programs what they give. Root has it anyway; another user has nothing else
/// (`sudo`), unless the container has taken it already.
pub(super) fn is_confined(identity: &Identity) -> io::Result<bool> {
    Ok(identity.uid == 0 || rustix::thread::no_new_privs()? || may_all()?)
}

fn may_all() -> io::Result<bool> {
    Ok(rustix::thread::capabilities(None)?
        .effective
        .contains(CapabilitySet::SYS_ADMIN))
}

fn confine() -> Result<(), Failure> {
    if !may_all().during("ask for our capabilities", "")? {
        rustix::thread::set_no_new_privs(true).during("do without setuid programs", "")?;
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tree = rustix::fs::openat(CWD, "/", flags, Mode::empty()).during("open the root", "")?;
    let scopes = [Scope::Sockets, Scope::Signals];
    sys::keep_from_outside(&scopes, Some(tree.as_fd())).during("keep from what is outside", "")?;
    match seccomp::install() {
        // A container that itself is emulated knows no filters.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::EPERM)) => Ok(()),
        installed => installed.during("install the filter of system calls", ""),
    }
}

/// Becomes `identity`, of whose programs none may ever do more than `kept`.
fn keep(kept: CapabilitySet, identity: &Identity) -> Result<(), Failure> {
    capabilities::limit_bounding_set(kept).during("limit capabilities", "")?;
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    set_thread_res_gid(gid, gid, gid).during("set the group of the command", "")?;
    set_thread_res_uid(uid, uid, uid).during("set the user of the command", "")?;
    capabilities::limit_sets(identity.uid, kept).during("drop capabilities", "")
}

/// Becomes `identity` with every capability we have, which also what it starts keeps.
fn keep_all(identity: &Identity) -> Result<(), Failure> {
    set_groups(identity).during("set the groups of the command", "")?;
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    capabilities::keep_across_users().during("keep capabilities", "")?;
    set_thread_res_gid(gid, gid, gid).during("set the group of the command", "")?;
    set_thread_res_uid(uid, uid, uid).during("set the user of the command", "")?;
    capabilities::pass_on_all().during("pass on capabilities", "")
}

fn set_groups(identity: &Identity) -> io::Result<()> {
    // The primary group is listed too: a program that gives it up must not gain by that.
    let mut groups = vec![Gid::from_raw(identity.gid)];
    groups.extend(
        identity
            .groups
            .iter()
            .filter(|gid| **gid != identity.gid)
            .map(|gid| Gid::from_raw(*gid)),
    );
    match set_thread_groups(&groups) {
        // A user namespace with a single group forbids it, and then there is nothing to give up.
        Err(rustix::io::Errno::PERM) if setgroups_is_denied() => Ok(()),
        result => Ok(result?),
    }
}

fn setgroups_is_denied() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}

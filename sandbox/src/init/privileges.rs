//! From all-powerful in a world of its own to the user and the powers the command is to have.

use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::groups::Devices;
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
    sys::keep_from_sockets_outside().during("keep from the host's sockets", "")?;
    seccomp::install().during("install the filter of system calls", "")?;
    keep(capabilities::DEFAULT, identity)
}

/// Becomes `identity` where there are no namespaces, for good.
///
/// A filter of our own, and a limit on sockets, would need `CAP_SYS_ADMIN`, or forbid setuid programs: without that
/// capability, the container's own filter has to do.
pub(super) fn drop_in_our_namespaces(identity: &Identity, devices: Devices) -> Result<(), Failure> {
    set_groups(identity).during("set the groups of the command", "")?;
    let held = rustix::thread::capabilities(None).during("ask for our capabilities", "")?;
    if held.effective.contains(CapabilitySet::SYS_ADMIN) {
        sys::keep_from_sockets_outside().during("keep from the host's sockets", "")?;
        seccomp::install().during("install the filter of system calls", "")?;
    }
    let kept = match devices {
        Devices::AsTheyAre => capabilities::WITHOUT_NAMESPACES,
        // Nothing else would keep the step from those of the machine.
        Devices::Unopenable => capabilities::WITHOUT_NAMESPACES.difference(CapabilitySet::MKNOD),
    };
    keep(kept, identity)
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

//! What root may do inside: docker's fourteen capabilities and no other.

use std::io;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// The capabilities of an ordinary step.
pub(crate) const DEFAULT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// The same for a step whose root is all that it has of its own: it may not change it again, by which it would get out, nor
/// trace us, who may.
pub(crate) const WITHOUT_NAMESPACES: CapabilitySet = DEFAULT.difference(CapabilitySet::SYS_CHROOT);

/// Takes from the bounding set what no program of the step, setuid or not, may ever get.
pub(crate) fn limit_bounding_set(to: CapabilitySet) -> io::Result<()> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if to.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            // The kernel knows no more.
            Err(Errno::INVAL) => break,
            result => result?,
        }
    }
    Ok(())
}

/// Leaves root these, and nothing that a program could inherit.
///
/// Called after the change of user: another user than root has lost its sets by that already.
pub(crate) fn limit_sets(uid: u32, to: CapabilitySet) -> io::Result<()> {
    let held = if uid == 0 {
        to & rustix::thread::capabilities(None)?.permitted
    } else {
        CapabilitySet::empty()
    };
    match clear_ambient_capability_set() {
        // Kernels before 4.3 have none.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(set_capabilities(
        None,
        CapabilitySets {
            effective: held,
            permitted: held,
            inheritable: CapabilitySet::empty(),
        },
    )?)
}

/// Lets the change of user take none of them.
pub(crate) fn keep_across_users() -> io::Result<()> {
    Ok(rustix::thread::set_keep_capabilities(true)?)
}

/// Puts every capability we may have into every set, so that a program that is not root has them too.
pub(crate) fn pass_on_all() -> io::Result<()> {
    let all = rustix::thread::capabilities(None)?.permitted;
    let sets = CapabilitySets {
        effective: all,
        permitted: all,
        inheritable: all,
    };
    set_capabilities(None, sets)?;
    for capability in all.iter() {
        match configure_capability_in_ambient_set(capability, true) {
            // Kernels before 4.3 have no such set.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_set_is_the_one_docker_shows() {
        assert_eq!(DEFAULT.bits(), 0xa804_25fb);
    }
}

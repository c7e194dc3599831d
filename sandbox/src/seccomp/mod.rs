//! The filter of system calls that every step runs under: docker's default profile as a BPF program.
//!
//! [`calls`] says which calls are allowed and what their numbers are, [`compile`] makes the program. An image may hold
//! programs for the 32-bit brother of our architecture, so the program knows all that the kernel can run; a filter made
//! for one architecture alone would kill those.

mod calls;
mod compile;

use std::io;

use compile::Instruction;

/// What is done about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// It goes to the kernel.
    Allow,
    /// It fails as if the kernel did not have it: the C libraries then use an older one which can be judged.
    Missing,
    /// It goes to the kernel unless it would make a namespace.
    CloneWithoutNamespaces,
    /// It goes to the kernel if it asks for one of the harmless personalities.
    KnownPersonality,
    /// It goes to the kernel unless the family is the kernel's cryptography or the hypervisor's sockets.
    OrdinarySocket,
    /// It fails: not permitted.
    Deny,
}

/// Puts this process, and all it will start, under the filter.
///
/// Needs `CAP_SYS_ADMIN` in the user namespace, or that setuid programs give nothing (`no_new_privs`).
pub(crate) fn install() -> io::Result<()> {
    let machine = std::env::consts::ARCH;
    let family = compile::family(machine)
        .ok_or_else(|| io::Error::other(format!("the system calls of `{machine}` are not known")))?;
    let program: Vec<libc::sock_filter> = compile::program(family)
        .into_iter()
        .map(|Instruction { code, jt, jf, k }| libc::sock_filter { code, jt, jf, k })
        .collect();
    crate::sys::install_filter(&program)
}

#[cfg(test)]
mod tests;

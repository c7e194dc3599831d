//! System calls that no safe wrapper has. Each function is safe to call; why, is said at each block.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

const LAST_SIGNAL: libc::c_int = 64;

/// Which of the two processes after a fork this is.
pub(crate) enum Fork {
    /// The new one.
    Child,
    /// The old one, and the number of the new one.
    Parent(Pid),
}

/// Doubles this process. Refused while there is more than one thread, because the child would hold locks for ever that
/// another thread had.
pub(crate) fn fork() -> io::Result<Fork> {
    if std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1) {
        return Err(io::Error::other("several threads are running"));
    }
    // SAFETY: there is one thread, so no lock and no half-done allocation of another is copied.
    match unsafe { libc::fork() } {
        0 => Ok(Fork::Child),
        child => Pid::from_raw(child)
            .filter(|_| child > 0)
            .map(Fork::Parent)
            .ok_or_else(io::Error::last_os_error),
    }
}

/// Leaves namespaces for new ones.
pub(crate) fn unshare(namespaces: UnshareFlags) -> rustix::io::Result<()> {
    debug_assert!(!namespaces.contains(UnshareFlags::FILES));
    // SAFETY: the table of descriptors stays shared, so no descriptor changes its meaning in any thread.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }
}

/// Closes every descriptor from `first` on, whoever opened it.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: called by a process that has just begun and owns no descriptor above standard error.
    outcome(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) })
}

/// Turns attributes of a mount on, and of all below it if `recursive`.
pub(crate) fn set_mount_attributes(mount: impl AsFd, attributes: u64, recursive: bool) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty string and `attributes` lives until the call returns; the size is its own.
    outcome(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })
}

/// Puts this process under a filter of system calls, for good.
pub(crate) fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::other("the filter is too long"))?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    let install = |flags: libc::c_ulong| {
        // SAFETY: `program` points to `length` instructions, which the kernel reads, checks and copies.
        outcome(unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        })
    };
    // Steps need no protection from themselves, and the kernel's is slow; old kernels do not know the flag.
    install(libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW).or_else(|_| install(0))
}

/// Gives every signal its default effect and blocks none, as a program expects to start.
pub(crate) fn reset_signals() {
    // The kernel's own structure (no handler, flags, restorer or mask), because libc keeps two signals to itself that
    // whoever started us may have had ignored.
    let default = [0_u64; 4];
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: the default action runs no code of ours. Refused for SIGKILL and SIGSTOP, which have it always.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const default,
                0_usize,
                size_of::<u64>(),
            )
        };
    }
    // SAFETY: the set is initialised by `sigemptyset` before it is read.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Turns the loopback interface of our network namespace on.
pub(crate) fn bring_up_loopback(socket: impl AsFd) -> io::Result<()> {
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is an `ifreq` with name and flags, which is what this one reads.
    outcome(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }.into())
}

fn outcome(result: libc::c_long) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

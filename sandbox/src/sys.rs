//! System calls that no safe wrapper has. Each function is safe to call; why, is said at each block.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

const LAST_SIGNAL: libc::c_int = 64;

/// Which of the two processes after a fork this is.
pub(crate) enum Fork {
    /// The new one, number 1 of its process namespace if it has one.
    Child,
    /// The old one: the number of the new one, and a descriptor that becomes readable at its end.
    Parent(Pid, OwnedFd),
}

/// In which process namespace a new process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Processes {
    /// In one that it begins.
    OfItsOwn,
    /// In ours.
    Ours,
}

/// Doubles this process; the new one is in this control group of the new hierarchy from its beginning if one is given.
/// Refused while there is more than one thread, because the child would hold locks for ever that another thread had.
pub(crate) fn fork(processes: Processes, group: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    if std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1) {
        return Err(io::Error::other("several threads are running"));
    }
    let mut handle: libc::c_int = -1;
    let namespace = match processes {
        Processes::OfItsOwn => libc::CLONE_NEWPID,
        Processes::Ours => 0,
    };
    let child = match group {
        None => {
            let flags = namespace | libc::CLONE_PIDFD | libc::SIGCHLD;
            // SAFETY: without a stack and without CLONE_VM this is a fork; there is one thread, so no lock and no
            // half-done allocation of another is copied. The kernel writes the descriptor to `handle`, and only in the
            // parent.
            unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, &raw mut handle, 0_usize, 0_usize) }
        }
        Some(group) => {
            let arguments = CloneArguments {
                flags: (namespace | libc::CLONE_PIDFD) as u64 | CLONE_INTO_CGROUP,
                pidfd: &raw mut handle as u64,
                exit_signal: libc::SIGCHLD as u64,
                cgroup: group.as_raw_fd() as u64,
                ..CloneArguments::default()
            };
            // SAFETY: as above; the kernel reads `arguments`, whose size is its own, and writes to `handle`.
            unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArguments>()) }
        }
    };
    match child {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        child => {
            // SAFETY: the kernel has just made this descriptor for us.
            let handle = unsafe { OwnedFd::from_raw_fd(handle) };
            let child = i32::try_from(child).ok().and_then(Pid::from_raw);
            child
                .map(|child| Fork::Parent(child, handle))
                .ok_or_else(|| io::Error::other("the new process has no number"))
        }
    }
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args`.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

// linux/bpf.h
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// Gives the kernel a program that judges the opening of devices.
pub(crate) fn load_device_program(instructions: &[u64]) -> io::Result<OwnedFd> {
    /// The part of `union bpf_attr` that loading needs.
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        licence: u64,
        log: [u64; 2],
        version: u32,
        flags: u32,
        name: [u8; 16],
        interface: u32,
        attach_kind: u32,
    }
    let load = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr() as u64,
        licence: c"Apache-2.0".as_ptr() as u64,
        log: [0; 2],
        version: 0,
        flags: 0,
        name: *b"rbuild_devices\0\0",
        interface: 0,
        attach_kind: BPF_CGROUP_DEVICE,
    };
    // SAFETY: `load` points to `count` instructions and to a text that ends in NUL, which the kernel copies in the call.
    let program = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<Load>()) };
    match i32::try_from(program) {
        // SAFETY: the kernel has just made this descriptor for us; it is closed on exec, and nobody else knows it.
        Ok(program) if program >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(program) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Puts a control group of the new hierarchy, and all below it, under such a program besides those it has.
pub(crate) fn attach_device_program(group: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let attach: [u32; 4] = [
        group.as_fd().as_raw_fd().cast_unsigned(),
        program.as_fd().as_raw_fd().cast_unsigned(),
        BPF_CGROUP_DEVICE,
        BPF_F_ALLOW_MULTI,
    ];
    // SAFETY: both descriptors are open, and the words are what attaching reads.
    outcome(unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attach, size_of_val(&attach)) })
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

/// Closes all descriptors above standard error but those of `kept`.
pub(crate) fn close_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut numbers: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).collect();
    numbers.sort_unstable();
    let mut first = 3;
    for number in numbers.into_iter().filter(|number| *number >= 3) {
        if first < number {
            // SAFETY: called by a process that uses no other descriptors until it becomes another program or exits.
            outcome(unsafe { libc::syscall(libc::SYS_close_range, first, number - 1, 0) })?;
        }
        first = number + 1;
    }
    close_from(first)
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

/// What may be kept among a process and all it will start, by the numbers of linux/landlock.h.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope {
    /// Connections to sockets without a file.
    Sockets = 1,
    /// Signals.
    Signals = 2,
}

const LANDLOCK_ACCESS_FS_EXECUTE: u64 = 1;
const LANDLOCK_ACCESS_FS_READ_FILE: u64 = 1 << 2;
/// What can be done with files since Linux 5.19 (before, nothing could be moved between folders), but for reading them: the
/// kernel itself does that with an emulator, which lies outside.
const LANDLOCK_FILES: u64 = ((1 << 14) - 1) & !(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE);
const LANDLOCK_CREATE_RULESET_VERSION: u64 = 1;
const LANDLOCK_RULE_PATH_BENEATH: u64 = 1;

/// Keeps this process, and all it will start, from what is outside of `scopes`, from writing, making, listing or removing
/// files outside of `tree`, and from tracing anybody outside.
///
/// Without effect where the kernel cannot do it: scopes are there since Linux 6.12, trees since 5.19.
pub(crate) fn keep_from_outside(scopes: &[Scope], tree: Option<BorrowedFd<'_>>) -> io::Result<()> {
    /// `struct landlock_ruleset_attr`.
    #[repr(C)]
    struct Rules {
        files: u64,
        network: u64,
        scoped: u64,
    }
    /// `struct landlock_path_beneath_attr`.
    #[repr(C, packed)]
    struct Beneath {
        allowed: u64,
        parent: i32,
    }
    let create = |rules: *const Rules, size: usize, flags: u64| {
        // SAFETY: the kernel reads `size` bytes of `rules`, or none.
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, rules, size, flags) }
    };
    let version = create(std::ptr::null(), 0, LANDLOCK_CREATE_RULESET_VERSION);
    let tree = tree.filter(|_| version >= 2);
    let scoped = scopes.iter().filter(|_| version >= 6);
    let rules = Rules {
        files: tree.map_or(0, |_| LANDLOCK_FILES),
        network: 0,
        scoped: scoped.fold(0, |scoped, scope| scoped | *scope as u64),
    };
    if rules.files | rules.scoped == 0 {
        return Ok(());
    }
    let made = match i32::try_from(create(&raw const rules, size_of::<Rules>(), 0)) {
        // SAFETY: the kernel has just made this descriptor for us; it is closed on exec.
        Ok(made) if made >= 0 => unsafe { OwnedFd::from_raw_fd(made) },
        _ => return Err(io::Error::last_os_error()),
    };
    if let Some(tree) = tree {
        let beneath = Beneath {
            allowed: LANDLOCK_FILES,
            parent: tree.as_raw_fd(),
        };
        // SAFETY: the kernel reads `beneath`, which is as it has it.
        outcome(unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                made.as_raw_fd(),
                LANDLOCK_RULE_PATH_BENEATH,
                &raw const beneath,
                0,
            )
        })?;
    }
    // SAFETY: two numbers, and what it does to this thread is what is wanted.
    outcome(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, made.as_raw_fd(), 0) })
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

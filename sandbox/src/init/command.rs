//! Pid 1 of a step: makes its world, enters it, and becomes the command.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Gid, Signal, Uid};
use rustix::thread::UnshareFlags;

use super::alike::Share;
use super::devices::Terminal;
use super::mounts::Root;
use super::privileges;
use crate::limits::KnownLimit;
use crate::rooted::{self, Found};
use crate::users::Identity;
use crate::wire::{During, Failure, Plan, Report, send};
use crate::{Network, Spec, Stdio, sys};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns only if it fails. `watched` ends when the supervisor does.
pub(super) fn become_command(
    plan: &Plan,
    control: BorrowedFd<'_>,
    watched: &OwnedFd,
    share: Share<'_>,
) -> Result<Infallible, Failure> {
    let spec = &plan.spec;
    rustix::process::setsid().during("make a session", "")?;
    // Before the namespaces: the step is to see its own groups as the top.
    for group in &plan.membership.moved {
        std::fs::write(group.join("cgroup.procs"), "0").during("enter the control group", group)?;
    }
    separate(plan)?;
    rustix::process::umask(Mode::empty());
    let (root, terminal) = Root::build(plan, &share)?;
    drop(share);
    root.enter().during("enter the root", "")?;
    rustix::system::sethostname(spec.hostname.as_bytes()).during("set the host name", "")?;
    begin(plan, (terminal, control), watched, || {
        privileges::drop_to(&plan.identity, spec.privileges)
    })
}

/// The same without namespaces, on a root that has been furnished; returns only if it fails.
pub(super) fn become_command_on(
    root: BorrowedFd<'_>,
    plan: &Plan,
    (terminal, control): (Option<Terminal>, BorrowedFd<'_>),
    watched: &OwnedFd,
) -> Result<Infallible, Failure> {
    rustix::process::setsid().during("make a session", "")?;
    for group in &plan.membership.moved {
        std::fs::write(group.join("cgroup.procs"), "0").during("enter the control group", group)?;
    }
    rustix::process::fchdir(root)
        .and_then(|()| rustix::process::chroot("."))
        .and_then(|()| rustix::process::chdir("/"))
        .during("enter the root", "")?;
    begin(plan, (terminal, control), watched, || {
        privileges::drop_in_our_namespaces(&plan.identity, plan.membership.devices)
    })
}

/// What is left to do inside.
fn begin(
    plan: &Plan,
    (terminal, control): (Option<Terminal>, BorrowedFd<'_>),
    watched: &OwnedFd,
    drop_privileges: impl FnOnce() -> Result<(), Failure>,
) -> Result<Infallible, Failure> {
    let spec = &plan.spec;
    // Whatever else we have came from outside, and a directory among it would be a way there: by `/proc/self/fd`, in the
    // working directory, the program or `PATH`.
    let mut needed = vec![control, watched.as_fd()];
    if let Some(Terminal { outer, inner }) = &terminal {
        needed.extend([outer.as_fd(), inner.as_fd()]);
    }
    sys::close_all_but(&needed).during("close what is not the step's", "")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    enter_working_directory(&spec.working_directory, &plan.identity)?;
    connect(spec.stdio, terminal, control, &plan.identity)?;
    // Late, because we have to live under them ourselves.
    set_limits(spec)?;
    drop_privileges()?;
    stay_bound(watched)?;
    execute(spec)
}

/// Leaves the namespaces of the caller.
fn separate(plan: &Plan) -> Result<(), Failure> {
    let mut namespaces = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP;
    if plan.spec.network == Network::None {
        namespaces |= UnshareFlags::NEWNET;
    }
    sys::unshare(namespaces).during("make namespaces", "")?;
    if plan.spec.network == Network::None {
        let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
            .during("open a socket", "")?;
        sys::bring_up_loopback(socket).during("turn on the loopback interface", "")?;
    }
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .during("keep mounts to ourselves at", "/")
}

fn set_limits(spec: &Spec) -> Result<(), Failure> {
    for limit in &spec.limits {
        // Checked by the caller already.
        if let Ok(known) = KnownLimit::parse(limit) {
            known
                .apply()
                .during(&format!("set the resource limit `{}`", limit.resource), "")?;
        }
    }
    Ok(())
}

/// Goes to the working directory; what of it is missing is made and given to the user.
///
/// The path is an image's: links are followed by hand, so that those of `/proc` lead to what they say and nowhere else.
fn enter_working_directory(path: &str, identity: &Identity) -> Result<(), Failure> {
    let path = Path::new(if path.is_empty() { "/" } else { path });
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, "/", flags, Mode::empty()).during("open", "/")?;
    let directory = match rooted::find(root.as_fd(), path).during("find the working directory", path)? {
        Found::Here(directory) => directory,
        Found::Missing { parent, names } => {
            make_directories(parent, &names, identity).during("make the working directory", path)?
        }
    };
    rustix::process::fchdir(&directory).during("change to the working directory", path)?;
    let here = rustix::process::getcwd(Vec::new()).during("find the working directory", path)?;
    if here.to_bytes().first() != Some(&b'/') {
        let error = io::Error::other("it is outside of the step's root");
        return Err(Failure::setup("change to the working directory", path, &error));
    }
    Ok(())
}

/// Makes directories, one in the other, of which the last is given back.
fn make_directories(parent: OwnedFd, names: &[OsString], identity: &Identity) -> io::Result<OwnedFd> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let mut here = parent;
    for name in names {
        let made = rooted::make_directory(&here, name)?;
        rustix::fs::chownat(&made, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        here = made;
    }
    Ok(here)
}

/// Sees to input and output. The user gets what is ours of them, so that `/dev/stdout` can be opened.
fn connect(
    stdio: Stdio,
    terminal: Option<Terminal>,
    control: BorrowedFd<'_>,
    identity: &Identity,
) -> Result<(), Failure> {
    let uid = Some(Uid::from_raw(identity.uid));
    match (stdio, terminal) {
        (Stdio::Terminal, Some(Terminal { outer, inner })) => {
            send(control, &Report::Terminal, &[outer.as_fd()]).during("hand out the terminal", "")?;
            rustix::process::ioctl_tiocsctty(&inner).during("take the terminal", "")?;
            rustix::fs::fchown(&inner, uid, None).during("give away the terminal", "")?;
            rustix::stdio::dup2_stdin(&inner)
                .and_then(|()| rustix::stdio::dup2_stdout(&inner))
                .and_then(|()| rustix::stdio::dup2_stderr(&inner))
                .during("connect the terminal", "")
        }
        (Stdio::Captured, _) => {
            // Our own /dev/null: the one inherited is outside. It stays where a mount of the step hides ours.
            match rustix::fs::openat(CWD, "/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
                Err(Errno::NOENT) => {}
                opened => {
                    let nothing = opened.during("open", "/dev/null")?;
                    rustix::stdio::dup2_stdin(nothing).during("connect", "/dev/null")?;
                }
            }
            rustix::fs::fchown(rustix::stdio::stdout(), uid, None)
                .and_then(|()| rustix::fs::fchown(rustix::stdio::stderr(), uid, None))
                .during("give away the output", "")
        }
        _ => Ok(()),
    }
}

/// Asks the kernel to kill us with the supervisor, and makes sure that it is not dead already.
///
/// After the change of user, which would make the kernel forget.
fn stay_bound(watched: &OwnedFd) -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).during("bind to the supervisor's life", "")?;
    let mut events = [PollFd::new(watched, PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut events, Some(&now)) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Failure::setup(
            "find the supervisor",
            "",
            &io::Error::other("it is gone"),
        )),
        Err(error) => Err(error).during("find the supervisor", ""),
    }
}

fn execute(spec: &Spec) -> Result<Infallible, Failure> {
    let program = find_program(&spec.args[0], &spec.env)?;
    let terminated = |text: &str| {
        CString::new(text)
            .map_err(io::Error::from)
            .during("pass on an argument", "")
    };
    let args = spec
        .args
        .iter()
        .map(|arg| terminated(arg))
        .collect::<Result<Vec<_>, _>>()?;
    let env = spec
        .env
        .iter()
        .map(|variable| terminated(variable))
        .collect::<Result<Vec<_>, _>>()?;
    let path = CString::new(program.as_os_str().as_bytes())
        .map_err(io::Error::from)
        .during("find", &program)?;
    sys::reset_signals();
    let Err(error) = nix::unistd::execve(&path, &args, &env);
    let reason = reason(Errno::from_raw_os_error(error as i32));
    Err(Failure::Program {
        message: format!("exec {}: {reason}", program.display()),
    })
}

/// The file that `name` means, by the `PATH` among `env`; errors are worded as docker's.
fn find_program(name: &str, env: &[String]) -> Result<PathBuf, Failure> {
    let not_started = |reason: String| Failure::Program {
        message: format!("exec: {name:?}: {reason}"),
    };
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(Errno::NOENT) => Err(not_started(format!("stat {name}: no such file or directory"))),
            Err(Errno::NOTDIR) => Err(not_started(format!("stat {name}: not a directory"))),
            Err(error) => Err(not_started(reason(error))),
        };
    }
    let path = env
        .iter()
        .rev()
        .find_map(|variable| variable.strip_prefix("PATH="))
        .unwrap_or(DEFAULT_PATH);
    path.split(':')
        .map(|directory| Path::new(if directory.is_empty() { "." } else { directory }).join(OsStr::new(name)))
        .find(|candidate| !name.is_empty() && executable(candidate).is_ok())
        .ok_or_else(|| not_started("executable file not found in $PATH".to_owned()))
}

fn executable(path: &Path) -> Result<(), Errno> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::empty())?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        // Root passes that test on a file that nobody may execute.
        Ok(()) if stat.st_mode & 0o111 == 0 => Err(Errno::ACCESS),
        result => result,
    }
}

/// The text of an error alone, as C has it.
fn reason(error: Errno) -> String {
    match error {
        Errno::NOENT => "no such file or directory".to_owned(),
        Errno::ACCESS => "permission denied".to_owned(),
        Errno::NOEXEC => "exec format error".to_owned(),
        Errno::ISDIR => "is a directory".to_owned(),
        Errno::TOOBIG => "argument list too long".to_owned(),
        error => {
            let text = io::Error::from(error).to_string();
            text.split(" (os error").next().unwrap_or_default().to_lowercase()
        }
    }
}

//! What runs between the caller and the command: our own program, started again with one thread.
//!
//! The supervisor stays outside of the step's process namespace, waits for pid 1 and tells how it ended. It kills the
//! step when the caller hangs up, by wish or by death; and when the supervisor itself is killed, the kernel kills pid 1,
//! and with it everything in the namespace.

mod asked;
mod command;
mod devices;
mod filesystem;
mod mounts;
mod privileges;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};
use rustix::thread::UnshareFlags;

use crate::sys::{self, Fork};
use crate::wire::{During, Failure, Inbox, Plan, Report, send};

/// The name under which our program is started again.
pub(crate) const NAME: &str = "rbuild-init";
/// The first argument of the one that writes the id maps of its parent.
pub(crate) const MAP: &str = "map";

/// First thing in `main`: if this process was started as one of the sandbox's own, does that work and never returns.
#[expect(clippy::exit, reason = "the process has no other purpose")]
pub fn init_if_asked() {
    let mut args = std::env::args_os();
    if args.next().as_deref() != Some(OsStr::new(NAME)) {
        return;
    }
    let done = match args.next() {
        Some(argument) if argument == MAP => crate::userns::map_for_caller(args),
        _ => supervise(),
    };
    std::process::exit(i32::from(done.is_err()));
}

fn supervise() -> io::Result<()> {
    let control = take_control()?;
    let mut inbox = Inbox::new(control.try_clone()?);
    let Some(plan) = inbox.wait::<Plan>()? else {
        return Ok(());
    };
    let report = match start(&plan, &mut inbox, &control) {
        Ok(step) => watch(&step, &control)?,
        Err(failure) => Report::Failed(failure),
    };
    send(&control, &report, None)
}

/// Moves the socket away from standard input and closes whatever else we inherited.
fn take_control() -> io::Result<OwnedFd> {
    sys::close_from(3)?;
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let nothing = rustix::fs::openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(nothing)?;
    Ok(control)
}

/// Pid 1 of the step, seen from outside.
struct Step {
    pid: Pid,
    handle: OwnedFd,
    /// Closed with us: so the step knows that we are alive.
    _alive: OwnedFd,
}

fn start(plan: &Plan, inbox: &mut Inbox, control: &OwnedFd) -> Result<Step, Failure> {
    // A key pressed on the caller's terminal is for the caller alone.
    let _ = rustix::process::setsid();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).during("bind to the caller's life", "")?;
    if rustix::process::getppid().map(|parent| parent.as_raw_nonzero().get()) != Some(plan.caller) {
        return Err(Failure::setup("find the caller", "", &io::Error::other("it is gone")));
    }
    if let Some(stdin) = inbox.take_fd() {
        rustix::stdio::dup2_stdin(stdin).during("take over the standard input", "")?;
    }
    let (watched, alive) = pipe_with(PipeFlags::CLOEXEC).during("make a pipe", "")?;
    sys::unshare(UnshareFlags::NEWPID).during("make a process namespace", "")?;
    match sys::fork().during("fork", "")? {
        Fork::Child => {
            drop(alive);
            run_command(plan, control, &watched)
        }
        Fork::Parent(pid) => {
            let handle = pidfd_open(pid, PidfdFlags::empty()).during("watch the step", "")?;
            Ok(Step {
                pid,
                handle,
                _alive: alive,
            })
        }
    }
}

#[expect(clippy::exit, reason = "what is not the command must not go on as the supervisor")]
fn run_command(plan: &Plan, control: &OwnedFd, watched: &OwnedFd) -> ! {
    let Err(failure) = command::become_command(plan, control, watched);
    let _ = send(control, &Report::Failed(failure), None);
    std::process::exit(127)
}

/// Waits for the step, and kills it when the caller hangs up.
fn watch(step: &Step, control: &OwnedFd) -> io::Result<Report> {
    let mut killed = false;
    loop {
        let caller = if killed {
            PollFlags::empty()
        } else {
            PollFlags::IN | PollFlags::RDHUP
        };
        let mut events = [PollFd::new(&step.handle, PollFlags::IN), PollFd::new(control, caller)];
        match poll(&mut events, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !killed && !events[1].revents().is_empty() {
            let _ = pidfd_send_signal(step.handle.as_fd(), Signal::KILL);
            killed = true;
        }
        if !events[0].revents().is_empty() {
            break;
        }
    }
    // Pid 1 is waited for only after the kernel has killed and reaped all others in its namespace.
    loop {
        match waitpid(Some(step.pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                return Ok(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Report::Exited(code),
                    (None, signal) => Report::Signaled(signal.unwrap_or(libc::SIGKILL)),
                });
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

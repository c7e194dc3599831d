//! Who watches over a step that has no namespaces: a process beside the supervisor, one for each step.
//!
//! ```text
//! supervisor ── forks ──▶ this ── forks ──▶ the command, in the changed root
//!                          │ 0. waits for steps that must not run beside this one    (locks)
//!                          │ 1. puts files where the step is to see mounts            (furnish, places, copy)
//!                          │ 2. waits, and adopts what the command's children leave   (orphans)
//!                          │ 3. ends all of them, puts back what was there, reports how the command ended
//! ```
//!
//! It is never killed by us, because what it moved has to be put back: it hears that the caller hung up, or that the
//! supervisor is gone, and goes on with 3. Killed by somebody else, it takes the command with it; its other processes
//! become the supervisor's, which ends them, and the root is as the step left it: the run fails.

mod copy;
mod furnish;
mod locks;
mod orphans;
mod places;
mod relay;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Pid, WaitOptions, WaitStatus, getpid, set_child_subreaper, wait};

pub(super) use orphans::end as end_orphans;

use super::devices::{self, Terminal};
use super::{Lent, Supervisor, command, connect, privileges};
use crate::Stdio;
use crate::sys::{self, Fork, Processes};
use crate::wire::{During, Failure, Inbox, Plan, Report, send};
use locks::{Company, Locks, Waiting};
use places::Places;
use relay::Relay;

/// How often the dead of whom nobody hears are buried.
const NOW_AND_THEN: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The rest of the life of this process.
#[expect(clippy::exit, reason = "what watches over a step must not go on as the supervisor")]
pub(super) fn watch_over(supervisor: &mut Supervisor, lent: Lent) -> ! {
    // The caller's socket has to end with the supervisor: a copy of nothing takes its place here.
    if let Ok(nothing) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) {
        supervisor.orders = Inbox::new(nothing);
    }
    let Lent {
        control,
        stdin,
        output,
        group,
    } = lent;
    let mut inbox = Inbox::new(control);
    let plan = inbox.wait::<Plan>().during("hear what to do", "").and_then(|plan| {
        plan.ok_or_else(|| Failure::setup("hear what to do", "", &io::Error::other("the caller is gone")))
    });
    let watch = Watch {
        control: inbox.as_fd(),
        supervisor: &supervisor.watched,
    };
    let streams = Streams { stdin, output, group };
    let report = plan.and_then(|plan| watch.run(&plan, streams));
    // A caller that has gone meanwhile need not be told.
    let _ = send(&inbox, &report.unwrap_or_else(Report::Failed), &[]);
    std::process::exit(0)
}

/// What the command is lent.
struct Streams {
    stdin: Option<OwnedFd>,
    output: Option<(OwnedFd, OwnedFd)>,
    group: Option<OwnedFd>,
}

/// Through what we hear that the step is to end.
struct Watch<'a> {
    /// The caller hangs it up.
    control: BorrowedFd<'a>,
    /// Ends when the supervisor does.
    supervisor: &'a OwnedFd,
}

impl Watch<'_> {
    fn run(&self, plan: &Plan, streams: Streams) -> Result<Report, Failure> {
        set_child_subreaper(Some(getpid())).during("adopt what the step leaves", "")?;
        rustix::process::umask(Mode::empty());
        let Some(_locks) = self.wait_for_others(plan)? else {
            return Ok(Report::Signaled(libc::SIGKILL));
        };
        let root = &plan.spec.root;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(CWD, root, flags, Mode::empty()).during("open the root", root)?;
        let mut places = Places::in_root(root, &opened).during("make a place beside the root", root)?;
        let ran = furnish::furnish(&mut places, plan).and_then(|relays| self.step(plan, &opened, streams, &relays));
        orphans::end(&[]);
        // What a step that was cut short did to a copy is not kept.
        let cleared = places.clear(matches!(ran, Ok(Some(_))));
        let report = ran?.unwrap_or(Report::Signaled(libc::SIGKILL));
        cleared?;
        Ok(report)
    }

    /// What this step has to itself, and that it may run now; nothing if it has to end before.
    fn wait_for_others(&self, plan: &Plan) -> Result<Option<Locks>, Failure> {
        let waiting = Waiting {
            is_over: &|| self.is_over(),
            // A caller that has gone is noticed elsewhere.
            say: &|reason| drop(send(self.control, &Report::Waits(reason.to_owned()), &[])),
        };
        let mut locks = Locks::new();
        // What `rbuild run` runs is chosen by who sees it, and may run for days.
        if plan.spec.stdio == Stdio::Captured {
            let company = match privileges::is_confined(&plan.identity).during("ask for our capabilities", "")? {
                true => Company::Any,
                false => Company::None,
            };
            let Some(lock) = waiting.for_company(company)? else {
                return Ok(None);
            };
            locks.push(lock);
        }
        let sources = waiting.for_sources(&plan.spec.mounts)?;
        Ok(sources.map(|sources| locks.into_iter().chain(sources).collect()))
    }

    /// Runs the command; nothing if it has to end before it wants to.
    fn step(&self, plan: &Plan, root: &OwnedFd, streams: Streams, relays: &[Relay]) -> Result<Option<Report>, Failure> {
        let terminal = match plan.spec.stdio {
            Stdio::Terminal => Some(open_terminal().during("open a terminal in", "/dev/pts")?),
            _ => None,
        };
        let outputs = Relay::outputs(relays, streams.output.as_ref()).during("keep the output", "")?;
        let forked = sys::fork(Processes::Ours, streams.group.as_ref().map(AsFd::as_fd));
        match forked.during("make a process for the command", "")? {
            Fork::Child => become_command(plan, root, self, streams, terminal),
            Fork::Parent(pid, handle) => {
                drop((streams, terminal));
                let ended = self.accompany(pid, &handle, relays, &outputs);
                ended.during("wait for the command", "")
            }
        }
    }

    /// Passes on what is written to files in `/dev`, until the command ends or is to end.
    fn accompany(
        &self,
        pid: Pid,
        handle: &OwnedFd,
        relays: &[Relay],
        outputs: &[OwnedFd],
    ) -> io::Result<Option<Report>> {
        loop {
            let mut events = vec![
                PollFd::new(handle, PollFlags::IN),
                PollFd::from_borrowed_fd(self.control, PollFlags::RDHUP),
                PollFd::new(self.supervisor, PollFlags::IN),
            ];
            events.extend(relays.iter().map(|relay| PollFd::new(relay, PollFlags::IN)));
            match poll(&mut events, Some(&NOW_AND_THEN)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let is_over = [&events[1], &events[2]].iter().any(|event| !event.revents().is_empty());
            for (relay, output) in relays.iter().zip(outputs) {
                relay.pass_on(output);
            }
            if let Some(status) = bury(pid)? {
                // What it wrote at last.
                for (relay, output) in relays.iter().zip(outputs) {
                    relay.empty(output);
                }
                return Ok(Some(report(status)));
            }
            if is_over {
                return Ok(None);
            }
        }
    }

    /// Whether nobody waits for the step any more; looked for a moment.
    fn is_over(&self) -> bool {
        let mut events = [
            PollFd::from_borrowed_fd(self.control, PollFlags::RDHUP),
            PollFd::new(self.supervisor, PollFlags::IN),
        ];
        let moment = Timespec {
            tv_sec: 0,
            tv_nsec: 50_000_000,
        };
        poll(&mut events, Some(&moment)).is_ok_and(|count| count > 0)
    }
}

/// The rest of the life of the command's process.
#[expect(
    clippy::exit,
    reason = "what is not the command must not go on as who watches over it"
)]
fn become_command(plan: &Plan, root: &OwnedFd, watch: &Watch<'_>, streams: Streams, terminal: Option<Terminal>) -> ! {
    let Streams { stdin, output, .. } = streams;
    let failure = match connect(stdin, output) {
        Ok(()) => {
            let inside = (terminal, watch.control);
            let Err(failure) = command::become_command_on(root.as_fd(), plan, inside, watch.supervisor);
            failure
        }
        Err(failure) => failure,
    };
    let _ = send(watch.control, &Report::Failed(failure), &[]);
    std::process::exit(127)
}

/// Reaps all that have ended; how `command` did, if it is among them.
fn bury(command: Pid) -> io::Result<Option<WaitStatus>> {
    let mut ended = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == command => ended = Some(status),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(ended),
            Err(error) => return Err(error.into()),
        }
    }
}

fn report(status: WaitStatus) -> Report {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Report::Exited(code),
        (None, signal) => Report::Signaled(signal.unwrap_or(libc::SIGKILL)),
    }
}

/// One of the container's: the step has no file system of them, so nobody in it can open it by its name.
fn open_terminal() -> io::Result<Terminal> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let pts = rustix::fs::openat(CWD, "/dev/pts", flags, Mode::empty())?;
    Ok(devices::open_terminal(pts.as_fd())?.0)
}

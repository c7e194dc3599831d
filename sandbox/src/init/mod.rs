//! What runs between the caller and the commands: our own program, started again with one thread.
//!
//! There is one supervisor for all the steps of a caller, so that a step costs a fork and not the start of a program. It
//! forks pid 1 of each, waits for it and tells how it ended. It stays outside of the steps' process namespaces. It kills a
//! step when the caller hangs up its socket, and all of them when the caller hangs up or dies; and when the supervisor
//! itself is killed, the kernel kills pid 1 of every step, and with it everything in its namespace.
//!
//! Where there are no namespaces, what it forks watches over the step itself ([`plain`]): that one is not killed but hears of
//! the hanging up too, because it has to put back what it moved.

mod alike;
mod asked;
mod command;
mod devices;
mod filesystem;
mod mounts;
mod plain;
mod privileges;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, pidfd_send_signal, waitpid};

use alike::{Share, Stock};

use crate::sys::{self, Fork, Processes};
use crate::wire::{During, Failure, Inbox, Order, Plan, Report, World, send};

/// The name under which our program is started again.
pub(crate) const NAME: &str = "rbuild-init";
/// The first argument of the one that writes the id maps of its parent.
pub(crate) const MAP: &str = "map";
/// The first argument of the one that tries whether there are namespaces.
pub(crate) const TRY: &str = "try";

/// First thing in `main`: if this process was started as one of the sandbox's own, does that work and never returns.
#[expect(clippy::exit, reason = "the process has no other purpose")]
pub fn init_if_asked() {
    let mut args = std::env::args_os();
    if args.next().as_deref() != Some(OsStr::new(NAME)) {
        return;
    }
    let done = match args.next() {
        Some(argument) if argument == MAP => crate::userns::map_for_caller(args),
        Some(argument) if argument == TRY => crate::isolation::try_for_caller(),
        _ => supervise(),
    };
    std::process::exit(i32::from(done.is_err()));
}

fn supervise() -> io::Result<()> {
    let mut supervisor = Supervisor::begin()?;
    while supervisor.wait()? {}
    supervisor.end()
}

/// All that the supervisor has open.
struct Supervisor {
    /// Where the caller asks for steps.
    orders: Inbox,
    steps: Vec<Step>,
    /// What later steps copy.
    stock: Stock,
    /// The control groups of the steps so far. The caller removes them, unless it was killed.
    groups: BTreeSet<PathBuf>,
    /// Ends when we do: so the steps know that we are alive.
    watched: OwnedFd,
    alive: Option<OwnedFd>,
}

/// Pid 1 of a step, or who watches over it, seen from outside.
struct Step {
    world: World,
    pid: Pid,
    handle: OwnedFd,
    control: OwnedFd,
    killed: bool,
}

/// The descriptors of a step to be started.
struct Lent {
    control: OwnedFd,
    stdin: Option<OwnedFd>,
    output: Option<(OwnedFd, OwnedFd)>,
    /// The control group that the step is born in: moving it there would take longer than all else.
    group: Option<OwnedFd>,
}

impl Supervisor {
    /// Moves the socket away from standard input and closes whatever else we inherited.
    fn begin() -> io::Result<Supervisor> {
        sys::close_from(3)?;
        let orders = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        let nothing = rustix::fs::openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(&nothing)?;
        // A key pressed on the caller's terminal is for the caller alone.
        let _ = rustix::process::setsid();
        let (watched, alive) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Supervisor {
            orders: Inbox::new(orders),
            steps: Vec::new(),
            stock: Stock::Unasked,
            groups: BTreeSet::new(),
            watched,
            alive: Some(alive),
        })
    }

    /// Waits for something to happen and deals with it; false when the caller is gone.
    fn wait(&mut self) -> io::Result<bool> {
        let mut events = vec![PollFd::new(&self.orders, PollFlags::IN)];
        for step in &self.steps {
            events.push(PollFd::new(&step.handle, PollFlags::IN));
            // What can be read there is for the step. Of a caller that has hung up there is no more to hear.
            events.push(match step.killed {
                false => PollFd::new(&step.control, PollFlags::RDHUP),
                true => PollFd::new(&step.handle, PollFlags::IN),
            });
        }
        let awaited = self.stock.awaited().map(|inbox| PollFd::new(inbox, PollFlags::IN));
        events.extend(awaited);
        match poll(&mut events, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
        let happened: Vec<bool> = events.iter().map(|event| !event.revents().is_empty()).collect();
        let of_steps = 1 + 2 * self.steps.len();
        if happened.get(of_steps) == Some(&true) {
            self.stock.receive();
        }
        let mut ended = Vec::new();
        for (number, (step, happened)) in self
            .steps
            .iter_mut()
            .zip(happened[1..of_steps].chunks_exact(2))
            .enumerate()
        {
            if happened[1] {
                step.kill();
            }
            if happened[0] {
                ended.push(number);
            }
        }
        for number in ended.into_iter().rev() {
            let step = self.steps.swap_remove(number);
            if step.world == World::Ours {
                // Of one that was killed there may be more left, which is ours now.
                let others: Vec<Pid> = self.steps.iter().map(|step| step.pid).collect();
                plain::end_orphans(&[&others[..], &[step.pid]].concat());
            }
            step.tell_end()?;
        }
        if !happened[0] {
            return Ok(true);
        }
        let goes_on = self.orders.fill()?;
        while let Some(order) = self.orders.take::<Order>()? {
            self.start(order)?;
        }
        Ok(goes_on)
    }

    fn start(&mut self, order: Order) -> io::Result<()> {
        let lent = Lent::take(&mut self.orders, order).ok_or_else(|| io::Error::other("a descriptor is missing"))?;
        let (asked, forked) = match order.world {
            World::OfItsOwn => {
                let group = lent.group.as_ref().map(AsFd::as_fd);
                (self.stock.ask(), sys::fork(Processes::OfItsOwn, group))
            }
            World::Ours => {
                rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
                (None, sys::fork(Processes::Ours, None))
            }
        };
        match forked {
            Ok(Fork::Child) => {
                // A caller waits until nobody has the socket of its step, and we ask whether the supervisor has its pipe.
                self.steps.clear();
                self.alive = None;
                match order.world {
                    World::OfItsOwn => run_command(self, lent, asked),
                    World::Ours => plain::watch_over(self, lent),
                }
            }
            Ok(Fork::Parent(pid, handle)) => {
                let group = lent
                    .group
                    .as_ref()
                    .map(|group| format!("/proc/self/fd/{}", group.as_raw_fd()));
                self.groups
                    .extend(group.and_then(|group| std::fs::read_link(group).ok()));
                self.steps.push(Step {
                    world: order.world,
                    pid,
                    handle,
                    control: lent.control,
                    killed: false,
                });
            }
            Err(error) => {
                let failure = Failure::setup("make a process for the step", "", &error);
                // A caller that has gone meanwhile need not be told.
                let _ = send(&lent.control, &Report::Failed(failure), &[]);
            }
        }
        Ok(())
    }

    /// Kills what is left, and removes where it was.
    fn end(mut self) -> io::Result<()> {
        // Heard by those who are not killed.
        self.alive = None;
        let mut has_orphans = false;
        for mut step in self.steps {
            step.kill();
            step.reap()?;
            has_orphans |= step.world == World::Ours;
        }
        if has_orphans {
            plain::end_orphans(&[]);
        }
        for group in self.groups {
            // Removed already, or left to the next who makes one.
            let _ = std::fs::remove_dir(group);
        }
        Ok(())
    }
}

impl Lent {
    fn take(orders: &mut Inbox, order: Order) -> Option<Lent> {
        Some(Lent {
            control: orders.take_fd()?,
            stdin: match order.stdin {
                true => Some(orders.take_fd()?),
                false => None,
            },
            output: match order.output {
                true => Some((orders.take_fd()?, orders.take_fd()?)),
                false => None,
            },
            group: match order.group {
                true => Some(orders.take_fd()?),
                false => None,
            },
        })
    }
}

impl Step {
    fn kill(&mut self) {
        if !self.killed && self.world == World::OfItsOwn {
            let _ = pidfd_send_signal(self.handle.as_fd(), Signal::KILL);
        }
        self.killed = true;
    }

    fn tell_end(self) -> io::Result<()> {
        let report = match (self.world, self.reap()?) {
            // It did not get to put back what it moved.
            (World::Ours, Report::Signaled(_)) => {
                let error = io::Error::other("who watched over the step was killed");
                Report::Failed(Failure::setup("put the root in order", "", &error))
            }
            (_, report) => report,
        };
        // A caller that has gone meanwhile need not be told.
        let _ = send(&self.control, &report, &[]);
        Ok(())
    }

    /// Waits for pid 1, which ends only after the kernel has killed and reaped all others in its namespace.
    fn reap(&self) -> io::Result<Report> {
        loop {
            match waitpid(Some(self.pid), WaitOptions::empty()) {
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
}

/// The rest of the life of pid 1.
#[expect(clippy::exit, reason = "what is not the command must not go on as the supervisor")]
fn run_command(supervisor: &Supervisor, lent: Lent, asked: Option<UnixStream>) -> ! {
    // Our copies of what is the supervisor's are gone when the command is executed.
    let mut inbox = Inbox::new(lent.control);
    let outcome = connect(lent.stdin, lent.output).and_then(|()| {
        let plan = inbox.wait::<Plan>().during("hear what to do", "")?;
        plan.ok_or_else(|| Failure::setup("hear what to do", "", &io::Error::other("the caller is gone")))
    });
    let failure = match outcome {
        Ok(plan) => {
            let share = Share::of(&plan, &supervisor.stock, asked);
            let Err(failure) = command::become_command(&plan, inbox.as_fd(), &supervisor.watched, share);
            failure
        }
        Err(failure) => failure,
    };
    let _ = send(&inbox, &Report::Failed(failure), &[]);
    std::process::exit(127)
}

/// Takes what was lent as our standard input and output; of what was not, we have `/dev/null`.
fn connect(stdin: Option<OwnedFd>, output: Option<(OwnedFd, OwnedFd)>) -> Result<(), Failure> {
    if let Some(stdin) = stdin {
        rustix::stdio::dup2_stdin(stdin).during("take over the standard input", "")?;
    }
    if let Some((stdout, stderr)) = output {
        rustix::stdio::dup2_stdout(stdout)
            .and_then(|()| rustix::stdio::dup2_stderr(stderr))
            .during("take over the output", "")?;
    }
    Ok(())
}

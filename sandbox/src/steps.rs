//! A step seen from the caller's side, whatever isolates it: it is ordered, told what to do, and accompanied to its end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::cancel::Listener;
use crate::groups::{self, Groups, Membership};
use crate::limits::KnownLimit;
use crate::memory::Watch;
use crate::stubs::{self, Stubs};
use crate::supervisor::Supervisor;
use crate::terminal::{RawMode, Size};
use crate::wire::{Inbox, Order, Plan, Report, World, send};
use crate::{Cancel, Error, Exit, Gauge, Spec, Stdio, Stream, network, userns, users};

/// How long a cancelled supervisor has to kill its step before it is killed itself.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// How often the size of our terminal is asked for.
const BLINK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};
const PIECE: usize = 64 << 10;

/// Runs steps, one supervisor for all of them. The first starts it; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Steps {
    // Dropped in this order: a group cannot be removed before all in it have ended.
    supervisor: Supervisor,
    shared: groups::Shared,
    world: World,
}

impl Steps {
    /// Nothing is started yet.
    pub(crate) fn in_world(world: World) -> Steps {
        Steps {
            supervisor: Supervisor::default(),
            shared: groups::Shared::default(),
            world,
        }
    }

    /// As [`Executor::run_measured`](crate::Executor::run_measured).
    pub(crate) fn run(
        &self,
        spec: &Spec,
        output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &Cancel,
        gauge: &Gauge,
    ) -> Result<Exit, Error> {
        let groups = Groups::of(spec, self.world, &self.shared)?;
        let plan = plan(spec, self.world, groups.membership().clone())?;
        let bell = cancel.listen().map_err(supervising("listen for the wish to stop"))?;
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let system = stubs::SYSTEM_FILES.map(|name| format!("/{}/{name}", stubs::SYSTEM_FOLDER));
        let targets = system
            .iter()
            .map(String::as_str)
            .chain(spec.mounts.iter().map(crate::Mount::target));
        let stubs = Stubs::note(&spec.root, targets).map_err(|source| Error::Setup {
            doing: "open the root".to_owned(),
            path: spec.root.clone(),
            source,
        })?;
        let memory = Watch::begin();
        let _reading = gauge.begin(groups.own());
        let exit = Supervised::start(&self.supervisor, (self.world, &plan), groups.birth())
            .and_then(|supervised| supervised.accompany(output, &bell));
        let removed = stubs.remove();
        let exit = exit?;
        removed.map_err(|source| Error::Setup {
            doing: "remove what was made for mounts".to_owned(),
            path: spec.root.clone(),
            source,
        })?;
        Ok(
            match groups
                .overrun()
                .filter(|overrun| !exit.is_success() && overrun.happened())
            {
                Some(overrun) => Exit::OutOfMemory {
                    limit: Some(overrun.limit),
                },
                None => memory.judge(exit),
            },
        )
    }
}

/// Checks `spec`, and looks up what it leaves open.
fn plan(spec: &Spec, world: World, membership: Membership) -> Result<Plan, Error> {
    if spec.args.is_empty() {
        return Err(Error::NoCommand);
    }
    let texts = spec
        .args
        .iter()
        .chain(&spec.env)
        .chain([&spec.working_directory, &spec.hostname]);
    for text in texts
        .map(String::as_str)
        .chain(spec.mounts.iter().map(crate::Mount::target))
    {
        if let Some((before, _)) = text.split_once('\0') {
            return Err(Error::NulByte {
                text: before.to_owned(),
            });
        }
    }
    for limit in &spec.limits {
        KnownLimit::parse(limit)?;
    }
    let identity = users::resolve(&spec.root, &spec.user)?;
    if !userns::has(identity.uid, identity.gid) {
        return Err(Error::Unmapped {
            uid: identity.uid,
            gid: identity.gid,
        });
    }
    let mut spec = spec.clone();
    if !spec.env.iter().any(|variable| variable.starts_with("HOME=")) {
        spec.env.push(format!("HOME={}", identity.home));
    }
    let resolver = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    // Where the name of the machine stays what it is, that has to be found too.
    let hostname = match world {
        World::OfItsOwn => spec.hostname.clone(),
        World::Ours => format!(
            "{} {}",
            spec.hostname,
            rustix::system::uname().nodename().to_string_lossy()
        ),
    };
    Ok(Plan {
        hosts: network::hosts(&hostname, &spec.hosts),
        resolver: network::resolver(&resolver, spec.network),
        spec,
        identity,
        membership,
    })
}

/// A step under way, and all through which we hear of it.
struct Supervised<'a> {
    supervisor: &'a Supervisor,
    inbox: Inbox,
    /// Nothing once it is at its end.
    control: bool,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    stdio: Stdio,
    terminal: Option<LentTerminal>,
    ended: Option<Result<Exit, Error>>,
    cancelled: bool,
}

struct LentTerminal {
    fd: OwnedFd,
    size: Size,
    input: bool,
    _raw: RawMode,
}

/// What there is to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Control,
    Output(Stream),
    Terminal,
    Input,
    Bell,
}

impl Supervised<'_> {
    fn start<'a>(
        supervisor: &'a Supervisor,
        (world, plan): (World, &Plan),
        group: Option<BorrowedFd<'_>>,
    ) -> Result<Supervised<'a>, Error> {
        let _span = trace::span("start sandbox");
        let starting = supervising("start the step");
        let (ours, theirs) = UnixStream::pair().map_err(&starting)?;
        let stdio = plan.spec.stdio;
        let (mut stdout, mut stderr, mut lent) = (None, None, Vec::new());
        if stdio == Stdio::Captured {
            for end in [&mut stdout, &mut stderr] {
                let (from, to) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| starting(error.into()))?;
                *end = Some(from);
                lent.push(to);
            }
        }
        let order = Order {
            world,
            stdin: matches!(stdio, Stdio::Inherited { stdin: true }),
            output: stdio != Stdio::Terminal,
            group: group.is_some(),
        };
        let mut fds = vec![theirs.as_fd()];
        if order.stdin {
            fds.push(rustix::stdio::stdin());
        }
        match stdio {
            Stdio::Captured => fds.extend(lent.iter().map(AsFd::as_fd)),
            Stdio::Inherited { .. } => fds.extend([rustix::stdio::stdout(), rustix::stdio::stderr()]),
            Stdio::Terminal => {}
        }
        fds.extend(group);
        supervisor.order(order, &fds).map_err(&starting)?;
        // Their ends must be theirs alone.
        drop((theirs, lent));
        let told = send(&ours, plan, &[]);
        let supervised = Supervised {
            supervisor,
            inbox: Inbox::new(ours.into()),
            control: true,
            stdout,
            stderr,
            stdio,
            terminal: None,
            ended: None,
            cancelled: false,
        };
        match told {
            Ok(()) => Ok(supervised),
            Err(source) => Err(supervised.give_up(Error::Supervise {
                doing: "tell the step what to do",
                source,
            })),
        }
    }

    /// Passes on what the step writes until nothing of it is left.
    fn accompany(mut self, output: &mut dyn FnMut(Stream, &[u8]), bell: &Listener) -> Result<Exit, Error> {
        let mut buffer = vec![0; PIECE];
        while self.control || self.stdout.is_some() || self.stderr.is_some() {
            let ready = match self.wait(bell) {
                Ok(ready) => ready,
                Err(source) => {
                    return Err(self.give_up(Error::Supervise {
                        doing: "wait for the step",
                        source,
                    }));
                }
            };
            for source in ready {
                if let Err(error) = self.serve(source, &mut buffer, output) {
                    return Err(self.give_up(error));
                }
            }
        }
        self.finish()
    }

    /// What has something for us; nothing after a while in which nothing happened.
    fn wait(&mut self, bell: &Listener) -> io::Result<Vec<Source>> {
        if let Some(terminal) = &mut self.terminal {
            terminal.size.follow(terminal.fd.as_fd());
        }
        let mut sources: Vec<(Source, PollFd<'_>)> = Vec::with_capacity(5);
        let mut add = |source, fd| sources.push((source, PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        if self.control {
            add(Source::Control, self.inbox.as_fd());
        }
        for (stream, fd) in [(Stream::Stdout, &self.stdout), (Stream::Stderr, &self.stderr)] {
            if let Some(fd) = fd {
                add(Source::Output(stream), fd.as_fd());
            }
        }
        if let Some(terminal) = &self.terminal {
            add(Source::Terminal, terminal.fd.as_fd());
            if terminal.input {
                add(Source::Input, rustix::stdio::stdin());
            }
        }
        if !self.cancelled {
            add(Source::Bell, bell.as_fd());
        }
        let timeout = match (self.cancelled, &self.terminal) {
            (true, _) => Some(PATIENCE),
            (false, Some(_)) => Some(BLINK),
            (false, None) => None,
        };
        let (names, mut events): (Vec<Source>, Vec<PollFd<'_>>) = sources.into_iter().unzip();
        match poll(&mut events, timeout.as_ref()) {
            Ok(0) if self.cancelled => {
                self.supervisor.kill();
            }
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let ready = names
            .into_iter()
            .zip(events)
            .filter(|(_, event)| !event.revents().is_empty());
        Ok(ready.map(|(name, _)| name).collect())
    }

    fn serve(&mut self, source: Source, buffer: &mut [u8], output: &mut dyn FnMut(Stream, &[u8])) -> Result<(), Error> {
        match source {
            Source::Control => self.hear(output),
            Source::Bell => {
                self.cancelled = true;
                self.hang_up();
                Ok(())
            }
            Source::Output(stream) => {
                let end = match stream {
                    Stream::Stdout => &mut self.stdout,
                    Stream::Stderr => &mut self.stderr,
                    Stream::Note => return Ok(()),
                };
                let Some(fd) = end else { return Ok(()) };
                match read(fd, buffer).map_err(supervising("read the output of the step"))? {
                    0 => *end = None,
                    count => output(stream, &buffer[..count]),
                }
                Ok(())
            }
            Source::Terminal => {
                let Some(terminal) = &self.terminal else { return Ok(()) };
                // EIO: nobody has the other end open any more.
                match read(&terminal.fd, buffer).unwrap_or(0) {
                    0 => self.terminal = None,
                    count => write_all(rustix::stdio::stdout(), &buffer[..count])
                        .map_err(supervising("write to the terminal"))?,
                }
                Ok(())
            }
            Source::Input => {
                let Some(terminal) = &mut self.terminal else {
                    return Ok(());
                };
                match read(rustix::stdio::stdin(), buffer).unwrap_or(0) {
                    // What a terminal sends at the end of input.
                    0 => {
                        terminal.input = false;
                        let _ = write_all(&terminal.fd, b"\x04");
                    }
                    count => {
                        let _ = write_all(&terminal.fd, &buffer[..count]);
                    }
                }
                Ok(())
            }
        }
    }

    /// Takes what the supervisor or the step reports.
    fn hear(&mut self, output: &mut dyn FnMut(Stream, &[u8])) -> Result<(), Error> {
        let hearing = supervising("hear from the supervisor");
        self.control = self.inbox.fill().map_err(&hearing)?;
        while let Some(report) = self.inbox.take::<Report>().map_err(&hearing)? {
            let ended = match report {
                Report::Terminal => {
                    self.lend_terminal()?;
                    continue;
                }
                Report::Waits(reason) => {
                    output(Stream::Note, reason.as_bytes());
                    continue;
                }
                Report::Failed(failure) => Err(failure.into()),
                Report::Exited(code) => Ok(Exit::Code(code)),
                Report::Signaled(signal) => Ok(Exit::Signal(signal)),
            };
            // A step that failed to start also ends: the first report is the reason.
            self.ended.get_or_insert(ended);
        }
        Ok(())
    }

    fn lend_terminal(&mut self) -> Result<(), Error> {
        if let (Stdio::Terminal, Some(fd)) = (self.stdio, self.inbox.take_fd()) {
            let raw = RawMode::begin().map_err(supervising("make the terminal raw"))?;
            self.terminal = Some(LentTerminal {
                fd,
                size: Size::default(),
                input: true,
                _raw: raw,
            });
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Exit, Error> {
        self.drain_terminal();
        match self.ended {
            _ if self.cancelled => Err(Error::Cancelled),
            Some(ended) => ended,
            None => Err(Error::SupervisorDied),
        }
    }

    /// Shows what the step wrote last: it is in the terminal still when the supervisor has ended.
    fn drain_terminal(&mut self) {
        let Some(terminal) = self.terminal.take() else { return };
        let mut buffer = vec![0; PIECE];
        while let Ok(count @ 1..) = read(&terminal.fd, &mut buffer) {
            if write_all(rustix::stdio::stdout(), &buffer[..count]).is_err() {
                break;
            }
        }
    }

    fn hang_up(&self) {
        let _ = rustix::net::shutdown(&self.inbox, rustix::net::Shutdown::Write);
    }

    /// Ends the step, whose output nobody can take any more.
    fn give_up(mut self, error: Error) -> Error {
        self.hang_up();
        self.stdout = None;
        self.stderr = None;
        while self.inbox.fill().unwrap_or(false) {}
        error
    }
}

fn read(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut *buffer))?)
}

fn write_all(fd: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::write(&fd, bytes))?;
        bytes = &bytes[count..];
    }
    Ok(())
}

fn supervising(doing: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Supervise { doing, source }
}

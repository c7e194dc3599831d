//! What caller, supervisor and step tell each other: JSON, one message a line, descriptors beside.
//!
//! The supervisor has a socket on which it is asked for steps: a message for each, with the descriptors it is to have. One
//! of them is the step's own socket, over which everything else about it goes.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::groups::Membership;
use crate::users::Identity;
use crate::{Error, Spec};

/// In which namespaces a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum World {
    /// In new ones, on mounts of its own.
    OfItsOwn,
    /// In ours, with a root of its own only.
    Ours,
}

/// The wish for a step. Beside it are its socket, then those of standard input, output and error that it says are there,
/// and of its control group, in this order; in the place of others the step gets nothing.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) world: World,
    pub(crate) stdin: bool,
    pub(crate) output: bool,
    pub(crate) group: bool,
}

impl Order {
    /// How many descriptors are beside it.
    pub(crate) fn descriptors(self) -> usize {
        1 + usize::from(self.stdin) + if self.output { 2 } else { 0 } + usize::from(self.group)
    }
}

/// All that the step has to know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) spec: Spec,
    pub(crate) identity: Identity,
    /// The control groups that it has to enter by itself, and what keeps it from devices.
    pub(crate) membership: Membership,
    /// The text of `/etc/hosts`.
    pub(crate) hosts: String,
    /// The text of `/etc/resolv.conf`.
    pub(crate) resolver: String,
}

/// What comes back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// It cannot begin yet; why, as a sentence.
    Waits(String),
    /// The descriptor beside this is the other end of the step's terminal.
    Terminal,
    /// The command did not start.
    Failed(Failure),
    /// It ended by itself.
    Exited(i32),
    /// It was killed.
    Signaled(i32),
}

/// Why the command did not start.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// Its world could not be made.
    Setup {
        doing: String,
        path: PathBuf,
        errno: i32,
        text: String,
    },
    /// It could not be executed.
    Program { message: String },
}

impl Failure {
    /// The failure of `doing` something to `path`.
    pub(crate) fn setup(doing: &str, path: impl AsRef<Path>, error: &io::Error) -> Failure {
        Failure::Setup {
            doing: doing.to_owned(),
            path: path.as_ref().to_owned(),
            errno: error.raw_os_error().unwrap_or(0),
            text: error.to_string(),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Setup {
                doing,
                path,
                errno: 0,
                text,
            } => Error::Setup {
                doing,
                path,
                source: io::Error::other(text),
            },
            Failure::Setup { doing, path, errno, .. } => Error::Setup {
                doing,
                path,
                source: io::Error::from_raw_os_error(errno),
            },
            Failure::Program { message } => Error::Program { message },
        }
    }
}

/// Says on which step, to what, something failed.
pub(crate) trait During<T> {
    /// `doing` is the step, `path` what it was done to, as seen from inside; empty if there is no path to it.
    fn during(self, doing: &str, path: impl AsRef<Path>) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, doing: &str, path: impl AsRef<Path>) -> Result<T, Failure> {
        self.map_err(|error| Failure::setup(doing, path, &error.into()))
    }
}

/// How many descriptors one message can have beside it.
const MOST_DESCRIPTORS: usize = 5;

/// Sends one message, with some descriptors.
pub(crate) fn send(socket: impl AsFd, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(b'\n');
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    let mut sent = 0;
    while sent < bytes.len() {
        match sendmsg(
            &socket,
            &[IoSlice::new(&bytes[sent..])],
            &mut beside,
            SendFlags::NOSIGNAL,
        ) {
            Ok(count) => {
                sent += count;
                beside.clear();
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Inbox {
    socket: OwnedFd,
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

impl Inbox {
    /// Receives from `socket`.
    pub(crate) fn new(socket: OwnedFd) -> Inbox {
        Inbox {
            socket,
            bytes: Vec::new(),
            fds: VecDeque::new(),
        }
    }

    /// The next message that has arrived in full, if any.
    pub(crate) fn take<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let message = serde_json::from_slice(&self.bytes[..end])?;
        self.bytes.drain(..=end);
        Ok(Some(message))
    }

    /// The next descriptor that has arrived, if any.
    pub(crate) fn take_fd(&mut self) -> Option<OwnedFd> {
        self.fds.pop_front()
    }

    /// Waits for more; false at the end.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        let mut piece = vec![0; 64 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let count = match recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut piece)],
            &mut beside,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Ok(received) => received.bytes,
            Err(rustix::io::Errno::INTR) => return Ok(true),
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(error) => return Err(error.into()),
        };
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        self.bytes.extend_from_slice(&piece[..count]);
        Ok(count > 0)
    }

    /// Waits for one message.
    pub(crate) fn wait<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }
}

impl From<Inbox> for OwnedFd {
    /// The socket; what was received and not taken is lost.
    fn from(inbox: Inbox) -> OwnedFd {
        inbox.socket
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

//! `/dev/stdout` and `/dev/stderr` without `/proc`: pipes with a name, of which we pass on what is written.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags};

const PIECE: usize = 16 << 10;
/// More pieces than a pipe holds: whoever goes on writing is not waited for.
const FULL: usize = 8;

/// The read end of one of them.
#[derive(Debug)]
pub(super) struct Relay(OwnedFd);

impl Relay {
    /// Makes the pipe `name` in a directory that is ours alone.
    pub(super) fn make(directory: &OwnedFd, name: &str) -> io::Result<Relay> {
        rustix::fs::mknodat(directory, name, FileType::Fifo, Mode::from_raw_mode(0o666), 0)?;
        // Open for writing too: so it has no end when a writer goes.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(Relay(rustix::fs::openat(directory, name, flags, Mode::empty())?))
    }

    /// Where the relays, the output's and then the errors', pass on to: what is `lent`, or our caller's own.
    pub(super) fn outputs(relays: &[Relay], lent: Option<&(OwnedFd, OwnedFd)>) -> io::Result<Vec<OwnedFd>> {
        match lent {
            Some((stdout, stderr)) if !relays.is_empty() => Ok(vec![stdout.try_clone()?, stderr.try_clone()?]),
            _ => {
                let nothing = || rustix::fs::openat(CWD, "/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
                relays.iter().map(|_| Ok(nothing()?)).collect()
            }
        }
    }

    /// Passes on a piece of what there is; whether there was any. Nobody may be left who takes it.
    pub(super) fn pass_on(&self, output: &OwnedFd) -> bool {
        let mut buffer = [0; PIECE];
        let Ok(count @ 1..) = rustix::io::read(&self.0, &mut buffer) else {
            return false;
        };
        let mut left = &buffer[..count];
        while !left.is_empty() {
            match rustix::io::write(output, left) {
                Ok(written) => left = &left[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Passes on all that a pipe can hold.
    pub(super) fn empty(&self, output: &OwnedFd) {
        let mut pieces = 0;
        while pieces < FULL && self.pass_on(output) {
            pieces += 1;
        }
    }
}

impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

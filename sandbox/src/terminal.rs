//! Our own terminal, lent to a step: raw while it is lent, as it was afterwards.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::termios::{OptionalActions, Termios, Winsize, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

/// Raw mode, until dropped. Where the input is no terminal there is nothing to change.
pub(crate) struct RawMode {
    before: Option<Termios>,
}

impl RawMode {
    /// Begins.
    pub(crate) fn begin() -> io::Result<RawMode> {
        let stdin = rustix::stdio::stdin();
        if !isatty(stdin) {
            return Ok(RawMode { before: None });
        }
        let before = tcgetattr(stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin, OptionalActions::Drain, &raw)?;
        Ok(RawMode { before: Some(before) })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, before);
        }
    }
}

/// Keeps a step's terminal as large as ours.
///
/// It is asked now and then: a signal tells the moment, but whose it is, is for the whole program to decide.
#[derive(Default)]
pub(crate) struct Size(Option<(u16, u16)>);

impl Size {
    /// Passes our size on if it has changed.
    pub(crate) fn follow(&mut self, terminal: BorrowedFd<'_>) {
        let Ok(size) = tcgetwinsize(rustix::stdio::stdout()) else {
            return;
        };
        let Winsize { ws_row, ws_col, .. } = size;
        if self.0 != Some((ws_row, ws_col)) && tcsetwinsize(terminal.as_fd(), size).is_ok() {
            self.0 = Some((ws_row, ws_col));
        }
    }
}

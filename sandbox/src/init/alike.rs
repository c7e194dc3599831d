//! What is alike for all steps: made by the first of them, copied by the others.
//!
//! Making file systems is most of what the kernel does for a short step, and more of it than all else where there are a
//! dozen hierarchies of control groups. Their mounts show the group that the process was in which made them; as long as
//! steps are in the supervisor's groups these are the same for all. So the first step offers its mounts to the
//! supervisor, which keeps them, mounted nowhere, and each later step copies them.
//!
//! All of it is read-only, and only steps that can mount nothing get it: none can change what others see. Copies of what is
//! mounted nowhere need Linux 6.15; before, each step makes its own.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::filesystem::{self, Depth, INERT, READ_ONLY};
use crate::Privileges;
use crate::wire::{Inbox, Plan, send};

/// What steps copy.
#[derive(Debug)]
pub(super) struct Alike {
    /// The folder of the old hierarchies of control groups, with all that is mounted in it.
    hierarchies: Option<OwnedFd>,
    /// An empty directory, to lie over others.
    cover: OwnedFd,
}

/// Where the supervisor has what is alike.
#[derive(Debug)]
pub(super) enum Stock {
    /// No step was asked for it.
    Unasked,
    /// A step was.
    Awaited(Inbox),
    /// Here it is.
    Here(Alike),
    /// That step had none to offer, and none will.
    Never,
}

impl Stock {
    /// The socket for the next step, if it is the one to be asked.
    pub(super) fn ask(&mut self) -> Option<UnixStream> {
        if !matches!(self, Stock::Unasked) {
            return None;
        }
        let (ours, theirs) = UnixStream::pair().ok()?;
        *self = Stock::Awaited(Inbox::new(ours.into()));
        Some(theirs)
    }

    /// What is to be listened to.
    pub(super) fn awaited(&self) -> Option<&Inbox> {
        match self {
            Stock::Awaited(inbox) => Some(inbox),
            _ => None,
        }
    }

    /// Takes what has arrived.
    pub(super) fn receive(&mut self) {
        let Stock::Awaited(inbox) = self else { return };
        let goes_on = inbox.fill().unwrap_or(false);
        match inbox.take::<Offer>() {
            Ok(Some(offer)) => {
                let hierarchies = match offer.hierarchies {
                    true => inbox.take_fd(),
                    false => None,
                };
                *self = match inbox.take_fd() {
                    Some(cover) => Stock::Here(Alike { hierarchies, cover }),
                    None => Stock::Never,
                };
            }
            Ok(None) if goes_on => {}
            _ => *self = Stock::Never,
        }
    }
}

/// The message of the first step. Beside it are the folder of the old hierarchies, if it says so, and the cover.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Offer {
    hierarchies: bool,
}

/// How one step comes by what is alike.
#[derive(Debug)]
pub(super) enum Share<'a> {
    /// It makes its own.
    Nothing,
    /// It copies this.
    Copies(&'a Alike),
    /// It makes it for others as well, and offers it here.
    Offers(UnixStream),
}

impl<'a> Share<'a> {
    /// For the step of `plan`, which may have been asked to offer what is alike.
    pub(super) fn of(plan: &Plan, stock: &'a Stock, asked: Option<UnixStream>) -> Share<'a> {
        // Others could be changed by a step that can mount, and seen from elsewhere by one that moves.
        if plan.spec.privileges != Privileges::Default || !plan.membership.moved.is_empty() {
            return Share::Nothing;
        }
        match (stock, asked) {
            (Stock::Here(alike), _) => Share::Copies(alike),
            (_, Some(socket)) => Share::Offers(socket),
            _ => Share::Nothing,
        }
    }

    /// A copy of the folder of the old hierarchies, if there is one to copy.
    pub(super) fn hierarchies(&self) -> Option<OwnedFd> {
        let Share::Copies(alike) = self else { return None };
        filesystem::copy_of(alike.hierarchies.as_ref()?, Depth::All).ok()
    }

    /// An empty directory to lie over another one.
    pub(super) fn cover(&self) -> io::Result<OwnedFd> {
        if let Share::Copies(alike) = self
            && let Ok(copy) = filesystem::copy_of(&alike.cover, Depth::One)
        {
            return Ok(copy);
        }
        filesystem::new("tmpfs", &[("mode", "755")], INERT | READ_ONLY)
    }

    /// Offers what the others can copy. `hierarchies` is the folder of them, mounted nowhere and no copy itself: those can
    /// only be copied in the namespace that they were made in.
    pub(super) fn offer(&self, hierarchies: Option<&OwnedFd>) {
        let Share::Offers(socket) = self else { return };
        // The supervisor does without what it does not get.
        let _ = offer(socket, hierarchies);
    }
}

fn offer(socket: &UnixStream, hierarchies: Option<&OwnedFd>) -> io::Result<()> {
    let cover = filesystem::new("tmpfs", &[("mode", "755")], INERT | READ_ONLY)?;
    // Shows whether this kernel copies what is mounted nowhere.
    filesystem::copy_of(&cover, Depth::One)?;
    let message = Offer {
        hierarchies: hierarchies.is_some(),
    };
    let fds = hierarchies.into_iter().chain([&cover]).map(AsFd::as_fd);
    send(socket, &message, &fds.collect::<Vec<_>>())
}

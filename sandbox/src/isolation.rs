//! The rungs of isolation, and the way onto one of them: done once, before any thread is started.
//!
//! Root needs only mounts of its own, an ordinary user a [user namespace](crate::userns). In a container that allows neither,
//! its root can still do without: see [`Plain`](crate::Plain). Whether a user namespace can be had is then tried by a process
//! of its own first, because whoever is in half of one cannot go back.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, UnshareFlags};
use serde::{Deserialize, Serialize};

use crate::userns::{self, INSTALL_MAPPER, USUAL_MAPPER, isolating, maps};
use crate::{Error, init, sys};

/// What gives a container namespaces.
pub(crate) const BETTER: &str = "for namespaces start the container with `--security-opt seccomp=unconfined --security-opt \
    apparmor=unconfined`, perhaps with `--cap-add SYS_ADMIN` too; in Kubernetes, with `seccompProfile: {type: Unconfined}` and \
    `appArmorProfile: {type: Unconfined}`";

/// What it takes to do without namespaces: to change the root, to become others, to keep the first from steps, to have their
/// devices, and to see to files and processes that are others'.
const PLAIN: [(CapabilitySet, &str); 9] = [
    (CapabilitySet::SYS_CHROOT, "SYS_CHROOT"),
    (CapabilitySet::SETPCAP, "SETPCAP"),
    (CapabilitySet::SETUID, "SETUID"),
    (CapabilitySet::SETGID, "SETGID"),
    (CapabilitySet::MKNOD, "MKNOD"),
    (CapabilitySet::CHOWN, "CHOWN"),
    (CapabilitySet::DAC_OVERRIDE, "DAC_OVERRIDE"),
    (CapabilitySet::FOWNER, "FOWNER"),
    (CapabilitySet::KILL, "KILL"),
];

/// Which rung is wished for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// The best there is.
    #[default]
    Best,
    /// One with namespaces, or none at all.
    Namespaces,
    /// The one without, also where there are better ones.
    Plain,
}

/// How we are isolated from the machine: the rungs of a ladder, the best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// By mounts of our own, with root's powers.
    Root,
    /// By a user namespace, without any power outside of it.
    UserNamespace {
        /// Who we are outside.
        user: String,
        /// How many user ids there are inside.
        uids: u32,
    },
    /// By a user namespace in which there is no other id than root's: no file can be anybody else's, and no process.
    SingleId {
        /// Who we are outside.
        user: String,
        /// Why there are no others.
        lack: Lack,
    },
    /// By a changed root only: no namespaces can be had.
    Plain {
        /// Why not.
        lack: NoNamespaces,
    },
}

/// Why there are no namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoNamespaces {
    /// They were not wished for.
    Unwanted,
    /// They could not be had.
    Refused {
        /// What was refused, by what.
        reason: String,
    },
}

/// Why a user namespace has a single user id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The administrator has lent this user no ids.
    NoRange {
        /// `/etc/subuid` or `/etc/subgid`.
        file: &'static str,
        /// The first id of a range that no one has.
        first: u32,
    },
    /// The program that maps ids is not installed.
    NoMapper,
    /// The program that maps ids did not do it.
    Refused {
        /// What it said.
        message: String,
    },
    /// We are a root that may not map ids.
    PowerlessRoot,
}

impl Isolation {
    /// Whether there is no other user id than root's.
    #[must_use]
    pub fn has_single_id(&self) -> bool {
        matches!(self, Isolation::SingleId { .. })
    }

    /// Whether there are no namespaces, and nothing can be mounted.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(self, Isolation::Plain { .. })
    }

    /// What gives namespaces to who has none.
    #[must_use]
    pub fn better(&self) -> Option<&'static str> {
        match self {
            Isolation::Plain {
                lack: NoNamespaces::Unwanted,
            } => Some("leave out `--isolation plain`"),
            Isolation::Plain { .. } => Some(BETTER),
            _ => None,
        }
    }

    /// What gives more user ids to who has a single one.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        let Isolation::SingleId { user, lack } = self else {
            return None;
        };
        Some(match lack {
            Lack::NoRange { first, .. } => {
                let install = match Path::new(USUAL_MAPPER).exists() {
                    true => "",
                    false => " && apt-get install uidmap",
                };
                format!("as root run `{}{install}`", maps::lending(user, *first))
            }
            Lack::NoMapper => INSTALL_MAPPER.to_owned(),
            Lack::Refused { .. } => format!(
                "`newuidmap` must be setuid root or have the capability to set user ids, nothing may keep it from using \
                 that (`no_new_privs`, as Kubernetes' `allowPrivilegeEscalation: false`), and the range of `{user}` in \
                 /etc/subuid must be one that this machine has"
            ),
            Lack::PowerlessRoot => {
                "start the container with `--cap-add=SETUID --cap-add=SETGID --cap-add=SETFCAP`".to_owned()
            }
        })
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::NoRange { file, .. } => write!(f, "it has no range in {file}"),
            Lack::NoMapper => f.write_str("`newuidmap` is not installed"),
            Lack::Refused { message } => write!(f, "its range could not be mapped: {message}"),
            Lack::PowerlessRoot => f.write_str("this root may not map ids"),
        }
    }
}

impl fmt::Display for NoNamespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoNamespaces::Unwanted => f.write_str("none were wished for"),
            NoNamespaces::Refused { reason } => f.write_str(reason),
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Isolation::Root => f.write_str("running as root, each step in namespaces of its own"),
            Isolation::UserNamespace { user, uids } => {
                write!(
                    f,
                    "running in a user namespace of `{user}` with {uids} user ids, each step in namespaces of its own"
                )
            }
            Isolation::SingleId { user, lack } => {
                write!(
                    f,
                    "running in a user namespace of `{user}` with a single user id ({lack}), each step in namespaces of \
                     its own; other owners of files are recorded"
                )?;
                self.remedy()
                    .map_or(Ok(()), |remedy| write!(f, "; for more ids {remedy}"))
            }
            Isolation::Plain { lack } => {
                write!(
                    f,
                    "running as root without namespaces ({lack}): steps have a root of their own and are not isolated from \
                     {}",
                    lack.surroundings()
                )?;
                match lack {
                    NoNamespaces::Unwanted => Ok(()),
                    NoNamespaces::Refused { .. } => write!(f, "; {BETTER}"),
                }
            }
        }
    }
}

impl NoNamespaces {
    /// From what a step is not isolated.
    fn surroundings(&self) -> &'static str {
        match self {
            NoNamespaces::Unwanted => "this machine",
            NoNamespaces::Refused { .. } => "this container",
        }
    }

    fn because(error: &Error) -> NoNamespaces {
        let reason = match error {
            Error::UserNamespaceForbidden { prohibition, .. } => {
                format!("cannot create a user namespace: {}", prohibition.reason())
            }
            Error::Isolate { doing, source } => format!("cannot {doing}: {source}"),
            error => error.to_string().split("; ").next().unwrap_or_default().to_owned(),
        };
        NoNamespaces::Refused { reason }
    }
}

/// Puts the calling process, which has one thread, onto the rung that is wished for. Afterwards it is root.
///
/// But for [`Isolation::Plain`], what is mounted from now on is seen by us alone and vanishes with us.
///
/// # Errors
///
/// When the machine does not allow it; the error says what is missing and what to do.
pub fn enter(wish: Wish) -> Result<Isolation, Error> {
    let (is_powerful, lacking) = (is_powerful(), lacking());
    if is_powerful {
        userns::be_true_root();
    }
    match wish {
        Wish::Namespaces => with_namespaces(is_powerful),
        Wish::Plain if lacking.is_empty() => Ok(Isolation::Plain {
            lack: NoNamespaces::Unwanted,
        }),
        Wish::Plain => Err(not_plain(&lacking)),
        Wish::Best if !lacking.is_empty() => with_namespaces(is_powerful),
        Wish::Best if is_powerful => with_namespaces(true).or_else(|error| {
            let lack = NoNamespaces::because(&error);
            Ok(Isolation::Plain { lack })
        }),
        Wish::Best => match try_namespaces() {
            Ok(()) => with_namespaces(false),
            Err(lack) => Ok(Isolation::Plain { lack }),
        },
    }
}

fn with_namespaces(is_powerful: bool) -> Result<Isolation, Error> {
    let isolation = match is_powerful {
        true => Isolation::Root,
        false => userns::enter_user_namespace()?,
    };
    sys::unshare(UnshareFlags::NEWNS).map_err(isolating("make a mount namespace"))?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(isolating("keep mounts to ourselves"))?;
    Ok(isolation)
}

fn is_powerful() -> bool {
    geteuid().is_root()
        && rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// What we lack to do without namespaces.
fn lacking() -> Vec<&'static str> {
    if !geteuid().is_root() {
        return vec!["root"];
    }
    let held = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let missing = PLAIN.iter().filter(|(capability, _)| !held.contains(*capability));
    missing.map(|(_, name)| *name).collect()
}

fn not_plain(lacking: &[&str]) -> Error {
    let lack = match lacking {
        ["root"] => {
            "that takes root of the container; start it as its root, or leave out `--isolation plain`".to_owned()
        }
        missing => {
            let adding: Vec<String> = missing.iter().map(|name| format!("--cap-add {name}")).collect();
            let adding = adding.join(" ");
            format!(
                "this root may not {}; start the container with `{adding}`",
                missing.join(", ")
            )
        }
    };
    Error::NotPlain { lack }
}

/// Has another process enter its namespaces, and says why it could not.
fn try_namespaces() -> Result<(), NoNamespaces> {
    let failed = |error: io::Error| NoNamespaces::Refused {
        reason: format!("cannot start a process that tries to have them: {error}"),
    };
    let mut child = Command::new("/proc/self/exe")
        .arg0(init::NAME)
        .arg(init::TRY)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut answer = Vec::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.read_to_end(&mut answer).map_err(failed)?;
    }
    child.wait().map_err(failed)?;
    match serde_json::from_slice(&answer) {
        Ok(None) => Ok(()),
        Ok(Some(lack)) => Err(lack),
        Err(error) => Err(failed(error.into())),
    }
}

/// The work of that process.
pub(crate) fn try_for_caller() -> io::Result<()> {
    let lack = with_namespaces(is_powerful()).err();
    let lack = lack.map(|error| NoNamespaces::because(&error));
    io::stdout().write_all(&serde_json::to_vec(&lack)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rung_without_namespaces_says_why_and_what_gives_them() {
        let reason = "cannot create a user namespace: the surrounding container forbids it".to_owned();
        let refused = Isolation::Plain {
            lack: NoNamespaces::Refused { reason },
        };
        let told = refused.to_string();
        assert!(
            told.contains("(cannot create a user namespace: the surrounding container forbids it)"),
            "{told}"
        );
        assert!(
            told.contains("not isolated from this container; for namespaces start"),
            "{told}"
        );
        assert_eq!(refused.better(), Some(BETTER));
    }

    #[test]
    fn a_root_that_may_too_little_is_told_what_to_add() {
        let told = not_plain(&["SYS_CHROOT", "MKNOD"]).to_string();
        assert!(
            told.ends_with("start the container with `--cap-add SYS_CHROOT --cap-add MKNOD`"),
            "{told}"
        );
    }

    #[test]
    fn a_missing_range_is_answered_with_the_command_that_lends_one() {
        let lack = Lack::NoRange {
            file: "/etc/subuid",
            first: 100_000,
        };
        let user = "ann".to_owned();
        let told = Isolation::SingleId { user, lack }.to_string();
        assert!(
            told.contains("`ann` with a single user id (it has no range in /etc/subuid)"),
            "{told}"
        );
        assert!(
            told.contains("as root run `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ann"),
            "{told}"
        );
    }
}

//! What can go wrong, said to the person who has to do something about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a process could not be run, or why we could not isolate ourselves.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that maps user ids is not installed.
    #[error(
        "`{program}` not found: without root it is needed to give a build its user ids; install it with `apt-get install uidmap` (Debian, Ubuntu) or `dnf install shadow-utils` (Fedora)"
    )]
    MapperMissing {
        /// `newuidmap` or `newgidmap`.
        program: &'static str,
    },
    /// A program that maps user ids refused.
    #[error("cannot map ids into the user namespace: {program}: {message}")]
    MapRefused {
        /// Which.
        program: String,
        /// What it said.
        message: String,
    },
    /// We are root, but one that may do too little.
    #[error(
        "this root lacks the capabilities to map user ids; start the container with `--cap-add=SETUID --cap-add=SETGID --cap-add=SETFCAP`, or as another user than root"
    )]
    PowerlessRoot {
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel allows us no user namespace.
    #[error("cannot create a user namespace: {prohibition}")]
    UserNamespaceForbidden {
        /// By what.
        prohibition: Prohibition,
        /// What the kernel said.
        source: io::Error,
    },
    /// A step on the way into our own namespaces failed.
    #[error("cannot {doing}")]
    Isolate {
        /// Which.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The root has no such user.
    #[error("unable to find user {user}: no matching entries in passwd file")]
    UnknownUser {
        /// As asked for.
        user: String,
    },
    /// The root has no such group.
    #[error("unable to find group {group}: no matching entries in group file")]
    UnknownGroup {
        /// As asked for.
        group: String,
    },
    /// The user, or a group of it, is none of our user namespace.
    #[error("no process can run as {uid}:{gid} here: the user namespace has no such id")]
    Unmapped {
        /// The user's number.
        uid: u32,
        /// The group's number.
        gid: u32,
    },
    /// A user or group number out of range.
    #[error("invalid id `{id}`: user and group numbers go from 0 to 2147483647")]
    InvalidId {
        /// As asked for.
        id: String,
    },
    /// A file of users or groups could not be read.
    #[error("cannot read {path} of the image")]
    UserFile {
        /// Inside the root.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file of users or groups is too large to be one.
    #[error("{path} of the image is larger than 10 MiB")]
    UserFileTooLarge {
        /// Inside the root.
        path: &'static str,
    },
    /// No such resource limit.
    #[error("unknown resource limit `{resource}`")]
    UnknownLimit {
        /// As asked for.
        resource: String,
    },
    /// A resource limit with a soft value above the hard one, or below -1.
    #[error("invalid resource limit `{resource}={soft}:{hard}`")]
    InvalidLimit {
        /// Which.
        resource: String,
        /// As asked for.
        soft: i64,
        /// As asked for.
        hard: i64,
    },
    /// A limit of all processes together that nothing here can enforce.
    #[error("cannot enforce `--{limit}` here: {obstacle}")]
    UnenforceableLimit {
        /// By the name it is given by.
        limit: &'static str,
        /// Why not, and what to do.
        obstacle: Obstacle,
    },
    /// Something asked for that takes namespaces, where there are none.
    #[error(
        "`{wish}` cannot be had in a container without namespaces; {}",
        crate::isolation::BETTER
    )]
    NeedsNamespaces {
        /// As it was asked for.
        wish: &'static str,
    },
    /// We are to do without namespaces, and lack what that takes.
    #[error("cannot build without namespaces: {lack}")]
    NotPlain {
        /// What is missing, and what to do.
        lack: String,
    },
    /// No command was given.
    #[error("no command to run")]
    NoCommand,
    /// Something asked for holds a NUL byte, which no argument, variable or path can.
    #[error("`{text}` holds a NUL byte")]
    NulByte {
        /// What, up to the NUL.
        text: String,
    },
    /// The command could not be started; the text is what docker would say.
    #[error("{message}")]
    Program {
        /// For example `exec: "make": executable file not found in $PATH`.
        message: String,
    },
    /// A part of the world that the process is to see could not be made.
    #[error("cannot set up the sandbox: {doing}{}", shown(.path))]
    Setup {
        /// What was being done.
        doing: String,
        /// To what, seen from inside the root; empty where there is no path to it.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The processes around the command could not be started or talked to.
    #[error("cannot run the sandbox: {doing}")]
    Supervise {
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The process that watches over the command died before it could tell how the command ended.
    #[error("the process that watches over the sandbox was killed, and the command with it")]
    SupervisorDied,
    /// The run was cancelled; nothing of it is left alive.
    #[error("cancelled")]
    Cancelled,
}

fn shown(path: &std::path::Path) -> String {
    match path.as_os_str().is_empty() {
        true => String::new(),
        false => format!(" {}", path.display()),
    }
}

/// What keeps us from limiting a step.
#[derive(Debug)]
pub enum Obstacle {
    /// No hierarchy of control groups has what enforces it.
    NoController {
        /// Its name.
        controller: &'static str,
    },
    /// No group can be made.
    Refused {
        /// In this one.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Our own group holds other processes too, so that it can limit none of its children, and above it we may not write.
    Shared {
        /// The group.
        path: PathBuf,
    },
    /// The kernel does not count swap.
    NoSwapAccounting,
    /// The kernel refuses the value.
    Value {
        /// As it was written.
        value: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DELEGATE: &str =
            "run rbuild as root or, where systemd runs, as `systemd-run --user --scope -p Delegate=yes rbuild …`";
        match self {
            Obstacle::NoController { controller } => write!(
                f,
                "no control groups with the controller `{controller}` are mounted; mount them below /sys/fs/cgroup, or leave the limit out"
            ),
            Obstacle::Refused { path, source } => write!(
                f,
                "no control group can be made in {} ({source}); {DELEGATE}",
                path.display()
            ),
            Obstacle::Shared { path } => write!(
                f,
                "the control group {} holds other processes too, and what is above it may not be changed; {DELEGATE}",
                path.display()
            ),
            Obstacle::NoSwapAccounting => {
                f.write_str("this kernel does not count swap; boot it with `swapaccount=1`, or leave the limit out")
            }
            Obstacle::Value { value, source } => write!(f, "`{value}` is refused ({source}); give another value"),
        }
    }
}

/// What keeps us from having a user namespace, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prohibition {
    /// `user.max_user_namespaces` is 0.
    MaximumIsZero,
    /// `user.max_user_namespaces` namespaces exist already.
    MaximumReached,
    /// `kernel.unprivileged_userns_clone` is 0.
    PrivilegedOnly,
    /// AppArmor keeps programs without a profile from it.
    AppArmor,
    /// A filter of system calls, most probably of the container we are in.
    Filter,
    /// We are in a chroot.
    Chroot,
    /// The kernel was built without.
    NotBuilt,
    /// Several threads run already.
    Threads,
    /// We cannot tell.
    Unknown,
}

impl Prohibition {
    /// What it is.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Prohibition::MaximumIsZero => "the kernel allows none",
            Prohibition::MaximumReached => "too many exist already",
            Prohibition::PrivilegedOnly => "only root may",
            Prohibition::AppArmor => "AppArmor forbids it",
            Prohibition::Filter => "the surrounding container forbids it",
            Prohibition::Chroot => "the kernel gives none to who is in a chroot",
            Prohibition::NotBuilt => "this kernel was built without user namespaces",
            Prohibition::Threads => "the program has several threads already",
            Prohibition::Unknown => "the kernel refused",
        }
    }

    /// What to do.
    #[must_use]
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            Prohibition::MaximumIsZero => Some("as root run `sysctl -w user.max_user_namespaces=28633`"),
            Prohibition::MaximumReached => {
                Some("as root raise the limit with `sysctl -w user.max_user_namespaces=28633`")
            }
            Prohibition::PrivilegedOnly => Some("as root run `sysctl -w kernel.unprivileged_userns_clone=1`"),
            Prohibition::AppArmor => Some(
                "as root run `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or give rbuild a profile that allows `userns`",
            ),
            Prohibition::Filter => Some(
                "start it with `--security-opt seccomp=unconfined` or, in Kubernetes, `seccompProfile: {type: Unconfined}`; or as root with docker's usual capabilities, where builds do without namespaces",
            ),
            Prohibition::Chroot | Prohibition::NotBuilt => Some("run rbuild as root"),
            Prohibition::Unknown => Some(
                "in a container, start it with `--privileged`, or as root with docker's usual capabilities, where builds do without namespaces; elsewhere run rbuild as root",
            ),
            Prohibition::Threads => None,
        }
    }
}

impl fmt::Display for Prohibition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())?;
        match self.remedy() {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

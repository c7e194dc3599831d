//! Into the namespaces that all else needs: done once, before any thread is started.
//!
//! Root needs only mounts of its own. An ordinary user needs a user namespace, in which it is root and has the further
//! ids that `/etc/subuid` and `/etc/subgid` lend it. Those maps can only be written from outside, so a second process
//! is started before, which waits until we are inside and then has `newuidmap` and `newgidmap` write them. Where nothing
//! is lent, or nobody can write such maps, the user is alone inside: the one map that a process may write for itself.

mod mapper;
mod maps;

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Gid, Uid, getegid, geteuid};
use rustix::thread::{CapabilitySet, UnshareFlags, set_thread_res_gid, set_thread_res_uid};

pub(crate) use self::mapper::map_for_caller;

use self::mapper::Mapper;
use self::maps::Maps;
use crate::error::Prohibition;
use crate::{Error, sys};

/// Where distributions have the program that maps ids.
const USUAL_MAPPER: &str = "/usr/bin/newuidmap";
const INSTALL_MAPPER: &str =
    "as root run `apt-get install uidmap` (Debian, Ubuntu) or `dnf install shadow-utils` (Fedora)";

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
        }
    }
}

/// Whether [`enter`] found that we may all that root may.
static TRUE_ROOT: AtomicBool = AtomicBool::new(false);

/// Whether we are root without a user namespace of ours.
pub(crate) fn is_true_root() -> bool {
    TRUE_ROOT.load(Ordering::Relaxed)
}

/// Puts the calling process, which has one thread, into the namespaces all else needs. Afterwards it is root.
///
/// What is mounted from now on is seen by us alone and vanishes with us.
///
/// # Errors
///
/// When the machine does not allow it; the error says what is missing and what to do.
pub fn enter() -> Result<Isolation, Error> {
    let isolation = if is_powerful() {
        TRUE_ROOT.store(true, Ordering::Relaxed);
        Isolation::Root
    } else {
        enter_user_namespace()?
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

fn enter_user_namespace() -> Result<Isolation, Error> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let user = own_name(uid);
    let wanted = match uid {
        0 => Ok(Maps::of_all_ids()),
        _ => Maps::lent_to(&user, uid, gid),
    };
    let mapped = match wanted {
        Ok(maps) => {
            let mapper = Mapper::start(&maps)?;
            unshare_users()?;
            mapper.map()?.map(|()| maps)
        }
        Err(lack) => {
            unshare_users()?;
            Err(lack)
        }
    };
    let isolation = match mapped {
        Ok(maps) => {
            let uids = maps.uids.iter().map(|extent| extent.count).fold(0, u32::saturating_add);
            Isolation::UserNamespace { user, uids }
        }
        Err(lack) => {
            let lack = if uid == 0 { Lack::PowerlessRoot } else { lack };
            map_one(uid, gid).map_err(|source| match uid {
                0 => Error::PowerlessRoot { source },
                _ => Error::Isolate {
                    doing: "map our own user id",
                    source,
                },
            })?;
            Isolation::SingleId { user, lack }
        }
    };
    let (root, group) = (Uid::ROOT, Gid::ROOT);
    set_thread_res_gid(group, group, group)
        .and_then(|()| set_thread_res_uid(root, root, root))
        .map_err(isolating("become root in the user namespace"))?;
    Ok(isolation)
}

fn unshare_users() -> Result<(), Error> {
    sys::unshare(UnshareFlags::NEWUSER).map_err(|error| Error::UserNamespaceForbidden {
        prohibition: prohibition(error, &read_setting),
        source: error.into(),
    })
}

fn isolating(doing: &'static str) -> impl Fn(Errno) -> Error {
    move |error| {
        // There, making the namespace succeeds, and nothing in it does.
        if matches!(error, Errno::PERM | Errno::ACCESS) && is_apparmor_restricted(&read_setting) {
            return Error::UserNamespaceForbidden {
                prohibition: Prohibition::AppArmor,
                source: error.into(),
            };
        }
        Error::Isolate {
            doing,
            source: error.into(),
        }
    }
}

/// Whether a process of ours could be this user with this group. Root always can.
pub(crate) fn has(uid: u32, gid: u32) -> bool {
    let is_mapped = |id: u32, file| id == 0 || maps::covers(&fs::read_to_string(file).unwrap_or_default(), id);
    is_mapped(uid, "/proc/self/uid_map") && is_mapped(gid, "/proc/self/gid_map")
}

/// Who we are, and how many user and group ids are lent to us.
pub(crate) fn lent() -> (String, u64, u64) {
    let uid = geteuid().as_raw();
    let user = own_name(uid);
    let (users, groups) = maps::counts(&user, uid);
    (user, users, groups)
}

fn own_name(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_of(&passwd, uid).unwrap_or_else(|| uid.to_string())
}

fn name_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// Maps us alone: the one map a process may write for itself.
fn map_one(uid: u32, gid: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1\n"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1\n"))
}

/// Why there is no user namespace for us, by the kernel's answer and its settings.
fn prohibition(error: Errno, setting: &dyn Fn(&str) -> Option<String>) -> Prohibition {
    let is = |path: &str, value: &str| setting(path).is_some_and(|text| text.trim() == value);
    match error {
        Errno::NOSPC if is("/proc/sys/user/max_user_namespaces", "0") => Prohibition::MaximumIsZero,
        Errno::NOSPC | Errno::USERS => Prohibition::MaximumReached,
        Errno::INVAL if fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1) => Prohibition::Threads,
        Errno::INVAL | Errno::NOSYS => Prohibition::NotBuilt,
        Errno::PERM | Errno::ACCESS => {
            let filtered = setting("/proc/self/status")
                .is_some_and(|status| status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"])));
            if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
                Prohibition::PrivilegedOnly
            } else if is_apparmor_restricted(setting) {
                Prohibition::AppArmor
            } else if filtered {
                Prohibition::Filter
            } else if setting("/proc/self/mountinfo").is_some_and(|mounts| !has_root(&mounts)) {
                Prohibition::Chroot
            } else {
                Prohibition::Unknown
            }
        }
        _ => Prohibition::Unknown,
    }
}

/// Whether our root is one of the mounts that the kernel lists: in a chroot it need not be.
fn has_root(mounts: &str) -> bool {
    mounts.lines().any(|line| line.split_whitespace().nth(4) == Some("/"))
}

fn is_apparmor_restricted(setting: &dyn Fn(&str) -> Option<String>) -> bool {
    setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").is_some_and(|text| text.trim() == "1")
}

fn read_setting(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_explained() {
        let cases: &[(Errno, &str, &str, Prohibition)] = &[
            (
                Errno::NOSPC,
                "/proc/sys/user/max_user_namespaces",
                "0\n",
                Prohibition::MaximumIsZero,
            ),
            (
                Errno::NOSPC,
                "/proc/sys/user/max_user_namespaces",
                "9\n",
                Prohibition::MaximumReached,
            ),
            (
                Errno::PERM,
                "/proc/sys/kernel/unprivileged_userns_clone",
                "0\n",
                Prohibition::PrivilegedOnly,
            ),
            (
                Errno::PERM,
                "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
                "1\n",
                Prohibition::AppArmor,
            ),
            (
                Errno::PERM,
                "/proc/self/status",
                "Name:\tx\nSeccomp:\t2\n",
                Prohibition::Filter,
            ),
            (Errno::PERM, "/proc/self/status", "Seccomp:\t0\n", Prohibition::Unknown),
            (
                Errno::PERM,
                "/proc/self/mountinfo",
                "22 20 0:3 / /proc rw - proc proc rw\n",
                Prohibition::Chroot,
            ),
            (
                Errno::PERM,
                "/proc/self/mountinfo",
                "20 1 8:1 / / rw - ext4 /dev/sda rw\n",
                Prohibition::Unknown,
            ),
        ];
        for (error, file, text, expected) in cases {
            let setting = |path: &str| (path == *file).then(|| (*text).to_owned());
            assert_eq!(prohibition(*error, &setting), *expected, "{file}");
        }
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

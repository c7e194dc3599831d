//! Into a user namespace, for whom is not root of the machine.
//!
//! An ordinary user needs one for mounts of its own; in it it is root and has the further
//! ids that `/etc/subuid` and `/etc/subgid` lend it. Those maps can only be written from outside, so a second process
//! is started before, which waits until we are inside and then has `newuidmap` and `newgidmap` write them. Where nothing
//! is lent, or nobody can write such maps, the user is alone inside: the one map that a process may write for itself.

mod mapper;
pub(crate) mod maps;

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::process::{Gid, Uid, getegid, geteuid};
use rustix::thread::{UnshareFlags, set_thread_res_gid, set_thread_res_uid};

pub(crate) use self::mapper::map_for_caller;

use self::mapper::Mapper;
use self::maps::Maps;
use crate::error::Prohibition;
use crate::{Error, Isolation, Lack, sys};

/// Where distributions have the program that maps ids.
pub(crate) const USUAL_MAPPER: &str = "/usr/bin/newuidmap";
pub(crate) const INSTALL_MAPPER: &str =
    "as root run `apt-get install uidmap` (Debian, Ubuntu) or `dnf install shadow-utils` (Fedora)";

/// Whether it was found that we may all that root may.
static TRUE_ROOT: AtomicBool = AtomicBool::new(false);

/// Notes that we are root without a user namespace of ours.
pub(crate) fn be_true_root() {
    TRUE_ROOT.store(true, Ordering::Relaxed);
}

/// Whether we are root without a user namespace of ours.
pub(crate) fn is_true_root() -> bool {
    TRUE_ROOT.load(Ordering::Relaxed)
}

/// Makes a user namespace and becomes root in it.
pub(crate) fn enter_user_namespace() -> Result<Isolation, Error> {
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

pub(crate) fn isolating(doing: &'static str) -> impl Fn(Errno) -> Error {
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
}

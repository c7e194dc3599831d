//! Into the namespaces that all else needs: done once, before any thread is started.
//!
//! Root needs only mounts of its own. An ordinary user needs a user namespace, in which it is root and has the further
//! ids that `/etc/subuid` and `/etc/subgid` lend it. Those maps can only be written from outside, so a second process
//! is started before, which waits until we are inside and then has `newuidmap` and `newgidmap` write them.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Gid, Uid, getegid, geteuid};
use rustix::thread::{CapabilitySet, UnshareFlags, set_thread_res_gid, set_thread_res_uid};
use serde::{Deserialize, Serialize};

use crate::error::Prohibition;
use crate::{Error, init, sys};

const SUBUID: &str = "/etc/subuid";
const SUBGID: &str = "/etc/subgid";
/// As many ids as distributions lend, and from where on.
const USUAL_COUNT: u32 = 65_536;
const USUAL_FIRST: u32 = 100_000;

/// How we are isolated from the machine.
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
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Isolation::Root => f.write_str("running as root, each step in namespaces of its own"),
            Isolation::UserNamespace { user, uids: 1 } => {
                write!(
                    f,
                    "running in a user namespace of `{user}` with a single user id, each step in namespaces of its own"
                )
            }
            Isolation::UserNamespace { user, uids } => {
                write!(
                    f,
                    "running in a user namespace of `{user}` with {uids} user ids, each step in namespaces of its own"
                )
            }
        }
    }
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
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = name_of(&passwd, uid).unwrap_or_else(|| uid.to_string());
    let maps = if uid == 0 {
        Maps::of_all_ids()
    } else {
        Maps::lent_to(&user, uid, gid)?
    };
    let mapper = Mapper::start(&maps)?;
    sys::unshare(UnshareFlags::NEWUSER).map_err(|error| Error::UserNamespaceForbidden {
        prohibition: prohibition(error, &read_setting),
        source: error.into(),
    })?;
    let uids = match mapper.map() {
        Ok(()) => maps.uids.iter().map(|extent| extent.count).fold(0, u32::saturating_add),
        // A root without its powers may still be alone in its namespace.
        Err(_) if uid == 0 => {
            map_one(uid, gid).map_err(|source| Error::PowerlessRoot { source })?;
            1
        }
        Err(error) => return Err(error),
    };
    let (root, group) = (Uid::ROOT, Gid::ROOT);
    set_thread_res_gid(group, group, group)
        .and_then(|()| set_thread_res_uid(root, root, root))
        .map_err(isolating("become root in the user namespace"))?;
    Ok(Isolation::UserNamespace { user, uids })
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

/// `count` ids from `inside` on are those from `outside` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Extent {
    inside: u32,
    outside: u32,
    count: u32,
}

/// What the ids of a user namespace are outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Maps {
    uids: Vec<Extent>,
    gids: Vec<Extent>,
    /// Whether setuid programs have to write them.
    by_programs: bool,
}

impl Maps {
    /// The user itself as root, and after it the ids lent to it.
    fn lent_to(user: &str, uid: u32, gid: u32) -> Result<Maps, Error> {
        let lent = |file, option, own| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let ranges = ranges(&text, user, uid);
            if ranges.is_empty() {
                let first = first_free(&text);
                let last = first + (USUAL_COUNT - 1);
                return Err(Error::NoSubordinateIds {
                    user: user.to_owned(),
                    file,
                    option,
                    first,
                    last,
                });
            }
            Ok(stacked(own, &ranges))
        };
        Ok(Maps {
            uids: lent(SUBUID, "--add-subuids", uid)?,
            gids: lent(SUBGID, "--add-subgids", gid)?,
            by_programs: true,
        })
    }

    /// All ids we have, as they are.
    fn of_all_ids() -> Maps {
        let identity = |file| {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.lines()
                .filter_map(|line| {
                    let mut fields = line.split_whitespace().map(str::parse::<u32>);
                    let (inside, _, count) = (fields.next()?.ok()?, fields.next()?.ok()?, fields.next()?.ok()?);
                    Some(Extent {
                        inside,
                        outside: inside,
                        count,
                    })
                })
                .collect()
        };
        Maps {
            uids: identity("/proc/self/uid_map"),
            gids: identity("/proc/self/gid_map"),
            by_programs: false,
        }
    }
}

/// `own` is 0 inside, and the ranges follow from 1 on without gaps.
fn stacked(own: u32, ranges: &[(u32, u32)]) -> Vec<Extent> {
    let mut extents = vec![Extent {
        inside: 0,
        outside: own,
        count: 1,
    }];
    let mut inside = 1_u32;
    for (first, count) in ranges {
        let count = (*count).min(u32::MAX - inside);
        extents.push(Extent {
            inside,
            outside: *first,
            count,
        });
        inside += count;
    }
    extents
}

/// First and count of each range that a file such as `/etc/subuid` lends to a user, by name or by number.
fn ranges(text: &str, user: &str, uid: u32) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    all_ranges(text)
        .filter(|(owner, _, count)| (*owner == user || *owner == number) && *count > 0)
        .map(|(_, first, count)| (first, count))
        .collect()
}

fn all_ranges(text: &str) -> impl Iterator<Item = (&str, u32, u32)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        Some((
            fields.next()?,
            fields.next()?.parse().ok()?,
            fields.next()?.parse().ok()?,
        ))
    })
}

/// Where a range could begin that overlaps none.
fn first_free(text: &str) -> u32 {
    let end = all_ranges(text)
        .map(|(_, first, count)| first.saturating_add(count))
        .max()
        .unwrap_or(0);
    end.clamp(USUAL_FIRST, u32::MAX - USUAL_COUNT)
}

fn name_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The process outside that sees to it that the maps get written.
struct Mapper(Child);

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Done,
    Missing(Program),
    Refused { program: String, message: String },
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Program {
    Newuidmap,
    Newgidmap,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Program::Newuidmap => "newuidmap",
            Program::Newgidmap => "newgidmap",
        }
    }
}

impl Mapper {
    fn start(maps: &Maps) -> Result<Mapper, Error> {
        let failed = |source| Error::Supervise {
            doing: "start a process to map ids",
            source,
        };
        let child = Command::new("/proc/self/exe")
            .arg0(init::NAME)
            .arg(init::MAP)
            .arg(std::process::id().to_string())
            .arg(serde_json::to_string(maps).map_err(|error| failed(error.into()))?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        Ok(Mapper(child))
    }

    /// Has the maps written, now that we are inside.
    fn map(mut self) -> Result<(), Error> {
        let failed = |source| Error::Supervise {
            doing: "have ids mapped",
            source,
        };
        if let Some(mut stdin) = self.0.stdin.take() {
            stdin.write_all(b"\n").map_err(failed)?;
        }
        let mut answer = Vec::new();
        if let Some(mut stdout) = self.0.stdout.take() {
            stdout.read_to_end(&mut answer).map_err(failed)?;
        }
        self.0.wait().map_err(failed)?;
        match serde_json::from_slice(&answer).map_err(|error| failed(error.into()))? {
            Answer::Done => Ok(()),
            Answer::Missing(program) => Err(Error::MapperMissing {
                program: program.name(),
            }),
            Answer::Refused { .. } if is_apparmor_restricted(&read_setting) => Err(Error::UserNamespaceForbidden {
                prohibition: Prohibition::AppArmor,
                source: Errno::PERM.into(),
            }),
            Answer::Refused { program, message } => Err(Error::MapRefused { program, message }),
        }
    }
}

/// The work of the process outside: `args` are whom to map, and how.
pub(crate) fn map_for_caller(mut args: impl Iterator<Item = OsString>) -> io::Result<()> {
    let mut argument = || {
        args.next()
            .and_then(|argument| argument.into_string().ok())
            .ok_or(Errno::INVAL)
    };
    let (pid, maps) = (argument()?, argument()?);
    let pid: u32 = pid.parse().map_err(io::Error::other)?;
    let maps: Maps = serde_json::from_str(&maps)?;
    // Nothing comes if the caller could not get inside.
    if io::stdin().read(&mut [0])? == 0 {
        return Ok(());
    }
    let answer = if maps.by_programs {
        map_by_programs(pid, &maps)
    } else {
        map_by_hand(pid, &maps)
    };
    let mut stdout = io::stdout();
    stdout.write_all(&serde_json::to_vec(&answer)?)?;
    stdout.flush()
}

fn map_by_programs(pid: u32, maps: &Maps) -> Answer {
    for (program, extents) in [(Program::Newuidmap, &maps.uids), (Program::Newgidmap, &maps.gids)] {
        let numbers = extents
            .iter()
            .flat_map(|extent| [extent.inside, extent.outside, extent.count]);
        let run = Command::new(program.name())
            .arg(pid.to_string())
            .args(numbers.map(|number| number.to_string()))
            .output();
        match run {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Answer::Refused {
                    program: program.name().to_owned(),
                    message,
                };
            }
            // A folder of PATH that may not be read makes the search end in «denied» although nothing was found.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                return Answer::Missing(program);
            }
            Err(error) => {
                return Answer::Refused {
                    program: program.name().to_owned(),
                    message: error.to_string(),
                };
            }
        }
    }
    Answer::Done
}

fn map_by_hand(pid: u32, maps: &Maps) -> Answer {
    for (file, extents) in [("uid_map", &maps.uids), ("gid_map", &maps.gids)] {
        let path = format!("/proc/{pid}/{file}");
        let lines: String = extents
            .iter()
            .map(|Extent { inside, outside, count }| format!("{inside} {outside} {count}\n"))
            .collect();
        if let Err(error) = fs::write(&path, lines) {
            return Answer::Refused {
                program: path,
                message: error.to_string(),
            };
        }
    }
    Answer::Done
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
            } else {
                Prohibition::Unknown
            }
        }
        _ => Prohibition::Unknown,
    }
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
    fn ranges_are_lent_by_name_or_number() {
        let text = "ann:100000:65536\nbob:165536:65536\n1000:300000:10\nbroken\nann:x:1\n";
        assert_eq!(ranges(text, "ann", 1000), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(ranges(text, "carol", 7), []);
        assert_eq!(first_free(text), 300_010);
        assert_eq!(first_free(""), USUAL_FIRST);
    }

    #[test]
    fn the_user_is_root_and_lent_ids_follow() {
        let expected = [(0, 1000, 1), (1, 100_000, 5), (6, 300_000, 7)].map(|(inside, outside, count)| Extent {
            inside,
            outside,
            count,
        });
        assert_eq!(stacked(1000, &[(100_000, 5), (300_000, 7)]), expected);
    }

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
        ];
        for (error, file, text, expected) in cases {
            let setting = |path: &str| (path == *file).then(|| (*text).to_owned());
            assert_eq!(prohibition(*error, &setting), *expected, "{file}");
        }
    }

    #[test]
    fn a_missing_range_is_answered_with_the_command_that_lends_one() {
        let error = Error::NoSubordinateIds {
            user: "ann".to_owned(),
            file: SUBUID,
            option: "--add-subuids",
            first: 100_000,
            last: 165_535,
        };
        assert!(
            error
                .to_string()
                .ends_with("as root run `usermod --add-subuids 100000-165535 ann`"),
            "{error}"
        );
    }
}

//! What this machine has for builds: facts for those who want to know beforehand, read and not guessed.
//!
//! To be asked before [`enter`](crate::enter): inside of a user namespace much of it looks different. What can only be
//! found out by trying is not here; whoever asks tries it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::userns;

const CONTROL_GROUPS: &str = "/sys/fs/cgroup";
/// Those by which a step could be limited.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// The facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The kernel's release: `6.18.4-arch1`.
    pub release: String,
    /// Major and minor number of the kernel.
    pub kernel: (u32, u32),
    /// Whether the kernel can filter the system calls of a process.
    pub has_filters: bool,
    /// Whether we are under such a filter ourselves, as in most containers.
    pub is_filtered: bool,
    /// The control groups.
    pub control_groups: ControlGroups,
    /// Who else we could be in a user namespace.
    pub ids: Ids,
}

/// What there is of control groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlGroups {
    /// 1 or 2; nothing where none are mounted.
    pub version: Option<u8>,
    /// Which of `cpu`, `memory` and `pids` our own group has.
    pub controllers: Vec<&'static str>,
    /// Of which of these we may make groups below our own.
    pub writable: Vec<&'static str>,
}

/// The ids that are lent to us, and the programs that map them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Who we are, by name or by number.
    pub user: String,
    /// How many user ids `/etc/subuid` lends.
    pub users: u64,
    /// How many group ids `/etc/subgid` lends.
    pub groups: u64,
    /// `newuidmap`, if it is installed.
    pub newuidmap: Option<PathBuf>,
    /// `newgidmap`, if it is installed.
    pub newgidmap: Option<PathBuf>,
}

/// Looks at the machine; programs are looked for in the folders of `search`.
#[must_use]
pub fn machine(search: Option<&OsStr>) -> Machine {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let (has_filters, is_filtered) = filters(&status);
    let (user, users, groups) = userns::lent();
    Machine {
        kernel: numbers(&release),
        release,
        has_filters,
        is_filtered,
        control_groups: control_groups(),
        ids: Ids {
            user,
            users,
            groups,
            newuidmap: find("newuidmap", search),
            newgidmap: find("newgidmap", search),
        },
    }
}

/// The first program of that name in the folders of `search`.
fn find(name: &str, search: Option<&OsStr>) -> Option<PathBuf> {
    std::env::split_paths(search?)
        .map(|folder| folder.join(name))
        .find(|path| fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0))
}

fn numbers(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|text| text.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Whether there are filters of system calls, and whether one is upon us, by `/proc/self/status`.
fn filters(status: &str) -> (bool, bool) {
    let line = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    (line.is_some(), line.is_some_and(|mode| mode.trim() == "2"))
}

fn control_groups() -> ControlGroups {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let root = Path::new(CONTROL_GROUPS);
    let is_writable = |path: &Path| rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    if let Ok(controllers) = fs::read_to_string(root.join("cgroup.controllers")) {
        let own = root.join(unified(&membership).trim_start_matches('/'));
        let controllers = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or(controllers);
        let controllers = among(controllers.split_whitespace());
        // A group below is of use only if processes can be moved there from ours.
        let movable = rustix::fs::access(own.join("cgroup.procs"), Access::WRITE_OK).is_ok();
        let writable = is_writable(&own) && movable;
        return ControlGroups {
            version: Some(2),
            writable: if writable { controllers.clone() } else { Vec::new() },
            controllers,
        };
    }
    let mut found = ControlGroups::default();
    for (controllers, group) in hierarchies(&membership) {
        let here = root.join(controllers).join(group.trim_start_matches('/'));
        // In a container its own group is mounted as if it were the topmost.
        let here = if here.is_dir() { here } else { root.join(controllers) };
        if !here.is_dir() {
            continue;
        }
        found.version = Some(1);
        let known = among(controllers.split(','));
        if is_writable(&here) {
            found.writable.extend(&known);
        }
        found.controllers.extend(known);
    }
    found.controllers.sort_unstable();
    found.writable.sort_unstable();
    found
}

/// The path of our group in the one hierarchy of version 2.
fn unified(membership: &str) -> &str {
    membership
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or("/")
}

/// Controllers and path of each group we are in, of version 1.
fn hierarchies(membership: &str) -> impl Iterator<Item = (&str, &str)> {
    membership.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next()?, fields.next()?);
        (!controllers.is_empty() && !controllers.starts_with("name=")).then_some((controllers, group))
    })
}

fn among<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'static str> {
    let names: Vec<&str> = names.collect();
    CONTROLLERS.into_iter().filter(|known| names.contains(known)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_begin_with_two_numbers() {
        for (release, expected) in [
            ("6.18.44", (6, 18)),
            ("5.4.0-26-generic", (5, 4)),
            ("6.1-rc2", (6, 1)),
            ("", (0, 0)),
        ] {
            assert_eq!(numbers(release), expected, "{release}");
        }
    }

    #[test]
    fn a_filter_upon_us_is_seen() {
        assert_eq!(filters("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"), (true, true));
        assert_eq!(filters("Name:\tx\nSeccomp:\t0\n"), (true, false));
        assert_eq!(filters("Name:\tx\n"), (false, false));
    }

    #[test]
    fn groups_are_told_from_the_lines_of_both_versions() {
        let old = "11:memory:/a\n4:cpu,cpuacct:/b\n1:name=systemd:/c\n0::/d\n";
        assert_eq!(unified(old), "/d");
        let found: Vec<_> = hierarchies(old).collect();
        assert_eq!(found, [("memory", "/a"), ("cpu,cpuacct", "/b")]);
        assert_eq!(among("cpu,cpuacct".split(',')), ["cpu"]);
    }
}

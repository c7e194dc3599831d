//! Where control groups are, by what the kernel says of mounts and of our own membership. Pure text, but for reading it.

use std::fs;
use std::path::{Path, PathBuf};

/// The two kinds of hierarchies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The one of version 2.
    Unified,
    /// One of version 1.
    Old,
}

/// A hierarchy that is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) kind: Kind,
    /// What it can limit.
    pub(super) controllers: Vec<String>,
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    /// The group we are in.
    pub(super) own: PathBuf,
}

impl Hierarchy {
    /// Whether it has this controller.
    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
}

/// All of this machine, as far as we see them.
pub(super) fn find() -> Vec<Hierarchy> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut hierarchies = hierarchies(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
    for unified in hierarchies
        .iter_mut()
        .filter(|hierarchy| hierarchy.kind == Kind::Unified)
    {
        // Those of our own group are what its children may be given.
        let file = unified.own.join("cgroup.controllers");
        let text = fs::read_to_string(file).unwrap_or_default();
        unified.controllers = text.split_whitespace().map(str::to_owned).collect();
    }
    hierarchies
}

/// By the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`; without the controllers of the new hierarchy.
fn hierarchies(mounts: &str, membership: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.lines() {
        let Some((place, kind)) = line.split_once(" - ") else {
            continue;
        };
        let (mut place, mut kind) = (place.split(' ').skip(3), kind.split(' '));
        let (Some(root), Some(mount)) = (place.next(), place.next()) else {
            continue;
        };
        let (kind, options) = (kind.next(), kind.nth(1).unwrap_or_default());
        let options: Vec<&str> = options.split(',').collect();
        let joined = membership.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let fits = match kind? {
                "cgroup2" => controllers.is_empty(),
                "cgroup" => !controllers.is_empty() && controllers.split(',').all(|name| options.contains(&name)),
                _ => false,
            };
            fits.then_some((controllers, path))
        });
        let Some((controllers, path)) = joined else { continue };
        let hierarchy = Hierarchy {
            kind: if controllers.is_empty() {
                Kind::Unified
            } else {
                Kind::Old
            },
            controllers: controllers.split(',').map(str::to_owned).collect(),
            mount: mount.into(),
            own: own(Path::new(mount), root, path),
        };
        if found.iter().all(|known| known.controllers != hierarchy.controllers) {
            found.push(hierarchy);
        }
    }
    found
}

/// The directory of the group `path` where the group `root` is mounted at `mount`.
fn own(mount: &Path, root: &str, path: &str) -> PathBuf {
    let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
    mount.join(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "25 20 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        26 25 0:23 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        27 25 0:24 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
        28 25 0:25 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
        29 25 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        30 25 0:24 / /elsewhere/memory rw - cgroup cgroup rw,memory\n";

    #[test]
    fn each_hierarchy_is_found_once_with_the_group_we_are_in() {
        let membership = "4:memory:/jobs/1\n2:cpu,cpuacct:/\n1:name=systemd:/s\n0::/\n";
        let found: Vec<(Kind, String)> = hierarchies(HYBRID, membership)
            .iter()
            .map(|hierarchy| (hierarchy.kind, hierarchy.own.display().to_string()))
            .collect();
        let expected = [
            (Kind::Old, "/sys/fs/cgroup/cpu/"),
            (Kind::Old, "/sys/fs/cgroup/memory/jobs/1"),
            (Kind::Old, "/sys/fs/cgroup/systemd/s"),
            (Kind::Unified, "/sys/fs/cgroup/unified/"),
        ];
        assert_eq!(found, expected.map(|(kind, own)| (kind, own.to_owned())));
    }

    #[test]
    fn a_container_sees_its_own_part() {
        let mounts = "9 8 0:1 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        for membership in ["0::/docker/abc\n", "0::/\n", "0::/../..\n"] {
            let found = hierarchies(mounts, membership);
            assert_eq!(found[0].own, Path::new("/sys/fs/cgroup"), "{membership}");
        }
    }
}

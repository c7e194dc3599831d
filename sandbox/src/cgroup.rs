//! A control group around one step, to learn whether the kernel killed something in it for want of memory.
//!
//! Where we may not make one, the count of such kills on the whole machine has to do: it is asked only when the step
//! looks as if it had been killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Exit;

const FOLDER: &str = "rbuild";

/// A group of its own, removed when dropped.
#[derive(Debug)]
pub(crate) struct Group {
    directory: PathBuf,
}

impl Group {
    /// Makes one below our own, where that is allowed.
    pub(crate) fn make() -> Option<Group> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        candidates(&membership).into_iter().find_map(|ours| {
            let directory = ours.join(FOLDER).join(&name);
            fs::create_dir_all(&directory).ok()?;
            let group = Group { directory };
            group.kills().map(|_| group)
        })
    }

    /// The file that a process writes itself into to be in the group.
    pub(crate) fn members(&self) -> PathBuf {
        self.directory.join("cgroup.procs")
    }

    fn kills(&self) -> Option<u64> {
        ["memory.events", "memory.oom_control"]
            .iter()
            .find_map(|file| counter(&fs::read_to_string(self.directory.join(file)).ok()?))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The parent goes with its last child; a sibling that is being made at this moment makes it anew.
        if fs::remove_dir(&self.directory).is_ok()
            && let Some(parent) = self.directory.parent()
        {
            let _ = fs::remove_dir(parent);
        }
    }
}

/// Watches for kills for want of memory.
#[derive(Debug)]
pub(crate) struct Watch {
    group: Option<Group>,
    machine: Option<u64>,
}

impl Watch {
    /// Begins.
    pub(crate) fn begin() -> Watch {
        let group = Group::make();
        let machine = if group.is_some() { None } else { machine_kills() };
        Watch { group, machine }
    }

    /// Where the step has to enter itself.
    pub(crate) fn members(&self) -> Option<PathBuf> {
        self.group.as_ref().map(Group::members)
    }

    /// What `exit` really was.
    pub(crate) fn judge(&self, exit: Exit) -> Exit {
        let killed = matches!(exit, Exit::Signal(libc::SIGKILL) | Exit::Code(137));
        if killed && self.memory_ran_out() {
            Exit::OutOfMemory
        } else {
            exit
        }
    }

    fn memory_ran_out(&self) -> bool {
        match &self.group {
            Some(group) => group.kills().is_some_and(|kills| kills > 0),
            None => self
                .machine
                .zip(machine_kills())
                .is_some_and(|(before, now)| now > before),
        }
    }
}

fn machine_kills() -> Option<u64> {
    counter(&fs::read_to_string("/proc/vmstat").ok()?)
}

fn counter(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Where our own group may be, best first, by the text of `/proc/self/cgroup`.
fn candidates(membership: &str) -> Vec<PathBuf> {
    membership
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let path = path.trim_start_matches('/');
            if path.split('/').any(|name| name == "..") {
                return None;
            }
            match controllers {
                "" => Some(Path::new("/sys/fs/cgroup").join(path)),
                _ if controllers.split(',').any(|name| name == "memory") => {
                    Some(Path::new("/sys/fs/cgroup/memory").join(path))
                }
                _ => None,
            }
        })
        // Of a mixture of old and new hierarchies, the new one is not where the new one alone would be.
        .filter(|directory| directory.join("cgroup.procs").exists())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_either_kind_of_file() {
        let cases = [
            ("low 0\nhigh 0\noom 1\noom_kill 2\noom_group_kill 0\n", Some(2)),
            ("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", Some(3)),
            ("nothing\n", None),
        ];
        for (text, expected) in cases {
            assert_eq!(counter(text), expected);
        }
    }

    #[test]
    fn only_what_looks_killed_is_called_out_of_memory() {
        let watch = Watch {
            group: None,
            machine: None,
        };
        for exit in [Exit::Code(0), Exit::Code(137), Exit::Signal(9)] {
            assert_eq!(watch.judge(exit), exit);
        }
    }
}

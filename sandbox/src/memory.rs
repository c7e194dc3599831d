//! Tells a process that the kernel killed for want of memory from one that was killed otherwise.
//!
//! The kernel counts such kills per control group, and on the whole machine where there are no groups. The count of the
//! group we are in ourselves is enough, since steps are in it too: a group for each step would be more exact, but moving
//! a process into one takes the kernel longer than all else a step costs. What is left to chance is two steps killed at
//! the same moment, only one of them for memory.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Exit;

const MACHINE: &str = "/proc/vmstat";

/// A count of kills, from a point in time on.
#[derive(Debug)]
pub(crate) struct Watch {
    counter: PathBuf,
    before: Option<u64>,
}

impl Watch {
    /// Begins to count.
    pub(crate) fn begin() -> Watch {
        let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let (counter, before) = candidates(&membership)
            .into_iter()
            .find_map(|counter| kills(&counter).map(|kills| (counter, Some(kills))))
            .unwrap_or_else(|| (PathBuf::new(), None));
        Watch { counter, before }
    }

    /// What `exit` really was.
    pub(crate) fn judge(&self, exit: Exit) -> Exit {
        // A shell whose command was killed ends with 137 itself.
        let killed = matches!(exit, Exit::Signal(libc::SIGKILL) | Exit::Code(137));
        let risen = || {
            self.before
                .zip(kills(&self.counter))
                .is_some_and(|(before, now)| now > before)
        };
        if killed && risen() {
            Exit::OutOfMemory { limit: None }
        } else {
            exit
        }
    }
}

/// How many the file counts.
pub(crate) fn kills(counter: &Path) -> Option<u64> {
    count(&fs::read_to_string(counter).ok()?)
}

fn count(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Where the kills in our own group may be counted, narrowest first, by the text of `/proc/self/cgroup`.
fn candidates(membership: &str) -> Vec<PathBuf> {
    let groups = membership.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        match controllers {
            "" => Some(Path::new("/sys/fs/cgroup").join(path).join("memory.events")),
            _ if controllers.split(',').any(|name| name == "memory") => {
                Some(Path::new("/sys/fs/cgroup/memory").join(path).join("memory.oom_control"))
            }
            _ => None,
        }
    });
    groups.chain([PathBuf::from(MACHINE)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_each_kind_of_file() {
        let cases = [
            ("low 0\nhigh 0\noom 1\noom_kill 2\noom_group_kill 0\n", Some(2)),
            ("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", Some(3)),
            ("pgfault 5\noom_kill 4\n", Some(4)),
            ("nothing\n", None),
        ];
        for (text, expected) in cases {
            assert_eq!(count(text), expected);
        }
    }

    #[test]
    fn the_narrowest_group_is_asked_first() {
        let cases = [
            ("0::/user.slice/a\n", "/sys/fs/cgroup/user.slice/a/memory.events"),
            (
                "4:memory:/a/b\n1:cpu:/\n",
                "/sys/fs/cgroup/memory/a/b/memory.oom_control",
            ),
            ("1:cpu:/\n", MACHINE),
            ("", MACHINE),
        ];
        for (membership, expected) in cases {
            assert_eq!(candidates(membership)[0], Path::new(expected));
        }
    }

    #[test]
    fn only_what_looks_killed_is_called_out_of_memory() {
        let directory = tempfile::tempdir().unwrap();
        let counter = directory.path().join("counter");
        fs::write(&counter, "oom_kill 5\n").unwrap();
        let risen = Watch {
            counter: counter.clone(),
            before: Some(4),
        };
        let same = Watch {
            counter,
            before: Some(5),
        };
        let cases = [
            (Exit::Code(0), Exit::Code(0)),
            (Exit::Code(1), Exit::Code(1)),
            (Exit::Signal(15), Exit::Signal(15)),
            (Exit::Code(137), Exit::OutOfMemory { limit: None }),
            (Exit::Signal(9), Exit::OutOfMemory { limit: None }),
        ];
        for (exit, expected) in cases {
            assert_eq!(risen.judge(exit), expected);
            assert_eq!(same.judge(exit), exit);
        }
    }
}

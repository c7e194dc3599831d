//! Ending processes that have nobody else: our children, and theirs as they become ours.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};

/// Kills and reaps all our children but `others`, and the children that they leave us, until there are none.
pub(in crate::init) fn end(others: &[Pid]) {
    loop {
        let mut children = children();
        children.retain(|child| !others.contains(child));
        for child in &children {
            // It is our child, so its number is nobody else's before we have reaped it.
            let _ = kill_process(*child, Signal::KILL);
        }
        for child in &children {
            while matches!(waitpid(Some(*child), WaitOptions::empty()), Err(Errno::INTR)) {}
        }
        if children.is_empty() {
            return;
        }
    }
}

/// Our children, the dead among them.
fn children() -> Vec<Pid> {
    // One read, where the kernel has it: what keeps forking to get away is caught between two forks.
    match fs::read_to_string("/proc/thread-self/children") {
        Ok(text) => text.split_whitespace().filter_map(number).collect(),
        Err(_) => among_all(),
    }
}

fn among_all() -> Vec<Pid> {
    let own = getpid();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| number(entry.file_name().to_str()?));
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        stat.is_ok_and(|stat| parent(&stat) == Some(own))
    })
    .collect()
}

fn number(text: &str) -> Option<Pid> {
    Pid::from_raw(text.parse().ok()?)
}

/// The second field after the name, which may hold anything.
fn parent(stat: &str) -> Option<Pid> {
    number(stat.rsplit_once(')')?.1.split_whitespace().nth(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_whatever_the_name_of_the_program() {
        assert_eq!(parent("7 (a) 1 (b) S 42 7 7 0"), Pid::from_raw(42));
        assert_eq!(parent("7 (a"), None);
    }

    #[test]
    fn children_are_found_in_both_ways() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert!(children().contains(&pid) && among_all().contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

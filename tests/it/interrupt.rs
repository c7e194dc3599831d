//! A build that is interrupted, gently or not, leaves nothing running and nothing mounted, and the store is good afterwards.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Bases, Workshop, eventually, progress};

#[test]
fn ctrl_c_ends_the_step_and_says_so_by_its_exit_code() {
    let Some(mut running) = Running::start("5551") else {
        return;
    };
    running.send(Signal::INT);
    assert!(running.ends(), "rbuild goes on after SIGINT");
    assert_eq!(running.build.wait().unwrap().code(), Some(130));
    running.leaves_nothing();
    running.builds_afterwards();
}

#[test]
fn a_request_to_terminate_ends_the_step() {
    let Some(mut running) = Running::start("5552") else {
        return;
    };
    running.send(Signal::TERM);
    assert!(running.ends(), "rbuild goes on after SIGTERM");
    assert_eq!(running.build.wait().unwrap().code(), Some(143));
    running.leaves_nothing();
}

#[test]
fn being_killed_leaves_a_store_that_works() {
    let Some(mut running) = Running::start("5553") else {
        return;
    };
    running.send(Signal::KILL);
    assert!(running.ends());
    running.leaves_nothing();
    running.builds_afterwards();
}

/// A build in the middle of a step that would last for an hour.
struct Running {
    workshop: Workshop,
    bases: &'static Bases,
    build: Child,
    /// The unusual number of seconds the step sleeps: what to look for among the processes.
    seconds: &'static str,
}

impl Running {
    fn start(seconds: &'static str) -> Option<Running> {
        let bases = Bases::find()?;
        let workshop = Workshop::own();
        let dockerfile = format!("FROM busybox\nRUN echo before > /before\nRUN sleep {seconds}\n");
        let context = workshop.context("long", &[("Dockerfile", &dockerfile)]);
        let build = workshop
            .direct(bases, &context)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Running {
            workshop,
            bases,
            build,
            seconds,
        };
        assert!(
            eventually(Duration::from_secs(60), || running.sleepers() > 0),
            "the step does not start"
        );
        Some(running)
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.build), signal).unwrap();
    }

    fn ends(&mut self) -> bool {
        eventually(Duration::from_secs(15), || self.build.try_wait().unwrap().is_some())
    }

    /// How many processes, of whatever namespace, are the step's.
    fn sleepers(&self) -> usize {
        let wanted = format!("sleep\0{}\0", self.seconds);
        let processes = fs::read_dir("/proc")
            .unwrap()
            .map(|entry| entry.unwrap().path().join("cmdline"));
        processes
            .filter_map(|path| fs::read(path).ok())
            .filter(|line| line.ends_with(wanted.as_bytes()))
            .count()
    }

    fn leaves_nothing(&self) {
        assert!(
            eventually(Duration::from_secs(10), || self.sleepers() == 0),
            "the step's process is still there"
        );
        assert!(
            eventually(Duration::from_secs(10), || !mounted(&self.workshop.store())),
            "mounts are left"
        );
    }

    /// The same store serves another build, and what was finished before the interruption is good.
    fn builds_afterwards(&self) {
        let dockerfile = "FROM busybox\nRUN echo before > /before\nRUN grep -x before /before\n";
        let context = self.workshop.context("afterwards", &[("Dockerfile", dockerfile)]);
        progress(&mut self.workshop.build(self.bases, &context));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.build.kill();
        let _ = self.build.wait();
    }
}

fn mounted(store: &Path) -> bool {
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .contains(&*store.to_string_lossy())
}

//! Steps that want more of the machine than they were given.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Bases, User, Workshop, ends_with, progress, skipped, text};

/// A workshop of root's, where control groups can be made.
fn workshop() -> Option<(Workshop, &'static Bases)> {
    if !rustix::process::geteuid().is_root() || !Path::new("/sys/fs/cgroup").exists() {
        return skipped("root and control groups");
    }
    Some((Workshop::own(), Bases::find()?))
}

fn step(workshop: &Workshop, bases: &Bases, run: &str, limits: &[&str]) -> Command {
    let context = workshop.context("limits", &[("Dockerfile", &format!("FROM busybox\nRUN {run}\n"))]);
    let mut build = workshop.build(bases, &context);
    build.arg("--no-cache").args(limits);
    build
}

/// Control groups of ours that are left anywhere.
fn groups_left() -> Vec<String> {
    let found = Command::new("find")
        .args(["/sys/fs/cgroup", "-type", "d", "-name", "rbuild-*"])
        .output()
        .unwrap();
    text(&found.stdout).lines().map(str::to_owned).collect()
}

/// Whether one of them is of a process with this number.
fn left_by(process: u32) -> bool {
    let name = format!("/rbuild-{process}-");
    groups_left().iter().any(|path| path.contains(&name))
}

#[test]
fn a_step_that_wants_too_much_memory_is_told_its_limit() {
    let Some((workshop, bases)) = workshop() else { return };
    let hungry = "awk 'BEGIN { s = \"x\"; while (1) s = s s }'";
    let said = ends_with(&mut step(&workshop, bases, hungry, &["--memory=64m"]), 5);
    assert!(said.contains("killed: over its 64 MiB of memory (--memory)"), "{said}");
    // Also where the step goes on and fails otherwise.
    let said = ends_with(
        &mut step(
            &workshop,
            bases,
            &format!("{hungry}; exit 3"),
            &["--resource=memory=64m"],
        ),
        5,
    );
    assert!(said.contains("over its 64 MiB of memory"), "{said}");
    progress(&mut step(&workshop, bases, "true", &["--memory=64m"]));
}

#[test]
fn a_fork_bomb_is_held_by_the_number_of_processes() {
    let Some((workshop, bases)) = workshop() else { return };
    let bomb = "i=0; while [ $i -lt 200 ]; do sleep 100 & i=$((i+1)); done; echo all";
    let said = ends_with(&mut step(&workshop, bases, bomb, &["--pids-limit=50"]), 1);
    assert!(said.contains("can't fork") && !said.contains("\nall"), "{said}");
    let doubling = "b() { b | b & }; b; sleep 1; true";
    let _ = step(&workshop, bases, doubling, &["--pids-limit=50"]).output().unwrap();
    progress(&mut step(
        &workshop,
        bases,
        "for i in 1 2 3; do sleep 0.1 & done; wait",
        &["--pids-limit=50"],
    ));
}

#[test]
fn processor_time_is_rationed() {
    let Some((workshop, bases)) = workshop() else { return };
    let busy = "i=0; while [ $i -lt 150000 ]; do i=$((i+1)); done; cut -d' ' -f14,15 /proc/self/stat > /dev/null";
    let measured = |limits: &[&str]| {
        let begun = Instant::now();
        progress(&mut step(&workshop, bases, busy, limits));
        begun.elapsed()
    };
    let (free, rationed) = (measured(&[]), measured(&["--cpu-period=100000", "--cpu-quota=5000"]));
    assert!(rationed > free + Duration::from_millis(500), "{free:?} {rationed:?}");
    let said = progress(&mut step(
        &workshop,
        bases,
        "nproc && grep Cpus_allowed_list /proc/self/status",
        &["--cpuset-cpus=0"],
    ));
    assert!(said.contains("Cpus_allowed_list:\t0\n"), "{said}");
    progress(&mut step(
        &workshop,
        bases,
        "true",
        &["--cpu-shares=100", "--cpuset-mems=0"],
    ));
}

#[test]
fn a_step_sees_its_limits_and_is_in_the_group_it_was_given() {
    let Some((workshop, bases)) = workshop() else { return };
    let parent = format!("attacked-{}", std::process::id());
    let limits = [&format!("--cgroup-parent={parent}")[..], "--memory=64m"];
    let said = progress(&mut step(
        &workshop,
        bases,
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; cat /proc/self/cgroup",
        &limits,
    ));
    assert!(said.contains("67108864"), "{said}");
    let made = Command::new("find")
        .args(["/sys/fs/cgroup", "-type", "d", "-name", &parent])
        .output()
        .unwrap();
    let made = text(&made.stdout);
    assert!(!made.is_empty());
    for path in made.lines() {
        fs::remove_dir(path).unwrap();
    }
}

#[test]
fn limits_are_no_part_of_the_key() {
    let Some((workshop, bases)) = workshop() else { return };
    let context = workshop.context("key", &[("Dockerfile", "FROM busybox\nRUN date > /when\n")]);
    progress(workshop.build(bases, &context).arg("--memory=64m"));
    let said = progress(workshop.build(bases, &context).arg("--memory=128m"));
    assert!(said.contains("CACHED"), "{said}");
}

#[test]
fn a_limit_that_cannot_be_enforced_is_an_error_by_name() {
    let Some(bases) = Bases::find() else { return };
    if let Some(user) = User::ordinary() {
        let workshop = Workshop::new(user);
        let said = ends_with(&mut step(&workshop, bases, "true", &["--memory=64m"]), 4);
        assert!(
            said.contains("cannot enforce `--memory` here") && said.contains("Delegate=yes"),
            "{said}"
        );
    }
    let Some((workshop, bases)) = self::workshop() else {
        return;
    };
    let said = ends_with(&mut step(&workshop, bases, "true", &["--cpuset-cpus=1000"]), 4);
    assert!(
        said.contains("cannot enforce `--cpuset-cpus` here") && said.contains("`1000` is refused"),
        "{said}"
    );
}

#[test]
fn groups_are_removed_also_after_a_kill() {
    let Some((workshop, bases)) = workshop() else { return };
    let context = workshop.context(
        "left",
        &[("Dockerfile", "FROM busybox\nRUN echo running && sleep 60\n")],
    );
    let mut build = workshop.direct(bases, &context).arg("--memory=64m").spawn().unwrap();
    let number = build.id();
    assert!(crate::support::eventually(Duration::from_secs(60), || left_by(number)));
    build.kill().unwrap();
    build.wait().unwrap();
    // The next one sweeps, and leaves nothing itself.
    fs::write(context.join("Dockerfile"), "FROM busybox\nRUN true\n").unwrap();
    let mut next = workshop.direct(bases, &context).arg("--memory=64m").spawn().unwrap();
    let next_number = next.id();
    assert!(next.wait().unwrap().success());
    assert!(!left_by(next_number), "{:?}", groups_left());
    // What still ended when it swept, the killed one's supervisor takes away.
    let is_gone = crate::support::eventually(Duration::from_secs(60), || !left_by(number));
    assert!(is_gone, "{:?}", groups_left());
}

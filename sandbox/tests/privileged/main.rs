//! Runs real processes in real namespaces: once as whom we are and, if we are root, once more as an ordinary user with a
//! range of ids, and as one without.
//!
//! Entering the namespaces needs a process with one thread, so this is a program of its own without the usual harness.
//! Any argument that is no option is a filter of names.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests, but without the harness by which they would be known as such"
)]

mod isolation;
mod lifecycle;
mod plain;
mod root;
mod world;

use std::panic::catch_unwind;
use std::process::{Command, ExitCode};

use world::BUSYBOX;

type Test = (&'static str, fn());

/// Tests of which other users than root are a part.
const NEED_IDS: [&str; 6] = [
    "an_insecure_step_may_what_we_may",
    "devices_are_the_usual_ones",
    "home_comes_from_passwd",
    "other_users_have_no_capabilities",
    "the_working_directory_is_made_for_the_user",
    "users_are_looked_up_in_the_root",
];

fn main() -> ExitCode {
    sandbox::init_if_asked();
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    if world::busybox().is_none() {
        eprintln!("skipped: needs one of {BUSYBOX:?}");
        return ExitCode::SUCCESS;
    }
    if args.iter().any(|arg| arg == "--inside") {
        return inside(&filters);
    }
    if args.iter().any(|arg| arg == "--plain") {
        return all(plain::TESTS, &filters);
    }
    let own = rerun(&mut Command::new("/proc/self/exe"), &filters);
    let plain = match nix::unistd::geteuid().is_root() {
        true => Command::new("/proc/self/exe")
            .arg("--plain")
            .args(&filters)
            .status()
            .unwrap()
            .success(),
        false => {
            eprintln!("skipped: needs root to do without namespaces");
            true
        }
    };
    let another = |user: Option<String>, kind: &str| match user {
        Some(user) => world::with_readable_copy(|program| {
            rerun(Command::new("runuser").args(["-u", &user, "--"]).arg(program), &filters)
        }),
        None => {
            eprintln!("skipped: needs root, runuser and a user {kind} a range in /etc/subuid to be another user");
            true
        }
    };
    let ordinary = another(world::ordinary_user(), "with");
    let alone = another(world::user_without_range(), "without");
    if own && plain && ordinary && alone {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn rerun(command: &mut Command, filters: &[&str]) -> bool {
    command.arg("--inside").args(filters).status().unwrap().success()
}

fn inside(filters: &[&str]) -> ExitCode {
    let is_alone = match sandbox::enter(sandbox::Wish::Namespaces) {
        Ok(isolation) => {
            println!("{isolation}");
            isolation.has_single_id()
        }
        Err(error) => {
            eprintln!("skipped: needs namespaces: {error}");
            return ExitCode::SUCCESS;
        }
    };
    let tests: Vec<Test> = [root::TESTS, isolation::TESTS, lifecycle::TESTS].concat();
    let (run, skipped): (Vec<Test>, Vec<Test>) = tests
        .into_iter()
        .partition(|(name, _)| !is_alone || !NEED_IDS.contains(name));
    for (name, _) in skipped {
        eprintln!("skipped: {name} needs more than one user id");
    }
    all(&run, filters)
}

fn all(tests: &[Test], filters: &[&str]) -> ExitCode {
    let mut outcome = ExitCode::SUCCESS;
    for (name, test) in tests {
        if filters.is_empty() || filters.iter().any(|filter| name.contains(filter)) {
            let passed = catch_unwind(test).is_ok();
            println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
            if !passed {
                outcome = ExitCode::FAILURE;
            }
        }
    }
    outcome
}

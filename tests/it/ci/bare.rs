//! Machines of pipelines have little: no HOME, no environment, no input, a root that is read-only, a small disk and little
//! memory. Builds, caches and pushes work there.

use std::path::Path;
use std::process::Command;

use crate::memory::Group;
use crate::registry::{Access, Registry};
use crate::support::{Bases, User, Workshop, has, run, skipped, text};

/// What is left of a shell's world, and the exit code that there must be.
const WORLDS: &[(&str, &str, i32)] = &[
    ("no environment and no input", "exec env -i \"$@\" <&-", 0),
    ("no output", "exec env -i \"$@\" <&- >&-", 0),
    ("no output and no words", "exec env -i \"$@\" <&- >&- 2>&-", 0),
    (
        "a reader of words that has gone",
        "{ env -i \"$@\"; echo $? >code; } 2>&1 | :; exit $(cat code)",
        0,
    ),
    (
        "a directory that is gone",
        "mkdir gone; cd gone; rmdir ../gone; exec env -i \"$@\"",
        0,
    ),
    (
        "a job without a home",
        "exec env -i CI=true GITHUB_ACTIONS=true \"$@\" <&-",
        0,
    ),
];

#[test]
fn a_build_needs_nothing_of_its_surroundings() {
    let Some(bases) = Bases::find() else { return };
    for user in [Some(User::Own), User::ordinary()].into_iter().flatten() {
        let workshop = Workshop::new(user);
        let context = workshop.context("context", &[("Dockerfile", "FROM busybox\nRUN echo said >/a\n")]);
        for (world, script, code) in WORLDS {
            let build = workshop.build(bases, &context);
            let mut shell = workshop.shell(script);
            shell.args(own_words(&build)).arg("--no-cache");
            let output = shell.output().unwrap();
            assert_eq!(output.status.code(), Some(*code), "{world}: {}", text(&output.stderr));
        }
    }
}

/// The program of a command and its arguments, without who runs it.
fn own_words(command: &Command) -> Vec<std::ffi::OsString> {
    let program = crate::support::binary();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .skip_while(|word| Path::new(word) != program)
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn a_machine_that_has_little_builds_caches_and_pushes() {
    let (Some(bases), Some(registry)) = (Bases::find(), Registry::start(Access::Open)) else {
        return;
    };
    if !rustix::process::geteuid().is_root() || !has("unshare") {
        return skipped("root and unshare").unwrap_or_default();
    }
    let Some(group) = Group::with(512 << 20) else { return };
    let (image, cache) = (registry.name("app:1"), registry.name("app:cache"));
    let dockerfile = "FROM busybox\nRUN head -c 16 /dev/urandom | md5sum > /once\nRUN head -c 64000000 /dev/urandom > /noise\n\
                      FROM busybox\nCOPY --from=0 /once /\n";
    let mut made = Vec::new();
    for job in ["first", "second"] {
        let workshop = Workshop::own();
        let context = workshop.context("context", &[("Dockerfile", dockerfile)]);
        let mut build = workshop.build(bases, &context);
        build
            .args(["-t", &image, "--push", "--ci", "--progress=auto"])
            .arg(format!("--cache-from={cache}"))
            .arg(format!("--cache-to=type=registry,ref={cache},mode=min"));
        // A disk of its own for the store, and nothing else that can be written to.
        let script = "set -e; store=$1; shift; mount --make-rprivate /; mount -t tmpfs -o size=2g tmpfs \"$store\"; \
                      mount -o remount,bind,ro /; if touch /etc/x 2>/dev/null; then exit 9; fi; exec env -i PATH=\"$PATH\" \"$@\" <&-";
        let mut bare = Command::new("unshare");
        bare.args(["-m", "sh", "-c", script, "sh"])
            .arg(workshop.store())
            .args(own_words(&build));
        let resident = group.run(bare);
        assert!(resident < 100 << 20, "{job}: {resident} bytes in memory");
        made.push(run(Workshop::own().rbuild().args(["pull", &image])));
    }
    // Done again, the step would have written something else.
    assert!(made[0].contains("@sha256:") && made[0] == made[1], "{made:?}");
}

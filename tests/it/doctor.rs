//! `rbuild doctor`: what it says of machines that lack something, and whether it says so by its exit code.

use std::fs;
use std::process::Command;

use crate::support::{User, Workshop, binary, ends_with, has, has_namespaces, run, skipped, text};

fn works_and_says(user: User, rung: &str) {
    let workshop = Workshop::new(user);
    let lines = run(workshop.rbuild().arg("doctor"));
    assert!(lines.contains(rung), "{lines}");
    assert!(
        lines.contains("\nok       snapshots: overlays of the kernel"),
        "{lines}"
    );
    assert!(
        lines.contains("\nok       step: one was run and thrown away"),
        "{lines}"
    );
    assert!(lines.ends_with("\nBuilds work here.\n"), "{lines}");

    let document = run(workshop.rbuild().args(["doctor", "--format", "json"]));
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["works"], true);
    let checks = document["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["verdict"] != "problem"), "{checks:?}");
}

#[test]
fn root_is_on_the_first_rung() {
    if !has_namespaces() {
        return;
    }
    match rustix::process::geteuid().is_root() {
        true => works_and_says(User::Own, "isolation: as root"),
        false => skipped("root").unwrap_or_default(),
    }
}

#[test]
fn a_user_with_a_range_is_on_the_second() {
    let Some(user) = User::ordinary() else { return };
    works_and_says(user, "user ids, mapped by");
}

#[test]
fn a_user_without_a_range_is_on_the_last_and_told_how_to_get_one() {
    let Some(user) = User::without_range() else { return };
    works_and_says(
        user.clone(),
        "with a single user id, because it has no range in /etc/subuid",
    );
    let workshop = Workshop::new(user);
    let lines = run(workshop.rbuild().arg("doctor"));
    assert!(lines.contains("next: as root run `usermod --add-subuids "), "{lines}");
}

#[test]
fn a_user_without_the_program_that_maps_ids_is_on_the_last() {
    let Some(user) = User::ordinary() else { return };
    let workshop = Workshop::new(user);
    let mut doctor = workshop.rbuild();
    let lines = run(doctor.arg("doctor").env("PATH", elsewhere(&workshop)));
    assert!(lines.contains("because `newuidmap` is not installed"), "{lines}");
    assert!(lines.contains("apt-get install uidmap"), "{lines}");
    assert!(lines.contains("note     git: is not installed"), "{lines}");
}

/// A folder with what the tests themselves run, and nothing else.
pub(crate) fn elsewhere(workshop: &Workshop) -> std::path::PathBuf {
    let folder = workshop.path("bin");
    fs::create_dir(&folder).unwrap();
    for program in ["runuser", "env", "timeout"] {
        let found = run(Command::new("which").arg(program));
        std::os::unix::fs::symlink(found.trim(), folder.join(program)).unwrap();
    }
    folder
}

#[test]
fn no_user_namespaces_are_a_problem_with_its_next_step() {
    let Some(User::Other(user)) = User::ordinary() else {
        return;
    };
    let workshop = Workshop::new(User::Other(user.clone()));
    // The limit of a user namespace is for what is made in it.
    let script = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces && exec {} --root {} doctor",
        binary().display(),
        workshop.store().display()
    );
    let unshare = [
        "unshare",
        "--user",
        "--map-current-user",
        "--keep-caps",
        "sh",
        "-c",
        &script,
    ];
    let output = Command::new("runuser")
        .args(["-u", &user, "--"])
        .args(unshare)
        .output()
        .unwrap();
    let lines = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{lines}{}", text(&output.stderr));
    let told = "problem  isolation: cannot create a user namespace: the kernel allows none\n         \
                next: as root run `sysctl -w user.max_user_namespaces=28633`\n";
    assert!(lines.contains(told), "{lines}");
    assert!(
        lines.ends_with("\nBuilds do not work here, for one reason.\n"),
        "{lines}"
    );
}

#[test]
fn a_filter_that_forbids_namespaces_is_named() {
    let Some(User::Other(user)) = User::ordinary() else {
        return;
    };
    if !has("python3") {
        return skipped("python3").unwrap_or_default();
    }
    let workshop = Workshop::new(User::Other(user.clone()));
    let output = Command::new("runuser")
        .args(["-u", &user, "--", "python3", "-c", FORBIDDING_UNSHARE])
        .arg(binary())
        .arg("--root")
        .arg(workshop.store())
        .arg("doctor")
        .output()
        .unwrap();
    let lines = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{lines}{}", text(&output.stderr));
    assert!(lines.contains("the surrounding container forbids it\n"), "{lines}");
    assert!(
        lines.contains("next: start it with `--security-opt seccomp=unconfined`"),
        "{lines}"
    );
}

/// Runs its arguments under a filter by which `unshare` is not permitted, as containers have it.
const FORBIDDING_UNSHARE: &str = r"
import ctypes, os, struct, sys
number = {'x86_64': 272, 'aarch64': 97}[os.uname().machine]
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *step) for step in steps))
program = struct.pack('HxxxxxxP', len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
";

#[test]
fn a_store_that_cannot_be_written_is_a_problem() {
    let workshop = Workshop::own();
    // A file where the folder should be stops root as well.
    let root = workshop.path("file/store");
    fs::write(workshop.path("file"), "").unwrap();
    let mut doctor = Command::new(binary());
    doctor.arg("--root").arg(&root).arg("doctor");
    ends_with(&mut doctor, 1);
    let lines = text(&doctor.output().unwrap().stdout);
    assert!(lines.contains("problem  store: cannot create"), "{lines}");
    assert!(lines.contains("next: choose another folder with --root"), "{lines}");
}

#[test]
fn a_store_in_memory_is_noted() {
    if !has("unshare") {
        return skipped("unshare").unwrap_or_default();
    }
    let workshop = Workshop::own();
    let (user, store) = (rustix::process::geteuid(), workshop.store());
    if !user.is_root() {
        return skipped("root, to mount a tmpfs").unwrap_or_default();
    }
    let script = format!(
        "mount -t tmpfs none {store} && exec {} --root {store} doctor",
        binary().display(),
        store = store.display()
    );
    let lines = run(Command::new("unshare").args(["--mount", "sh", "-c", &script]));
    assert!(
        lines.contains("on tmpfs: in memory, gone with the machine's next start"),
        "{lines}"
    );
    assert!(lines.contains("\nok       snapshots: overlays"), "{lines}");
}

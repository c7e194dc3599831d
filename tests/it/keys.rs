//! What a COPY, an ADD or a WORKDIR depends on: what makes it run again, and what does not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::{Workshop, progress, skipped};

type Change = fn(&Path);

/// What is done to a context, or that nothing is.
const SAME: Change = |_| {};

/// The instruction, what it becomes, what happens to the context, whether the step is found again.
const CASES: &[(&str, &str, Change, bool)] = &[
    ("COPY a /x", "COPY a /x", SAME, true),
    ("COPY a /x", "COPY a /x", |c| touch(&c.join("a")), true),
    ("COPY a /x", "COPY a /x", |c| chmod(&c.join("a"), 0o600), false),
    ("COPY a /x", "COPY a /x", |c| write(&c.join("a"), "other"), false),
    ("COPY a /x", "COPY a /x", |c| write(&c.join("b"), "other"), true),
    (
        "COPY a /x",
        "COPY a /x",
        |c| fs::rename(c.join("b"), c.join("c")).unwrap(),
        true,
    ),
    ("COPY a /x", "COPY a /x", |c| replace_by_copy(&c.join("a")), true),
    ("COPY a /x", "COPY a /x", |c| replace_by_link(c), true),
    ("COPY d /x", "COPY d /x", |c| touch(&c.join("d")), true),
    ("COPY d /x", "COPY d /x", |c| write(&c.join("d/new"), "n"), false),
    (
        "COPY d /x",
        "COPY d /x",
        |c| fs::create_dir(c.join("d/empty")).unwrap(),
        false,
    ),
    (
        "COPY d /x",
        "COPY d /x",
        |c| fs::rename(c.join("d/f"), c.join("d/g")).unwrap(),
        false,
    ),
    (
        "COPY d /x",
        "COPY d /x",
        |c| write(&c.join(".dockerignore"), "d/f"),
        false,
    ),
    (
        "COPY d /x",
        "COPY d /x",
        |c| write(&c.join(".dockerignore"), "# none\nb"),
        true,
    ),
    ("COPY a* /x/", "COPY a* /x/", |c| write(&c.join("a2"), "2"), false),
    ("COPY a* /x/", "COPY a* /x/", |c| write(&c.join("z"), "2"), true),
    ("COPY a* /x/", "COPY a? a /x/", SAME, false),
    ("COPY a /x", "copy    a   /x", SAME, true),
    ("COPY a /x", "# why\ncopy \\\n  a \\\n  /x", SAME, true),
    ("COPY a /x", "COPY [\"a\", \"/x\"]", SAME, true),
    ("COPY a /x", "COPY ./a /x", SAME, true),
    ("COPY a /x", "COPY a /y", SAME, false),
    ("COPY a /x", "COPY b /x", SAME, false),
    // Folders of the same contents are the same, wherever they are; files keep their names.
    ("COPY d/s /x/", "COPY e/s /x/", SAME, true),
    ("COPY d/s/f /x/", "COPY e/s/f /x/", SAME, true),
    ("COPY a b /x/", "COPY b a /x/", SAME, false),
    ("COPY a /x", "COPY --chown=1 a /x", SAME, false),
    ("COPY --chown=1 a /x", "COPY --chown=1:1 a /x", SAME, false),
    ("COPY a /x", "COPY --chmod=600 a /x", SAME, false),
    ("COPY --chmod=600 a /x", "COPY --chmod=u=rw,go= a /x", SAME, false),
    ("COPY a /x", "COPY --link a /x", SAME, false),
    (
        "COPY --link a /x",
        "COPY --link a /x",
        |c| write(&c.join("case"), "base"),
        true,
    ),
    ("COPY a /x", "COPY a /x", |c| write(&c.join("case"), "base"), false),
    ("COPY d /x", "COPY --exclude=f d /x", SAME, false),
    (
        "COPY --exclude=f d /x",
        "COPY --exclude=f d /x",
        |c| write(&c.join("d/f"), "other"),
        true,
    ),
    (
        "COPY --exclude=f d /x",
        "COPY --exclude=f d /x",
        |c| write(&c.join("d/s/f"), "other"),
        false,
    ),
    (
        "COPY --parents d/f /x/",
        "COPY --parents d/f /x/",
        |c| write(&c.join("d/new"), "n"),
        true,
    ),
    (
        "COPY --parents d/f /x/",
        "COPY --parents d/f /x/",
        |c| chmod(&c.join("d"), 0o700),
        false,
    ),
    ("COPY --parents d/f /x/", "COPY --parents d/./f /x/", SAME, false),
    ("COPY <<f /x\none\nf", "COPY <<f /x\none\nf", SAME, true),
    ("COPY <<f /x\none\nf", "COPY <<f /x\ntwo\nf", SAME, false),
    ("COPY <<f /x/\none\nf", "COPY <<g /x/\none\ng", SAME, false),
    ("ARG v=1\nCOPY a /x", "ARG v=2\nCOPY a /x", SAME, true),
    ("ARG v=a\nCOPY $v /x", "ARG v=b\nCOPY $v /x", SAME, false),
    ("LABEL l=1\nCOPY a /x", "LABEL l=2\nCOPY a /x", SAME, true),
    ("ADD a /x", "ADD a /x", |c| touch(&c.join("a")), true),
    ("ADD a /x", "COPY a /x", SAME, false),
    ("ADD a /x", "ADD --unpack=false a /x", SAME, false),
    ("WORKDIR /w", "WORKDIR /w", SAME, true),
    ("WORKDIR /w", "WORKDIR /w/", SAME, true),
    ("WORKDIR /w", "WORKDIR /v", SAME, false),
    ("WORKDIR /w", "USER 5\nWORKDIR /w", SAME, false),
    ("WORKDIR /w", "ENV e=1\nWORKDIR /w", SAME, true),
];

#[test]
fn what_makes_a_copy_run_again() {
    if !rustix::process::geteuid().is_root() {
        skipped::<()>("root");
        return;
    }
    let workshop = Workshop::own();
    let mut wrong = Vec::new();
    for (number, (before, after, change, found)) in CASES.iter().enumerate() {
        let unique = format!("{number}");
        let files = [
            ("case", unique.as_str()),
            ("a", unique.as_str()),
            ("b", "b"),
            ("d/f", "f"),
            ("d/s/f", "same"),
            ("e/s/f", "same"),
        ];
        let context = workshop.context(&unique, &files);
        // Younger than a second, a file could change again without its time saying so.
        files.iter().for_each(|(name, _)| touch(&context.join(name)));
        build(&workshop, &context, before);
        change(&context);
        if build(&workshop, &context, after) != *found {
            wrong.push(format!("{before:?} -> {after:?} (case {number}): {found} was expected"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Builds, and says whether the last step was found.
fn build(workshop: &Workshop, context: &Path, instructions: &str) -> bool {
    let text = format!("FROM scratch\nCOPY case /\n{instructions}\n");
    write(&context.join("Dockerfile"), &text);
    let said = progress(workshop.rbuild().arg("--progress=plain").arg(context));
    let is_step = |line: &&str| line.contains(" [2/2] ") && !line.contains("] LINK ");
    let step = said.lines().find(is_step).unwrap();
    let number = step.split(' ').next().unwrap();
    said.lines().any(|line| line == format!("{number} CACHED"))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn touch(path: &Path) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

fn replace_by_copy(path: &Path) {
    let text = fs::read(path).unwrap();
    fs::remove_file(path).unwrap();
    fs::write(path, text).unwrap();
}

fn replace_by_link(context: &Path) {
    fs::rename(context.join("a"), context.join("z")).unwrap();
    symlink("z", context.join("a")).unwrap();
}

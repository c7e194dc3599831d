//! The exit code says whose failure it is: the author's, the network's or the machine's.

use std::process::Command;

use crate::support::{Bases, Workshop, ends_with, has_other_ids, run};

/// A program for a processor that does not exist.
fn foreign_program() -> Vec<u8> {
    let mut header = vec![0; 64];
    header[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    header[16..20].copy_from_slice(&[2, 0, 0xad, 0xde]);
    header
}

/// A Dockerfile, what is typed besides, the exit code, and what must be said.
const CASES: &[(&str, &[&str], i32, &str)] = &[
    ("FROM busybox\nRUN exit 3\n", &[], 1, "exit code: 3"),
    (
        "FROM busybox\nRUN sh -c 'kill -KILL $$'; exit $?\n",
        &[],
        1,
        "exit code: 137",
    ),
    ("FROM busybox\nCOPY nothing /\n", &[], 1, "not found"),
    (
        "FROM busybox\nCOPY --from=nobody:1 /a /\n",
        &["--build-context=nobody:1=oci-layout:///nowhere"],
        1,
        "/nowhere",
    ),
    ("FROM busybox\nRUNN true\n", &[], 2, "RUNN"),
    ("FROM busybox\n", &["--target=other"], 2, "other"),
    ("FROM 127.0.0.1:1/a\n", &[], 3, "refused"),
    ("FROM busybox\nADD http://127.0.0.1:1/a /\n", &[], 3, "refused"),
    (
        "FROM busybox\nADD http://127.0.0.1:1/a.git /\n",
        &[],
        3,
        "127.0.0.1:1/a.git",
    ),
    ("FROM busybox\n", &["-t", "127.0.0.1:1/a", "--push"], 3, "refused"),
    ("FROM busybox\n", &["--cache-to=127.0.0.1:1/a"], 3, "refused"),
    (
        "FROM busybox\nCOPY foreign /\nRUN [\"/foreign\"]\n",
        &[],
        4,
        "exec format error",
    ),
    (
        "FROM busybox\nADD http://example.com/ /\n",
        &["--source-policy-file=policy"],
        5,
        "denied by policy",
    ),
    (
        "FROM example.com/a\n",
        &["--source-policy-file=policy"],
        5,
        "denied by policy",
    ),
    (
        "FROM busybox\nRUN sleep 60\n",
        &["--step-timeout=1s"],
        124,
        "ran longer than 1s",
    ),
    ("FROM busybox\nRUN sleep 60\n", &["--timeout=1s"], 124, "RUN sleep 60`"),
];

#[test]
fn a_failure_tells_whose_it_is_by_its_exit_code() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let policy = r#"{"rules":[{"action":"DENY","selector":{"identifier":"*example.com*","match_type":"WILDCARD"}}]}"#;
    for (number, (dockerfile, typed, code, words)) in CASES.iter().enumerate() {
        let context = workshop.context(
            &format!("case-{number}"),
            &[("Dockerfile", dockerfile), ("foreign", "")],
        );
        std::fs::write(context.join("foreign"), foreign_program()).unwrap();
        run(Command::new("chmod").arg("755").arg(context.join("foreign")));
        std::fs::write(workshop.path("policy"), policy).unwrap();
        let stderr = ends_with(workshop.build(bases, &context).args(*typed), *code);
        assert!(stderr.contains(words), "no `{words}` for {dockerfile:?} in:\n{stderr}");
    }
}

#[test]
fn what_a_machine_lacks_is_no_fault_of_the_step() {
    let Some(bases) = Bases::find() else { return };
    if !rustix::process::geteuid().is_root() || !has_other_ids() {
        return;
    }
    let workshop = Workshop::own();
    let context = workshop.context("limited", &[("Dockerfile", "FROM busybox\nRUN true\n")]);
    let mut build = workshop.build(bases, &context);
    let stderr = ends_with(build.args(["--memory=64m", "--cgroup-parent=/no/such/../group"]), 4);
    assert!(stderr.contains("cannot enforce"), "{stderr}");
}

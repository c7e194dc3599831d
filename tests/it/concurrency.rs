//! Several `rbuild` processes work on one store at the same time.

use std::process::{Child, Command, Stdio};

use crate::progress::Steps;
use crate::support::{Bases, Workshop, progress, run, text};

const DOCKERFILE: &str =
    "FROM busybox AS first\nRUN sleep 1 && echo one > /one\nFROM first\nCOPY file /\nRUN cat /one /file > /both\n";

#[test]
fn four_builds_of_the_same_thing_share_one_store() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let context = workshop.context("same", &[("Dockerfile", DOCKERFILE), ("file", "two\n")]);
    let builds = (0..4).map(|number| start(workshop.build(bases, &context).args(["-t", &format!("same:{number}")])));
    finish(builds.collect());

    for number in 0..4 {
        assert_eq!(
            run(workshop
                .rbuild()
                .args(["run", &format!("same:{number}"), "cat", "/both"])),
            "one\ntwo\n"
        );
    }
    assert_eq!(
        Steps::parse(&progress(&mut workshop.build(bases, &context))).not_cached(),
        [""; 0]
    );
}

#[test]
fn four_different_builds_share_one_store() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let builds = (0..4).map(|number| {
        let dockerfile = format!("{DOCKERFILE}RUN echo {number} > /number\n");
        let context = workshop.context(&format!("c{number}"), &[("Dockerfile", &dockerfile), ("file", "two\n")]);
        start(
            workshop
                .build(bases, &context)
                .args(["-t", &format!("different:{number}")]),
        )
    });
    finish(builds.collect());

    for number in 0..4 {
        let printed = run(workshop
            .rbuild()
            .args(["run", &format!("different:{number}"), "cat", "/number", "/both"]));
        assert_eq!(printed, format!("{number}\none\ntwo\n"));
    }
}

#[test]
fn pruning_beside_a_build_does_not_harm_it() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let context = workshop.context("pruned", &[("Dockerfile", DOCKERFILE), ("file", "two\n")]);
    let build = start(workshop.build(bases, &context).args(["-t", "pruned"]));
    for _ in 0..5 {
        run(workshop.rbuild().args(["prune", "--all"]));
    }
    finish(vec![build]);
}

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn finish(builds: Vec<Child>) {
    for build in builds {
        let output = build.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

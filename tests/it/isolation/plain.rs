//! Attacks in a container that lends no namespaces: what of the container a step reaches is what counts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use super::attacks::{DOCKERFILE, Outside, archive_with_a_disk, assert_as_documented, program};
use super::table::{Builder, verdicts};
use crate::container::{Container, Filter};
use crate::support::{Bases, run, text};

/// A container as docker starts it, with a context of these files.
fn container(files: &[(&str, &str)]) -> Option<Container> {
    let container = Container::new(Bases::find()?, Filter::Docker)?;
    container.context("context", files);
    Some(container)
}

fn said(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn attacks_end_as_the_document_says() {
    let files = [
        ("Dockerfile", DOCKERFILE),
        ("secret", "lent"),
        ("host-file", "of the host"),
    ];
    let (Some(program), Some(container)) = (program(), container(&files)) else {
        return;
    };
    let context = container.at("context");
    fs::copy(program, context.join("attack")).unwrap();
    fs::set_permissions(context.join("attack"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(context.join("devices.tar"), archive_with_a_disk()).unwrap();
    // In it, rbuild is the first process.
    let outside = Outside::of(Path::new("/context/host-file"), 1, Path::new("/store"));
    let mut arguments = vec!["--secret=id=other,src=/context/secret", "--output=type=local,dest=/out"];
    arguments.extend(outside.arguments.iter().map(String::as_str));
    let built = container.build("context", &arguments);
    assert!(built.status.success(), "{}", said(&built));
    let before = fs::read_to_string(container.made("out/before")).unwrap();
    assert!(before.contains("reached"), "the first step has its secret: {before}");
    let found = fs::read_to_string(container.made("out/verdicts")).unwrap();
    assert_as_documented(Builder::Plain, &verdicts(&found));
}

/// Outside of a container this would end the machine where the kernel knows no scopes.
#[test]
fn signals_to_everybody_reach_nobody_outside() {
    let dockerfile = "FROM busybox\n\
        RUN trap '' TERM HUP INT; kill -TERM -1; kill -HUP 0; kill -INT -1; echo survived\n\
        RUN (sleep 1; true) & kill -9 -1; kill -9 1; kill -STOP 1; echo also\n";
    let Some(container) = container(&[("Dockerfile", dockerfile)]) else {
        return;
    };
    let built = container.build("context", &[]);
    let said = said(&built);
    assert!(built.status.success(), "{said}");
    assert!(said.contains("survived") && said.contains("also"), "{said}");
}

/// Root has what a setuid program of its own gives; what another user has nothing else for it keeps.
#[test]
fn setuid_programs_work_for_other_users_only() {
    let dockerfile = "FROM debian:bookworm-slim\n\
        RUN cp /usr/bin/touch /touch && chmod 4755 /touch && useradd --uid 1000 ann && mkdir -m 777 /made\n\
        RUN su ann -c '/touch /made/by-root'\n\
        USER ann\n\
        RUN /touch /made/by-ann\n";
    let Some(container) = container(&[("Dockerfile", dockerfile)]) else {
        return;
    };
    let build = |container: &Container| {
        let built = container.build("context", &["-o", "type=tar,dest=/out.tar", "--no-cache"]);
        assert!(built.status.success(), "{}", said(&built));
        let archive = container.made("out.tar");
        let listed = run(Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(archive));
        ["by-root", "by-ann"].map(|name| {
            let line = listed.lines().find(|line| line.ends_with(name)).expect(name);
            line.split_whitespace()
                .nth(1)
                .unwrap()
                .split('/')
                .next()
                .unwrap()
                .to_owned()
        })
    };
    assert_eq!(build(&container), ["1000", "0"]);
    assert_eq!(build(&container.without_new_powers()), ["1000", "1000"]);
}

/// With rules, nodes can be made and most not be opened; without, none can be made.
#[test]
fn devices_that_nobody_else_keeps_cannot_be_made() {
    let dockerfile =
        "FROM busybox\nRUN mknod /loops c 10 237 && echo made; cat < /loops; echo x > /dev/null && echo us''ual\n";
    let Some(container) = container(&[("Dockerfile", dockerfile)]) else {
        return;
    };
    let build = |container: &Container| said(&container.build("context", &["--no-cache"]));
    let with_rules = build(&container);
    assert!(
        with_rules.contains(" made\n") && with_rules.contains(" usual\n"),
        "{with_rules}"
    );
    assert!(with_rules.contains("/loops: Operation not permitted"), "{with_rules}");
    let without = build(&container.without_device_rules());
    assert!(
        !without.contains(" made\n") && without.contains(" usual\n"),
        "{without}"
    );
    assert!(without.contains("mknod: /loops: Operation not permitted"), "{without}");
}

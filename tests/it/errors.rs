//! What goes wrong is said in words that help: what, where, and with which exit code.

use crate::support::{Bases, Workshop, ends_with, progress, text};

/// A Dockerfile that cannot be built, the exit code, and what must be on stderr.
const BROKEN: &[(&str, i32, &[&str])] = &[
    (
        "FROM busybox\nRUN exit 7\n",
        1,
        &["Dockerfile:2", ">>> RUN exit 7", "exit code: 7"],
    ),
    (
        "FROM busybox\nRUN echo some words >&2; false\n",
        1,
        &["some words", "exit code: 1"],
    ),
    (
        "FROM busybox\n\nCOPY missing /\n",
        1,
        &["Dockerfile:3", "missing", "not found"],
    ),
    (
        "FROM busybox\nCOPPY a b\n",
        2,
        &["Dockerfile:2", "unknown instruction: COPPY"],
    ),
    ("FROM busybox\nCOPY --colour=red a b\n", 2, &["Dockerfile:2", "colour"]),
    (
        "FROM busybox\nRUN --mount=type=bind,target=/c,source=nope true\n",
        1,
        &["Dockerfile:2", "nope", "not found"],
    ),
    (
        "FROM busybox\nRUN --mount=type=secret,id=s,required true\n",
        1,
        &["Dockerfile:2", "secret s: not found", "--secret id=s"],
    ),
    (
        "FROM busybox\nRUN --security=insecure true\n",
        2,
        &["Dockerfile:2", "security.insecure is not allowed", "--allow"],
    ),
    (
        "FROM busybox\nCOPY --link Dokerfile /\n",
        1,
        &[
            "Dockerfile:2",
            "checksum of ref context: \"/Dokerfile\": not found (did you mean /Dockerfile?)",
        ],
    ),
    (
        "FROM busybox\nCOPY --from=127.0.0.1:1/nobody /a /b\n",
        3,
        &["Dockerfile:2", "nobody", "refused"],
    ),
    (
        "FROM 127.0.0.1:1/no/such:base\n",
        3,
        &["127.0.0.1:1/no/such:base", "refused"],
    ),
    ("RUN true\n", 2, &["no build stage in current context"]),
    ("", 2, &["the Dockerfile", "empty"]),
];

#[test]
fn a_broken_dockerfile_is_shown_with_its_line() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let mut unsaid = Vec::new();
    for (number, (dockerfile, code, words)) in BROKEN.iter().enumerate() {
        let context = workshop.context(&format!("broken{number}"), &[("Dockerfile", dockerfile)]);
        let stderr = ends_with(&mut workshop.build(bases, &context), *code);
        let says = |word: &&str| stderr.to_lowercase().contains(&word.to_lowercase());
        let missing: Vec<_> = words.iter().copied().filter(|word| !says(word)).collect();
        if !missing.is_empty() {
            unsaid.push(format!("no {missing:?} for {dockerfile:?} in:\n{stderr}"));
        }
    }
    assert!(unsaid.is_empty(), "{}", unsaid.join("\n"));
}

/// Arguments beside the context, the exit code, and what must be on stderr.
const MISUSED: &[(&[&str], i32, &str)] = &[
    (&["--frobnicate"], 2, "--frobnicate"),
    (&["--progress=loud"], 2, "loud"),
    (&["--file=Nowhere"], 2, "Nowhere"),
    (&["--target=nope"], 2, "nope"),
    (&["--output=type=carrier-pigeon"], 2, "carrier-pigeon"),
    (&["--push"], 2, "tag"),
    (&["-t", "Not A Name"], 2, "Not A Name"),
    (&["--secret=id=x,src=/nope"], 2, "failed to stat /nope"),
    (&["--ssh=default=/nope"], 2, "/nope"),
    (&["--cache-from=type=azblob"], 2, "type=azblob is not supported"),
    (&["--cache-from=type=gha"], 2, "ACTIONS_RESULTS_URL"),
    (&["--provenance=true"], 2, "provenance"),
];

#[test]
fn a_wrong_argument_is_named() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let context = workshop.context("good", &[("Dockerfile", "FROM busybox\nRUN true\n")]);
    for (arguments, code, words) in MISUSED {
        let stderr = ends_with(workshop.build(bases, &context).args(*arguments), *code);
        assert!(stderr.contains(words), "no `{words}` for {arguments:?} in:\n{stderr}");
    }
}

#[test]
fn a_missing_context_and_a_missing_dockerfile_are_named() {
    let workshop = Workshop::own();
    let stderr = ends_with(workshop.rbuild().arg("no-such-folder"), 2);
    assert!(stderr.contains("no-such-folder"), "{stderr}");
    let context = workshop.context("without", &[("README", "no Dockerfile here\n")]);
    let stderr = ends_with(workshop.rbuild().arg(context), 2);
    assert!(
        stderr.contains("Dockerfile") && stderr.contains("no such file or directory"),
        "{stderr}"
    );
}

#[test]
fn an_image_that_is_not_there_is_named() {
    let workshop = Workshop::own();
    for command in [
        ["run", "nobody/nothing:1"],
        ["inspect", "nobody/nothing:1"],
        ["rmi", "nobody/nothing:1"],
    ] {
        let output = workshop.rbuild().args(command).output().unwrap();
        let stderr = text(&output.stderr);
        assert!(
            !output.status.success() && stderr.contains("nobody/nothing:1"),
            "{command:?}: {stderr}"
        );
    }
}

#[test]
fn the_exit_code_of_what_is_run_is_passed_on() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let context = workshop.context("codes", &[("Dockerfile", "FROM busybox\n")]);
    progress(workshop.build(bases, &context).args(["-t", "codes"]));
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("sh -c 'kill -KILL $$'; exit $?", 137)] {
        ends_with(workshop.rbuild().args(["run", "codes", "sh", "-c", script]), code);
    }
}

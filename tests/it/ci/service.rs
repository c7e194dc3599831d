//! A build as a job of a pipeline: what its service finds in the log and in its files.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Bases, Workshop, ends_with, progress, skipped};

/// The same build with the progress that it chooses itself, as a job of GitHub's.
fn job(workshop: &Workshop, bases: &Bases, context: &str, dockerfile: &str) -> Command {
    let context = workshop.context(context, &[("Dockerfile", dockerfile)]);
    let mut build = workshop.build(bases, &context);
    build
        .args(["--progress=auto"])
        .env("CI", "true")
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_WORKSPACE", workshop.path(""))
        .env("GITHUB_OUTPUT", workshop.path("outputs"))
        .env("GITHUB_STEP_SUMMARY", workshop.path("summary"));
    build
}

#[test]
fn a_job_tells_its_choices_its_steps_in_groups_and_its_results() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let dockerfile = "FROM busybox as base\nRUN echo '::set-output name=x::y'; echo '##[set-env name=A]b'\n";
    fs::write(workshop.path("outputs"), "before=1\n").unwrap();
    let digest = workshop.path("digest");
    let said = progress(
        job(&workshop, bases, "good", dockerfile)
            .args(["-t", "r.example/app:1", "--digest-file"])
            .arg(&digest),
    );
    let lines: Vec<&str> = said.lines().collect();
    let begins = [
        "rbuild ",
        "limits: ",
        "network: ",
        "credentials: ",
        "cache: ",
        "output: r.example/app:1",
    ];
    for (line, begin) in lines.iter().zip(begins) {
        assert!(line.starts_with(begin), "no `{begin}` in:\n{said}");
    }
    let group = lines
        .iter()
        .position(|line| line.starts_with("::group::") && line.contains("RUN echo"));
    let end = lines.iter().rposition(|line| *line == "::endgroup::");
    assert!(group < end && group.is_some(), "{said}");
    let is_command = |line: &&&str| line.starts_with("::set-output") || line.contains("##[");
    assert_eq!(lines.iter().find(is_command), None, "{said}");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("::warning file=good/Dockerfile,line=1,title=FromAsCasing::")),
        "{said}"
    );

    let digest = fs::read_to_string(digest).unwrap();
    assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest:?}");
    let outputs = fs::read_to_string(workshop.path("outputs")).unwrap();
    assert!(outputs.starts_with("before=1\nimageid=sha256:"), "{outputs}");
    assert!(
        outputs.contains(&format!("\ndigest={digest}\nmetadata<<rbuild_")),
        "{outputs}"
    );
    let summary = fs::read_to_string(workshop.path("summary")).unwrap();
    assert!(
        summary.contains("### rbuild: built") && summary.contains("| image | `r.example/app:1` |"),
        "{summary}"
    );
    assert!(
        summary.contains("1 run in ") && summary.contains("FromAsCasing"),
        "{summary}"
    );
}

#[test]
fn a_silent_step_with_a_limit_tells_its_memory() {
    let Some(bases) = Bases::find() else { return };
    if !rustix::process::geteuid().is_root() || !Path::new("/sys/fs/cgroup").exists() {
        return skipped("root and control groups").unwrap_or_default();
    }
    let workshops = [Workshop::own(), Workshop::own()];
    let dockerfile =
        "FROM busybox\nRUN awk 'BEGIN { s = \"x\"; while (length(s) < 30000000) s = s s; system(\"sleep 32\") }'\n";
    let said = std::thread::scope(|scope| {
        let flags: [&[&str]; 2] = [&["--memory=300m"], &[]];
        let jobs = workshops.iter().zip(flags).map(|(workshop, flags)| {
            scope.spawn(move || progress(job(workshop, bases, "silent", dockerfile).args(flags)))
        });
        let jobs: Vec<_> = jobs.collect();
        jobs.into_iter().map(|job| job.join().unwrap()).collect::<Vec<_>>()
    });
    let sign = |said: &str| {
        let line = said.lines().find(|line| line.starts_with("#0 still running: "));
        line.unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    let (limited, free) = (sign(&said[0]), sign(&said[1]));
    assert!(
        limited.contains(" for 3") && limited.contains("s (memory ") && limited.contains("MB"),
        "{limited}"
    );
    assert!(!free.contains("(memory "), "nothing counts for it alone: {free}");
}

#[test]
fn a_failure_is_marked_at_its_line_and_ends_the_log() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let failing = "FROM busybox\nRUN echo said; false\n";
    let said = ends_with(&mut job(&workshop, bases, "bad", failing), 1);
    assert!(
        said.contains("::error file=bad/Dockerfile,line=2,title=build failed::failed to build"),
        "{said}"
    );
    assert!(
        !said.contains("::group::#4") && said.trim_end().lines().last().unwrap().starts_with("full log: "),
        "{said}"
    );
    assert!(!workshop.path("outputs").exists());
    assert!(
        fs::read_to_string(workshop.path("summary"))
            .unwrap()
            .contains("### rbuild: failed")
    );

    let said = ends_with(&mut job(&workshop, bases, "worse", "FROM busybox\n\nRUNN x\n"), 2);
    assert!(said.contains("::error file=worse/Dockerfile,line=3,"), "{said}");
}

#[test]
fn a_check_marks_what_it_finds() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let said = ends_with(
        job(&workshop, bases, "checked", "FROM busybox as a\n").arg("--check"),
        1,
    );
    assert!(
        said.contains("::warning file=checked/Dockerfile,line=1,title=FromAsCasing::"),
        "{said}"
    );
}

#[test]
fn no_job_is_what_says_that_it_is_none() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let said = progress(job(&workshop, bases, "none", "FROM busybox\nRUN echo said\n").arg("--ci=false"));
    assert!(
        said.starts_with("#0 building with rbuild") && !said.contains("::group::"),
        "{said}"
    );
    assert!(!workshop.path("summary").exists());
}

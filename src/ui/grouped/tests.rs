use super::*;
use crate::ui::testing::{finished, line, started};
use solver::Failure;

/// What is written when batches of events arrive at the given seconds.
fn written(service: Service, batches: &[(u64, &[Event])]) -> String {
    let mut out = Vec::new();
    let start = Timestamp::from_second(1000).unwrap();
    let mut grouped = Grouped::new(&mut out, service, start, String::new());
    let mut steps = Steps::default();
    let mut now = Duration::ZERO;
    for (seconds, events) in batches {
        now = Duration::from_secs(*seconds);
        for event in *events {
            steps.apply(now, event);
            grouped.take(now, event, &steps);
        }
        grouped.refresh(now, &steps).unwrap();
    }
    grouped.finish(now, &steps).unwrap();
    drop(grouped);
    String::from_utf8(out).unwrap()
}

fn failed() -> Outcome {
    Outcome::Failed(Failure {
        message: "exit code: 2".to_owned(),
        ..Failure::default()
    })
}

#[test]
fn a_step_keeps_its_lines_together_and_what_failed_comes_last() {
    let batches: &[(u64, &[Event])] = &[
        (0, &[started(1, "[1/3] FROM x"), finished(1, Outcome::Cached)]),
        (1, &[started(2, "[2/3] RUN a"), started(3, "[3/3] RUN b")]),
        (
            2,
            &[
                line(2, "a1"),
                line(3, "b1"),
                line(2, "::error::a2"),
                finished(3, failed()),
            ],
        ),
        (3, &[finished(2, Outcome::Done)]),
    ];
    assert_eq!(
        written(Service::GitHub, batches),
        "#1 [1/3] FROM x: CACHED\n::group::#2 [2/3] RUN a\n#2 1.000 a1\n#2 1.000 ::error::a2\n::endgroup::\n\
         #2 [2/3] RUN a: DONE 2.0s\n#3 [3/3] RUN b\n#3 1.000 b1\n#3 [3/3] RUN b: ERROR: exit code: 2\n"
    );
    let buildkite = written(Service::Buildkite, batches);
    assert!(
        buildkite.contains("--- #2 [2/3] RUN a\n") && buildkite.contains("\n+++ #3 [3/3] RUN b\n"),
        "{buildkite}"
    );
    let gitlab = written(Service::GitLab, batches);
    assert!(
        gitlab.contains("section_start:1001:step_2[collapsed=true]\r\u{1b}[0K#2 [2/3] RUN a\n#2 1.000 a1\n"),
        "{gitlab:?}"
    );
    assert!(gitlab.contains("section_end:1003:step_2\r\u{1b}[0K\n"), "{gitlab:?}");
}

#[test]
fn no_line_and_no_name_of_a_step_is_a_command() {
    let text = written(
        Service::Azure,
        &[
            (0, &[started(1, "[1/1] RUN ##vso[task.x]")]),
            (
                1,
                &[
                    line(1, "##vso[task.setvariable variable=a]b"),
                    finished(1, Outcome::Done),
                ],
            ),
        ],
    );
    assert!(text.contains("##vso [task.setvariable"), "{text}");
    assert!(!text.contains("##vso["), "{text}");
    let forged = [
        started(1, "a"),
        line(1, "section_end:1:step_1\r"),
        finished(1, Outcome::Done),
    ];
    let text = written(Service::GitLab, &[(0, &forged)]);
    assert_eq!(text.matches("section_end:").count(), 1, "{text}");
}

#[test]
fn who_says_much_or_goes_on_for_long_is_written_in_parts() {
    let long = "x".repeat(MOST_WAITING + 1);
    let text = written(
        Service::GitHub,
        &[
            (0, &[started(1, "RUN a"), line(1, &long)]),
            (1, &[line(1, "a2")]),
            (70, &[]),
            (71, &[line(1, "a3"), finished(1, Outcome::Done)]),
        ],
    );
    let heads: Vec<&str> = text.lines().filter(|line| line.starts_with("::group::")).collect();
    assert_eq!(
        heads,
        [
            "::group::#1 RUN a",
            "::group::#1 RUN a (part 2)",
            "::group::#1 RUN a (part 3)"
        ]
    );
    assert!(text.ends_with("#1 RUN a: DONE 71.0s\n"), "{text}");
}

#[test]
fn a_silent_build_gives_a_sign_of_life_every_half_minute() {
    let text = written(
        Service::Other,
        &[
            (
                0,
                &[started(1, "RUN a"), started(2, "RUN b"), finished(2, Outcome::Done)],
            ),
            (29, &[]),
            (30, &[]),
            (45, &[]),
            (55, &[started(3, "RUN c"), finished(3, Outcome::Done)]),
            (65, &[finished(1, Outcome::Done)]),
        ],
    );
    assert_eq!(
        text,
        "#2 RUN b: DONE 0.0s\n#0 still running: RUN a for 30.0s\n#3 RUN c: DONE 0.0s\n#1 RUN a: DONE 65.0s\n"
    );
}

//! What is said at the end of a failed build about the step that failed: its last lines, and the user's own line.

use std::fmt::Write as _;

use super::steps::FailedStep;
use super::{excerpt, text};

const RULE: &str = "------";

/// The last lines of each failed step between rules, then where in the file `name` with content `source` they come from.
pub(crate) fn report(failed: &[FailedStep], name: &str, source: &[u8]) -> String {
    let mut out = String::new();
    for step in failed {
        if step.log.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{RULE}\n > {}:", step.name);
        for line in &step.log {
            let _ = writeln!(out, "{} {}", text::stamp(line.after), line.text);
        }
        let _ = writeln!(out, "{RULE}");
    }
    for step in failed {
        let marked = step.failure.lines.as_slice();
        if let Some(excerpt) = excerpt(name, source, marked) {
            out.push_str(&excerpt);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use graph::SourceLines;
    use solver::Failure;

    use super::*;
    use crate::ui::steps::LogLine;

    #[test]
    fn a_failed_step_shows_its_lines_and_the_users() {
        let step = FailedStep {
            name: "[2/3] RUN make".to_owned(),
            failure: Failure {
                message: "it failed".to_owned(),
                lines: Some(SourceLines(2..3)),
                log: None,
            },
            log: vec![LogLine {
                after: Duration::from_millis(413),
                text: "no rule".to_owned(),
            }],
        };
        assert_eq!(
            report(&[step], "Dockerfile", b"FROM x\nRUN make"),
            "------\n > [2/3] RUN make:\n0.413 no rule\n------\nDockerfile:2\n--------------------\n   1 |     FROM x\n   2 | >>> RUN make\n--------------------\n"
        );
    }
}

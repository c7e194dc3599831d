//! Marks at lines of the Dockerfile, for services that show them beside the change under review.

use std::path::{Path, PathBuf};

use frontend::Warning;

use super::Service;
use crate::environment::Environment;

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Error,
    Warning,
}

/// The mark of a failure; `line` counts from 1.
pub(crate) fn of_failure(service: Service, file: &Path, line: Option<usize>, message: &str) -> Option<String> {
    mark(service, Level::Error, (file, line), ("build failed", message))
}

/// The marks of what rules have something against.
pub(crate) fn of_warnings(service: Service, file: &Path, warnings: &[Warning]) -> Vec<String> {
    let mark_of = |warning: &Warning| {
        let line = Some(warning.lines.0.start).filter(|line| *line > 0);
        let title = warning.rule.to_string();
        mark(service, Level::Warning, (file, line), (&title, &warning.detail))
    };
    warnings.iter().filter_map(mark_of).collect()
}

/// A file as the service knows it: from the top of the repository.
pub(super) fn in_workspace(path: &Path, environment: &Environment) -> PathBuf {
    let tops = ["GITHUB_WORKSPACE", "BUILD_SOURCESDIRECTORY", "CI_PROJECT_DIR"];
    let absolute = environment.absolute(path);
    let found = tops
        .into_iter()
        .filter_map(|name| absolute.strip_prefix(environment.path(name)?).ok());
    found.map(Path::to_owned).next().unwrap_or_else(|| path.to_owned())
}

fn mark(
    service: Service,
    level: Level,
    (file, line): (&Path, Option<usize>),
    (title, message): (&str, &str),
) -> Option<String> {
    let file = file.to_string_lossy();
    let word = match level {
        Level::Error => "error",
        Level::Warning => "warning",
    };
    match service {
        Service::GitHub => {
            let line = line.map_or_else(String::new, |line| format!(",line={line}"));
            let (file, title) = (of_github(&file, &[':', ',']), of_github(title, &[':', ',']));
            Some(format!(
                "::{word} file={file}{line},title={title}::{}",
                of_github(message, &[])
            ))
        }
        Service::Azure => {
            let line = line.map_or_else(String::new, |line| format!("linenumber={line};"));
            let (file, text) = (of_azure(&file), of_azure(&format!("{title}: {message}")));
            Some(format!(
                "##vso[task.logissue type={word};sourcepath={file};{line}]{text}"
            ))
        }
        Service::GitLab | Service::Buildkite | Service::Other => None,
    }
}

/// As the runner reads it back: no line ends early, and no property ends before its value does.
fn of_github(text: &str, also: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '%' | '\r' | '\n' => out.push_str(&format!("%{:02X}", u32::from(character))),
            other if also.contains(&other) => out.push_str(&format!("%{:02X}", u32::from(other))),
            other => out.push(other),
        }
    }
    out
}

fn of_azure(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '%' => out.push_str("%AZP25"),
            '\r' | '\n' | ';' | ']' => out.push_str(&format!("%{:02X}", u32::from(character))),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use frontend::Rule;
    use graph::SourceLines;

    use super::*;

    #[test]
    fn a_failure_is_marked_at_its_line_and_cannot_be_two() {
        let message = "100% of it:\nfailed\r\n::error::x";
        assert_eq!(
            of_failure(Service::GitHub, Path::new("a,b:c/Dockerfile"), Some(3), message).unwrap(),
            "::error file=a%2Cb%3Ac/Dockerfile,line=3,title=build failed::100%25 of it:%0Afailed%0D%0A::error::x"
        );
        assert_eq!(
            of_failure(Service::Azure, Path::new("D;f"), None, "a]b\n5%").unwrap(),
            "##vso[task.logissue type=error;sourcepath=D%3Bf;]build failed: a%5Db%0A5%AZP25"
        );
        assert_eq!(of_failure(Service::GitLab, Path::new("D"), Some(1), "x"), None);
    }

    #[test]
    fn each_finding_is_a_warning_at_its_line() {
        let warning = Warning {
            rule: Rule::StageNameCasing,
            detail: "Stage name 'A' should be lowercase".to_owned(),
            lines: SourceLines(1..2),
        };
        assert_eq!(
            of_warnings(Service::GitHub, Path::new("Dockerfile"), &[warning]),
            ["::warning file=Dockerfile,line=1,title=StageNameCasing::Stage name 'A' should be lowercase"]
        );
    }

    #[test]
    fn files_are_named_from_the_top_of_the_repository() {
        let variables = [("GITHUB_WORKSPACE", "/w")];
        let environment = Environment::of(Path::new("/w/sub"), &variables);
        for (path, shown) in [
            ("Dockerfile", "sub/Dockerfile"),
            ("/w/D", "D"),
            ("/other/D", "/other/D"),
        ] {
            assert_eq!(in_workspace(Path::new(path), &environment), Path::new(shown));
        }
    }
}

//! Builds in pipelines: whose service it is, and what that service makes of a log.
//!
//! All that depends on the service is here: how it folds lines, which lines it takes for commands, how a line of the
//! Dockerfile is marked in its pages, and where it wants results. A log is written by strangers (processes of steps,
//! servers, names of files), so whatever could be a command in it is disarmed before it is written.

mod annotations;
mod facts;
mod preamble;
mod results;

use std::io::{self, Write as _};
use std::path::Path;

use frontend::Warning;

pub(crate) use results::{Report, tell};

use crate::commands::Setting;
use crate::environment::Environment;
use crate::request::BuildRequest;
use crate::ui::text;

/// Who runs the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// GitHub Actions, and those that speak its language.
    GitHub,
    /// GitLab.
    GitLab,
    /// Buildkite.
    Buildkite,
    /// Azure Pipelines.
    Azure,
    /// Another one.
    Other,
}

impl Service {
    /// The service that says of itself that it runs this, if the build shall be one of a pipeline: as typed, or else as
    /// the variable `CI` says.
    pub(crate) fn detect(typed: Option<bool>, environment: &Environment) -> Option<Service> {
        let is_set = |name: &str| environment.text(name).is_some_and(|value| !is_no(value));
        if !typed.unwrap_or_else(|| is_set("CI")) {
            return None;
        }
        let services = [
            ("GITHUB_ACTIONS", Service::GitHub),
            ("GITLAB_CI", Service::GitLab),
            ("BUILDKITE", Service::Buildkite),
            ("TF_BUILD", Service::Azure),
        ];
        let found = services.into_iter().find(|(name, _)| is_set(name));
        Some(found.map_or(Service::Other, |(_, service)| service))
    }

    /// The mark that begins a fold, where there is one; `name` is unique and of letters, digits and `_`.
    pub(crate) fn fold(self, name: &str, title: &str, seconds: i64) -> Option<String> {
        match self {
            Service::GitHub => Some(format!("::group::{title}")),
            Service::Azure => Some(format!("##[group]{title}")),
            Service::GitLab => Some(format!(
                "section_start:{seconds}:{name}[collapsed=true]\r\u{1b}[0K{title}"
            )),
            Service::Buildkite => Some(format!("--- {title}")),
            Service::Other => Some(title.to_owned()),
        }
    }

    /// The mark that ends it.
    pub(crate) fn end_of_fold(self, name: &str, seconds: i64) -> Option<String> {
        match self {
            Service::GitHub => Some("::endgroup::".to_owned()),
            Service::Azure => Some("##[endgroup]".to_owned()),
            Service::GitLab => Some(format!("section_end:{seconds}:{name}\r\u{1b}[0K")),
            Service::Buildkite | Service::Other => None,
        }
    }

    /// A title of what is to be seen at once.
    pub(crate) fn unfolded(self, title: &str) -> String {
        match self {
            Service::Buildkite => format!("+++ {title}"),
            _ => title.to_owned(),
        }
    }

    /// A line that the service does not take for a command.
    pub(crate) fn disarmed(self, line: &str) -> String {
        if self == Service::Other {
            return line.to_owned();
        }
        let lines: Vec<String> = line.split('\n').map(|line| self.disarmed_line(line)).collect();
        lines.join("\n")
    }

    fn disarmed_line(self, line: &str) -> String {
        let rest = line.trim_start();
        let is_heading = |mark: &&str| line.starts_with(*mark);
        match self {
            Service::GitHub | Service::Azure => {
                let line = match rest.strip_prefix("::") {
                    Some(after) => format!("{}: :{after}", &line[..line.len() - rest.len()]),
                    None => line.to_owned(),
                };
                line.replace("##[", "## [").replace("##vso[", "##vso [")
            }
            Service::GitLab => line
                .replace("section_start:", "section_start :")
                .replace("section_end:", "section_end :"),
            Service::Buildkite if ["--- ", "+++ ", "~~~ ", "^^^ "].iter().any(is_heading) => format!(" {line}"),
            Service::Buildkite | Service::Other => line.to_owned(),
        }
    }
}

/// Says before a build what was chosen for it.
pub(crate) fn introduce(service: Service, request: &BuildRequest, setting: &Setting) {
    let facts = facts::find(request, setting);
    for line in preamble::preamble(&facts) {
        say(&service.disarmed(&text::harmless(line.as_bytes())));
    }
}

/// Marks the lines of the Dockerfile that failed, or that rules have something against.
pub(crate) fn mark(
    service: Service,
    (request, environment): (&BuildRequest, &Environment),
    failure: Option<(&str, Option<usize>)>,
    warnings: &[Warning],
) {
    if service == Service::Buildkite && failure.is_some() {
        // The words that follow belong to the last fold, which this opens.
        say("^^^ +++");
    }
    let file = annotations::in_workspace(Path::new(&request.dockerfile_path), environment);
    let warnings = annotations::of_warnings(service, &file, warnings);
    let failure = failure.and_then(|(message, line)| annotations::of_failure(service, &file, line, message));
    warnings.into_iter().chain(failure).for_each(|mark| say(&mark));
}

/// With stderr gone there is nobody to tell.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// How people say no in a variable.
fn is_no(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "" | "0" | "false" | "no" | "off")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_service_says_who_it_is() {
        let detect =
            |typed, variables: &[(&str, &str)]| Service::detect(typed, &Environment::of(Path::new("/"), variables));
        assert_eq!(detect(None, &[]), None);
        assert_eq!(detect(None, &[("CI", "false"), ("GITHUB_ACTIONS", "true")]), None);
        assert_eq!(detect(Some(false), &[("CI", "true")]), None);
        assert_eq!(detect(Some(true), &[]), Some(Service::Other));
        for (name, service) in [
            ("GITHUB_ACTIONS", Service::GitHub),
            ("GITLAB_CI", Service::GitLab),
            ("BUILDKITE", Service::Buildkite),
            ("TF_BUILD", Service::Azure),
            ("OTHER", Service::Other),
        ] {
            assert_eq!(detect(None, &[("CI", "true"), (name, "True")]), Some(service), "{name}");
        }
    }

    #[test]
    fn no_line_of_a_stranger_is_a_command() {
        for (service, line, shown) in [
            (Service::GitHub, "::set-output name=a::b", ": :set-output name=a::b"),
            (Service::GitHub, "  ::add-mask::x", "  : :add-mask::x"),
            (Service::GitHub, "a\n::error::x", "a\n: :error::x"),
            (Service::GitHub, "1 ##[set-env name=A]b", "1 ## [set-env name=A]b"),
            (Service::GitHub, "use std::io;", "use std::io;"),
            (
                Service::Azure,
                "0.1 ##vso[task.setvariable variable=a]b",
                "0.1 ##vso [task.setvariable variable=a]b",
            ),
            (Service::Azure, "##[group]a", "## [group]a"),
            (Service::GitLab, "section_start:1:a", "section_start :1:a"),
            (Service::GitLab, "x section_end:1:a", "x section_end :1:a"),
            (Service::Buildkite, "+++ a", " +++ a"),
            (Service::Buildkite, "a --- b", "a --- b"),
            (Service::Other, "::a", "::a"),
        ] {
            assert_eq!(service.disarmed(line), shown, "{service:?}");
        }
    }
}

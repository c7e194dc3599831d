//! Questions about a Dockerfile instead of a build: `--check` and `--call`. The answer goes to standard output, in the
//! words and the JSON of buildx; what was done to find it goes to standard error, as in a build.

mod json;
mod text;

use std::process::ExitCode;
use std::sync::Arc;

use frontend::{Findings, Outline, Target, Warning};
use sandbox::Cancel;
use solver::{Failure, Reporter};

use crate::build;
use crate::ci;
use crate::cli::{Call, Format};
use crate::commands::{Setting, answer};
use crate::elsewhere;
use crate::error::CommandError;
use crate::interrupt::Signals;
use crate::request::{self, BuildRequest};
use crate::ui;

/// The answer to a question.
enum Answer {
    /// What rules have something against, and what keeps the Dockerfile from being built.
    Check(Vec<Warning>, Option<BuildError>),
    /// What the target can be given.
    Outline(Outline),
    /// What can be built.
    Targets(Vec<Target>),
    /// What can be asked.
    Questions,
}

/// Why a Dockerfile cannot be built, kept as an answer.
struct BuildError {
    message: String,
    lines: Vec<graph::SourceLines>,
    failure: CommandError,
}

/// Answers the question; the exit code is 1 if a check found anything.
///
/// # Errors
/// A question that nobody knows, or what keeps the Dockerfile from being built.
pub(crate) async fn run(call: &Call, request: BuildRequest, setting: &Setting) -> Result<ExitCode, CommandError> {
    let heading = format!("asking rbuild {}", env!("CARGO_PKG_VERSION"));
    let (reporter, progress) = ui::start(request.progress, &request::screen(&setting.environment), &heading);
    let (cancel, mut signals) = (Cancel::new(), Signals::watch(request.limits, setting.helpers())?);
    let completing = elsewhere::complete(request, setting, &reporter, &cancel);
    let request = match signals.cancelling(&cancel, completing).await {
        Ok(request) => request,
        Err(error) => {
            progress.finish();
            return Err(error);
        }
    };
    let findings = Findings::new();
    let found = signals
        .cancelling(&cancel, ask(call, &request, setting, &reporter, &findings))
        .await;
    progress.finish();
    let found = match found {
        Ok(Answer::Check(warnings, error)) => {
            if let Some(service) = request.service {
                let failure = error
                    .as_ref()
                    .map(|error| (error.failure.message(), error.failure.line()));
                ci::mark(service, (&request, &setting.environment), failure, &warnings);
            }
            return tell_check(call, &request, &warnings, error);
        }
        other => other,
    };
    ui::tell_warnings(request.progress, &findings.warnings());
    let source = &request.dockerfile.text;
    let told = match (found?, call.format) {
        (Answer::Outline(outline), Format::Text) => text::outline(&outline),
        (Answer::Outline(outline), Format::Json) => json::outline(&outline, source),
        (Answer::Targets(targets), Format::Text) => text::targets(&targets),
        (Answer::Targets(targets), Format::Json) => json::targets(&targets, source),
        (Answer::Questions, Format::Text) => text::questions(),
        (Answer::Questions, Format::Json) => json::questions(),
        (Answer::Check(..), _) => String::new(),
    };
    answer(told)
}

async fn ask(
    call: &Call,
    request: &BuildRequest,
    setting: &Setting,
    reporter: &Reporter,
    findings: &Findings,
) -> Result<Answer, CommandError> {
    let (text, options) = (&request.dockerfile.text, &request.options);
    let store = setting
        .open_store()
        .map_err(|error| CommandError::failed("failed to build").because(&error))?;
    let images: Arc<_> = build::images(request, setting, &store, reporter)?;
    let step = reporter.start(format!(
        "[internal] load build definition from {}",
        request.dockerfile.name
    ));
    let found = match call.name.as_str() {
        "check" | "lint" => {
            let error = frontend::check(text, options, &*images, findings).await.err();
            let error = error.map(|error| BuildError {
                message: build::chain(&error),
                lines: error.lines(),
                failure: build::refused(request, &error, "failed to check"),
            });
            step.done();
            return Ok(Answer::Check(findings.warnings(), error));
        }
        "outline" => {
            let outline = frontend::outline(text, options, &*images, findings).await;
            outline.map(Answer::Outline)
        }
        "targets" => frontend::targets(text, options)
            .map(Answer::Targets)
            .map_err(frontend::Error::from),
        "subrequests.describe" => Ok(Answer::Questions),
        other => {
            return Err(CommandError::usage(format!(
                "failed to build: failed to solve: unsupported request frontend.{other}"
            ))
            .hint("there are: check, outline, targets, subrequests.describe"));
        }
    };
    for warning in findings.warnings() {
        step.note(format!("WARN: {warning}"));
    }
    match found {
        Ok(found) => {
            step.done();
            Ok(found)
        }
        Err(error) => {
            step.failed(Failure {
                message: error.to_string(),
                ..Failure::default()
            });
            Err(build::refused(request, &error, "failed to build: failed to solve"))
        }
    }
}

fn tell_check(
    call: &Call,
    request: &BuildRequest,
    warnings: &[Warning],
    error: Option<BuildError>,
) -> Result<ExitCode, CommandError> {
    let dockerfile = &request.dockerfile;
    let told = match call.format {
        Format::Json => {
            let error = error.as_ref().map(|error| (error.message.as_str(), &error.lines[..]));
            json::check(&dockerfile.name, &dockerfile.text, warnings, error)
        }
        Format::Text if warnings.is_empty() && error.is_none() => "Check complete, no warnings found.\n".to_owned(),
        Format::Text => {
            let more = if error.is_some() { "\n" } else { "" };
            match warnings {
                [] => String::new(),
                some => text::check(&request.dockerfile_path, &dockerfile.text, some) + more,
            }
        }
    };
    answer(told)?;
    match error {
        Some(error) => Err(error.failure),
        None if warnings.is_empty() || call.ignores_status => Ok(ExitCode::SUCCESS),
        None => Ok(ExitCode::FAILURE),
    }
}

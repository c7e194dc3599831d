//! `rbuild debug fsck`: whether the store is what it should be.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use cache::{Checked, Fault, Finding, Fsck, Repair, Subject};

use super::{Setting, answer, store_failed};
use crate::error::CommandError;
use crate::remotes;
use crate::ui::text;

/// Writes a line for each finding and one that counts what was looked at.
///
/// # Errors
/// When the index cannot be read, or something cannot be repaired.
pub(crate) fn run(repair: bool, setting: &Setting) -> Result<ExitCode, CommandError> {
    let repair = match repair {
        true => Repair::Forget,
        false => Repair::Nothing,
    };
    let store = setting.store()?;
    let mut broken_pipe = Ok(());
    let mut tell = |finding: &Finding| {
        let line = text::harmless(line(finding, repair).as_bytes());
        if broken_pipe.is_ok() {
            broken_pipe = writeln!(io::stdout().lock(), "{line}");
        }
    };
    let checked = store
        .fsck(Fsck {
            repair,
            is_whole: &is_whole,
            found: &mut tell,
            waits: &|| waiting(),
        })
        .map_err(store_failed)?;
    answer(summary(&checked))?;
    Ok(match checked.findings {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

#[expect(clippy::print_stderr, reason = "words for people, before there is an answer")]
fn waiting() {
    eprintln!("waiting for other rbuild processes to end");
}

/// Whether a file under `stat/` can be read by those who keep it there.
fn is_whole(path: &Path) -> io::Result<bool> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match (name.strip_prefix("http-"), name.strip_suffix(".files")) {
        (Some(_), _) => remotes::is_note(path),
        (None, Some(_)) => solver::files::is_list_of_files(path),
        (None, None) => solver::files::is_list_of_digests(path),
    }
}

/// What, where, what it means, what to do.
fn line(finding: &Finding, repair: Repair) -> String {
    let mut line = format!("{}: {}", finding.subject, fault(&finding.fault));
    let _ = write!(line, "; {}", meaning(&finding.subject, &finding.fault));
    line += match (&finding.subject, repair) {
        (Subject::Index, _) => "; move the store's folder away, and images and caches begin anew",
        (_, Repair::Nothing) => "; `rbuild debug fsck --repair` removes it",
        (_, Repair::Forget) => "; removed",
    };
    line
}

fn fault(fault: &Fault) -> String {
    match fault {
        Fault::Damaged(how) => format!("the database is damaged: {how}"),
        Fault::Malformed => "it cannot be understood".to_owned(),
        Fault::Missing(path) => format!("`{}` is not there", path.display()),
        Fault::Unreadable(error) => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                let _ = write!(text, ": {error}");
                cause = error.source();
            }
            text
        }
        Fault::Changed { expected, actual } => format!("its content is `{actual}`, not `{expected}`"),
        Fault::Lacks(what) => format!("{what} is not here"),
        Fault::Unknown => "nothing knows it and no process is at work on it".to_owned(),
    }
}

fn meaning(subject: &Subject, fault: &Fault) -> &'static str {
    match (subject, fault) {
        (_, Fault::Unknown) => "it takes space for nothing",
        (Subject::Index, _) => "nothing in the store can be relied on",
        (Subject::Blob(_), _) => "images with it cannot be given out until it is fetched or made again",
        (Subject::Snapshot(_), _) => {
            "builds that use it, or what stands on it, may come out wrong until it is made again"
        }
        (Subject::Layer { .. }, _) => "the layer is made again when it is wanted",
        (Subject::Record(_) | Subject::Alias(_), _) => "the step runs again",
        (Subject::Image(_), _) => "it cannot be given out until it is built or pulled again",
        (Subject::CacheDirectory(_), _) => "steps that want it fail; it begins anew when it is gone",
        (Subject::Note(_) | Subject::Path(_), _) => "it is not used",
    }
}

fn summary(checked: &Checked) -> String {
    let Checked {
        blobs,
        trees,
        trees_read,
        layers,
        keys,
        images,
        others,
        findings,
        repaired,
        ..
    } = checked;
    let bytes = text::bytes(checked.bytes);
    let found = match (findings, repaired) {
        (0, _) => "nothing is wrong".to_owned(),
        (found, 0) => format!("{found} found"),
        (found, repaired) => format!("{found} found, {repaired} of them removed"),
    };
    format!(
        "Verified: {blobs} blobs ({bytes}), {trees} trees, {layers} layers, {keys} keys, {images} images, {others} other \
         files; {trees_read} trees have no digest and were read\nResult: {found}\n"
    )
}

//! What a pipeline is told when a build is over: outputs for its later steps, and a page for people.
//!
//! Names and messages are of foreign origin. A value of several lines is written between delimiters that nobody can guess,
//! so that none can pretend to be another output; in the page they are code, in one line.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use export::Receipt;
use frontend::Warning;

use crate::deliver::Made;
use crate::environment::Environment;
use crate::error::CommandError;
use crate::ui::text;
use crate::ui::{Ended, Finished};

/// So many reasons and warnings are listed in the page.
const MOST_LISTED: usize = 50;

/// What there is to tell.
pub(crate) struct Report<'a> {
    /// What came out; nothing if the build failed.
    pub(crate) made: Option<&'a Made>,
    /// Why it failed, if it did.
    pub(crate) failure: Option<&'a str>,
    /// The steps.
    pub(crate) ended: &'a Ended,
    /// What rules have something against.
    pub(crate) warnings: &'a [Warning],
}

/// Writes it to the files that the service names, if it does.
///
/// # Errors
/// When a file that is named cannot be written.
pub(crate) fn tell(report: &Report<'_>, environment: &Environment) -> Result<(), CommandError> {
    if let (Some(path), Some(made)) = (environment.path("GITHUB_OUTPUT"), report.made)
        && let Some(receipt) = &made.image
    {
        let path = environment.absolute(Path::new(path));
        let written = delimiter().and_then(|delimiter| append(&path, &outputs(made, receipt, &delimiter)));
        written.map_err(|error| failed(&path, &error))?;
    }
    if let Some(path) = environment.path("GITHUB_STEP_SUMMARY") {
        let path = environment.absolute(Path::new(path));
        append(&path, &page(report)).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

fn failed(path: &Path, error: &io::Error) -> CommandError {
    CommandError::failed(format!("failed to write {}", path.display())).because(error)
}

/// In one piece, so that what others append stands before it or after it.
fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().append(true).create(true).open(path)?;
    file.write_all(text.as_bytes())
}

fn delimiter() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("rbuild_{:032x}", u128::from_ne_bytes(bytes)))
}

/// With the names of docker/build-push-action.
fn outputs(made: &Made, receipt: &Receipt, delimiter: &str) -> String {
    let metadata = serde_json::to_string_pretty(&made.metadata()).expect("metadata has only string keys");
    format!(
        "imageid={}\ndigest={}\nmetadata<<{delimiter}\n{metadata}\n{delimiter}\n",
        receipt.id(),
        receipt.descriptor.digest
    )
}

/// In GitHub's markdown.
fn page(report: &Report<'_>) -> String {
    let mut out = match report.failure {
        Some(failure) => format!("### rbuild: failed\n\n{}\n\n", code(failure)),
        None => "### rbuild: built\n\n".to_owned(),
    };
    out.push_str("| | |\n|---|---|\n");
    if let Some(receipt) = report.made.and_then(|made| made.image.as_ref()) {
        for name in &receipt.names {
            let _ = writeln!(out, "| image | {} |", code(&name.to_string()));
        }
        let _ = writeln!(out, "| digest | {} |", code(&receipt.descriptor.digest.to_string()));
        let (size, count) = (text::bytes(receipt.size), receipt.layers);
        let layers = if count == 1 { "layer" } else { "layers" };
        let _ = writeln!(out, "| size | {size} in {count} {layers} |");
    }
    let steps = || report.ended.finished.iter();
    let run = steps().filter(|step| !step.is_cached);
    let (count, time) = run.fold((0, std::time::Duration::ZERO), |(count, time), step| {
        (count + 1, time + step.took)
    });
    let cached = steps().count() - count;
    let _ = writeln!(
        out,
        "| steps | {count} run in {}, {cached} cached |",
        text::seconds(time)
    );
    let again = |step: &Finished| {
        step.again
            .as_ref()
            .map(|why| format!("{}: {}", code(&step.name), code(why)))
    };
    list(&mut out, "why steps ran again", steps().filter_map(again));
    list(
        &mut out,
        "warnings",
        report.warnings.iter().map(|warning| code(&warning.to_string())),
    );
    out.push('\n');
    out
}

fn list(out: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n<details><summary>{title} ({})</summary>\n", lines.len());
    for line in lines.iter().take(MOST_LISTED) {
        let _ = writeln!(out, "- {line}");
    }
    out.push_str("\n</details>\n");
}

/// Foreign words in one line of code, which is no table, no link and no markup.
fn code(words: &str) -> String {
    let line = text::harmless(words.replace(['\n', '\r'], " ").as_bytes());
    format!("`{}`", line.replace('`', "'").replace('|', "¦"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use oci::{Descriptor, Digest};

    use super::*;

    fn receipt() -> Receipt {
        Receipt {
            descriptor: Descriptor::of(oci::media_type::MANIFEST, b"m"),
            config: Some(Digest::of(b"c")),
            names: vec!["r.example/app:1".parse().unwrap()],
            layers: 2,
            size: 1_050_000,
        }
    }

    #[test]
    fn outputs_have_the_names_of_the_usual_action() {
        let text = outputs(&Made::image(receipt()), &receipt(), "end_1");
        let (first, rest) = text.split_once("metadata<<end_1\n").unwrap();
        let expected = format!("imageid={}\ndigest={}\n", Digest::of(b"c"), Digest::of(b"m"));
        assert_eq!(first, expected);
        let metadata: serde_json::Value = serde_json::from_str(rest.strip_suffix("\nend_1\n").unwrap()).unwrap();
        assert_eq!(metadata["image.name"], "r.example/app:1");
        assert_ne!(delimiter().unwrap(), delimiter().unwrap());
    }

    #[test]
    fn the_page_is_a_ledger_that_names_cannot_break() {
        let step = |name: &str, is_cached, again: Option<&str>| Finished {
            name: name.to_owned(),
            took: Duration::from_millis(1500),
            is_cached,
            again: again.map(str::to_owned),
        };
        let ended = Ended {
            finished: vec![
                step("[1/3] RUN a", true, None),
                step("[2/3] RUN echo `x` | </details>\n# b", false, Some("file /a changed")),
            ],
            ..Ended::default()
        };
        let report = Report {
            made: Some(&Made::image(receipt())),
            failure: None,
            ended: &ended,
            warnings: &[],
        };
        let shown = page(&report);
        assert!(
            shown.contains("| size | 1.05MB in 2 layers |\n| steps | 1 run in 1.5s, 1 cached |\n"),
            "{shown}"
        );
        assert!(
            shown.contains("- `[2/3] RUN echo 'x' ¦ </details> # b`: `file /a changed`\n"),
            "{shown}"
        );
        let report = Report {
            made: None,
            failure: Some("it\nfailed"),
            ..report
        };
        assert!(page(&report).starts_with("### rbuild: failed\n\n`it failed`\n"));
    }
}

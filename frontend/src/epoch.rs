//! `SOURCE_DATE_EPOCH` that is no number: the main context, another context or a stage, whose time is meant. Pure: the
//! time itself is for others to find.

use graph::{GitSource, HttpSource};

use crate::command::{Add, ArgPair, Command};
use crate::convert::remote::{Remote, git_source, http_source};
use crate::options::{MainContext, NamedContext, RemoteContext};
use crate::plan::{Reading, Section};
use crate::stage::Globals;
use crate::words::{Expander, WordError};
use crate::{Diagnostic, Environment, Findings, Options};

const NAME: &str = "SOURCE_DATE_EPOCH";

/// Whose time `SOURCE_DATE_EPOCH` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EpochSource {
    /// Something that has none: a directory of the user's, an image.
    Timeless,
    /// The commit's.
    Git(GitSource),
    /// That of the file, or else of the newest file in it.
    Http(HttpSource),
}

/// What `SOURCE_DATE_EPOCH` names; `None` if it is a number, or not set, or if that cannot be told: what else is wrong with
/// the Dockerfile is said when it is planned.
///
/// # Errors
/// For a name that means nothing, or nothing that could have a time.
pub fn epoch_source(text: &[u8], options: &Options) -> Result<Option<EpochSource>, Diagnostic> {
    let (Ok(reading), Ok(variants)) = (Reading::new(text, options, &Findings::new()), options.each_platform()) else {
        return Ok(None);
    };
    let options = variants.first().unwrap_or(options);
    let expander = Expander::new(reading.dockerfile.escape);
    let arguments = Globals::arguments(&reading.metas, &reading.sections, &expander, options);
    let Ok(mut arguments) = arguments else { return Ok(None) };
    let value = options.build_args.get(NAME).map(String::as_str).or(arguments.get(NAME));
    let name = match value {
        None | Some("") => return Ok(None),
        Some(text) if text.parse::<i64>().is_ok() => return Ok(None),
        Some(name) => name.to_owned(),
    };
    if name == "context" {
        return Ok(Some(match &options.main_context {
            MainContext::Remote(source) => EpochSource::of(source),
            MainContext::Archive(source) => EpochSource::Http(source.clone()),
            MainContext::Lent | MainContext::Empty => EpochSource::Timeless,
        }));
    }
    if let Some((_, context)) = options.context(&name, options.target_platform()) {
        return Ok(Some(match context {
            NamedContext::Remote(source) => EpochSource::of(source),
            NamedContext::Local { .. } | NamedContext::Image(_) | NamedContext::Scratch => EpochSource::Timeless,
        }));
    }
    for section in &reading.sections {
        let Command::From(from) = &section.from.command else {
            continue;
        };
        if from
            .name
            .as_deref()
            .is_some_and(|stage| stage.eq_ignore_ascii_case(&name))
        {
            arguments.set(NAME, "");
            let source = of_stage(section, &from.image, arguments, &expander, options);
            return Ok(Some(source.map_err(|error| error.or_at(&section.from.lines))?));
        }
    }
    Err(Diagnostic::new(format!("invalid {NAME}: {name}")))
}

impl EpochSource {
    fn of(source: &RemoteContext) -> EpochSource {
        match source {
            RemoteContext::Git(git) => EpochSource::Git(git.clone()),
            RemoteContext::Http(http) => EpochSource::Http(http.clone()),
        }
    }
}

/// The one thing that a stage adds to nothing.
fn of_stage(
    section: &Section,
    image: &str,
    mut environment: Environment,
    expander: &Expander,
    options: &Options,
) -> Result<EpochSource, Diagnostic> {
    let refuse = |why: &str| Diagnostic::new(format!("{NAME} stage {why}"));
    let image = expander.text(image, &environment).map_err(refuse_word)?;
    if image != "scratch" {
        return Err(refuse("must use FROM scratch"));
    }
    let mut found = None;
    for placed in &section.commands {
        match &placed.command {
            Command::Arg(pairs) => {
                for ArgPair { name, default } in pairs {
                    match (options.build_args.get(name), default) {
                        (Some(given), _) => environment.set(name, given),
                        (None, Some(default)) => {
                            let value = expander.text(default, &environment).map_err(refuse_word)?;
                            environment.set(name, value);
                        }
                        (None, None) => {}
                    }
                }
            }
            Command::Add(add) if found.is_none() => found = Some(of_add(add, &environment, expander)?),
            Command::Add(_) => return Err(refuse("must contain exactly one remote ADD")),
            _ => {
                let name = placed.code.split_whitespace().next().unwrap_or_default().to_lowercase();
                let why = format!("does not meet source-only requirements: unsupported {name} instruction");
                return Err(refuse(&why));
            }
        }
    }
    found.ok_or_else(|| refuse("must contain exactly one remote ADD"))
}

fn of_add(add: &Add, environment: &Environment, expander: &Expander) -> Result<EpochSource, Diagnostic> {
    let refuse = |why: &str| Diagnostic::new(format!("{NAME} stage {why}"));
    let ([path], []) = (&add.sources.paths[..], &add.sources.documents[..]) else {
        return Err(refuse("must contain exactly one remote ADD source"));
    };
    let expand = |text: &str| expander.text(text, environment).map_err(refuse_word);
    let checksum = add.checksum.as_deref().map(expand).transpose()?;
    let checksum = checksum.filter(|checksum| !checksum.is_empty());
    match Remote::of(&expand(path)?)? {
        Some(Remote::Http(url)) => Ok(EpochSource::Http(http_source(&url, checksum.as_deref())?)),
        Some(Remote::Git(address)) => Ok(EpochSource::Git(git_source(&address, add.keep_git_dir, checksum)?)),
        None => Err(refuse("source must be a single HTTP(S) or Git ADD")),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "handed to map_err")]
fn refuse_word(error: WordError) -> Diagnostic {
    Diagnostic::new(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(dockerfile: &str, change: impl FnOnce(&mut Options)) -> Result<Option<EpochSource>, String> {
        let mut options = Options::new("linux/amd64".parse().unwrap());
        change(&mut options);
        epoch_source(dockerfile.as_bytes(), &options).map_err(|error| error.to_string())
    }

    fn file(url: &str) -> Option<EpochSource> {
        Some(EpochSource::Http(http_source(url, None).unwrap()))
    }

    #[test]
    fn a_number_names_nothing() {
        assert_eq!(source("FROM scratch\n", |_| {}), Ok(None));
        assert_eq!(source("ARG SOURCE_DATE_EPOCH=12\nFROM scratch\n", |_| {}), Ok(None));
    }

    #[test]
    fn a_stage_that_only_adds_something_has_its_time() {
        let stage = |lines: &str| format!("ARG SOURCE_DATE_EPOCH=Src\nFROM scratch AS src\n{lines}\nFROM scratch\n");
        assert_eq!(
            source(&stage("ARG X=a\nADD http://h/$X /"), |_| {}),
            Ok(file("http://h/a"))
        );
        for (lines, why) in [
            (
                "RUN x",
                "does not meet source-only requirements: unsupported run instruction",
            ),
            ("ARG X", "must contain exactly one remote ADD"),
            ("ADD a /", "source must be a single HTTP(S) or Git ADD"),
            (
                "ADD http://h/a http://h/b /",
                "must contain exactly one remote ADD source",
            ),
        ] {
            let error = source(&stage(lines), |_| {}).unwrap_err();
            assert!(error.contains(why), "{lines}: {error}");
        }
    }

    #[test]
    fn a_context_has_its_time_if_it_has_one() {
        let asked = |options: &mut Options| {
            options.build_args.insert(NAME.to_owned(), "context".to_owned());
        };
        assert_eq!(source("FROM scratch\n", asked), Ok(Some(EpochSource::Timeless)));
        let remote = |options: &mut Options| {
            asked(options);
            let source = http_source("http://h/a", None).unwrap();
            options.main_context = MainContext::Archive(source);
        };
        assert_eq!(source("FROM scratch\n", remote), Ok(file("http://h/a")));
        let unknown = |options: &mut Options| {
            options.build_args.insert(NAME.to_owned(), "nothing".to_owned());
        };
        let error = source("FROM scratch\n", unknown).unwrap_err();
        assert!(error.contains("invalid SOURCE_DATE_EPOCH: nothing"), "{error}");
    }
}

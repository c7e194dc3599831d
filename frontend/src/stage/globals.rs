//! What is known before the first FROM: the arguments of the platform and those that the Dockerfile declares up there.

use graph::SourceLines;
use oci::Platform;

use crate::command::{ArgPair, Command, From, Placed};
use crate::parse::Dockerfile;
use crate::plan::Section;
use crate::quote::quote;
use crate::words::Expander;
use crate::{Diagnostic, Environment, Options, suggest};

/// What is known before the first FROM.
#[derive(Debug)]
pub(crate) struct Globals {
    /// Values for FROM, and for an ARG without a value in a stage.
    pub(crate) arguments: Environment,
    /// How words are read in this Dockerfile.
    pub(crate) expander: Expander,
    /// `SOURCE_DATE_EPOCH`.
    pub(crate) epoch: Option<i64>,
}

impl Globals {
    /// Evaluates the ARGs before the first FROM.
    pub(crate) fn new(
        metas: &[Placed],
        sections: &[Section],
        dockerfile: &Dockerfile,
        options: &Options,
    ) -> Result<Globals, Diagnostic> {
        let expander = Expander::new(dockerfile.escape);
        let mut arguments = predefined(sections, options);
        for placed in metas {
            let Command::Arg(pairs) = &placed.command else {
                continue;
            };
            for ArgPair { name, default } in pairs {
                let value = match (options.build_args.get(name), default) {
                    (Some(given), _) => given.clone(),
                    (None, Some(default)) => expander
                        .text(default, &arguments)
                        .map_err(|error| Diagnostic::new(error.to_string()).at(&placed.lines))?,
                    (None, None) => continue,
                };
                arguments.set(name, value);
            }
        }
        let epoch = epoch(&arguments, options)?;
        Ok(Globals {
            arguments,
            expander,
            epoch,
        })
    }

    /// The image and the platform of a FROM.
    pub(crate) fn from(&self, from: &From, lines: &SourceLines) -> Result<(String, Option<Platform>), Diagnostic> {
        let refuse = |message: String| Diagnostic::new(message).at(lines);
        let image = self
            .expander
            .text(&from.image, &self.arguments)
            .map_err(|error| refuse(error.to_string()))?;
        if image.is_empty() {
            return Err(refuse(format!("base name ({}) should not be blank", from.image)));
        }
        let Some(written) = &from.platform else {
            return Ok((image, None));
        };
        let expansion = self
            .expander
            .expand(written, &self.arguments)
            .map_err(|error| refuse(format!("failed to process arguments for platform {written}: {error}")))?;
        let suggested = |message: String| {
            let names = || self.arguments.iter().map(|(name, _)| name);
            let near = expansion
                .unmatched
                .iter()
                .find_map(|name| suggest::nearest(name, names()));
            match near {
                Some(name) => format!("{message} (did you mean {name}?)"),
                None => message,
            }
        };
        if expansion.text.is_empty() {
            let message = format!("empty platform value from expression {written}");
            return Err(refuse(suggested(message)));
        }
        let platform = expansion
            .text
            .parse()
            .map_err(|error| refuse(suggested(format!("failed to parse platform {written}: {error}"))))?;
        Ok((image, Some(platform)))
    }
}

/// The arguments that describe platforms and the target.
fn predefined(sections: &[Section], options: &Options) -> Environment {
    let last = sections.last().and_then(|section| match &section.from.command {
        Command::From(from) => from.name.clone(),
        _ => None,
    });
    let stage = options.target.clone().or(last).unwrap_or_else(|| "default".to_owned());
    let of = |prefix: &'static str, platform: &Platform| {
        [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("OSVERSION", platform.os_version.clone().unwrap_or_default()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", platform.variant.clone().unwrap_or_default()),
        ]
        .map(|(name, value)| (format!("{prefix}{name}"), value))
    };
    of("BUILD", &options.build_platform)
        .into_iter()
        .chain(of("TARGET", options.target_platform()))
        .chain([("TARGETSTAGE".to_owned(), stage)])
        .map(|(name, value)| {
            let value = options.build_args.get(&name).cloned().unwrap_or(value);
            (name, value)
        })
        .collect()
}

fn epoch(arguments: &Environment, options: &Options) -> Result<Option<i64>, Diagnostic> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    if options.epoch.is_some() {
        return Ok(options.epoch);
    }
    let given = options.build_args.get(NAME).map(String::as_str);
    match given.or(arguments.get(NAME)) {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            Diagnostic::new(format!("invalid {NAME}: {}", quote(text)))
                .hint("only a number of seconds is supported, not the name of a context or stage")
        }),
    }
}

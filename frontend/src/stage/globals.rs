//! What is known before the first FROM: the arguments of the platform and those that the Dockerfile declares up there.

use std::collections::{BTreeMap, BTreeSet};

use oci::Platform;

use crate::command::{ArgPair, Command, From, Placed};
use crate::lint::stage::Ignored;
use crate::lint::{self, Linter, Spot};
use crate::outline::{self, Declaration};
use crate::parse::Dockerfile;
use crate::plan::Section;
use crate::words::{Expander, Expansion};
use crate::{Diagnostic, Environment, Options, suggest};

/// The argument that says which time is given to what the build makes.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// What is known before the first FROM.
#[derive(Debug)]
pub(crate) struct Globals {
    /// Values for FROM, and for an ARG without a value in a stage.
    pub(crate) arguments: Environment,
    /// How words are read in this Dockerfile.
    pub(crate) expander: Expander,
    /// `SOURCE_DATE_EPOCH`.
    pub(crate) epoch: Option<i64>,
    /// What the user gave for ARGs; the time as the number it came to.
    pub(crate) given: BTreeMap<String, String>,
    /// What is declared up there, with or without a value.
    pub(crate) declared: BTreeMap<String, Declaration>,
    /// What the ignore file leaves out, if that can be told.
    pub(crate) ignored: Option<Ignored>,
    /// The variables that a FROM may use.
    names: BTreeSet<String>,
    /// Hears of what is allowed but not good.
    pub(crate) linter: Linter,
}

/// What a FROM says, variables replaced.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) image: String,
    pub(crate) platform: Option<Platform>,
    /// The arguments in it.
    pub(crate) used: BTreeSet<String>,
}

impl Globals {
    /// Evaluates the ARGs before the first FROM.
    pub(crate) fn new(
        metas: &[Placed],
        sections: &[Section],
        dockerfile: &Dockerfile,
        options: &Options,
        linter: Linter,
    ) -> Result<Globals, Diagnostic> {
        let expander = Expander::new(dockerfile.escape);
        let predefined = predefined(sections, options);
        // If even the defaults make no sense, what follows says so.
        if let Ok((defaults, _)) = evaluate(metas, predefined.clone(), &expander, &BTreeMap::new()) {
            lint::from::default_names(sections, &expander, &defaults, &linter);
        }
        let (mut arguments, declared) = evaluate(metas, predefined, &expander, &options.build_args)?;
        let epoch = epoch(&arguments, options)?;
        if arguments.get(EPOCH).is_some() {
            match epoch {
                Some(epoch) => arguments.set(EPOCH, epoch.to_string()),
                None => arguments.unset(EPOCH),
            }
        }
        let mut given = options.build_args.clone();
        if given.remove(EPOCH).is_some()
            && let Some(epoch) = epoch
        {
            given.insert(EPOCH.to_owned(), epoch.to_string());
        }
        let set = arguments.iter().map(|(name, _)| name.to_owned());
        let names = declared.keys().cloned().chain(set).collect();
        Ok(Globals {
            arguments,
            expander,
            epoch,
            given,
            declared,
            ignored: Ignored::new(&options.excludes),
            names,
            linter,
        })
    }

    /// The values of the ARGs before the first FROM.
    pub(crate) fn arguments(
        metas: &[Placed],
        sections: &[Section],
        expander: &Expander,
        options: &Options,
    ) -> Result<Environment, Diagnostic> {
        let evaluated = evaluate(metas, predefined(sections, options), expander, &options.build_args)?;
        Ok(evaluated.0)
    }

    /// The image and the platform of a FROM.
    pub(crate) fn from(&self, from: &From, placed: &Placed) -> Result<Start, Diagnostic> {
        let refuse = |message: String| Diagnostic::new(message).at(&placed.lines);
        let spot = self.linter.at(placed);
        let image = self.expander.expand(&from.image, &self.arguments).map_err(|error| {
            lint::from::undeclared(&error.unmatched, &self.names, &spot);
            refuse(error.to_string())
        })?;
        lint::from::undeclared(&image.unmatched, &self.names, &spot);
        if image.text.is_empty() {
            return Err(refuse(format!("base name ({}) should not be blank", from.image)));
        }
        let mut origin = Start {
            image: image.text,
            platform: None,
            used: image.matched,
        };
        if let Some(written) = &from.platform {
            let platform = self
                .expander
                .expand(written, &self.arguments)
                .map_err(|error| refuse(format!("failed to process arguments for platform {written}: {error}")))?;
            lint::from::undeclared(&platform.unmatched, &self.names, &spot);
            lint::from::redundant_platform(written, &platform, &self.arguments, &spot);
            lint::from::constant_platform(from.name.as_deref().unwrap_or_default(), &platform, &spot);
            origin.platform = Some(self.platform(written, &platform, &spot)?);
            origin.used.extend(platform.matched);
        }
        Ok(origin)
    }

    fn platform(&self, written: &str, expansion: &Expansion, spot: &Spot) -> Result<Platform, Diagnostic> {
        let refuse = |message: String| Diagnostic::new(message).at(&spot.lines);
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
        // What `--platform` has words for, FROM has not.
        if expansion.text == "local" {
            let why = "\"local\": unknown operating system or architecture: invalid argument";
            return Err(refuse(format!("failed to parse platform {written}: {why}")));
        }
        expansion
            .text
            .parse()
            .map_err(|error| refuse(suggested(format!("failed to parse platform {written}: {error}"))))
    }
}

/// The values of the ARGs `metas` on top of `arguments`, where `given` are those the user gave; and the declarations.
fn evaluate(
    metas: &[Placed],
    mut arguments: Environment,
    expander: &Expander,
    given: &BTreeMap<String, String>,
) -> Result<(Environment, BTreeMap<String, Declaration>), Diagnostic> {
    let mut declared: BTreeMap<String, Declaration> = BTreeMap::new();
    for placed in metas {
        let Command::Arg(pairs) = &placed.command else {
            continue;
        };
        for ArgPair { name, default } in pairs {
            let mut needs = BTreeSet::new();
            let value = match (given.get(name), default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => {
                    let expansion = expander
                        .expand(default, &arguments)
                        .map_err(|error| Diagnostic::new(error.to_string()).at(&placed.lines))?;
                    needs = expansion.matched;
                    Some(expansion.text)
                }
                (None, None) => None,
            };
            // An argument made of its own earlier value needs what that needed.
            if needs.remove(name)
                && let Some(earlier) = declared.get(name)
            {
                needs.extend(earlier.needs.iter().cloned());
            }
            if let Some(value) = &value {
                arguments.set(name, value);
            }
            let declaration = Declaration {
                value: value.unwrap_or_default(),
                description: outline::description(&placed.comments, name),
                lines: placed.lines.clone(),
                needs,
            };
            declared.insert(name.clone(), declaration);
        }
    }
    Ok((arguments, declared))
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

/// The time given to what the build makes: a number of seconds, or none.
fn epoch(arguments: &Environment, options: &Options) -> Result<Option<i64>, Diagnostic> {
    let given = options.build_args.get(EPOCH).map(String::as_str);
    match given.or(arguments.get(EPOCH)) {
        // A context that is a folder has no time of its own.
        None | Some("" | "context") => Ok(None),
        // What another name means has been found out before, and stands in its place.
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| Diagnostic::new(format!("invalid {EPOCH}: {text}"))),
    }
}

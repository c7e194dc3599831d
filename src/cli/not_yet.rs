//! Flags of `docker buildx build` that rbuild knows of and does not support: each is parsed, so that the words around it
//! keep their meaning, and then refused by name. Nothing is ignored but what docker itself ignores.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// What comes after a flag.
#[derive(Clone, Copy)]
enum Takes {
    Value,
    Nothing,
}

/// The name, what it takes, and what to say besides that it is not supported.
const FLAGS: &[(&str, Takes, &str)] = &[("policy", Takes::Value, YET), ("proxy-network", Takes::Nothing, YET)];
const YET: &str = "";

/// Flags that docker accepts and ignores.
const IGNORED: [&str; 3] = ["compress", "force-rm", "rm"];

/// Flags that docker accepts, ignores, and has something to say about.
const DEPRECATED: [(&str, Takes, &str); 2] = [
    (
        "security-opt",
        Takes::Value,
        "security-opt flag is deprecated. \"RUN --security=insecure\" should be used with BuildKit.",
    ),
    (
        "squash",
        Takes::Nothing,
        "experimental flag squash is removed with BuildKit. You should squash inside build using a multi-stage Dockerfile for efficiency.",
    ),
];

/// The flags of the table that were typed.
#[derive(Clone, Debug, Default)]
pub(crate) struct NotYet {
    typed: Vec<&'static str>,
    /// What there is to say of the deprecated flags that were typed.
    pub(crate) warnings: Vec<&'static str>,
}

impl NotYet {
    /// What to tell the user about the first of them.
    pub(crate) fn complaint(&self) -> Option<String> {
        let name = self.typed.first()?;
        let (_, _, reason) = FLAGS.iter().find(|(flag, ..)| flag == name)?;
        Some(match *reason {
            YET => format!("--{name} is not supported yet"),
            reason => format!("--{name} is not supported: {reason}"),
        })
    }
}

impl FromArgMatches for NotYet {
    fn from_arg_matches(matches: &ArgMatches) -> Result<NotYet, clap::Error> {
        let mut typed = Vec::new();
        for (name, ..) in FLAGS {
            if matches.value_source(name) == Some(ValueSource::CommandLine) {
                typed.push(*name);
            }
        }
        let is_typed = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
        let deprecated = DEPRECATED.iter().filter(|(name, ..)| is_typed(name));
        let warnings = deprecated.map(|(_, _, warning)| *warning).collect();
        Ok(NotYet { typed, warnings })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = NotYet::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for NotYet {
    fn augment_args(mut command: Command) -> Command {
        let hidden = |name: &'static str, takes| {
            let flag = Arg::new(name).long(name).hide(true);
            match takes {
                Takes::Value => flag.action(ArgAction::Append).allow_hyphen_values(true),
                Takes::Nothing => flag.action(ArgAction::SetTrue),
            }
        };
        for (name, takes, _) in DEPRECATED {
            command = command.arg(hidden(name, takes));
        }
        for (name, takes, _) in FLAGS {
            command = command.arg(hidden(name, *takes));
        }
        for name in IGNORED {
            command = command.arg(Arg::new(name).long(name).hide(true).action(ArgAction::SetTrue));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        NotYet::augment_args(command)
    }
}

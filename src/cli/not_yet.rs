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

/// The name, its short form, what it takes, and what to say besides that it is not supported.
const FLAGS: &[(&str, Option<char>, Takes, &str)] = &[
    ("attest", None, Takes::Value, YET),
    ("builder", None, Takes::Value, "rbuild has no builder instances"),
    ("cgroup-parent", None, Takes::Value, YET),
    ("cpu-period", None, Takes::Value, YET),
    ("cpu-quota", None, Takes::Value, YET),
    ("cpu-shares", Some('c'), Takes::Value, YET),
    ("cpuset-cpus", None, Takes::Value, YET),
    ("cpuset-mems", None, Takes::Value, YET),
    ("debug", Some('D'), Takes::Nothing, YET),
    ("isolation", None, Takes::Value, "it is for Windows containers"),
    ("memory", Some('m'), Takes::Value, YET),
    ("memory-swap", None, Takes::Value, YET),
    ("policy", None, Takes::Value, YET),
    ("resource", None, Takes::Value, YET),
    ("security-opt", None, Takes::Value, YET),
    ("squash", None, Takes::Nothing, YET),
    ("proxy-network", None, Takes::Nothing, YET),
];
const YET: &str = "";

/// Flags that docker accepts and ignores.
const IGNORED: [&str; 3] = ["compress", "force-rm", "rm"];

/// The flags of the table that were typed.
#[derive(Clone, Debug, Default)]
pub(crate) struct NotYet {
    typed: Vec<&'static str>,
}

impl NotYet {
    /// What to tell the user about the first of them.
    pub(crate) fn complaint(&self) -> Option<String> {
        let name = self.typed.first()?;
        let (_, _, _, reason) = FLAGS.iter().find(|(flag, ..)| flag == name)?;
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
        Ok(NotYet { typed })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = NotYet::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for NotYet {
    fn augment_args(mut command: Command) -> Command {
        for (name, short, takes, _) in FLAGS {
            let flag = Arg::new(*name).long(*name).hide(true);
            let mut flag = match takes {
                Takes::Value => flag.action(ArgAction::Append).allow_hyphen_values(true),
                Takes::Nothing => flag.action(ArgAction::SetTrue),
            };
            if let Some(short) = short {
                flag = flag.short(*short);
            }
            command = command.arg(flag);
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

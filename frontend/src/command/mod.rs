//! What instructions mean: their arguments in types, checked as far as that goes without knowing any variable.

mod copy;
mod csv;
mod healthcheck;
pub(crate) mod mount;
mod run;

use graph::SourceLines;
use oci::Healthcheck;

pub(crate) use copy::{Add, Chosen, Copy, Sources};
pub(crate) use run::{Network, Run, Security};

use crate::parse::{self, Flag, Flags, Form, Instruction, Kind};
use crate::quote::quote;
use crate::{Diagnostic, suggest};

/// An instruction with its place.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// What it says.
    pub(crate) command: Command,
    /// As written, for progress.
    pub(crate) code: String,
    /// Its name as written.
    pub(crate) keyword: String,
    /// The comments right above it.
    pub(crate) comments: Vec<String>,
    /// Where it stands.
    pub(crate) lines: SourceLines,
    /// Whether it is a trigger of the stage's base.
    pub(crate) is_trigger: bool,
}

/// What an instruction says.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    From(From),
    Arg(Vec<ArgPair>),
    Env(Pairs),
    Label(Pairs),
    Maintainer(String),
    Workdir(String),
    User(String),
    Expose(Vec<String>),
    Volume(Vec<String>),
    StopSignal(String),
    Shell(Vec<String>),
    Cmd(CommandLine),
    Entrypoint(CommandLine),
    Healthcheck(Healthcheck),
    Onbuild(String),
    Run(Run),
    Copy(Copy),
    Add(Add),
}

/// Where a stage begins.
#[derive(Clone, Debug)]
pub(crate) struct From {
    /// What it is based on, variables not replaced.
    pub(crate) image: String,
    /// In lower case.
    pub(crate) name: Option<String>,
    /// Variables not replaced.
    pub(crate) platform: Option<String>,
}

/// A variable of ARG.
#[derive(Clone, Debug)]
pub(crate) struct ArgPair {
    /// Its name.
    pub(crate) name: String,
    /// Its value if none is given, variables not replaced.
    pub(crate) default: Option<String>,
}

/// Names and values of ENV and LABEL, variables not replaced.
#[derive(Clone, Debug)]
pub(crate) struct Pairs {
    pub(crate) list: Vec<(String, String)>,
    /// What stands between a name and its value.
    pub(crate) separator: Separator,
}

/// What stands between a name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Separator {
    /// An equals sign.
    Equals,
    /// A blank: the old form, of a single pair.
    Blank,
}

/// A command: for the shell, or as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommandLine {
    /// For the shell.
    Shell(String),
    /// Program and arguments.
    Exec(Vec<String>),
}

impl CommandLine {
    fn new(instruction: &Instruction) -> CommandLine {
        match instruction.form {
            Form::Json => CommandLine::Exec(instruction.arguments.clone()),
            Form::Text => CommandLine::Shell(instruction.arguments.join(" ")),
        }
    }
}

/// The instructions of the language.
const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

impl Placed {
    /// The instruction's meaning, or why it has none.
    pub(crate) fn new(instruction: &Instruction) -> Result<Placed, Diagnostic> {
        let line = instruction.lines.0.start;
        let command = Command::new(instruction).map_err(|error| {
            Diagnostic {
                message: format!("dockerfile parse error on line {line}: {}", error.message),
                ..error
            }
            .at(&instruction.lines)
        })?;
        Ok(Placed {
            command,
            code: instruction.code().to_owned(),
            keyword: instruction.name.clone(),
            comments: instruction.comments.clone(),
            lines: instruction.lines.clone(),
            is_trigger: false,
        })
    }

    /// A trigger as ONBUILD left it, for the stage whose FROM stands on `lines`.
    pub(crate) fn trigger(text: &str, lines: &SourceLines) -> Result<Placed, Diagnostic> {
        let dockerfile = parse::parse(text.as_bytes())?;
        let [instruction] = &dockerfile.instructions[..] else {
            return Err(Diagnostic::new("onbuild trigger should be a single expression"));
        };
        let command = Command::new(instruction)?;
        if matches!(command, Command::From(_)) {
            return Err(Diagnostic::new("FROM isn't allowed as an ONBUILD trigger"));
        }
        Ok(Placed {
            command,
            code: instruction.code().to_owned(),
            keyword: instruction.name.clone(),
            comments: Vec::new(),
            lines: lines.clone(),
            is_trigger: true,
        })
    }
}

impl Command {
    fn new(instruction: &Instruction) -> Result<Command, Diagnostic> {
        let name = instruction.name.to_ascii_uppercase();
        match name.as_str() {
            "FROM" => from(instruction).map(Command::From),
            "ARG" => arg(instruction).map(Command::Arg),
            "ENV" => pairs(instruction, "ENV").map(Command::Env),
            "LABEL" => pairs(instruction, "LABEL").map(Command::Label),
            "MAINTAINER" => one(instruction, "MAINTAINER").map(Command::Maintainer),
            "WORKDIR" => one(instruction, "WORKDIR").map(Command::Workdir),
            "USER" => one(instruction, "USER").map(Command::User),
            "STOPSIGNAL" => one(instruction, "STOPSIGNAL").map(Command::StopSignal),
            "EXPOSE" => expose(instruction).map(Command::Expose),
            "VOLUME" => volume(instruction).map(Command::Volume),
            "SHELL" => shell(instruction).map(Command::Shell),
            "CMD" => command_line(instruction).map(Command::Cmd),
            "ENTRYPOINT" => command_line(instruction).map(Command::Entrypoint),
            "HEALTHCHECK" => healthcheck::read(instruction).map(Command::Healthcheck),
            "ONBUILD" => onbuild(instruction).map(Command::Onbuild),
            "RUN" => run::read(instruction).map(Command::Run),
            "COPY" => copy::copy(instruction).map(Command::Copy),
            "ADD" => copy::add(instruction).map(Command::Add),
            _ => {
                let message = format!("unknown instruction: {}", instruction.name);
                let message = match suggest::nearest(&name, NAMES) {
                    Some(near) if name == instruction.name => format!("{message} (did you mean {near}?)"),
                    Some(near) => format!("{message} (did you mean {}?)", near.to_ascii_lowercase()),
                    None => message,
                };
                Err(Diagnostic::new(message))
            }
        }
    }
}

fn read_flags(instruction: &Instruction, known: &[Flag]) -> Result<Flags, Diagnostic> {
    Flags::read(&instruction.flags, known)
}

fn at_least_one(name: &str) -> Diagnostic {
    Diagnostic::new(format!("{name} requires at least one argument"))
}

fn one(instruction: &Instruction, name: &str) -> Result<String, Diagnostic> {
    let [argument] = &instruction.arguments[..] else {
        return Err(Diagnostic::new(format!("{name} requires exactly one argument")));
    };
    read_flags(instruction, &[])?;
    Ok(argument.clone())
}

fn from(instruction: &Instruction) -> Result<From, Diagnostic> {
    let (image, name) = match &instruction.arguments[..] {
        [image] => (image, None),
        [image, word, name] if word.eq_ignore_ascii_case("as") => (image, Some(stage_name(name)?)),
        _ => return Err(Diagnostic::new("FROM requires either one or three arguments")),
    };
    let flags = read_flags(instruction, &[("platform", Kind::Value)])?;
    let platform = flags.value("platform").filter(|platform| !platform.is_empty());
    Ok(From {
        image: image.clone(),
        name,
        platform: platform.map(str::to_owned),
    })
}

fn stage_name(text: &str) -> Result<String, Diagnostic> {
    let name = text.to_lowercase();
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(letter) {
        return Ok(name);
    }
    let text = quote(text);
    Err(Diagnostic::new(format!(
        "invalid name for build stage: {text}, name can't start with a number or contain symbols"
    )))
}

fn arg(instruction: &Instruction) -> Result<Vec<ArgPair>, Diagnostic> {
    if instruction.arguments.is_empty() {
        return Err(at_least_one("ARG"));
    }
    let pair = |argument: &String| match argument.split_once('=') {
        Some(("", _)) => Err(Diagnostic::new("ARG names can not be blank")),
        Some((name, default)) => Ok(ArgPair {
            name: name.to_owned(),
            default: Some(default.to_owned()),
        }),
        None => Ok(ArgPair {
            name: argument.clone(),
            default: None,
        }),
    };
    instruction.arguments.iter().map(pair).collect()
}

fn pairs(instruction: &Instruction, name: &str) -> Result<Pairs, Diagnostic> {
    read_flags(instruction, &[])?;
    if instruction.arguments.is_empty() {
        return Err(at_least_one(name));
    }
    let pair = |triple: &[String]| match triple {
        [key, value, ..] if !key.is_empty() => Ok((key.clone(), value.clone())),
        _ => Err(Diagnostic::new(format!("{name} names can not be blank"))),
    };
    let is_old = instruction.arguments.get(2).is_some_and(String::is_empty);
    Ok(Pairs {
        list: instruction.arguments.chunks(3).map(pair).collect::<Result<_, _>>()?,
        separator: if is_old { Separator::Blank } else { Separator::Equals },
    })
}

fn expose(instruction: &Instruction) -> Result<Vec<String>, Diagnostic> {
    if instruction.arguments.is_empty() {
        return Err(at_least_one("EXPOSE"));
    }
    read_flags(instruction, &[])?;
    let mut ports = instruction.arguments.clone();
    ports.sort_unstable();
    Ok(ports)
}

fn volume(instruction: &Instruction) -> Result<Vec<String>, Diagnostic> {
    if instruction.arguments.is_empty() {
        return Err(at_least_one("VOLUME"));
    }
    read_flags(instruction, &[])?;
    let path = |argument: &String| match argument.trim() {
        "" => Err(Diagnostic::new("VOLUME specified can not be an empty string")),
        path => Ok(path.to_owned()),
    };
    instruction.arguments.iter().map(path).collect()
}

fn shell(instruction: &Instruction) -> Result<Vec<String>, Diagnostic> {
    read_flags(instruction, &[])?;
    if instruction.arguments.is_empty() {
        return Err(at_least_one("SHELL"));
    }
    if instruction.form == Form::Text {
        return Err(Diagnostic::new("SHELL requires the arguments to be in JSON form"));
    }
    Ok(instruction.arguments.clone())
}

fn command_line(instruction: &Instruction) -> Result<CommandLine, Diagnostic> {
    read_flags(instruction, &[])?;
    Ok(CommandLine::new(instruction))
}

fn onbuild(instruction: &Instruction) -> Result<String, Diagnostic> {
    let Some(trigger) = &instruction.trigger else {
        return Err(at_least_one("ONBUILD"));
    };
    read_flags(instruction, &[])?;
    match trigger.name.to_ascii_uppercase().as_str() {
        "ONBUILD" => {
            return Err(Diagnostic::new("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"));
        }
        name @ ("FROM" | "MAINTAINER") => {
            return Err(Diagnostic::new(format!("{name} isn't allowed as an ONBUILD trigger")));
        }
        _ => {}
    }
    let mut text = instruction.original.trim_start()["ONBUILD".len()..]
        .trim_start()
        .to_owned();
    for document in &instruction.heredocs {
        text.push('\n');
        text.push_str(&document.content);
        text.push_str(&document.name);
    }
    Ok(text)
}

//! `rbuild run`: a process on an image, isolated as a RUN step is. What it writes is thrown away.

use std::process::ExitCode;

use cache::{Snapshot, Store};
use export::Image;
use oci::{Fetch, ImageName, Platform, Reference, RunConfig};
use sandbox::{Cancel, Exit, Network, Spec, Stdio};
use solver::Reporter;

use super::find::{self, Found};
use super::{Setting, store_failed};
use crate::cli::values::Pair;
use crate::cli::{self, RunArgs};
use crate::environment::Environment;
use crate::error::{CommandError, Kind};
use crate::images::{Images, Pull};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a shell adds to the number of the signal that ended a process.
const SIGNALLED: i32 = 128;
const SIGKILL: i32 = 9;

/// Runs it and passes on its exit code.
///
/// # Errors
/// When the image is not here or the process cannot be started.
pub(crate) fn run(args: RunArgs, setting: &Setting) -> Result<ExitCode, CommandError> {
    let ours = |error: CommandError| error.of_kind(Kind::BeforeRun);
    if args.tty && !setting.environment.stdin_is_terminal {
        return Err(ours(CommandError::usage("-t: the input device is not a TTY")));
    }
    let store = setting.store().map_err(ours)?;
    store.describe(&format!("run of {}", args.name));
    let found = find::find(&store, &args.name).map_err(ours)?;
    let Some(name) = found.name.as_ref().or(found.names.first()) else {
        return Err(ours(CommandError::failed(format!("image {} has no name", args.name))));
    };
    let image = chosen(&found, args.platform.as_ref()).map_err(ours)?;
    emulate(&image.platform, setting);
    let name = name.pinned(image.manifest.digest);
    let snapshot = tree(&store, &name, &image.platform, setting).map_err(ours)?;
    let active = store
        .prepare(snapshot.as_ref())
        .map_err(|error| ours(store_failed(error)))?;
    let tree = active.mount().map_err(|error| ours(store_failed(error)))?;
    let spec = specification(tree.path(), &image.configuration.config, args, &setting.environment);
    let spec = spec.map_err(ours)?;
    let cancel = Cancel::new();
    let exit = sandbox::executor(&setting.isolation)
        .run(&spec, &mut |_, _| {}, &cancel)
        .map_err(|error| not_started(&error).under(&setting.isolation))?;
    Ok(code(exit))
}

/// The image for the platform asked for, or else for this machine.
fn chosen<'a>(found: &'a Found, asked: Option<&Platform>) -> Result<&'a Image, CommandError> {
    let image = match asked {
        Some(platform) => found.image_for(platform),
        None => found.image(),
    };
    image.ok_or_else(|| {
        let images = found.bundle.images.iter();
        let platforms: Vec<String> = images.map(|image| image.platform.to_string()).collect();
        let wanted = asked.map_or_else(|| "any platform".to_owned(), Platform::to_string);
        CommandError::failed(format!(
            "there is no image for {wanted}; there are: {}",
            platforms.join(", ")
        ))
    })
}

/// Puts an emulator to use if the image is for another processor; without one the kernel says what it cannot run.
fn emulate(platform: &Platform, setting: &Setting) {
    if platform.architecture != Platform::host().architecture {
        let architectures = [platform.architecture.clone()];
        // What came of it the kernel says better, with the program's name.
        let _ = sandbox::emulate(&architectures, &setting.isolation, setting.environment.path("PATH"));
    }
}

/// The image's files, unpacked if they are here only as blobs.
fn tree(
    store: &Store,
    name: &Reference,
    platform: &Platform,
    setting: &Setting,
) -> Result<Option<Snapshot>, CommandError> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        CommandError::failed(format!("cannot unpack {}", name.familiar())).because(error)
    };
    let reporter = Reporter::silent();
    let options = setting.registries.clone();
    let images = Images::new(store.clone(), options, Pull::Missing, reporter.clone());
    let cancel = Cancel::new();
    super::block_on(async {
        let image = images.resolve(&ImageName::Registry(name.clone()), platform).await;
        let image = image.map_err(|error| failed(&error))?;
        let step = reporter.start("unpack");
        let snapshot = solver::pull(store, &images, &image, &step, &cancel).await;
        step.done();
        snapshot.map_err(|error| failed(&error))
    })
}

/// What the image asks for, and what the command line puts in its place.
fn specification(
    root: &std::path::Path,
    image: &RunConfig,
    args: RunArgs,
    environment: &Environment,
) -> Result<Spec, CommandError> {
    let words = command(image, args.entrypoint, args.command);
    if words.is_empty() {
        return Err(
            CommandError::usage("no command specified").hint("the image has none either: name one after the image")
        );
    }
    let mut spec = Spec::new(root, words);
    spec.env = variables(image, &args.env, args.tty, environment);
    spec.user = args.user.unwrap_or_else(|| image.user.clone());
    spec.working_directory = args.workdir.unwrap_or_else(|| image.working_dir.clone());
    if !spec.working_directory.starts_with('/') {
        spec.working_directory.insert(0, '/');
    }
    spec.resources = args.resources.resources().map_err(CommandError::usage)?;
    spec.hostname = "rbuild".to_owned();
    spec.network = match args.network {
        cli::Network::Default | cli::Network::Host => Network::Host,
        cli::Network::None => Network::None,
    };
    spec.stdio = match args.tty {
        true => Stdio::Terminal,
        false => Stdio::Inherited {
            stdin: args.interactive,
        },
    };
    Ok(spec)
}

/// An entrypoint of the command line also takes the place of the image's arguments.
fn command(image: &RunConfig, entrypoint: Option<String>, typed: Vec<String>) -> Vec<String> {
    let (first, rest) = match (entrypoint, typed.is_empty()) {
        (Some(program), _) => (
            Some(program).filter(|text| !text.is_empty()).into_iter().collect(),
            typed,
        ),
        (None, true) => (
            image.entrypoint.clone().unwrap_or_default(),
            image.cmd.clone().unwrap_or_default(),
        ),
        (None, false) => (image.entrypoint.clone().unwrap_or_default(), typed),
    };
    first.into_iter().chain(rest).collect()
}

fn variables(image: &RunConfig, typed: &[Pair], tty: bool, environment: &Environment) -> Vec<String> {
    let mut lines = image.env.clone();
    if !lines.iter().any(|line| line.starts_with("PATH=")) {
        lines.insert(0, DEFAULT_PATH.to_owned());
    }
    if tty && !lines.iter().any(|line| line.starts_with("TERM=")) {
        lines.push(format!("TERM={}", environment.text("TERM").unwrap_or("xterm")));
    }
    for pair in typed {
        let value = pair.value.as_deref().or_else(|| environment.value(&pair.key));
        let prefix = format!("{}=", pair.key);
        if let Some(value) = value {
            lines.retain(|line| !line.starts_with(&prefix));
            lines.push(format!("{prefix}{value}"));
        }
    }
    lines
}

fn not_started(error: &sandbox::Error) -> CommandError {
    let failure = CommandError::failed("cannot run").because(error);
    let is_missing = |message: &str| message.contains("not found") || message.contains("no such file");
    failure.of_kind(match error {
        sandbox::Error::Program { message } if is_missing(message) => Kind::NoSuchProgram,
        sandbox::Error::Program { .. } => Kind::NotExecutable,
        sandbox::Error::Cancelled => Kind::Cancelled,
        _ => Kind::BeforeRun,
    })
}

fn code(exit: Exit) -> ExitCode {
    let number = match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => SIGNALLED + signal,
        Exit::OutOfMemory { .. } => SIGNALLED + SIGKILL,
    };
    ExitCode::from(u8::try_from(number).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(entrypoint: &[&str], cmd: &[&str]) -> RunConfig {
        let words = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect());
        RunConfig {
            entrypoint: words(entrypoint),
            cmd: words(cmd),
            env: vec!["A=1".to_owned(), "B=2".to_owned()],
            ..RunConfig::default()
        }
    }

    #[test]
    fn words_of_the_command_line_take_the_place_of_the_images() {
        let image = image(&["e", "1"], &["c"]);
        for (entrypoint, typed, run) in [
            (None, &[][..], "e 1 c"),
            (None, &["x"][..], "e 1 x"),
            (Some("p"), &[][..], "p"),
            (Some("p"), &["x"][..], "p x"),
            (Some(""), &["x"][..], "x"),
        ] {
            let typed = typed.iter().map(|&word| word.to_owned()).collect();
            let words = command(&image, entrypoint.map(str::to_owned), typed);
            assert_eq!(words.join(" "), run);
        }
    }

    #[test]
    fn variables_of_the_command_line_win() {
        let environment = Environment::of(std::path::Path::new("/"), &[("OUTSIDE", "o")]);
        let pair = |key: &str, value: Option<&str>| Pair {
            key: key.to_owned(),
            value: value.map(str::to_owned),
        };
        let typed = [pair("A", Some("3")), pair("OUTSIDE", None), pair("UNSET", None)];
        let lines = variables(&image(&[], &[]), &typed, false, &environment);
        assert_eq!(lines, [DEFAULT_PATH, "B=2", "A=3", "OUTSIDE=o"]);
    }
}

//! The commands, one file each, and what they have in common: the store, and the namespaces that its files need.

pub(crate) mod completions;
pub(crate) mod debug;
pub(crate) mod du;
mod find;
pub(crate) mod images;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod rmi;
pub(crate) mod run;
mod table;
pub(crate) mod tag;
pub(crate) mod version;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use cache::Store;
use sandbox::Isolation;

use crate::cli::{Cli, Command};
use crate::environment::Environment;
use crate::error::CommandError;
use crate::request::{self, BuildRequest};
use crate::{build, call, timeline};

/// Where a command works.
pub(crate) struct Setting {
    /// The store's directory.
    pub(crate) root: PathBuf,
    /// What was found around the program at its start.
    pub(crate) environment: Environment,
}

/// Does what was typed.
///
/// Must be called while the process has one thread: namespaces can only be entered alone.
///
/// # Errors
/// Whatever kept the command from its end.
pub(crate) fn run(cli: Cli, environment: Environment) -> Result<ExitCode, CommandError> {
    let trace = cli
        .trace
        .as_ref()
        .map(|path| timeline::record(&environment.absolute(path)));
    // Dropped last: it ends the trace also when the command fails.
    let _recording = trace.transpose()?;
    let _span = trace::span("rbuild");
    serve(cli, environment)
}

fn serve(cli: Cli, environment: Environment) -> Result<ExitCode, CommandError> {
    let root = || request::store_root(cli.root.as_deref(), &environment);
    match cli.command {
        Command::Version => version::run(),
        Command::Completions(args) => completions::run(&args),
        Command::Debug(args) => debug::run(args.command),
        Command::Build(args) => {
            let root = root()?;
            let is_debugged = args.work.debug;
            let request = {
                let _span = trace::span("read request");
                BuildRequest::resolve(*args, &environment)
            };
            let mut request = request.map_err(|error| if is_debugged { error.in_full() } else { error })?;
            if request.call.is_none() && request.needs_loader() {
                request.loader = Some(load::Loader::start(&environment)?);
            }
            if let Some(call) = request.call.take() {
                // A question runs nothing, so it is answered also where nothing can be isolated.
                let _ = sandbox::enter();
                let setting = Setting { root, environment };
                return block_on(call::run(&call, request, &setting));
            }
            let isolation = enter()?;
            let setting = Setting { root, environment };
            block_on(build::run(request, &setting, &isolation))?;
            Ok(ExitCode::SUCCESS)
        }
        other => {
            let root = root()?;
            on_the_store(other, &Setting { root, environment })
        }
    }
}

/// Commands that need the store's files.
fn on_the_store(command: Command, setting: &Setting) -> Result<ExitCode, CommandError> {
    let isolation = enter()?;
    match command {
        Command::Pull(args) => block_on(pull::run(args, setting)),
        Command::Push(args) => block_on(push::run(args, setting)),
        Command::Run(args) => run::run(args, setting, &isolation),
        Command::Tag(args) => tag::run(&args, setting),
        Command::Images(args) => images::run(&args, setting),
        Command::Inspect(args) => inspect::run(&args, setting),
        Command::Rmi(args) => rmi::run(&args, setting),
        Command::Du => du::run(setting),
        Command::Prune(args) => prune::run(&args, setting),
        Command::Build(_) | Command::Version | Command::Completions(_) | Command::Debug(_) => {
            unreachable!("served without the store's namespaces")
        }
    }
}

impl Setting {
    /// Opens the store.
    fn store(&self) -> Result<Store, CommandError> {
        let failed = |error| CommandError::failed("cannot open the store").because(&error);
        Store::open(&self.root).map_err(failed)
    }
}

/// Enters the namespaces in which the store's files can be read: an ordinary user's belong to the user's lent ids.
fn enter() -> Result<Isolation, CommandError> {
    let _span = trace::span("isolate");
    sandbox::enter().map_err(|error| CommandError::failed("cannot isolate builds here").because(&error))
}

/// Waits for `work`. Two threads wait for the network; all that computes or blocks has threads of its own, which are not
/// waited for: what they still do after a cancellation ends with the process.
fn block_on<T>(work: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CommandError::failed("cannot start threads").because(&error))?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

/// Writes an answer to standard output. A reader that has gone, as in `rbuild images | head -1`, has had enough.
pub(crate) fn answer(text: impl Display) -> Result<ExitCode, CommandError> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::failed("cannot write to standard output").because(&error))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Turns a failure of the store into one of the command.
#[expect(clippy::needless_pass_by_value, reason = "the signature `map_err` wants")]
fn store_failed(error: cache::Error) -> CommandError {
    CommandError::failed("the store failed").because(&error)
}

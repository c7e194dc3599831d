//! The commands, one file each, and what they have in common: the store, and the namespaces that its files need.

pub(crate) mod completions;
pub(crate) mod debug;
pub(crate) mod doctor;
pub(crate) mod du;
mod explain;
mod find;
pub(crate) mod fsck;
pub(crate) mod images;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod merge;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod registry;
pub(crate) mod rmi;
pub(crate) mod run;
mod table;
pub(crate) mod tag;
pub(crate) mod version;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use cache::{Limits, Ownership, Store, Views};
use sandbox::{Isolation, Wish};

use crate::cli::{Cli, Command, DebugArgs, DebugCommand, Rung, SpaceArgs};
use crate::environment::Environment;
use crate::error::CommandError;
use crate::request::{self, BuildRequest};
use crate::trust::{self, Bundle};
use crate::ui::text::{harmless_json, harmless_lines};
use crate::{build, call, reach, timeline};

/// Where a command works.
pub(crate) struct Setting {
    /// The store's directory.
    root: PathBuf,
    /// What was found around the program at its start.
    pub(crate) environment: Environment,
    /// How steps are isolated, and this process with them.
    pub(crate) isolation: Isolation,
    /// What is heeded of the disk.
    limits: Limits,
    /// How registries are reached.
    pub(crate) registries: ::registry::ClientOptions,
    store: OnceLock<Store>,
    bundle: OnceLock<Arc<Bundle>>,
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

fn serve(cli: Cli, mut environment: Environment) -> Result<ExitCode, CommandError> {
    environment.certificates = trust::file(cli.ca_file.as_deref(), &environment)?;
    let registries = match cli.command.registries() {
        Some(typed) => reach::options(&typed, &environment)?,
        None => ::registry::ClientOptions::default(),
    };
    let root = || request::store_root(cli.root.as_deref(), &environment);
    let wish = wish(cli.command.isolation(), &environment)?;
    match cli.command {
        Command::Version => version::run(),
        Command::Completions(args) => completions::run(&args),
        Command::Debug(DebugArgs {
            command: DebugCommand::Fsck { repair },
        }) => {
            let root = root()?;
            fsck::run(
                repair,
                &Setting::new(root, environment, enter(wish)?, Limits::default()),
            )
        }
        Command::Debug(args) => debug::run(args.command),
        Command::Registry(args) => block_on(registry::run(args.command, &registries)),
        Command::Doctor(args) => doctor::run(&args, &root()?, &environment, wish),
        Command::Build(args) => {
            let root = root()?;
            let limits = request::limits(&args.space, &environment)?;
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
                let isolation = sandbox::enter(wish).unwrap_or(Isolation::Root);
                let setting = Setting::new(root, environment, isolation, limits).reaching(registries);
                return block_on(call::run(&call, request, &setting));
            }
            let mut registries = registries;
            registries.insecure.extend(request.insecure.iter().cloned());
            let setting = Setting::new(root, environment, enter(wish)?, limits).reaching(registries);
            block_on(build::run(request, &setting))?;
            Ok(ExitCode::SUCCESS)
        }
        other => {
            let (root, limits) = (root()?, request::limits(&SpaceArgs::default(), &environment)?);
            let setting = Setting::new(root, environment, enter(wish)?, limits).reaching(registries);
            on_the_store(other, &setting)
        }
    }
}

/// Commands that need the store's files.
fn on_the_store(command: Command, setting: &Setting) -> Result<ExitCode, CommandError> {
    match command {
        Command::Pull(args) => block_on(pull::run(args, setting)),
        Command::Push(args) => block_on(push::run(args, setting)),
        Command::Merge(args) => block_on(merge::run(args, setting)),
        Command::Run(args) => run::run(*args, setting),
        Command::Tag(args) => tag::run(&args, setting),
        Command::Images(args) => images::run(&args, setting),
        Command::Inspect(args) => inspect::run(&args, setting),
        Command::Rmi(args) => rmi::run(&args, setting),
        Command::Du(args) => du::run(&args, setting),
        Command::Prune(args) => prune::run(&args, setting),
        Command::Build(_)
        | Command::Version
        | Command::Completions(_)
        | Command::Doctor(_)
        | Command::Registry(_)
        | Command::Debug(_) => {
            unreachable!("served without the store's namespaces")
        }
    }
}

impl Setting {
    fn new(root: PathBuf, environment: Environment, isolation: Isolation, limits: Limits) -> Setting {
        let store = OnceLock::new();
        Setting {
            root,
            environment,
            isolation,
            limits,
            registries: ::registry::ClientOptions::default(),
            store,
            bundle: OnceLock::new(),
        }
    }

    /// What programs are to trust, if that is more than the system does. Made once.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn bundle(&self, store: &Store) -> Result<Option<Arc<Bundle>>, CommandError> {
        let Some(file) = &self.environment.certificates else {
            return Ok(None);
        };
        if self.bundle.get().is_none() {
            let made = Bundle::make(store, file, &self.environment)?;
            let _ = self.bundle.set(Arc::new(made));
        }
        Ok(self.bundle.get().cloned())
    }

    /// The store's directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What is heeded of the disk.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// The programs that are asked for credentials.
    pub(crate) fn helpers(&self) -> &::registry::Helpers {
        &self.registries.helpers
    }

    /// The same, with registries reached in that way.
    fn reaching(self, registries: ::registry::ClientOptions) -> Setting {
        Setting { registries, ..self }
    }

    /// The store, opened once: what was found in it stays to the end of the command.
    pub(crate) fn open_store(&self) -> Result<Store, cache::Error> {
        if let Some(store) = self.store.get() {
            return Ok(store.clone());
        }
        let store = open(&self.root, &self.isolation)?;
        store.limit(self.limits);
        Ok(self.store.get_or_init(|| store).clone())
    }

    fn store(&self) -> Result<Store, CommandError> {
        let failed = |error| CommandError::failed("cannot open the store").because(&error);
        self.open_store().map_err(failed)
    }
}

/// Opens the store as this process can use it. Without other ids no file can be given to another: then it is recorded whose
/// it should be. Without mounts trees are copied.
fn open(root: &Path, isolation: &Isolation) -> Result<Store, cache::Error> {
    let ownership = match isolation.has_single_id() {
        true => Ownership::Recorded,
        false => Ownership::Kept,
    };
    let views = match (isolation.is_plain(), ownership) {
        (true, _) => Views::Copied,
        (false, Ownership::Kept) => Views::fitting(root),
        // There, copies would not be what they are of.
        (false, Ownership::Recorded) => Views::Mounted,
    };
    let store = Store::open_viewing(root, ownership, views)?;
    if store.is_heir() {
        sandbox::remove_groups_of_the_dead();
    }
    Ok(store)
}

/// How steps are to be isolated: as typed, or as the environment says.
fn wish(typed: Option<Rung>, environment: &Environment) -> Result<Wish, CommandError> {
    let rung = match (typed, environment.text("RBUILD_ISOLATION")) {
        (Some(rung), _) => rung,
        (None, None) => Rung::Auto,
        (None, Some(text)) => <Rung as clap::ValueEnum>::from_str(text, false).map_err(|_| {
            CommandError::usage(format!(
                "invalid RBUILD_ISOLATION `{text}`: expected auto, namespaces or plain"
            ))
        })?,
    };
    Ok(match rung {
        Rung::Auto => Wish::Best,
        Rung::Namespaces => Wish::Namespaces,
        Rung::Plain => Wish::Plain,
    })
}

/// Enters the namespaces in which the store's files can be read: an ordinary user's belong to the user's lent ids.
fn enter(wish: Wish) -> Result<Isolation, CommandError> {
    let _span = trace::span("isolate");
    sandbox::enter(wish).map_err(|error| CommandError::failed("cannot isolate builds here").because(&error))
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

/// Writes an answer to standard output, made harmless. A reader that has gone, as in `rbuild images | head -1`, has had
/// enough.
pub(crate) fn answer(text: impl Display) -> Result<ExitCode, CommandError> {
    let text = harmless_lines(&text.to_string());
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::failed("cannot write to standard output").because(&error))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The same for an answer that programs read.
fn answer_document(value: &serde_json::Value) -> Result<ExitCode, CommandError> {
    answer(harmless_json(&format!("{value:#}\n")))
}

/// Turns a failure of the store into one of the command.
#[expect(clippy::needless_pass_by_value, reason = "the signature `map_err` wants")]
fn store_failed(error: cache::Error) -> CommandError {
    CommandError::failed("the store failed").because(&error)
}

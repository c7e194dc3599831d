//! What is meant by what was typed: arguments and environment resolved into one request, everything checked that can be
//! checked before work begins.
//!
//! Reads the Dockerfile and the ignore files, which are small; nothing else is opened. Whatever rbuild cannot do is
//! refused here by name.

mod attestations;
mod caches;
mod contexts;
mod dockerfile;
mod outputs;
mod proxies;
mod secrets;
pub(crate) mod small_file;
mod ssh;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache::{Amount, Limits};
use clap::ValueEnum as _;
use export::OutputSpec;
use export::records::{CachePlace, CacheTo};
use frontend::{NoCache, Options};
use graph::NetworkMode;
use oci::{Platform, Reference};
use solver::{Agent, Secret};

pub(crate) use self::outputs::annotations;
use crate::ci::Service;
use crate::cli::values::{self, ExtraHost, Pair};
use crate::cli::{self, BuildArgs, Call, Network, NotYet, SpaceArgs, TransferArgs, WorkArgs};
use crate::commands::load::Loader;
use crate::elsewhere::{ContextPlace, Elsewhere};
use crate::environment::Environment;
use crate::error::CommandError;
use crate::interrupt::{self, TimeLimits};
use crate::remotes::Heard;
use crate::ui::{Colours, Mode, Screen};

pub(crate) use dockerfile::DockerfileText;

/// Lines of a running process that a moving picture shows.
const LOG_LINES: usize = 6;

/// A build as the user wants it.
#[derive(Debug)]
pub(crate) struct BuildRequest {
    /// The Dockerfile, read.
    pub(crate) dockerfile: DockerfileText,
    /// What `-f` says, if anything.
    pub(crate) typed_file: Option<String>,
    /// What has to be fetched before the request can be planned.
    pub(crate) elsewhere: Elsewhere,
    /// What servers and repositories have said so far.
    pub(crate) heard: Heard,
    /// Folders by context name, absolute; `context` is the main one.
    pub(crate) contexts: HashMap<String, PathBuf>,
    /// What only processes that ask for it get to see.
    pub(crate) secrets: HashMap<String, Secret>,
    /// What signs for processes that ask for it.
    pub(crate) agents: HashMap<String, Agent>,
    /// What the frontend is asked.
    pub(crate) options: Options,
    /// Where the result goes, names filled in; never empty.
    pub(crate) outputs: Vec<OutputSpec>,
    /// Where results of steps may be found.
    pub(crate) cache_from: Vec<CachePlace>,
    /// Hosts of registries that need not show who they are.
    pub(crate) insecure: Vec<String>,
    /// Where results of steps are kept.
    pub(crate) cache_to: Vec<CacheTo>,
    /// How long is waited for those places.
    pub(crate) cache_budget: Option<Duration>,
    /// The file with rules about sources.
    pub(crate) policy: Option<PathBuf>,
    /// Whether base images are looked up again.
    pub(crate) pull: bool,
    /// How many steps may run at the same time; `None` is as many as can.
    pub(crate) parallelism: Option<NonZeroUsize>,
    /// How bytes move between us and registries.
    pub(crate) transfers: TransferArgs,
    /// Whether registries are asked before the first RUN if they may be pushed to.
    pub(crate) push_probe: bool,
    /// How long things may take.
    pub(crate) limits: TimeLimits,
    /// How much of the machine each process may take.
    pub(crate) resources: sandbox::Resources,
    /// How progress is shown.
    pub(crate) progress: Mode,
    /// What there is to say about flags and variables.
    pub(crate) warnings: Vec<String>,
    /// Whether a failure is told with all that is known.
    pub(crate) debug: bool,
    /// Whether the image's id is all that is printed.
    pub(crate) quiet: bool,
    /// Where the image's id is written.
    pub(crate) iidfile: Option<PathBuf>,
    /// Where the digest of the manifest or index is written.
    pub(crate) digest_file: Option<PathBuf>,
    /// The service whose job this is, if it is one of a pipeline.
    pub(crate) service: Option<Service>,
    /// A file of certificates that are trusted besides the system's.
    pub(crate) certificates: Option<PathBuf>,
    /// Where what is known of the result is written.
    pub(crate) metadata_file: Option<PathBuf>,
    /// Where the Dockerfile was found, as the user would write it.
    pub(crate) dockerfile_path: String,
    /// What is asked instead of a build.
    pub(crate) call: Option<Call>,
    /// Waits to load the image, once it is started for an output that asks for that.
    pub(crate) loader: Option<Loader>,
}

impl BuildRequest {
    /// Understands what was typed.
    ///
    /// # Errors
    /// What cannot be followed, with its flag or file.
    pub(crate) fn resolve(args: BuildArgs, environment: &Environment) -> Result<BuildRequest, CommandError> {
        refuse_unsupported(&args)?;
        let file = args.input.file.as_deref().filter(|path| !path.as_os_str().is_empty());
        let main = contexts::main(&args.context, environment)?;
        let mut elsewhere = Elsewhere {
            dockerfile: dockerfile::place(file, matches!(main, contexts::Main::Folder(_))),
            context: None,
        };
        let mut folders = HashMap::new();
        let mut options = options(&args, environment)?;
        attestations::refuse_arguments(&options.build_args)?;
        let dockerfile = match main {
            contexts::Main::Folder(context) => {
                let dockerfile = match elsewhere.dockerfile {
                    None => dockerfile::read(file, &context, environment)?,
                    Some(_) => DockerfileText::unnamed(Vec::new()),
                };
                options.excludes = contexts::excludes(dockerfile.ignore_file.as_deref(), &context)?;
                folders.insert("context".to_owned(), context);
                dockerfile
            }
            contexts::Main::Elsewhere(place) => {
                let from_stdin = file == Some(Path::new("-"));
                if from_stdin && place == ContextPlace::Stdin {
                    let message = "invalid argument: can't use stdin for both build context and dockerfile";
                    return Err(CommandError::usage(message));
                }
                elsewhere.context = Some(place);
                match from_stdin {
                    true => dockerfile::from_stdin(environment)?,
                    false => DockerfileText::unnamed(Vec::new()),
                }
            }
        };
        options.contexts = contexts::named(&args.input.build_context, environment, &mut folders)?;
        let may_delete = args.run.allow.iter().any(|right| right == "buildx.local.delete");
        let tags = outputs::tags(&args.output.tag)?;
        let outputs = outputs::resolve(&args.output, &tags, may_delete, environment)?;
        outputs::refuse_several(&outputs, &options.platforms)?;
        refuse_ids_of_nothing(&args, &outputs)?;
        let service = Service::detect(args.work.ci, environment);
        let progress = progress(&args.work, service, environment)?;
        Ok(BuildRequest {
            insecure: insecure(&args, &outputs),
            cache_from: caches::from(&args.input.cache_from, environment)?,
            cache_to: caches::to(&args.output.cache_to, &options.build_args, environment)?,
            cache_budget: caches::budget(args.work.cache_budget, environment)?,
            loader: None,
            dockerfile_path: dockerfile_path(args.input.file.as_deref(), &args.context, &dockerfile),
            typed_file: file.map(|path| path.display().to_string()),
            elsewhere,
            heard: Heard::default(),
            call: args.call.into_call(),
            dockerfile,
            contexts: folders,
            secrets: secrets::resolve(&args.run.secret, environment)?,
            agents: ssh::resolve(&args.run.ssh, environment)?,
            options,
            outputs,
            policy: policy(args.input.source_policy_file, environment),
            pull: args.input.pull,
            parallelism: args
                .work
                .max_parallelism
                .and_then(|number| NonZeroUsize::new(number as usize)),
            transfers: args.transfers,
            push_probe: !args.output.no_push_probe,
            limits: time_limits(&args.work),
            resources: args.resources.resources().map_err(CommandError::usage)?,
            progress,
            warnings: warnings(&args.not_yet, environment),
            debug: args.work.debug,
            quiet: args.work.quiet,
            iidfile: args.output.iidfile.map(|path| environment.absolute(&path)),
            digest_file: args.output.digest_file.map(|path| environment.absolute(&path)),
            service,
            certificates: environment.certificates.clone(),
            metadata_file: args.output.metadata_file.map(|path| environment.absolute(&path)),
        })
    }

    /// Whether an output is for the docker or podman of this machine.
    pub(crate) fn needs_loader(&self) -> bool {
        self.outputs.iter().any(outputs::is_load)
    }
}

/// Whoever asks for an image's ID or digest has to have an image.
fn refuse_ids_of_nothing(args: &BuildArgs, outputs: &[OutputSpec]) -> Result<(), CommandError> {
    let has_id = outputs.iter().any(|output| output.options().is_some());
    if args.work.quiet && has_id && outputs.iter().any(OutputSpec::writes_stdout) {
        let message = "--quiet prints the image's ID to standard output, which is taken by an output";
        return Err(CommandError::usage(message));
    }
    if args.output.iidfile.is_some() && outputs.iter().all(|output| output.options().is_none()) {
        let message = "failed to build: local and tar exporters are incompatible with image ID file";
        return Err(CommandError::usage(message));
    }
    if args.output.digest_file.is_some() && outputs.iter().all(|output| output.options().is_none()) {
        return Err(CommandError::usage("--digest-file needs an output that is an image"));
    }
    Ok(())
}

fn time_limits(typed: &WorkArgs) -> TimeLimits {
    TimeLimits {
        whole: typed.timeout,
        step: typed.step_timeout,
        grace: typed.grace.unwrap_or(interrupt::GRACE),
    }
}

/// The hosts of what is marked by `registry.insecure=true`.
fn insecure(args: &BuildArgs, outputs: &[OutputSpec]) -> Vec<String> {
    let places = args.input.cache_from.iter().chain(&args.output.cache_to);
    let marked = places.filter(|text| export::records::is_insecure(text));
    let references = marked.filter_map(|text| text.split(',').find_map(|field| field.trim().strip_prefix("ref=")));
    let of_caches = references.filter_map(|text| text.parse::<Reference>().ok());
    let of_outputs = outputs.iter().flat_map(|output| match output {
        OutputSpec::Image {
            options,
            insecure: true,
            ..
        } => &options.names[..],
        _ => &[],
    });
    let names = of_caches.chain(of_outputs.cloned());
    names.map(|name| name.host().to_owned()).collect()
}

/// How progress is shown: as typed, or as the environment says, or as suits the log of a pipeline.
fn progress(typed: &WorkArgs, service: Option<Service>, environment: &Environment) -> Result<Mode, CommandError> {
    match (typed.quiet, typed.progress) {
        (true, Mode::Auto | Mode::Quiet) => Ok(Mode::Quiet),
        (true, other) => {
            let name = other.to_possible_value().map(|value| value.get_name().to_owned());
            let name = name.unwrap_or_default();
            Err(CommandError::usage(format!(
                "progress={name} and quiet cannot be used together"
            )))
        }
        (false, typed) => {
            let mode = cli::progress_mode(typed, environment.text("BUILDKIT_PROGRESS"));
            Ok(match (mode, service) {
                (Mode::Auto, Some(service)) => Mode::Grouped(service),
                (mode, _) => mode,
            })
        }
    }
}

/// The file with rules about sources: as typed, or where docker's variable for it says.
fn policy(typed: Option<PathBuf>, environment: &Environment) -> Option<PathBuf> {
    let variable = environment
        .path("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY")
        .map(PathBuf::from);
    let path = typed.or(variable).filter(|path| !path.as_os_str().is_empty());
    path.map(|path| environment.absolute(&path))
}

/// Where everything is kept: as asked, or the place for this kind of user.
///
/// # Errors
/// When nothing says where this user's files are.
pub(crate) fn store_root(asked: Option<&Path>, environment: &Environment) -> Result<PathBuf, CommandError> {
    let named = environment.path("RBUILD_ROOT").map(Path::new);
    if let Some(root) = asked.filter(|root| !root.as_os_str().is_empty()).or(named) {
        return Ok(environment.absolute(root));
    }
    if environment.uid == 0 {
        return Ok(PathBuf::from("/var/lib/rbuild"));
    }
    if let Some(data) = environment
        .path("XDG_DATA_HOME")
        .map(Path::new)
        .filter(|path| path.is_absolute())
    {
        return Ok(data.join("rbuild"));
    }
    match environment.path("HOME") {
        Some(home) => Ok(environment.absolute(Path::new(home)).join(".local/share/rbuild")),
        None => Err(
            CommandError::usage("HOME is not set, so there is no place for images and the cache")
                .hint("name one with --root DIR"),
        ),
    }
}

/// What is heeded of the disk: as typed, or as the environment says.
///
/// # Errors
/// When a variable is no size.
pub(crate) fn limits(typed: &SpaceArgs, environment: &Environment) -> Result<Limits, CommandError> {
    let amount = |typed: Option<Amount>, name: &str| match (typed, environment.text(name)) {
        (None, Some(text)) => {
            let parsed = values::amount(text);
            parsed
                .map(Some)
                .map_err(|why| CommandError::usage(format!("invalid value {text:?} for {name}: {why}")))
        }
        (typed, _) => Ok(typed),
    };
    Ok(Limits {
        max_used: amount(typed.keep_storage, "RBUILD_KEEP_STORAGE")?,
        min_free: amount(typed.min_free_space, "RBUILD_MIN_FREE_SPACE")?,
        reserved: amount(typed.reserved_space, "RBUILD_RESERVED_SPACE")?,
    })
}

/// How the terminal wants to be treated.
pub(crate) fn screen(environment: &Environment) -> Screen {
    let lines = environment
        .text("BUILDKIT_TTY_LOG_LINES")
        .and_then(|text| text.parse().ok());
    Screen {
        is_terminal: environment.stderr_is_terminal && environment.text("TERM") != Some("dumb"),
        colours: environment
            .path("NO_COLOR")
            .is_none()
            .then(|| Colours::parse(colours_text(environment)).0),
        log_lines: lines.unwrap_or(LOG_LINES),
    }
}

/// As typed, or in the context as typed.
fn dockerfile_path(typed: Option<&Path>, context: &OsStr, dockerfile: &DockerfileText) -> String {
    let context = Path::new(context);
    match typed {
        None if context != Path::new(".") && context.is_dir() => context.join(&dockerfile.name).display().to_string(),
        _ => dockerfile.name.clone(),
    }
}

fn colours_text(environment: &Environment) -> &str {
    environment.text("BUILDKIT_COLORS").unwrap_or_default()
}

fn warnings(typed: &NotYet, environment: &Environment) -> Vec<String> {
    let (_, unknown) = Colours::parse(colours_text(environment));
    let of_colours = unknown
        .into_iter()
        .map(|field| format!("BUILDKIT_COLORS has no meaning for `{field}`"));
    typed
        .warnings
        .iter()
        .map(|&text| text.to_owned())
        .chain(of_colours)
        .collect()
}

fn refuse_unsupported(args: &BuildArgs) -> Result<(), CommandError> {
    if let Some(complaint) = args.not_yet.complaint() {
        return Err(CommandError::usage(complaint));
    }
    attestations::refuse(&args.output)?;
    match args.work.builder.as_deref() {
        None | Some("" | "default") => {}
        Some(name) => {
            return Err(CommandError::usage(format!("no builder {name:?} found"))
                .hint("rbuild has no builder instances: it builds here, at once; leave --builder out"));
        }
    }
    if args.work.no_cache && !args.work.no_cache_filter.is_empty() {
        let message = "failed to build: --no-cache and --no-cache-filter cannot currently be used together";
        return Err(CommandError::usage(message));
    }
    for right in &args.run.allow {
        match right.as_str() {
            "network.host" | "security.insecure" | "buildx.local.delete" => {}
            "device" => {
                return Err(CommandError::usage(format!("--allow {right} is not supported yet")));
            }
            _ => {
                return Err(CommandError::usage(format!("invalid entitlement {right:?}"))
                    .hint("there are: network.host, security.insecure, buildx.local.delete"));
            }
        }
    }
    Ok(())
}

fn options(args: &BuildArgs, environment: &Environment) -> Result<Options, CommandError> {
    let mut build_args = build_args(&args.input.build_arg, environment);
    proxies::fill_in(&mut build_args, environment)?;
    let network = match args.run.network {
        Network::Default => None,
        Network::None => Some(NetworkMode::None),
        Network::Host => Some(NetworkMode::Host),
    };
    let no_cache = match (args.work.no_cache, args.work.no_cache_filter.is_empty()) {
        (true, _) => NoCache::All,
        (false, true) => NoCache::No,
        (false, false) => NoCache::Stages(args.work.no_cache_filter.clone()),
    };
    let labels = args.input.label.iter().cloned();
    let pair_of = |host: &ExtraHost| (host.name.clone(), host.address.clone());
    Ok(Options {
        target: args.input.target.clone().filter(|target| !target.is_empty()),
        labels: labels.map(|pair| (pair.key, pair.value.unwrap_or_default())).collect(),
        platforms: platforms(&args.input.platform, environment)?,
        no_cache,
        network,
        allow_network_host: network == Some(NetworkMode::Host)
            || args.run.allow.iter().any(|right| right == "network.host"),
        allow_security_insecure: args.run.allow.iter().any(|right| right == "security.insecure"),
        extra_hosts: args.run.add_host.iter().map(pair_of).collect(),
        shm_size: args.run.shm_size.filter(|size| *size > 0),
        ulimits: args.run.ulimit.clone(),
        build_args,
        ..Options::new(Platform::host())
    })
}

/// Values for ARG: as typed, or from the environment; a name that has no value there is left out. The environment's
/// `SOURCE_DATE_EPOCH` counts as typed.
fn build_args(typed: &[Pair], environment: &Environment) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    if let Some(epoch) = environment.text("SOURCE_DATE_EPOCH") {
        values.insert("SOURCE_DATE_EPOCH".to_owned(), epoch.to_owned());
    }
    for pair in typed {
        let value = pair.value.as_deref().or_else(|| environment.value(&pair.key));
        if let Some(value) = value {
            values.insert(pair.key.clone(), value.to_owned());
        }
    }
    values
}

fn platforms(typed: &[String], environment: &Environment) -> Result<Vec<Platform>, CommandError> {
    let named: Vec<&str> = match typed {
        [] => environment.text("DOCKER_DEFAULT_PLATFORM").into_iter().collect(),
        some => some.iter().map(String::as_str).collect(),
    };
    let words = named.iter().flat_map(|text| text.split(','));
    let parse = |text: &str| {
        text.parse()
            .map_err(|error| CommandError::usage("failed to parse platform").because(&error))
    };
    words.map(parse).collect()
}

#[cfg(test)]
mod tests;

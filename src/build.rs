//! The straight line: from a request to an image where the user asked for it. Design §1 in code.

use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use cache::Store;
use frontend::{Findings, Plan, PlannedImage, Warning};
use sandbox::Cancel;
use solver::{Failure, Import, Reporter, ResultTree, Session, Solver};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::absent::Absent;
use crate::ahead::Ahead;
use crate::caches::{Budget, Harvest, Imports, Shelves};
use crate::ci::{self, Service};
use crate::commands::Setting;
use crate::deliver::{self, Built, Delivery, Made};
use crate::elsewhere;
use crate::emulation;
use crate::error::CommandError;
use crate::images::{Images, Pull};
use crate::interrupt::{self, Signals, Stop};
use crate::permission::Permission;
use crate::policy::Policy;
use crate::remotes::Remotes;
use crate::request::{self, BuildRequest};
use crate::ui::{self, Ended, Mode};

/// Builds what `request` asks for, showing progress; at the end says what came out.
///
/// # Errors
/// The first thing that failed, with the user's own lines and the next step.
pub(crate) async fn run(request: BuildRequest, setting: &Setting) -> Result<(), CommandError> {
    if !request.quiet {
        ui::warn(&request.warnings);
    }
    let is_introduced = matches!(request.progress, Mode::Grouped(_) | Mode::Plain);
    let heading = match request.service.filter(|_| is_introduced) {
        Some(service) => {
            ci::introduce(service, &request, setting);
            String::new()
        }
        None => format!(
            "building with rbuild {}: {}",
            env!("CARGO_PKG_VERSION"),
            setting.isolation
        ),
    };
    let (reporter, progress) = ui::start(request.progress, &request::screen(&setting.environment), &heading);
    let (cancel, mut signals) = (Cancel::new(), Signals::watch(request.limits, setting.helpers())?);
    let (is_debug, service) = (request.debug, request.service);
    let completing = elsewhere::complete(request, setting, &reporter, &cancel);
    let request = match signals.cancelling(&cancel, completing).await {
        Ok(request) => Arc::new(request),
        Err(error) => {
            let ended = progress.finish();
            let error = naming(error, signals.stopped(), &ended.stopped);
            let error = if is_debug { error.in_full() } else { error };
            return Err(match service {
                Some(service) => error.disarmed(service),
                None => error,
            });
        }
    };
    let (findings, finished) = (Findings::new(), OnceLock::new());
    let work = build(&request, setting, (&reporter, &cancel), &findings, &finished);
    let built = signals.cancelling(&cancel, work).await;
    if let (Some(Stop::Terminated), Some(harvest)) = (signals.stopped(), finished.get())
        && built.is_err()
    {
        bring_away(&request, harvest, &mut signals, &reporter).await;
    }
    let ended = progress.finish();
    ui::tell_warnings(request.progress, &findings.warnings());
    let built = match built {
        Ok(made) => deliver::tell(&request, &made).map(|()| made),
        Err(error) => {
            let report = ui::report(&ended.failed, &request.dockerfile.name, &request.dockerfile.text);
            // A failure before the first step has brought its own.
            let error = if report.is_empty() { error } else { error.report(report) };
            let error = naming(error, signals.stopped(), &ended.stopped).under(&setting.isolation);
            Err(if request.debug { error.in_full() } else { error })
        }
    };
    match request.service {
        Some(service) => tell_service(service, (&request, setting), built, (&ended, &findings.warnings())),
        None => built.map(|_| ()),
    }
}

/// Tells the service of a pipeline what it wants to know of the end.
fn tell_service(
    service: Service,
    (request, setting): (&BuildRequest, &Setting),
    built: Result<Made, CommandError>,
    (ended, warnings): (&Ended, &[Warning]),
) -> Result<(), CommandError> {
    let line_of_step = || Some(ended.failed.first()?.failure.lines.as_ref()?.0.start);
    let failure = built.as_ref().err();
    let failure = failure.map(|error| (error.message(), error.line().or_else(line_of_step)));
    ci::mark(service, (request, &setting.environment), failure, warnings);
    let report = ci::Report {
        made: built.as_ref().ok(),
        failure: failure.map(|(message, _)| message),
        ended,
        warnings,
    };
    let told = ci::tell(&report, &setting.environment);
    match built {
        Ok(_) => told,
        Err(error) => Err(error.disarmed(service)),
    }
}

/// The steps that were under way when the time was over, said with the failure.
fn naming(error: CommandError, stopped: Option<Stop>, steps: &[String]) -> CommandError {
    match (stopped, steps) {
        (Some(Stop::TimedOut(_)), [first, rest @ ..]) => {
            let others = match rest.len() {
                0 => String::new(),
                count => format!(" and {count} more"),
            };
            error.hint(format_args!("it was at `{first}`{others}"))
        }
        _ => error,
    }
}

/// Keeps the results of finished steps elsewhere although the build was stopped, as far as there is time.
async fn bring_away(request: &BuildRequest, harvest: &Harvest, signals: &mut Signals, reporter: &Reporter) {
    if request.cache_to.is_empty() || harvest.results.is_empty() {
        return;
    }
    let harvest = harvest.in_spite_of_stop();
    // What fails is shown as a failed step; there is nobody to tell more.
    let _ = signals.in_grace(harvest.keep_all(&request.cache_to, reporter)).await;
}

async fn build(
    request: &Arc<BuildRequest>,
    setting: &Setting,
    (reporter, cancel): (&Reporter, &Cancel),
    findings: &Findings,
    finished: &OnceLock<Arc<Harvest>>,
) -> Result<Made, CommandError> {
    let store = setting
        .open_store()
        .map_err(|error| CommandError::failed("failed to build").because(&error))?;
    store.describe(&about(request));
    let _settling = store.settle();
    let images = images(request, setting, &store, reporter)?;
    let permission = Permission::ask(request, &images, reporter, cancel);
    let built = build_with(
        request,
        setting,
        (&store, images, &permission),
        (reporter, cancel),
        (findings, finished),
    );
    // What failed after a refusal failed because of it.
    let refusal = || permission.as_ref().and_then(Permission::refusal);
    built.await.map_err(|error| refusal().unwrap_or(error))
}

async fn build_with(
    request: &Arc<BuildRequest>,
    setting: &Setting,
    (store, images, permission): (&Store, Arc<Images>, &Option<Permission>),
    (reporter, cancel): (&Reporter, &Cancel),
    (findings, finished): (&Findings, &OnceLock<Arc<Harvest>>),
) -> Result<Made, CommandError> {
    let shelves = Arc::new(shelves(request, &images, store));
    let imports = imports(request, &shelves, reporter, cancel);
    let mut plan = plan(request, &images, (reporter, cancel), findings).await?;
    let session = Session {
        contexts: request.contexts.clone(),
        secrets: request.secrets.clone(),
        agents: request.agents.clone(),
    };
    let bundle = setting.bundle(store)?;
    let remotes = Remotes::new(
        store.clone(),
        session.clone(),
        cancel.clone(),
        &setting.environment,
        request.heard.clone(),
    )
    .trusting(bundle.clone())
    .under(policy(request)?);
    let spines = plan.definition.spines();
    let ahead = Ahead::start(request, plan.epoch, store, (&images, permission.as_ref()), cancel);
    let solver = Solver {
        build: name_of_build(),
        store: store.clone(),
        images: images.clone(),
        executor: sandbox::executor(&setting.isolation),
        remotes: Arc::new(remotes),
        session,
        reporter: reporter.clone(),
        cancel: cancel.clone(),
        imports,
        leave: Absent::of(request, (store, &images), (reporter, cancel)),
        resources: request.resources.clone(),
        step_timeout: request.limits.step,
        certificates: bundle.as_ref().map(|bundle| bundle.path().to_owned()),
        max_parallelism: request.parallelism.map(std::num::NonZeroUsize::get),
        finished: ahead.as_ref().map(|ahead| ahead.told(&spines)),
        before_run: permission.as_ref().map(Permission::before_run),
    };
    let search = setting.environment.path("PATH");
    emulation::prepare(&mut plan.definition, &setting.isolation, search, reporter);
    let attempt = solver.attempt(plan.definition).await;
    let harvest = Arc::new(Harvest {
        results: attempt.results,
        spines,
        store: store.clone(),
        images: images.clone(),
        shelves,
        budget: request.cache_budget,
        cancel: cancel.clone(),
    });
    let harvest = finished.get_or_init(|| harvest);
    let trees = attempt.targets.map_err(|error| build_failed(&error))?;
    let result = Delivery {
        request: request.clone(),
        harvest: harvest.clone(),
        store: store.clone(),
        results: built(plan.images, trees),
        multi_platform: plan.multi_platform,
        epoch: plan.epoch,
        images,
        cancel: cancel.clone(),
        lead: ahead.as_ref().and_then(Ahead::lead),
    };
    if let Some(permission) = permission
        && !permission.is_granted().await
    {
        return Err(CommandError::cancelled());
    }
    let image = result.all(reporter).await?;
    let cache = harvest.keep_all(&request.cache_to, reporter).await?;
    ahead.into_iter().for_each(Ahead::finish);
    // What is too much now the next build would find to be so, too.
    let _ = store.keep_within_limits();
    Ok(Made { image, cache })
}

/// What other processes on the store are told of this one.
fn about(request: &BuildRequest) -> String {
    let context = request.contexts.get("context");
    context.map_or_else(
        || "build".to_owned(),
        |context| format!("build of {}", context.display()),
    )
}

/// Where images come from, for this request.
pub(crate) fn images(
    request: &BuildRequest,
    setting: &Setting,
    store: &Store,
    reporter: &Reporter,
) -> Result<Arc<Images>, CommandError> {
    let pull = if request.pull { Pull::Always } else { Pull::Missing };
    let options = request.transfers.applied_to(setting.registries.clone());
    let images = Images::new(store.clone(), options, pull, reporter.clone());
    let images = images.naming_platforms(request.options.platforms.len() > 1);
    Ok(Arc::new(images.under(policy(request)?)))
}

/// The rules of the policy file, if there is one.
pub(crate) fn policy(request: &BuildRequest) -> Result<Option<Policy>, CommandError> {
    let read = |path: &std::path::PathBuf| Policy::read(path).map_err(|error| CommandError::usage(error.to_string()));
    request.policy.as_ref().map(read).transpose()
}

/// Each planned image with its tree.
fn built(planned: Vec<PlannedImage>, trees: Vec<Option<ResultTree>>) -> Vec<Built> {
    let built = |(image, tree): (PlannedImage, _)| Built {
        platform: image.platform,
        tree,
        config: image.config,
    };
    planned.into_iter().zip(trees).map(built).collect()
}

/// The places that results come from and go to.
fn shelves(request: &BuildRequest, images: &Arc<Images>, store: &Store) -> Shelves {
    let options = &request.options;
    let platforms = options.platforms.iter().chain([&options.build_platform]);
    Shelves::new(images.clone(), store.clone(), platforms.cloned().collect())
}

/// Where results are looked for besides the store: what there is begins to be read.
fn imports(request: &BuildRequest, shelves: &Shelves, reporter: &Reporter, cancel: &Cancel) -> Option<Arc<dyn Import>> {
    if request.cache_from.is_empty() {
        return None;
    }
    let named = |place| Some((format!("{place}"), shelves.at(place)?));
    let places = request.cache_from.iter().filter_map(named).collect();
    let budget = Budget::of(request.cache_budget);
    Some(Arc::new(Imports::begin(
        places,
        budget,
        reporter.clone(),
        cancel.clone(),
    )))
}

async fn plan(
    request: &Arc<BuildRequest>,
    images: &Arc<Images>,
    (reporter, cancel): (&Reporter, &Cancel),
    findings: &Findings,
) -> Result<Plan, CommandError> {
    let name = &request.dockerfile.name;
    let step = reporter.start(format!("[internal] load build definition from {name}"));
    // On a thread of its own, so that a signal is heard while a large Dockerfile is read.
    let planning = {
        let (request, images, findings) = (request.clone(), images.clone(), findings.clone());
        let runtime = Handle::current();
        spawn_blocking(move || {
            let (text, options) = (&request.dockerfile.text, &request.options);
            runtime.block_on(frontend::plan(text, options, &*images, &findings))
        })
    };
    let planned = tokio::select! {
        planned = planning => planned.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())),
        () = interrupt::wished(cancel) => return Err(CommandError::cancelled()),
    };
    for warning in findings.warnings() {
        step.note(format!("WARN: {warning}"));
    }
    match planned {
        Ok(plan) => {
            step.done();
            Ok(plan)
        }
        Err(error) => {
            step.failed(Failure {
                message: error.to_string(),
                ..Failure::default()
            });
            Err(refused(request, &error, "failed to build: failed to solve"))
        }
    }
}

/// Why no plan can be made of the Dockerfile, with the user's own lines; `what` failed.
pub(crate) fn refused(request: &BuildRequest, error: &frontend::Error, what: &str) -> CommandError {
    let failure = CommandError::failed(what).because(error);
    let excerpt = ui::excerpt(&request.dockerfile.name, &request.dockerfile.text, &error.lines());
    let line = error.lines().first().map(|lines| lines.0.start);
    let failure = failure.report(excerpt.unwrap_or_default()).at_line(line);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The error and its causes, in one line.
pub(crate) fn chain(error: &frontend::Error) -> String {
    let first = error.to_string();
    CommandError::failed(first).because(error).message().to_owned()
}

pub(crate) fn build_failed(error: &solver::Error) -> CommandError {
    match error {
        solver::Error::Cancelled => CommandError::cancelled(),
        solver::Error::Step { log, source, .. } => CommandError::failed("failed to build: failed to solve")
            .because(&**source)
            .log(log.clone()),
    }
}

/// A name for the folder of this build's logs: sorted by name, builds are sorted by time.
pub(crate) fn name_of_build() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!(
        "{:010}.{:03}-{}",
        since.as_secs(),
        since.subsec_millis(),
        std::process::id()
    )
}

//! The straight line: from a request to an image where the user asked for it. Design §1 in code.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use cache::{Snapshot, Store};
use export::Receipt;
use frontend::{Findings, Plan, PlannedImage};
use sandbox::{Cancel, Isolation, Namespaces};
use solver::{Failure, Import, Reporter, Session, Solver};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::ahead::Ahead;
use crate::caches::{Harvest, Imports};
use crate::commands::Setting;
use crate::deliver::{self, Built, Delivery};
use crate::elsewhere;
use crate::emulation;
use crate::error::CommandError;
use crate::images::{self, Images, Pull};
use crate::interrupt::{self, Signals};
use crate::policy::Policy;
use crate::remotes::Remotes;
use crate::request::{self, BuildRequest};
use crate::ui;

/// Builds what `request` asks for, showing progress; at the end says what came out.
///
/// # Errors
/// The first thing that failed, with the user's own lines and the next step.
pub(crate) async fn run(request: BuildRequest, setting: &Setting, isolation: &Isolation) -> Result<(), CommandError> {
    if !request.quiet {
        ui::warn(&request.warnings);
    }
    let heading = format!("building with rbuild {}: {isolation}", env!("CARGO_PKG_VERSION"));
    let (reporter, progress) = ui::start(request.progress, &request::screen(&setting.environment), &heading);
    let (cancel, mut signals) = (Cancel::new(), Signals::watch()?);
    let is_debug = request.debug;
    let completing = elsewhere::complete(request, setting, &reporter, &cancel);
    let request = match signals.cancelling(&cancel, completing).await {
        Ok(request) => Arc::new(request),
        Err(error) => {
            progress.finish();
            return Err(if is_debug { error.in_full() } else { error });
        }
    };
    let findings = Findings::new();
    let built = signals
        .cancelling(
            &cancel,
            build(&request, (setting, isolation), &reporter, &cancel, &findings),
        )
        .await;
    let failed = progress.finish();
    ui::tell_warnings(request.progress, &findings.warnings());
    match built {
        Ok(receipt) => deliver::tell(&request, receipt.as_ref()),
        Err(error) => {
            let report = ui::report(&failed, &request.dockerfile.name, &request.dockerfile.text);
            // A failure before the first step has brought its own.
            let error = if report.is_empty() { error } else { error.report(report) };
            Err(if request.debug { error.in_full() } else { error })
        }
    }
}

async fn build(
    request: &Arc<BuildRequest>,
    (setting, isolation): (&Setting, &Isolation),
    reporter: &Reporter,
    cancel: &Cancel,
    findings: &Findings,
) -> Result<Option<Receipt>, CommandError> {
    let store = Store::open(&setting.root).map_err(|error| CommandError::failed("failed to build").because(&error))?;
    let images = images(request, setting, &store, reporter)?;
    let plan = plan(request, &images, (reporter, cancel), findings).await?;
    let session = Session {
        contexts: request.contexts.clone(),
        secrets: request.secrets.clone(),
        agents: request.agents.clone(),
    };
    let remotes = Remotes::new(
        store.clone(),
        session.clone(),
        cancel.clone(),
        &setting.environment,
        request.heard.clone(),
    )
    .under(policy(request)?);
    let spines = plan.definition.spines();
    let ahead = Ahead::start(request, plan.epoch, &store, cancel);
    let solver = Solver {
        build: name_of_build(),
        store: store.clone(),
        images: images.clone(),
        executor: Arc::new(Namespaces),
        remotes: Arc::new(remotes),
        session,
        reporter: reporter.clone(),
        cancel: cancel.clone(),
        imports: imports(request, &images, reporter),
        max_parallelism: request.parallelism.map(std::num::NonZeroUsize::get),
        finished: ahead.as_ref().map(|ahead| ahead.told(&spines)),
    };
    let search = setting.environment.path("PATH");
    emulation::prepare(&plan.definition, isolation, search, reporter);
    let solved = solver
        .solve(plan.definition)
        .await
        .map_err(|error| build_failed(&error))?;
    let harvest = Arc::new(Harvest {
        results: solved.results,
        spines,
        store: store.clone(),
        images: images.clone(),
        cancel: cancel.clone(),
    });
    let result = Delivery {
        request: request.clone(),
        harvest: harvest.clone(),
        store: store.clone(),
        results: built(plan.images, solved.snapshots),
        multi_platform: plan.multi_platform,
        epoch: plan.epoch,
        images,
        cancel: cancel.clone(),
    };
    let receipt = result.all(reporter).await?;
    harvest.keep_all(&request.cache_to, reporter).await?;
    ahead.into_iter().for_each(Ahead::finish);
    store.settle();
    Ok(receipt)
}

/// Where images come from, for this request.
pub(crate) fn images(
    request: &BuildRequest,
    setting: &Setting,
    store: &Store,
    reporter: &Reporter,
) -> Result<Arc<Images>, CommandError> {
    let pull = if request.pull { Pull::Always } else { Pull::Missing };
    let options = images::client_options(&setting.environment);
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
fn built(planned: Vec<PlannedImage>, snapshots: Vec<Option<Snapshot>>) -> Vec<Built> {
    let built = |(image, snapshot): (PlannedImage, _)| Built {
        platform: image.platform,
        snapshot,
        config: image.config,
    };
    planned.into_iter().zip(snapshots).map(built).collect()
}

/// Where results are looked for besides the store.
fn imports(request: &BuildRequest, images: &Arc<Images>, reporter: &Reporter) -> Option<Arc<dyn Import>> {
    if request.cache_from.is_empty() {
        return None;
    }
    let options = &request.options;
    let platforms = options
        .platforms
        .iter()
        .chain([&options.build_platform])
        .cloned()
        .collect();
    Some(Arc::new(Imports::new(
        &request.cache_from,
        platforms,
        images.clone(),
        reporter.clone(),
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
    let failure = failure.report(excerpt.unwrap_or_default());
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

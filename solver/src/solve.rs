//! The solver itself: asks every vertex for its key, and the target for its snapshot.

mod asked;
mod find;
mod remote;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cache::{CacheKey, Snapshot, Store};
use futures_util::future::{join, join_all};
use graph::{Definition, InputIndex, Op, Vertex, VertexId};
use oci::Fetch;
use sandbox::{Cancel, Executor};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

use self::asked::{Asked, Wish};
use crate::readings::{Reading, reads_own_base};
use crate::remotes::Remotes;
use crate::trees::{self, Source, Sources};
use crate::{Error, Failure, Import, Imported, Leave, Reporter, ResultTree, Session, Step, StepError, StepResult, ops};

/// Everything a build needs besides its graph.
#[derive(Clone)]
pub struct Solver {
    /// Where results are kept and found.
    pub store: Store,
    /// Where images come from.
    pub images: Arc<dyn Fetch>,
    /// How web servers and git repositories are reached.
    pub remotes: Arc<dyn Remotes>,
    /// Where processes run.
    pub executor: Arc<dyn Executor>,
    /// What the user lends.
    pub session: Session,
    /// Who is told.
    pub reporter: Reporter,
    /// Stops the build.
    pub cancel: Cancel,
    /// What others recorded; asked for what the store does not have.
    pub imports: Option<Arc<dyn Import>>,
    /// Says whether a target's tree may stay where it was found; `None` is never.
    pub leave: Option<Arc<dyn Leave>>,
    /// How much of the machine each process may take. Not a part of what is built, and of no key.
    pub resources: sandbox::Resources,
    /// How long each process may run; in no key either.
    pub step_timeout: Option<Duration>,
    /// A file of CA certificates that each process is shown and told of; in no key either.
    pub certificates: Option<PathBuf>,
    /// How many steps work at the same time; `None` is as many as can.
    pub max_parallelism: Option<usize>,
    /// Is told of every tree of a vertex as soon as it is there.
    pub finished: Option<Finished>,
    /// Must agree before a process is run.
    pub before_run: Option<BeforeRun>,
    /// The build's name in the store, under which the logs of its steps are kept.
    pub build: String,
}

/// Who is told that a vertex has its tree. Called between the work of steps: it must not wait for anything.
pub type Finished = Arc<dyn Fn(VertexId, &Snapshot) + Send + Sync>;

/// Whether processes may be run; asked for each that has to, and waited for. If not, the build is cancelled.
pub type BeforeRun = Arc<dyn Fn() -> oci::BoxFuture<'static, bool> + Send + Sync>;

/// What came out.
#[derive(Clone, Debug)]
pub struct Solved {
    /// The trees of the targets, in their order; `None` is the empty one.
    pub trees: Vec<Option<ResultTree>>,
    /// Every step whose result is known now, made or found.
    pub results: Vec<StepResult>,
}

/// How far a build came.
#[derive(Debug)]
pub struct Attempt {
    /// The trees of the targets, in their order; `None` is the empty one. Or why there are none.
    pub targets: Result<Vec<Option<ResultTree>>, Error>,
    /// Every step whose result is known now, made or found.
    pub results: Vec<StepResult>,
}

impl std::fmt::Debug for Solver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Solver")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl Solver {
    /// Makes the trees of the definition's targets, or finds them made.
    ///
    /// # Errors
    /// The first step that failed; the others were stopped. [`Error::Cancelled`] when the user stopped the build.
    pub async fn solve(&self, definition: Definition) -> Result<Solved, Error> {
        let Attempt { targets, results } = self.attempt(definition).await;
        targets.map(|trees| Solved { trees, results })
    }

    /// The same, of which the finished steps are told also where the targets were not reached.
    pub async fn attempt(&self, definition: Definition) -> Attempt {
        let asked = definition.iter().map(|(id, _)| (id, Asked::default())).collect();
        let permits = Semaphore::new(self.max_parallelism.unwrap_or(Semaphore::MAX_PERMITS).max(1));
        let file_permits = Semaphore::new(FILE_WORK_AT_ONCE);
        let (wishes, wished) = mpsc::unbounded_channel();
        let build = Build {
            solver: self.clone(),
            definition,
            asked,
            wishes,
            permits,
            file_permits,
            failure: Mutex::new(None),
        };
        // Every key is needed for the targets'; inputs come first, so that hardly any has to wait for another.
        build.definition.iter().for_each(|(id, _)| build.wish_for_key(id));
        let targets = build.definition.targets();
        targets.iter().flatten().for_each(|id| build.wish_for_target(*id));
        build.certain_bases().into_iter().for_each(|id| build.wish_for_tree(id));
        build.answer_all(wished).await;
        let trees = targets.iter().map(|target| match target {
            Some(id) => build.target(*id),
            None => Some(None),
        });
        let trees = trees.collect::<Option<Vec<_>>>();
        Attempt {
            targets: trees.ok_or_else(|| build.first_failure()),
            results: build.results(),
        }
    }
}

/// Each has threads and buffers of its own, and more of them would only wait for the disk: a thousand COPYs that nothing
/// keeps apart took 140 MB together.
const FILE_WORK_AT_ONCE: usize = 16;

async fn permit(permits: &Semaphore) -> SemaphorePermit<'_> {
    permits.acquire().await.expect("the semaphore is never closed")
}

/// One build under way.
pub(crate) struct Build {
    solver: Solver,
    pub(crate) definition: Definition,
    pub(crate) asked: HashMap<VertexId, Asked>,
    wishes: mpsc::UnboundedSender<Wish>,
    permits: Semaphore,
    /// For work on files.
    file_permits: Semaphore,
    failure: Mutex<Option<Error>>,
}

/// What is known of a vertex without doing its work.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) key: CacheKey,
    /// Another key under which the result is to be found, too.
    pub(crate) alias: Option<CacheKey>,
    pub(crate) found: Found,
    /// Whether it is made again although there may be a record, or stands on what is.
    pub(crate) afresh: bool,
}

/// Whether there is a result.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// In the store; `None` is the empty tree.
    Yes(Option<Snapshot>),
    /// Elsewhere.
    There(Arc<Imported>),
    /// No.
    No,
}

/// The build is over: the reason is in [`Build::failure`].
#[derive(Clone, Copy, Debug)]
struct Stopped;

impl Build {
    /// The images that the targets stand on. What the store has of a stage, it has with all that is below: an image that
    /// it lacks will be needed, and can arrive while contexts are read and other stages built. A result that is elsewhere
    /// may make it unnecessary.
    fn certain_bases(&self) -> Vec<VertexId> {
        if self.solver.imports.is_some() {
            return Vec::new();
        }
        let spines = self.definition.spines();
        let bases = spines.iter().filter_map(|spine| spine.first().copied());
        bases
            .filter(|id| matches!(self.definition.vertex(*id).op, Op::Image(_)))
            .collect()
    }

    /// Makes the tree of a target, unless it may stay where it was found.
    async fn settle(&self, id: VertexId) {
        if let Some(leave) = &self.solver.leave
            && let Ok(Known {
                found: Found::There(imported),
                ..
            }) = self.known(id).await
            && leave.may_stay(imported).await
        {
            // Each target is settled once.
            let _ = self.asked[&id].left.set(imported.clone());
        } else {
            self.wish_for_tree(id);
        }
    }

    /// The tree of a target, if it has come to be; `Some(None)` is the empty one.
    fn target(&self, id: VertexId) -> Option<Option<ResultTree>> {
        let asked = &self.asked[&id];
        let made = asked.snapshot.get().map(|made| made.clone().map(ResultTree::Here));
        made.or_else(|| asked.left.get().map(|left| Some(ResultTree::There(left.clone()))))
    }

    fn first_failure(&self) -> Error {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.unwrap_or(Error::Cancelled)
    }

    /// Keeps the first failure and stops all other work.
    fn fail(&self, vertex: &Vertex, log: Option<PathBuf>, source: StepError) -> Stopped {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() && !matches!(source, StepError::Cancelled) {
            let (name, lines) = (vertex.metadata.name.clone(), vertex.metadata.lines.clone());
            *failure = Some(Error::Step {
                name,
                lines,
                log,
                source: Box::new(source),
            });
        }
        self.solver.cancel.cancel();
        Stopped
    }

    /// The same for a vertex whose work did not begin: it is shown all the same, as the step that failed.
    fn fail_at_once(&self, vertex: &Vertex, source: StepError) -> Stopped {
        self.solver
            .reporter
            .start(&vertex.metadata.name)
            .failed(failure(vertex, None, &source));
        self.fail(vertex, None, source)
    }

    /// The checksum of what the vertex reads there.
    async fn checksum(&self, vertex: &Vertex, reading: &Reading) -> Result<oci::Digest, Stopped> {
        let id = vertex.inputs[reading.from().0];
        let (reading, name) = (reading.clone(), vertex.metadata.name.clone());
        let sources = self.sources(vertex).await?;
        let _permit = permit(&self.file_permits).await;
        let checksum = self
            .blocking(move || {
                let _span = trace::span_of("checksum", &name);
                sources.checksum(&reading)
            })
            .await;
        checksum.map_err(|error| {
            let error = match error {
                StepError::Files(source) => StepError::Checksum {
                    tree: self.name_of(id),
                    source,
                },
                other => other,
            };
            self.fail_at_once(vertex, error)
        })
    }

    /// What people call the tree of a vertex.
    fn name_of(&self, id: VertexId) -> String {
        let vertex = self.definition.vertex(id);
        match &vertex.op {
            Op::Local(local) => local.context.clone(),
            _ => vertex.metadata.name.clone(),
        }
    }

    /// The trees and contexts that the vertex reads besides the one it changes.
    async fn sources(&self, vertex: &Vertex) -> Result<Arc<Sources>, Stopped> {
        let base = vertex.op.base();
        let is_source = |input: &InputIndex| Some(*input) != base || reads_own_base(vertex);
        let inputs: Vec<InputIndex> = vertex.op.inputs().into_iter().filter(is_source).collect();
        let mut sources = Sources::new(self.solver.store.clone());
        // All at once: they may be stages that are still to be built.
        for (input, source) in inputs
            .iter()
            .zip(join_all(inputs.iter().map(|input| self.source(vertex, *input))).await)
        {
            sources.add(*input, source?);
        }
        Ok(Arc::new(sources))
    }

    async fn source(&self, reader: &Vertex, input: InputIndex) -> Result<Source, Stopped> {
        let id = reader.inputs[input.0];
        match &self.definition.vertex(id).op {
            Op::Local(local) => Ok(Source::Context(self.context(reader, id, local).await?)),
            _ => Ok(Source::snapshot(self.snapshot(id).await?)),
        }
    }

    async fn context(
        &self,
        reader: &Vertex,
        id: VertexId,
        local: &graph::LocalSource,
    ) -> Result<Arc<crate::files::Context>, Stopped> {
        let opened = self.asked[&id].context.get_or_try_init(|| async {
            let step = self.solver.reporter.start(&self.definition.vertex(id).metadata.name);
            let (session, store, local) = (self.solver.session.clone(), self.solver.store.clone(), local.clone());
            match self
                .blocking(move || trees::open_context(&session, &store, &local))
                .await
            {
                Ok(context) => {
                    step.done();
                    Ok(Arc::new(context))
                }
                Err(error) => {
                    step.failed(failure(reader, None, &error));
                    Err(self.fail(reader, None, error))
                }
            }
        });
        opened.await.cloned()
    }

    /// Makes a tree, and tells who wants to know of it.
    async fn make_and_tell(&self, id: VertexId) -> Result<Option<Snapshot>, Stopped> {
        let made = self.make(id).await?;
        if let (Some(finished), Some(snapshot)) = (&self.solver.finished, &made) {
            finished(id, snapshot);
        }
        Ok(made)
    }

    async fn make(&self, id: VertexId) -> Result<Option<Snapshot>, Stopped> {
        let known = self.known(id).await?;
        let vertex = self.definition.vertex(id);
        match &known.found {
            Found::Yes(snapshot) => return Ok(snapshot.clone()),
            Found::There(imported) => {
                if let Some(snapshot) = self.fetch(vertex, known, imported).await? {
                    return Ok(Some(snapshot));
                }
            }
            Found::No => {}
        }
        match &vertex.op {
            Op::Image(image) => return self.pull(vertex, image).await,
            Op::Http(_) | Op::Git(_) => return self.fetch_remote(vertex, known.key).await,
            Op::Local(_) | Op::Exec(_) | Op::File(_) | Op::Merge(_) => {}
        }
        let (base, sources) = join(self.snapshot_below(vertex), self.sources(vertex)).await;
        let (base, sources) = (base?, sources?);
        if let (Op::Exec(_), Some(may_run)) = (&vertex.op, &self.solver.before_run)
            && !may_run().await
        {
            return Err(self.fail(vertex, None, StepError::Cancelled));
        }
        let _permit = permit(&self.permits).await;
        let _file_permit = match vertex.op {
            Op::File(_) => Some(permit(&self.file_permits).await),
            _ => None,
        };
        if self.solver.cancel.is_cancelled() {
            return Err(Stopped);
        }
        let step = self.solver.reporter.start(&vertex.metadata.name);
        let log = matches!(vertex.op, Op::Exec(_)).then(|| {
            self.solver
                .store
                .log_path(&self.solver.build, &format!("{}.log", step.id().0))
        });
        let mut vertex = vertex.clone();
        vertex.metadata.ignore_cache |= known.afresh;
        let work = ops::Work {
            solver: self.solver.clone(),
            vertex: vertex.clone(),
            key: known.key,
            alias: known.alias,
            base,
            sources,
            log: log.clone(),
        };
        let (step, result) = self
            .blocking(move || {
                let result = work.run(&step);
                (step, result)
            })
            .await;
        self.end(&vertex, step, log, result).map(Some)
    }

    /// Tells how the step ended.
    fn end(
        &self,
        vertex: &Vertex,
        step: Step,
        log: Option<PathBuf>,
        result: Result<ops::Made, StepError>,
    ) -> Result<Snapshot, Stopped> {
        match result {
            Ok(ops::Made::Now(snapshot)) => {
                step.done();
                Ok(snapshot)
            }
            Ok(ops::Made::Meanwhile(snapshot)) => {
                step.cached();
                Ok(snapshot)
            }
            // Dropped, the step counts as cancelled.
            Err(StepError::Cancelled) => Err(self.fail(vertex, log, StepError::Cancelled)),
            Err(error) => {
                step.failed(failure(vertex, log.clone(), &error));
                Err(self.fail(vertex, log, error))
            }
        }
    }

    async fn snapshot_below(&self, vertex: &Vertex) -> Result<Option<Snapshot>, Stopped> {
        match vertex.op.base() {
            Some(base) => self.snapshot(vertex.inputs[base.0]).await,
            None => Ok(None),
        }
    }

    async fn pull(&self, vertex: &Vertex, image: &graph::ImageSource) -> Result<Option<Snapshot>, Stopped> {
        let step = self.solver.reporter.start(&vertex.metadata.name);
        let solver = &self.solver;
        let pulled = async {
            let resolved = ops::image::resolve(&*solver.images, image).await?;
            ops::image::pull(&solver.store, &*solver.images, &resolved, &step, &solver.cancel).await
        };
        match pulled.await {
            Ok(snapshot) => {
                step.done();
                Ok(snapshot)
            }
            Err(StepError::Cancelled) => Err(self.fail(vertex, None, StepError::Cancelled)),
            Err(error) => {
                step.failed(failure(vertex, None, &error));
                Err(self.fail(vertex, None, error))
            }
        }
    }

    /// Fetches a result recorded elsewhere and records it here; `None` if it cannot be had after all.
    async fn fetch(&self, vertex: &Vertex, known: &Known, imported: &Imported) -> Result<Option<Snapshot>, Stopped> {
        let solver = &self.solver;
        let step = solver
            .reporter
            .start(format!("{} (fetching the result)", vertex.metadata.name));
        let stack = (&imported.from, &imported.layers[..]);
        let fetching = ops::image::fetch_layers(&solver.store, &*solver.images, stack, &step, &solver.cancel);
        let patience = async {
            match &solver.imports {
                Some(imports) => imports.patience().await,
                None => std::future::pending().await,
            }
        };
        let snapshot = tokio::select! {
            fetched = fetching => fetched,
            () = patience => Err(StepError::NotWaitedFor),
        };
        match snapshot {
            Ok(Some(snapshot)) => {
                let recorded = ops::record(solver, vertex, (&known.key, known.alias.as_ref()), &[], &snapshot);
                recorded.map_err(|error| self.fail(vertex, None, error))?;
                step.done();
                Ok(Some(snapshot))
            }
            // Whoever has no more patience has said so.
            Ok(None) | Err(StepError::NotWaitedFor) => {
                step.done();
                Ok(None)
            }
            Err(StepError::Cancelled) => Err(self.fail(vertex, None, StepError::Cancelled)),
            Err(error) => {
                step.note(format!("done again here: {}", crate::error::chain(&error)));
                step.done();
                Ok(None)
            }
        }
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match tokio::task::spawn_blocking(work).await {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

fn failure(vertex: &Vertex, log: Option<PathBuf>, error: &StepError) -> Failure {
    Failure {
        message: crate::error::chain(error),
        lines: vertex.metadata.lines.clone(),
        log,
    }
}

//! Sources of web servers and git repositories: fetched into a tree, once for each content.

use cache::{CacheKey, Snapshot};
use graph::Vertex;

use super::record;
use crate::remotes::{Landing, RemoteSource};
use crate::wait::{self, Waiting};
use crate::{Solver, Step, StepError};

/// Makes the tree of a source that was identified as `key`, or finds that another build has made it meanwhile.
pub(crate) async fn fetch(solver: &Solver, vertex: &Vertex, key: CacheKey, step: &Step) -> Result<Snapshot, StepError> {
    let source = RemoteSource::of(&vertex.op).expect("only remote sources are fetched");
    let _alone = {
        let waiting = Waiting::new(step, &solver.cancel);
        wait::lock_later(&solver.store, &key, "fetches the same", waiting).await?
    };
    if let Some(known) = solver.store.lookup(&key)? {
        return Ok(known.snapshot);
    }
    let active = solver.store.prepare(None)?;
    let landing = Landing::beside(active.upper()).map_err(|source| StepError::Blob {
        path: active.upper().to_owned(),
        source,
    })?;
    solver
        .remotes
        .fetch(source, &landing, step)
        .await
        .map_err(StepError::Remote)?;
    if solver.cancel.is_cancelled() {
        return Err(StepError::Cancelled);
    }
    let (solver, vertex) = (solver.clone(), vertex.clone());
    blocking(move || {
        let snapshot = active.commit()?;
        record(&solver, &vertex, (&key, None), &vertex.metadata.components, &snapshot)?;
        Ok(snapshot)
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

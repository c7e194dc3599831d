//! Web servers and git repositories: asked what they have, and for it.

use cache::{CacheKey, Snapshot};
use graph::Vertex;

use super::{Build, Found, Known, Stopped, failure};
use crate::remotes::RemoteSource;
use crate::{StepError, ops};

impl Build {
    /// Asks what the source is now. That can be all the work there is, so it is shown as a step.
    pub(super) async fn find_remote(&self, vertex: &Vertex) -> Result<Known, Stopped> {
        let source = RemoteSource::of(&vertex.op).expect("the op is a remote source");
        let step = self.solver.reporter.start(&vertex.metadata.name);
        let found = async {
            let identity = self.solver.remotes.identify(source, &step).await;
            let key = identity.map_err(StepError::Remote)?.key();
            let record = self.solver.store.lookup(&key)?;
            Ok((key, record))
        };
        match found.await {
            Ok((key, record)) => {
                let found = match record {
                    Some(record) => Found::Yes(Some(record.snapshot)),
                    None => Found::No,
                };
                match found {
                    Found::Yes(_) => step.cached(),
                    _ => step.done(),
                }
                let alias = None;
                Ok(Known {
                    key,
                    alias,
                    found,
                    afresh: false,
                })
            }
            Err(_) if self.solver.cancel.is_cancelled() => Err(self.fail(vertex, None, StepError::Cancelled)),
            Err(error) => {
                step.failed(failure(vertex, None, &error));
                Err(self.fail(vertex, None, error))
            }
        }
    }

    /// The tree of a source that was identified.
    pub(super) async fn fetch_remote(&self, vertex: &Vertex, key: CacheKey) -> Result<Option<Snapshot>, Stopped> {
        let step = self.solver.reporter.start(&vertex.metadata.name);
        match ops::remote::fetch(&self.solver, vertex, key, &step).await {
            Ok(snapshot) => {
                step.done();
                Ok(Some(snapshot))
            }
            Err(_) if self.solver.cancel.is_cancelled() => Err(self.fail(vertex, None, StepError::Cancelled)),
            Err(error) => {
                step.failed(failure(vertex, None, &error));
                Err(self.fail(vertex, None, error))
            }
        }
    }
}

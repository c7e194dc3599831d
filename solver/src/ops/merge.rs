//! COPY --link: trees laid over one another, without copying or even reading them.

use cache::Snapshot;
use graph::MergeOp;

use super::Work;
use crate::StepError;

/// Lays the other trees over the work's base.
pub(super) fn run(work: &Work, op: &MergeOp) -> Result<Snapshot, StepError> {
    let over = op.over.iter().filter_map(|input| work.sources.snapshot(*input));
    let mut merged = work.base.clone();
    for changes in over {
        merged = Some(match merged {
            Some(below) => work.solver.store.lay_over(&below, changes)?,
            None => changes.clone(),
        });
    }
    match merged {
        Some(merged) => Ok(merged),
        None => Ok(work.prepare()?.commit()?),
    }
}
